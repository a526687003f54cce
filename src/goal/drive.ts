/**
 * The until-ready loop: one step after another, each decided from what the log says was done, until the goal has a
 * verdict or something outside the evidence ends it. Killed anywhere, the next controller goes on at the same step.
 */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import type { Attempt } from "../format/work.ts";
import { acceptGoal } from "./accept.ts";
import { runAttempt } from "./attempt.ts";
import { exhaustedBudget, spent } from "./budget.ts";
import { recordDrift } from "./drift.ts";
import { factsOf } from "./facts.ts";
import { hasGates, recordBase, runBaseline, runResultGates, sweepGateRemains } from "./gate-steps.ts";
import { currentAttempts, nextStep } from "./next-step.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import { concludeGoal, type Ending } from "./proof.ts";
import { serveRequests, StopRequest } from "./requests.ts";
import { runReview } from "./review.ts";
import { TASK } from "./scaffold.ts";
import { onlyAcceptanceMissing } from "./verdict.ts";
import { assureRecords } from "./verify-proof.ts";
import { UNHURRIED, type Workspace } from "./workspace.ts";

/** More steps than any goal needs: attempts are bounded, and each is followed by at most three others. */
const STEPS_MAX = 500;
/** Attempts in a row that nobody is charged for, and that brought no word from the engine. */
const UNCHARGED_MAX = 5;

const PAUSED: Ending = {
  status: "paused",
  reasonCode: "paused",
  reason: "by the user; nothing is lost",
};
const CANCELLED: Ending = { status: "cancelled", reasonCode: "cancelled", reason: "cancelled by user" };

/** Drives a goal until it has an ending, and writes it down. */
export async function driveGoal(
  open: OpenGoal,
  space: Workspace,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Ending> {
  await open.record({
    kind: "goal_running",
    actor: "goal-controller",
    changes: [change("goal.json", { status: "running", phase: "execution" }, ["completed_at", "failure"])],
  });
  await open.journal.save();
  const reached = await serveRequests(open, ports, signal, async (stop): Promise<Ending | undefined> => {
    for (let steps = 0; steps < STEPS_MAX; steps++) {
      const ended = await oneStep(open, space, ports, stop);
      if (ended) return ended === "verdict" ? undefined : ended;
      await open.journal.save();
    }
    return {
      status: "failed_infra",
      reasonCode: "too_many_steps",
      reason: "the loop did not come to an end",
    };
  });
  const ending = requestedEnding(open) ?? reached;
  if (!ending) {
    assureRecords(open, ports);
    await recordDrift(open, space, UNHURRIED);
  }
  const facts = factsOf(open.goal, open.work);
  const isOpen = !ending && facts.acceptance === "open";
  if (isOpen && open.goal.auto_accept === true && onlyAcceptanceMissing(facts)) {
    await acceptGoal(
      open,
      { summary: "accepted in advance (--auto-accept)", attested: {}, by: "omk" },
      ports,
    );
  }
  const written = await concludeGoal(open, space, ending, ports);
  tellEnd(open, written, ports);
  return written;
}

/** Takes the next step: undefined to go on, `verdict` when the evidence decides, or an ending of another kind. */
async function oneStep(
  open: OpenGoal,
  space: Workspace,
  ports: GoalPorts,
  stop: AbortSignal,
): Promise<Ending | "verdict" | undefined> {
  const limits = {
    hasGates: hasGates(open.goal.gates?.definitions),
    maxAttempts: open.goal.max_attempts ?? 3,
  };
  const step = nextStep(open.work, limits);
  const steps = { open, space, ports, signal: stop };
  try {
    if (stop.aborted) return stopped(stop);
    const moved = await otherHand(open, space, stop);
    if (moved) return moved;
    switch (step.kind) {
      case "record_base":
        await recordBase(steps);
        return undefined;
      case "run_baseline":
        await runBaseline(steps);
        return undefined;
      case "run_attempt": {
        const blocked = outsideEnding(open) ?? budgetEnding(open);
        if (blocked) return blocked;
        await runAttempt(open, space, step.number, ports, stop);
        return stop.aborted ? stopped(stop) : outsideEnding(open);
      }
      case "run_gates":
        await runResultGates(steps);
        return undefined;
      case "review":
        await runReview(open, space, ports, stop);
        return undefined;
      case "finish":
        // A turn that the budget cut short has used up no attempt in anybody's eyes.
        return (step.because === "attempts_used_up" ? budgetEnding(open) : undefined) ?? "verdict";
    }
  } catch (error) {
    if (isStop(error, stop)) return stopped(stop);
    throw error;
  }
}

/** A step that ended because it was told to: with the reason itself, or with what the reason made fail. */
export function isStop(error: unknown, stop: AbortSignal): boolean {
  return stop.aborted && (error === stop.reason || !(error instanceof OmkError));
}

/** A pause or cancel that was acknowledged holds, even when it came with the last step. */
function requestedEnding(open: OpenGoal): Ending | undefined {
  if (open.goal.status === "cancelled") return CANCELLED;
  return open.goal.status === "paused" ? PAUSED : undefined;
}

/** The ending that a stop asks for: a request is in the log already, a signal pauses. */
function stopped(stop: AbortSignal): Ending {
  const { reason } = stop as { reason: unknown };
  if (reason instanceof StopRequest && reason.kind === "cancel") {
    return CANCELLED;
  }
  return PAUSED;
}

/** HEAD or the index moved while no agent worked: somebody else is at work here, so a person decides. */
async function otherHand(open: OpenGoal, space: Workspace, signal: AbortSignal): Promise<Ending | undefined> {
  const recorded = open.work.base?.position;
  if (recorded === undefined) return undefined;
  const last = open.work.attempts.at(-1);
  if (last?.status === "running" || (await space.tree.position(signal)) === recorded) return undefined;
  return {
    status: "blocked_on_human",
    reasonCode: "repository_moved",
    reason: `HEAD or the index was moved by another hand; \`omk goal resume ${open.id}\` goes on from here`,
  };
}

function budgetEnding(open: OpenGoal): Ending | undefined {
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
function outsideEnding(open: OpenGoal): Ending | undefined {
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

function tellEnd(open: OpenGoal, ending: Ending, ports: GoalPorts): void {
  ports.tell(open.proof?.readiness ?? `${ending.status}: ${ending.reason ?? ending.reasonCode}`);
  const source = exhaustedBudget(open.goal, open.work);
  if (source && ending.status !== "needs_more_budget")
    ports.tell(`the ${source} budget was used up on the way`);
  if (open.work.undo !== undefined) ports.tell(`undo: ${open.work.undo}`);
}

/** Puts a goal that was interrupted back on its way: what its controller left is ended and named. */
export async function recoverGoal(open: OpenGoal, ports: GoalPorts): Promise<void> {
  if (open.orphanedSpawns.length > 0) {
    const ended = await ports.processes.sweep(open.orphanedSpawns);
    if (ended > 0)
      ports.tell(`ended ${ended} leftover process${ended === 1 ? "" : "es"} of an interrupted run`);
  }
  // Only now: what still ran could write there.
  sweepGateRemains(open, ports);
  const { work } = open;
  if (!work.attempts.some((attempt) => attempt.status === "running")) return;
  const attempts = work.attempts.map((attempt) =>
    attempt.status === "running"
      ? { ...attempt, status: "interrupted" as const, summary: spokeOf(open, attempt, ports) }
      : attempt,
  );
  const lost = work.attempts.filter((attempt) => attempt.status === "running");
  await open.record(
    ...lost.map((attempt, at) => ({
      kind: "retry_scheduled",
      actor: "scheduler",
      payload: {
        task_id: attempt.task_id,
        reason: "the controller died",
        stale_worker_id: "goal-agent-worker-0",
        fence: attempt.fence,
        spawn_id: attempt.spawn_id,
      },
      ...(at === 0 && { changes: [change("work.json", { attempts })] }),
    })),
  );
}

/** What is known of a turn that was cut off: whether the agent had said anything yet. */
function spokeOf(open: OpenGoal, attempt: Attempt, ports: GoalPorts): string | null {
  const events = join(
    open.folder,
    "artifacts",
    "agent-runs",
    TASK.execute,
    String(attempt.fence),
    "engine-events.jsonl",
  );
  return (ports.disk.stat(events)?.size ?? 0) > 0
    ? "cut off when omk ended; the agent had been at work"
    : null;
}

/** After a person said to go on: fresh attempts where they were used up, and the present HEAD is the new ground. */
export async function grantResume(open: OpenGoal, space: Workspace | undefined): Promise<void> {
  const { work, goal } = open;
  const last = work.attempts.at(-1);
  const counted = currentAttempts(work).filter((attempt) => attempt.counted).length;
  const usedUp = goal.status === "failed_infra" || counted >= (goal.max_attempts ?? 3);
  await open.record({
    kind: "goal_resumed",
    actor: "omk-cli",
    payload: { status: goal.status, phase: goal.phase, updated_at: goal.updated_at },
    changes: [
      change("work.json", {
        ...(usedUp && { attempts_from: work.attempts.length }),
        ...(last && { resumed_fence: last.fence }),
        ...(space && work.base && { base: { ...work.base, position: await space.tree.position(UNHURRIED) } }),
      }),
      change("goal.json", { status: "not_ready" }, ["completed_at", "failure", "reason_code"]),
    ],
  });
}
