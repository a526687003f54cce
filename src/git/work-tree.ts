/** A project directory as a goal sees it, through its private git directory. */
import { createHash } from "node:crypto";
import { join, posix } from "node:path";

import { OmkError } from "../errors.ts";
import type { RunResult } from "../ports.ts";
import { shellQuoted } from "../format/shell.ts";
import { bringIgnored, copy, type LinkedIgnored } from "./ignored-files.ts";
import { keepTree } from "./kept.ts";
import { readFiles, type ReadFile } from "./many-files.ts";
import {
  checked,
  isInside,
  openPrivateGit,
  splitNul,
  textOf,
  type GitPorts,
  type GitRequest,
  type PrivateGit,
  type TreeChange,
} from "./private-git.ts";
import { TrackedFolder } from "./tracked-folder.ts";

export type { TreeChange } from "./private-git.ts";

/** The name under which a tree is kept, and since when if it is kept for the first time. */
interface KeptAs {
  name: string;
  at: Date;
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
  /** The same for many files, in the order in which they are named, as far as the caller asks; a few calls of git for all. */
  readAll(
    tree: string,
    paths: readonly string[],
    bytesMax: number,
    signal: AbortSignal,
  ): AsyncGenerator<ReadFile, undefined>;
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
  keep(tree: string, as: KeptAs, signal: AbortSignal): Promise<string>;
  /** A shell command that, run in the project directory, takes files from one kept tree back to another. */
  undo(from: string, to: string): string;
  /** Keeps the base commit under `refs/omk/base/<goal>`. */
  pinBase(commit: string, signal: AbortSignal): Promise<void>;
}

const NUL = Buffer.of(0);

/**
 * Opens the project directory of a goal; `git.failed` without git or with a broken repository, `git.unsupported` for
 * partial clones. One process at a time may use a goal's tree.
 */
export async function openWorkTree(
  request: GitRequest,
  ports: GitPorts,
  signal: AbortSignal = new AbortController().signal,
): Promise<WorkTree> {
  return workTreeOf(await openPrivateGit(request, ports, signal));
}

/** The project directory of an open private git directory. */
export function workTreeOf(git: PrivateGit): WorkTree {
  return new FolderTree(git, new ProjectFiles(git));
}

/** The folder whose files a work tree is about. */
export interface LookedAt {
  /** The top of the folder: paths of whole trees start there. */
  readonly top: string;
  /** Where the index of the latest look is kept. */
  readonly latest: string;
  /** The files as they are now, as a tree of everything below `top`. */
  snapshot(signal: AbortSignal): Promise<string>;
  /** Changes when somebody else has moved what the files are compared with. */
  position(signal: AbortSignal): Promise<string>;
}

/** The project directory itself, as whole trees of its repository. */
export class ProjectFiles implements LookedAt {
  readonly top: string;
  readonly latest: string;
  readonly #git: PrivateGit;
  readonly #folder: TrackedFolder;

  constructor(git: PrivateGit) {
    const { top, prefix } = git;
    this.top = top;
    this.latest = join(git.gitDir, "index");
    this.#git = git;
    const seed = (index: string, signal: AbortSignal) => this.#seed(index, signal);
    this.#folder = new TrackedFolder({ git, top, prefix, latest: this.latest, seed });
  }

  snapshot(signal: AbortSignal): Promise<string> {
    return this.#folder.snapshot(signal);
  }

  async position(signal: AbortSignal): Promise<string> {
    const hash = createHash("sha256");
    if (!this.#git.user) return hash.update("folder").digest("hex");
    hash.update(`${(await this.#git.headRef(signal)) ?? ""}\0${(await this.#git.head(signal)) ?? ""}\0`);
    return hash.update(await this.#git.staged(signal)).digest("hex");
  }

  /** What the user's index holds is tracked, also where an ignore rule matches it. Entries in conflict are one entry. */
  async #seed(index: string, signal: AbortSignal): Promise<void> {
    if (!this.#git.user) return;
    const prefix = Buffer.from(this.#git.prefix);
    const lines: Buffer[] = [];
    for (const line of splitNul(await this.#git.staged(signal))) {
      const tab = line.indexOf("\t");
      if (!line.subarray(tab + 1, tab + 1 + prefix.length).equals(prefix)) continue;
      lines.push(Buffer.from(line.toString("latin1", 0, tab).replace(/ \d$/, " 0")), line.subarray(tab), NUL);
    }
    await this.#git.call(
      ["update-index", "-z", "--index-info"],
      { index, stdin: Buffer.concat(lines) },
      signal,
    );
  }
}

/** A folder that shows the project, through the goal's private git directory. */
export class FolderTree implements WorkTree {
  readonly root: string;
  readonly kind: "repository" | "folder";
  readonly #git: PrivateGit;
  readonly #files: LookedAt;

  constructor(git: PrivateGit, files: LookedAt) {
    this.root = join(files.top, git.prefix.replace(/\/$/, ""));
    this.kind = git.user ? "repository" : "folder";
    this.#git = git;
    this.#files = files;
  }

  async evidence(signal: AbortSignal): Promise<{ branch: string; head: string; dirty: boolean } | undefined> {
    if (!this.#git.user) return undefined;
    try {
      const head = await this.head(signal);
      const ref = await this.#git.headRef(signal);
      if (head === undefined || ref === undefined) return undefined;
      return { branch: ref.replace(/^refs\/heads\//, ""), head, dirty: await this.#isDirty(head, signal) };
    } catch (error) {
      // Absent evidence is said in the proof; it is no reason to have no proof.
      if (error instanceof OmkError && error.code === "git.failed") return undefined;
      throw error;
    }
  }

  position(signal: AbortSignal): Promise<string> {
    return this.#files.position(signal);
  }

  async snapshot(signal: AbortSignal): Promise<string> {
    return this.#git.projectIn(await this.#files.snapshot(signal), signal);
  }

  changes(from: string, to: string, signal: AbortSignal): Promise<TreeChange[]> {
    return this.#git.changes(from, to, signal);
  }

  head(signal: AbortSignal): Promise<string | undefined> {
    return this.#git.head(signal);
  }

  async files(tree: string, signal: AbortSignal): Promise<string[]> {
    return [...(await this.#git.entries(tree, signal)).keys()];
  }

  async read(
    tree: string,
    path: string,
    bytesMax: number,
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    // What leads out of the tree is not in it; git would call it a misuse.
    if (path === "" || posix.normalize(`/${path}`) !== `/${path}`) return undefined;
    const listed = await this.#git.call(["ls-tree", "-z", "-l", "--full-tree", tree, "--", path], {}, signal);
    const found = /^(\d+) blob ([0-9a-f]+) +(\d+)\t/.exec(listed.toString("latin1"));
    const [, mode = "", oid = "", size = ""] = found ?? [];
    if (!found || !mode.startsWith("100") || Number(size) > bytesMax) return undefined;
    return this.#git.call(["cat-file", "blob", oid], { outputBytesMax: Number(size) + 1 }, signal);
  }

  readAll(
    tree: string,
    paths: readonly string[],
    bytesMax: number,
    signal: AbortSignal,
  ): AsyncGenerator<ReadFile, undefined> {
    return readFiles(this.#git, { tree, paths, bytesMax }, signal);
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
    const run = await this.#git.run(args, { outputBytesMax: bytesMax }, signal);
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
    const index = this.#git.temporaryIndex();
    try {
      await this.#git.call(["read-tree", tree], { index }, signal);
      if (options.overlay) await this.#overlay(options.overlay, index, signal);
      await this.#git.call(
        ["checkout-index", "--all", "--force"],
        { index, cwd: folder, workTree: folder },
        signal,
      );
    } finally {
      this.#git.dropIndex(index);
    }
    if (options.withIgnored !== true) return undefined;
    const paths = await this.ignored(signal);
    const { ports, searchPath } = this.#git;
    return bringIgnored({ root: this.root, folder, paths, searchPath }, ports, signal);
  }

  async copyFolder(from: string, to: string, signal: AbortSignal): Promise<void> {
    await copy([`${from}/.`], to, this.#git.searchPath, this.#git.ports, signal);
  }

  async ignored(signal: AbortSignal): Promise<string[]> {
    const { goalDir, ports, prefix } = this.#git;
    const { latest: index, top } = this.#files;
    if (!ports.disk.stat(index)) await this.snapshot(signal); // what is tracked is not ignored
    const scope = prefix === "" ? [] : ["--", prefix];
    const args = ["ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory", ...scope];
    return splitNul(await this.#git.call(args, { index, workTree: top, cwd: top }, signal))
      .map(String)
      .filter((name) => name.startsWith(prefix) && name !== prefix)
      .map((name) => name.slice(prefix.length))
      .filter((path) => !isInside(goalDir, join(this.root, path.replace(/\/$/, ""))));
  }

  keep(tree: string, as: KeptAs, signal: AbortSignal): Promise<string> {
    return keepTree(this.#git, { ...as, tree }, signal);
  }

  undo(from: string, to: string): string {
    // Without a repository of the user's the trees are in the private one; in a subdirectory paths start at its top.
    const where = this.#git.user ? "" : ` --git-dir=${shellQuoted(this.#git.gitDir)}`;
    const into = this.#git.prefix === "" ? "" : ` --directory=${shellQuoted(this.#git.prefix.slice(0, -1))}`;
    return `git${where} diff --binary --no-ext-diff --no-color --src-prefix=a/ --dst-prefix=b/ ${from} ${to} | git apply${into}`;
  }

  async pinBase(commit: string, signal: AbortSignal): Promise<void> {
    if (this.#git.user)
      await this.#git.callOnRefs(["update-ref", `refs/omk/base/${this.#git.goalId}`, commit], {}, signal);
  }

  async #overlay(
    overlay: NonNullable<CheckoutOptions["overlay"]>,
    index: string,
    signal: AbortSignal,
  ): Promise<void> {
    const entries = await this.#git.entries(overlay.tree, signal);
    const nothing = `0 ${"0".repeat(overlay.tree.length)}`;
    const lines = overlay.paths.map((path) => `${entries.get(path) ?? nothing}\t${path}\0`);
    for (const [path, text] of overlay.texts ?? []) {
      const write = ["hash-object", "-w", "--stdin", "--no-filters"];
      const oid = textOf(await this.#git.call(write, { stdin: Buffer.from(text) }, signal));
      lines.push(`100644 ${oid}\t${path}\0`);
    }
    await this.#git.call(
      ["update-index", "-z", "--index-info"],
      { index, stdin: Buffer.from(lines.join("")) },
      signal,
    );
  }

  async #isDirty(head: string, signal: AbortSignal): Promise<boolean> {
    const run = await statusOf(this.#git, { head, scope: [], outputBytesMax: 4_096 }, signal);
    return run.truncated || checked("status", run).length > 0;
  }
}

/** As `git status` sees the user's files, but by the private directory: the user's would run filters on changed files. */
async function statusOf(
  git: PrivateGit,
  { head, scope, outputBytesMax }: { head: string; scope: readonly string[]; outputBytesMax: number },
  signal: AbortSignal,
): Promise<RunResult> {
  await git.call(["update-ref", "--no-deref", "HEAD", head], {}, signal);
  const args = ["status", "--porcelain", "-z", "--no-renames", "--ignore-submodules=dirty", ...scope];
  const index = join(git.user?.gitDir ?? "", "index");
  return git.run(args, { index, outputBytesMax }, signal);
}

/** So much of a list of changed paths is read. */
const LISTED_BYTES_MAX = 64 * 1024;

/** Paths of the project that differ from the commit HEAD names or are not in it; the last is `…` where there are more. */
export async function uncommittedPaths(git: PrivateGit, signal: AbortSignal): Promise<string[]> {
  const head = await git.head(signal);
  if (head === undefined) return [];
  const { prefix } = git;
  const given = {
    head,
    scope: prefix === "" ? [] : ["--", prefix.slice(0, -1)],
    outputBytesMax: LISTED_BYTES_MAX,
  };
  const run = await statusOf(git, given, signal);
  if (!run.truncated) checked("status", run);
  const listed = splitNul(Buffer.from(run.stdout)).map((entry) => entry.toString("utf8", 3));
  const paths = (run.truncated ? listed.slice(0, -1) : listed).map((path) =>
    path.startsWith(prefix) ? path.slice(prefix.length) : path,
  );
  return run.truncated ? [...paths, "…"] : paths;
}
