/** Spans of time as people type them. */
import { OmkError } from "../errors.ts";

const UNIT_SECONDS = { s: 1, m: 60, h: 3_600, d: 86_400 } as const;

/** Seconds of a duration such as `90m`, `8h`, `45` (seconds); `usage.invalid` otherwise. */
export function parseDuration(text: string, flag: string): number {
  const match = /^(\d+)\s*([smhd]?)$/i.exec(text.trim());
  const unit = (match?.[2] || "s").toLowerCase() as keyof typeof UNIT_SECONDS;
  const seconds = Number(match?.[1]) * UNIT_SECONDS[unit];
  if (match && Number.isSafeInteger(seconds)) return seconds;
  throw new OmkError("usage.invalid", `invalid ${flag}: invalid duration '${text}'`, {
    hint: "Write a whole number with the suffix s/m/h/d, for example 90m or 8h; without a suffix it is seconds.",
  });
}
