/** One line of `events.jsonl`: 0.5.0's envelope, then our chain. */
import { z } from "zod";

import { Instant } from "./instant.ts";

/** The kinds 0.5.0 knows. Ours come on top: readers keep every kind, and only these have a meaning to 0.5.0. */
export const EVENT_KINDS = [
  "run_started",
  "run_completed",
  "run_failed",
  "worker_started",
  "worker_heartbeat",
  "worker_stalled",
  "worker_dead",
  "worker_recovered",
  "task_proposed",
  "task_accepted",
  "task_rejected",
  "task_graph_mutated",
  "task_claimed",
  "task_started",
  "task_output",
  "task_completed",
  "task_failed",
  "file_changed",
  "command_started",
  "command_finished",
  "gate_passed",
  "gate_failed",
  "retry_scheduled",
  "proof_written",
  "manual_interrupt",
  "goal_paused",
  "goal_resumed",
  "goal_budget_exhausted",
  "goal_budget_extended",
  "budget_checkpoint",
  "hook_triggered",
  "hook_resolved",
  "approval_requested",
  "approval_decided",
  "slice.lease.claimed",
  "slice.lease.released",
  "slice.lease.expired",
  "slice.lease.skipped",
] as const;

const SHA_256 = /^[0-9a-f]{64}$/;

/** What an event changes in one document: keys with their whole new values, and keys that go. `id` names a task in it. */
export const DocumentChange = z.object({
  file: z.string(),
  id: z.string().optional(),
  set: z.record(z.string(), z.unknown()),
  unset: z.array(z.string()).optional(),
});
export type DocumentChange = z.infer<typeof DocumentChange>;

const KEYS = {
  id: z.string(),
  run_id: z.string(),
  ts: Instant,
  schema_version: z.int().min(0),
  kind: z.string().min(1),
  actor: z.string().nullable().default(null),
  payload: z.record(z.string(), z.unknown()).optional(),
  /** Counts from 1 in each log. Lines of 0.5.0 have none of the keys from here on. */
  seq: z.int().min(1).optional(),
  /** The number of the controller's claim. */
  epoch: z.int().min(1).optional(),
  /** The `seq` of the first event of the same write, when it had several. */
  batch: z.int().min(1).optional(),
  changes: z.array(DocumentChange).optional(),
  /** SHA-256 of the previous valid line. */
  prev: z.string().regex(SHA_256).optional(),
  /** SHA-256 of this line up to this key, which is the last. */
  check: z.string().regex(SHA_256).optional(),
};

/** One event. */
export const Event = z.looseObject(KEYS);
/** Without the catch-all for foreign keys: lines are never rewritten, and `Omit` and `keyof` need to see the keys. */
export type Event = z.infer<z.ZodObject<typeof KEYS>>;
