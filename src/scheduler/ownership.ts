/**
 * Which paths are in use by tasks at work. Two tasks get in each other's way when one writes what the other writes
 * or reads, and a folder stands for all below it. Paths are compared as texts, in the spelling they have.
 */

/** The name by which a task says that it may touch anything. */
const PROJECT_FILES = "project files";
/** What makes a part of a path a pattern. */
const PATTERN = /[*?[\]{}]|[+@!]\(|^!/;

/** Two workers would write the same path. */
export interface Conflict {
  /** The path that is asked for, normalised. */
  path: string;
  existingWorker: string;
  existingTask: string;
  newWorker: string;
  newTask: string;
}

/** One task reads what another one writes. */
export interface ReadWriteHazard {
  /** The path that is read, normalised. */
  path: string;
  readerTask: string;
  writerTask: string;
}

/** What of a task says which paths it uses; a record of `tasks.jsonl` is one. */
export interface Claimant {
  id: string;
  owner: string | null;
  read_set: readonly string[];
  write_set: readonly string[];
}

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
export function footprintOf(task: Pick<Claimant, "read_set" | "write_set">): Footprint {
  const reads = normalized(task.read_set);
  const writes = normalized(task.write_set);
  const key = reads.length === 0 && writes.length === 0 ? "" : JSON.stringify([reads, writes]);
  return { key, reads: reads.map(partsOf), writes: writes.map(partsOf) };
}

/** Every path that a task reads and one of the others writes. */
export function readWriteHazards(task: Claimant, others: Iterable<Claimant>): ReadWriteHazard[] {
  const writers = new OwnershipMap();
  for (const other of others) {
    if (other.id === task.id) continue;
    writers.hold(other.id, other.owner ?? "", { ...footprintOf(other), reads: [] });
  }
  return footprintOf(task).reads.flatMap((parts) =>
    writers.writersOn(parts).map((writerTask) => ({ path: textOf(parts), readerTask: task.id, writerTask })),
  );
}

interface Holder {
  task: string;
  worker: string;
}

type Use = "writers" | "readers";

interface TrieNode {
  children: Map<string, TrieNode>;
  /** By task. */
  writers: Map<string, Holder>;
  readers: Map<string, Holder>;
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

  /**
   * A task at work takes its paths, but for those that another worker writes, which are the answer. A worker does one
   * task at a time, so its own tasks are never in each other's way. Without an owner nothing is taken.
   */
  register(task: Claimant): Conflict[] {
    const { owner } = task;
    if (owner === null) return [];
    const footprint = footprintOf(task);
    const conflicts: Conflict[] = [];
    const free: (readonly string[])[] = [];
    for (const parts of footprint.writes) {
      const found = this.#conflictsOn(parts, task.id, owner);
      if (found.length === 0) free.push(parts);
      conflicts.push(...found);
    }
    this.hold(task.id, owner, { ...footprint, writes: free });
    return conflicts;
  }

  /** What would stand in the way if that worker took the task. Changes nothing. */
  wouldConflict(task: Claimant, worker: string): Conflict[] {
    return footprintOf(task).writes.flatMap((parts) => this.#conflictsOn(parts, task.id, worker));
  }

  /** Gives back what a task has taken, and nothing of anybody else. */
  release(task: { id: string }): void {
    for (const { parts, use } of this.#held.get(task.id) ?? []) this.#remove(parts, use, task.id);
    this.#held.delete(task.id);
  }

  /** Takes all paths of a footprint, whoever else has them. */
  hold(id: string, worker: string, footprint: Footprint): void {
    const holder = { task: id, worker };
    for (const parts of footprint.writes) this.#add(parts, "writers", holder);
    for (const parts of footprint.reads) this.#add(parts, "readers", holder);
  }

  /** A task at work that writes what the footprint touches, or reads what it writes. */
  blocker(footprint: Footprint): string | undefined {
    for (const parts of footprint.writes) {
      for (const { task } of this.#on(parts, "writers")) return task;
      for (const { task } of this.#on(parts, "readers")) return task;
    }
    for (const parts of footprint.reads) for (const { task } of this.#on(parts, "writers")) return task;
    return undefined;
  }

  /** The tasks that write a path, something above or something below it. */
  writersOn(parts: readonly string[]): string[] {
    return [...new Set([...this.#on(parts, "writers")].map(({ task }) => task))];
  }

  #conflictsOn(parts: readonly string[], newTask: string, newWorker: string): Conflict[] {
    const found = new Map<string, Conflict>();
    for (const { task, worker } of this.#on(parts, "writers")) {
      if (worker === newWorker || found.has(task)) continue;
      const path = textOf(parts);
      found.set(task, { path, existingWorker: worker, existingTask: task, newWorker, newTask });
    }
    return [...found.values()];
  }

  /** Everybody on a path, above it and below it. */
  *#on(parts: readonly string[], use: Use): Generator<Holder> {
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

  #add(parts: readonly string[], use: Use, holder: Holder): void {
    const way = this.#wayTo(parts);
    const last = way.at(-1);
    if (!last || last[use].has(holder.task)) return;
    last[use].set(holder.task, holder);
    for (const node of way) node.below[use]++;
    const held = this.#held.get(holder.task);
    if (held) held.push({ parts, use });
    else this.#held.set(holder.task, [{ parts, use }]);
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
    writers: new Map(),
    readers: new Map(),
    below: { writers: 0, readers: 0 },
  };
}

function normalized(paths: readonly string[]): string[] {
  return [...new Set(paths.map((path) => normalizedPath(path) ?? "."))].toSorted();
}

function partsOf(path: string): string[] {
  return path === "." ? [] : path.split("/");
}

function textOf(parts: readonly string[]): string {
  return parts.length === 0 ? "." : parts.join("/");
}
