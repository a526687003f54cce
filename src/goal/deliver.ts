/** The last stretch: an accepted result goes where the goal's policy wants it, once, whatever step is interrupted. */
import { instantOf } from "../format/stamp.ts";
import { factsOf } from "./facts.ts";
import { deliveryAbout } from "./delivery-state.ts";
import { deliverToGitHub } from "./github-delivery.ts";
import { deliverLocally } from "./local-delivery.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";
import { isSliced } from "./sliced.ts";
import { slicedSpace } from "./sliced-space.ts";
import { steeringEnding } from "./steering.ts";
import { onlyDeliveryMissing } from "./verdict.ts";
import type { Workspace } from "./workspace.ts";

/**
 * Delivers when everything else holds; what it waits for where it cannot. Work in place is where it belongs already. Asked
 * again after a kill or a failure, it goes on at the step that was not done.
 */
export async function deliverIfDue(
  open: OpenGoal,
  space: Workspace,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Ending | undefined> {
  const facts = factsOf(open.goal, open.work, open.graph);
  if (!isSliced(open.goal) || !onlyDeliveryMissing(facts)) return undefined;
  await beginDelivery(open);
  const sliced = slicedSpace(space);
  const deliver = open.goal.delivery_policy === "local" ? deliverLocally : deliverToGitHub;
  const stopped =
    (await steeringEnding(open, sliced, ports, signal)) ?? (await deliver(open, sliced, ports, signal));
  if (stopped) return stopped;
  await open.update(() => [
    {
      kind: "delivered",
      actor: "goal-controller",
      payload: { policy: open.goal.delivery_policy, tree: open.work.result?.tree },
      changes: [
        change("work.json", { delivery: { ...open.work.delivery, done_at: instantOf(ports.clock.now()) } }),
      ],
    },
  ]);
  return undefined;
}

/** A delivery is about one result: of another one only what is outside is still known. */
async function beginDelivery(open: OpenGoal): Promise<void> {
  const { delivery, result } = open.work;
  const tree = result?.tree ?? "";
  if (delivery?.tree === tree) return;
  const begun = deliveryAbout(tree, delivery);
  await open.record({
    kind: "delivery_started",
    actor: "goal-controller",
    payload: { policy: open.goal.delivery_policy, merge_policy: open.goal.merge_policy, tree },
    changes: [change("work.json", { delivery: begun })],
  });
}
