/** The end of a run: the phase, the proof, and everything rendered from them. */
import { instantOf } from "../format/stamp.ts";
import type { Stop } from "./budget.ts";
import { change, type OpenRun, type RunPorts } from "./open.ts";
import { verdictOf, writeRunProof, type RunVerdict } from "./proof.ts";

/** Writes down how the run ended. With a reason to stop it is not over: it can be resumed. */
export async function concludeRun(
  open: OpenRun,
  stopped: Stop | undefined,
  ports: RunPorts,
): Promise<RunVerdict> {
  await open.record({
    kind: "work_recorded",
    actor: "scheduler",
    payload: {},
    changes: [change("team-work.json", { stopped: stopped ?? null })],
  });
  // Nobody will ask again, so nobody need answer.
  if (!stopped) await open.approvals.withdrawAll("the run has ended");
  const verdict = verdictOf(open);
  const isReady = verdict.status === "ready";
  const isDone = !stopped && open.tasks.length > 0 && open.tasks.every(({ state }) => state === "completed");
  const byHand = stopped?.code === "interrupted" || stopped?.code === "shutdown";
  await open.record(
    ...(byHand ? [{ kind: "manual_interrupt", actor: "omk-cli", payload: { code: stopped.code } }] : []),
    {
      kind: isDone ? "run_completed" : "run_failed",
      actor: null,
      ...(!isDone && { payload: { reason: verdict.gaps[0]?.text ?? "no task was completed" } }),
      changes: [
        change("team-state.json", { phase: stopped ? "Shutdown" : isReady ? "Complete" : "Failed" }),
        stopped
          ? change("manifest.json", {}, ["ended_at", "success"])
          : change("manifest.json", { ended_at: instantOf(ports.clock.now()), success: isReady }),
      ],
    },
  );
  await writeRunProof(open, verdict, ports);
  return verdict;
}
