/** Merging the integrator's pull request: protection, checks, the merge itself, and what shows that each slice landed. */
import type { Check } from "../delivery/checks.ts";
import { deliveryChange } from "../delivery/metadata.ts";
import { awaitChecks, mergeOnce, protectBranch, type ChecksWait } from "../delivery/pull-steps.ts";
import { remoteHead } from "../delivery/push.ts";
import type { DeliveredPull, DeliveryChecks, Merge } from "../format/delivery.ts";
import { instantOf } from "../format/stamp.ts";
import { isContained } from "../git/integrate.ts";
import { succeeded } from "../git/private-git.ts";
import { deliveryOf, recordStep, withArtifact } from "./delivery-state.ts";
import { remoteBase } from "./github-base.ts";
import { closePull, integratorPull, type DeliveredSlice } from "./github-pulls.ts";
import type { GitHubSteps } from "./github-target.ts";
import type { Ending } from "./proof.ts";

/** As 0.5.0: six minutes in all. */
const WAIT: ChecksWait = { timeoutMs: 360_000, everyMs: 10_000, beginMs: 30_000 };

/** Whether the integrator's pull request was merged already: by omk before it was cut off, or by a person. */
export async function isMerged({ open, github, signal }: GitHubSteps): Promise<boolean> {
  const { merge, integration } = deliveryOf(open);
  if (merge) return true;
  const pull = integratorPull(open);
  if (!pull || pull.commit !== integration?.commit) return false;
  return pull.state === "merged" || (await github.pullRequest(pull.number, signal)).state === "merged";
}

/** Adds to the base branch's protection: no force pushes, no deletion, and the checks that are named. */
export async function protectBase(steps: GitHubSteps, checks: readonly string[]): Promise<void> {
  const { open, github, target, signal, ports } = steps;
  const { base_branch: branch } = target;
  await recordStep(open, { kind: "protection_intended", payload: { branch, checks } });
  // No approvals: whoever merges by himself must not demand what only others can give.
  const added = await protectBranch(github, branch, { checks, approvals: 0 }, signal);
  await recordStep(open, { kind: "protection_added", payload: { branch, checks, added } });
  if (added) ports.tell(`protection added to ${branch}`);
}

/** Waits for the checks of the integrator's head; what they said is recorded. */
export async function awaitGreen(
  steps: GitHubSteps,
  commit: string,
): Promise<{ ending: Ending } | { names: string[] }> {
  const { open, github, target, ports, signal, again } = steps;
  ports.tell(`waiting for the checks of ${commit} on GitHub`);
  const asked = { commit, base: target.base_branch };
  const verdict = await awaitChecks(github, asked, WAIT, ports, signal);
  const { state, pending, counted } = verdict;
  const known = counted === 0 ? [] : await github.checks(commit, signal);
  const failed = verdict.failed.map((name) => ({ name, url: urlOf(known, name) }));
  const at = instantOf(ports.clock.now());
  const checks: DeliveryChecks = { commit, state, failed, pending, counted, at };
  await recordStep(open, { kind: "checks_seen", payload: { ...checks } }, { checks });
  const resume = `\`${again}\` looks again`;
  if (state === "red") {
    const named = failed.map(({ name, url }) => (url === null ? name : `${name} (${url})`)).join(", ");
    const reason = `failed on GitHub: ${named}; once that is mended, ${resume}`;
    return { ending: { status: "blocked_on_external", reasonCode: "checks_red", reason } };
  }
  if (state === "pending") {
    const reason = `not done on GitHub after ${WAIT.timeoutMs / 60_000} minutes: ${pending.join(", ")}; ${resume}`;
    return { ending: { status: "blocked_on_external", reasonCode: "checks_pending", reason } };
  }
  ports.tell(state === "none" ? "GitHub has no checks for it" : `checks on GitHub: ${counted} green`);
  return { names: [...new Set(known.map(({ name }) => name))].sort() };
}

function urlOf(checks: readonly Check[], name: string): string | null {
  const found = checks.filter((check) => check.name === name);
  const failed = found.find(({ conclusion }) => conclusion !== "success" && conclusion !== null);
  return (failed ?? found[0])?.url ?? null;
}

/** What the base branch of the remote names now. */
export async function baseNow({ git, target, ports, signal }: GitHubSteps): Promise<string | null> {
  const { callerEnvironment: environment } = ports;
  const branch = target.base_branch;
  return remoteHead({ gitDir: await git.steered(), remote: target, branch, environment }, ports, signal);
}

/** Merges, and closes what landed by that. */
export async function mergeAndClose(
  steps: GitHubSteps,
  slices: readonly DeliveredSlice[],
): Promise<Ending | undefined> {
  const halted = await mergeIntegrator(steps, slices);
  if (!halted) await closeSlices(steps);
  return halted;
}

/** Merges at the expected head, once, and records by what the head and each slice are seen to have landed. */
async function mergeIntegrator(
  steps: GitHubSteps,
  slices: readonly DeliveredSlice[],
): Promise<Ending | undefined> {
  const { open, github, target, ports, signal, again } = steps;
  const { merge: known } = deliveryOf(open);
  const pull = integratorPull(open);
  if (known || !pull) return undefined;
  const { number, url, commit: head } = pull;
  await recordStep(open, { kind: "merge_intended", payload: { number, url, head } });
  const title = `Merge pull request #${number}: ${open.goal.normalized_goal}`.slice(0, TITLE_CHARACTERS_MAX);
  const request = { number, head, base: target.base_branch, title: ports.redactor.text(title) };
  const merged = await mergeOnce(github, request, signal);
  if (merged.outcome === "elsewhere") {
    const reason = `${url} goes to the branch ${merged.base} by now, not to ${request.base}; put that back, then \`${again}\``;
    return { status: "blocked_on_human", reasonCode: "pull_request_moved", reason };
  }
  if (merged.outcome === "moved") {
    const reason = `the branch ${pull.branch} now names ${merged.head}, which omk did not put there; put it back to ${head}, then \`${again}\``;
    return { status: "blocked_on_human", reasonCode: "pull_request_moved", reason };
  }
  if (merged.outcome === "refused") {
    const reason = `GitHub does not merge ${url}: ${merged.because}; once it can be merged, \`${again}\``;
    return { status: "blocked_on_external", reasonCode: "merge_refused", reason };
  }
  const { commit, landed } = merged;
  if (landed === undefined) {
    await recordStep(open, { kind: "landing_not_shown", payload: { number, url, head, commit } });
    const reason = `${url} was merged as ${commit}, which neither has ${head} for a parent nor holds exactly its files: look at what was merged`;
    return { status: "blocked_on_human", reasonCode: "landing_not_shown", reason };
  }
  if (!(await isOnBase(steps, commit))) {
    const reason = `${url} was merged as ${commit}, and ${request.base} does not show that commit; \`${again}\` looks again`;
    return { status: "blocked_on_external", reasonCode: "landing_not_shown", reason };
  }
  await recordMerge(steps, slices, { pull, commit, landed });
  return undefined;
}

/** Whether the base branch of the remote, as it is now, holds a commit. */
async function isOnBase(steps: GitHubSteps, commit: string): Promise<boolean> {
  const { git, signal } = steps;
  const found = await remoteBase(steps);
  if ("ending" in found) return false;
  // A commit that was not fetched with the branch is not part of it.
  return succeeded(await git.run(["merge-base", "--is-ancestor", commit, found.base], {}, signal));
}

const TITLE_CHARACTERS_MAX = 200;

async function recordMerge(
  { open, git, ports, signal }: GitHubSteps,
  slices: readonly DeliveredSlice[],
  { pull, commit, landed }: { pull: DeliveredPull } & Pick<Merge, "commit" | "landed">,
): Promise<void> {
  const shown: Merge["slices"] = [];
  for (const { sliceId, commit: own } of slices)
    shown.push({ slice_id: sliceId, commit: own, landed: await isContained(git, own, pull.commit, signal) });
  const merge: Merge = { commit, landed, slices: shown, at: instantOf(ports.clock.now()) };
  const pulls = deliveryOf(open).pulls.map((one): DeliveredPull =>
    one.branch === pull.branch ? { ...one, state: "merged" } : one,
  );
  await recordStep(
    open,
    { kind: "pull_request_merged", payload: { url: pull.url, head: pull.commit, ...merge } },
    { merge, pulls },
    [
      ...slices.map(({ taskId }) => deliveryChange(open.graph, taskId, { set: { status: "merged" } })),
      withArtifact(open, { kind: "pr_merge", path: pull.url, created_at: merge.at }),
    ],
  );
  ports.tell(`merged: ${pull.url}`);
}

/** Closes pull requests of slices that GitHub has not seen as merged: their work landed by the integrator's. */
async function closeSlices(steps: GitHubSteps): Promise<void> {
  const reference = `Landed by ${integratorPull(steps.open)?.url ?? "the integrator's pull request"}.`;
  const open = deliveryOf(steps.open).pulls.filter((pull) => pull.slice_id !== null && pull.state === "open");
  for (const pull of open) await closePull(steps, pull, reference);
}
