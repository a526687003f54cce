/** Stopping a run from another process: its controller is asked, and ends what it started before it answers. */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import { chainHolder } from "../store/claim-chain.ts";
import { pendingRequests, postRequest, removeRequest } from "../store/requests.ts";
import { whileServing } from "../store/serve-requests.ts";
import { costSoFar } from "./budget.ts";
import { concludeRun } from "./conclude.ts";
import { OpenRun, type RunPorts } from "./open.ts";
import { isFinished } from "./find.ts";
import { recoverRun } from "./recover.ts";

/** How long the caller waits for the processes to be gone: agents are asked, then told, then killed. */
const GONE_MS = 30_000;
const LOOK_MS = 50;

/** A person asked another process to stop the run. */
export class ShutdownRequest extends Error {
  override readonly name = "ShutdownRequest";
}

/** Runs `work` with a signal that also fires when another process asks for a shutdown. */
export function serveShutdown<T>(
  open: OpenRun,
  ports: RunPorts,
  signal: AbortSignal,
  work: (stop: AbortSignal) => Promise<T>,
): Promise<T> {
  return whileServing(open.folder, () => applyRequests(open, ports), work, ports, signal);
}

/** Applies what waits, each request once and in the order of the log; a shutdown gives the reason to stop. */
async function applyRequests(open: OpenRun, ports: RunPorts): Promise<Error | undefined> {
  let stop: Error | undefined;
  for (const { id, kind, payload } of pendingRequests(open.folder, ports).requests) {
    if (!open.appliedRequests.has(id)) {
      const isKnown = kind === "shutdown";
      await open.record({
        kind: isKnown ? "request_applied" : "request_refused",
        actor: "scheduler",
        payload: { request_id: id, kind, ...(!isKnown && { reason: "a team run takes no such request" }) },
      });
      open.appliedRequests.add(id);
      if (isKnown) {
        ports.tell("another process asked to stop this run");
        stop = new ShutdownRequest("another process asked to stop this run");
        // Asking an agent to end its turn takes seconds that the user does not want to wait.
        if (payload["force"] === true) ports.processes.killAll();
      }
    }
    removeRequest(open.folder, id, ports);
  }
  return stop;
}

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
 * recorded. A run without a controller is stopped here: what it left is ended.
 */
export async function shutdownRun(
  name: string,
  how: { force: boolean },
  ports: RunPorts,
  signal: AbortSignal,
): Promise<ShutdownAnswer> {
  const folder = join(ports.root, "team", name);
  const chain = join(folder, "controller");
  if (chainHolder(chain, ports) === undefined) {
    throw new OmkError(
      "team.refused",
      `Team run ${name} was made by an older omk, which leaves no way to reach it.`,
      {
        hint: "If its process still runs, end it with Ctrl-C in its terminal.",
      },
    );
  }
  let asked = false;
  const until = ports.clock.monotonicMs() + GONE_MS;
  while (ports.clock.monotonicMs() < until) {
    const holder = chainHolder(chain, ports);
    if (holder?.liveness === "alive" || holder?.liveness === "unknown") {
      if (!asked) await postRequest(folder, { kind: "shutdown", payload: { force: how.force } }, ports);
      asked = true;
      await ports.clock.sleep(LOOK_MS, signal);
      continue;
    }
    const answer = await stopHere(name, asked, ports, signal);
    if (answer) return answer;
  }
  return { outcome: "recorded" };
}

/** With no controller alive this process becomes it; undefined when another one was quicker. */
async function stopHere(
  name: string,
  asked: boolean,
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
    const { phase } = open.state;
    await applyRequests(open, ports);
    const isOver = isFinished(open.state) || phase === "Shutdown";
    if (isOver && !asked) return { outcome: "finished", phase };
    if (!isOver) {
      await recoverRun(open, ports);
      await concludeRun(open, { code: "shutdown", reason: "stopped by omk team shutdown" }, ports);
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
