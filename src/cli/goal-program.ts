/** The commands of `omk goal`: names, arguments and flags. */
import { Command, Option } from "commander";

import type { App } from "./app.ts";
import { approvalOptions, collect, examples, limitOptions, number } from "./flags.ts";
import type { GoldenRecordFlags } from "./goal/golden.ts";
import type { OpenPrFlags } from "./goal/open-pr.ts";
import type { ResumeFlags } from "./goal/run.ts";
import type { AcceptFlags, StepFlags } from "./goal/steps.ts";

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
    ["budget", "show what a goal may spend, what it has spent, and when"],
  ] as const) {
    const command = reading(name, app)
      .description(description)
      .addOption(
        new Option("-f, --format <format>", "how to print it")
          .choices(["text", "json", "md"])
          .conflicts("json"),
      )
      .addHelpText("after", examples(`omk goal ${name}`, `omk goal ${name} latest --json`));
    if (name === "replay") command.option("--tail <events>", "only so many of the last events", number);
    goal.addCommand(command);
  }
  for (const [name, description] of [
    ["verify", "run the gates on the project as it is"],
    ["execute", "let the agent take a turn at each part that is open, then run the gates"],
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
    ["cancel", "end a goal for good; what was done for it is kept"],
  ] as const) {
    goal.addCommand(
      new Command(name)
        .description(description)
        .argument(...ID)
        .option("--json", "print the answer as JSON", false)
        .addHelpText("after", CONTROL_HELP[name])
        .action(async (id: string, flags: { json: boolean }) => {
          const { controlCommand } = await import("./goal/control.ts");
          await controlCommand(app, name, id, flags);
        }),
    );
  }
  goal.addCommand(budgetAddCommand(app));
  goal.addCommand(openPrCommand(app));
  goal.addCommand(mergeCommand(app));
  goal.addCommand(answerCommand(app));
  goal.addCommand(goldenCommand(app));
  return goal;
}

/** `run`, `create` and `plan` take the same flags. */
function creating(name: "run" | "create" | "plan", app: App): Command {
  return limitOptions(approvalOptions(new Command(name)))
    .argument("<goal>", "the outcome you want, in one sentence")
    .option(
      "--engine <engine>",
      "who does the work: auto, opencode, kimi, claude, codex, gemini, goose, acp:<command line>, …: docs/engines.md",
    )
    .option("--gate <name=command>", "a gate of your own; may be given several times", collect, [])
    .option("--may-change <glob>", "protected files that the change may touch; repeatable", collect, [])
    .option("--allow-red <gate>", "a gate that may stay red where the base is red; repeatable", collect, [])
    .option(
      "--kind <kind>",
      "what kind of goal it is, where its words tell another: bugfix, greenfield, docs, …: docs/goals.md",
    )
    .option("--agent-review", "let the engine review the result, reading only", false)
    .option(
      "--max-agents <n>",
      "agents at work at once; above 1, each in a worktree of its own. Default: 1",
      number,
    )
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
    .option("--apply", "with slices: lay the accepted result over your files, too", false)
    .option("--enforce-protection", "add branch protection before merging (--merge-policy gated)", false)
    .option("--no-llm-planner", "plan by rules, without asking the engine")
    .option("--planner-token-budget <tokens>", "tokens the planner may answer with. Default: 8000", number)
    .option("--json", "print the goal as JSON", false)
    .action(async (text: string, flags: Record<string, unknown>) => {
      const { createCommand } = await import("./goal/run.ts");
      await createCommand(app, name, text, flags);
    });
}

function reading(
  name: "list" | "status" | "show" | "proof" | "replay" | "budget",
  app: App,
  withId = true,
): Command {
  const formatted = name !== "list" && name !== "status";
  const json = formatted ? "Shortcut for --format json" : `print ${withId ? "it" : "them"} as JSON`;
  const command = new Command(name).option("--json", json, false);
  const run = async (
    id: string,
    flags: { json: boolean; format?: "text" | "json" | "md"; tail?: number },
  ) => {
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
      case "budget":
        return (await import("./goal/budget.ts")).budgetCommand(app, id, flags);
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
    .option("--allow-change <path>", "let a protected or undeclared change pass; repeatable", collect, [])
    .option("--waive <finding>", "let a finding of the review pass, by its id; repeatable", collect, [])
    .option("--approve-gates", "let the gates count that were found in the result", false)
    .option("--slice <task>", "only these slices make up the result; repeatable", collect, [])
    .option("--again", "with --slice: also where the goal is ready, and has another result then", false)
    .option("--no-apply", "the branch is enough: lay nothing over your files, although the goal was made so")
    .option("--reason <text>", "why these may pass; needed with --allow-change and --waive")
    .option("--json", "print the proof as JSON", false)
    .addHelpText("after", ACCEPT_HELP)
    .addHelpText(
      "after",
      examples(
        'omk goal accept latest --summary "looked at the change"',
        'omk goal accept latest --summary "fine" --allow-change sum.test.js --reason "the test was wrong"',
        'omk goal accept latest --summary "tried it" --attest demo="ran it with two files"',
        'omk goal accept latest --summary "without the rest" --slice goal-agent-implement-1',
      ),
    )
    .action(async (id: string, flags: AcceptFlags) => {
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
    .option(
      "--auto",
      "go on with every goal that omk was working on when it died; the id is not looked at",
      false,
    )
    .option("--json", "print the goal as JSON", false)
    .addHelpText("after", RESUME_HELP)
    .action(async (id: string, flags: ResumeFlags & { auto: boolean }) => {
      if (flags.auto) {
        const { resumeAutoCommand } = await import("./goal/control.ts");
        return resumeAutoCommand(app, id, flags);
      }
      const { resumeCommand: resume } = await import("./goal/run.ts");
      await resume(app, id, flags);
    });
}

function budgetAddCommand(app: App): Command {
  return new Command("budget-add")
    .description("give a goal more to spend")
    .argument(...ID)
    .option("--time <duration>", "more time at work, e.g. 30m; without a suffix, seconds")
    .option("--tokens <tokens>", "more tokens", number)
    .option("--usd <usd>", "more dollars", number)
    .option("--json", "print the answer as JSON", false)
    .addHelpText("after", "\nAt least one of --time / --tokens / --usd must be provided.")
    .addHelpText(
      "after",
      examples(
        "omk goal budget-add latest --time 30m",
        "omk goal budget-add latest --tokens 200000 --usd 2.50",
      ),
    )
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

function mergeCommand(app: App): Command {
  return new Command("merge")
    .description("merge a goal's pull request, under the merge policies manual and gated")
    .argument(...ID)
    .option("--json", "print the outcome as JSON", false)
    .addHelpText(
      "after",
      "\nIt waits up to six minutes for the checks on GitHub, merges at the commit that was checked, and only once.",
    )
    .addHelpText("after", examples("omk goal merge", "omk goal merge latest --json"))
    .action(async (id: string, flags: { json: boolean }) => {
      const { mergeCommand: merge } = await import("./goal/merge.ts");
      await merge(app, id, flags);
    });
}

function answerCommand(app: App): Command {
  return new Command("answer")
    .description("answer what a goal asks a person")
    .argument(...ID)
    .requiredOption("--decision <text>", "how one can tell that the goal is reached")
    .option("--json", "print the goal as JSON", false)
    .addHelpText("after", examples('omk goal answer latest --decision "npm test passes on Windows, too"'))
    .action(async (id: string, flags: { decision: string; json: boolean }) => {
      const { answerCommand: answer } = await import("./goal/answer.ts");
      await answer(app, id, flags);
    });
}

/** Observations of the old program, which a rewrite must have. */
function goldenCommand(app: App): Command {
  const golden = new Command("golden")
    .description("record what a program does before the work, and compare the result with it")
    .addHelpText("after", "\nWhat is recorded is compared by itself when a goal is reviewed: docs/goals.md.")
    .addHelpText(
      "after",
      examples("omk goal golden record latest --name help --cmd 'python3 tool.py --help'"),
    );
  golden.addCommand(
    new Command("record")
      .description("run a command on the project as it was before the work, and keep what it does")
      .argument(...ID)
      .requiredOption("--name <name>", "what to call the observation")
      .requiredOption("--cmd <command>", "the command, a line for sh")
      .option("--file <path>", "a file that it writes, in the project; repeatable", collect, [])
      .option("--stdin <file>", "what it reads on its stdin")
      .option("--timeout <seconds>", "how long it may take. Default: 60", number)
      .option("--env <name>", "a variable of yours that it gets; repeatable", collect, [])
      .option("--ignore <regex>", "what changes from run to run (RE2); repeatable", collect, [])
      .option("--at-base", "also when the work has begun, on the files as they were before it", false)
      .option("--json", "print the observation as JSON", false)
      .addHelpText(
        "after",
        examples(
          "omk goal golden record latest --name help --cmd 'python3 tool.py --help'",
          "omk goal golden record latest --name report --cmd 'python3 tool.py in.csv' --file out.txt",
        ),
      )
      .action(async (id: string, flags: GoldenRecordFlags) => {
        const { goldenRecordCommand } = await import("./goal/golden.ts");
        await goldenRecordCommand(app, id, flags);
      }),
  );
  golden.addCommand(
    new Command("compare")
      .description("run every recorded command on the project as it is; 0 when nothing differs")
      .argument(...ID)
      .option(
        "--intentional <name/field=reason>",
        "mark a difference as wanted, from now on; repeatable",
        collect,
        [],
      )
      .option("--json", "print the comparison as JSON", false)
      .addHelpText(
        "after",
        examples(
          "omk goal golden compare",
          "omk goal golden compare latest --intentional 'help/stdout=options are sorted now'",
        ),
      )
      .action(async (id: string, flags: { intentional: string[]; json: boolean }) => {
        const { goldenCompareCommand } = await import("./goal/golden.ts");
        await goldenCompareCommand(app, id, flags);
      }),
  );
  golden.addCommand(
    new Command("list")
      .description("list what was recorded")
      .argument(...ID)
      .option("--json", "print the observations as JSON", false)
      .addHelpText("after", examples("omk goal golden list"))
      .action(async (id: string, flags: { json: boolean }) => {
        const { goldenListCommand } = await import("./goal/golden.ts");
        await goldenListCommand(app, id, flags);
      }),
  );
  return golden;
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
with at most --max-attempts agent turns for each part of the plan. The same steps by hand (verify -> execute ->
review -> accept) are the manual recovery path. Budgets are optional and must be > 0; --budget-time takes the suffix s/m/h/d.
${examples(
  'omk goal run "Fix all failing cargo tests" --until-ready --engine scripted:fix.json',
  "omk goal run \"Add a --json flag\" --gate 'tests=npm test' --max-attempts 5",
)}`;

const ACCEPT_HELP = `
The acceptance is kept with the result as it is now. When evidence is missing, the goal becomes ready as soon as that is
there and the result is the same: a reviewed one after "omk goal review", an unrun one after "omk goal verify".

With --slice only the slices that are named, and what they build on, make up the result. It is made anew of them, its gates
and its review run, and only then the acceptance decides. The others are left out; what they did stays where it is.`;

const RESUME_HELP = `
A goal made with --until-ready is driven on from the step at which it stopped; any other is only put back on its way.
After a restart of the machine, or when omk was killed, --auto finds the goals it was working on ("running", with no
omk behind them) and goes on with one after another, each in its own project directory. Nothing is spent before that.
${examples(
  "omk goal resume",
  "omk goal resume goal-20260101-120000-000-1a2b3c4d",
  "omk goal resume latest --until-ready --engine opencode",
  "omk goal resume --auto",
)}`;

const CONTROL_HELP = {
  pause: `
A running goal stops within seconds, wherever it is, and keeps its files and what was spent. It works from any terminal.
${examples("omk goal pause", "omk goal pause goal-20260101-120000-000-1a2b3c4d", "omk goal resume latest")}`,
  cancel: `
A running goal stops within seconds. A cancelled goal is never worked on again. Nothing is thrown away: its record stays,
work in place stays in your files, and what attempts in worktrees had done, whole or half, is in "omk rescue list".
${examples("omk goal cancel", "omk goal cancel goal-20260101-120000-000-1a2b3c4d --json")}`,
} as const;
