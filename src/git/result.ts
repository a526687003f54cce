/** How a result reaches the user: as a branch of their repository. */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import { printable } from "../format/printable.ts";
import { shellQuoted } from "../format/shell.ts";
import { readText, textOf, type PrivateGit } from "./private-git.ts";

/** Linked worktrees of a repository that are looked at. */
const WORKTREES_MAX = 1_000;

const HEADS = "refs/heads/";

/** The branch that holds a goal's result. */
function resultBranch(goalId: string): string {
  return `omk/result/${goalId}`;
}

/** What the result branch names now; undefined where there is none. */
export async function resultTip(git: PrivateGit, signal: AbortSignal): Promise<string | undefined> {
  const ref = `${HEADS}${resultBranch(git.goalId)}`;
  const named = textOf(await git.callOnRefs(["for-each-ref", "--format=%(objectname)", ref], {}, signal));
  return named === "" ? undefined : named;
}

/** The failure of what cannot be done before a person has renamed a branch; its code is `delivery.refused`. */
export class NoRoomForResult extends OmkError {}

/**
 * `delivery.refused` where a branch of the user's makes the result branch impossible, as `omk` and `omk/result` do: git keeps
 * no branch below another one. `then` is what to do when it is out of the way.
 */
export async function checkResultName(git: PrivateGit, then: string, signal: AbortSignal): Promise<void> {
  const found = await branchAround(git, resultBranch(git.goalId), signal);
  if (found === undefined) return;
  const shown = printable(found, { oneLine: true });
  const what = `The branch ${shown} leaves no room for the one of the result: git keeps no branch below another one.`;
  throw new NoRoomForResult("delivery.refused", what, {
    hint: `Rename it with \`git branch -m ${wordOf(shown)} <other name>\`, then ${then}.`,
  });
}

/** A name as a word of a command line, quoted where a shell would not take it as it is. */
function wordOf(name: string): string {
  return /^[\w./-]+$/.test(name) ? name : shellQuoted(name);
}

/** A branch whose name is the beginning of the wanted one, or that begins with it, up to a slash. */
async function branchAround(
  git: PrivateGit,
  branch: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const [top = ""] = branch.split("/");
  const ignoresCase = git.fileSystemSettings.some(
    ([key, value]) => key === "core.ignorecase" && value === "true",
  );
  const list = ["for-each-ref", ...(ignoresCase ? ["--ignore-case"] : []), "--format=%(refname)"];
  const listed = textOf(await git.callOnRefs([...list, `${HEADS}${top}`, `${HEADS}${branch}`], {}, signal));
  // The branch that somebody is on need not be there yet.
  const current = git.user && (await git.headRef(signal));
  const plain = (name: string) => (ignoresCase ? name.toLowerCase() : name);
  const wanted = plain(`${HEADS}${branch}/`);
  return [...listed.split("\n"), current ?? ""]
    .filter((ref) => plain(ref) !== wanted.slice(0, -1) && ref.startsWith(HEADS))
    .find((ref) => wanted.startsWith(`${plain(ref)}/`) || plain(ref).startsWith(wanted))
    ?.slice(HEADS.length);
}

/**
 * Puts a commit onto the result branch of the user's repository (of the private directory where there is none) and returns
 * the ref. `expected` is what it named before (null: it was not there). `delivery.refused` when another hand has moved the
 * branch, has it checked out, or leaves no room for it: neither HEAD nor index nor a file of the user's ever changes.
 */
export async function publishResult(
  git: PrivateGit,
  given: { commit: string; base: string; expected: string | null },
  signal: AbortSignal,
): Promise<string> {
  const { commit, base, expected } = given;
  const branch = resultBranch(git.goalId);
  const ref = `${HEADS}${branch}`;
  const now = await resultTip(git, signal);
  if (now === commit) return ref;
  await checkResultName(git, "resume the goal or run", signal);
  if (now !== (expected ?? undefined)) {
    throw new OmkError("delivery.refused", `The branch ${branch} is not where omk left it.`, {
      hint: `Rename it with \`git branch -m ${branch} <other name>\`, then resume the goal or run.`,
    });
  }
  const at = checkedOutAt(git, ref);
  if (at !== undefined) {
    throw new OmkError("delivery.refused", `The branch ${branch} is checked out in ${at}.`, {
      hint: "Switch to another branch there, then resume the goal or run.",
    });
  }
  await git.copyToUser(commit, signal, (await git.userHas(base, signal)) ? [base] : []);
  await git.callOnRefs(["update-ref", ref, commit, expected ?? "0".repeat(commit.length)], {}, signal);
  return ref;
}

/** A branch as git's commands take it: its plain name, unless that would name something else first, e.g. a tag. */
export async function nameOfBranch(git: PrivateGit, ref: string, signal: AbortSignal): Promise<string> {
  return textOf(await git.callOnRefs(["rev-parse", "--abbrev-ref=strict", ref], {}, signal));
}

/** The git directory, the user's own or of a linked worktree, whose HEAD names a branch. */
function checkedOutAt(git: PrivateGit, ref: string): string | undefined {
  if (!git.user) return undefined;
  const { disk } = git.ports;
  const { commonDir } = git.user;
  const linked = join(commonDir, "worktrees");
  const names = disk.stat(linked)?.kind === "folder" ? disk.list(linked).slice(0, WORKTREES_MAX) : [];
  return [commonDir, ...names.map((name) => join(linked, name))].find((gitDir) => {
    const head = join(gitDir, "HEAD");
    return disk.stat(head)?.kind === "file" && readText(head, git.ports).trim() === `ref: ${ref}`;
  });
}
