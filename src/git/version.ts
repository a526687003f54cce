/** Which git omk needs, and for what. */
import { OmkError } from "../errors.ts";
import { succeeded, textOf, type PrivateGit } from "./private-git.ts";

/** `git init --object-format`, which the private directory of every goal needs. */
export const GIT_MIN = [2, 29] as const;
/** `git merge-tree --write-tree`, by which results of slices meet without a work tree. */
export const GIT_FOR_SLICES = [2, 38] as const;

/**
 * Refuses a git that cannot merge slices, before anybody is paid for work that could not be put together: `git.unsupported`.
 * What says nothing of its version is refused as well.
 */
export async function requireGit(git: PrivateGit, signal: AbortSignal): Promise<void> {
  const run = await git.run(["version"], {}, signal);
  const text = succeeded(run) ? (textOf(run).split("\n", 1)[0] ?? "") : "";
  if (isAtLeast(text, GIT_FOR_SLICES)) return;
  const wanted = GIT_FOR_SLICES.join(".");
  const found = text === "" ? "git does not say which version it is" : `This is ${text}`;
  throw new OmkError("git.unsupported", `${found}; work in slices needs git ${wanted} or newer.`, {
    hint:
      `Install git ${wanted} or newer (\`omk doctor\` says which one is found), or let one agent work in place: ` +
      "without --slice-execution, with --max-agents 1 and --policy local.",
  });
}

/** Whether a program that says so of itself, e.g. `git version 2.39.5 (Apple Git-154)`, is that new. */
export function isAtLeast(text: string, [major, minor]: readonly [number, number]): boolean {
  const [, first = "0", second = "0"] = /(\d+)\.(\d+)/.exec(text) ?? [];
  return Number(first) > major || (Number(first) === major && Number(second) >= minor);
}
