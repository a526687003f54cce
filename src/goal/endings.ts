/** Ends of a goal that its evidence does not decide: a person stopped it, a budget is used up, the agent cannot work. */
import type { Attempt } from "../format/work.ts";
import { exhaustedBudget, spent } from "./budget.ts";
import { currentAttempts } from "./next-step.ts";
import type { OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";

/** Why a step was stopped: a person asked another process for it. */
export class StopRequest extends Error {
  override readonly name = "StopRequest";
  readonly kind: "pause" | "cancel";
  constructor(kind: "pause" | "cancel") {
    super(`a person asked to ${kind}`);
    this.kind = kind;
  }
}

/** Attempts in a row that nobody is charged for, and that brought no word from the engine. */
const UNCHARGED_MAX = 5;

const PAUSED: Ending = {
  status: "paused",
  reasonCode: "paused",
  reason: "by the user; nothing is lost",
};
const CANCELLED: Ending = { status: "cancelled", reasonCode: "cancelled", reason: "cancelled by user" };

/** A step that ended because it was told to. What else fails at such a moment is a failure all the same. */
export function isStop(error: unknown, stop: AbortSignal): boolean {
  return stop.aborted && error === stop.reason;
}

/** The ending that a stop asks for: a request is in the log already, a signal pauses. */
export function stopEnding(stop: AbortSignal): Ending {
  const { reason } = stop as { reason: unknown };
  return reason instanceof StopRequest && reason.kind === "cancel" ? CANCELLED : PAUSED;
}

/** A pause or cancel that was acknowledged holds, even when it came with the last step. */
export function requestedEnding(open: OpenGoal): Ending | undefined {
  if (open.goal.status === "cancelled") return CANCELLED;
  return open.goal.status === "paused" ? PAUSED : undefined;
}

/** `needs_more_budget` when a budget is used up: it names the first, and what was spent of it. */
export function budgetEnding(open: Pick<OpenGoal, "id" | "goal" | "work">): Ending | undefined {
  const source = exhaustedBudget(open.goal, open.work);
  if (!source) return undefined;
  const used = spent(open.work);
  const values = {
    time: `${Math.round(used.activeMs / 1_000)}s of ${open.goal.budget_time}`,
    tokens: `${used.tokens} of ${String(open.goal.budget_tokens)} tokens`,
    cost: `$${used.usd.toFixed(6)} of $${String(open.goal.budget_usd)}`,
  };
  const reason = `${source}: ${values[source]} used; add more with \`omk goal budget-add ${open.id}\``;
  return { status: "needs_more_budget", reasonCode: `budget_${source}`, reason };
}

/** Login, quota and outage are nobody's failed attempt: the goal waits, and goes on when they are mended. */
export function outsideEnding(open: OpenGoal): Ending | undefined {
  const attempts = currentAttempts(open.work);
  const last = attempts.at(-1);
  if (last && isOutside(last) && !isAnswered(open, last)) {
    const reason = last.summary ?? "the agent could not work";
    return { status: "blocked_on_external", reasonCode: `agent_${last.outcome_code}`, reason };
  }
  const uncharged = attempts.slice(-UNCHARGED_MAX);
  if (
    uncharged.length === UNCHARGED_MAX &&
    uncharged.every((one) => one.status === "interrupted" && !one.summary)
  ) {
    const reason = `${UNCHARGED_MAX} attempts in a row ended without a word from the agent`;
    return { status: "failed_infra", reasonCode: "attempts_lost", reason };
  }
  return undefined;
}

/** It ended by itself and was not charged: something outside kept the agent from working. */
function isOutside(attempt: Attempt): boolean {
  return attempt.status === "ended" && !attempt.counted;
}

/** A resume after the failure says: try again. */
function isAnswered(open: OpenGoal, attempt: Attempt): boolean {
  return (open.work.resumed_fence ?? 0) >= attempt.fence;
}
