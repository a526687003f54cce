/** `trust/<sha256 of the project's path>.json` in the state folder: which bytes of a project's configuration are trusted. */
import { z } from "zod";

import { Instant } from "./instant.ts";

/** What the user trusted in one project. Other bytes are not trusted. */
export const TrustRecord = z.looseObject({
  version: z.literal(1),
  /** Its path without links. */
  project: z.string(),
  /** SHA-256 (hex) of `.omk/config.toml`. */
  config_sha256: z.string(),
  /** The files that its hooks run, each once. */
  commands: z.array(z.looseObject({ command: z.string(), sha256: z.string() })),
  trusted_at: Instant,
});
export type TrustRecord = z.infer<typeof TrustRecord>;
