/** The steps of the loop one at a time, as a person asks for them: verify, execute, review. */
import { refuseWaiting } from "../approval/waiting.ts";
import type { Engine } from "../engine/engine.ts";
import { OmkError } from "../errors.ts";
import { refuseOwnAgent } from "../store/ask-controller.ts";
import { refuseSecrets, withGateFlags } from "../gate/definitions.ts";
import type { NewEvent } from "../store/event-log.ts";
import { runAgentReview } from "./agent-review.ts";
import { agentTasks, countedAttempts, isPlanned, lastAttempt, openTasks, readyTasks } from "./agent-tasks.ts";
import { questionOf } from "./answer.ts";
import { APPROVAL_NEEDED, approvalEnding, approvalsOf } from "./approvals.ts";
import { runAttempt } from "./attempt.ts";
import { exhaustedBudget } from "./budget.ts";
import { findCandidateGates, gateDefinitions, needsCandidates } from "./candidates.ts";
import { DECIDED_ANEW, engineOf, engineChosen, type Chosen, approvalsChosen } from "./chosen.ts";
import { budgetEnding, isStop, outsideEnding, requestedEnding, stopEnding } from "./endings.ts";
import { limitsOf } from "./drive.ts";
import { factsOf } from "./facts.ts";
import { addFollowUp, followUpReason, type FollowUp } from "./follow-ups.ts";
import { gatesState } from "./gate-state.ts";
import { hasGates, recordBase, runBaseline, runResultGates, type GateSteps } from "./gate-steps.ts";
import { helperChanges } from "./helper.ts";
import { reopenSlice } from "./land.ts";
import { moreBudget } from "./more-budget.ts";
import { attemptsAllowed, mendingTask } from "./next-step.ts";
import type { OpenGoal } from "./open.ts";
import { change, type GoalPorts } from "./open.ts";
import { runPlanner } from "./planner.ts";
import { concludeGoal, type Ending } from "./proof.ts";
import { serveRequests } from "./requests.ts";
import { runReview } from "./review.ts";
import { runSlices } from "./run-slices.ts";
import { setupTakenAgain } from "./setup-again.ts";
import { setupEnding, showResult, slicedSpace } from "./sliced-space.ts";
import { hasLanded, sliceMoves } from "./slices.ts";
import { onlyAcceptanceMissing } from "./verdict.ts";
import { withGoal, withWorkspace, refused, type Outcome } from "./with-goal.ts";
import type { Workspace } from "./workspace.ts";

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
        const moved = await layGround(steps);
        if (moved) return moved;
        if (hasGates(open.goal.gates?.definitions)) await runResultGates(steps, isFirst);
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
  refuseOwnAgent(open.folder, "goal verify --gate", ports);
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
        if (request.again !== true) refuseComplete(open);
        const engine = engineOf(open, request, ports);
        const chosen = engineChosen(open, request.engine, engine);
        return { given: engine, events: [...chosen, ...approvalsChosen(request.approvals ?? {})] };
      },
      take: async (open, space, engine, stop) => {
        const steps = { open, space, ports, signal: stop };
        const moved = await layGround(steps);
        if (moved) return moved;
        const gated = hasGates(open.goal.gates?.definitions);
        // The gates on the base may have used up what there was.
        if (request.approvals?.policy !== undefined) await open.approvals.withdrawAll(DECIDED_ANEW);
        const spentUp = budgetEnding(open);
        if (spentUp) return spentUp;
        const unplanned = isPlanned(open.graph)
          ? undefined
          : await runPlanner(open, space, engine, ports, stop);
        if (unplanned) return unplanned;
        const finished = await (space.sliced ? runOpenSlices : runOpenTasks)(
          open,
          space,
          engine,
          ports,
          stop,
        );
        if (stop.aborted) return false;
        await showResult(open, space, stop);
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

/** Where all is done there is nothing for an agent to mend: only a person can say so. */
function refuseComplete({ id, goal, work, graph }: OpenGoal): void {
  const facts = factsOf(goal, work, graph);
  if (!onlyAcceptanceMissing(facts)) return;
  const isAccepted = facts.acceptance === "accepted";
  const waits = isAccepted ? "its accepted result is to be delivered" : "its result waits to be accepted";
  const hint = isAccepted
    ? `Deliver it: omk goal resume ${id}`
    : `Accept it: omk goal accept ${id} --summary "<why>", or reject it: omk goal reject ${id} --reason "<why>"`;
  throw new OmkError("goal.refused", `goal execute is refused: nothing is open in goal ${id}; ${waits}.`, {
    hint,
  });
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
  if (!open.graph.tasks.some(({ id }) => id === mending.id)) await addMending(open, mending, ports);
  return attempt(mending.id);
}

/** The same for slices, side by side; false when one of them is open still or has not landed. */
async function runOpenSlices(
  open: OpenGoal,
  space: Workspace,
  engine: Engine,
  ports: GoalPorts,
  stop: AbortSignal,
): Promise<boolean> {
  const limits = limitsOf(open);
  const { land, start } = sliceMoves(open.work, open.graph, limits);
  if (land === undefined && start.length === 0 && openTasks(open.graph, open.work).length === 0) {
    const mending = mendingTask(open.work, open.graph);
    if (open.graph.tasks.some(({ id }) => id === mending.id)) await reopenSlice(open, mending.id);
    else await addMending(open, mending, ports);
  }
  const approvals = approvalsOf(open, ports);
  await runSlices({ open, space: slicedSpace(space), engine, approvals, limits, once: true, ports }, stop);
  return (
    openTasks(open.graph, open.work).length === 0 &&
    agentTasks(open.graph).every(({ id }) => hasLanded(open.work, id))
  );
}

async function addMending(open: OpenGoal, mending: FollowUp, ports: GoalPorts): Promise<void> {
  await open.record(addFollowUp(mending, open.graph, attemptsAllowed(open.goal)));
  ports.tell(`task added: ${mending.id}, since ${followUpReason(mending.kind, open.work)}`);
}

/** Records the base and what the gates say of it, where that has not been done. */
async function layGround(steps: GateSteps): Promise<Ending | undefined> {
  const { open } = steps;
  if (!open.work.base) await recordBase(steps);
  await showResult(open, steps.space, steps.signal);
  const gated = hasGates(open.goal.gates?.definitions);
  return gated && !open.work.baseline ? runBaseline(steps) : undefined;
}

/** The review wall over the present result. */
export function reviewGoal(request: StepRequest, ports: GoalPorts, signal: AbortSignal): Promise<Outcome> {
  return stepByHand(
    {
      ...request,
      command: "goal review",
      prepare: (open) => ({
        given: open.goal.agent_review === true ? engineOf(open, {}, ports) : undefined,
        events: [],
      }),
      take: async (open, space, engine, stop) => {
        if (!open.work.base) await recordBase({ open, space, ports, signal: stop });
        // A person who reviews again also asks those again whose answer could not be used.
        const unreviewed =
          engine && (await runAgentReview({ open, space, engine, ports, signal: stop }, { again: true }));
        if (unreviewed) return unreviewed;
        await runReview(open, space, ports, stop);
        return (open.work.review?.sections ?? []).every((section) => section.status !== "blocked");
      },
    },
    ports,
    signal,
  );
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
  const { command, wanted } = step;
  return withGoal(wanted, command, ports, signal, async (open) => {
    refuseStep(open, command, step.again === true);
    const { given, events } = step.prepare(open);
    return withWorkspace(open, command, ports, signal, async (space) => {
      await beginStep(open, command, [...setupTakenAgain(open, ports), ...events]);
      let stopped: AbortSignal = signal;
      const took = await serveRequests(open, ports, signal, async (stop) => {
        stopped = stop;
        try {
          await showResult(open, space, stop);
          return (await helperChanges(open, space)) ?? (await step.take(open, space, given, stop));
        } catch (error) {
          // A stop ends the step early; what it had recorded stays.
          if (isStop(error, stop)) return false;
          const unready = setupEnding(error);
          if (unready) return unready;
          throw error;
        }
      });
      const reached = typeof took === "boolean" ? undefined : took;
      const interrupted = requestedEnding(open) ?? (stopped.aborted ? stopEnding(stopped) : undefined);
      const ending = await concludeGoal(open, space, interrupted ?? reached, ports);
      return { open, ending, achieved: took === true };
    });
  });
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
