/** What work in folders of its own starts from: a commit, whatever the user's own files are meanwhile. */
import { named } from "../format/named.ts";
import { baseCommit } from "./integrate.ts";
import type { PrivateGit } from "./private-git.ts";
import { ProjectFiles, uncommittedPaths, workTreeOf } from "./work-tree.ts";

/** Where a commit that omk made is named, in the private directory. */
const OWN_BASE = "refs/omk/own-base";

/** The commit that work starts from. */
interface StartingPoint {
  commit: string;
  /** Whether it is the user's own. */
  isTheirs: boolean;
  /** Paths that the user has not committed, so that they are not in it. */
  uncommitted: string[];
}

/**
 * The commit HEAD names, which is kept in the user's repository from now on or, where there is none, one of the files as they
 * are, made at `at`, which only omk's own git has. What the user has not committed is told, since none of it is in the work.
 */
export async function startingPoint(
  git: PrivateGit,
  at: Date,
  ports: { tell(line: string): void },
  signal: AbortSignal,
): Promise<StartingPoint> {
  const head = await git.head(signal);
  if (head === undefined) {
    return { commit: await commitOfFiles(git, at, signal), isTheirs: false, uncommitted: [] };
  }
  const uncommitted = await uncommittedPaths(git, signal);
  if (uncommitted.length > 0)
    ports.tell(
      `the work starts from commit ${head}; not committed and so not included: ${named(uncommitted)}`,
    );
  await workTreeOf(git).pinBase(head, signal);
  return { commit: head, isTheirs: true, uncommitted };
}

async function commitOfFiles(git: PrivateGit, at: Date, signal: AbortSignal): Promise<string> {
  const tree = await new ProjectFiles(git).snapshot(signal);
  const commit = await baseCommit(git, { tree, at }, signal);
  const known = (await git.refAt(OWN_BASE, signal)) ?? null;
  if (known !== commit) await git.moveRef(OWN_BASE, commit, known, signal);
  return commit;
}
