/** Goals that a controller left behind: `running`, and nobody runs them. They are found and continued one after another. */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import { chainHolder, type ChainHolder, type ChainPorts } from "../store/claim-chain.ts";
import { untoldFailure } from "../store/files.ts";
import { resumeGoal, type ResumeRequest } from "./resume.ts";
import type { Outcome } from "./with-goal.ts";
import { listGoals, type GoalSummary } from "./find.ts";
import type { GoalPorts } from "./open.ts";
import type { Ending } from "./proof.ts";

/** A goal that is `running` while its controller is gone. */
export interface Orphan {
  id: string;
  /** The controller that died; null where none is known, or it let go of the goal in good order. */
  pid: number | null;
  updatedAt: string;
}

/** What a look at all goals finds, oldest goal first. */
export interface Orphans {
  orphans: Orphan[];
  /** Goals that cannot be told to be orphans, each with the reason in words: nobody here continues them. */
  unjudged: { id: string; because: string }[];
}

/** Finds the orphans among all goals. Writes nothing. */
export function findOrphans(root: string, ports: Pick<ChainPorts, "disk" | "processes">): Orphans {
  const { goals, unreadable } = listGoals(root, ports);
  const found: Orphans = { orphans: [], unjudged: unreadable };
  for (const goal of goals.toReversed()) {
    if (goal.status !== "running") continue;
    let holder: ChainHolder | undefined;
    try {
      holder = chainHolder(join(goal.folder, "controller"), ports);
    } catch (error) {
      if (!(error instanceof OmkError)) throw error;
      found.unjudged.push({ id: goal.id, because: error.message });
      continue;
    }
    if (holder?.liveness === "alive") continue;
    if (holder?.liveness === "unknown") {
      const { pid, host } = holder.record.holder;
      const because = `process ${pid} on ${host} may still work on it, which cannot be seen from here`;
      found.unjudged.push({ id: goal.id, because });
    } else found.orphans.push(orphanOf(goal, holder));
  }
  return found;
}

function orphanOf({ id, updatedAt }: GoalSummary, holder: ChainHolder | undefined): Orphan {
  return { id, updatedAt, pid: holder?.liveness === "dead" ? holder.record.holder.pid : null };
}

/** What became of an orphan: where it stands, that another process had it by then, or why it could not be continued. */
export type Continued = { id: string } & (
  | { kind: "resumed"; ending: Ending; untilReady: boolean; achieved: boolean }
  | { kind: "moved_on"; ending: Ending }
  | { kind: "failed"; error: OmkError }
);

/**
 * Continues orphans one after another, each in its own project directory, and tells of each as it ends. What keeps one from
 * going on is told and keeps none of the others; only a stop by the user leaves the rest as they are.
 */
export async function resumeOrphans(
  orphans: readonly Orphan[],
  request: Omit<ResumeRequest, "wanted" | "onlyRunning">,
  ports: GoalPorts,
  signal: AbortSignal,
  { begun, ended }: { begun: (id: string) => void; ended: (one: Continued) => void },
): Promise<Continued[]> {
  const all: Continued[] = [];
  for (const { id } of orphans) {
    if (signal.aborted) break;
    begun(id);
    const one = await resumeOne(id, request, ports, signal);
    all.push(one);
    ended(one);
  }
  return all;
}

async function resumeOne(
  id: string,
  request: Omit<ResumeRequest, "wanted" | "onlyRunning">,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Continued> {
  let outcome: Outcome;
  try {
    outcome = await resumeGoal({ ...request, wanted: id, onlyRunning: true }, ports, signal);
  } catch (error) {
    const told = error instanceof OmkError ? error : untoldFailure(error);
    // A defect of ours is no property of this goal.
    if (!told || error === signal.reason) throw error;
    return { id, kind: "failed", error: told };
  }
  const { open, ending, achieved, isUntouched } = outcome;
  if (isUntouched) return { id, kind: "moved_on", ending };
  return { id, kind: "resumed", ending, untilReady: open.goal.until_ready, achieved };
}
