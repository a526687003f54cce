/** Trees made of parts of others: what an agent has changed, without what set-up changed before it. */
import { textOf, type PrivateGit } from "./private-git.ts";

/**
 * A tree without what was changed between two earlier ones and has not been touched since: there it is as it was at first.
 */
export async function withoutChanges(
  git: PrivateGit,
  { tree, from, to }: { tree: string; from: string; to: string },
  signal: AbortSignal,
): Promise<string> {
  if (from === to) return tree;
  const changed = await git.changes(from, to, signal);
  if (changed.length === 0) return tree;
  if (tree === to) return from;
  const [now, then, before] = await Promise.all([tree, to, from].map((one) => git.entries(one, signal)));
  const untouched = changed.map(({ path }) => path).filter((path) => now?.get(path) === then?.get(path));
  const nothing = `0 ${"0".repeat(tree.length)}`;
  const removed = untouched.filter((path) => before?.get(path) === undefined);
  const restored = untouched.filter((path) => before?.get(path) !== undefined);
  // Removals first: a file may have become a folder.
  const lines = [
    ...removed.map((path) => `${nothing}\t${path}\0`),
    ...restored.map((path) => `${before?.get(path) ?? nothing}\t${path}\0`),
  ];
  return edited(git, tree, lines, signal);
}

/** A tree of the whole repository with another tree as the project in it. */
export async function withProject(
  git: PrivateGit,
  { tree, project }: { tree: string; project: string },
  signal: AbortSignal,
): Promise<string> {
  if (git.prefix === "") return project;
  const index = git.temporaryIndex();
  try {
    await git.call(["read-tree", tree], { index }, signal);
    const stdin = await git.call(["ls-files", "-z", "--", git.prefix], { index }, signal);
    if (stdin.length > 0)
      await git.call(["update-index", "-z", "--force-remove", "--stdin"], { index, stdin }, signal);
    await git.call(["read-tree", `--prefix=${git.prefix}`, project], { index }, signal);
    return textOf(await git.call(["write-tree"], { index }, signal));
  } finally {
    git.dropIndex(index);
  }
}

async function edited(
  git: PrivateGit,
  tree: string,
  lines: readonly string[],
  signal: AbortSignal,
): Promise<string> {
  if (lines.length === 0) return tree;
  const index = git.temporaryIndex();
  try {
    await git.call(["read-tree", tree], { index }, signal);
    const stdin = Buffer.from(lines.join(""));
    await git.call(["update-index", "--replace", "-z", "--index-info"], { index, stdin }, signal);
    return textOf(await git.call(["write-tree"], { index }, signal));
  } finally {
    git.dropIndex(index);
  }
}
