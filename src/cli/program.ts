/** The command line: names, arguments and flags. What a command does is loaded when it runs. */
import { Argument, Command } from "commander";

import { printable } from "../format/printable.ts";
import type { App } from "./app.ts";
import { examples, number } from "./flags.ts";
import { goalCommand } from "./goal-program.ts";
import { proofCommand } from "./proof-program.ts";
import { rescueCommand } from "./rescue-program.ts";
import { hudCommand, runCommand, teamCommand } from "./team-program.ts";

/** Builds the program for one run. */
export function buildProgram(app: App): Command {
  const program = new Command("omk")
    .description("Turns one engineering goal into a planned, agent-executed, verified and reviewed change.")
    .option("-V, --version", "print the version")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void app.io.stdout.write(text),
      writeErr: (text) => void app.io.stderr.write(printable(text)),
      getOutHelpWidth: () => app.io.stdout.columns ?? 80,
      // Nothing of ours is coloured, and asking whether it could be loads the terminal's streams.
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: false })
    .helpCommand(false)
    .addHelpText(
      "after",
      examples("omk demo", 'omk goal run "Fix the failing test in sum.test.js"', "omk goal list"),
    );
  program.addCommand(goalCommand(app));
  program.addCommand(teamCommand(app));
  program.addCommand(runCommand(app));
  program.addCommand(proofCommand(app));
  program.addCommand(hudCommand(app));
  program.addCommand(approvalsCommand(app));
  program.addCommand(rescueCommand(app));
  program.addCommand(trustCommand(app));
  program.addCommand(configCommand(app));
  program.addCommand(doctorCommand(app));
  program.addCommand(demoCommand(app));
  program.addCommand(schemaCommand(app));
  program.addCommand(scriptedAgentCommand(app), { hidden: true });
  program.addCommand(helpCommand(program));
  for (const command of allCommands(program)) inheritSettings(command, program);
  return program;
}

function allCommands(command: Command): Command[] {
  return command.commands.flatMap((one) => [one, ...allCommands(one)]);
}

function inheritSettings(command: Command, from: Command): void {
  command.copyInheritedSettings(from);
  if (command.commands.length > 0) command.helpCommand(false);
}

/** `omk help goal run` shows what `omk goal run --help` does. */
function helpCommand(program: Command): Command {
  return new Command("help")
    .description("show the help of a command")
    .argument("[command...]", "its words, e.g. goal run")
    .helpOption(false)
    .action((words: string[]) => {
      let shown = program;
      for (const word of words) {
        const next = shown.commands.find((one) => one.name() === word);
        if (!next)
          return shown.error(`error: unknown command '${word}'`, { code: "commander.unknownCommand" });
        shown = next;
      }
      shown.outputHelp();
    });
}

function approvalsCommand(app: App): Command {
  const approvals = new Command("approvals")
    .description("see and answer what agents ask before they use a tool")
    .addHelpText("after", examples("omk approvals list", "omk approvals answer ap-1a2b3c4d approve"));
  approvals.addCommand(
    new Command("list")
      .description("list the requests that wait for a person, of all goals and team runs")
      .option("--all", "those that are decided, too", false)
      .option("--goal <id>", "only of this goal")
      .option("--run <name>", "only of this team run")
      .option("--json", "print them as JSON", false)
      .addHelpText("after", examples("omk approvals list", "omk approvals list --all --json"))
      .action(async (flags: { all: boolean; goal?: string; run?: string; json: boolean }) => {
        const { approvalsListCommand } = await import("./approvals.ts");
        approvalsListCommand(app, flags);
      }),
  );
  approvals.addCommand(
    new Command("show")
      .description("show everything that is known about a request")
      .argument("<approval>", "its id, or how that begins")
      .option("--full", "leave nothing out of long texts, on a terminal too", false)
      .option("--json", "print it as JSON", false)
      .addHelpText("after", examples("omk approvals show ap-1a2b3c4d"))
      .action(async (id: string, flags: { full: boolean; json: boolean }) => {
        const { approvalsShowCommand } = await import("./approvals.ts");
        approvalsShowCommand(app, id, flags);
      }),
  );
  approvals.addCommand(
    new Command("answer")
      .description("answer a request; an answer counts for this request only, and once")
      .argument("<approval>", "its id, or how that begins")
      .addArgument(new Argument("<decision>", "what you say to it").choices(["approve", "reject"]))
      .option("--note <text>", "for the agent: why, or what to do instead")
      .option("--json", "print the answer as JSON", false)
      .addHelpText(
        "after",
        examples(
          "omk approvals answer ap-1a2b3c4d approve",
          'omk approvals answer ap-1a2b3c4d reject --note "use the test database"',
        ),
      )
      .action(async (id: string, decision: "approve" | "reject", flags: { note?: string; json: boolean }) => {
        const { approvalsAnswerCommand } = await import("./approvals.ts");
        await approvalsAnswerCommand(app, id, decision, flags);
      }),
  );
  return approvals;
}

function trustCommand(app: App): Command {
  return new Command("trust")
    .description("let a project's own configuration count, hooks included, until it changes")
    .argument("[dir]", "the project's directory; this one by default")
    .option("--show", "only show what it would do", false)
    .option("--revoke", "trust it no longer", false)
    .option("--list", "list the projects that are trusted", false)
    .option("--json", "print the answer as JSON", false)
    .addHelpText("after", examples("omk trust --show", "omk trust", "omk trust --revoke ../other"))
    .action(
      async (
        dir: string | undefined,
        flags: { show: boolean; revoke: boolean; list: boolean; json: boolean },
      ) => {
        const { trustCommand: trust } = await import("./trust.ts");
        await trust(app, dir, flags);
      },
    );
}

function configCommand(app: App): Command {
  const config = new Command("config")
    .description("show, check and change the configuration")
    .addHelpText("after", examples("omk config show", "omk config set approval.policy safe"));
  const json = ["--json", "print the answer as JSON", false] as const;
  config.addCommand(
    new Command("show")
      .description("show what holds in this directory")
      .option(...json)
      .action(async (flags: { json: boolean }) => {
        (await import("./config.ts")).configShowCommand(app, flags);
      }),
  );
  config.addCommand(
    new Command("validate")
      .description("check the configuration; exit status 78 when it is broken")
      .option(...json)
      .action(async (flags: { json: boolean }) => {
        (await import("./config.ts")).configValidateCommand(app, flags);
      }),
  );
  config.addCommand(
    new Command("path")
      .description("print where your configuration lies")
      .option(...json)
      .action(async (flags: { json: boolean }) => {
        (await import("./config.ts")).configPathCommand(app, flags);
      }),
  );
  config.addCommand(
    new Command("set")
      .description("set one key and leave the rest of the file as it is")
      .argument("<key>", "e.g. approval.policy")
      .argument("<value>", "e.g. safe")
      .option(...json)
      .addHelpText("after", examples("omk config set engine opencode", "omk config set approval.timeout 600"))
      .action(async (key: string, value: string, flags: { json: boolean }) => {
        await (await import("./config.ts")).configSetCommand(app, key, value, flags);
      }),
  );
  return config;
}

function doctorCommand(app: App): Command {
  return new Command("doctor")
    .description("look whether everything is there that a goal needs, and say what to do where it is not")
    .option("--no-handshake", "start no agent; only look for them")
    .option("--workers <n>", "agents at once there should be memory for. Default: 1", number, 1)
    .option("--json", "print what was found as JSON", false)
    .addHelpText("after", examples("omk doctor", "omk doctor --json --no-handshake"))
    .action(async (flags: { json: boolean; handshake: boolean; workers: number }) => {
      const { doctorCommand: doctor } = await import("./doctor.ts");
      await doctor(app, flags);
    });
}

function demoCommand(app: App): Command {
  return new Command("demo")
    .description("watch a whole goal in a temporary repository: no key, no network, no agent needed")
    .option("--lie", "with an agent that claims success without doing the work", false)
    .option("--keep", "leave the repository and the state for inspection", false)
    .addHelpText("after", examples("omk demo", "omk demo --lie --keep"))
    .action(async (flags: { lie: boolean; keep: boolean }) => {
      const { demoCommand: demo } = await import("./demo.ts");
      await demo(app, flags);
    });
}

function schemaCommand(app: App): Command {
  return new Command("schema")
    .description("print the JSON Schema of a file omk writes; without a name, list them")
    .argument("[name]", "name of the format, e.g. goal")
    .addHelpText("after", examples("omk schema", "omk schema proof"))
    .action(async (name: string | undefined) => {
      const { schemaCommand: schema } = await import("./schema.ts");
      schema(app, name);
    });
}

function scriptedAgentCommand(app: App): Command {
  return new Command("scripted-agent")
    .description("speak ACP on stdio, following a script file")
    .argument("<file>", "the script")
    .action(async (file: string) => {
      const { scriptedAgentCommand: agent } = await import("./scripted-agent.ts");
      await agent(app, file);
    });
}
