/** An attempt in the project directory itself: its result is what lies there afterwards, whoever made it. */
import type { Approvals } from "../approval/approvals.ts";
import type { Engine } from "../engine/engine.ts";
import type { Attempt, Work } from "../format/work.ts";
import { changedFiles } from "../git/changed-files.ts";
import type { TreeChange } from "../git/work-tree.ts";
import type { EvidenceFile } from "../store/evidence.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import { agentTasks, workerName, workerOf } from "./agent-tasks.ts";
import { helperPaths } from "./helper.ts";
import { meterAttempt } from "./metering.ts";
import type { NextAttempt } from "./next-step.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import { workPrompt } from "./prompt.ts";
import { takeProposals, taskTurnMs } from "./proposals.ts";
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
} from "./work-turn.ts";
import type { Workspace } from "./workspace.ts";
import { outsideAfter, outsideOfAll, strayedBy } from "./write-sets.ts";

/** Runs one attempt to its end and records it. The signal ends it early: then it is not counted. */
export async function runAttempt(
  open: OpenGoal,
  space: Workspace,
  given: { engine: Engine; approvals: Approvals; worker?: string } & NextAttempt,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<void> {
  const { goal, work } = open;
  const order = { ...given, worker: given.worker ?? workerName(0) };
  // Before the attempt is recorded: the documents are live, and this one is not among the earlier ones.
  const task = orderedTask(open, order);
  const prompt = workPrompt(goal, open.graph, task, work, order.number);
  const startedMs = ports.clock.monotonicMs();
  const turnMs = taskTurnMs(goal, work, task);
  const start = await space.tree.snapshot(signal);
  const { attempt, claim } = await claimAttempt(open, order, { turnMs, start: { start_tree: start } }, ports);
  const worked = await takeWorkTurn(
    open,
    order,
    {
      attempt,
      task,
      cwd: space.tree.root,
      prompt,
      turnMs,
      startedMs,
      meter: () => meterAttempt(open, attempt, ports),
    },
    ports,
    signal,
  );
  const { turn, files } = worked;
  const interrupted = signal.aborted;
  const result = await space.tree.snapshot(UNHURRIED);
  const folder = evidenceFolder(open, attempt);
  files.push(...(await keepChanges(open, space.tree, { folder, start, result }, ports)));
  const ended = afterTurn(attempt, worked, { interrupted, result_tree: result }, ports);
  if (isDone(ended)) files.push(...(await takeProposals(open, ended, turn, folder, ports)));
  const failures = claim.end(claimEnd(ended));
  const elapsedMs = ports.clock.monotonicMs() - startedMs;
  const outside = await recordEnd(open, space, ended, { files, failures, elapsedMs });
  ports.tell(describeEnd(open.graph, ended));
  if (outside.length > 0)
    ports.tell(`${nameOf(open.graph, ended)} changed files outside its write set: ${outside.join(", ")}`);
}

/** Everything the end of an attempt changes, in one event. */
async function recordEnd(
  open: OpenGoal,
  space: Workspace,
  ended: Attempt,
  { files, failures, elapsedMs }: { files: readonly EvidenceFile[]; failures: number; elapsedMs: number },
): Promise<string[]> {
  const { work, graph } = open;
  const id = ended.task_id;
  const tree = ended.result_tree ?? ended.start_tree;
  const withThis = (attempts: readonly Attempt[]): Attempt[] =>
    attempts.map((one) => (one.fence === ended.fence ? ended : one));
  // What other hands changed before stays a part of the result.
  const before = (work.result?.changed_files ?? []).map(({ path }) => path);
  const meanwhile = await changedBefore(space, work, ended.start_tree);
  const outsiders = meanwhile.map(({ path }) => path);
  const by = { attempts: withThis(work.attempts), outside: [...before, ...outsiders, ...helperPaths(work)] };
  const changed = work.base ? await changedFiles(space.tree, work.base.tree, tree, UNHURRIED, by) : [];
  const own = await space.tree.changes(ended.start_tree, tree, UNHURRIED);
  const isLate = isAfterLost(work, ended);
  const inAttempt = isLate ? [...meanwhile, ...own] : own;
  const isFirst = work.attempts[0]?.fence === ended.fence;
  const position = await space.tree.position(UNHURRIED);
  const write_set = graph.tasks.find((one) => one.id === id)?.write_set ?? [];
  let outside: string[] = [];
  await open.update(() => {
    // As it stands now: others may have ended since this attempt did.
    const now = open.work;
    const others = { meanwhile, sinceBase: changed };
    const known =
      isLate || isFirst
        ? now.outside_write_sets
        : outsideOfAll(now.outside_write_sets, agentTasks(graph), others);
    const standing = { outside_write_sets: known, strayed_by: strayedBy(now, known) };
    outside = outsideAfter(known, { write_set }, { inAttempt, sinceBase: changed });
    return [
      {
        kind: isDone(ended) ? "task_completed" : "task_failed",
        actor: workerOf(ended),
        payload: endPayload(ended),
        changes: [
          change("work.json", {
            attempts: withThis(now.attempts),
            result: { tree, changed_files: changed },
            base: now.base && { ...now.base, position },
            evidence: [...now.evidence, ...files],
            active_ms: now.active_ms + elapsedMs,
            outside_write_sets: outside,
            strayed_by: strayedBy(standing, outside, id),
          }),
          taskAfter(ended, { files, failures }),
        ],
      },
    ];
  });
  return outside;
}

/** What changed between the last step that looked and the turn, less what gates wrote: nobody's work, but in the result. */
async function changedBefore(space: Workspace, work: Work, start: string): Promise<TreeChange[]> {
  const recorded = work.result?.tree ?? work.base?.tree ?? start;
  if (recorded === start) return [];
  const ours = new Set(work.side_effects);
  const changes = await space.tree.changes(recorded, start, UNHURRIED);
  return changes.filter(({ path }) => !ours.has(path));
}

/** Whether the attempt before this one was cut off with its controller: nobody saw what it had changed by then. */
function isAfterLost({ attempts }: Work, { fence, task_id }: Attempt): boolean {
  const before = attempts[attempts.findIndex((one) => one.fence === fence) - 1];
  return before?.status === "interrupted" && before.result_tree === null && before.task_id === task_id;
}
