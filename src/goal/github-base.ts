/**
 * The branch that pull requests go to. A goal must begin on what that branch holds: commits of the user's that nobody has
 * pushed are theirs to publish, and are never sent along with a result.
 */
import { fetchBranch, remoteHead } from "../delivery/push.ts";
import type { GitHubRemote } from "../delivery/remote.ts";
import { printable } from "../format/printable.ts";
import { commitsBeyond, type Beyond } from "../git/beyond.ts";
import type { Redactor } from "../store/redact.ts";
import type { GitHubSteps } from "./github-target.ts";
import type { Ending } from "./proof.ts";

/** What the base branch of the remote names now; an ending where it is gone, or lacks what the goal began on. */
export async function remoteBase(
  steps: Omit<GitHubSteps, "github">,
): Promise<{ ending: Ending } | { base: string }> {
  const { open, git, target, ports, signal, again } = steps;
  const { base_branch: branch } = target;
  const base = await remoteBranch(steps);
  if (base === undefined) {
    const reason = `the remote has no branch ${branch}; once it has, \`${again}\``;
    return { ending: { status: "blocked_on_external", reasonCode: "base_branch_missing", reason } };
  }
  const beyond = await commitsBeyond(git, open.work.slices?.base ?? "", base, signal);
  if (beyond.count === 0) return { base };
  const lacks = `the goal began on ${unpushed(beyond, ports.redactor)}, which ${branch} on the remote does not have`;
  const reason =
    `${lacks}; omk publishes nothing that is not the goal's: push what you want to publish yourself, to ${branch} or under the name ` +
    `of the branch you are on, then \`${again}\`; or start the goal anew on what is pushed`;
  return { ending: { status: "blocked_on_human", reasonCode: "unpushed_commits", reason } };
}

/** As many characters of a subject as stand in a sentence with others. */
const SUBJECT_CHARACTERS_MAX = 72;

/** Commits in words: how many, and the newest by their names. */
export function unpushed({ count, newest }: Beyond, redactor: Pick<Redactor, "text">): string {
  const named = newest.map(({ id, subject }) => {
    // What is cut in two hides from the redactor.
    const clean = redactor.text(subject);
    const isLong = clean.length > SUBJECT_CHARACTERS_MAX;
    const shown = isLong
      ? `${clean.slice(0, SUBJECT_CHARACTERS_MAX).replace(/[\uD800-\uDBFF]$/, "")}…`
      : clean;
    return `${id} ${printable(shown, { oneLine: true })}`;
  });
  if (count > newest.length) named.push(`and ${count - newest.length} more`);
  return `${count === 1 ? "1 commit of yours" : `${count} commits of yours`} (${named.join("; ")})`;
}

/**
 * The default branch of the remote, unless the goal's base is rather on the branch that the user's HEAD names: a release
 * branch, say. Where it is on neither, the one that lacks less of it.
 */
export async function baseBranch(
  steps: Omit<GitHubSteps, "github" | "target" | "again">,
  remote: GitHubRemote,
  defaultBranch: string,
): Promise<string> {
  const { open, git, signal } = steps;
  const own = (await git.headRef(signal))?.replace(/^refs\/heads\//, "");
  if (own === undefined || own === defaultBranch) return defaultBranch;
  let [chosen, fewest] = [defaultBranch, Infinity];
  for (const branch of [defaultBranch, own]) {
    const tip = await remoteBranch({ ...steps, target: { ...remote, base_branch: branch } });
    if (tip === undefined) continue;
    const { count } = await commitsBeyond(git, open.work.slices?.base ?? "", tip, signal);
    if (count === 0) return branch;
    if (count < fewest) [chosen, fewest] = [branch, count];
  }
  return chosen;
}

/** What the base branch of the remote names now, as a commit that the private directory has. */
async function remoteBranch(steps: Omit<GitHubSteps, "github" | "again">): Promise<string | undefined> {
  const { git, target, ports, signal } = steps;
  const request = {
    gitDir: await git.steered(),
    remote: target,
    branch: target.base_branch,
    environment: ports.callerEnvironment,
  };
  const tip = await remoteHead(request, ports, signal);
  if (tip === null) return undefined;
  const isHere = await git.run(["cat-file", "-e", `${tip}^{commit}`], {}, signal);
  if (isHere.exit.kind === "exited" && isHere.exit.code === 0) return tip;
  const ref = `refs/omk/remote/${target.base_branch}`;
  await fetchBranch({ ...request, ref }, ports, signal);
  // It may have moved since it was looked at: what was fetched is the newer one.
  return git.refAt(ref, signal);
}
