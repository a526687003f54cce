/** How lists of names are told: paths, tasks, whatever may be many and may come from others. */
import { printable } from "./printable.ts";

const NAMED_MAX = 5;

/** A few of many names, on one line whatever they hold. */
export function named(
  names: readonly string[],
  { max = NAMED_MAX, between = ", " }: { max?: number; between?: string } = {},
): string {
  const more = names.length - max;
  const shown = names.slice(0, max).map((name) => printable(name, { oneLine: true }));
  return shown.join(between) + (more > 0 ? ` and ${more} more` : "");
}
