/** Whether a goal's attempts work in folders of their own, and how many at once. */
import type { Goal } from "../format/goal.ts";

type Policies = Pick<Goal, "slice_execution" | "max_agents" | "delivery_policy">;

/** In folders of their own: asked for, or needed for several agents at once or for pull requests. Else in place. */
export function isSliced({ slice_execution, max_agents = 1, delivery_policy }: Policies): boolean {
  return slice_execution || max_agents > 1 || delivery_policy !== "local";
}

/** Attempts at once. */
export function agentsAtOnce({ max_agents = 1 }: Pick<Goal, "max_agents">): number {
  return Math.max(1, max_agents);
}
