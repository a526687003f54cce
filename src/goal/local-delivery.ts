/** Local delivery of a sliced goal: its result as a branch of the user's repository and, when asked for, in their files. */
import { OmkError } from "../errors.ts";
import type { DocumentChange } from "../format/event.ts";
import { named } from "../format/named.ts";
import { shellQuoted } from "../format/shell.ts";
import { instantOf } from "../format/stamp.ts";
import type { Work } from "../format/work.ts";
import type { PrivateGit } from "../git/private-git.ts";
import { nameOfBranch, publishResult } from "../git/result.ts";
import { applyResult, type Applied, type InTheWay } from "../git/apply-result.ts";
import { workTreeOf } from "../git/work-tree.ts";
import { deliveryOf } from "./delivery-state.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";
import { RESULT_BRANCH_MOVED, type SlicedSpace } from "./sliced-space.ts";
import type { Workspace } from "./workspace.ts";

/** The code of a goal whose result cannot be laid over the user's files. */
export const APPLY_REFUSED = "apply_refused";

/** What is delivered. */
interface Deliverable {
  base: NonNullable<Work["base"]>;
  slices: NonNullable<Work["slices"]>;
  result: NonNullable<Work["result"]>;
}

/** Files in the way that an ending names; the event has all. */
const NAMED_MAX = 20;
/** Files in the way that an event names. */
const RECORDED_MAX = 1_000;

/**
 * Publishes the merged result as `omk/result/<goal>` and, where the goal says so, lays it over the user's files. An ending
 * when a person has to make way first. May be called again at any time: what was done is not done twice.
 */
export async function deliverLocally(
  open: OpenGoal,
  { sliced: { git } }: Workspace & { sliced: SlicedSpace },
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Ending | undefined> {
  const { base, slices, result } = open.work;
  if (!base || !slices || !result) throw new Error("There is no result of slices to deliver.");
  const given = { base, slices, result };
  const moved = await publish(open, git, given, ports, signal);
  if (moved || open.goal.apply !== true) return moved;
  return apply(open, git, given, ports, signal);
}

async function publish(
  open: OpenGoal,
  git: PrivateGit,
  { slices }: Deliverable,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Ending | undefined> {
  const commit = slices.head;
  const before = deliveryOf(open);
  if (before.result?.commit === commit) return undefined;
  const expected = before.result?.commit ?? null;
  await open.record({
    kind: "result_publish_intended",
    actor: "goal-controller",
    payload: { commit, expected },
  });
  let ref: string;
  try {
    ref = await publishResult(git, { commit, base: slices.base, expected }, signal);
  } catch (error) {
    // The user's own work on that branch, in it, or in its place.
    if (!(error instanceof OmkError) || error.code !== "delivery.refused") throw error;
    return {
      status: "blocked_on_human",
      reasonCode: RESULT_BRANCH_MOVED,
      reason: `${error.message} ${error.hint ?? ""}`.trim(),
    };
  }
  await open.update(() => [
    {
      kind: "result_published",
      actor: "goal-controller",
      payload: { name: ref, commit },
      changes: [change("work.json", { delivery: { ...deliveryOf(open), result: { ref, commit } } })],
    },
  ]);
  const branch = await nameOfBranch(git, ref, signal);
  const where = git.user ? "" : ` --git-dir=${shellQuoted(git.gitDir)}`;
  const look = `git${where} diff ${slices.base.slice(0, SHORT)}..${branch}`;
  const told = `result: branch ${branch}${git.user ? "" : " in omk's own git directory"}; look at it: ${look}`;
  // Over files that have the same changes already, git would not merge it.
  const take = open.goal.apply === true ? undefined : await howToTake(open, git, branch, ports, signal);
  ports.tell(take === undefined ? told : `${told}; take it, in the project directory: ${take}`);
  return undefined;
}

/** As much of a commit's name as people read. */
const SHORT = 12;

/** A command that works as it stands where the user is: without a commit of theirs, nothing can be merged. */
async function howToTake(
  { work: { base, result } }: OpenGoal,
  git: PrivateGit,
  branch: string,
  { clock }: GoalPorts,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (git.user && base?.commit) return `git merge ${branch}`;
  if (!base || !result) return undefined;
  const at = clock.now();
  const tree = workTreeOf(git);
  const from = await tree.keep(base.tree, { name: "base", at }, signal);
  const to = await tree.keep(result.tree, { name: "result", at }, signal);
  return tree.undo(from, to);
}

async function apply(
  open: OpenGoal,
  git: PrivateGit,
  { base, result }: Deliverable,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Ending | undefined> {
  const to = result.tree;
  const { applied: before, partly = [] } = deliveryOf(open);
  if (before?.tree === to) return undefined;
  const project = workTreeOf(git);
  // Where an earlier result lies in the user's files, this one continues that.
  const from = before?.tree ?? base.tree;
  const now = ports.clock.now();
  await open.update(() => [
    {
      kind: "result_apply_intended",
      actor: "goal-controller",
      payload: { from, tree: to },
      changes: [lyingInPart(open, [...new Set([...partly, to])])],
    },
  ]);
  const applied = await applyResult(git, project, { base: from, partly, result: to, at: now }, signal);
  if (applied.outcome === "refused") return refusedBy(open, applied, partly);
  if (applied.outcome === "partial") return leftInPart(open, applied);
  const { written, removed } = applied;
  // A name of its own: what is called the result may be another one some day.
  const undo = project.undo(
    await project.keep(to, { name: "applied", at: now }, signal),
    await project.keep(base.tree, { name: "base", at: now }, signal),
  );
  const at = instantOf(now);
  const { partly: _, ...others } = deliveryOf(open);
  await open.update(() => [
    {
      kind: "result_applied",
      actor: "goal-controller",
      payload: { tree: to, written, removed },
      changes: [
        change("work.json", {
          delivery: { ...others, applied: { tree: to, written, removed, at } },
          undo,
        }),
      ],
    },
  ]);
  const count = result.changed_files.length;
  const lie = count === 1 ? "1 changed file lies" : `${count} changed files lie`;
  ports.tell(`applied: ${lie} in ${project.root}, uncommitted`);
  return undefined;
}

/** Which results may lie in the user's files in part. */
function lyingInPart(open: OpenGoal, partly: readonly string[]): DocumentChange {
  return change("work.json", { delivery: { ...deliveryOf(open), partly: [...partly] } });
}

async function refusedBy(
  open: OpenGoal,
  { inTheWay }: Applied & { outcome: "refused" },
  partly: readonly string[],
): Promise<Ending> {
  await open.update(() => [
    {
      kind: "result_apply_refused",
      actor: "goal-controller",
      payload: { paths: inTheWay.slice(0, RECORDED_MAX), total: inTheWay.length },
      changes: [lyingInPart(open, partly)],
    },
  ]);
  const none = partly.length === 0 ? "of which none was touched" : "of which none was touched this time";
  return {
    status: "blocked_on_human",
    reasonCode: APPLY_REFUSED,
    reason:
      `the result was not laid over your files, ${none} (${faultsOf(inTheWay)}); ` +
      `make way for it, then \`omk goal resume ${open.id}\` tries again; ` +
      `or, since the result is the branch omk/result/${open.id} in any case, commit what is yours (a stash would not fit ` +
      `again), merge the branch, and say that it is enough: \`omk goal accept ${open.id} --no-apply --summary "<why>"\``,
  };
}

/** Somebody saved files in the midst of it: what they saved is theirs to take away or to keep. */
async function leftInPart(
  open: OpenGoal,
  { written, removed, inTheWay, before }: Applied & { outcome: "partial" },
): Promise<Ending> {
  await open.record({
    kind: "result_apply_interrupted",
    actor: "goal-controller",
    payload: { paths: inTheWay.slice(0, RECORDED_MAX), total: inTheWay.length, written, removed, before },
  });
  return {
    status: "blocked_on_human",
    reasonCode: APPLY_REFUSED,
    reason:
      `the result lies in your files but for what could not be replaced meanwhile and was left as it is ` +
      `(${faultsOf(inTheWay)}); written: ${written}, removed: ${removed}; what all of them held before is kept as ${before}; ` +
      `put what is named back as it was there, or make it what the branch omk/result/${open.id} has, then ` +
      `\`omk goal resume ${open.id}\` does the rest`,
  };
}

function faultsOf(inTheWay: readonly InTheWay[]): string {
  const faults = inTheWay.map(({ path, because }) => `${path}: ${because}`);
  return named(faults, { max: NAMED_MAX, between: "; " });
}
