/**
 * One attempt at a slice, in a folder of its own: made, worked in, saved, checked, and taken away. What the agent left is
 * recorded when its turn ends, before gates write there, too; what it came to is one event. Killed before that event the
 * attempt counts as cut off, and what its agent left is found in its rescue, or else in the folder; killed after it only the
 * folder is left to be taken away.
 */
import type { Ledger, Reservation } from "../budget/ledger.ts";
import { parseDelivery } from "../delivery/metadata.ts";
import { OmkError, systemCode } from "../errors.ts";
import type { SliceFault, SliceState } from "../format/slices.ts";
import { instantOf } from "../format/stamp.ts";
import type { GoalTask } from "../format/task-graph.ts";
import type { Attempt } from "../format/work.ts";
import {
  holdsProject,
  makeAttemptTree,
  removeAttemptTree,
  type AttemptTree,
  type Removal,
} from "../git/attempt-tree.ts";
import { withoutChanges } from "../git/combined-trees.ts";
import { branchTip, commitOnBranch } from "../git/integrate.ts";
import { tryRescue, type Rescued } from "../git/rescue.ts";
import { workTreeOf } from "../git/work-tree.ts";
import type { EvidenceFile } from "../store/evidence.ts";
import { ensureFolder } from "../store/files.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import { workerOf } from "./agent-tasks.ts";
import { rescuedEvent, rescueTime, unreadable } from "./left-worktrees.ts";
import { meterAttempt } from "./metering.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import { slicePrompt } from "./prompt.ts";
import { takeProposals, taskTurnMs } from "./proposals.ts";
import { judgeSlice, worktreeGone, type Rejection, type SliceJudgement } from "./slice-checks.ts";
import { attemptStart, startFiles, wasCutOff, type StartFiles } from "./slice-start.ts";
import type { SlicedSpace } from "./sliced-space.ts";
import { requireSlices, sliceState, withSlice } from "./slices.ts";
import {
  afterTurn,
  claimAttempt,
  claimEnd,
  describeEnd,
  endPayload,
  evidenceFolder,
  isDone,
  keepChanges,
  nameOf,
  orderedTask,
  takeWorkTurn,
  taskAfter,
  type AttemptOrder,
  type ClaimedAttempt,
  type WorkTurn,
} from "./work-turn.ts";
import type { Workspace } from "./workspace.ts";

/** What an attempt at a slice is given. */
export interface SliceOrder extends AttemptOrder {
  /** The account that all attempts side by side share, as `goalLedger` makes it; its clock counts the time. */
  ledger: Ledger;
  /** What is set aside there for this turn. It is settled or given back when this resolves or rejects. */
  reservation: Reservation;
  /** By task: the folders in which agents are at work now. */
  live: Map<string, AttemptTree>;
}

/** Runs one attempt to its end and records it. The signal ends it early: then it is not counted. */
export async function runSliceAttempt(
  open: OpenGoal,
  space: Workspace & { sliced: SlicedSpace },
  order: SliceOrder,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<void> {
  try {
    await new SliceAttempt(open, space, order, ports, signal).run();
  } finally {
    // Harmless where the turn was settled.
    order.reservation.release();
    order.live.delete(order.task);
  }
}

/** A folder in which an agent can work. */
interface ReadyFolder {
  /** As it is recorded by now. */
  attempt: Attempt;
  tree: AttemptTree;
  start: StartFiles;
  /** Of the whole repository, as it was when set-up had run. */
  prepared: string;
  /** How much of what it shares with the project had been found changed by then. */
  mark: number;
}

/** What an agent has left when its turn is over. */
interface Left {
  /** As it is recorded by now. */
  attempt: Attempt;
  /** What it made of the files it was given; absent where nobody can tell. */
  result?: { tree: string; project: string };
  /** Why that cannot be judged: the folder is gone, or in a state in which nothing can run there. */
  gone?: Rejection;
  /** What is in no commit: for its sake the folder is kept. */
  unsaved: readonly string[];
}

/** How an attempt ended, and what was found about it on the way. */
interface Outcome {
  ended: Attempt;
  files: EvidenceFile[];
  rejection?: Rejection;
  /** What the next attempts are told. */
  faults: SliceFault[];
  /** Its result on its branch, where that is taken. */
  commit?: string;
}

class SliceAttempt {
  readonly #open: OpenGoal;
  readonly #space: Workspace & { sliced: SlicedSpace };
  readonly #order: SliceOrder;
  readonly #ports: GoalPorts;
  readonly #signal: AbortSignal;
  readonly #task: GoalTask;
  /** As it was recorded before its first attempt; only its own attempts change what is read of it here. */
  readonly #state: SliceState;
  /** What its branch named when it began: no other attempt at the slice is under way, so only a later one moves it. */
  #tip: string | null = null;
  #left: Left | undefined;
  /** Its end is known; what fails from then on changes nothing about it. */
  #isEnding = false;

  constructor(
    open: OpenGoal,
    space: Workspace & { sliced: SlicedSpace },
    order: SliceOrder,
    ports: GoalPorts,
    signal: AbortSignal,
  ) {
    this.#open = open;
    this.#space = space;
    this.#order = order;
    this.#ports = ports;
    this.#signal = signal;
    this.#task = orderedTask(open, order);
    const state = sliceState(open.work, order.task);
    if (!state) throw new Error(`The slice ${order.task} has no start yet.`);
    this.#state = state;
  }

  async run(): Promise<void> {
    const { goal, work } = this.#open;
    const earlier = work.attempts
      .slice(this.#state.attempts_from)
      .filter(({ task_id }) => task_id === this.#task.id);
    const { git } = this.#space.sliced;
    const start = await startFiles(git, this.#state, attemptStart(earlier), this.#signal);
    // What has passed since the account was opened may not be in the documents yet.
    const turnMs = Math.min(taskTurnMs(goal, work, this.#task), this.#order.ledger.leftMs());
    const given = { turnMs, start: { start_tree: start.project, start_commit: start.commit } };
    const { attempt, claim } = await claimAttempt(this.#open, this.#order, given, this.#ports);
    let folder: ReadyFolder | undefined;
    try {
      this.#tip = (await branchTip(git, this.#state.branch, this.#signal)) ?? null;
      folder = await this.#readyFolder(attempt, start);
      const last = earlier.at(-1);
      const files = { from: folder.start.from, cutOff: last !== undefined && wasCutOff(last) };
      const prompt = slicePrompt(goal, this.#open.graph, this.#task, this.#open.work, files);
      const worked = await this.#work(folder, prompt, turnMs);
      const outcome = await this.#outcome(folder, worked);
      await this.#end(outcome, claim, folder);
    } catch (error) {
      await this.#endEarly({ attempt: folder?.attempt ?? attempt, claim }, folder, error);
      throw error;
    }
  }

  // ---- The folder

  async #readyFolder(attempt: Attempt, start: StartFiles): Promise<ReadyFolder> {
    try {
      return await this.#prepared(attempt, start);
    } catch (error) {
      const isTheirs = error instanceof OmkError && error.code === "setup.failed";
      if (!isTheirs || start.from === "start") throw error;
      // What an agent has left cannot even be set up: nobody could ever go on from there.
      const name = nameOf(this.#open.graph, attempt);
      this.#ports.tell(`${name} begins anew, since what was left cannot be set up: ${error.message}`);
      const { git } = this.#space.sliced;
      return this.#prepared(attempt, await startFiles(git, this.#state, { from: "start" }, this.#signal));
    }
  }

  async #prepared(attempt: Attempt, start: StartFiles): Promise<ReadyFolder> {
    const { git } = this.#space.sliced;
    const { worktree_name: name = attempt.task_id } = parseDelivery(this.#task.delivery ?? {}).fields;
    const { fence } = attempt;
    const request = { name, fence, branch: this.#state.branch, base: start.commit };
    const tree = await makeAttemptTree(git, request, this.#signal);
    try {
      // A project without a file has no folder in a checkout.
      await ensureFolder(tree.cwd, this.#ports);
      const fresh = { cwd: tree.cwd, tree: start.project, name: `slice-${fence}` };
      await this.#space.sliced.prepare(fresh, this.#signal);
      const prepared = await tree.snapshot(this.#signal);
      const { surroundings } = this.#space.sliced;
      await surroundings.look();
      const { mark } = surroundings;
      return { attempt: await this.#recordStart(attempt, start, prepared), tree, start, prepared, mark };
    } catch (error) {
      // No agent was here: nothing in it is anybody's work.
      await this.#remove(tree, { unsaved: [] });
      throw error;
    }
  }

  /** Records what the agent finds. Until then no agent was there, and nothing in the folder is anybody's work. */
  async #recordStart(attempt: Attempt, start: StartFiles, prepared: string): Promise<Attempt> {
    const project = await this.#space.sliced.git.projectIn(prepared, this.#signal);
    const { task_id, fence } = attempt;
    const ready: Attempt = {
      ...attempt,
      start_commit: start.commit,
      start_tree: start.project,
      prepared_tree: project,
    };
    await this.#open.update(() => [
      {
        kind: "worktree_prepared",
        actor: workerOf(attempt),
        payload: { task_id, fence, start_commit: start.commit, prepared_tree: project },
        changes: [change("work.json", { attempts: this.#withThis(ready) })],
      },
    ]);
    return ready;
  }

  // ---- The turn, and what came of it

  async #work({ attempt, tree }: ReadyFolder, prompt: string, turnMs: number): Promise<WorkTurn> {
    const { live, ledger, reservation } = this.#order;
    const request = {
      attempt,
      task: this.#task,
      cwd: tree.cwd,
      prompt,
      turnMs,
      startedMs: this.#ports.clock.monotonicMs(),
      meter: () => meterAttempt(this.#open, attempt, this.#ports, { ledger, turn: reservation }),
    };
    live.set(attempt.task_id, tree);
    try {
      return await takeWorkTurn(this.#open, this.#order, request, this.#ports, this.#signal);
    } finally {
      live.delete(attempt.task_id);
    }
  }

  async #outcome(ready: ReadyFolder, worked: WorkTurn): Promise<Outcome> {
    const { turn } = worked;
    const wasStopped = this.#signal.aborted;
    // Before the gates: they write into the folder, too, and what they write is not the agent's.
    const left = await this.#leave(ready);
    const { attempt, result, gone } = left;
    const linkedChanged = await this.#space.sliced.surroundings.look(ready.mark);
    const files = [...worked.files, ...(await this.#keepChanges(ready, left))];
    const isToBeJudged = turn.status === "finished" && !wasStopped;
    const judged = isToBeJudged ? await this.#judge(ready, left, linkedChanged) : NOT_JUDGED;
    files.push(...(judged?.evidence ?? []));
    const interrupted = wasStopped || judged === undefined;
    const result_tree = result?.project ?? null;
    const ended: Attempt = {
      ...afterTurn(attempt, worked, { interrupted, result_tree }, this.#ports),
      ...(judged?.gates && { gates: judged.gates }),
      ...(judged?.rejection && this.#rejected(judged.rejection)),
    };
    const rejection = judged?.rejection;
    if (rejection) return { ended, files, rejection, faults: rejection.faults };
    if (!isDone(ended) || !result) return { ended, files, faults: faultsOf(ended, gone) };
    const folder = evidenceFolder(this.#open, attempt);
    files.push(...(await takeProposals(this.#open, ended, turn, folder, this.#ports)));
    return { ended, files, faults: [], commit: await this.#take(ended, result.tree) };
  }

  async #keepChanges({ attempt, start }: ReadyFolder, { result }: Left): Promise<EvidenceFile[]> {
    if (!result) return [];
    const folder = evidenceFolder(this.#open, attempt);
    const trees = { folder, start: start.project, result: result.project };
    return keepChanges(this.#open, workTreeOf(this.#space.sliced.git), trees, this.#ports);
  }

  /** Undefined when it was stopped on the way: nobody knows then whether the result holds, so the next attempt goes on. */
  async #judge(
    { attempt: { fence }, tree: folder }: ReadyFolder,
    { result, gone }: Left,
    linkedChanged: readonly string[],
  ): Promise<SliceJudgement | undefined> {
    if (gone || !result) return { evidence: [], ...(gone && { rejection: gone }) };
    const given = { task: this.#task, state: this.#state, fence, folder, ...result, linkedChanged };
    try {
      return await judgeSlice(this.#open, this.#space, given, this.#ports, this.#signal);
    } catch (error) {
      if (this.#signal.aborted && error === this.#signal.reason) return undefined;
      throw error;
    }
  }

  #rejected({ code, because }: Rejection): Partial<Attempt> {
    const summary = this.#ports.redactor.text(because);
    return { outcome: "rejected", outcome_code: code, summary };
  }

  /** Saves what the folder holds, and records it; asked again it is what it was when first asked. */
  async #leave(ready: ReadyFolder): Promise<Left> {
    this.#left ??= await this.#save(ready);
    return this.#left;
  }

  async #save({ attempt: begun, tree, start, prepared }: ReadyFolder): Promise<Left> {
    const { git } = this.#space.sliced;
    const attempt = await this.#recordLeaving(begun);
    const { task_id: task, fence } = attempt;
    const given = { task, fence, at: rescueTime(this.#open, fence) };
    const tried = await tryRescue(git, tree, given, UNHURRIED);
    if (tried.outcome === "unreadable")
      return { attempt, gone: worktreeGone(tried.because), unsaved: [unreadable(tried)] };
    const { rescued } = tried;
    const ofAgent = { tree: rescued.tree, from: start.tree, to: prepared };
    const result = await withoutChanges(git, ofAgent, UNHURRIED);
    const project = await git.projectIn(result, UNHURRIED);
    const gone = holdsProject(git, tree) ? undefined : worktreeGone(`${tree.cwd} is no folder any more`);
    return {
      attempt: await this.#recordRescue(attempt, { worktree: tree.id, rescued, project }),
      result: { tree: result, project },
      ...(gone && { gone }),
      unsaved: rescued.unsaved,
    };
  }

  /** The time that the rescue carries is in the log before it is made: made again, it is the same. */
  async #recordLeaving(attempt: Attempt): Promise<Attempt> {
    const { task_id, fence } = attempt;
    const left: Attempt = { ...attempt, left_at: instantOf(this.#ports.clock.now()) };
    await this.#open.update(() => [
      {
        kind: "worktree_left",
        actor: workerOf(attempt),
        payload: { task_id, fence },
        changes: [change("work.json", { attempts: this.#withThis(left) })],
      },
    ]);
    return left;
  }

  /** From now on what is in the folder is not asked any more. */
  async #recordRescue(
    attempt: Attempt,
    saved: { worktree: string; rescued: Rescued; project: string },
  ): Promise<Attempt> {
    const { fence } = attempt;
    await this.#open.update(() => [rescuedEvent(this.#open, { fence, ...saved })]);
    const { rescue } = this.#open.work.attempts.find((one) => one.fence === fence) ?? {};
    return { ...attempt, result_tree: saved.project, ...(rescue && { rescue }) };
  }

  /** Puts a result that is taken onto its branch; the log then names the commit. */
  async #take({ ended_at }: Attempt, tree: string): Promise<string> {
    const { branch, parents, task_id } = this.#state;
    const { write_set } = this.#task;
    const scope = write_set.length === 0 ? "project files" : write_set.join(", ");
    const { slice_id = task_id } = parseDelivery(this.#task.delivery ?? {}).fields;
    const message = `[omk-slice] ${this.#open.id} / ${slice_id}\n\nWrite scope: ${scope}`;
    const at = new Date(ended_at ?? this.#open.goal.created_at);
    const given = { branch, tree, parents, message, at, expected: this.#tip };
    return commitOnBranch(this.#space.sliced.git, given, UNHURRIED);
  }

  // ---- The end

  async #end(outcome: Outcome, claim: ClaimedAttempt["claim"], { tree }: ReadyFolder): Promise<void> {
    this.#isEnding = true;
    await this.#record(outcome, claim.end(claimEnd(outcome.ended)));
    this.#ports.tell(describeEnd(this.#open.graph, outcome.ended));
    await this.#remove(tree, { unsaved: this.#left?.unsaved ?? [] });
  }

  /** Everything that the end of an attempt changes, in one event. */
  async #record({ ended, files, rejection, faults, commit }: Outcome, failures: number): Promise<void> {
    const { task_id, fence, rescue } = ended;
    await this.#open.update(() => {
      const { work } = this.#open;
      const slices = requireSlices(work);
      const state = sliceState(work, task_id) ?? this.#state;
      const round = { fence, number: ended.number, faults };
      const after: SliceState = {
        ...state,
        ...(faults.length > 0 && { rounds: [...state.rounds, round] }),
        ...(commit !== undefined && { commit, fence }),
      };
      return [
        {
          kind: isDone(ended) ? "task_completed" : "task_failed",
          actor: workerOf(ended),
          payload: {
            ...endPayload(ended),
            ...(rejection && { outcome_code: rejection.code }),
            ...(rescue && { rescue: rescue.ref }),
            ...(commit !== undefined && { branch: state.branch, commit }),
          },
          changes: [
            change("work.json", {
              attempts: this.#withThis(ended),
              slices: { ...slices, slices: withSlice(slices, after) },
              evidence: [...work.evidence, ...files],
            }),
            taskAfter(ended, { files, failures }),
          ],
        },
      ];
    });
  }

  #withThis(attempt: Attempt): Attempt[] {
    const { fence } = attempt;
    // What its usage was charged with meanwhile stays.
    return this.#open.work.attempts.map((one) =>
      one.fence === fence ? { ...attempt, usage: attempt.usage ?? one.usage } : one,
    );
  }

  /** Ends an attempt over which something else failed: it is not counted. */
  async #endEarly(
    { attempt, claim }: ClaimedAttempt,
    folder: ReadyFolder | undefined,
    error: unknown,
  ): Promise<void> {
    if (this.#isEnding) return;
    const isStop = this.#signal.aborted && error === this.#signal.reason;
    const said = error instanceof Error ? error.message : String(error);
    let left: Left | undefined;
    try {
      left = folder && (await this.#leave(folder));
    } catch {
      // What cannot be saved now stays where it is: whoever opens the goal next finds an attempt that was cut off.
      return;
    }
    const ended: Attempt = {
      ...(left?.attempt ?? attempt),
      status: "interrupted",
      outcome: isStop ? "cancelled" : "failed",
      outcome_code: isStop ? "cancelled" : error instanceof OmkError ? error.code : "crashed",
      ended_at: instantOf(this.#ports.clock.now()),
      summary: isStop ? "it was stopped before the agent began" : this.#ports.redactor.text(said),
    };
    await this.#record({ ended, files: [], faults: [] }, claim.end("not_counted"));
    this.#ports.tell(describeEnd(this.#open.graph, ended));
    if (folder && left) await this.#remove(folder.tree, left);
  }

  /** Takes a folder away; one that stays, in quarantine, is recorded. */
  async #remove(tree: AttemptTree, rescued: { unsaved: readonly string[] }): Promise<void> {
    let removal: Removal;
    try {
      removal = await removeAttemptTree(this.#space.sliced.git, tree, rescued, UNHURRIED);
    } catch (error) {
      // Whoever opens the goal next tries again; the work goes on meanwhile.
      if (!(error instanceof OmkError) && systemCode(error) === undefined) throw error;
      this.#ports.tell(`the folder of ${this.#task.id} stays in ${tree.folder}: ${(error as Error).message}`);
      return;
    }
    if (removal.outcome === "removed") return;
    const { path, because } = removal;
    await this.#open.update(() => {
      const slices = requireSlices(this.#open.work);
      const set_aside = [...slices.set_aside, { path, because }];
      return [
        {
          kind: "worktree_set_aside",
          actor: "goal-controller",
          payload: { task_id: this.#task.id, path, because },
          changes: [change("work.json", { slices: { ...slices, set_aside } })],
        },
      ];
    });
    this.#ports.tell(`the folder of ${this.#task.id} is kept as ${path}: ${because}`);
  }
}

/** Of a turn that did not finish nothing is judged. */
const NOT_JUDGED: SliceJudgement = { evidence: [] };

/** What a turn that did not end well tells the next one; nothing where it was nobody's fault. */
function faultsOf(
  { counted, outcome, outcome_code, summary }: Attempt,
  gone: Rejection | undefined,
): SliceFault[] {
  if (!counted || outcome === "finished") return [];
  const heading = `The turn did not end well (${outcome_code ?? outcome ?? "failed"}):`;
  return [{ heading, details: summary ?? "no details", keep: "end" }, ...(gone?.faults ?? [])];
}
