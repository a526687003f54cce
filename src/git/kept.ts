/** Commits that are kept for good under `refs/omk/rescue/<goal>/`: work that must not be lost, whatever becomes of it. */
import { OmkError } from "../errors.ts";
import { textOf, type PrivateGit } from "./private-git.ts";

/** Where all of them are. */
export const RESCUE_REFS = "refs/omk/rescue/";
/** Commits kept under one name; each is a result that another one followed. */
const KEPT_MAX = 1_000;

/**
 * Keeps a commit under a name, in the user's repository where there is one, and returns the ref. Another commit kept under
 * it before moves to `<name>-<n>`. `have` are commits that the user's repository has already.
 */
export async function keepCommit(
  git: PrivateGit,
  { name, commit, have }: { name: string; commit: string; have?: readonly string[] },
  signal: AbortSignal,
): Promise<string> {
  const folder = `${RESCUE_REFS}${git.goalId}/`;
  const ref = `${folder}${name}`;
  const list = ["for-each-ref", "--format=%(refname) %(objectname)", folder];
  const kept = new Map(
    textOf(await git.callOnRefs(list, {}, signal))
      .split("\n")
      .map((line) => line.split(" ") as [string, string]),
  );
  const old = kept.get(ref);
  if (old === commit) return ref;
  await git.copyToUser(commit, signal, have);
  const steps = [`update ${ref}\0${commit}\0${old ?? "0".repeat(commit.length)}\0`];
  const isElsewhere = [...kept].some(([other, oid]) => other !== ref && oid === old);
  if (old !== undefined && !isElsewhere) steps.push(`create ${freeName(ref, kept)}\0${old}\0`);
  const stdin = Buffer.from(steps.join(""));
  await git.callOnRefs(["update-ref", "-z", "--stdin"], { stdin }, signal);
  return ref;
}

function freeName(ref: string, taken: ReadonlyMap<string, string>): string {
  for (let n = 1; n < KEPT_MAX; n++) if (!taken.has(`${ref}-${n}`)) return `${ref}-${n}`;
  throw new OmkError("git.failed", `There are ${KEPT_MAX} trees under ${ref} already.`, {
    hint: "Remove some of them: `omk rescue list` shows them, `omk rescue prune` removes those of ended goals.",
  });
}
