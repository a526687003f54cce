/** Going on with a goal that was interrupted, paused, or waits for something. */
import type { ApprovalFlags } from "../approval/settings.ts";
import { refuseWaiting } from "../approval/waiting.ts";
import type { GoalStatus } from "../format/goal.ts";
import { exhaustedBudget } from "./budget.ts";
import { DECIDED_ANEW, engineOf, engineChosen, approvalsChosen } from "./chosen.ts";
import { deliverIfDue } from "./deliver.ts";
import { driveGoal, grantResume } from "./drive.ts";
import { requestedEnding } from "./endings.ts";
import { factsOf } from "./facts.ts";
import { testabilityOf } from "./intake.ts";
import { moreBudget } from "./more-budget.ts";
import type { OpenGoal } from "./open.ts";
import { change, type GoalPorts } from "./open.ts";
import { concludeGoal } from "./proof.ts";
import { setupTakenAgain } from "./setup-again.ts";
import { onlyDeliveryMissing } from "./verdict.ts";
import { assureRecords } from "./verify-proof.ts";
import { stoppable, withGoal, withWorkspace, refused, type Outcome } from "./with-goal.ts";

/** How a goal is to be continued. */
export interface ResumeRequest {
  /** The goal's id, or `latest`. */
  wanted: string;
  /** Who works on it from now on. */
  engine?: string;
  /** Drives a goal that was made without `--until-ready`, from now on like one that was. */
  untilReady?: boolean;
  /** Who decides about requests from now on; another policy decides anew about those that wait. */
  approvals?: ApprovalFlags;
  /** Leaves the goal alone where it is no longer `running`: somebody else was quicker. */
  onlyRunning?: boolean;
}

/**
 * Continues what was interrupted or paused. A goal made with `--until-ready` is driven on; any other is only put back
 * to `not_ready`. On `ready` there is nothing to do.
 */
export async function resumeGoal(
  request: string | ResumeRequest,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Outcome> {
  const given: ResumeRequest = typeof request === "string" ? { wanted: request } : request;
  const { wanted, engine: chosen, untilReady, approvals = {} } = given;
  return withGoal(wanted, "goal resume", ports, signal, async (open) => {
    const { status } = open.goal;
    if (given.onlyRunning === true && status !== "running") {
      const ending = { status, reasonCode: open.goal.reason_code ?? status };
      return { open, ending, achieved: status === "ready", isUntouched: true };
    }
    if (status === "ready") return { open, ending: { status, reasonCode: "ready" }, achieved: true };
    refuseResume(open, status);
    if (approvals.policy === undefined) refuseWaiting(open.approvals, `resume of goal ${open.id}`);
    const isDue = onlyDeliveryMissing(factsOf(open.goal, open.work, open.graph));
    if (isDue && chosen === undefined) return deliverOn(open, approvals, ports, signal);
    const mended = setupTakenAgain(open, ports);
    if (!open.goal.until_ready && untilReady !== true) {
      const events = chosen === undefined ? [] : engineChosen(open, chosen, engineOf(open, given, ports));
      if (approvals.policy !== undefined) await open.approvals.withdrawAll(DECIDED_ANEW);
      await grantResume(open, undefined, [...mended, ...events, ...approvalsChosen(approvals)]);
      const ending = await concludeGoal(open, undefined, undefined, ports);
      return { open, ending, achieved: true };
    }
    // Named before anything changes: without an agent the goal stays as it is.
    const engine = engineOf(open, given, ports);
    const drives = {
      kind: "until_ready_set",
      actor: "omk-cli",
      changes: [change("goal.json", { until_ready: true })],
    };
    const events = [
      ...mended,
      ...engineChosen(open, chosen, engine),
      ...approvalsChosen(approvals),
      ...(open.goal.until_ready ? [] : [drives]),
    ];
    const ending = await withWorkspace(open, "goal resume", ports, signal, async (space) => {
      if (approvals.policy !== undefined) await open.approvals.withdrawAll(DECIDED_ANEW);
      await grantResume(open, space, events);
      return driveGoal(open, { space, engine }, ports, signal);
    });
    return { open, ending, achieved: ending.status === "ready" };
  });
}

/** Nobody need work any more: what was accepted goes on its way out, whoever drives the goal otherwise. */
async function deliverOn(
  open: OpenGoal,
  approvals: ApprovalFlags,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Outcome> {
  const ending = await withWorkspace(open, "goal resume", ports, signal, async (space) => {
    if (approvals.policy !== undefined) await open.approvals.withdrawAll(DECIDED_ANEW);
    await grantResume(open, space, approvalsChosen(approvals));
    const reached = await stoppable(open, ports, signal, async (stop) => {
      assureRecords(open, ports);
      return deliverIfDue(open, space, ports, stop);
    });
    return concludeGoal(open, space, requestedEnding(open) ?? reached, ports);
  });
  return { open, ending, achieved: ending.status === "ready" };
}

function refuseResume(open: OpenGoal, status: GoalStatus): void {
  if (status === "cancelled") {
    const kept = `what was done for it is kept: omk rescue list --goal ${open.id}`;
    throw refused(open.id, "resume", status, `Start it anew with \`omk goal run\`; ${kept}`);
  }
  // A pause in between changes the status and the code, and not what was asked for.
  const isBlocked = status === "blocked_on_human" && open.goal.reason_code === "not_testable";
  if (isBlocked || (status === "paused" && !testabilityOf(open.goal).testable)) {
    throw refused(open.id, "resume", status, `Answer it: omk goal answer ${open.id} --decision "<text>"`);
  }
  const spent = status === "needs_more_budget" ? exhaustedBudget(open.goal, open.work) : undefined;
  if (spent !== undefined) {
    const hint = `Add some first: omk goal budget-add ${open.id} ${moreBudget(spent)}`;
    throw refused(open.id, "resume", status, hint);
  }
}
