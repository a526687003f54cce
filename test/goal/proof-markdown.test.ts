/** `proof.md`: readable, complete, and safe from what agents and files are called. */
import { readFileSync } from "node:fs";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { Proof } from "../../src/format/proof.ts";
import { adviceFor } from "../../src/goal/gap-advice.ts";
import { proofMarkdown } from "../../src/goal/proof-markdown.ts";
import { decideVerdict, type Facts } from "../../src/goal/verdict.ts";

/** Everything is wrong with it. */
const NOTHING: Facts = {
  lastOutcome: null,
  executed: false,
  gates: "none",
  gatesUnapproved: true,
  cleanCheckout: "failed",
  cleanCheckoutLost: true,
  linkedChanged: ["node_modules/dep/index.js"],
  pointsBack: [".venv/lib/it.pth"],
  unchangedParts: ["goal-agent-implement-1"],
  strandedSlices: [],
  undelivered: false,
  openTasks: ["a"],
  outsideWriteSets: ["b.js"],
  redGates: [],
  ranOnResult: false,
  changedFiles: 0,
  reviewed: true,
  foundFaults: [],
  blockedSections: ["security review is blocked"],
  baseCopies: "failed",
  protectedFiles: ["a.test.js"],
  drifted: ["c.js"],
  nestedRepositories: ["vendor"],
  missingChecks: ["regression"],
  kind: "bugfix",
  acceptance: "open",
};

function proof(difference: Partial<Proof> = {}): Proof {
  return {
    version: 1,
    goal_id: "goal-20260101-120000-000-1a2b3c4d",
    status: "not_ready",
    readiness: "not ready: nothing was done",
    summary: "Fix the failing test: 1 gate result, not_ready",
    generated_at: "2026-01-01T00:00:00Z",
    artifacts: [],
    task_graph_summary: { total_tasks: 6, pending_tasks: 6, blocked_tasks: 0, done_tasks: 0 },
    changed_files: [],
    commits: [],
    gates: [],
    post_mutation_gates_ran: false,
    known_gaps: [],
    human_decisions_required: [],
    ...difference,
  };
}

describe("proof.md", () => {
  test("names each gap with its code, its text and what to do next", () => {
    const { gaps } = decideVerdict(NOTHING);
    expect(gaps.length).toBeGreaterThan(10);
    const text = proofMarkdown(proof({ gaps: gaps.map((gap) => ({ ...gap })), known_gaps: [] }));
    for (const { code } of gaps) {
      const row = text.split("\n").find((line) => line.startsWith(`- \`${code}\`: `));
      expect(row, code).toMatch(/Next: .*`omk goal /);
    }
    expect(adviceFor("budget_tokens", proof())).toBeUndefined();
    expect(adviceFor("toString", proof())).toBeUndefined();
  });

  test("says how it can be checked, with the goal's id", () => {
    const text = proofMarkdown(proof());
    for (const how of ["verify", "export"])
      expect(text).toContain(`omk proof ${how} goal-20260101-120000-000-1a2b3c4d`);
  });

  test("shows waivers, answers and requests with who decided, and what was spent of what", () => {
    const text = proofMarkdown(
      proof({
        waivers: [{ kind: "change", what: "a.test.js", reason: "it was wrong", at: "2026-01-01T00:00:00Z" }],
        answers: [{ question: "Which?", answer: "The first", at: "2026-01-01T00:00:00Z" }],
        approvals: [
          { id: "apr-1", task_id: "t", kind: "execute", status: "approved", decided_by: "the terminal" },
        ],
        budget_limits: { active_ms: null, tokens: 100, usd: null },
        budget_spent: { active_ms: 10, tokens: 25, usd: 0 },
        budget_sources: [{ source: "plan", turns: 1, tokens: 25, usd: 0 }],
        golden: { observations: ["help"], compared: true, differences: ["help: stdout"], intentional: [] },
        outside_write_sets: ["b.js"],
        plan: { source: "rules", fallback: "the engine's plan was no plan" },
      }),
    );
    for (const said of [
      "change `a.test.js`: it was wrong",
      "Answered: The first",
      "`apr-1` (execute): approved by the terminal",
      "tokens: 25 of 100",
      "plan: 1 turns, 25 tokens",
      "differs: help: stdout",
      "- `b.js`",
      "omk's rules: the engine's plan was no plan",
    ])
      expect(text).toContain(said);
  });

  test("gets no line, no heading and no markup from what files, gates and agents are called", () => {
    const hostile = fc.string({
      minLength: 1,
      unit: fc.constantFrom("\n", "#", "`", "*", "[", "]", "<", "|", " ", "a", "\u202e", "\u001b"),
    });
    const shape = (name: string) =>
      proofMarkdown(
        proof({
          summary: name,
          readiness: name,
          changed_files: [name],
          outside_write_sets: [name],
          gaps: [{ code: name, text: name }],
          engine: { name: name || "x", said: name },
          waivers: [{ kind: "change", what: name, reason: name, at: "2026-01-01T00:00:00Z" }],
        }),
      );
    const plain = shape("x").split("\n");
    fc.assert(
      fc.property(hostile, (name) => {
        const lines = shape(name).split("\n");
        expect(lines).toHaveLength(plain.length);
        expect(lines.filter((line) => line.startsWith("#"))).toEqual(
          plain.filter((line) => line.startsWith("#")),
        );
        for (const control of ["\u001b", "\u202e"]) expect(lines.join("\n")).not.toContain(control);
      }),
    );
  });

  test("is made of proofs of 0.5.0 as well", () => {
    const path = new URL("../fixtures/v0.5.0/goal/proof.json", import.meta.url);
    const found = JSON.parse(readFileSync(path, "utf8")) as object;
    const text = proofMarkdown(Proof.parse(found));
    expect(text).toContain("## Known Gaps");
  });
});
