/**
 * What of the user's repository decides what git does there: part of `work.json` and
 * `team-work.json` where attempts work in folders of their own.
 */
import { z } from "zod";

/** Hooks and programs that git would run, what leads it to more of them, and the rest. */
export const SteeringKind = z.enum([
  "hook",
  "hook_path",
  "fsmonitor",
  "filter",
  "merge_driver",
  "diff_driver",
  "alias",
  "credential_helper",
  "ssh_command",
  /** Any other setting that names a program. */
  "program",
  "include",
  /** A configuration file that nobody can look into. */
  "unreadable",
  "attributes",
  "configuration",
]);
export type SteeringKind = z.infer<typeof SteeringKind>;

/** One hook, one file of attributes, or all values of one setting. Values may be secrets, so only their digest is kept. */
export const SteeringEntry = z.looseObject({ kind: SteeringKind, name: z.string(), digest: z.string() });
export type SteeringEntry = z.infer<typeof SteeringEntry>;

/** How one of them differs from what it was when the base was recorded. */
export const SteeringChange = z.looseObject({
  kind: SteeringKind,
  name: z.string(),
  how: z.enum(["added", "changed", "removed"]),
  /** Of what is there now. */
  digest: z.string().nullable(),
});
export type SteeringChange = z.infer<typeof SteeringChange>;

/** What was there when the base was recorded, and what a person let pass since. */
export const SteeringWork = z.looseObject({
  entries: z.array(SteeringEntry),
  /** The digest of the changes that a person has allowed: with others they are asked anew. */
  allowed: z.string().optional(),
  /** The changes that the user was told of, and their digest. */
  told: z.looseObject({ digest: z.string(), changes: z.array(SteeringChange) }).optional(),
});
export type SteeringWork = z.infer<typeof SteeringWork>;
