/** What was spent and what is left: `budget-checkpoints.jsonl` and `cost.jsonl`. */
import { z } from "zod";

import { GoalPhase, GoalStatus } from "./goal.ts";
import { Instant } from "./instant.ts";
import { Count, Decimal } from "./number.ts";

/** One line of `budget-checkpoints.jsonl`, also the payload of a `budget_checkpoint` event. */
export const BudgetCheckpoint = z.looseObject({
  version: z.int().min(0).default(1),
  goal_id: z.string(),
  label: z.string(),
  status: GoalStatus,
  phase: GoalPhase,
  recorded_at: Instant,
  budget_time: z.string().optional(),
  total_budget_secs: Count.optional(),
  elapsed_since_created_secs: Count,
  remaining_budget_secs: Count.optional(),
  budget_tokens: Count.optional(),
  used_tokens: Count.default(0),
  remaining_budget_tokens: Count.optional(),
  budget_usd: Decimal.optional(),
  estimated_cost_usd: Decimal.default(0),
  remaining_budget_usd: Decimal.optional(),
});
export type BudgetCheckpoint = z.infer<typeof BudgetCheckpoint>;

/** What a piece of work is thought to have cost. */
const CostEstimate = z.looseObject({
  input_tokens: Count,
  output_tokens: Count,
  duration_secs: Count,
  worker_count: Count,
  estimated_usd: Decimal,
  tier: z.enum(["Budget", "Standard", "Premium"]),
});

/** One entry of the cost file. */
const CostEntry = z.looseObject({
  session_type: z.string(),
  name: z.string(),
  started_at: Instant,
  ended_at: Instant.nullable().default(null),
  estimate: CostEstimate,
  actual_usd: Decimal.nullable().default(null),
});

/** `cost.jsonl` of a goal and `costs.json` of the state root: one array, whatever the first one's name says. */
export const CostFile = z.array(CostEntry);
export type CostFile = z.infer<typeof CostFile>;
