/** `goal.json`: what is wanted, how it stands, and what was decided at its creation. */
import { z } from "zod";

import { ApprovalKeys } from "./approval.ts";
import { GateSet } from "./gate.ts";
import { Instant } from "./instant.ts";
import { Count, Decimal } from "./number.ts";

/** How a goal stands. */
export const GoalStatus = z.enum([
  "running",
  "ready",
  "not_ready",
  "blocked_on_human",
  "blocked_on_external",
  "needs_more_budget",
  "failed_infra",
  "paused",
  "cancelled",
]);
export type GoalStatus = z.infer<typeof GoalStatus>;

/** Which part of its life a goal is in. */
export const GoalPhase = z.enum([
  "intake",
  "planning",
  "decomposition",
  "execution",
  "verification_design",
  "proof",
]);
export type GoalPhase = z.infer<typeof GoalPhase>;

/** Where results go. */
export const DeliveryPolicy = z.enum(["local", "draft-pr", "auto-pr"]);
export type DeliveryPolicy = z.infer<typeof DeliveryPolicy>;

/** Who merges. */
export const MergePolicy = z.enum(["disabled", "manual", "gated"]);
export type MergePolicy = z.infer<typeof MergePolicy>;

/** Kinds of goals, which decide what evidence readiness needs. */
export const GoalKind = z.enum([
  "greenfield",
  "rewrite",
  "migration",
  "refactor",
  "audit",
  "bugfix",
  "performance",
  "docs",
  "mixed",
]);
export type GoalKind = z.infer<typeof GoalKind>;

/** A file the goal has made; the path is relative to the goal's folder (0.5.0 also put absolute paths and URLs here). */
export const ArtifactRef = z.looseObject({ kind: z.string(), path: z.string(), created_at: Instant });
export type ArtifactRef = z.infer<typeof ArtifactRef>;

/** Why a goal stopped. */
const GoalFailure = z.looseObject({ reason: z.string(), recorded_at: Instant });

/** Kept because 0.5.0 writes it; nothing ever consulted it. */
const TerminalCriteria = z.looseObject({
  proof_required: z.boolean(),
  gates_required: z.boolean(),
  human_blockers_stop: z.boolean(),
});

/** `goal.json`. The keys of 0.5.0 come first, in its order; ours follow. */
export const Goal = z.looseObject({
  version: z.int().min(0).default(1),
  goal_id: z.string(),
  original_goal: z.string(),
  normalized_goal: z.string(),
  status: GoalStatus,
  phase: GoalPhase.default("intake"),
  created_at: Instant,
  updated_at: Instant,
  completed_at: Instant.optional(),
  until_ready: z.boolean().default(false),
  budget_time: z.string().optional(),
  budget_tokens: Count.optional(),
  budget_usd: Decimal.optional(),
  max_agents: z.int().min(0).optional(),
  cost_tracker_path: z.string().optional(),
  terminal_criteria: TerminalCriteria.default({
    proof_required: true,
    gates_required: true,
    human_blockers_stop: true,
  }),
  delivery_policy: DeliveryPolicy.default("local"),
  merge_policy: MergePolicy.default("disabled"),
  slice_execution: z.boolean().default(false),
  artifacts: z.array(ArtifactRef).default([]),
  failure: GoalFailure.optional(),
  /** The goal's folder when it was written; whoever reads it knows better. */
  state_dir: z.string().default(""),

  /** The newest event this snapshot includes. */
  seq: z.int().min(0).optional(),
  /** Where the line of that event ends in `events.jsonl`. */
  log_bytes: z.int().min(0).optional(),
  project_dir: z.string().optional(),
  base_commit: z.string().nullable().optional(),
  engine: z.string().nullable().optional(),
  gates: GateSet.optional(),
  max_attempts: z.int().min(1).optional(),
  auto_accept: z.boolean().optional(),
  ...ApprovalKeys,
  no_llm_planner: z.boolean().optional(),
  /** What kind of goal it is, where a person said so; else its words tell. */
  kind: GoalKind.optional(),
  /** For goals that must keep what the project does: commands to observe, and files where its interface begins. */
  surface: z.looseObject({ commands: z.array(z.string()), api_files: z.array(z.string()) }).optional(),
  /** How many tokens the planner may answer with. */
  planner_token_budget: z.int().min(1).optional(),
  /** Protected files that the change may touch, as globs. */
  may_change: z.array(z.string()).optional(),
  /** Gates that may stay red where the base is red, too. */
  allow_red: z.array(z.string()).optional(),
  /** Whether the engine reviews the result, reading only. */
  agent_review: z.boolean().optional(),
  /** Whether an accepted result is laid over the files of the project directory as well. */
  apply: z.boolean().optional(),
  /** Whether the base branch's protection is to demand the goal's gates before a merge. */
  enforce_protection: z.boolean().optional(),
  /** What people answered to questions of the goal, oldest first. */
  answers: z.array(z.looseObject({ question: z.string(), answer: z.string(), at: Instant })).optional(),
  /** Why the goal has its status, as a code. */
  reason_code: z.string().optional(),
});
export type Goal = z.infer<typeof Goal>;
