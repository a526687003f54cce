/** Merging a goal's integrator pull request at a person's word. */
import { OmkError } from "../errors.ts";
import { awaitGreen, baseNow, isMerged, mergeAndClose } from "./github-merge.ts";
import { deliveredSlices, integratorPull } from "./github-pulls.ts";
import { deliveryOf, githubOf, type GitHubSteps } from "./github-target.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";
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
    if (halted) throw failed(halted);
    return outcomeOf(open, again);
  });
}

/** Everything that has to hold before GitHub is asked. */
async function mergeSteps(open: OpenGoal, ports: GoalPorts, signal: AbortSignal): Promise<GitHubSteps> {
  const { id, goal, work } = open;
  if (goal.merge_policy === "disabled") {
    throw new OmkError("goal.refused", `The merge policy disabled of goal ${id} does not permit merge.`, {
      hint: "Merge its pull request on GitHub, or make the goal with `--merge-policy manual`.",
    });
  }
  const accepted = work.acceptance?.decision === "accepted" && work.acceptance.tree === work.result?.tree;
  const mayMerge = goal.status === "ready" || (goal.merge_policy === "gated" && accepted);
  if (!mayMerge) {
    const hint = `Next: omk goal show ${id}`;
    throw refused(id, "merge", `${goal.status} and not eligible for merge`, hint);
  }
  const delivery = deliveryOf(open);
  const { target, integration } = delivery;
  const pull = integratorPull(delivery);
  if (!target || !pull || pull.commit !== integration?.commit) {
    throw new OmkError("goal.refused", `Goal ${id} has no pull request that could be merged.`, {
      hint: `Goals made with --policy draft-pr or auto-pr open one. Next: omk goal resume ${id}`,
    });
  }
  const projectDir = projectDirOf(id, goal);
  const git = await ports.openGit({ projectDir, goalDir: open.folder, goalId: id });
  return { open, git, github: githubOf(open, target, ports), target, ports, signal };
}

async function checkHead(steps: GitHubSteps): Promise<Ending | undefined> {
  const { open, target, ports } = steps;
  const { integration } = deliveryOf(open);
  if (!integration) return undefined;
  if ((await baseNow(steps)) !== integration.base)
    ports.tell(`${target.base_branch} has moved on since the gates ran on what is merged`);
  const checked = await awaitGreen(steps, integration.commit);
  return "ending" in checked ? checked.ending : undefined;
}

function failed({ status, reason = "" }: Ending): OmkError {
  const isOutside = status === "blocked_on_external";
  return new OmkError(
    isOutside ? "delivery.failed" : "delivery.refused",
    `Nothing more was done: ${reason}`,
    {
      hint: "Run `omk goal merge` again when that is settled: what was done is looked up first.",
    },
  );
}

function outcomeOf(open: OpenGoal, again: boolean): MergeOutcome {
  const delivery = deliveryOf(open);
  const { merge } = delivery;
  if (!merge) throw new Error("a merge that was not refused is recorded");
  const { commit, landed, slices } = merge;
  return {
    goal_id: open.id,
    pr_url: integratorPull(delivery)?.url ?? "",
    commit,
    landed,
    again,
    slices: slices.map(({ slice_id, landed: isThere }) => ({ slice_id, landed: isThere })),
    status: open.goal.status,
  };
}
