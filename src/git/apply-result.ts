/** How a result becomes changes of the user's own files, while they may be at work on them: nothing of theirs is overwritten. */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";

import { systemCode } from "../errors.ts";
import { printable } from "../format/printable.ts";
import type { Disk, FileInfo } from "../ports.ts";
import { keepTree } from "./kept.ts";
import { checked, type PrivateGit, type TreeChange } from "./private-git.ts";
import { refusedChanges } from "./refused-changes.ts";
import type { WorkTree } from "./work-tree.ts";

/** Why a file of a result was not put in its place. */
export interface InTheWay {
  path: string;
  because: string;
}

/** What became of it. `written` and `removed` count the files that this call changed. */
export type Applied =
  | { outcome: "applied"; written: number; removed: number }
  /** Not one file was changed. */
  | { outcome: "refused"; inTheWay: InTheWay[] }
  /** Files that somebody changed in the midst of it were left as they are. `before` is the ref of what all held at first. */
  | { outcome: "partial"; written: number; removed: number; inTheWay: InTheWay[]; before: string };

/** What is laid over the user's files. */
export interface Laying {
  /** The tree of the project that the files are expected to be as. */
  base: string;
  /** Results that an earlier call was cut off with: a file may be as one of them has it. */
  partly?: readonly string[];
  result: string;
  /** The instant that the commit of what the files held before carries. */
  at: Date;
}

/** What the user's files held before, below the goal's rescue refs. */
const BEFORE_APPLY = "before-apply";
/** Files that may lie in a folder where a file shall be. */
const FOLDER_ENTRIES_MAX = 10_000;
const READ_BYTES = 1024 * 1024;

type Entries = ReadonlyMap<string, string>;

/** The user's files and what they shall become. */
interface Ground {
  disk: Disk;
  root: string;
  objectFormat: string;
  /** What git has of them, from one look. */
  now: Entries;
  /** What they may be as, so that they are replaced. */
  bases: readonly Entries[];
  after: Entries;
  /** What lay at the paths in question before that look. */
  seen: ReadonlyMap<string, FileInfo | undefined>;
}

/**
 * Lays a result over the user's files; their index and HEAD stay. Refused as a whole when a file that it would touch is not
 * as the base has it, or anything lies where a new one goes, ignored or not. All files are written aside first, and each is
 * looked at again in the moment it is replaced: one that has changed since stays. Cut off or ended half-way, the same call
 * goes on: a file that is as the result has it is done.
 */
export async function applyResult(
  git: PrivateGit,
  project: WorkTree,
  given: Laying,
  signal: AbortSignal,
): Promise<Applied> {
  const { root } = project;
  const { result } = given;
  const starts = [given.base, ...(given.partly ?? [])];
  const changes = await changesOf(git, starts, result, signal);
  const refused = refusedChanges(changes);
  if (refused.length > 0) return { outcome: "refused", inTheWay: refused };
  const aside = new Aside(git, root, result);
  aside.clear(changes.map(({ path }) => path));
  const { disk } = git.ports;
  const seen = new Map(changes.map(({ path }) => [path, statOf(disk, join(root, path))]));
  const tree = await project.snapshot(signal);
  const ground: Ground = {
    disk,
    root,
    objectFormat: git.objectFormat,
    now: await git.entries(tree, signal),
    bases: await Promise.all(starts.map((start) => git.entries(start, signal))),
    after: await git.entries(result, signal),
    seen,
  };
  const { now, after } = ground;
  const open = changes.map(({ path }) => path).filter((path) => now.get(path) !== after.get(path));
  const inTheWay = open.flatMap((path) => namedIf(path, whyRefused(ground, path)));
  if (inTheWay.length > 0) return { outcome: "refused", inTheWay };
  if (open.length === 0) return { outcome: "applied", written: 0, removed: 0 };

  const written = open.filter((path) => after.has(path));
  try {
    await aside.write(written, signal);
    const before = await keepTree(git, { name: BEFORE_APPLY, tree, at: given.at }, signal);
    return await lay(ground, { aside, written, before }, open, signal);
  } finally {
    aside.clear(written);
  }
}

/** What differs between any of the trees and the result, each path once. */
async function changesOf(
  git: PrivateGit,
  from: readonly string[],
  to: string,
  signal: AbortSignal,
): Promise<TreeChange[]> {
  const all = await Promise.all(from.map((tree) => git.changes(tree, to, signal)));
  return [...new Map(all.flat().map((change) => [change.path, change])).values()];
}

/** Puts the files in their places, and removes those that go: first, since a folder of them may become a file. */
async function lay(
  ground: Ground,
  { aside, written, before }: { aside: Aside; written: readonly string[]; before: string },
  open: readonly string[],
  signal: AbortSignal,
): Promise<Applied> {
  const gone = open.filter((path) => !ground.after.has(path));
  const inTheWay = gone.flatMap((path) => namedIf(path, remove(ground, path)));
  const removed = gone.length - inTheWay.length;
  for (const [at, path] of written.entries()) {
    signal.throwIfAborted();
    let why = place(ground, path, aside.pathOf(path));
    if (why === ELSEWHERE) {
      why = await aside.writeBeside(path, written.slice(at), signal);
      why ??= place(ground, path, aside.pathOf(path));
    }
    inTheWay.push(...namedIf(path, why));
  }
  const done = { written: written.length - (inTheWay.length - (gone.length - removed)), removed };
  if (inTheWay.length === 0) return { outcome: "applied", ...done };
  if (done.written + done.removed === 0) return { outcome: "refused", inTheWay };
  return { outcome: "partial", ...done, inTheWay, before };
}

function namedIf(path: string, because: string | undefined): InTheWay[] {
  return because === undefined ? [] : [{ path, because }];
}

// ---- What must not be touched

/** Why a file cannot be what the result has: seen before anything is changed. */
function whyRefused(ground: Ground, path: string): string | undefined {
  const { disk, root, now, bases, after } = ground;
  if (!bases.some((base) => base.get(path) === now.get(path)))
    return now.has(path) ? "it is not as the goal's base has it" : "it is gone";
  if (!after.has(path)) return undefined;
  const isKnown = (name: string) => bases.some((base) => base.has(name));
  // A file that the result replaces by a folder is not in the way of what goes in there.
  const above = noFolderAbove(ground, path, (name) => isKnown(name) && !after.has(name));
  if (above !== undefined) return above;
  const found = statOf(disk, join(root, path));
  if (!found || now.has(path)) return undefined;
  if (found.kind !== "folder") return "a file that git ignores lies there";
  const { files } = lookInto(ground, path);
  const strange = files.find((name) => !isKnown(name) || after.has(name));
  return strange === undefined ? undefined : holds(strange);
}

/** Why a file must be left alone: what lies there is not what did when all was looked at. */
function whyChanged(ground: Ground, path: string): string | undefined {
  const above = noFolderAbove(ground, path, () => false);
  if (above !== undefined) return above;
  const found = ground.disk.stat(join(ground.root, path));
  const entry = ground.now.get(path);
  if (entry !== undefined && !found) return "it is gone";
  if (entry !== undefined && found)
    return isAsSeen(ground, path, found) ? undefined : "it was changed meanwhile";
  if (!found) return undefined;
  if (found.kind !== "folder") return "something was put there meanwhile";
  const [strange] = lookInto(ground, path).files;
  return strange === undefined ? undefined : holds(strange);
}

/** What lies above a path and is no folder, or a link to one, as a reason. */
function noFolderAbove(
  { disk, root }: Ground,
  path: string,
  mayBe: (name: string) => boolean,
): string | undefined {
  let found: string | undefined;
  for (let above = dirname(path); above !== "."; above = dirname(above)) {
    const kind = statOf(disk, join(root, above))?.kind;
    if (kind !== undefined && kind !== "folder" && !mayBe(above)) found = above;
  }
  return found === undefined ? undefined : `${printable(found, { oneLine: true })} is no folder`;
}

function holds(name: string): string {
  return `the folder there holds ${printable(name, { oneLine: true })}`;
}

/** What lies there; below something that is no folder, nothing does. */
function statOf(disk: Disk, path: string): FileInfo | undefined {
  try {
    return disk.stat(path);
  } catch (error) {
    if (systemCode(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

/** All files below a folder, and its folders from the top down, by their paths; bounded, since more are in the way anyhow. */
function lookInto({ disk, root }: Ground, folder: string): { files: string[]; folders: string[] } {
  const files: string[] = [];
  const folders = [folder];
  for (let at = 0; at < folders.length && at + files.length < FOLDER_ENTRIES_MAX; at++) {
    const next = folders[at] ?? folder;
    for (const name of disk.list(join(root, next))) {
      const path = `${next}/${name}`;
      (disk.stat(join(root, path))?.kind === "folder" ? folders : files).push(path);
    }
  }
  return { files, folders };
}

/** Whether a file is the one that was seen, with the bytes that git saw there. */
function isAsSeen(ground: Ground, path: string, found: FileInfo): boolean {
  const seen = ground.seen.get(path);
  if (seen?.kind !== found.kind || seen.size !== found.size || seen.mode !== found.mode) return false;
  // A link cannot be written to, only be replaced.
  if (found.kind === "link") return seen.inode === found.inode && seen.modifiedMs === found.modifiedMs;
  if (found.kind !== "file") return false;
  const [, , oid] = (ground.now.get(path) ?? "").split(" ");
  return blobAt(ground, path) === oid;
}

/** How git names the bytes of a file. */
function blobAt({ disk, root, objectFormat }: Ground, path: string): string {
  const file = disk.open(join(root, path), "read");
  try {
    const hash = createHash(objectFormat).update(`blob ${file.size()}\0`);
    const bytes = new Uint8Array(READ_BYTES);
    let position = 0;
    for (let read = file.read(bytes, 0); read > 0; read = file.read(bytes, position)) {
      hash.update(bytes.subarray(0, read));
      position += read;
    }
    return hash.digest("hex");
  } finally {
    file.close();
  }
}

// ---- One file after another

/** The file lies aside on another file system than the place where it goes. */
const ELSEWHERE = "elsewhere";

/** Removes a file and folders that hold nothing then, or says why it stays. */
function remove(ground: Ground, path: string): string | undefined {
  return orWhyNot(() => {
    const changed = whyChanged(ground, path);
    if (changed !== undefined) return changed;
    ground.disk.remove(join(ground.root, path));
    removeEmptyAbove(ground, path);
    return undefined;
  });
}

/** Puts a file that lies aside in its place in one step, or says why not. */
function place(ground: Ground, path: string, from: { file: string; top: string }): string | undefined {
  const { disk, root } = ground;
  return orWhyNot(() => {
    const changed = whyChanged(ground, path);
    if (changed !== undefined) return changed;
    const to = join(root, path);
    if (disk.stat(to)?.kind === "folder")
      for (const folder of lookInto(ground, path).folders.reverse()) disk.removeFolder(join(root, folder));
    makeFoldersAbove(ground, path, from.top);
    try {
      disk.rename(from.file, to);
    } catch (error) {
      if (systemCode(error) === "EXDEV") return ELSEWHERE;
      throw error;
    }
    return undefined;
  });
}

/** A failure of the system is about this one file: the others may still be done. */
function orWhyNot(act: () => string | undefined): string | undefined {
  try {
    return act();
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined) throw error;
    return `it cannot be changed (${code})`;
  }
}

/** Makes the folders that a file needs, with the permissions that git gave them aside. */
function makeFoldersAbove({ disk, root }: Ground, path: string, top: string): void {
  const missing: string[] = [];
  for (let above = dirname(path); above !== "." && !disk.stat(join(root, above)); above = dirname(above))
    missing.push(above);
  for (const folder of missing.reverse()) {
    disk.makeFolder(join(root, folder));
    const { mode } = disk.stat(join(top, folder)) ?? { mode: 0o700 };
    disk.setMode(join(root, folder), mode);
  }
}

function removeEmptyAbove({ disk, root }: Ground, path: string): void {
  for (let above = dirname(path); above !== "."; above = dirname(above)) {
    const folder = join(root, above);
    if (disk.stat(folder)?.kind !== "folder" || disk.list(folder).length > 0) return;
    try {
      disk.removeFolder(folder);
    } catch (error) {
      // Somebody has just put something there, or it cannot be removed: an empty folder does no harm.
      if (systemCode(error) !== undefined) return;
      throw error;
    }
  }
}

// ---- Files that wait for their turn

/**
 * Where files of a result lie before each is put in its place: in the goal's own folder and, for folders of the project that
 * are on another file system, in a folder within them.
 */
class Aside {
  readonly #git: PrivateGit;
  readonly #root: string;
  readonly #result: string;
  readonly #own: string;
  /** Folders of the project that are on another file system, with where their files lie aside. */
  readonly #beside = new Map<string, string>();

  constructor(git: PrivateGit, root: string, result: string) {
    this.#git = git;
    this.#root = root;
    this.#result = result;
    this.#own = join(git.goalDir, "apply");
  }

  /** Where a file lies, and the folder that its path is below of. */
  pathOf(path: string): { file: string; top: string } {
    const top = this.#beside.get(dirname(path)) ?? this.#own;
    return { file: join(top, path), top };
  }

  async write(paths: readonly string[], signal: AbortSignal): Promise<void> {
    this.#git.ports.disk.makeFolder(this.#own);
    await this.#checkOut(this.#own, paths, signal);
  }

  /** Writes a file, and the others of its folder, once more within that folder, or says why not. */
  async writeBeside(
    path: string,
    paths: readonly string[],
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const folder = dirname(path);
    const top = this.#nameIn(folder);
    const failed = orWhyNot(() => {
      this.#git.ports.disk.makeFolder(top);
      return undefined;
    });
    if (failed !== undefined) return failed;
    this.#beside.set(folder, top);
    const siblings = paths.filter((one) => dirname(one) === folder);
    await this.#checkOut(top, siblings, signal);
    return undefined;
  }

  /** Takes all of it away, also what an omk that died has left. */
  clear(paths: readonly string[]): void {
    const { disk } = this.#git.ports;
    disk.removeTree(this.#own);
    for (const folder of new Set(paths.map((path) => dirname(path)))) {
      const beside = this.#nameIn(folder);
      if (this.#isFolder(folder) && statOf(disk, beside)?.kind === "folder") disk.removeTree(beside);
    }
  }

  #nameIn(folder: string): string {
    return join(this.#root, folder, `.omk-apply-${this.#git.goalId}`);
  }

  /** Whether that is a folder of the project itself: a link leads to somebody else's. */
  #isFolder(folder: string): boolean {
    const { disk } = this.#git.ports;
    for (let at = folder; at !== "."; at = dirname(at))
      if (statOf(disk, join(this.#root, at))?.kind !== "folder") return false;
    return true;
  }

  async #checkOut(folder: string, paths: readonly string[], signal: AbortSignal): Promise<void> {
    const git = this.#git;
    if (paths.length === 0) return;
    const index = git.temporaryIndex();
    try {
      await git.call(["read-tree", this.#result], { index }, signal);
      const stdin = Buffer.from(paths.map((path) => `${path}\0`).join(""));
      const args = ["checkout-index", "--force", "-z", "--stdin"];
      checked("checkout-index", await git.run(args, { index, stdin, cwd: folder, workTree: folder }, signal));
    } finally {
      git.dropIndex(index);
    }
  }
}
