/**
 * The rules of one task: pure, so that a property test can try every history. Each `decide…` looks at the record as it
 * is and says what would change, with whole new values, or why nothing does.
 *
 * pending → claimed → running → completed | failed, or back to pending for another attempt; cancelled from anywhere but
 * the three ends. A claim is made known by an event whose number is its fence, so the fence is learned when the task
 * starts: a claimed task has none yet, and whatever names one is late.
 */
import type { Task } from "../format/run.ts";
import { instantOf } from "../format/stamp.ts";

/** Keys of a task that change, with their new values. */
export type TaskSet = Partial<Task>;

/** Nothing changes, and why. */
export interface Refusal {
  outcome: "refused";
  because: RefusalReason;
}

/**
 * `taken`: somebody has it or it has ended; `not_held`: nobody works on it; `stale`: it belongs to another claim than the
 * one named; `ended`: it is at its end.
 */
export type RefusalReason = "taken" | "not_held" | "stale" | "ended";

/** When a task is given up, and how long it rests before it is tried again. */
export interface RetryRule {
  /** Attempts beyond the first one. */
  maxAttempts: number;
  backoffSeconds: number;
  backoffMultiplier: number;
}

/** The longest rest between two attempts, whatever a policy says. */
const BACKOFF_MS_MAX = 24 * 60 * 60_000;
/** Leases are written down at most this far ahead: later moments are no valid text. */
const LEASE_MS_MAX = 366 * 24 * 60 * 60_000;
/** What 0.5.0 takes when a task says nothing. */
const DEFAULT_MAX_RETRIES = 2;

/** Whether nothing happens to a task in this state any more. */
export function isTerminal(state: Task["state"]): boolean {
  return state === "completed" || state === "failed" || state === "cancelled";
}

/** Whether a worker has it. */
export function isHeld(state: Task["state"]): boolean {
  return state === "claimed" || state === "running";
}

/** The policy that counts. Files older than `retry_policy` say `max_retries`, which a policy of one's own overrides. */
export function retryRule(task: Pick<Task, "retry_policy" | "max_retries">): RetryRule {
  const { retry_policy: policy, max_retries } = task;
  const rule = {
    maxAttempts: policy.max_attempts,
    backoffSeconds: Number(policy.backoff_seconds),
    backoffMultiplier: Number(policy.backoff_multiplier),
  };
  const isDefault =
    rule.maxAttempts === 2 &&
    rule.backoffSeconds === 1 &&
    rule.backoffMultiplier === 2 &&
    policy.terminal_on_permanent_failure;
  if (!isDefault || max_retries === undefined || max_retries === DEFAULT_MAX_RETRIES) return rule;
  return { ...rule, maxAttempts: max_retries };
}

/** How long a task rests after its n-th failure. Never more than a day, never less than nothing. */
export function backoffMs(rule: RetryRule, failures: number): number {
  const factor = failures === 0 ? 1 : rule.backoffMultiplier ** (failures - 1);
  const ms = Math.floor(rule.backoffSeconds * factor) * 1_000;
  // 0 times infinity is no number; such a policy asks for no rest.
  return Number.isNaN(ms) ? 0 : Math.min(Math.max(ms, 0), BACKOFF_MS_MAX);
}

/**
 * A worker takes a task for one lease. Whether dependencies are met and the backoff is over is the scheduler's to know:
 * it counts the one and measures the other without looking at wall clocks.
 */
export function decideClaim(
  task: Task,
  request: { worker: string; leaseMs: number },
  wall: Date,
): { outcome: "claimed"; set: TaskSet } | Refusal {
  if (task.state !== "pending") return refused("taken");
  return {
    outcome: "claimed",
    set: {
      state: "claimed",
      owner: request.worker,
      lease_expires: later(wall, Math.min(request.leaseMs, LEASE_MS_MAX)),
      attempt: task.retry_count + 1,
    },
  };
}

/** The claim is in the log under the number `fence`; from here on its holder is known by it. */
export function decideStart(
  task: Task,
  request: { fence: number; attempt: number; worker?: string },
  wall: Date,
): { outcome: "started"; set: TaskSet } | Refusal {
  if (task.state !== "claimed") return refused(isTerminal(task.state) ? "ended" : "not_held");
  if (request.worker !== undefined && request.worker !== task.owner) return refused("stale");
  if (task.fence !== undefined && request.fence <= task.fence) return refused("stale");
  const { fence, attempt } = request;
  return { outcome: "started", set: { state: "running", started_at: instantOf(wall), fence, attempt } };
}

/** The holder's result is good. */
export function decideComplete(
  task: Task,
  fence: number | undefined,
  wall: Date,
): { outcome: "completed"; set: TaskSet } | Refusal {
  const because = whyNotHeld(task, fence);
  if (because) return refused(because);
  return {
    outcome: "completed",
    set: { state: "completed", completed_at: instantOf(wall), lease_expires: null },
  };
}

/** The holder's attempt failed by itself: it counts. After `restMs` it is tried again, if another one is left. */
export function decideFail(
  task: Task,
  request: { fence: number | undefined; retryable: boolean },
  wall: Date,
): { outcome: "retried"; set: TaskSet; restMs: number } | { outcome: "failed"; set: TaskSet } | Refusal {
  const because = whyNotHeld(task, request.fence);
  if (because) return refused(because);
  const rule = retryRule(task);
  const retry_count = task.retry_count + 1;
  if (!request.retryable || retry_count > rule.maxAttempts) return failed(retry_count, wall);
  const restMs = backoffMs(rule, retry_count);
  const lease_expires = restMs === 0 ? null : later(wall, restMs);
  return { outcome: "retried", set: { ...BACK_TO_PENDING, retry_count, lease_expires }, restMs };
}

/** The holder gives it back because omk stops, pauses or has died: not its fault, so it does not count. */
export function decideRelease(
  task: Task,
  fence: number | undefined,
): { outcome: "released"; set: TaskSet } | Refusal {
  const because = whyNotHeld(task, fence);
  return because ? refused(because) : { outcome: "released", set: BACK_TO_PENDING };
}

/**
 * The holder fell silent and was ended. It counts, since otherwise a task that hangs every worker would go on for ever.
 * There is no further rest: a whole lease has passed.
 */
export function decideRecover(
  task: Task,
  fence: number | undefined,
  wall: Date,
): { outcome: "retried"; set: TaskSet } | { outcome: "failed"; set: TaskSet } | Refusal {
  const because = whyNotHeld(task, fence);
  if (because) return refused(because);
  const retry_count = task.retry_count + 1;
  if (retry_count > retryRule(task).maxAttempts) return failed(retry_count, wall);
  return { outcome: "retried", set: { ...BACK_TO_PENDING, retry_count } };
}

/** It will not be done. */
export function decideCancel(task: Task, wall: Date): { outcome: "cancelled"; set: TaskSet } | Refusal {
  if (isTerminal(task.state)) return refused("ended");
  return {
    outcome: "cancelled",
    set: { state: "cancelled", completed_at: instantOf(wall), lease_expires: null },
  };
}

const BACK_TO_PENDING = {
  state: "pending",
  owner: null,
  lease_expires: null,
  started_at: null,
} as const satisfies TaskSet;

/** Why a change in the name of a claim is refused, if it is. A claimed task that has not started knows no fence yet. */
function whyNotHeld(task: Task, fence: number | undefined): RefusalReason | undefined {
  if (isTerminal(task.state)) return "ended";
  if (task.state === "pending") return "not_held";
  const current = task.state === "running" ? task.fence : undefined;
  return current === fence ? undefined : "stale";
}

function failed(retry_count: number, wall: Date): { outcome: "failed"; set: TaskSet } {
  // The owner stays: it says who had it last.
  const set: TaskSet = {
    state: "failed",
    retry_count,
    completed_at: instantOf(wall),
    lease_expires: null,
  };
  return { outcome: "failed", set };
}

function refused(because: RefusalReason): Refusal {
  return { outcome: "refused", because };
}

function later(wall: Date, ms: number): string {
  return instantOf(new Date(wall.getTime() + ms));
}
