/** What one history has and another lacks. */
import type { RunResult } from "../ports.ts";
import { checked, textOf, type PrivateGit } from "./private-git.ts";

/** Commits that are missing elsewhere: how many, and the newest of them with their subjects as they are. */
export interface Beyond {
  count: number;
  newest: { id: string; subject: string }[];
}

/** As many as a sentence can hold. */
const NEWEST_MAX = 3;

/** The commits of a history of the private directory that another one lacks. */
export function commitsBeyond(
  git: PrivateGit,
  commit: string,
  known: string,
  signal: AbortSignal,
): Promise<Beyond> {
  return beyond((args) => git.run(args, {}, signal), [commit, "--not", known]);
}

/**
 * The commits of HEAD that no branch of a remote has, as far as the user's repository has been told of them; undefined
 * where it knows no branch of that remote.
 */
export async function commitsBeyondRemote(
  git: PrivateGit,
  remote: string,
  signal: AbortSignal,
): Promise<Beyond | undefined> {
  const ask = (args: readonly string[]) => git.runUsers(args, {}, signal);
  const refs = ["for-each-ref", "--count=1", "--format=%(objectname)", `refs/remotes/${remote}/`];
  if (textOf(checked("for-each-ref", await ask(refs))) === "") return undefined;
  return beyond(ask, ["HEAD", "--not", `--remotes=${remote}`]);
}

async function beyond(
  ask: (args: readonly string[]) => Promise<RunResult>,
  range: readonly string[],
): Promise<Beyond> {
  const count = Number(textOf(checked("rev-list", await ask(["rev-list", "--count", ...range]))));
  if (count === 0) return { count, newest: [] };
  // Not `log`, which the repository's own configuration can make run programs.
  const shown = ["--no-commit-header", "--abbrev-commit", "--format=%h %s", `--max-count=${NEWEST_MAX}`];
  const lines = textOf(checked("rev-list", await ask(["rev-list", ...shown, ...range]))).split("\n");
  return {
    count,
    newest: lines.map((line) => {
      const [id = "", ...words] = line.split(" ");
      return { id, subject: words.join(" ") };
    }),
  };
}
