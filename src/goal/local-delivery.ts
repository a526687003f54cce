/** Local delivery of a sliced goal: its result as a branch of the user's repository and, when asked for, in their files. */
import { OmkError } from "../errors.ts";
import type { DeliveryWork } from "../format/delivery.ts";
import { printable } from "../format/printable.ts";
import { shellQuoted } from "../format/shell.ts";
import { instantOf } from "../format/stamp.ts";
import type { Work } from "../format/work.ts";
import type { PrivateGit } from "../git/private-git.ts";
import { applyResult, publishResult, type InTheWay } from "../git/result.ts";
import { workTreeOf } from "../git/work-tree.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";
import type { SlicedSpace } from "./sliced-space.ts";
import type { Workspace } from "./workspace.ts";

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

/** The delivery of the present result; where an earlier one was delivered, it knows where that lies. */
function deliveryOf({ delivery, result }: Pick<Work, "delivery" | "result">): DeliveryWork {
  if (delivery && delivery.tree === result?.tree) return delivery;
  throw new Error("The delivery of this result was not begun.");
}

async function publish(
  open: OpenGoal,
  git: PrivateGit,
  { base, slices, result }: Deliverable,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Ending | undefined> {
  const commit = slices.head;
  const before = deliveryOf(open.work);
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
    // The user's own work on that branch, or in it.
    if (!(error instanceof OmkError) || error.code !== "delivery.refused") throw error;
    return {
      status: "blocked_on_human",
      reasonCode: "result_branch_moved",
      reason: `${error.message} ${error.hint ?? ""}`.trim(),
    };
  }
  await open.update(() => [
    {
      kind: "result_published",
      actor: "goal-controller",
      payload: { name: ref, commit },
      changes: [change("work.json", { delivery: { ...deliveryOf(open.work), result: { ref, commit } } })],
    },
  ]);
  for (const line of await howToTake(git, { ref, base, result }, signal)) ports.tell(line);
  return undefined;
}

/** Commands that work as they stand where the user is: without a commit of theirs, nothing can be merged. */
async function howToTake(
  git: PrivateGit,
  { ref, base, result }: Pick<Deliverable, "base" | "result"> & { ref: string },
  signal: AbortSignal,
): Promise<string[]> {
  const branch = ref.replace(/^refs\/heads\//, "");
  if (git.user && base.commit !== null)
    return [`result: branch ${branch}; look at it: git log ${branch}; take it: git merge ${branch}`];
  const where = git.user ? "" : ` --git-dir=${shellQuoted(git.gitDir)}`;
  const tree = workTreeOf(git);
  const from = await tree.keep(base.tree, "base", signal);
  const to = await tree.keep(result.tree, "result", signal);
  return [
    `result: branch ${branch}${git.user ? "" : " in omk's own git directory"}; look at it: git${where} log ${branch}`,
    `take it, in the project directory: ${tree.undo(from, to)}`,
  ];
}

async function apply(
  open: OpenGoal,
  git: PrivateGit,
  { base, result }: Deliverable,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Ending | undefined> {
  const to = result.tree;
  const { applied: before } = deliveryOf(open.work);
  if (before?.tree === to) return undefined;
  const project = workTreeOf(git);
  // Where an earlier result lies in the user's files, this one continues that.
  const from = before?.tree ?? base.tree;
  await open.record({
    kind: "result_apply_intended",
    actor: "goal-controller",
    payload: { from, tree: to },
  });
  const applied = await applyResult(git, project, { base: from, result: to }, signal);
  if (applied.outcome === "refused") return refusedBy(open, applied.inTheWay);
  const { written, removed } = applied;
  // A name of its own: what is called the result may be another one some day.
  const undo = project.undo(
    await project.keep(to, "applied", signal),
    await project.keep(base.tree, "base", signal),
  );
  const at = instantOf(ports.clock.now());
  await open.update(() => [
    {
      kind: "result_applied",
      actor: "goal-controller",
      payload: { tree: to, written, removed },
      changes: [
        change("work.json", {
          delivery: { ...deliveryOf(open.work), applied: { tree: to, written, removed, at } },
          undo,
        }),
      ],
    },
  ]);
  ports.tell(`applied: ${result.changed_files.length} changed files lie in ${project.root}, uncommitted`);
  return undefined;
}

async function refusedBy(open: OpenGoal, inTheWay: readonly InTheWay[]): Promise<Ending> {
  const paths = inTheWay.slice(0, RECORDED_MAX);
  await open.record({
    kind: "result_apply_refused",
    actor: "goal-controller",
    payload: { paths, total: inTheWay.length },
  });
  const named = inTheWay
    .slice(0, NAMED_MAX)
    .map(({ path, because }) => `${printable(path, { oneLine: true })}: ${because}`);
  const more = inTheWay.length - named.length;
  return {
    status: "blocked_on_human",
    reasonCode: "apply_refused",
    reason:
      `the result was not laid over your files, of which none was touched (${named.join("; ")}` +
      `${more > 0 ? `; and ${more} more` : ""}); make way for it, then \`omk goal resume ${open.id}\` tries again; ` +
      `the result is the branch omk/result/${open.id} in any case`,
  };
}
