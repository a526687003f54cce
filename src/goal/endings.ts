/** Ends of a goal that its evidence does not decide: a person stopped it, a budget is used up, the agent cannot work. */
import {
  Breaker,
  outsideStop,
  turnResult,
  type Cause,
  type Ticket,
  type TurnResult,
} from "../budget/breaker.ts";
import type { Attempt } from "../format/work.ts";
import { BUDGET_CODES, exhaustedBudget, spent } from "./budget.ts";
import { currentAttempts } from "./agent-tasks.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";
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

/** The longest rest after an outage; more only a clock that was set back would ask for. */
const REST_MS_MAX = 61_000;

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

/** `needs_more_budget` when a budget is used up: it names the first, what was spent of it, and how far the work came. */
export function budgetEnding(open: Pick<OpenGoal, "id" | "goal" | "work">): Ending | undefined {
  const source = exhaustedBudget(open.goal, open.work);
  if (!source) return undefined;
  const used = spent(open.work);
  const values = {
    time: `${Math.round(used.activeMs / 1_000)}s of ${open.goal.budget_time}`,
    tokens: `${used.tokens} of ${String(open.goal.budget_tokens)} tokens`,
    cost: `$${used.usd.toFixed(6)} of $${String(open.goal.budget_usd)}`,
  };
  const reason =
    `${source}: ${values[source]} used${howFar(open.work)}; ` +
    `add more with \`omk goal budget-add ${open.id}\``;
  return { status: "needs_more_budget", reasonCode: BUDGET_CODES[source], reason };
}

/** Where the work stood when a turn was stopped at its ceiling. */
function howFar({ attempts, result }: OpenGoal["work"]): string {
  const last = attempts.at(-1);
  if (last?.outcome !== "over_budget") return "";
  const files = result?.changed_files.length ?? 0;
  const kept =
    files === 0
      ? "no file had been changed"
      : `${files} changed ${files === 1 ? "file is" : "files are"} kept`;
  return `; attempt ${last.number} was stopped in mid-turn and ${kept}`;
}

/**
 * Login, quota and outage are nobody's failed attempt: the goal waits, and goes on when they are mended. With `mayRetry`
 * only when the agent will not be tried again by itself.
 */
export function outsideEnding(
  open: Pick<OpenGoal, "id" | "work">,
  { mayRetry = false }: { mayRetry?: boolean } = {},
): Ending | undefined {
  const last = inOrderOfEnd(open.work).at(-1);
  const cause = last && causeOf(last);
  const breaker = breakerOf(open.work);
  // A resume after the failure says: try again.
  const isAnswered = last !== undefined && (open.work.resumed_fence ?? -1) >= last.fence;
  if (cause && !isAnswered && (!mayRetry || breaker.state === "open"))
    return externalEnding(open, breaker, cause);
  // Of one task: those of others that a single kill has cut off with it are no row.
  const uncharged = currentAttempts(open.work)
    .filter(({ task_id }) => task_id === last?.task_id)
    .slice(-UNCHARGED_MAX);
  if (
    uncharged.length === UNCHARGED_MAX &&
    uncharged.every((one) => one.status === "interrupted" && !one.summary)
  ) {
    const reason = `${UNCHARGED_MAX} attempts in a row ended without a word from the agent`;
    return { status: "failed_infra", reasonCode: "attempts_lost", reason };
  }
  return undefined;
}

/** Waits before the agent is tried again after an outage; not at all when there was none. */
export async function restAfterOutage(open: OpenGoal, ports: GoalPorts, signal: AbortSignal): Promise<void> {
  await rest(breakerOf(open.work), ports, signal);
}

/**
 * Takes in how a turn beside the tasks ended. After an outage it waits, so that the agent may be tried again; an ending when
 * that would gain nothing.
 */
export async function endTurn(
  open: Pick<OpenGoal, "id">,
  breaker: Breaker,
  result: TurnResult,
  ports: Pick<GoalPorts, "clock" | "tell">,
  signal: AbortSignal,
): Promise<Ending | undefined> {
  const now = ports.clock.now();
  breaker.end(breaker.begin(), result, { wall: now, ms: now.getTime() });
  const { state, cause } = breaker;
  if (state === "open" && cause) return externalEnding(open, breaker, cause);
  await rest(breaker, ports, signal);
  return undefined;
}

async function rest(
  breaker: Breaker,
  ports: Pick<GoalPorts, "clock" | "tell">,
  signal: AbortSignal,
): Promise<void> {
  const waitMs = Math.min(breaker.waitMs(ports.clock.now().getTime()), REST_MS_MAX);
  if (waitMs === 0 || !breaker.cause) return;
  const said = breaker.cause.message.split("\n", 1)[0] ?? "";
  ports.tell(`the agent could not work (${said}); it is tried again in ${Math.ceil(waitMs / 1_000)} s`);
  await ports.clock.sleep(waitMs, signal);
}

function externalEnding({ id }: Pick<OpenGoal, "id">, { outages }: Breaker, cause: Cause): Ending {
  const { code, reason } = outsideStop(cause, `omk goal resume ${id}`, outages);
  return { status: "blocked_on_external", reasonCode: code, reason };
}

/** Whether nobody knows yet if the agent works again after an outage: then one turn tries it before others begin. */
export function isTryingAgent({ work }: Pick<OpenGoal, "work">): boolean {
  return breakerOf(work).state !== "closed";
}

/** Attempts that are over, the latest last. In place they end as they begin, whatever the clock says. */
function inOrderOfEnd({ attempts, slices }: OpenGoal["work"]): Attempt[] {
  const over = attempts.filter(({ status }) => status !== "running");
  return slices ? over.toSorted((a, b) => endOf(a) - endOf(b)) : over;
}

function endOf({ ended_at, started_at }: Attempt): number {
  return Date.parse(ended_at ?? started_at);
}

/** Beginnings and ends of attempts in their order; those side by side overlap. */
function turnsOf(work: OpenGoal["work"]): { attempt: Attempt; what: "begin" | "end" }[] {
  const turns = inOrderOfEnd(work).flatMap((attempt) => {
    const begun = Date.parse(attempt.started_at);
    // Its own beginning comes first, also where nobody knows when it ended.
    const ended = Math.max(endOf(attempt), begun + 0.5);
    return [
      { attempt, what: "begin" as const, at: begun },
      { attempt, what: "end" as const, at: ended },
    ];
  });
  return work.slices ? turns.toSorted((a, b) => a.at - b.at) : turns;
}

/** The breaker as the attempts have left it. */
function breakerOf(work: OpenGoal["work"]): Breaker {
  const { resumed_fence } = work;
  const breaker = new Breaker();
  const tickets = new Map<number, Ticket>();
  for (const { attempt, what } of turnsOf(work)) {
    if (what === "begin") {
      // Where it was open, a person had said to go on before this one.
      breaker.resume();
      tickets.set(attempt.fence, breaker.begin());
      continue;
    }
    const at = new Date(attempt.ended_at ?? attempt.started_at);
    const ticket = tickets.get(attempt.fence) ?? breaker.begin();
    breaker.end(ticket, resultOf(attempt), { wall: at, ms: at.getTime() });
  }
  const last = work.attempts.at(-1);
  if (last && (resumed_fence ?? -1) >= last.fence) breaker.resume();
  return breaker;
}

function resultOf(attempt: Attempt): TurnResult {
  const { status, outcome, outcome_code: code, counted, resets_at } = attempt;
  // It ended by itself and was not charged.
  const isOutside = status === "ended" && outcome === "failed" && !counted;
  const message = attempt.summary ?? "";
  return turnResult({
    outcome: status === "ended" ? outcome : "cancelled",
    code,
    isOutside,
    message,
    resets_at,
  });
}

function causeOf(attempt: Attempt): Cause | undefined {
  const result = resultOf(attempt);
  return result.kind === "outside" ? result.cause : undefined;
}
