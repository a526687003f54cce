/**
 * Who uses which paths, and who would get in whose way: a tree of folders whose nodes know their readers and writers,
 * here and below. Paths are texts; they conflict when one is the other or leads to it.
 */
import type { OverlapSerialization } from "../format/slice-plan.ts";
import type { GoalTask } from "../format/task-graph.ts";
import { BLOCK_SHIFT, BLOCK_WORDS, FULL_BLOCK, hasNumber, putNumber, type NumberSet } from "./ancestors.ts";
import { trimmed } from "./names.ts";

/** The name by which a task says that it may touch anything. */
export const PROJECT_FILES = "project files";

/**
 * A path of a task's sets as it is compared and shown, or undefined when it conflicts with nothing: it is empty, absolute
 * or has a part that is `..`. Other rules keep such paths from being used.
 */
function comparablePath(path: string): string | undefined {
  const text = trimmed(path);
  if (PLAIN.test(text)) return text;
  if (text.startsWith("/") || /^[A-Za-z]:/.test(text)) return undefined;
  const parts = text.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.length === 0 || parts.includes("..")) return undefined;
  return parts.join("/");
}

/** Most paths are like this already: parts that do not begin with a dot, and one slash between them. */
const PLAIN = /^[\w-][\w.-]*(?:\/[\w-][\w.-]*)*$/;

/** The first way in which a slice gets in an earlier one's way. */
export interface Overlap {
  slice: number;
  kind: OverlapSerialization["kind"];
  path: string;
}

/** What a task may touch, in the order of its own sets. */
type Sets = Pick<GoalTask, "read_set" | "write_set">;

type Use = "writers" | "readers";
const BELOW = { writers: "writersBelow", readers: "readersBelow" } as const;

/** The paths of all slices so far. */
export class AccessMap {
  readonly #root = new PathNode("");
  /** What was found for the slice that is being added, as bits; empty between two of them. */
  readonly #found: Uint32Array;
  #count = 0;

  constructor(sliceCount: number) {
    this.#found = new Uint32Array(Math.ceil(sliceCount / 32) + BLOCK_WORDS);
  }

  /**
   * Adds a slice, which is known by its number from now on: 0, 1, 2 and so on. Gives the slices before it that it
   * overlaps, in their order, without those in `except`.
   */
  add({ read_set, write_set }: Sets, except: NumberSet): Overlap[] {
    const writes = this.#waysTo(write_set);
    const reads = this.#waysTo(read_set);
    const overlaps: Overlap[] = [];
    this.#find("write_write", writes, "writers", except, overlaps);
    this.#find("write_read", writes, "readers", except, overlaps);
    this.#find("read_write", reads, "writers", except, overlaps);
    for (const { slice } of overlaps) this.#found[slice >> 5] = 0;
    for (const { nodes } of writes) this.#use(nodes, "writers");
    for (const { nodes } of reads) this.#use(nodes, "readers");
    this.#count++;
    return inOrder(overlaps) ? overlaps : overlaps.sort((a, b) => a.slice - b.slice);
  }

  /** The nodes on the way to each path that can conflict with any at all. */
  #waysTo(paths: readonly string[]): Way[] {
    const ways: Way[] = [];
    for (const text of paths) {
      const path = comparablePath(text);
      if (path === undefined) continue;
      const nodes = [this.#root];
      if (path !== PROJECT_FILES) {
        let node = this.#root;
        for (let start = 0; start <= path.length;) {
          const slash = path.indexOf("/", start);
          const end = slash === -1 ? path.length : slash;
          node = node.child(path.slice(start, end));
          nodes.push(node);
          start = end + 1;
        }
      }
      ways.push({ path, nodes });
    }
    return ways;
  }

  /** Looks at everybody on the paths, above them and below them. */
  #find(kind: Overlap["kind"], ways: readonly Way[], use: Use, except: NumberSet, overlaps: Overlap[]): void {
    for (const { path, nodes } of ways) {
      for (const node of nodes) this.#take(node[use], except, kind, path, overlaps);
      this.#take(nodes.at(-1)?.[BELOW[use]], except, kind, path, overlaps);
    }
  }

  /** Takes what is new of some users. Lists that were looked at for this slice have nothing new, whatever the path. */
  #take(
    users: Users | number | undefined,
    except: NumberSet,
    kind: Overlap["kind"],
    path: string,
    overlaps: Overlap[],
  ): void {
    if (users === undefined) return;
    if (typeof users === "number") {
      if (this.#isNew(users, except)) overlaps.push({ slice: users, kind, path });
      return;
    }
    if (users.seenFor === this.#count) return;
    users.seenFor = this.#count;
    const found = this.#found;
    for (let at = 0; at < (users.blocks?.length ?? 0); at++) {
      const block = users.blocks?.[at];
      const left = except[at];
      if (block === undefined || left === FULL_BLOCK) continue;
      const first = at * BLOCK_WORDS;
      for (let word = 0; word < BLOCK_WORDS; word++) {
        const excluded = (left?.[word] ?? 0) | (found[first + word] ?? 0);
        let bits = (block[word] ?? 0) & ~excluded;
        if (bits === 0) continue;
        found[first + word] = (found[first + word] ?? 0) | bits;
        for (; bits !== 0; bits &= bits - 1) {
          overlaps.push({ slice: (first + word) * 32 + 31 - Math.clz32(bits & -bits), kind, path });
        }
      }
    }
    for (const slice of users.few) if (this.#isNew(slice, except)) overlaps.push({ slice, kind, path });
  }

  #isNew(slice: number, except: NumberSet): boolean {
    const known = this.#found[slice >> 5] ?? 0;
    const bit = 1 << (slice & 31);
    if ((known & bit) !== 0 || hasNumber(except, slice)) return false;
    this.#found[slice >> 5] = known | bit;
    return true;
  }

  #use(nodes: readonly PathNode[], use: Use): void {
    const last = nodes.length - 1;
    for (let depth = 0; depth < last; depth++) nodes[depth]?.addUser(BELOW[use], this.#count);
    nodes[last]?.addUser(use, this.#count);
  }
}

interface Way {
  path: string;
  /** From the root to the path itself. */
  nodes: readonly PathNode[];
}

/** A part of a path. Where one slice alone uses it, which is the rule, its number stands for the list. */
class PathNode {
  readonly #part: string;
  /** Most folders have one child only, and a map for each would be most of the tree's memory. */
  #onlyChild: PathNode | undefined = undefined;
  #children: Map<string, PathNode> | undefined = undefined;
  writers: Users | number | undefined = undefined;
  writersBelow: Users | number | undefined = undefined;
  readers: Users | number | undefined = undefined;
  readersBelow: Users | number | undefined = undefined;

  constructor(part: string) {
    this.#part = part;
  }

  /** The child of this name, made when there is none. */
  child(part: string): PathNode {
    const only = this.#onlyChild;
    if (!only) return (this.#onlyChild = new PathNode(part));
    if (only.#part === part) return only;
    const children = (this.#children ??= new Map<string, PathNode>());
    let child = children.get(part);
    if (!child) children.set(part, (child = new PathNode(part)));
    return child;
  }

  addUser(use: Use | (typeof BELOW)[Use], slice: number): void {
    const users = this[use];
    if (users === undefined) this[use] = slice;
    else if (typeof users !== "number") users.add(slice);
    else if (users !== slice) this[use] = new Users(users, slice);
  }
}

/** How many users are kept one by one. */
const FEW_MAX = 32;

/** Slices that use a path: a few as they are, many as bits, of which 32 are looked at in one step. */
class Users {
  few: number[];
  blocks: (Uint32Array | undefined)[] | undefined = undefined;
  /** The last slice for which they were looked at. */
  seenFor = -1;

  constructor(...slices: [number, number]) {
    this.few = slices;
  }

  add(slice: number): void {
    if (this.few.at(-1) === slice) return;
    this.few.push(slice);
    if (this.few.length > FEW_MAX) this.#pack();
  }

  #pack(): void {
    const blocks = (this.blocks ??= []);
    for (const slice of this.few) {
      const at = slice >> BLOCK_SHIFT;
      while (blocks.length <= at) blocks.push(undefined);
      putNumber((blocks[at] ??= new Uint32Array(BLOCK_WORDS)), slice);
    }
    this.few = [];
  }
}

function inOrder(overlaps: readonly Overlap[]): boolean {
  return overlaps.every(({ slice }, at) => at === 0 || (overlaps[at - 1]?.slice ?? 0) < slice);
}
