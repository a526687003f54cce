/** Asking something of a goal: whoever drives it applies the request, or this process when nobody does. */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import type { CommandRequest } from "../format/command.ts";
import { renderDocument } from "../format/json.ts";
import { askController, refuseOwnAgent } from "../store/ask-controller.ts";
import { chainHolder } from "../store/claim-chain.ts";
import { recoverGoal } from "./drive.ts";
import { findGoal } from "./find.ts";
import { clearWorktrees } from "./left-worktrees.ts";
import { OpenGoal, type GoalPorts } from "./open.ts";
import { applyRequests, refusalOf } from "./requests.ts";

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
  if (request.kind === "approval_answer" || request.kind === "budget_add" || request.kind === "answer")
    refuseOwnAgent(folder, request.kind.replace("_", " "), ports);
  const applied = () => applyHere(id, folder, request.kind, ports, signal);
  const asked = await askController(folder, request, applied, ports, signal);
  if (asked.outcome === "refused") throw refused(id, request.kind, asked.because);
  return { outcome: asked.outcome, id };
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
      await clearWorktrees(open, ports);
      await ports.disk.writeDerived(join(folder, "failure.json"), renderDocument(open.goal));
    }
  } finally {
    await open.close();
  }
  return true;
}

function refused(id: string, kind: string, because: string): OmkError {
  return new OmkError("goal.refused", `Goal ${id} cannot take ${kind}: ${because}.`, {
    hint: `Run \`omk goal show ${id}\` to see how it stands.`,
  });
}
