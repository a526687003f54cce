/** How slices and delivery stand, from documents as they were read: pure, and without schemas, for commands that answer at once. */
import type { DeliveryWork } from "../format/delivery.ts";
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

/** Part of the merged result: itself, or by the task that solved its conflict. */
function hasLanded(id: string, { states }: Known): boolean {
  const seen = new Set<string>();
  for (let next: string | null | undefined = id; typeof next === "string" && !seen.has(next);) {
    seen.add(next);
    const state = states.get(next);
    if (typeof state?.landed === "string") return true;
    next = state?.conflict?.resolved_by;
  }
  return false;
}

function unlanded(task: GoalTask, known: Known): string[] {
  const recorded: unknown = task.delivery?.["dependencies"];
  const named = [...task.dependencies, ...(Array.isArray(recorded) ? recorded : [])].map(String);
  return [...new Set(named)].filter(
    (id) =>
      known.ids.has(id) &&
      !hasLanded(id, known) &&
      // What it solves lands with it.
      known.states.get(id)?.conflict?.resolved_by !== task.id,
  );
}

/** Files that a line names. */
const FILES_MAX = 3;

/** How a slice stands, in words. */
export function sliceText(slice: ProvenSlice): string {
  const { status, waits_for = [], conflict, left_out, attempts, not_taken } = slice;
  switch (status) {
    case "waiting":
      return `waits for ${waits_for.join(", ")}`;
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
      const named = files.slice(0, FILES_MAX).join(", ") + (files.length > FILES_MAX ? ", …" : "");
      return `in conflict over ${named}; ${solved_by === null ? "nobody solves it" : `${solved_by} is to solve it`}`;
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

/** The steps of delivery that were taken, in words, each on one line. */
export function deliverySteps(delivery: Partial<DeliveryWork> | undefined): string[] {
  if (!delivery) return [];
  const { result, applied, pushed = [], pulls = [], integration, checks, merge } = delivery;
  return [
    ...(result ? [`result: ${result.ref.replace(/^refs\/heads\//, "")} is ${result.commit}`] : []),
    ...(applied
      ? [`applied to your files: ${applied.written} written, ${applied.removed} removed, at ${applied.at}`]
      : []),
    ...pushed.map(({ branch, commit, at }) => `pushed: ${branch} is ${commit}, at ${at}`),
    ...pulls.map(
      ({ slice_id, url, state }) => `pull request ${url} (${slice_id ?? "all slices together"}): ${state}`,
    ),
    ...(integration ? [`brought together with ${integration.base}: ${integration.commit}`] : []),
    ...(checks ? [`checks of ${checks.commit}: ${checks.state}, ${checks.counted} counted`] : []),
    ...(merge
      ? [
          `merged: ${merge.commit}, at ${merge.at}; landed, shown by ${merge.landed === "parent" ? "history" : "equal files"}: ` +
            `${merge.slices.filter(({ landed }) => landed).length} of ${merge.slices.length} slices`,
        ]
      : []),
    ...(delivery.done_at === undefined ? [] : [`delivered at ${delivery.done_at}`]),
  ];
}
