/** What a goal's text says: its normal form, its kind, and whether anybody could tell when it is reached. */
import { OmkError } from "../errors.ts";

/** Kinds of goals, which decide what evidence readiness needs. */
export type GoalKind =
  | "greenfield"
  | "rewrite"
  | "migration"
  | "refactor"
  | "audit"
  | "bugfix"
  | "performance"
  | "docs"
  | "mixed";

/** The checks each kind must satisfy before a goal of it is ready. */
export const REQUIRED_CHECKS: Readonly<Record<GoalKind, readonly string[]>> = {
  greenfield: ["acceptance", "smoke", "demo"],
  rewrite: ["compatibility", "golden"],
  migration: ["compatibility", "golden"],
  refactor: ["compatibility", "golden"],
  audit: ["audit"],
  bugfix: ["regression"],
  performance: ["performance"],
  docs: ["docs"],
  mixed: ["acceptance", "compatibility"],
};

const GOAL_BYTES_MAX = 1024 * 1024;

/** The text trimmed, or `usage.invalid` when it is empty or over 1 MiB. */
export function checkGoalText(text: string): string {
  const trimmed = text.trim();
  if (trimmed === "") {
    throw new OmkError("usage.invalid", "The goal text cannot be empty.", {
      hint: 'Say what should be true at the end, for example: omk goal run "Fix the failing test in sum.test.js"',
    });
  }
  const bytes = Buffer.byteLength(trimmed);
  if (bytes > GOAL_BYTES_MAX) {
    throw new OmkError(
      "goal.too_large",
      `The goal text has ${bytes} bytes; at most ${GOAL_BYTES_MAX} are taken.`,
      {
        hint: "Put the details into a file of the repository and name that file in the goal.",
      },
    );
  }
  return trimmed;
}

/** White space folded to single spaces; the case stays. */
export function normalizeGoal(text: string): string {
  return text.split(/\s+/u).filter(Boolean).join(" ");
}

/** Words that give a kind away. Whole words: `support` is no port, `perfect` is no performance. */
const KIND_WORDS: readonly (readonly [GoalKind, ReadonlySet<string>])[] = [
  ["rewrite", words("rewrite rewrites rewriting rewritten port ports porting ported")],
  ["migration", words("migrate migrates migrating migrated migration migrations")],
  ["refactor", words("refactor refactors refactoring refactored")],
  ["audit", words("audit audits auditing audited")],
  ["bugfix", words("bugfix bugfixes fix fixes fixing fixed bug bugs")],
  ["performance", words("performance benchmark benchmarks perf")],
  ["docs", words("docs documentation readme")],
  ["greenfield", words("greenfield")],
];
const BUILDING = words("build create implement add");

/** The kind of a goal, from the words of its normal form. Several kinds make it `mixed`, none `greenfield`. */
export function goalKind(normalized: string): GoalKind {
  const said = new Set(wordsOf(normalized));
  const kinds = KIND_WORDS.filter(([, given]) => [...given].some((word) => said.has(word))).map(
    ([kind]) => kind,
  );
  if (kinds.length === 0 && [...BUILDING].some((word) => said.has(word))) return "greenfield";
  return kinds.length > 1 ? "mixed" : (kinds[0] ?? "greenfield");
}

const VAGUE = [
  "make it awesome",
  "make this awesome",
  "make it better",
  "make this better",
  "make better",
  "improve it",
  "improve this",
  "do magic",
  "state of art",
  "state-of-art",
];
const SIGNALS = words(
  "acceptance api audit benchmark build cli compile coverage fix gate harden implement migrate performance proof " +
    "refactor rewrite security test tests verify",
);

/** Whether a stranger could tell when the goal is reached; if not, the question for the person who asked. */
export function testability(normalized: string): { testable: true } | { testable: false; question: string } {
  const said = wordsOf(normalized);
  const lower = normalized.toLowerCase();
  const vague = VAGUE.some((phrase) => lower.includes(phrase));
  if (normalized.split(" ").length >= 3 && (!vague || said.some((word) => SIGNALS.has(word)))) {
    return { testable: true };
  }
  const question = `Which testable success criteria does "${normalized}" have? Name a command, a test or a behaviour.`;
  return { testable: false, question };
}

function wordsOf(text: string): string[] {
  return text
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter(Boolean);
}

function words(list: string): ReadonlySet<string> {
  return new Set(list.split(" "));
}
