/** Where a sliced goal works: its private git, folders of attempts, and the folder in which the merged result is judged. */
import { OmkError } from "../errors.ts";
import { FreshFolders, type FreshFolder } from "../gate/fresh-folder.ts";
import { ReadyStage } from "../gate/ready-stage.ts";
import type { SurroundingsWatch } from "../gate/surroundings.ts";
import type { Removal } from "../git/attempt-tree.ts";
import type { PrivateGit } from "../git/private-git.ts";
import { NoRoomForResult } from "../git/result.ts";
import type { Stage } from "../git/stage.ts";
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
  /** What of the user's project reaches into the folders. */
  surroundings: Pick<SurroundingsWatch, "look" | "mark">;
}

/** The folders of a sliced goal. The stage shows nothing yet. */
export function openSlicedSpace(open: OpenGoal, git: PrivateGit, ports: GoalPorts): SlicedSpace {
  const fresh = freshFolders(open, git, ports);
  const tell = (line: string): void => ports.tell(line);
  const room = new ReadyStage(git, fresh, { tell, removed: (removal) => tellRemoval(removal, ports) });
  return {
    git,
    stage: room.stage,
    show: (commit, signal) => room.show(commit, signal),
    tidy: (signal) => room.tidy(signal),
    prepare: (folder, signal) => fresh.prepare(folder, signal),
    surroundings: fresh.surroundings,
  };
}

/** Says where a stage is that could not be taken away. */
export function tellRemoval(removal: Removal, ports: Pick<GoalPorts, "tell">): void {
  if (removal.outcome === "set_aside")
    ports.tell(`the folder in which gates ran is now ${removal.path}: ${removal.because}`);
}

/** What makes the goal's folders ready. */
function freshFolders(open: OpenGoal, git: PrivateGit, ports: GoalPorts): FreshFolders {
  return new FreshFolders(
    {
      log: {
        folder: open.folder,
        nextSeq: () => open.journal.nextSeq,
        record: (...events) => open.record(...events),
      },
      setup: () => gateSet(open.goal, open.work).setup,
      project: workTreeOf(git),
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
      ...(typeof open.goal["project_dir"] === "string" && { alsoNamed: open.goal["project_dir"] }),
      surroundings: {
        known: () => open.work.surroundings,
        record: async (surroundings) => {
          const { points_back, changed } = surroundings;
          await open.update(() => [
            {
              kind: "surroundings_found",
              actor: "goal-controller",
              payload: { points_back, changed },
              changes: [change("work.json", { surroundings })],
            },
          ]);
        },
      },
    },
    ports,
  );
}

/** The code of a goal whose folders cannot be made ready. */
export const SETUP_FAILED = "setup_failed";

/** The code of a goal whose result has no branch where it could go. */
export const RESULT_BRANCH_MOVED = "result_branch_moved";

/** The ending of a goal whose folders cannot be made ready, or whose result could go nowhere; undefined for any other failure. */
export function setupEnding(error: unknown): Ending | undefined {
  if (!(error instanceof OmkError)) return undefined;
  if (error instanceof NoRoomForResult) {
    const reason = `${error.message} ${error.hint ?? ""}`.trim();
    return { status: "blocked_on_human", reasonCode: RESULT_BRANCH_MOVED, reason };
  }
  if (error.code !== "setup.failed") return undefined;
  const again = "What [setup] says in the project by then is what holds: it may be what has to be mended.";
  const reason = `${error.message.replace(/\.$/, "")}; ${error.hint ?? ""} ${again}`;
  return { status: "failed_infra", reasonCode: SETUP_FAILED, reason };
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
