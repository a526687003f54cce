/** `YYYY-MM-DD HH:MM:SS[.fraction] UTC` from an RFC 3339 text; a text that is none stays as it is. */
export function textTime(instant: string): string {
  const time = Date.parse(instant);
  if (Number.isNaN(time)) return instant;
  const [date = "", clock = ""] = new Date(time).toISOString().split("T");
  return `${date} ${clock.replace("Z", "").replace(".000", "")} UTC`;
}

/** Amounts of dollars, with the six decimals scripts expect; also as a number of 0.5.0's files. */
export function textUsd(value: unknown): string {
  return Number(value).toFixed(6);
}

/** On one line: text from outside must not look like lines of ours. */
export function oneLine(text: unknown): string {
  return String(text).replace(/\s*[\n\v\f\r\u0085\u2028\u2029]\s*/g, " ");
}
