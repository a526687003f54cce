/** The loop's rule, driven through made-up histories: it always comes to an end, and never does the same work twice. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { GateResult, GateVerdict } from "../../src/format/gate.ts";
import type { ReviewFinding } from "../../src/format/proof.ts";
import type { Attempt, Work } from "../../src/format/work.ts";
import type { GoalTask } from "../../src/format/task-graph.ts";
import { countedAttempts, openTasks } from "../../src/goal/agent-tasks.ts";
import { addFollowUp } from "../../src/goal/follow-ups.ts";
import { nextStep, stepsAllowed, type LoopLimits, type Step } from "../../src/goal/next-step.ts";
import { checkTaskGraph } from "../../src/format/task-graph.ts";
import { scaffoldGraph, scaffoldWork } from "../../src/goal/scaffold.ts";
import { TASK } from "../../src/goal/task-ids.ts";
import { applyChanges } from "../../src/store/journal.ts";

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
  review: "passed" | "blocked" | "fixable" | "secret" | "slop";
  /** The turn changed files outside its write set. */
  strays: boolean;
}

const fates = (turns: readonly Fate["turn"][]): fc.Arbitrary<Fate> =>
  fc.record({
    turn: fc.constantFrom(...turns),
    changes: fc.boolean(),
    gates: fc.constantFrom<GateVerdict>("passed", "passed", "failed", "timed_out", "ran_nothing"),
    copies: fc.constantFrom<Fate["copies"]>(null, "passed", "failed", "unusable"),
    review: fc.constantFrom<Fate["review"]>("passed", "passed", "blocked", "fixable", "secret", "slop"),
    strays: fc.boolean(),
  });
const ANY = fates(["finished", "finished", "failed", "outside", "interrupted", "killed"]);
/** Turns that end by themselves: what is left when nobody stops or kills omk. */
const UNDISTURBED = fates(["finished", "finished", "failed"]);

const limits = fc.record({
  gates: fc.constantFrom<LoopLimits["gates"]>("own", "own", "none"),
  maxAttempts: fc.integer({ min: 1, max: 6 }),
  width: fc.constant(1),
});

/** The graph of a goal with one task, or with parts of which each waits for some of those before it. */
function graphOf(waitsFor: readonly (readonly number[])[]) {
  const graph = scaffoldGraph("goal-1", AT);
  if (waitsFor.length === 0) return graph;
  const model = graph.tasks.find(({ id }) => id === TASK.execute) as GoalTask;
  const idOf = (at: number) => `goal-agent-implement-${at}`;
  const parts = waitsFor.map((before, at) => ({
    ...model,
    id: idOf(at),
    dependencies: [TASK.plan, ...before.filter((one) => one < at).map(idOf)],
    write_set: [`src/${at}`],
  }));
  const ids = parts.map(({ id }) => id);
  const tasks = graph.tasks.flatMap((task) =>
    task.id === TASK.execute
      ? parts
      : [{ ...task, dependencies: task.dependencies.flatMap((id) => (id === TASK.execute ? ids : [id])) }],
  );
  return { ...graph, tasks };
}

const parts = fc.array(fc.uniqueArray(fc.integer({ min: 0, max: 3 })), { maxLength: 4 });

function limitedTo(maxAttempts: number): LoopLimits {
  return { gates: "own", maxAttempts, width: 1 };
}

const SECRET: ReviewFinding = {
  id: "a1",
  path: "a.js",
  line: 1,
  kind: "github-token",
  severity: "critical",
  confidence: 1,
  text: "a token",
};
const SLOP: ReviewFinding = {
  ...SECRET,
  kind: "debugger",
  severity: "medium",
  confidence: 0.9,
  text: "debugger",
};

/** A loop that takes steps as the runtime does, on a `work.json` of its own. */
class Loop {
  work: Work = scaffoldWork();
  graph: ReturnType<typeof scaffoldGraph>;
  readonly steps: Step[] = [];
  readonly gatesRanOn: string[] = [];
  readonly #limits: LoopLimits;
  #trees = 0;
  #fence = 0;

  constructor(given: LoopLimits, waitsFor: readonly (readonly number[])[] = []) {
    this.#limits = given;
    this.graph = graphOf(waitsFor);
  }

  /** Looks, and does what is next; false at the end. */
  take(fate: Fate): boolean {
    const step = nextStep(this.work, this.graph, this.#limits);
    this.steps.push(step);
    if (step.kind === "finish") return false;
    // A step that was cut off left nothing, but for an attempt, which had been recorded as running.
    if (fate.turn === "killed" && step.kind !== "run_wave") return true;
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
      case "run_wave":
        for (const { task, number } of step.attempts) this.#attempt(task, number, fate);
        return;
      case "add_task": {
        const documents = new Map([
          ["task-graph.json", structuredClone(this.graph) as Record<string, unknown>],
        ]);
        applyChanges(
          documents,
          addFollowUp(step.followUp, this.graph, this.#limits.maxAttempts).changes ?? [],
        );
        this.graph = documents.get("task-graph.json") as typeof this.graph;
        expect(checkTaskGraph(this.graph)).toEqual([]);
        return;
      }
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
          ...(fate.review === "fixable" && { fixable: true, blocked_by: "evidence" as const }),
          ...(fate.review === "secret" && { blocked_by: "findings" as const, findings: [SECRET] }),
          ...(fate.review === "slop" && {
            pass: "anti-slop",
            blocked_by: "findings" as const,
            findings: [SLOP],
          }),
        };
        const oracle = { kind: "bugfix", status: "passed" as const, checks: [] };
        this.work = {
          ...work,
          review: { tree: work.result?.tree ?? "t0", sections: [section], oracle, at: AT },
        };
        return;
      }
      // These goals are worked on in place.
      case "run_slices":
      case "reopen_slice":
      case "plan":
      case "find_gates":
      case "finish":
    }
  }

  #attempt(task: string, number: number, fate: Fate): void {
    const { work } = this;
    const before = work.result?.tree ?? "t0";
    const tree = fate.changes ? `t${++this.#trees}` : before;
    const isLost = fate.turn === "killed" || fate.turn === "interrupted";
    const ended: Attempt = {
      task_id: task,
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
    const done = ended.status === "ended" && ended.outcome === "finished";
    const status = done ? ("done" as const) : isLost ? ("pending" as const) : ("blocked" as const);
    const tasks = this.graph.tasks.map((one) => (one.id === task ? { ...one, status } : one));
    this.graph = { ...this.graph, tasks };
    const outside_write_sets = fate.strays && fate.turn !== "killed" && tree !== "t0" ? ["elsewhere.js"] : [];
    // After a kill nobody had looked at the tree; the gates find out what is there.
    if (fate.turn === "killed") this.work = { ...work, attempts };
    else
      this.work = {
        ...work,
        attempts,
        outside_write_sets,
        result: { tree, changed_files: tree === "t0" ? [] : CHANGED },
      };
  }
}

/** Any state that a history of turns, kills, interruptions and fresh attempts may leave. */
const histories = fc.record({
  limits,
  parts,
  past: fc.array(fc.record({ fate: ANY, granted: fc.boolean() }), { maxLength: 30 }),
  future: fc.array(UNDISTURBED, { minLength: 40, maxLength: 40 }),
});

function reached(
  past: readonly { fate: Fate; granted: boolean }[],
  given: LoopLimits,
  waitsFor: readonly (readonly number[])[],
): Loop {
  const loop = new Loop(given, waitsFor);
  for (const { fate, granted } of past) {
    if (!loop.take(fate) && granted) loop.grantAttempts();
  }
  return loop;
}

describe("the loop", () => {
  test("comes to its end from wherever it stands, within four steps an attempt of each task and three more", () => {
    fc.assert(
      fc.property(histories, ({ limits: given, parts: waitsFor, past, future }) => {
        const loop = reached(past, given, waitsFor);
        const before = loop.steps.length;
        // Each part, and what may be added: repair, security clean-up, refactoring.
        const bound = given.maxAttempts * (Math.max(1, waitsFor.length) + 3) * 4 + 6;
        let goesOn = true;
        for (let at = 0; goesOn && at <= bound; at++) goesOn = loop.take(future[at % future.length] as Fate);
        expect(goesOn).toBe(false);
        expect(loop.steps.length - before).toBeLessThanOrEqual(bound);
        // What the runtime allows is never in the way.
        expect(stepsAllowed(given.maxAttempts, loop.graph)).toBeGreaterThan(loop.steps.length - before);
      }),
      { numRuns: 2_000 },
    );
  });

  test("may take as many steps as its limits lead to, however many parts there are", () => {
    const parts = graphOf(Array.from({ length: 100 }, () => []));
    expect(stepsAllowed(3, parts)).toBeGreaterThan(4 * 3 * 104);
    expect(stepsAllowed(50, graphOf([]))).toBeGreaterThan(4 * 50 * 5);
  });

  test("runs the gates once on a tree, and not at all where there are none", () => {
    fc.assert(
      fc.property(histories, ({ limits: given, parts: waitsFor, past, future }) => {
        const loop = reached(past, given, waitsFor);
        for (const fate of future) if (!loop.take(fate)) break;
        expect(new Set(loop.gatesRanOn).size).toBe(loop.gatesRanOn.length);
        if (given.gates === "none") expect(loop.gatesRanOn).toEqual([]);
      }),
      { numRuns: 2_000 },
    );
  });

  test("never starts an attempt above the limit, and numbers counted ones 1, 2, 3 and so on", () => {
    fc.assert(
      fc.property(histories, ({ limits: given, parts: waitsFor, past, future }) => {
        const loop = new Loop(given, waitsFor);
        const steps = [...past, ...future.map((fate) => ({ fate, granted: false }))];
        for (const { fate, granted } of steps) {
          const before = loop.work;
          const goesOn = loop.take(fate);
          const step = loop.steps.at(-1);
          for (const { task, number } of step?.kind === "run_wave" ? step.attempts : []) {
            expect(number).toBe(countedAttempts(before, task) + 1);
            expect(number).toBeLessThanOrEqual(given.maxAttempts);
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
          const loop = new Loop(limitedTo(1));
          const fate: Fate = {
            turn: "finished",
            changes: true,
            gates: "passed",
            copies: null,
            review: "passed",
            strays: false,
          };
          loop.take(fate);
          loop.take(fate);
          for (let time = 0; time < times; time++) loop.take({ ...fate, turn });
          while (loop.take(fate)) continue;
          expect(loop.steps.filter(({ kind }) => kind === "run_wave")).toEqual(
            Array.from({ length: times + 1 }, () => ({
              kind: "run_wave",
              attempts: [{ task: TASK.execute, number: 1 }],
            })),
          );
          expect(loop.steps.at(-1)).toEqual({ kind: "finish", because: "complete" });
        },
      ),
    );
  });

  test("is complete only with a finished turn, green gates and a review of exactly the result", () => {
    fc.assert(
      fc.property(histories, ({ limits: given, parts: waitsFor, past, future }) => {
        const loop = reached(past, given, waitsFor);
        for (const fate of future) if (!loop.take(fate)) break;
        const last = loop.steps.at(-1);
        if (last?.kind !== "finish" || last.because !== "complete") return;
        const { work, graph } = loop;
        expect(openTasks(graph, work)).toEqual([]);
        if (given.gates === "none") return;
        expect(work.attempts.at(-1)).toMatchObject({ status: "ended", outcome: "finished" });
        expect(work.review?.tree).toBe(work.result?.tree);
        expect(work.gates).toMatchObject({ tree: work.result?.tree, results: [{ verdict: "passed" }] });
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("the order of steps", () => {
  const good: Fate = {
    turn: "finished",
    changes: true,
    gates: "passed",
    copies: null,
    review: "passed",
    strays: false,
  };

  function kindsOf(given: LoopLimits, ...list: Fate[]): string[] {
    const loop = new Loop(given);
    for (const fate of list) if (!loop.take(fate)) break;
    return loop.steps.map(({ kind }) => kind);
  }

  test("is base, baseline, attempt, gates, review, end", () => {
    expect(kindsOf(limitedTo(3), good, good, good, good, good, good)).toEqual([
      "record_base",
      "run_baseline",
      "run_wave",
      "run_gates",
      "review",
      "finish",
    ]);
  });

  test("goes back to the agent after red gates without a review", () => {
    const red = { ...good, gates: "failed" as const };
    const kinds = kindsOf(limitedTo(2), good, good, good, red, good, good, good, good);
    expect(kinds.slice(2)).toEqual(["run_wave", "run_gates", "run_wave", "run_gates", "review", "finish"]);
  });

  test("goes back to the agent for what it can mend, and not for what it cannot", () => {
    const kindsAfter = (difference: Partial<Fate>) => {
      const fate = { ...good, ...difference };
      return kindsOf(limitedTo(2), good, good, fate, fate, fate, good)[5];
    };
    expect(kindsAfter({ review: "fixable" })).toBe("run_wave");
    expect(kindsAfter({ copies: "failed" })).toBe("run_wave");
    expect(kindsAfter({ changes: false })).toBe("run_wave");
    expect(kindsAfter({ review: "blocked" })).toBe("finish");
    expect(kindsAfter({ copies: "unusable" })).toBe("finish");
  });

  test("ends when the attempts are used up", () => {
    const loop = new Loop(limitedTo(2));
    while (loop.take({ ...good, gates: "failed" })) continue;
    expect(loop.steps.at(-1)).toEqual({ kind: "finish", because: "attempts_used_up" });
    loop.grantAttempts();
    expect(nextStep(loop.work, loop.graph, limitedTo(2))).toEqual({
      kind: "run_wave",
      attempts: [{ task: TASK.execute, number: 1 }],
    });
  });

  test("does parts after what they wait for, one after another, and runs the gates when all are done", () => {
    const loop = new Loop(limitedTo(2), [[], [0], [], [1, 2]]);
    while (loop.take(good)) continue;
    const waves = loop.steps.flatMap((step) => (step.kind === "run_wave" ? step.attempts : []));
    expect(waves.map(({ task }) => task.at(-1))).toEqual(["0", "1", "2", "3"]);
    expect(loop.steps.slice(-3).map(({ kind }) => kind)).toEqual(["run_gates", "review", "finish"]);
  });

  test("gives red gates of several parts to a task that may write what the parts might", () => {
    const loop = new Loop(limitedTo(1), [[], []]);
    for (let at = 0; at < 4; at++) loop.take(good);
    loop.take({ ...good, gates: "failed" });
    while (loop.take(good)) continue;
    expect(loop.steps.slice(5).map(({ kind }) => kind)).toEqual([
      "add_task",
      "run_wave",
      "run_gates",
      "review",
      "finish",
    ]);
    expect(loop.graph.tasks.find(({ id }) => id === "goal-agent-repair")).toMatchObject({
      dependencies: ["goal-agent-implement-0", "goal-agent-implement-1"],
      write_set: ["src/0", "src/1"],
    });
    expect(loop.graph.tasks.find(({ id }) => id === TASK.verify)?.dependencies).toContain(
      "goal-agent-repair",
    );
  });

  test("gives what the review found to a task of its own, which cannot wait for itself", () => {
    for (const [review, kind] of [
      ["secret", "security-cleanup"],
      ["slop", "refactor"],
    ] as const) {
      const loop = new Loop(limitedTo(1));
      for (let at = 0; at < 4; at++) loop.take(good);
      loop.take({ ...good, review });
      while (loop.take(good)) continue;
      const last = loop.steps.findLast((step) => step.kind === "run_wave");
      expect(last).toEqual({
        kind: "run_wave",
        attempts: [{ task: `goal-agent-${kind}-goal-agent-execute`, number: 1 }],
      });
      expect(loop.steps.at(-1)).toEqual({ kind: "finish", because: "complete" });
    }
  });

  test("sends a turn back that changed what was not its to change, and builds nothing on it", () => {
    const stray = { ...good, strays: true };
    const loop = new Loop(limitedTo(2), [[], []]);
    for (let at = 0; at < 2; at++) loop.take(good);
    while (loop.take(stray)) continue;
    const waves = loop.steps.flatMap((step) => (step.kind === "run_wave" ? step.attempts : []));
    expect(waves).toEqual([
      { task: "goal-agent-implement-0", number: 1 },
      { task: "goal-agent-implement-0", number: 2 },
    ]);
    expect(loop.steps.at(-1)).toEqual({ kind: "finish", because: "attempts_used_up" });
  });

  test("sends back the task that strayed, not the one that worked last, and none for what no task changed", () => {
    const loop = new Loop(limitedTo(2), [[], []]);
    for (let at = 0; at < 4; at++) loop.take(good);
    const outside = { ...loop.work, outside_write_sets: ["elsewhere.js"] };
    const [first, second] = ["goal-agent-implement-0", "goal-agent-implement-1"] as const;
    expect(outside.attempts.at(-1)?.task_id).toBe(second);
    const next = (strayed_by: Record<string, string>) =>
      nextStep({ ...outside, strayed_by }, loop.graph, limitedTo(2));
    expect(next({ "elsewhere.js": first })).toEqual({
      kind: "run_wave",
      attempts: [{ task: first, number: 2 }],
    });
    expect(next({})).toEqual({ kind: "run_gates" });
  });
});
