/** What every command that changes a goal does around its work: finding the goal, control over it, and its directory. */
import { OmkError } from "../errors.ts";
import { recoverGoal } from "./drive.ts";
import { isStop, stopEnding } from "./endings.ts";
import { findGoal } from "./find.ts";
import { OpenGoal, type GoalPorts } from "./open.ts";
import type { Ending } from "./proof.ts";
import { applyRequests, serveRequests } from "./requests.ts";
import { setupEnding } from "./sliced-space.ts";
import { openWorkspace, projectDirOf, type Workspace } from "./workspace.ts";

/** How a goal stands after a command. */
export interface Outcome {
  open: OpenGoal;
  ending: Ending;
  /** What the command itself was about, e.g. that the gates passed. */
  achieved: boolean;
  /** Nothing was done: the goal no longer stood as the request expected. */
  isUntouched?: true;
}

/**
 * Finds a goal by what a person calls it, takes control of it, and brings it to where its log says it stands. `refuse`
 * throws what keeps the caller from that.
 */
export async function withGoal<T>(
  wanted: string,
  command: string,
  ports: GoalPorts,
  signal: AbortSignal,
  act: (open: OpenGoal) => Promise<T>,
  { refuse }: { refuse?: (folder: string) => void } = {},
): Promise<T> {
  const found = findGoal(ports.root, wanted, ports);
  refuse?.(found.folder);
  // Before it is opened: without the project nothing can be done there.
  projectDirOf(found.id, found.record);
  const open = await OpenGoal.open(found.id, found.folder, command, ports, signal);
  try {
    await applyRequests(open, ports);
    await recoverGoal(open, ports);
    return await act(open);
  } finally {
    await open.close();
  }
}

/** Holds the project directory for as long as somebody works in it. */
export async function withWorkspace<T>(
  open: OpenGoal,
  command: string,
  ports: GoalPorts,
  signal: AbortSignal,
  work: (space: Workspace) => Promise<T>,
): Promise<T> {
  const space = await openWorkspace(open, { command }, ports, signal);
  try {
    return await work(space);
  } finally {
    await space.release();
  }
}

/** The work with a signal that also fires when somebody asks for a pause or the end; then that is the ending. */
export function stoppable(
  open: OpenGoal,
  ports: GoalPorts,
  signal: AbortSignal,
  work: (stop: AbortSignal) => Promise<Ending | undefined>,
): Promise<Ending | undefined> {
  return serveRequests(open, ports, signal, async (stop) => {
    try {
      return await work(stop);
    } catch (error) {
      // What had been recorded stays.
      if (isStop(error, stop)) return stopEnding(stop);
      const unready = setupEnding(error);
      if (unready) return unready;
      throw error;
    }
  });
}

/** A command that does not fit how the goal stands. */
export function refused(id: string, command: string, status: string, hint: string): OmkError {
  return new OmkError("goal.refused", `${command} is refused: goal ${id} is ${status}.`, { hint });
}
