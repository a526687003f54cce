/** Whether a list of tasks can be worked off at all: everything that would leave a task waiting for ever is found here. */
import { OmkError } from "../errors.ts";

/** Something wrong with a list of tasks. */
export interface TaskProblem {
  code:
    | "too_many_tasks"
    | "too_many_dependencies"
    | "duplicate_id"
    | "self_dependency"
    | "unknown_dependency"
    | "cycle"
    | "too_deep";
  text: string;
}

/** How large a list may be. `depth` is the number of tasks in the longest chain of dependencies. */
export interface TaskLimits {
  tasks: number;
  dependencies: number;
  depth: number;
}

/** What is accepted unless configured otherwise. */
export const TASK_LIMITS: TaskLimits = { tasks: 2_000, dependencies: 20_000, depth: 200 };
/** What is accepted at most. */
export const TASK_LIMITS_MAX: TaskLimits = { tasks: 10_000, dependencies: 100_000, depth: 1_000 };

/** How many problems a message tells, and how many tasks of a cycle. */
const TOLD_MAX = 5;
const CYCLE_TOLD_MAX = 10;

interface Node {
  id: string;
  dependencies: readonly string[];
}

/** Every problem of a list of tasks; none when it is sound. A list that is too large is not looked into. */
export function checkTasks(tasks: readonly Node[], limits: TaskLimits = TASK_LIMITS): TaskProblem[] {
  const problems: TaskProblem[] = [];
  const report = (code: TaskProblem["code"], text: string): unknown => problems.push({ code, text });
  if (tasks.length > limits.tasks)
    report("too_many_tasks", `there are ${tasks.length} tasks where at most ${limits.tasks} are allowed`);
  const edges = tasks.reduce((sum, { dependencies }) => sum + dependencies.length, 0);
  if (edges > limits.dependencies) {
    report(
      "too_many_dependencies",
      `there are ${edges} dependencies where at most ${limits.dependencies} are allowed`,
    );
  }
  if (problems.length > 0) return problems;

  const ids = new Set<string>();
  for (const { id } of tasks) {
    if (ids.has(id)) report("duplicate_id", `two tasks have the id ${quoted(id)}`);
    ids.add(id);
  }
  for (const { id, dependencies } of tasks) {
    for (const dependency of new Set(dependencies)) {
      if (dependency === id) report("self_dependency", `task ${quoted(id)} depends on itself`);
      else if (!ids.has(dependency)) {
        report(
          "unknown_dependency",
          `task ${quoted(id)} depends on ${quoted(dependency)}, which there is not`,
        );
      }
    }
  }
  const { depth, cycle } = orderOf(tasks, ids);
  if (cycle) {
    const rest = cycle.length - CYCLE_TOLD_MAX;
    const told = cycle.slice(0, CYCLE_TOLD_MAX).map(quoted);
    const end = rest > 0 ? `${rest} more, and again ${told[0]}` : told[0];
    report("cycle", `tasks wait for each other in a circle: ${[...told, end].join(", which needs ")}`);
  } else if (depth > limits.depth) {
    report(
      "too_deep",
      `a chain of dependencies has ${depth} tasks where at most ${limits.depth} are allowed`,
    );
  }
  return problems;
}

/** Throws `tasks.invalid` for a list with problems. `where` begins the message: a file, or what the list is. */
export function requireSoundTasks(
  tasks: readonly Node[],
  where: string,
  limits: TaskLimits = TASK_LIMITS,
): void {
  const problems = checkTasks(tasks, limits);
  if (problems.length === 0) return;
  const told = problems.slice(0, TOLD_MAX).map(({ text }) => text);
  const more = problems.length > TOLD_MAX ? `; and ${problems.length - TOLD_MAX} more` : "";
  throw new OmkError("tasks.invalid", `${where} cannot be worked off: ${told.join("; ")}${more}.`, {
    hint: "Every task needs its own id and may wait only for tasks of the list, never for itself in a circle.",
  });
}

/** Takes away tasks whose dependencies are gone until none is left; what stays lies on a cycle or waits for one. */
function orderOf(
  tasks: readonly Node[],
  ids: ReadonlySet<string>,
): { depth: number; cycle: string[] | undefined } {
  const waitsFor = new Map<string, Set<string>>();
  const unblocks = new Map<string, string[]>();
  for (const { id, dependencies } of tasks) {
    const waits = waitsFor.get(id) ?? new Set<string>();
    waitsFor.set(id, waits);
    for (const dependency of dependencies) {
      // A task that waits for itself is reported as that, and one that is missing as missing.
      if (dependency === id || !ids.has(dependency) || waits.has(dependency)) continue;
      waits.add(dependency);
      const waiting = unblocks.get(dependency);
      if (waiting) waiting.push(id);
      else unblocks.set(dependency, [id]);
    }
  }
  const open = new Map([...waitsFor].map(([id, waits]) => [id, waits.size]));
  let level = [...open.keys()].filter((id) => open.get(id) === 0);
  let taken = 0;
  let depth = 0;
  // Level by level, so that the number of levels is the length of the longest chain.
  for (; level.length > 0; depth++) {
    const next: string[] = [];
    for (const id of level) {
      taken++;
      for (const waiting of unblocks.get(id) ?? []) {
        const left = (open.get(waiting) ?? 0) - 1;
        open.set(waiting, left);
        if (left === 0) next.push(waiting);
      }
    }
    level = next;
  }
  return { depth, cycle: taken < waitsFor.size ? findCycle(waitsFor, open) : undefined };
}

/** Goes from a task that cannot be taken away to what it waits for, which cannot either, until one comes again. */
function findCycle(
  waitsFor: ReadonlyMap<string, ReadonlySet<string>>,
  open: ReadonlyMap<string, number>,
): string[] {
  const isStuck = (id: string): boolean => (open.get(id) ?? 0) > 0;
  const way = new Map<string, number>();
  let at = [...waitsFor.keys()].find(isStuck);
  while (at !== undefined && !way.has(at)) {
    way.set(at, way.size);
    at = [...(waitsFor.get(at) ?? [])].find(isStuck);
  }
  return at === undefined ? [] : [...way.keys()].slice(way.get(at));
}

/** An id as it can be shown, however long or odd it is. */
function quoted(id: string): string {
  return JSON.stringify(id.length > 80 ? `${id.slice(0, 80)}…` : id);
}
