/** The project directory a goal works in: held by one goal at a time, seen through its own private git. */
import { OmkError } from "../errors.ts";
import type { WorkTree } from "../git/work-tree.ts";
import type { HeldChain } from "../store/claim-chain.ts";
import { holdProject } from "../store/project-claim.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";

/** A held project directory. Release it at the end. */
export interface Workspace {
  tree: WorkTree;
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
  const held = already ?? (await holdProject(real, command, ports, signal));
  try {
    const tree = await ports.openWorkTree({ projectDir: real, goalDir: open.folder, goalId: open.id });
    if (tree.kind === "folder")
      ports.tell(`no git repository in ${real}: the proof will have no git evidence`);
    await assureBase(open, tree, signal);
    return { tree, release: () => held.release(true) };
  } catch (error) {
    await held.release(true);
    throw error;
  }
}

/** Before anybody is paid: without what the goal started from nothing can be compared, and no turn would count. */
async function assureBase(open: OpenGoal, tree: WorkTree, signal: AbortSignal): Promise<void> {
  const { base } = open.work;
  if (!base) return;
  try {
    await tree.files(base.tree, signal);
  } catch (cause) {
    if (!(cause instanceof OmkError) || cause.code !== "git.failed") throw cause;
    const commit = base.commit === null ? "" : ` (commit ${base.commit})`;
    const what = `What goal ${open.id} started from${commit} is not in ${tree.root} any more.`;
    const hint = `Bring the repository back as it was and run the command again, or start anew with \`omk goal run\`. Nothing was changed.`;
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
