/** What a goal's text says: its normal form, its kind, and whether anybody could tell when it is reached. */
import { OmkError } from "../errors.ts";
import { GoalKind, type Goal } from "../format/goal.ts";

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

/** What decides about a goal's kind and its testability: what was wanted, and what a person answered to a question. */
export type Wanted = Pick<Goal, "normalized_goal" | "kind" | "answers">;

/** The goal with the answers that a person gave, in normal form. */
export function wantedText({ normalized_goal, answers = [] }: Omit<Wanted, "kind">): string {
  return [normalized_goal, ...answers.map(({ answer }) => normalizeGoal(answer))].join(". ");
}

/** The kind of a goal: what a person said, or what its words tell. The one place that decides it. */
export function kindOf(goal: Wanted): GoalKind {
  return goal.kind ?? goalKind(wantedText(goal));
}

/** One of the kinds, or `usage.invalid`. */
export function checkKind(kind: string): GoalKind {
  const known = GoalKind.safeParse(kind);
  if (known.success) return known.data;
  throw new OmkError("usage.invalid", `There is no kind of goal called ${JSON.stringify(kind)}.`, {
    hint: `The kinds are: ${GoalKind.options.join(", ")}.`,
  });
}

/**
 * The kind that words give away. A goal is taken apart into clauses; in each, what is done decides before what it is done
 * to, unless that is documentation or performance itself ("rewrite the README" is docs). Several kinds make `mixed`; but
 * documentation and new things that come along with other work do not count, and of these two the first decides.
 */
export function goalKind(normalized: string): GoalKind {
  const clauses = normalized
    .toLowerCase()
    .split(/[;\n]|[.:,!?](?=\s|$)|\s(?:and|then|but|while|&)\s/u)
    .map(clauseWords);
  const found = [...new Set(clauses.flatMap(clauseKinds))];
  const deciding = found.filter((kind) => kind !== "docs" && kind !== "greenfield");
  if (deciding.length > 1) return "mixed";
  return deciding[0] ?? found[0] ?? "greenfield";
}

/** A file's name with its folders: parts of it are no words that somebody said. */
const FILE = /^[^\p{L}\p{N}]*[\p{L}\p{N}\p{M}_./@+-]*\.\p{L}[\p{L}\p{N}]*[^\p{L}\p{N}]*$/u;
const DOCS_FOLDER = /^[^\p{L}\p{N}]*docs?\//u;
const DOCS_FILE = /\.(?:adoc|md|mdx|rst)$/;
/** Stands for a file among the words; no list has it. */
const ANY_FILE = "a-file";

/** The words of a clause; a file is one word, and of files only documentation says what the goal is about. */
function clauseWords(clause: string): string[] {
  return clause.split(/\s+/u).flatMap((part) => {
    if (!FILE.test(part)) return wordsOf(part);
    const name = part.replace(/[^\p{L}\p{N}]+$/u, "");
    return [DOCS_FILE.test(name) || DOCS_FOLDER.test(name) ? "docs" : ANY_FILE];
  });
}

/** What is done. Whole words: `support` is no port, `perfect` is no performance. */
const ACTIONS: readonly (readonly [GoalKind, ReadonlySet<string>])[] = [
  [
    "rewrite",
    words("rewrite rewrites rewriting rewritten reimplement reimplements reimplementing porting ported"),
  ],
  ["migration", words("migrate migrates migrating migrated")],
  ["refactor", words("refactor refactors refactoring refactored refactorings restructure restructuring")],
  ["audit", words("audit audits auditing audited")],
  ["bugfix", words("fix fixes fixing bugfix bugfixes hotfix repair repairs repairing debug")],
  ["performance", words("optimize optimise optimizing optimising optimization optimisation")],
];
/** What it is done to, where no action decides. */
const OBJECTS: readonly (readonly [GoalKind, ReadonlySet<string>])[] = [
  ["bugfix", words("bug bugs typo typos")],
  ["migration", words("migration migrations")],
  ["performance", words("performance benchmark benchmarks benchmarking perf")],
  ["docs", words("docs doc documentation readme changelog docstring docstrings")],
];
const DOCS = new Set(OBJECTS.flatMap(([kind, nouns]) => (kind === "docs" ? [...nouns] : [])));
const TYPO = words("typo typos");
const BUILDING = words("greenfield build builds create creates implement implements add adds");

/** Nouns before which a word only names what they are: a `docs generator` is no documentation. */
const NAMED_BY = words(
  "api app button checker client column command commands config endpoint engine event events field form framework " +
    "generator handler library log logs middleware model module number option package page pages parser pipeline plugin " +
    "report reports rule rules runner screen script scripts search server service site system table template tool tools " +
    "tracker trail trails website widget",
);
const TESTS = words("test tests suite");
/** Between a verb and what it is done to. */
const BETWEEN = words(
  "a all an another any broken existing failing few its many missing my new of old our outdated project public s some that " +
    "the their these this those whole wrong your",
);
/** Before a `port` that is meant as a verb. */
const BEFORE_VERB = words("to please we i you should must will can could shall let us need");
const TOWARDS = words("to from into in onto over");

function clauseKinds(said: readonly string[]): GoalKind[] {
  const isMeant = (at: number) => !NAMED_BY.has(said[at + 1] ?? "");
  const speaksOf = (nouns: ReadonlySet<string>) => said.some((word, at) => nouns.has(word) && isMeant(at));
  // Whoever mends a typo in documentation mends no program.
  const typoInDocs = speaksOf(TYPO) && speaksOf(DOCS);
  const kinds = new Set<GoalKind>();
  for (const at of said.keys()) {
    const action = isMeant(at) || isCommand(said, at) ? actionOf(said, at) : undefined;
    if (action === undefined) continue;
    // A report about documentation is still an audit.
    const object = action === "audit" ? undefined : typoInDocs ? "docs" : objectAfter(said, at);
    kinds.add(object === "docs" || object === "performance" ? object : action);
  }
  if (kinds.size > 0) return [...kinds];
  if (typoInDocs) return ["docs"];
  const objects = OBJECTS.filter(([, nouns]) => speaksOf(nouns)).map(([kind]) => kind);
  if (objects.length > 0) return objects;
  return said.some((word) => BUILDING.has(word)) ? ["greenfield"] : [];
}

/** Nouns that begin with a verb: an `audit log` is kept, while `audit server endpoints` tells somebody what to do. */
const NOUNS = new Set(
  [
    "audit log",
    "audit trail",
    "audit event",
    "audit report",
    "audit table",
    "debug log",
    "debug page",
    "rewrite rule",
  ].flatMap((noun) => [noun, `${noun}s`]),
);

/** Whether a verb tells somebody what to do, and does not name the noun behind it: `rewrite tools`, not `a rewrite engine`. */
function isCommand(said: readonly string[], at: number): boolean {
  if (at > 0 && !BEFORE_VERB.has(said[at - 1] ?? "")) return false;
  return !NOUNS.has(`${said[at]} ${said[at + 1] ?? ""}`);
}

function actionOf(said: readonly string[], at: number): GoalKind | undefined {
  const word = said[at] ?? "";
  if (word === "port") return isVerbPort(said, at) ? "rewrite" : undefined;
  return ACTIONS.find(([, verbs]) => verbs.has(word))?.[0];
}

/** A port is a number, a socket or a harbour, unless somebody ports something to somewhere. */
function isVerbPort(said: readonly string[], at: number): boolean {
  if (/^\d/.test(said[at + 1] ?? "")) return false;
  if (at > 0 && !BEFORE_VERB.has(said[at - 1] ?? "")) return false;
  return said.slice(at + 2).some((word) => TOWARDS.has(word)) && !(said[at + 1] ?? "").endsWith("ing");
}

/** Documentation or performance, where a verb's object is that itself. */
function objectAfter(said: readonly string[], verbAt: number): GoalKind | undefined {
  let at = verbAt + 1;
  while (BETWEEN.has(said[at] ?? "")) at++;
  const kind = OBJECTS.find(([, nouns]) => nouns.has(said[at] ?? ""))?.[0];
  const next = said[at + 1] ?? "";
  return NAMED_BY.has(next) || TESTS.has(next) ? undefined : kind;
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
  const isSigned = wordsOf(normalized).some((word) => SIGNALS.has(word));
  if (countWords(normalized) >= WORDS_MIN && (!isVague(normalized) || isSigned)) return { testable: true };
  const question = `Which testable success criteria does "${normalized}" have? Name a command, a test or a behaviour.`;
  return { testable: false, question };
}

/**
 * The same for a goal with the answers to that question. The newest answer may stand for itself: whoever was asked what he
 * meant need not repeat words that omk happens to know.
 */
export function testabilityOf(goal: Omit<Wanted, "kind">): ReturnType<typeof testability> {
  const whole = testability(wantedText(goal));
  const answer = normalizeGoal(goal.answers?.at(-1)?.answer ?? "");
  if (whole.testable || (answer !== "" && testability(answer).testable)) return { testable: true };
  return testability(goal.normalized_goal).testable ? { testable: true } : whole;
}

const WORDS_MIN = 3;

function isVague(text: string): boolean {
  const lower = text.toLowerCase();
  return VAGUE.some((phrase) => lower.includes(phrase));
}

/** Words between spaces; in scripts that put none between words, every character counts. */
function countWords(text: string): number {
  const unspaced =
    text.match(
      /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/gu,
    ) ?? [];
  return text.split(" ").length + unspaced.length;
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
