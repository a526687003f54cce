/** Many files of a tree at the price of a few calls of git: one call for each would take minutes for some thousand. */
import { OmkError } from "../errors.ts";
import { textOf, type PrivateGit } from "./private-git.ts";

/** A file of a tree. */
export interface ReadFile {
  path: string;
  /** Undefined when the tree has no regular file there, or one that is too large. */
  bytes: Uint8Array | undefined;
}

/** So many sizes are asked for at once, */
const ASKED_MAX = 1_000;
/** and so much is read at once; a file that is larger comes alone. */
const BYTES_AT_ONCE = 16 * 1024 * 1024;
/** What git says before each file. */
const HEADER_BYTES_MAX = 128;
const LINE_END = 0x0a;

/** Reads files one after another, in the order in which they are named, as far as the caller asks. */
export async function* readFiles(
  git: PrivateGit,
  { tree, paths, bytesMax }: { tree: string; paths: readonly string[]; bytesMax: number },
  signal: AbortSignal,
): AsyncGenerator<ReadFile, undefined> {
  if (paths.length === 0) return;
  const entries = await git.entries(tree, signal);
  for (let at = 0; at < paths.length; at += ASKED_MAX) {
    const asked = paths.slice(at, at + ASKED_MAX).map((path) => ({ path, oid: fileId(entries.get(path)) }));
    const sizes = await sizesOf(
      git,
      asked.flatMap(({ oid }) => oid ?? []),
      signal,
    );
    const sized = asked.map(({ path, oid }) => {
      const size = oid === undefined ? undefined : sizes.get(oid);
      return { path, ...(oid !== undefined && size !== undefined && size <= bytesMax && { oid, size }) };
    });
    for (const part of inParts(sized)) yield* readPart(git, part, signal);
  }
  return;
}

/** A file that is to be read, or of which it is known that it is not. */
interface Wanted {
  path: string;
  oid?: string;
  size?: number;
}

function fileId(entry: string | undefined): string | undefined {
  return entry === undefined ? undefined : /^100\d{3} blob ([0-9a-f]+)$/.exec(entry)?.[1];
}

/** The object ids go in by lines: paths could hold a line end. */
function lines(oids: readonly string[]): Buffer {
  return Buffer.from(oids.map((oid) => `${oid}\n`).join(""));
}

async function sizesOf(
  git: PrivateGit,
  oids: readonly string[],
  signal: AbortSignal,
): Promise<Map<string, number>> {
  if (oids.length === 0) return new Map();
  const args = ["cat-file", "--batch-check=%(objectname) %(objectsize)"];
  const told = textOf(await git.call(args, { stdin: lines(oids) }, signal));
  return new Map(
    told.split("\n").map((line) => {
      const [, oid, size] = /^([0-9a-f]+) (\d+)$/.exec(line) ?? [];
      if (oid === undefined) throw unreadable(line);
      return [oid, Number(size)];
    }),
  );
}

function* inParts(all: readonly Wanted[]): Iterable<Wanted[]> {
  let part: Wanted[] = [];
  let bytes = 0;
  for (const one of all) {
    const { size = 0 } = one;
    if (part.length > 0 && bytes + size > BYTES_AT_ONCE) {
      yield part;
      [part, bytes] = [[], 0];
    }
    part.push(one);
    bytes += size;
  }
  if (part.length > 0) yield part;
}

async function* readPart(
  git: PrivateGit,
  part: readonly Wanted[],
  signal: AbortSignal,
): AsyncGenerator<ReadFile, undefined> {
  const oids = part.flatMap(({ oid }) => oid ?? []);
  const bytesMax = part.reduce((sum, { size = 0 }) => sum + size + HEADER_BYTES_MAX, 0);
  const options = { stdin: lines(oids), outputBytesMax: bytesMax };
  const told = oids.length === 0 ? Buffer.alloc(0) : await git.call(["cat-file", "--batch"], options, signal);
  let at = 0;
  for (const { path, oid, size = 0 } of part) {
    if (oid === undefined) {
      yield { path, bytes: undefined };
      continue;
    }
    const start = told.indexOf(LINE_END, at) + 1;
    const header = told.toString("latin1", at, start - 1);
    if (header !== `${oid} blob ${size}`) throw unreadable(header);
    at = start + size + 1;
    yield { path, bytes: told.subarray(start, start + size) };
  }
  return;
}

function unreadable(said: string): OmkError {
  return new OmkError("git.failed", `git cannot read a file of a tree: ${said}`, {
    hint: "An object that omk had stored is not there any more. `omk rescue list` shows what is kept.",
  });
}
