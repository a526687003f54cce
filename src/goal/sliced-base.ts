/** What a sliced goal starts from. */
import { SliceWork } from "../format/slices.ts";
import { startingPoint } from "../git/base.ts";
import { findRepository, visitRepository } from "../git/private-git.ts";
import { checkResultName } from "../git/result.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import type { SlicedSpace } from "./sliced-space.ts";
import { recordSteering } from "./steering.ts";

/** Records it, and what steers git in the user's repository as the work begins. */
export async function recordSlicedBase(
  open: OpenGoal,
  { git, stage }: Pick<SlicedSpace, "git" | "stage">,
  ports: Pick<GoalPorts, "tell" | "redactor">,
  signal: AbortSignal,
): Promise<void> {
  if (open.goal.delivery_policy === "local")
    await checkResultName(git, `run \`omk goal resume ${open.id}\``, signal);
  const at = new Date(open.goal.created_at);
  const { commit: base, isTheirs } = await startingPoint(git, at, ports, signal);
  const tree = await git.projectIn(await git.treeOf(base, signal), signal);
  const position = await stage.position(signal);
  const commit = isTheirs ? base : null;
  const slices = SliceWork.parse({ base, head: base });
  // First: with a base and without this, whatever is planted later would go unseen.
  await recordSteering(open, git, ports, signal);
  await open.record({
    kind: "base_recorded",
    actor: "goal-controller",
    payload: { tree, commit: base },
    changes: [
      change("work.json", { base: { tree, commit, position }, slices }),
      change("goal.json", { base_commit: commit }),
    ],
  });
}

/**
 * Whether the result of a sliced goal could become a branch of the project's repository, before there is a goal;
 * `delivery.refused` otherwise.
 */
export async function checkLocalTarget(
  projectDir: string,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<void> {
  const user = findRepository(projectDir, ports);
  if (!user) return;
  const { environment, root: scratch } = ports;
  await checkResultName(
    visitRepository(user, { scratch, environment }, ports),
    "make the goal again",
    signal,
  );
}
