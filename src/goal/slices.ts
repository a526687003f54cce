/** The rules of slices: which have to be planned, which may begin, which result lands next, and where one starts. Pure. */
import { parseDelivery } from "../delivery/metadata.ts";
import type { SliceState, SliceWork } from "../format/slices.ts";
import type { GoalTask, TaskGraph } from "../format/task-graph.ts";
import type { Work } from "../format/work.ts";
import { agentTasks, countedAttempts, openTasks } from "./agent-tasks.ts";
import { isFollowUp } from "./follow-ups.ts";
import type { LoopLimits, NextAttempt } from "./next-step.ts";
import { landedAs, waitsForTasks } from "./slice-view.ts";

type Graph = Pick<TaskGraph, "tasks">;
type Sliced = Pick<Work, "slices">;

/** How often a conflict may be handed on: solved results may be in each other's way again. */
const RESOLVERS_MAX = 3;
const RESOLVER = "goal-agent-resolve-";

/** What is known of a slice; undefined before its first attempt. */
export function sliceState({ slices }: Sliced, taskId: string): SliceState | undefined {
  return slices?.slices.find(({ task_id }) => task_id === taskId);
}

/** Whether a slice is part of the merged result: itself, or by the task that solved its conflict. */
export function hasLanded(work: Sliced, taskId: string): boolean {
  return landedIn(work, taskId) !== undefined;
}

function landedIn(work: Sliced, taskId: string): SliceState | undefined {
  return landedAs((id) => sliceState(work, id), taskId);
}

/** Tasks of agents that have no record as a slice yet, in the order of the graph. */
export function unplannedSlices(graph: Graph, work: Work): GoalTask[] {
  return openTasks(graph, work).filter(
    ({ delivery }) => parseDelivery(delivery ?? {}).fields.branch === undefined,
  );
}

/** The graph as the slice planner sees it: what agents do, and what of it waits for what. */
export function sliceGraph(graph: TaskGraph): TaskGraph {
  const tasks = agentTasks(graph);
  const ids = new Set(tasks.map(({ id }) => id));
  return {
    ...graph,
    tasks: tasks.map((task) => ({ ...task, dependencies: task.dependencies.filter((id) => ids.has(id)) })),
  };
}

/** The slices that have to have landed before one begins: by the graph, and by its record. */
export function waitsFor(task: GoalTask, graph: Graph, { slices }: Sliced): string[] {
  const ids = new Set(agentTasks(graph).map(({ id }) => id));
  const solved = slices?.slices.find(({ conflict }) => conflict?.resolved_by === task.id);
  return waitsForTasks(task, solved?.task_id).filter((id) => ids.has(id));
}

/** What the pool does next. */
export interface SliceMoves {
  /** A result that is to be merged now. */
  land?: string;
  /** Attempts to be started. */
  start: NextAttempt[];
}

/** The next moves, while attempts at the `live` slices are under way; nothing at all when the pool has come to its end. */
export function sliceMoves(
  work: Work,
  graph: Graph,
  { maxAttempts, width }: Pick<LoopLimits, "maxAttempts" | "width">,
  live: ReadonlySet<string> = new Set(),
): SliceMoves {
  const land = agentTasks(graph).find(({ id }) => waitsToLand(sliceState(work, id)) && !live.has(id));
  const open = openTasks(graph, work).filter(({ id }) => !live.has(id));
  const attempts = open.map(({ id }) => ({ task: id, number: countedAttempts(work, id) + 1 }));
  // A slice without attempts keeps the goal from being ready: no further turn is paid for.
  const isUsedUp = attempts.some(({ number }) => number > maxAttempts);
  const ready = new Set(
    open.filter((task) => waitsFor(task, graph, work).every((id) => hasLanded(work, id))).map(({ id }) => id),
  );
  const start = isUsedUp ? [] : attempts.filter(({ task }) => ready.has(task)).slice(0, width - live.size);
  return { ...(land && { land: land.id }), start };
}

function waitsToLand(state: SliceState | undefined): boolean {
  return state !== undefined && state.commit !== null && state.landed === null && !state.conflict;
}

/** Slices that are done and will not land: nobody is left who solves their conflict. */
export function strandedSlices(graph: Graph, work: Sliced): string[] {
  return agentTasks(graph)
    .map(({ id }) => sliceState(work, id))
    .filter((state) => state?.conflict?.resolved_by === null)
    .map((state) => state?.task_id ?? "");
}

/** What a slice's first attempt starts from. */
export type SliceStart =
  | { from: "commit"; commit: string }
  /** The merge of these, in this order; the merged result where they do not merge. */
  | { from: "merge"; commits: string[] }
  /** Two that are in each other's way: what git makes of them, conflict markers included. */
  | { from: "conflict"; onto: string; commit: string };

/** Where a slice starts whose predecessors have all landed: on the base with exactly what it waits for. */
export function startOf(task: GoalTask, graph: Graph, work: Sliced): SliceStart {
  const slices = requireSlices(work);
  const solved = slices.slices.find(({ conflict }) => conflict?.resolved_by === task.id);
  if (solved?.conflict) {
    const { onto, commit } = solved.conflict;
    return { from: "conflict", onto, commit };
  }
  if (isFollowUp(task)) return { from: "commit", commit: slices.head };
  const needed = predecessors(task, graph, work);
  if (needed.size === 0) return { from: "commit", commit: slices.base };
  // With all that has landed there is no need to merge it once more.
  if (slices.order.every((id) => needed.has(id))) return { from: "commit", commit: slices.head };
  const direct = new Set(waitsFor(task, graph, work).map((id) => landedIn(work, id)?.task_id));
  const commits = slices.order
    .filter((id) => direct.has(id))
    .map((id) => sliceState(work, id)?.commit)
    .filter((commit) => typeof commit === "string");
  const [first = slices.base, ...more] = commits;
  return more.length === 0 ? { from: "commit", commit: first } : { from: "merge", commits };
}

/** All slices that have landed as something that a task waits for, or that those waited for. */
function predecessors(task: GoalTask, graph: Graph, work: Sliced): Set<string> {
  const found = new Set<string>();
  const open = [task];
  for (let next = open.pop(); next; next = open.pop()) {
    for (const id of waitsFor(next, graph, work)) {
      const landed = landedIn(work, id)?.task_id ?? id;
      for (const one of new Set([id, landed])) {
        if (found.has(one)) continue;
        found.add(one);
        const waiting = graph.tasks.find((other) => other.id === one);
        if (waiting) open.push(waiting);
      }
    }
  }
  return found;
}

/** The task that solves a conflict of a slice; null when that was tried often enough. */
export function resolverId(taskId: string, graph: Graph): string | null {
  const [, origin = taskId] = /^goal-agent-resolve-(.+?)(?:-again-\d+)?$/.exec(taskId) ?? [];
  for (let round = 1; round <= RESOLVERS_MAX; round++) {
    const id = `${RESOLVER}${origin}${round === 1 ? "" : `-again-${round}`}`;
    if (!graph.tasks.some((task) => task.id === id)) return id;
  }
  return null;
}

/** The slices of a goal that is worked on in folders of attempts. */
export function requireSlices({ slices }: Sliced): SliceWork {
  if (!slices) throw new Error("The goal has no slices yet: its base was not recorded for them.");
  return slices;
}

/** The slices with some of them changed or added. */
export function withSlice(slices: SliceWork, state: SliceState): SliceState[] {
  const isKnown = slices.slices.some(({ task_id }) => task_id === state.task_id);
  return isKnown
    ? slices.slices.map((one) => (one.task_id === state.task_id ? state : one))
    : [...slices.slices, state];
}
