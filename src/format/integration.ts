/** What delivery and acceptance leave behind. */
import { z } from "zod";

import { DeliveryPolicy, MergePolicy } from "./goal.ts";
import { Instant } from "./instant.ts";

/** Acceptance or rejection: `artifacts/integration/integrator-accept.json`, `integrator-reject.json`, and in the proof. */
export const IntegrationEvidence = z.looseObject({
  status: z.enum(["accepted", "rejected"]),
  summary: z.string(),
  decided_at: Instant,
  artifact_path: z.string(),
  missing_evidence: z.array(z.string()),
});
export type IntegrationEvidence = z.infer<typeof IntegrationEvidence>;

/** One check of the goal's kind. `attested` (by a person) and `not_applicable` satisfy, and are ours. */
const OracleCheck = z.looseObject({
  name: z.string(),
  status: z.enum(["passed", "blocked", "not_applicable", "attested"]),
  gate: z.string().nullable().default(null),
  /** Ours: what shows it, or why it is not shown. */
  reason: z.string().optional(),
});

/** What shows that the goal itself was reached. */
export const OracleEvidence = z.looseObject({
  kind: z.string(),
  status: z.enum(["passed", "blocked"]),
  checks: z.array(OracleCheck),
});
export type OracleEvidence = z.infer<typeof OracleEvidence>;

/** `integrator-metadata.json`. */
export const IntegratorMetadata = z.looseObject({
  integrator_branch: z.string(),
  pr_url: z.string().nullable(),
  slice_branches: z.array(z.string()),
  recorded_at: Instant,
});
export type IntegratorMetadata = z.infer<typeof IntegratorMetadata>;

/** `artifacts/policy/until-ready-blocker.json` and `manual-integration-blocker.json`. */
export const PolicyBlocker = z.looseObject({
  status: z.string(),
  reason: z.string(),
  delivery_policy: DeliveryPolicy,
  merge_policy: MergePolicy,
  github_mutation: z.boolean(),
  integrator_acceptance: z.string(),
  proof: z.string(),
  recorded_at: Instant,
});
export type PolicyBlocker = z.infer<typeof PolicyBlocker>;

/** `artifacts/integration/merge-conflict-<task>.json`. */
export const MergeConflict = z.looseObject({
  task_id: z.string(),
  source_ref: z.string(),
  target_ref: z.string(),
  clean_merge: z.boolean(),
  conflicting_files: z.array(z.string()),
  command_line: z.string(),
  stdout_summary: z.string(),
  stderr_summary: z.string(),
  artifact_path: z.string(),
  conflict_classification: z.unknown(),
});
export type MergeConflict = z.infer<typeof MergeConflict>;
