import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { Plan } from "../../src/format/plan.ts";
import { parseTaskId } from "../../src/format/names.ts";
import { checkTaskGraph } from "../../src/format/task-graph.ts";
import { parsePlan } from "../../src/goal/plan-answer.ts";
import { preparePlan, widenedWriteSet } from "../../src/goal/plan-sets.ts";
import { graphOfPlan, scaffoldGraph } from "../../src/goal/scaffold.ts";
import { TASK } from "../../src/goal/task-ids.ts";
import { checkTasks } from "../../src/scheduler/check.ts";
import { normalizedPath } from "../../src/scheduler/ownership.ts";

const AT = "2026-01-01T00:00:00Z";

function slice(id: string, more: object = {}): Record<string, unknown> {
  return { id, title: `Do ${id}`, description: `All of ${id}.`, acceptance: ["It works."], ...more };
}

function planOf(slices: unknown[], more: object = {}): Plan {
  const answer = parsePlan(JSON.stringify({ slices, ...more }), "bugfix");
  if (!answer.ok) throw new Error(answer.because);
  return answer.plan;
}

function becauseOf(value: unknown): string {
  const answer = parsePlan(typeof value === "string" ? value : JSON.stringify(value), "bugfix");
  return answer.ok ? "" : answer.because;
}

describe("a plan in an answer", () => {
  const text = JSON.stringify({ summary: "One step.", slices: [slice("a", { write_set: ["src/"] })] });

  test.each([
    ["alone", text],
    ["in a fence", `\`\`\`json\n${text}\n\`\`\``],
    ["in prose", `Here is {my} plan [1]:\n${text}\nGood luck {"to": "you"}.`],
  ])("is found %s", (_where, answer) => {
    const read = parsePlan(answer, "bugfix");
    expect(read).toMatchObject({
      ok: true,
      plan: { kind: "bugfix", summary: "One step.", slices: [{ id: "a", write_set: ["src"] }] },
    });
  });

  test("takes defaults for what is missing or unknown, and leaves out what nobody asked for", () => {
    const plan = planOf(
      [
        slice("", { risk: "extreme", estimated_difficulty: 7, extra: 1 }),
        { description: "x\ny", acceptance: ["z"] },
      ],
      {
        classification: { kind: "audit", confidence: 3 },
        estimate: { complexity_score: 40, hours: -1, tokens: 900 },
        whatever: {},
      },
    );
    expect(plan).toMatchObject({ kind: "audit", complexity_score: 10, estimated_tokens: 900 });
    expect(plan).not.toHaveProperty("estimated_hours");
    expect(plan.slices).toMatchObject([
      { id: "slice-0", risk: "medium", estimated_difficulty: "medium" },
      { id: "slice-1", title: "x" },
    ]);
    expect(plan.slices[0]).not.toHaveProperty("extra");
  });

  test("takes dependencies by id, by number, and as pairs beside the slices", () => {
    const plan = planOf(
      [slice("a"), slice("B c", { dependencies: ["a"] }), slice("d", { dependencies: [0] })],
      {
        dependencies: [[1, 2]],
      },
    );
    expect(plan.slices.map(({ id, dependencies }) => [id, dependencies])).toEqual([
      ["a", []],
      ["slice-1", ["a"]],
      ["d", ["a", "slice-1"]],
    ]);
  });

  test("takes the whole's acceptance for a slice without its own", () => {
    const plan = planOf([slice("a", { acceptance: [] })], { acceptance_criteria: ["The tests pass."] });
    expect(plan.slices[0]?.acceptance).toEqual(["The tests pass."]);
  });

  test.each([
    ["nothing", "", "said nothing"],
    ["prose", "I cannot plan this.", "no JSON object"],
    ["a list", "[1]", "no JSON object"],
    ["one cut off", '{"slices": [{"id": "a"', "no JSON object"],
    ["no slices", { slices: [] }, "no slices"],
    ["a slice that is none", { slices: ["a"] }, "slices.0"],
    ["too many", { slices: Array.from({ length: 51 }, (_, at) => slice(`s${at}`)) }, "51 slices"],
    ["a flood", "x".repeat(300_000), "longer than"],
    ["twins", { slices: [slice("a"), slice("a")] }, "two slices"],
    ["an unknown dependency", { slices: [slice("a", { dependencies: ["b"] })] }, "there is not"],
    ["a pair out of range", { slices: [slice("a")], dependencies: [[0, 1]] }, "no pair"],
    ["three of a pair", { slices: [slice("a")], dependencies: [[0, 0, 0]] }, "no pair"],
    [
      "a circle",
      { slices: [slice("a", { dependencies: ["b"] }), slice("b", { dependencies: ["a"] })] },
      "circle",
    ],
    ["itself", { slices: [slice("a", { dependencies: ["a"] })] }, "itself"],
    ["a path outside", { slices: [slice("a", { write_set: ["../x"] })] }, "not inside the project"],
    ["an absolute path", { slices: [slice("a", { read_set: ["/etc"] })] }, "not inside the project"],
    ["a repository's own files", { slices: [slice("a", { write_set: ["x/.GIT/hooks"] })] }, ".git"],
    ["omk's own files", { slices: [slice("a", { write_set: [".omk/gates.toml"] })] }, ".omk"],
    ["no acceptance", { slices: [slice("a", { acceptance: [] })] }, "acceptance"],
    ["an endless description", { slices: [slice("a", { description: "x".repeat(20_000) })] }, "description"],
  ])("is refused with a reason: %s", (_what, value, reason) => {
    expect(becauseOf(value)).toContain(reason);
  });

  test("or a reason is what any answer gives, never a throw", () => {
    const ids = fc.constantFrom("a", "b", "c", "../x", "", "Ä", "slice-0", "slice-1", 0, 1, 7, null);
    const paths = fc.constantFrom(
      "src/a.ts",
      "src",
      ".",
      "project files",
      "a/../b",
      "..",
      ".git",
      "test/a.test.ts",
      "x\\y",
      3,
    );
    const anySlice = fc.record(
      {
        id: ids,
        title: fc.oneof(fc.string(), fc.constant(null)),
        description: fc.string({ minLength: 1 }),
        dependencies: fc.array(ids, { maxLength: 3 }),
        read_set: fc.array(paths, { maxLength: 3 }),
        write_set: fc.array(paths, { maxLength: 3 }),
        acceptance: fc.array(fc.string(), { maxLength: 2 }),
        risk: fc.anything(),
        estimated_difficulty: fc.anything(),
      },
      { requiredKeys: [] },
    );
    const anyPlan = fc.record(
      {
        slices: fc.array(anySlice, { maxLength: 6 }),
        dependencies: fc.array(fc.oneof(fc.tuple(fc.nat(6), fc.nat(6)), fc.anything()), { maxLength: 3 }),
        acceptance_criteria: fc.array(fc.string({ minLength: 1 }), { maxLength: 2 }),
        estimate: fc.anything(),
        classification: fc.anything(),
      },
      { requiredKeys: ["slices"] },
    );
    const answers = fc.oneof(
      anyPlan.map((plan) => JSON.stringify(plan)),
      fc.json(),
      fc.string(),
      fc.string().map((text) => `{"slices":${text}`),
    );
    fc.assert(
      fc.property(answers, (text) => {
        const read = parsePlan(text, "bugfix");
        if (!read.ok) {
          expect(read.because).not.toBe("");
          return;
        }
        expectSound(read.plan);
        expectSound(preparePlan(read.plan, ["src/a.ts", "test/a.test.ts"]).plan);
      }),
      { numRuns: 500 },
    );
  });
});

function expectSound(plan: Plan): void {
  expect(checkTasks(plan.slices)).toEqual([]);
  for (const { id, read_set, write_set, acceptance } of plan.slices) {
    expect(parseTaskId(id).ok).toBe(true);
    expect(acceptance.length).toBeGreaterThan(0);
    for (const path of [...read_set, ...write_set]) expect(normalizedPath(path)).toBeDefined();
  }
  const graph = scaffoldGraph("goal-1", AT, "pending");
  expect(checkTaskGraph({ ...graph, tasks: graphOfPlan(graph, plan, AT) })).toEqual([]);
}

describe("write sets", () => {
  test.each([
    [
      "a file, beside it and in the mirrored folder",
      ["src/a/b.ts"],
      ["test"],
      ["src/a/b.test.ts", "src/a/__tests__/b.test.ts", "test/a/b.test.ts", "test/a/b.spec.ts"],
    ],
    ["a folder", ["src/a"], ["test"], ["test/a"]],
    ["where there are no tests yet", ["src/a"], [], ["test/a", "tests/a"]],
    ["a file at the top", ["sum.js"], ["tests"], ["sum.test.js", "tests/sum.test.js"]],
    [
      "a package's",
      ["packages/x/src/a.py"],
      ["packages/x/tests", "packages/y/tests"],
      ["packages/x/tests/test_a.py"],
    ],
    ["a Go file", ["pkg/a.go"], [], ["pkg/a_test.go"]],
  ])("get the tests of %s", (_what, writeSet, folders, expected) => {
    const widened = widenedWriteSet(writeSet, folders);
    expect(widened).toEqual(expect.arrayContaining([...writeSet, ...expected]));
    expect(widened.some((path) => path.startsWith("packages/y"))).toBe(false);
  });

  test("get only the tests that are there, where there are some", () => {
    const files = new Set(["src/b.ts", "test/b.spec.ts"]);
    expect(widenedWriteSet(["src/b.ts"], ["test"], files)).toEqual(["src/b.ts", "test/b.spec.ts"]);
  });

  test("stay as they are for tests, and for the whole project", () => {
    expect(widenedWriteSet(["test/a.test.ts", "src/a.test.ts"], ["test"])).toEqual([
      "test/a.test.ts",
      "src/a.test.ts",
    ]);
    expect(widenedWriteSet(["src", "project files"], ["test"])).toEqual(["project files"]);
  });

  test("that overlap put their slices in an order, the plan's unless it says another", () => {
    const given = planOf([
      slice("a", { write_set: ["src/x"], dependencies: ["d"] }),
      slice("b", { write_set: ["src/x/y.ts"] }),
      slice("c", { write_set: ["other"] }),
      slice("d", { write_set: ["src/x/z.ts"] }),
    ]);
    const { plan, notes } = preparePlan(given, ["test/a.ts"]);
    expect(plan.slices.map(({ id, dependencies }) => [id, dependencies])).toEqual([
      ["a", ["d"]],
      ["b", ["a"]],
      ["c", []],
      ["d", []],
    ]);
    expect(notes).toEqual(["b waits for a: both write src/x/y.ts"]);
  });

  test("of no two slices are the same unless they are ordered", () => {
    const paths = fc.constantFrom(
      "src",
      "src/a",
      "src/a/b.ts",
      "lib",
      "lib/c.ts",
      "docs/x.md",
      "project files",
    );
    const sets = fc.array(fc.array(paths, { maxLength: 3 }), { minLength: 1, maxLength: 7 });
    fc.assert(
      fc.property(sets, fc.array(fc.tuple(fc.nat(6), fc.nat(6)), { maxLength: 5 }), (given, pairs) => {
        const slices = given.map((write_set, at) =>
          slice(`s${at}`, {
            write_set,
            dependencies: pairs
              .filter(([from, to]) => to === at && from > at && from < given.length)
              .map(([from]) => `s${from}`),
          }),
        );
        const { plan } = preparePlan(planOf(slices), []);
        expect(checkTasks(plan.slices)).toEqual([]);
        const reaches = (from: string, to: string): boolean =>
          plan.slices
            .find(({ id }) => id === from)
            ?.dependencies.some((one) => one === to || reaches(one, to)) ?? false;
        for (const one of plan.slices)
          for (const other of plan.slices)
            if (one.id < other.id && one.write_set.some((path) => other.write_set.includes(path)))
              expect(reaches(one.id, other.id) || reaches(other.id, one.id)).toBe(true);
      }),
    );
  });
});

describe("the graph of a plan", () => {
  const graph = scaffoldGraph("goal-1", AT, "pending");

  test("with several slices has a task for each, before the gates and the reviews", () => {
    const { plan } = preparePlan(
      planOf([
        slice("late", { write_set: ["a"], dependencies: ["early"] }),
        slice("early", { write_set: ["b"], read_set: ["c"] }),
      ]),
      [],
    );
    const tasks = graphOfPlan(graph, plan, AT);
    expect(tasks.map(({ id }) => id)).toEqual([
      TASK.intake,
      TASK.plan,
      "goal-agent-implement-0",
      "goal-agent-implement-1",
      TASK.verify,
      TASK.review,
      TASK.securityReview,
    ]);
    const of = (id: string) => tasks.find((task) => task.id === id);
    expect(of(TASK.plan)).toMatchObject({ status: "done", completed_at: AT });
    expect(of("goal-agent-implement-0")).toMatchObject({
      title: "Do late",
      owner_role: "executor",
      status: "pending",
      dependencies: [TASK.plan, "goal-agent-implement-1"],
    });
    expect(of("goal-agent-implement-1")).toMatchObject({ read_set: ["c"], acceptance: ["It works."] });
    expect(of(TASK.verify)?.dependencies).toEqual(["goal-agent-implement-0", "goal-agent-implement-1"]);
    expect(of(TASK.review)?.dependencies).toEqual([
      TASK.verify,
      "goal-agent-implement-0",
      "goal-agent-implement-1",
    ]);
  });

  test("with one slice keeps the goal's one task, with the plan's words", () => {
    const { plan } = preparePlan(planOf([slice("all", { write_set: ["src"] })]), ["test/x.ts"]);
    const tasks = graphOfPlan(graph, plan, AT);
    expect(tasks.map(({ id }) => id)).toEqual(graph.tasks.map(({ id }) => id));
    expect(tasks.find(({ id }) => id === TASK.execute)).toMatchObject({
      title: "Do all",
      write_set: ["src", "test"],
      acceptance: ["It works."],
    });
  });

  test("of the rules is the scaffold, planned", () => {
    expect(graphOfPlan(graph, undefined, AT)).toEqual(scaffoldGraph("goal-1", AT).tasks);
  });
});
