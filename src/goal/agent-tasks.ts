/** Which tasks of a graph an agent does, and which of them may be done now. Pure. */
import type { GoalTask, TaskGraph } from "../format/task-graph.ts";
import { TASK } from "./scaffold.ts";

/** Whether an agent does this task: the goal's one task, a planned part, or a task that was added later. */
export function isAgentTask({ id, owner_role }: Pick<GoalTask, "id" | "owner_role">): boolean {
  return id === TASK.execute || id.startsWith("goal-agent-implement-") || owner_role === "executor";
}

/** The agent's tasks in the order of the graph. */
export function agentTasks({ tasks }: Pick<TaskGraph, "tasks">): GoalTask[] {
  return tasks.filter(isAgentTask);
}
