/** Which files the work changed: what differs from the base, less what only gates wrote. */
import type { Work } from "../format/work.ts";
import type { TreeChange, WorkTree } from "../git/work-tree.ts";

/**
 * The changed files of a result. A path counts when an attempt changed it, or another hand did (`outside`); what the
 * gates wrote beside that is their side effect. An attempt that was cut off reaches to where the next one started.
 */
export async function changedFiles(
  tree: WorkTree,
  work: Pick<Work, "base" | "attempts">,
  result: string,
  outside: readonly string[],
  signal: AbortSignal,
): Promise<TreeChange[]> {
  if (!work.base) return [];
  const touched = new Set(outside);
  for (const [at, attempt] of work.attempts.entries()) {
    const end = attempt.result_tree ?? work.attempts[at + 1]?.start_tree ?? result;
    for (const { path } of await tree.changes(attempt.start_tree, end, signal)) touched.add(path);
  }
  const differing = await tree.changes(work.base.tree, result, signal);
  return differing.filter(({ path }) => touched.has(path));
}
