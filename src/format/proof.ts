/** `proof.json`: what was shown, by which evidence, and what is missing. */
import { z } from "zod";

import { GateResult } from "./gate.ts";
import { ArtifactRef, GoalStatus } from "./goal.ts";
import { Instant } from "./instant.ts";
import { IntegrationEvidence, OracleEvidence } from "./integration.ts";
import { Count } from "./number.ts";
import { Delivery, TaskGraphSummary } from "./task-graph.ts";

/** One section of the review wall. `not_applicable` is ours and comes with a `reason`. */
export const ReviewArtifact = z.looseObject({
  pass: z.string(),
  status: z.enum(["passed", "blocked", "not_applicable"]),
  path: z.string(),
  summary: z.string(),
  evidence: z.array(z.string()),
  risks: z.array(z.string()),
  known_gaps: z.array(z.string()),
  recommended_next_step: z.string(),
  reason: z.string().optional(),
});
export type ReviewArtifact = z.infer<typeof ReviewArtifact>;

/** Where the repository stood. */
const GitEvidence = z.looseObject({ branch: z.string(), head: z.string(), dirty: z.boolean() });

/** A thing that keeps a goal from being ready: the code decides, the text informs. */
const Gap = z.looseObject({ code: z.string(), text: z.string() });

/** A file written once; the path is relative to the goal's folder. */
export const EvidenceFile = z.looseObject({
  path: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  bytes: z.int().min(0),
});
export type EvidenceFile = z.infer<typeof EvidenceFile>;

/** Gates on a mixture of two trees, and the files that came from the other one. */
const MixedRun = z.looseObject({ files: z.array(z.string()), results: z.array(GateResult) });

/** The gates on the result with the base's copies of protected files. `unusable`: the copy cannot run gates at all. */
export const BaseCopies = MixedRun.extend({ status: z.enum(["passed", "failed", "unusable"]) });
export type BaseCopies = z.infer<typeof BaseCopies>;

/** The gates on the base with the tests that the change adds. */
export const AddedTests = MixedRun.extend({ status: z.enum(["red_on_base", "green_on_base", "unusable"]) });
export type AddedTests = z.infer<typeof AddedTests>;

const USAGE = {
  input_tokens: z.number().min(0),
  output_tokens: z.number().min(0),
  cache_read_tokens: z.number().min(0).optional(),
  cache_write_tokens: z.number().min(0).optional(),
  cost_usd: z.number().min(0).optional(),
  /** Whether the cost was reported by the engine, or computed from the tokens by the price table. */
  cost_source: z.enum(["reported", "priced"]).optional(),
  quality: z.enum(["exact", "last_call_only", "estimated", "missing"]),
};

/** What a turn cost. Typed without the catch-all for foreign keys, so that an engine's own record fits. */
export const Usage: z.ZodObject<typeof USAGE> = z.looseObject(USAGE);
export type Usage = z.infer<typeof Usage>;

/** An attempt as the proof lists it. */
const ProvenAttempt = z.looseObject({
  number: z.int().min(1),
  fence: z.int().min(0),
  status: z.string(),
  outcome: z.string().nullable(),
  outcome_code: z.string().nullable(),
  summary: z.string().nullable(),
  usage: Usage.nullable(),
  counted: z.boolean(),
});

/** `proof.json` of a goal. The keys of 0.5.0 come first, in its order; ours follow. */
export const Proof = z.looseObject({
  version: z.int().min(0).default(1),
  goal_id: z.string(),
  status: GoalStatus,
  readiness: z.string(),
  summary: z.string(),
  generated_at: Instant,
  artifacts: z.array(ArtifactRef),
  task_graph_summary: TaskGraphSummary,
  delivery_metadata: z.array(Delivery).optional(),
  review_artifacts: z.array(ReviewArtifact).optional(),
  integration_evidence: IntegrationEvidence.optional(),
  oracle_evidence: OracleEvidence.optional(),
  changed_files: z.array(z.string()),
  commits: z.array(z.string()),
  git: GitEvidence.optional(),
  gates: z.array(GateResult),
  /** Gates ran on exactly the result. */
  post_mutation_gates_ran: z.boolean().default(false),
  known_gaps: z.array(z.string()),
  human_decisions_required: z.array(z.string()),
  recovery_status: z.string().optional(),

  /** Why the goal has its status, as a code. */
  reason_code: z.string().optional(),
  /** What decides about readiness: the code of the most telling gap, or `ready`. */
  readiness_code: z.string().optional(),
  /** `known_gaps` with their codes. */
  gaps: z.array(Gap).optional(),
  /** What the work started from. */
  base: z.looseObject({ commit: z.string().nullable(), tree: z.string().nullable() }).optional(),
  /** What the work left. */
  result: z.looseObject({ tree: z.string().nullable() }).optional(),
  /** The gates on the base. */
  baseline: z.array(GateResult).optional(),
  base_copies: BaseCopies.optional(),
  added_tests: AddedTests.optional(),
  /** Protected files of the base that the change touched. */
  protected_changes: z.array(z.string()).optional(),
  /** Files that gates changed. */
  side_effects: z.array(z.string()).optional(),
  attempts: z.array(ProvenAttempt).optional(),
  /** `said` is what the agent said last: carried, never believed. */
  engine: z
    .looseObject({
      name: z.string().nullable(),
      version: z.string().nullable().optional(),
      said: z.string().nullable().optional(),
    })
    .optional(),
  budget_spent: z
    .looseObject({ active_ms: z.number().min(0), tokens: z.number().min(0), usd: z.number().min(0) })
    .optional(),
  gates_digest: z.string().nullable().optional(),
  /** The last event before this proof. */
  log: z.looseObject({ seq: z.int().min(0), digest: z.string() }).optional(),
  evidence: z.array(EvidenceFile).optional(),
  omk_version: z.string().optional(),
  sandbox: z.string().optional(),
});
export type Proof = z.infer<typeof Proof>;

/** How a team run stands. */
export const RunStatus = z.enum(["ready", "not_ready", "failed"]);
export type RunStatus = z.infer<typeof RunStatus>;

/** What the engines' messages of a run showed. */
const WireEvidence = z.looseObject({
  event_count: z.int().min(0),
  request_count: z.int().min(0),
  output_count: z.int().min(0),
  prompt_like_messages: z.int().min(0),
  unique_methods: z.array(z.string()).optional(),
  unique_events: z.array(z.string()).optional(),
  unique_requests: z.array(z.string()).optional(),
});

/** `proof.json` of a team run. */
export const RunProof = z.looseObject({
  run_id: z.string(),
  status: RunStatus,
  generated_at: Instant,
  changed_files: z.array(z.looseObject({ path: z.string(), operation: z.string() })),
  gates: z.array(
    z.looseObject({
      name: z.string(),
      status: z.enum(["passed", "failed", "skipped"]),
      required: z.boolean(),
      evidence: z.looseObject({}).nullable().default(null),
    }),
  ),
  failures: z.array(
    z.looseObject({
      task_id: z.string().nullable().default(null),
      worker_id: z.string().nullable().default(null),
      description: z.string(),
      timestamp: Instant,
    }),
  ),
  retries: z.array(z.looseObject({ task_id: z.string(), attempt: z.int().min(0), reason: z.string() })),
  known_gaps: z.array(z.string()),
  wire_evidence: WireEvidence.optional(),
  summary: z.string(),
  elapsed_secs: Count,
});
export type RunProof = z.infer<typeof RunProof>;
