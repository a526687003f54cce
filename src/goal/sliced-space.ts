/** Where a sliced goal works: its private git, folders of attempts, and the folder in which the merged result is judged. */
import { OmkError } from "../errors.ts";
import { named } from "../format/named.ts";
import { FreshFolders, type FreshFolder } from "../gate/fresh-folder.ts";
import type { GateSubject } from "../gate/steps.ts";
import type { PrivateGit } from "../git/private-git.ts";
import { openStage, type Stage } from "../git/stage.ts";
import { workTreeOf } from "../git/work-tree.ts";
import { gateSet } from "./candidates.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";
import type { Workspace } from "./workspace.ts";

/** What a workspace has besides where attempts have folders of their own. */
export interface SlicedSpace {
  git: PrivateGit;
  /** Shows one commit at a time: the base, then the merged result. The workspace's `tree` looks at it. */
  stage: Stage;
  /**
   * Makes the stage show a commit and sets it up for gates and readers; nothing to do where it shows that already.
   * `setup.failed` when the goal's own set-up fails.
   */
  show(commit: string, signal: AbortSignal): Promise<void>;
  /** Makes the stage anew where gates or readers have changed a file in it: what they left is nobody's work. */
  tidy(signal: AbortSignal): Promise<void>;
  /** Makes a fresh folder ready for work as the goal's gates want it: `[setup]`, else what git ignores in the project. */
  prepare(folder: FreshFolder, signal: AbortSignal): Promise<void>;
}

/** The folders of a sliced goal. The stage shows nothing yet. */
export function openSlicedSpace(open: OpenGoal, git: PrivateGit, ports: GoalPorts): SlicedSpace {
  return new Folders(open, git, ports);
}

class Folders implements SlicedSpace {
  readonly git: PrivateGit;
  readonly stage: Stage;
  readonly #fresh: FreshFolders;
  readonly #ports: GoalPorts;
  /** The files of the stage when it was ready, with what its set-up wrote. */
  #ready: { commit: string; tree: string } | undefined;

  constructor(open: OpenGoal, git: PrivateGit, ports: GoalPorts) {
    this.git = git;
    this.stage = openStage(git);
    this.#fresh = freshFolders(open, git, ports);
    this.#ports = ports;
  }

  async show(commit: string, signal: AbortSignal): Promise<void> {
    if (this.#ready?.commit === commit && this.stage.commit === commit) return;
    this.#ready = undefined;
    // A set-up that failed half-way leaves nothing to build upon.
    this.stage.forget();
    const removal = await this.stage.show(commit, signal);
    if (removal.outcome === "set_aside")
      this.#ports.tell(`the folder in which gates ran is now ${removal.path}: ${removal.because}`);
    const { root } = this.stage;
    const tree = await this.git.projectIn(await this.git.treeOf(commit, signal), signal);
    await this.prepare({ cwd: root, tree, name: "stage" }, signal);
    const ready = await this.stage.snapshot(signal);
    if (ready !== tree) {
      const paths = (await this.stage.changes(tree, ready, signal)).map(({ path }) => path);
      this.#ports.tell(
        `set-up writes files that git does not ignore, and they are left out: ${named(paths)}`,
      );
    }
    this.#ready = { commit, tree: ready };
  }

  async tidy(signal: AbortSignal): Promise<void> {
    const ready = this.#ready;
    if (!ready || (await this.stage.snapshot(signal)) === ready.tree) return;
    this.stage.forget();
    await this.show(ready.commit, signal);
  }

  prepare(folder: FreshFolder, signal: AbortSignal): Promise<void> {
    return this.#fresh.prepare(folder, signal);
  }
}

/** What makes the goal's folders ready. Its commands are no gates: they are compared with nothing. */
function freshFolders(open: OpenGoal, git: PrivateGit, ports: GoalPorts): FreshFolders {
  const project = workTreeOf(git);
  const subject: GateSubject = {
    folder: open.folder,
    definitions: [],
    base: undefined,
    baseline: [],
    nextSeq: () => open.journal.nextSeq,
    record: (...events) => open.record(...events),
    tree: project,
  };
  return new FreshFolders(
    {
      subject,
      setup: () => gateSet(open.goal, open.work).setup,
      project,
      searchPath: git.searchPath,
      resume: `omk goal resume ${open.id}`,
      recordRun: async (prepared, logs) => {
        await open.update(() => [
          {
            kind: "folder_prepared",
            actor: "goal-controller",
            payload: { ...prepared },
            changes: [change("work.json", { evidence: [...open.work.evidence, ...logs] })],
          },
        ]);
      },
    },
    ports,
  );
}

/** The ending of a goal whose folders cannot be made ready; undefined for any other failure. */
export function setupEnding(error: unknown): Ending | undefined {
  if (!(error instanceof OmkError) || error.code !== "setup.failed") return undefined;
  const reason = `${error.message.replace(/\.$/, "")}; ${error.hint ?? ""}`;
  return { status: "failed_infra", reasonCode: "setup_failed", reason };
}

/** A workspace in which attempts have folders of their own. */
export type SlicedWorkspace = Workspace & { sliced: SlicedSpace };

/** The workspace of a goal whose attempts work in folders of their own. */
export function slicedSpace(space: Workspace): SlicedWorkspace {
  if (isSlicedSpace(space)) return space;
  throw new Error("This goal is worked on in place.");
}

function isSlicedSpace(space: Workspace): space is SlicedWorkspace {
  return space.sliced !== undefined;
}

/** Shows a sliced goal where it is judged: its base before any work, later the merged result. In place there is nothing to do. */
export async function showResult(
  { work }: Pick<OpenGoal, "work">,
  { sliced }: Workspace,
  signal: AbortSignal,
): Promise<void> {
  if (sliced && work.slices) await sliced.show(work.slices.head, signal);
}
