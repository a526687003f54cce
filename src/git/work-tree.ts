/**
 * The one way to call git. omk sees a project through a private git directory of the goal, whose configuration, hooks
 * and attributes are its own; objects are shared with the user's repository by alternates. Commands that must touch the
 * user's repository are plumbing with hooks off, and its index and work tree are never changed.
 */
import { createHash } from "node:crypto";
import { dirname, join, posix, relative, resolve } from "node:path";

import { OmkError } from "../errors.ts";
import { shellQuoted } from "../format/shell.ts";
import type { Disk, Processes, Random, RunResult } from "../ports.ts";
import { sha256 } from "../store/event-line.ts";
import { hardenedEnvironment, HARDENED_SETTINGS, PLAIN_ATTRIBUTES, searchPathOf } from "./hardened.ts";
import { bringIgnored, copy, type LinkedIgnored } from "./ignored-files.ts";

/** How one path differs between two trees; mode 160000 is a repository inside the project. */
export interface TreeChange {
  /** As it is, with slashes; bytes that are no UTF-8 show as U+FFFD. */
  path: string;
  kind: "added" | "modified" | "deleted" | "type_changed";
  old_mode: string | null;
  new_mode: string | null;
}

/** What a checkout has besides its tree. */
export interface CheckoutOptions {
  /** Paths from another tree, left out where it has none; those in `texts` get that text. */
  overlay?: { tree: string; paths: readonly string[]; texts?: ReadonlyMap<string, string> };
  /** What git ignores in the project (installed dependencies, say) is there as well: copied, or linked where it is too much. */
  withIgnored?: boolean;
}

/** A project directory, with or without a git repository of its own. Trees are git tree ids. */
export interface WorkTree {
  /** The project directory without links. */
  readonly root: string;
  readonly kind: "repository" | "folder";
  /** Branch, commit and dirt; undefined without a repository, without a commit, and on a detached HEAD. */
  evidence(signal: AbortSignal): Promise<{ branch: string; head: string; dirty: boolean } | undefined>;
  /** The commit HEAD names. */
  head(signal: AbortSignal): Promise<string | undefined>;
  /** Changes when HEAD or the content of the user's index does; a mere refresh of the index changes nothing. */
  position(signal: AbortSignal): Promise<string>;
  /**
   * The project as it is now, byte for byte: untracked files included, ignored ones not. A repository inside the
   * project is one entry of mode 160000, whatever it contains.
   */
  snapshot(signal: AbortSignal): Promise<string>;
  /** How two trees differ, by path in byte order; a rename is a deletion and an addition. */
  changes(from: string, to: string, signal: AbortSignal): Promise<TreeChange[]>;
  /** All paths of a tree, in byte order. */
  files(tree: string, signal: AbortSignal): Promise<string[]>;
  /** A file's bytes; undefined when the tree has no regular file there, or one over `bytesMax`. */
  read(tree: string, path: string, bytesMax: number, signal: AbortSignal): Promise<Uint8Array | undefined>;
  /** The difference as a unified diff, cut off after `bytesMax`. */
  patch(
    from: string,
    to: string,
    bytesMax: number,
    signal: AbortSignal,
  ): Promise<{ text: string; truncated: boolean }>;
  /** Writes a tree into an empty folder; says what of the project's own files is linked there. */
  checkout(
    tree: string,
    folder: string,
    options: CheckoutOptions,
    signal: AbortSignal,
  ): Promise<LinkedIgnored | undefined>;
  /** Copies what is in one folder, a checkout say, into another that is empty. */
  copyFolder(from: string, to: string, signal: AbortSignal): Promise<void>;
  /** What git ignores in the project, whole folders as one path with a slash at the end, in byte order. */
  ignored(signal: AbortSignal): Promise<string[]>;
  /**
   * Keeps a tree for good under `refs/omk/rescue/<goal>/<name>`, in the user's repository where there is one, and
   * returns that name. Another tree kept under it before moves to `<name>-<n>`.
   */
  keep(tree: string, name: string, signal: AbortSignal): Promise<string>;
  /** A shell command that, run in the project directory, takes files from one kept tree back to another. */
  undo(from: string, to: string): string;
  /** Keeps the base commit under `refs/omk/base/<goal>`. */
  pinBase(commit: string, signal: AbortSignal): Promise<void>;
}

/** What git needs of the world. */
interface GitPorts {
  disk: Disk;
  processes: Pick<Processes, "run">;
  random: Random;
}

const DEADLINE_MS = 120_000;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
/** Files change while they are read (an agent's last child, an editor): git stops then, and a second look succeeds. */
const SNAPSHOT_TRIES = 3;
/** Trees kept under one name; each is a result that another one followed. */
const KEPT_MAX = 1_000;
const GITLINK = "160000";

/** What the user's repository knows about its file system; anything else in its configuration is not for us. */
const FILE_SYSTEM_KEYS = new Set([
  "core.filemode",
  "core.symlinks",
  "core.ignorecase",
  "core.precomposeunicode",
]);

/**
 * Opens the project directory of a goal; `git.failed` without git or with a broken repository, `git.unsupported` for
 * partial clones. One process at a time may use a goal's tree.
 */
export async function openWorkTree(
  request: {
    projectDir: string;
    goalDir: string;
    goalId: string;
    environment: Readonly<Record<string, string>>;
  },
  ports: GitPorts,
  signal: AbortSignal = new AbortController().signal,
): Promise<WorkTree> {
  const root = ports.disk.realPath(request.projectDir);
  if (root === undefined) {
    throw new OmkError("git.failed", `The project directory ${request.projectDir} is not there.`, {
      hint: "Put it back, or start a new goal where the project is now.",
    });
  }
  const goalDir = ports.disk.realPath(request.goalDir) ?? request.goalDir;
  const git = new Git({ ...request, goalDir, root, user: findRepository(root, ports) }, ports);
  await git.prepare(signal);
  return git;
}

/** The user's repository around a project directory. */
interface UserRepository {
  /** The folder that holds `.git`. */
  top: string;
  gitDir: string;
  /** Where objects and refs are; differs from `gitDir` in a linked worktree. */
  commonDir: string;
}

/** Looks upwards for `.git` without running git, whose search reads configuration on its way. */
function findRepository(root: string, ports: GitPorts): UserRepository | undefined {
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
function gitDirNamedBy(path: string, ports: GitPorts): string {
  const named = /^gitdir: (.+)$/m.exec(readText(path, ports))?.[1];
  const gitDir = named === undefined ? undefined : ports.disk.realPath(resolve(dirname(path), named));
  if (gitDir !== undefined) return gitDir;
  throw new OmkError("git.failed", `${path} names a git directory that is not there.`, {
    hint: "Mend it with `git worktree repair`, or remove the file.",
  });
}

function repositoryAt(top: string, gitDir: string, ports: GitPorts): UserRepository {
  const common = join(gitDir, "commondir");
  const commonDir = ports.disk.stat(common) ? resolve(gitDir, readText(common, ports).trim()) : gitDir;
  return { top, gitDir, commonDir };
}

function readText(path: string, ports: GitPorts): string {
  return Buffer.from(ports.disk.readFile(path, 1024 * 1024)).toString("utf8");
}

class Git implements WorkTree {
  readonly root: string;
  readonly kind: "repository" | "folder";
  readonly #user: UserRepository | undefined;
  readonly #goalDir: string;
  readonly #gitDir: string;
  readonly #goalId: string;
  /** The work tree of the private directory: the repository's top, so that ignore rules above the project hold. */
  readonly #top: string;
  /** The project below `#top`, with a slash at its end, or nothing. */
  readonly #prefix: string;
  readonly #environment: Readonly<Record<string, string>>;
  readonly #ports: GitPorts;
  /** Settings of the private directory that are known once it is prepared. */
  #settings: string[] = [];
  /** Of the private index as this process wrote it last. */
  #indexDigest: string | undefined;

  constructor(
    given: {
      root: string;
      goalDir: string;
      goalId: string;
      user: UserRepository | undefined;
      environment: Readonly<Record<string, string>>;
    },
    ports: GitPorts,
  ) {
    this.root = given.root;
    this.kind = given.user ? "repository" : "folder";
    this.#user = given.user;
    this.#goalId = given.goalId;
    this.#goalDir = given.goalDir;
    this.#gitDir = join(given.goalDir, "git");
    this.#top = given.user?.top ?? given.root;
    const below = relative(this.#top, given.root);
    this.#prefix = below === "" ? "" : `${below}/`;
    this.#environment = given.environment;
    this.#ports = ports;
  }

  /** Makes the private directory, or what is missing of it after a crash. */
  async prepare(signal: AbortSignal): Promise<void> {
    const { disk } = this.#ports;
    const config = await this.#userConfig(signal);
    const partial = [...config].some(
      ([key, value]) =>
        key === "extensions.partialclone" || (/^remote\..*\.promisor$/.test(key) && isTrue(value)),
    );
    if (partial) throw partialClone(this.#top);
    if (!disk.stat(this.#gitDir)) disk.makeFolder(this.#gitDir);
    const format = config.get("extensions.objectformat") ?? "sha1";
    const init = ["init", "--quiet", "--bare", "--template=", `--object-format=${format}`, this.#gitDir];
    this.#removeRemains();
    checked("init", await this.#run(init, { cwd: this.#gitDir }, signal));
    await this.#write("info/attributes", PLAIN_ATTRIBUTES);
    await this.#write("info/exclude", this.#excluded());
    if (this.#user) {
      const { commonDir } = this.#user;
      await this.#write("objects/info/alternates", `${quotedLine(join(commonDir, "objects"))}\n`);
      const shallow = join(commonDir, "shallow");
      if (disk.stat(shallow)) await this.#write("shallow", readText(shallow, this.#ports));
      else if (disk.stat(join(this.#gitDir, "shallow"))) disk.remove(join(this.#gitDir, "shallow"));
    }
    const known = [...config]
      .filter(([key]) => FILE_SYSTEM_KEYS.has(key))
      .map(([key, value]) => `${key}=${value}`);
    known.push(`core.excludesFile=${await this.#globalExcludes(signal)}`);
    this.#settings = known.flatMap((setting) => ["-c", setting]);
  }

  async evidence(signal: AbortSignal): Promise<{ branch: string; head: string; dirty: boolean } | undefined> {
    if (!this.#user) return undefined;
    try {
      const head = await this.head(signal);
      const ref = await this.#headRef(signal);
      if (head === undefined || ref === undefined) return undefined;
      return { branch: ref.replace(/^refs\/heads\//, ""), head, dirty: await this.#isDirty(head, signal) };
    } catch (error) {
      // Absent evidence is said in the proof; it is no reason to have no proof.
      if (error instanceof OmkError && error.code === "git.failed") return undefined;
      throw error;
    }
  }

  async head(signal: AbortSignal): Promise<string | undefined> {
    return this.#user && this.#answer(["rev-parse", "--verify", "--quiet", "HEAD"], signal);
  }

  async position(signal: AbortSignal): Promise<string> {
    const hash = createHash("sha256");
    if (!this.#user) return hash.update("folder").digest("hex");
    hash.update(`${(await this.#headRef(signal)) ?? ""}\0${(await this.head(signal)) ?? ""}\0`);
    return hash.update(await this.#staged(signal)).digest("hex");
  }

  async snapshot(signal: AbortSignal): Promise<string> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#snapshotOnce(signal);
      } catch (error) {
        if (tries === SNAPSHOT_TRIES || !(error instanceof OmkError) || isTimedOut(error)) throw error;
        // It only saves time; a damaged one must not fail every snapshot from now on.
        this.#dropIndex(join(this.#gitDir, "index"));
      }
    }
  }

  async changes(from: string, to: string, signal: AbortSignal): Promise<TreeChange[]> {
    if (from === to) return [];
    const args = ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", from, to];
    const parts = splitNul(await this.#private(args, {}, signal));
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

  async files(tree: string, signal: AbortSignal): Promise<string[]> {
    return [...(await this.#entries(tree, signal)).keys()];
  }

  async read(
    tree: string,
    path: string,
    bytesMax: number,
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    // What leads out of the tree is not in it; git would call it a misuse.
    if (path === "" || posix.normalize(`/${path}`) !== `/${path}`) return undefined;
    const listed = await this.#private(["ls-tree", "-z", "-l", "--full-tree", tree, "--", path], {}, signal);
    const found = /^(\d+) blob ([0-9a-f]+) +(\d+)\t/.exec(listed.toString("latin1"));
    const [, mode = "", oid = "", size = ""] = found ?? [];
    if (!found || !mode.startsWith("100") || Number(size) > bytesMax) return undefined;
    return this.#private(["cat-file", "blob", oid], { outputBytesMax: Number(size) + 1 }, signal);
  }

  async patch(
    from: string,
    to: string,
    bytesMax: number,
    signal: AbortSignal,
  ): Promise<{ text: string; truncated: boolean }> {
    if (from === to) return { text: "", truncated: false };
    const plain = ["--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--submodule=short"];
    const names = ["--src-prefix=a/", "--dst-prefix=b/"];
    const args = ["diff-tree", "-r", "-p", ...plain, ...names, from, to];
    const run = await this.#try(args, { outputBytesMax: bytesMax }, signal);
    if (!run.truncated) checked("diff-tree", run);
    // A character cut in half at the end is left out.
    return {
      text: new TextDecoder().decode(run.stdout, { stream: run.truncated }),
      truncated: run.truncated,
    };
  }

  async checkout(
    tree: string,
    folder: string,
    options: CheckoutOptions,
    signal: AbortSignal,
  ): Promise<LinkedIgnored | undefined> {
    const index = this.#temporaryIndex();
    try {
      await this.#private(["read-tree", tree], { index }, signal);
      if (options.overlay) await this.#overlay(options.overlay, index, signal);
      await this.#private(
        ["checkout-index", "--all", "--force"],
        { index, cwd: folder, workTree: folder },
        signal,
      );
    } finally {
      this.#dropIndex(index);
    }
    if (options.withIgnored !== true) return undefined;
    const paths = await this.ignored(signal);
    return bringIgnored(
      { root: this.root, folder, paths, searchPath: this.#searchPath },
      this.#ports,
      signal,
    );
  }

  async copyFolder(from: string, to: string, signal: AbortSignal): Promise<void> {
    await copy([`${from}/.`], to, this.#searchPath, this.#ports, signal);
  }

  async keep(tree: string, name: string, signal: AbortSignal): Promise<string> {
    // The same tree under the same name gives the same commit: names and dates in it are fixed.
    const message = `omk: ${name} of ${this.#goalId}`;
    const commit = textOf(await this.#private(["commit-tree", tree, "-m", message], {}, signal));
    const folder = `refs/omk/rescue/${this.#goalId}/`;
    const ref = `${folder}${name}`;
    const listed = await this.#refs(
      ["for-each-ref", "--format=%(refname) %(objectname)", folder],
      {},
      signal,
    );
    const kept = new Map(
      textOf(listed)
        .split("\n")
        .map((line) => line.split(" ") as [string, string]),
    );
    const old = kept.get(ref);
    if (old === commit) return ref;
    if (this.#user) await this.#copyToUser(commit, this.#user, signal);
    const steps = [`update ${ref}\0${commit}\0${old ?? "0".repeat(commit.length)}\0`];
    const isElsewhere = [...kept].some(([other, oid]) => other !== ref && oid === old);
    if (old !== undefined && !isElsewhere) steps.push(`create ${freeName(ref, kept)}\0${old}\0`);
    await this.#refs(["update-ref", "-z", "--stdin"], { stdin: Buffer.from(steps.join("")) }, signal);
    return ref;
  }

  undo(from: string, to: string): string {
    // Without a repository of the user's the trees are in the private one; in a subdirectory paths start at its top.
    const where = this.#user ? "" : ` --git-dir=${shellQuoted(this.#gitDir)}`;
    const into = this.#prefix === "" ? "" : ` --directory=${shellQuoted(this.#prefix.slice(0, -1))}`;
    return `git${where} diff --binary --no-ext-diff --no-color --src-prefix=a/ --dst-prefix=b/ ${from} ${to} | git apply${into}`;
  }

  async pinBase(commit: string, signal: AbortSignal): Promise<void> {
    if (this.#user) await this.#refs(["update-ref", `refs/omk/base/${this.#goalId}`, commit], {}, signal);
  }

  // ---- Snapshots

  async #snapshotOnce(signal: AbortSignal): Promise<string> {
    const { disk } = this.#ports;
    const latest = join(this.#gitDir, "index");
    const index = this.#temporaryIndex();
    try {
      // A second name, not a copy: by the file's own time git knows which entries it must look at again.
      // An agent can reach it too: one entry marked there as not to be looked at would hide a file from every snapshot.
      if (disk.stat(latest) && this.#digestOf(latest) !== this.#indexDigest) this.#dropIndex(latest);
      if (disk.stat(latest)) disk.link(latest, index);
      else await this.#seed(index, signal);
      await this.#updateIndex(index, signal);
      const tree = textOf(await this.#private(["write-tree"], { index }, signal));
      if (disk.stat(index)) disk.rename(index, latest); // without a single file there is none
      this.#indexDigest = disk.stat(latest) ? this.#digestOf(latest) : undefined;
      return this.#prefix === "" ? tree : await this.#projectIn(tree, signal);
    } finally {
      this.#dropIndex(index);
    }
  }

  #digestOf(path: string): string {
    return sha256(this.#ports.disk.readFile(path));
  }

  /** What the user's index holds is tracked, also where an ignore rule matches it. Entries in conflict are one entry. */
  async #seed(index: string, signal: AbortSignal): Promise<void> {
    if (!this.#user) return;
    const prefix = Buffer.from(this.#prefix);
    const lines: Buffer[] = [];
    for (const line of splitNul(await this.#staged(signal))) {
      const tab = line.indexOf("\t");
      if (!line.subarray(tab + 1, tab + 1 + prefix.length).equals(prefix)) continue;
      lines.push(Buffer.from(line.toString("latin1", 0, tab).replace(/ \d$/, " 0")), line.subarray(tab), NUL);
    }
    await this.#private(
      ["update-index", "-z", "--index-info"],
      { index, stdin: Buffer.concat(lines) },
      signal,
    );
  }

  /** Brings a private index to what lies in the project now. */
  async #updateIndex(index: string, signal: AbortSignal): Promise<void> {
    const scope = this.#prefix === "" ? [] : ["--", this.#prefix];
    // It ends with 1 when something needs an update, which is what the next commands find out.
    await this.#try(["update-index", "-q", "--refresh"], { index }, signal);
    const differs = ["diff-files", "-z", "--name-status", "--ignore-submodules=dirty", ...scope];
    const tracked = splitNul(await this.#private(differs, { index }, signal));
    const others = ["ls-files", "-z", "--others", "--exclude-standard", ...scope];
    const untracked = splitNul(await this.#private(others, { index }, signal));

    const removed: Buffer[] = [];
    const present: Buffer[] = [];
    for (let at = 0; at + 1 < tracked.length; at += 2) {
      const path = tracked[at + 1] as Buffer;
      // A pipe or socket in place of a file: git knows neither, so the file is gone.
      const isGone =
        String(tracked[at]) === "D" || this.#ports.disk.stat(join(this.#top, String(path)))?.kind === "other";
      (isGone ? removed : present).push(path);
    }
    const repositories = untracked
      .filter((path) => path.at(-1) === SLASH)
      .map((path) => path.subarray(0, -1));
    present.push(...untracked.filter((path) => path.at(-1) !== SLASH));

    // Removals first: a file may have become a folder.
    if (removed.length > 0) {
      const stdin = Buffer.concat(removed.flatMap((path) => [path, NUL]));
      await this.#private(["update-index", "-z", "--force-remove", "--stdin"], { index, stdin }, signal);
    }
    const add = ["update-index", "-z", "--add", "--remove", "--replace", "--stdin"];
    if (present.length > 0) {
      const stdin = Buffer.concat(present.flatMap((path) => [path, NUL]));
      await this.#private(add, { index, stdin }, signal);
    }
    for (const path of repositories) {
      const run = await this.#try(add, { index, stdin: Buffer.concat([path, NUL]) }, signal);
      if (succeeded(run)) continue;
      // A repository without a commit has nothing that an entry could name, but it must not go unseen.
      const stdin = Buffer.concat([Buffer.from(`${GITLINK} ${await this.#emptyTree(signal)}\t`), path, NUL]);
      await this.#private(["update-index", "-z", "--index-info"], { index, stdin }, signal);
    }
  }

  /** The project's part of a tree of the whole repository; a folder without a file is in no tree. */
  async #projectIn(tree: string, signal: AbortSignal): Promise<string> {
    const listed = await this.#private(
      ["ls-tree", "-z", "-d", tree, "--", this.#prefix.slice(0, -1)],
      {},
      signal,
    );
    return /^040000 tree ([0-9a-f]+)\t/.exec(listed.toString("latin1"))?.[1] ?? this.#emptyTree(signal);
  }

  async #emptyTree(signal: AbortSignal): Promise<string> {
    return textOf(await this.#private(["mktree"], { stdin: Buffer.alloc(0) }, signal));
  }

  /** Each command writes an index of its own: one that a dead omk left half-written is in nobody's way. */
  #temporaryIndex(): string {
    return join(this.#gitDir, `index-${this.#ports.random.name(12)}`);
  }

  #dropIndex(index: string): void {
    const { disk } = this.#ports;
    for (const path of [index, `${index}.lock`]) if (disk.stat(path)) disk.remove(path);
  }

  /**
   * Takes away what a git that was killed, or a machine that lost power, left behind: locks that nobody holds (one
   * controller uses these names, and it starts now), indexes, and a HEAD or configuration that is not whole.
   */
  #removeRemains(): void {
    const { disk } = this.#ports;
    const own = disk.list(this.#gitDir).filter((name) => name.startsWith("index-") || name.endsWith(".lock"));
    for (const name of own) disk.remove(join(this.#gitDir, name));
    for (const commonDir of [this.#gitDir, ...(this.#user ? [this.#user.commonDir] : [])]) {
      this.#removeLocks(join(commonDir, "refs", "omk", "rescue", this.#goalId), () => true);
      this.#removeLocks(join(commonDir, "refs", "omk", "base"), (name) => name === `${this.#goalId}.lock`);
    }
    const head = join(this.#gitDir, "HEAD");
    if (disk.stat(head) && !/^(ref: refs\/.+|[0-9a-f]{40,64})\n$/.test(readText(head, this.#ports)))
      disk.remove(head);
    // Made anew by `init`: nothing but its defaults is in it.
    const config = join(this.#gitDir, "config");
    if (disk.stat(config)) disk.remove(config);
  }

  #removeLocks(folder: string, isOurs: (name: string) => boolean): void {
    const { disk } = this.#ports;
    if (disk.stat(folder)?.kind !== "folder") return;
    const locks = disk.list(folder).filter((name) => name.endsWith(".lock") && isOurs(name));
    for (const name of locks) disk.remove(join(folder, name));
  }

  // ---- Checkouts

  async #entries(tree: string, signal: AbortSignal): Promise<Map<string, string>> {
    const listed = await this.#private(["ls-tree", "-r", "-z", "--full-tree", tree], {}, signal);
    return new Map(
      splitNul(listed).map((line) => {
        const tab = line.indexOf("\t");
        return [line.toString("utf8", tab + 1), line.toString("latin1", 0, tab)];
      }),
    );
  }

  async #overlay(
    overlay: NonNullable<CheckoutOptions["overlay"]>,
    index: string,
    signal: AbortSignal,
  ): Promise<void> {
    const entries = await this.#entries(overlay.tree, signal);
    const nothing = `0 ${"0".repeat(overlay.tree.length)}`;
    const lines = overlay.paths.map((path) => `${entries.get(path) ?? nothing}\t${path}\0`);
    for (const [path, text] of overlay.texts ?? []) {
      const write = ["hash-object", "-w", "--stdin", "--no-filters"];
      const oid = textOf(await this.#private(write, { stdin: Buffer.from(text) }, signal));
      lines.push(`100644 ${oid}\t${path}\0`);
    }
    await this.#private(
      ["update-index", "-z", "--index-info"],
      { index, stdin: Buffer.from(lines.join("")) },
      signal,
    );
  }

  async ignored(signal: AbortSignal): Promise<string[]> {
    const index = join(this.#gitDir, "index");
    if (!this.#ports.disk.stat(index)) await this.snapshot(signal); // what is tracked is not ignored
    const scope = this.#prefix === "" ? [] : ["--", this.#prefix];
    const args = ["ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory", ...scope];
    return splitNul(await this.#private(args, { index }, signal))
      .map(String)
      .filter((name) => name.startsWith(this.#prefix) && name !== this.#prefix)
      .map((name) => name.slice(this.#prefix.length))
      .filter((path) => !isInside(this.#goalDir, join(this.root, path.replace(/\/$/, ""))));
  }

  // ---- The user's repository

  /** Its configuration as pairs, keys in lower case; a key without value reads `true`. */
  async #userConfig(signal: AbortSignal): Promise<Map<string, string>> {
    if (!this.#user) return new Map();
    const listed = await this.#users(["config", "--list", "-z"], {}, signal);
    return new Map(
      splitNul(checked("config", listed)).map((entry) => {
        const [key = "", ...value] = entry.toString("utf8").split("\n");
        return [key.toLowerCase(), value.length === 0 ? "true" : value.join("\n")];
      }),
    );
  }

  /** What HEAD names, e.g. `refs/heads/main`; undefined when it is detached. */
  #headRef(signal: AbortSignal): Promise<string | undefined> {
    return this.#answer(["symbolic-ref", "--quiet", "HEAD"], signal);
  }

  /** What is staged: a mere refresh of the index changes nothing here. Read with its own directory, for split indexes. */
  async #staged(signal: AbortSignal): Promise<Buffer> {
    return checked("ls-files", await this.#users(["ls-files", "--stage", "-z"], {}, signal));
  }

  /** As `git status` sees it, but by the private directory: the user's would run filters on changed files. */
  async #isDirty(head: string, signal: AbortSignal): Promise<boolean> {
    await this.#private(["update-ref", "--no-deref", "HEAD", head], {}, signal);
    const args = ["status", "--porcelain", "-z", "--no-renames", "--ignore-submodules=dirty"];
    const index = join(this.#user?.gitDir ?? "", "index");
    const run = await this.#try(args, { index, outputBytesMax: 4_096 }, signal);
    return run.truncated || checked("status", run).length > 0;
  }

  /** Puts the objects of a commit that the user's repository lacks into it, as one pack. */
  async #copyToUser(commit: string, user: UserRepository, signal: AbortSignal): Promise<void> {
    const head = await this.head(signal);
    const revisions = [commit, ...(head === undefined ? [] : [`^${head}^{tree}`])];
    const objects = join(user.commonDir, "objects");
    const args = ["pack-objects", "--revs", "--quiet", "--non-empty", join(objects, "pack", "pack")];
    const stdin = Buffer.from(`${revisions.join("\n")}\n`);
    await this.#private(args, { stdin, objects }, signal);
  }

  /** Ignore rules that lie in no work tree, and where omk keeps its state if that is inside the project. */
  #excluded(): string {
    const lines: string[] = [];
    const own = this.#user && join(this.#user.commonDir, "info", "exclude");
    if (own !== undefined && this.#ports.disk.stat(own)) lines.push(readText(own, this.#ports));
    const stateRoot = dirname(dirname(this.#goalDir));
    for (const state of [stateRoot, this.#goalDir]) {
      const path = relative(this.#top, state);
      if (path === "" || !isInside(state, this.#top)) continue;
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
    const run = await this.#try(args, { home }, signal);
    return (succeeded(run) && textOf(run)) || join(xdg ?? join(home, ".config"), "git", "ignore");
  }

  async #write(name: string, text: string): Promise<void> {
    const path = join(this.#gitDir, name);
    const { disk } = this.#ports;
    if (disk.stat(path) && readText(path, this.#ports) === text) return;
    await disk.writeDerived(path, text);
  }

  // ---- Running git

  get #searchPath(): string {
    return searchPathOf(this.#environment);
  }

  /** On the private directory; its failure is `git.failed`. */
  async #private(args: readonly string[], options: GitOptions, signal: AbortSignal): Promise<Buffer> {
    return checked(args[0] ?? "", await this.#try(args, options, signal));
  }

  #try(args: readonly string[], options: GitOptions, signal: AbortSignal): Promise<RunResult> {
    const where = [`--git-dir=${this.#gitDir}`, `--work-tree=${options.workTree ?? this.#top}`];
    return this.#run([...this.#settings, ...where, ...args], { cwd: this.#top, ...options }, signal);
  }

  /** On the user's git directory, for what only it can tell or keep; nothing that looks into the work tree. */
  #users(args: readonly string[], options: GitOptions, signal: AbortSignal): Promise<RunResult> {
    const where = [`--git-dir=${this.#user?.gitDir ?? ""}`, `--work-tree=${this.#top}`];
    return this.#run([...where, ...args], { cwd: this.#top, ...options }, signal);
  }

  /** A question to the user's repository whose answer may be none, which git tells by status 1. */
  async #answer(args: readonly string[], signal: AbortSignal): Promise<string | undefined> {
    const run = await this.#users(args, {}, signal);
    if (run.exit.kind === "exited" && run.exit.code === 1) return undefined;
    return textOf(checked(args[0] ?? "", run));
  }

  /** On refs where trees are kept: the user's repository, or else the private directory. */
  async #refs(args: readonly string[], options: GitOptions, signal: AbortSignal): Promise<Buffer> {
    if (!this.#user) return this.#private(args, options, signal);
    return checked(args[0] ?? "", await this.#users(args, options, signal));
  }

  #run(
    args: readonly string[],
    options: GitOptions & { cwd: string },
    signal: AbortSignal,
  ): Promise<RunResult> {
    return this.#ports.processes.run(
      {
        argv: ["git", ...HARDENED_SETTINGS, ...args],
        cwd: options.cwd,
        env: {
          ...hardenedEnvironment(this.#searchPath),
          ...(options.home === undefined
            ? { HOME: this.#gitDir, GIT_CONFIG_GLOBAL: "/dev/null" }
            : { HOME: options.home, ...xdgOf(this.#environment) }),
          GIT_AUTHOR_NAME: "omk",
          GIT_AUTHOR_EMAIL: "omk@localhost",
          GIT_AUTHOR_DATE: "@1000000000 +0000",
          GIT_COMMITTER_NAME: "omk",
          GIT_COMMITTER_EMAIL: "omk@localhost",
          GIT_COMMITTER_DATE: "@1000000000 +0000",
          ...(options.index !== undefined && { GIT_INDEX_FILE: options.index }),
          ...(options.objects !== undefined && {
            GIT_OBJECT_DIRECTORY: options.objects,
            GIT_ALTERNATE_OBJECT_DIRECTORIES: quoted(join(this.#gitDir, "objects")),
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

interface GitOptions {
  cwd?: string;
  workTree?: string;
  /** Another index than the private one. */
  index?: string;
  /** Another place to write objects to; the private ones can be read beside it. */
  objects?: string;
  /** The user's home, to read their own git configuration. */
  home?: string;
  stdin?: Uint8Array;
  outputBytesMax?: number;
}

const NUL = Buffer.of(0);
const SLASH = 0x2f;

/** The parts of NUL-terminated output, as bytes: names need not be UTF-8. */
function splitNul(bytes: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let start = 0; start < bytes.length;) {
    const end = bytes.indexOf(0, start);
    parts.push(bytes.subarray(start, end === -1 ? bytes.length : end));
    start = end === -1 ? bytes.length : end + 1;
  }
  return parts;
}

function isInside(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith("/") ? folder : `${folder}/`);
}

/** A path for a list that git splits: quoted always, since colons and line ends may be in it. */
function quoted(path: string): string {
  return `"${path.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n")}"`;
}

/** A path for a file of one path per line. */
function quotedLine(path: string): string {
  return path.includes("\n") ? quoted(path) : path;
}

function xdgOf(environment: Readonly<Record<string, string>>): Record<string, string> {
  const xdg = environment["XDG_CONFIG_HOME"];
  return xdg === undefined ? {} : { XDG_CONFIG_HOME: xdg };
}

function isTrue(value: string): boolean {
  return /^(true|yes|on|1)$/i.test(value);
}

function freeName(ref: string, taken: ReadonlyMap<string, string>): string {
  for (let n = 1; n < KEPT_MAX; n++) if (!taken.has(`${ref}-${n}`)) return `${ref}-${n}`;
  throw new OmkError("git.failed", `There are ${KEPT_MAX} trees under ${ref} already.`, {
    hint: "Delete some of them with `git update-ref -d <name>`; `git for-each-ref refs/omk` lists them.",
  });
}

/** What hung once hangs again (a named pipe as `.gitignore`, say). */
function isTimedOut(error: OmkError): boolean {
  return error.cause instanceof Error && error.cause.name === "TimeoutError";
}

function succeeded(run: RunResult): boolean {
  return run.exit.kind === "exited" && run.exit.code === 0 && !run.timedOut && !run.truncated;
}

/** The output of a run that must have succeeded. */
function checked(command: string, run: RunResult): Buffer {
  if (!succeeded(run)) throw failure(command, run);
  return Buffer.from(run.stdout);
}

/** One line, or a text, without the line end behind it. */
function textOf(output: RunResult | Buffer): string {
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
