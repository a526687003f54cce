/**
 * The slice planner's rules, written down one after the other as plainly as can be and with none of the planner's code:
 * what it is checked against. It takes quadratic time at best.
 */
import type { GoalTask, TaskGraph } from "../../src/format/task-graph.ts";

type Kind = "write_write" | "write_read" | "read_write";

interface PlainSlice {
  slice_id: string;
  task_id: string;
  owner_role: string;
  read_scope: string[];
  write_scope: string[];
  dependencies: string[];
  branch_name: string;
  worktree_name: string;
  worktree_path: string;
  gates: string[];
  review_needs: string[];
  pr_url: null;
}

interface PlainPlan {
  goal_id: string;
  slices: PlainSlice[];
  overlap_serializations: {
    blocked_slice_id: string;
    serializes_after: string;
    kind: Kind;
    path: string;
  }[];
}

/** The plan of a sound graph. */
export function planByTheRules(root: string, graph: TaskGraph): PlainPlan {
  const tasks = new Map(graph.tasks.map((task) => [task.id, task]));
  const taskOf = (id: string): GoalTask => {
    const task = tasks.get(id);
    if (!task) throw new Error(`no task ${id}`);
    return task;
  };
  const closureOf = (id: string): Set<string> => {
    const closure = new Set<string>();
    const open = [...taskOf(id).dependencies];
    for (let one = open.pop(); one !== undefined; one = open.pop()) {
      if (closure.has(one)) continue;
      closure.add(one);
      open.push(...taskOf(one).dependencies);
    }
    return closure;
  };
  const plan: PlainPlan = { goal_id: graph.goal_id, slices: [], overlap_serializations: [] };
  for (const id of order(graph.tasks)) {
    const task = taskOf(id);
    if (!isDeliveryTask(task)) continue;
    const deps = task.dependencies.filter((one) => isDeliveryTask(taskOf(one)));
    let closure: Set<string> | undefined;
    for (const earlier of plan.slices) {
      const overlap = firstOverlap(task, earlier);
      if (!overlap) continue;
      closure ??= closureOf(id);
      if (closure.has(earlier.task_id)) continue;
      deps.push(earlier.slice_id);
      plan.overlap_serializations.push({
        blocked_slice_id: id,
        serializes_after: earlier.slice_id,
        ...overlap,
      });
    }
    plan.slices.push({
      slice_id: id,
      task_id: id,
      owner_role: task.owner_role ?? "executor",
      read_scope: sortedSet(task.read_set),
      write_scope: sortedSet(task.write_set),
      dependencies: sortedSet(deps),
      ...namesOf(root, graph.goal_id, id),
      gates: gatesOf(task),
      review_needs: reviewNeedsOf(task),
      pr_url: null,
    });
  }
  return plan;
}

function order(tasks: readonly GoalTask[]): string[] {
  const remaining = new Map(tasks.map((task) => [task.id, task]));
  const emitted = new Set<string>();
  while (remaining.size > 0) {
    let next: string | undefined;
    for (const [id, { dependencies }] of remaining) {
      if (!dependencies.every((one) => emitted.has(one))) continue;
      if (next === undefined || compareBytes(id, next) < 0) next = id;
    }
    if (next === undefined) throw new Error("a cycle");
    remaining.delete(next);
    emitted.add(next);
  }
  return [...emitted];
}

function isDeliveryTask(task: GoalTask): boolean {
  return (
    task.status !== "done" &&
    task.write_set.length > 0 &&
    (task.owner_role !== undefined ||
      task.id === "goal-agent-execute" ||
      task.write_set.some((path) => trim(path) === "project files"))
  );
}

function firstOverlap(task: GoalTask, earlier: PlainSlice): { kind: Kind; path: string } | undefined {
  const tests: [Kind, string[], string[]][] = [
    ["write_write", task.write_set, earlier.write_scope],
    ["write_read", task.write_set, earlier.read_scope],
    ["read_write", task.read_set, earlier.write_scope],
  ];
  for (const [kind, mine, theirs] of tests) {
    const path = mine.find((one) => theirs.some((other) => conflict(one, other)));
    if (path !== undefined) return { kind, path: normalised(path) ?? trim(path) };
  }
  return undefined;
}

function conflict(a: string, b: string): boolean {
  const [left, right] = [normalised(a), normalised(b)];
  if (left === undefined || right === undefined) return false;
  if (left === "project files" || right === "project files") return true;
  return left === right || left.startsWith(`${right}/`) || right.startsWith(`${left}/`);
}

/** Undefined conflicts with nothing. */
function normalised(path: string): string | undefined {
  const text = trim(path);
  if (text === "project files") return text;
  if (text.startsWith("/") || /^[A-Za-z]:/.test(text)) return undefined;
  const parts = text.split("/").filter((part) => part !== "." && part !== "");
  return parts.length === 0 || parts.includes("..") ? undefined : parts.join("/");
}

function namesOf(
  root: string,
  goalId: string,
  taskId: string,
): Pick<PlainSlice, "branch_name" | "worktree_name" | "worktree_path"> {
  const name = `${component(taskId)}-${fingerprint(goalId, taskId)}`;
  const worktree_name = `goal-${component(goalId)}-${name}`;
  return {
    branch_name: `omk/goal/${component(goalId)}/${name}`,
    worktree_name,
    worktree_path: `${root}/${worktree_name}`,
  };
}

function component(id: string): string {
  const dashed = trim(id)
    .replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase())
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-|-$/g, "");
  return dashed.slice(0, 48).replaceAll(/^-|-$/g, "");
}

function fingerprint(goalId: string, taskId: string): string {
  const bytes = Buffer.concat([
    Buffer.from("omk-goal-worktree"),
    Buffer.from(goalId),
    Buffer.from([0xff]),
    Buffer.from(taskId),
  ]);
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16).padStart(16, "0");
}

function gatesOf({ risk }: GoalTask): string[] {
  const gates = ["acceptance_criteria", "local_verification_wall"];
  if (risk === "high" || risk.includes("security")) gates.push("security_review_gate");
  return sortedSet(gates);
}

function reviewNeedsOf({ risk, read_set, write_set }: GoalTask): string[] {
  const needs = ["anti_slop_review", "code_review", "test_engineer_review"];
  if (risk !== "low") needs.push("architect_review", "security_review");
  if ([...read_set, ...write_set].some((path) => path.includes("bench") || path.includes("performance")))
    needs.push("performance_review");
  return sortedSet(needs);
}

function sortedSet(texts: readonly string[]): string[] {
  return [...new Set(texts)].sort(compareBytes);
}

function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** White space as Unicode has it, which is not what `String.trim` takes away. */
const SPACE = /\p{White_Space}/u;

function trim(text: string): string {
  let trimmed = text;
  while (SPACE.test(trimmed.slice(0, 1))) trimmed = trimmed.slice(1);
  while (SPACE.test(trimmed.slice(-1))) trimmed = trimmed.slice(0, -1);
  return trimmed;
}
