/**
 * What git ignores in a project (installed packages, say), brought into a checkout of it. It is copied, so that nothing
 * done there reaches the user's own files; only what is too much to copy is linked, entry by entry, and watched.
 */
import { createHash } from "node:crypto";
import { basename, dirname, join, relative } from "node:path";

import { OmkError, systemCode } from "../errors.ts";
import type { Disk, FileInfo, Processes } from "../ports.ts";

/** Where it comes from, and where to. */
interface Bringing {
  /** The project, without links. */
  root: string;
  /** The checkout; what the tree has there stays. */
  folder: string;
  /** Relative to the project; a slash at the end does not matter. */
  paths: readonly string[];
  /** The `PATH` on which `cp` is found. */
  searchPath: string;
  /** Whether a path that is too much to copy is linked; else it is left out. Absent: all are. */
  mayLink?: (path: string) => boolean;
}

/** What copying needs of the world. */
interface CopyPorts {
  disk: Disk;
  processes: Pick<Processes, "run">;
}

/** What was too much to copy, and so is the user's own. */
export interface LinkedIgnored {
  /** Relative to the project: folders whose entries are linked, or files. */
  paths: readonly string[];
  /** Linked entries whose files are not as they were when they were linked. */
  changed(): string[];
}

/** What is copied for one checkout, all together. */
export interface CopyLimits {
  entries: number;
  bytes: number;
}

const LIMITS: CopyLimits = { entries: 30_000, bytes: 512 * 1024 * 1024 };

/**
 * What tools keep for themselves beside installed packages, and write whenever they run: through a link they would write
 * into the project, and nothing is judged by it.
 */
export const TOOL_CACHE =
  /^(?:__pycache__|\.cache|\.vite|\.vite-temp|\.vitest|\.turbo|\.parcel-cache|\.(?:pytest|mypy|ruff)_cache)$/;

/** Beyond this, linked entries are not compared. */
const WATCHED_ENTRIES_MAX = 200_000;
const COPY_MS = 300_000;
/** Paths given to one `cp`. */
const PATHS_AT_ONCE = 100;

/** One thing to bring, as it was found. */
interface Found {
  /** Relative to the project. */
  path: string;
  /** Where it really lies. */
  from: string;
  entries: number;
  bytes: number;
  /** Symbolic links in it, relative to the project. */
  links: string[];
}

/** Brings the paths in; undefined where everything could be copied. */
export async function bringIgnored(
  { root, folder, paths, searchPath, mayLink = () => true }: Bringing,
  ports: CopyPorts,
  signal: AbortSignal,
  limits: CopyLimits = LIMITS,
): Promise<LinkedIgnored | undefined> {
  const { disk } = ports;
  const found: Found[] = [];
  for (const name of paths) {
    const path = name.replace(/\/$/, "");
    const from = disk.realPath(join(root, path));
    if (from === undefined || !isFolderIn(folder, dirname(path), disk)) continue;
    if (disk.stat(join(folder, path)) || disk.stat(from)?.kind === "other") continue;
    found.push(measured(path, from, limits, disk));
  }
  // Small ones first: one large folder is not to keep the others from being copied.
  found.sort((a, b) => a.entries - b.entries);
  const left = { ...limits };
  const copied: Found[] = [];
  const linked: Found[] = [];
  for (const one of found) {
    const fits = one.entries <= left.entries && one.bytes <= left.bytes;
    if (!fits) {
      if (mayLink(one.path)) linked.push(one);
      continue;
    }
    copied.push(one);
    left.entries -= one.entries;
    left.bytes -= one.bytes;
  }
  await copyAll(copied, { folder, searchPath }, ports, signal);
  const entries = linked.flatMap((one) => linkIn(one, folder, disk));
  for (const { links } of copied) for (const path of links) leadRight(path, root, folder, disk);
  if (linked.length === 0) return undefined;
  const before = digests(entries, disk);
  return {
    paths: linked.map(({ path }) => path).toSorted(),
    changed: () => {
      const after = before && digests(entries, disk);
      return after
        ? entries.map(({ path }) => path).filter((path) => before.get(path) !== after.get(path))
        : [];
    },
  };
}

/** Counts no further than it could be copied. */
function measured(path: string, from: string, limits: CopyLimits, disk: Disk): Found {
  const found: Found = { path, from, entries: 0, bytes: 0, links: [] };
  const isReadable = walk(from, limits.entries, disk, (at, info) => {
    found.entries++;
    found.bytes += info.kind === "file" ? info.size : 0;
    if (info.kind === "link") found.links.push(join(path, relative(from, at)));
  });
  return isReadable ? found : { ...found, entries: Infinity };
}

/**
 * Visits a file, or a folder and all below it, following no link; false where that is too much or not to be read. What the
 * visitor answers `false` to is not entered.
 */
export function walk(
  from: string,
  entriesMax: number,
  disk: Pick<Disk, "stat" | "list">,
  visit: (path: string, info: FileInfo) => void | false,
): boolean {
  const open = [from];
  let entries = 0;
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const info = disk.stat(at);
    // A file that goes while it is looked at is not there to be copied.
    if (!info) continue;
    if (++entries > entriesMax) return false;
    if (visit(at, info) === false || info.kind !== "folder") continue;
    try {
      for (const name of disk.list(at)) open.push(join(at, name));
    } catch (error) {
      // A folder of somebody else, or one that has just gone.
      if (systemCode(error) === undefined) throw error;
      return false;
    }
  }
  return true;
}

async function copyAll(
  found: readonly Found[],
  { folder, searchPath }: { folder: string; searchPath: string },
  ports: CopyPorts,
  signal: AbortSignal,
): Promise<void> {
  const byFolder = new Map<string, string[]>();
  for (const { path, from } of found) {
    const to = join(folder, dirname(path));
    // What is a link there has another name where it lies.
    const isNamed = from.endsWith(`/${path.split("/").at(-1) ?? ""}`);
    const key = isNamed ? to : join(folder, path);
    byFolder.set(key, [...(byFolder.get(key) ?? []), from]);
  }
  for (const [to, all] of byFolder) {
    for (let at = 0; at < all.length; at += PATHS_AT_ONCE)
      await copy(all.slice(at, at + PATHS_AT_ONCE), to, searchPath, ports, signal);
  }
}

/** Copies files and folders with their times, modes and links, into a folder or to a name. */
export async function copy(
  from: readonly string[],
  to: string,
  searchPath: string,
  { processes }: Pick<CopyPorts, "processes">,
  signal: AbortSignal,
): Promise<void> {
  const run = await processes.run(
    {
      argv: ["cp", "-a", "--", ...from, to],
      cwd: "/",
      env: { PATH: searchPath, LC_ALL: "C" },
      timeoutMs: COPY_MS,
      outputBytesMax: 1024 * 1024,
    },
    signal,
  );
  if (run.exit.kind === "exited" && run.exit.code === 0 && !run.timedOut) return;
  const because = run.timedOut ? `it took longer than ${COPY_MS / 1000} s` : run.stderr.trim().slice(-500);
  throw new OmkError("state.io", `Files could not be copied to ${to}: ${because}`, {
    hint: "Make room, or mend the permissions, then run the command again. Nothing of yours was changed.",
  });
}

/** Links what was found into the checkout: a folder entry by entry, so that what is new there is not in the project. */
function linkIn({ path, from }: Found, folder: string, disk: Disk): { path: string; from: string }[] {
  const to = join(folder, path);
  const names = disk.stat(from)?.kind === "folder" ? namesIn(from, disk) : undefined;
  if (!names) {
    disk.symbolicLink(from, to);
    return [{ path, from }];
  }
  disk.makeFolder(to);
  const linked = names.filter((name) => !TOOL_CACHE.test(name));
  for (const name of linked) disk.symbolicLink(join(from, name), join(to, name));
  return linked.map((name) => ({ path: join(path, name), from: join(from, name) }));
}

function namesIn(folder: string, disk: Disk): string[] | undefined {
  try {
    return disk.list(folder);
  } catch (error) {
    // One that cannot be listed can still be entered by those who know the names.
    if (systemCode(error) === undefined) throw error;
    return undefined;
  }
}

/** A copied link leads to what its original leads to, but never back into the project. */
function leadRight(path: string, root: string, folder: string, disk: Disk): void {
  const original = disk.realPath(join(root, path));
  if (original === undefined) return;
  const below = relative(root, original);
  const isInside = below !== ".." && !below.startsWith("../");
  const wanted = isInside ? join(folder, below) : original;
  const to = join(folder, path);
  const real = disk.realPath(to);
  if (real === wanted || (isInside && real === disk.realPath(wanted)) || !disk.stat(wanted)) return;
  disk.remove(to);
  disk.symbolicLink(wanted, to);
}

/** What tells each entry from what it may become; undefined where there is too much of it. */
function digests(
  entries: readonly { path: string; from: string }[],
  disk: Disk,
): Map<string, string> | undefined {
  let left = WATCHED_ENTRIES_MAX;
  const known = new Map<string, string>();
  for (const { path, from } of entries) {
    const hash = createHash("sha256");
    const isWhole = walk(from, left, disk, (at, { kind, size, modifiedMs, inode }) => {
      left--;
      if (TOOL_CACHE.test(basename(at))) return false;
      // A folder's own time changes with its names, which are seen by themselves.
      hash.update(kind === "folder" ? `${at}\0` : `${at}\0${kind} ${size} ${modifiedMs} ${inode}\0`);
      return undefined;
    });
    if (!isWhole && left <= 0) return undefined;
    known.set(path, hash.digest("hex"));
  }
  return known;
}

/** Whether every step from the checkout down to there is a real folder: a link in the tree could lead anywhere. */
function isFolderIn(folder: string, path: string, disk: Disk): boolean {
  let at = folder;
  return path.split("/").every((name) => {
    at = join(at, name);
    return disk.stat(at)?.kind === "folder";
  });
}
