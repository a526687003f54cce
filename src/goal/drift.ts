/** Whether the result still lies there as it was checked: gates, processes left behind and other hands may write too. */
import { change, type OpenGoal } from "./open.ts";
import type { Workspace } from "./workspace.ts";

/**
 * Looks once more before a result is accepted, and records what differs from what the gates saw. What gates wrote beside
 * the result is their side effect and no difference.
 */
export async function recordDrift(open: OpenGoal, space: Workspace, signal: AbortSignal): Promise<void> {
  const { work } = open;
  // The result of a sliced goal is a commit: what lies in the folder where it was judged is not it, but what that folder
  // shares with the project decided along with it.
  if (space.sliced) await space.sliced.surroundings.look();
  if (!work.result || space.sliced) return;
  const { tree } = work.result;
  const now = await space.tree.snapshot(signal);
  const beside = new Set(work.side_effects);
  for (const { path } of work.result.changed_files) beside.delete(path);
  const paths = (await space.tree.changes(tree, now, signal))
    .map(({ path }) => path)
    .filter((path) => !beside.has(path));
  const before = work.drift?.tree === tree ? work.drift.paths : [];
  if (paths.join("\0") === before.join("\0")) return;
  await open.record({
    kind: "file_changed",
    actor: "goal-controller",
    payload: { tree: now, paths },
    changes: [change("work.json", { drift: { tree, paths } })],
  });
}
