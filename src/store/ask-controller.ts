/** Asking the controller of a goal or a run for something, or applying it here when there is none. */
import { OmkError } from "../errors.ts";
import type { CommandRequest } from "../format/command.ts";
import type { Event } from "../format/event.ts";
import type { Clock, Disk } from "../ports.ts";
import type { FilePorts } from "./files.ts";
import { findEvents, logPath } from "./journal.ts";
import type { LogPlace } from "./log-reader.ts";
import { postRequest, requestTaken } from "./requests.ts";

/**
 * Refuses a person's decision that comes from an agent of the very goal or run: whoever asks must not answer. It keeps honest
 * agents honest; one that clears its environment is the sandbox's business.
 */
export function refuseOwnAgent(
  folder: string,
  what: string,
  { spawnChain = [], ...ports }: { disk: Disk; spawnChain?: readonly string[] },
): void {
  if (spawnChain.length === 0) return;
  let isOwn = false;
  findEvents(folder, spawnChain, ports, ({ payload }) => {
    isOwn ||= typeof payload?.["spawn_id"] === "string" && spawnChain.includes(payload["spawn_id"]);
  });
  if (!isOwn) return;
  throw new OmkError("approval.refused", `${what} is refused: it comes from an agent that works on this.`, {
    hint: "A person decides that, in a terminal of his own.",
  });
}

/** How long a caller waits to be told what became of its request. */
const ANSWER_MS = 10_000;
/** How often it looks whether the controller has gone without answering: then it applies the request itself. */
const TAKEOVER_MS = 500;

/** What became of a request. `recorded`: it will be applied, and has not been yet. */
export type Asked = { outcome: "applied" | "recorded" } | { outcome: "refused"; because: string };

/**
 * Records a request and waits until it is applied. `applyHere` takes control and applies what waits; it resolves to false
 * while another process has control.
 */
export async function askController(
  folder: string,
  request: { kind: CommandRequest["kind"]; payload?: Record<string, unknown> },
  applyHere: () => Promise<boolean>,
  ports: FilePorts & { clock: Clock },
  signal: AbortSignal,
): Promise<Asked> {
  const from = { seq: 0, bytes: ports.disk.stat(logPath(folder, ports))?.size ?? 0 };
  const id = await postRequest(folder, request, ports);
  const until = ports.clock.monotonicMs() + ANSWER_MS;
  try {
    while (!(await applyHere())) {
      // Its controller lives, and will apply the request or go.
      if (await requestTaken(folder, id, TAKEOVER_MS, ports, signal)) break;
      if (ports.clock.monotonicMs() >= until) return { outcome: "recorded" };
    }
  } catch (error) {
    // Nobody waits any more; the request is recorded all the same.
    if (signal.aborted && error === signal.reason) return { outcome: "recorded" };
    throw error;
  }
  // Its answer lies behind what was there before, unless the log was cut back meanwhile.
  const answer = answerIn(folder, id, from, ports) ?? answerIn(folder, id, undefined, ports);
  return answer?.kind === "request_refused"
    ? { outcome: "refused", because: String(answer.payload?.["reason"]) }
    : { outcome: "applied" };
}

/** The event that says what became of a request. */
function answerIn(
  folder: string,
  id: string,
  from: LogPlace | undefined,
  ports: { disk: Disk },
): Event | undefined {
  let answer: Event | undefined;
  const take = (event: Event): void => {
    if (event.payload?.["request_id"] === id && answer?.kind !== "request_refused") answer = event;
  };
  findEvents(folder, [id], ports, take, from);
  return answer;
}
