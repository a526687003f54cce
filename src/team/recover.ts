/** Putting a run that was interrupted back on its way: what its controller left behind is ended and named. */
import { sweepGateRemains } from "../gate/steps.ts";
import { endLeftovers } from "../store/open-ends.ts";
import type { OpenRun, RunPorts } from "./open.ts";

/** Ends what still runs of an earlier controller and removes what its gates were writing. */
export async function recoverRun(open: OpenRun, ports: RunPorts): Promise<void> {
  await endLeftovers(open.orphanedSpawns, ports);
  // Only now: what still ran could write there.
  sweepGateRemains(open.folder, ports);
}
