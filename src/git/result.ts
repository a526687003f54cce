/** How a result reaches the user: as a branch of their repository and, when asked for, as changes of their files. */
import { dirname, join } from "node:path";

import { OmkError, systemCode } from "../errors.ts";
import { printable } from "../format/printable.ts";
import { checked, readText, textOf, type PrivateGit, type TreeChange } from "./private-git.ts";
import { refusedChanges } from "./refused-changes.ts";
import type { WorkTree } from "./work-tree.ts";

/** Why a result was not laid over the user's files, path by path. */
export interface InTheWay {
  path: string;
  because: string;
}

/** What became of it. `written` and `removed` count the files that this call changed. */
export type Applied =
  | { outcome: "applied"; written: number; removed: number }
  | { outcome: "refused"; inTheWay: InTheWay[] };

/** Files that may lie in a folder where a file shall be. */
const FOLDER_ENTRIES_MAX = 10_000;
/** Linked worktrees of a repository that are looked at. */
const WORKTREES_MAX = 1_000;

/** The branch that holds a goal's result. */
function resultBranch(goalId: string): string {
  return `omk/result/${goalId}`;
}

/** What the result branch names now; undefined where there is none. */
export async function resultTip(git: PrivateGit, signal: AbortSignal): Promise<string | undefined> {
  const ref = `refs/heads/${resultBranch(git.goalId)}`;
  const named = textOf(await git.callOnRefs(["for-each-ref", "--format=%(objectname)", ref], {}, signal));
  return named === "" ? undefined : named;
}

/**
 * Puts a commit onto the result branch of the user's repository (of the private directory where there is none) and returns
 * the ref. `expected` is what it named before (null: it was not there). `delivery.refused` when another hand has moved the
 * branch, or has it checked out: neither HEAD nor index nor a file of the user's ever changes.
 */
export async function publishResult(
  git: PrivateGit,
  given: { commit: string; base: string; expected: string | null },
  signal: AbortSignal,
): Promise<string> {
  const { commit, base, expected } = given;
  const branch = resultBranch(git.goalId);
  const ref = `refs/heads/${branch}`;
  const now = await resultTip(git, signal);
  if (now === commit) return ref;
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

/**
 * Lays the difference between two trees of the project over the user's files; their index and HEAD stay. Refused as a whole
 * when a file that it would touch is not as the base has it, or anything lies where a new one goes, ignored or not. Cut off
 * half-way, the same call goes on: a file that is as the result has it is done.
 */
export async function applyResult(
  git: PrivateGit,
  project: WorkTree,
  given: { base: string; result: string },
  signal: AbortSignal,
): Promise<Applied> {
  const { base, result } = given;
  const changes = await git.changes(base, result, signal);
  const refused = refusedChanges(changes);
  if (refused.length > 0) return { outcome: "refused", inTheWay: refused };
  const now = await git.entries(await project.snapshot(signal), signal);
  const [before, after] = [await git.entries(base, signal), await git.entries(result, signal)];
  const at = { root: project.root, now, before, after };
  const open = changes.filter(({ path }) => entryOf(now.get(path)) !== entryOf(after.get(path)));
  const inTheWay = open.flatMap((change) => whatIsInTheWay(git, change, at));
  if (inTheWay.length > 0) return { outcome: "refused", inTheWay };

  const removed = open.filter(({ path }) => !after.has(path)).map(({ path }) => path);
  for (const path of removed) removeFile(git, project.root, path);
  const written = open.filter(({ path }) => after.has(path)).map(({ path }) => path);
  if (written.length > 0) await writeFiles(git, { root: project.root, tree: result, paths: written }, signal);
  return { outcome: "applied", written: written.length, removed: removed.length };
}

/** Mode and object of an entry; what is absent equals what is absent. */
function entryOf(entry: string | undefined): string {
  return entry ?? "";
}

interface Before {
  root: string;
  now: ReadonlyMap<string, string>;
  before: ReadonlyMap<string, string>;
  after: ReadonlyMap<string, string>;
}

function whatIsInTheWay(git: PrivateGit, { path }: TreeChange, at: Before): InTheWay[] {
  const { disk } = git.ports;
  const say = (because: string) => [{ path, because }];
  const { root, now, before, after } = at;
  if (entryOf(now.get(path)) !== entryOf(before.get(path)))
    return say(now.has(path) ? "it is not as the goal's base has it" : "it is gone");
  if (!after.has(path)) return [];
  for (let above = dirname(path); above !== "."; above = dirname(above)) {
    const kind = disk.stat(join(root, above))?.kind;
    if (kind === undefined || kind === "folder") continue;
    // A file that the result replaces by a folder is not in the way of what goes in there.
    if (before.has(above) && !after.has(above)) continue;
    return say(`${printable(above, { oneLine: true })} is no folder`);
  }
  const found = disk.stat(join(root, path));
  if (!found || before.has(path)) return [];
  if (found.kind !== "folder") return say("a file that git ignores lies there");
  const strange = filesIn(git, root, path).find((name) => !before.has(name) || after.has(name));
  return strange === undefined ? [] : say(`the folder there holds ${printable(strange, { oneLine: true })}`);
}

/** All files below a folder, by their paths below the root; bounded, since more are in the way anyhow. */
function filesIn(git: PrivateGit, root: string, folder: string): string[] {
  const { disk } = git.ports;
  const files: string[] = [];
  const open = [folder];
  for (let next = open.pop(); next !== undefined && files.length < FOLDER_ENTRIES_MAX; next = open.pop()) {
    for (const name of disk.list(join(root, next))) {
      const path = `${next}/${name}`;
      if (disk.stat(join(root, path))?.kind === "folder") open.push(path);
      else files.push(path);
    }
  }
  return files;
}

/** Removes a file, and folders that hold nothing then. */
function removeFile(git: PrivateGit, root: string, path: string): void {
  const { disk } = git.ports;
  const file = join(root, path);
  if (disk.stat(file)) disk.remove(file);
  for (let above = dirname(path); above !== "."; above = dirname(above)) {
    const folder = join(root, above);
    if (disk.stat(folder)?.kind !== "folder" || disk.list(folder).length > 0) return;
    try {
      disk.removeFolder(folder);
    } catch (error) {
      // Somebody has just put something there.
      if (systemCode(error) === "ENOTEMPTY") return;
      throw error;
    }
  }
}

async function writeFiles(
  git: PrivateGit,
  given: { root: string; tree: string; paths: readonly string[] },
  signal: AbortSignal,
): Promise<void> {
  const { root, tree, paths } = given;
  const index = git.temporaryIndex();
  try {
    await git.call(["read-tree", tree], { index }, signal);
    const stdin = Buffer.from(paths.map((path) => `${path}\0`).join(""));
    const args = ["checkout-index", "--force", "-z", "--stdin"];
    checked("checkout-index", await git.run(args, { index, stdin, cwd: root, workTree: root }, signal));
  } finally {
    git.dropIndex(index);
  }
}
