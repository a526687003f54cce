/** A task of a goal in the hands of the scheduler: the rules of claims, fences and retries are those of team runs. */
import type { Task } from "../format/run.ts";
import { nowOf, Scheduler } from "../scheduler/scheduler.ts";
import { countedAttempts } from "./agent-tasks.ts";
import { attemptsAllowed } from "./next-step.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";

/** How much later than the turn's own limit a lease ends. */
const LEASE_MARGIN_MS = 60_000;

/** How an attempt ended, as far as its task is concerned. */
export type AttemptEnd = "completed" | "failed" | "not_counted";

/** A claim of one task. */
export class TaskClaim {
  /** When its lease ends, for people. */
  readonly deadline: string | null;
  readonly #taskId: string;
  readonly #scheduler: Scheduler;
  readonly #ports: Pick<GoalPorts, "clock">;
  #fence: number | undefined;

  /** Claims the task for a worker; every attempt begins with a claim of its own. */
  constructor(
    open: Pick<OpenGoal, "goal" | "graph" | "work">,
    taskId: string,
    worker: string,
    turnMs: number,
    ports: Pick<GoalPorts, "clock">,
  ) {
    this.#ports = ports;
    this.#taskId = taskId;
    this.#scheduler = new Scheduler(tasksOf(open, taskId));
    const claimed = this.#scheduler.claimNext(worker, turnMs + LEASE_MARGIN_MS, nowOf(ports.clock));
    if (claimed?.task.id !== taskId) throw new Error(`The task ${taskId} cannot be claimed.`);
    this.deadline = claimed.task.lease_expires;
  }

  /** The claim is durable under this number. */
  start(fence: number, attempt: number): void {
    this.#fence = fence;
    const started = this.#scheduler.start(this.#taskId, { fence, attempt }, nowOf(this.#ports.clock));
    if (!started) throw new Error(`The claim ${fence} of ${this.#taskId} was gone before it began.`);
  }

  /** Ends the attempt; returns how many executions of the task have failed since it was last given fresh ones. */
  end(how: AttemptEnd): number {
    const now = nowOf(this.#ports.clock);
    const fence = this.#fence ?? 0;
    const changed =
      how === "completed"
        ? this.#scheduler.complete(this.#taskId, fence, now)
        : how === "failed"
          ? this.#scheduler.fail(this.#taskId, fence, { retryable: true }, now)
          : this.#scheduler.release(this.#taskId, fence);
    if (changed.length === 0)
      throw new Error(`The attempt ${fence} of ${this.#taskId} does not hold its task.`);
    return this.#scheduler.get(this.#taskId)?.retry_count ?? 0;
  }
}

/** What the graph says, for the scheduler: the task to be executed, and what it waits for. */
function tasksOf({ goal, graph, work }: Pick<OpenGoal, "goal" | "graph" | "work">, taskId: string): Task[] {
  const failures = countedAttempts(work, taskId);
  const done = graph.tasks.filter(({ status, id }) => status === "done" && id !== taskId);
  const ids = new Set(done.map(({ id }) => id));
  return graph.tasks
    .filter(({ id }) => ids.has(id) || id === taskId)
    .map((task) => ({
      id: task.id,
      name: task.title,
      description: task.description,
      // What is not done yet is checked before: an edge of 0.5.0 to the gates is met by the recorded baseline.
      dependencies: task.dependencies.filter((id) => ids.has(id)),
      priority: 0,
      owner: null,
      lease_expires: null,
      retry_count: task.id === taskId ? failures : 0,
      retry_policy: {
        max_attempts: attemptsAllowed(goal) - 1,
        // What went wrong goes back to the agent at once.
        backoff_seconds: 0,
        backoff_multiplier: 1,
        terminal_on_permanent_failure: true,
      },
      state: task.id === taskId ? "pending" : "completed",
      created_at: goal.created_at,
      started_at: null,
      completed_at: task.completed_at ?? null,
      read_set: [],
      write_set: [],
    }));
}
