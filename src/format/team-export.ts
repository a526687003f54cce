/** The file `omk team export` writes: 0.5.0's three keys, then what else is known about the run. */
import { z } from "zod";

import { Instant } from "./instant.ts";
import { RunProof } from "./proof.ts";
import { RunManifest, Task } from "./run.ts";
import { TeamState } from "./team.ts";

const SHA_256 = /^[0-9a-f]{64}$/;

/** An exported team. The file of 0.5.0 ends with `team`. */
export const TeamExport = z.looseObject({
  version: z.literal("1.0"),
  exported_at: Instant.optional(),
  team: TeamState,
  manifest: RunManifest.optional(),
  tasks: z.array(Task).optional(),
  proof: RunProof.optional(),
  /** `events.jsonl`, byte for byte, up to its last whole line. */
  events: z.string().optional(),
  /** Contents of events that are too large for their line, by their SHA-256. */
  blobs: z.record(z.string().regex(SHA_256), z.string()).optional(),
  /** SHA-256 of each of the other keys: of the text of `events`, and of the file that each record makes. */
  digests: z.record(z.string(), z.string().regex(SHA_256)).optional(),
});
export type TeamExport = z.infer<typeof TeamExport>;

/** `import.json`: the run was made from a file, so it can be looked at and never gone on with. */
export const ImportMark = z.looseObject({
  version: z.int().min(1),
  imported_at: Instant,
  exported_at: Instant.nullable(),
  /** What the run was called there. */
  name: z.string(),
  /** Of the file it came from. */
  sha256: z.string().regex(SHA_256),
});
export type ImportMark = z.infer<typeof ImportMark>;
