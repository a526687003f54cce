/** The commands of `omk proof`. */
import { Command } from "commander";

import type { App } from "./app.ts";
import { examples } from "./flags.ts";
import type { ExportFlags } from "./proof-export.ts";
import { proofShowCommand } from "./team-program.ts";

/** `omk proof` with all that is under it. */
export function proofCommand(app: App): Command {
  const proof = new Command("proof")
    .description("show and check proofs")
    .addHelpText("after", examples("omk proof verify", "omk proof export latest", "omk proof show fix"));
  proof.addCommand(proofShowCommand(app));
  proof.addCommand(
    new Command("verify")
      .description("check the proof of a goal or a team run offline: log, evidence, snapshots and verdict")
      .argument("[goal|run]", "id of the goal or name of the run", "latest")
      .option("--rerun", "also repeat a goal's gates on a clean checkout of its result", false)
      .option("--json", "print what was found as JSON", false)
      .addHelpText("after", VERIFY_HELP)
      .action(async (id: string, flags: { rerun: boolean; json: boolean }) => {
        const { proofVerifyCommand } = await import("./proof.ts");
        await proofVerifyCommand(app, id, flags);
      }),
  );
  proof.addCommand(
    new Command("export")
      .description("write a goal's proof for others: an in-toto statement, signed if you like, and its trees")
      .argument("[goal]", "id of the goal", "latest")
      .option("--sign <ssh key>", "sign the statement with this SSH key, as git signs commits")
      .option("--out <folder>", "where to; new, empty, or an earlier export. Default: the goal's folder")
      .option("--no-bundle", "leave out the trees, which are whole copies of the project")
      .option("--json", "print what was written as JSON", false)
      .addHelpText(
        "after",
        examples("omk proof export", "omk proof export latest --sign ~/.ssh/id_ed25519 --out proof"),
      )
      .action(async (id: string, flags: ExportFlags) => {
        const { proofExport } = await import("./proof-export.ts");
        await proofExport(app, id, flags);
      }),
  );
  return proof;
}

const VERIFY_HELP = `
--rerun runs the recorded gates in a temporary folder that holds exactly the recorded result, and compares what they say.
Where that says otherwise and no clean checkout had passed before, it links in what git ignores (installed dependencies,
say) and tries once more; the answer says so. It writes nothing into the goal or the project.
${examples("omk proof verify", "omk proof verify fix --json", "omk proof verify latest --rerun")}`;
