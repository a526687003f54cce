/**
 * Which tasks of a goal become slices, in which order, and which have to wait for another one only because both use the
 * same path. Pure: the same graph and folder always give the same plan.
 *
 * Cost: close to linear in the graph and in what comes out. Of n slices that all use one path each waits for all before it
 * unless the graph orders them, and that list is part of the plan: `OVERLAPS_MAX` bounds it.
 */
import { OmkError } from "../errors.ts";
import type { OverlapSerialization, Slice, SlicePlan } from "../format/slice-plan.ts";
import { checkTaskGraph, type GoalTask, type TaskGraph } from "../format/task-graph.ts";
import { AccessMap, PROJECT_FILES } from "./access.ts";
import { NO_NUMBERS, union, withNumber, type NumberSet } from "./ancestors.ts";
import { planWorktrees, trimmed, type WorktreePlan } from "./names.ts";
import { inByteOrder, inWorkingOrder, ranked, waitersOf, type RankedTask } from "./order.ts";

/** How many overlaps a plan may have to solve: what 3,000 slices make that may all touch anything. More would fill memory. */
const OVERLAPS_MAX = 5_000_000;
/** How many problems of a graph a message tells. */
const TOLD_MAX = 5;

/** The plan of a graph for worktrees below a folder. Throws `tasks.invalid` for a graph that is unsound or cannot be planned. */
export function planSlices(root: string, graph: TaskGraph, limits = { overlaps: OVERLAPS_MAX }): SlicePlan {
  requireSound(graph);
  const tasks = ranked(graph.tasks);
  const order = inWorkingOrder(tasks);
  const planned = Array.from(order).filter((rank) => isDelivered(at(tasks, rank).task));
  const ids = planned.map((rank) => at(tasks, rank).task.id);
  const names = planWorktrees(root, graph.goal_id, ids);
  const isSlice = new Uint8Array(tasks.length);
  for (const rank of planned) isSlice[rank] = 1;

  const ancestors = new Ancestors(tasks);
  const accesses = new AccessMap(planned.length);
  const slices: Slice[] = [];
  const overlap_serializations: OverlapSerialization[] = [];
  for (const rank of order) {
    const { task, waitsFor } = at(tasks, rank);
    const before = ancestors.of(rank);
    if (isSlice[rank] === 0) {
      ancestors.keep(rank, before);
      continue;
    }
    ancestors.keep(rank, before, slices.length);
    const dependencies = waitsFor.filter((one) => isSlice[one] === 1);
    for (const { slice, kind, path } of accesses.add(task, before)) {
      dependencies.push(at(planned, slice));
      const serializes_after = at(ids, slice);
      overlap_serializations.push({ blocked_slice_id: task.id, serializes_after, kind, path });
    }
    if (overlap_serializations.length > limits.overlaps) throw tooManyOverlaps(task, limits.overlaps);
    const dependencyIds = ascending(dependencies).map((one) => at(tasks, one).task.id);
    slices.push(sliceOf(task, dependencyIds, at(names, slices.length)));
  }
  return { goal_id: graph.goal_id, slices, overlap_serializations };
}

/** The slices that each task waits for by the graph alone, kept only as long as somebody still has to ask. */
class Ancestors {
  readonly #tasks: readonly RankedTask[];
  /** By rank: a task's ancestors and itself. */
  readonly #reached: (NumberSet | undefined)[];
  /** By rank: how many tasks that wait for it have not asked yet. */
  readonly #waiters: Uint32Array;

  constructor(tasks: readonly RankedTask[]) {
    this.#tasks = tasks;
    this.#reached = tasks.map(() => undefined);
    this.#waiters = waitersOf(tasks);
  }

  /** To be asked once per task, in working order. */
  of(rank: number): NumberSet {
    let found = NO_NUMBERS;
    for (const dependency of at(this.#tasks, rank).waitsFor) {
      found = union(found, this.#reached[dependency] ?? NO_NUMBERS);
      const left = at(this.#waiters, dependency) - 1;
      this.#waiters[dependency] = left;
      if (left === 0) this.#reached[dependency] = undefined;
    }
    return found;
  }

  /** For those that wait for the task: its ancestors, and its own number when it is a slice. */
  keep(rank: number, ancestors: NumberSet, slice?: number): void {
    if (this.#waiters[rank] === 0) return;
    this.#reached[rank] = slice === undefined ? ancestors : withNumber(ancestors, slice);
  }
}

/** What lies at a place that is known to exist. */
function at<T>(list: ArrayLike<T>, place: number): T {
  const item = list[place];
  if (item === undefined) throw new Error(`nothing lies at ${place} of ${list.length}`);
  return item;
}

function isDelivered({ id, status, owner_role, write_set }: GoalTask): boolean {
  if (status === "done" || write_set.length === 0) return false;
  if (owner_role !== undefined || id === "goal-agent-execute") return true;
  return write_set.some((path) => trimmed(path) === PROJECT_FILES);
}

function sliceOf(task: GoalTask, dependencies: string[], names: WorktreePlan): Slice {
  return {
    slice_id: task.id,
    task_id: task.id,
    owner_role: task.owner_role ?? "executor",
    read_scope: inByteOrder([...new Set(task.read_set)]),
    write_scope: inByteOrder([...new Set(task.write_set)]),
    dependencies,
    branch_name: names.branch_name,
    worktree_name: names.worktree_name,
    worktree_path: names.worktree_path,
    gates: gatesOf(task),
    review_needs: reviewNeedsOf(task),
    pr_url: null,
  };
}

function gatesOf({ risk }: GoalTask): string[] {
  const gates = ["acceptance_criteria", "local_verification_wall"];
  return risk === "high" || risk.includes("security") ? [...gates, "security_review_gate"] : gates;
}

function reviewNeedsOf({ risk, read_set, write_set }: GoalTask): string[] {
  const isRisky = risk !== "low";
  const isMeasured = [read_set, write_set].some((paths) => paths.some(isAboutSpeed));
  return [
    "anti_slop_review",
    ...(isRisky ? ["architect_review"] : []),
    "code_review",
    ...(isMeasured ? ["performance_review"] : []),
    ...(isRisky ? ["security_review"] : []),
    "test_engineer_review",
  ];
}

function isAboutSpeed(path: string): boolean {
  return path.includes("bench") || path.includes("performance");
}

function ascending(ranks: readonly number[]): number[] {
  const isSorted = ranks.every((rank, place) => place === 0 || at(ranks, place - 1) < rank);
  return isSorted ? [...ranks] : Array.from(Uint32Array.from(ranks).sort());
}

function requireSound(graph: TaskGraph): void {
  const problems = checkTaskGraph(graph);
  if (problems.length === 0) return;
  const more = problems.length > TOLD_MAX ? `; and ${problems.length - TOLD_MAX} more` : "";
  throw new OmkError(
    "tasks.invalid",
    `task-graph.json cannot be cut into slices: ${problems.slice(0, TOLD_MAX).join("; ")}${more}.`,
    { hint: "Repair the tasks it names, or start the goal anew with `omk goal run`." },
  );
}

function tooManyOverlaps({ id }: GoalTask, max: number): OmkError {
  return new OmkError(
    "tasks.invalid",
    `The tasks use the same paths too often: up to task ${id} more than ${max} pairs of slices get in each other's way.`,
    { hint: "Order these tasks by dependencies, or give them write sets that do not overlap." },
  );
}
