/** The commands of `omk rescue`. */
import { Command } from "commander";

import type { App } from "./app.ts";
import { examples } from "./flags.ts";
import type { PruneFlags, RestoreFlags } from "./rescue.ts";

/** `omk rescue` with all that is under it. */
export function rescueCommand(app: App): Command {
  const rescue = new Command("rescue")
    .description("find and bring back work that was saved before omk took a folder away")
    .addHelpText(
      "after",
      examples("omk rescue list", "omk rescue restore goal-1/fix-sum-31 --to ../rescued"),
    );
  const json = ["--json", "print the answer as JSON", false] as const;
  rescue.addCommand(
    new Command("list")
      .description("list what is kept, of the repository here and of the projects of all goals and team runs")
      .option("--goal <id>", "only of this goal or team run")
      .option(...json)
      .addHelpText("after", examples("omk rescue list", "omk rescue list --goal goal-1 --json"))
      .action(async (flags: { goal?: string; json: boolean }) => {
        const { rescueListCommand } = await import("./rescue.ts");
        await rescueListCommand(app, flags);
      }),
  );
  rescue.addCommand(
    new Command("show")
      .description("show which files something kept has changed")
      .argument("<name>", "its name as `omk rescue list` shows it, or how that begins")
      .option("--patch", "print the changes themselves", false)
      .option(...json)
      .addHelpText(
        "after",
        examples("omk rescue show goal-1/result", "omk rescue show goal-1/result --patch"),
      )
      .action(async (name: string, flags: { patch: boolean; json: boolean }) => {
        const { rescueShowCommand } = await import("./rescue.ts");
        await rescueShowCommand(app, name, flags);
      }),
  );
  rescue.addCommand(
    new Command("restore")
      .description("write something kept into a new folder, or make it a branch; nothing is ever overwritten")
      .argument("<name>", "its name as `omk rescue list` shows it, or how that begins")
      .option("--to <dir>", "a folder that does not exist, or is empty")
      .option("--branch <name>", "a branch that does not exist; nothing is checked out")
      .option("--staged", "what the agent had staged, instead of the files", false)
      .option(...json)
      .addHelpText(
        "after",
        examples(
          "omk rescue restore goal-1/fix-sum-31 --to ../rescued",
          "omk rescue restore goal-1/fix-sum-31 --branch rescued/sum",
        ),
      )
      .action(async (name: string, flags: RestoreFlags) => {
        const { rescueRestoreCommand } = await import("./rescue.ts");
        await rescueRestoreCommand(app, name, flags);
      }),
  );
  rescue.addCommand(
    new Command("prune")
      .description("stop keeping work of goals and team runs that have come to an end; live ones are spared")
      .option("--older-than <duration>", "what was saved longer ago than this, e.g. 30d")
      .option("--ended", "what belongs to goals that are ready or cancelled", false)
      .option("--goal <id>", "only of this goal or team run")
      .option("--dry-run", "only say what would go", false)
      .option(...json)
      .addHelpText(
        "after",
        examples("omk rescue prune --older-than 30d --dry-run", "omk rescue prune --ended"),
      )
      .action(async (flags: PruneFlags) => {
        const { rescuePruneCommand } = await import("./rescue.ts");
        await rescuePruneCommand(app, flags);
      }),
  );
  return rescue;
}
