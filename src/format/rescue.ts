/** What `omk rescue` prints: work that is kept in a repository under `refs/omk/rescue/`. */
import { z } from "zod";

import { Instant } from "./instant.ts";
import { TreeChange } from "./work.ts";

/**
 * Something kept. `attempt` is the folder of one, whose parents are what it started from, what was staged and what the agent
 * had committed; `tree` is the project before (`base`) or after (`result`) the work.
 */
export const RescueEntry = z.looseObject({
  /** `<goal>/<what>`. */
  name: z.string(),
  ref: z.string(),
  /** A goal's id, or a team run's. */
  goal_id: z.string(),
  kind: z.enum(["attempt", "tree"]),
  commit: z.string(),
  tree: z.string(),
  parents: z.array(z.string()),
  /** For a tree when it was first kept, for an attempt when that began; null where nobody knows. */
  saved_at: Instant.nullable(),
  /** The folder of the repository it lies in; of a project without one, the goal's own. */
  repository: z.string(),
  /** `live` while its goal may still go on; `unknown` for goals of another state folder. */
  owner: z.enum(["live", "resting", "ended", "unknown"]),
});
export type RescueEntry = z.infer<typeof RescueEntry>;

/** What `omk rescue list --json` prints. */
export const RescueList = z.looseObject({
  rescues: z.array(RescueEntry),
  unreadable: z.array(z.looseObject({ repository: z.string(), because: z.string() })),
});
export type RescueList = z.infer<typeof RescueList>;

/** What `omk rescue show --json` prints. */
export const RescueView = z.looseObject({
  rescue: RescueEntry,
  /** What `changed_files` differ from; null when all files are listed. */
  compared_with: z.string().nullable(),
  changed_files: z.array(TreeChange),
  /** How what was staged differs from what the attempt started from; null when nothing is known of it. */
  staged_files: z.array(TreeChange).nullable(),
  /** Commits the agent had made itself. */
  commits: z.array(z.string()),
});
export type RescueView = z.infer<typeof RescueView>;

/** What `omk rescue restore --json` prints. */
export const RescueRestored = z.looseObject({
  rescue: RescueEntry,
  folder: z.string().nullable(),
  branch: z.string().nullable(),
  commit: z.string(),
  files: z.int().min(0),
});
export type RescueRestored = z.infer<typeof RescueRestored>;

/** What `omk rescue prune --json` prints. */
export const RescuePruned = z.looseObject({
  removed: z.array(RescueEntry),
  /** Those of goals that may go on, and of goals nobody knows here. */
  spared: z.int().min(0),
  dry_run: z.boolean(),
});
export type RescuePruned = z.infer<typeof RescuePruned>;
