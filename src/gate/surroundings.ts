/**
 * What of the user's own project reaches into folders that were made ready with what git ignores there: files that are
 * shared, being too large to copy, and files that name the project by its path. Gates in such a folder may be judging what
 * is no part of the result.
 */
import { named } from "../format/named.ts";
import type { Surroundings } from "../format/work.ts";
import { LinkedWatch, type SharedPath } from "../git/linked-watch.ts";
import { findPointsBack } from "../git/points-back.ts";
import type { Clock, Disk } from "../ports.ts";

/** Where it is kept; without it nothing outlives the process. */
export interface SurroundingsLog {
  known(): Surroundings | undefined;
  record(found: Surroundings): Promise<void>;
}

/** What was brought into a folder. */
interface Brought {
  folder: string;
  /** Relative to the project. */
  paths: readonly string[];
  linked: readonly string[];
}

const CHANGED_MAX = 50;
const NOTHING: Surroundings = { points_back: [], shared: [], changed: [] };

/** Keeps an eye on them, for all folders of a goal or run. */
export class SurroundingsWatch {
  readonly #project: { root: string; alsoNamed: readonly string[] };
  readonly #ports: { disk: Disk; clock: Pick<Clock, "monotonicMs">; tell(line: string): void };
  readonly #log: SurroundingsLog | undefined;
  readonly #watch: LinkedWatch;
  /** Paths whose digest of an earlier process was compared. */
  readonly #compared = new Set<string>();
  #state: Surroundings;
  readonly #told = new Set<string>();

  constructor(
    project: { root: string; alsoNamed: readonly string[] },
    ports: { disk: Disk; clock: Pick<Clock, "monotonicMs">; tell(line: string): void },
    log: SurroundingsLog | undefined,
  ) {
    this.#project = project;
    this.#ports = ports;
    this.#log = log;
    this.#watch = new LinkedWatch(project.root, ports.disk);
    this.#state = log?.known() ?? NOTHING;
  }

  /** Watches what of it is linked. In a folder whose gates decide what it holds is searched, too. */
  async brought({ folder, paths, linked }: Brought, decides: boolean): Promise<void> {
    const unwatched = this.#watch.add(linked);
    const changed = this.#changedSince(this.#state.shared);
    const found = decides ? this.#search({ folder, paths, linked }, unwatched) : {};
    await this.#become({ ...found, shared: this.#shared() }, changed);
  }

  /** The folder whose gates decide has nothing of the project any more. */
  async nothing(): Promise<void> {
    await this.#record(NOTHING);
  }

  /** What was changed while no omk was at work. */
  #changedSince(earlier: readonly SharedPath[]): string[] {
    const before = new Map(earlier.map(({ path, digest }) => [path, digest]));
    const fresh = this.#watch.shared().filter(({ path }) => !this.#compared.has(path));
    for (const { path } of fresh) this.#compared.add(path);
    return fresh
      .filter(({ path, digest }) => (before.get(path) ?? digest) !== digest)
      .map(({ path }) => path);
  }

  /** How much was found changed so far. */
  get mark(): number {
    return this.#watch.mark;
  }

  /** Looks whether shared files have changed; answers those of parts that were found changed since the mark only. */
  async look(since = this.mark): Promise<string[]> {
    const before = this.mark;
    const found = this.#watch.look(since);
    if (this.mark > before) await this.#become({ shared: this.#shared() }, this.#watch.since(before));
    return found;
  }

  /** What is shared by now, beside what was before and is not yet again. */
  #shared(): SharedPath[] {
    const now = this.#watch.shared();
    const others = this.#state.shared.filter(({ path }) => !now.some((one) => one.path === path));
    return [...now, ...others];
  }

  #search(
    { folder, paths, linked }: Brought,
    unwatched: readonly string[],
  ): { points_back: string[]; incomplete?: string } {
    const request = { ...this.#project, brought: paths, folder, linked };
    const { files, incomplete } = findPointsBack(request, this.#ports);
    return { points_back: [...unwatched, ...files], ...(incomplete !== undefined && { incomplete }) };
  }

  async #become(found: Partial<Surroundings>, changed: readonly string[]): Promise<void> {
    const { incomplete, ...before } = this.#state;
    const all = [...new Set([...before.changed, ...changed])].slice(0, CHANGED_MAX);
    const searched = found.points_back !== undefined || incomplete === undefined ? {} : { incomplete };
    this.#tell(found, changed);
    await this.#record({ ...before, ...searched, ...found, changed: all });
  }

  async #record(after: Surroundings): Promise<void> {
    if (JSON.stringify(after) === JSON.stringify(this.#state)) return;
    this.#state = after;
    await this.#log?.record(after);
  }

  #tell({ points_back = [], incomplete }: Partial<Surroundings>, changed: readonly string[]): void {
    const avoid = "a [setup] in .omk/gates.toml avoids that";
    if (points_back.length > 0) {
      const less = incomplete === undefined ? "" : ` (${incomplete})`;
      this.#tellOnce(
        `the gates may look at ${this.#project.root} itself, to which files lead that git ignores: ${named(points_back)}${less}; ${avoid}`,
      );
    }
    if (changed.length > 0)
      this.#tellOnce(
        `files of yours were changed in ${this.#project.root}, which folders of attempts share: ${named(changed)}; ${avoid}`,
      );
  }

  #tellOnce(line: string): void {
    if (this.#told.has(line)) return;
    this.#told.add(line);
    this.#ports.tell(line);
  }
}
