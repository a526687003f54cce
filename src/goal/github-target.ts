/** Where a goal's pull requests go: looked at before anybody is paid, and recorded once, when delivery begins. */
import { join } from "node:path";

import { GhApi } from "../delivery/gh-api.ts";
import type { GitHub } from "../delivery/github.ts";
import { outsideEnvironment } from "../delivery/outside.ts";
import { fetchBranch, findRemote, remoteHead } from "../delivery/push.ts";
import type { GitHubRemote } from "../delivery/remote.ts";
import { programsInPath } from "../engine/program-path.ts";
import { OmkError } from "../errors.ts";
import type { DeliveryTarget, DeliveryWork } from "../format/delivery.ts";
import type { DeliveryPolicy } from "../format/goal.ts";
import { findRepository, visitRepository, type PrivateGit } from "../git/private-git.ts";
import { whyNoBranch } from "../git/ref-name.ts";
import { isContained } from "../git/integrate.ts";
import type { DocumentChange } from "../format/event.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";

/** What every step of delivery on GitHub is given. */
export interface GitHubSteps {
  open: OpenGoal;
  git: PrivateGit;
  github: GitHub;
  target: DeliveryTarget;
  ports: GoalPorts;
  signal: AbortSignal;
}

/**
 * Whether pull requests could be made for a project, as far as that can be told without the network: a repository with a
 * commit, a remote on GitHub, and gh. `delivery.refused` otherwise.
 */
export async function checkDeliveryTarget(
  projectDir: string,
  policy: DeliveryPolicy,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<void> {
  if (policy === "local") return;
  const remote = await findRemote({ projectDir, environment: ports.callerEnvironment }, ports, signal);
  const user = findRepository(ports.disk.realPath(projectDir) ?? projectDir, ports);
  const scratch = join(ports.root, "visit");
  const git = user && visitRepository(user, { scratch, environment: ports.environment }, ports);
  if ((await git?.head(signal)) === undefined) {
    throw new OmkError("delivery.refused", `${projectDir} has no commit yet, so nothing can be merged.`, {
      hint: "Commit what there is and push it, or leave out --policy: `--policy local` needs no commit.",
    });
  }
  if (programsInPath("gh", outsideEnvironment(ports.callerEnvironment), ports.disk).length > 0) return;
  const where = `${remote.host}/${remote.owner}/${remote.name}`;
  throw new OmkError("delivery.refused", `Pull requests on ${where} need gh, which is not in PATH.`, {
    hint: "Install GitHub's command line tool (https://cli.github.com) and log in with `gh auth login`.",
  });
}

/** The calls on the repository that a goal is delivered to. */
export function githubOf(
  { folder }: Pick<OpenGoal, "folder">,
  remote: Pick<GitHubRemote, "host" | "owner" | "name">,
  ports: GoalPorts,
): GitHub {
  const emptyFolder = join(folder, "gh");
  return new GhApi({ remote, emptyFolder, environment: ports.callerEnvironment }, ports);
}

/** What is about one result only. */
const OF_ONE_RESULT = new Set(["integration", "merge_command", "checks", "merge", "done_at"]);

/**
 * A delivery about a result. What an earlier one left outside is kept in mind: those branches are ours, and go on from
 * where they are.
 */
export function deliveryAbout(tree: string, before: DeliveryWork | undefined): DeliveryWork {
  if (before?.tree === tree) return before;
  const { pushed = [], pulls = [], ...others } = before ?? {};
  const kept = Object.entries(others).filter(([key]) => !OF_ONE_RESULT.has(key));
  return { ...Object.fromEntries(kept), pushed, pulls, tree };
}

/** How far delivery is. */
export function deliveryOf({ work }: Pick<OpenGoal, "work">): DeliveryWork {
  return deliveryAbout(work.result?.tree ?? "", work.delivery);
}

/** Records a step of delivery, with what changes by it. */
export async function recordStep(
  open: OpenGoal,
  event: { kind: string; payload: Record<string, unknown> },
  set: Partial<DeliveryWork> = {},
  others: readonly (DocumentChange | undefined)[] = [],
): Promise<void> {
  const delivery: DeliveryWork = { ...deliveryOf(open), ...set };
  await open.record({
    ...event,
    actor: "goal-controller",
    changes: [change("work.json", { delivery }), ...others.filter((one) => one !== undefined)],
  });
  await open.journal.save();
}

/** The target as recorded, or else as it is found now and recorded. */
export async function deliveryTarget(
  open: OpenGoal,
  git: PrivateGit,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<DeliveryTarget> {
  const { target: known } = deliveryOf(open);
  if (known) return known;
  const given = { projectDir: git.root, environment: ports.callerEnvironment };
  const { host, owner, name, url } = await findRemote(given, ports, signal);
  const { defaultBranch, archived } = await githubOf(open, { host, owner, name }, ports).repository(signal);
  if (archived) {
    throw new OmkError("delivery.refused", `${host}/${owner}/${name} is archived: nobody can change it.`, {
      hint: "Unarchive it in the repository's settings, or take the result from the goal's own branches.",
    });
  }
  const wrong = whyNoBranch(defaultBranch);
  if (wrong !== undefined) {
    const what = `The default branch of ${host}/${owner}/${name} has a name that omk does not take: ${wrong}.`;
    throw new OmkError("delivery.refused", what, { hint: "Give the branch another name." });
  }
  const remote = { host, owner, name, url };
  const base_branch = await baseBranch({ open, git, ports, signal }, remote, defaultBranch);
  const target: DeliveryTarget = { ...remote, base_branch };
  const payload = { repository: `${host}/${owner}/${name}`, base_branch };
  await recordStep(open, { kind: "delivery_target_recorded", payload }, { target });
  return target;
}

/**
 * The default branch of the remote, unless the goal's base is not on it and is on the branch that the user's HEAD names: a
 * release branch, say.
 */
async function baseBranch(
  steps: Omit<GitHubSteps, "github" | "target">,
  remote: GitHubRemote,
  defaultBranch: string,
): Promise<string> {
  const { open, git, signal } = steps;
  const base = open.work.slices?.base ?? "";
  const own = (await git.headRef(signal))?.replace(/^refs\/heads\//, "");
  if (own === undefined || own === defaultBranch) return defaultBranch;
  for (const branch of [defaultBranch, own]) {
    const tip = await remoteBranch({ ...steps, target: { ...remote, base_branch: branch } });
    if (tip !== undefined && (await isContained(git, base, tip, signal))) return branch;
  }
  return defaultBranch;
}

/** What the base branch of the remote names now, as a commit that the private directory has; undefined without such a branch. */
export async function remoteBranch(steps: Omit<GitHubSteps, "github">): Promise<string | undefined> {
  const { git, target, ports, signal } = steps;
  const request = {
    gitDir: git.gitDir,
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
