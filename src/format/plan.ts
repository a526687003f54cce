/** A plan of a goal, as an engine answers it and `work.json` keeps it. */
import { z } from "zod";

/** What limits a plan; more is no plan but a flood. */
export const PLAN_SLICES_MAX = 50;

/** A part of the work that one agent does in one turn. Paths are relative to the project directory. */
export const PlannedTask = z.looseObject({
  id: z.string(),
  title: z.string(),
  description: z.string(),
  read_set: z.array(z.string()).default([]),
  write_set: z.array(z.string()).default([]),
  /** Ids of other parts that must be done before. */
  dependencies: z.array(z.string()).default([]),
  acceptance: z.array(z.string()).default([]),
  risk: z.enum(["low", "medium", "high"]).default("medium"),
  estimated_difficulty: z.enum(["trivial", "easy", "medium", "hard", "complex"]).default("medium"),
});
export type PlannedTask = z.infer<typeof PlannedTask>;

/** A whole plan. */
export const Plan = z.looseObject({
  kind: z.string(),
  summary: z.string().default(""),
  slices: z.array(PlannedTask).min(1).max(PLAN_SLICES_MAX),
  acceptance_criteria: z.array(z.string()).default([]),
  complexity_score: z.number().min(1).max(10).optional(),
  estimated_hours: z.number().min(0).optional(),
  estimated_tokens: z.number().min(0).optional(),
});
export type Plan = z.infer<typeof Plan>;
