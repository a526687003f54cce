/** Which files a piece of work changed: what differs from its base, less what only gates wrote. */
import type { TreeChange, WorkTree } from "./work-tree.ts";

/** Whose changes count, where not everything that differs does. */
export interface Changers {
  /** Turns of agents; one that was cut off reaches to where the next one started. */
  attempts: readonly { start_tree: string; result_tree: string | null }[];
  /** Paths that other hands changed. */
  outside: readonly string[];
}

/**
 * The changed files of a result. With `by`, a path counts when an attempt changed it, or another hand did; what the gates
 * wrote beside that is their side effect.
 */
export async function changedFiles(
  tree: Pick<WorkTree, "changes">,
  base: string,
  result: string,
  signal: AbortSignal,
  by?: Changers,
): Promise<TreeChange[]> {
  const differing = await tree.changes(base, result, signal);
  if (!by) return differing;
  const touched = new Set(by.outside);
  for (const [at, attempt] of by.attempts.entries()) {
    const end = attempt.result_tree ?? by.attempts[at + 1]?.start_tree ?? result;
    for (const { path } of await tree.changes(attempt.start_tree, end, signal)) touched.add(path);
  }
  return differing.filter(({ path }) => touched.has(path));
}
