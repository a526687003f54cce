/** `task-graph.json`: the goal's tasks and what each waits for. */
import { z } from "zod";

import { Instant } from "./instant.ts";

/** What shows that a task was done. */
const TaskEvidence = z.looseObject({ kind: z.string(), path: z.string(), summary: z.string() });

/**
 * A slice's delivery record beside its task. Not typed: 0.5.0 keeps a known key of the wrong type as if it were a foreign
 * one, and writes foreign keys first, so only the record as it is comes back unchanged.
 */
export const Delivery = z.record(z.string(), z.unknown());
export type Delivery = z.infer<typeof Delivery>;

/** A node of the graph. */
export const GoalTask = z.looseObject({
  id: z.string(),
  title: z.string(),
  description: z.string(),
  status: z.enum(["pending", "blocked", "done"]),
  owner_role: z.string().optional(),
  completed_at: Instant.optional(),
  evidence: z.array(TaskEvidence).default([]),
  retry_count: z.int().min(0).default(0),
  max_retries: z.int().min(0).default(0),
  lease_expires_at: Instant.nullable().default(null),
  dependencies: z.array(z.string()),
  read_set: z.array(z.string()),
  write_set: z.array(z.string()),
  /** Free text; in use are `low`, `medium`, `moderate`, `high`, `critical`, `external-side-effect`. */
  risk: z.string(),
  acceptance: z.array(z.string()),
  /** Ours: the longest one turn at it may take, where that is less than omk's own limit. */
  budget_secs: z.int().min(1).optional(),
  /** Ours: a person accepted the goal's result without this task. */
  left_out: z.looseObject({ reason: z.string(), at: Instant }).optional(),
  delivery: Delivery.optional(),
});
export type GoalTask = z.infer<typeof GoalTask>;

/** `task-graph.json`. */
export const TaskGraph = z.looseObject({
  version: z.int().min(0),
  goal_id: z.string(),
  generated_at: Instant,
  tasks: z.array(GoalTask),
  /** Ours: the newest event this snapshot includes. */
  seq: z.int().min(0).optional(),
});
export type TaskGraph = z.infer<typeof TaskGraph>;

/** How many tasks stand how; part of proofs and replays. */
export const TaskGraphSummary = z.looseObject({
  total_tasks: z.int().min(0),
  pending_tasks: z.int().min(0),
  blocked_tasks: z.int().min(0),
  done_tasks: z.int().min(0),
});
export type TaskGraphSummary = z.infer<typeof TaskGraphSummary>;

/** Everything that is wrong with a graph, in its order; empty when it is sound. Join with `; ` for a person. */
export function checkTaskGraph(graph: TaskGraph): string[] {
  const problems: string[] = [];
  if (graph.version === 0) problems.push("task graph has version 0");
  if (isBlank(graph.goal_id)) problems.push("task graph has no goal id");
  if (graph.tasks.length === 0) problems.push("task graph has no tasks");
  const ids = new Set<string>();
  for (const task of graph.tasks) {
    if (isBlank(task.id)) problems.push("task graph has a task without an id");
    if (ids.has(task.id)) problems.push(`duplicate task id: ${task.id}`);
    ids.add(task.id);
    problems.push(...checkTask(task));
  }
  for (const { id, dependencies } of graph.tasks) {
    for (const dependency of dependencies) {
      if (dependency === id) problems.push(`task ${id} depends on itself`);
      else if (!ids.has(dependency)) problems.push(`task ${id} depends on missing task ${dependency}`);
    }
  }
  if (hasCycle(graph.tasks)) problems.push("task graph contains a dependency cycle");
  return problems;
}

/** What is wrong with one task by itself, whatever else its graph holds. */
export function checkTask({ id, title, description, acceptance }: GoalTask): string[] {
  const problems: string[] = [];
  if (isBlank(title)) problems.push(`task ${id} has no title`);
  if (isBlank(description)) problems.push(`task ${id} has no description`);
  if (acceptance.length === 0) problems.push(`task ${id} has no acceptance criteria`);
  return problems;
}

function isBlank(text: string): boolean {
  return text.trim() === "";
}

/** Takes away tasks whose dependencies are all gone until none is left; what stays lies on a cycle or behind one. */
function hasCycle(tasks: readonly GoalTask[]): boolean {
  const waitsFor = new Map<string, number>(tasks.map(({ id }) => [id, 0]));
  const unblocks = new Map<string, string[]>();
  for (const { id, dependencies } of tasks) {
    for (const dependency of dependencies) {
      // A task that waits for itself is reported as that, and one that is missing as missing.
      if (dependency === id || !waitsFor.has(dependency)) continue;
      // One that is named twice counts twice, here and when it is taken away.
      waitsFor.set(id, (waitsFor.get(id) ?? 0) + 1);
      const waiting = unblocks.get(dependency);
      if (waiting) waiting.push(id);
      else unblocks.set(dependency, [id]);
    }
  }
  const free = [...waitsFor.keys()].filter((id) => waitsFor.get(id) === 0);
  let taken = 0;
  for (let id = free.pop(); id !== undefined; id = free.pop()) {
    taken++;
    for (const waiting of unblocks.get(id) ?? []) {
      const left = (waitsFor.get(waiting) ?? 0) - 1;
      waitsFor.set(waiting, left);
      if (left === 0) free.push(waiting);
    }
  }
  return taken < waitsFor.size;
}
