import { describe, expect, test } from "vitest";

import type { GateResult } from "../../src/format/gate.ts";
import type { GoldenMismatch, Work } from "../../src/format/work.ts";
import type { WorkTree } from "../../src/git/work-tree.ts";
import { brokenLinks, isDocumentation } from "../../src/goal/docs-links.ts";
import { judgeOracle, type OracleFacts } from "../../src/goal/oracle.ts";
import { readAllBy } from "../support/read-all.ts";

const never = new AbortController().signal;

function gate(difference: Partial<GateResult> = {}): GateResult {
  const common = {
    name: "check",
    stdout: "",
    stderr: "",
    duration_ms: 1,
    required: true,
    command_line: "npm test",
  };
  const ended = { passed: true, timed_out: false, timeout_secs: 0, verdict: "passed" as const };
  return { ...common, ...ended, source: "config", kind: "test", base: "passed", ...difference };
}

function gates(difference: Partial<NonNullable<Work["gates"]>> = {}): NonNullable<Work["gates"]> {
  return {
    tree: "t1",
    run: "1",
    results: [gate()],
    base_copies: null,
    added_tests: null,
    side_effects: [],
    ...difference,
  };
}

function judge(normalizedGoal: string, difference: Partial<OracleFacts> = {}) {
  const nothing = {
    gates: null,
    addedTests: undefined,
    docsLinks: undefined,
    reportAdded: false,
    golden: undefined,
  };
  return judgeOracle({ goal: { normalized_goal: normalizedGoal }, ...nothing, ...difference });
}

const counts = (tests: number) => ({ tests, passed: tests, failed: 0, skipped: 0 });
const added = (status: "red_on_base" | "green_on_base" | "unusable") => ({
  status,
  files: ["a.test.js"],
  results: [],
});
const copies = (status: "passed" | "failed" | "unusable") => ({ status, files: ["a.test.js"], results: [] });
const mended = gate({ base: "failed" });
const red = gate({ name: "lint", verdict: "failed", passed: false });

const BUG = "Fix the rounding of totals";
const NEW = "Create a login page";
const CLEAN = "Refactor the session module";
const DOCS = "Write docs for the API";
const OLD = "Rewrite the parser in Rust";
const golden = (...mismatches: GoldenMismatch[]) => ({
  tree: "t1",
  observations: "d1",
  results: [{ name: "help", mismatches }],
});
const AUDIT = "Audit the permissions of files";
const FAST = "Improve performance of the start";

describe("a check of the oracle", () => {
  const table: [string, string, string, Partial<OracleFacts>, string][] = [
    [
      "regression by a gate that turned green",
      BUG,
      "regression",
      { gates: gates({ results: [mended] }) },
      "passed",
    ],
    [
      "regression by a gate that timed out before",
      BUG,
      "regression",
      { gates: gates({ results: [gate({ base: "timed_out" })] }) },
      "passed",
    ],
    [
      "no regression by a gate that could not run before",
      BUG,
      "regression",
      { gates: gates({ results: [gate({ base: "did_not_run" })] }) },
      "blocked",
    ],
    [
      "no regression by a gate that found no tests before",
      BUG,
      "regression",
      { gates: gates({ results: [gate({ base: "ran_nothing" })] }) },
      "blocked",
    ],
    [
      "no regression while another required gate is red",
      BUG,
      "regression",
      { gates: gates({ results: [mended, red] }) },
      "blocked",
    ],
    ["no regression by green before and after", BUG, "regression", { gates: gates() }, "blocked"],
    [
      "regression by added tests that fail on the base",
      BUG,
      "regression",
      { gates: gates({ added_tests: added("red_on_base") }) },
      "passed",
    ],
    [
      "no regression by added tests that pass on the base",
      BUG,
      "regression",
      { gates: gates({ added_tests: added("green_on_base") }) },
      "blocked",
    ],
    [
      "no regression by added tests that cannot be tried",
      BUG,
      "regression",
      { gates: gates({ added_tests: added("unusable") }) },
      "blocked",
    ],
    [
      "no regression by added tests that check nothing",
      BUG,
      "regression",
      { gates: gates({ added_tests: added("red_on_base") }), addedTests: { check: false, alone: false } },
      "blocked",
    ],
    [
      "no regression by added tests that are all of the change",
      BUG,
      "regression",
      { gates: gates({ added_tests: added("red_on_base") }), addedTests: { check: true, alone: true } },
      "blocked",
    ],
    [
      "acceptance by added tests of which one checks",
      NEW,
      "acceptance",
      { gates: gates({ added_tests: added("red_on_base") }), addedTests: { check: true, alone: false } },
      "passed",
    ],
    [
      "no acceptance by added tests that check nothing",
      NEW,
      "acceptance",
      { gates: gates({ added_tests: added("red_on_base") }), addedTests: { check: false, alone: false } },
      "blocked",
    ],
    ["no regression without gates", BUG, "regression", {}, "blocked"],
    [
      "no regression by optional gates alone",
      BUG,
      "regression",
      { gates: gates({ results: [gate({ base: "failed", required: false })] }) },
      "blocked",
    ],
    [
      "acceptance by added tests",
      NEW,
      "acceptance",
      { gates: gates({ added_tests: added("red_on_base") }) },
      "passed",
    ],
    [
      "no acceptance by a gate that turned green",
      NEW,
      "acceptance",
      { gates: gates({ results: [mended] }) },
      "blocked",
    ],
    [
      "acceptance by a gate given for the goal that turned green",
      NEW,
      "acceptance",
      { gates: gates({ results: [{ ...mended, source: "flag" }] }) },
      "passed",
    ],
    [
      "no acceptance by such a gate while another required gate is red",
      NEW,
      "acceptance",
      { gates: gates({ results: [{ ...mended, source: "flag" }, red] }) },
      "blocked",
    ],
    [
      "no acceptance by a gate given for the goal that was green before",
      NEW,
      "acceptance",
      { gates: gates({ results: [gate({ source: "flag" })] }) },
      "blocked",
    ],
    [
      "smoke by a gate given for the goal that turned green",
      NEW,
      "smoke",
      { gates: gates({ results: [{ ...mended, source: "flag" }] }) },
      "passed",
    ],
    [
      "smoke by a gate that counted tests",
      NEW,
      "smoke",
      { gates: gates({ results: [gate({ counts: counts(3) })] }) },
      "passed",
    ],
    ["no smoke by a gate that counted none", NEW, "smoke", { gates: gates() }, "blocked"],
    [
      "no smoke while a required gate is red",
      NEW,
      "smoke",
      { gates: gates({ results: [gate({ counts: counts(3) }), red] }) },
      "blocked",
    ],
    ["demo that no gate covers", NEW, "demo", {}, "not_applicable"],
    ["compatibility by test gates that stay green", CLEAN, "compatibility", { gates: gates() }, "passed"],
    [
      "compatibility by base copies that pass",
      CLEAN,
      "compatibility",
      { gates: gates({ base_copies: copies("passed") }) },
      "passed",
    ],
    [
      "no compatibility with base copies that fail",
      CLEAN,
      "compatibility",
      { gates: gates({ base_copies: copies("failed") }) },
      "blocked",
    ],
    [
      "no compatibility with base copies that cannot be tried",
      CLEAN,
      "compatibility",
      { gates: gates({ base_copies: copies("unusable") }) },
      "blocked",
    ],
    [
      "no compatibility without a test gate that was green",
      CLEAN,
      "compatibility",
      { gates: gates({ results: [mended] }) },
      "blocked",
    ],
    [
      "no compatibility by a linter",
      CLEAN,
      "compatibility",
      { gates: gates({ results: [gate({ kind: "other" })] }) },
      "blocked",
    ],
    [
      "no compatibility when one of two turned red",
      CLEAN,
      "compatibility",
      { gates: gates({ results: [gate(), gate({ verdict: "failed", passed: false })] }) },
      "blocked",
    ],
    ["golden for a refactoring as compatibility", CLEAN, "golden", { gates: gates() }, "passed"],
    [
      "no golden for a rewrite without observations",
      "Rewrite the parser in Rust",
      "golden",
      { gates: gates() },
      "blocked",
    ],
    ["docs that changed and whose links resolve", DOCS, "docs", { docsLinks: { broken: [] } }, "passed"],
    ["no docs that did not change", DOCS, "docs", {}, "blocked"],
    ["no docs with a broken link", DOCS, "docs", { docsLinks: { broken: ["README.md: x.md"] } }, "blocked"],
    [
      "no docs when a gate is worse",
      DOCS,
      "docs",
      { docsLinks: { broken: [] }, gates: gates({ results: [gate({ verdict: "failed", passed: false })] }) },
      "blocked",
    ],
    ["golden of a rewrite by observations that match", OLD, "golden", { golden: golden() }, "passed"],
    ["no golden of a rewrite without observations", OLD, "golden", {}, "blocked"],
    [
      "no golden of a rewrite by gates alone",
      OLD,
      "golden",
      { gates: gates({ results: [gate()] }) },
      "blocked",
    ],
    [
      "no golden with an observation that differs",
      OLD,
      "golden",
      { golden: golden({ field: "stdout", expected: "a", actual: "b" }) },
      "blocked",
    ],
    [
      "golden with a difference that is wanted",
      OLD,
      "golden",
      { golden: golden({ field: "stdout", expected: "a", actual: "b", intentional: "sorted now" }) },
      "passed",
    ],
    [
      "no golden of a refactoring whose observations differ, whatever its gates say",
      CLEAN,
      "golden",
      { gates: gates(), golden: golden({ field: "exit_code", expected: "0", actual: "1" }) },
      "blocked",
    ],
    ["audit by an added report", AUDIT, "audit", { reportAdded: true }, "passed"],
    ["no audit without one", AUDIT, "audit", {}, "blocked"],
    ["no performance by itself", FAST, "performance", { gates: gates() }, "blocked"],
    [
      "performance by a gate of that name",
      FAST,
      "performance",
      { gates: gates({ results: [gate({ name: "performance-bench" })] }) },
      "passed",
    ],
  ];
  test.each(table)("shows %s", (_name, goal, check, facts, status) => {
    const judged = judge(goal, facts).checks.find(({ name }) => name === check);
    expect(judged?.status).toBe(status);
    expect(judged?.reason ?? judged?.gate).toBeTruthy();
  });

  test("is satisfied by a passed gate whose name has the check as a word, one gate for several", () => {
    const covering = gate({ name: "Acceptance-smoke.DEMO" });
    const { status, checks } = judge(NEW, { gates: gates({ results: [covering] }) });
    expect(status).toBe("passed");
    expect(checks).toEqual(
      ["acceptance", "smoke", "demo"].map((name) => ({ name, status: "passed", gate: covering.name })),
    );
  });

  test("is not satisfied by part of a word, nor by a gate that did not pass", () => {
    const named = (difference: Partial<GateResult>) =>
      judge(BUG, { gates: gates({ results: [gate(difference)] }) }).status;
    expect(named({ name: "regression" })).toBe("passed");
    expect(named({ name: "regressions" })).toBe("blocked");
    for (const verdict of [
      "failed",
      "failed_on_base_too",
      "timed_out",
      "did_not_run",
      "ran_nothing",
      "skipped",
    ] as const) {
      expect(named({ name: "regression", verdict, passed: verdict === "skipped" }), verdict).toBe("blocked");
    }
  });

  test("is satisfied by a gate that says it covers the check", () => {
    expect(judge(BUG, { gates: gates({ results: [gate({ covers: ["regression"] })] }) }).checks).toEqual([
      { name: "regression", status: "passed", gate: "check" },
    ]);
  });
});

describe("links of documentation", () => {
  const files: Record<string, string> = {
    "README.md":
      "[a](docs/a.md) [b](docs/) [c](docs) [web](https://example.com/x) [top](#top) [root](/x) [mail](mailto:a@b.c)",
    "docs/a.md": "[up](../README.md#first) [self](a.md?plain) [gone](gone.md) ![image](img/x.png)",
    "docs/img/x.png": "",
  };
  const tree = {
    files: () => Promise.resolve(Object.keys(files)),
    readAll: readAllBy((_tree, path) => Buffer.from(files[path] ?? "")),
  } as unknown as WorkTree;

  test("that lead to nothing are named, and others are not", async () => {
    expect(await brokenLinks(tree, "t1", ["README.md", "docs/a.md"], never)).toEqual(["docs/a.md: gone.md"]);
  });

  test("are looked for in documentation, known by its name", () => {
    for (const path of ["README.md", "a/b.rst", "docs/x.html", "NOTES.TXT"])
      expect(isDocumentation(path), path).toBe(true);
    for (const path of ["a.js", "docs.js", "mydocs/x.js"]) expect(isDocumentation(path), path).toBe(false);
  });
});
