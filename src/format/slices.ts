/** What became of a goal's slices so far: part of `work.json` where attempts work in folders of their own. */
import { z } from "zod";

import { Instant } from "./instant.ts";
import { OverlapSerialization } from "./slice-plan.ts";

/** One thing that was wrong with an attempt at a slice: a heading that is always told, and details that may be cut. */
export const SliceFault = z.looseObject({
  heading: z.string(),
  details: z.string().optional(),
  /** What of the details matters most: programs say last what failed, lists have the worst first. */
  keep: z.enum(["start", "end"]).optional(),
});
export type SliceFault = z.infer<typeof SliceFault>;

/** Why an attempt at a slice was not taken: told to every later one. */
export const SliceRound = z.looseObject({
  /** Of the attempt. */
  fence: z.int().min(0),
  number: z.int().min(1),
  faults: z.array(SliceFault),
});
export type SliceRound = z.infer<typeof SliceRound>;

/** What two results have in each other's way. */
const SliceConflict = z.looseObject({
  /** The commit of the slice, and what it was to be merged into. */
  commit: z.string(),
  onto: z.string(),
  files: z.array(z.string()),
  /** Git's own words, e.g. `CONFLICT (modify/delete)`. */
  kinds: z.array(z.string()),
  /** The evidence, relative to the goal's folder. */
  evidence: z.string(),
  /** The task that solves it; null where no more of them are made. */
  resolved_by: z.string().nullable(),
});
export type SliceConflict = z.infer<typeof SliceConflict>;

/** One slice: where it starts, and how far its result has come. Commits are of the whole repository. */
export const SliceState = z.looseObject({
  task_id: z.string(),
  branch: z.string(),
  /** What the first attempt's folder held. */
  start: z.string(),
  /** What its commit continues: its start, or for a task that solves a conflict the two that were to be merged. */
  parents: z.array(z.string()),
  /** How many attempts the goal had when the slice was given this start: those before say nothing about it. */
  attempts_from: z.int().min(0).default(0),
  /** The attempts that were not taken, oldest first. */
  rounds: z.array(SliceRound).default([]),
  /** Its result, once its own checks let it pass. */
  commit: z.string().nullable().default(null),
  /** The attempt it comes from. */
  fence: z.int().min(0).optional(),
  /** The merged result with it, once it is part of that. */
  landed: z.string().nullable().default(null),
  /** Why it could not be merged. */
  conflict: SliceConflict.optional(),
  /** What an attempt under way was seen to have in the way of a merged result. */
  foreseen: z.looseObject({ onto: z.string(), files: z.array(z.string()) }).optional(),
});
export type SliceState = z.infer<typeof SliceState>;

/** A folder of an attempt that could not be taken away: it lies in the goal's quarantine. */
export const FolderSetAside = z.looseObject({ path: z.string(), because: z.string() });
export type FolderSetAside = z.infer<typeof FolderSetAside>;

/** All of it. */
export const SliceWork = z.looseObject({
  /** What the work starts from. */
  base: z.string(),
  /** The merged result so far: the base, and in their order all slices that have landed. */
  head: z.string(),
  /** Ids of slices in the order in which they landed. */
  order: z.array(z.string()).default([]),
  overlap_serializations: z.array(OverlapSerialization).default([]),
  slices: z.array(SliceState).default([]),
  set_aside: z.array(FolderSetAside).default([]),
  /** Until when the time at work is counted. */
  counted_at: Instant.optional(),
});
export type SliceWork = z.infer<typeof SliceWork>;
