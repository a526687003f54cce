/** What a person decides about a result: accept, or reject. */
import type { Engine } from "../engine/engine.ts";
import { OmkError } from "../errors.ts";
import { printable } from "../format/printable.ts";
import { refuseOwnAgent } from "../store/ask-controller.ts";
import { assureNone } from "../store/verify.ts";
import { acceptGoal, rejectGoal, type Acceptance } from "./accept.ts";
import { runAgentReview } from "./agent-review.ts";
import { findCandidateGates, gateDefinitions, needsCandidates } from "./candidates.ts";
import { chooseSlices } from "./choose-slices.ts";
import { engineOf } from "./chosen.ts";
import { deliverIfDue } from "./deliver.ts";
import { recordDrift } from "./drift.ts";
import { requestedEnding } from "./endings.ts";
import { gatesState } from "./gate-state.ts";
import { hasGates, runResultGates, type GateSteps } from "./gate-steps.ts";
import { kindOf, REQUIRED_CHECKS } from "./intake.ts";
import { APPLY_REFUSED } from "./local-delivery.ts";
import type { OpenGoal } from "./open.ts";
import { change, type GoalPorts } from "./open.ts";
import { concludeGoal, type Ending } from "./proof.ts";
import { runReview } from "./review.ts";
import { isSliced } from "./sliced.ts";
import { showResult, slicedSpace } from "./sliced-space.ts";
import { verifyProof } from "./verify-proof.ts";
import { wantedWaivers, type WantedWaivers } from "./waivers.ts";
import { stoppable, withGoal, withWorkspace, refused, type Outcome } from "./with-goal.ts";
import type { Workspace } from "./workspace.ts";

/** What a person accepts. */
export interface AcceptRequest extends Pick<Acceptance, "summary" | "attested"> {
  pass?: WantedWaivers;
  /** Only these slices are to make up the result. */
  slices?: readonly string[];
  /** Makes another result of a goal that is ready. */
  again?: boolean;
  /** The branch is enough: nothing is laid over the person's files. */
  noApply?: boolean;
}

/** A person accepts the present result, or what some of its slices make; it becomes ready when all evidence is there. */
export async function acceptByHand(
  wanted: string,
  { pass = {}, slices = [], again = false, noApply = false, ...acceptance }: AcceptRequest,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Outcome> {
  const isPart = slices.length > 0;
  const refuse = (open: OpenGoal): void => {
    if (noApply) refuseApplied(open);
    // Who says that the branch is enough takes what stood in the way out of it.
    if (!(noApply && open.goal.reason_code === APPLY_REFUSED)) assureDecidable(open, "goal accept");
    if (isPart) refusePart(open, again);
  };
  return decideByHand({ wanted, command: "goal accept", refuse }, ports, signal, async (open) => {
    refuseOwnAgent(open.folder, "goal accept", ports);
    checkAttested(open, acceptance.attested);
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
        await recordDrift(open, space, stop);
        const passed = waivers ?? (await orConclude(open, space, ports, () => wantedWaivers(open, pass)));
        if (noApply) await leaveFiles(open, acceptance.summary);
        const attested = { ...attestedBefore(open), ...acceptance.attested };
        await acceptGoal(open, { ...acceptance, attested, waivers: passed, by: "omk-cli" }, ports);
        return deliverIfDue(open, space, ports, stop);
      });
      return concludeGoal(open, space, requestedEnding(open) ?? reached, ports);
    });
  });
}

/** Another result can be made only of slices, and of what is not on the base branch for good. */
function refusePart({ id, goal, work }: OpenGoal, again: boolean): void {
  if (!isSliced(goal) || !work.slices) {
    const what = isSliced(goal) ? "has no slices yet" : "is worked on in place, as a whole";
    throw new OmkError("usage.invalid", `--slice: goal ${id} ${what}.`, {
      hint: "Slices are what a goal has that was made with --slice-execution or --max-agents 2 and more.",
    });
  }
  const { merge, target } = work.delivery ?? {};
  if (merge) {
    const where = target ? printable(target.base_branch, { oneLine: true }) : "the base branch";
    const message = `The result of goal ${id} was merged: what is on ${where} cannot be left out any more.`;
    const hint = `Start another goal that takes it out, or revert the merge: \`omk goal reject ${id} --reason "<why>"\` writes down how.`;
    throw new OmkError("goal.refused", message, { hint });
  }
  if (goal.status === "ready" && !again)
    throw refused(id, "goal accept --slice", "ready", "To make another result of it, say so: add --again");
}

/** What `--no-apply` is for: a goal whose result is to be laid over the person's files, and does not lie there yet. */
function refuseApplied({ id, goal, work }: OpenGoal): void {
  if (goal.apply !== true)
    throw new OmkError(
      "usage.invalid",
      `--no-apply: the result of goal ${id} is not to be laid over your files.`,
      {
        hint: "It is for goals made with --apply; leave it out.",
      },
    );
  const { applied, tree } = work.delivery ?? {};
  if (applied && applied.tree === tree)
    throw new OmkError("goal.refused", `The result of goal ${id} lies in your files already.`, {
      hint: work.undo === undefined ? "Leave --no-apply out." : `To take it back: ${work.undo}`,
    });
}

/** What a person has vouched for of this very result: who says yes once more takes nothing back. */
function attestedBefore({ work }: OpenGoal): Readonly<Record<string, string>> {
  const { acceptance, result, base } = work;
  const isSame = acceptance?.decision === "accepted" && acceptance.tree === (result ?? base)?.tree;
  return (isSame && acceptance.attested) || {};
}

/** From now on the branch is where the result goes. */
async function leaveFiles(open: OpenGoal, reason: string): Promise<void> {
  await open.record({
    kind: "apply_left_out",
    actor: "omk-cli",
    payload: { reason },
    changes: [change("goal.json", { apply: false })],
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
  const refuse = (open: OpenGoal): void => assureDecidable(open, "goal reject");
  return decideByHand({ wanted, command: "goal reject", refuse }, ports, signal, async (open) => {
    await rejectGoal(open, reason, ports);
    return concludeGoal(open, undefined, undefined, ports);
  });
}

/** A goal that waits for something else than this decision. */
function assureDecidable({ id, goal: { status } }: OpenGoal, command: string): void {
  if (status === "paused") throw refused(id, command, status, `Resume it first: omk goal resume ${id}`);
  if (status === "blocked_on_human" || status === "cancelled")
    throw refused(id, command, status, `Run \`omk goal show ${id}\` to see what it waits for.`);
}

async function decideByHand(
  { wanted, command, refuse }: { wanted: string; command: string; refuse: (open: OpenGoal) => void },
  ports: GoalPorts,
  signal: AbortSignal,
  decide: (open: OpenGoal) => Promise<Ending>,
): Promise<Outcome> {
  return withGoal(wanted, command, ports, signal, async (open) => {
    refuse(open);
    const ending = await decide(open);
    return { open, ending, achieved: ending.status === "ready" };
  });
}
