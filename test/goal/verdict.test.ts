/** The decision table: every combination of facts is tried, so no way to `ready` is left out. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { GateResult } from "../../src/format/gate.ts";
import type { Goal } from "../../src/format/goal.ts";
import type { Attempt, Work } from "../../src/format/work.ts";
import { factsOf } from "../../src/goal/facts.ts";
import { scaffoldGraph, scaffoldWork } from "../../src/goal/scaffold.ts";
import {
  decideVerdict,
  onlyAcceptanceMissing,
  onlyDeliveryMissing,
  STATE_CONTROLLED,
  type Facts,
  type GapCode,
} from "../../src/goal/verdict.ts";

const READY: Facts = {
  lastOutcome: "finished",
  executed: true,
  gates: "green",
  gatesUnapproved: false,
  cleanCheckout: "not_run",
  cleanCheckoutLost: false,
  linkedChanged: [],
  pointsBack: [],
  unchangedParts: [],
  strandedSlices: [],
  undelivered: false,
  openTasks: [],
  outsideWriteSets: [],
  redGates: [],
  ranOnResult: true,
  changedFiles: 1,
  reviewed: true,
  foundFaults: [],
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

const READINESS = "ready: integration and oracle evidence passed";
const BLOCKED = "security review is blocked: a.js:1 github-token";

/** Every value of every fact, the good ones first: every sixty-seventh combination of these is tried. */
const VALUES: { [K in keyof Facts]?: readonly Facts[K][] } = {
  executed: [true, false],
  openTasks: [[], ["goal-agent-implement-2"]],
  gates: ["green", "none", "not_run", "red"],
  gatesUnapproved: [false, true],
  cleanCheckout: ["passed", "unusable", "not_run", "failed"],
  cleanCheckoutLost: [false, true],
  linkedChanged: [[], ["node_modules/dep/index.js"]],
  pointsBack: [[], [".venv/lib/it.pth"]],
  unchangedParts: [[], ["goal-agent-implement-1"]],
  strandedSlices: [[], ["goal-agent-implement-1"]],
  undelivered: [false, true],
  outsideWriteSets: [[], ["other.js"]],
  ranOnResult: [true, false],
  changedFiles: [2, 0],
  reviewed: [true, false],
  blockedSections: [[], [BLOCKED]],
  baseCopies: ["not_needed", "passed", "failed", "unusable", "not_run"],
  drifted: [[], ["sum.js"]],
  nestedRepositories: [[], ["vendor/x"]],
  missingChecks: [[], ["regression"]],
  acceptance: ["accepted", "open", { rejected: "not what I meant" }],
};
const FACTS = Object.keys(VALUES) as (keyof typeof VALUES)[];
const COMBINATIONS = FACTS.reduce((count, name) => count * (VALUES[name]?.length ?? 1), 1);
/** All of them take a minute and more. A stride that no number of values divides meets every pair of values all the same. */
const STRIDE = 67;

/** The combination of a number: each fact is a digit of it. */
function factsOfNumber(number: number): Facts {
  let rest = number;
  const facts: Record<string, unknown> = { ...READY };
  for (const name of FACTS) {
    const values = VALUES[name] ?? [];
    facts[name] = values[rest % values.length];
    rest = Math.floor(rest / values.length);
  }
  return facts as unknown as Facts;
}

/** When each gap is there, said once more and differently from the table. */
const GAPS: Readonly<Record<GapCode, (facts: Facts) => boolean>> = {
  agent_not_executed: ({ executed }) => !executed,
  no_claim_without_evidence: ({ executed }) => !executed,
  tasks_open: ({ openTasks }) => openTasks.length > 0,
  review_missing: ({ executed, reviewed }) => executed && !reviewed,
  security_review_missing: ({ executed, reviewed }) => executed && !reviewed,
  review_blocked: ({ reviewed, blockedSections }) => reviewed && blockedSections.length > 0,
  no_gates: ({ gates }) => gates === "none",
  gates_not_run: ({ gates }) => gates === "not_run",
  gates_red: ({ gates }) => gates === "red",
  gates_unapproved: ({ gatesUnapproved }) => gatesUnapproved,
  clean_checkout_red: ({ cleanCheckout }) => cleanCheckout === "failed",
  clean_checkout_lost: ({ cleanCheckoutLost }) => cleanCheckoutLost,
  linked_changed: ({ linkedChanged }) => linkedChanged.length > 0,
  environment_points_back: ({ pointsBack }) => pointsBack.length > 0,
  part_unchanged: ({ unchangedParts }) => unchangedParts.length > 0,
  slice_conflict: ({ strandedSlices }) => strandedSlices.length > 0,
  not_delivered: ({ undelivered }) => undelivered,
  write_set_violated: ({ outsideWriteSets }) => outsideWriteSets.length > 0,
  gates_not_rerun: ({ executed, changedFiles, gates, ranOnResult }) =>
    executed && changedFiles > 0 && gates === "green" && !ranOnResult,
  nothing_changed: ({ executed, changedFiles }) => executed && changedFiles === 0,
  protected_input_changed: ({ baseCopies }) => baseCopies === "failed",
  base_copies_unusable: ({ baseCopies }) => baseCopies === "unusable" || baseCopies === "not_run",
  result_changed: ({ drifted }) => drifted.length > 0,
  nested_repository: ({ nestedRepositories }) => nestedRepositories.length > 0,
  oracle_missing: ({ missingChecks }) => missingChecks.length > 0,
  acceptance_needed: ({ acceptance }) => acceptance === "open",
  rejected: ({ acceptance }) => typeof acceptance === "object",
};

/** Values of a fact with which a goal can be ready. */
function isGood(name: keyof Facts, value: unknown): boolean {
  if (name === "cleanCheckout") return value !== "failed";
  if (name === "baseCopies") return value === "not_needed" || value === "passed";
  return value === VALUES[name as keyof typeof VALUES]?.[0];
}

/** What `ready` means: every fact is good. */
function isComplete(facts: Facts): boolean {
  return FACTS.every((name) => isGood(name, facts[name]));
}

describe("the verdict", () => {
  test("is ready exactly when every fact is good, and each gap is there exactly when its fact is bad", () => {
    const codes = Object.keys(GAPS) as GapCode[];
    for (let number = 0; number < COMBINATIONS; number += STRIDE) {
      const facts = factsOfNumber(number);
      const { status, gaps, readinessCode, readiness } = decideVerdict(facts);
      const found = gaps.map(({ code }) => code);
      // The sentence is that of the gap whose code it carries.
      const told = gaps.find(({ code }) => code === readinessCode)?.text;
      const holds =
        (status === "ready") === isComplete(facts) &&
        (status === "ready") === (gaps.length === 0) &&
        (status === "ready") === (readinessCode === "ready") &&
        codes.every((code) => found.includes(code) === GAPS[code](facts)) &&
        new Set(found).size === found.length &&
        readiness === (status === "ready" ? READINESS : `not ready: ${told}`);
      // `expect` for each of so many would take minutes.
      if (!holds) expect.fail(`${JSON.stringify(facts)} is ${status}, ${readinessCode}: ${found.join(", ")}`);
    }
    expect(COMBINATIONS / STRIDE).toBeGreaterThan(400_000);
  }, 120_000);

  test("is never ready with one bad fact, whatever the others are", () => {
    fc.assert(
      fc.property(fc.nat(COMBINATIONS - 1), fc.constantFrom(...FACTS), fc.nat(4), (number, name, at) => {
        const facts = factsOfNumber(number);
        const bad = (VALUES[name] ?? []).filter((value) => !isGood(name, value));
        const worse = { ...facts, [name]: bad[at % bad.length] };
        expect(decideVerdict(worse).status).toBe("not_ready");
      }),
      { numRuns: 5_000 },
    );
  });

  test("says that only acceptance is missing exactly when giving it would make the goal ready", () => {
    fc.assert(
      fc.property(fc.nat(COMBINATIONS - 1), (number) => {
        const facts = factsOfNumber(number);
        fc.pre(typeof facts.acceptance !== "object");
        const accepted: Facts = { ...facts, acceptance: "accepted", undelivered: false };
        // What is accepted is delivered next.
        expect(onlyAcceptanceMissing(facts)).toBe(isComplete(accepted));
      }),
      { numRuns: 5_000 },
    );
    expect(onlyAcceptanceMissing({ ...READY, acceptance: "open" })).toBe(true);
    expect(onlyAcceptanceMissing({ ...READY, acceptance: "open", undelivered: true })).toBe(true);
  });

  test("says that only delivery is missing once everything else is there, and not before it is accepted", () => {
    expect(onlyDeliveryMissing({ ...READY, undelivered: true })).toBe(true);
    expect(onlyDeliveryMissing(READY)).toBe(false);
    expect(onlyDeliveryMissing({ ...READY, undelivered: true, acceptance: "open" })).toBe(false);
    expect(onlyDeliveryMissing({ ...READY, undelivered: true, gates: "red" })).toBe(false);
  });

  test("explains itself by the rejection, whatever else is wrong", () => {
    fc.assert(
      fc.property(fc.nat(COMBINATIONS - 1), (number) => {
        const verdict = decideVerdict({ ...factsOfNumber(number), acceptance: { rejected: "no" } });
        expect(verdict.readinessCode).toBe("rejected");
      }),
    );
  });

  const gapOf: [string, Partial<Facts>, string, string][] = [
    ["no agent turn", { executed: false }, "agent_not_executed", "agent execution has not run"],
    ["no review", { reviewed: false }, "review_missing", "review evidence"],
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
    ["tasks that are open", { openTasks: ["goal-agent-implement-2"] }, "tasks_open", "implement-2"],
    ["gates nobody approved", { gatesUnapproved: true }, "gates_unapproved", "no person has approved"],
    ["a red clean checkout", { cleanCheckout: "failed" }, "clean_checkout_red", "fresh checkout"],
    ["a change outside", { outsideWriteSets: ["other.js"] }, "write_set_violated", "other.js"],
    ["files changed since", { drifted: ["a.js"] }, "result_changed", "a.js"],
    ["a repository inside", { nestedRepositories: ["vendor"] }, "nested_repository", "vendor"],
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
      acceptance: "open",
    });
    expect(readinessCode).toBe("gates_red");
    expect(gaps.length).toBeGreaterThan(3);
  });

  test("tells what was found in the result, and not that an agent did not mend it", () => {
    const unmended: Partial<Facts> = {
      executed: false,
      openTasks: ["goal-agent-security-cleanup-goal-agent-execute"],
      blockedSections: ["code review is blocked until changed files exist"],
    };
    const { readiness, readinessCode, gaps } = decideVerdict({
      ...READY,
      ...unmended,
      foundFaults: [BLOCKED],
    });
    expect([readinessCode, readiness]).toEqual(["review_blocked", `not ready: ${BLOCKED}`]);
    expect(gaps.map(({ code }) => code)).toContain("agent_not_executed");
    // What is missing because no agent worked is no such thing, and a red gate is worse.
    expect(decideVerdict({ ...READY, ...unmended }).readinessCode).toBe("agent_not_executed");
    expect(decideVerdict({ ...READY, gates: "red", foundFaults: [BLOCKED] }).readinessCode).toBe("gates_red");
    // Of another result than was reviewed nobody knows.
    expect(decideVerdict({ ...READY, reviewed: false, foundFaults: [BLOCKED] }).readinessCode).toBe(
      "review_missing",
    );
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
  delivery_policy: "local",
  slice_execution: false,
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

  const waiver = (kind: "change" | "finding" | "gates", what: string, tree?: string) => ({
    kind,
    what,
    ...(tree !== undefined && { tree }),
    reason: "looked at it",
    at: "2026-01-01T00:03:00Z",
  });

  test("with files outside the write sets keep it from being ready until a person lets each pass, in this result", () => {
    const work = complete({ outside_write_sets: ["b.js", "c.js"] });
    expect(codesOf(work)).toEqual(["write_set_violated"]);
    const one = waiver("change", "b.js", TREE);
    expect(codesOf({ ...work, waivers: [one] })).toEqual(["write_set_violated"]);
    expect(codesOf({ ...work, waivers: [one, waiver("change", "c.js", TREE)] })).toEqual([]);
    // What was let pass was another content.
    expect(codesOf({ ...work, waivers: [one, waiver("change", "c.js", "t0")] })).toEqual([
      "write_set_violated",
    ]);
    expect(codesOf({ ...work, waivers: [one, waiver("finding", "c.js")] })).toEqual(["write_set_violated"]);
  });

  test.each(["failed", "unusable"] as const)(
    "with base copies that are %s are ready when a person let every such file pass, and not before",
    (status) => {
      const work = complete();
      const base_copies = { status, files: ["a.test.js", "b.test.js"], results: [] };
      const judged = { ...work, gates: { ...work.gates!, base_copies } };
      const waivers = base_copies.files.map((path) => waiver("change", path, TREE));
      expect(codesOf({ ...judged, waivers: waivers.slice(1) })).toHaveLength(1);
      expect(codesOf({ ...judged, waivers })).toEqual([]);
    },
  );

  test("with a red clean checkout of this result keep it from being ready; one that cannot be used blocks nothing", () => {
    const work = complete();
    const codes = (status: "passed" | "failed" | "unusable") =>
      codesOf({ ...work, gates: { ...work.gates!, clean_checkout: { status, results: [] } } });
    expect(codes("failed")).toEqual(["clean_checkout_red"]);
    expect(codes("unusable")).toEqual([]);
    expect(codes("passed")).toEqual([]);
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
        blocked_by: "findings" as const,
        recommended_next_step: "",
      },
    ];
    const reviewed = { ...work, review: { ...work.review!, sections } };
    const verdict = decideVerdict(factsOf(GOAL, reviewed, GRAPH));
    expect(verdict.readiness).toBe("not ready: security review is blocked: a.js:1 jwt");
    expect(factsOf(GOAL, reviewed, GRAPH)).toMatchObject({
      foundFaults: ["security review is blocked: a.js:1 jwt"],
      blockedSections: [],
    });
  });
});
