/** `omk proof show`, the proof of a run, and `omk proof verify`, which checks one offline and names what does not hold. */
import { join } from "node:path";

import { findGoalFolder } from "../goal/find.ts";
import { verifyProof, type ProofCheck } from "../goal/verify-proof.ts";
import { findRun, findTeam, IMPORT_MARK, type Team } from "../team/find.ts";
import { OmkError } from "../errors.ts";
import { proofMarkdown, proofText, proofToShow } from "../team/proof-view.ts";
import { verifyRunProof, type RunProofCheck } from "../team/verify-proof.ts";
import type { App } from "./app.ts";
import { printFormatted, type FormatFlags } from "./formatted.ts";

/** Prints the proof of a run; a missing one is made from the log, in memory only: a finished run is never written to. */
export function proofShow(app: App, wanted: string, flags: FormatFlags & { regenerate: boolean }): void {
  const run = findRun(app.root(), wanted, app.world);
  const proof = proofToShow(run, { regenerate: flags.regenerate }, app.world);
  if (app.world.disk.stat(join(run.folder, IMPORT_MARK)))
    app.output.story("this run was imported: what its proof says was not checked here");
  const shown = { json: flags.json, format: flags.format ?? "md" };
  printFormatted(app, proof, { text: proofText, md: proofMarkdown }, shown);
}

/** Verifies the proof of a goal or a team run; exit status 1 when anything does not hold. */
export async function proofVerifyCommand(
  app: App,
  wanted: string,
  { rerun, json }: { rerun: boolean; json: boolean },
): Promise<void> {
  const check = verifyNamed(app, wanted);
  app.exitStatus = check.valid ? 0 : 1;
  if (!rerun) return app.output.result(check, renderCheck, json);
  if (!("goal_id" in check)) {
    throw new OmkError("usage.invalid", `--rerun is for goals, and ${wanted} is a team run.`, {
      hint: "Leave it out to check the run's proof.",
    });
  }
  // What was not recorded as it stands there is not worth running.
  if (!check.valid) return app.output.result(check, renderCheck, json);
  // Only here: a mere check loads nothing that runs anything.
  const { renderRerun, repeatGates } = await import("./proof-rerun.ts");
  const repeated = await repeatGates(app, check.goal_id);
  app.exitStatus = repeated.valid ? 0 : 1;
  const both = { ...check, valid: repeated.valid, rerun: repeated };
  app.output.result(both, () => `${renderCheck(check)}\n${renderRerun(repeated)}`, json);
}

/** A goal's id and a run's name look alike; goals are looked for first, and `latest` is the newest goal when there is one. */
function verifyNamed(app: App, wanted: string): ProofCheck | RunProofCheck {
  const root = app.root();
  try {
    const goal = findGoalFolder(root, wanted, app.world);
    return verifyProof(goal.folder, goal.id, app.world);
  } catch (error) {
    if (!(error instanceof OmkError) || error.code !== "goal.not_found") throw error;
    // No goal: perhaps a run.
  }
  const team = teamNamed(root, wanted, app);
  if (!team) {
    throw new OmkError("goal.not_found", `There is no goal and no team run called ${wanted} in ${root}.`, {
      hint: "See `omk goal list` and `omk run list`.",
    });
  }
  if (team.isImported) {
    throw new OmkError(
      "proof.missing",
      `Team run ${team.name} was imported: the evidence of its proof is not here.`,
      {
        hint: "Only the state folder in which it was made holds everything that its proof names.",
      },
    );
  }
  return verifyRunProof(team.folder, team.name, app.world);
}

/** A run that cannot be read says so itself. */
function teamNamed(root: string, wanted: string, app: App): Team | undefined {
  try {
    return findTeam(root, wanted, app.world);
  } catch (error) {
    if (error instanceof OmkError && error.code === "team.not_found") return undefined;
    throw error;
  }
}

/** The check as text. */
export function renderCheck(check: ProofCheck | RunProofCheck): string {
  const later = check.later_events.length;
  return [
    `Proof ${check.valid ? "verified" : "NOT valid"}: ${"goal_id" in check ? check.goal_id : check.run_id}`,
    `Status: ${check.status}`,
    `Events: ${check.events}`,
    `Evidence files: ${check.evidence_files}`,
    ...(later > 0 ? [`Events after the proof: ${later}`] : []),
    ...(check.faults.length > 0
      ? ["Faults:", ...check.faults.map((one) => `  ${one.file}: ${one.because}`)]
      : []),
  ].join("\n");
}
