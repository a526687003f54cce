/** Where a sliced goal works: its private git, folders of attempts, and the folder in which the merged result is judged. */
import type { PrivateGit } from "../git/private-git.ts";
import type { Stage } from "../git/stage.ts";

/** What a workspace has besides where attempts have folders of their own. */
export interface SlicedSpace {
  git: PrivateGit;
  /** Shows one commit at a time: the base, then the merged result. The workspace's `tree` looks at it. */
  stage: Stage;
  /** Makes the stage show a commit and sets it up for gates and readers; nothing to do where it shows that already. */
  show(commit: string, signal: AbortSignal): Promise<void>;
  /** Makes a fresh folder ready for work as the goal's gates want it: `[setup]`, else what git ignores in the project. */
  prepare(folder: { cwd: string; tree: string; name: string }, signal: AbortSignal): Promise<void>;
}
