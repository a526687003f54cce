/** A slice plan: which tasks of a goal are delivered by themselves, where each is worked on, and what waits for what. */
import { z } from "zod";

/** One part of a goal that can be delivered by itself. */
export const Slice = z.looseObject({
  slice_id: z.string(),
  task_id: z.string(),
  owner_role: z.string(),
  /** The task's sets as they are written, sorted, each path once. */
  read_scope: z.array(z.string()),
  write_scope: z.array(z.string()),
  /** Slices that must be done before: those the graph names, and those this one would get in the way of. */
  dependencies: z.array(z.string()),
  branch_name: z.string(),
  worktree_name: z.string(),
  worktree_path: z.string(),
  /** What has to hold and who has to look at it, in words; nothing runs them. */
  gates: z.array(z.string()),
  review_needs: z.array(z.string()),
  pr_url: z.string().nullable().default(null),
});
export type Slice = z.infer<typeof Slice>;

/** One slice waits for another one only because both use a path, and at least one of them writes it. */
export const OverlapSerialization = z.looseObject({
  blocked_slice_id: z.string(),
  serializes_after: z.string(),
  /** What the waiting slice does with the path, then what the other one does. */
  kind: z.enum(["write_write", "write_read", "read_write"]),
  /** The waiting slice's path, normalised. */
  path: z.string(),
});
export type OverlapSerialization = z.infer<typeof OverlapSerialization>;

/** The plan: slices in the order in which they can be worked off one by one. */
export const SlicePlan = z.looseObject({
  goal_id: z.string(),
  slices: z.array(Slice),
  overlap_serializations: z.array(OverlapSerialization),
});
export type SlicePlan = z.infer<typeof SlicePlan>;
