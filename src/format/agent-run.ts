/** Files below `artifacts/agent-runs/<run key>/` and below a team's `workers/`. */
import { z } from "zod";

import { ApprovalPolicy } from "./approval.ts";
import { Instant } from "./instant.ts";
import { Count } from "./number.ts";
import { Usage } from "./proof.ts";

/** A task as an agent or the controller proposes it. */
export const TaskProposal = z.looseObject({
  id: z.string(),
  title: z.string(),
  description: z.string(),
  dependencies: z.array(z.string()).default([]),
  read_set: z.array(z.string()).default([]),
  write_set: z.array(z.string()).default([]),
  acceptance: z.array(z.string()).default([]),
  risk: z.string().default("moderate"),
  budget_secs: Count.default(300),
  priority: z.int().default(0),
});
export type TaskProposal = z.infer<typeof TaskProposal>;

/** `task-policy.json` and `agent-task-proposals.json`: what was proposed, and what became of it. */
export const TaskPolicy = z.looseObject({
  goal_id: z.string(),
  run_id: z.string(),
  max_agents: z.int().min(1),
  proposed_tasks: z.array(TaskProposal),
  accepted_tasks: z.array(TaskProposal),
  /** Ours: `code`, which says what the reason says. */
  rejected_tasks: z.array(
    z.looseObject({ task: TaskProposal, reason: z.string(), code: z.string().optional() }),
  ),
  /** Ours: what an agent meant to be a proposal and is none. */
  malformed_proposals: z.array(z.looseObject({ reason: z.string(), text: z.string() })).optional(),
});
export type TaskPolicy = z.infer<typeof TaskPolicy>;

/** `changed-files.json`: 0.5.0 writes the bare list of paths, we write what changed between two trees. */
export const ChangedFiles = z.union([
  z.array(z.string()),
  z.looseObject({
    goal_id: z.string(),
    from: z.string(),
    to: z.string(),
    changed_files: z.array(z.looseObject({ path: z.string(), kind: z.string() })),
  }),
]);
export type ChangedFiles = z.infer<typeof ChangedFiles>;

/** `worker-spec.json`. */
export const WorkerSpec = z.looseObject({
  name: z.string(),
  role: z.string(),
  inbox: z.string(),
  outbox: z.string(),
  heartbeat: z.string(),
  project_dir: z.string().nullable().default(null),
  external_tools: z.array(z.unknown()).optional(),
  approval_policy: ApprovalPolicy.default("never"),
  approval_timeout_secs: Count.default(300),
});
export type WorkerSpec = z.infer<typeof WorkerSpec>;

/** One line of `inbox.jsonl`: work for a worker. */
export const Assignment = z.looseObject({
  id: z.string(),
  task: z.string(),
  acceptance_criteria: z.array(z.string()).default([]),
  context: z.string().optional(),
  budget_secs: Count.optional(),
  /** Ours: which attempt this is; a report with another fence changes nothing. */
  fence: z.int().min(0).optional(),
});
export type Assignment = z.infer<typeof Assignment>;

/** One line of `outbox.jsonl`: what came of an assignment. */
export const Report = z.looseObject({
  task_id: z.string(),
  status: z.enum(["success", "partial", "failed"]),
  summary: z.string().default(""),
  artifacts: z.array(z.string()).default([]),
  elapsed_secs: Count.default(0),
  fence: z.int().min(0).optional(),
  /** Ours: how the agent's turn ended, and the class of its failure. */
  outcome: z.string().optional(),
  outcome_code: z.string().nullable().optional(),
  /** Ours: when the provider takes requests again, if it said so. */
  resets_at: z.string().optional(),
  /** Ours: whether another execution may go better; false only where a person has to mend something. */
  outside: z.boolean().optional(),
  usage: Usage.nullable().optional(),
});
export type Report = z.infer<typeof Report>;

/** The shorter line other programs write into an outbox. */
const SimpleReport = z.looseObject({
  id: z.string(),
  status: z.enum(["completed", "success", "failed"]),
  result: z.string().optional(),
  error: z.string().optional(),
});

/** One line of `outbox.jsonl`, in either form. */
export const OutboxLine = z.union([Report, SimpleReport]);
export type OutboxLine = z.infer<typeof OutboxLine>;

/** `heartbeat.json`, one compact line. 0.5.0 ends its time with `+00:00`. */
export const Heartbeat = z.looseObject({
  status: z.enum(["ready", "alive", "stopped"]),
  name: z.string(),
  ts: Instant,
  /** Ours: what the worker is at, and when its agent was last heard of. */
  task_id: z.string().nullable().optional(),
  last_sign_of_life: Instant.nullable().optional(),
});
export type Heartbeat = z.infer<typeof Heartbeat>;

/** `stale-worker-cleanup.json`: a worker that lost its lease was set aside. */
export const StaleWorkerCleanup = z.looseObject({
  worker_id: z.string(),
  task_id: z.string(),
  reason: z.string(),
  action: z.string(),
  cleaned_at: Instant,
});
export type StaleWorkerCleanup = z.infer<typeof StaleWorkerCleanup>;

/** One line of `wire-events.jsonl`: an engine's notification as it came, redacted. */
export const WireEvent = z.looseObject({
  jsonrpc: z.literal("2.0"),
  method: z.string(),
  params: z.looseObject({ type: z.string(), payload: z.unknown().optional() }),
});
export type WireEvent = z.infer<typeof WireEvent>;
