/** Asking something of a goal: whoever drives it applies the request, or this process when nobody does. */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import type { CommandRequest } from "../format/command.ts";
import { renderDocument } from "../format/json.ts";
import { chainHolder } from "../store/claim-chain.ts";
import { foldFolder } from "../store/journal.ts";
import { postRequest, requestTaken } from "../store/requests.ts";
import { recoverGoal } from "./drive.ts";
import { findGoal } from "./find.ts";
import { OpenGoal, type GoalPorts } from "./open.ts";
import { applyRequests, refusalOf } from "./requests.ts";

/** How long a caller waits to be told what became of its request. */
const ANSWER_MS = 10_000;
/** How often it looks whether the controller has gone without answering: then it applies the request itself. */
const TAKEOVER_MS = 500;

/** What became of a request. `recorded`: it will be applied, and has not been yet. */
export interface Asked {
  outcome: "applied" | "recorded";
  id: string;
}

/**
 * Asks for something and waits until it is applied. Throws `goal.refused` when the goal's state does not allow it, also
 * when that turns out only where the request is applied.
 */
export async function askGoal(
  wanted: string,
  request: { kind: CommandRequest["kind"]; payload?: Record<string, unknown> },
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Asked> {
  const { id, folder, status } = findGoal(ports.root, wanted, ports);
  const refusal = refusalOf(request.kind, status);
  if (refusal !== undefined) throw refused(id, request.kind, refusal);
  const requestId = await postRequest(folder, request, ports);
  const until = ports.clock.monotonicMs() + ANSWER_MS;
  while (!(await applyHere(id, folder, request.kind, ports, signal))) {
    // Its controller lives, and will apply the request or go.
    if (await requestTaken(folder, requestId, TAKEOVER_MS, ports, signal)) break;
    if (ports.clock.monotonicMs() >= until) return { outcome: "recorded", id };
  }
  const because = refusalInLog(folder, requestId, ports);
  if (because !== undefined) throw refused(id, request.kind, because);
  return { outcome: "applied", id };
}

/** Takes control and applies what waits; false while another process has control. */
async function applyHere(
  id: string,
  folder: string,
  kind: string,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<boolean> {
  // Whoever cannot be judged gets a whole lease to show that it lives, which is longer than a caller waits.
  if (chainHolder(join(folder, "controller"), ports)?.liveness === "unknown") return false;
  let open: OpenGoal;
  try {
    open = await OpenGoal.open(id, folder, `goal ${kind}`, ports, signal);
  } catch (error) {
    if (error instanceof OmkError && error.code === "state.busy") return false;
    throw error;
  }
  try {
    // What a dead controller left must not go on behind a goal that is paused or cancelled.
    await recoverGoal(open, ports);
    await applyRequests(open, ports);
    if (open.goal.status === "cancelled") {
      await ports.disk.writeDerived(join(folder, "failure.json"), renderDocument(open.goal));
    }
  } finally {
    await open.close();
  }
  return true;
}

function refusalInLog(folder: string, requestId: string, ports: GoalPorts): string | undefined {
  let because: string | undefined;
  foldFolder(folder, ports, ({ kind, payload }) => {
    if (kind === "request_refused" && payload?.["request_id"] === requestId)
      because = String(payload["reason"]);
  });
  return because;
}

function refused(id: string, kind: string, because: string): OmkError {
  return new OmkError("goal.refused", `Goal ${id} cannot take ${kind}: ${because}.`, {
    hint: `Run \`omk goal show ${id}\` to see how it stands.`,
  });
}
