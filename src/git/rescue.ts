/**
 * Nothing an agent made is thrown away: before a folder goes, all of it is kept under `refs/omk/rescue/<goal>/`, as a commit
 * of the files whose further parents are what was staged and what the agent had committed or stashed.
 */
import { join } from "node:path";

import { OmkError, systemCode } from "../errors.ts";
import { agentIndex, type AttemptTree } from "./attempt-tree.ts";
import { keepCommit, RESCUE_REFS } from "./kept.ts";
import {
  checked,
  GITLINK,
  splitNul,
  succeeded,
  textOf,
  type PrivateGit,
  type TreeChange,
} from "./private-git.ts";
import { checkedBranch } from "./ref-name.ts";
import { workTreeOf } from "./work-tree.ts";

/** What was saved of an attempt's folder. */
export interface Rescued {
  ref: string;
  commit: string;
  /** Of all files. */
  tree: string;
  /** The commit of what was staged; null when that could not be read. */
  index: string | null;
  /** Commits of the agent's own that are among its parents. */
  commits: string[];
  /** What is in no commit, e.g. repositories inside: for their sake the folder is not removed. */
  unsaved: string[];
}

/** What came of looking at a folder that its agent may have left in any state. */
export type RescueTry =
  | { outcome: "rescued"; rescued: Rescued }
  /** Nobody can look at it: it is gone, is no folder, or holds what git cannot pass by. Nothing of it was saved. */
  | { outcome: "unreadable"; because: string };

/** Something that is kept. */
export interface Kept {
  /** As in `omk rescue show <name>`: `<goal>/<what>`. */
  name: string;
  ref: string;
  goal_id: string;
  /** `attempt`: the folder of one. `tree`: the project before or after work in place. */
  kind: "attempt" | "tree";
  commit: string;
  tree: string;
  parents: string[];
  /**
   * The instant that its commit carries: of an attempt when its turn was over (or began, if omk was killed over it), of a tree
   * when it was first kept; null where it carries none.
   */
  saved_at: string | null;
}

/** Whose folder it is, and the instant that what is saved of it carries. */
interface RescueName {
  task: string;
  fence: number;
  at: Date;
}

/** Heads of an agent's own repository that are looked at, and entries of its stash. */
const HEADS_MAX = 200;
const NUL = Buffer.of(0);
const INDEX_SUBJECT = "omk: what was staged in";

/**
 * Saves everything in the folder of an attempt. Files that are ignored and were never added are not part of it. May be
 * called again after a crash: the same content under the same instant is the same commit.
 */
export async function rescueAttempt(
  git: PrivateGit,
  attempt: AttemptTree,
  given: RescueName,
  signal: AbortSignal,
): Promise<Rescued> {
  return rescueTree(git, { ...given, attempt, tree: await attempt.snapshot(signal) }, signal);
}

/** The same for a folder that may be spoilt; a failure that is not the folder's is thrown. */
export async function tryRescue(
  git: PrivateGit,
  attempt: AttemptTree,
  given: RescueName,
  signal: AbortSignal,
): Promise<RescueTry> {
  let tree: string;
  try {
    tree = await attempt.snapshot(signal);
  } catch (error) {
    const isOfGit = error instanceof OmkError && error.code === "git.failed";
    if (!isOfGit && systemCode(error) === undefined) throw error;
    if (!(await canKeep(git, signal))) throw error;
    return { outcome: "unreadable", because: (error as Error).message };
  }
  return { outcome: "rescued", rescued: await rescueTree(git, { ...given, attempt, tree }, signal) };
}

/** Whether git works and can write at all, e.g. on a disk that is not full: else no folder is to blame. */
async function canKeep(git: PrivateGit, signal: AbortSignal): Promise<boolean> {
  const stdin = Buffer.from(git.ports.random.name(20));
  return succeeded(await git.run(["hash-object", "-w", "--stdin"], { stdin }, signal));
}

async function rescueTree(
  git: PrivateGit,
  given: RescueName & { attempt: AttemptTree; tree: string },
  signal: AbortSignal,
): Promise<Rescued> {
  const { at, attempt, tree } = given;
  const name = `${refPart(given.task)}-${given.fence}`;
  const staged = await stagedTree(git, attempt, signal);
  const named = await headsOf(git, attempt, signal);
  const heads = named ?? [];
  const ofAgent = [...(staged === undefined ? [] : [staged]), ...heads];
  const isWhole = ofAgent.length === 0 || (await takeObjects(git, attempt, ofAgent, signal));
  const commits = isWhole ? heads : [];
  const index =
    staged === undefined || !isWhole
      ? null
      : await git.commitTree(
          { tree: staged, parents: [attempt.base], message: `${INDEX_SUBJECT} ${name}`, at },
          signal,
        );
  const message = [
    `omk: everything in ${name} of ${git.goalId}`,
    "",
    `omk-task: ${given.task.replace(/\s+/g, " ")}`,
    `omk-fence: ${given.fence}`,
    `omk-base: ${attempt.base}`,
  ].join("\n");
  const parents = [attempt.base, ...(index === null ? [] : [index]), ...commits];
  const commit = await git.commitTree({ tree, parents, message, at }, signal);
  const have = (await git.userHas(attempt.base, signal)) ? [attempt.base] : [];
  const ref = await keepCommit(git, { name, commit, have }, signal);
  const unsaved = await repositoriesIn(git, attempt, tree, signal);
  unsaved.push(...(await attempt.leftOut(signal)));
  if (index === null && agentIndex(git, attempt.folder) !== undefined)
    unsaved.push("what was staged: it cannot be read");
  if (!named || !isWhole) unsaved.push("the agent's own commits: they cannot be read");
  return { ref, commit, tree, index, commits, unsaved };
}

/** A text as a part of a ref's name. */
function refPart(text: string): string {
  const part = text
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/\.{2,}/g, ".")
    .replace(/^[-.]+|[-.]+$/g, "")
    .slice(0, 100);
  return part === "" ? "task" : part;
}

/** What the agent staged, as a tree whose files are still the agent's; undefined when its index cannot be read. */
async function stagedTree(
  git: PrivateGit,
  attempt: AttemptTree,
  signal: AbortSignal,
): Promise<string | undefined> {
  const theirs = agentIndex(git, attempt.folder);
  if (theirs === undefined) return undefined;
  const listed = await git.run(["ls-files", "--stage", "-z"], { index: theirs }, signal);
  if (!succeeded(listed)) return undefined;
  const lines = splitNul(Buffer.from(listed.stdout)).flatMap((line) => {
    const tab = line.indexOf("\t");
    // Entries in conflict are one entry.
    return [Buffer.from(line.toString("latin1", 0, tab).replace(/ \d$/, " 0")), line.subarray(tab), NUL];
  });
  const index = git.temporaryIndex();
  try {
    // A file that was only announced (`git add -N`) stands for an empty one, which nobody may have stored.
    await git.call(["hash-object", "-w", "--stdin"], { stdin: Buffer.alloc(0) }, signal);
    const listing = { index, stdin: Buffer.concat(lines) };
    if (!succeeded(await git.run(["update-index", "-z", "--index-info"], listing, signal))) return undefined;
    const borrowed = join(attempt.folder, ".git", "objects");
    const run = await git.run(["write-tree"], { index, borrowed }, signal);
    return succeeded(run) ? textOf(run) : undefined;
  } finally {
    git.dropIndex(index);
  }
}

/** Commits the agent has made and names still: its branches, its HEAD, its stash; undefined when nobody can tell. */
async function headsOf(
  git: PrivateGit,
  attempt: AttemptTree,
  signal: AbortSignal,
): Promise<string[] | undefined> {
  const own = join(attempt.folder, ".git");
  if (git.ports.disk.stat(own)?.kind !== "folder") return [];
  const found = new Set<string>();
  const questions = [
    ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"],
    [
      "for-each-ref",
      `--count=${HEADS_MAX}`,
      "--format=%(objecttype) %(objectname)",
      "refs/heads",
      "refs/stash",
    ],
    ["rev-list", "--walk-reflogs", `--max-count=${HEADS_MAX}`, "refs/stash", "--"],
  ];
  for (const question of questions) {
    const run = await git.runAt(own, question, signal);
    // There need not be a HEAD or a stash, but refs are there to be listed as long as this is a repository.
    if (!succeeded(run) && question[0] === "for-each-ref") return undefined;
    if (!succeeded(run)) continue;
    for (const line of textOf(run).split("\n")) {
      const oid = /^(?:commit )?([0-9a-f]{40,64})$/.exec(line)?.[1];
      if (oid !== undefined && oid !== attempt.base) found.add(oid);
    }
  }
  return [...found].slice(0, HEADS_MAX);
}

/** Brings objects of the agent's repository into the private one; false when not all of them can be read. */
async function takeObjects(
  git: PrivateGit,
  attempt: AttemptTree,
  wanted: readonly string[],
  signal: AbortSignal,
): Promise<boolean> {
  const revisions = [...wanted, `^${attempt.base}`, `^${attempt.base}^{tree}`];
  const stdin = Buffer.from(`${revisions.join("\n")}\n`);
  const pack = join(git.gitDir, "objects", "pack", "pack");
  const borrowed = join(attempt.folder, ".git", "objects");
  const args = ["pack-objects", "--revs", "--quiet", "--non-empty", pack];
  return succeeded(await git.run(args, { stdin, borrowed }, signal));
}

/** Repositories in the folder that hold anything: of them a tree only has a name. */
async function repositoriesIn(
  git: PrivateGit,
  attempt: AttemptTree,
  tree: string,
  signal: AbortSignal,
): Promise<string[]> {
  const { disk } = git.ports;
  return [...(await git.entries(tree, signal))]
    .filter(([, entry]) => entry.startsWith(GITLINK))
    .map(([path]) => path)
    .filter((path) => {
      const folder = join(attempt.folder, path);
      try {
        return disk.stat(folder)?.kind === "folder" && disk.list(folder).length > 0;
      } catch (error) {
        if (systemCode(error) === undefined) throw error;
        // What cannot be looked into may hold something.
        return true;
      }
    });
}

/** What commits without an instant of their own carry. */
const NO_INSTANT_MS = 1e12;

/** All that is kept in the repository that is looked at, by name. */
export async function listKept(git: PrivateGit, signal: AbortSignal): Promise<Kept[]> {
  const format =
    "%(refname)%00%(objecttype)%00%(objectname)%00%(tree)%00%(parent)%00%(committerdate:unix)%00";
  const args = ["for-each-ref", `--format=${format}`, RESCUE_REFS];
  const listed = checked("for-each-ref", await git.runUsers(args, {}, signal)).toString("utf8");
  return listed.split("\0\n").flatMap((line) => {
    const [ref = "", type, commit = "", tree = "", parent = "", seconds = ""] = line.split("\0");
    const [goal_id = "", what = ""] = ref.slice(RESCUE_REFS.length).split("/");
    if (type !== "commit" || what === "") return [];
    const kind = parent === "" ? "tree" : "attempt";
    const savedMs = Number(seconds) * 1_000;
    const saved_at = savedMs === NO_INSTANT_MS ? null : new Date(savedMs).toISOString();
    const parents = parent === "" ? [] : parent.split(" ");
    return [{ name: `${goal_id}/${what}`, ref, goal_id, kind, commit, tree, parents, saved_at } as const];
  });
}

/** What something kept is compared with: its base, for a result the kept base of the same goal, or nothing. */
export function comparedWith(kept: Kept, all: readonly Kept[]): string | undefined {
  const [base] = kept.parents;
  if (base !== undefined) return base;
  if (kept.name.endsWith("/base")) return undefined;
  return all.find(({ ref }) => ref === `${RESCUE_REFS}${kept.goal_id}/base`)?.commit;
}

/** The commit of what was staged, if there is one. */
export async function stagedOf(
  git: PrivateGit,
  kept: Kept,
  signal: AbortSignal,
): Promise<string | undefined> {
  const second = kept.parents[1];
  if (second === undefined) return undefined;
  const text = textOf(await git.call(["cat-file", "commit", second], {}, signal));
  const said = text.slice(text.indexOf("\n\n") + 2);
  return said.startsWith(INDEX_SUBJECT) ? second : undefined;
}

/** How something kept differs from what it is compared with; without that, all its files. */
export async function keptChanges(
  git: PrivateGit,
  { from, to }: { from: string | undefined; to: string },
  signal: AbortSignal,
): Promise<TreeChange[]> {
  return git.changes(from ?? (await git.emptyTree(signal)), to, signal);
}

/** Writes what is kept into a folder, which is made; one that is there must be empty. Returns how many files it has. */
export async function restoreToFolder(
  git: PrivateGit,
  commit: string,
  folder: string,
  signal: AbortSignal,
): Promise<number> {
  const { disk } = git.ports;
  const found = disk.realPath(folder);
  if (found !== undefined && (disk.stat(found)?.kind !== "folder" || disk.list(found).length > 0)) {
    throw new OmkError("usage.invalid", `${folder} is there and not empty.`, {
      hint: "Nothing is ever overwritten. Name a folder that does not exist.",
    });
  }
  if (disk.stat(folder) && found === undefined) {
    throw new OmkError("usage.invalid", `${folder} is a link to nowhere.`, {
      hint: "Name a folder that does not exist.",
    });
  }
  if (found === undefined) disk.makeFolder(folder);
  const into = disk.realPath(folder) ?? folder;
  await workTreeOf(git).checkout(commit, into, {}, signal);
  return (await git.entries(commit, signal)).size;
}

/**
 * A commit for a branch: trees of work in place have no history of their own, so one of the whole repository gets the goal's
 * base commit as its parent, and can be compared and merged.
 */
export async function commitForBranch(
  git: PrivateGit,
  { kept, at }: { kept: Kept; at: Date },
  signal: AbortSignal,
): Promise<string> {
  if (kept.kind !== "tree") return kept.commit;
  const base = await git.ask(
    ["rev-parse", "--verify", "--quiet", `refs/omk/base/${kept.goal_id}^{commit}`],
    signal,
  );
  if (base === undefined) return kept.commit;
  const message = `${kept.name}, as omk kept it`;
  const commit = await git.commitTree({ tree: kept.tree, parents: [base], message, at }, signal);
  await git.copyToUser(commit, signal, [base]);
  return commit;
}

/** Makes a branch of the user's repository at something kept; one of that name must not be there. */
export async function restoreAsBranch(
  git: PrivateGit,
  given: { commit: string; branch: string },
  signal: AbortSignal,
): Promise<string> {
  const { commit } = given;
  const branch = checkedBranch(given.branch);
  const ref = `refs/heads/${branch}`;
  const found = await git.runUsers(["show-ref", "--verify", "--quiet", ref], {}, signal);
  if (succeeded(found)) {
    throw new OmkError("usage.invalid", `There is a branch ${branch} already.`, {
      hint: "Nothing is ever overwritten. Take another name.",
    });
  }
  const made = await git.runUsers(["update-ref", ref, commit, "0".repeat(commit.length)], {}, signal);
  checked("update-ref", made);
  return ref;
}

/** Removes refs, each only if it still names what was seen. */
export async function removeKept(git: PrivateGit, kept: readonly Kept[], signal: AbortSignal): Promise<void> {
  if (kept.length === 0) return;
  const stdin = Buffer.from(kept.map(({ ref, commit }) => `delete ${ref}\0${commit}\0`).join(""));
  checked("update-ref", await git.runUsers(["update-ref", "-z", "--stdin"], { stdin }, signal));
}
