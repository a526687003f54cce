/** Answering from another process what an agent of a run asked. */
import { OmkError } from "../errors.ts";
import { foldFolder } from "../store/journal.ts";
import { postRequest, requestTaken } from "../store/requests.ts";
import { findTeam, resumableTeam } from "./find.ts";
import { OpenRun, type RunPorts } from "./open.ts";
import { applyRequests } from "./requests.ts";

/** How long a caller waits to be told what became of its answer. */
const ANSWER_MS = 10_000;
/** How often it looks whether the controller has gone without applying it: then it does so itself. */
const TAKEOVER_MS = 500;

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
  const requestId = await postRequest(folder, { kind: "approval_answer", payload }, ports);
  const until = ports.clock.monotonicMs() + ANSWER_MS;
  while (!(await applyHere(name, ports, signal))) {
    if (await requestTaken(folder, requestId, TAKEOVER_MS, ports, signal)) break;
    if (ports.clock.monotonicMs() >= until) return "recorded";
  }
  let because: string | undefined;
  foldFolder(folder, ports, ({ kind, payload: said }) => {
    if (kind === "request_refused" && said?.["request_id"] === requestId) because = String(said["reason"]);
  });
  if (because === undefined) return "applied";
  throw new OmkError("approval.refused", `The answer was not taken: ${because}.`, {
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
