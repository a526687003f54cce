/** What a person decides about a result: accept, or reject. */
import type { Engine } from "../engine/engine.ts";
import { OmkError } from "../errors.ts";
import { refuseOwnAgent } from "../store/ask-controller.ts";
import { assureNone } from "../store/verify.ts";
import { acceptGoal, rejectGoal, type Acceptance } from "./accept.ts";
import { runAgentReview } from "./agent-review.ts";
import { findCandidateGates, gateDefinitions, needsCandidates } from "./candidates.ts";
import { chooseSlices } from "./choose-slices.ts";
import { engineOf } from "./chosen.ts";
import { deliverIfDue } from "./deliver.ts";
import { recordDrift } from "./drift.ts";
import { isStop, requestedEnding, stopEnding } from "./endings.ts";
import { gatesState } from "./gate-state.ts";
import { hasGates, runResultGates, type GateSteps } from "./gate-steps.ts";
import { kindOf, REQUIRED_CHECKS } from "./intake.ts";
import type { OpenGoal } from "./open.ts";
import { type GoalPorts } from "./open.ts";
import { concludeGoal, type Ending } from "./proof.ts";
import { serveRequests } from "./requests.ts";
import { runReview } from "./review.ts";
import { isSliced } from "./sliced.ts";
import { showResult, slicedSpace } from "./sliced-space.ts";
import { verifyProof } from "./verify-proof.ts";
import { wantedWaivers, type WantedWaivers } from "./waivers.ts";
import { withGoal, withWorkspace, refused, type Outcome } from "./with-goal.ts";
import type { Workspace } from "./workspace.ts";

/** What a person accepts. */
export interface AcceptRequest extends Pick<Acceptance, "summary" | "attested"> {
  pass?: WantedWaivers;
  /** Only these slices are to make up the result. */
  slices?: readonly string[];
}

/** A person accepts the present result, or what some of its slices make; it becomes ready when all evidence is there. */
export async function acceptByHand(
  wanted: string,
  { pass = {}, slices = [], ...acceptance }: AcceptRequest,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Outcome> {
  return decideByHand(wanted, "goal accept", ports, signal, async (open) => {
    refuseOwnAgent(open.folder, "goal accept", ports);
    checkAttested(open, acceptance.attested);
    const isPart = slices.length > 0;
    if (isPart) refuseInPlace(open);
    const engine = isPart && open.goal.agent_review === true ? engineOf(open, {}, ports) : undefined;
    // What a part of the slices makes is another result: what there is to let pass is known when it was judged.
    const waivers = isPart ? undefined : wantedWaivers(open, pass);
    // A yes is to what was checked: the records must be whole, and the files as they were.
    if (open.proof) assureNone(open.id, verifyProof(open.folder, open.id, ports).faults);
    return withWorkspace(open, "goal accept", ports, signal, async (space) => {
      const reached = await stoppable(open, ports, signal, async (stop) => {
        if (isPart) {
          const reason = pass.reason ?? acceptance.summary;
          await chooseSlices(open, slicedSpace(space).sliced.git, { wanted: slices, reason }, ports, stop);
          const unjudged = await judgeChosen({ open, space, ports, signal: stop }, engine);
          if (unjudged) return unjudged;
        }
        await showResult(open, space, stop);
        await recordDrift(open, space, stop);
        const passed = waivers ?? (await orConclude(open, space, ports, () => wantedWaivers(open, pass)));
        await acceptGoal(open, { ...acceptance, waivers: passed, by: "omk-cli" }, ports);
        return deliverIfDue(open, space, ports, stop);
      });
      return concludeGoal(open, space, requestedEnding(open) ?? reached, ports);
    });
  });
}

function refuseInPlace({ id, goal, work }: OpenGoal): void {
  if (isSliced(goal) && work.slices) return;
  const what = isSliced(goal) ? "has no slices yet" : "is worked on in place, as a whole";
  throw new OmkError("usage.invalid", `--slice: goal ${id} ${what}.`, {
    hint: "Slices are what a goal has that was made with --slice-execution or --max-agents 2 and more.",
  });
}

/** The work with a signal that also fires when somebody asks for a pause or the end; then that is the ending. */
function stoppable(
  open: OpenGoal,
  ports: GoalPorts,
  signal: AbortSignal,
  work: (stop: AbortSignal) => Promise<Ending | undefined>,
): Promise<Ending | undefined> {
  return serveRequests(open, ports, signal, async (stop) => {
    try {
      return await work(stop);
    } catch (error) {
      // What had been recorded stays.
      if (isStop(error, stop)) return stopEnding(stop);
      throw error;
    }
  });
}

/** The gates and the review on a result that nobody has seen before. */
async function judgeChosen(steps: GateSteps, engine: Engine | undefined): Promise<Ending | undefined> {
  const { open, space, ports, signal } = steps;
  await showResult(open, space, signal);
  const isGated = hasGates(open.goal.gates?.definitions);
  if (!isGated && needsCandidates(open.goal, open.work)) await findCandidateGates(steps);
  if (hasGates(gateDefinitions(open.goal, open.work))) await runResultGates(steps);
  // Reviewers are paid, and a result that is red is not taken anyhow.
  const isGreen = gatesState(open.work) === "green";
  const unreviewed = engine && isGreen ? await runAgentReview({ ...steps, engine }) : undefined;
  if (unreviewed) return unreviewed;
  await runReview(open, space, ports, signal);
  return undefined;
}

/** Where this refuses, the goal's proof is about the present result all the same. */
async function orConclude<T>(open: OpenGoal, space: Workspace, ports: GoalPorts, make: () => T): Promise<T> {
  try {
    return make();
  } catch (error) {
    // Whatever it is, the person hears of it.
    await concludeGoal(open, space, undefined, ports);
    throw error;
  }
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

async function decideByHand(
  wanted: string,
  command: string,
  ports: GoalPorts,
  signal: AbortSignal,
  decide: (open: OpenGoal) => Promise<Ending>,
): Promise<Outcome> {
  return withGoal(wanted, command, ports, signal, async (open) => {
    const { status } = open.goal;
    if (status === "paused" || status === "blocked_on_human" || status === "cancelled") {
      throw refused(open.id, command, status, `Run \`omk goal show ${open.id}\` to see what it waits for.`);
    }
    const ending = await decide(open);
    return { open, ending, achieved: ending.status === "ready" };
  });
}
