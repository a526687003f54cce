/** The commands around teams and runs: names, arguments and flags. What a command does is loaded when it runs. */
import { Command, Option } from "commander";

import type { App } from "./app.ts";
import { approvalOptions, collect, examples, limitOptions, number } from "./flags.ts";
import type { FormatFlags } from "./formatted.ts";
import type { HudFlags } from "./hud.ts";
import type { RunShowFlags } from "./run.ts";
import type { TeamRunFlags } from "./team/run.ts";

const NAME = ["[name]", "name of the team", "latest"] as const;
const RUN = ["[run]", "name of the run", "latest"] as const;

/** `omk team …`. */
export function teamCommand(app: App): Command {
  const team = new Command("team").alias("t").description("run teams, inspect them and tidy up after them");
  team.addHelpText("after", TEAM_HELP);
  team.addCommand(teamRunCommand(app));
  team.addCommand(
    withJson("list", "list all teams, newest first")
      .addHelpText("after", examples("omk team list", "omk team list --json"))
      .action(async (flags: { json: boolean }) => {
        (await import("./team/look.ts")).teamListCommand(app, flags);
      }),
  );
  team.addCommand(
    withJson("status", "say how a team stands: its phase, its workers, its tasks")
      .argument(...NAME)
      .addHelpText("after", examples("omk team status fix", "omk team status latest --json"))
      .action(async (name: string, flags: { json: boolean }) => {
        (await import("./team/look.ts")).teamStatusCommand(app, name, flags);
      }),
  );
  team.addCommand(
    withJson("health", "say how a team's workers are; only looks, whatever it finds")
      .argument(...NAME)
      .addHelpText("after", examples("omk team health fix"))
      .action(async (name: string, flags: { json: boolean }) => {
        (await import("./team/look.ts")).teamHealthCommand(app, name, flags);
      }),
  );
  team.addCommand(
    withJson("shutdown", "stop a team that runs, and say when its processes are gone")
      .argument("<name>", "name of the team; `latest` is the newest one")
      .option("--force", "end its agents at once instead of asking them first", false)
      .addHelpText("after", examples("omk team shutdown fix", "omk team shutdown fix --force"))
      .action(async (name: string, flags: { force: boolean; json: boolean }) => {
        const { teamShutdownCommand } = await import("./team/shutdown.ts");
        await teamShutdownCommand(app, name, flags);
      }),
  );
  team.addCommand(cleanupCommand(app));
  team.addCommand(
    withJson("roles", "list the roles workers can have")
      .option("-d, --dir <folder>", "the project whose own roles are listed, too", ".")
      .addHelpText("after", examples("omk team roles"))
      .action(async (flags: { dir: string; json: boolean }) => {
        (await import("./team/roles.ts")).teamRolesCommand(app, flags);
      }),
  );
  team.addCommand(
    withJson("rename", "give a team that does not run another name")
      .argument("<old>", "its name")
      .argument("<new>", "the name it gets")
      .addHelpText("after", examples("omk team rename executor-1a2b3c4d login"))
      .action(async (from: string, to: string, flags: { json: boolean }) => {
        await (await import("./team/keep.ts")).teamRenameCommand(app, from, to, flags);
      }),
  );
  team.addCommand(
    withJson("export", "write a team, its log and its proof into one file")
      .argument(...NAME)
      .option("-o, --output <file>", "the file", "team-export.json")
      .option("--force", "replace the file when it is there", false)
      .addHelpText("after", examples("omk team export fix -o fix.json"))
      .action(async (name: string, flags: { output: string; force: boolean; json: boolean }) => {
        await (await import("./team/keep.ts")).teamExportCommand(app, name, flags);
      }),
  );
  team.addCommand(
    withJson("import", "make a team from an exported file, to be looked at; it cannot be resumed")
      .argument("<file>", "what `omk team export` wrote")
      .option("-n, --name <name>", "another name than the one in the file")
      .addHelpText("after", examples("omk team import fix.json", "omk team import fix.json --name theirs"))
      .action(async (file: string, flags: { name?: string; json: boolean }) => {
        await (await import("./team/keep.ts")).teamImportCommand(app, file, flags);
      }),
  );
  return team;
}

function withJson(name: string, description: string): Command {
  return new Command(name).description(description).option("--json", "print the answer as JSON", false);
}

function teamRunCommand(app: App): Command {
  return limitOptions(approvalOptions(withJson("run", "let several workers do one task, to a proof")))
    .argument("[team]", "<count>:<role> with 1 to 16 workers, the name of a role, or team (3:executor)")
    .argument("[task...]", "what is to be done")
    .option("-n, --name <name>", "name of the team and its run; <role>-<8 digits> if left out")
    .option("-d, --dir <folder>", "the project. Default: the present folder")
    .addOption(new Option("--no-ralph", "accepted for older scripts; does nothing").hideHelp())
    .option(
      "--gate <gate>",
      "name=command adds a gate; names with commas in between keep only those",
      collect,
      [],
    )
    .option(
      "--engine <engine>",
      "who does the work: auto, a known agent, acp:<command line>, …: docs/engines.md",
    )
    .option("--idle-timeout <duration>", "an agent that says nothing for this long has failed. Default: 10m")
    .option("--lease <duration>", "a worker without a sign of life for this long loses its task")
    .addOption(
      new Option(
        "--isolation <how>",
        "none: all workers in one directory; worktree: each in a folder of its own, merged to a branch. Default: none",
      ).choices(["none", "worktree"]),
    )
    .option("--resume", "go on with a run that was interrupted", false)
    .addHelpText("after", RUN_HELP)
    .action(async (spec: string | undefined, words: string[], flags: TeamRunFlags) => {
      const { teamRunCommand: run } = await import("./team/run.ts");
      await run(app, spec, words, flags);
    });
}

function cleanupCommand(app: App): Command {
  return withJson("cleanup", "remove old teams with their manifests; running ones are spared")
    .option("--older-than <days>", "teams that nobody changed for this many days", number, 7)
    .option("--dry-run", "only say what would be removed", false)
    .option("--all", "whatever their age", false)
    .addHelpText("after", examples("omk team cleanup --dry-run", "omk team cleanup --older-than 30"))
    .action(async (flags: { olderThan: number; dryRun: boolean; all: boolean; json: boolean }) => {
      await (await import("./team/keep.ts")).teamCleanupCommand(app, flags);
    });
}

/** `omk run …`. */
export function runCommand(app: App): Command {
  const run = new Command("run").description("list runs and show what happened in them");
  run.addHelpText("after", examples("omk run list", "omk run show latest --kind gate"));
  run.addCommand(
    withJson("list", "list all runs, last name first")
      .addHelpText("after", examples("omk run list"))
      .action(async (flags: { json: boolean }) => {
        (await import("./run.ts")).runListCommand(app, flags);
      }),
  );
  run.addCommand(
    new Command("show")
      .description("show the events of a run, in order")
      .argument(...RUN)
      .addOption(
        new Option("-f, --format <format>", "how to print them").choices(["text", "json"]).default("text"),
      )
      .option("--json", "Shortcut for --format json", false)
      .option("-k, --kind <text>", "only kinds that contain this, in any case")
      .option("--worker <id>", "only events of this worker")
      .option("--task <id>", "only events of this task")
      .addHelpText("after", examples("omk run show", "omk run show fix --worker worker-0 --json"))
      .action(async (id: string, flags: RunShowFlags) => {
        (await import("./run.ts")).runShowCommand(app, id, flags);
      }),
  );
  return run;
}

/** `omk proof show`. */
export function proofShowCommand(app: App): Command {
  return new Command("show")
    .description("show the proof of a team run")
    .argument(...RUN)
    .addOption(
      new Option("-f, --format <format>", "how to print it")
        .choices(["text", "json", "md"])
        .conflicts("json"),
    )
    .option("--json", "Shortcut for --format json", false)
    .option("--regenerate", "from the log, not from proof.json; nothing is written", false)
    .addHelpText("after", examples("omk proof show", "omk proof show fix -f text"))
    .action(async (id: string, flags: FormatFlags & { regenerate: boolean }) => {
      (await import("./proof.ts")).proofShow(app, id, flags);
    });
}

/** `omk hud`. */
export function hudCommand(app: App): Command {
  return withJson("hud", "show how a team is doing; on a terminal again and again until it ends")
    .argument("[team]", "name of the team", "latest")
    .option("--once", "only once", false)
    .option("--tui", "full screen (not there yet)", false)
    .option("--web", "in the browser (not there yet)", false)
    .addOption(new Option("--port <n>", "port for --web").argParser(number).hideHelp())
    .addHelpText("after", examples("omk hud fix", "omk hud latest --once", "omk hud fix --json"))
    .action(async (team: string, flags: HudFlags) => {
      const { hudCommand: hud } = await import("./hud.ts");
      await hud(app, team, flags);
    });
}

const TEAM_HELP = `
A team splits a task, works on the parts side by side, and ends in a proof. Its state is stored in $OMK_STATE_DIR, or
~/.local/state/omk (~/.omk/state when that exists).
${examples(
  'omk team run 3:executor "Make all tests pass" --name fix',
  "omk team status fix",
  "omk team run --resume --name fix",
)}`;

const RUN_HELP = `
Options may stand before and after the task. Everything behind -- is the task.
${examples(
  'omk team run 3:executor "Make all tests pass" --name fix --engine scripted:fix.json',
  'omk team run 3:executor "Make all tests pass" --isolation worktree',
  'omk team run reviewer "Look for races" --budget-time 30m',
  "omk team run --resume --name fix",
)}`;
