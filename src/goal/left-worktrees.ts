/**
 * Folders of attempts that an omk which is gone has left: everything in them is rescued before they go. What cannot be
 * rescued stays where it is and is named; no resume and no cancel fails because of it.
 */
import { join } from "node:path";

import { OmkError, systemCode } from "../errors.ts";
import type { FolderSetAside } from "../format/slices.ts";
import type { Attempt } from "../format/work.ts";
import { leftAttemptTrees, removeAttemptTree, type AttemptTree, type Removal } from "../git/attempt-tree.ts";
import { textOf, type PrivateGit } from "../git/private-git.ts";
import { rescueAttempt, type Rescued } from "../git/rescue.ts";
import type { NewEvent } from "../store/event-log.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import { isSliced } from "./sliced.ts";

/** Rescues and removes what lies in the goal's worktrees. None of its attempts may be at work. */
export async function recoverWorktrees(
  open: OpenGoal,
  git: PrivateGit,
  ports: Pick<GoalPorts, "tell">,
): Promise<void> {
  const { attempts, setAside } = await leftAttemptTrees(git, UNHURRIED);
  for (const removal of setAside) await recordSetAside(open, removal, ports);
  for (const tree of attempts) {
    try {
      await recoverOne(open, { git, tree }, ports);
    } catch (error) {
      // Of this folder nothing was taken away; the others are not to wait for it.
      if (!(error instanceof OmkError) && systemCode(error) === undefined) throw error;
      ports.tell(`${tree.folder} could not be rescued, and stays where it is: ${(error as Error).message}`);
    }
  }
}

/**
 * The same for a goal that nobody will work on any more, and its stage goes, too. Never fails for what lies there or for
 * how git stands.
 */
export async function clearWorktrees(open: OpenGoal, ports: GoalPorts): Promise<void> {
  if (!isSliced(open.goal)) return;
  const { disk } = ports;
  const folder = join(open.folder, "worktrees");
  try {
    disk.removeTree(join(open.folder, "stage"));
    if (disk.stat(folder)?.kind !== "folder" || disk.list(folder).length === 0) return;
    const { project_dir: projectDir = "" } = open.goal;
    const git = await ports.openGit({ projectDir, goalDir: open.folder, goalId: open.id });
    await recoverWorktrees(open, git, ports);
  } catch (error) {
    // The project is gone, perhaps, or git is: what an agent left must not keep anybody from giving up.
    if (!(error instanceof OmkError) && systemCode(error) === undefined) throw error;
    ports.tell(`what lies in ${folder} was not rescued, and stays there: ${(error as Error).message}`);
  }
}

async function recoverOne(
  open: OpenGoal,
  { git, tree }: { git: PrivateGit; tree: AttemptTree },
  ports: Pick<GoalPorts, "tell">,
): Promise<void> {
  const { name, fence } = partsOf(tree.id);
  const found = open.work.attempts.find((one) => one.fence === fence);
  // A folder without an attempt was made just before one began: its goal's own time will do.
  const at = found ? await rescueTime(git, found) : new Date(open.goal.created_at);
  const rescued = await rescueAttempt(git, tree, { task: found?.task_id ?? name, fence, at }, UNHURRIED);
  const project = await git.projectIn(rescued.tree, UNHURRIED);
  await open.update(() => [rescuedEvent(open, { fence, worktree: tree.id, rescued, project })]);
  ports.tell(`rescued what was in ${tree.id}: ${rescued.ref}`);
  const removal = await removeAttemptTree(git, tree, rescued, UNHURRIED);
  await recordSetAside(open, removal, ports);
}

/** The instant that a rescue carries: whoever repeats one that is recorded makes the same commit. */
async function rescueTime(git: PrivateGit, { rescue, started_at }: Attempt): Promise<Date> {
  if (!rescue) return new Date(started_at);
  const seconds = await git.call(["show", "--no-patch", "--format=%ct", rescue.commit], {}, UNHURRIED);
  return new Date(Number(textOf(seconds)) * 1_000);
}

/** The event of a rescue; the attempt, if it is known, names it from then on. */
function rescuedEvent(
  open: OpenGoal,
  given: { fence: number; worktree: string; rescued: Rescued; project: string },
): NewEvent {
  const { fence, worktree, rescued, project } = given;
  const { ref, commit, unsaved } = rescued;
  const attempts = open.work.attempts.map((one) =>
    one.fence === fence ? { ...one, rescue: { ref, commit }, result_tree: one.result_tree ?? project } : one,
  );
  const task_id = attempts.find((one) => one.fence === fence)?.task_id;
  return {
    kind: "worktree_rescued",
    actor: "goal-controller",
    payload: {
      ...(task_id !== undefined && { task_id }),
      fence,
      worktree,
      ref,
      commit,
      tree: project,
      unsaved,
    },
    changes: task_id === undefined ? [] : [change("work.json", { attempts })],
  };
}

/** Names a folder that could not be taken away: it lies in the goal's quarantine, and nobody ever deletes it there. */
async function recordSetAside(
  open: OpenGoal,
  removal: Removal,
  ports: Pick<GoalPorts, "tell">,
): Promise<void> {
  if (removal.outcome === "removed") return;
  const { path, because } = removal;
  ports.tell(`set aside: ${path} (${because})`);
  await open.update(() => {
    const { slices } = open.work;
    const one: FolderSetAside = { path, because };
    const changes = slices
      ? [change("work.json", { slices: { ...slices, set_aside: [...slices.set_aside, one] } })]
      : [];
    return [{ kind: "worktree_set_aside", actor: "goal-controller", payload: { ...one }, changes }];
  });
}

/** Names of worktrees end with their fence. */
function partsOf(id: string): { name: string; fence: number } {
  const at = id.lastIndexOf("-");
  return { name: id.slice(0, at), fence: Number(id.slice(at + 1)) };
}
