/**
 * How results from folders of their own come together: what each starts with, what speaks against one, how it is merged,
 * and what the next attempt is told.
 */
import type { Task } from "../format/run.ts";
import { printable } from "../format/printable.ts";
import type { RunAttempt, TeamWork } from "../format/team-work.ts";
import { isContained, mergeCommits } from "../git/integrate.ts";
import type { PrivateGit, TreeChange } from "../git/private-git.ts";
import { refusedChanges } from "../git/refused-changes.ts";
import { footprintOf, OwnershipMap, PROJECT_FILES, strayedChanges } from "../scheduler/ownership.ts";

/** What has come together so far. */
export type MergedResults = NonNullable<TeamWork["merged"]>;

/** Why a result is not taken; `because` is fit to follow "it was not taken:". */
export interface NotTaken {
  code: "outside_project" | "refused_change" | "write_set_violated" | "conflict" | "worktree_gone";
  because: string;
}

/** So many paths are named; more help nobody. */
const NAMED_MAX = 20;
/** Earlier attempts that a later one is told of, and characters of each. */
const LESSONS_MAX = 5;
const LESSON_CHARACTERS_MAX = 4_000;

/**
 * The results that a task starts with, in the order in which they were taken: of all tasks it waits for, and of those that
 * write what it uses, for which the scheduler makes it wait as well.
 */
export function neededResults(
  task: Task,
  tasks: readonly Task[],
  { results, order }: Pick<MergedResults, "results" | "order">,
): string[] {
  const byId = new Map(tasks.map((one) => [one.id, one]));
  const paths = new OwnershipMap();
  for (const id of order) {
    const taken = byId.get(id);
    if (taken && id !== task.id) paths.hold(id, footprintOf(taken));
  }
  const needed = new Set([...paths.conflicts(footprintOf(task))].map((met) => met.task));
  const open = [...task.dependencies];
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    if (needed.has(id)) continue;
    needed.add(id);
    open.push(...(byId.get(id)?.dependencies ?? []));
  }
  // Who changed nothing has no result.
  return order.filter((id) => needed.has(id) && Object.hasOwn(results, id));
}

/** The base with these results and no others; everything that was taken where they cannot be had without it. */
export async function startWith(
  git: PrivateGit,
  { merged, needed, at }: { merged: MergedResults; needed: readonly string[]; at: Date },
  signal: AbortSignal,
): Promise<string> {
  if (needed.length > 0 && needed.length === merged.order.length) return merged.head;
  let start = merged.base;
  for (const id of needed) {
    const commit = merged.results[id] ?? merged.base;
    if (await isContained(git, commit, start, signal)) continue;
    const isLater = await isContained(git, start, commit, signal);
    const message = `[omk-team] ${git.goalId} / what a task starts with`;
    const both = isLater
      ? { outcome: "merged" as const, commit }
      : await mergeCommits(git, { onto: start, commit, message, at }, signal);
    if (both.outcome === "conflict") return merged.head;
    start = both.commit;
  }
  return start;
}

/** What was changed, as it is judged. Paths are those of the whole repository. */
interface TaskChanges {
  changes: readonly TreeChange[];
  /** What lies in its folder under names that git takes into no tree. */
  leftOut: readonly string[];
  /** The project below the repository's top, with a slash at its end, or nothing. */
  prefix: string;
  /** Of the project; a task that names no path may write anywhere in it. */
  writeSet: readonly string[];
}

/** Why changes are not taken, whoever made them and however they merge. Pure. */
export function whyNotTaken({
  changes,
  leftOut,
  prefix,
  writeSet: given,
}: TaskChanges): NotTaken | undefined {
  const writeSet = given.length === 0 ? [PROJECT_FILES] : given;
  const outside = changes.filter(({ path }) => !path.startsWith(prefix)).map(({ path }) => path);
  if (outside.length > 0) {
    return {
      code: "outside_project",
      because: `it changed files outside the project: ${named(outside)}`,
    };
  }
  const refused = refusedChanges(changes, leftOut);
  const [first] = refused;
  if (first) {
    const because = `no change may do this: ${named(refused.map(({ path }) => path))} (${first.because})`;
    return { code: "refused_change", because };
  }
  const strayed = strayedChanges(changes, { prefix, writeSet }).map((path) => path.slice(prefix.length));
  if (strayed.length === 0) return undefined;
  return {
    code: "write_set_violated",
    because: `it changed ${named(strayed)}, and may only write ${named(writeSet)} and new tests`,
  };
}

/** Puts one more result to those that were taken, or says with what it does not go together. */
export async function withResult(
  git: PrivateGit,
  merged: MergedResults,
  { task, commit, at }: { task: string; commit: string; at: Date },
  signal: AbortSignal,
): Promise<
  { outcome: "merged"; merged: MergedResults } | { outcome: "conflict"; files: string[]; kinds: string[] }
> {
  const isNext = await isContained(git, merged.head, commit, signal);
  const message = `[omk-team] ${git.goalId}: merge ${task}`;
  const both = isNext
    ? { outcome: "merged" as const, commit }
    : await mergeCommits(git, { onto: merged.head, commit, message, at }, signal);
  if (both.outcome === "conflict") return both;
  return {
    outcome: "merged",
    merged: {
      ...merged,
      head: both.commit,
      results: { ...merged.results, [task]: commit },
      order: [...merged.order, task],
    },
  };
}

/** What a conflict is, in git's words. */
export function conflictText({
  files,
  kinds,
}: {
  files: readonly string[];
  kinds: readonly string[];
}): string {
  return `it does not merge with what others have done meanwhile: ${named(files)} (git says ${kinds.join(", ")})`;
}

/** What the next attempt at a task is told of those before it, newest last. Pure. */
export function lessonsOf(earlier: readonly RunAttempt[]): string[] {
  const lessons = earlier
    .filter(({ outcome }) => outcome === "rejected")
    .slice(-LESSONS_MAX)
    .map(({ number, summary }) =>
      `Attempt ${number} was not taken: ${summary ?? ""}`.slice(0, LESSON_CHARACTERS_MAX),
    );
  const last = lastConflict(earlier);
  if (last) {
    const { commit = "", onto = "" } = last;
    lessons.push(
      `This directory has what the others did. What attempt ${last.number} did is in commit ${commit}: \`git diff ${onto} ${commit}\` shows it.`,
      "Do your task again on top of what is here, and keep what the others did.",
    );
  }
  return lessons;
}

/** The latest attempt whose result could not be merged: from then on a task starts with everything that was taken. */
export function lastConflict(earlier: readonly RunAttempt[]): RunAttempt | undefined {
  return earlier.findLast(({ conflict }) => conflict !== undefined);
}

/**
 * The attempt whose files the next one finds as they were: it was cut off, and neither failed nor was refused. Later ones
 * that were cut off before they had files change nothing about that.
 */
export function cutOff(earlier: readonly RunAttempt[]): RunAttempt | undefined {
  for (const one of earlier.toReversed()) {
    const isCutOff = one.status === "interrupted" || (one.status === "ended" && !one.counted);
    if (!isCutOff) return undefined;
    if (one.onto !== undefined && one.left_tree !== undefined) return one;
  }
  return undefined;
}

function named(paths: readonly string[]): string {
  const shown = paths.slice(0, NAMED_MAX).map((path) => printable(path, { oneLine: true }));
  const more = paths.length - shown.length;
  return `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}
