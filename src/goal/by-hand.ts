/** The steps of the loop one at a time, as a person asks for them: verify, execute, review, accept, reject, resume. */
import { join } from "node:path";

import { approvalKeys, refuseUnasking, type ApprovalFlags } from "../approval/settings.ts";
import { refuseOwnAgent } from "../store/ask-controller.ts";
import { refuseWaiting } from "../approval/waiting.ts";
import type { Engine } from "../engine/engine.ts";
import { refuseSecretEngine } from "../engine/select.ts";
import { OmkError } from "../errors.ts";
import type { GoalStatus } from "../format/goal.ts";
import { refuseSecrets, withGateFlags } from "../gate/definitions.ts";
import { chainHolder } from "../store/claim-chain.ts";
import type { NewEvent } from "../store/event-log.ts";
import { holdProject } from "../store/project-claim.ts";
import { acceptGoal, rejectGoal, type Acceptance } from "./accept.ts";
import { APPROVAL_NEEDED, approvalEnding, approvalsOf } from "./approvals.ts";
import { questionOf } from "./answer.ts";
import { runAttempt } from "./attempt.ts";
import { exhaustedBudget } from "./budget.ts";
import { moreBudget } from "./more-budget.ts";
import { checkRequest, createGoal, type CheckedRequest, type GoalRequest } from "./create.ts";
import { recordDrift } from "./drift.ts";
import { driveGoal, grantResume, recoverGoal } from "./drive.ts";
import { budgetEnding, isStop, outsideEnding, requestedEnding, stopEnding } from "./endings.ts";
import { findGoal, listGoals, type GoalSummary } from "./find.ts";
import { hasGates, recordBase, runBaseline, runResultGates, type GateSteps } from "./gate-steps.ts";
import { gatesState } from "./gate-state.ts";
import { kindOf, REQUIRED_CHECKS, testabilityOf } from "./intake.ts";
import { countedAttempts, isPlanned, lastAttempt, readyTasks } from "./agent-tasks.ts";
import { findCandidateGates, gateDefinitions, needsCandidates } from "./candidates.ts";
import { runAgentReview } from "./agent-review.ts";
import { addFollowUp } from "./follow-ups.ts";
import { attemptsAllowed, mendingTask } from "./next-step.ts";
import { planCreated } from "./plan-created.ts";
import { runPlanner } from "./planner.ts";
import { change, OpenGoal, type GoalPorts } from "./open.ts";
import { concludeGoal, type Ending } from "./proof.ts";
import { applyRequests, serveRequests } from "./requests.ts";
import { runReview } from "./review.ts";
import { assureNone } from "../store/verify.ts";
import { verifyProof } from "./verify-proof.ts";
import { wantedWaivers, type WantedWaivers } from "./waivers.ts";
import { openWorkspace, projectDirOf, type Workspace } from "./workspace.ts";

/** How a goal stands after a command. */
export interface Outcome {
  open: OpenGoal;
  ending: Ending;
  /** What the command itself was about, e.g. that the gates passed. */
  achieved: boolean;
  /** Nothing was done: the goal no longer stood as the request expected. */
  isUntouched?: true;
}

/** Makes a goal and, when it asks for that, drives it to an ending. Calls `created` as soon as the goal exists. */
export async function runGoal(
  request: GoalRequest,
  ports: GoalPorts,
  signal: AbortSignal,
  created: (open: OpenGoal) => void,
): Promise<Outcome> {
  const checked = checkRequest(request, ports);
  const twin = interruptedTwin(checked, ports);
  // Before the goal is made: one that cannot be worked on because the directory is taken would only lie about.
  const held =
    request.untilReady === true
      ? await holdProject(checked.projectDir, "goal run", ports, signal)
      : undefined;
  try {
    const open = await createGoal(checked, ports, signal);
    try {
      created(open);
      if (twin) ports.tell(`an interrupted goal with the same text exists: omk goal resume ${twin.id}`);
      const { status, reason_code } = open.goal;
      if (status === "blocked_on_human")
        return { open, ending: { status, reasonCode: reason_code ?? "" }, achieved: false };
      if (!held) {
        const ending = await planCreated(open, checked, ports, signal);
        return { open, ending, achieved: ending.status !== "blocked_on_human" };
      }
      const engine = engineOf(open, {}, ports);
      const space = await openWorkspace(open, { command: "goal run", held }, ports, signal);
      const ending = await driveGoal(open, { space, engine }, ports, signal);
      return { open, ending, achieved: ending.status === "ready" };
    } finally {
      await open.close();
    }
  } finally {
    await held?.release(true);
  }
}

/** Why requests are withdrawn when a person names another policy. */
const DECIDED_ANEW = "another policy decides anew";

/** What a person may say anew each time an agent is to work. */
interface Chosen {
  engine?: string;
  approvals?: ApprovalFlags;
}

/** The engine that works on a goal, by the name a person gives now or the recorded one. Throws when it cannot be used. */
function engineOf(open: OpenGoal, { engine: wanted, approvals = {} }: Chosen, ports: GoalPorts): Engine {
  if (wanted !== undefined) refuseSecretEngine(wanted, ports.redactor);
  const projectDir = projectDirOf(open.id, open.goal);
  const engine = ports.engineNamed(
    wanted ?? open.goal.engine ?? "auto",
    ports.disk.realPath(projectDir) ?? projectDir,
  );
  refuseUnasking(engine, approvalKeys(approvals, open.goal));
  return engine;
}

/** The event of a person's choice of who decides about requests, from now on. */
function approvalsChosen(flags: ApprovalFlags): NewEvent[] {
  const keys = approvalKeys(flags, {});
  if (Object.keys(keys).length === 0) return [];
  return [
    {
      kind: "approvals_chosen",
      actor: "omk-cli",
      payload: { ...keys },
      changes: [change("goal.json", { ...keys })],
    },
  ];
}

/**
 * The event of a person's choice of another engine, from now on. What `auto` first found for a goal is kept, too: a later
 * resume means the same agent.
 */
function engineChosen(open: OpenGoal, wanted: string | undefined, engine: Engine): NewEvent[] {
  const recorded = engine.recordedAs ?? wanted;
  if (recorded === undefined || (wanted === undefined && recorded === open.goal.engine)) return [];
  const changes = [change("goal.json", { engine: recorded })];
  return [{ kind: "engine_chosen", actor: "omk-cli", payload: { source: recorded }, changes }];
}

/** A goal of the same text and directory whose controller died. */
function interruptedTwin(request: CheckedRequest, ports: GoalPorts): GoalSummary | undefined {
  const { text, projectDir } = request;
  return listGoals(ports.root, ports).goals.find(
    (goal) =>
      goal.status === "running" &&
      goal.originalGoal === text &&
      goal.record["project_dir"] === projectDir &&
      chainHolder(join(goal.folder, "controller"), ports)?.liveness !== "alive",
  );
}

/** A step of the loop that a person asks for. */
export interface StepRequest {
  /** The goal's id, or `latest`. */
  wanted: string;
  /** Reopens a goal that is ready. */
  again?: boolean;
}

/** Runs the gates on the project as it is; `gates` are further ones of the user's own, which count from now on. */
export function verifyGoal(
  request: StepRequest & { gates?: readonly string[] },
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Outcome> {
  const flags = request.gates ?? [];
  return stepByHand(
    {
      ...request,
      command: "goal verify",
      prepare: (open) => ({ given: undefined, events: gatesDefined(open, flags, ports) }),
      take: async (open, space, _given, stop) => {
        const steps = { open, space, ports, signal: stop };
        if (flags.length > 0) await forgetBaseline(steps);
        // Before any work the project is its own base: one run of the gates serves as both.
        const isFirst = open.work.baseline === null;
        if (await layGround(steps)) await runResultGates(steps, isFirst);
        return gatesState(open.work) === "green";
      },
    },
    ports,
    signal,
  );
}

/** The event of further gates of the user's own. */
function gatesDefined(open: OpenGoal, flags: readonly string[], ports: GoalPorts): NewEvent[] {
  if (flags.length === 0) return [];
  const gates = withGateFlags(open.goal.gates ?? { source: "none", digest: "", definitions: [] }, flags);
  refuseSecrets(gates, ports.redactor);
  const names = gates.definitions.filter(({ source }) => source === "flag").map(({ name }) => name);
  const payload = { name: names, digest: gates.digest };
  return [{ kind: "gates_defined", actor: "omk-cli", payload, changes: [change("goal.json", { gates })] }];
}

/** Where nothing was done yet, gates that are new get a baseline like the others. */
async function forgetBaseline({ open, space, signal }: GateSteps): Promise<void> {
  const { base, baseline } = open.work;
  if (!baseline || (await space.tree.snapshot(signal)) !== base?.tree) return;
  await open.record({
    kind: "baseline_outdated",
    actor: "goal-controller",
    payload: { reason: "gates were added" },
    changes: [change("work.json", { baseline: null })],
  });
}

/** One turn of the agent, and the gates on what it left; `engine` works on the goal from now on. */
export function executeGoal(
  request: StepRequest & Chosen,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Outcome> {
  return stepByHand(
    {
      ...request,
      command: "goal execute",
      prepare: (open) => {
        if (request.approvals?.policy === undefined)
          refuseWaiting(open.approvals, `execute of goal ${open.id}`);
        const engine = engineOf(open, request, ports);
        const chosen = engineChosen(open, request.engine, engine);
        return { given: engine, events: [...chosen, ...approvalsChosen(request.approvals ?? {})] };
      },
      take: async (open, space, engine, stop) => {
        const steps = { open, space, ports, signal: stop };
        const gated = await layGround(steps);
        // The gates on the base may have used up what there was.
        if (request.approvals?.policy !== undefined) await open.approvals.withdrawAll(DECIDED_ANEW);
        const spentUp = budgetEnding(open);
        if (spentUp) return spentUp;
        const unplanned = isPlanned(open.graph)
          ? undefined
          : await runPlanner(open, space, engine, ports, stop);
        if (unplanned) return unplanned;
        const finished = await runOpenTasks(open, space, engine, ports, stop);
        if (stop.aborted) return false;
        // As in the loop: what is outside, or the budget, is what the goal waits for.
        if (!finished) return approvalEnding(open) ?? outsideEnding(open) ?? budgetEnding(open) ?? false;
        if (!gated && needsCandidates(open.goal, open.work)) await findCandidateGates(steps);
        if (!hasGates(gateDefinitions(open.goal, open.work))) return false;
        await runResultGates(steps);
        return gatesState(open.work) === "green" || (budgetEnding(open) ?? false);
      },
    },
    ports,
    signal,
  );
}

/** One turn at every task that is not done, or at the one that mends the result; false when one of them did not finish. */
async function runOpenTasks(
  open: OpenGoal,
  space: Workspace,
  engine: Engine,
  ports: GoalPorts,
  stop: AbortSignal,
): Promise<boolean> {
  const approvals = approvalsOf(open, ports);
  const attempt = async (task: string): Promise<boolean> => {
    const number = countedAttempts(open.work, task) + 1;
    await runAttempt(open, space, { engine, approvals, task, number }, ports, stop);
    return !stop.aborted && lastAttempt(open.work, task)?.outcome === "finished";
  };
  const tried = new Set<string>();
  for (let task = readyTasks(open.graph, open.work)[0]; task; task = readyTasks(open.graph, open.work)[0]) {
    // Agents may add tasks; none is tried twice.
    if (tried.has(task.id) || !(await attempt(task.id))) return false;
    tried.add(task.id);
  }
  if (tried.size > 0) return true;
  const mending = mendingTask(open.work, open.graph);
  if (!open.graph.tasks.some(({ id }) => id === mending.id)) {
    await open.record(addFollowUp(mending, open.graph, attemptsAllowed(open.goal)));
  }
  return attempt(mending.id);
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
export function reviewGoal(request: StepRequest, ports: GoalPorts, signal: AbortSignal): Promise<Outcome> {
  return stepByHand(
    {
      ...request,
      command: "goal review",
      prepare: () => ({ given: undefined, events: [] }),
      take: async (open, space, _given, stop) => {
        if (!open.work.base) await recordBase({ open, space, signal: stop });
        // A person who reviews again also asks those again whose answer could not be used.
        const unreviewed = open.goal.agent_review
          ? await runAgentReview(
              { open, space, engine: engineOf(open, {}, ports), ports, signal: stop },
              { again: true },
            )
          : undefined;
        if (unreviewed) return unreviewed;
        await runReview(open, space, ports, stop);
        return (open.work.review?.sections ?? []).every((section) => section.status !== "blocked");
      },
    },
    ports,
    signal,
  );
}

/** A person accepts the present result; it becomes ready when all evidence is there. */
export async function acceptByHand(
  wanted: string,
  { pass = {}, ...acceptance }: Pick<Acceptance, "summary" | "attested"> & { pass?: WantedWaivers },
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Outcome> {
  return decideByHand(wanted, "goal accept", ports, signal, async (open) => {
    refuseOwnAgent(open.folder, "goal accept", ports);
    checkAttested(open, acceptance.attested);
    const waivers = wantedWaivers(open, pass);
    // A yes is to what was checked: the records must be whole, and the files as they were.
    if (open.proof) assureNone(open.id, verifyProof(open.folder, open.id, ports).faults);
    return withWorkspace(open, "goal accept", ports, signal, async (space) => {
      await recordDrift(open, space, signal);
      await acceptGoal(open, { ...acceptance, waivers, by: "omk-cli" }, ports);
      return concludeGoal(open, space, undefined, ports);
    });
  });
}

/** Only checks that the goal has can be vouched for. */
function checkAttested(open: OpenGoal, attested: Readonly<Record<string, string>>): void {
  const checks = REQUIRED_CHECKS[kindOf(open.goal)];
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
  const found = findGoal(ports.root, wanted, ports);
  projectDirOf(found.id, found.record);
  const open = await OpenGoal.open(found.id, found.folder, "goal resume", ports, signal);
  try {
    await applyRequests(open, ports);
    await recoverGoal(open, ports);
    const { status } = open.goal;
    if (given.onlyRunning === true && status !== "running") {
      const ending = { status, reasonCode: open.goal.reason_code ?? status };
      return { open, ending, achieved: status === "ready", isUntouched: true };
    }
    if (status === "ready") return { open, ending: { status, reasonCode: "ready" }, achieved: true };
    refuseResume(open, status);
    if (approvals.policy === undefined) refuseWaiting(open.approvals, `resume of goal ${open.id}`);
    if (!open.goal.until_ready && untilReady !== true) {
      const events = chosen === undefined ? [] : engineChosen(open, chosen, engineOf(open, given, ports));
      if (approvals.policy !== undefined) await open.approvals.withdrawAll(DECIDED_ANEW);
      await grantResume(open, undefined, [...events, ...approvalsChosen(approvals)]);
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
  } finally {
    await open.close();
  }
}

function refuseResume(open: OpenGoal, status: GoalStatus): void {
  if (status === "cancelled") throw refused(open.id, "resume", status, "Start it anew with `omk goal run`.");
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

/** A step by hand: what it needs before the goal changes, and what it does. */
interface StepByHand<T> extends StepRequest {
  command: string;
  /** Throws what keeps the step from being taken; its events are recorded as the step begins. */
  prepare(open: OpenGoal): { given: T; events: NewEvent[] };
  /** Whether the step achieved what it is for, or the ending it brought the goal to. */
  take(open: OpenGoal, space: Workspace, given: T, stop: AbortSignal): Promise<boolean | Ending>;
}

async function stepByHand<T>(step: StepByHand<T>, ports: GoalPorts, signal: AbortSignal): Promise<Outcome> {
  const { command } = step;
  const found = findGoal(ports.root, step.wanted, ports);
  projectDirOf(found.id, found.record);
  const open = await OpenGoal.open(found.id, found.folder, command, ports, signal);
  try {
    await applyRequests(open, ports);
    refuseStep(open, command, step.again === true);
    const { given, events } = step.prepare(open);
    await recoverGoal(open, ports);
    return await withWorkspace(open, command, ports, signal, async (space) => {
      await beginStep(open, command, events);
      let stopped: AbortSignal = signal;
      const took = await serveRequests(open, ports, signal, async (stop) => {
        stopped = stop;
        try {
          return await step.take(open, space, given, stop);
        } catch (error) {
          // A stop ends the step early; what it had recorded stays.
          if (isStop(error, stop)) return false;
          throw error;
        }
      });
      const reached = typeof took === "boolean" ? undefined : took;
      const interrupted = requestedEnding(open) ?? (stopped.aborted ? stopEnding(stopped) : undefined);
      const ending = await concludeGoal(open, space, interrupted ?? reached, ports);
      return { open, ending, achieved: took === true };
    });
  } finally {
    await open.close();
  }
}

async function beginStep(open: OpenGoal, command: string, events: readonly NewEvent[]): Promise<void> {
  const changes = [
    change("goal.json", { status: "running", phase: "execution" }, ["completed_at", "failure"]),
    ...(open.goal.status === "ready" ? [change("work.json", { acceptance: null })] : []),
  ];
  const running = { kind: "goal_running", actor: "omk-cli", payload: { action: command }, changes };
  await open.record(...events, running);
  await open.journal.save();
}

function refuseStep(open: OpenGoal, command: string, again: boolean): void {
  const { status } = open.goal;
  if (status === "paused")
    throw refused(open.id, command, status, `Resume it first: omk goal resume ${open.id}`);
  if (status === "blocked_on_human" && open.goal.reason_code === APPROVAL_NEEDED) {
    refuseWaiting(open.approvals, `${command} of ${open.id}`);
    throw refused(open.id, command, status, `What was asked is answered: omk goal resume ${open.id}`);
  }
  if (status === "blocked_on_human") {
    const reason = open.goal.failure?.reason ?? "a person has to decide";
    const asked = "question" in questionOf(open.goal);
    const hint = asked
      ? `Answer it: omk goal answer ${open.id} --decision "<text>"`
      : `Go on from here: omk goal resume ${open.id}`;
    throw refused(open.id, command, `${status} (${reason})`, hint);
  }
  if (status === "cancelled") throw refused(open.id, command, status, "Start it anew with `omk goal run`.");
  if (status === "ready" && !again) {
    throw refused(open.id, command, status, `To reopen it: omk ${command} ${open.id} --again`);
  }
  const source = exhaustedBudget(open.goal, open.work);
  if (source) {
    const hint = `Add some: omk goal budget-add ${open.id} ${moreBudget(source)}`;
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
  const space = await openWorkspace(open, { command }, ports, signal);
  try {
    return await work(space);
  } finally {
    await space.release();
  }
}

function refused(id: string, command: string, status: string, hint: string): OmkError {
  return new OmkError("goal.refused", `${command} is refused: goal ${id} is ${status}.`, { hint });
}
