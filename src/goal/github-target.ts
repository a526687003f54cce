/** Where a goal's pull requests go: looked at before anybody is paid, and recorded once, when delivery begins. */
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";

import { GhApi, lacksLogin } from "../delivery/gh-api.ts";
import type { GitHub } from "../delivery/github.ts";
import { outsideEnvironment } from "../delivery/outside.ts";
import { findRemote } from "../delivery/push.ts";
import type { GitHubRemote } from "../delivery/remote.ts";
import { programsInPath } from "../engine/program-path.ts";
import { OmkError } from "../errors.ts";
import type { DeliveryTarget } from "../format/delivery.ts";
import type { DeliveryPolicy } from "../format/goal.ts";
import { findRepository, visitRepository, type PrivateGit } from "../git/private-git.ts";
import { whyNoBranch } from "../git/ref-name.ts";
import { commitsBeyondRemote } from "../git/beyond.ts";
import { deliveryOf, recordStep } from "./delivery-state.ts";
import { baseBranch, unpushed } from "./github-base.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";

/** What every step of delivery on GitHub is given. */
export interface GitHubSteps {
  open: OpenGoal;
  git: PrivateGit;
  github: GitHub;
  target: DeliveryTarget;
  ports: GoalPorts;
  signal: AbortSignal;
  /** The command that goes on when something was in the way. */
  again: string;
}

/**
 * Whether pull requests could be made for a project, as far as that can be told without the network: a repository with a
 * commit, a remote on GitHub that seems to have it, and gh with a login. `delivery.refused` otherwise.
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
  if (!git || (await git.head(signal)) === undefined) {
    throw new OmkError("delivery.refused", `${projectDir} has no commit yet, so nothing can be merged.`, {
      hint: "Commit what there is and push it, or leave out --policy: `--policy local` needs no commit.",
    });
  }
  await checkGh(remote, ports, signal);
  const beyond = await commitsBeyondRemote(git, "origin", signal);
  if (beyond === undefined || beyond.count === 0) return;
  const what = `HEAD has ${unpushed(beyond, ports.redactor)} that, as far as this repository knows, no branch of origin has.`;
  throw new OmkError("delivery.refused", what, {
    hint:
      "omk publishes nothing that is not the goal's: push what you want to publish yourself, or make the goal on what is pushed. " +
      "Where they are on origin already, `git fetch origin` lets this repository know.",
  });
}

async function checkGh(remote: GitHubRemote, ports: GoalPorts, signal: AbortSignal): Promise<void> {
  const { host, owner, name } = remote;
  const { callerEnvironment: environment, disk } = ports;
  if (programsInPath("gh", outsideEnvironment(environment), disk).length === 0) {
    throw new OmkError(
      "delivery.refused",
      `Pull requests on ${host}/${owner}/${name} need gh, which is not in PATH.`,
      {
        hint: "Install GitHub's command line tool (https://cli.github.com) and log in with `gh auth login`.",
      },
    );
  }
  if (!(await lacksLogin({ host, environment }, ports, signal))) return;
  throw new OmkError(
    "delivery.refused",
    `Pull requests on ${host}/${owner}/${name} need a login, and gh has none for ${host}.`,
    { hint: `Log in with \`gh auth login --hostname ${host}\`, or set GH_TOKEN.` },
  );
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

/** The target as recorded, once something was pushed there; else as it is found now and recorded. */
export async function deliveryTarget(
  open: OpenGoal,
  git: PrivateGit,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<DeliveryTarget> {
  const { target: known, pushed } = deliveryOf(open);
  // Until something is there, pushing a branch can still decide where the rest goes.
  if (known && pushed.length > 0) return known;
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
  if (known && isDeepStrictEqual(known, target)) return known;
  const payload = { repository: `${host}/${owner}/${name}`, base_branch };
  await recordStep(open, { kind: "delivery_target_recorded", payload }, { target });
  return target;
}
