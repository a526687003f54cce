/** How slices and delivery stand, from documents as they were read: pure, and without schemas, for commands that answer at once. */
import type { DeliveryWork } from "../format/delivery.ts";
import { named } from "../format/named.ts";
import type { ProvenSlice } from "../format/proof.ts";
import type { SliceState } from "../format/slices.ts";
import type { GoalTask, TaskGraph } from "../format/task-graph.ts";
import type { Work } from "../format/work.ts";

type Pictured = { graph: Partial<TaskGraph>; work: Partial<Work> };

/** The slices of a goal in the order of its tasks; none where it is worked on in place. */
export function sliceViews({ graph, work }: Pictured): ProvenSlice[] {
  if (!work.slices) return [];
  const states = new Map((work.slices.slices ?? []).map((state) => [state.task_id, state]));
  const tasks = (graph.tasks ?? []).filter((task) => states.has(task.id) || branchOf(task) !== null);
  const ids = new Set(tasks.map(({ id }) => id));
  return tasks.map((task) => viewOf(task, { states, ids, attempts: work.attempts ?? [] }));
}

function branchOf({ delivery }: GoalTask): string | null {
  const branch = delivery?.["branch"];
  return typeof branch === "string" ? branch : null;
}

interface Known {
  states: ReadonlyMap<string, SliceState>;
  ids: ReadonlySet<string>;
  attempts: Work["attempts"];
}

function viewOf(task: GoalTask, known: Known): ProvenSlice {
  const { id, left_out } = task;
  const state = known.states.get(id);
  const made = known.attempts.filter(({ task_id }) => task_id === id);
  const waits_for = left_out ? [] : unlanded(task, known);
  const conflict = state?.conflict;
  const status = statusOf(task, known, waits_for.length > 0);
  const last = made.at(-1);
  const not_taken = status === "open" ? (last?.outcome_code ?? last?.outcome ?? last?.status) : undefined;
  return {
    id,
    status,
    branch: state?.branch ?? branchOf(task),
    attempts: made.length,
    commit: state?.commit ?? null,
    landed: state?.landed ?? null,
    ...(waits_for.length > 0 && { waits_for }),
    ...(not_taken !== undefined && { not_taken }),
    ...(conflict && {
      conflict: { files: conflict.files, evidence: conflict.evidence, solved_by: conflict.resolved_by },
    }),
    ...(left_out && { left_out: { reason: left_out.reason, at: left_out.at } }),
  };
}

function statusOf({ id, left_out }: GoalTask, known: Known, waits: boolean): ProvenSlice["status"] {
  const state = known.states.get(id);
  if (left_out) return "left_out";
  if (typeof state?.landed === "string") return "landed";
  if (known.attempts.some((one) => one.task_id === id && one.status === "running")) return "working";
  if (state?.conflict) return hasLanded(id, known) ? "conflict_solved" : "in_conflict";
  if (typeof state?.commit === "string") return "waiting_to_land";
  return waits ? "waiting" : "open";
}

/** The slice as part of which a slice is in the merged result, itself or a task that solved its conflict; undefined while it is not. */
export function landedAs(
  stateOf: (taskId: string) => SliceState | undefined,
  taskId: string,
): SliceState | undefined {
  const seen = new Set<string>();
  for (let next: string | null | undefined = taskId; typeof next === "string" && !seen.has(next);) {
    seen.add(next);
    const state = stateOf(next);
    if (typeof state?.landed === "string") return state;
    next = state?.conflict?.resolved_by;
  }
  return undefined;
}

/** What a task waits for, by the graph and by its record. `solves` is the slice whose conflict it is to solve. */
export function waitsForTasks(task: GoalTask, solves: string | undefined): string[] {
  const recorded: unknown = task.delivery?.["dependencies"];
  // What overlaps with the slice whose conflict is solved waits for it already: nothing waits in a circle.
  const isUsed = solves === undefined && Array.isArray(recorded);
  const all = [...task.dependencies, ...(isUsed ? recorded.map(String) : [])];
  return [...new Set(all)].filter((id) => id !== solves);
}

function hasLanded(id: string, { states }: Known): boolean {
  return landedAs((one) => states.get(one), id) !== undefined;
}

function unlanded(task: GoalTask, known: Known): string[] {
  const solved = [...known.states.values()].find(({ conflict }) => conflict?.resolved_by === task.id);
  const all = waitsForTasks(task, solved?.task_id);
  return all.filter((id) => known.ids.has(id) && !hasLanded(id, known));
}

/** Files that a line names. */
const FILES_MAX = 3;

/** How a slice stands, in words. */
export function sliceText(slice: ProvenSlice): string {
  const { status, waits_for = [], conflict, left_out, attempts, not_taken } = slice;
  switch (status) {
    case "waiting":
      return `waits for ${named(waits_for)}`;
    case "open":
      return attempts > 0
        ? `open: attempt ${attempts} was not taken (${not_taken ?? "no reason is known"})`
        : "open";
    case "working":
      return `being worked on, attempt ${attempts}`;
    case "waiting_to_land":
      return "done, waits to land";
    case "landed":
      return "landed";
    case "in_conflict": {
      const { files = [], solved_by = null } = conflict ?? {};
      return `in conflict over ${named(files, { max: FILES_MAX })}; ${solved_by === null ? "nobody solves it" : `${solved_by} is to solve it`}`;
    }
    case "conflict_solved":
      return `landed, its conflict solved by ${conflict?.solved_by ?? "another task"}`;
    case "left_out":
      return `left out: ${left_out?.reason ?? "no reason is known"}`;
    default:
      // A later version's word.
      return status;
  }
}

/** The result as it is now, which may be another one than was delivered. */
export interface PresentResult {
  tree?: string | null | undefined;
  /** Of slices. */
  commit?: string | undefined;
  /** By a person. */
  isRejected?: boolean;
}

/** The present result by a goal's documents. */
export function presentResult({ result, slices, acceptance }: Partial<Work>): PresentResult {
  const isRejected = acceptance?.decision === "rejected" && acceptance.tree === result?.tree;
  return { tree: result?.tree, commit: slices?.head, isRejected };
}

const EARLIER = " (an earlier result)";

/** The steps of delivery that were taken, in words, each on one line, and of which result they are. */
export function deliverySteps(
  delivery: Partial<DeliveryWork> | undefined,
  { tree, commit, isRejected = false }: PresentResult = {},
): string[] {
  if (!delivery) return [];
  const { result, applied, pushed = [], pulls = [], integration, checks, merge, done_at } = delivery;
  const differs = (one: string | undefined, now: string | null | undefined): boolean =>
    typeof one === "string" && typeof now === "string" && one !== now;
  const isEarlier = differs(delivery.tree, tree);
  const of = isEarlier ? EARLIER : "";
  const resultOf = isEarlier || differs(result?.commit, commit) ? EARLIER : "";
  const appliedOf = differs(applied?.tree, tree) ? EARLIER : "";
  const steps = [
    ...(result ? [`result: ${result.ref.replace(/^refs\/heads\//, "")} is ${result.commit}${resultOf}`] : []),
    ...(applied
      ? [
          `applied to your files: ${applied.written} written, ${applied.removed} removed, at ${applied.at}${appliedOf}`,
        ]
      : []),
    ...pushed.map((one) => `pushed: ${one.branch} is ${one.commit}, at ${one.at}${of}`),
    ...pulls.map(
      ({ slice_id, url, state }) =>
        `pull request ${url} (${slice_id ?? "all slices together"}): ${state}${of}`,
    ),
    ...(integration ? [`brought together with ${integration.base}: ${integration.commit}${of}`] : []),
    ...(checks ? [`checks of ${checks.commit}: ${checks.state}, ${checks.counted} counted${of}`] : []),
    ...(merge
      ? [
          `merged: ${merge.commit}, at ${merge.at}; landed, shown by ${merge.landed === "parent" ? "history" : "equal files"}: ` +
            `${merge.slices.filter(({ landed }) => landed).length} of ${merge.slices.length} slices${of}`,
        ]
      : []),
    ...(done_at === undefined ? [] : [`delivered at ${done_at}${of}`]),
  ];
  // Whoever rejects takes nothing back by that.
  const isOut = isRejected && !isEarlier && steps.length > 0;
  return isOut ? [...steps, "a person has rejected this result since; what lies outside stays there"] : steps;
}
