/** Moments as files hold them, without the schema of `instant.ts`: readers that must be quick load no schema library. */

/** A moment as RFC 3339 text with any offset and any number of fractional digits. */
export const RFC_3339 =
  /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[Tt ](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;

/** The moment as text in UTC with milliseconds, e.g. `2026-05-25T10:00:00.120Z`. */
export function instantOf(date: Date): string {
  return date.toISOString();
}
