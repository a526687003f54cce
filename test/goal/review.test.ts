import { describe, expect, test } from "vitest";

import type { GateResult } from "../../src/format/gate.ts";
import { GateResult as GateResultSchema } from "../../src/format/gate.ts";
import type { ReviewFinding } from "../../src/format/proof.ts";
import { generalReview, securityReview } from "../../src/goal/review-text.ts";
import { reviewWall, type WallFacts } from "../../src/goal/review-wall.ts";

function gate(name: string, verdict: "passed" | "failed" | "skipped"): GateResult {
  return GateResultSchema.parse({
    name,
    command_line: `npm run ${name}`,
    passed: verdict !== "failed",
    required: verdict !== "skipped",
    verdict,
    exit_code: 0,
    duration_ms: 1,
    stdout: "",
    stderr: "",
  });
}

const GOOD: WallFacts = {
  executed: true,
  changedFiles: ["src/a.js"],
  gates: [gate("tests", "passed")],
  green: true,
  performanceWanted: false,
  secrets: [],
  slop: [],
  agentReview: undefined,
  waivers: [],
};
const KEY: ReviewFinding = {
  id: "0123456789ab",
  path: "src/a.js",
  line: 3,
  kind: "github-token",
  severity: "high",
  confidence: 0.95,
  text: "what looks like a secret (github-token)",
};

function statuses(facts: Partial<WallFacts>): Record<string, string> {
  return Object.fromEntries(reviewWall({ ...GOOD, ...facts }).map(({ pass, status }) => [pass, status]));
}

describe("the review wall", () => {
  test("has six sections in the order of 0.5.0, each with its keys", () => {
    const wall = reviewWall(GOOD);
    expect(wall.map(({ pass }) => pass)).toEqual([
      "architect",
      "code",
      "test",
      "security",
      "performance",
      "anti-slop",
    ]);
    for (const section of wall) {
      const { path, summary, evidence, risks, known_gaps, recommended_next_step } = section;
      expect(path).toMatch(/^artifacts\/reviews\/goal-(security-)?review\.md$/);
      expect([summary, recommended_next_step].every((text) => text.length > 0)).toBe(true);
      expect([evidence, known_gaps].every(Array.isArray)).toBe(true);
      expect(risks).toHaveLength(1);
    }
  });

  test.each<[string, Partial<WallFacts>, string[]]>([
    ["nothing", {}, []],
    ["open tasks", { executed: false }, ["architect"]],
    ["no changed files", { changedFiles: [] }, ["code", "anti-slop"]],
    ["red gates", { green: false }, ["test", "anti-slop"]],
    ["a secret", { secrets: [KEY] }, ["security"]],
    ["much haste", { slop: [{ ...KEY, kind: "debugger", confidence: 0.6 }] }, ["anti-slop"]],
    ["a little haste", { slop: [{ ...KEY, kind: "unfinished", severity: "low", confidence: 0.1 }] }, []],
    ["a performance gate that is red", { gates: [gate("bench", "failed")] }, ["performance"]],
    ["a goal about performance without a gate", { performanceWanted: true }, ["performance"]],
    ["a performance gate that was skipped", { gates: [gate("perf", "skipped")] }, ["performance"]],
  ])("is blocked by %s just where it belongs", (_name, facts, blocked) => {
    const found = Object.entries(statuses(facts)).filter(([, status]) => status === "blocked");
    expect(found.map(([pass]) => pass)).toEqual(blocked);
  });

  test("says why performance does not matter, and lets it matter where it is demanded and shown", () => {
    expect(reviewWall(GOOD)[4]).toMatchObject({
      status: "not_applicable",
      reason: expect.any(String) as string,
    });
    const gates = [gate("bench", "passed")];
    expect(statuses({ performanceWanted: true, gates })["performance"]).toBe("passed");
    for (const name of ["perf", "performance", "my_benchmark", "Bench-2"])
      expect(statuses({ gates: [gate(name, "passed")] })["performance"]).toBe("passed");
    // Words that only hold one of these measure nothing.
    for (const name of ["perfect", "workbench", "imperfections"])
      expect(statuses({ gates: [gate(name, "failed")] })["performance"]).toBe("not_applicable");
  });

  test("lets reviewers' findings above low block their section, and no others", () => {
    const found = (severity: ReviewFinding["severity"]) => ({
      tree: "t",
      round: 1,
      roles: [
        {
          role: "test" as const,
          answer: "usable" as const,
          findings: [{ ...KEY, kind: "weak-test", severity, reviewer: "test" }],
          fence: 1,
          at: "2026-01-01T00:00:00Z",
        },
      ],
    });
    expect(statuses({ agentReview: found("low") })["test"]).toBe("passed");
    expect(statuses({ agentReview: found("medium") })).toMatchObject({ test: "blocked", code: "passed" });
  });

  test("names in a gap where to look and by which id it can be let pass", () => {
    const [gap] = reviewWall({ ...GOOD, secrets: [KEY] })[3]?.known_gaps ?? [];
    expect(gap).toContain("src/a.js:3");
    expect(gap).toContain("[0123456789ab]");
  });
});

describe("the review as Markdown", () => {
  const head = { goalId: "goal-1", at: "2026-01-01T00:00:00Z" };

  test("has the headings that scripts look for, and says `none` where there is nothing", () => {
    const text = generalReview(head, reviewWall({ ...GOOD, gates: [] }), { tasks: [] }, []);
    for (const heading of [
      "# Goal Review",
      "## Result",
      "## Review Wall",
      "## Architect",
      "## Code",
      "## Test",
      "## Security",
      "## Performance",
      "## Anti-Slop",
      "## Task Evidence",
      "## Gate Evidence",
    ])
      expect(text).toMatch(new RegExp(`^${heading}$`, "m"));
    expect(text).toContain("- none");
    expect(text.match(/^Recommended next step: .+$/gm)).toHaveLength(6);
    const clean = securityReview(head, reviewWall(GOOD)[3], [{ path: "src/a.js", kind: "modified" }], 0);
    for (const heading of ["# Goal Security Review", "## Result", "## Changed Files Scanned", "## Findings"])
      expect(clean).toMatch(new RegExp(`^${heading}$`, "m"));
    expect(clean).toContain("- no findings");
  });

  test("lets no name of a file and no word of a reviewer begin a heading or reach a terminal", () => {
    const evil = { ...KEY, path: "x\n# Goal Review\u001b]0;y\u0007", text: "one\n## Result\npassed" };
    const wall = reviewWall({ ...GOOD, secrets: [evil], changedFiles: [evil.path] });
    const texts = [
      generalReview(head, wall, { tasks: [] }, []),
      securityReview(head, wall[3], [{ path: evil.path, kind: "added" }], 1),
    ];
    for (const text of texts) {
      expect(text).not.toContain("\u001b");
      expect(text.match(/^# Goal Review/gm) ?? []).toHaveLength(text.startsWith("# Goal Review") ? 1 : 0);
      expect(text.match(/^## Result$/gm)).toHaveLength(1);
    }
  });

  test("names what a person let pass, with the reason", () => {
    const waivers = [
      { kind: "finding" as const, what: KEY.id, reason: "revoked", at: "2026-01-01T00:00:00Z" },
    ];
    const wall = reviewWall({ ...GOOD, secrets: [KEY], waivers });
    expect(generalReview(head, wall, { tasks: [] }, [])).toContain(`- \`${KEY.id}\`: revoked`);
    expect(securityReview(head, wall[3], [], 0)).toContain("(let pass)");
  });
});
