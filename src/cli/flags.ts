/** What the definitions of commands share: values of flags, and examples below a help text. */
import { InvalidArgumentError } from "commander";

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

/** Example command lines, as help texts end with. */
export function examples(...lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}\n`;
}
