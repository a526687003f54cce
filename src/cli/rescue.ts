/** `omk rescue list`, `show`, `restore` and `prune`: work that is kept in the repositories of all goals and team runs. */
import { basename, dirname, join, resolve } from "node:path";

import { parseDuration } from "../budget/duration.ts";
import { OmkError } from "../errors.ts";
import { named } from "../format/named.ts";
import type { RescueEntry, RescueList, RescuePruned, RescueRestored, RescueView } from "../format/rescue.ts";
import { shellQuoted } from "../format/shell.ts";
import { findRepository, visitRepository, type PrivateGit, type UserRepository } from "../git/private-git.ts";
import {
  commitForBranch,
  comparedWith,
  keptChanges,
  listKept,
  removeKept,
  restoreAsBranch,
  restoreToFolder,
  stagedOf,
  type Kept,
} from "../git/rescue.ts";
import { workTreeOf } from "../git/work-tree.ts";
import { listGoals } from "../goal/find.ts";
import { chainHolder } from "../store/claim-chain.ts";
import { readDocument } from "../store/journal.ts";
import { stateFolder } from "../store/state-root.ts";
import { isFinished, listTeams } from "../team/find.ts";
import type { App } from "./app.ts";
import { oneLine, textTime } from "./text.ts";

/** Flags of `restore`. */
export interface RestoreFlags {
  to?: string;
  branch?: string;
  staged: boolean;
  json: boolean;
}

/** Flags of `prune`. */
export interface PruneFlags {
  olderThan?: string;
  ended: boolean;
  goal?: string;
  dryRun: boolean;
  json: boolean;
}

/** A patch longer than this is cut off. */
const PATCH_BYTES_MAX = 8 * 1024 * 1024;
/** A place that a dead omk has left is nobody's after a day. */
const SCRATCH_STALE_MS = 24 * 60 * 60 * 1_000;

/** Lists what is kept. */
export async function rescueListCommand(app: App, flags: { goal?: string; json: boolean }): Promise<void> {
  const { found, unreadable } = await findKept(app);
  for (const { repository, because } of unreadable)
    app.output.story(`what is kept in ${repository} cannot be read: ${because}`);
  const rescues = found
    .map(({ entry }) => entry)
    .filter(({ goal_id }) => flags.goal === undefined || goal_id === flags.goal);
  const list: RescueList = { rescues, unreadable };
  app.output.result(list, () => listText(list), flags.json);
}

function listText({ rescues }: RescueList): string {
  if (rescues.length === 0) return "Nothing is kept here.";
  const width = Math.max(4, ...rescues.map(({ name }) => oneLine(name).length));
  const row = (name: string, kind: string, saved: string, where: string) =>
    `${name.padEnd(width)}  ${kind.padEnd(8)} ${saved.padEnd(27)} ${where}`;
  const lines = rescues.map(({ name, kind, saved_at, repository }) =>
    row(oneLine(name), kind, saved_at === null ? "-" : textTime(saved_at), oneLine(repository)),
  );
  return [
    row("NAME", "KIND", "SAVED", "IN"),
    ...lines,
    "",
    `See what is in one: omk rescue show ${shellQuoted(mostTelling(rescues)?.name ?? "")}`,
  ].join("\n");
}

/** Of the goal that kept something last: what it came to, else what an attempt did. A base is what one has anyhow. */
function mostTelling(rescues: RescueList["rescues"]): RescueEntry | undefined {
  const [newest] = rescues;
  const own = rescues.filter(({ goal_id }) => goal_id === newest?.goal_id);
  return (
    own.find(({ name }) => name.endsWith("/result")) ?? own.find(({ kind }) => kind === "attempt") ?? newest
  );
}

/** Shows which files something kept has changed. */
export async function rescueShowCommand(
  app: App,
  name: string,
  flags: { patch: boolean; json: boolean },
): Promise<void> {
  app.listen();
  const { chosen, all } = await theKept(app, name);
  const from = comparedWith(chosen.kept, all);
  await visiting(app, chosen.source, async (git) => {
    if (flags.patch && !flags.json) {
      const empty = from ?? (await git.emptyTree(app.signal));
      const { commit } = chosen.kept;
      const { text, truncated } = await workTreeOf(git).patch(empty, commit, PATCH_BYTES_MAX, app.signal);
      app.output.text(text);
      if (truncated) app.output.story("the rest is left out: restore it to a folder to see it all");
      return;
    }
    const staged = await stagedOf(git, chosen.kept, app.signal);
    const [base] = chosen.kept.parents;
    const view: RescueView = {
      rescue: chosen.entry,
      compared_with: from ?? null,
      changed_files: await changedFiles(git, { from, to: chosen.kept.commit }, app.signal),
      staged_files:
        staged === undefined ? null : await changedFiles(git, { from: base, to: staged }, app.signal),
      commits: chosen.kept.parents.slice(1).filter((parent) => parent !== staged),
    };
    app.output.result(view, () => showText(view), flags.json);
  });
}

async function changedFiles(
  git: PrivateGit,
  between: { from: string | undefined; to: string },
  signal: AbortSignal,
): Promise<RescueView["changed_files"]> {
  return (await keptChanges(git, between, signal)).map((change) => ({ ...change }));
}

const LETTERS = { added: "A", modified: "M", deleted: "D", type_changed: "T" } as const;

function showText({ rescue, compared_with, changed_files, staged_files, commits }: RescueView): string {
  const files = (changes: RescueView["changed_files"]) =>
    changes.map(({ path, kind }) => `  ${LETTERS[kind]} ${oneLine(path)}`);
  const name = shellQuoted(rescue.name);
  return [
    `Name:       ${oneLine(rescue.name)}`,
    `Saved:      ${rescue.saved_at === null ? "-" : textTime(rescue.saved_at)}`,
    `Repository: ${oneLine(rescue.repository)}`,
    `Ref:        ${oneLine(rescue.ref)}`,
    `Commit:     ${rescue.commit}`,
    compared_with === null
      ? `All its files (${changed_files.length}):`
      : `Changed since ${compared_with.slice(0, 12)} (${changed_files.length}):`,
    ...files(changed_files),
    ...(staged_files === null || staged_files.length === 0
      ? []
      : [`Staged (${staged_files.length}):`, ...files(staged_files)]),
    ...(commits.length === 0 ? [] : ["Commits of the agent:", ...commits.map((commit) => `  ${commit}`)]),
    "",
    `Bring it back: omk rescue restore ${name} --to <dir>`,
  ].join("\n");
}

/** Writes something kept into a folder, or makes a branch of it. */
export async function rescueRestoreCommand(app: App, name: string, flags: RestoreFlags): Promise<void> {
  if ((flags.to === undefined) === (flags.branch === undefined)) {
    throw new OmkError("usage.invalid", "Say where to: either --to <dir> or --branch <name>.", {
      hint: "A folder gets the files; a branch is made in the repository and not checked out.",
    });
  }
  app.listen();
  const { chosen } = await theKept(app, name);
  const { branch } = flags;
  if (branch !== undefined && !chosen.source.isUsers) {
    throw new OmkError("usage.invalid", `The project of ${chosen.entry.goal_id} has no git repository.`, {
      hint: "There is no place for a branch. Use --to <dir>.",
    });
  }
  const restored = await visiting(app, chosen.source, async (git): Promise<RescueRestored> => {
    const staged = flags.staged ? await stagedOf(git, chosen.kept, app.signal) : undefined;
    if (flags.staged && staged === undefined) {
      throw new OmkError("usage.invalid", `Nothing is known of what was staged in ${chosen.entry.name}.`, {
        hint: "Leave out --staged: the files themselves are kept.",
      });
    }
    const commit = staged ?? chosen.kept.commit;
    const answer = { rescue: chosen.entry, commit, folder: null, branch: null };
    if (branch !== undefined) {
      const given = { kept: chosen.kept, at: app.world.clock.now() };
      const tip = chosen.isWhole && !staged ? await commitForBranch(git, given, app.signal) : commit;
      await restoreAsBranch(git, { commit: tip, branch }, app.signal);
      return { ...answer, commit: tip, branch, files: (await git.entries(tip, app.signal)).size };
    }
    const folder = resolve(app.io.cwd(), flags.to ?? "");
    return { ...answer, folder, files: await restoreToFolder(git, commit, folder, app.signal) };
  });
  app.output.result(restored, () => restoredText(restored), flags.json);
}

function restoredText({ rescue, folder, branch, files }: RescueRestored): string {
  const count = `${files} file${files === 1 ? "" : "s"}`;
  return branch === null
    ? `Wrote ${count} of ${oneLine(rescue.name)} to ${oneLine(folder)}`
    : `Made the branch ${oneLine(branch)} with ${count} of ${oneLine(rescue.name)} in ${oneLine(rescue.repository)}`;
}

/** Removes what is kept of goals that are at their end. */
export async function rescuePruneCommand(app: App, flags: PruneFlags): Promise<void> {
  if (flags.olderThan === undefined && !flags.ended) {
    throw new OmkError("usage.invalid", "Say what may go: --older-than <duration>, --ended, or both.", {
      hint: "See `omk rescue list` for what there is, and --dry-run for what would go.",
    });
  }
  const ageMs =
    flags.olderThan === undefined ? undefined : parseDuration(flags.olderThan, "--older-than") * 1_000;
  const { found, unreadable } = await findKept(app);
  for (const { repository, because } of unreadable)
    app.output.story(`what is kept in ${repository} cannot be read: ${because}`);
  const asked = found.filter(({ entry }) => flags.goal === undefined || entry.goal_id === flags.goal);
  const mayGo = ({ entry: { owner, saved_at } }: Found): boolean => {
    // Goals of another state folder may be at work: only who names one can know.
    const isUnknown = owner === "unknown";
    if (owner === "live" || (isUnknown && flags.goal === undefined)) return false;
    if (flags.ended && owner === "resting") return false;
    if (ageMs === undefined) return true;
    return saved_at !== null && app.world.clock.now().getTime() - Date.parse(saved_at) > ageMs;
  };
  const going = asked.filter(mayGo);
  if (!flags.dryRun) {
    for (const source of new Set(going.map((one) => one.source))) {
      const kept = going.filter((one) => one.source === source).map((one) => one.kept);
      await removeKept(looking(app, source), kept, app.signal);
    }
  }
  const spared = asked.filter(({ entry }) => entry.owner === "live" || entry.owner === "unknown").length;
  const removed = going.map(({ entry }) => entry);
  const answer: RescuePruned = {
    removed,
    spared: spared - removed.filter(({ owner }) => owner === "unknown").length,
    dry_run: flags.dryRun,
  };
  app.output.result(answer, () => prunedText(answer), flags.json);
}

function prunedText({ removed, spared, dry_run }: RescuePruned): string {
  return [
    ...removed.map(({ name }) => `${dry_run ? "would remove" : "removed"} ${oneLine(name)}`),
    ...(removed.length === 0 ? ["Nothing to remove."] : []),
    ...(spared === 0
      ? []
      : [
          `${spared} left alone: of goals that may go on, or of another state folder (name one with --goal).`,
        ]),
    ...(removed.length > 0 && !dry_run ? ["Their content goes when git next collects garbage."] : []),
  ].join("\n");
}

/** A repository that keeps something. */
interface Source {
  repository: UserRepository;
  /** How it is shown. */
  name: string;
  /** False for the private git directory of a project without a repository. */
  isUsers: boolean;
}

/** Something kept, and where. */
interface Found {
  kept: Kept;
  /** The project is the whole repository, not a folder in it. */
  isWhole: boolean;
  entry: RescueEntry;
  source: Source;
}

/** A goal or team run whose work may be kept somewhere. */
interface Owner {
  state: "live" | "resting" | "ended";
  folder: string;
  projectDir: string | undefined;
}

/** The one of this name, or the only one whose name begins so. Throws `usage.invalid`. */
async function theKept(app: App, wanted: string): Promise<{ chosen: Found; all: Kept[] }> {
  const { found } = await findKept(app);
  const exact = found.find(({ entry }) => entry.name === wanted || entry.ref === wanted);
  const beginning = exact ? [exact] : found.filter(({ entry }) => entry.name.startsWith(wanted));
  const [chosen] = beginning;
  if (chosen && beginning.length === 1 && wanted !== "") {
    const all = found.filter(({ source }) => source === chosen.source).map(({ kept }) => kept);
    return { chosen, all };
  }
  const names = beginning.map(({ entry }) => entry.name);
  throw new OmkError(
    "rescue.not_found",
    chosen
      ? `${beginning.length} names begin with ${wanted}: ${named(names, { max: 10 })}.`
      : `Nothing called ${wanted} is kept.`,
    { hint: chosen ? "Write more of its name." : "See `omk rescue list`." },
  );
}

/** All that is kept, newest first, and repositories that cannot be read. */
async function findKept(app: App): Promise<{ found: Found[]; unreadable: RescueList["unreadable"] }> {
  const unreadable: RescueList["unreadable"] = [];
  const owners = ownersIn(app);
  const found: Found[] = [];
  for (const source of sourcesOf(app, owners, unreadable)) {
    try {
      for (const kept of await listKept(looking(app, source), app.signal))
        found.push(foundAt(app, kept, source, owners.get(kept.goal_id)));
    } catch (error) {
      if (!(error instanceof OmkError) || error.code !== "git.failed") throw error;
      unreadable.push({ repository: source.name, because: error.message });
    }
  }
  const key = ({ entry }: Found) => `${entry.saved_at ?? ""} ${entry.name}`;
  return { found: found.toSorted((a, b) => (key(a) < key(b) ? 1 : -1)), unreadable };
}

function foundAt(app: App, kept: Kept, source: Source, owner: Owner | undefined): Found {
  const dir = owner?.projectDir;
  const real = dir === undefined ? undefined : app.world.disk.realPath(dir);
  const isWhole = real !== undefined && app.world.disk.stat(join(real, ".git")) !== undefined;
  return { kept, source, isWhole, entry: entryOf(kept, source, owner) };
}

function entryOf(kept: Kept, source: Source, owner: Owner | undefined): RescueEntry {
  return {
    ...kept,
    repository: source.name,
    owner: owner?.state ?? "unknown",
  };
}

function ownersIn(app: App): Map<string, Owner> {
  const { world } = app;
  const root = app.root();
  const owners = new Map<string, Owner>();
  for (const { id, folder, status, record } of listGoals(root, world).goals) {
    const { project_dir: projectDir } = record;
    const holder = chainHolder(join(folder, "controller"), world)?.liveness;
    const isHeld = holder === "alive" || holder === "unknown";
    const isEnded = status === "ready" || status === "cancelled";
    const isResting = status === "not_ready" || status === "failed_infra";
    owners.set(id, {
      state: isHeld ? "live" : isEnded ? "ended" : isResting ? "resting" : "live",
      folder,
      projectDir: typeof projectDir === "string" ? projectDir : undefined,
    });
  }
  for (const team of listTeams(root, world).teams) {
    const work = readDocument(join(team.folder, "team-work.json"), world);
    const projectDir = work.state === "found" ? work.record["project_dir"] : undefined;
    const isHeld = team.controller === "alive" || team.controller === "unknown";
    owners.set(team.name, {
      state: isHeld || !isFinished(team) ? "live" : "ended",
      folder: team.folder,
      projectDir: typeof projectDir === "string" ? projectDir : undefined,
    });
  }
  return owners;
}

/** The repository here, those of all projects, and the private ones of projects without a repository; each once. */
function sourcesOf(
  app: App,
  owners: ReadonlyMap<string, Owner>,
  unreadable: RescueList["unreadable"],
): Iterable<Source> {
  const { world, io } = app;
  const sources = new Map<string, Source>();
  const looked = new Set<string>();
  const look = (projectDir: string): UserRepository | undefined => {
    try {
      return findRepository(projectDir, world);
    } catch (error) {
      if (!(error instanceof OmkError)) throw error;
      unreadable.push({ repository: projectDir, because: error.message });
      return undefined;
    }
  };
  const add = (dir: string | undefined) => {
    const real = dir === undefined ? undefined : world.disk.realPath(dir);
    if (real === undefined || looked.has(real)) return;
    looked.add(real);
    const repository = look(real);
    if (!repository || sources.has(repository.commonDir)) return;
    const isPlain = basename(repository.commonDir) === ".git";
    const name = isPlain ? dirname(repository.commonDir) : repository.commonDir;
    sources.set(repository.commonDir, { repository, name, isUsers: true });
  };
  add(io.cwd());
  for (const { projectDir, folder } of owners.values()) {
    add(projectDir);
    const gitDir = join(folder, "git");
    // Refs of private directories are never packed.
    if (!world.disk.stat(join(gitDir, "refs", "omk", "rescue"))) continue;
    const repository = { top: folder, gitDir, commonDir: gitDir };
    sources.set(gitDir, { repository, name: folder, isUsers: false });
  }
  return sources.values();
}

/** For questions about refs, which need no private directory. */
function looking(app: App, source: Source): PrivateGit {
  return visitRepository(source.repository, { ...environmentOf(app), scratch: app.root() }, app.world);
}

/** For what reads trees: with a private directory of its own, gone afterwards. */
async function visiting<T>(app: App, source: Source, work: (git: PrivateGit) => Promise<T>): Promise<T> {
  const { disk, clock, random } = app.world;
  const parent = await stateFolder(app.root(), "scratch", { disk, uid: app.uid });
  for (const name of disk.list(parent)) {
    const path = join(parent, name);
    const age = clock.now().getTime() - (disk.stat(path)?.modifiedMs ?? Infinity);
    if (age > SCRATCH_STALE_MS) disk.removeTree(path);
  }
  const scratch = join(parent, random.name(16));
  disk.makeFolder(scratch);
  try {
    const git = visitRepository(source.repository, { ...environmentOf(app), scratch }, app.world);
    await git.prepare(app.signal);
    return await work(git);
  } finally {
    disk.removeTree(scratch);
  }
}

function environmentOf(app: App): { environment: Record<string, string> } {
  const known = Object.entries(app.io.env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  return { environment: Object.fromEntries(known) };
}
