/** How lists of paths are told. */
const NAMED_MAX = 5;

/** A few of many paths. */
export function named(paths: readonly string[]): string {
  const more = paths.length - NAMED_MAX;
  return paths.slice(0, NAMED_MAX).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
