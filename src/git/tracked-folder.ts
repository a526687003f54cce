/** A folder whose content becomes trees of a private git directory, at the cost of what changed since the last time. */
import { dirname, join } from "node:path";

import { OmkError } from "../errors.ts";
import { sha256 } from "../store/event-line.ts";
import { GITLINK, splitNul, succeeded, textOf, type PrivateGit } from "./private-git.ts";

/** Files change while they are read (an agent's last child, an editor): git stops then, and a second look succeeds. */
const SNAPSHOT_TRIES = 3;
const NUL = Buffer.of(0);
const SLASH = 0x2f;

/** What is looked at, and from what the first look starts. */
export interface Tracking {
  git: PrivateGit;
  /** The work tree whose paths the trees have. */
  top: string;
  /** The part of it that is looked at, with a slash at its end, or nothing. */
  prefix: string;
  /** Where the index of the latest look is kept. */
  latest: string;
  /** Puts what is tracked from the start into an index. */
  seed: (index: string, signal: AbortSignal) => Promise<void>;
  /** Paths that count although an ignore rule matches them, as bytes; those that are not there are passed by. */
  alsoTracked?: (index: string, signal: AbortSignal) => Promise<Buffer[]>;
  /** A repository inside that is not checked out here has not been removed. */
  leavesRepositories?: true;
}

/** One process at a time looks at a folder through one of these. */
export class TrackedFolder {
  readonly #given: Tracking;
  readonly #git: PrivateGit;
  /** Of the index as this process wrote it last. */
  #indexDigest: string | undefined;
  /** Looks come one after another: each starts from what the one before has left. */
  #latest: Promise<unknown> = Promise.resolve();

  constructor(given: Tracking) {
    this.#given = given;
    this.#git = given.git;
  }

  /** Trusts the index at `latest` as it is now: we have just written it. */
  trustIndex(): void {
    this.#indexDigest = this.#digestOf(this.#given.latest);
  }

  /** The folder as it is now, as a tree of the whole work tree. */
  snapshot(signal: AbortSignal): Promise<string> {
    const look = this.#latest.then(() => this.#snapshot(signal));
    // Whoever asked learns of a failure; the next look has its own.
    this.#latest = look.catch(() => undefined);
    return look;
  }

  async #snapshot(signal: AbortSignal): Promise<string> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#snapshotOnce(signal);
      } catch (error) {
        if (tries === SNAPSHOT_TRIES || !(error instanceof OmkError) || isTimedOut(error)) throw error;
        // It only saves time; a damaged one must not fail every snapshot from now on.
        this.#git.dropIndex(this.#given.latest);
      }
    }
  }

  async #snapshotOnce(signal: AbortSignal): Promise<string> {
    const { disk } = this.#git.ports;
    const { latest, seed } = this.#given;
    const index = this.#git.temporaryIndex();
    await this.#git.steered();
    const restored = this.#git.restorations;
    try {
      // A second name, not a copy: by the file's own time git knows which entries it must look at again.
      // An agent can reach it too: one entry marked there as not to be looked at would hide a file from every snapshot.
      if (disk.stat(latest) && this.#digestOf(latest) !== this.#indexDigest) this.#git.dropIndex(latest);
      if (disk.stat(latest)) disk.link(latest, index);
      else await seed(index, signal);
      await this.#updateIndex(index, signal);
      const tree = textOf(await this.#git.call(["write-tree"], { index }, signal));
      await this.#assureUnmoved(restored);
      if (disk.stat(index)) disk.rename(index, latest); // without a single file there is none
      this.#indexDigest = disk.stat(latest) ? this.#digestOf(latest) : undefined;
      return tree;
    } finally {
      this.#git.dropIndex(index);
    }
  }

  /** What git saw while somebody else steered it is no look at all, and its index would remember it. */
  async #assureUnmoved(restored: number): Promise<void> {
    await this.#git.steered();
    if (this.#git.restorations === restored) return;
    throw new OmkError("git.failed", "Somebody changes omk's own git directory while files are looked at.", {
      hint: `End whatever writes to ${this.#git.gitDir}, then run the command again.`,
    });
  }

  #digestOf(path: string): string {
    return sha256(this.#git.ports.disk.readFile(path));
  }

  /** Brings an index to what lies in the folder now. */
  async #updateIndex(index: string, signal: AbortSignal): Promise<void> {
    const { top: workTree, prefix } = this.#given;
    const scope = prefix === "" ? [] : ["--", prefix];
    const options = { index, workTree, cwd: workTree };
    const call = (args: string[], stdin?: Buffer) =>
      this.#git.call(args, { ...options, ...(stdin && { stdin }) }, signal);
    // It ends with 1 when something needs an update, which is what the next commands find out.
    await this.#git.run(["update-index", "-q", "--refresh"], options, signal);
    const differs = ["diff-files", "-z", "--raw", "--no-abbrev", "--ignore-submodules=dirty", ...scope];
    const tracked = splitNul(await call(differs));
    const untracked = splitNul(await call(["ls-files", "-z", "--others", "--exclude-standard", ...scope]));

    const removed: Buffer[] = [];
    const present: Buffer[] = [];
    for (let at = 0; at + 1 < tracked.length; at += 2) {
      const path = tracked[at + 1] as Buffer;
      const [mode, , , , status] = String(tracked[at]).slice(1).split(" ");
      if (status === "D" && mode === GITLINK && this.#given.leavesRepositories === true) continue;
      // A pipe or socket in place of a file: git knows neither, so the file is gone.
      const isGone =
        status === "D" || this.#git.ports.disk.stat(join(workTree, String(path)))?.kind === "other";
      (isGone ? removed : present).push(path);
    }
    const repositories = untracked
      .filter((path) => path.at(-1) === SLASH)
      .map((path) => path.subarray(0, -1));
    present.push(...untracked.filter((path) => path.at(-1) !== SLASH));
    const also = (await this.#given.alsoTracked?.(index, signal)) ?? [];
    present.push(...also.filter((path) => this.#isFile(String(path))));

    // Removals first: a file may have become a folder.
    if (removed.length > 0) {
      const stdin = Buffer.concat(removed.flatMap((path) => [path, NUL]));
      await call(["update-index", "-z", "--force-remove", "--stdin"], stdin);
    }
    const add = ["update-index", "-z", "--add", "--remove", "--replace", "--stdin"];
    if (present.length > 0) await call(add, Buffer.concat(present.flatMap((path) => [path, NUL])));
    for (const path of repositories) {
      const stdin = Buffer.concat([path, NUL]);
      if (succeeded(await this.#git.run(add, { ...options, stdin }, signal))) continue;
      // A repository without a commit has nothing that an entry could name, but it must not go unseen.
      const entry = `${GITLINK} ${await this.#git.emptyTree(signal)}\t`;
      await call(["update-index", "-z", "--index-info"], Buffer.concat([Buffer.from(entry), path, NUL]));
    }
  }

  /** Whether a file or link lies there, with real folders all the way. */
  #isFile(path: string): boolean {
    const { disk } = this.#git.ports;
    for (let above = dirname(path); above !== "."; above = dirname(above))
      if (disk.stat(join(this.#given.top, above))?.kind !== "folder") return false;
    const kind = disk.stat(join(this.#given.top, path))?.kind;
    return kind === "file" || kind === "link";
  }
}

/** What hung once hangs again (a named pipe as `.gitignore`, say). */
function isTimedOut(error: OmkError): boolean {
  return error.cause instanceof Error && error.cause.name === "TimeoutError";
}
