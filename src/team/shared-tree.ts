/** All workers of a run in the project directory itself: nothing is copied, and changes belong to the run, not to a task. */
import type { Task } from "../format/run.ts";
import type { TeamWork } from "../format/team-work.ts";
import { changedFiles } from "../git/changed-files.ts";
import type { WorkTree } from "../git/work-tree.ts";
import type { Clock } from "../ports.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import type { OpenRun } from "./open.ts";
import { writable, type RunResult, type Site, type Taken, type Sites } from "./sites.ts";

/** The project directory as the one place of a run. */
export class SharedTree implements Sites {
  readonly tree: WorkTree;
  readonly isShared = true;
  readonly #open: OpenRun;

  readonly #clock: Clock;

  constructor(open: OpenRun, tree: WorkTree, { clock }: { clock: Clock }) {
    this.#open = open;
    this.tree = tree;
    this.#clock = clock;
  }

  async base(signal: AbortSignal): Promise<{ tree: string; commit: string | null }> {
    const tree = await this.tree.snapshot(signal);
    const commit = (await this.tree.head(signal)) ?? null;
    if (commit !== null) await this.tree.pinBase(commit, signal);
    return { tree, commit };
  }

  show(): Promise<void> {
    return Promise.resolve();
  }

  enter(task: Task): Promise<Site> {
    const { project_dir: projectDir } = this.#open.work;
    return Promise.resolve({ cwd: this.tree.root, ...writable(task, projectDir), notes: [] });
  }

  leave(): Promise<object> {
    return Promise.resolve({});
  }

  take(_task: Task, _attempt: object, record: (taken: Taken) => Promise<void>): Promise<void> {
    return record({ outcome: "taken", attempt: {}, changes: [] });
  }

  clear(): Promise<void> {
    return Promise.resolve();
  }

  /**
   * What only gates wrote is no change: neither what the baseline did before the work began, nor what the gates on the
   * result did to it.
   */
  async result(signal: AbortSignal): Promise<RunResult | undefined> {
    const { base, side_effects, result, verification } = this.#open.work;
    if (!base) return undefined;
    const { tree } = this;
    const now = await tree.snapshot(signal);
    const known = verification?.tree ?? result?.tree;
    if (known !== undefined) {
      // Gates run on the result when all work is done: only what differs since then can be theirs.
      const ours = new Set(verification ? side_effects : []);
      // A file of the change itself is never a side effect: it would be another one than was checked.
      for (const { path } of result?.changed_files ?? []) ours.delete(path);
      const changes = await tree.changes(known, now, signal);
      if (changes.every(({ path }) => ours.has(path))) return undefined;
    }
    const by = { attempts: [{ start_tree: base.start, result_tree: now }], outside: [] };
    const changed = await changedFiles(tree, base.tree, now, signal, by);
    return { tree: now, changed_files: changed.map((one) => ({ ...one })) };
  }

  /** It lies in the user's own directory as soon as it is written. */
  heldBack(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  /** Gives the command that takes the work back, if there is any. */
  async keep(): Promise<Partial<TeamWork>> {
    const { tree } = this;
    const { base, result } = this.#open.work;
    if (!base || !result || base.tree === result.tree) return {};
    const at = this.#clock.now();
    await tree.keep(result.tree, { name: "result", at }, UNHURRIED);
    await tree.keep(base.tree, { name: "base", at }, UNHURRIED);
    // By tree, not by the names of the refs that keep them: a run may be renamed, and its old name be given again.
    return { undo: tree.undo(result.tree, base.tree) };
  }

  tidy(): Promise<void> {
    return Promise.resolve();
  }

  release(): Promise<void> {
    return Promise.resolve();
  }
}
