/** The project directory a goal works in: held by one goal at a time, seen through its own private git. */
import { OmkError, systemCode } from "../errors.ts";
import { requireGit } from "../git/version.ts";
import type { WorkTree } from "../git/work-tree.ts";
import type { HeldChain } from "../store/claim-chain.ts";
import { holdProject } from "../store/project-claim.ts";
import { recoverWorktrees } from "./left-worktrees.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";
import { isSliced } from "./sliced.ts";
import { openSlicedSpace, tellRemoval, type SlicedSpace } from "./sliced-space.ts";

/** A held project directory. Release it at the end. */
export interface Workspace {
  /** The project itself or, for a sliced goal, the folder that shows its base and then its merged result. */
  tree: WorkTree;
  /** Where attempts have folders of their own; absent where work is in place. */
  sliced?: SlicedSpace;
  release(): Promise<void>;
}

/** Takes the project directory of a goal, unless the caller holds it already; `state.busy` while another goal or run works in it. */
export async function openWorkspace(
  open: OpenGoal,
  { command, held: already }: { command: string; held?: HeldChain | undefined },
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Workspace> {
  const projectDir = projectDirOf(open.id, open.goal);
  const real = ports.disk.realPath(projectDir);
  if (real === undefined || ports.disk.stat(real)?.kind !== "folder") {
    throw new OmkError(
      "state.io",
      `The project directory ${projectDir} of goal ${open.id} is not there any more.`,
      {
        hint: "Put it back, or cancel the goal with `omk goal cancel`.",
      },
    );
  }
  // What the caller holds, the caller lets go of.
  const held = already ? undefined : await holdProject(real, command, ports, signal);
  const letGo = async (): Promise<void> => held?.release(true);
  try {
    const request = { projectDir: real, goalDir: open.folder, goalId: open.id };
    const sliced = isSliced(open.goal)
      ? openSlicedSpace(open, await ports.openGit(request), ports)
      : undefined;
    if (sliced) await requireGit(sliced.git, signal);
    const tree = sliced?.stage ?? (await ports.openWorkTree(request));
    if (tree.kind === "folder")
      ports.tell(`no git repository in ${real}: the proof will have no git evidence`);
    await assureBase(open, { tree, real }, signal);
    if (!sliced) return { tree, release: letGo };
    await recoverWorktrees(open, sliced.git, ports);
    const release = async (): Promise<void> => {
      try {
        putAway(sliced, ports);
      } finally {
        await letGo();
      }
    };
    return { tree, sliced, release };
  } catch (error) {
    await letGo();
    throw error;
  }
}

/** The stage can always be made again. */
function putAway({ stage }: SlicedSpace, ports: GoalPorts): void {
  try {
    tellRemoval(stage.remove(), ports);
  } catch (error) {
    // How the work ended is to be heard; the next command makes the folder anew.
    if (systemCode(error) === undefined) throw error;
    ports.tell(`the folder in which gates ran is still there: ${(error as Error).message}`);
  }
}

/** Before anybody is paid: without what the goal started from nothing can be compared, and no turn would count. */
async function assureBase(
  open: OpenGoal,
  { tree, real }: { tree: WorkTree; real: string },
  signal: AbortSignal,
): Promise<void> {
  const { base, slices } = open.work;
  if (!base) return;
  try {
    await tree.files(base.tree, signal);
    if (slices) await tree.files(slices.head, signal);
  } catch (cause) {
    if (!(cause instanceof OmkError) || cause.code !== "git.failed") throw cause;
    const commit = base.commit === null ? "" : ` (commit ${base.commit})`;
    const what = slices
      ? `What goal ${open.id} started from${commit}, or what has landed since (${slices.head}), is not there any more: neither ${real} nor omk's own git directory of the goal has it.`
      : `What goal ${open.id} started from${commit} is not in ${real} any more.`;
    const hint = `Bring the repository back as it was and run the command again, or start anew with \`omk goal run\`. Nothing was changed; what was rescued of attempts is in \`omk rescue list --goal ${open.id}\`.`;
    throw new OmkError("git.failed", what, { cause, hint });
  }
}

/** The directory recorded at creation; goals of 0.5.0 have none, and are refused before anything is written. */
export function projectDirOf(id: string, record: Readonly<Record<string, unknown>>): string {
  const { project_dir: recorded } = record;
  if (typeof recorded === "string") return recorded;
  throw new OmkError("goal.refused", `Goal ${id} does not say which project directory it belongs to.`, {
    hint: "It was made by an older omk. Start it anew with `omk goal run` in the project's folder.",
  });
}
