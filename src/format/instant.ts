/** Moments in files: RFC 3339 text, kept as text, since a `Date` would drop the nanoseconds that 0.5.0 writes. */
import { z } from "zod";

import { RFC_3339 } from "./stamp.ts";

/** A moment as RFC 3339 text with any offset and any number of fractional digits. */
export const Instant = z
  .string()
  .regex(RFC_3339, "Expected an RFC 3339 timestamp such as 2026-05-25T10:00:00Z")
  .meta({ format: "date-time" });
export type Instant = z.infer<typeof Instant>;
