/**
 * What delivery asks of GitHub, and how that fails. One call, one answer: nothing here repeats anything, and a failure says
 * whether the call may have acted nevertheless, so that the caller looks before asking again.
 */
import { OmkError } from "../errors.ts";
import type { Check } from "./checks.ts";
import type { Protection } from "./protection.ts";

/** A pull request whose head lies in the repository itself, never in a fork. */
export interface PullRequest {
  number: number;
  url: string;
  /** GitHub's other name for it, which its second API wants. */
  nodeId: string;
  state: "open" | "closed" | "merged";
  draft: boolean;
  title: string;
  body: string;
  head: { branch: string; oid: string };
  base: { branch: string; oid: string };
  /** The commit that brought it into the base, once it is merged. */
  mergeCommit: string | null;
}

/** A pull request to be made. */
export interface NewPullRequest {
  title: string;
  body: string;
  head: string;
  base: string;
  draft: boolean;
}

/** What changes in a pull request; what is left out stays. */
export interface PullRequestUpdate {
  title?: string;
  body?: string;
  base?: string;
  state?: "closed";
}

/** How a pull request can be merged. */
export type MergeMethod = "merge" | "squash";

/** What GitHub answers to a merge: `moved` when the head is no longer the one expected. */
export type MergeAnswer =
  | { outcome: "merged"; commit: string }
  | { outcome: "moved" }
  | { outcome: "refused"; because: string };

/** A repository as far as delivery has to know it. */
export interface RepositoryInfo {
  defaultBranch: string;
  /** In order of preference; empty where only rebasing is allowed, which would leave nothing to show landing by. */
  mergeMethods: MergeMethod[];
  archived: boolean;
}

/** A commit as GitHub has it. */
export interface CommitInfo {
  oid: string;
  tree: string;
  parents: string[];
}

/** One repository on GitHub. Failures are `GitHubError`. */
export interface GitHub {
  repository(signal: AbortSignal): Promise<RepositoryInfo>;
  /** All pull requests from a branch of this repository, newest first. */
  pullRequestsOf(branch: string, signal: AbortSignal): Promise<PullRequest[]>;
  pullRequest(number: number, signal: AbortSignal): Promise<PullRequest>;
  createPullRequest(wanted: NewPullRequest, signal: AbortSignal): Promise<PullRequest>;
  updatePullRequest(number: number, update: PullRequestUpdate, signal: AbortSignal): Promise<PullRequest>;
  /** Makes a draft of a pull request, or makes it ready. */
  setDraft(pull: PullRequest, draft: boolean, signal: AbortSignal): Promise<void>;
  /** Merges, if the head is still the expected commit. */
  mergePullRequest(
    request: { number: number; head: string; method: MergeMethod; title: string },
    signal: AbortSignal,
  ): Promise<MergeAnswer>;
  commit(oid: string, signal: AbortSignal): Promise<CommitInfo>;
  /** The commit of a branch; undefined when there is no such branch. */
  branchHead(branch: string, signal: AbortSignal): Promise<string | undefined>;
  /** Everything that checks or judges a commit, finished or not. */
  checks(commit: string, signal: AbortSignal): Promise<Check[]>;
  /** Names of the checks that a branch demands, by its protection and by rules. */
  requiredChecks(branch: string, signal: AbortSignal): Promise<string[]>;
  /** How a branch is protected; undefined when it is not. Administrators only. */
  protection(branch: string, signal: AbortSignal): Promise<Record<string, unknown> | undefined>;
  /** Demands further checks of a branch whose protection demands some. */
  addRequiredChecks(branch: string, names: readonly string[], signal: AbortSignal): Promise<void>;
  /** Replaces the protection of a branch: only with what `strengthen` made of the present one. */
  protect(branch: string, protection: Protection, signal: AbortSignal): Promise<void>;
}

/** What kind of failure it was. */
export type GitHubFailure =
  /** gh is not installed, or cannot be started. */
  | "missing"
  | "auth"
  | "forbidden"
  | "not_found"
  | "validation"
  | "rate_limit"
  | "server"
  | "network"
  | "timeout"
  /** gh was ended by something else before it answered. */
  | "died"
  /** The answer is none, or not one to this question. */
  | "nonsense";

/** A call that failed. */
export class GitHubError extends OmkError {
  readonly failure: GitHubFailure;
  /** The HTTP status, where there was one. */
  readonly status: number | undefined;
  /** It may have done what it was asked for: look before asking again. */
  readonly mayHaveActed: boolean;
  /** When GitHub takes calls again, where it said so. */
  readonly resetsAt: Date | undefined;
  constructor(given: {
    failure: GitHubFailure;
    message: string;
    status?: number | undefined;
    mayHaveActed: boolean;
    resetsAt?: Date | undefined;
  }) {
    const { failure, message, status, mayHaveActed, resetsAt } = given;
    super("delivery.failed", message, { hint: hintFor(failure, resetsAt) });
    this.failure = failure;
    this.status = status;
    this.mayHaveActed = mayHaveActed;
    this.resetsAt = resetsAt;
  }
}

function hintFor(failure: GitHubFailure, resetsAt: Date | undefined): string {
  switch (failure) {
    case "missing":
      return "Pull requests need GitHub's command line tool: https://cli.github.com.";
    case "auth":
      return "Log in with `gh auth login`, let git use that login with `gh auth setup-git`, then run the command again.";
    case "forbidden":
      return "Your login lacks a right for this: look at the repository's settings, or at the scopes in `gh auth status`.";
    case "not_found":
      return "Check the remote's URL, and whether your login may see the repository (`gh auth status`).";
    case "validation":
      return "GitHub's own words are above. Mend the cause, then run the command again.";
    case "rate_limit":
      return resetsAt === undefined
        ? "Wait a while, then run the command again."
        : `GitHub takes calls again at ${resetsAt.toISOString()}; run the command again then.`;
    default:
      return "What was done is kept, and is looked up before anything is repeated: run the command again.";
  }
}

/**
 * By what the commit of a merge shows that a head has landed: it has the head for a parent, or (squashed) it leaves
 * exactly the head's files. Undefined when it shows neither.
 */
export function landedBy(
  merge: CommitInfo,
  head: Pick<CommitInfo, "oid" | "tree">,
): "parent" | "tree" | undefined {
  if (merge.oid === head.oid || merge.parents.slice(1).includes(head.oid)) return "parent";
  return merge.tree === head.tree ? "tree" : undefined;
}
