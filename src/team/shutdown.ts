/** Stopping a run from another process: its controller is asked, and ends what it started before it answers. */
import { OmkError } from "../errors.ts";
import { holdProject, letGo } from "../store/project-claim.ts";
import { postRequest } from "../store/requests.ts";
import { costSoFar } from "./budget.ts";
import { findTeam, isFinished, resumableTeam } from "./find.ts";
import { OpenRun, type RunPorts } from "./open.ts";
import { applyRequests } from "./requests.ts";
import { endOrphan } from "./steps.ts";

/** How long the caller waits for the processes to be gone: agents are asked, then told, then killed. */
const GONE_MS = 30_000;
const LOOK_MS = 50;

/** What became of asking a run to stop. */
export type ShutdownAnswer =
  /** Nothing of it runs any more. What it has cost is what its agents reported. */
  | { outcome: "stopped"; phase: string; workers: number; seconds: number; tokens: number; usd: number }
  /** It had ended before: nothing was done and nothing written. */
  | { outcome: "finished"; phase: string }
  /** Its controller has not answered yet; the request stays. */
  | { outcome: "recorded" };

/**
 * Stops a run and resolves when its processes are gone. A controller that does not answer within 30 s leaves the request
 * recorded. A run without a controller is stopped here, as its controller would have done it.
 */
export async function shutdownRun(
  wanted: string,
  how: { force: boolean },
  ports: RunPorts,
  signal: AbortSignal,
): Promise<ShutdownAnswer> {
  let asked = false;
  const until = ports.clock.monotonicMs() + GONE_MS;
  while (ports.clock.monotonicMs() < until) {
    const team = findTeam(ports.root, wanted, ports);
    if (team.controller === "alive" || team.controller === "unknown") {
      if (!asked) await postRequest(team.folder, { kind: "shutdown", payload: { force: how.force } }, ports);
      asked = true;
      await ports.clock.sleep(LOOK_MS, signal);
      continue;
    }
    // A look is enough for what has ended: nothing writes to it any more.
    if (!asked && (isFinished(team) || team.phase === "Shutdown"))
      return { outcome: "finished", phase: team.phase };
    resumableTeam(ports.root, wanted, ports);
    const answer = await stopHere(team.name, ports, signal);
    if (answer) return answer;
  }
  return { outcome: "recorded" };
}

/** With no controller alive this process becomes it; undefined when another one was quicker. */
async function stopHere(
  name: string,
  ports: RunPorts,
  signal: AbortSignal,
): Promise<ShutdownAnswer | undefined> {
  let open: OpenRun;
  try {
    open = await OpenRun.open(name, "team shutdown", ports, signal);
  } catch (error) {
    if (error instanceof OmkError && error.code === "state.busy") return undefined;
    throw error;
  }
  try {
    const isOver = isFinished(open.state) || open.state.phase === "Shutdown";
    if (!isOver) {
      await applyRequests(open, ports);
      const held = await holdProject(open.work.project_dir, "team shutdown", ports, signal);
      try {
        await endOrphan(open, { code: "shutdown", reason: "stopped by omk team shutdown" }, ports);
      } finally {
        await letGo(held);
      }
    }
    const { tokens, usd } = costSoFar(open.work, open.attempts);
    return {
      outcome: "stopped",
      phase: open.state.phase,
      workers: open.state.worker_count,
      seconds: Math.round(open.work.active_ms / 1_000),
      tokens,
      usd,
    };
  } finally {
    await open.close();
  }
}
