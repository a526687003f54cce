/** What a sliced goal starts from: a commit, whatever the user's own files are meanwhile. */
import { SliceWork } from "../format/slices.ts";
import { baseCommit } from "../git/integrate.ts";
import type { PrivateGit } from "../git/private-git.ts";
import { ProjectFiles, uncommittedPaths } from "../git/work-tree.ts";
import { named } from "../format/named.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import type { SlicedSpace } from "./sliced-space.ts";
import { recordSteering } from "./steering.ts";

/** Where a commit that omk made is named, in the private directory. */
const OWN_BASE = "refs/omk/own-base";

/**
 * Records the commit HEAD names or, where there is none, one of the files as they are. What the user has not committed is
 * named, since none of it is in the work.
 */
export async function recordSlicedBase(
  open: OpenGoal,
  { git, stage }: Pick<SlicedSpace, "git" | "stage">,
  ports: Pick<GoalPorts, "tell" | "redactor">,
  signal: AbortSignal,
): Promise<void> {
  const head = await git.head(signal);
  const left = await uncommittedPaths(git, signal);
  if (head !== undefined && left.length > 0)
    ports.tell(`the work starts from commit ${head}; not committed and so not included: ${named(left)}`);
  const base = head ?? (await commitOfFiles(open, git, signal));
  if (head !== undefined) await stage.pinBase(head, signal);
  const tree = await git.projectIn(await git.treeOf(base, signal), signal);
  const position = await stage.position(signal);
  const commit = head ?? null;
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

/** Where nothing was ever committed; only omk's own git has the commit. */
async function commitOfFiles(open: OpenGoal, git: PrivateGit, signal: AbortSignal): Promise<string> {
  const tree = await new ProjectFiles(git).snapshot(signal);
  const commit = await baseCommit(git, { tree, at: new Date(open.goal.created_at) }, signal);
  const known = (await git.refAt(OWN_BASE, signal)) ?? null;
  if (known !== commit) await git.moveRef(OWN_BASE, commit, known, signal);
  return commit;
}
