/** The commands of `omk proof`. */
import { Command } from "commander";

import type { App } from "./app.ts";
import { examples } from "./flags.ts";
import { proofShowCommand } from "./team-program.ts";

/** `omk proof` with all that is under it. */
export function proofCommand(app: App): Command {
  const proof = new Command("proof")
    .description("show and check proofs")
    .addHelpText("after", examples("omk proof verify", "omk proof show fix"));
  proof.addCommand(proofShowCommand(app));
  proof.addCommand(
    new Command("verify")
      .description("check the proof of a goal or a team run offline: log, evidence, snapshots and verdict")
      .argument("[goal|run]", "id of the goal or name of the run", "latest")
      .option("--json", "print what was found as JSON", false)
      .addHelpText("after", examples("omk proof verify", "omk proof verify fix --json"))
      .action(async (id: string, flags: { json: boolean }) => {
        const { proofVerifyCommand } = await import("./proof.ts");
        proofVerifyCommand(app, id, flags);
      }),
  );
  return proof;
}
