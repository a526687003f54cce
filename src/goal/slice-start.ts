/** Where an attempt at a slice begins: where its slice starts, or with what an earlier attempt has left. */
import type { SliceState } from "../format/slices.ts";
import type { Attempt } from "../format/work.ts";
import { withoutChanges, withProject } from "../git/combined-trees.ts";
import type { PrivateGit } from "../git/private-git.ts";

/** Whose files an attempt begins with. */
export type AttemptStart = { from: "start" } | { from: "continued"; attempt: Attempt };

/**
 * Where the next attempt at a slice begins. What red gates sent back is gone on with, and so is what was cut off through no
 * fault of the attempt's own. After a crash, a hang or a violation the newest files that were checked are taken: those of
 * the last attempt with red gates, else those the slice starts from. `attempts` are those since it was given that start.
 */
export function attemptStart(attempts: readonly Attempt[]): AttemptStart {
  // One that was cut off before it had a folder says nothing.
  const last = attempts.findLast((one) => !wasCutOff(one) || hasFiles(one));
  if (last && wasCutOff(last)) return { from: "continued", attempt: last };
  const checked = attempts.findLast((one) => one.outcome_code === "gates_red" && hasFiles(one));
  return checked ? { from: "continued", attempt: checked } : { from: "start" };
}

/** Whether an attempt ended for a reason that lies outside its work. */
export function wasCutOff({ status, counted, outcome }: Attempt): boolean {
  return status === "interrupted" || (status === "ended" && !counted && outcome !== "finished");
}

function hasFiles({ result_tree, rescue }: Attempt): boolean {
  return result_tree !== null || rescue !== undefined;
}

/** A commit that the folder of an attempt can be made of, and the trees it has. */
export interface StartFiles {
  from: AttemptStart["from"];
  commit: string;
  /** Of the whole repository. */
  tree: string;
  /** Of the project. */
  project: string;
}

/** The files to begin with. What comes from an earlier attempt is a commit on the slice's start; made again it is the same. */
export async function startFiles(
  git: PrivateGit,
  { start }: Pick<SliceState, "start">,
  from: AttemptStart,
  signal: AbortSignal,
): Promise<StartFiles> {
  const tree = await git.treeOf(start, signal);
  if (from.from === "start")
    return { from: "start", commit: start, tree, project: await git.projectIn(tree, signal) };
  const { attempt } = from;
  const project = await leftBy(git, attempt, signal);
  // Beside the project nothing of an attempt is ever taken.
  const continued = await withProject(git, { tree, project }, signal);
  const message = `omk: what attempt ${attempt.number} at ${attempt.task_id} left`;
  const at = new Date(attempt.ended_at ?? attempt.started_at);
  const commit = await git.commitTree({ tree: continued, parents: [start], message, at }, signal);
  return { from: "continued", commit, tree: continued, project };
}

/** The project as an attempt has left it, less what its set-up wrote. */
async function leftBy(
  git: PrivateGit,
  { result_tree, rescue, start_tree, prepared_tree }: Attempt,
  signal: AbortSignal,
): Promise<string> {
  const tree = result_tree ?? (rescue ? await projectOf(git, rescue.commit, signal) : start_tree);
  // Where its controller died the tree is what the folder held, whoever wrote it.
  return withoutChanges(git, { tree, from: start_tree, to: prepared_tree ?? start_tree }, signal);
}

async function projectOf(git: PrivateGit, commit: string, signal: AbortSignal): Promise<string> {
  return git.projectIn(await git.treeOf(commit, signal), signal);
}
