/** Tasks that are added when something is wrong with the result: who mends it, and where it may write. */
import type { GoalTask, TaskGraph } from "../format/task-graph.ts";
import type { Work } from "../format/work.ts";
import type { NewEvent } from "../store/event-log.ts";
import { agentTasks, allAgentTasks } from "./agent-tasks.ts";
import { changeTask } from "./open.ts";
import { TASK } from "./task-ids.ts";
import { ANYWHERE } from "./write-sets.ts";

/** A task to be added. */
export interface FollowUp {
  kind: "repair" | "security-cleanup" | "refactor" | "cleanup";
  id: string;
}

/** Mends what several tasks made together. */
const REPAIR = "goal-agent-repair";

/** What each kind is for, and where it comes from in events. */
const KINDS: Readonly<
  Record<
    FollowUp["kind"],
    { source: string; title: string; description: string; risk: string; because: string }
  >
> = {
  repair: {
    source: "gate_repair",
    title: "Make the result hold",
    description:
      "All parts are done, and the result as a whole does not hold yet. Mend what the gates or a person found.",
    risk: "medium",
    because: "the parts are done, and together they do not hold yet",
  },
  "security-cleanup": {
    source: "security_cleanup",
    title: "Take secrets out of the change",
    description: "The security review found secrets in the change. Take them out.",
    risk: "critical",
    because: "the change holds what looks like a secret",
  },
  refactor: {
    source: "anti_slop_refactor",
    title: "Tidy the change up",
    description:
      "The review found parts of the change that should not stay as they are. Mend those, and only those.",
    risk: "low",
    because: "the change has too many signs of haste",
  },
  cleanup: {
    source: "review_cleanup",
    title: "Settle the reviewers' findings",
    description: "Reviewers found faults in the change. Mend those, and only those.",
    risk: "medium",
    because: "reviewers found faults",
  },
};

/** The id of the task that mends such a thing. A goal with one task repairs by that. */
export function followUpId(kind: FollowUp["kind"], graph: Pick<TaskGraph, "tasks">): string {
  const first = agentTasks(graph)[0]?.id ?? TASK.execute;
  if (kind !== "repair") return notLeftOut(`goal-agent-${kind}-${first}`, graph);
  return graph.tasks.some(({ id }) => id === TASK.execute) ? TASK.execute : notLeftOut(REPAIR, graph);
}

/** What a person has left out is not worked on again: such a task gets a follower of another name. */
function notLeftOut(wanted: string, { tasks }: Pick<TaskGraph, "tasks">): string {
  const taken = new Set(tasks.filter(({ left_out }) => left_out !== undefined).map(({ id }) => id));
  let id = wanted;
  for (let number = 2; taken.has(id); number++) id = `${wanted}-${number}`;
  return id;
}

/** Why such a task is added, for whoever watches. */
export function followUpReason(kind: FollowUp["kind"], { acceptance, result }: Decided): string {
  const isRejected = acceptance?.decision === "rejected" && acceptance.tree === result?.tree;
  return kind === "repair" && isRejected ? "a person rejected the result" : KINDS[kind].because;
}

type Decided = Pick<Work, "acceptance" | "result">;

/** Whether a task was added to mend something in the result. */
export function isFollowUp({ id }: Pick<GoalTask, "id">): boolean {
  return id === REPAIR || Object.keys(KINDS).some((kind) => id.startsWith(`goal-agent-${kind}-`));
}

/**
 * The event that adds the task. It waits for all tasks of agents that there are, and the gates wait for it: nothing waits
 * in a circle.
 */
export function addFollowUp(
  { kind, id }: FollowUp,
  graph: Pick<TaskGraph, "tasks">,
  maxAttempts: number,
): NewEvent {
  const { source, title, description, risk } = KINDS[kind];
  const others = agentTasks(graph);
  const task: GoalTask = {
    id,
    title,
    description,
    status: "pending",
    owner_role: "executor",
    evidence: [
      { kind: `${kind}_proposal`, path: "artifacts/reviews", summary: "what was found in the result" },
    ],
    retry_count: 0,
    max_retries: maxAttempts - 1,
    lease_expires_at: null,
    dependencies: others.map((one) => one.id),
    read_set: [],
    // What was left out may be what is missing.
    write_set: writeSetOf(allAgentTasks(graph)),
    risk,
    acceptance: ["The gates pass and the review has nothing against the result."],
  };
  const verify = graph.tasks.find((one) => one.id === TASK.verify);
  // In graphs of 0.5.0 the agent's task waits for the gates.
  const isAfter = others.some(({ dependencies }) => dependencies.includes(TASK.verify));
  return {
    kind: "task_graph_mutated",
    actor: "goal-controller",
    payload: {
      action: "task_added",
      source,
      task_id: id,
      task_graph_path: "task-graph.json",
      proposal_path: null,
      total_tasks_after: graph.tasks.length + 1,
    },
    changes: [
      changeTask(id, task),
      ...(verify && !isAfter
        ? [changeTask(TASK.verify, { dependencies: [...verify.dependencies, id] })]
        : []),
    ],
  };
}

/** All that the parts were allowed to write. */
function writeSetOf(tasks: readonly GoalTask[]): string[] {
  const all = new Set(tasks.flatMap(({ write_set }) => write_set));
  return all.has(ANYWHERE) || all.size === 0 ? [ANYWHERE] : [...all];
}
