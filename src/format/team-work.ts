/** `team-work.json`: what a team run was asked for and what was done so far, so that a killed run goes on where it stood. */
import { z } from "zod";

import { ApprovalKeys } from "./approval.ts";
import { GateResult, GateSet } from "./gate.ts";
import { Instant } from "./instant.ts";
import { EvidenceFile, Usage } from "./proof.ts";
import { GateWork, TreeChange } from "./work.ts";

/** One execution of a task by a worker. Attempts are only in the log, under their fence. */
export const RunAttempt = z.looseObject({
  /** The fence as text. */
  id: z.string(),
  task_id: z.string(),
  /** Counts the executions of a task that used up one of its attempts; an interrupted one keeps its number. */
  number: z.int().min(1),
  worker_id: z.string(),
  spawn_id: z.string(),
  /** `lost`: its worker gave no sign of life for a whole lease and was ended. */
  status: z.enum(["running", "ended", "interrupted", "lost"]),
  outcome: z.string().nullable(),
  outcome_code: z.string().nullable(),
  /** When the provider takes requests again, if it said so. */
  resets_at: z.string().optional(),
  summary: z.string().nullable(),
  usage: Usage.nullable(),
  /** Whether it used up one of the attempts that the run allows. */
  counted: z.boolean(),
  started_at: Instant,
  ended_at: Instant.nullable(),
  /** Its transcript. */
  evidence: z.array(EvidenceFile).default([]),
});
export type RunAttempt = z.infer<typeof RunAttempt>;

/** `team-work.json`. */
export const TeamWork = z.looseObject({
  version: z.int().min(1),
  seq: z.int().min(0).optional(),
  project_dir: z.string(),
  engine: z.string(),
  /** Engines of their own, by role: what is configured for splitting (`decompose`) and summing up (`synthesize`). */
  role_engines: z.record(z.string(), z.string()).optional(),
  engine_version: z.string().nullable().default(null),
  max_attempts: z.int().min(1),
  /** What the role may use, as it was when the run was made. */
  role: z.looseObject({ id: z.string(), system_prompt: z.string(), tools: z.array(z.string()) }),
  budget_ms: z.number().min(1).optional(),
  budget_tokens: z.number().optional(),
  budget_usd: z.number().optional(),
  ...ApprovalKeys,
  /** An attempt without any sign of life is given up after this long. */
  idle_ms: z.number().min(1),
  /** How long a silent worker keeps its task; null follows from `idle_ms`. */
  lease_ms: z.number().min(1).nullable(),
  /** The gates that count, fixed when the run was made. */
  gates: GateSet,
  /** What the work starts from; `start` is the tree after the gates ran on it, which may have written something. */
  base: z
    .looseObject({
      tree: z.string(),
      start: z.string(),
      commit: z.string().nullable(),
    })
    .nullable(),
  baseline: z.looseObject({ tree: z.string(), gates: z.array(GateResult) }).nullable(),
  /** Where the tasks come from: the engine's answer, the rule for when that fails, or the text itself. */
  decomposition: z
    .looseObject({ source: z.enum(["engine", "fallback", "given"]), reason: z.string().nullable() })
    .nullable(),
  /** What the work has left so far, and how it differs from the base. */
  result: z.looseObject({ tree: z.string(), changed_files: z.array(TreeChange) }).nullable(),
  /** The gates on the result. */
  verification: GateWork.nullable(),
  /** Two or three sentences of the engine's; null when nobody was asked or it failed. */
  synthesis: z.looseObject({ text: z.string().nullable() }).nullable(),
  /** Why the run stopped before its end, as a code and a sentence; null while nothing did. */
  stopped: z.looseObject({ code: z.string(), reason: z.string() }).nullable(),
  /** What turns that belong to no task have cost. */
  helper_usage: z.looseObject({ tokens: z.number().min(0), usd: z.number().min(0) }),
  /** Paths that gates ever wrote into the project. */
  side_effects: z.array(z.string()),
  /** Evidence files that belong to no attempt. */
  evidence: z.array(EvidenceFile),
  /** The command that takes the work back, to be run in the project directory. */
  undo: z.string().optional(),
  /** How long the run has worked; it does not count while it rests. */
  active_ms: z.number().min(0),
});
export type TeamWork = z.infer<typeof TeamWork>;
