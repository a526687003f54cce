/** `proof.json`: what was shown, by which evidence, and what is missing. */
import { z } from "zod";

import { DeliveryWork } from "./delivery.ts";
import { GateResult } from "./gate.ts";
import { ArtifactRef, GoalStatus } from "./goal.ts";
import { Instant } from "./instant.ts";
import { IntegrationEvidence, OracleEvidence } from "./integration.ts";
import { Count } from "./number.ts";
import { FolderSetAside } from "./slices.ts";
import { Delivery, TaskGraphSummary } from "./task-graph.ts";

/** Something that a review found in a change. `id` stays the same when the same thing is found again. */
export const ReviewFinding = z.looseObject({
  id: z.string(),
  path: z.string(),
  /** Null for what concerns the whole file, or none. */
  line: z.int().min(1).nullable(),
  kind: z.string(),
  severity: z.enum(["low", "medium", "high", "critical"]),
  /** From 0 to 1: how sure it is. */
  confidence: z.number().min(0).max(1),
  /** For a reader; never a secret's value. */
  text: z.string(),
});
export type ReviewFinding = z.infer<typeof ReviewFinding>;

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
  /** For `blocked`: what is missing cannot be waived, findings can. */
  blocked_by: z.enum(["evidence", "findings"]).optional(),
  findings: z.array(ReviewFinding).optional(),
  /** For `anti-slop`: what the findings amount to, from 0 to 1. */
  confidence: z.number().min(0).max(1).optional(),
  /** Findings that a person let pass. */
  waived: z.array(z.looseObject({ finding: z.string(), reason: z.string() })).optional(),
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

/** The gates on a fresh checkout, without anything that lies in the project beside its tree. */
export const CleanCheckout = z.looseObject({
  /** `unusable`: it says nothing, and the work tree decides. */
  status: z.enum(["passed", "failed", "unusable"]),
  code: z.literal("clean_checkout_unusable").optional(),
  /** Why it is not `passed`. */
  reason: z.string().optional(),
  /** The commands that set it up, then the gates. */
  results: z.array(GateResult),
  /** Files of the set-up that are as the base has them. */
  files: z.array(z.string()).optional(),
  /** Where it is unusable: ignored files that the gates could see instead, the first of them. */
  ignored: z.array(z.string()).optional(),
  ignored_total: z.int().min(0).optional(),
});
export type CleanCheckout = z.infer<typeof CleanCheckout>;

/** A file that decides how gates judge, and how the change touches it. */
export const ProtectedInput = z.looseObject({
  path: z.string(),
  class: z.enum([
    "test",
    "runner_configuration",
    "gate_configuration",
    "gate_program",
    "manifest",
    "ci",
    "agent_configuration",
  ]),
  change: z.enum(["added", "modified", "deleted", "type_changed"]),
  /** In a proof: whether the gates also pass without the change, or a person let it pass. */
  status: z.enum(["allowed", "passed", "failed", "unusable", "not_tried"]).optional(),
});
export type ProtectedInput = z.infer<typeof ProtectedInput>;

/** How a gate that the result defines differs from the goal's. */
export const ChangedDefinition = z.looseObject({
  name: z.string(),
  how: z.enum(["added", "removed", "changed"]),
});
export type ChangedDefinition = z.infer<typeof ChangedDefinition>;

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
  /** Absent in proofs of goals that could only have one task. */
  task_id: z.string().optional(),
  number: z.int().min(1),
  fence: z.int().min(0),
  status: z.string(),
  outcome: z.string().nullable(),
  outcome_code: z.string().nullable(),
  summary: z.string().nullable(),
  usage: Usage.nullable(),
  counted: z.boolean(),
});

/** A task as the proof lists it. */
const ProvenTask = z.looseObject({
  id: z.string(),
  title: z.string(),
  owner_role: z.string().optional(),
  status: z.string(),
  /** How many turns an agent took on it, interrupted ones included. */
  attempts: z.int().min(0),
});

/** A slice as the proof lists it: what became of it, and the commits that show it. */
export const ProvenSlice = z.looseObject({
  id: z.string(),
  status: z.enum([
    "waiting",
    "open",
    "working",
    "waiting_to_land",
    "landed",
    "in_conflict",
    "conflict_solved",
    "left_out",
  ]),
  branch: z.string().nullable(),
  attempts: z.int().min(0),
  /** Its own result. */
  commit: z.string().nullable(),
  /** The merged result with it. */
  landed: z.string().nullable(),
  waits_for: z.array(z.string()).optional(),
  /** Why its newest attempt was not taken, as a code. */
  not_taken: z.string().optional(),
  conflict: z
    .looseObject({ files: z.array(z.string()), evidence: z.string(), solved_by: z.string().nullable() })
    .optional(),
  /** A person accepted the result without it. */
  left_out: z.looseObject({ reason: z.string(), at: Instant }).optional(),
});
export type ProvenSlice = z.infer<typeof ProvenSlice>;

/** A turn of the engine beside the tasks, as the proof lists it. */
const ProvenHelperTurn = z.looseObject({
  role: z.string(),
  task: z.string(),
  outcome: z.string().nullable(),
  usage: Usage.nullable(),
});

/** Something that a person let pass. */
const ProvenWaiver = z.looseObject({ kind: z.string(), what: z.string(), reason: z.string(), at: Instant });

/** A request of an agent that a person was asked about, and what became of it. */
const ProvenApproval = z.looseObject({
  id: z.string(),
  task_id: z.string(),
  kind: z.string(),
  status: z.string(),
  decided_by: z.string().nullable(),
});

/** What one kind of work has cost. */
const SpentBy = z.looseObject({
  source: z.string(),
  turns: z.int().min(0),
  tokens: z.number().min(0),
  usd: z.number().min(0),
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
  /** What the work left; the commit where slices were merged to it. */
  result: z.looseObject({ tree: z.string().nullable(), commit: z.string().optional() }).optional(),
  /** Where attempts worked in folders of their own: every slice, and what could not be taken away of their folders. */
  slices: z.array(ProvenSlice).optional(),
  set_aside: z.array(FolderSetAside).optional(),
  /** Every step of the result on its way to where the goal's policy wants it. */
  delivery: DeliveryWork.optional(),
  /** The gates on the base. */
  baseline: z.array(GateResult).optional(),
  base_copies: BaseCopies.optional(),
  added_tests: AddedTests.optional(),
  /** Protected files of the base that the change touched. */
  protected_changes: z.array(z.string()).optional(),
  /** Everything that decides how gates judge and that the change touches. */
  protected_inputs: z.array(ProtectedInput).optional(),
  /** The gates on a fresh checkout of the result. */
  clean_checkout: CleanCheckout.optional(),
  /** Gates that the result defines in another way; they count when a person approves them. */
  changed_definitions: z.array(ChangedDefinition).optional(),
  /** Files that gates changed. */
  side_effects: z.array(z.string()).optional(),
  attempts: z.array(ProvenAttempt).optional(),
  /** `said` is what the agent said last: carried, never believed. */
  engine: z
    .looseObject({
      name: z.string().nullable(),
      /** What the agent that worked last said it was. */
      agent: z.string().nullable().optional(),
      version: z.string().nullable().optional(),
      said: z.string().nullable().optional(),
    })
    .optional(),
  /** Every task with its owner and how it ended. */
  tasks: z.array(ProvenTask).optional(),
  /** Who planned, and why it was not the engine where one was wanted. */
  plan: z
    .looseObject({ source: z.string(), engine: z.string().optional(), fallback: z.string().optional() })
    .optional(),
  helper_turns: z.array(ProvenHelperTurn).optional(),
  /** Changed paths that lie in no task's write set, whether or not a person allowed them. */
  outside_write_sets: z.array(z.string()).optional(),
  waivers: z.array(ProvenWaiver).optional(),
  answers: z.array(z.looseObject({ question: z.string(), answer: z.string(), at: Instant })).optional(),
  approvals: z.array(ProvenApproval).optional(),
  /** What was recorded of the old program, and in what the result differs; null when it was not compared. */
  golden: z
    .looseObject({
      observations: z.array(z.string()),
      /** Those that were seen beside a copy of what git ignores: their commands do something else without it. */
      with_ignored: z.array(z.string()).optional(),
      compared: z.boolean(),
      differences: z.array(z.string()),
      intentional: z.array(z.string()),
    })
    .optional(),
  budget_limits: z
    .looseObject({
      active_ms: z.number().min(0).nullable(),
      tokens: z.number().min(0).nullable(),
      usd: z.number().min(0).nullable(),
    })
    .optional(),
  budget_sources: z.array(SpentBy).optional(),
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

  /** `worktree` where attempts had folders of their own; then there is a branch when the run has ended with changes. */
  isolation: z.string().optional(),
  branch: z.string().nullable().optional(),
  /** With folders of their own: what each task changed. */
  tasks: z
    .array(
      z.looseObject({
        id: z.string(),
        changed_files: z.array(z.looseObject({ path: z.string(), operation: z.string() })).optional(),
      }),
    )
    .optional(),
});
export type RunProof = z.infer<typeof RunProof>;
