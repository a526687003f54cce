/**
 * Every attempt in a folder of its own, made on what the run started from with the results its task needs. Results are
 * merged one at a time; a folder of omk's own shows what has come together. Nothing in the project directory is touched.
 */
import { heldBackBySteering, recordSteering, type SteeringOwner } from "../approval/steering.ts";
import { keepConflict } from "../delivery/merge-conflict.ts";
import { fingerprintOf, nameComponent } from "../delivery/names.ts";
import { OmkError } from "../errors.ts";
import type { Task } from "../format/run.ts";
import { instantOf } from "../format/stamp.ts";
import type { RunAttempt, TeamWork } from "../format/team-work.ts";
import { FreshFolders } from "../gate/fresh-folder.ts";
import { ReadyStage } from "../gate/ready-stage.ts";
import {
  leftAttemptTrees,
  makeAttemptTree,
  openAttemptTree,
  removeAttemptTree,
  type AttemptTree,
  type Removal,
} from "../git/attempt-tree.ts";
import { startingPoint } from "../git/base.ts";
import { withoutChanges } from "../git/combined-trees.ts";
import type { PrivateGit } from "../git/private-git.ts";
import { tryRescue } from "../git/rescue.ts";
import { checkResultName, publishResult, resultTip } from "../git/result.ts";
import type { Stage } from "../git/stage.ts";
import { workTreeOf, type WorkTree } from "../git/work-tree.ts";
import { ensureFolder } from "../store/files.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import type { Stop } from "./budget.ts";
import {
  conflictText,
  cutOff,
  lastConflict,
  lessonsOf,
  neededResults,
  startWith,
  whyNotTaken,
  withResult,
  type MergedResults,
  type NotTaken,
} from "./merge-results.ts";
import { change, changeAttempt, type OpenRun, type RunPorts } from "./open.ts";
import { writable, type RunResult, type Site, type Taken, type Sites } from "./sites.ts";

/** What of an earlier attempt's changes a prompt shows. */
const PATCH_BYTES_MAX = 16 * 1024;

const CUT_OFF_NOTE = "An earlier attempt was cut off. Its files are here as it left them.";

/** What an attempt's folder is made on. */
interface Start {
  /** What the result is a change of. */
  onto: string;
  start: string;
  /** What its agent is told of earlier attempts. */
  lessons: string[];
}

/** Folders of attempts as the places of a run. */
export class Worktrees implements Sites {
  readonly tree: Stage;
  readonly isShared = false;
  readonly #open: OpenRun;
  readonly #git: PrivateGit;
  readonly #project: WorkTree;
  readonly #fresh: FreshFolders;
  readonly #room: ReadyStage;
  readonly #ports: RunPorts;
  /** By fence: the folders that this process has made or found. */
  readonly #folders = new Map<string, AttemptTree>();
  /** Ends when the result that was taken last is in the log. */
  #turn: Promise<void> = Promise.resolve();

  constructor(open: OpenRun, git: PrivateGit, ports: RunPorts) {
    this.#open = open;
    this.#git = git;
    this.#ports = ports;
    this.#project = workTreeOf(git);
    this.#fresh = freshFolders({ open, git, project: this.#project }, ports);
    this.#room = new ReadyStage(git, this.#fresh, {
      tell: (line) => ports.tell(line),
      removed: (removal) => this.#tellRemoval(removal),
    });
    this.tree = this.#room.stage;
  }

  async base(signal: AbortSignal): Promise<{ tree: string; commit: string | null }> {
    const git = this.#git;
    // Where the user has committed meanwhile, it is still the recorded one that counts.
    const base = this.#open.work.merged?.base ?? (await this.#recordBase(signal));
    const tree = await this.#projectOf(base, signal);
    return { tree, commit: (await git.userHas(base, signal)) ? base : null };
  }

  async #recordBase(signal: AbortSignal): Promise<string> {
    const open = this.#open;
    const git = this.#git;
    if ((await resultTip(git, signal)) !== undefined) throw branchInTheWay(git.goalId);
    await checkResultName(git, `run \`omk team run --resume --name ${git.goalId}\``, signal);
    const at = new Date(open.state.created_at);
    const { commit: base, isTheirs, uncommitted } = await startingPoint(git, at, this.#ports, signal);
    // First: with a base and without this, whatever is planted later would go unseen.
    await recordSteering(this.#steering, git, this.#ports, signal);
    await open.record({
      kind: "base_recorded",
      actor: "scheduler",
      payload: { commit: base, from_head: isTheirs, uncommitted: uncommitted.length },
      changes: [change("team-work.json", { merged: { base, head: base, results: {}, order: [] } })],
    });
    return base;
  }

  async show(signal: AbortSignal): Promise<void> {
    await this.#room.show(this.#merged.head, signal);
    await this.#room.tidy(signal);
  }

  async enter(task: Task, attempt: RunAttempt, signal: AbortSignal): Promise<Site> {
    const start = await this.#startOf(task, attempt, signal);
    try {
      return await this.#enterAt(start, task, attempt, signal);
    } catch (error) {
      const isTheirs = error instanceof OmkError && error.code === "setup.failed";
      if (!isTheirs || start.start === start.onto) throw error;
      // What an agent has left cannot even be set up: nobody could ever go on from there.
      this.#ports.tell(
        `${task.id} begins anew, since what was left cannot be set up: ${(error as Error).message}`,
      );
      return this.#enterAt({ ...start, start: start.onto }, task, attempt, signal);
    }
  }

  async #enterAt(
    { onto, start, lessons }: Start,
    task: Task,
    attempt: RunAttempt,
    signal: AbortSignal,
  ): Promise<Site> {
    const name = this.#nameOf(task.id);
    const branch = `omk/team/${name}`;
    const fence = Number(attempt.id);
    const made = await makeAttemptTree(this.#git, { name, fence, branch, base: start }, signal);
    this.#folders.set(attempt.id, made);
    try {
      await this.#open.record({
        kind: "worktree_made",
        actor: attempt.worker_id,
        payload: { task_id: task.id, worker_id: attempt.worker_id, fence, folder: made.id, base: start },
        changes: [changeAttempt(fence, { worktree: made.id, onto, start })],
      });
      // The project may be a folder in which the base has no file.
      await ensureFolder(made.cwd, this.#ports);
      const tree = await this.#projectOf(start, signal);
      await this.#fresh.prepare({ cwd: made.cwd, tree, name: `${task.id}-${fence}` }, signal);
      await this.#recordPrepared(attempt, made, signal);
    } catch (error) {
      // No agent was here: nothing in it is anybody's work.
      this.#folders.delete(attempt.id);
      await this.#remove(made, [], attempt);
      throw error;
    }
    const notes = start === onto ? lessons : [...lessons, CUT_OFF_NOTE];
    return { cwd: made.cwd, ...writable(task, made.cwd), notes };
  }

  /** Until this is in the log no agent was in the folder. */
  async #recordPrepared(attempt: RunAttempt, made: AttemptTree, signal: AbortSignal): Promise<void> {
    const prepared = await made.snapshot(signal);
    await this.#open.record({
      kind: "worktree_prepared",
      actor: attempt.worker_id,
      payload: { task_id: attempt.task_id, fence: Number(attempt.id), tree: prepared },
      changes: [changeAttempt(Number(attempt.id), { prepared })],
    });
  }

  async #startOf(task: Task, attempt: RunAttempt, signal: AbortSignal): Promise<Start> {
    const git = this.#git;
    const earlier = this.#open.attempts.filter(
      ({ task_id, id }) => task_id === task.id && Number(id) < Number(attempt.id),
    );
    const lessons = await this.#lessonsOf(earlier, signal);
    const last = cutOff(earlier);
    if (last?.onto !== undefined && last.left_tree !== undefined) {
      const { onto, left_tree: tree } = last;
      if ((await git.treeOf(onto, signal)) === tree) return { onto, start: onto, lessons };
      const message = `[omk-team] ${git.goalId} / ${task.id}: as an attempt that was cut off left it`;
      const start = await git.commitTree({ tree, parents: [onto], message, at: leftAt(last) }, signal);
      return { onto, start, lessons };
    }
    const merged = this.#merged;
    if (lastConflict(earlier)) return { onto: merged.head, start: merged.head, lessons };
    const needed = neededResults(task, this.#open.tasks, merged);
    const start = await startWith(git, { merged, needed, at: new Date(attempt.started_at) }, signal);
    return { onto: start, start, lessons };
  }

  async #lessonsOf(earlier: readonly RunAttempt[], signal: AbortSignal): Promise<string[]> {
    const { onto, commit, number } = lastConflict(earlier) ?? {};
    if (onto === undefined || commit === undefined) return lessonsOf(earlier);
    const patch = await this.#project.patch(onto, commit, PATCH_BYTES_MAX, signal);
    const cut = patch.truncated ? " (only its beginning)" : "";
    return [...lessonsOf(earlier), `What attempt ${number} changed${cut}:\n${patch.text}`];
  }

  async leave(attempt: RunAttempt): Promise<Partial<RunAttempt>> {
    const folder = await this.#folderOf(attempt);
    if (!folder) return {};
    const { known, left_at } = await this.#leaving(attempt);
    const { task_id: task, id } = attempt;
    let saved = await this.#rescue(folder, { task, fence: Number(id), at: new Date(left_at) });
    const { prepared, worktree, onto, start } = known;
    const { left_tree: tree, ...kept } = saved;
    // Where set-up had not come to its end there was no agent, and what lies there is nobody's work.
    if (tree !== undefined && prepared !== undefined) {
      const from = await this.#git.treeOf(folder.base, UNHURRIED);
      saved = {
        ...kept,
        left_tree: await withoutChanges(this.#git, { tree, from, to: prepared }, UNHURRIED),
      };
    } else saved = kept;
    return {
      ...(worktree !== undefined && { worktree }),
      ...(onto !== undefined && { onto }),
      ...(start !== undefined && { start }),
      left_at,
      ...saved,
    };
  }

  async #rescue(
    folder: AttemptTree,
    given: { task: string; fence: number; at: Date },
  ): Promise<Partial<RunAttempt>> {
    const tried = await tryRescue(this.#git, folder, given, UNHURRIED);
    // An agent can leave what git cannot read. Then the folder itself is kept, and the run goes on.
    if (tried.outcome === "unreadable") return { unsaved: [`all of it: ${tried.because}`] };
    const { tree, ref, unsaved } = tried.rescued;
    return { left_tree: tree, rescue: ref, ...(unsaved.length > 0 && { unsaved }) };
  }

  /** The time that commits of its folder bear is in the log before they are made: made again, they are the same. */
  async #leaving(attempt: RunAttempt): Promise<{ known: RunAttempt; left_at: string }> {
    const known = this.#recorded(attempt);
    if (known.left_at !== undefined) return { known, left_at: known.left_at };
    const left_at = instantOf(this.#ports.clock.now());
    const fence = Number(attempt.id);
    await this.#open.record({
      kind: "worktree_left",
      actor: attempt.worker_id,
      payload: { task_id: attempt.task_id, worker_id: attempt.worker_id, fence },
      changes: [changeAttempt(fence, { left_at })],
    });
    return { known, left_at };
  }

  async take(task: Task, attempt: RunAttempt, record: (taken: Taken) => Promise<void>): Promise<void> {
    const turn = this.#turn.then(async () => record(await this.#judge(task, attempt)));
    // Whoever has asked for it hears how it failed; it is no reason for the next one.
    this.#turn = turn.catch(() => undefined);
    await turn;
  }

  async #judge(task: Task, attempt: RunAttempt): Promise<Taken> {
    const git = this.#git;
    const { onto, left_tree: tree } = attempt;
    if (onto === undefined || tree === undefined) {
      const because = "what it left is not there any more, or cannot be read";
      return { outcome: "rejected", code: "worktree_gone", because, attempt: {} };
    }
    const signal = UNHURRIED;
    const changes = await git.changes(await git.treeOf(onto, signal), tree, signal);
    const changed_files = changes
      .filter(({ path }) => path.startsWith(git.prefix))
      .map((one) => ({ ...one, path: one.path.slice(git.prefix.length) }));
    const rejected = (why: NotTaken, more: Partial<RunAttempt> = {}): Taken => ({
      outcome: "rejected",
      ...why,
      attempt: { changed_files, ...more },
    });
    const leftOut = (await (await this.#folderOf(attempt))?.leftOut(signal)) ?? [];
    const fault = whyNotTaken({ changes, leftOut, prefix: git.prefix, writeSet: task.write_set });
    if (fault) return rejected(fault);
    if (changes.length === 0) return { outcome: "taken", attempt: { changed_files }, changes: [] };
    const at = leftAt(attempt);
    const message = messageOf(git.goalId, task);
    const commit = await git.commitTree({ tree, parents: [onto], message, at }, signal);
    const both = await withResult(git, this.#merged, { task: task.id, commit, at }, signal);
    if (both.outcome === "conflict") {
      const { files, kinds } = both;
      const conflict = { onto: this.#merged.head, files, kinds };
      const found = { task: task.id, fence: Number(attempt.id), commit, ...conflict };
      const evidence = [await keepConflict(this.#open, found, this.#ports)];
      return rejected({ code: "conflict", because: conflictText(both) }, { commit, conflict, evidence });
    }
    return {
      outcome: "taken",
      attempt: { changed_files, commit },
      changes: [change("team-work.json", { merged: both.merged })],
    };
  }

  async clear(attempt: RunAttempt): Promise<void> {
    const folder = await this.#folderOf(attempt);
    this.#folders.delete(attempt.id);
    if (folder) await this.#remove(folder, attempt.unsaved ?? [], attempt);
  }

  async result(signal: AbortSignal): Promise<RunResult | undefined> {
    const git = this.#git;
    const { base, merged, result } = this.#open.work;
    if (!base || !merged) return undefined;
    const tree = await this.#projectOf(merged.head, signal);
    if (tree === result?.tree) return undefined;
    const changed = await git.changes(base.tree, tree, signal);
    return { tree, changed_files: changed.map((one) => ({ ...one })) };
  }

  /** Also where no result came of it: who planted something has done that. */
  heldBack(): Promise<Stop | undefined> {
    return heldBackBySteering(this.#steering, this.#git, this.#ports, UNHURRIED);
  }

  get #steering(): SteeringOwner {
    const open = this.#open;
    return {
      id: open.id,
      approvals: open.approvals,
      task: "team-deliver",
      actor: "scheduler",
      fence: Math.max(0, ...open.attempts.map(({ id }) => Number(id))),
      resume: `omk team run --resume --name ${open.id}`,
      steering: () => open.work.steering,
      change: (steering) => change("team-work.json", { steering }),
      record: (...events) => open.record(...events),
    };
  }

  async keep(isOver: boolean): Promise<Partial<TeamWork>> {
    const { base, result, merged, branch } = this.#open.work;
    if (!base || !result || !merged || base.tree === result.tree) return {};
    const project = this.#project;
    const at = this.#ports.clock.now();
    await project.keep(result.tree, { name: "result", at }, UNHURRIED);
    await project.keep(base.tree, { name: "base", at }, UNHURRIED);
    if (!isOver) return {};
    const commit = merged.head;
    const given = { commit, base: merged.base, expected: branch?.commit ?? null };
    const ref = await publishResult(this.#git, given, UNHURRIED);
    const name = ref.replace(/^refs\/heads\//, "");
    // Without a commit of the user's there is nothing to merge it into.
    const commands =
      base.commit === null
        ? {
            show: `omk rescue show ${this.#git.goalId}/result --patch`,
            take: project.undo(base.tree, result.tree),
          }
        : { show: `git diff ${merged.base.slice(0, 12)} ${name}`, take: `git merge ${name}` };
    return { branch: { name, commit, ...commands } };
  }

  async tidy(): Promise<void> {
    const left = await leftAttemptTrees(this.#git, UNHURRIED);
    for (const removal of left.setAside) await this.#tellRemoval(removal);
    for (const folder of left.attempts) {
      const fence = /-(\d+)$/.exec(folder.id)?.[1] ?? "0";
      const attempt = this.#open.attempts.find(({ id }) => id === fence);
      // What became of it, the crew finds out.
      if (attempt?.status === "running") continue;
      const task = attempt?.task_id ?? "unknown";
      const at = attempt ? leftAt(attempt) : this.#ports.clock.now();
      const { unsaved = [] } = await this.#rescue(folder, { task, fence: Number(fence), at });
      await this.#remove(folder, unsaved, attempt);
    }
  }

  async release(): Promise<void> {
    await this.#tellRemoval(this.tree.remove());
  }

  get #merged(): MergedResults {
    const { merged } = this.#open.work;
    if (!merged) throw new Error("The run's base was not recorded.");
    return merged;
  }

  /** An attempt as the log has it now. */
  #recorded(attempt: RunAttempt): RunAttempt {
    return this.#open.attempts.find(({ id }) => id === attempt.id) ?? attempt;
  }

  async #folderOf({ id, task_id }: RunAttempt): Promise<AttemptTree | undefined> {
    const known = this.#folders.get(id);
    // Agents can remove the folder they are in.
    if (known) return this.#ports.disk.stat(known.folder)?.kind === "folder" ? known : undefined;
    const request = { name: this.#nameOf(task_id), fence: Number(id) };
    const found = await openAttemptTree(this.#git, request, UNHURRIED);
    if (found) this.#folders.set(id, found);
    return found;
  }

  async #remove(
    folder: AttemptTree,
    unsaved: readonly string[],
    attempt: RunAttempt | undefined,
  ): Promise<void> {
    await this.#tellRemoval(await removeAttemptTree(this.#git, folder, { unsaved }, UNHURRIED), attempt);
  }

  /** A folder that is still somewhere is told, and named in the log. */
  async #tellRemoval(removal: Removal, attempt?: RunAttempt): Promise<void> {
    if (removal.outcome === "removed") return;
    const { path, because } = removal;
    const open = this.#open;
    this.#ports.tell(`a folder was kept in ${path}: ${because}`);
    await open.update(() => ({
      kind: "worktree_set_aside",
      actor: "scheduler",
      payload: { path, because, ...(attempt && { task_id: attempt.task_id, fence: Number(attempt.id) }) },
      changes: attempt
        ? [changeAttempt(Number(attempt.id), { set_aside: path })]
        : [change("team-work.json", { set_aside: [...(open.work.set_aside ?? []), path] })],
    }));
  }

  async #projectOf(commit: string, signal: AbortSignal): Promise<string> {
    return this.#git.projectIn(await this.#git.treeOf(commit, signal), signal);
  }

  /** Ids may look alike in lower case or when cut; the fingerprint tells them apart. */
  #nameOf(taskId: string): string {
    const run = nameComponent(this.#git.goalId, "goal id");
    return `team-${run}-${nameComponent(taskId, "task id")}-${fingerprintOf(this.#git.goalId, taskId)}`;
  }
}

/** What makes the run's folders ready. */
function freshFolders(
  { open, git, project }: { open: OpenRun; git: PrivateGit; project: WorkTree },
  ports: RunPorts,
): FreshFolders {
  return new FreshFolders(
    {
      log: {
        folder: open.folder,
        nextSeq: () => open.journal.nextSeq,
        record: (...events) => open.record(...events),
      },
      setup: () => open.work.gates.setup,
      project,
      searchPath: git.searchPath,
      resume: `omk team run --resume --name ${open.id}`,
      recordRun: async (prepared, logs) => {
        await open.update(() => ({
          kind: "folder_prepared",
          actor: "scheduler",
          payload: { ...prepared },
          changes: [change("team-work.json", { evidence: [...open.work.evidence, ...logs] })],
        }));
      },
    },
    ports,
  );
}

/** Found at the start, before anybody is paid for a result that could not be given. */
function branchInTheWay(run: string): OmkError {
  const branch = `omk/result/${run}`;
  return new OmkError("delivery.refused", `There is a branch ${branch} already, where the result would go.`, {
    hint: `Rename it with \`git branch -m ${branch} <other name>\`, then run \`omk team run --resume --name ${run}\`; or start anew under another name.`,
  });
}

function leftAt(attempt: RunAttempt): Date {
  return new Date(attempt.left_at ?? attempt.ended_at ?? attempt.started_at);
}

function messageOf(run: string, task: Task): string {
  const scope = task.write_set.length === 0 ? "project files" : task.write_set.join(", ");
  return `[omk-team] ${run} / ${task.id}\n\nWrite scope: ${scope.replace(/\s+/g, " ")}`;
}
