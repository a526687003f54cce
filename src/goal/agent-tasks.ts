/** The tasks of a graph that an agent does: which they are, which are done, and which may be done now. Pure. */
import type { GoalTask, TaskGraph } from "../format/task-graph.ts";
import type { Attempt, Work } from "../format/work.ts";
import { TASK } from "./task-ids.ts";

type Graph = Pick<TaskGraph, "tasks">;

/** Whether an agent does this task: the goal's one task, a planned part, or a task that was added later. */
function isAgentTask({ id, owner_role }: Pick<GoalTask, "id" | "owner_role">): boolean {
  return id === TASK.execute || id.startsWith("goal-agent-implement-") || owner_role === "executor";
}

/** The agent's tasks in the order of the graph, without those that a person has left out. */
export function agentTasks(graph: Graph): GoalTask[] {
  return allAgentTasks(graph).filter(({ left_out }) => left_out === undefined);
}

/** The same with those that were left out. */
export function allAgentTasks({ tasks }: Graph): GoalTask[] {
  return tasks.filter(isAgentTask);
}

/** The newest attempt at a task that is not left out. */
export function newestAttempt({ tasks }: Graph, { attempts }: Pick<Work, "attempts">): Attempt | undefined {
  const leftOut = new Set(tasks.filter(({ left_out }) => left_out !== undefined).map(({ id }) => id));
  return attempts.findLast(({ task_id }) => !leftOut.has(task_id));
}

/** The newest attempt at a task. */
export function lastAttempt({ attempts }: Pick<Work, "attempts">, taskId: string): Attempt | undefined {
  return attempts.findLast(({ task_id }) => task_id === taskId);
}

/** Done by an attempt that is known: what an older omk called done without one is to be done again. */
export function isTaskDone(task: GoalTask, work: Pick<Work, "attempts">): boolean {
  const last = lastAttempt(work, task.id);
  return task.status === "done" && last?.status === "ended" && last.outcome === "finished";
}

/** Agent tasks that are not done, in the order of the graph. */
export function openTasks(graph: Graph, work: Pick<Work, "attempts">): GoalTask[] {
  return agentTasks(graph).filter((task) => !isTaskDone(task, work));
}

/** Open tasks that wait for no other task of an agent, in the order of the graph. */
export function readyTasks(graph: Graph, work: Pick<Work, "attempts">): GoalTask[] {
  const open = openTasks(graph, work);
  const ids = new Set(open.map(({ id }) => id));
  return open.filter(({ dependencies }) => !dependencies.some((id) => ids.has(id)));
}

/** Whether the plan is made; goals of earlier versions are made with theirs. */
export function isPlanned({ tasks }: Graph): boolean {
  return tasks.find(({ id }) => id === TASK.plan)?.status !== "pending";
}

/** Executions of a task that count, since a person last gave the goal fresh ones. */
export function countedAttempts(work: Pick<Work, "attempts" | "attempts_from">, taskId: string): number {
  return currentAttempts(work).filter(({ task_id, counted }) => counted && task_id === taskId).length;
}

/** Attempts since the last time a person gave the goal fresh ones. */
export function currentAttempts(work: Pick<Work, "attempts" | "attempts_from">): Attempt[] {
  return work.attempts.slice(work.attempts_from);
}

/** Who does the work, in events: one name for each attempt at a time. */
export function workerName(slot: number): string {
  return `goal-agent-worker-${slot}`;
}

/** Who made an attempt; those of earlier versions were made one at a time. */
export function workerOf({ worker }: Pick<Attempt, "worker">): string {
  return worker ?? workerName(0);
}
