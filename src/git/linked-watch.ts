/**
 * Watches what folders of attempts and the user's project share, since it is too large to be copied: a change there is no
 * part of any result, and yet all gates see it from then on.
 */
import { createHash } from "node:crypto";
import { basename, join, relative } from "node:path";

import type { Disk, FileInfo } from "../ports.ts";
import { TOOL_CACHE, walk } from "./ignored-files.ts";

/** A shared path, with what tells whether anything below it has changed. */
export interface SharedPath {
  path: string;
  digest: string;
}

/** A part of it that was found changed for the first time, e.g. one installed package. */
interface Changed {
  part: string;
  /** A few of its files, relative to the project. */
  files: string[];
}

/** Beyond this nothing is watched: a look would take too long. */
const WATCHED_ENTRIES_MAX = 400_000;
/** Named of one part. */
const FILES_NAMED_MAX = 3;

/** What is shared with one project. Times tell changes from one another, so a change that restores them is not seen. */
export class LinkedWatch {
  readonly #root: string;
  readonly #disk: Disk;
  /** By path: its files as they were when they were last looked at. */
  readonly #shared = new Map<string, ReadonlyMap<string, string>>();
  readonly #changed: Changed[] = [];

  /** The project, without links. */
  constructor(root: string, disk: Disk) {
    this.#root = root;
    this.#disk = disk;
  }

  /** Watches paths from now on; returns those that are too large for it. */
  add(paths: readonly string[]): string[] {
    const unwatched: string[] = [];
    for (const path of paths) {
      if (this.#shared.has(path)) continue;
      const files = this.#read(path);
      if (files) this.#shared.set(path, files);
      else unwatched.push(path);
    }
    return unwatched;
  }

  /** Everything that is watched, as it was when last looked at. */
  shared(): SharedPath[] {
    return [...this.#shared].map(([path, files]) => {
      const hash = createHash("sha256");
      for (const [file, identity] of files) hash.update(`${file}\0${identity}\0`);
      return { path, digest: hash.digest("hex") };
    });
  }

  /** How many parts have been found changed: what is found later is asked for by it. */
  get mark(): number {
    return this.#changed.length;
  }

  /** Looks, and answers the files of those parts that were found changed since the mark and never before. */
  look(since = 0): string[] {
    for (const [path, before] of this.#shared) {
      // Grown beyond what can be watched, all of it counts as changed.
      const after = this.#read(path) ?? new Map<string, string>();
      this.#note(path, differences(before, after));
      this.#shared.set(path, after);
    }
    return this.since(since);
  }

  /** The same without another look. */
  since(mark: number): string[] {
    return this.#changed.slice(mark).flatMap(({ files }) => files);
  }

  #note(path: string, files: readonly string[]): void {
    const parts = new Map<string, string[]>();
    for (const file of files) {
      const part = partOf(path, file);
      parts.set(part, [...(parts.get(part) ?? []), file]);
    }
    for (const [part, all] of parts) {
      if (this.#changed.some((one) => one.part === part)) continue;
      this.#changed.push({ part, files: all.slice(0, FILES_NAMED_MAX) });
    }
  }

  #read(path: string): Map<string, string> | undefined {
    const files = new Map<string, string>();
    const from = this.#disk.realPath(join(this.#root, path));
    if (from === undefined) return files;
    let entries = 0;
    walk(from, WATCHED_ENTRIES_MAX, this.#disk, (at, info) => {
      entries++;
      if (TOOL_CACHE.test(basename(at))) return false;
      // A folder's own time changes with its names, which are seen by themselves.
      if (info.kind !== "folder") files.set(join(path, relative(from, at)), identityOf(info));
      return undefined;
    });
    return entries < WATCHED_ENTRIES_MAX ? files : undefined;
  }
}

function identityOf({ kind, size, mode, modifiedMs, inode }: FileInfo): string {
  return `${kind} ${size} ${mode} ${modifiedMs} ${inode}`;
}

function differences(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  const changed = [...after].filter(([file, identity]) => before.get(file) !== identity);
  const gone = [...before.keys()].filter((file) => !after.has(file));
  return [...changed.map(([file]) => file), ...gone].toSorted();
}

/** What a change is about: a package, where packages lie below one folder, with their scope where they have one. */
function partOf(path: string, file: string): string {
  const [first = "", second = ""] = relative(path, file).split("/");
  return join(path, first.startsWith("@") ? join(first, second) : first);
}
