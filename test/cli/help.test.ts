/** Every command under `omk goal` explains itself, with examples that the command line itself understands. */
import { describe, expect, test } from "vitest";

import type { Command } from "commander";

import type { App } from "../../src/cli/app.ts";
import { buildProgram } from "../../src/cli/program.ts";

/** Nothing of it is used to print help. */
const NOWHERE = { io: { stdout: { write: () => true }, stderr: { write: () => true } } } as unknown as App;

function program(): Command {
  return buildProgram(NOWHERE);
}

function find(root: Command, names: readonly string[]): Command {
  return names.reduce((at, name) => {
    const found = at.commands.find((one) => one.name() === name);
    if (!found) throw new Error(`There is no command ${names.join(" ")}.`);
    return found;
  }, root);
}

/** What `--help` prints, in one line: where it is wrapped says nothing. */
function helpOf(command: Command): string {
  let text = "";
  command.configureOutput({ writeOut: (piece) => void (text += piece), getOutHelpWidth: () => 100 });
  command.outputHelp();
  return text;
}

function goalCommands(): string[][] {
  const all = (at: Command, path: string[]): string[][] =>
    at.commands
      .filter((one) => one.name() !== "help")
      .flatMap((one) => [[...path, one.name()], ...all(one, [...path, one.name()])]);
  return [["goal"], ...all(find(program(), ["goal"]), ["goal"])];
}

describe("the help of", () => {
  test.each(goalCommands().map((names) => [names.join(" "), names] as const))(
    "omk %s says what it does and ends with examples of it",
    (line, names) => {
      const command = find(program(), names);
      const text = helpOf(command);
      expect(command.description(), line).not.toBe("");
      const [, examples] = /\nExamples:\n((?: {2}\S.*\n)+)\n*$/.exec(text) ?? [];
      expect(examples, text).toBeDefined();
      expect(examples, line).toContain(line === "goal" ? "omk goal" : `omk ${line}`);
      for (const option of command.options)
        expect(option.description, `${line} ${option.flags}`).not.toBe("");
    },
  );

  const PINNED: [string, string[]][] = [
    [
      "goal",
      [
        "Goal runtime",
        "omk goal run",
        "omk goal show latest --json",
        "Goal state is stored",

        "run",
        "create",
        "plan",
        "list",
        "status",
        "show",
        "proof",
        "replay",
        "verify",
        "execute",
        "review",
        "accept",
        "reject",
        "resume",
        "pause",
        "cancel",
        "budget-add",
      ],
    ],
    [
      "goal run",
      [
        "Fix all failing cargo tests",
        "suffix s/m/h/d",
        "must be > 0",
        "one-command controller",
        "verify -> execute -> review",
        "manual recovery",
        "--enforce-protection",
        "--no-llm-planner",
        "--planner-token-budget",
        "Default: 8000",
      ],
    ],
    ["goal budget-add", ["At least one of --time / --tokens / --usd must be provided."]],
    ["goal show", ["--format", "--json", "Shortcut for"]],
    ["goal proof", ["--format", "--json", "Shortcut for"]],
    ["goal replay", ["--format", "--json", "Shortcut for"]],
    ["goal resume", ["--auto", "omk goal resume --auto"]],
  ];
  test.each(PINNED)("omk %s has the words that scripts of 0.5.0 look for", (line, fragments) => {
    const words = helpOf(find(program(), line.split(" "))).replace(/\s+/g, " ");
    for (const fragment of fragments) expect(words, line).toContain(fragment);
  });
});
