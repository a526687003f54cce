/** A folder that shows one commit at a time, for gates and readers: no agent's work is ever in it. */
import type { WorkTree } from "./work-tree.ts";

/** The folder, seen as a work tree whose trees are those of the project. */
export interface Stage extends WorkTree {
  /** What it shows; undefined before the first. */
  readonly commit: string | undefined;
  /** Shows a commit: afterwards the folder holds exactly its files, less what git ignores. */
  show(commit: string, signal: AbortSignal): Promise<void>;
  /** Takes the folder away. */
  remove(signal: AbortSignal): Promise<void>;
}
