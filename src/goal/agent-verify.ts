/** The task that stands for the engine's own review in a goal's graph. Pure. */
import type { GoalTask, TaskGraph } from "../format/task-graph.ts";
import { agentTasks } from "./agent-tasks.ts";
import { TASK } from "./task-ids.ts";

/** Its id. */
export const AGENT_VERIFY = "goal-agent-verify";

/** A graph with this task: it waits for the gates and the agent's tasks, and the review of the evidence waits for it. */
export function withAgentVerify<Graph extends Pick<TaskGraph, "tasks">>(graph: Graph): Graph {
  if (graph.tasks.some(({ id }) => id === AGENT_VERIFY)) return graph;
  const task: GoalTask = {
    id: AGENT_VERIFY,
    title: "Let the engine review the result",
    description: "Reviewers for structure, code, tests and security read the change and say what they find.",
    status: "pending",
    owner_role: "reviewer",
    evidence: [],
    retry_count: 0,
    max_retries: 0,
    lease_expires_at: null,
    dependencies: [TASK.verify, ...agentTasks(graph).map(({ id }) => id)],
    read_set: ["changed files"],
    write_set: ["artifacts/reviews"],
    risk: "low",
    acceptance: ["Every role has given an answer that can be understood.", "No finding above low is left."],
  };
  const tasks = graph.tasks.flatMap((one) => {
    if (one.id !== TASK.review) return [one];
    return [task, { ...one, dependencies: [...one.dependencies, AGENT_VERIFY] }];
  });
  return { ...graph, tasks: tasks.includes(task) ? tasks : [...tasks, task] };
}
