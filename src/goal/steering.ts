/** What of the user's repository steers git there, where a goal's attempts work in folders of their own. */
import {
  heldBackBySteering,
  recordSteering as recordSteeringOf,
  type SteeringOwner,
  type SteeringPorts,
} from "../approval/steering.ts";
import type { PrivateGit } from "../git/private-git.ts";
import { change, type OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";

/** Records it, as the work begins. */
export function recordSteering(
  open: OpenGoal,
  git: PrivateGit,
  ports: Pick<SteeringPorts, "redactor">,
  signal: AbortSignal,
): Promise<void> {
  return recordSteeringOf(ownerOf(open), git, ports, signal);
}

/** The ending of a goal that must not be delivered before a person has said so; undefined where nothing was planted. */
export async function steeringEnding(
  open: OpenGoal,
  space: { sliced?: { git: PrivateGit } | undefined },
  ports: SteeringPorts,
  signal: AbortSignal,
): Promise<Ending | undefined> {
  if (!space.sliced) return undefined;
  const held = await heldBackBySteering(ownerOf(open), space.sliced.git, ports, signal);
  return held && { status: "blocked_on_human", reasonCode: held.code, reason: held.reason };
}

function ownerOf(open: OpenGoal): SteeringOwner {
  return {
    id: open.id,
    approvals: open.approvals,
    task: "goal-deliver",
    actor: "goal-controller",
    fence: open.work.attempts.at(-1)?.fence ?? 0,
    resume: `omk goal resume ${open.id}`,
    steering: () => open.work.steering,
    change: (steering) => change("work.json", { steering }),
    record: (...events) => open.record(...events),
  };
}
