/** Putting a run that was interrupted back on its way: what its controller left behind is ended and named. */
import { sweepGateRemains } from "../gate/steps.ts";
import type { OpenRun, RunPorts } from "./open.ts";

/** Ends what still runs of an earlier controller and removes what its gates were writing. */
export async function recoverRun(open: OpenRun, ports: RunPorts): Promise<void> {
  if (open.orphanedSpawns.length > 0) {
    const ended = await ports.processes.sweep(open.orphanedSpawns);
    if (ended > 0)
      ports.tell(`ended ${ended} leftover process${ended === 1 ? "" : "es"} of an interrupted run`);
  }
  // Only now: what still ran could write there.
  sweepGateRemains(open.folder, ports);
}
