/** Merging a goal's integrator pull request at a person's word. */
import { OmkError } from "../errors.ts";
import { deliveryOf, nextStep } from "./delivery-state.ts";
import { remoteBase } from "./github-base.ts";
import { awaitGreen, isMerged, mergeAndClose } from "./github-merge.ts";
import { deliveredSlices, integratorPull } from "./github-pulls.ts";
import { githubOf, type GitHubSteps } from "./github-target.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";
import { isSliced } from "./sliced.ts";
import { refused, withGoal } from "./with-goal.ts";
import { projectDirOf } from "./workspace.ts";

/** What a merge came to. */
export interface MergeOutcome {
  goal_id: string;
  pr_url: string;
  /** The commit by which the base branch has it. */
  commit: string;
  landed: "parent" | "tree";
  /** It had been merged before. */
  again: boolean;
  slices: readonly { slice_id: string; landed: boolean }[];
  status: string;
}

/**
 * Merges the integrator's pull request of a delivered goal, under the merge policies `manual` and `gated`, when its checks
 * are green. One that is merged already is only looked at. The goal's status stays.
 */
export async function mergeGoal(
  wanted: string,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<MergeOutcome> {
  return withGoal(wanted, "goal merge", ports, signal, async (open) => {
    const steps = await mergeSteps(open, ports, signal);
    const slices = await deliveredSlices(steps);
    const again = await isMerged(steps);
    const halted = (again ? undefined : await checkHead(steps)) ?? (await mergeAndClose(steps, slices));
    if (halted) throw failed({ ...halted, reason: ports.redactor.text(halted.reason ?? "") });
    return outcomeOf(open, again);
  });
}

/** Everything that has to hold before GitHub is asked. */
async function mergeSteps(open: OpenGoal, ports: GoalPorts, signal: AbortSignal): Promise<GitHubSteps> {
  const { id, goal } = open;
  refuseByPolicy(open);
  refuseUnaccepted(open);
  const { target, integration } = deliveryOf(open);
  const pull = integratorPull(open);
  if (!target || !pull || pull.commit !== integration?.commit) {
    throw new OmkError("goal.refused", `Goal ${id} has no pull request that could be merged yet.`, {
      hint: nextStep(open),
    });
  }
  const projectDir = projectDirOf(id, goal);
  const git = await ports.openGit({ projectDir, goalDir: open.folder, goalId: id });
  const again = `omk goal merge ${id}`;
  return { open, git, github: githubOf(open, target, ports), target, ports, signal, again };
}

function refuseByPolicy({ id, goal, work }: OpenGoal): void {
  const isLocal = goal.delivery_policy === "local";
  if (!isLocal && goal.merge_policy !== "disabled") return;
  const what = isLocal
    ? `Goal ${id} was made with --policy local: it has no pull request to merge.`
    : `The merge policy disabled of goal ${id} does not permit merge.`;
  const branch = work.delivery?.result?.ref.replace(/^refs\/heads\//, "");
  const hint = !isLocal
    ? "Merge its pull request on GitHub. Goals made with `--merge-policy manual` or `gated` are merged by omk."
    : branch !== undefined
      ? `Its result is the branch ${branch}: git merge ${branch}`
      : isSliced(goal)
        ? `Its result becomes a branch of your repository. How far it is: omk goal show ${id}`
        : "Its result lies in your files, for you to commit.";
  throw new OmkError("goal.refused", what, { hint });
}

function refuseUnaccepted(open: OpenGoal): void {
  const { id, goal, work } = open;
  const { acceptance, result } = work;
  const decision = acceptance?.tree === result?.tree ? acceptance?.decision : undefined;
  if (goal.status === "ready" || (goal.merge_policy === "gated" && decision === "accepted")) return;
  if (decision !== "rejected")
    throw refused(id, "merge", `${goal.status} and not eligible for merge`, nextStep(open));
  const onwards = `Another try, which begins with what was rejected: omk goal resume ${id} --until-ready`;
  const { merge } = deliveryOf(open);
  if (!merge) throw refused(id, "merge", "rejected", onwards);
  const revert = `git revert ${merge.landed === "parent" ? "-m 1 " : ""}${merge.commit}`;
  throw new OmkError(
    "goal.refused",
    `The result of goal ${id} was merged as ${merge.commit}, and then rejected: omk takes nothing back by itself.`,
    { hint: `Undo it on a branch of its own, by a pull request: ${revert}. ${onwards}` },
  );
}

async function checkHead(steps: GitHubSteps): Promise<Ending | undefined> {
  const { open, target, ports } = steps;
  const { integration } = deliveryOf(open);
  if (!integration) return undefined;
  const found = await remoteBase(steps);
  if ("ending" in found) return found.ending;
  if (found.base !== integration.base)
    ports.tell(`${target.base_branch} has moved on since the gates ran on what is merged`);
  const checked = await awaitGreen(steps, integration.commit);
  return "ending" in checked ? checked.ending : undefined;
}

function failed({ status, reason = "" }: Ending): OmkError {
  const isOutside = status === "blocked_on_external";
  return new OmkError(
    isOutside ? "delivery.failed" : "delivery.refused",
    `Nothing more was done: ${reason}`,
    { hint: "`omk goal merge` may be run at any time: what was done is looked up first." },
  );
}

function outcomeOf(open: OpenGoal, again: boolean): MergeOutcome {
  const { merge } = deliveryOf(open);
  if (!merge) throw new Error("a merge that was not refused is recorded");
  const { commit, landed, slices } = merge;
  return {
    goal_id: open.id,
    pr_url: integratorPull(open)?.url ?? "",
    commit,
    landed,
    again,
    slices: slices.map(({ slice_id, landed: isThere }) => ({ slice_id, landed: isThere })),
    status: open.goal.status,
  };
}
