/**
 * What among the files that git ignores leads back to the user's own project: a copy of an environment in which the project
 * is installed by its path, say. Gates that run beside such a copy may look at the project instead of the files that they
 * are to judge. Searched with bounds, so that nothing found proves nothing.
 */
import { basename, dirname, extname, join, relative } from "node:path";

import { systemCode } from "../errors.ts";
import type { Clock, Disk } from "../ports.ts";
import { TOOL_CACHE, walk } from "./ignored-files.ts";

/** What is searched, and for what. */
export interface PointsBackRequest {
  /** The project, without links, and other names that it goes by. */
  root: string;
  alsoNamed: readonly string[];
  /** What was brought along, relative to the project: its own copies are searched as well, so a way there leads nowhere. */
  brought: readonly string[];
  /** The folder into which it was brought, and what of it is only linked there. */
  folder: string;
  linked: readonly string[];
}

/** What was found. */
export interface PointsBack {
  /** Relative to the project, in byte order; the first ones. */
  files: string[];
  /** Why not everything was searched. */
  incomplete?: string;
}

/** How far the search goes. */
export interface SearchLimits {
  files: number;
  bytes: number;
  /** Larger files are not read. */
  fileBytes: number;
  ms: number;
  found: number;
}

const LIMITS: SearchLimits = {
  files: 100_000,
  bytes: 512 * 1024 * 1024,
  fileBytes: 8 * 1024 * 1024,
  ms: 15_000,
  found: 20,
};

/** What names paths without anything being looked for there: traces, and what compilers note for themselves. */
const HARMLESS = new Set([".pyc", ".log", ".map", ".tsbuildinfo", ".eslintcache"]);
/** The same in whole; what is for editors and agents; the state that pnpm keeps; and builds whose tools build anew in another folder. */
const HARMLESS_NAME =
  /^(?:\.idea|\.vscode|\.claude|\.cursor|\.codex|coverage|\.nyc_output|target|\.next|\.nuxt|\.angular|\.gradle|\.pnpm-workspace-state.*)$/;
/** Machine code names its sources for debuggers: ELF, archives, Mach-O. */
const MACHINE_CODE = ["7f454c46", "213c6172", "cffaedfe", "cafebabe"];
/** Files that say by their only line where an installed package really lies. */
const INSTALLED_BY_PATH = new Set([".pth", ".egg-link"]);

/** Searches what was brought along. */
export function findPointsBack(
  request: PointsBackRequest,
  ports: { disk: Disk; clock: Pick<Clock, "monotonicMs"> },
  limits: SearchLimits = LIMITS,
): PointsBack {
  return new Search(request, ports, limits).run();
}

class Search {
  readonly #request: PointsBackRequest;
  readonly #disk: Disk;
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #limits: SearchLimits;
  readonly #names: readonly Buffer[];
  readonly #found = new Set<string>();
  readonly #large: string[] = [];
  readonly #deadline: number;
  #files = 0;
  #bytes = 0;
  #isOver = false;

  constructor(
    request: PointsBackRequest,
    { disk, clock }: { disk: Disk; clock: Pick<Clock, "monotonicMs"> },
    limits: SearchLimits,
  ) {
    this.#request = request;
    this.#disk = disk;
    this.#clock = clock;
    this.#limits = limits;
    const names = [request.root, ...request.alsoNamed];
    // Addresses of files have other characters for some.
    this.#names = [...new Set([...names, ...names.map(encodeURI)])].map((name) => Buffer.from(name));
    this.#deadline = clock.monotonicMs() + limits.ms;
  }

  run(): PointsBack {
    const { brought, folder, linked, root } = this.#request;
    for (const path of brought) {
      const isLinked = linked.includes(path);
      const from = this.#disk.realPath(join(isLinked ? root : folder, path));
      if (from === undefined) continue;
      walk(from, Infinity, this.#disk, (at, { kind, size }) => {
        const name = basename(at);
        if (this.#isEnough() || TOOL_CACHE.test(name) || HARMLESS_NAME.test(name)) return false;
        const shown = join(path, relative(from, at));
        if (kind === "link" && this.#leadsBack(at)) this.#found.add(shown);
        if (kind === "file" && !HARMLESS.has(extname(name) || name)) this.#search(at, shown, size);
        return undefined;
      });
    }
    const incomplete = this.#incomplete();
    return { files: [...this.#found].toSorted(), ...(incomplete !== undefined && { incomplete }) };
  }

  #isEnough(): boolean {
    const { files, bytes, found } = this.#limits;
    if (this.#found.size >= found) return true;
    if (this.#files >= files || this.#bytes >= bytes || this.#clock.monotonicMs() > this.#deadline)
      this.#isOver = true;
    return this.#isOver;
  }

  #incomplete(): string | undefined {
    if (this.#isOver) return `only ${this.#files} files were searched`;
    const [first] = this.#large;
    if (first === undefined) return undefined;
    const more = this.#large.length === 1 ? "" : ` and ${this.#large.length - 1} more`;
    return `too large to be searched: ${first}${more}`;
  }

  #leadsBack(link: string): boolean {
    const target = this.#disk.realPath(link);
    return target !== undefined && this.#isOwn(relative(this.#request.root, target));
  }

  #search(file: string, shown: string, size: number): void {
    if (size > this.#limits.fileBytes) {
      this.#large.push(shown);
      return;
    }
    const bytes = this.#read(file);
    if (!bytes) return;
    this.#files++;
    this.#bytes += bytes.length;
    if (MACHINE_CODE.includes(bytes.toString("hex", 0, 4))) return;
    if (this.#names.some((name) => this.#namesOwn(bytes, name, file))) this.#found.add(shown);
  }

  #read(file: string): Buffer | undefined {
    try {
      return Buffer.from(this.#disk.readFile(file, this.#limits.fileBytes));
    } catch (error) {
      // Gone or grown meanwhile, or not ours to read: no gate of this user reads it either.
      if (systemCode(error) === undefined) throw error;
      return undefined;
    }
  }

  /** Whether the bytes have the name of the project, or of something of its own in it. */
  #namesOwn(bytes: Buffer, name: Buffer, file: string): boolean {
    for (let at = bytes.indexOf(name); at >= 0; at = bytes.indexOf(name, at + name.length)) {
      const isShort = this.#request.root.lastIndexOf("/") === 0;
      // Names of one word, like `/app`, end many other paths; longer ones may follow an option, as in `-I/home/me/it`.
      if (isShort && at > 0 && IN_NAME.test(String.fromCharCode(bytes[at - 1] ?? 0))) continue;
      const rest = bytes.toString("utf8", at + name.length, at + name.length + REST_BYTES_MAX);
      const below = /^(?:\/[^\0\s"'`<>|:;,()[\]{}\\*?$%]*)?/.exec(rest)?.[0] ?? "";
      const next = rest.charAt(below.length);
      // Another folder whose name begins like this one's.
      if (below === "" && next !== "" && IN_NAME.test(next)) continue;
      if (this.#isWay(below, file)) return true;
    }
    return false;
  }

  #isWay(below: string, file: string): boolean {
    let path = below.replace(/^\/+|\/+$/g, "");
    // By itself a name of one word is many other things as well.
    if (path === "") return this.#request.root.lastIndexOf("/") > 0 || INSTALLED_BY_PATH.has(extname(file));
    while (path !== "." && path !== "" && this.#disk.realPath(join(this.#request.root, path)) === undefined)
      path = dirname(path);
    return path !== "." && path !== "" && this.#isOwn(path);
  }

  /** Whether a path of the project, or the project itself, was not brought along but is the user's own. */
  #isOwn(path: string): boolean {
    if (path === ".." || path.startsWith("../") || path.startsWith("/")) return false;
    return !this.#request.brought.some((one) => path === one || path.startsWith(`${one}/`));
  }
}

/** A path is no longer than this. */
const REST_BYTES_MAX = 4096;
/** What may stand before or after a name as a part of a longer one. */
const IN_NAME = /[\w.@+~-]/;
