/** `manifest.json` and `tasks.jsonl` of a run: the scheduler's tasks. */
import { z } from "zod";

import { Instant } from "./instant.ts";
import { Count, Decimal } from "./number.ts";

/** How often a task is tried again, and after how long. */
const RetryPolicy = z.looseObject({
  max_attempts: z.int().min(0).default(2),
  backoff_seconds: Count.default(1),
  backoff_multiplier: Decimal.default(2),
  terminal_on_permanent_failure: z.boolean().default(true),
});

/** One line of `tasks.jsonl`, which ends without a newline. Keys we do not know are the task's metadata. */
export const Task = z.looseObject({
  id: z.string().min(1),
  name: z.string(),
  description: z.string(),
  dependencies: z.array(z.string()),
  priority: z.int(),
  owner: z.string().nullable().default(null),
  /** On a pending task: not before. */
  lease_expires: Instant.nullable().default(null),
  retry_count: z.int().min(0),
  retry_policy: RetryPolicy.prefault({}),
  state: z.enum(["pending", "claimed", "running", "completed", "failed", "cancelled"]),
  created_at: Instant,
  started_at: Instant.nullable().default(null),
  completed_at: Instant.nullable().default(null),
  read_set: z.array(z.string()),
  write_set: z.array(z.string()),
  /** Older than `retry_policy`, and only read. */
  max_retries: z.int().min(0).optional(),
  acceptance: z.array(z.string()).optional(),
  budget_secs: Count.optional(),
  risk: z.string().optional(),
  controller_task_id: z.string().optional(),
  /** Ours: the number of the event of its newest claim that started. What names another one is late. */
  fence: z.int().min(0).optional(),
  /** Ours: which attempt its newest claim is, from 1; interrupted ones do not count. */
  attempt: z.int().min(1).optional(),
  /** Ours: the newest event this line includes. */
  snapshot_seq: z.int().min(0).optional(),
});
export type Task = z.infer<typeof Task>;

/** `manifest.json`. */
export const RunManifest = z.looseObject({
  run_id: z.string(),
  mode: z.string(),
  created_at: Instant,
  project_dir: z.string(),
  tasks: z.array(Task),
  description: z.string(),
  ended_at: Instant.optional(),
  success: z.boolean().optional(),
  /** Ours: the newest event this snapshot includes. */
  seq: z.int().min(0).optional(),
});
export type RunManifest = z.infer<typeof RunManifest>;
