/**
 * Files that an agent reads and writes through its client. Only some agents do, and none is held by it: what an agent may
 * do to files is decided where it works and looked at afterwards. But a write that comes through here is decided first.
 */
import { basename, dirname, isAbsolute, join, normalize, relative, sep } from "node:path";
import type { ReadFileParams, WriteFileParams } from "./acp-messages.ts";
import type { ClientAct, ClientActs } from "./acp-client.ts";
import { isApprovedText } from "./approved-text.ts";
import { RPC_CODES, RpcError, asRecord } from "./rpc.ts";
import type { TurnRecord } from "./turn-record.ts";
import { systemCode } from "../errors.ts";
import { whyProtected } from "../format/names.ts";
import type { Disk } from "../ports.ts";
import { writeAll } from "../store/files.ts";

/** A larger file is not read, and no more than that of it is given out: a message has a limit, too. */
const FILE_BYTES_MAX = 32 * 1024 * 1024;
const CONTENT_BYTES_MAX = 4 * 1024 * 1024;
/** What is replaced is shown to whoever decides, up to this. */
const OLD_TEXT_BYTES_MAX = 1024 * 1024;
const PATH_BYTES_MAX = 4096;
/** What the protocol's own library answers; agents look for it. */
const NOT_FOUND = -32002;
/** Agents look for these in every folder above, and tell nobody of it. */
const INSTRUCTIONS = /^(?:agents|claude|gemini|copilot-instructions)\.md$/i;

/** Where files may be read and written. */
export interface FilePlace {
  cwd: string;
  /** Absolute; absent: below `cwd`. */
  writeSet?: readonly string[] | undefined;
  /** For names of temporary files. */
  spawnId: string;
  /**
   * Notes of the agent's own, which it too passes through its client: one keeps its plan in one, reads that before it is
   * there, and gives the turn up when it hears that it is not.
   */
  isNote?: ((path: string) => boolean) | undefined;
}

/** A request and the message it came in. */
interface Incoming<T> {
  params: T;
  raw: unknown;
  bytes: number;
}

/** The files of one session. */
export class ClientFiles {
  readonly #place: FilePlace;
  readonly #acts: ClientActs;
  readonly #disk: Disk;
  #written = 0;

  constructor(place: FilePlace, acts: ClientActs, ports: { disk: Disk }) {
    this.#place = place;
    this.#acts = acts;
    this.#disk = ports.disk;
  }

  /** `fs/read_text_file`: the file, or `limit` lines of it from `line`, which counts from 1. */
  async read(turn: TurnRecord | undefined, request: Incoming<ReadFileParams>): Promise<{ content: string }> {
    const { path, line, limit } = request.params;
    const real = tried(path, () => this.#readable(path));
    if (!real) return { content: "" };
    if (real.isOutside) {
      const allowed = await this.#acts.ask(turn, this.#actOn(request, "fs/read_text_file", "read"));
      allowed.finish("ok");
    }
    const all = tried(path, () => this.#text(real.path, FILE_BYTES_MAX));
    if (all === undefined) throw invalid(path, `is no UTF-8 text, or larger than ${FILE_BYTES_MAX} bytes`);
    const content = lines(all, line ?? 1, limit ?? undefined);
    if (Buffer.byteLength(content) > CONTENT_BYTES_MAX)
      throw invalid(path, `holds more than ${CONTENT_BYTES_MAX} bytes: ask for fewer lines`);
    return { content };
  }

  /** `fs/write_text_file`: decided like an edit, then replaced as a whole. */
  async write(turn: TurnRecord | undefined, request: Incoming<WriteFileParams>): Promise<object> {
    const { path, content } = request.params;
    const note = tried(path, () => this.#note(path));
    if (note !== undefined) {
      tried(path, () => this.#replace(note, content));
      return {};
    }
    const { real, oldText } = tried(path, () => {
      const target = this.#writable(path);
      return {
        real: target,
        oldText: this.#disk.stat(target) ? this.#text(target, OLD_TEXT_BYTES_MAX) : null,
      };
    });
    const allowed = await this.#acts.ask(turn, {
      ...this.#actOn(request, "fs/write_text_file", "edit"),
      rawInput: { path, content },
      content: [{ type: "diff", path, oldText: oldText ?? null, newText: content }],
      isCoveredBy: (allowed) =>
        isAbout(allowed, "edit", path) && isApprovedText(allowed, { path, before: oldText, text: content }),
    });
    let outcome: "ok" | "failed" = "failed";
    try {
      if (turn?.isOver === true) throw new RpcError(RPC_CODES.internal, "The turn is over");
      tried(path, () => {
        // Somebody may have put a link in the way while a person was thinking.
        if (this.#writable(path) !== real)
          throw invalid(path, "leads to another place than when it was asked about");
        this.#replace(real, content);
      });
      outcome = "ok";
      return {};
    } finally {
      allowed.finish(outcome);
    }
  }

  #actOn(
    { params, raw, bytes }: Incoming<{ path: string }>,
    method: string,
    kind: "read" | "edit",
  ): ClientAct {
    const { path } = params;
    return {
      method,
      kind,
      title: `${kind === "edit" ? "Write" : "Read"} ${path}`,
      command: null,
      locations: [path],
      rawInput: { path },
      content: [],
      raw,
      bytes,
      isShownBy: ({ paths, input, ...tool }) =>
        isAbout({ ...tool, locations: paths, rawInput: input }, kind, path),
      isCoveredBy: (allowed) => isAbout(allowed, kind, path),
    };
  }

  /** Where a path leads that is a file, and whether somebody has to be asked before it is read; undefined: an empty note. */
  #readable(path: string): { path: string; isOutside: boolean } | undefined {
    const real = this.#resolve(path);
    const found = this.#disk.stat(real);
    const isNote = this.#place.isNote?.(real) ?? false;
    if (!found && isNote) return undefined;
    if (!found) throw new RpcError(NOT_FOUND, `Resource not found: ${path}`, { uri: path });
    if (found.kind !== "file") throw invalid(path, "is no file");
    const root = this.#root();
    const isInstruction = INSTRUCTIONS.test(basename(real)) && isBelow(root, instructedBy(real));
    return { path: real, isOutside: !isBelow(real, root) && !isInstruction && !isNote };
  }

  /** Where a path leads when that is a note of the agent's own. */
  #note(path: string): string | undefined {
    if (!this.#place.isNote) return undefined;
    const real = this.#resolve(path);
    const isFile = (this.#disk.stat(real)?.kind ?? "file") === "file";
    return isFile && this.#place.isNote(real) ? real : undefined;
  }

  /** Where a path leads that may be written. */
  #writable(path: string): string {
    const real = this.#resolve(path);
    const root = this.#root();
    const roots = this.#place.writeSet?.map((one) => this.#resolve(one)) ?? [root];
    const within = roots.find((one) => isBelow(real, one));
    if (within === undefined) throw invalid(path, "lies outside of what may be written in this turn");
    // What leads to the project is not looked at: it may lie below omk's own folder.
    const because = whyProtected(relative(isBelow(real, root) ? root : within, real));
    if (because !== undefined) throw invalid(path, `may not be written: ${because}`);
    const found = this.#disk.stat(real);
    if (found && found.kind !== "file") throw invalid(path, "is no file");
    return real;
  }

  #root(): string {
    return this.#disk.realPath(this.#place.cwd) ?? this.#place.cwd;
  }

  /** As the system resolves it: links followed, names that are not there as they are. */
  #resolve(path: string): string {
    // oxlint-disable-next-line no-control-regex -- exactly those are meant
    if (!isAbsolute(path) || /[\u0000-\u001f]/.test(path)) throw invalid(path, "is no absolute path");
    if (Buffer.byteLength(path) > PATH_BYTES_MAX) throw invalid(path, "is too long");
    if (path.split(sep).includes("..")) throw invalid(path, "has a part that is ..");
    let at: string = sep;
    for (const part of normalize(path).split(sep).filter(Boolean)) {
      const next = join(at, part);
      const kind = this.#disk.stat(next)?.kind;
      if (kind !== "link") {
        at = next;
        continue;
      }
      const real = this.#realPath(next);
      // What is written through it would come to be wherever it points.
      if (real === undefined) throw invalid(path, "leads through a link to nothing");
      at = real;
    }
    return at;
  }

  #realPath(path: string): string | undefined {
    try {
      return this.#disk.realPath(path);
    } catch (error) {
      // A ring of links leads nowhere either.
      if (systemCode(error) === "ELOOP") return undefined;
      throw error;
    }
  }

  /** The text of a file, or undefined when it is too large or no text. */
  #text(path: string, bytesMax: number): string | undefined {
    try {
      const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
      return decoder.decode(this.#disk.readFile(path, bytesMax));
    } catch (error) {
      const isUnreadable =
        error instanceof TypeError || ["EFBIG", "EACCES", "EPERM"].includes(systemCode(error) ?? "");
      if (isUnreadable) return undefined;
      throw error;
    }
  }

  /** Atomic, and the file keeps its permissions. A new one has those of its folder, without the right to run it. */
  #replace(path: string, content: string): void {
    const folder = dirname(path);
    const folderMode = this.#ensureFolder(folder);
    const mode = this.#disk.stat(path)?.mode ?? folderMode & 0o666;
    this.#written++;
    const temporary = join(folder, `.omk-${this.#place.spawnId}-${this.#written}.tmp`);
    const file = this.#disk.open(temporary, "create");
    try {
      try {
        writeAll(file, new TextEncoder().encode(content));
      } finally {
        file.close();
      }
      this.#disk.setMode(temporary, mode);
      this.#disk.rename(temporary, path);
    } catch (error) {
      this.#disk.remove(temporary);
      throw error;
    }
  }

  /** Makes what is missing, and returns the permissions of the folder. */
  #ensureFolder(folder: string): number {
    const found = this.#disk.stat(folder);
    if (found) return found.mode;
    const mode = this.#ensureFolder(dirname(folder));
    this.#disk.makeFolder(folder);
    this.#disk.setMode(folder, mode);
    return mode;
  }
}

/** `.github/copilot-instructions.md` is about the folder above `.github`. */
function instructedBy(path: string): string {
  const folder = dirname(path);
  return basename(folder).startsWith(".") ? dirname(folder) : folder;
}

/** Whether that tool call, or what was allowed of it, is about this file. */
function isAbout(
  other: { kind: string; locations: readonly string[]; rawInput: unknown; content: readonly unknown[] },
  kind: "read" | "edit",
  path: string,
): boolean {
  if (other.kind !== kind) return false;
  const input = asRecord(other.rawInput);
  const named = [input["path"], input["file_path"], input["filePath"], input["filepath"]];
  const shown = other.content.map((one) => asRecord(one)["path"]);
  return [...other.locations, ...named, ...shown].includes(path);
}

function isBelow(path: string, root: string): boolean {
  return path === root || path.startsWith(root.endsWith(sep) ? root : root + sep);
}

function lines(text: string, from: number, limit: number | undefined): string {
  if (from <= 1 && limit === undefined) return text;
  const all = text.split(/(?<=\n)/);
  const start = Math.max(0, from - 1);
  return all.slice(start, limit === undefined ? undefined : start + limit).join("");
}

/** What the disk refuses is the agent's to hear: its tool fails, and the turn goes on. */
function tried<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof RpcError || systemCode(error) === undefined) throw error;
    throw new RpcError(RPC_CODES.internal, `${path.slice(0, 500)}: the system says ${systemCode(error)}`);
  }
}

function invalid(path: string, because: string): RpcError {
  return new RpcError(RPC_CODES.invalidParams, `${path.slice(0, 500)} ${because}`);
}
