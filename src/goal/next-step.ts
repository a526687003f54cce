/** What the loop does next: a pure rule over what the log says was done, so a killed run goes on where it stood. */
import type { TaskGraph } from "../format/task-graph.ts";
import type { Work } from "../format/work.ts";
import { agentTasks, countedAttempts, isPlanned, openTasks, readyTasks } from "./agent-tasks.ts";
import { unwaivedOutside } from "./facts.ts";
import { followUpId, type FollowUp } from "./follow-ups.ts";
import { gatesState, isReviewed } from "./gate-state.ts";
import { goldenFeedback } from "./golden-compare.ts";
import { missingForAgent } from "./oracle.ts";
import { reviewTasks, standingSections } from "./review-findings.ts";
import { sliceMoves, strandedSlices } from "./slices.ts";

/** An attempt to be made: the task, and which of its counted ones it is. */
export interface NextAttempt {
  task: string;
  number: number;
}

/** The steps of the loop. `finish` ends it; everything else is followed by another look. */
export type Step =
  | { kind: "record_base" }
  | { kind: "plan" }
  | { kind: "run_baseline" }
  /** Attempts that may be made side by side; in the project directory itself that is one. */
  | { kind: "run_wave"; attempts: NextAttempt[] }
  /** Slices are worked on side by side, each in a folder of its own, until nothing of them is left to do. */
  | { kind: "run_slices" }
  /** A slice that has landed is to be worked on again, now on the merged result. */
  | { kind: "reopen_slice"; task: string }
  /** What was found in the result becomes a task of its own. */
  | { kind: "add_task"; followUp: FollowUp }
  | { kind: "find_gates" }
  | { kind: "run_gates" }
  | { kind: "review" }
  | { kind: "finish"; because: "complete" | "attempts_used_up" };

/** What the rule looks at beside the goal's documents. */
export interface LoopLimits {
  /** Whose gates judge: the goal's own, those found in the result, none; `unknown` until the result was searched. */
  gates: "own" | "candidate" | "unknown" | "none";
  /** Executions of one task. */
  maxAttempts: number;
  /** Of the gates that hold now; what others said of the result says nothing. */
  gatesDigest?: string;
  /** Attempts at once. */
  width: number;
  /** Attempts work in folders of their own, and their results are merged. */
  sliced?: boolean;
}

/** Where nobody said otherwise. */
const ATTEMPTS_DEFAULT = 3;

/** How often each task of a goal may be executed. */
export function attemptsAllowed(goal: { max_attempts?: number | undefined }): number {
  return goal.max_attempts ?? ATTEMPTS_DEFAULT;
}

/** What an attempt takes: gates, a review, a task to be added, itself; and again itself after each of a few outages. */
const STEPS_PER_ATTEMPT = 8;
/** Tasks that the loop may yet add: one of each kind. */
const FOLLOW_UPS = 4;
/** The steps before the first attempt, and the last ones. */
const STEPS_BESIDE = 20;

/** More steps than the loop takes until it ends or waits: beyond them something is wrong with its rule. */
export function stepsAllowed(maxAttempts: number, graph: Pick<TaskGraph, "tasks">): number {
  return STEPS_PER_ATTEMPT * maxAttempts * (agentTasks(graph).length + FOLLOW_UPS) + STEPS_BESIDE;
}

const COMPLETE: Step = { kind: "finish", because: "complete" };
const USED_UP: Step = { kind: "finish", because: "attempts_used_up" };

/** Decides the next step of driving a goal to a verdict. */
export function nextStep(work: Work, graph: Pick<TaskGraph, "tasks">, limits: LoopLimits): Step {
  if (!work.base) return { kind: "record_base" };
  // Before the planner looks around: what it left would count as part of the base.
  if (limits.gates === "own" && !work.baseline) return { kind: "run_baseline" };
  if (!isPlanned(graph)) return { kind: "plan" };
  if (limits.sliced === true) {
    const step = sliceStep(work, graph, limits);
    if (step) return step;
  }
  const strayed = strayedTask(work);
  const open = openTasks(graph, work);
  if (strayed !== undefined) {
    const again = wave([strayed], work, limits);
    // A person may yet allow what was changed, so all other evidence is gathered, but nothing more is built on it.
    if (again.kind !== "finish" || open.length > 0) return again;
  }
  if (open.length > 0) {
    const ready = readyTasks(graph, work).map(({ id }) => id);
    return wave(ready, work, limits);
  }
  if (limits.gates === "unknown") return { kind: "find_gates" };
  if (limits.gates === "none") return COMPLETE;
  const tree = work.result?.tree;
  if (!work.gates || work.gates.tree !== tree || work.drift?.tree === tree || areOthers(work.gates, limits))
    return { kind: "run_gates" };
  if (gatesState(work) !== "green") return sendBack("repair", work, graph, limits);
  if (!isReviewed(work)) return { kind: "review" };
  const cause = causeOf(work);
  return cause === undefined ? COMPLETE : sendBack(cause, work, graph, limits);
}

/** What slices need before their merged result can be judged. */
function sliceStep(work: Work, graph: Pick<TaskGraph, "tasks">, limits: LoopLimits): Step | undefined {
  const { land, start } = sliceMoves(work, graph, limits);
  if (land !== undefined || start.length > 0) return { kind: "run_slices" };
  const isStuck = openTasks(graph, work).length > 0 || strandedSlices(graph, work).length > 0;
  return isStuck ? USED_UP : undefined;
}

/** Whether other gates ran than those that hold now: a person has approved changed ones since. */
function areOthers({ digest }: NonNullable<Work["gates"]>, { gatesDigest }: LoopLimits): boolean {
  return digest !== undefined && gatesDigest !== undefined && digest !== gatesDigest;
}

/** A task that changed files which it was not to change. Where no task did, only a person can say what is to become of them. */
function strayedTask(work: Work): string | undefined {
  const outside = unwaivedOutside(work);
  if (outside.length === 0) return undefined;
  const { strayed_by: by } = work;
  // Earlier versions did not keep whose they were.
  if (!by) return work.attempts.at(-1)?.task_id;
  return outside.map((path) => by[path]).find((task) => task !== undefined);
}

/** The first of these tasks, as many as may run at once; over when one of them has no attempt left. */
function wave(tasks: readonly string[], work: Work, { maxAttempts, width, sliced }: LoopLimits): Step {
  const attempts = tasks
    .slice(0, width)
    .map((task) => ({ task, number: countedAttempts(work, task) + 1 }))
    .filter(({ number }) => number <= maxAttempts);
  // An open task without attempts keeps the goal from being ready: no further turn is paid for.
  const [first] = attempts;
  if (!first || attempts.length < Math.min(tasks.length, width)) return USED_UP;
  return sliced === true ? { kind: "reopen_slice", task: first.task } : { kind: "run_wave", attempts };
}

/** What is wrong goes to the task that mends it, which is added when the goal has none yet. */
function sendBack(
  cause: FollowUp["kind"],
  work: Work,
  graph: Pick<TaskGraph, "tasks">,
  limits: LoopLimits,
): Step {
  const id = followUpId(cause, graph);
  if (graph.tasks.some((task) => task.id === id)) return wave([id], work, limits);
  return { kind: "add_task", followUp: { kind: cause, id } };
}

/** Where a person asks for another turn although every task is done: the task that mends what is wrong by now. */
export function mendingTask(work: Work, graph: Pick<TaskGraph, "tasks">): FollowUp {
  const kind = (gatesState(work) === "green" && isReviewed(work) && causeOf(work)) || "repair";
  return { kind, id: followUpId(kind, graph) };
}

/** What another turn of the agent can mend. */
function causeOf(work: Work): FollowUp["kind"] | undefined {
  if (work.gates?.base_copies?.status === "failed") return "repair";
  if (work.gates?.clean_checkout?.status === "failed") return "repair";
  if (goldenFeedback(work).length > 0) return "repair";
  if (work.result?.changed_files.length === 0) return "repair";
  if (work.acceptance?.decision === "rejected" && work.acceptance.tree === work.result?.tree) return "repair";
  const [found] = reviewTasks(work);
  if (found) return found.kind;
  const fixable = standingSections(work).some(
    (section) => section.status === "blocked" && section["fixable"] === true,
  );
  return fixable || missingForAgent(work).length > 0 ? "repair" : undefined;
}
