/** A sliced goal with real git whose slices are as a test says, without an agent: for what people do with its result. */
import type { SliceState } from "../../src/format/slices.ts";
import type { GoalTask } from "../../src/format/task-graph.ts";
import type { Attempt } from "../../src/format/work.ts";
import { isContained, mergeCommits } from "../../src/git/integrate.ts";
import { textOf, type PrivateGit } from "../../src/git/private-git.ts";
import type { GoalRequest } from "../../src/goal/create.ts";
import { recordBase } from "../../src/goal/gate-steps.ts";
import { change, changeTask, type OpenGoal } from "../../src/goal/open.ts";
import { TASK } from "../../src/goal/task-ids.ts";
import { requireSlices } from "../../src/goal/slices.ts";
import type { SlicedWorkspace } from "../../src/goal/sliced-space.ts";
import { RealGoals } from "./real-goal.ts";

type Files = Readonly<Record<string, string | null>>;

const AT = "2026-01-02T03:04:05Z";

/** A slice as a test wants it. */
export interface WantedSlice {
  id: string;
  /** What it changes; without, there is no result of it. */
  files?: Files;
  /** Slices that it was begun on; without, the base. Two: it solves the conflict of the second. */
  on?: readonly string[];
  /** It is in the merged result. */
  landed?: boolean;
}

/** The goal, its repository, and what was told. */
export class MadeSlices extends RealGoals {
  id = "";
  goalFolder = "";

  /** Makes the goal; `gate` is a line for sh. */
  async begin(request: Partial<GoalRequest> & { gate?: string } = {}): Promise<void> {
    const { gate = "true", ...more } = request;
    const text = "Add words to the lists";
    const open = await this.create({ text, gates: [`words=${gate}`], noLlmPlanner: true, ...more });
    this.id = open.id;
    this.goalFolder = open.folder;
    await open.close();
  }

  async opened<T>(act: (open: OpenGoal, space: SlicedWorkspace) => Promise<T>): Promise<T> {
    const open = await this.takeOver({ id: this.id, folder: this.goalFolder });
    try {
      const space = await this.work(open);
      try {
        return await act(open, space);
      } finally {
        await space.release();
      }
    } finally {
      await open.close();
    }
  }

  /** Records slices as if agents had made them, and their merge in this order. */
  async has(wanted: readonly WantedSlice[]): Promise<void> {
    await this.opened(async (open, space) => {
      const { git } = space.sliced;
      await recordBase({ open, space, ports: this.ports, signal: this.signal });
      const { base } = requireSlices(open.work);
      const commits = new Map<string, string>();
      const states: SliceState[] = [];
      const attempts: Attempt[] = [];
      let head = base;
      for (const [at, { id, files, on = [], landed }] of wanted.entries()) {
        const parents = on.length === 0 ? [base] : on.map((one) => commits.get(one) ?? "");
        const commit = files && (await this.#commit(git, parents, files));
        if (commit !== undefined) commits.set(id, commit);
        if (commit !== undefined && landed === true) head = await this.#merged(git, head, commit);
        states.push(stateOf(id, { parents, commit, landed: landed === true ? head : null, at }));
        attempts.push(await attemptOf(git, id, { start: parents[0] ?? base, commit, at }));
      }
      const order = wanted.filter(({ landed }) => landed === true).map(({ id }) => id);
      const baseTree = open.work.base?.tree ?? "";
      const tree = await projectOf(git, head);
      const slices = { base, head, order, overlap_serializations: [], slices: states, set_aside: [] };
      await open.record({
        kind: "made_up",
        actor: "test",
        changes: [
          change("work.json", {
            baseline: { tree: baseTree, gates: [] },
            slices,
            attempts,
            result: { tree, changed_files: await git.changes(baseTree, tree, this.signal) },
          }),
          ...wanted.map(({ id, files }) => changeTask(id, taskOf(id, files !== undefined))),
          // The planner put these in its place.
          changeTask(TASK.execute, { left_out: { reason: "planned as several", at: AT } }),
        ],
      });
    });
  }

  /** A commit on others, in the private directory. */
  async #commit(git: PrivateGit, parents: readonly string[], files: Files): Promise<string> {
    const index = git.temporaryIndex();
    const { signal } = this;
    try {
      await git.call(["read-tree", parents[0] ?? ""], { index }, signal);
      for (const [name, text] of Object.entries(files)) {
        if (text === null) {
          await git.call(["update-index", "--force-remove", "--", name], { index }, signal);
          continue;
        }
        const stdin = Buffer.from(text);
        const oid = textOf(await git.call(["hash-object", "-w", "--stdin"], { stdin }, signal));
        await git.call(["update-index", "--add", "--cacheinfo", `100644,${oid},${name}`], { index }, signal);
      }
      const tree = textOf(await git.call(["write-tree"], { index }, signal));
      return await git.commitTree({ tree, parents, message: "a slice", at: new Date(AT) }, signal);
    } finally {
      git.dropIndex(index);
    }
  }

  async #merged(git: PrivateGit, onto: string, commit: string): Promise<string> {
    if (await isContained(git, onto, commit, this.signal)) return commit;
    const given = { onto, commit, message: "merged", at: new Date(AT) };
    const merged = await mergeCommits(git, given, this.signal);
    if (merged.outcome === "conflict") throw new Error(`in conflict: ${merged.files.join(", ")}`);
    return merged.commit;
  }
}

async function projectOf(git: PrivateGit, commit: string): Promise<string> {
  const { signal } = new AbortController();
  return git.projectIn(await git.treeOf(commit, signal), signal);
}

function stateOf(
  task_id: string,
  given: { parents: string[]; commit: string | undefined; landed: string | null; at: number },
): SliceState {
  const { parents, commit = null, landed, at } = given;
  return {
    task_id,
    branch: `omk/goal/test/${task_id}`,
    start: parents[0] ?? "",
    parents,
    attempts_from: 0,
    rounds: [],
    commit,
    fence: at + 1,
    landed: commit === null ? null : landed,
  };
}

async function attemptOf(
  git: PrivateGit,
  task_id: string,
  { start, commit, at }: { start: string; commit: string | undefined; at: number },
): Promise<Attempt> {
  return {
    task_id,
    number: 1,
    fence: at + 1,
    run_key: task_id,
    spawn_id: `spawn-${at}`,
    status: "ended",
    outcome: commit === undefined ? "rejected" : "finished",
    outcome_code: commit === undefined ? "gates_red" : null,
    start_tree: await projectOf(git, start),
    result_tree: await projectOf(git, commit ?? start),
    started_at: AT,
    ended_at: AT,
    summary: "done",
    usage: null,
    counted: true,
  };
}

function taskOf(id: string, isDone: boolean): GoalTask {
  return {
    id,
    title: id,
    description: id,
    status: isDone ? "done" : "pending",
    owner_role: "executor",
    evidence: [],
    retry_count: 0,
    max_retries: 2,
    lease_expires_at: null,
    dependencies: [],
    read_set: [],
    write_set: ["project files"],
    risk: "low",
    acceptance: ["It holds."],
  };
}
