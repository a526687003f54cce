/** What a schema found wrong, in words: the library's own text is for whoever wrote the schema. */
import type { z } from "zod";

/** Further problems rarely tell more than the first ones. */
const PROBLEMS_MAX = 10;

/** One line for each problem: where it is and what was expected there. */
export function problemsOf(error: z.ZodError): string[] {
  const lines = error.issues.slice(0, PROBLEMS_MAX).map(({ path, message }) => {
    const where = placeOf(path);
    const what = message.replace(/^Invalid input: /, "").replaceAll(/\s*\n\s*/g, " ");
    return where === "" ? what : `${where}: ${what}`;
  });
  const more = error.issues.length - lines.length;
  return more > 0 ? [...lines, `and ${more} more`] : lines;
}

/** A path as one writes it: `tasks[2].id`. */
function placeOf(path: readonly PropertyKey[]): string {
  return path
    .map((part, at) => (typeof part === "number" ? `[${part}]` : `${at === 0 ? "" : "."}${String(part)}`))
    .join("");
}
