/** The folder in which a merged result is judged and read: made for one commit at a time, and made ready for that. */
import { named } from "../format/named.ts";
import type { Removal } from "../git/attempt-tree.ts";
import type { PrivateGit } from "../git/private-git.ts";
import { openStage, type Stage } from "../git/stage.ts";
import type { FreshFolders } from "./fresh-folder.ts";

/** What becomes of what is not as it should be. */
interface Notices {
  tell(line: string): void;
  /** What was in the place of the folder could not be taken away. */
  removed(removal: Removal): void | Promise<void>;
}

/** The stage of a goal or run, made ready; one at a time makes use of it. */
export class ReadyStage {
  readonly stage: Stage;
  readonly #git: PrivateGit;
  readonly #fresh: FreshFolders;
  readonly #notices: Notices;
  /** The files of the stage when it was ready, with what its set-up wrote. */
  #ready: { commit: string; tree: string } | undefined;

  constructor(git: PrivateGit, fresh: FreshFolders, notices: Notices) {
    this.stage = openStage(git);
    this.#git = git;
    this.#fresh = fresh;
    this.#notices = notices;
  }

  /** Makes it show a commit, ready for gates and readers; nothing to do where it shows that already. */
  async show(commit: string, signal: AbortSignal): Promise<void> {
    if (this.#ready?.commit === commit && this.stage.commit === commit) return;
    this.#ready = undefined;
    // A set-up that failed half-way leaves nothing to build upon.
    this.stage.forget();
    await this.#notices.removed(await this.stage.show(commit, signal));
    const tree = await this.#git.projectIn(await this.#git.treeOf(commit, signal), signal);
    const folder = { cwd: this.stage.root, tree, name: "stage", decides: true };
    await this.#fresh.prepare(folder, signal);
    const ready = await this.stage.snapshot(signal);
    if (ready !== tree) {
      const paths = (await this.stage.changes(tree, ready, signal)).map(({ path }) => path);
      this.#notices.tell(
        `set-up writes files that git does not ignore, and they are left out: ${named(paths)}`,
      );
    }
    this.#ready = { commit, tree: ready };
  }

  /** Makes it anew where gates or readers have changed a file in it: what they left is nobody's work. */
  async tidy(signal: AbortSignal): Promise<void> {
    const ready = this.#ready;
    if (!ready || (await this.stage.snapshot(signal)) === ready.tree) return;
    this.stage.forget();
    await this.show(ready.commit, signal);
  }
}
