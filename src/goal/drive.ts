/**
 * The until-ready loop: one step after another, each decided from what the log says was done, until the goal has a
 * verdict or something outside the evidence ends it. Killed anywhere, the next controller goes on at the same step.
 */
import { join } from "node:path";

import type { Approvals } from "../approval/approvals.ts";
import type { Engine } from "../engine/engine.ts";
import { TURN_MS_MAX } from "../engine/turn.ts";
import type { Attempt } from "../format/work.ts";
import { sweepGateRemains } from "../gate/steps.ts";
import type { NewEvent } from "../store/event-log.ts";
import { endLeftovers } from "../store/open-ends.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import { acceptGoal } from "./accept.ts";
import { APPROVAL_NEEDED, approvalEnding, approvalsOf } from "./approvals.ts";
import { runAttempt } from "./attempt.ts";
import { exhaustedBudget, remainingMs } from "./budget.ts";
import { recordDrift } from "./drift.ts";
import {
  budgetEnding,
  isStop,
  outsideEnding,
  requestedEnding,
  restAfterOutage,
  stopEnding,
} from "./endings.ts";
import { factsOf } from "./facts.ts";
import { hasGates, recordBase, runBaseline, runResultGates } from "./gate-steps.ts";
import { countedAttempts, workerName, workerOf } from "./agent-tasks.ts";
import { findCandidateGates, gateDefinitions, gateSet, needsCandidates } from "./candidates.ts";
import { addFollowUp, followUpReason } from "./follow-ups.ts";
import { deliverIfDue } from "./deliver.ts";
import { reopenSlice } from "./land.ts";
import { attemptsAllowed, nextStep, stepsAllowed, type LoopLimits, type Step } from "./next-step.ts";
import { runPlanner } from "./planner.ts";
import { runAgentReview } from "./agent-review.ts";
import { answeredChanges, helperChanges, recoverHelperTurns } from "./helper.ts";
import { lostUsage } from "./metering.ts";
import { change, changeTask, type GoalPorts, type OpenGoal } from "./open.ts";
import { concludeGoal, type Ending } from "./proof.ts";
import { writeReaderFiles } from "./reader-files.ts";
import { serveRequests } from "./requests.ts";
import { runReview } from "./review.ts";
import { runSlices } from "./run-slices.ts";
import { lostGitEnding, recordRestored } from "./own-git.ts";
import { agentsAtOnce, isSliced } from "./sliced.ts";
import { setupEnding, showResult, slicedSpace } from "./sliced-space.ts";
import { onlyAcceptanceMissing } from "./verdict.ts";
import { assureRecords } from "./verify-proof.ts";
import type { Workspace } from "./workspace.ts";

/** Drives a goal until it has an ending, and writes it down. */
export async function driveGoal(
  open: OpenGoal,
  { space, engine }: { space: Workspace; engine: Engine },
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Ending> {
  await open.record({
    kind: "goal_running",
    actor: "goal-controller",
    changes: [change("goal.json", { status: "running", phase: "execution" }, ["completed_at", "failure"])],
  });
  await open.journal.save();
  const approvals = approvalsOf(open, ports);
  const reached = await serveRequests(open, ports, signal, async (stop): Promise<Ending | undefined> => {
    // Looked at anew each time: agents add tasks.
    for (let steps = 0; steps < stepsAllowed(attemptsAllowed(open.goal), open.graph); steps++) {
      const ended = await oneStep(open, { space, engine, approvals }, ports, stop);
      await recordRestored(open, space);
      if (ended === "verdict") return requestedEnding(open) ?? settle(open, space, ports, stop);
      if (ended) return ended;
      await open.journal.save();
    }
    return {
      status: "failed_infra",
      reasonCode: "too_many_steps",
      reason: "the loop did not come to an end",
    };
  });
  const written = await concludeGoal(open, space, requestedEnding(open) ?? reached, ports);
  tellEnd(open, written, ports);
  return written;
}

/** When the evidence is to decide: a last look, what was accepted in advance, and the way to where the policy wants it. */
async function settle(
  open: OpenGoal,
  space: Workspace,
  ports: GoalPorts,
  stop: AbortSignal,
): Promise<Ending | undefined> {
  assureRecords(open, ports);
  await showResult(open, space, UNHURRIED);
  await recordDrift(open, space, UNHURRIED);
  const facts = factsOf(open.goal, open.work, open.graph);
  if (facts.acceptance === "open" && open.goal.auto_accept === true && onlyAcceptanceMissing(facts)) {
    const summary = "accepted in advance (--auto-accept)";
    await acceptGoal(open, { summary, attested: {}, by: "omk" }, ports);
  }
  try {
    return await deliverIfDue(open, space, ports, stop);
  } catch (error) {
    // What was done outside is recorded, and is looked up when it goes on.
    if (isStop(error, stop)) return stopEnding(stop);
    throw error;
  }
}

/** Steps that look at the project's files. */
const LOOKING: ReadonlySet<Step["kind"]> = new Set([
  "plan",
  "run_baseline",
  "find_gates",
  "run_gates",
  "review",
]);

/** Takes the next step: undefined to go on, `verdict` when the evidence decides, or an ending of another kind. */
async function oneStep(
  open: OpenGoal,
  { space, engine, approvals }: { space: Workspace; engine: Engine; approvals: Approvals },
  ports: GoalPorts,
  stop: AbortSignal,
): Promise<Ending | "verdict" | undefined> {
  const step = nextStep(open.work, open.graph, limitsOf(open));
  const steps = { open, space, ports, signal: stop };
  try {
    if (stop.aborted) return stopEnding(stop);
    if (LOOKING.has(step.kind)) await showResult(open, space, stop);
    const moved = await otherHand(open, space, stop);
    if (moved) return moved;
    const wrote = await helperChanges(open, space);
    if (wrote) return wrote;
    switch (step.kind) {
      case "record_base":
        await recordBase(steps);
        return undefined;
      case "plan":
        return await runPlanner(open, space, engine, ports, stop);
      case "run_baseline":
        return await runBaseline(steps);
      case "run_wave": {
        const blocked = approvalEnding(open) ?? outsideEnding(open, { mayRetry: true }) ?? budgetEnding(open);
        if (blocked) return blocked;
        await restAfterOutage(open, ports, stop);
        const given = { engine, approvals };
        const ended = await Promise.allSettled(
          step.attempts.map((next, slot) =>
            runAttempt(open, space, { ...given, ...next, worker: workerName(slot) }, ports, stop),
          ),
        );
        // Only when none of them works any more.
        for (const one of ended) if (one.status === "rejected") throw one.reason;
        if (stop.aborted) return stopEnding(stop);
        return approvalEnding(open) ?? outsideEnding(open, { mayRetry: true });
      }
      case "run_slices": {
        const pool = { open, space: slicedSpace(space), engine, approvals, limits: limitsOf(open), ports };
        const ended = await runSlices(pool, stop);
        return stop.aborted ? stopEnding(stop) : ended;
      }
      case "reopen_slice":
        await reopenSlice(open, step.task);
        return undefined;
      case "add_task":
        await open.record(addFollowUp(step.followUp, open.graph, attemptsAllowed(open.goal)));
        ports.tell(`task added: ${step.followUp.id}, since ${followUpReason(step.followUp.kind, open.work)}`);
        return undefined;
      case "find_gates":
        await findCandidateGates(steps);
        return undefined;
      case "run_gates":
        await runResultGates(steps);
        return undefined;
      case "review": {
        const unreviewed = await runAgentReview({ open, space, engine, ports, signal: stop });
        if (unreviewed) return unreviewed;
        await runReview(open, space, ports, stop);
        return undefined;
      }
      case "finish":
        // A turn that the budget cut short has used up no attempt in anybody's eyes.
        return (step.because === "attempts_used_up" ? budgetEnding(open) : undefined) ?? "verdict";
    }
  } catch (error) {
    if (isStop(error, stop)) return stopEnding(stop);
    const unready = setupEnding(error) ?? lostGitEnding(open, space, error);
    if (unready) return unready;
    throw error;
  }
}

/** What the loop's rule looks at beside the goal's documents. */
export function limitsOf({ goal, work }: Pick<OpenGoal, "goal" | "work">): LoopLimits {
  const { digest } = gateSet(goal, work);
  const sliced = isSliced(goal);
  return {
    gates: gatesKnown(goal, work),
    gatesDigest: digest,
    maxAttempts: attemptsAllowed(goal),
    sliced,
    width: sliced ? agentsAtOnce(goal) : 1,
  };
}

function gatesKnown(goal: OpenGoal["goal"], work: OpenGoal["work"]): LoopLimits["gates"] {
  if (hasGates(goal.gates?.definitions)) return "own";
  if (needsCandidates(goal, work)) return "unknown";
  return hasGates(gateDefinitions(goal, work)) ? "candidate" : "none";
}

/** HEAD or the index moved while no agent worked: somebody else is at work here, so a person decides. */
async function otherHand(open: OpenGoal, space: Workspace, signal: AbortSignal): Promise<Ending | undefined> {
  const recorded = open.work.base?.position;
  if (recorded === undefined) return undefined;
  if ((await space.tree.position(signal)) === recorded) return undefined;
  return {
    status: "blocked_on_human",
    reasonCode: "repository_moved",
    reason: `HEAD or the index was moved by another hand; \`omk goal resume ${open.id}\` goes on from here`,
  };
}

/** Endings whose reason is long, and is said by the answer that follows. */
const SAID_LATER: ReadonlySet<string> = new Set(["blocked_on_human", "blocked_on_external", "failed_infra"]);

function tellEnd(open: OpenGoal, ending: Ending, ports: GoalPorts): void {
  const short = `${ending.status}: ${ending.reasonCode}`;
  ports.tell(SAID_LATER.has(ending.status) ? short : (open.proof?.readiness ?? short));
  const source = exhaustedBudget(open.goal, open.work);
  if (source && ending.status !== "needs_more_budget")
    ports.tell(`the ${source} budget was used up on the way`);
  if (open.work.undo !== undefined) ports.tell(`undo: ${open.work.undo}`);
}

/** Puts a goal that was interrupted back on its way: what its controller left is ended and named. */
export async function recoverGoal(open: OpenGoal, ports: GoalPorts): Promise<void> {
  await endLeftovers(open.orphanedSpawns, ports);
  await open.approvals.renderMissing();
  await open.approvals.expireOld();
  // Only now: what still ran could write there.
  sweepGateRemains(open.folder, ports);
  await recoverHelperTurns(open, ports);
  await writeReaderFiles(open, ports);
  const { work } = open;
  if (!work.attempts.some((attempt) => attempt.status === "running")) return;
  const attempts = work.attempts.map((attempt) =>
    attempt.status === "running"
      ? {
          ...attempt,
          status: "interrupted" as const,
          summary: spokeOf(open, attempt, ports),
          usage: lostUsage(open, attempt, transcriptOf(open, attempt), ports),
        }
      : attempt,
  );
  const lost = work.attempts.filter((attempt) => attempt.status === "running");
  const lostMs = lost.map((attempt) => workedMs(open, attempt, ports));
  // Those side by side had the same time.
  const active_ms = work.active_ms + Math.max(0, ...lostMs);
  await open.record(
    ...lost.map((attempt, at) => ({
      kind: "retry_scheduled",
      actor: "scheduler",
      payload: {
        task_id: attempt.task_id,
        reason: "the controller died",
        stale_worker_id: workerOf(attempt),
        fence: attempt.fence,
        spawn_id: attempt.spawn_id,
      },
      ...(at === 0 && {
        changes: [
          change("work.json", { attempts, active_ms }),
          ...lost.map(({ task_id }) => changeTask(task_id, { status: "pending", lease_expires_at: null })),
        ],
      }),
    })),
  );
}

/** What is known of a turn that was cut off: whether the agent had said anything yet. */
function spokeOf(open: OpenGoal, attempt: Attempt, ports: GoalPorts): string | null {
  const { size = 0 } = ports.disk.stat(transcriptOf(open, attempt)) ?? {};
  return size > 0 ? "cut off when omk ended; the agent had been at work" : null;
}

/** How long a turn that was cut off had worked, as far as its transcript tells; no longer than it might have. */
function workedMs(open: OpenGoal, attempt: Attempt, ports: GoalPorts): number {
  const { modifiedMs = 0 } = ports.disk.stat(transcriptOf(open, attempt)) ?? {};
  const mostMs = Math.min(TURN_MS_MAX, remainingMs(open.goal, open.work));
  // Of attempts side by side, the log knows a part.
  const { counted_at = attempt.started_at } = open.work.slices ?? {};
  const uncountedFrom = Math.max(Date.parse(attempt.started_at), Date.parse(counted_at));
  // Wall time, which may have been set, or have gone on while the machine slept.
  return Math.min(mostMs, Math.max(0, modifiedMs - uncountedFrom));
}

function transcriptOf(open: OpenGoal, { fence, task_id }: Attempt): string {
  return join(open.folder, "artifacts", "agent-runs", task_id, String(fence), "engine-events.jsonl");
}

/** After a person said to go on (and what else they said, in `events`): fresh attempts where they were used up, and the present HEAD is the new ground. */
export async function grantResume(
  open: OpenGoal,
  space: Workspace | undefined,
  events: readonly NewEvent[],
): Promise<void> {
  const { work, goal } = open;
  const last = work.attempts.at(-1);
  const allowed = attemptsAllowed(goal);
  const tasks = new Set(work.attempts.map(({ task_id }) => task_id));
  const usedUp =
    goal.status === "failed_infra" || [...tasks].some((id) => countedAttempts(work, id) >= allowed);
  await open.record(...events, {
    kind: "goal_resumed",
    actor: "omk-cli",
    payload: { status: goal.status, phase: goal.phase, updated_at: goal.updated_at },
    changes: [
      change("work.json", {
        ...(usedUp && { attempts_from: work.attempts.length }),
        ...(last && { resumed_fence: last.fence }),
        ...answeredChanges(open),
        ...(isNewGround(open)
          ? { base: null }
          : space && work.base && { base: { ...work.base, position: await space.tree.position(UNHURRIED) } }),
      }),
      // Driven on it is `running` from here: whoever dies before the first step leaves an orphan that is seen as one.
      change("goal.json", { status: space ? "running" : "not_ready" }, [
        "completed_at",
        "failure",
        "reason_code",
      ]),
    ],
  });
}

/** Whether a person who goes on takes the present files for what the work starts from: nothing was done on the others. */
function isNewGround({ goal, work }: Pick<OpenGoal, "goal" | "work">): boolean {
  const wasAsked = goal.status === "blocked_on_human" && goal.reason_code !== APPROVAL_NEEDED;
  return wasAsked && work.attempts.length === 0 && !work.baseline;
}
