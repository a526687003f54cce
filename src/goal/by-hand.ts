/** The steps of the loop one at a time, as a person asks for them: verify, execute, review, accept, reject, resume. */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import type { GoalStatus } from "../format/goal.ts";
import { chainHolder } from "../store/claim-chain.ts";
import { acceptGoal, rejectGoal, type Acceptance } from "./accept.ts";
import { runAttempt } from "./attempt.ts";
import { exhaustedBudget } from "./budget.ts";
import { createGoal, type GoalRequest } from "./create.ts";
import { recordDrift } from "./drift.ts";
import { driveGoal, grantResume, isStop, recoverGoal } from "./drive.ts";
import { findGoal, listGoals, type GoalSummary } from "./find.ts";
import { hasGates, recordBase, runBaseline, runResultGates, type GateSteps } from "./gate-steps.ts";
import { gatesState } from "./gate-state.ts";
import { goalKind, REQUIRED_CHECKS, testability } from "./intake.ts";
import { currentAttempts } from "./next-step.ts";
import { change, OpenGoal, type GoalPorts } from "./open.ts";
import { concludeGoal, type Ending } from "./proof.ts";
import { applyRequests, serveRequests } from "./requests.ts";
import { runReview } from "./review.ts";
import { assureNone, verifyProof } from "./verify-proof.ts";
import { openWorkspace, projectDirOf, type Workspace } from "./workspace.ts";

/** How a goal stands after a command. */
export interface Outcome {
  open: OpenGoal;
  ending: Ending;
  /** What the command itself was about, e.g. that the gates passed. */
  achieved: boolean;
}

/** Makes a goal and, when it asks for that, drives it to an ending. Calls `created` as soon as the goal exists. */
export async function runGoal(
  request: GoalRequest,
  ports: GoalPorts,
  signal: AbortSignal,
  created: (open: OpenGoal) => void,
): Promise<Outcome> {
  const twin = interruptedTwin(request, ports);
  const open = await createGoal(request, ports, signal);
  try {
    created(open);
    if (twin) ports.tell(`an interrupted goal with the same text exists: omk goal resume ${twin.id}`);
    const started: Ending = { status: open.goal.status, reasonCode: open.goal.reason_code ?? "" };
    if (request.untilReady !== true || open.goal.status === "blocked_on_human") {
      return { open, ending: started, achieved: open.goal.status !== "blocked_on_human" };
    }
    const ending = await withWorkspace(open, "goal run", ports, signal, (space) =>
      driveGoal(open, space, ports, signal),
    );
    return { open, ending, achieved: ending.status === "ready" };
  } finally {
    await open.close();
  }
}

/** A goal of the same text and directory whose controller died. */
function interruptedTwin(request: GoalRequest, ports: GoalPorts): GoalSummary | undefined {
  const text = request.text.trim();
  const project = ports.disk.realPath(request.projectDir);
  return listGoals(ports.root, ports).goals.find(
    (goal) =>
      goal.status === "running" &&
      goal.originalGoal === text &&
      goal.record["project_dir"] === project &&
      chainHolder(join(goal.folder, "controller"), ports)?.liveness !== "alive",
  );
}

/** Runs the gates on the project as it is. */
export function verifyGoal(
  wanted: string,
  again: boolean,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Outcome> {
  return stepByHand(wanted, "goal verify", again, ports, signal, async (open, space, stop) => {
    const steps = { open, space, ports, signal: stop };
    // Before any work the project is its own base: one run of the gates serves as both.
    const isFirst = open.work.baseline === null;
    if (await layGround(steps)) await runResultGates(steps, isFirst);
    return gatesState(open.work) === "green";
  });
}

/** One turn of the agent, and the gates on what it left. */
export function executeGoal(
  wanted: string,
  again: boolean,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Outcome> {
  return stepByHand(wanted, "goal execute", again, ports, signal, async (open, space, stop) => {
    const steps = { open, space, ports, signal: stop };
    const gated = await layGround(steps);
    const number = currentAttempts(open.work).filter((attempt) => attempt.counted).length + 1;
    await runAttempt(open, space, number, ports, stop);
    if (stop.aborted) return false;
    const last = open.work.attempts.at(-1);
    if (last?.outcome !== "finished" || !gated) return false;
    await runResultGates(steps);
    return gatesState(open.work) === "green";
  });
}

/** Records the base and what the gates say of it, where that has not been done; true when the goal has gates. */
async function layGround(steps: GateSteps): Promise<boolean> {
  const { open } = steps;
  const gated = hasGates(open.goal.gates?.definitions);
  if (!open.work.base) await recordBase(steps);
  if (gated && !open.work.baseline) await runBaseline(steps);
  return gated;
}

/** The review wall over the present result. */
export function reviewGoal(
  wanted: string,
  again: boolean,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Outcome> {
  return stepByHand(wanted, "goal review", again, ports, signal, async (open, space, stop) => {
    if (!open.work.base) await recordBase({ open, space, signal: stop });
    await runReview(open, space, ports, stop);
    return (open.work.review?.sections ?? []).every((section) => section.status !== "blocked");
  });
}

/** A person accepts the present result; it becomes ready when all evidence is there. */
export async function acceptByHand(
  wanted: string,
  acceptance: Omit<Acceptance, "by">,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Outcome> {
  return decideByHand(wanted, "goal accept", ports, signal, async (open) => {
    checkAttested(open, acceptance.attested);
    // A yes is to what was checked: the records must be whole, and the files as they were.
    if (open.proof) assureNone(open.id, verifyProof(open.folder, open.id, ports).faults);
    return withWorkspace(open, "goal accept", ports, signal, async (space) => {
      await recordDrift(open, space, signal);
      await acceptGoal(open, { ...acceptance, by: "omk-cli" }, ports);
      return concludeGoal(open, space, undefined, ports);
    });
  });
}

/** Only checks that the goal has can be vouched for. */
function checkAttested(open: OpenGoal, attested: Readonly<Record<string, string>>): void {
  const checks = REQUIRED_CHECKS[goalKind(open.goal.normalized_goal)];
  const unknown = Object.keys(attested).find((name) => !checks.includes(name));
  if (unknown === undefined) return;
  throw new OmkError("usage.invalid", `This goal has no check called ${unknown}.`, {
    hint: `Its checks are: ${checks.join(", ")}.`,
  });
}

/** A person rejects the present result, with a reason. */
export async function rejectByHand(
  wanted: string,
  reason: string,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Outcome> {
  return decideByHand(wanted, "goal reject", ports, signal, async (open) => {
    await rejectGoal(open, reason, ports);
    return concludeGoal(open, undefined, undefined, ports);
  });
}

/**
 * Continues what was interrupted or paused. A goal made with `--until-ready` is driven on; any other is only put back
 * to `not_ready`. On `ready` there is nothing to do.
 */
export async function resumeGoal(wanted: string, ports: GoalPorts, signal: AbortSignal): Promise<Outcome> {
  const found = findGoal(ports.root, wanted, ports);
  projectDirOf(found.id, found.record);
  const open = await OpenGoal.open(found.id, found.folder, "goal resume", ports, signal);
  try {
    await applyRequests(open, ports);
    await recoverGoal(open, ports);
    const { status } = open.goal;
    if (status === "ready") return { open, ending: { status, reasonCode: "ready" }, achieved: true };
    refuseResume(open, status);
    if (!open.goal.until_ready) {
      await grantResume(open, undefined);
      const ending = await concludeGoal(open, undefined, undefined, ports);
      return { open, ending, achieved: true };
    }
    const ending = await withWorkspace(open, "goal resume", ports, signal, async (space) => {
      await grantResume(open, space);
      return driveGoal(open, space, ports, signal);
    });
    return { open, ending, achieved: ending.status === "ready" };
  } finally {
    await open.close();
  }
}

function refuseResume(open: OpenGoal, status: GoalStatus): void {
  if (status === "cancelled") throw refused(open.id, "resume", status, "Start it anew with `omk goal run`.");
  // A pause in between changes the status and the code, and not what was asked for.
  const isBlocked = status === "blocked_on_human" && open.goal.reason_code === "not_testable";
  if (isBlocked || (status === "paused" && !testability(open.goal.normalized_goal).testable)) {
    throw refused(open.id, "resume", status, "Refine the goal and start it anew with `omk goal run`.");
  }
  if (status === "needs_more_budget" && exhaustedBudget(open.goal, open.work) !== undefined) {
    throw refused(open.id, "resume", status, `Add some first: omk goal budget-add ${open.id} --time 30m`);
  }
}

async function stepByHand(
  wanted: string,
  command: string,
  again: boolean,
  ports: GoalPorts,
  signal: AbortSignal,
  work: (open: OpenGoal, space: Workspace, stop: AbortSignal) => Promise<boolean>,
): Promise<Outcome> {
  const found = findGoal(ports.root, wanted, ports);
  projectDirOf(found.id, found.record);
  const open = await OpenGoal.open(found.id, found.folder, command, ports, signal);
  try {
    await applyRequests(open, ports);
    refuseStep(open, command, again);
    await recoverGoal(open, ports);
    return await withWorkspace(open, command, ports, signal, async (space) => {
      await beginStep(open, command);
      let stopped: AbortSignal = signal;
      const achieved = await serveRequests(open, ports, signal, async (stop) => {
        stopped = stop;
        try {
          return await work(open, space, stop);
        } catch (error) {
          // A stop ends the step early; what it had recorded stays.
          if (isStop(error, stop)) return false;
          throw error;
        }
      });
      const ending = await concludeGoal(open, space, interruptedEnding(open, stopped), ports);
      return { open, ending, achieved };
    });
  } finally {
    await open.close();
  }
}

function interruptedEnding(open: OpenGoal, stop: AbortSignal): Ending | undefined {
  const { status } = open.goal;
  if (status === "cancelled") return { status, reasonCode: "cancelled", reason: "cancelled by user" };
  if (status !== "paused" && !stop.aborted) return undefined;
  return { status: "paused", reasonCode: "paused", reason: "by the user; nothing is lost" };
}

async function beginStep(open: OpenGoal, command: string): Promise<void> {
  const changes = [
    change("goal.json", { status: "running", phase: "execution" }, ["completed_at", "failure"]),
    ...(open.goal.status === "ready" ? [change("work.json", { acceptance: null })] : []),
  ];
  await open.record({ kind: "goal_running", actor: "omk-cli", payload: { action: command }, changes });
  await open.journal.save();
}

function refuseStep(open: OpenGoal, command: string, again: boolean): void {
  const { status } = open.goal;
  if (status === "paused")
    throw refused(open.id, command, status, `Resume it first: omk goal resume ${open.id}`);
  if (status === "blocked_on_human") {
    const reason = open.goal.failure?.reason ?? "a person has to decide";
    throw refused(
      open.id,
      command,
      `${status} (${reason})`,
      "Refine the goal and start it anew with `omk goal run`.",
    );
  }
  if (status === "cancelled") throw refused(open.id, command, status, "Start it anew with `omk goal run`.");
  if (status === "ready" && !again) {
    throw refused(open.id, command, status, `To reopen it: omk ${command} ${open.id} --again`);
  }
  const source = exhaustedBudget(open.goal, open.work);
  if (source) {
    const hint = `Add some: omk goal budget-add ${open.id} --time 30m`;
    throw new OmkError(
      "goal.needs_budget",
      `${command} needs more budget: the ${source} budget is used up.`,
      { hint },
    );
  }
}

async function decideByHand(
  wanted: string,
  command: string,
  ports: GoalPorts,
  signal: AbortSignal,
  decide: (open: OpenGoal) => Promise<Ending>,
): Promise<Outcome> {
  const found = findGoal(ports.root, wanted, ports);
  projectDirOf(found.id, found.record);
  const open = await OpenGoal.open(found.id, found.folder, command, ports, signal);
  try {
    await applyRequests(open, ports);
    await recoverGoal(open, ports);
    const { status } = open.goal;
    if (status === "paused" || status === "blocked_on_human" || status === "cancelled") {
      throw refused(open.id, command, status, `Run \`omk goal show ${open.id}\` to see what it waits for.`);
    }
    const ending = await decide(open);
    return { open, ending, achieved: ending.status === "ready" };
  } finally {
    await open.close();
  }
}

async function withWorkspace<T>(
  open: OpenGoal,
  command: string,
  ports: GoalPorts,
  signal: AbortSignal,
  work: (space: Workspace) => Promise<T>,
): Promise<T> {
  const space = await openWorkspace(open, command, ports, signal);
  try {
    return await work(space);
  } finally {
    await space.release();
  }
}

function refused(id: string, command: string, status: string, hint: string): OmkError {
  return new OmkError("goal.refused", `${command} is refused: goal ${id} is ${status}.`, { hint });
}
