/**
 * The directory by which git is steered when omk calls it: settings, attributes and ignore rules that are exactly what omk
 * wrote, before objects and refs that lie in the goal's store. It is made anew for each process under a name that nobody is
 * told, since an agent knows the store (its own repository borrows from there) and could plant a filter in it. What steers
 * the store is looked after as well: people and their git read it.
 */
import { join } from "node:path";

import { systemCode } from "../errors.ts";
import type { Disk, Random } from "../ports.ts";

/** What the files that steer git have to say; undefined where there is none. */
export interface Steering {
  config: string;
  attributes: string;
  exclude: string;
  alternates: string | undefined;
  shallow: string | undefined;
}

interface Ports {
  disk: Disk;
  random: Random;
}

/** Names of such directories in a store. */
const PREFIX = "own-";
/** They would outrank, or lead away from, what omk wrote. */
const FORBIDDEN = ["config.worktree", "commondir", "info/grafts", "info/sparse-checkout"];
/** What the store has and the directory only leads to. */
const SHARED = ["objects", "refs"];
const STORE_FOLDERS = [
  "",
  "objects",
  "objects/info",
  "objects/pack",
  "refs",
  "refs/heads",
  "info",
  "attempts",
];
const NO_HEAD = "ref: refs/heads/main\n";
const IS_HEAD = /^(ref: refs\/.+|[0-9a-f]{40,64})\n$/;
/** Longer than any HEAD is. */
const HEAD_BYTES_MAX = 4_096;

/** Takes away what processes that are gone have left, and all that would steer the `git init` that comes next. */
export function clearStore(store: string, { disk }: Pick<Ports, "disk">): void {
  const left = disk.list(store).filter((name) => name.startsWith(PREFIX));
  // Its configuration is made anew: nothing but defaults is in it.
  for (const name of [...left, "config", ...FORBIDDEN]) disk.removeTree(join(store, name));
  const head = join(store, "HEAD");
  const kind = disk.stat(head)?.kind;
  const isWhole = kind === "file" && IS_HEAD.test(readStart(head, disk));
  if (kind !== undefined && !isWhole) disk.removeTree(head);
}

function readStart(path: string, disk: Disk): string {
  return (disk.stat(path)?.size ?? 0) > HEAD_BYTES_MAX
    ? ""
    : Buffer.from(disk.readFile(path)).toString("utf8");
}

const PACKED_REFS = "packed-refs";
/** As git writes it. */
const NO_PACKED_REFS = "# pack-refs with: peeled fully-peeled sorted \n";

/** Makes the directory for a store that is whole. */
export async function makeOwnDirectory(
  store: string,
  steering: Steering,
  ports: Ports,
): Promise<OwnDirectory> {
  const own = new OwnDirectory(store, steering, ports);
  await own.mend();
  return own;
}

/** One process looks after it. */
export class OwnDirectory {
  /** What git is told as its directory. */
  readonly path: string;
  readonly #store: string;
  readonly #disk: Disk;
  /** By path: what has to be there. */
  readonly #texts: ReadonlyMap<string, string>;
  readonly #forbidden: readonly string[];

  constructor(store: string, steering: Steering, { disk, random }: Ports) {
    this.#store = store;
    this.#disk = disk;
    this.path = join(store, `${PREFIX}${random.name(16)}`);
    const { config, attributes, exclude, alternates, shallow } = steering;
    const both = { config, "info/attributes": attributes, "info/exclude": exclude, shallow };
    const all: [string, string | undefined][] = [this.path, store].flatMap((folder) =>
      Object.entries(both).map(([name, text]): [string, string | undefined] => [join(folder, name), text]),
    );
    all.push([join(store, "objects/info/alternates"), alternates]);
    this.#texts = new Map(all.filter((one): one is [string, string] => one[1] !== undefined));
    this.#forbidden = [
      ...all.filter(([, text]) => text === undefined).map(([path]) => path),
      ...[this.path, store].flatMap((folder) => FORBIDDEN.map((name) => join(folder, name))),
    ];
  }

  /** What is not as omk wrote it, as paths; some twenty looks at small files, a fraction of a call of git. */
  changed(): string[] {
    const heads = [this.path, this.#store].map((folder) => join(folder, "HEAD"));
    return [
      ...this.#lost(),
      ...[...this.#texts].filter(([path, text]) => !this.#says(path, text)).map(([path]) => path),
      ...heads.filter((path) => !IS_HEAD.test(this.#textAt(path, HEAD_BYTES_MAX) ?? "")),
      ...this.#forbidden.filter((path) => this.#disk.stat(path) !== undefined),
    ];
  }

  /** Folders of the store that are gone, with what was in them, and ways to them that lead elsewhere. */
  #lost(): string[] {
    const isThere = (name: string): boolean => {
      const folder = join(this.#store, name);
      return (
        this.#disk.stat(folder)?.kind === "folder" && this.#disk.realPath(join(this.path, name)) === folder
      );
    };
    return SHARED.filter((name) => !isThere(name)).map((name) => join(this.#store, name));
  }

  /** Puts everything back; whatever lies in the way goes. */
  async mend(): Promise<void> {
    const disk = this.#disk;
    for (const name of STORE_FOLDERS) this.#makeFolder(join(this.#store, name));
    for (const name of ["", "info"]) this.#makeFolder(join(this.path, name));
    // Git makes none before it needs one; a link to nothing would be in the way of whoever copies the folder.
    const packed = join(this.#store, PACKED_REFS);
    if (disk.stat(packed) === undefined) await this.#write(packed, NO_PACKED_REFS);
    for (const name of [...SHARED, PACKED_REFS]) {
      const path = join(this.path, name);
      if (SHARED.includes(name) && disk.realPath(path) === join(this.#store, name)) continue;
      disk.removeTree(path);
      disk.symbolicLink(join(this.#store, name), path);
    }
    for (const path of this.#forbidden) disk.removeTree(path);
    for (const [path, text] of this.#texts) if (!this.#says(path, text)) await this.#write(path, text);
    for (const folder of [this.path, this.#store]) {
      const head = join(folder, "HEAD");
      if (!IS_HEAD.test(this.#textAt(head, HEAD_BYTES_MAX) ?? "")) await this.#write(head, NO_HEAD);
    }
  }

  #makeFolder(path: string): void {
    const kind = this.#disk.stat(path)?.kind;
    if (kind === "folder") return;
    if (kind !== undefined) this.#disk.remove(path);
    this.#disk.makeFolder(path);
  }

  async #write(path: string, text: string): Promise<void> {
    const kind = this.#disk.stat(path)?.kind;
    if (kind !== undefined && kind !== "file") this.#disk.removeTree(path);
    await this.#disk.writeDerived(path, text);
  }

  #says(path: string, text: string): boolean {
    return this.#textAt(path, Buffer.byteLength(text)) === text;
  }

  /** Undefined where there is no file of at most that size: a link or a pipe is none. */
  #textAt(path: string, bytesMax: number): string | undefined {
    const found = this.#disk.stat(path);
    if (found?.kind !== "file" || found.size > bytesMax) return undefined;
    try {
      return Buffer.from(this.#disk.readFile(path, bytesMax)).toString("utf8");
    } catch (error) {
      // It went, or was closed, between the two looks.
      if (systemCode(error) === undefined) throw error;
      return undefined;
    }
  }
}
