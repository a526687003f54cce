/**
 * The one way to call git. omk sees a project through a private git directory of the goal, whose configuration, hooks
 * and attributes are its own; objects are shared with the user's repository by alternates. Commands that must touch the
 * user's repository are plumbing with hooks off, and its index and work tree are never changed.
 */
import { dirname, join, relative, resolve } from "node:path";

import { OmkError } from "../errors.ts";
import type { Disk, Processes, Random, RunResult } from "../ports.ts";
import { hardenedEnvironment, HARDENED_SETTINGS, PLAIN_ATTRIBUTES, searchPathOf } from "./hardened.ts";
import { clearStore, makeOwnDirectory, type OwnDirectory } from "./own-directory.ts";

/** How one path differs between two trees; mode 160000 is a repository inside the project. */
export interface TreeChange {
  /** As it is, with slashes; bytes that are no UTF-8 show as U+FFFD. */
  path: string;
  kind: "added" | "modified" | "deleted" | "type_changed";
  old_mode: string | null;
  new_mode: string | null;
}

/** What git needs of the world. */
export interface GitPorts {
  disk: Disk;
  processes: Pick<Processes, "run">;
  random: Random;
  /** Whoever watches is told what somebody did to omk's own git. */
  tell?(line: string): void;
}

const DEADLINE_MS = 120_000;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
/** The mode of a repository inside another one. */
export const GITLINK = "160000";

/** What the user's repository knows about its file system; anything else in its configuration is not for us. */
const FILE_SYSTEM_KEYS = new Set([
  "core.filemode",
  "core.symlinks",
  "core.ignorecase",
  "core.precomposeunicode",
]);

/** Where a goal's private git directory lies, and what it looks at. */
export interface GitRequest {
  projectDir: string;
  goalDir: string;
  goalId: string;
  environment: Readonly<Record<string, string>>;
}

/**
 * Opens the private git directory of a goal; `git.failed` without git or with a broken repository, `git.unsupported` for
 * partial clones. One process at a time may use it, and opens it once: what an earlier one left is taken away.
 */
export async function openPrivateGit(
  request: GitRequest,
  ports: GitPorts,
  signal: AbortSignal = new AbortController().signal,
): Promise<PrivateGit> {
  const root = ports.disk.realPath(request.projectDir);
  if (root === undefined) {
    throw new OmkError("git.failed", `The project directory ${request.projectDir} is not there.`, {
      hint: "Put it back, or start a new goal where the project is now.",
    });
  }
  const goalDir = ports.disk.realPath(request.goalDir) ?? request.goalDir;
  const git = new PrivateGit({ ...request, goalDir, root, user: findRepository(root, ports) }, ports);
  await git.prepare(signal);
  return git;
}

/**
 * A private git directory for a look at somebody's repository, in a folder of its own that the caller makes and removes.
 * Another omk may be at work on that repository: nothing is taken away there.
 */
export function visitRepository(
  user: UserRepository,
  request: { scratch: string; environment: Readonly<Record<string, string>> },
  ports: GitPorts,
): PrivateGit {
  const { scratch: goalDir, environment } = request;
  const given = { root: user.top, goalDir, goalId: "", user, environment, isVisitor: true as const };
  return new PrivateGit(given, ports);
}

/** The user's repository around a project directory. */
export interface UserRepository {
  /** The folder that holds `.git`. */
  top: string;
  gitDir: string;
  /** Where objects and refs are; differs from `gitDir` in a linked worktree. */
  commonDir: string;
}

/** Looks upwards for `.git` without running git, whose search reads configuration on its way. */
export function findRepository(root: string, ports: Pick<GitPorts, "disk">): UserRepository | undefined {
  const { disk } = ports;
  for (let top = root; ; top = dirname(top)) {
    const path = join(top, ".git");
    const gitDir = disk.realPath(path);
    if (gitDir !== undefined) {
      if (disk.stat(gitDir)?.kind === "file") return repositoryAt(top, gitDirNamedBy(path, ports), ports);
      // As git does, one that lacks HEAD is passed by.
      if (disk.stat(join(gitDir, "HEAD"))) return repositoryAt(top, gitDir, ports);
    }
    if (top === dirname(top)) return undefined;
  }
}

/** A linked worktree or a submodule has a file that says where its git directory lies. */
function gitDirNamedBy(path: string, ports: Pick<GitPorts, "disk">): string {
  const named = /^gitdir: (.+)$/m.exec(readText(path, ports))?.[1];
  const gitDir = named === undefined ? undefined : ports.disk.realPath(resolve(dirname(path), named));
  if (gitDir !== undefined) return gitDir;
  throw new OmkError("git.failed", `${path} names a git directory that is not there.`, {
    hint: "Mend it with `git worktree repair`, or remove the file.",
  });
}

function repositoryAt(top: string, gitDir: string, ports: Pick<GitPorts, "disk">): UserRepository {
  const common = join(gitDir, "commondir");
  const commonDir = ports.disk.stat(common) ? resolve(gitDir, readText(common, ports).trim()) : gitDir;
  return { top, gitDir, commonDir };
}

/** A small text that git keeps in a file. */
export function readText(path: string, ports: Pick<GitPorts, "disk">): string {
  return Buffer.from(ports.disk.readFile(path, 1024 * 1024)).toString("utf8");
}

/** A private git directory, and the calls of git on it and on the user's repository. */
export class PrivateGit {
  /** The project directory without links. */
  readonly root: string;
  readonly user: UserRepository | undefined;
  readonly goalDir: string;
  readonly goalId: string;
  readonly gitDir: string;
  /** The work tree of the private directory: the repository's top, so that ignore rules above the project hold. */
  readonly top: string;
  /** The project below `top`, with a slash at its end, or nothing. */
  readonly prefix: string;
  readonly ports: GitPorts;
  readonly #isVisitor: boolean;
  readonly #environment: Readonly<Record<string, string>>;
  /** Settings of the private directory that are known once it is prepared. */
  #settings: readonly string[] = [];
  #fileSystem: (readonly [string, string])[] = [];
  #objectFormat = "sha1";
  /** By which git is steered, once it is prepared. */
  #own: OwnDirectory | undefined;
  #mending: Promise<void> | undefined;
  /** What somebody had changed of it or of the store, each time it was put back. */
  readonly #restored: string[][] = [];
  #taken = 0;
  /** Who the user's own git says they are. */
  #identity: { name: string; email: string } | undefined;

  constructor(
    given: {
      root: string;
      goalDir: string;
      goalId: string;
      user: UserRepository | undefined;
      environment: Readonly<Record<string, string>>;
      /** Nothing of the goal is ours: another omk may be at work on it now. */
      isVisitor?: true;
    },
    ports: GitPorts,
  ) {
    this.root = given.root;
    this.user = given.user;
    this.goalId = given.goalId;
    this.#isVisitor = given.isVisitor === true;
    this.goalDir = given.goalDir;
    this.gitDir = join(given.goalDir, "git");
    this.top = given.user?.top ?? given.root;
    const below = relative(this.top, given.root);
    this.prefix = below === "" ? "" : `${below}/`;
    this.#environment = given.environment;
    this.ports = ports;
  }

  /** Makes the private directory, or what is missing of it after a crash. */
  async prepare(signal: AbortSignal): Promise<void> {
    const { disk } = this.ports;
    const config = await this.#userConfig(signal);
    const partial = [...config].some(
      ([key, value]) =>
        key === "extensions.partialclone" || (/^remote\..*\.promisor$/.test(key) && isTrue(value)),
    );
    if (partial) throw partialClone(this.top);
    const found = disk.stat(this.gitDir)?.kind;
    if (found !== undefined && found !== "folder") disk.remove(this.gitDir);
    if (found !== "folder") disk.makeFolder(this.gitDir);
    this.#objectFormat = config.get("extensions.objectformat") ?? "sha1";
    const format = `--object-format=${this.#objectFormat}`;
    const init = ["init", "--quiet", "--bare", "--template=", format, this.gitDir];
    this.#removeRemains();
    checked("init", await this.#spawn(init, { cwd: this.gitDir }, signal));
    const commonDir = this.user?.commonDir;
    const shallow = commonDir === undefined ? undefined : join(commonDir, "shallow");
    const steering = {
      config: readText(join(this.gitDir, "config"), this.ports),
      attributes: PLAIN_ATTRIBUTES,
      exclude: this.#excluded(),
      alternates: commonDir === undefined ? undefined : `${quotedLine(join(commonDir, "objects"))}\n`,
      shallow: shallow !== undefined && disk.stat(shallow) ? readText(shallow, this.ports) : undefined,
    };
    this.#own = await makeOwnDirectory(this.gitDir, steering, this.ports);
    this.#fileSystem = [...config]
      .filter(([key]) => FILE_SYSTEM_KEYS.has(key))
      .map(([key, value]) => [key, isTrue(value) ? "true" : "false"]);
    const known = this.#fileSystem.map(([key, value]) => `${key}=${value}`);
    known.push(`core.excludesFile=${await this.#globalExcludes(signal)}`);
    this.#settings = known.flatMap((setting) => ["-c", setting]);
  }

  /** Where programs are looked for. */
  get searchPath(): string {
    return searchPathOf(this.#environment);
  }

  /** What the user's repository knows of its file system, as git settings. */
  get fileSystemSettings(): readonly (readonly [string, string])[] {
    return this.#fileSystem;
  }

  /** How objects are named: `sha1` or `sha256`. */
  get objectFormat(): string {
    return this.#objectFormat;
  }

  // ---- Trees

  /** How two trees differ, by path in byte order; a rename is a deletion and an addition. */
  async changes(from: string, to: string, signal: AbortSignal): Promise<TreeChange[]> {
    if (from === to) return [];
    const args = ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", from, to];
    const parts = splitNul(await this.call(args, {}, signal));
    const changes: TreeChange[] = [];
    for (let at = 0; at + 1 < parts.length; at += 2) {
      const [oldMode = "", newMode = "", , , status = ""] = String(parts[at]).slice(1).split(" ");
      changes.push({
        path: String(parts[at + 1]),
        kind:
          status === "A"
            ? "added"
            : status === "D"
              ? "deleted"
              : status === "T"
                ? "type_changed"
                : "modified",
        old_mode: oldMode === "000000" ? null : oldMode,
        new_mode: newMode === "000000" ? null : newMode,
      });
    }
    return changes.sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
  }

  /** The entries of a tree as `ls-tree` writes them before the tab, by path. */
  async entries(tree: string, signal: AbortSignal): Promise<Map<string, string>> {
    const listed = await this.call(["ls-tree", "-r", "-z", "--full-tree", tree], {}, signal);
    return new Map(
      splitNul(listed).map((line) => {
        const tab = line.indexOf("\t");
        return [line.toString("utf8", tab + 1), line.toString("latin1", 0, tab)];
      }),
    );
  }

  /** A tree without anything in it. */
  async emptyTree(signal: AbortSignal): Promise<string> {
    return textOf(await this.call(["mktree"], { stdin: Buffer.alloc(0) }, signal));
  }

  /** The project's part of a tree of the whole repository; a folder without a file is in no tree. */
  async projectIn(tree: string, signal: AbortSignal): Promise<string> {
    if (this.prefix === "") return tree;
    const listed = await this.call(["ls-tree", "-z", "-d", tree, "--", this.prefix.slice(0, -1)], {}, signal);
    return /^040000 tree ([0-9a-f]+)\t/.exec(listed.toString("latin1"))?.[1] ?? this.emptyTree(signal);
  }

  /** The tree of a commit, or a tree itself; `git.failed` for anything else. */
  async treeOf(commit: string, signal: AbortSignal): Promise<string> {
    return textOf(await this.call(["rev-parse", "--verify", "--quiet", `${commit}^{tree}`], {}, signal));
  }

  /**
   * Makes a commit in the user's name. What is given decides its id: whoever repeats a step with the instant recorded for it
   * gets the same commit.
   */
  async commitTree(
    given: { tree: string; parents: readonly string[]; message: string; at: Date },
    signal: AbortSignal,
  ): Promise<string> {
    const by = { ...(await this.#identityOfUser(signal)), at: given.at };
    const parents = given.parents.flatMap((parent) => ["-p", parent]);
    const stdin = Buffer.from(`${given.message.trimEnd()}\n`);
    return textOf(await this.call(["commit-tree", given.tree, ...parents, "-F", "-"], { stdin, by }, signal));
  }

  // ---- Refs of the private directory

  /** What a ref of the private directory names. */
  async refAt(ref: string, signal: AbortSignal): Promise<string | undefined> {
    const run = await this.run(["rev-parse", "--verify", "--quiet", ref], {}, signal);
    if (run.exit.kind === "exited" && run.exit.code === 1) return undefined;
    return textOf(checked("rev-parse", run));
  }

  /** Moves a ref of the private directory from what it names (null: nothing) to a commit. */
  async moveRef(ref: string, to: string, from: string | null, signal: AbortSignal): Promise<void> {
    await this.call(["update-ref", ref, to, from ?? "0".repeat(to.length)], {}, signal);
  }

  // ---- Indexes

  /** Each command writes an index of its own: one that a dead omk left half-written is in nobody's way. */
  temporaryIndex(): string {
    return join(this.gitDir, `index-${this.ports.random.name(12)}`);
  }

  /** Takes an index away, and the lock of one that was being written. */
  dropIndex(index: string): void {
    const { disk } = this.ports;
    for (const path of [index, `${index}.lock`]) if (disk.stat(path)) disk.remove(path);
  }

  /**
   * Takes away what a git that was killed, or a machine that lost power, left behind: locks that nobody holds (one
   * controller uses these names, and it starts now), indexes, and a HEAD or configuration that is not whole.
   */
  #removeRemains(): void {
    const { disk } = this.ports;
    const own = disk.list(this.gitDir).filter((name) => name.startsWith("index-") || name.endsWith(".lock"));
    for (const name of own) disk.removeTree(join(this.gitDir, name));
    this.#removeLocks(join(this.gitDir, "refs"), () => true);
    if (this.user && !this.#isVisitor) {
      const refs = join(this.user.commonDir, "refs");
      const own = `${this.goalId}.lock`;
      this.#removeLocks(join(refs, "omk", "rescue", this.goalId), () => true);
      this.#removeLocks(join(refs, "omk", "base"), (name) => name === own);
      this.#removeLocks(join(refs, "heads", "omk", "result"), (name) => name === own);
    }
    clearStore(this.gitDir, this.ports);
  }

  #removeLocks(folder: string, isOurs: (name: string) => boolean): void {
    const { disk } = this.ports;
    if (disk.stat(folder)?.kind !== "folder") return;
    for (const name of disk.list(folder)) {
      const path = join(folder, name);
      if (disk.stat(path)?.kind === "folder") this.#removeLocks(path, isOurs);
      else if (name.endsWith(".lock") && isOurs(name)) disk.remove(path);
    }
  }

  // ---- The user's repository

  /** Its configuration as pairs, keys in lower case; a key without value reads `true`. */
  async #userConfig(signal: AbortSignal): Promise<Map<string, string>> {
    if (!this.user) return new Map();
    const listed = await this.runUsers(["config", "--list", "-z"], {}, signal);
    return new Map(
      splitNul(checked("config", listed)).map((entry) => {
        const [key = "", ...value] = entry.toString("utf8").split("\n");
        return [key.toLowerCase(), value.length === 0 ? "true" : value.join("\n")];
      }),
    );
  }

  /** What HEAD names, e.g. `refs/heads/main`; undefined when it is detached. */
  headRef(signal: AbortSignal): Promise<string | undefined> {
    return this.ask(["symbolic-ref", "--quiet", "HEAD"], signal);
  }

  /** What is staged: a mere refresh of the index changes nothing here. Read with its own directory, for split indexes. */
  async staged(signal: AbortSignal): Promise<Buffer> {
    return checked("ls-files", await this.runUsers(["ls-files", "--stage", "-z"], {}, signal));
  }

  /** The commit HEAD names. */
  async head(signal: AbortSignal): Promise<string | undefined> {
    return this.user && this.ask(["rev-parse", "--verify", "--quiet", "HEAD"], signal);
  }

  /** Puts the objects of a commit that the user's repository lacks into it, as one pack; it has all of `have`. */
  async copyToUser(commit: string, signal: AbortSignal, have: readonly string[] = []): Promise<void> {
    if (!this.user) return;
    const head = await this.head(signal);
    const known = head === undefined ? have : [...have, head];
    const revisions = [commit, ...new Set(known.flatMap((one) => [`^${one}`, `^${one}^{tree}`]))];
    const objects = join(this.user.commonDir, "objects");
    const args = ["pack-objects", "--revs", "--quiet", "--non-empty", join(objects, "pack", "pack")];
    const stdin = Buffer.from(`${revisions.join("\n")}\n`);
    await this.call(args, { stdin, objects }, signal);
  }

  /** Whether the user's repository has a commit by itself. */
  async userHas(commit: string, signal: AbortSignal): Promise<boolean> {
    return (
      this.user !== undefined &&
      succeeded(await this.runUsers(["cat-file", "-e", `${commit}^{commit}`], {}, signal))
    );
  }

  /** Ignore rules that lie in no work tree, and where omk keeps its state if that is inside the project. */
  #excluded(): string {
    const lines: string[] = [];
    const own = this.user && join(this.user.commonDir, "info", "exclude");
    if (own !== undefined && this.ports.disk.stat(own)) lines.push(readText(own, this.ports));
    const stateRoot = dirname(dirname(this.goalDir));
    for (const state of [stateRoot, this.goalDir]) {
      const path = relative(this.top, state);
      if (path === "" || !isInside(state, this.top)) continue;
      lines.push(`/${path.replace(/[\\*?[\]#! ]/g, "\\$&")}/`);
      break;
    }
    return `${lines.join("\n")}\n`;
  }

  /** The user's own ignore file for all repositories, of which their git configuration may say the place. */
  async #globalExcludes(signal: AbortSignal): Promise<string> {
    const { HOME: home, XDG_CONFIG_HOME: xdg } = this.#environment as {
      HOME?: string;
      XDG_CONFIG_HOME?: string;
    };
    if (home === undefined) return "/dev/null";
    const args = ["config", "--global", "--includes", "--type=path", "--get", "core.excludesFile"];
    const run = await this.run(args, { home }, signal);
    return (succeeded(run) && textOf(run)) || join(xdg ?? join(home, ".config"), "git", "ignore");
  }

  /** Name and mail of the user's own git configuration; a repository's is not asked. */
  async #identityOfUser(signal: AbortSignal): Promise<{ name: string; email: string }> {
    if (this.#identity) return this.#identity;
    const { HOME: home } = this.#environment as { HOME?: string };
    const found = new Map<string, string>();
    if (home !== undefined) {
      const args = ["config", "--global", "--includes", "-z", "--get-regexp", "^user\\.(name|email)$"];
      const run = await this.run(args, { home }, signal);
      for (const entry of succeeded(run) ? splitNul(Buffer.from(run.stdout)) : []) {
        const [key = "", value = ""] = entry.toString("utf8").split("\n");
        // Git takes these characters out itself, and fails when nothing is left.
        if (/[^\s<>.,:;"'\\]/.test(value)) found.set(key, value);
      }
    }
    this.#identity = {
      name: found.get("user.name") ?? "omk",
      email: found.get("user.email") ?? "omk@localhost",
    };
    return this.#identity;
  }

  // ---- What steers git

  /**
   * The directory by which git sees the goal's objects and refs, as omk made it: what somebody has changed there or in the
   * store since the last look is put back first, and told.
   */
  async steered(): Promise<string> {
    await this.#mending;
    const changed = this.#own?.changed() ?? [];
    if (changed.length > 0) {
      this.#mending ??= this.#mend(changed);
      await this.#mending;
    }
    return this.#own?.path ?? this.gitDir;
  }

  /** How often something was put back: grows while somebody meddles. */
  get restorations(): number {
    return this.#restored.length;
  }

  /** What was put back since this was last asked, each time it was, as paths below the goal's folder. */
  takeRestored(): string[][] {
    const news = this.#restored.slice(this.#taken);
    this.#taken = this.#restored.length;
    return news;
  }

  /** Whether objects or refs were among it, which nobody can put back but from the user's repository. */
  get hasLost(): boolean {
    return this.#restored.some((names) => names.includes("git/objects") || names.includes("git/refs"));
  }

  async #mend(changed: string[]): Promise<void> {
    try {
      const names = changed.map((path) => relative(this.goalDir, path));
      this.#restored.push(names);
      this.ports.tell?.(
        `somebody changed omk's own git directory (${names.slice(0, 5).join(", ")}); it is again as omk made it`,
      );
      await this.#own?.mend();
    } finally {
      this.#mending = undefined;
    }
  }

  // ---- Running git

  /** On the private directory; its failure is `git.failed`. */
  async call(args: readonly string[], options: GitOptions, signal: AbortSignal): Promise<Buffer> {
    return checked(args[0] ?? "", await this.run(args, options, signal));
  }

  /** On the private directory; the caller looks how it ended. */
  async run(args: readonly string[], options: GitOptions, signal: AbortSignal): Promise<RunResult> {
    const where = [`--git-dir=${await this.steered()}`, `--work-tree=${options.workTree ?? this.top}`];
    return this.#spawn([...this.#settings, ...where, ...args], { cwd: this.top, ...options }, signal);
  }

  /** On the user's git directory, for what only it can tell or keep; nothing that looks into the work tree. */
  runUsers(args: readonly string[], options: GitOptions, signal: AbortSignal): Promise<RunResult> {
    const where = [`--git-dir=${this.user?.gitDir ?? ""}`, `--work-tree=${this.top}`];
    return this.#spawn([...where, ...args], { cwd: this.top, ...options }, signal);
  }

  /** On a git directory of somebody else, an attempt's own: nothing but questions. */
  runAt(gitDir: string, args: readonly string[], signal: AbortSignal): Promise<RunResult> {
    return this.#spawn([`--git-dir=${gitDir}`, ...args], { cwd: this.goalDir }, signal);
  }

  /** A question to the user's repository whose answer may be none, which git tells by status 1. */
  async ask(args: readonly string[], signal: AbortSignal): Promise<string | undefined> {
    const run = await this.runUsers(args, {}, signal);
    if (run.exit.kind === "exited" && run.exit.code === 1) return undefined;
    return textOf(checked(args[0] ?? "", run));
  }

  /** On refs where trees are kept: the user's repository, or else the private directory. */
  async callOnRefs(args: readonly string[], options: GitOptions, signal: AbortSignal): Promise<Buffer> {
    if (!this.user) return this.call(args, options, signal);
    return checked(args[0] ?? "", await this.runUsers(args, options, signal));
  }

  #spawn(
    args: readonly string[],
    options: GitOptions & { cwd: string },
    signal: AbortSignal,
  ): Promise<RunResult> {
    // Fixed unless a commit is somebody's: the same tree under the same name is the same commit.
    const { name, email, at } = options.by ?? { name: "omk", email: "omk@localhost", at: new Date(1e12) };
    const date = `@${Math.floor(at.getTime() / 1_000)} +0000`;
    return this.ports.processes.run(
      {
        argv: ["git", ...HARDENED_SETTINGS, ...args],
        cwd: options.cwd,
        env: {
          ...hardenedEnvironment(this.searchPath),
          ...(options.home === undefined
            ? { HOME: this.gitDir, GIT_CONFIG_GLOBAL: "/dev/null" }
            : { HOME: options.home, ...xdgOf(this.#environment) }),
          GIT_AUTHOR_NAME: name,
          GIT_AUTHOR_EMAIL: email,
          GIT_AUTHOR_DATE: date,
          GIT_COMMITTER_NAME: name,
          GIT_COMMITTER_EMAIL: email,
          GIT_COMMITTER_DATE: date,
          ...(options.index !== undefined && { GIT_INDEX_FILE: options.index }),
          ...(options.objects !== undefined && {
            GIT_OBJECT_DIRECTORY: options.objects,
            GIT_ALTERNATE_OBJECT_DIRECTORIES: quoted(join(this.gitDir, "objects")),
          }),
          ...(options.borrowed !== undefined && {
            GIT_ALTERNATE_OBJECT_DIRECTORIES: quoted(options.borrowed),
          }),
        },
        ...(options.stdin && { stdin: options.stdin }),
        timeoutMs: DEADLINE_MS,
        outputBytesMax: options.outputBytesMax ?? OUTPUT_BYTES_MAX,
      },
      signal,
    );
  }
}

/** How one call of git differs from others. */
export interface GitOptions {
  cwd?: string;
  workTree?: string;
  /** Another index than the private one. */
  index?: string;
  /** Another place to write objects to; the private ones can be read beside it. */
  objects?: string;
  /** The user's home, to read their own git configuration. */
  home?: string;
  /** Objects that can be read beside the private ones: those of an attempt. */
  borrowed?: string;
  /** Whose commit it is, and when. */
  by?: { name: string; email: string; at: Date };
  stdin?: Uint8Array;
  outputBytesMax?: number;
}

/** The parts of NUL-terminated output, as bytes: names need not be UTF-8. */
export function splitNul(bytes: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let start = 0; start < bytes.length;) {
    const end = bytes.indexOf(0, start);
    parts.push(bytes.subarray(start, end === -1 ? bytes.length : end));
    start = end === -1 ? bytes.length : end + 1;
  }
  return parts;
}

/** Whether a path is a folder or lies below it. */
export function isInside(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith("/") ? folder : `${folder}/`);
}

/** A path for a list that git splits: quoted always, since colons and line ends may be in it. */
function quoted(path: string): string {
  return `"${path.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n")}"`;
}

/** A path for a file of one path per line. */
export function quotedLine(path: string): string {
  return path.includes("\n") ? quoted(path) : path;
}

function xdgOf(environment: Readonly<Record<string, string>>): Record<string, string> {
  const xdg = environment["XDG_CONFIG_HOME"];
  return xdg === undefined ? {} : { XDG_CONFIG_HOME: xdg };
}

function isTrue(value: string): boolean {
  return /^(true|yes|on|1)$/i.test(value);
}

/** Whether git ended well and all it said was heard. */
export function succeeded(run: RunResult): boolean {
  return run.exit.kind === "exited" && run.exit.code === 0 && !run.timedOut && !run.truncated;
}

/** The output of a run that must have succeeded. */
export function checked(command: string, run: RunResult): Buffer {
  if (!succeeded(run)) throw failure(command, run);
  return Buffer.from(run.stdout);
}

/** One line, or a text, without the line end behind it. */
export function textOf(output: RunResult | Buffer): string {
  return Buffer.from(Buffer.isBuffer(output) ? output : output.stdout)
    .toString("utf8")
    .replace(/\n$/, "");
}

function partialClone(top: string): OmkError {
  return new OmkError(
    "git.unsupported",
    `${top} is a partial clone: some of its files are not on this machine.`,
    {
      hint: "Work in a full clone: clone anew without --filter, and start the goal there.",
    },
  );
}

function failure(command: string, run: RunResult): OmkError {
  if (run.exit.kind === "not_started") {
    return new OmkError("git.failed", `git cannot be started: ${run.exit.message}`, {
      hint: "omk needs git on the PATH, also for folders that are no repository.",
    });
  }
  const why = run.timedOut
    ? `it took longer than ${DEADLINE_MS / 1000} s`
    : run.truncated
      ? "it said more than omk can hold"
      : run.stderr.trim().slice(-2_000);
  return new OmkError("git.failed", `git ${command} failed: ${why}`, {
    ...(run.timedOut && { cause: new DOMException(why, "TimeoutError") }),
    hint: "Nothing was lost. Mend the cause (git's own words are above), then run the command again.",
  });
}
