/**
 * Delivery of an accepted result as pull requests: one for each slice, the integrator's with all of them, and under
 * `gated` its merge. Each outside step is looked up, recorded as intended, done and recorded as done, so that whoever was
 * cut off goes on from there; nothing is ever done twice.
 */
import { GitHubError } from "../delivery/github.ts";
import { OmkError } from "../errors.ts";
import { deliveryOf, recordStep } from "./delivery-state.ts";
import { remoteBase } from "./github-base.ts";
import { integrate } from "./github-integration.ts";
import { awaitGreen, baseNow, isMerged, mergeAndClose, protectBase } from "./github-merge.ts";
import {
  closeLeftOut,
  deliverIntegrator,
  deliveredSlices,
  deliverSlices,
  type DeliveredSlice,
} from "./github-pulls.ts";
import { deliveryTarget, githubOf, type GitHubSteps } from "./github-target.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";
import type { SlicedWorkspace } from "./sliced-space.ts";

/** How often a base branch that moves on meanwhile is merged anew. */
const ROUNDS_MAX = 3;

/** Brings an accepted result to where the goal's policy wants it; an ending when something is in the way. */
export async function deliverToGitHub(
  open: OpenGoal,
  space: SlicedWorkspace,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Ending | undefined> {
  const ending = await outsideSteps(open, signal, async () => {
    const { git } = space.sliced;
    const target = await deliveryTarget(open, git, ports, signal);
    const again = `omk goal resume ${open.id}`;
    const steps = { open, git, github: githubOf(open, target, ports), target, ports, signal, again };
    const slices = await deliveredSlices(steps);
    if (slices.length === 0) return nothingToDeliver();
    const halted = (await isMerged(steps)) ? undefined : await openPulls(steps, space, slices);
    if (halted) return halted;
    await closeLeftOut(steps, slices);
    return open.goal.merge_policy === "gated" ? mergeAndClose(steps, slices) : leaveOpen(steps);
  });
  // Others' words are in it.
  return ending && { ...ending, reason: ports.redactor.text(ending.reason ?? "") };
}

/** Runs steps outside; what they fail by becomes an ending, and the log says what it was. */
async function outsideSteps(
  open: OpenGoal,
  signal: AbortSignal,
  act: () => Promise<Ending | undefined>,
): Promise<Ending | undefined> {
  try {
    return await act();
  } catch (error) {
    // Whatever a program said that was told to end, it was ended.
    if (signal.aborted) throw signal.reason;
    const ending = endingOf(open.id, error);
    if (!ending) throw error;
    const { reasonCode: code, reason } = ending;
    await recordStep(open, { kind: "delivery_step_failed", payload: { code, reason } });
    return ending;
  }
}

function endingOf(id: string, error: unknown): Ending | undefined {
  if (!(error instanceof OmkError)) return undefined;
  const hint = error.hint === undefined ? "" : ` ${error.hint}`;
  const reason = `${error.message.replace(/\.$/, "")}.${hint} \`omk goal resume ${id}\` goes on from this step.`;
  if (error instanceof GitHubError)
    return { status: "blocked_on_external", reasonCode: `github_${error.failure}`, reason };
  if (error.code === "delivery.refused")
    return { status: "blocked_on_human", reasonCode: "delivery_refused", reason };
  return undefined;
}

function nothingToDeliver(): Ending {
  const reason = "no slice of the goal is part of its result, so there is nothing to make a pull request of";
  return { status: "blocked_on_human", reasonCode: "nothing_to_deliver", reason };
}

/** All pull requests and, under `gated`, everything that has to hold before the merge. */
async function openPulls(
  steps: GitHubSteps,
  space: SlicedWorkspace,
  slices: readonly DeliveredSlice[],
): Promise<Ending | undefined> {
  const { open, target } = steps;
  const isGated = open.goal.merge_policy === "gated";
  // Before the first branch is pushed: it would bring along all that it is built on.
  const found = await remoteBase(steps);
  if ("ending" in found) return found.ending;
  const halted = await deliverSlices(steps, slices, found.base);
  if (halted) return halted;
  for (let round = 1; round <= ROUNDS_MAX; round++) {
    const merged = await integrate(steps, space);
    if ("status" in merged) return merged;
    const { commit, base } = merged;
    const stopped = await deliverIntegrator(steps, slices, commit);
    if (stopped || !isGated) return stopped;
    const checked = await checkIntegrator(steps, commit);
    if (checked) return checked;
    // What was judged is what lands: not beside something that nobody has seen together with it.
    if ((await baseNow(steps)) === base) return undefined;
  }
  const reason =
    `${target.base_branch} was moved on by others ${ROUNDS_MAX} times while checks ran; ` +
    `when it is quieter, \`omk goal resume ${open.id}\``;
  return { status: "blocked_on_external", reasonCode: "base_keeps_moving", reason };
}

async function checkIntegrator(steps: GitHubSteps, commit: string): Promise<Ending | undefined> {
  const { enforce_protection: enforce } = steps.open.goal;
  // Who lacks the right for it learns that before the wait.
  if (enforce === true) await protectBase(steps, []);
  const checked = await awaitGreen(steps, commit);
  if ("ending" in checked) return checked.ending;
  if (enforce === true && checked.names.length > 0) await protectBase(steps, checked.names);
  return undefined;
}

/** Under `disabled` and `manual` the pull requests stay open; a person is told how to merge. */
async function leaveOpen({ open, ports }: GitHubSteps): Promise<undefined> {
  if (open.goal.merge_policy !== "manual") return undefined;
  const merge_command = `omk goal merge ${open.id}`;
  if (deliveryOf(open).merge_command !== merge_command)
    await recordStep(open, { kind: "merge_left_to_person", payload: { merge_command } }, { merge_command });
  ports.tell(`merge it with: ${merge_command}`);
  return undefined;
}
