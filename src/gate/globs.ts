/** Globs that a person gives: `docs/**`, `*.md`. */
import picomatch from "picomatch";

/** Whether a path (relative, `/` between its parts) is named by one of the globs; a folder's name means what is in it. */
export function matchesGlobs(path: string, globs: readonly string[]): boolean {
  return globs.some((glob) => {
    const wanted = glob.trim().replace(/^\.\//, "").replace(/\/+$/, "");
    if (wanted === "") return false;
    if (path === wanted || path.startsWith(`${wanted}/`)) return true;
    return picomatch.isMatch(path, wanted, { dot: true });
  });
}
