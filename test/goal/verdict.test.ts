/** The decision table: every combination of facts is tried, so no way to `ready` is left out. */
import { describe, expect, test } from "vitest";

import type { GateResult } from "../../src/format/gate.ts";
import type { Goal } from "../../src/format/goal.ts";
import type { Attempt, Work } from "../../src/format/work.ts";
import { factsOf } from "../../src/goal/facts.ts";
import { scaffoldGraph, scaffoldWork } from "../../src/goal/scaffold.ts";
import {
  decideVerdict,
  onlyAcceptanceMissing,
  STATE_CONTROLLED,
  type Facts,
} from "../../src/goal/verdict.ts";

const READY: Facts = {
  lastOutcome: "finished",
  executed: true,
  gates: "green",
  gatesUnapproved: false,
  cleanCheckout: "not_run",
  openTasks: [],
  outsideWriteSets: [],
  redGates: [],
  ranOnResult: true,
  changedFiles: 1,
  reviewed: true,
  securityReviewed: true,
  blockedSections: [],
  baseCopies: "not_needed",
  protectedFiles: [],
  drifted: [],
  nestedRepositories: [],
  missingChecks: [],
  kind: "bugfix",
  acceptance: "accepted",
};

/** Its one task is done. */
const GRAPH = doneGraph();

function doneGraph() {
  const graph = scaffoldGraph("goal-1", "2026-01-01T00:00:00Z");
  return { ...graph, tasks: graph.tasks.map((task) => ({ ...task, status: "done" as const })) };
}

const BLOCKED = "security review is blocked: a.js:1 github-token";

/** Everything the table can be asked. */
function* allFacts(): Iterable<Facts> {
  for (const executed of [true, false])
    for (const gates of ["none", "not_run", "red", "green"] as const)
      for (const ranOnResult of [true, false])
        for (const changedFiles of [0, 2])
          for (const reviewed of [true, false])
            for (const securityReviewed of [true, false])
              for (const blockedSections of [[], [BLOCKED]])
                for (const baseCopies of ["not_needed", "passed", "failed", "unusable", "not_run"] as const)
                  for (const missingChecks of [[], ["regression"]])
                    for (const acceptance of ["open", "accepted", { rejected: "not what I meant" }] as const)
                      yield {
                        ...READY,
                        executed,
                        gates,
                        redGates: gates === "red" ? ["tests (failed)"] : [],
                        ranOnResult,
                        changedFiles,
                        reviewed,
                        securityReviewed,
                        blockedSections,
                        baseCopies,
                        protectedFiles: baseCopies === "not_needed" ? [] : ["sum.test.js"],
                        missingChecks,
                        acceptance,
                      };
}

/** What `ready` means, said once more and differently. */
function isComplete(facts: Facts): boolean {
  const tested = facts.gates === "green" && facts.ranOnResult;
  const asTheyWere = facts.baseCopies === "not_needed" || facts.baseCopies === "passed";
  const reviewed = facts.reviewed && facts.securityReviewed && facts.blockedSections.length === 0;
  const worked = facts.executed && facts.changedFiles > 0;
  return (
    worked &&
    tested &&
    asTheyWere &&
    reviewed &&
    facts.missingChecks.length === 0 &&
    facts.acceptance === "accepted"
  );
}

describe("the verdict", () => {
  test("is ready exactly when there is no gap, and there is no gap exactly when everything was shown", () => {
    let tried = 0;
    for (const facts of allFacts()) {
      tried++;
      const { status, gaps, readinessCode, readiness } = decideVerdict(facts);
      const where = JSON.stringify(facts);
      expect(status === "ready", where).toBe(gaps.length === 0);
      expect(status === "ready", where).toBe(isComplete(facts));
      expect(readinessCode === "ready", where).toBe(status === "ready");
      expect(readiness.startsWith(status === "ready" ? "ready: " : "not ready: "), where).toBe(true);
      // The sentence is that of the gap whose code it carries.
      if (status !== "ready") {
        const told = gaps.find(({ code }) => code === readinessCode);
        expect(readiness, where).toBe(`not ready: ${told?.text}`);
      }
    }
    expect(tried).toBe(7_680);
  });

  test("says that only acceptance is missing exactly when giving it would make the goal ready", () => {
    for (const facts of allFacts()) {
      if (typeof facts.acceptance === "object") continue;
      expect(onlyAcceptanceMissing(facts)).toBe(isComplete({ ...facts, acceptance: "accepted" }));
    }
  });

  const gapOf: [string, Partial<Facts>, string, string][] = [
    ["no agent turn", { executed: false }, "agent_not_executed", "agent execution has not run"],
    ["no review", { reviewed: false }, "review_missing", "review evidence"],
    ["no security review", { securityReviewed: false }, "security_review_missing", "security review"],
    ["a blocked section", { blockedSections: [BLOCKED] }, "review_blocked", "review is blocked"],
    [
      "gates that ran before the change only",
      { ranOnResult: false },
      "gates_not_rerun",
      "verification gates have not rerun after agent execution changes",
    ],
    ["nothing changed", { changedFiles: 0 }, "nothing_changed", "project mutation and integration loop"],
    ["no gates", { gates: "none" }, "no_gates", "no verification gates were detected or configured"],
    ["gates that have not run", { gates: "not_run" }, "gates_not_run", "verification gates have not run"],
    [
      "a failed gate",
      { gates: "red", redGates: ["tests (failed)"] },
      "gates_red",
      "required verification gates failed",
    ],
    [
      "base copies that fail",
      { baseCopies: "failed", protectedFiles: ["a.test.js"] },
      "protected_input_changed",
      "a.test.js",
    ],
    [
      "base copies that cannot be tried",
      { baseCopies: "unusable", protectedFiles: ["a.test.js"] },
      "base_copies_unusable",
      "a.test.js",
    ],
    [
      "base copies that were not tried",
      { baseCopies: "not_run", protectedFiles: ["a.test.js"] },
      "base_copies_unusable",
      "a.test.js",
    ],
    [
      "a missing check",
      { missingChecks: ["regression"] },
      "oracle_missing",
      "bugfix goal is missing: regression",
    ],
    ["no acceptance", { acceptance: "open" }, "acceptance_needed", "integration acceptance"],
    [
      "a rejection",
      { acceptance: { rejected: "breaks the old interface" } },
      "rejected",
      "breaks the old interface",
    ],
  ];
  test.each(gapOf)("with %s alone is not ready and says why", (_name, difference, code, fragment) => {
    const { status, readinessCode, readiness, gaps } = decideVerdict({ ...READY, ...difference });
    expect(status).toBe("not_ready");
    expect(readinessCode).toBe(code);
    expect(readiness).toContain(fragment);
    expect(gaps.map((gap) => gap.code)).toContain(code);
  });

  test("without an agent's turn also says that readiness needs evidence", () => {
    const { gaps } = decideVerdict({ ...READY, executed: false });
    expect(gaps.map(({ code }) => code)).toEqual(["agent_not_executed", "no_claim_without_evidence"]);
  });

  test("names every red gate with what was wrong with it", () => {
    const redGates = ["tests (ran_nothing)", "lint (did_not_run)"];
    const { readiness } = decideVerdict({ ...READY, gates: "red", redGates });
    for (const red of redGates) expect(readiness).toContain(red);
  });

  test("explains a failure by what failed and not by what is missing because of it", () => {
    const { readinessCode, gaps } = decideVerdict({
      ...READY,
      gates: "red",
      redGates: ["tests (failed)"],
      reviewed: false,
      securityReviewed: false,
      acceptance: "open",
    });
    expect(readinessCode).toBe("gates_red");
    expect(gaps.length).toBeGreaterThan(3);
  });

  test("does not claim passed review evidence when a section is blocked", () => {
    const { readiness } = decideVerdict({ ...READY, blockedSections: [BLOCKED], acceptance: "open" });
    expect(readiness).not.toContain("integration acceptance");
  });
});

test("the statuses that the goal itself controls have the prefixes scripts look for", () => {
  const prefixes = Object.entries(STATE_CONTROLLED).map(([status, { prefix }]) => [status, prefix]);
  expect(Object.fromEntries(prefixes)).toEqual({
    blocked_on_human: "blocked on human: ",
    blocked_on_external: "blocked on external dependency: ",
    needs_more_budget: "needs more budget: ",
    failed_infra: "failed infra: ",
    paused: "paused: ",
    cancelled: "cancelled: ",
  });
  expect(STATE_CONTROLLED.cancelled?.reason).toBe("cancelled by user");
});

// ---- The facts, as they are read from the documents of a goal.

const TREE = "t1";

function gate(difference: Partial<GateResult> = {}): GateResult {
  return {
    name: "tests",
    passed: true,
    stdout: "",
    stderr: "",
    duration_ms: 1,
    required: true,
    command_line: "npm test",
    timed_out: false,
    timeout_secs: 0,
    verdict: "passed",
    base: "failed",
    source: "config",
    kind: "test",
    ...difference,
  };
}

function attempt(difference: Partial<Attempt> = {}): Attempt {
  return {
    task_id: "goal-agent-execute",
    number: 1,
    fence: 5,
    run_key: "goal-agent-execute/5",
    spawn_id: "omk-1",
    status: "ended",
    outcome: "finished",
    outcome_code: null,
    start_tree: "t0",
    result_tree: TREE,
    started_at: "2026-01-01T00:00:00Z",
    ended_at: "2026-01-01T00:01:00Z",
    summary: "done",
    usage: null,
    counted: true,
    ...difference,
  };
}

function definition(required = true) {
  const common = { args: ["test"], timeout_secs: 0, skip: false, covers: [], env: [], kind: "test" as const };
  return { ...common, name: "tests", command: "npm", required, source: "config" as const };
}

const GOAL = {
  normalized_goal: "Fix the failing test",
  gates: { source: "config", digest: "d", definitions: [definition()] },
} as unknown as Goal;

/** The documents of a goal to which nothing is missing. */
function complete(difference: Partial<Work> = {}): Work {
  return {
    ...scaffoldWork(),
    base: { tree: "t0", position: "p", commit: null },
    baseline: { tree: "t0", gates: [gate({ verdict: "failed", passed: false })] },
    attempts: [attempt()],
    result: {
      tree: TREE,
      changed_files: [{ path: "a.js", kind: "modified", old_mode: null, new_mode: null }],
    },
    gates: {
      tree: TREE,
      run: "1",
      results: [gate()],
      base_copies: null,
      added_tests: null,
      side_effects: [],
    },
    review: {
      tree: TREE,
      sections: [],
      oracle: {
        kind: "bugfix",
        status: "passed",
        checks: [{ name: "regression", status: "passed", gate: null }],
      },
      at: "2026-01-01T00:02:00Z",
    },
    acceptance: {
      decision: "accepted",
      summary: "fine",
      decided_at: "2026-01-01T00:03:00Z",
      tree: TREE,
      attested: {},
      artifact_path: "",
      missing_evidence: [],
    },
    ...difference,
  };
}

function codesOf(work: Work, goal = GOAL): string[] {
  return decideVerdict(factsOf(goal, work, GRAPH)).gaps.map(({ code }) => code);
}

function withGate(difference: Partial<GateResult>): Work {
  const work = complete();
  return { ...work, gates: { ...work.gates!, results: [gate(difference)] } };
}

describe("the facts of a goal", () => {
  test("of a goal to which nothing is missing make it ready", () => {
    expect(codesOf(complete())).toEqual([]);
  });

  const verdicts = [
    "failed",
    "failed_on_base_too",
    "timed_out",
    "did_not_run",
    "ran_nothing",
    "skipped",
  ] as const;
  test.each(verdicts)("with a required gate that is %s keep it from being ready", (verdict) => {
    expect(codesOf(withGate({ verdict, passed: verdict === "skipped" }))).toContain("gates_red");
  });

  test("count a gate only by its verdict, whatever its exit status and `passed` say", () => {
    expect(codesOf(withGate({ verdict: "ran_nothing", passed: true, exit_code: 0 }))).toContain("gates_red");
  });

  test("are not ready when no required gate passed, however many optional ones did", () => {
    const facts = factsOf(GOAL, withGate({ required: false }), GRAPH);
    expect(facts.gates).toBe("red");
    expect(decideVerdict(facts).readiness).toMatch(/required verification gates failed.*: \S/);
  });

  test("excuse a detected gate without tests that was not green on the base either, and nothing else", () => {
    const lint = {
      name: "lint",
      kind: "other",
      verdict: "failed_on_base_too",
      passed: false,
      source: "detected",
    } as const;
    const both = (difference: Partial<GateResult>) => {
      const work = complete();
      return { ...work, gates: { ...work.gates!, results: [gate(), gate({ ...lint, ...difference })] } };
    };
    expect(codesOf(both({}))).toEqual([]);
    expect(codesOf(both({ kind: "test" }))).toContain("gates_red");
    expect(codesOf(both({ source: "config" }))).toContain("gates_red");
    expect(codesOf(both({ source: "flag" }))).toContain("gates_red");
    expect(codesOf(both({ verdict: "did_not_run", base: "did_not_run" }))).toEqual([]);
    expect(codesOf(both({ verdict: "failed", base: "passed" }))).toContain("gates_red");
    expect(codesOf(both({ verdict: "failed", base: null }))).toContain("gates_red");
  });

  test("do not count gates, a review, an acceptance or base copies of another tree", () => {
    const work = complete();
    expect(codesOf({ ...work, gates: { ...work.gates!, tree: "t9" } })).toContain("gates_not_run");
    expect(codesOf({ ...work, review: { ...work.review!, tree: "t9" } })).toContain("review_missing");
    expect(codesOf({ ...work, acceptance: { ...work.acceptance!, tree: "t9" } })).toContain(
      "acceptance_needed",
    );
  });

  test("see gates that are all skipped as no gates", () => {
    const gates = { ...GOAL.gates!, definitions: [{ ...definition(), skip: true }] };
    expect(codesOf(complete(), { ...GOAL, gates })).toContain("no_gates");
  });

  test("see an attempt that was interrupted, failed or did nothing as no execution", () => {
    for (const difference of [
      { status: "interrupted" },
      { status: "running", outcome: null },
      { outcome: "failed" },
      { outcome: "cancelled" },
    ] as const) {
      expect(codesOf(complete({ attempts: [attempt(difference)] }))).toContain("agent_not_executed");
    }
    expect(codesOf(complete({ attempts: [] }))).toContain("agent_not_executed");
  });

  test.each(["failed", "unusable"] as const)(
    "with base copies that are %s keep it from being ready",
    (status) => {
      const work = complete();
      const base_copies = { status, files: ["a.test.js"], results: [] };
      const codes = codesOf({ ...work, gates: { ...work.gates!, base_copies } });
      expect(codes).toEqual([status === "failed" ? "protected_input_changed" : "base_copies_unusable"]);
    },
  );

  test("take an attestation for a blocked check, and only for the check it names", () => {
    const work = complete();
    const oracle = {
      kind: "bugfix",
      status: "blocked",
      checks: [{ name: "regression", status: "blocked", gate: null }],
    } as const;
    const review = { ...work.review!, oracle: { ...oracle, checks: [...oracle.checks] } };
    expect(codesOf({ ...work, review })).toEqual(["oracle_missing"]);
    const attested = (name: string) => ({ ...work.acceptance!, attested: { [name]: "tried it" } });
    expect(codesOf({ ...work, review, acceptance: attested("docs") })).toEqual(["oracle_missing"]);
    expect(codesOf({ ...work, review, acceptance: attested("regression") })).toEqual([]);
  });

  test("name a blocked section of the wall by its gap", () => {
    const work = complete();
    const sections = [
      {
        pass: "security",
        status: "blocked" as const,
        path: "",
        summary: "",
        evidence: [],
        risks: [],
        known_gaps: ["security review is blocked: a.js:1 jwt"],
        recommended_next_step: "",
      },
    ];
    const verdict = decideVerdict(factsOf(GOAL, { ...work, review: { ...work.review!, sections } }, GRAPH));
    expect(verdict.readiness).toBe("not ready: security review is blocked: a.js:1 jwt");
  });
});
