/** How far an accepted result has come on its way out: part of `work.json`. Every entry was looked up or made by a step that is in the log. */
import { z } from "zod";

import { GateResult } from "./gate.ts";
import { Instant } from "./instant.ts";

/** Where a goal's pull requests go, as recorded when delivery began. */
export const DeliveryTarget = z.looseObject({
  host: z.string(),
  owner: z.string(),
  name: z.string(),
  /** What git is given; without credentials. */
  url: z.string(),
  base_branch: z.string(),
});
export type DeliveryTarget = z.infer<typeof DeliveryTarget>;

/** A branch on the remote, as omk left it. */
const PushedBranch = z.looseObject({ branch: z.string(), commit: z.string(), at: Instant });
export type PushedBranch = z.infer<typeof PushedBranch>;

/** A pull request of a slice, or of the integrator. */
export const DeliveredPull = z.looseObject({
  /** The slice; null for the integrator's, and for one that a person opened for the whole goal. */
  slice_id: z.string().nullable(),
  branch: z.string(),
  number: z.int().min(1),
  url: z.string(),
  commit: z.string(),
  state: z.enum(["open", "merged", "closed"]),
  /** It was closed because a person left its slice out of the result. */
  left_out: z.boolean().optional(),
  /** When it was opened, or found. */
  at: Instant.optional(),
});
export type DeliveredPull = z.infer<typeof DeliveredPull>;

/** The accepted result brought together with what the base branch has become: what the integrator's branch names. */
export const Integration = z.looseObject({
  /** The base branch when that was done. */
  base: z.string(),
  /** The accepted result itself where it continues the base, else their merge. */
  commit: z.string(),
  /** The project's tree of it. */
  tree: z.string(),
  /** The gates on it; null where it has the files of the accepted result, on which they ran. */
  gates: z.array(GateResult).nullable(),
  at: Instant,
});
export type Integration = z.infer<typeof Integration>;

/** What GitHub's checks said of the integrator's head. `none`: nothing judges it, and nothing is demanded. */
export const DeliveryChecks = z.looseObject({
  commit: z.string(),
  state: z.enum(["green", "red", "pending", "none"]),
  failed: z.array(z.looseObject({ name: z.string(), url: z.string().nullable() })).default([]),
  pending: z.array(z.string()).default([]),
  counted: z.int().min(0),
  at: Instant,
});
export type DeliveryChecks = z.infer<typeof DeliveryChecks>;

/** What was merged, and by what each slice is seen to have landed. */
export const Merge = z.looseObject({
  commit: z.string(),
  /** `parent`: the head is a parent of the merge commit. `tree`: the merge commit has exactly the head's files. */
  landed: z.enum(["parent", "tree"]),
  slices: z.array(z.looseObject({ slice_id: z.string(), commit: z.string(), landed: z.boolean() })),
  at: Instant,
});
export type Merge = z.infer<typeof Merge>;

/** All of it. It is about one result: `tree` is what was accepted. */
export const DeliveryWork = z.looseObject({
  tree: z.string(),
  /** The branch of the user's repository that holds the result, and its commit. */
  result: z.looseObject({ ref: z.string(), commit: z.string() }).optional(),
  /** Whether the result was laid over the user's files. */
  applied: z
    .looseObject({
      /** What the user's files got. */
      tree: z.string(),
      written: z.int().min(0),
      removed: z.int().min(0),
      at: Instant,
    })
    .optional(),
  /** Trees of results of which some files may lie among the user's: laying them was begun, and not brought to its end. */
  partly: z.array(z.string()).optional(),
  target: DeliveryTarget.optional(),
  pushed: z.array(PushedBranch).default([]),
  pulls: z.array(DeliveredPull).default([]),
  integration: Integration.optional(),
  /** Under `manual`: the command by which a person merges. */
  merge_command: z.string().optional(),
  checks: DeliveryChecks.optional(),
  merge: Merge.optional(),
  /** Set when everything that the policy asks for is done. */
  done_at: Instant.optional(),
});
export type DeliveryWork = z.infer<typeof DeliveryWork>;
