/** Commits that are kept for good under `refs/omk/rescue/<goal>/`: work that must not be lost, whatever becomes of it. */
import { OmkError } from "../errors.ts";
import { textOf, type PrivateGit } from "./private-git.ts";

/** Where all of them are. */
export const RESCUE_REFS = "refs/omk/rescue/";
/** Commits kept under one name; each is a result that another one followed. */
const KEPT_MAX = 1_000;

/**
 * Keeps a tree under a name, and returns the ref. The commit has no parents and carries the instant at which the tree was
 * first kept under that name, however often that is asked for again.
 */
export async function keepTree(
  git: PrivateGit,
  { name, tree, at }: { name: string; tree: string; at: Date },
  signal: AbortSignal,
): Promise<string> {
  const known = (await keptOf(git, signal)).find(
    (one) => one.tree === tree && isNameOf(one.ref, name, git.goalId),
  );
  const message = `omk: ${name} of ${git.goalId}`;
  const commit = known?.commit ?? (await git.commitTree({ tree, parents: [], message, at }, signal));
  return keepCommit(git, { name, commit }, signal);
}

/** Whether something is kept under this name, or was until another one followed. */
function isNameOf(ref: string, name: string, goalId: string): boolean {
  const rest = ref.slice(`${RESCUE_REFS}${goalId}/${name}`.length);
  return ref.startsWith(`${RESCUE_REFS}${goalId}/${name}`) && /^(?:-\d+)?$/.test(rest);
}

/** What is kept of the goal. */
async function keptOf(
  git: PrivateGit,
  signal: AbortSignal,
): Promise<{ ref: string; commit: string; tree: string }[]> {
  const format = "--format=%(refname) %(objectname) %(tree)";
  const args = ["for-each-ref", format, `${RESCUE_REFS}${git.goalId}/`];
  return textOf(await git.callOnRefs(args, {}, signal))
    .split("\n")
    .map((line) => {
      const [ref = "", commit = "", tree = ""] = line.split(" ");
      return { ref, commit, tree };
    });
}

/**
 * Keeps a commit under a name, in the user's repository where there is one, and returns the ref. Another commit kept under
 * it before moves to `<name>-<n>`. `have` are commits that the user's repository has already.
 */
export async function keepCommit(
  git: PrivateGit,
  { name, commit, have }: { name: string; commit: string; have?: readonly string[] },
  signal: AbortSignal,
): Promise<string> {
  const ref = `${RESCUE_REFS}${git.goalId}/${name}`;
  const kept = new Map((await keptOf(git, signal)).map((one) => [one.ref, one.commit]));
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
