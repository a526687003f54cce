/**
 * The state of one goal (or run) in its folder: the log is the truth, documents are its fold. A journal is opened for
 * writing by the one controller that holds the claim chain; readers fold for themselves and change nothing.
 */
import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";

import { OmkError } from "../errors.ts";
import type { DocumentChange, Event } from "../format/event.ts";
import { parseJson, renderDocument } from "../format/json.ts";
import { shellQuoted } from "../format/shell.ts";
import type { Disk } from "../ports.ts";
import { claimChain, type ChainPorts, type HeldChain } from "./claim-chain.ts";
import type { SealedEvent } from "./event-line.ts";
import { EventLog, type LogPosition, type NewEvent } from "./event-log.ts";
import {
  ensureFolder,
  ioFailure,
  quarantine,
  quarantineBytes,
  replaceFile,
  rewritePrefix,
  sweepTemporaries,
} from "./files.ts";
import { anyOf, readLog, scanLog, type LogLine, type LogPlace, type LogReading } from "./log-reader.ts";
import type { Redactor } from "./redact.ts";

/** What a journal needs of the world. */
export interface JournalPorts extends ChainPorts {
  redactor: Pick<Redactor, "value">;
}

/** Documents by file name, e.g. `goal.json`. */
export type Documents = Map<string, Record<string, unknown>>;

/** The newest version of our state files; a newer one is another omk's and is left alone. */
const STATE_VERSION = 1;
const DOCUMENT_BYTES_MAX = 32 * 1024 * 1024;
/** Of a torn end; one write is far smaller. */
const TAIL_BYTES_MAX = 16 * 1024 * 1024;
/** The one document that does not say where in the log it stands. */
const UNPLACED = "proof.json";
/** A snapshot that is further behind the log is written anew although it would say the same. */
const EVENTS_BEHIND_MAX = 2_000;
/** More turns than any append needs to fold in what it has written. */
const TURNS_MAX = 100;
/** What a line holds that changes documents, and one whose payload and changes were too large for it. */
const CHANGES = '"changes"';
const BLOB = '"blob"';
const LOG = "events.jsonl";
const LEGACY_LOG = "event-log.jsonl";

/** The log file of a folder: 0.5.0 knew a second name, which is only read. */
export function logPath(folder: string, ports: { disk: Disk }): string {
  const canonical = join(folder, LOG);
  if (ports.disk.stat(canonical)) return canonical;
  const legacy = join(folder, LEGACY_LOG);
  return ports.disk.stat(legacy) ? legacy : canonical;
}

/** What reading a folder gives: the fold of its log, or the files of 0.5.0 when the log carries none. */
export interface Folded {
  documents: Documents;
  log: LogReading;
  position: LogPosition;
  /** False: the log carries no documents (0.5.0 wrote it); the files on disk are all there is. */
  imported: boolean;
}

/**
 * Folds the whole log of a folder, writing nothing. `visit` sees every valid event in order, and where its line ends; with
 * `marks` it need not see those whose lines hold none of these texts: then only what is needed is parsed.
 */
export function foldFolder(
  folder: string,
  ports: { disk: Disk },
  visit?: (event: Event, end: number) => void,
  marks?: readonly string[],
): Folded {
  const documents: Documents = new Map();
  let imported = false;
  const take = (event: Event, end: number): void => {
    const whole = wholeEvent(folder, event, ports);
    if (whole.changes) {
      imported = true;
      applyChanges(documents, whole.changes);
    }
    visit?.(whole, end);
  };
  const path = logPath(folder, ports);
  const log =
    visit && !marks
      ? readLog(path, ports, (event, _line, end) => take(event, end))
      : scanLog(path, ports, markedLines([CHANGES, BLOB, ...(marks ?? [])], take));
  return {
    documents,
    log,
    position: { seq: log.seq, digest: log.digest, bytes: log.validBytes },
    imported,
  };
}

/**
 * Calls `visit` with the valid events whose lines hold one of these texts (or keep what they say in a blob), in order, of
 * the whole log or of its part behind a place.
 */
export function findEvents(
  folder: string,
  marks: readonly string[],
  ports: { disk: Disk },
  visit: (event: Event) => void,
  from?: LogPlace,
): void {
  const lines = markedLines([BLOB, ...marks], (event) => visit(wholeEvent(folder, event, ports)));
  scanLog(logPath(folder, ports), ports, lines, from);
}

function markedLines(
  texts: readonly string[],
  take: (event: Event, end: number) => void,
): (line: LogLine) => void {
  const marks = anyOf(texts);
  return (line) => {
    if (!line.holds(marks)) return;
    const event = line.event();
    if (event) take(event, line.end);
  };
}

/** Applies the changes of one event to documents. */
export function applyChanges(documents: Documents, changes: readonly DocumentChange[]): void {
  for (const change of changes) {
    const document = documents.get(change.file) ?? {};
    documents.set(change.file, document);
    const target = change.id === undefined ? document : taskOf(document, change.id);
    Object.assign(target, change.set);
    for (const key of change.unset ?? []) delete target[key];
  }
}

/** Where each task of a document stands, so that a change of one of many tasks does not look through all. */
const placesOf = new WeakMap<object, Map<string, Record<string, unknown>>>();

function taskOf(document: Record<string, unknown>, id: string): Record<string, unknown> {
  const tasks = (document["tasks"] ??= []) as Record<string, unknown>[];
  // A change that sets all tasks at once brings another list, which has no places yet.
  let places = placesOf.get(tasks);
  if (!places) placesOf.set(tasks, (places = new Map(tasks.map((one) => [String(one["id"]), one]))));
  let task = places.get(id);
  if (!task) {
    tasks.push((task = { id }));
    places.set(id, task);
  }
  return task;
}

/** The event with payload and changes fetched from `blobs/` when they were too large for the line. */
export function wholeEvent(folder: string, event: Event, ports: { disk: Disk }): Event {
  const name = event.seq === undefined ? undefined : event.payload?.["blob"];
  if (typeof name !== "string" || !/^[0-9a-f]{64}$/.test(name)) return event;
  const path = join(folder, "blobs", name);
  const bytes = readBounded(path, ports);
  if (createHash("sha256").update(bytes).digest("hex") !== name) {
    throw new OmkError(
      "state.damaged",
      `${path} does not have the content that event ${event.seq} refers to.`,
    );
  }
  return { ...event, ...(parseJson(bytes) as Partial<Event>) };
}

/** A JSON file of state as found on disk. */
export type FoundDocument =
  | { state: "missing" }
  | { state: "unreadable"; because: string }
  | { state: "found"; record: Record<string, unknown> };

/** Reads one JSON file without judging it; refuses one of a newer version (`state.version`) and an oversized one. */
export function readDocument(path: string, ports: { disk: Disk }): FoundDocument {
  const info = ports.disk.stat(path);
  if (!info) return { state: "missing" };
  if (info.kind !== "file") return { state: "unreadable", because: `it is a ${info.kind}, not a file` };
  let value: unknown;
  try {
    value = parseJson(readBounded(path, ports));
  } catch (error) {
    if (error instanceof OmkError) throw error;
    return { state: "unreadable", because: error instanceof Error ? error.message : String(error) };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { state: "unreadable", because: "it is not a JSON object" };
  }
  const record = value as Record<string, unknown>;
  const version = Number(record["version"] ?? 0);
  if (version > STATE_VERSION) {
    throw new OmkError(
      "state.version",
      `${path} has version ${version}; this omk knows up to ${STATE_VERSION}.`,
      {
        hint: "It was written by a newer omk. Upgrade omk to work with it; nothing was changed.",
      },
    );
  }
  return { state: "found", record };
}

function readBounded(path: string, ports: { disk: Disk }): Uint8Array {
  try {
    return ports.disk.readFile(path, DOCUMENT_BYTES_MAX);
  } catch (error) {
    throw ioFailure("read", path, error);
  }
}

/** A goal or run that this process controls. */
export class Journal {
  readonly folder: string;
  /** Problems found while opening, in words, for the story. */
  readonly repairs: readonly string[];
  readonly documents: Documents;
  readonly #chain: HeldChain;
  readonly #log: EventLog;
  readonly #ports: JournalPorts;
  /** Documents that have a file; others are only in the log. */
  readonly #snapshots: ReadonlySet<string>;
  readonly #dirty = new Set<string>();
  /** The event that each snapshot on disk includes, as far as it is known. */
  readonly #savedSeq = new Map<string, number>();
  /** The newest event that `documents` include; the log may be one moment ahead. */
  #foldedSeq: number;
  /** Ends with the last step that was asked for by `inTurn`. */
  #lastTurn: Promise<unknown> = Promise.resolve();

  private constructor(
    folder: string,
    chain: HeldChain,
    log: EventLog,
    documents: Documents,
    opened: { snapshots: readonly string[]; repairs: readonly string[] },
    ports: JournalPorts,
  ) {
    this.folder = folder;
    this.#snapshots = new Set(opened.snapshots);
    this.#chain = chain;
    this.#log = log;
    this.documents = documents;
    this.repairs = opened.repairs;
    this.#ports = ports;
    this.#foldedSeq = log.position.seq;
  }

  /**
   * Takes control of a folder (made when missing): claims its chain, repairs a torn end, folds the log and puts right
   * the snapshots that are missing, damaged or old. Throws `state.busy`, `state.version`, `state.damaged`, `state.io`.
   */
  static async open(
    folder: string,
    request: {
      runId: string;
      command: string;
      what: string;
      snapshots: readonly string[];
      /** Sees the events of the log while it is folded: at least those whose lines hold one of `marks`. */
      visit?: (event: Event) => void;
      marks?: readonly string[];
    },
    ports: JournalPorts,
    signal: AbortSignal,
  ): Promise<Journal> {
    for (const name of request.snapshots) readDocument(join(folder, name), ports);
    await ensureFolder(folder, ports);
    const chain = await claimChain(join(folder, "controller"), request, ports, signal);
    let log: EventLog | undefined;
    try {
      sweepTemporaries(folder, ports.clock.now().getTime(), "all", ports);
      const repairs: string[] = [];
      const folded = await repairLog(folder, chain.isClean, repairs, request, ports);
      const path = join(folder, LOG);
      log = new EventLog(path, request.runId, chain, folded.position, ports);
      const journal = new Journal(
        folder,
        chain,
        log,
        folded.documents,
        { snapshots: request.snapshots, repairs },
        ports,
      );
      await ports.disk.syncFolder(folder);
      if (!folded.imported) await journal.#import(request.snapshots, folded);
      else await journal.#checkSnapshots(request.snapshots);
      return journal;
    } catch (error) {
      await log?.close();
      await chain.release(false).catch(() => undefined); // the first error is what the user must hear
      throw error;
    }
  }

  get epoch(): number {
    return this.#chain.epoch;
  }

  /** The last durable event. */
  get position(): LogPosition {
    return this.#log.position;
  }

  /** False once another process has taken over: then nothing more may be written. */
  isNewest(): boolean {
    return this.#chain.isNewest();
  }

  /** The number the next event will get, if nothing else is being appended. */
  get nextSeq(): number {
    return this.#log.position.seq + 1;
  }

  /** Appends events in one write and folds them in; resolves when they are durable. */
  async append(...events: NewEvent[]): Promise<SealedEvent[]> {
    const written = await this.#log.append(events);
    for (const event of written) {
      this.#foldedSeq = event.seq;
      if (!event.changes) continue;
      applyChanges(this.documents, event.changes);
      for (const { file } of event.changes) if (this.#snapshots.has(file)) this.#dirty.add(file);
    }
    return written;
  }

  /**
   * Takes a step that records something made of what the documents hold: it begins when all such steps before it have ended,
   * so that none overwrites what another one, under way beside it, has added. Nothing in it may wait for another step.
   */
  inTurn<T>(step: () => Promise<T>): Promise<T> {
    const taken = this.#lastTurn.then(step);
    // Whoever asked learns of a failure; what comes next has its own.
    this.#lastTurn = taken.catch(() => undefined);
    return taken;
  }

  /**
   * Writes the snapshots of all documents that changed since the last time, and of those behind which so much has happened
   * that readers would have much to catch up on.
   */
  async save(): Promise<void> {
    for (const [name, seq] of this.#savedSeq) {
      if (name !== UNPLACED && this.position.seq - seq > EVENTS_BEHIND_MAX) this.#dirty.add(name);
    }
    for (const name of Array.from(this.#dirty)) {
      // Whoever appended them has yet to fold in events that are in the log: a matter of microtasks.
      for (let turn = 0; this.#foldedSeq < this.position.seq && turn < TURNS_MAX; turn++)
        await Promise.resolve();
      const document = this.documents.get(name);
      // Before the wait: what is folded in meanwhile makes it dirty again.
      this.#dirty.delete(name);
      if (!document) continue;
      const { seq } = this.position;
      try {
        await replaceFile(join(this.folder, name), this.#snapshot(name, document), this.#ports);
        this.#savedSeq.set(name, seq);
      } catch (error) {
        this.#dirty.add(name);
        throw error;
      }
    }
  }

  /** Saves, hands the chain on and closes the log. */
  async close(): Promise<void> {
    try {
      if (this.#chain.isNewest()) await this.save();
    } finally {
      await this.abandon();
    }
  }

  /** Closes the log and hands the chain on without touching a snapshot: after a failure. */
  async abandon(): Promise<void> {
    await this.#log.close();
    await this.#chain.release(!this.#log.hasFailed);
  }

  #snapshot(name: string, document: Record<string, unknown>): string {
    return renderSnapshot(name, document, this.#log.position);
  }

  /** The first write to a goal of 0.5.0: its documents whole, and the digest of what its log held until now. */
  async #import(names: readonly string[], folded: Folded): Promise<void> {
    const changes: DocumentChange[] = [];
    for (const name of names) {
      const found = readDocument(join(this.folder, name), this.#ports);
      if (found.state === "unreadable") {
        const because = `${name} cannot be read: ${found.because}.`;
        throw new OmkError("state.damaged", `${join(this.folder, name)}: ${because}`, {
          hint: "This goal has no log to rebuild it from. Restore the file, or start a new goal.",
        });
      }
      if (found.state === "found") changes.push({ file: name, set: found.record });
    }
    if (changes.length === 0) return;
    const path = logPath(this.folder, this.#ports);
    const before = this.#ports.disk.stat(path) ? this.#ports.disk.readFile(path) : new Uint8Array();
    const digest = createHash("sha256").update(before).digest("hex");
    const payload = { legacy_lines: folded.log.legacyLines, sha256: digest, bytes: before.length };
    await this.append({ kind: "goal_imported", actor: "goal-controller", payload, changes });
  }

  /** Snapshots are caches of the fold: one that is missing or old is written again, a damaged one is set aside first. */
  async #checkSnapshots(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const document = this.documents.get(name);
      if (!document) continue;
      const path = join(this.folder, name);
      const found = readDocument(path, this.#ports);
      if (found.state === "found") {
        const seq = snapshotSeq(found.record);
        if (seq !== undefined && seq > this.position.seq) {
          throw new OmkError(
            "state.damaged",
            `${path} includes event ${seq}, but the log ends at ${this.position.seq}.`,
            {
              hint: "The log has lost events that were there before. Restore events.jsonl; nothing was changed.",
            },
          );
        }
        if (sameContent(name, found.record, document)) {
          this.#savedSeq.set(name, seq ?? 0);
          continue;
        }
        // Older than the log: the usual case after a crash. Same age and different: somebody edited it.
        if (seq === this.position.seq) await this.#setAside(path, "it differs from what the log says");
      } else if (found.state === "unreadable") await this.#setAside(path, found.because);
      this.#dirty.add(name);
    }
    await this.save();
  }

  async #setAside(path: string, because: string): Promise<void> {
    const kept = await quarantine(this.folder, path, this.#ports);
    const payload = { path, kept_as: kept, reason: because };
    await this.append({ kind: "file_quarantined", actor: "goal-controller", payload });
  }
}

/**
 * Folds the log after putting its end right: a torn one is cut off, and after an unclean end the whole part is written
 * into a new file, because its last bytes may be in memory only.
 */
/** Where a folder is in nobody's way: beside the folder that is looked through for others of its kind. */
function aside(folder: string): string {
  return join(dirname(dirname(folder)), `damaged-${basename(folder)}`);
}

async function repairLog(
  folder: string,
  isClean: boolean,
  repairs: string[],
  { visit, marks }: { visit?: (event: Event) => void; marks?: readonly string[] },
  ports: JournalPorts,
): Promise<Folded> {
  const folded = foldFolder(folder, ports, visit, marks);
  const { log } = folded;
  if (log.damage.length > 0) {
    const first = log.damage[0];
    throw new OmkError(
      "state.damaged",
      `${join(folder, LOG)} is damaged at line ${first?.line}: ${first?.because}.`,
      {
        hint:
          "Reading still works, and nothing was changed. Restore the file from a copy to go on, or put all of it aside: " +
          `mv ${shellQuoted(folder)} ${shellQuoted(aside(folder))}`,
      },
    );
  }
  const path = join(folder, LOG);
  if (log.bytes === 0 || logPath(folder, ports) !== path || (isClean && !log.torn)) return folded;
  if (log.torn) {
    await quarantineBytes(folder, LOG, readTail(path, log.validBytes, ports), ports);
    repairs.push(
      `the last write of ${LOG} had been cut off; ${log.bytes - log.validBytes} bytes are in quarantine`,
    );
  }
  await rewritePrefix(path, log.validBytes, ports);
  return folded;
}

function readTail(path: string, from: number, ports: { disk: Disk }): Uint8Array {
  const file = ports.disk.open(path, "read");
  try {
    const tail = Buffer.alloc(Math.min(file.size() - from, TAIL_BYTES_MAX));
    return tail.subarray(0, file.read(tail, from));
  } finally {
    file.close();
  }
}

/** A document as its file's text. `proof.json` is fixed by digest in the log, so it names its own place there. */
export function renderSnapshot(
  name: string,
  document: Record<string, unknown>,
  position: LogPosition,
): string {
  if (name === UNPLACED) return renderDocument(document);
  return renderDocument({ ...document, seq: position.seq, log_bytes: position.bytes });
}

/** The `seq` a snapshot says it includes. */
export function snapshotSeq(record: Record<string, unknown>): number | undefined {
  const { seq } = record;
  return typeof seq === "number" ? seq : undefined;
}

function sameContent(name: string, found: Record<string, unknown>, folded: Record<string, unknown>): boolean {
  const place = { seq: 0, digest: "", bytes: 0 };
  return renderSnapshot(name, found, place) === renderSnapshot(name, folded, place);
}
