/** Comparing what a program did with what the old one did: in a fixed order, field by field. Pure. */
import { RE2JS, RE2JSException } from "re2js";

import { OmkError } from "../errors.ts";
import type { GoldenComparison, GoldenMismatch, GoldenObservation, Work } from "../format/work.ts";
import { sha256 } from "../store/event-line.ts";

/** What a program did; files by path. */
export interface Behaviour {
  stdout: Buffer;
  stderr: Buffer;
  exitCode: number;
  files: ReadonlyMap<string, Buffer>;
}

/** Stands for a file that one side has and the other lacks. */
const MISSING = "<missing>";
/** How much of a differing field is shown: from a little before the first difference. */
const SHOWN_CHARACTERS_MAX = 2_000;
const SHOWN_BEFORE = 200;

/** Regular expressions that run in linear time, or `usage.invalid`. */
export function compileIgnored(patterns: readonly string[]): RE2JS[] {
  return patterns.map((pattern) => {
    try {
      return RE2JS.compile(pattern);
    } catch (error) {
      if (!(error instanceof RE2JSException)) throw error;
      throw new OmkError(
        "usage.invalid",
        `--ignore ${JSON.stringify(pattern)} is no regular expression: ${error.message}`,
        { hint: "RE2 syntax, without look-around and back-references, for example: --ignore '[0-9]+ms'" },
      );
    }
  });
}

/** Differences in the order stdout, stderr, exit code, then files by path over both sides. */
export function compareBehaviour(
  expected: Behaviour,
  actual: Behaviour,
  { ignore, intentional }: Pick<GoldenObservation, "ignore" | "intentional">,
): GoldenMismatch[] {
  const ignored = compileIgnored(ignore);
  const paths = [...new Set([...expected.files.keys(), ...actual.files.keys()])].sort();
  const fields: [string, Buffer | undefined, Buffer | undefined][] = [
    ["stdout", expected.stdout, actual.stdout],
    ["stderr", expected.stderr, actual.stderr],
    ["exit_code", Buffer.from(String(expected.exitCode)), Buffer.from(String(actual.exitCode))],
    ...paths.map((path): [string, Buffer | undefined, Buffer | undefined] => [
      `files/${path}`,
      expected.files.get(path),
      actual.files.get(path),
    ]),
  ];
  return fields.flatMap(([field, before, now]) => {
    if (isSame(before, now, field === "exit_code" ? [] : ignored)) return [];
    const reason = intentional.find((one) => one.field === field)?.reason;
    return [{ field, ...shown(before, now), ...(reason !== undefined && { intentional: reason }) }];
  });
}

function isSame(before: Buffer | undefined, now: Buffer | undefined, ignored: readonly RE2JS[]): boolean {
  if (before === undefined || now === undefined) return before === now;
  if (before.equals(now)) return true;
  return ignored.length > 0 && withoutIgnored(before, ignored) === withoutIgnored(now, ignored);
}

function withoutIgnored(bytes: Buffer, ignored: readonly RE2JS[]): string {
  // Each byte is a character, so that what is no UTF-8 still differs from other such bytes.
  const text = isUtf8(bytes) ? bytes.toString("utf8") : bytes.toString("latin1");
  return ignored.reduce((left, pattern) => pattern.matcher(left).replaceAll(""), text);
}

function isUtf8(bytes: Buffer): boolean {
  return Buffer.from(bytes.toString("utf8")).equals(bytes);
}

/** Both sides from a little before where they part. */
function shown(before: Buffer | undefined, now: Buffer | undefined): { expected: string; actual: string } {
  const [old, present] = [before?.toString("utf8"), now?.toString("utf8")];
  let at = 0;
  if (old !== undefined && present !== undefined) {
    while (at < old.length && at < present.length && old[at] === present[at]) at++;
  }
  const from = Math.max(0, at - SHOWN_BEFORE);
  const cut = (text: string | undefined): string => {
    if (text === undefined) return MISSING;
    const part = text.slice(from, from + SHOWN_CHARACTERS_MAX);
    const left = text.length - from - part.length;
    return `${from > 0 ? `[${from} characters are the same]\n` : ""}${part}${left > 0 ? `\n[${left} characters more]` : ""}`;
  };
  return { expected: cut(old), actual: cut(present) };
}

/** Changes when an observation is added, or what of it is ignored or wanted. */
export function observationsDigest(observations: readonly GoldenObservation[]): string {
  return sha256(
    JSON.stringify(
      observations.map(({ name, command, env, timeout_secs, files, ignore, evidence, intentional }) => [
        name,
        command,
        env,
        timeout_secs,
        files,
        ignore,
        evidence.map(({ path, sha256: digest }) => [path, digest]),
        intentional.map(({ field, reason }) => [field, reason]),
      ]),
    ),
  );
}

/** What differs and nobody wants, by observation. */
export function unwantedMismatches({
  results,
}: Pick<GoldenComparison, "results">): { name: string; mismatch: GoldenMismatch }[] {
  return results.flatMap(({ name, mismatches }) =>
    mismatches.filter(({ intentional }) => intentional === undefined).map((mismatch) => ({ name, mismatch })),
  );
}

/** Why the present result does not do what the old program did, for the agent that goes on with it. */
export function goldenFeedback(work: Work): string[] {
  const comparison = work.golden_comparison;
  if (!comparison || comparison.tree !== work.result?.tree) return [];
  return unwantedMismatches(comparison).map(({ name, mismatch: { field, expected, actual } }) => {
    const command = work.golden?.find((one) => one.name === name)?.command ?? name;
    return (
      `The old program was observed, and the result does not do the same. \`${command}\`, ${field}:\n\n` +
      `Expected:\n\`\`\`\n${expected}\n\`\`\`\n\nGot:\n\`\`\`\n${actual}\n\`\`\``
    );
  });
}
