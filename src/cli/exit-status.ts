/** The exit status of a goal's ending (the table is in `docs/exit-status.md`). */
import type { Ending } from "../goal/proof.ts";

/** Codes of goals that are not ready only for want of a person's word. */
const WAITS_FOR_A_PERSON: ReadonlySet<string> = new Set([
  "acceptance_needed",
  "gates_unapproved",
  "clean_checkout_lost",
  "linked_changed",
  "environment_points_back",
  "part_unchanged",
]);

/** What the process ends with when a goal was driven to this ending. */
export function exitStatusOf(ending: Ending): number {
  switch (ending.status) {
    case "ready":
      return 0;
    case "not_ready":
    case "running":
      return WAITS_FOR_A_PERSON.has(ending.reasonCode) ? 3 : 1;
    case "blocked_on_human":
      return 3;
    case "blocked_on_external":
      return 4;
    case "needs_more_budget":
      return 5;
    case "paused":
    case "cancelled":
      return 6;
    case "failed_infra":
      return 74;
  }
}

/** From the most telling to the least: what is broken, what is held, what waits for others, what did not pass, what was stopped. */
const TELLING = [70, 74, 78, 77, 75, 4, 5, 3, 1, 6];

/** The one status for several pieces of work: 0 when all ended with that, else the one that tells most. */
export function mostTelling(statuses: readonly number[]): number {
  return TELLING.find((status) => statuses.includes(status)) ?? Math.max(0, ...statuses);
}
