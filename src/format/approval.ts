/** What agents may do without being asked about, and the requests that wait for a person. */
import { z } from "zod";

import { Instant } from "./instant.ts";

/**
 * Who decides what an agent asks: `never` a person, always; `safe` grants what only reads; `workspace` (ours, and what holds
 * when nothing else was said) also grants changes and commands in the project; `yolo` grants everything; `pattern` holds
 * regular expressions for a linear-time engine.
 */
export const ApprovalPolicy = z.union([
  z.enum(["never", "safe", "workspace", "yolo"]),
  z.looseObject({ pattern: z.looseObject({ patterns: z.array(z.string()) }) }),
]);
export type ApprovalPolicy = z.infer<typeof ApprovalPolicy>;

/** What an unanswered request becomes: a no, or a stop of the work until somebody answers. */
export const OnTimeout = z.enum(["reject", "block"]);
export type OnTimeout = z.infer<typeof OnTimeout>;

/** What was said about approvals for one goal or run; what is absent follows from the configuration and the terminal. */
export const ApprovalKeys = {
  approval_policy: ApprovalPolicy.optional(),
  approval_timeout_secs: z.number().positive().optional(),
  approval_on_timeout: OnTimeout.optional(),
};

/**
 * `approvals/<id>.json`: a request that waits, or waited, for a person. The log has it as well, and decides.
 *
 * `open` until it is `approved`, `rejected`, `expired` (nobody answered, which is a no) or `withdrawn` (nobody wants the
 * answer any more). An answer that was given while the agent waited has served at once: `used_at` says so. One given later
 * serves the first identical request of the same task, and no second one.
 */
export const ApprovalRecord = z.looseObject({
  version: z.int().min(1),
  id: z.string().min(1),
  /** SHA-256 of what is asked: an answer is to this and to nothing else. */
  digest: z.string(),
  task_id: z.string(),
  /** Of the attempt that asked. */
  fence: z.int().min(0),
  worker_id: z.string(),
  /** The tool's own name, where the agent tells it. */
  tool: z.string().nullable(),
  kind: z.string(),
  /** Relative inside the project, absolute outside. */
  targets: z.array(z.string()),
  command: z.string().nullable(),
  /** What a person is shown: parsed fields, with characters escaped that are no text, long ones cut in the middle. */
  shown: z.array(z.looseObject({ label: z.string(), text: z.string() })),
  /** Why the policy did not decide it. */
  because: z.string(),
  asked_at: Instant,
  expires_at: Instant,
  /** What silence is. */
  on_timeout: OnTimeout,
  status: z.enum(["open", "approved", "rejected", "expired", "withdrawn"]),
  decided_at: Instant.nullable().default(null),
  decided_by: z.string().nullable().default(null),
  note: z.string().nullable().default(null),
  used_at: Instant.nullable().default(null),
  /** Of the attempt whose request the answer served. */
  used_fence: z.int().min(0).nullable().default(null),
});
export type ApprovalRecord = z.infer<typeof ApprovalRecord>;

/** A request together with whose it is, as `omk approvals show --json` prints it. */
export const ApprovalView = ApprovalRecord.extend({
  owner_kind: z.enum(["goal", "team"]),
  /** Id of the goal, or name of the run. */
  owner_id: z.string(),
});
export type ApprovalView = z.infer<typeof ApprovalView>;

/** What `omk approvals list --json` prints. */
export const ApprovalList = z.looseObject({
  approvals: z.array(ApprovalView),
  /** Goals and runs whose requests cannot be read. */
  unreadable: z.array(z.looseObject({ owner_id: z.string(), because: z.string() })),
});
export type ApprovalList = z.infer<typeof ApprovalList>;

/** What `omk approvals answer --json` prints. */
export const ApprovalAnswer = z.looseObject({
  approval: ApprovalView,
  /** `recorded`: it will be applied, and has not been yet. */
  outcome: z.enum(["applied", "recorded"]),
  /** The command that goes on with what waited; null while an agent waits for the answer, or others are open. */
  next: z.string().nullable(),
});
export type ApprovalAnswer = z.infer<typeof ApprovalAnswer>;
