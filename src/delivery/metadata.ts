/**
 * Delivery records: what is known about the delivery of a task, kept beside it in `task-graph.json`. A known key of the
 * wrong type is somebody else's and is kept as such. Nothing here writes: changes go into an event, all of one step into
 * the same.
 */
import type { DocumentChange } from "../format/event.ts";
import { OmkError } from "../errors.ts";
import { renderLine } from "../format/json.ts";
import type { SlicePlan } from "../format/slice-plan.ts";
import type { Delivery, GoalTask, TaskGraph } from "../format/task-graph.ts";

/** What omk knows of a record. `status` is one of six words, or any other text that somebody has put there. */
export interface DeliveryFields {
  slice_id?: string;
  owner?: string;
  read_scope?: string[];
  write_scope?: string[];
  dependencies?: string[];
  branch?: string;
  worktree_name?: string;
  worktree_path?: string;
  gates?: string[];
  review_needs?: string[];
  pr_url?: string;
  commit_sha?: string;
  verification_summary?: string;
  status?: string;
  conflict_evidence_path?: string;
  conflict_blocking_reason?: string;
  slice_lease_id?: string;
}

/** How far the delivery of a slice has come, as omk says it. */
export type DeliveryStatus =
  | "planned"
  | "in_progress"
  | "blocked"
  | "ready_for_review"
  | "delivered"
  | "merged";

/** The known keys in the order in which they are written, and what each holds. */
const KEYS = {
  slice_id: "text",
  owner: "text",
  read_scope: "list",
  write_scope: "list",
  dependencies: "list",
  branch: "text",
  worktree_name: "text",
  worktree_path: "text",
  gates: "list",
  review_needs: "list",
  pr_url: "text",
  commit_sha: "text",
  verification_summary: "text",
  status: "text",
  conflict_evidence_path: "text",
  conflict_blocking_reason: "text",
  slice_lease_id: "text",
} as const satisfies Record<keyof DeliveryFields, "text" | "list">;

/** A record taken apart: what omk knows, and everything else as it is. */
export interface DeliveryMetadata {
  fields: DeliveryFields;
  extra: Record<string, unknown>;
}

/** What changes in a record. Lists are replaced whole; an empty one goes. */
export interface DeliveryUpdate {
  set?: Omit<DeliveryFields, "status"> & { status?: DeliveryStatus };
  /** Keys that are not among the known ones. */
  extra?: Record<string, unknown>;
  /** Keys that go, known ones and others: evidence of a conflict that is solved, a lease that has ended. */
  unset?: readonly string[];
}

/** Takes a record apart. */
export function parseDelivery(delivery: Delivery): DeliveryMetadata {
  const known: [string, unknown][] = [];
  const extra: [string, unknown][] = [];
  for (const field of Object.entries(delivery)) (isKnown(...field) ? known : extra).push(field);
  return { fields: Object.fromEntries(known), extra: Object.fromEntries(extra) };
}

/** Puts a record together: foreign keys first, then the known ones that say something. */
export function renderDelivery({ fields, extra }: DeliveryMetadata): Delivery {
  const known: [string, unknown][] = [];
  for (const key of Object.keys(KEYS) as (keyof DeliveryFields)[]) {
    const value = fields[key];
    if (value !== undefined && (typeof value === "string" || value.length > 0)) known.push([key, value]);
  }
  const taken = new Set(known.map(([key]) => key));
  return Object.fromEntries([...Object.entries(extra).filter(([key]) => !taken.has(key)), ...known]);
}

/** A record after an update; undefined when nothing is left of it. The same update once more changes nothing. */
export function updateDelivery(before: Delivery | undefined, update: DeliveryUpdate): Delivery | undefined {
  const { fields, extra } = parseDelivery(before ?? {});
  const gone = new Set(update.unset);
  const kept = Object.entries({ ...extra, ...update.extra, ...fields, ...update.set });
  const after = Object.fromEntries(kept.filter(([key, value]) => value !== undefined && !gone.has(key)));
  const delivery = renderDelivery(parseDelivery(after));
  return Object.keys(delivery).length === 0 ? undefined : delivery;
}

/** The change of `task-graph.json` that an update of one task's record makes; undefined when it makes none. */
export function deliveryChange(
  graph: TaskGraph,
  taskId: string,
  update: DeliveryUpdate,
): DocumentChange | undefined {
  return changeOf(
    graph.tasks.find(({ id }) => id === taskId),
    taskId,
    update,
  );
}

/** All changes that record a plan, for one event: one write, however many slices there are. */
export function planChanges(graph: TaskGraph, plan: SlicePlan): DocumentChange[] {
  const tasks = new Map(graph.tasks.map((task) => [task.id, task]));
  return plan.slices
    .map((slice) => {
      const set: DeliveryUpdate["set"] = {
        slice_id: slice.slice_id,
        owner: slice.owner_role,
        read_scope: slice.read_scope,
        write_scope: slice.write_scope,
        dependencies: slice.dependencies,
        branch: slice.branch_name,
        worktree_name: slice.worktree_name,
        worktree_path: slice.worktree_path,
        gates: slice.gates,
        review_needs: slice.review_needs,
        status: "planned",
      };
      return changeOf(tasks.get(slice.task_id), slice.task_id, { set });
    })
    .filter((change) => change !== undefined);
}

/** The records of a graph in its order, each with its task's id; this is the proof's `delivery_metadata`. */
export function deliveryRecords(graph: TaskGraph): Delivery[] {
  return graph.tasks
    .filter((task) => hasRecord(task))
    .map(({ id, delivery }) => {
      const { fields, extra } = parseDelivery(delivery ?? {});
      const { task_id: _legacy, ...others } = renderDelivery({ fields, extra });
      return { task_id: id, ...others };
    });
}

function hasRecord({ delivery }: GoalTask): boolean {
  return delivery !== undefined && Object.keys(delivery).length > 0;
}

function isKnown(key: string, value: unknown): boolean {
  if (!Object.hasOwn(KEYS, key)) return false;
  if (KEYS[key as keyof DeliveryFields] === "text") return typeof value === "string";
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}

function changeOf(
  task: GoalTask | undefined,
  taskId: string,
  update: DeliveryUpdate,
): DocumentChange | undefined {
  if (!task) {
    throw new OmkError("tasks.invalid", `task-graph.json has no task ${JSON.stringify(taskId)} to deliver.`, {
      hint: "Look at the goal's tasks with `omk goal show`.",
    });
  }
  const delivery = updateDelivery(task.delivery, update);
  if (delivery && task.delivery && renderLine(delivery) === renderLine(task.delivery)) return undefined;
  if (delivery) return { file: "task-graph.json", id: taskId, set: { delivery } };
  if (task.delivery === undefined) return undefined;
  return { file: "task-graph.json", id: taskId, set: {}, unset: ["delivery"] };
}
