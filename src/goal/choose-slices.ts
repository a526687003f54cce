/** Accepting a part of a goal: the merged result is made anew of the slices that a person wants, and nothing of the others is lost. */
import { deliveryChange } from "../delivery/metadata.ts";
import { OmkError } from "../errors.ts";
import type { DocumentChange } from "../format/event.ts";
import { printable } from "../format/printable.ts";
import type { SliceState } from "../format/slices.ts";
import { instantOf } from "../format/stamp.ts";
import type { TaskGraph } from "../format/task-graph.ts";
import type { Work } from "../format/work.ts";
import { textOf, type PrivateGit } from "../git/private-git.ts";
import { allAgentTasks } from "./agent-tasks.ts";
import { mergeSlice } from "./land.ts";
import { change, changeTask, type GoalPorts, type OpenGoal } from "./open.ts";
import { requireSlices } from "./slices.ts";
import { strayedBy } from "./write-sets.ts";

/** Slices whose results the commit of each slice holds, itself among them. */
export type Contents = ReadonlyMap<string, ReadonlySet<string>>;

/** What a choice comes to. */
export interface SliceChoice {
  /** Part of the result, in the order in which they are merged; those that a conflict's solution brings in come with that. */
  merged: string[];
  /** Part of the result, whichever way. */
  taken: Set<string>;
  leftOut: string[];
}

/**
 * Decides what choosing these slices means: a task that solved a conflict comes along where all it holds is wanted.
 * `usage.invalid` for ids that are no slices with a result, and where one builds on what was not chosen.
 */
export function decideChoice(
  { graph, work }: { graph: Pick<TaskGraph, "tasks">; work: Pick<Work, "slices"> },
  wanted: readonly string[],
  contents: Contents,
): SliceChoice {
  const { slices, order } = requireSlices(work);
  const ids = allAgentTasks(graph).map(({ id }) => id);
  const states = slices.filter(({ commit }) => commit !== null);
  refuseUnknown(
    wanted,
    ids.filter((id) => contents.has(id)),
  );
  const solvers = new Set(states.filter(isSolver).map(({ task_id }) => task_id));
  const heldBy = (id: string): string[] => [...(contents.get(id) ?? [])];
  const taken = new Set(wanted);
  for (const id of wanted) for (const held of heldBy(id)) if (solvers.has(held)) taken.add(held);
  for (const id of taken) {
    const missing = heldBy(id).filter((held) => !taken.has(held));
    if (missing.length > 0) throw buildsOn(id, missing, wanted);
  }
  for (let before = -1; before !== taken.size;) {
    before = taken.size;
    for (const solver of states.filter(({ task_id }) => solvers.has(task_id) && !taken.has(task_id))) {
      const { task_id: id } = solver;
      const solves = states.some((one) => taken.has(one.task_id) && isSolvedBy(one, solver));
      if (solves && heldBy(id).every((held) => held === id || taken.has(held))) taken.add(id);
    }
  }
  const solved = new Set(
    states
      .filter((one) => states.some((solver) => taken.has(solver.task_id) && isSolvedBy(one, solver)))
      .map(({ task_id }) => task_id),
  );
  const inOrder = [...order, ...ids.filter((id) => !order.includes(id))];
  return {
    merged: inOrder.filter((id) => taken.has(id) && !solved.has(id)),
    taken,
    leftOut: ids.filter((id) => !taken.has(id)),
  };
}

/** A commit with several parents solves a conflict: the first is what another one was to be merged into. */
function isSolver({ parents }: SliceState): boolean {
  return parents.length > 1;
}

function isSolvedBy({ commit }: SliceState, { parents: [, ...solved] }: SliceState): boolean {
  return commit !== null && solved.includes(commit);
}

function refuseUnknown(wanted: readonly string[], known: readonly string[]): void {
  const unknown = wanted.find((id) => !known.includes(id));
  if (unknown === undefined) return;
  const shown = printable(unknown, { oneLine: true });
  throw new OmkError(
    "usage.invalid",
    `--slice ${shown}: it is none of the goal's slices that have a result.`,
    {
      hint: known.length === 0 ? "There is none yet." : `There are: ${known.join(", ")}.`,
    },
  );
}

function buildsOn(id: string, missing: readonly string[], wanted: readonly string[]): OmkError {
  const flags = [...missing, ...wanted].map((one) => `--slice ${one}`).join(" ");
  return new OmkError("usage.invalid", `--slice ${id}: it builds on ${missing.join(", ")}, not chosen.`, {
    hint: `Choose those, too: ${flags}`,
  });
}

/**
 * Makes the merged result anew of the chosen slices and records it, with what is left out and why. Nothing is merged that
 * does not fit together: then `goal.refused`, and everything stays as it was.
 */
export async function chooseSlices(
  open: OpenGoal,
  git: PrivateGit,
  { wanted, reason }: { wanted: readonly string[]; reason: string },
  ports: Pick<GoalPorts, "clock" | "tell">,
  signal: AbortSignal,
): Promise<void> {
  const { graph, work } = open;
  const slices = requireSlices(work);
  const choice = decideChoice(open, [...new Set(wanted)], await contentsOf(open, git, signal));
  const { head, landed } = await mergeChosen(open, git, choice, signal);
  const wasLeftOut = new Set(
    graph.tasks.filter(({ left_out }) => left_out !== undefined).map(({ id }) => id),
  );
  const isAsBefore =
    head === slices.head &&
    choice.leftOut.length === wasLeftOut.size &&
    choice.leftOut.every((id) => wasLeftOut.has(id));
  if (isAsBefore) return;
  const left = choice.leftOut.length === 0 ? "nothing" : choice.leftOut.join(", ");
  const message = `${choice.merged.join(", ")} make up the result; left out: ${left}`;
  const at = instantOf(ports.clock.now());
  const tree = await git.projectIn(await git.treeOf(head, signal), signal);
  const base = work.base?.tree ?? (await git.emptyTree(signal));
  const changed_files = await git.changes(base, tree, signal);
  const changed = new Set(changed_files.map(({ path }) => path));
  const outside = work.outside_write_sets.filter((path) => changed.has(path));
  await open.record({
    kind: "slices_chosen",
    actor: "omk-cli",
    payload: { message, slices: [...choice.taken], left_out: choice.leftOut, reason, head },
    changes: [
      // Nobody has judged this result: a goal that was ready is not, whoever dies before it is said how it stands.
      change("goal.json", { status: "running", phase: "execution" }, ["completed_at", "failure"]),
      change("work.json", {
        slices: {
          ...slices,
          head,
          order: choice.merged,
          slices: slices.slices.map((state) => stateAfter(state, landed.get(state.task_id))),
        },
        result: { tree, changed_files },
        outside_write_sets: outside,
        ...(work.strayed_by && { strayed_by: strayedBy(work, outside) }),
      }),
      ...choice.leftOut.flatMap((id) => leave(open, id, { reason, at })),
      ...[...choice.taken].filter((id) => wasLeftOut.has(id)).flatMap((id) => bringBack(open, id)),
    ],
  });
  // Whoever looks without control reads the files.
  await open.journal.save();
  ports.tell(`slices: ${message}`);
}

/** What fits together without the help of another task is no conflict any more. */
function stateAfter({ conflict, ...state }: SliceState, landed: string | undefined): SliceState {
  const isKept = conflict !== undefined && landed === undefined;
  return { ...state, landed: landed ?? null, ...(isKept && { conflict }) };
}

function leave(open: OpenGoal, id: string, left_out: { reason: string; at: string }): DocumentChange[] {
  const { reason } = left_out;
  const set = { status: "blocked", verification_summary: `left out: ${reason}` } as const;
  const record = open.graph.tasks.some((task) => task.id === id && task.delivery !== undefined)
    ? deliveryChange(open.graph, id, { set })
    : undefined;
  // Neither done nor to be done.
  return [changeTask(id, { status: "blocked", left_out }, ["completed_at"]), ...(record ? [record] : [])];
}

function bringBack(open: OpenGoal, id: string): DocumentChange[] {
  const record = deliveryChange(open.graph, id, {
    set: { status: "ready_for_review", verification_summary: "chosen to be part of the result" },
  });
  const ended = open.work.attempts.findLast(
    ({ task_id, outcome }) => task_id === id && outcome === "finished",
  );
  const done = { status: "done", ...(ended?.ended_at && { completed_at: ended.ended_at }) };
  return [changeTask(id, done, ["left_out"]), ...(record ? [record] : [])];
}

/** Which slices the commits of slices hold, by their history: what they were begun on, and what they were merged with. */
async function contentsOf({ work }: OpenGoal, git: PrivateGit, signal: AbortSignal): Promise<Contents> {
  const { base, slices } = requireSlices(work);
  const owners = new Map(slices.map(({ commit, task_id }) => [commit, task_id]));
  const contents = new Map<string, Set<string>>();
  for (const { commit, task_id } of slices) {
    if (commit === null) continue;
    const listed = textOf(await git.call(["rev-list", commit, `^${base}`, "--"], {}, signal));
    const held = listed.split("\n").map((one) => owners.get(one));
    contents.set(task_id, new Set(held.filter((one) => one !== undefined)));
  }
  return contents;
}

/** The result of exactly these slices, made as landing makes it: the same slices give the same commit. */
async function mergeChosen(
  open: OpenGoal,
  git: PrivateGit,
  { merged }: SliceChoice,
  signal: AbortSignal,
): Promise<{ head: string; landed: Map<string, string> }> {
  const { base, slices } = requireSlices(open.work);
  const landed = new Map<string, string>();
  let head = base;
  for (const id of merged) {
    const state = slices.find(({ task_id }) => task_id === id);
    if (!state) throw new Error(`The slice ${id} has no result.`);
    const next = await mergeSlice(open, git, { head, state }, signal);
    if (next.outcome === "conflict") throw inTheWay(id, [...landed.keys()], next.files);
    head = next.commit;
    landed.set(id, head);
  }
  return { head, landed };
}

const FILES_NAMED_MAX = 5;

function inTheWay(id: string, others: readonly string[], files: readonly string[]): OmkError {
  const named = files.slice(0, FILES_NAMED_MAX).map((path) => printable(path, { oneLine: true }));
  const more = files.length > named.length ? ", …" : "";
  return new OmkError(
    "goal.refused",
    `The slice ${id} does not fit together with ${others.join(", ")}: ${named.join(", ")}${more}.`,
    { hint: "Nothing was changed. Leave one of them out." },
  );
}
