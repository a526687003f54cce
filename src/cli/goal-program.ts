/** The commands of `omk goal`: names, arguments and flags. */
import { Command, Option } from "commander";

import type { App } from "./app.ts";
import { approvalOptions, collect, examples, number } from "./flags.ts";
import type { OpenPrFlags } from "./goal/open-pr.ts";
import type { ResumeFlags } from "./goal/run.ts";
import type { StepFlags } from "./goal/steps.ts";

const ID = ["[goal]", "id of the goal", "latest"] as const;

/** `omk goal` with all that is under it. */
export function goalCommand(app: App): Command {
  const goal = new Command("goal")
    .description("create, drive and inspect goals")
    .addHelpText("after", GOAL_HELP);
  goal.addCommand(
    creating("run", app)
      .description("make a goal and, with --until-ready, drive it to a verdict")
      .addHelpText("after", RUN_HELP)
      .option("--until-ready", "keep working until the goal is ready or cannot go on", false)
      .option("--auto-accept", "accept the result in advance, if all other evidence holds", false),
  );
  for (const [name, description] of [
    ["create", "make a goal: its plan, task graph and scaffold proof"],
    ["plan", "make a goal to look at, without running it"],
  ] as const) {
    goal.addCommand(
      creating(name, app)
        .description(description)
        .addHelpText("after", examples(`omk goal ${name} "Fix the failing test in sum.test.js"`)),
    );
  }
  goal.addCommand(
    reading("list", app, false)
      .description("list all goals, newest first")
      .addHelpText("after", examples("omk goal list", "omk goal list --json")),
  );
  goal.addCommand(
    reading("status", app)
      .description("say how a goal stands")
      .addHelpText("after", examples("omk goal status", "omk goal status latest --json")),
  );
  for (const [name, description] of [
    ["show", "show everything recorded about a goal"],
    ["proof", "show a goal's proof"],
    ["replay", "show what happened to a goal, event by event"],
  ] as const) {
    goal.addCommand(
      reading(name, app)
        .description(description)
        .addOption(
          new Option("-f, --format <format>", "how to print it")
            .choices(["text", "json", "md"])
            .conflicts("json"),
        )
        .addHelpText("after", examples(`omk goal ${name}`, `omk goal ${name} latest --json`)),
    );
  }
  for (const [name, description] of [
    ["verify", "run the gates on the project as it is"],
    ["execute", "let the agent take one turn, then run the gates"],
    ["review", "go through the review wall"],
  ] as const) {
    const command = new Command(name)
      .description(description)
      .argument(...ID)
      .option("--again", "reopen a goal that is ready", false)
      .option("--json", "print the proof as JSON", false);
    if (name === "verify")
      command.option("--gate <name=command>", "a gate of your own, which counts from now on", collect, []);
    if (name === "execute") {
      command.option("--engine <engine>", "who works on the goal from now on: see omk goal run --help");
      approvalOptions(command);
    }
    command.addHelpText("after", examples(`omk goal ${name}`, `omk goal ${name} latest --json`));
    goal.addCommand(
      command.action(async (id: string, flags: StepFlags) => {
        const { stepCommand } = await import("./goal/steps.ts");
        await stepCommand(app, name, id, flags);
      }),
    );
  }
  goal.addCommand(acceptCommand(app));
  goal.addCommand(rejectCommand(app));
  goal.addCommand(resumeCommand(app));
  for (const [name, description] of [
    ["pause", "pause a goal; a running one stops and keeps what it has"],
    ["cancel", "end a goal for good; its files stay"],
  ] as const) {
    goal.addCommand(
      new Command(name)
        .description(description)
        .argument(...ID)
        .option("--json", "print the answer as JSON", false)
        .addHelpText("after", examples(`omk goal ${name}`))
        .action(async (id: string, flags: { json: boolean }) => {
          const { controlCommand } = await import("./goal/control.ts");
          await controlCommand(app, name, id, flags);
        }),
    );
  }
  goal.addCommand(budgetAddCommand(app));
  goal.addCommand(openPrCommand(app));
  return goal;
}

/** `run`, `create` and `plan` take the same flags. */
function creating(name: "run" | "create" | "plan", app: App): Command {
  return approvalOptions(new Command(name))
    .argument("<goal>", "the outcome you want, in one sentence")
    .option(
      "--engine <engine>",
      "who does the work: auto, opencode, kimi, claude, codex, gemini, goose, acp:<command line>, …: docs/engines.md",
    )
    .option("--gate <name=command>", "a gate of your own; may be given several times", collect, [])
    .option("--may-change <glob>", "protected files that the change may touch; repeatable", collect, [])
    .option("--allow-red <gate>", "a gate that may stay red where the base is red; repeatable", collect, [])
    .option("--agent-review", "let the engine review the result, reading only", false)
    .option(
      "--max-attempts <n>",
      "executions of a task before it counts as failed (1 to 20). Default: 3",
      number,
    )
    .option("--budget-time <duration>", "stop after this long at work: a number with the suffix s/m/h/d")
    .option("--budget-tokens <tokens>", "stop after this many tokens; must be > 0", number)
    .option("--budget-usd <usd>", "stop after this many dollars; must be > 0", number)
    .option("--max-agents <n>", "agents at work at once; must be > 0", number)
    .addOption(
      new Option("--policy <policy>", "what happens to the result")
        .choices(["local", "draft-pr", "auto-pr"])
        .default("local"),
    )
    .addOption(
      new Option("--merge-policy <policy>", "whether omk may merge")
        .choices(["disabled", "manual", "gated"])
        .default("disabled"),
    )
    .option("--slice-execution", "split the goal into slices, each in its own worktree", false)
    .option("--enforce-protection", "add branch protection when merging", false)
    .option("--no-llm-planner", "plan by rules, without asking the engine")
    .option("--planner-token-budget <tokens>", "tokens the planner may answer with. Default: 8000", number)
    .option("--json", "print the goal as JSON", false)
    .action(async (text: string, flags: Record<string, unknown>) => {
      const { createCommand } = await import("./goal/run.ts");
      await createCommand(app, name, text, flags);
    });
}

function reading(name: "list" | "status" | "show" | "proof" | "replay", app: App, withId = true): Command {
  const command = new Command(name).option("--json", "Shortcut for --format json", false);
  const run = async (id: string, flags: { json: boolean; format?: "text" | "json" | "md" }) => {
    switch (name) {
      case "list":
        return (await import("./goal/status.ts")).listCommand(app, flags.json);
      case "status":
        return (await import("./goal/status.ts")).statusCommand(app, id, flags.json);
      case "show":
        return (await import("./goal/show.ts")).showCommand(app, id, flags);
      case "proof":
        return (await import("./goal/proof.ts")).proofCommand(app, id, flags);
      case "replay":
        return (await import("./goal/replay.ts")).replayCommand(app, id, flags);
    }
  };
  if (!withId) return command.action((flags: { json: boolean }) => run("latest", flags));
  return command.argument(...ID).action(run);
}

function acceptCommand(app: App): Command {
  return new Command("accept")
    .description("accept a goal's result; it becomes ready when all evidence is there")
    .argument(...ID)
    .requiredOption("--summary <text>", "why it is accepted")
    .option("--attest <check=statement>", "vouch for a check that no evidence shows; repeatable", collect, [])
    .option("--json", "print the proof as JSON", false)
    .addHelpText("after", examples('omk goal accept latest --summary "looked at the change"'))
    .action(async (id: string, flags: { summary: string; attest: string[]; json: boolean }) => {
      const { acceptCommand: accept } = await import("./goal/steps.ts");
      await accept(app, id, flags);
    });
}

function rejectCommand(app: App): Command {
  return new Command("reject")
    .description("reject a goal's result, with a reason and a plan to roll it back")
    .argument(...ID)
    .requiredOption("--reason <text>", "what is wrong with it")
    .option("--json", "print the proof as JSON", false)
    .addHelpText("after", examples('omk goal reject latest --reason "it breaks the old interface"'))
    .action(async (id: string, flags: { reason: string; json: boolean }) => {
      const { rejectCommand: reject } = await import("./goal/steps.ts");
      await reject(app, id, flags);
    });
}

function resumeCommand(app: App): Command {
  return approvalOptions(new Command("resume"))
    .description("go on with a goal that was paused, interrupted or blocked")
    .argument(...ID)
    .option("--engine <engine>", "who works on the goal from now on: see omk goal run --help")
    .option("--until-ready", "drive a goal that was only created or planned to a verdict", false)
    .option("--json", "print the goal as JSON", false)
    .addHelpText("after", examples("omk goal resume", "omk goal resume goal-20260101-120000-000-1a2b3c4d"))
    .action(async (id: string, flags: ResumeFlags) => {
      const { resumeCommand: resume } = await import("./goal/run.ts");
      await resume(app, id, flags);
    });
}

function budgetAddCommand(app: App): Command {
  return new Command("budget-add")
    .description("give a goal more to spend")
    .argument(...ID)
    .option("--time <duration>", "more time at work, e.g. 30m")
    .option("--tokens <tokens>", "more tokens", number)
    .option("--usd <usd>", "more dollars", number)
    .option("--json", "print the answer as JSON", false)
    .addHelpText("after", "\nAt least one of --time / --tokens / --usd must be provided.")
    .addHelpText("after", examples("omk goal budget-add latest --time 30m"))
    .action(async (id: string, flags: { time?: string; tokens?: number; usd?: number; json: boolean }) => {
      const { budgetAddCommand: add } = await import("./goal/control.ts");
      await add(app, id, flags);
    });
}

function openPrCommand(app: App): Command {
  return new Command("open-pr")
    .description("show a goal's pull request, or open it on GitHub")
    .argument(...ID)
    .option("--dry-run", "only show it, whatever the policy", false)
    .option("--draft", "make it a draft", false)
    .addOption(
      new Option("--policy <policy>", "local only shows it; the others open or update it")
        .choices(["local", "draft-pr", "auto-pr"])
        .default("local"),
    )
    .option("--base-branch <branch>", "where it is to be merged. Default: the repository's default branch")
    .addOption(
      new Option("-f, --format <format>", "how to print it")
        .choices(["text", "json", "markdown", "md"])
        .default("markdown")
        .conflicts("json"),
    )
    .option("--json", "Shortcut for --format json", false)
    .addHelpText("after", examples("omk goal open-pr", "omk goal open-pr latest --policy draft-pr"))
    .action(async (id: string, flags: OpenPrFlags) => {
      const { openPrCommand: openPr } = await import("./goal/open-pr.ts");
      await openPr(app, id, flags);
    });
}

const GOAL_HELP = `
Goal runtime: a goal is planned, worked on by an agent, checked by gates, reviewed, and proven.
Goal state is stored in $OMK_STATE_DIR, or ~/.local/state/omk (~/.omk/state when that exists).
${examples(
  'omk goal run "Fix the failing test in sum.test.js" --until-ready --engine scripted:fix.json',
  "omk goal show latest --json",
  "omk proof verify latest",
)}`;

const RUN_HELP = `
--until-ready is the one-command controller: plan -> baseline -> execute -> verify -> review -> accept,
with at most --max-attempts agent turns. The same steps by hand (verify -> execute -> review -> accept) are the
manual recovery path. Budgets are optional and must be > 0; --budget-time takes the suffix s/m/h/d.
${examples(
  'omk goal run "Fix all failing cargo tests" --until-ready --engine scripted:fix.json',
  "omk goal run \"Add a --json flag\" --gate 'tests=npm test' --max-attempts 5",
)}`;
