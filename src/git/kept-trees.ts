/**
 * The kept trees of a goal, for whoever checks them: read only. Neither the goal's private git directory nor the user's
 * repository is written to or believed: objects are read through a repository made for it, and hashed again.
 */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import type { Disk, Processes, RunResult } from "../ports.ts";
import { hardenedEnvironment, HARDENED_SETTINGS, PLAIN_ATTRIBUTES, searchPathOf } from "./hardened.ts";
import { bringIgnored, type LinkedIgnored } from "./ignored-files.ts";
import { RESCUE_REFS } from "./kept.ts";
import { quotedLine, succeeded, textOf } from "./private-git.ts";

/** A commit that keeps a tree for good. */
export interface KeptTree {
  /** Its name under `refs/omk/rescue/<goal>/`. */
  ref: string;
  commit: string;
  tree: string;
}

/** Where the trees of a goal lie, and a folder of the caller's own to work in. */
interface Places {
  goalId: string;
  goalDir: string;
  projectDir: string;
  /** Made by the caller, who removes it. */
  temporary: string;
  environment: Readonly<Record<string, string>>;
}

/** What reading needs of the world. */
interface KeptPorts {
  disk: Disk;
  processes: Pick<Processes, "run">;
}

const DEADLINE_MS = 120_000;
/** A bundle holds whole trees. */
const BUNDLE_DEADLINE_MS = 600_000;
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024;

/** The kept trees of one goal. */
export class KeptTrees {
  readonly #places: Places;
  readonly #ports: KeptPorts;
  /** Ours, in the temporary folder. */
  readonly #gitDir: string;
  /** The repository that has the refs: the user's where there is one. */
  readonly #source: string;

  private constructor(places: Places, source: string, ports: KeptPorts) {
    this.#places = places;
    this.#ports = ports;
    this.#source = source;
    this.#gitDir = join(places.temporary, "git");
  }

  /** `git.failed` where the goal has no git directory. */
  static async open(places: Places, ports: KeptPorts, signal: AbortSignal): Promise<KeptTrees> {
    const own = join(places.goalDir, "git");
    if (ports.disk.stat(own)?.kind !== "folder") {
      throw new OmkError("git.failed", `Goal ${places.goalId} has no git directory: it kept no trees.`, {
        hint: "Only goals that worked have a result to look at.",
      });
    }
    const git = (args: readonly string[], cwd: string) => runGit(args, { cwd }, places, ports, signal);
    const asked = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
    const user = await git(asked, places.projectDir);
    const source = succeeded(user) ? textOf(user) : own;
    const kept = new KeptTrees(places, source, ports);
    const format = checked(await git(["--git-dir", own, "rev-parse", "--show-object-format"], own));
    const init = ["init", "--quiet", "--bare", "--template=", `--object-format=${format}`, kept.#gitDir];
    checked(await git(init, places.temporary));
    for (const folder of ["info", "objects/info"]) {
      const path = join(kept.#gitDir, folder);
      if (!ports.disk.stat(path)) ports.disk.makeFolder(path);
    }
    await ports.disk.writeDerived(join(kept.#gitDir, "info", "attributes"), PLAIN_ATTRIBUTES);
    const objects = [...new Set([own, source])].map((place) => quotedLine(join(place, "objects")));
    await ports.disk.writeDerived(
      join(kept.#gitDir, "objects", "info", "alternates"),
      `${objects.join("\n")}\n`,
    );
    return kept;
  }

  /** The commit that keeps a tree; undefined when it is not kept any more. */
  async find(tree: string, signal: AbortSignal): Promise<KeptTree | undefined> {
    const folder = `${RESCUE_REFS}${this.#places.goalId}/`;
    const listed = await this.#git(
      ["--git-dir", this.#source, "for-each-ref", "--format=%(refname) %(objectname) %(tree)", folder],
      {},
      signal,
    );
    for (const row of checked(listed).split("\n")) {
      const [ref = "", commit = "", kept = ""] = row.split(" ");
      if (kept === tree) return { ref, commit, tree };
    }
    return undefined;
  }

  /**
   * Writes a tree into an empty folder and makes sure that it is that tree, byte for byte: `git.failed` when an object is
   * missing, or is not what its name says.
   */
  async checkout(tree: string, folder: string, signal: AbortSignal): Promise<void> {
    const index = join(this.#places.temporary, "index");
    const mine = ["--git-dir", this.#gitDir];
    const listed = await this.#git([...mine, "ls-tree", "-r", "-z", "--full-tree", tree], {}, signal);
    checked(listed);
    const stdin = listed.stdout;
    checked(await this.#git([...mine, "update-index", "-z", "--index-info"], { index, stdin }, signal));
    // From the entries alone: trees and files are hashed again, since git takes an object's name on trust.
    const again = checked(await this.#git([...mine, "write-tree", "--missing-ok"], { index }, signal));
    if (again !== tree) throw damaged(tree);
    const into = [...mine, "--work-tree", folder];
    const cwd = folder;
    checked(await this.#git([...into, "checkout-index", "--all", "--force"], { index, cwd }, signal));
    // Files that are as their names say refresh; the first that does not ends it with 1.
    const refresh = ["update-index", "-q", "--refresh", "--ignore-submodules"];
    const compared = await this.#git([...into, ...refresh], { index, cwd }, signal);
    if (!succeeded(compared)) throw damaged(tree);
  }

  /** All paths of a tree. */
  async files(tree: string, signal: AbortSignal): Promise<string[]> {
    const args = ["--git-dir", this.#gitDir, "ls-tree", "-r", "-z", "--name-only", "--full-tree", tree];
    return checked(await this.#git(args, {}, signal))
      .split("\0")
      .filter((path) => path !== "");
  }

  /** What git ignores in the project directory, folders by their name alone; empty where git cannot tell. */
  async ignored(signal: AbortSignal): Promise<string[]> {
    const { projectDir: cwd } = this.#places;
    const args = ["ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"];
    const users = await this.#git(args, { cwd }, signal);
    // A folder without a repository of its own: its files by the tree, which the checkout has left in the index.
    const index = join(this.#places.temporary, "index");
    const own = ["--git-dir", this.#gitDir, "--work-tree", cwd, ...args];
    const listed = succeeded(users) ? users : await this.#git(own, { cwd, index }, signal);
    if (!succeeded(listed)) return [];
    return Buffer.from(listed.stdout)
      .toString("utf8")
      .split("\0")
      .map((path) => path.replace(/\/$/, ""))
      .filter((path) => path !== "" && path !== ".");
  }

  /** Copies ignored paths of the project into a checkout; says what of them is only linked, being too large. */
  bringIgnored(
    paths: readonly string[],
    folder: string,
    signal: AbortSignal,
  ): Promise<LinkedIgnored | undefined> {
    const { projectDir, environment } = this.#places;
    const root = this.#ports.disk.realPath(projectDir) ?? projectDir;
    return bringIgnored({ root, folder, paths, searchPath: searchPathOf(environment) }, this.#ports, signal);
  }

  /**
   * Writes commits with all that they need into a file that `git fetch` and `git clone` read, each under the name it is
   * given here: the names in the repository say nothing to others.
   */
  async bundle(refs: Readonly<Record<string, string>>, path: string, signal: AbortSignal): Promise<void> {
    const mine = ["--git-dir", this.#gitDir];
    const names = Object.keys(refs);
    for (const [name, commit] of Object.entries(refs))
      checked(await this.#git([...mine, "update-ref", name, commit], {}, signal));
    const create = [...mine, "bundle", "create", "--quiet", path, ...names];
    checked(await this.#git(create, { timeoutMs: BUNDLE_DEADLINE_MS }, signal));
  }

  #git(args: readonly string[], options: GitOptions, signal: AbortSignal): Promise<RunResult> {
    return runGit(args, options, this.#places, this.#ports, signal);
  }
}

interface GitOptions {
  cwd?: string;
  index?: string;
  stdin?: Uint8Array;
  timeoutMs?: number;
}

function runGit(
  args: readonly string[],
  { cwd, index, stdin, timeoutMs = DEADLINE_MS }: GitOptions,
  { temporary, environment }: Places,
  ports: KeptPorts,
  signal: AbortSignal,
): Promise<RunResult> {
  return ports.processes.run(
    {
      argv: ["git", ...HARDENED_SETTINGS, ...args],
      cwd: cwd ?? temporary,
      env: {
        ...hardenedEnvironment(searchPathOf(environment)),
        HOME: temporary,
        GIT_CONFIG_GLOBAL: "/dev/null",
        ...(index !== undefined && { GIT_INDEX_FILE: index }),
      },
      ...(stdin && { stdin }),
      timeoutMs,
      outputBytesMax: OUTPUT_BYTES_MAX,
    },
    signal,
  );
}

/** The output of a run that must have succeeded, as text without its last line end. */
function checked(run: RunResult): string {
  if (succeeded(run)) return textOf(run);
  const said = run.exit.kind === "not_started" ? run.exit.message : run.stderr.trim().slice(-2_000);
  const because = run.timedOut ? "it took too long" : run.truncated ? "it said more than omk can hold" : said;
  throw new OmkError("git.failed", `The kept trees cannot be read: git failed: ${because}`, {
    hint: "They lie in the goal's folder and in the repository it worked in; both must be where they were.",
  });
}

function damaged(tree: string): OmkError {
  return new OmkError("git.failed", `The objects of tree ${tree} are not what their names say.`, {
    hint: "The repository is damaged, or was edited: `git fsck` says where.",
  });
}
