/**
 * Folders of attempts that an omk which is gone has left: what agents did in them is rescued before they go. A folder that
 * nobody can look at is set aside and named; where git itself fails it stays where it is. No resume and no cancel fails
 * because of one.
 */
import { join } from "node:path";

import { OmkError, systemCode } from "../errors.ts";
import type { FolderSetAside } from "../format/slices.ts";
import type { Attempt } from "../format/work.ts";
import { leftAttemptTrees, removeAttemptTree, type AttemptTree, type Removal } from "../git/attempt-tree.ts";
import type { PrivateGit } from "../git/private-git.ts";
import { tryRescue, type Rescued } from "../git/rescue.ts";
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
  const unsaved =
    unsavedOf(found) ?? (await rescueOne(open, { git, tree, fence, task: found?.task_id ?? name }, ports));
  const removal = await removeAttemptTree(git, tree, { unsaved }, UNHURRIED);
  await recordSetAside(open, removal, ports);
}

/** Of a folder with nothing to rescue: what it has that was never saved. Undefined where somebody has to look. */
function unsavedOf(attempt: Attempt | undefined): readonly string[] | undefined {
  // What was saved when the turn ended is all that the agent did; gates may have written there since.
  if (attempt?.rescue) return attempt.rescue.unsaved ?? [];
  // Its set-up did not come to an end, so no agent was there.
  return attempt && attempt.prepared_tree === undefined ? [] : undefined;
}

/** Saves what is in a folder and records it; returns what could not be saved. */
async function rescueOne(
  open: OpenGoal,
  { git, tree, fence, task }: { git: PrivateGit; tree: AttemptTree; fence: number; task: string },
  ports: Pick<GoalPorts, "tell">,
): Promise<readonly string[]> {
  const tried = await tryRescue(git, tree, { task, fence, at: rescueTime(open, fence) }, UNHURRIED);
  if (tried.outcome === "unreadable") return [unreadable(tried)];
  const { rescued } = tried;
  const project = await git.projectIn(rescued.tree, UNHURRIED);
  await open.update(() => [rescuedEvent(open, { fence, worktree: tree.id, rescued, project })]);
  ports.tell(`rescued what was in ${tree.id}: ${rescued.ref}`);
  return rescued.unsaved;
}

/** The instant that a rescue carries. It is in the log before: whoever repeats a rescue makes the same commit. */
export function rescueTime({ work, goal }: Pick<OpenGoal, "work" | "goal">, fence: number): Date {
  const found = work.attempts.find((one) => one.fence === fence);
  return new Date(found?.left_at ?? found?.started_at ?? goal.created_at);
}

/** A folder that cannot be looked at, as something that was not saved. */
export function unreadable({ because }: { because: string }): string {
  return `all of it: ${because}`;
}

/** The event of a rescue; the attempt, if it is known, names it from then on. */
export function rescuedEvent(
  open: OpenGoal,
  given: { fence: number; worktree: string; rescued: Rescued; project: string },
): NewEvent {
  const { fence, worktree, rescued, project } = given;
  const { ref, commit, unsaved } = rescued;
  const attempts = open.work.attempts.map((one) =>
    one.fence === fence
      ? {
          ...one,
          rescue: { ref, commit, ...(unsaved.length > 0 && { unsaved }) },
          result_tree: one.result_tree ?? project,
        }
      : one,
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
