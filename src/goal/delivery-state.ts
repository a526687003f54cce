/** How far a goal's delivery is, and the events that bring it on: the same for every policy. */
import { deliveryChange, deliveryRecords, parseDelivery } from "../delivery/metadata.ts";
import type { DeliveredPull, DeliveryWork } from "../format/delivery.ts";
import type { DocumentChange } from "../format/event.ts";
import type { ArtifactRef } from "../format/goal.ts";
import { factsOf } from "./facts.ts";
import { change, type OpenGoal } from "./open.ts";
import { onlyAcceptanceMissing, onlyDeliveryMissing } from "./verdict.ts";

/** What is about one result only. */
const OF_ONE_RESULT = new Set(["integration", "merge_command", "checks", "merge", "done_at"]);

/**
 * A delivery about a result. What an earlier one left outside is kept in mind: those branches are ours, and go on from
 * where they are.
 */
export function deliveryAbout(tree: string, before: DeliveryWork | undefined): DeliveryWork {
  if (before?.tree === tree) return before;
  const { pushed = [], pulls = [], ...others } = before ?? {};
  const kept = Object.entries(others).filter(([key]) => !OF_ONE_RESULT.has(key));
  return { ...Object.fromEntries(kept), pushed, pulls, tree };
}

/** The delivery of the present result, begun or not. */
export function deliveryOf({ work }: Pick<OpenGoal, "work">): DeliveryWork {
  return deliveryAbout(work.result?.tree ?? "", work.delivery);
}

/** What brings a goal on whose result is not delivered yet, in words. */
export function nextStep({
  id,
  goal,
  work,
  graph,
}: Pick<OpenGoal, "id" | "goal" | "work" | "graph">): string {
  const facts = factsOf(goal, work, graph);
  // What waits for a person or was stopped takes no decision before it is resumed.
  const isStopped = ["paused", "blocked_on_human", "cancelled"].includes(goal.status);
  return onlyAcceptanceMissing(facts) && !onlyDeliveryMissing(facts) && !isStopped
    ? `Look at its result, then: omk goal accept ${id} --summary "<why>"`
    : `Next: omk goal resume ${id}. How far it is: omk goal show ${id}`;
}

/** A step of delivery, as an event tells it. */
export interface DeliveryStep {
  kind: string;
  payload: Record<string, unknown>;
  /** Whoever is not the loop. */
  actor?: "omk-cli";
}

/** Records a step of delivery, with what changes by it. */
export async function recordStep(
  open: OpenGoal,
  { kind, payload, actor }: DeliveryStep,
  set: Partial<DeliveryWork> = {},
  others: readonly (DocumentChange | undefined)[] = [],
): Promise<void> {
  const delivery: DeliveryWork = { ...deliveryOf(open), ...set };
  await open.record({
    kind,
    payload,
    actor: actor ?? "goal-controller",
    changes: [change("work.json", { delivery }), ...others.filter((one) => one !== undefined)],
  });
  await open.journal.save();
}

/**
 * Records a pull request as it was found or opened: with the delivery, at the slices whose branch it is or that are
 * named (each with its commit), and among the goal's artifacts.
 */
export async function recordPull(
  open: OpenGoal,
  step: DeliveryStep,
  pull: DeliveredPull & { at: string },
  slices: readonly { taskId: string; commit: string }[] = [],
): Promise<void> {
  const { branch, url, state, at } = pull;
  const status = state === "merged" ? "merged" : "delivered";
  const known = new Set(slices.map(({ taskId }) => taskId));
  const named = deliveryRecords(open.graph)
    .filter((record) => parseDelivery(record).fields.branch === branch)
    .map((record) => String(record["task_id"]))
    .filter((taskId) => !known.has(taskId));
  await recordStep(
    open,
    step,
    { pulls: [...deliveryOf(open).pulls.filter((one) => one.branch !== branch), pull] },
    [
      ...slices.map(({ taskId, commit }) =>
        deliveryChange(open.graph, taskId, { set: { pr_url: url, commit_sha: commit, status } }),
      ),
      ...named.map((taskId) => deliveryChange(open.graph, taskId, { set: { pr_url: url } })),
      withArtifact(open, { kind: "pull_request", path: url, created_at: at }),
    ],
  );
}

/** The change that names an artifact once. */
export function withArtifact(
  open: Pick<OpenGoal, "goal">,
  artifact: ArtifactRef,
): DocumentChange | undefined {
  const { artifacts } = open.goal;
  const isKnown = artifacts.some(({ kind, path }) => kind === artifact.kind && path === artifact.path);
  return isKnown ? undefined : change("goal.json", { artifacts: [...artifacts, artifact] });
}
