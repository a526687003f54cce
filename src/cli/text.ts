/** How values are written for people. */

/** `YYYY-MM-DD HH:MM:SS[.fraction] UTC` from an RFC 3339 text; a text that is none stays as it is. */
export function textTime(instant: string): string {
  const time = Date.parse(instant);
  if (Number.isNaN(time)) return instant;
  const [date = "", clock = ""] = new Date(time).toISOString().split("T");
  return `${date} ${clock.replace("Z", "").replace(".000", "")} UTC`;
}

/** Amounts of dollars, with the six decimals scripts expect. */
export function textUsd(value: number): string {
  return value.toFixed(6);
}
