/** What `omk doctor --json` prints. */
import { z } from "zod";

import { Instant } from "./instant.ts";

/** One thing that was looked at. */
export const DoctorCheck = z.looseObject({
  /** Stable: `node`, `git`, `gh`, `state`, `config`, `trust`, `gates`, `disk`, `memory`, `path`, `auto`, or `engine:<name>`. */
  id: z.string(),
  label: z.string(),
  /** `warning` does not count: what omk was asked for goes on without it. */
  result: z.enum(["ok", "warning", "issue"]),
  detail: z.string(),
  /** What to do about it; null when nothing is to be done. */
  cure: z.string().nullable(),
});
export type DoctorCheck = z.infer<typeof DoctorCheck>;

/** One agent that was found. */
export const DoctorEngine = z.looseObject({
  name: z.string(),
  title: z.string(),
  program: z.string().nullable(),
  version: z.string().nullable(),
  /** Whether the major version was tried with omk; null when that cannot be said. */
  tested: z.boolean().nullable(),
  /** Whether `auto`, or a role of the configuration, means this one. */
  in_use: z.boolean(),
  handshake: z.enum(["ok", "failed", "not_tried"]),
  handshake_ms: z.number().nullable(),
  protocol_version: z.union([z.number(), z.string()]).nullable(),
  /** `unknown`: nothing that was tried depends on it. */
  login: z.enum(["ok", "needed", "unknown"]),
  memory_mib: z.number().nullable(),
});
export type DoctorEngine = z.infer<typeof DoctorEngine>;

/** Everything that was looked at. */
export const DoctorReport = z.looseObject({
  version: z.literal(1),
  checked_at: Instant,
  passed: z.boolean(),
  issues: z.number(),
  checks: z.array(DoctorCheck),
  engines: z.array(DoctorEngine),
});
export type DoctorReport = z.infer<typeof DoctorReport>;
