/** How results become one: commits of slices, probes whether two of them fit together, and merges without a work tree. */
import { OmkError } from "../errors.ts";
import { checked, type PrivateGit } from "./private-git.ts";
import { checkedBranch } from "./ref-name.ts";

/** Whether two commits can be merged, and the tree that is then theirs. */
export type Probe =
  | { outcome: "fits"; tree: string }
  /**
   * `files` in byte order; `kinds` are git's own words for what is in the way, e.g. `CONFLICT (modify/delete)`; `tree` has
   * what git could make of both, with conflict markers.
   */
  | { outcome: "conflict"; tree: string; files: string[]; kinds: string[] };

/** What a merge came to. */
export type Merged =
  | { outcome: "merged"; commit: string; tree: string }
  | Extract<Probe, { outcome: "conflict" }>;

/** The commit that slices start from: the given one, or one made of a tree where the project has none. */
export async function baseCommit(
  git: PrivateGit,
  base: { commit: string } | { tree: string; at: Date },
  signal: AbortSignal,
): Promise<string> {
  if ("commit" in base) return base.commit;
  const { tree, at } = base;
  return git.commitTree({ tree, parents: [], message: "The project as omk found it", at }, signal);
}

/**
 * Puts a result onto the branch of its slice, in the private directory: a commit of `tree` on `parents`. `expected` is what
 * the branch named when the attempt was given out (null: it was not there), be it what the log names or what a killed omk
 * has left; `git.failed` when that has changed since. The same call once more finds its own commit and is content.
 */
export async function commitOnBranch(
  git: PrivateGit,
  given: {
    branch: string;
    tree: string;
    parents: readonly string[];
    message: string;
    at: Date;
    expected: string | null;
  },
  signal: AbortSignal,
): Promise<string> {
  const { tree, parents, message, at, expected } = given;
  const ref = `refs/heads/${checkedBranch(given.branch)}`;
  const commit = await git.commitTree({ tree, parents, message, at }, signal);
  const now = (await git.refAt(ref, signal)) ?? null;
  if (now === commit) return commit;
  // One that is gone was removed by an agent: the log says whose turn it is.
  if (now !== null && now !== expected) {
    throw new OmkError("git.failed", `The branch ${given.branch} has been moved by a later attempt.`, {
      hint: "This result is not taken. It stays where it was made until it is rescued.",
    });
  }
  await git.moveRef(ref, commit, now, signal);
  return commit;
}

/** What a branch of the private directory names. */
export function branchTip(git: PrivateGit, branch: string, signal: AbortSignal): Promise<string | undefined> {
  return git.refAt(`refs/heads/${checkedBranch(branch)}`, signal);
}

/** Tries a merge of two commits, in memory: nothing but objects comes of it. */
export async function probeMerge(
  git: PrivateGit,
  ours: string,
  theirs: string,
  signal: AbortSignal,
): Promise<Probe> {
  const args = ["merge-tree", "--write-tree", "--name-only", "--messages", "-z", ours, theirs];
  const run = await git.run(args, {}, signal);
  const isConflict = run.exit.kind === "exited" && run.exit.code === 1 && !run.timedOut && !run.truncated;
  if (!isConflict) checked("merge-tree", run);
  // The tree, the names of files in conflict, an empty name, then messages: a count of paths, these, a kind, a sentence.
  const parts = Buffer.from(run.stdout).toString("utf8").split("\0");
  const [tree = ""] = parts;
  if (!isConflict) return { outcome: "fits", tree };
  const end = parts.indexOf("", 1);
  const files = parts.slice(1, end);
  const kinds = new Set<string>();
  for (let at = end + 1; at < parts.length - 1;) {
    const count = Number(parts[at]);
    const paths = parts.slice(at + 1, at + 1 + count);
    const kind = parts[at + 1 + count] ?? "";
    if (kind.startsWith("CONFLICT")) {
      kinds.add(kind);
      // Some kinds leave no higher stages behind; their paths are named only here.
      files.push(...paths);
    }
    at += count + 3;
  }
  return { outcome: "conflict", tree, files: inByteOrder(files), kinds: [...kinds].toSorted() };
}

function inByteOrder(names: readonly string[]): string[] {
  return [...new Set(names)].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/**
 * Merges one commit into another as a merge commit, or says what is in the way. No ref moves: with the same instant the same
 * commit comes of it again.
 */
export async function mergeCommits(
  git: PrivateGit,
  given: { onto: string; commit: string; message: string; at: Date },
  signal: AbortSignal,
): Promise<Merged> {
  const { onto, commit, message, at } = given;
  const probe = await probeMerge(git, onto, commit, signal);
  if (probe.outcome === "conflict") return probe;
  const { tree } = probe;
  const merged = await git.commitTree({ tree, parents: [onto, commit], message, at }, signal);
  return { outcome: "merged", commit: merged, tree };
}

/** Whether a commit is part of another one's history: what shows that a slice has landed. */
export async function isContained(
  git: PrivateGit,
  commit: string,
  inCommit: string,
  signal: AbortSignal,
): Promise<boolean> {
  const run = await git.run(["merge-base", "--is-ancestor", commit, inCommit], {}, signal);
  if (run.exit.kind === "exited" && run.exit.code === 1) return false;
  checked("merge-base", run);
  return true;
}
