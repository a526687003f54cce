/** What other processes ask of a run that is being worked on: that it stops, and answers to what its agents asked. */
import { answerIn } from "../approval/book.ts";
import type { CommandRequest } from "../format/command.ts";
import { pendingRequests, removeRequest } from "../store/requests.ts";
import { whileServing } from "../store/serve-requests.ts";
import type { OpenRun, RunPorts } from "./open.ts";

/** A person asked another process to stop the run. */
export class ShutdownRequest extends Error {
  override readonly name = "ShutdownRequest";
  /** Asking agents to end their turn takes seconds that the user does not want to wait. */
  readonly force: boolean;
  constructor(force: boolean) {
    super("another process asked to stop this run");
    this.force = force;
  }
}

/** Runs `work` with a signal that also fires when another process asks for a shutdown. */
export function serveShutdown<T>(
  open: OpenRun,
  ports: RunPorts,
  signal: AbortSignal,
  work: (stop: AbortSignal) => Promise<T>,
): Promise<T> {
  const served = (stop: AbortSignal): Promise<T> => {
    // When the signal has fired everybody knows that agents end because they are ended, and not by themselves.
    const kill = () => {
      if (stop.reason instanceof ShutdownRequest && stop.reason.force) ports.processes.killAll();
    };
    stop.addEventListener("abort", kill, { once: true });
    return work(stop);
  };
  return whileServing(open.folder, () => applyRequests(open, ports), served, ports, signal);
}

/** Applies what waits, each request once and in the order of the log; a shutdown gives the reason to stop. */
export async function applyRequests(open: OpenRun, ports: RunPorts): Promise<Error | undefined> {
  let stop: ShutdownRequest | undefined;
  for (const request of pendingRequests(open.folder, ports).requests) {
    const { id, kind, payload } = request;
    if (!open.appliedRequests.has(id)) {
      const refusal = kind === "shutdown" ? undefined : await applyOther(open, request);
      if (kind === "shutdown" || refusal !== undefined) {
        await open.record({
          kind: refusal === undefined ? "request_applied" : "request_refused",
          actor: "scheduler",
          payload: { request_id: id, kind, ...(refusal !== undefined && { reason: refusal }) },
        });
      }
      open.appliedRequests.add(id);
      if (kind === "shutdown") {
        ports.tell("another process asked to stop this run");
        stop = new ShutdownRequest(payload["force"] === true || stop?.force === true);
      }
    }
    removeRequest(open.folder, id, ports);
  }
  return stop;
}

/** Applies what does not stop the run; gives the reason when it cannot be applied. */
async function applyOther(open: OpenRun, { id, kind, payload }: CommandRequest): Promise<string | undefined> {
  if (kind !== "approval_answer") return "a team run takes no such request";
  const given = answerIn(payload);
  if (!given) return "it is no answer";
  const answered = await open.approvals.answer(given.id, given.answer, id);
  return answered.outcome === "refused" ? answered.because : undefined;
}
