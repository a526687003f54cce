/**
 * The one way to call git. omk sees a project through a private git directory of the goal, whose configuration, hooks
 * and attributes are its own; objects are shared with the user's repository by alternates. Commands that must touch the
 * user's repository are plumbing with hooks off, and its index and work tree are never changed.
 */
import { createHash } from "node:crypto";
import { dirname, isAbsolute, join, relative } from "node:path";

import { OmkError } from "../errors.ts";
import type { Disk, Processes, Random, RunResult } from "../ports.ts";

/** How one path differs between two trees; mode 160000 is a repository inside the project. */
export interface TreeChange {
  path: string;
  kind: "added" | "modified" | "deleted" | "type_changed";
  old_mode: string | null;
  new_mode: string | null;
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
  /** The project as it is now: untracked files included, ignored ones not. */
  snapshot(signal: AbortSignal): Promise<string>;
  /** How two trees differ, by path in byte order; a rename is a deletion and an addition. */
  changes(from: string, to: string, signal: AbortSignal): Promise<TreeChange[]>;
  files(tree: string, signal: AbortSignal): Promise<string[]>;
  /** A file's bytes; undefined when the tree has no such file, or one over `bytesMax`. */
  read(tree: string, path: string, bytesMax: number, signal: AbortSignal): Promise<Uint8Array | undefined>;
  /** The difference as a unified diff, cut off after `bytesMax`. */
  patch(from: string, to: string, bytesMax: number, signal: AbortSignal): Promise<{ text: string; truncated: boolean }>;
  /**
   * Writes a tree into an empty folder, some paths from another tree (missing there: left out). With `linkIgnored`,
   * what git ignores in the project (installed dependencies, say) is linked in.
   */
  checkout(
    tree: string,
    folder: string,
    options: { overlay?: { tree: string; paths: readonly string[] }; linkIgnored?: boolean },
    signal: AbortSignal,
  ): Promise<void>;
  /** Keeps a tree for good under `refs/omk/rescue/<goal>/<name>`, in the user's repository where there is one. */
  keep(tree: string, name: string, signal: AbortSignal): Promise<string>;
  /** Keeps the base commit under `refs/omk/base/<goal>`. */
  pinBase(commit: string, signal: AbortSignal): Promise<void>;
}

/** What opening needs of the world. */
export interface GitPorts {
  disk: Disk;
  processes: Pick<Processes, "run">;
  random: Random;
}

const DEADLINE_MS = 120_000;
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024;
/** New objects of one tree that are copied into the user's repository; more stay in the private directory only. */
const KEEP_BYTES_MAX = 64 * 1024 * 1024;

/** Settings that no repository may change. */
const SETTINGS = [
  "core.hooksPath=/dev/null",
  "core.fsmonitor=false",
  "core.untrackedCache=false",
  "core.splitIndex=false",
  "core.attributesFile=/dev/null",
  "core.excludesFile=/dev/null",
  "core.autocrlf=false",
  "core.protectHFS=true",
  "core.protectNTFS=true",
  "core.quotePath=false",
  "core.alternateRefsCommand=true",
  "core.logAllRefUpdates=false",
  "advice.addEmbeddedRepo=false",
  "diff.noprefix=false",
  "diff.mnemonicPrefix=false",
  "gc.auto=0",
  "maintenance.auto=false",
  "submodule.recurse=false",
].flatMap((setting) => ["-c", setting]);

/** Bytes stay as they are: no line ends are converted, no filter has a say. */
const ATTRIBUTES = "* -text -filter -ident -working-tree-encoding\n";

/** Opens the project directory of a goal; `git.failed` without git, `git.unsupported` for partial clones. */
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
  if (root === undefined) throw new OmkError("git.failed", `${request.projectDir} is not there.`);
  const user = findRepository(root, ports);
  const git = new Git({ ...request, root, user }, ports);
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
  for (let top = root; ; top = dirname(top)) {
    const path = join(top, ".git");
    const found = ports.disk.stat(path);
    const gitDir =
      found?.kind === "folder" || found?.kind === "link"
        ? ports.disk.realPath(path)
        : found?.kind === "file"
          ? gitDirNamedBy(path, top, ports)
          : undefined;
    if (gitDir !== undefined && ports.disk.stat(join(gitDir, "HEAD"))) {
      const common = join(gitDir, "commondir");
      const named = ports.disk.stat(common) ? readText(common, ports).trim() : ".";
      return { top, gitDir, commonDir: isAbsolute(named) ? named : join(gitDir, named) };
    }
    if (top === dirname(top)) return undefined;
  }
}

function gitDirNamedBy(path: string, top: string, ports: GitPorts): string | undefined {
  const named = /^gitdir: (.+)$/m.exec(readText(path, ports))?.[1];
  return named === undefined ? undefined : ports.disk.realPath(isAbsolute(named) ? named : join(top, named));
}

function readText(path: string, ports: GitPorts): string {
  return Buffer.from(ports.disk.readFile(path, 1024 * 1024)).toString("utf8");
}

class Git implements WorkTree {
  readonly root: string;
  readonly kind: "repository" | "folder";
  readonly #user: UserRepository | undefined;
  readonly #gitDir: string;
  readonly #goalId: string;
  /** The work tree of the private directory: the repository's top, so that ignore rules above the project hold. */
  readonly #top: string;
  /** The project below `#top`, with a slash at its end, or nothing. */
  readonly #prefix: string;
  readonly #path: string;
  readonly #ports: GitPorts;

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
    this.#gitDir = join(given.goalDir, "git");
    this.#top = given.user?.top ?? given.root;
    const below = relative(this.#top, given.root);
    this.#prefix = below === "" ? "" : `${below}/`;
    this.#path = given.environment["PATH"] ?? "/usr/bin:/bin";
    this.#ports = ports;
  }

  /** Makes the private directory, or what is missing of it after a crash. */
  async prepare(signal: AbortSignal): Promise<void> {
    const { disk } = this.#ports;
    if (this.#user) await this.#refusePartialClone(signal);
    const format = this.#user ? (await this.#userGit(["rev-parse", "--show-object-format"], signal)).trim() : "sha1";
    await this.#run(
      ["init", "--quiet", "--bare", "--template=", `--object-format=${format}`, this.#gitDir],
      { cwd: this.root },
      signal,
    );
    await disk.writeDerived(join(this.#gitDir, "info", "attributes"), ATTRIBUTES);
    if (!this.#user) return;
    const { commonDir, gitDir } = this.#user;
    await disk.writeDerived(join(this.#gitDir, "objects", "info", "alternates"), `${join(commonDir, "objects")}\n`);
    for (const name of ["info/exclude", "shallow"]) {
      const path = [join(commonDir, name), join(gitDir, name)].find((one) => disk.stat(one)?.kind === "file");
      if (path !== undefined) await disk.writeDerived(join(this.#gitDir, name), readText(path, this.#ports));
    }
  }

  async evidence(signal: AbortSignal): Promise<{ branch: string; head: string; dirty: boolean } | undefined> {
    const head = await this.head(signal);
    const ref = await this.#headRef(signal);
    if (head === undefined || !ref.startsWith("refs/heads/")) return undefined;
    const committed = await this.#userGitOr(["rev-parse", "--verify", "--quiet", `HEAD:${this.#prefix}`], signal);
    const dirty = committed?.trim() !== (await this.snapshot(signal));
    return { branch: ref.slice("refs/heads/".length), head, dirty };
  }

  async head(signal: AbortSignal): Promise<string | undefined> {
    if (!this.#user) return undefined;
    return (await this.#userGitOr(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], signal))?.trim();
  }

  async position(signal: AbortSignal): Promise<string> {
    if (!this.#user) return "folder";
    const index = join(this.#user.gitDir, "index");
    const staged = this.#ports.disk.stat(index)
      ? await this.#private(["ls-files", "--stage", "-z"], { index }, signal)
      : Buffer.alloc(0);
    const hash = createHash("sha256");
    hash.update(`${await this.#headRef(signal)}\0${(await this.head(signal)) ?? ""}\0`);
    return hash.update(staged).digest("hex");
  }

  async snapshot(signal: AbortSignal): Promise<string> {
    const scope = this.#prefix === "" ? "." : this.#prefix;
    const added = await this.#try(["add", "--all", "--", scope], { cwd: this.#top }, signal);
    if (!succeeded(added)) throw failure("add", added);
    if (this.#prefix === "") return this.#text(["write-tree"], signal);
    const tree = await this.#try(["write-tree", `--prefix=${this.#prefix}`], { cwd: this.#top }, signal);
    // A project folder without a single file is not in the index at all.
    return succeeded(tree) ? textOf(tree).trim() : this.#text(["mktree", "--missing"], signal);
  }

  async changes(from: string, to: string, signal: AbortSignal): Promise<TreeChange[]> {
    if (from === to) return [];
    const args = ["diff-tree", "-r", "-z", "--raw", "--no-renames", from, to];
    const parts = (await this.#private(args, {}, signal)).toString("utf8").split("\0");
    const changes: TreeChange[] = [];
    for (let at = 0; at + 1 < parts.length; at += 2) {
      const [oldMode = "", newMode = "", , , status = ""] = (parts[at] ?? "").slice(1).split(" ");
      const kind = { A: "added", D: "deleted", T: "type_changed" }[status] ?? "modified";
      changes.push({
        path: parts[at + 1] ?? "",
        kind: kind as TreeChange["kind"],
        old_mode: oldMode === "000000" ? null : oldMode,
        new_mode: newMode === "000000" ? null : newMode,
      });
    }
    return changes;
  }

  async files(tree: string, signal: AbortSignal): Promise<string[]> {
    return [...(await this.#entries(tree, signal)).keys()];
  }

  async read(tree: string, path: string, bytesMax: number, signal: AbortSignal): Promise<Uint8Array | undefined> {
    const run = await this.#try(["cat-file", "blob", `${tree}:${path}`], { outputBytesMax: bytesMax }, signal);
    return succeeded(run) && !run.truncated ? run.stdout : undefined;
  }

  async patch(
    from: string,
    to: string,
    bytesMax: number,
    signal: AbortSignal,
  ): Promise<{ text: string; truncated: boolean }> {
    if (from === to) return { text: "", truncated: false };
    const args = ["diff-tree", "-p", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", from, to];
    const run = await this.#try(args, { outputBytesMax: bytesMax }, signal);
    if (!run.truncated && !succeeded(run)) throw failure("diff-tree", run);
    return { text: textOf(run), truncated: run.truncated };
  }

  async checkout(
    tree: string,
    folder: string,
    options: { overlay?: { tree: string; paths: readonly string[] }; linkIgnored?: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    const index = join(this.#gitDir, `checkout-${this.#ports.random.name(12)}.index`);
    try {
      await this.#private(["read-tree", tree], { index }, signal);
      if (options.overlay) await this.#overlay(options.overlay, index, signal);
      await this.#private(["checkout-index", "--all", "--force"], { index, cwd: folder, workTree: folder }, signal);
    } finally {
      if (this.#ports.disk.stat(index)) this.#ports.disk.remove(index);
    }
    if (options.linkIgnored === true) await this.#linkIgnored(folder, signal);
  }

  async keep(tree: string, name: string, signal: AbortSignal): Promise<string> {
    const ref = `refs/omk/rescue/${this.#goalId}/${name}`;
    const commit = await this.#text(["commit-tree", tree, "-m", `omk: ${name} of ${this.#goalId}`], signal);
    await this.#private(["update-ref", ref, commit], {}, signal);
    if (!this.#user) return ref;
    const pack = await this.#try(
      ["pack-objects", "--revs", "--local", "--stdout", "--quiet"],
      { stdin: Buffer.from(`${commit}\n`), outputBytesMax: KEEP_BYTES_MAX },
      signal,
    );
    // Too much to copy: the private directory still has it all, and the proof names the tree.
    if (pack.truncated) return ref;
    if (!succeeded(pack)) throw failure("pack-objects", pack);
    const objects = join(this.#user.commonDir, "objects");
    await this.#private(["unpack-objects", "-q"], { stdin: pack.stdout, objects }, signal);
    await this.#userGit(["update-ref", ref, commit], signal);
    return ref;
  }

  async pinBase(commit: string, signal: AbortSignal): Promise<void> {
    if (this.#user) await this.#userGit(["update-ref", `refs/omk/base/${this.#goalId}`, commit], signal);
  }

  async #refusePartialClone(signal: AbortSignal): Promise<void> {
    const args = ["config", "--local", "--get-regexp", "^(remote\\..*\\.promisor|extensions\\.partialclone)$"];
    const promisor = await this.#userGitOr(args, signal);
    if (promisor === undefined || promisor.trim() === "") return;
    throw new OmkError("git.unsupported", `${this.#top} is a partial clone: some of its files are not on this machine.`, {
      hint: "Work in a full clone: `git fetch --refetch --no-filter`, then remove the promisor setting, or clone anew.",
    });
  }

  /** What HEAD names, e.g. `refs/heads/main`; a commit id when it is detached. */
  async #headRef(signal: AbortSignal): Promise<string> {
    const ref = await this.#userGitOr(["symbolic-ref", "--quiet", "HEAD"], signal);
    return ref?.trim() ?? "detached";
  }

  async #entries(tree: string, signal: AbortSignal): Promise<Map<string, { mode: string; oid: string }>> {
    const listed = await this.#private(["ls-tree", "-r", "-z", "--full-tree", tree], {}, signal);
    const entries = new Map<string, { mode: string; oid: string }>();
    for (const line of listed.toString("utf8").split("\0")) {
      const tab = line.indexOf("\t");
      const [mode = "", , oid = ""] = line.slice(0, tab).split(" ");
      if (tab > 0) entries.set(line.slice(tab + 1), { mode, oid });
    }
    return entries;
  }

  async #overlay(
    overlay: { tree: string; paths: readonly string[] },
    index: string,
    signal: AbortSignal,
  ): Promise<void> {
    const entries = await this.#entries(overlay.tree, signal);
    const lines = overlay.paths.map((path) => {
      const entry = entries.get(path);
      return entry ? `${entry.mode} ${entry.oid}\t${path}\0` : `0 ${"0".repeat(40)}\t${path}\0`;
    });
    await this.#private(["update-index", "-z", "--index-info"], { index, stdin: Buffer.from(lines.join("")) }, signal);
  }

  async #linkIgnored(folder: string, signal: AbortSignal): Promise<void> {
    const { disk } = this.#ports;
    const args = ["ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z"];
    const scope = this.#prefix === "" ? [] : ["--", this.#prefix];
    const listed = await this.#private([...args, ...scope], { cwd: this.#top }, signal);
    for (const name of listed.toString("utf8").split("\0")) {
      const path = name.slice(this.#prefix.length).replace(/\/$/, "");
      if (path === "" || !name.startsWith(this.#prefix)) continue;
      const to = join(folder, path);
      if (disk.stat(dirname(to))?.kind !== "folder" || disk.stat(to)) continue;
      disk.symbolicLink(join(this.root, path), to);
    }
  }

  async #text(args: readonly string[], signal: AbortSignal): Promise<string> {
    return (await this.#private(args, { stdin: Buffer.alloc(0) }, signal)).toString("utf8").trim();
  }

  /** Runs git on the private directory; its failure is `git.failed`. */
  async #private(args: readonly string[], options: GitOptions, signal: AbortSignal): Promise<Buffer> {
    const run = await this.#try(args, options, signal);
    if (!succeeded(run) || run.truncated) throw failure(args[0] ?? "", run);
    return Buffer.from(run.stdout);
  }

  #try(args: readonly string[], options: GitOptions, signal: AbortSignal): Promise<RunResult> {
    const where = [`--git-dir=${this.#gitDir}`, `--work-tree=${options.workTree ?? this.#top}`];
    return this.#run([...where, ...args], { cwd: this.#top, ...options }, signal);
  }

  /** Reads or writes refs of the user's repository, with nothing of it run. */
  async #userGit(args: readonly string[], signal: AbortSignal): Promise<string> {
    const run = await this.#run([`--git-dir=${this.#user?.gitDir ?? ""}`, ...args], { cwd: this.root }, signal);
    if (!succeeded(run)) throw failure(args[0] ?? "", run);
    return textOf(run);
  }

  /** The same for questions whose answer may be no. */
  async #userGitOr(args: readonly string[], signal: AbortSignal): Promise<string | undefined> {
    if (!this.#user) return undefined;
    const run = await this.#run([`--git-dir=${this.#user.gitDir}`, ...args], { cwd: this.root }, signal);
    return succeeded(run) ? textOf(run) : undefined;
  }

  #run(args: readonly string[], options: GitOptions & { cwd: string }, signal: AbortSignal): Promise<RunResult> {
    return this.#ports.processes.run(
      {
        argv: ["git", ...SETTINGS, ...args],
        cwd: options.cwd,
        env: {
          PATH: this.#path,
          LC_ALL: "C",
          GIT_CONFIG_NOSYSTEM: "1",
          GIT_CONFIG_GLOBAL: "/dev/null",
          GIT_TERMINAL_PROMPT: "0",
          GIT_OPTIONAL_LOCKS: "0",
          GIT_NO_LAZY_FETCH: "1",
          GIT_AUTHOR_NAME: "omk",
          GIT_AUTHOR_EMAIL: "omk@localhost",
          GIT_AUTHOR_DATE: "@1000000000 +0000",
          GIT_COMMITTER_NAME: "omk",
          GIT_COMMITTER_EMAIL: "omk@localhost",
          GIT_COMMITTER_DATE: "@1000000000 +0000",
          ...(options.index !== undefined && { GIT_INDEX_FILE: options.index }),
          ...(options.objects !== undefined && { GIT_OBJECT_DIRECTORY: options.objects }),
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
  /** Another place to write objects to. */
  objects?: string;
  stdin?: Uint8Array;
  outputBytesMax?: number;
}

function succeeded(run: RunResult): boolean {
  return run.exit.kind === "exited" && run.exit.code === 0 && !run.timedOut;
}

function textOf(run: RunResult): string {
  return Buffer.from(run.stdout).toString("utf8");
}

function failure(command: string, run: RunResult): OmkError {
  if (run.exit.kind === "not_started") {
    return new OmkError("git.failed", `git cannot be started: ${run.exit.message}`, {
      hint: "omk needs git on the PATH, also for folders that are no repository.",
    });
  }
  const why = run.timedOut ? `it took longer than ${DEADLINE_MS / 1000} s` : run.stderr.trim().slice(-2_000);
  return new OmkError("git.failed", `git ${command} failed: ${why}`, {
    hint: "Nothing was lost. Mend the cause, then run the command again.",
  });
}
