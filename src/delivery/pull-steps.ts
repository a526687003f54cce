/**
 * The outside steps of delivery on GitHub, each safe to repeat: it looks first, acts at most once, and looks again when the
 * answer was lost. The caller records the intent before and the result behind.
 */
import { OmkError } from "../errors.ts";
import type { Clock } from "../ports.ts";
import { decideChecks, type ChecksVerdict } from "./checks.ts";
import { GitHubError, landedBy, type GitHub, type NewPullRequest, type PullRequest } from "./github.ts";
import { strengthen, type WantedProtection } from "./protection.ts";

/** What became of a wanted pull request. `merged`: exactly this commit has been merged from this branch before. */
export interface EnsuredPullRequest {
  outcome: "created" | "updated" | "unchanged" | "merged";
  pull: PullRequest;
}

/** Makes sure that a branch has one open pull request that says what it is to say. `commit` is the head of the branch. */
export async function ensurePullRequest(
  github: GitHub,
  wanted: NewPullRequest & { commit: string },
  signal: AbortSignal,
): Promise<EnsuredPullRequest> {
  const { commit, ...asked } = wanted;
  const before = await findPull(github, wanted, signal);
  if (before) return bringUpToDate(github, before, asked, signal);
  try {
    return { outcome: "created", pull: await github.createPullRequest(asked, signal) };
  } catch (error) {
    // Either it may have been made before the answer was lost, or somebody has made one since we looked.
    const isOpen = error instanceof GitHubError && (error.mayHaveActed || error.failure === "validation");
    if (!isOpen) throw error;
    const after = await findPull(github, { head: asked.head, commit }, signal);
    if (after?.state !== "open") throw error;
    const { pull } = await bringUpToDate(github, after, asked, signal);
    return { outcome: error.mayHaveActed ? "created" : "updated", pull };
  }
}

/** The open one of a branch, or else the one by which this commit was merged. Closed ones are somebody's decision. */
async function findPull(
  github: GitHub,
  { head, commit }: { head: string; commit: string },
  signal: AbortSignal,
): Promise<PullRequest | undefined> {
  const pulls = await github.pullRequestsOf(head, signal);
  return (
    pulls.find(({ state }) => state === "open") ??
    pulls.find((pull) => pull.state === "merged" && pull.head.oid === commit)
  );
}

async function bringUpToDate(
  github: GitHub,
  pull: PullRequest,
  wanted: NewPullRequest,
  signal: AbortSignal,
): Promise<EnsuredPullRequest> {
  if (pull.state === "merged") return { outcome: "merged", pull };
  const update = {
    ...(pull.title !== wanted.title && { title: wanted.title }),
    ...(plain(pull.body) !== plain(wanted.body) && { body: wanted.body }),
    ...(pull.base.branch !== wanted.base && { base: wanted.base }),
  };
  let latest = pull;
  if (Object.keys(update).length > 0) latest = await github.updatePullRequest(pull.number, update, signal);
  if (pull.draft !== wanted.draft) {
    await github.setDraft(latest, wanted.draft, signal);
    latest = { ...latest, draft: wanted.draft };
  }
  return { outcome: latest === pull ? "unchanged" : "updated", pull: latest };
}

/** Web forms change line ends. */
function plain(text: string): string {
  return text.replaceAll("\r\n", "\n").trimEnd();
}

/** What became of a merge. `landed` is how the head is seen to have landed; undefined when it is not. */
export type Merged =
  | { outcome: "merged"; commit: string; landed: "parent" | "tree" | undefined; again: boolean }
  | { outcome: "moved"; head: string }
  /** Somebody has made it go to another branch. */
  | { outcome: "elsewhere"; base: string }
  | { outcome: "refused"; because: string };

/**
 * Merges a pull request at an expected head by the first method that the repository allows, once: one that is merged
 * already is only looked at. A draft is made ready first, since GitHub merges none.
 */
export async function mergeOnce(
  github: GitHub,
  request: { number: number; head: string; base: string; title: string },
  signal: AbortSignal,
): Promise<Merged> {
  const pull = await github.pullRequest(request.number, signal);
  if (pull.base.branch !== request.base) return { outcome: "elsewhere", base: pull.base.branch };
  if (pull.state === "merged") return mergedAlready(github, pull, request.head, true, signal);
  if (pull.head.oid !== request.head) return { outcome: "moved", head: pull.head.oid };
  if (pull.state === "closed") return { outcome: "refused", because: "the pull request was closed" };
  const { mergeMethods } = await github.repository(signal);
  const [method] = mergeMethods;
  if (method === undefined) {
    return { outcome: "refused", because: "the repository allows neither merge commits nor squash merges" };
  }
  if (pull.draft) await github.setDraft(pull, false, signal);
  try {
    const { number, head, title } = request;
    const answer = await github.mergePullRequest({ number, head, title, method }, signal);
    if (answer.outcome === "refused") return answer;
    if (answer.outcome === "merged") return landing(github, answer.commit, request.head, false, signal);
  } catch (error) {
    if (!(error instanceof GitHubError) || !error.mayHaveActed) throw error;
    const after = await github.pullRequest(request.number, signal);
    if (after.state !== "merged") throw error;
    return mergedAlready(github, after, request.head, false, signal);
  }
  const { head } = await github.pullRequest(request.number, signal);
  return { outcome: "moved", head: head.oid };
}

async function mergedAlready(
  github: GitHub,
  pull: PullRequest,
  head: string,
  again: boolean,
  signal: AbortSignal,
): Promise<Merged> {
  if (pull.head.oid !== head) return { outcome: "moved", head: pull.head.oid };
  if (pull.mergeCommit !== null) return landing(github, pull.mergeCommit, head, again, signal);
  return { outcome: "refused", because: "GitHub does not say by which commit it was merged" };
}

async function landing(
  github: GitHub,
  commit: string,
  head: string,
  again: boolean,
  signal: AbortSignal,
): Promise<Merged> {
  const [merge, ours] = [await github.commit(commit, signal), await github.commit(head, signal)];
  return { outcome: "merged", commit, landed: landedBy(merge, ours), again };
}

/** Closes a pull request whose work landed by another one; its text then says so. One that is not open is left alone. */
export async function closeOnce(
  github: GitHub,
  request: { number: number; reference: string },
  signal: AbortSignal,
): Promise<PullRequest> {
  const pull = await github.pullRequest(request.number, signal);
  if (pull.state !== "open") return pull;
  // With the text in the same call, there is no comment that could be made twice.
  const body = pull.body.includes(request.reference) ? pull.body : `${request.reference}\n\n${pull.body}`;
  return github.updatePullRequest(pull.number, { state: "closed", body }, signal);
}

/** Adds to the protection of a branch what it lacks; true when there was something to add. Nothing is ever taken away. */
export async function protectBranch(
  github: GitHub,
  branch: string,
  wanted: WantedProtection,
  signal: AbortSignal,
): Promise<boolean> {
  const step = strengthen(await github.protection(branch, signal), wanted);
  switch (step.step) {
    case "nothing":
      return false;
    case "refused":
      throw new OmkError(
        "delivery.refused",
        `The protection of ${branch} has parts that omk does not know: ${step.unknown.join(", ")}.`,
        { hint: "Nothing was changed. Add the protection by hand, in the repository's settings." },
      );
    case "add_checks":
      await github.addRequiredChecks(branch, step.checks, signal);
      break;
    case "replace":
      await github.protect(branch, step.protection, signal);
  }
  const after = strengthen(await github.protection(branch, signal), wanted);
  if (after.step === "nothing") return true;
  throw new OmkError(
    "delivery.refused",
    `GitHub did not keep what was added to the protection of ${branch}.`,
    {
      hint: "Look at the branch in the repository's settings.",
    },
  );
}

/** How long checks are waited for (0.5.0: six minutes), and how often one looks. */
export interface ChecksWait {
  /** In all. */
  timeoutMs: number;
  everyMs: number;
  /** So long may it take until the first check shows up; after that, there is none. */
  beginMs: number;
}

/** Waits until the checks that count are done: green, red, none after a while, or still pending at the end of the wait. */
export async function awaitChecks(
  github: GitHub,
  asked: { commit: string; base: string },
  wait: ChecksWait,
  ports: { clock: Pick<Clock, "monotonicMs" | "sleep"> },
  signal: AbortSignal,
): Promise<ChecksVerdict> {
  const begun = ports.clock.monotonicMs();
  const required = await github.requiredChecks(asked.base, signal);
  let greenBefore = 0;
  for (;;) {
    const verdict = decideChecks(await github.checks(asked.commit, signal), required);
    const waitedMs = ports.clock.monotonicMs() - begun;
    const limitMs = verdict.state === "none" ? Math.min(wait.beginMs, wait.timeoutMs) : wait.timeoutMs;
    // Where nothing is demanded, a slow one may not have shown up when the first are done: it must stay so for a look.
    const isGreen = verdict.state === "green" && (required.length > 0 || greenBefore === verdict.counted);
    if (isGreen || verdict.state === "red" || waitedMs >= limitMs) return verdict;
    greenBefore = verdict.state === "green" ? verdict.counted : 0;
    await ports.clock.sleep(Math.min(wait.everyMs, limitMs - waitedMs), signal);
  }
}
