/** What no change may do, whoever made it. */
import { parseRelPath } from "../format/names.ts";
import { GITLINK, type TreeChange } from "./private-git.ts";

/** A change that is not taken, and why, fit to follow "because". */
export interface RefusedChange {
  path: string;
  because: string;
}

/**
 * Those of a result's changes that are refused: of what steers git or omk, of paths that not every file system can hold,
 * and of repositories inside the project, which are left alone as the base has them. `leftOut` are files beside them that
 * git takes into no tree for their names.
 */
export function refusedChanges(
  changes: readonly TreeChange[],
  leftOut: readonly string[] = [],
): RefusedChange[] {
  const refused = changes.flatMap((change) => {
    const because = whyRefused(change);
    return because === undefined ? [] : [{ path: change.path, because }];
  });
  return [...refused, ...leftOut.map((path) => ({ path, because: "git takes no such name" }))];
}

function whyRefused({ path, old_mode, new_mode }: TreeChange): string | undefined {
  const named = parseRelPath(path);
  if (!named.ok) return named.because;
  // Bytes that are no text show as this: such a path cannot be named to any other program.
  if (path.includes("\uFFFD")) return "its name is not UTF-8";
  if (new_mode === GITLINK)
    return old_mode === GITLINK
      ? "it moves a repository inside the project to another commit"
      : "it adds a repository inside the project";
  return old_mode === GITLINK ? "it takes a repository out of the project" : undefined;
}
