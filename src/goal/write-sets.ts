/** Where the tasks of a goal may write, and what was changed outside. Pure. */
import type { GoalTask } from "../format/task-graph.ts";
import type { TreeChange } from "../git/work-tree.ts";
import { isTestFile } from "../gate/protected.ts";
import { normalizedPath } from "../scheduler/ownership.ts";

/** In a write set: anything in the project. */
export const ANYWHERE = "project files";

/** Whether a changed path lies in a write set: it is named there, or lies below what is named. New tests are free. */
function isCovered(change: Pick<TreeChange, "path" | "kind">, writeSet: readonly string[]): boolean {
  if (change.kind === "added" && isTestFile(change.path)) return true;
  return writeSet.some((entry) => {
    if (entry.trim() === ANYWHERE) return true;
    const allowed = normalizedPath(entry);
    if (allowed === undefined) return false;
    return allowed === "." || change.path === allowed || change.path.startsWith(`${allowed}/`);
  });
}

/**
 * The paths outside write sets after an attempt: what it changed outside its own, with those from before that are still
 * changed and that this task was not free to change.
 */
export function outsideAfter(
  before: readonly string[],
  task: Pick<GoalTask, "write_set">,
  changes: {
    inAttempt: readonly TreeChange[];
    sinceBase: readonly TreeChange[];
  },
): string[] {
  const changed = new Map(changes.sinceBase.map((one) => [one.path, one]));
  const strayed = changes.inAttempt.filter((one) => !isCovered(one, task.write_set)).map(({ path }) => path);
  const still = [...new Set([...before, ...strayed])].filter((path) => {
    const change = changed.get(path);
    // What was put back as it was in the base is no matter any more.
    return change !== undefined && !(before.includes(path) && isCovered(change, task.write_set));
  });
  return still.sort();
}
