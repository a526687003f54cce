import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { OmkError } from "../../src/errors.ts";
import {
  checkGoalText,
  checkKind,
  goalKind,
  kindOf,
  normalizeGoal,
  REQUIRED_CHECKS,
  testability,
  testabilityOf,
} from "../../src/goal/intake.ts";

describe("the kind of a goal", () => {
  const kinds: [string, string][] = [
    ["Rewrite the parser in Rust", "rewrite"],
    ["Port the tool to Windows", "rewrite"],
    ["Migrate the database to version 5", "migration"],
    ["Finish the migration of users", "migration"],
    ["Refactor the session module", "refactor"],
    ["Audit the permissions of files", "audit"],
    ["Fix the failing test in sum.test.js", "bugfix"],
    ["A bugfix for the login page", "bugfix"],
    ["fix: totals are rounded twice", "bugfix"],
    ["Improve performance of the start", "performance"],
    ["Write docs for the API", "docs"],
    ["Update the README with examples", "docs"],
    ["Build a command that lists users", "greenfield"],
    ["Create a login page with tests", "greenfield"],
    ["Add a --json flag to list", "greenfield"],
    ["Count the words of a file", "greenfield"],
    ["Fix the docs of the installer", "docs"],
    ["Fix typo in README", "docs"],
    ["Fix a typo in the documentation of sum", "docs"],
    ["Fix a typo in the error message", "bugfix"],
    ["Fix the bug in the docs generator", "bugfix"],
    ["Fix the broken link checker", "bugfix"],
    ["Fix the crash and update the README", "bugfix"],
    ["Fix the performance of the parser", "performance"],
    ["Fix the failing performance test", "bugfix"],
    ["Rewrite the README", "docs"],
    ["Rewrite the parser, then document it in the README", "rewrite"],
    ["Audit the docs for wrong claims", "audit"],
    ["Add a --json flag and document it in the README", "greenfield"],
    ["Write docs for the API and add examples", "docs"],
    ["Add examples to the README", "docs"],
    ["Add an audit log to the admin page", "greenfield"],
    ["Add a bug report template", "greenfield"],
    ["Build a documentation site generator", "greenfield"],
    ["Refactor the queue and fix the lost wakeup", "mixed"],
    ["Add a migration that creates the users table", "migration"],
    ["Optimise the search over all users", "performance"],
    ["Please port sum.py to JavaScript", "rewrite"],
    ["We should port this from Perl to Python", "rewrite"],
    ["Porting the tool to Windows", "rewrite"],
    ["Change the port from 80 to 8080", "greenfield"],
    ["Port 8080 must be configurable", "greenfield"],
    ["Listen on the TCP port given with --port", "greenfield"],
    ["Show open ports in the list", "greenfield"],
    ["Port forwarding to the container", "greenfield"],
    ["修复登录页面的错误", "greenfield"],
    ["Behebe den Fehler in der Summe", "greenfield"],
    ["Refactor and benchmark the queue", "mixed"],
    ["Rewrite tool.js with template strings", "rewrite"],
    ["Rewrite `tool.js`, using template strings", "rewrite"],
    ["Rewrite src/tool/main.ts in Rust", "rewrite"],
    ["Please rewrite server.py (it blocks)", "rewrite"],
    ["Rewrite parser internals without recursion", "rewrite"],
    ["We must rewrite parser tables by hand", "rewrite"],
    ["Rewriting handler.go with generics", "rewrite"],
    ["Migrate config.yaml to TOML", "migration"],
    ["Migrate client code to version 5", "migration"],
    ["Refactor page.tsx into components", "refactor"],
    ["Refactor handler registration in app.ts", "refactor"],
    ["Audit scripts.sh for injection", "audit"],
    ["Audit server endpoints for missing checks", "audit"],
    ["Fix module.py", "bugfix"],
    ["Fix button alignment on Windows", "bugfix"],
    ["Optimize search.rs", "performance"],
    ["Optimise log parsing in reader.c", "performance"],
    ["Fix log rotation at midnight", "bugfix"],
    ["Split the file rewrite.js in two", "greenfield"],
    ["Show the totals of fix.csv in a table", "greenfield"],
    ["Sort the entries of audit/bugs.json", "greenfield"],
    ["Load src/migrations/001.sql at the start", "greenfield"],
    ["Rewrite README.md for beginners", "docs"],
    ["Fix the examples in docs/usage.md", "bugfix"],
    ["Rewrite docs/usage.md", "docs"],
    ["Fix a typo in CHANGELOG.md", "docs"],
    ["Add a page about errors to docs/guide.rst", "docs"],
    ["Audit logs must be kept for a year", "greenfield"],
    ["Add rewrite rules to the server", "greenfield"],
    ["Add a fix button to the report", "greenfield"],
    ["Rename tool.js, then rewrite it", "rewrite"],
  ];
  test.each(kinds)("of %j is %s", (text, kind) => {
    expect(goalKind(text)).toBe(kind);
  });

  const parts: [string, string][] = [
    ["support", "Support three languages in menus"],
    ["report", "Print a report of all users"],
    ["import", "Import users from a CSV file"],
    ["export", "Export users to a CSV file"],
    ["perfect", "Make a perfect circle in SVG"],
    ["prefix", "Show a prefix before each line"],
    ["suffix", "Show a suffix behind each line"],
    ["fixture", "Load a fixture before each test"],
    ["auditorium", "Draw an auditorium with seats"],
    ["debugger", "Start a debugger with one key"],
  ];
  test.each(parts)("is found by whole words: %s gives none away", (_part, text) => {
    expect(goalKind(text)).toBe("greenfield");
  });

  test("never depends on what surrounds a word, as long as it is a word", () => {
    const other = fc.constantFrom("the", "sum", "of", "3", "lines,", "(maybe)", "totals", "naïve", "数");
    fc.assert(
      fc.property(
        fc.array(other),
        fc.array(other),
        fc.constantFrom("fix", "Fix", "FIX", "bugs"),
        (before, after, word) => {
          expect(goalKind([...before, word, ...after].join(" "))).toBe("bugfix");
        },
      ),
    );
  });

  test("always has checks that must be satisfied", () => {
    for (const [kind, checks] of Object.entries(REQUIRED_CHECKS))
      expect(checks.length, kind).toBeGreaterThan(0);
    expect(REQUIRED_CHECKS.bugfix).toEqual(["regression"]);
    expect(REQUIRED_CHECKS.greenfield).toEqual(["acceptance", "smoke", "demo"]);
    expect(REQUIRED_CHECKS.mixed).toEqual(["acceptance", "compatibility"]);
    for (const kind of ["rewrite", "migration", "refactor"] as const) {
      expect(REQUIRED_CHECKS[kind]).toEqual(["compatibility", "golden"]);
    }
  });
});

describe("a goal that anybody can test", () => {
  const testable = [
    "Fix the failing test in sum.test.js",
    "Create login page",
    "make it better and test it",
    "Improve it: the CLI must compile",
    "Implement state of art search",
    "Count the words",
    "修复登录页面的错误",
  ];
  test.each(testable)("%j asks no question", (text) => {
    expect(testability(text)).toEqual({ testable: true });
  });

  const vague = [
    "",
    "Fix it",
    "better",
    "Make it awesome",
    "MAKE THIS BETTER please",
    "please improve it a lot",
    "do magic with this",
    "a state-of-art website for me",
  ];
  test.each(vague)("%j asks for testable success criteria", (text) => {
    const verdict = testability(text);
    expect(verdict.testable).toBe(false);
    if (!verdict.testable) expect(verdict.question).toContain("testable success criteria");
  });

  test("takes no part of a word for a sign of a test", () => {
    expect(testability("make it better, a prefix for the latest contest").testable).toBe(false);
  });
});

describe("an answer to the question what a goal means", () => {
  const goal = (normalized_goal: string, ...answers: string[]) => ({
    normalized_goal,
    answers: answers.map((answer) => ({ question: "?", answer, at: "2026-01-01T00:00:00Z" })),
  });

  test("makes a goal testable by a sign in it, or by saying enough itself", () => {
    expect(testabilityOf(goal("Make it better")).testable).toBe(false);
    expect(testabilityOf(goal("Make it better", "npm test passes")).testable).toBe(true);
    expect(testabilityOf(goal("Make it better", "pages load below two seconds")).testable).toBe(true);
    expect(testabilityOf(goal("Make it better", "just improve it please")).testable).toBe(false);
    expect(testabilityOf(goal("Make it better", "hmm", "the totals are right")).testable).toBe(true);
  });

  test("takes part in the kind, and a kind that was said outranks all words", () => {
    expect(kindOf(goal("Make it better"))).toBe("greenfield");
    expect(kindOf(goal("Make it better", "fix the rounding of totals"))).toBe("bugfix");
    expect(kindOf({ ...goal("Rewrite all of it"), kind: "docs" })).toBe("docs");
    expect(() => checkKind("bug")).toThrow(expect.objectContaining({ code: "usage.invalid" }) as OmkError);
  });
});

describe("the text of a goal", () => {
  test("has its white space folded and its case kept", () => {
    expect(normalizeGoal("  Fix\tthe \n\n “Preis”  totals\u00a0now ")).toBe("Fix the “Preis” totals now");
  });

  test("in its normal form stays as it is", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        expect(normalizeGoal(normalizeGoal(text))).toBe(normalizeGoal(text));
      }),
    );
  });

  test.each(["", "   ", "\n\t ", "\u00a0"])("is refused when it is blank: %j", (text) => {
    expect(() => checkGoalText(text)).toThrow(expect.objectContaining({ code: "usage.invalid" }) as OmkError);
  });

  test("is refused over 1 MiB of UTF-8, and taken up to there", () => {
    expect(checkGoalText("ü".repeat(512 * 1024))).toHaveLength(512 * 1024);
    expect(() => checkGoalText(`${"ü".repeat(512 * 1024)}!`)).toThrow(
      expect.objectContaining({ code: "goal.too_large", exitStatus: 2 }) as OmkError,
    );
  });
});
