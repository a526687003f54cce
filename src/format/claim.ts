/** `controller/<n>.json`: one link of the chain that says who controls a goal, a run or a project directory. */
import { z } from "zod";

import { Instant } from "./instant.ts";

/** The process that made the record; the nonce tells two claims of one process apart. */
const ClaimHolder = z.looseObject({
  pid: z.int().min(1),
  start_time: z.string().nullable(),
  boot_id: z.string().nullable(),
  pid_namespace: z.string().nullable(),
  host: z.string(),
  nonce: z.string(),
});

/** A claim, its release, or a takeover from a holder that is gone. Its number is the epoch of what the holder writes. */
export const ClaimRecord = z.looseObject({
  version: z.int().min(1),
  n: z.int().min(1),
  kind: z.enum(["claim", "takeover", "release"]),
  holder: ClaimHolder,
  ts: Instant,
  /** The command the holder runs, for whoever finds the chain taken. */
  command: z.string(),
  /** False in a release: the holder gives up after a failed write, and what it wrote last may not be on the disk. */
  clean: z.boolean().optional(),
});
export type ClaimRecord = z.infer<typeof ClaimRecord>;
