/** `team-work.json`: what a team run was asked for and what was done so far, so that a killed run goes on where it stood. */
import { z } from "zod";

import { ApprovalKeys } from "./approval.ts";
import { GateResult, GateSet } from "./gate.ts";
import { Instant } from "./instant.ts";
import { EvidenceFile, Usage } from "./proof.ts";
import { SteeringWork } from "./steering.ts";
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

  // ---- Where attempts have folders of their own. Commits and trees are those of the whole repository.

  /** The name of its folder. */
  worktree: z.string().optional(),
  /** The commit that its result is a change of. */
  onto: z.string().optional(),
  /** The commit its folder was made on: another one where it goes on with the files of an attempt that was cut off. */
  start: z.string().optional(),
  /** When its folder was looked at for the last time; commits of what was found bear this time. */
  left_at: Instant.optional(),
  /** Its folder's files when it was set up, where that changed any. */
  prepared: z.string().optional(),
  /** What was in its folder at the end, less what only the set-up wrote. */
  left_tree: z.string().optional(),
  /** What keeps everything that was in its folder: a ref. */
  rescue: z.string().optional(),
  /** What is in no commit, so that its folder was not removed. */
  unsaved: z.array(z.string()).optional(),
  /** Its result, whether or not it could be merged. */
  commit: z.string().optional(),
  /** What it changed, as paths of the project. */
  changed_files: z.array(TreeChange).optional(),
  /** Why its result could not be merged. */
  conflict: z
    .looseObject({ onto: z.string(), files: z.array(z.string()), kinds: z.array(z.string()) })
    .optional(),
  /** Where its folder is, as it was not removed. */
  set_aside: z.string().optional(),
});
export type RunAttempt = z.infer<typeof RunAttempt>;

/** Where attempts have folders of their own: what has come together so far. Commits of the whole repository. */
const MergedResults = z.looseObject({
  /** What the work starts from. */
  base: z.string(),
  /** The base with every result that was taken. */
  head: z.string(),
  /** The commits of those results, by task, each on what that task started from. */
  results: z.record(z.string(), z.string()),
  /** The tasks in the order in which they were taken. */
  order: z.array(z.string()),
});

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
  /** Whether all workers share the project directory (`none`, also when absent) or each attempt has a folder of its own. */
  isolation: z.enum(["none", "worktree"]).optional(),
  merged: MergedResults.optional(),
  /** Where attempts have folders of their own: what of the repository decided what git does there when the work began. */
  steering: SteeringWork.optional(),
  /** Folders that were neither whole nor removed: where they are now. */
  set_aside: z.array(z.string()).optional(),
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
  /** The branch that holds the result, and the commands that show it and that take it, to be run in the project directory. */
  branch: z
    .looseObject({ name: z.string(), commit: z.string(), show: z.string(), take: z.string() })
    .optional(),
  /** How long the run has worked; it does not count while it rests. */
  active_ms: z.number().min(0),
});
export type TeamWork = z.infer<typeof TeamWork>;
