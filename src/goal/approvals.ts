/** How a goal waits for a person: the ending over a request that nobody answered, and what keeps it from going on. */
import { approvalsFor, summaryOf, type Approvals } from "../approval/approvals.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";
import { projectDirOf } from "./workspace.ts";

/** Who decides what the agents of this goal ask. */
export function approvalsOf(open: OpenGoal, ports: GoalPorts): Approvals {
  return approvalsFor(open.approvals, open.goal, projectDirOf(open.id, open.goal), ports);
}

/** The code of the ending. */
export const APPROVAL_NEEDED = "approval_needed";

/** The last attempt ended over a request that nobody answered in time, and nobody has said to go on since. */
export function approvalEnding(open: OpenGoal): Ending | undefined {
  const last = open.work.attempts.at(-1);
  if (last?.outcome !== "blocked" || (open.work.resumed_fence ?? -1) >= last.fence) return undefined;
  const waiting = open.approvals.open;
  const [first] = waiting;
  const reason = first
    ? `${waitingText(waiting.length)}: ${first.id} (${summaryOf(first)}); ` +
      `answer with \`omk approvals answer ${first.id} approve\`, then \`omk goal resume ${open.id}\``
    : `what was asked is answered: \`omk goal resume ${open.id}\` goes on`;
  return { status: "blocked_on_human", reasonCode: APPROVAL_NEEDED, reason };
}

function waitingText(count: number): string {
  return count === 1 ? "a request waits for a person" : `${count} requests wait for a person`;
}
