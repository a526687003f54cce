/** Answering from another process what an agent of a run asked. */
import { OmkError } from "../errors.ts";
import { askController, refuseOwnAgent } from "../store/ask-controller.ts";
import { findTeam, resumableTeam } from "./find.ts";
import { OpenRun, type RunPorts } from "./open.ts";
import { applyRequests } from "./requests.ts";

/**
 * Gives an answer to the controller of a run, or writes it down here when there is none. `recorded`: it will be applied, and
 * has not been yet. Throws `approval.refused` when the request has been answered already.
 */
export async function answerRun(
  name: string,
  payload: Record<string, unknown>,
  ports: RunPorts,
  signal: AbortSignal,
): Promise<"applied" | "recorded"> {
  const { folder } = resumableTeam(ports.root, name, ports);
  refuseOwnAgent(folder, "The answer", ports);
  const request = { kind: "approval_answer" as const, payload };
  const asked = await askController(folder, request, () => applyHere(name, ports, signal), ports, signal);
  if (asked.outcome !== "refused") return asked.outcome;
  throw new OmkError("approval.refused", `The answer was not taken: ${asked.because}.`, {
    hint: "See `omk approvals list --all`.",
  });
}

/** Takes control and applies what waits; false while another process has control. */
async function applyHere(name: string, ports: RunPorts, signal: AbortSignal): Promise<boolean> {
  const { controller } = findTeam(ports.root, name, ports);
  if (controller === "alive" || controller === "unknown") return false;
  let open: OpenRun;
  try {
    open = await OpenRun.open(name, "approvals answer", ports, signal);
  } catch (error) {
    if (error instanceof OmkError && error.code === "state.busy") return false;
    throw error;
  }
  try {
    await open.approvals.renderMissing();
    await applyRequests(open, ports);
  } finally {
    await open.close();
  }
  return true;
}
