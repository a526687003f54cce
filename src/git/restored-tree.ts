/** Taking back in a tree what something wrote before the work began, and nobody has touched since. */
import { textOf, type PrivateGit } from "./private-git.ts";

/**
 * The tree `now`, in which every path that differs between `before` and `after` is as in `before`, as long as it still is as
 * in `after`: what a set-up wrote is no part of the work that followed it.
 */
export async function restoredTree(
  git: PrivateGit,
  { before, after, now }: { before: string; after: string; now: string },
  signal: AbortSignal,
): Promise<string> {
  const written = await git.changes(before, after, signal);
  if (written.length === 0) return now;
  const [old, ready, present] = await Promise.all(
    [before, after, now].map((tree) => git.entries(tree, signal)),
  );
  const nothing = `0 ${"0".repeat(now.length)}`;
  const lines = written
    .filter(({ path }) => ready?.get(path) === present?.get(path))
    .map(({ path }) => `${old?.get(path) ?? nothing}\t${path}\0`);
  if (lines.length === 0) return now;
  const index = git.temporaryIndex();
  try {
    await git.call(["read-tree", now], { index }, signal);
    const stdin = Buffer.from(lines.join(""));
    await git.call(["update-index", "-z", "--index-info"], { index, stdin }, signal);
    return textOf(await git.call(["write-tree"], { index }, signal));
  } finally {
    git.dropIndex(index);
  }
}
