/** Where the tasks of a goal may write, and what was changed outside. Pure. */
import type { GoalTask } from "../format/task-graph.ts";
import type { Work } from "../format/work.ts";
import type { TreeChange } from "../git/work-tree.ts";
import { isCovered, PROJECT_FILES } from "../scheduler/ownership.ts";

/** In a write set: anything in the project. */
export const ANYWHERE = PROJECT_FILES;

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

/**
 * The same where no attempt was at work: what outlived a turn, or another hand, changed files that no task may change. The
 * paths from before stay, as long as they differ from the base.
 */
export function outsideOfAll(
  before: readonly string[],
  tasks: readonly Pick<GoalTask, "write_set">[],
  changes: { meanwhile: readonly TreeChange[]; sinceBase: readonly TreeChange[] },
): string[] {
  const named = tasks.flatMap((task) => task.write_set);
  const write_set = named.length === 0 ? [ANYWHERE] : named;
  const { meanwhile, sinceBase } = changes;
  const strayed = outsideAfter([], { write_set }, { inAttempt: meanwhile, sinceBase });
  const changed = new Set(sinceBase.map(({ path }) => path));
  return [...new Set([...before.filter((path) => changed.has(path)), ...strayed])].sort();
}

/** Whose attempt changed each of the paths outside: those from before keep theirs, new ones get `task`. */
export function strayedBy(
  { outside_write_sets: before, strayed_by: known = {} }: Pick<Work, "outside_write_sets" | "strayed_by">,
  outside: readonly string[],
  task?: string,
): Record<string, string> {
  const whose = outside.map((path): [string, string | undefined] => [
    path,
    known[path] ?? (before.includes(path) ? undefined : task),
  ]);
  return Object.fromEntries(whose.filter((one): one is [string, string] => one[1] !== undefined));
}
