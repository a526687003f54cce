/** What the definitions of commands share: values of flags, and examples below a help text. */
import { InvalidArgumentError, Option, type Command } from "commander";

/** For a flag that may be given several times. */
export function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

/** For a flag that takes a number. */
export function number(text: string): number {
  // Values that are numbers but no sensible ones are refused later, by the rule of their flag.
  if (/^[+-]?(nan|inf(inity)?)$/i.test(text.trim())) return Number.NaN;
  const value = Number(text);
  if (text.trim() === "" || Number.isNaN(value)) throw new InvalidArgumentError("Write a number.");
  return value;
}

/** Who decides what agents ask, for every command that lets them work. */
export function approvalOptions(command: Command): Command {
  return command
    .option(
      "--approval-policy <policy>",
      "who decides what the agent asks: never, safe, workspace, yolo or pattern:<regex>. Default: workspace",
    )
    .option("--approval-timeout <duration>", "how long a request waits for a person. Default: 5m")
    .addOption(
      new Option(
        "--approval-on-timeout <what>",
        "what silence is: a no, or a stop until somebody answers. Default: block without a terminal",
      ).choices(["reject", "block"]),
    );
}

/** How long and how much, for every command that makes work. */
export function limitOptions(command: Command): Command {
  return command
    .option(
      "--max-attempts <n>",
      "executions of a task before it counts as failed (1 to 20). Default: 3",
      number,
    )
    .option(
      "--budget-time <duration>",
      "stop after this long at work: a number with the suffix s/m/h/d; without one, seconds",
    )
    .option("--budget-tokens <tokens>", "stop after this many tokens; must be > 0", number)
    .option("--budget-usd <usd>", "stop after this many dollars; must be > 0", number);
}

/** Example command lines, as help texts end with. */
export function examples(...lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}\n`;
}
