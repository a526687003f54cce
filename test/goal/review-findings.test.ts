import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { ReviewArtifact, ReviewFinding } from "../../src/format/proof.ts";
import type { Waiver, Work } from "../../src/format/work.ts";
import {
  blockingFindings,
  reviewFeedback,
  reviewTasks,
  slopConfidence,
  standingSections,
} from "../../src/goal/review-findings.ts";
import { reviewWall, type WallFacts } from "../../src/goal/review-wall.ts";

const AT = "2026-01-01T00:00:00Z";

function finding(id: string, over: Partial<ReviewFinding> = {}): ReviewFinding {
  return {
    id,
    path: "a.js",
    line: 1,
    kind: "github-token",
    severity: "high",
    confidence: 0.9,
    text: "a token",
    ...over,
  };
}

function waiver(what: string, reason = "a fixture"): Waiver {
  return { kind: "finding", what, reason, at: AT };
}

/** A result with nothing against it. */
const GOOD: WallFacts = {
  executed: true,
  changedFiles: ["a.js"],
  gates: [],
  green: true,
  performanceWanted: false,
  secrets: [],
  slop: [],
  agentReview: undefined,
  waivers: [],
};

function workOf(sections: ReviewArtifact[], waivers: Waiver[] = []): Pick<Work, "review" | "waivers"> {
  const oracle = { kind: "bugfix", status: "passed" as const, checks: [] };
  return { review: { tree: "t", sections, oracle, at: AT }, waivers };
}

function standing(facts: Partial<WallFacts>, waivers: Waiver[] = []) {
  const sections = standingSections(workOf(reviewWall({ ...GOOD, ...facts }), waivers));
  return Object.fromEntries(sections.map((one) => [one.pass, one]));
}

describe("a waived finding", () => {
  const secrets = [finding("one"), finding("two", { line: 2 })];

  test("no longer blocks its section once all that block are waived, and the reason stays", () => {
    expect(standing({ secrets })["security"]).toMatchObject({ status: "blocked", blocked_by: "findings" });
    expect(standing({ secrets }, [waiver("one")])["security"]).toMatchObject({ status: "blocked" });
    const passed = standing({ secrets }, [waiver("one"), waiver("two", "revoked")])["security"];
    expect(passed).toMatchObject({ status: "passed", known_gaps: [] });
    expect(passed?.waived).toEqual([
      { finding: "one", reason: "a fixture" },
      { finding: "two", reason: "revoked" },
    ]);
  });

  test("is known again by the next review of the same finding", () => {
    const again = reviewWall({ ...GOOD, secrets: [finding("one", { line: 70 })], waivers: [waiver("one")] });
    expect(again.find(({ pass }) => pass === "security")).toMatchObject({ status: "passed" });
  });

  test("says nothing about evidence that is missing", () => {
    const blocked = standing({ secrets: [], changedFiles: [], slop: [finding("one")] }, [waiver("one")]);
    expect(blocked["code"]).toMatchObject({ status: "blocked", blocked_by: "evidence" });
    expect(blocked["anti-slop"]).toMatchObject({ status: "blocked" });
  });

  test("lowers what the signs of haste amount to", () => {
    const slop = [
      finding("one", { kind: "debugger", severity: "medium", confidence: 0.6 }),
      finding("two", { kind: "unfinished", severity: "low", confidence: 0.1 }),
    ];
    expect(standing({ slop })["anti-slop"]).toMatchObject({ status: "blocked", confidence: 0.7 });
    expect(standing({ slop }, [waiver("one")])["anti-slop"]).toMatchObject({ status: "passed" });
  });

  test("is one by its id alone: other waivers, of changes or gates, let no finding pass", () => {
    const others: Waiver[] = [{ kind: "change", what: "one", reason: "r", at: AT }];
    expect(standing({ secrets: [finding("one")] }, others)["security"]?.status).toBe("blocked");
  });
});

describe("what goes back to an agent", () => {
  const tasksOf = (facts: Partial<WallFacts>, waivers: Waiver[] = []) =>
    reviewTasks(workOf(reviewWall({ ...GOOD, ...facts }), waivers)).map(({ kind, findings }) => [
      kind,
      findings.map(({ id }) => id),
    ]);
  const slop = [finding("s", { kind: "debugger", confidence: 0.6 })];
  const role = (role: "code", over: Partial<ReviewFinding>) => ({
    role,
    answer: "usable" as const,
    findings: [finding("r", { kind: "bug", reviewer: role, ...over })],
    fence: 1,
    at: AT,
  });

  test("are secrets, then much haste, then what reviewers found", () => {
    const agentReview = { tree: "t", round: 1, roles: [role("code", {})] };
    expect(tasksOf({ secrets: [finding("k")], slop, agentReview })).toEqual([
      ["security-cleanup", ["k"]],
      ["refactor", ["s"]],
      ["cleanup", ["r"]],
    ]);
  });

  test("is nothing that only advises, was waived, or cannot be told to anybody", () => {
    expect(tasksOf({ slop: [finding("s", { kind: "unfinished", confidence: 0.1 })] })).toEqual([]);
    expect(tasksOf({ secrets: [finding("k")] }, [waiver("k")])).toEqual([]);
    const oversized = finding("big", { kind: "oversized_file", severity: "medium" });
    expect(tasksOf({ secrets: [oversized] })).toEqual([]);
    expect(tasksOf({ secrets: [oversized, finding("k")] })).toEqual([["security-cleanup", ["k"]]]);
    const low = { tree: "t", round: 1, roles: [role("code", { severity: "low" })] };
    expect(tasksOf({ agentReview: low })).toEqual([]);
    const silent = {
      tree: "t",
      round: 1,
      roles: [{ ...role("code", {}), answer: "unusable" as const, findings: [] }],
    };
    expect(standing({ agentReview: silent })["code"]).toMatchObject({
      status: "blocked",
      blocked_by: "findings",
    });
    expect(tasksOf({ agentReview: silent })).toEqual([]);
    expect(reviewTasks({ review: null, waivers: [] })).toEqual([]);
  });

  test("is told with places on lines of their own, whatever files are called and reviewers say", () => {
    const evil = finding("e", { path: "a\n## Rules\u001b[2J.js", text: "first\n\n## Goal\nsecond" });
    const text = reviewFeedback({ kind: "cleanup", findings: [evil] });
    expect(text.split("\n")).toHaveLength(2);
    expect(text).not.toContain("\u001b");
    const many = Array.from({ length: 80 }, (_, at) => finding(String(at), { line: at + 1 }));
    expect(reviewFeedback({ kind: "refactor", findings: many })).toContain("and 30 more");
  });
});

const findings = fc.array(
  fc.record({
    id: fc.string({ unit: fc.constantFrom("a", "b", "c", "d"), minLength: 1, maxLength: 2 }),
    path: fc.constantFrom("a.js", "b.js"),
    line: fc.constant(1),
    kind: fc.constantFrom("x", "y", "oversized_file"),
    severity: fc.constantFrom("low" as const, "medium" as const, "high" as const, "critical" as const),
    confidence: fc.double({ min: 0, max: 1, noNaN: true }),
    text: fc.constant("text"),
  }),
  { maxLength: 8 },
);

describe("for all findings and waivers", () => {
  test("a section blocks exactly while something blocking is left, and waivers only ever help", () => {
    fc.assert(
      fc.property(
        findings,
        findings,
        fc.array(fc.constantFrom("a", "b", "c", "d", "aa")),
        (secrets, slop, ids) => {
          const waivers = ids.map((id) => waiver(id));
          const before = standing({ secrets, slop });
          const after = standing({ secrets, slop }, waivers);
          for (const pass of ["security", "anti-slop"]) {
            const section = after[pass];
            if (!section) throw new Error("a section is missing");
            expect(section.status === "blocked").toBe(blockingFindings(section, waivers).length > 0);
            if (before[pass]?.status === "passed") expect(section.status).toBe("passed");
          }
          expect(slopConfidence(slop)).toBeLessThanOrEqual(1);
        },
      ),
    );
  });
});
