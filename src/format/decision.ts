/** One line of `decisions.jsonl`: what was decided about a goal, and why. */
import { z } from "zod";

import { GoalPhase } from "./goal.ts";
import { Instant } from "./instant.ts";

/** A recorded decision. */
export const Decision = z.looseObject({
  version: z.int().min(0).default(1),
  goal_id: z.string(),
  created_at: Instant,
  actor: z.string(),
  phase: GoalPhase,
  kind: z.string(),
  decision: z.string(),
  rationale: z.string(),
  constraints: z.array(z.string()),
  /** Relative to the goal's folder. */
  artifacts: z.array(z.string()),
});
export type Decision = z.infer<typeof Decision>;
