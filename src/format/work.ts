/** `work.json`: what the loop has done for a goal so far, so that a killed run goes on where it stood. */
import { z } from "zod";

import { GateResult } from "./gate.ts";
import { Instant } from "./instant.ts";
import { OracleEvidence } from "./integration.ts";
import { Plan } from "./plan.ts";
import { AddedTests, BaseCopies, EvidenceFile, ReviewArtifact, Usage } from "./proof.ts";

/** How one path differs between two trees. */
export const TreeChange = z.looseObject({
  path: z.string(),
  kind: z.enum(["added", "modified", "deleted", "type_changed"]),
  old_mode: z.string().nullable(),
  new_mode: z.string().nullable(),
});

/** One turn of an agent on a task. */
export const Attempt = z.looseObject({
  task_id: z.string(),
  /** Counts from 1; an interrupted attempt keeps its number. */
  number: z.int().min(1),
  /** The `seq` of the event that claimed the task. */
  fence: z.int().min(0),
  run_key: z.string(),
  spawn_id: z.string(),
  status: z.enum(["running", "ended", "interrupted"]),
  /** How the turn ended, and the class of its failure. */
  outcome: z.string().nullable(),
  outcome_code: z.string().nullable(),
  /** When the provider takes requests again, if it said so. */
  resets_at: z.string().optional(),
  start_tree: z.string(),
  result_tree: z.string().nullable(),
  started_at: Instant,
  ended_at: Instant.nullable(),
  summary: z.string().nullable(),
  usage: Usage.nullable(),
  /** What the agent said it is; absent when it never came to that. */
  agent: z.looseObject({ name: z.string().nullable(), version: z.string().nullable() }).optional(),
  /** Whether it used up one of the attempts that the goal allows. */
  counted: z.boolean(),
});
export type Attempt = z.infer<typeof Attempt>;

/** A turn of the engine that belongs to no task: planning, or reviewing. It only reads. */
export const HelperTurn = z.looseObject({
  role: z.enum(["plan", "review"]),
  /** What it was about, e.g. the section that a reviewer looks at. */
  task: z.string(),
  /** The `seq` of the event that began it. */
  fence: z.int().min(0),
  spawn_id: z.string(),
  status: z.enum(["running", "ended", "interrupted"]),
  outcome: z.string().nullable(),
  started_at: Instant,
  ended_at: Instant.nullable(),
  usage: Usage.nullable(),
});
export type HelperTurn = z.infer<typeof HelperTurn>;

/** Something that would keep a goal from being ready and that a person let pass, with the reason. */
export const Waiver = z.looseObject({
  /**
   * `change`: a path outside the write sets, or a protected one. `finding`: a finding of the review, by its id.
   * `gates`: the gates that were found in the result.
   */
  kind: z.enum(["change", "finding", "gates"]),
  /** The path, the finding's id, or the digest of the gates. */
  what: z.string(),
  reason: z.string(),
  at: Instant,
});
export type Waiver = z.infer<typeof Waiver>;

/** How the work was planned. */
export const RecordedPlan = z.looseObject({
  /** Who planned: the engine, or omk's own rules. */
  source: z.enum(["engine", "rules"]),
  /** Why the rules planned although an engine was wanted. */
  fallback: z.string().optional(),
  engine: z.string().optional(),
  /** What the engine planned, as `format/plan.ts` types it. */
  plan: Plan.optional(),
});
export type RecordedPlan = z.infer<typeof RecordedPlan>;

/** The gates on one tree, and what followed from them. */
export const GateWork = z.looseObject({
  tree: z.string(),
  /** Names the folder of the run's logs. */
  run: z.string(),
  results: z.array(GateResult),
  /** Null when no protected files were touched. */
  base_copies: BaseCopies.nullable().default(null),
  /** Null when the change adds no tests, or a gate that turned green says enough. */
  added_tests: AddedTests.nullable().default(null),
  /** Paths that the gates changed. */
  side_effects: z.array(z.string()),
});
export type GateWork = z.infer<typeof GateWork>;

/** `work.json`. */
export const Work = z.looseObject({
  version: z.int().min(1),
  seq: z.int().min(0).optional(),
  /** What the work starts from; `position` changes when another hand moves HEAD or the index. */
  base: z.looseObject({ tree: z.string(), position: z.string(), commit: z.string().nullable() }).nullable(),
  baseline: z.looseObject({ tree: z.string(), gates: z.array(GateResult) }).nullable(),
  attempts: z.array(Attempt),
  /** Turns of the engine beside its tasks. */
  helper_turns: z.array(HelperTurn).default([]),
  /** Absent until the goal is planned; goals of earlier versions have none. */
  plan: RecordedPlan.optional(),
  /** Paths that the work changed outside its tasks' write sets. */
  outside_write_sets: z.array(z.string()).default([]),
  waivers: z.array(Waiver).default([]),
  /** How many attempts were made before a person last gave the goal fresh ones. */
  attempts_from: z.int().min(0).default(0),
  /** The fence of the attempt whose failure outside a person has answered by resuming. */
  resumed_fence: z.int().min(0).optional(),
  /** What the work has left so far, and how it differs from the base. */
  result: z.looseObject({ tree: z.string(), changed_files: z.array(TreeChange) }).nullable(),
  gates: GateWork.nullable(),
  /** Files of the result that were not as they were checked when the goal was to be concluded. */
  drift: z.looseObject({ tree: z.string(), paths: z.array(z.string()) }).optional(),
  /** Every path that gates ever wrote into the project. */
  side_effects: z.array(z.string()).default([]),
  review: z
    .looseObject({
      tree: z.string(),
      /** The gate run it judged: after another one it says nothing. */
      gates_run: z.string().nullable().optional(),
      sections: z.array(ReviewArtifact),
      oracle: OracleEvidence,
      at: Instant,
    })
    .nullable(),
  acceptance: z
    .looseObject({
      decision: z.enum(["accepted", "rejected"]),
      summary: z.string(),
      decided_at: Instant,
      /** What was accepted: for another tree the decision says nothing. */
      tree: z.string(),
      /** Checks a person vouches for, each with the statement. */
      attested: z.record(z.string(), z.string()).default({}),
      artifact_path: z.string(),
      missing_evidence: z.array(z.string()),
    })
    .nullable(),
  /** The command that takes the work back, to be run in the project directory. */
  undo: z.string().optional(),
  /** Every evidence file so far. */
  evidence: z.array(EvidenceFile).default([]),
  /** How long the goal has worked; it does not count while it rests. */
  active_ms: z.number().min(0).default(0),
});
export type Work = z.infer<typeof Work>;
