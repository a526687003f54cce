/**
 * Which paths are in use by tasks at work. Two tasks get in each other's way when one writes what the other writes
 * or reads, and a folder stands for all below it. Paths are compared as texts, in the spelling they have.
 */
import { isTestFile } from "../gate/protected.ts";

/** The name by which a task says that it may touch anything. */
export const PROJECT_FILES = "project files";
/** What makes a part of a path a pattern. */
const PATTERN = /[*?[\]{}]|[+@!]\(|^!/;

/** Paths of a task, ready to be looked up. Tasks with one `key` use the same ones. */
export interface Footprint {
  key: string;
  reads: readonly (readonly string[])[];
  writes: readonly (readonly string[])[];
}

/**
 * The path below the project that is meant: without `./`, `//`, a slash at its end or `..`; `.` for all of it. A
 * pattern stands for the folder before its first wildcard. Undefined for a text that leads out of the project, is
 * absolute or empty.
 */
export function normalizedPath(text: string): string | undefined {
  const path = text.trim().replaceAll("\\", "/");
  if (path === PROJECT_FILES) return ".";
  if (path === "" || path.startsWith("/") || /^[A-Za-z]:/.test(path) || path.includes("\0")) return undefined;
  const parts: string[] = [];
  let isPattern = false;
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") {
      // A wildcard may stand for any number of folders: where `..` leads from there is unknown.
      if (isPattern) return undefined;
      if (parts.pop() === undefined) return undefined;
    } else if (!isPattern) {
      isPattern = PATTERN.test(part);
      if (!isPattern) parts.push(part);
    }
  }
  return parts.length === 0 ? "." : parts.join("/");
}

/** The paths a task uses. One that leads nobody knows where may be any: it counts as the whole project. */
export function footprintOf(task: { read_set: readonly string[]; write_set: readonly string[] }): Footprint {
  const reads = normalized(task.read_set);
  const writes = normalized(task.write_set);
  const key = reads.length === 0 && writes.length === 0 ? "" : JSON.stringify([reads, writes]);
  return { key, reads: reads.map(partsOf), writes: writes.map(partsOf) };
}

/** A change of one file. */
interface Changed {
  path: string;
  kind: "added" | "modified" | "deleted" | "type_changed";
}

/**
 * Whether a write set names a path, or a folder that it lies in. An entry that leads nobody knows where names nothing: what
 * it may keep others from (`footprintOf`) and what it lets its task do are both decided for the safe side.
 */
export function isNamed(path: string, writeSet: readonly string[]): boolean {
  return writeSet.some((entry) => {
    const allowed = normalizedPath(entry);
    return allowed === "." || path === allowed || (allowed !== undefined && path.startsWith(`${allowed}/`));
  });
}

/** Whether a changed path lies in a write set: it is named there, or lies below what is named. New tests are free. */
export function isCovered({ path, kind }: Changed, writeSet: readonly string[]): boolean {
  return (kind === "added" && isTestFile(path)) || isNamed(path, writeSet);
}

/**
 * Those of a repository's changes that a task may not make: outside the project, which lies below `prefix`, or outside its
 * write set, whose paths are the project's.
 */
export function strayedChanges(
  changes: readonly Changed[],
  { prefix, writeSet }: { prefix: string; writeSet: readonly string[] },
): string[] {
  return changes
    .filter(
      ({ path, kind }) =>
        !path.startsWith(prefix) || !isCovered({ path: path.slice(prefix.length), kind }, writeSet),
    )
    .map(({ path }) => path);
}

type Use = "writers" | "readers";

/** A task at work that is met on a path, which is one of the footprint's and not of that task. */
export interface Conflict {
  task: string;
  /** Whose use comes first is the footprint's, then that of the task. */
  kind: "write-set conflict" | "read/write conflict" | "write/read conflict";
  path: string;
}

interface TrieNode {
  children: Map<string, TrieNode>;
  /** Ids of tasks. */
  writers: Set<string>;
  readers: Set<string>;
  /** How many there are here and below. */
  below: Record<Use, number>;
}

/**
 * The paths of tasks at work, as a tree of folders whose nodes know who writes and who reads there and how many do so
 * below: a look-up takes as many steps as the path has parts, plus one per answer. Empty sets use nothing.
 */
export class OwnershipMap {
  readonly #root = emptyNode();
  /** By task: what it holds, so that it can be found again. */
  readonly #held = new Map<string, { parts: readonly string[]; use: Use }[]>();

  /** Gives back what a task has taken, and nothing of anybody else. */
  release(task: string): void {
    for (const { parts, use } of this.#held.get(task) ?? []) this.#remove(parts, use, task);
    this.#held.delete(task);
  }

  /** A task takes all paths of its footprint, whoever else has them. */
  hold(task: string, footprint: Footprint): void {
    for (const parts of footprint.writes) this.#add(parts, "writers", task);
    for (const parts of footprint.reads) this.#add(parts, "readers", task);
  }

  /** A task at work that writes what the footprint touches, or reads what it writes. */
  blocker(footprint: Footprint): string | undefined {
    for (const { task } of this.conflicts(footprint)) return task;
    return undefined;
  }

  /** Everybody at work whom the footprint meets, once for each path and way; writing against writing comes first. */
  *conflicts(footprint: Footprint): Generator<Conflict> {
    for (const [mine, kind, use] of [
      [footprint.writes, "write-set conflict", "writers"],
      [footprint.reads, "read/write conflict", "writers"],
      [footprint.writes, "write/read conflict", "readers"],
    ] as const) {
      for (const parts of mine)
        for (const task of this.#on(parts, use)) yield { task, kind, path: pathOf(parts) };
    }
  }

  /** Everybody on a path, above it and below it. */
  *#on(parts: readonly string[], use: Use): Generator<string> {
    let node = this.#root;
    for (const part of parts) {
      yield* node[use].values();
      const child = node.children.get(part);
      if (!child) return;
      node = child;
    }
    const open = [node];
    for (let next = open.pop(); next; next = open.pop()) {
      if (next.below[use] === 0) continue;
      yield* next[use].values();
      open.push(...next.children.values());
    }
  }

  #add(parts: readonly string[], use: Use, task: string): void {
    const way = this.#wayTo(parts);
    const last = way.at(-1);
    if (!last || last[use].has(task)) return;
    last[use].add(task);
    for (const node of way) node.below[use]++;
    const held = this.#held.get(task);
    if (held) held.push({ parts, use });
    else this.#held.set(task, [{ parts, use }]);
  }

  #remove(parts: readonly string[], use: Use, task: string): void {
    const way = this.#wayTo(parts);
    way.at(-1)?.[use].delete(task);
    for (const [depth, node] of way.entries()) {
      node.below[use]--;
      const above = way[depth - 1];
      // Nobody is left here: the tree is never larger than what is held.
      if (above && node.below.writers + node.below.readers === 0)
        above.children.delete(parts[depth - 1] ?? "");
    }
  }

  #wayTo(parts: readonly string[]): TrieNode[] {
    const way = [this.#root];
    let node = this.#root;
    for (const part of parts) {
      let child = node.children.get(part);
      if (!child) node.children.set(part, (child = emptyNode()));
      way.push((node = child));
    }
    return way;
  }
}

function emptyNode(): TrieNode {
  return {
    children: new Map(),
    writers: new Set(),
    readers: new Set(),
    below: { writers: 0, readers: 0 },
  };
}

function normalized(paths: readonly string[]): string[] {
  return [...new Set(paths.map((path) => normalizedPath(path) ?? "."))].toSorted();
}

/** As it is shown. */
function pathOf(parts: readonly string[]): string {
  return parts.length === 0 ? PROJECT_FILES : parts.join("/");
}

function partsOf(path: string): string[] {
  return path === "." ? [] : path.split("/");
}
