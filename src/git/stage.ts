/**
 * A folder that shows one commit at a time, for gates and readers: no agent's work is ever in it, so it is made anew for each
 * commit, and what gates and readers leave there goes with it.
 */
import { join } from "node:path";

import { makeRepository, putAway, type Removal } from "./attempt-tree.ts";
import type { PrivateGit } from "./private-git.ts";
import { TrackedFolder } from "./tracked-folder.ts";
import { FolderTree, type LookedAt, type WorkTree } from "./work-tree.ts";

/** The folder, seen as a work tree whose trees are those of the project. */
export interface Stage extends WorkTree {
  /** What it shows; undefined before the first, and when it is to be made anew. */
  readonly commit: string | undefined;
  /**
   * Shows a commit: afterwards the folder holds exactly its files, in a repository of its own. Nothing to do where it shows
   * that already. Says what became of the folder that was there.
   */
  show(commit: string, signal: AbortSignal): Promise<Removal>;
  /** From now on it shows nothing, whatever lies there. */
  forget(): void;
  /** Takes the folder away. */
  remove(): Removal;
}

/** The branch that is checked out there, for programs that ask. */
const BRANCH = "omk/stage";
const REMOVED: Removal = { outcome: "removed" };

/** The stage of a goal, `<goal>/stage`, of which one process makes use at a time. It shows nothing yet. */
export function openStage(git: PrivateGit): Stage {
  return new StageTree(git, new StageFiles(git));
}

class StageTree extends FolderTree implements Stage {
  readonly #stage: StageFiles;

  constructor(git: PrivateGit, files: StageFiles) {
    super(git, files);
    this.#stage = files;
  }

  get commit(): string | undefined {
    return this.#stage.shown?.commit;
  }

  show(commit: string, signal: AbortSignal): Promise<Removal> {
    return this.commit === commit ? Promise.resolve(REMOVED) : this.#stage.show(commit, signal);
  }

  forget(): void {
    this.#stage.shown = undefined;
  }

  remove(): Removal {
    return this.#stage.remove();
  }
}

/** The folder itself. */
class StageFiles implements LookedAt {
  readonly top: string;
  readonly latest: string;
  readonly #git: PrivateGit;
  /** The commit and the look at it; what lies there while this is undefined counts for nothing. */
  shown: { commit: string; tracked: TrackedFolder } | undefined;

  constructor(git: PrivateGit) {
    this.#git = git;
    this.top = join(git.goalDir, "stage");
    this.latest = join(git.gitDir, "stage.index");
  }

  /** Nobody else has anything to do with it. */
  position(): Promise<string> {
    return Promise.resolve("stage");
  }

  snapshot(signal: AbortSignal): Promise<string> {
    if (!this.shown)
      return Promise.reject(new Error("The stage shows no commit, so there is nothing in it."));
    return this.shown.tracked.snapshot(signal);
  }

  async show(commit: string, signal: AbortSignal): Promise<Removal> {
    const git = this.#git;
    const { disk } = git.ports;
    const { top, latest: index } = this;
    const removal = this.remove();
    disk.makeFolder(top);
    await git.call(["read-tree", "-m", "-u", commit], { index, workTree: top, cwd: top }, signal);
    // A commit without a single file leaves no index behind.
    if (!disk.stat(index)) await git.call(["read-tree", "--empty"], { index }, signal);
    makeRepository(git, top, { branch: BRANCH, base: commit, index });
    this.#makeProject();
    const { prefix } = git;
    const tracked = new TrackedFolder({
      git,
      top,
      prefix,
      latest: index,
      seed: async (fresh, until) => {
        await git.call(["read-tree", commit], { index: fresh }, until);
      },
      leavesRepositories: true,
    });
    tracked.trustIndex();
    this.shown = { commit, tracked };
    return removal;
  }

  remove(): Removal {
    this.shown = undefined;
    this.#git.dropIndex(this.latest);
    return this.#git.ports.disk.stat(this.top) ? putAway(this.#git, this.top) : REMOVED;
  }

  /** A project below the top of its repository is a folder also where the commit has no file in it. */
  #makeProject(): void {
    const { disk } = this.#git.ports;
    let at = this.top;
    for (const name of this.#git.prefix.split("/").filter(Boolean)) {
      at = join(at, name);
      if (!disk.stat(at)) disk.makeFolder(at);
    }
  }
}
