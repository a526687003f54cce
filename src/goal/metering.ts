/** Following what a goal's turn costs while it runs. */
import { unlimitedMeter, type TurnMeter } from "../budget/ledger.ts";
import type { Attempt } from "../format/work.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";

/** The meter of one attempt, whose ceiling is all that the goal has left. */
export function meterAttempt(_open: OpenGoal, _attempt: Attempt, _ports: GoalPorts): TurnMeter {
  return unlimitedMeter();
}
