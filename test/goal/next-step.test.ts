/** The loop's rule, driven through made-up histories: it always comes to an end, and never does the same work twice. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { GateResult, GateVerdict } from "../../src/format/gate.ts";
import type { Attempt, Work } from "../../src/format/work.ts";
import { currentAttempts, nextStep, type LoopLimits, type Step } from "../../src/goal/next-step.ts";
import { scaffoldWork } from "../../src/goal/scaffold.ts";

const CHANGED = [{ path: "sum.js", kind: "modified" as const, old_mode: null, new_mode: null }];
const AT = "2026-01-01T00:00:00Z";

function gate(verdict: GateVerdict): GateResult {
  const passed = verdict === "passed";
  const common = {
    name: "tests",
    stdout: "",
    stderr: "",
    duration_ms: 1,
    required: true,
    command_line: "npm test",
  };
  return { ...common, passed, timed_out: false, timeout_secs: 0, verdict, source: "config", kind: "test" };
}

/** What comes of a step; which part of it counts depends on the step. */
interface Fate {
  /** `outside`: the agent could not work (quota, login). `killed`: omk died in the middle of the step. */
  turn: "finished" | "failed" | "outside" | "interrupted" | "killed";
  changes: boolean;
  gates: GateVerdict;
  copies: "passed" | "failed" | "unusable" | null;
  review: "passed" | "blocked" | "fixable";
}

const fates = (turns: readonly Fate["turn"][]): fc.Arbitrary<Fate> =>
  fc.record({
    turn: fc.constantFrom(...turns),
    changes: fc.boolean(),
    gates: fc.constantFrom<GateVerdict>("passed", "passed", "failed", "timed_out", "ran_nothing"),
    copies: fc.constantFrom<Fate["copies"]>(null, "passed", "failed", "unusable"),
    review: fc.constantFrom<Fate["review"]>("passed", "blocked", "fixable"),
  });
const ANY = fates(["finished", "finished", "failed", "outside", "interrupted", "killed"]);
/** Turns that end by themselves: what is left when nobody stops or kills omk. */
const UNDISTURBED = fates(["finished", "finished", "failed"]);

const limits = fc.record({ hasGates: fc.boolean(), maxAttempts: fc.integer({ min: 1, max: 6 }) });

/** A loop that takes steps as the runtime does, on a `work.json` of its own. */
class Loop {
  work: Work = scaffoldWork();
  readonly steps: Step[] = [];
  readonly gatesRanOn: string[] = [];
  readonly #limits: LoopLimits;
  #trees = 0;
  #fence = 0;

  constructor(given: LoopLimits) {
    this.#limits = given;
  }

  /** Looks, and does what is next; false at the end. */
  take(fate: Fate): boolean {
    const step = nextStep(this.work, this.#limits);
    this.steps.push(step);
    if (step.kind === "finish") return false;
    // A step that was cut off left nothing, but for an attempt, which had been recorded as running.
    if (fate.turn === "killed" && step.kind !== "run_attempt") return true;
    this.#do(step, fate);
    return true;
  }

  /** A person says to go on, with fresh attempts. */
  grantAttempts(): void {
    this.work = { ...this.work, attempts_from: this.work.attempts.length };
  }

  #do(step: Step, fate: Fate): void {
    const { work } = this;
    switch (step.kind) {
      case "record_base":
        this.work = { ...work, base: { tree: "t0", position: "p", commit: null } };
        return;
      case "run_baseline":
        this.work = { ...work, baseline: { tree: "t0", gates: [gate("failed")] } };
        return;
      case "run_attempt":
        this.#attempt(step.number, fate);
        return;
      case "run_gates": {
        const tree = work.result?.tree ?? "t0";
        this.gatesRanOn.push(tree);
        const base_copies = fate.copies && { status: fate.copies, files: ["a.test.js"], results: [] };
        const results = [gate(fate.gates)];
        this.work = {
          ...work,
          gates: { tree, run: "1", results, base_copies, added_tests: null, side_effects: [] },
        };
        return;
      }
      case "review": {
        const section = {
          pass: "security",
          status: fate.review === "passed" ? ("passed" as const) : ("blocked" as const),
          path: "",
          summary: "",
          evidence: [],
          risks: [],
          known_gaps: [],
          recommended_next_step: "",
          ...(fate.review === "fixable" && { fixable: true }),
        };
        const oracle = { kind: "bugfix", status: "passed" as const, checks: [] };
        this.work = {
          ...work,
          review: { tree: work.result?.tree ?? "t0", sections: [section], oracle, at: AT },
        };
        return;
      }
      case "finish":
    }
  }

  #attempt(number: number, fate: Fate): void {
    const { work } = this;
    const before = work.result?.tree ?? "t0";
    const tree = fate.changes ? `t${++this.#trees}` : before;
    const isLost = fate.turn === "killed" || fate.turn === "interrupted";
    const ended: Attempt = {
      task_id: "goal-agent-execute",
      number,
      fence: ++this.#fence,
      run_key: "",
      spawn_id: "",
      status: isLost ? "interrupted" : "ended",
      outcome: fate.turn === "killed" ? null : fate.turn === "finished" ? "finished" : "failed",
      outcome_code: null,
      start_tree: before,
      result_tree: tree,
      started_at: AT,
      ended_at: AT,
      summary: "",
      usage: null,
      counted: !isLost && fate.turn !== "outside",
    };
    const attempts = [...work.attempts, ended];
    // After a kill nobody had looked at the tree; the gates find out what is there.
    if (fate.turn === "killed") this.work = { ...work, attempts };
    else this.work = { ...work, attempts, result: { tree, changed_files: tree === "t0" ? [] : CHANGED } };
  }
}

/** Any state that a history of turns, kills, interruptions and fresh attempts may leave. */
const histories = fc.record({
  limits,
  past: fc.array(fc.record({ fate: ANY, granted: fc.boolean() }), { maxLength: 30 }),
  future: fc.array(UNDISTURBED, { minLength: 40, maxLength: 40 }),
});

function reached(past: readonly { fate: Fate; granted: boolean }[], given: LoopLimits): Loop {
  const loop = new Loop(given);
  for (const { fate, granted } of past) {
    if (!loop.take(fate) && granted) loop.grantAttempts();
  }
  return loop;
}

describe("the loop", () => {
  test("comes to its end from wherever it stands, within four steps an attempt and three more", () => {
    fc.assert(
      fc.property(histories, ({ limits: given, past, future }) => {
        const loop = reached(past, given);
        const before = loop.steps.length;
        const bound = given.maxAttempts * 4 + 3;
        let goesOn = true;
        for (let at = 0; goesOn && at <= bound; at++) goesOn = loop.take(future[at] as Fate);
        expect(goesOn).toBe(false);
        expect(loop.steps.length - before).toBeLessThanOrEqual(bound);
      }),
      { numRuns: 2_000 },
    );
  });

  test("runs the gates once on a tree, and not at all where there are none", () => {
    fc.assert(
      fc.property(histories, ({ limits: given, past, future }) => {
        const loop = reached(past, given);
        for (const fate of future) if (!loop.take(fate)) break;
        expect(new Set(loop.gatesRanOn).size).toBe(loop.gatesRanOn.length);
        if (!given.hasGates) expect(loop.gatesRanOn).toEqual([]);
      }),
      { numRuns: 2_000 },
    );
  });

  test("never starts an attempt above the limit, and numbers counted ones 1, 2, 3 and so on", () => {
    fc.assert(
      fc.property(histories, ({ limits: given, past, future }) => {
        const loop = new Loop(given);
        const steps = [...past, ...future.map((fate) => ({ fate, granted: false }))];
        for (const { fate, granted } of steps) {
          const before = currentAttempts(loop.work);
          const counted = before.filter((one) => one.counted).length;
          const goesOn = loop.take(fate);
          const step = loop.steps.at(-1);
          if (step?.kind === "run_attempt") {
            expect(step.number).toBe(counted + 1);
            expect(step.number).toBeLessThanOrEqual(given.maxAttempts);
          }
          if (!goesOn && granted) loop.grantAttempts();
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("gives an interrupted attempt's number out again and does not count it", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.constantFrom("interrupted" as const, "killed" as const),
        (times, turn) => {
          const loop = new Loop({ hasGates: true, maxAttempts: 1 });
          const fate: Fate = {
            turn: "finished",
            changes: true,
            gates: "passed",
            copies: null,
            review: "passed",
          };
          loop.take(fate);
          loop.take(fate);
          for (let time = 0; time < times; time++) loop.take({ ...fate, turn });
          while (loop.take(fate)) continue;
          expect(loop.steps.filter(({ kind }) => kind === "run_attempt")).toEqual(
            Array.from({ length: times + 1 }, () => ({ kind: "run_attempt", number: 1 })),
          );
          expect(loop.steps.at(-1)).toEqual({ kind: "finish", because: "complete" });
        },
      ),
    );
  });

  test("is complete only with a finished turn, green gates and a review of exactly the result", () => {
    fc.assert(
      fc.property(histories, ({ limits: given, past, future }) => {
        const loop = reached(past, given);
        for (const fate of future) if (!loop.take(fate)) break;
        const last = loop.steps.at(-1);
        if (last?.kind !== "finish" || last.because !== "complete") return;
        if (!given.hasGates) {
          expect(loop.work.attempts).toEqual([]);
          return;
        }
        const { work } = loop;
        expect(work.attempts.at(-1)).toMatchObject({ status: "ended", outcome: "finished" });
        expect(work.review?.tree).toBe(work.result?.tree);
        expect(work.gates).toMatchObject({ tree: work.result?.tree, results: [{ verdict: "passed" }] });
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("the order of steps", () => {
  const good: Fate = { turn: "finished", changes: true, gates: "passed", copies: null, review: "passed" };

  function kindsOf(given: LoopLimits, ...list: Fate[]): string[] {
    const loop = new Loop(given);
    for (const fate of list) if (!loop.take(fate)) break;
    return loop.steps.map(({ kind }) => kind);
  }

  test("is base, baseline, attempt, gates, review, end", () => {
    expect(kindsOf({ hasGates: true, maxAttempts: 3 }, good, good, good, good, good, good)).toEqual([
      "record_base",
      "run_baseline",
      "run_attempt",
      "run_gates",
      "review",
      "finish",
    ]);
  });

  test("goes back to the agent after red gates without a review", () => {
    const red = { ...good, gates: "failed" as const };
    const kinds = kindsOf({ hasGates: true, maxAttempts: 2 }, good, good, good, red, good, good, good, good);
    expect(kinds.slice(2)).toEqual([
      "run_attempt",
      "run_gates",
      "run_attempt",
      "run_gates",
      "review",
      "finish",
    ]);
  });

  test("goes back to the agent for what it can mend, and not for what it cannot", () => {
    const kindsAfter = (difference: Partial<Fate>) => {
      const fate = { ...good, ...difference };
      return kindsOf({ hasGates: true, maxAttempts: 2 }, good, good, fate, fate, fate, good)[5];
    };
    expect(kindsAfter({ review: "fixable" })).toBe("run_attempt");
    expect(kindsAfter({ copies: "failed" })).toBe("run_attempt");
    expect(kindsAfter({ changes: false })).toBe("run_attempt");
    expect(kindsAfter({ review: "blocked" })).toBe("finish");
    expect(kindsAfter({ copies: "unusable" })).toBe("finish");
  });

  test("ends when the attempts are used up", () => {
    const loop = new Loop({ hasGates: true, maxAttempts: 2 });
    while (loop.take({ ...good, gates: "failed" })) continue;
    expect(loop.steps.at(-1)).toEqual({ kind: "finish", because: "attempts_used_up" });
    loop.grantAttempts();
    expect(nextStep(loop.work, { hasGates: true, maxAttempts: 2 })).toEqual({
      kind: "run_attempt",
      number: 1,
    });
  });
});
