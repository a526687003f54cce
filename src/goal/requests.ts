/** Serving what other processes ask of a goal: each request is applied once, in the order of the log. */
import { parseDuration } from "../budget/duration.ts";
import { answerIn } from "../approval/book.ts";
import type { CommandRequest } from "../format/command.ts";
import { instantOf } from "../format/stamp.ts";
import { pendingRequests, removeRequest } from "../store/requests.ts";
import { whileServing } from "../store/serve-requests.ts";
import { applyDecision } from "./answer.ts";
import { spent } from "./budget.ts";
import { APPROVAL_NEEDED } from "./approvals.ts";
import { budgetEnding, StopRequest } from "./endings.ts";
import { factsOf } from "./facts.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import { decideVerdict } from "./verdict.ts";

/** Runs `work` with a signal that also fires on a pause or cancel from another process. */
export function serveRequests<T>(
  open: OpenGoal,
  ports: GoalPorts,
  signal: AbortSignal,
  work: (stop: AbortSignal) => Promise<T>,
): Promise<T> {
  const look = async () => {
    const asked = await applyRequests(open, ports);
    return asked && new StopRequest(asked);
  };
  return whileServing(open.folder, look, work, ports, signal);
}

/** Applies what waits, each once and in order; returns the stop that was asked for, if any. */
export async function applyRequests(
  open: OpenGoal,
  ports: GoalPorts,
): Promise<"pause" | "cancel" | undefined> {
  let asked: "pause" | "cancel" | undefined;
  const { requests, foreign } = pendingRequests(open.folder, ports);
  for (const name of foreign) {
    if (open.foreignRequests.has(name)) continue;
    open.foreignRequests.add(name);
    ports.tell(`commands/${name} is no request of omk's: it was left alone`);
  }
  for (const request of requests) {
    if (!open.appliedRequests.has(request.id)) {
      const stop = await applyRequest(open, request, ports);
      open.appliedRequests.add(request.id);
      if (stop === "cancel" || (stop && asked === undefined)) asked = stop;
    }
    removeRequest(open.folder, request.id, ports);
  }
  return asked;
}

async function applyRequest(
  open: OpenGoal,
  request: CommandRequest,
  ports: GoalPorts,
): Promise<"pause" | "cancel" | undefined> {
  const { goal } = open;
  const refusal = refusalOf(request.kind, goal.status);
  const common = { request_id: request.id, status: goal.status, phase: goal.phase };
  if (refusal !== undefined) {
    const payload = { ...common, action: request.kind, reason: refusal };
    await open.record({ kind: "request_refused", actor: "omk-cli", payload });
    return undefined;
  }
  switch (request.kind) {
    case "pause":
      await open.record({
        kind: "goal_paused",
        actor: "omk-cli",
        payload: { ...common, status: "paused" },
        changes: [change("goal.json", { status: "paused", reason_code: "paused" }, ["completed_at"])],
      });
      return "pause";
    case "cancel": {
      const now = instantOf(ports.clock.now());
      const failure = { reason: "cancelled by user", recorded_at: now };
      await open.record({
        kind: "manual_interrupt",
        actor: "omk-cli",
        payload: common,
        changes: [
          change("goal.json", { status: "cancelled", reason_code: "cancelled", completed_at: now, failure }),
        ],
      });
      await open.approvals.withdrawAll("the goal was cancelled");
      return "cancel";
    }
    case "budget_add":
      await open.record({
        kind: "goal_budget_extended",
        actor: "goal-controller",
        ...budgetChange(open, request, ports),
      });
      return undefined;
    case "approval_answer":
      await applyAnswer(open, request, ports);
      return undefined;
    case "answer":
      await applyDecision(open, request, ports);
      return undefined;
    default:
      await open.record({
        kind: "request_refused",
        actor: "omk-cli",
        payload: { ...common, action: request.kind, reason: "this omk does not know such a request" },
      });
      return undefined;
  }
}

/** A person's answer to what an agent asked. When it was the last one that a goal at rest waited for, the goal says so. */
async function applyAnswer(open: OpenGoal, request: CommandRequest, ports: GoalPorts): Promise<void> {
  const given = answerIn(request.payload);
  const answered = given
    ? await open.approvals.answer(given.id, given.answer, request.id)
    : ({ outcome: "refused", because: "it is no answer" } as const);
  if (answered.outcome === "refused") {
    const payload = { request_id: request.id, action: request.kind, reason: answered.because };
    await open.record({ kind: "request_refused", actor: "omk-cli", payload });
    return;
  }
  const { goal } = open;
  const waits = goal.status === "blocked_on_human" && goal.reason_code === APPROVAL_NEEDED;
  if (!waits || open.approvals.open.length > 0) return;
  const reason = `what was asked is answered: \`omk goal resume ${open.id}\` goes on`;
  const failure = { reason, recorded_at: instantOf(ports.clock.now()) };
  await open.record({
    kind: "approvals_complete",
    actor: "goal-controller",
    payload: { status: goal.status, phase: goal.phase },
    changes: [change("goal.json", { failure })],
  });
}

/** Afterwards at least the added amount is available, even when the old limit was overrun; no limit stays no limit. */
function budgetChange(open: OpenGoal, request: CommandRequest, ports: Pick<GoalPorts, "clock">) {
  const { goal, work } = open;
  const used = spent(work);
  const payload: Record<string, unknown> = { request_id: request.id };
  const set: Record<string, unknown> = {};
  const { seconds, tokens, usd } = request.payload as { seconds?: number; tokens?: number; usd?: number };
  if (seconds !== undefined && goal.budget_time !== undefined) {
    const total =
      Math.max(parseDuration(goal.budget_time, "--budget-time"), Math.ceil(used.activeMs / 1_000)) + seconds;
    set["budget_time"] = compactDuration(total);
    Object.assign(payload, { previous_budget_time: goal.budget_time, added_budget_secs: seconds });
  }
  if (tokens !== undefined && goal.budget_tokens !== undefined) {
    set["budget_tokens"] = Math.max(Number(goal.budget_tokens), used.tokens) + tokens;
    Object.assign(payload, { previous_budget_tokens: goal.budget_tokens, added_budget_tokens: tokens });
  }
  if (usd !== undefined && goal.budget_usd !== undefined) {
    set["budget_usd"] = Math.max(Number(goal.budget_usd), used.usd) + usd;
    Object.assign(payload, { previous_budget_usd: goal.budget_usd, added_budget_usd: usd });
  }
  if (goal.status !== "needs_more_budget") {
    return { payload: { ...payload, ...set }, changes: [change("goal.json", set)] };
  }
  const extended = { ...goal, ...set };
  // More of one thing helps nobody while another is used up.
  const still = budgetEnding({ id: open.id, goal: extended, work });
  const now = instantOf(ports.clock.now());
  const stands = still
    ? { reason_code: still.reasonCode, failure: { reason: still.reason ?? "", recorded_at: now } }
    : { status: "not_ready", reason_code: decideVerdict(factsOf(extended, work, open.graph)).readinessCode };
  return {
    payload: { ...payload, ...set, status: still ? goal.status : "not_ready" },
    changes: [change("goal.json", { ...set, ...stands }, still ? [] : ["failure"])],
  };
}

/** Seconds in the largest unit that divides them: `90m`, `8h`, `45s`. */
function compactDuration(seconds: number): string {
  if (seconds === 0) return "0s";
  for (const [unit, size] of [
    ["d", 86_400],
    ["h", 3_600],
    ["m", 60],
  ] as const) {
    if (seconds % size === 0) return `${seconds / size}${unit}`;
  }
  return `${seconds}s`;
}

/** Why a goal in this state cannot take such a request; undefined when it can. */
export function refusalOf(kind: CommandRequest["kind"], status: string): string | undefined {
  if (kind === "cancel" && status === "cancelled") return "it is cancelled already";
  if (kind === "cancel" && status === "ready")
    return "it is ready, which is final; a result that is not wanted is rejected (`omk goal reject`)";
  if (kind === "cancel") return undefined;
  const terminal = status === "ready" || status === "cancelled";
  if (terminal) return `it is ${status}, which is final`;
  return undefined;
}
