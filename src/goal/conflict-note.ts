/**
 * Conflicts that leave no markers: of binary files, links, and files that one side deleted or moved, git keeps one side and
 * says nothing in it. A note lists them where a conflict is to be solved; that it is deleted says that somebody decided.
 */
import { textOf, type PrivateGit } from "../git/private-git.ts";
import { workTreeOf } from "../git/work-tree.ts";

/** In the folder of the project. */
export const CONFLICT_NOTE = "OMK-CONFLICTS.md";

/** What git calls a side for which it has no place: the path, and the commit it comes from. */
const BY_PRODUCT = /~[0-9a-f]{40,64}(?:_\d+)?$/;
const MARKER = /^<{7}(?: |$)/m;
/** Of a file in conflict, so much is searched for markers. */
const SEARCHED_BYTES_MAX = 16 * 1024 * 1024;

/** What two commits come to that cannot be merged, with the note where there is something to be noted. */
export async function conflictTree(
  git: PrivateGit,
  conflict: { tree: string; files: readonly string[]; parents: readonly string[] },
  signal: AbortSignal,
): Promise<string> {
  const { tree, files, parents } = conflict;
  const trees = workTreeOf(git);
  const silent: string[] = [];
  for (const path of files) {
    const bytes = await trees.read(tree, path, SEARCHED_BYTES_MAX, signal);
    if (!bytes || !MARKER.test(Buffer.from(bytes).toString("utf8"))) silent.push(path);
  }
  return silent.length === 0 ? tree : withNote(git, { tree, text: noteText(silent, parents) }, signal);
}

function noteText(files: readonly string[], [ours = "", theirs = ""]: readonly string[]): string {
  return [
    "# Conflicts without markers",
    "",
    "Of these paths git could keep only one side, or kept both under other names. Look at both, make each what both parts of the",
    "goal intend, take away names that end in `~` and a commit, and then delete this file.",
    "",
    ...files.map((path) => `- \`${path}\``),
    "",
    `One side: \`git show ${ours}:<path>\`, the other: \`git show ${theirs}:<path>\`. A side that does not have it deleted or moved it.`,
    "",
  ].join("\n");
}

async function withNote(
  git: PrivateGit,
  { tree, text }: { tree: string; text: string },
  signal: AbortSignal,
): Promise<string> {
  const index = git.temporaryIndex();
  try {
    await git.call(["read-tree", tree], { index }, signal);
    const write = ["hash-object", "-w", "--stdin", "--no-filters"];
    const oid = textOf(await git.call(write, { stdin: Buffer.from(text) }, signal));
    const stdin = Buffer.from(`100644 ${oid}\t${git.prefix}${CONFLICT_NOTE}\0`);
    await git.call(["update-index", "-z", "--index-info"], { index, stdin }, signal);
    return textOf(await git.call(["write-tree"], { index }, signal));
  } finally {
    git.dropIndex(index);
  }
}

/** What says in a result that a conflict without markers was not solved: the note, and names that only git's merge has made. */
export async function undecidedPaths(
  git: PrivateGit,
  { start, parents, tree }: { start: string; parents: readonly string[]; tree: string },
  signal: AbortSignal,
): Promise<string[]> {
  const note = `${git.prefix}${CONFLICT_NOTE}`;
  const suspects = [...(await git.entries(tree, signal)).keys()].filter(
    (path) => path === note || BY_PRODUCT.test(path),
  );
  if (suspects.length === 0) return [];
  const begun = await git.entries(await git.treeOf(start, signal), signal);
  const sides = await Promise.all(
    parents.map(async (side) => git.entries(await git.treeOf(side, signal), signal)),
  );
  return suspects.filter((path) => begun.has(path) && !sides.some((side) => side.has(path)));
}
