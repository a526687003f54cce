/**
 * The folders attempts work in: `<goal>/worktrees/<name>-<fence>`, one for each attempt, any number side by side.
 *
 * Each is a small repository of its own that borrows the goal's objects, not one of git's linked worktrees: those share
 * refs, stash, configuration and garbage collection, so one agent's `git stash` or `git gc` would reach into the work of
 * all others. omk looks at the folder through the private git directory and an index that the agent does not have; what
 * lies in the folder's `.git` is never trusted, and only read to rescue it. Making one takes two calls of git.
 */
import { basename, join } from "node:path";

import { OmkError, systemCode } from "../errors.ts";
import { whyProtected } from "../format/names.ts";
import { sha256 } from "../store/event-line.ts";
import { ensureFolder } from "../store/files.ts";
import { PLAIN_ATTRIBUTES } from "./hardened.ts";
import { quotedLine, readText, splitNul, succeeded, textOf, type PrivateGit } from "./private-git.ts";
import { checkedBranch } from "./ref-name.ts";
import { TrackedFolder } from "./tracked-folder.ts";

/** Which attempt a folder is for: nobody else ever gets the same name and fence. */
export interface AttemptName {
  /** Of the worktree, e.g. `goal-<goal>-<task>-<fingerprint>`. */
  name: string;
  /** The number of the claim. */
  fence: number;
}

/** The folder of one attempt. Trees are those of the whole repository, also where the project is a part of it. */
export interface AttemptTree {
  /** `<name>-<fence>`. */
  readonly id: string;
  /** The top of the work tree. */
  readonly folder: string;
  /** The project in it: where the agent and the gates work. */
  readonly cwd: string;
  /** The commit it started from. */
  readonly base: string;
  /** The folder as it is now: tracked files and others, less what is ignored and was never added. */
  snapshot(signal: AbortSignal): Promise<string>;
  /** What the latest snapshot had to leave out although no rule ignores it: names that git takes into no tree. */
  leftOut(signal: AbortSignal): Promise<string[]>;
}

/** What became of a folder that nobody needs any more. */
export type Removal = { outcome: "removed" } | { outcome: "set_aside"; path: string; because: string };

/** Refs of the private directory that say which folders are whole, and what they started from. */
const ATTEMPT_REFS = "refs/omk/attempt/";
/** Paths an agent has added by force; more are no work of anybody. */
const ALSO_TRACKED_MAX = 100_000;

/** Where attempts of a goal work. */
function worktreesFolder(git: PrivateGit): string {
  return join(git.goalDir, "worktrees");
}

function attemptId({ name, fence }: AttemptName): string {
  const id = `${name}-${fence}`;
  if (/^[a-z0-9][a-z0-9._-]{0,199}$/.test(id) && !id.includes("..") && !/\.(lock)?$/.test(id)) return id;
  throw new OmkError("git.failed", `${JSON.stringify(id)} cannot name a worktree.`, {
    hint: "Names of worktrees have lower-case letters, digits, dots, underscores and dashes.",
  });
}

/**
 * Makes the folder of an attempt on a commit, with `branch` checked out there. A folder of this name that an omk which is
 * gone has left half-made is set aside. Several may be made at once.
 */
export async function makeAttemptTree(
  git: PrivateGit,
  request: AttemptName & { branch: string; base: string },
  signal: AbortSignal,
): Promise<AttemptTree> {
  const { disk } = git.ports;
  const { base } = request;
  const branch = checkedBranch(request.branch);
  const id = attemptId(request);
  const folder = join(worktreesFolder(git), id);
  const index = indexOf(git, id);
  await ensureFolder(worktreesFolder(git), git.ports);
  await ensureFolder(join(git.gitDir, "attempts"), git.ports);
  if (disk.stat(folder)) setAside(git, folder, "it was there before its attempt");
  git.dropIndex(index);
  try {
    disk.makeFolder(folder);
    await git.call(["read-tree", "-m", "-u", base], { index, workTree: folder, cwd: folder }, signal);
    makeRepository(git, folder, { branch, base, index });
    // From now on it is whole.
    await git.call(["update-ref", `${ATTEMPT_REFS}${id}`, base], {}, signal);
  } catch (error) {
    // Nobody has worked there: what is half-made is only in the way, of the disk's space above all.
    if (disk.stat(folder)) putAway(git, folder);
    throw error;
  }
  return attemptTree(git, { id, folder, base, isNew: true });
}

/** The folder of an attempt that an earlier omk made; undefined when it is gone or was never whole. */
export async function openAttemptTree(
  git: PrivateGit,
  request: AttemptName,
  signal: AbortSignal,
): Promise<AttemptTree | undefined> {
  return openById(git, attemptId(request), signal);
}

/**
 * All folders of attempts that are there and whole; what else lies among them is set aside, and of folders that are gone
 * nothing stays. Nobody may be at work in one.
 */
export async function leftAttemptTrees(
  git: PrivateGit,
  signal: AbortSignal,
): Promise<{ attempts: AttemptTree[]; setAside: Removal[] }> {
  const { disk } = git.ports;
  const found: { attempts: AttemptTree[]; setAside: Removal[] } = { attempts: [], setAside: [] };
  const bases = await basesOfAttempts(git, signal);
  const parent = worktreesFolder(git);
  const there = disk.stat(parent)?.kind === "folder" ? disk.list(parent) : [];
  for (const id of there) {
    const folder = join(parent, id);
    const base = bases.get(id);
    if (base !== undefined && disk.stat(folder)?.kind === "folder") {
      found.attempts.push(attemptTree(git, { id, folder, base, isNew: false }));
      bases.delete(id);
    } else {
      const because =
        base === undefined ? "it was never whole" : "it lies where the folder of an attempt was";
      found.setAside.push(setAside(git, folder, because));
    }
  }
  for (const id of bases.keys()) await forget(git, id, signal);
  return found;
}

/** By id: what the folders of attempts were made of. */
async function basesOfAttempts(git: PrivateGit, signal: AbortSignal): Promise<Map<string, string>> {
  const list = ["for-each-ref", "--format=%(refname) %(objectname)", ATTEMPT_REFS];
  const lines = textOf(await git.call(list, {}, signal)).split("\n");
  const pairs = lines.filter((line) => line !== "").map((line) => line.split(" ") as [string, string]);
  return new Map(pairs.map(([ref, base]) => [ref.slice(ATTEMPT_REFS.length), base]));
}

/** Whether the project in a folder is there as real folders all the way: what lies elsewhere is nobody's to judge. */
export function holdsProject(git: PrivateGit, { folder, cwd }: AttemptTree): boolean {
  const { disk } = git.ports;
  const top = disk.realPath(folder);
  if (top === undefined || disk.stat(folder)?.kind !== "folder") return false;
  const real = disk.realPath(cwd);
  return real === join(top, git.prefix.replace(/\/$/, "")) && disk.stat(real)?.kind === "folder";
}

/**
 * Takes the folder of an attempt away once its content is rescued. With something in it that was not saved, and where
 * it cannot be removed, it goes to the goal's quarantine instead. Done twice is done once.
 */
export async function removeAttemptTree(
  git: PrivateGit,
  attempt: AttemptTree,
  rescued: { unsaved: readonly string[] },
  signal: AbortSignal,
): Promise<Removal> {
  let removal: Removal = { outcome: "removed" };
  if (git.ports.disk.stat(attempt.folder)) {
    removal =
      rescued.unsaved.length === 0
        ? putAway(git, attempt.folder)
        : setAside(git, attempt.folder, `not saved: ${rescued.unsaved.slice(0, 5).join(", ")}`);
  }
  // The folder first: a ref without a folder is nothing, a folder without a ref would count as half-made.
  await forget(git, attempt.id, signal);
  return removal;
}

async function forget(git: PrivateGit, id: string, signal: AbortSignal): Promise<void> {
  git.dropIndex(indexOf(git, id));
  await git.call(["update-ref", "-d", `${ATTEMPT_REFS}${id}`], {}, signal);
}

async function openById(git: PrivateGit, id: string, signal: AbortSignal): Promise<AttemptTree | undefined> {
  const folder = join(worktreesFolder(git), id);
  if (git.ports.disk.stat(folder)?.kind !== "folder") return undefined;
  const base = await git.refAt(`${ATTEMPT_REFS}${id}`, signal);
  return base === undefined ? undefined : attemptTree(git, { id, folder, base, isNew: false });
}

function attemptTree(
  git: PrivateGit,
  given: { id: string; folder: string; base: string; isNew: boolean },
): AttemptTree {
  const { id, folder, base, isNew } = given;
  const latest = indexOf(git, id);
  const untouched = isNew ? digestOf(git, join(folder, ".git", "index")) : undefined;
  const tracked = new TrackedFolder({
    git,
    top: folder,
    prefix: "",
    latest,
    seed: async (index, signal) => {
      await git.call(["read-tree", base], { index }, signal);
    },
    alsoTracked: async (index, signal) =>
      untouched !== undefined && digestOf(git, join(folder, ".git", "index")) === untouched
        ? []
        : addedByAgent(git, folder, index, signal),
    leavesRepositories: true,
  });
  if (isNew) tracked.trustIndex();
  const cwd = git.prefix === "" ? folder : join(folder, git.prefix);
  const leftOut = async (signal: AbortSignal): Promise<string[]> => {
    const args = ["ls-files", "-z", "--others", "--exclude-standard"];
    const index = { index: latest, workTree: folder, cwd: folder };
    return splitNul(await git.call(args, index, signal)).map(String);
  };
  const snapshot = async (signal: AbortSignal): Promise<string> => {
    // A link in its place would lead the look, and what is written after it, somewhere else.
    if (git.ports.disk.stat(folder)?.kind === "folder") return tracked.snapshot(signal);
    throw new OmkError("git.failed", `The worktree ${folder} is not there any more.`, {
      hint: "Nothing more of it can be saved. What was kept of others is in `omk rescue list`; a new attempt gets a folder of its own.",
    });
  };
  return { id, folder, cwd, base, snapshot, leftOut };
}

/** The index through which omk sees an attempt's folder. */
function indexOf(git: PrivateGit, id: string): string {
  return join(git.gitDir, "attempts", `${id}.index`);
}

/** The index an agent works with, if what lies there can be one. */
export function agentIndex(git: PrivateGit, folder: string): string | undefined {
  const { disk } = git.ports;
  const index = join(folder, ".git", "index");
  return disk.stat(join(folder, ".git"))?.kind === "folder" && disk.stat(index)?.kind === "file"
    ? index
    : undefined;
}

/** Paths in the agent's index that omk's does not have: what was added although an ignore rule matches it. */
async function addedByAgent(
  git: PrivateGit,
  folder: string,
  own: string,
  signal: AbortSignal,
): Promise<Buffer[]> {
  const theirs = agentIndex(git, folder);
  if (theirs === undefined) return [];
  const list = ["ls-files", "-z", "--cached"];
  const run = await git.run(list, { index: theirs }, signal);
  // It adds names and takes none away; that it cannot be read is told by the rescue.
  if (!succeeded(run)) return [];
  const known = new Set(
    splitNul(await git.call(list, { index: own }, signal)).map((path) => path.toString("latin1")),
  );
  return splitNul(Buffer.from(run.stdout))
    .filter((path) => !known.has(path.toString("latin1")) && whyProtected(String(path)) === undefined)
    .slice(0, ALSO_TRACKED_MAX);
}

function digestOf(git: PrivateGit, path: string): string | undefined {
  const { disk } = git.ports;
  return disk.stat(path)?.kind === "file" ? sha256(disk.readFile(path)) : undefined;
}

/**
 * Makes the repository that the agent sees: the branch, everything before it, and nothing of the user's settings. Its index
 * is a copy of the given one: the agent's git and omk's refresh theirs each for itself.
 */
export function makeRepository(
  git: PrivateGit,
  folder: string,
  head: { branch: string; base: string; index: string },
): void {
  const { disk } = git.ports;
  const own = join(folder, ".git");
  for (const path of [".", "refs", "refs/heads", "info", "objects", "objects/info", "objects/pack"])
    disk.makeFolder(join(own, path));
  const files: Record<string, string> = {
    HEAD: `ref: refs/heads/${head.branch}\n`,
    "packed-refs": `# pack-refs with: peeled fully-peeled sorted \n${head.base} refs/heads/${head.branch}\n`,
    config: repositoryConfig(git),
    "objects/info/alternates": `${quotedLine(join(git.gitDir, "objects"))}\n`,
    // As omk sees them: else files that nobody touched would count as changed for one of the two.
    "info/attributes": PLAIN_ATTRIBUTES,
    "info/exclude": readText(join(git.gitDir, "info", "exclude"), git.ports),
  };
  const shallow = join(git.gitDir, "shallow");
  if (disk.stat(shallow)) files["shallow"] = readText(shallow, git.ports);
  for (const [name, text] of Object.entries(files)) writeNew(git, join(own, name), Buffer.from(text));
  writeNew(git, join(own, "index"), disk.readFile(head.index));
}

/** What works behind an agent's back is off: it would still run when the folder goes. */
function repositoryConfig(git: PrivateGit): string {
  const isLong = git.objectFormat !== "sha1";
  const lines = [
    "[core]",
    `\trepositoryformatversion = ${isLong ? 1 : 0}`,
    "\tbare = false",
    ...git.fileSystemSettings.map(([key, value]) => `\t${key.replace(/^core\./, "")} = ${value}`),
    "\tautocrlf = false",
    "\tfsmonitor = false",
    "\tsplitIndex = false",
    "[gc]",
    "\tauto = 0",
    "[maintenance]",
    "\tauto = false",
    ...(isLong ? ["[extensions]", `\tobjectFormat = ${git.objectFormat}`] : []),
  ];
  return `${lines.join("\n")}\n`;
}

function writeNew(git: PrivateGit, path: string, bytes: Uint8Array): void {
  const file = git.ports.disk.open(path, "create");
  try {
    for (let at = 0; at < bytes.length;) at += file.write(bytes.subarray(at));
  } finally {
    file.close();
  }
}

/** Removes a folder; what resists goes to quarantine. */
export function putAway(git: PrivateGit, folder: string): Removal {
  try {
    git.ports.disk.removeTree(folder);
    return { outcome: "removed" };
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return setAside(git, folder, `it cannot be removed: ${(error as Error).message}`);
  }
}

/** Moves a folder to the goal's quarantine, under a name that nothing has there. */
function setAside(git: PrivateGit, folder: string, because: string): Removal {
  const { disk, random } = git.ports;
  const quarantine = join(git.goalDir, "quarantine");
  if (!disk.stat(quarantine)) disk.makeFolder(quarantine);
  const path = join(quarantine, `${basename(folder)}-${random.name(8)}`);
  try {
    disk.rename(folder, path);
  } catch (error) {
    if (systemCode(error) !== "EACCES" || disk.stat(folder)?.kind !== "folder") throw error;
    // An agent has closed it even for its owner, who then may not move it either.
    disk.setMode(folder, 0o700);
    disk.rename(folder, path);
  }
  return { outcome: "set_aside", path, because };
}
