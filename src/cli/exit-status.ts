/** The exit status of a goal's ending (the table is in `docs/exit-status.md`). */
import type { Ending } from "../goal/proof.ts";

/** What the process ends with when a goal was driven to this ending. */
export function exitStatusOf(ending: Ending): number {
  switch (ending.status) {
    case "ready":
      return 0;
    case "not_ready":
    case "running":
      return ending.reasonCode === "acceptance_needed" ? 3 : 1;
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
