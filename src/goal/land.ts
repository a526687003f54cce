/** Slices on their way into the merged result: planned, begun on what they wait for, and merged one after another. */
import { join } from "node:path";

import { deliveryChange, parseDelivery, planChanges, type DeliveryUpdate } from "../delivery/metadata.ts";
import { keepConflict } from "../delivery/merge-conflict.ts";
import { planSlices } from "../delivery/slice-plan.ts";
import { OmkError } from "../errors.ts";
import { named } from "../format/named.ts";
import type { SliceState } from "../format/slices.ts";
import type { GoalTask } from "../format/task-graph.ts";
import type { AttemptTree } from "../git/attempt-tree.ts";
import { isContained, mergeCommits, probeMerge, type Merged, type Probe } from "../git/integrate.ts";
import type { PrivateGit } from "../git/private-git.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import { lastAttempt } from "./agent-tasks.ts";
import { CONFLICT_NOTE, conflictTree } from "./conflict-note.ts";
import { attemptsAllowed } from "./next-step.ts";
import { change, changeTask, type GoalPorts, type OpenGoal } from "./open.ts";
import { TASK } from "./task-ids.ts";
import {
  requireSlices,
  resolverId,
  sliceGraph,
  sliceState,
  startOf,
  unplannedSlices,
  withSlice,
} from "./slices.ts";
import type { SlicedSpace } from "./sliced-space.ts";
import type { Workspace } from "./workspace.ts";

type Conflict = Extract<Probe, { outcome: "conflict" }>;

/** Records which tasks are slices now: their names, and what waits for what. Attempts may be under way. */
export async function planGoalSlices(open: OpenGoal, ports: Pick<GoalPorts, "tell">): Promise<void> {
  const told: string[] = [];
  await open.update(() => {
    const { graph, work } = open;
    const slices = requireSlices(work);
    const wanted = new Set(unplannedSlices(graph, work).map(({ id }) => id));
    const plan = planSlices(join(open.folder, "worktrees"), sliceGraph(graph));
    const fresh = { ...plan, slices: plan.slices.filter(({ task_id }) => wanted.has(task_id)) };
    const serialized = plan.overlap_serializations.filter(({ blocked_slice_id }) =>
      wanted.has(blocked_slice_id),
    );
    for (const { blocked_slice_id, serializes_after, path } of serialized)
      told.push(`slice ${blocked_slice_id} waits for ${serializes_after}: both use ${path}`);
    const overlap_serializations = [...slices.overlap_serializations, ...serialized];
    return [
      {
        kind: "slices_planned",
        actor: "goal-controller",
        payload: { slices: [...wanted], overlap_serializations: serialized },
        changes: [
          ...planChanges(graph, fresh),
          change("work.json", { slices: { ...slices, overlap_serializations } }),
        ],
      },
    ];
  });
  for (const line of told) ports.tell(line);
}

/** Records where a slice starts, before its first attempt. */
export async function beginSlice(
  open: OpenGoal,
  git: PrivateGit,
  task: GoalTask,
  signal: AbortSignal,
): Promise<void> {
  if (sliceState(open.work, task.id)) return;
  const { start, parents } = await startCommit(open, git, task, signal);
  const { branch = "" } = parseDelivery(task.delivery ?? {}).fields;
  const attempts_from = open.work.attempts.length;
  const state: SliceState = {
    task_id: task.id,
    branch,
    start,
    parents,
    attempts_from,
    rounds: [],
    commit: null,
    landed: null,
  };
  await open.update(() => {
    const slices = requireSlices(open.work);
    return [
      {
        kind: "slice_started",
        actor: "goal-controller",
        payload: { task_id: task.id, branch, start, parents },
        changes: [
          change("work.json", { slices: { ...slices, slices: withSlice(slices, state) } }),
          ...recordOf(open, task.id, { set: { status: "in_progress" } }),
        ],
      },
    ];
  });
}

/** Records that a slice starts anew on the merged result: something is wrong with that, or what it did would be in its way. */
export async function reopenSlice(open: OpenGoal, taskId: string): Promise<void> {
  await open.update(() => {
    const slices = requireSlices(open.work);
    const { head } = slices;
    const { foreseen: _, conflict: __, ...known } = sliceState(open.work, taskId) ?? noState(taskId);
    const state: SliceState = {
      ...known,
      start: head,
      parents: [head],
      attempts_from: open.work.attempts.length,
      commit: null,
      landed: null,
    };
    return [
      {
        kind: "slice_reopened",
        actor: "goal-controller",
        payload: { task_id: taskId, start: head },
        changes: [
          change("work.json", { slices: { ...slices, slices: withSlice(slices, state) } }),
          changeTask(taskId, { status: "pending" }, ["completed_at"]),
          ...recordOf(open, taskId, { set: { status: "in_progress" } }),
        ],
      },
    ];
  });
}

function noState(taskId: string): never {
  throw new Error(`The slice ${taskId} was never begun.`);
}

/** The commit that a slice starts from; made of the same things it is the same one. */
async function startCommit(
  open: OpenGoal,
  git: PrivateGit,
  task: GoalTask,
  signal: AbortSignal,
): Promise<{ start: string; parents: string[] }> {
  const at = new Date(open.goal.created_at);
  const start = startOf(task, open.graph, open.work);
  switch (start.from) {
    case "commit":
      return { start: start.commit, parents: [start.commit] };
    case "conflict": {
      const parents = [start.onto, start.commit];
      const probe = await probeMerge(git, start.onto, start.commit, signal);
      const tree =
        probe.outcome === "fits" ? probe.tree : await conflictTree(git, { ...probe, parents }, signal);
      const message = `omk: what ${task.id} has to solve`;
      return { start: await git.commitTree({ tree, parents, message, at }, signal), parents };
    }
    case "merge": {
      const [first = "", ...more] = start.commits;
      let merged = first;
      for (const commit of more) {
        const message = `omk: what ${task.id} builds on`;
        const next = await mergeCommits(git, { onto: merged, commit, message, at }, signal);
        // They have all landed, but others stood between them.
        const { head } = requireSlices(open.work);
        if (next.outcome === "conflict") return { start: head, parents: [head] };
        merged = next.commit;
      }
      return { start: merged, parents: [merged] };
    }
  }
}

/**
 * A merged result with the result of a slice, or what is in the way; nothing is recorded. A kill costs nothing: the same
 * merge made again is the same commit.
 */
export async function mergeSlice(
  open: OpenGoal,
  git: PrivateGit,
  { head, state }: { head: string; state: SliceState },
  signal: AbortSignal,
): Promise<Merged> {
  const { task_id, commit, fence } = state;
  if (commit === null) throw new Error(`The slice ${task_id} has no result.`);
  for (const [held, holder] of [
    [head, commit],
    [commit, head],
  ] as const) {
    if (await isContained(git, held, holder, signal))
      return { outcome: "merged", commit: holder, tree: await git.treeOf(holder, signal) };
  }
  const attempt = open.work.attempts.find((one) => one.fence === fence);
  const at = new Date(attempt?.ended_at ?? open.goal.created_at);
  const message = `[omk-slice] ${open.id} / ${task_id} lands`;
  return mergeCommits(git, { onto: head, commit, message, at }, signal);
}

/** Merges the result of a slice; what is in its way becomes a task. */
export async function landSlice(
  open: OpenGoal,
  space: Workspace & { sliced: SlicedSpace },
  taskId: string,
  ports: GoalPorts,
): Promise<void> {
  const { git } = space.sliced;
  const state = sliceState(open.work, taskId);
  const { head } = requireSlices(open.work);
  if (!state || state.commit === null) throw new Error(`The slice ${taskId} has no result that could land.`);
  const { commit } = state;
  const merged = await mergeSlice(open, git, { head, state }, UNHURRIED);
  if (merged.outcome === "conflict") return recordConflict(open, { git, state, found: merged }, ports);
  const tree = await git.projectIn(merged.tree, UNHURRIED);
  const base = open.work.base?.tree ?? (await git.emptyTree(UNHURRIED));
  const changed_files = await space.tree.changes(base, tree, UNHURRIED);
  const summary = `clean merge of ${state.branch} into the result`;
  await open.update(() => {
    const slices = requireSlices(open.work);
    const landed = { ...state, landed: merged.commit };
    return [
      {
        kind: "slice_landed",
        actor: "goal-controller",
        payload: { task_id: taskId, branch: state.branch, commit, onto: head, head: merged.commit },
        changes: [
          change("work.json", {
            slices: {
              ...slices,
              head: merged.commit,
              order: [...slices.order.filter((id) => id !== taskId), taskId],
              slices: withSlice(slices, landed),
            },
            result: { tree, changed_files },
          }),
          ...landedRecords(open, landed, summary),
        ],
      },
    ];
  });
  ports.tell(`slice ${taskId} has landed`);
}

/** The records of a slice that has landed, and of those whose conflict it solves: that is no matter any more. */
function landedRecords(open: OpenGoal, state: SliceState, verification_summary: string) {
  const solved: SliceState[] = [];
  const { slices } = requireSlices(open.work);
  let solver = state.task_id;
  for (const found of slices.toReversed()) {
    if (found.conflict?.resolved_by !== solver) continue;
    solved.push(found);
    solver = found.task_id;
  }
  return [state, ...solved].flatMap(({ task_id, commit }) =>
    recordOf(open, task_id, {
      set: {
        status: "ready_for_review",
        verification_summary,
        ...(commit !== null && { commit_sha: commit }),
      },
      unset: ["conflict_blocking_reason", "conflict_evidence_path"],
      extra: { merge_conflict_clean: true },
    }),
  );
}

/** The slice cannot be merged: the evidence is kept, and another task is to solve it. */
async function recordConflict(
  open: OpenGoal,
  { git, state, found }: { git: PrivateGit; state: SliceState; found: Conflict },
  ports: GoalPorts,
): Promise<void> {
  const { task_id } = state;
  const { head } = requireSlices(open.work);
  const what = { task: task_id, fence: state.fence ?? 0, commit: state.commit ?? "", onto: head };
  const evidence = await keepConflict(open, { ...what, ...found }, ports);
  const resolver = resolverId(task_id, open.graph);
  const { files, kinds } = found;
  const inProject = files
    .filter((path) => path.startsWith(git.prefix))
    .map((path) => path.slice(git.prefix.length));
  const reason = `merge conflict with what has landed before: ${named(files)}`;
  await open.update(() => {
    const slices = requireSlices(open.work);
    const conflict = {
      commit: state.commit ?? "",
      onto: head,
      files,
      kinds,
      evidence: evidence.path,
      resolved_by: resolver,
    };
    return [
      {
        kind: "slice_conflicted",
        actor: "goal-controller",
        payload: { task_id, commit: state.commit, onto: head, files, kinds, resolved_by: resolver },
        changes: [
          change("work.json", {
            slices: { ...slices, slices: withSlice(slices, { ...state, conflict }) },
            evidence: [...open.work.evidence, evidence],
          }),
          ...recordOf(open, task_id, {
            set: {
              status: "blocked",
              conflict_evidence_path: evidence.path,
              conflict_blocking_reason: reason,
              verification_summary: reason,
            },
            extra: { merge_conflict_artifact: evidence.path, merge_conflict_clean: false },
          }),
          ...(resolver === null ? [] : resolverChanges(open, { task_id, resolver, files: inProject })),
        ],
      },
    ];
  });
  const next = resolver === null ? "it was tried often enough" : `${resolver} is to solve it`;
  ports.tell(`slice ${task_id} cannot land: ${reason}; ${next}`);
}

/** The task that solves a conflict, and what waits for it. */
function resolverChanges(
  open: OpenGoal,
  { task_id, resolver, files }: { task_id: string; resolver: string; files: readonly string[] },
) {
  const { graph, goal } = open;
  const conflicted = graph.tasks.find(({ id }) => id === task_id);
  const verify = graph.tasks.find(({ id }) => id === TASK.verify);
  const task: GoalTask = {
    id: resolver,
    title: `Bring together what is in each other's way: ${conflicted?.title ?? task_id}`,
    description:
      "Two parts of the goal were done side by side and changed the same places. Both are to hold in the result: solve the conflict.",
    status: "pending",
    owner_role: "executor",
    evidence: [],
    retry_count: 0,
    max_retries: attemptsAllowed(goal) - 1,
    lease_expires_at: null,
    dependencies: [task_id],
    read_set: [...(conflicted?.read_set ?? [])],
    write_set: [...new Set([...(conflicted?.write_set ?? []), ...files, CONFLICT_NOTE])],
    risk: conflicted?.risk ?? "medium",
    acceptance: ["No conflict is left, and what both parts were for holds."],
  };
  const waits = verify && !verify.dependencies.includes(resolver);
  return [
    changeTask(resolver, task),
    ...(waits ? [changeTask(TASK.verify, { dependencies: [...verify.dependencies, resolver] })] : []),
  ];
}

/** Looks whether attempts under way will be in the way of what has landed: told early, and kept as long as it is so. */
export async function probeLive(
  open: OpenGoal,
  git: PrivateGit,
  live: ReadonlyMap<string, AttemptTree>,
  ports: GoalPorts,
): Promise<void> {
  const { head, slices } = requireSlices(open.work);
  for (const [task_id, attempt] of live) {
    const state = slices.find((one) => one.task_id === task_id);
    if (!state || state.foreseen?.onto === head) continue;
    const tree = await lookedAt(attempt);
    if (tree === undefined) continue;
    const at = new Date(open.goal.created_at);
    const given = { tree, parents: state.parents, message: `omk: ${task_id} as it is`, at };
    const commit = await git.commitTree(given, UNHURRIED);
    await foresee(open, { task_id, head, probe: await probeMerge(git, head, commit, UNHURRIED) }, ports);
  }
}

/** The files of an attempt under way; undefined where nobody can look at them: its end will say why. */
async function lookedAt(attempt: AttemptTree): Promise<string | undefined> {
  try {
    return await attempt.snapshot(UNHURRIED);
  } catch (error) {
    // A probe is a service: what the agent did to its folder is judged when its turn ends.
    if (error instanceof OmkError && error.code === "git.failed") return undefined;
    throw error;
  }
}

/** Records what a probe has shown, where that is news. */
async function foresee(
  open: OpenGoal,
  { task_id, head, probe }: { task_id: string; head: string; probe: Probe },
  ports: Pick<GoalPorts, "tell">,
): Promise<void> {
  const before = sliceState(open.work, task_id);
  if (!before || (probe.outcome === "fits" && !before.foreseen)) return;
  const files = probe.outcome === "fits" ? [] : probe.files;
  const kinds = probe.outcome === "fits" ? [] : probe.kinds;
  await open.update(() => {
    const slices = requireSlices(open.work);
    const { foreseen: _, ...known } = sliceState(open.work, task_id) ?? before;
    const state: SliceState =
      probe.outcome === "fits" ? known : { ...known, foreseen: { onto: head, files } };
    return [
      {
        kind: "conflict_foreseen",
        actor: "goal-controller",
        payload: { task_id, onto: head, files, kinds },
        changes: [change("work.json", { slices: { ...slices, slices: withSlice(slices, state) } })],
      },
    ];
  });
  if (files.length > 0) ports.tell(`slice ${task_id} is in the way of what has landed: ${named(files)}`);
}

/**
 * Before another attempt at a slice of which a conflict was foreseen: begins it anew on the merged result, unless what its
 * last attempt left fits by now.
 */
export async function avoidConflict(
  open: OpenGoal,
  git: PrivateGit,
  taskId: string,
  ports: Pick<GoalPorts, "tell">,
): Promise<void> {
  if (!sliceState(open.work, taskId)?.foreseen) return;
  const { head } = requireSlices(open.work);
  const left = lastAttempt(open.work, taskId)?.rescue?.commit;
  const probe = left === undefined ? undefined : await probeMerge(git, head, left, UNHURRIED);
  if (probe?.outcome === "fits") await foresee(open, { task_id: taskId, head, probe }, ports);
  else await reopenSlice(open, taskId);
}

function recordOf(open: OpenGoal, taskId: string, update: DeliveryUpdate) {
  const made = deliveryChange(open.graph, taskId, update);
  return made ? [made] : [];
}
