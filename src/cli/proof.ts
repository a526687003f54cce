/** `omk proof verify`: checks a proof offline and names whatever does not hold. */
import { findGoalFolder } from "../goal/find.ts";
import { verifyProof, type ProofCheck } from "../goal/verify-proof.ts";
import type { App } from "./app.ts";

/** Verifies the proof of a goal; exit status 1 when anything does not hold. */
export function proofVerifyCommand(app: App, id: string, flags: { json: boolean }): void {
  const goal = findGoalFolder(app.root(), id, app.world);
  const check = verifyProof(goal.folder, goal.id, app.world);
  app.exitStatus = check.valid ? 0 : 1;
  app.output.result(check, renderCheck, flags.json);
}

/** The check as text. */
export function renderCheck(check: ProofCheck): string {
  const later = check.later_events.length;
  return [
    `Proof ${check.valid ? "verified" : "NOT valid"}: ${check.goal_id}`,
    `Status: ${check.status}`,
    `Events: ${check.events}`,
    `Evidence files: ${check.evidence_files}`,
    ...(later > 0 ? [`Events after the proof: ${later}`] : []),
    ...(check.faults.length > 0
      ? ["Faults:", ...check.faults.map((one) => `  ${one.file}: ${one.because}`)]
      : []),
  ].join("\n");
}
