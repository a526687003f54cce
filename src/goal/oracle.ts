/** Which of a goal's checks its evidence shows. A gate's name or `covers` may name a check; omk finds others itself. */
import type { GateResult } from "../format/gate.ts";
import type { GoalKind } from "../format/goal.ts";
import type { OracleEvidence } from "../format/integration.ts";
import type { GoldenComparison, Work } from "../format/work.ts";
import { areGreen, mendedGates, worsenedGates } from "../gate/state.ts";
import { unwantedMismatches } from "./golden-compare.ts";
import { kindOf, REQUIRED_CHECKS, type Wanted } from "./intake.ts";

type Check = OracleEvidence["checks"][number];

/** What is judged: the gates on the result, and what only the trees can say. */
export interface OracleFacts {
  goal: Wanted;
  gates: Work["gates"];
  /**
   * Tests that the change adds: whether any of them checks something, and whether they are all there is. Undefined where
   * none was tried on the base.
   */
  addedTests: { check: boolean; alone: boolean } | undefined;
  /** Every relative link of changed documentation resolves; undefined when no documentation changed. */
  docsLinks: { broken: string[] } | undefined;
  /** A Markdown or text file was added, and holds no secret. */
  reportAdded: boolean;
  /** What was recorded of the old program against the result; undefined when nothing was recorded. */
  golden: GoldenComparison | undefined;
}

const UNCHANGED = "What the project does must stay as it is; leave the tests that exist as they are.";

/** What an agent can do so that a goal of this kind can be shown to be reached: for its prompt. */
export const ASKED_OF_AGENT: Readonly<Record<GoalKind, string>> = {
  bugfix:
    "Where none of the commands that decide fails already, add a test that fails without your change and passes with it.",
  greenfield: "Add tests of what is new: they must fail without your change and pass with it.",
  mixed:
    "Add tests of what is new: they must fail without your change. Leave the tests that exist as they are.",
  rewrite: UNCHANGED,
  migration: UNCHANGED,
  refactor: UNCHANGED,
  docs: "In Markdown files that you change, relative links must lead to files that exist.",
  audit: "Write what you find into a new Markdown file; quote no secrets.",
  performance: "Measure before and after, with the command that the project has for it.",
};

/** Checks for which an agent can make what shows them: a test, a document, a report. */
const MENDABLE: ReadonlySet<string> = new Set(["regression", "acceptance", "docs", "audit"]);

/** Checks that the present result does not show, and that another turn may. */
export function missingForAgent({ review, acceptance }: Pick<Work, "review" | "acceptance">): Check[] {
  return (review?.oracle.checks ?? []).filter(
    ({ name, status }) =>
      status === "blocked" && MENDABLE.has(name) && acceptance?.attested?.[name] === undefined,
  );
}

/** The checks of the goal's kind, each with what shows it. */
export function judgeOracle(facts: OracleFacts): OracleEvidence {
  const kind = kindOf(facts.goal);
  const checks = REQUIRED_CHECKS[kind].map((name) => judgeCheck(name, kind, facts));
  const passed = checks.every((check) => check.status !== "blocked");
  return { kind, status: passed ? "passed" : "blocked", checks };
}

function judgeCheck(name: string, kind: string, facts: OracleFacts): Check {
  const results = facts.gates?.results ?? [];
  const covering = results.find((gate) => gate.verdict === "passed" && coversCheck(gate, name));
  if (covering) return { name, status: "passed", gate: covering.name };
  return { name, gate: null, ...findEvidence(name, kind, facts, results) };
}

function coversCheck(gate: GateResult, check: string): boolean {
  const covers = gate.covers;
  if (Array.isArray(covers) && covers.includes(check)) return true;
  return gate.name
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .includes(check);
}

function findEvidence(
  name: string,
  kind: string,
  facts: OracleFacts,
  results: readonly GateResult[],
): Pick<Check, "status" | "reason"> {
  const required = areGreen(results);
  const red = facts.gates?.added_tests?.status === "red_on_base";
  const worthless = red ? worthlessTests(facts.addedTests) : undefined;
  const added = red && worthless === undefined;
  const mended = mendedGates(results)[0];
  // A person who gives a command for this very goal has said how to see that it is reached.
  const asked = required ? mendedGates(results).find(({ source }) => source === "flag") : undefined;
  const seen =
    asked && passed(`gate ${asked.name}, given for this goal, was red on the base and is green now`);
  switch (name) {
    case "regression":
      if (mended && required) return passed(`gate ${mended.name} was red on the base and is green now`);
      return added && required
        ? passed("tests that the change adds fail on the base and pass now")
        : blocked(`no gate turned from red to green, and ${worthless ?? "no added test fails on the base"}`);
    case "acceptance":
      if (seen) return seen;
      return added && required
        ? passed("tests that the change adds fail on the base and pass now")
        : blocked(
            `no gate given with --gate turned green, and ${worthless ?? "no added test fails on the base's sources"}`,
          );
    case "smoke":
      return required && results.some((gate) => (gate.counts?.tests ?? 0) > 0)
        ? passed("every required gate passed and at least one test ran")
        : (seen ?? blocked("no required gate that passed is known to have run a test"));
    case "demo":
      return { status: "not_applicable", reason: "no gate covers a demo" };
    case "golden":
      if (facts.golden) return golden(facts.golden);
      return kind === "rewrite"
        ? blocked("a rewrite needs recorded observations of the old program: omk goal golden record")
        : compatibility(facts, results);
    case "compatibility":
      return compatibility(facts, results);
    case "docs":
      if (!facts.docsLinks) return blocked("no documentation file was changed in more than blanks");
      if (facts.docsLinks.broken.length > 0)
        return blocked(`links lead nowhere: ${facts.docsLinks.broken.join(", ")}`);
      return worsenedGates(results).length === 0
        ? passed("documentation changed, links resolve")
        : blocked("a gate is worse");
    case "audit":
      return facts.reportAdded
        ? passed("a report was added")
        : blocked("no report was added: a new Markdown or text file that says something");
    default:
      return blocked(`needs a gate that covers ${name}, or an attestation`);
  }
}

/** Why added tests that are red on the base show nothing; undefined where they do. */
function worthlessTests(added: OracleFacts["addedTests"]): string | undefined {
  if (!added) return undefined;
  if (!added.check) return "the added tests check nothing (no assertion on a value)";
  // The base with all of the change is the result: red there and green here is a test that looks where it is.
  return added.alone ? "the change is nothing but the added tests" : undefined;
}

/** Every test gate that was green on the base is green now, with the base's own test files. */
function compatibility(facts: OracleFacts, results: readonly GateResult[]): Pick<Check, "status" | "reason"> {
  const tests = results.filter((gate) => gate.base === "passed" && (gate.kind === "test" || gate.counts));
  const copies = facts.gates?.base_copies?.status ?? "passed";
  if (tests.length === 0) return blocked("no test gate was green on the base");
  if (copies !== "passed") return blocked("gates are not green with the base's test files");
  return tests.every((gate) => gate.verdict === "passed")
    ? passed("every test gate that was green on the base is green now")
    : blocked("a test gate that was green on the base is not green now");
}

/** Everything recorded of the old program is as it was, or differs as a person wanted it to. */
function golden({ results }: GoldenComparison): Pick<Check, "status" | "reason"> {
  const differing = unwantedMismatches({ results }).map(
    ({ name, mismatch }) => `${name} (${mismatch.field})`,
  );
  if (differing.length > 0)
    return blocked(`observations differ from the old program: ${differing.join(", ")}`);
  const wanted = results.flatMap(({ name, mismatches }) =>
    mismatches.map(({ field, intentional }) => `${name} (${field}): ${intentional}`),
  );
  const count =
    results.length === 1 ? "1 recorded observation matches" : `${results.length} recorded observations match`;
  if (wanted.length === 0) return passed(count);
  const differences =
    wanted.length === 1 ? "1 intentional difference" : `${wanted.length} intentional differences`;
  return passed(`${count}, with ${differences}: ${wanted.join("; ")}`);
}

function passed(reason: string): Pick<Check, "status" | "reason"> {
  return { status: "passed", reason };
}

function blocked(reason: string): Pick<Check, "status" | "reason"> {
  return { status: "blocked", reason };
}
