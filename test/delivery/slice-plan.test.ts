import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { planSlices } from "../../src/delivery/slice-plan.ts";
import { OmkError } from "../../src/errors.ts";
import { SlicePlan } from "../../src/format/slice-plan.ts";
import { anyGraph, graphOf, taskOf } from "./graphs.ts";
import { planByTheRules } from "./transcription.ts";

const ROOT = "/state/goals/g/worktrees";

describe("a slice plan", () => {
  test("is what the rules say, for any graph", () => {
    let overlaps = 0;
    fc.assert(
      fc.property(anyGraph, (graph) => {
        const plan = planSlices(ROOT, graph);
        // As text: the order of keys and of everything else is part of it.
        expect(JSON.stringify(plan)).toBe(JSON.stringify(planByTheRules(ROOT, graph)));
        overlaps += plan.overlap_serializations.length;
      }),
      { numRuns: 1_000 },
    );
    expect(overlaps).toBeGreaterThan(500);
  });

  test("is what the rules say where many slices share many paths", () => {
    const spread = (at: number, by: number): string =>
      `src/m${(at * by) % 7}/${at % 3 === 0 ? "" : `f${at % 11}`}`;
    const tasks = Array.from({ length: 600 }, (_, at) =>
      taskOf(`t${at}`, {
        dependencies: at % 4 === 0 || at < 40 ? [] : [`t${at - 1 - (at % 37)}`],
        read_set: at % 5 === 0 ? ["src", spread(at, 3)] : [],
        write_set: at % 2 === 0 ? [spread(at, 5)] : [`own/${at}`, spread(at, 2)],
      }),
    );
    const plan = planSlices(ROOT, graphOf(...tasks));
    expect(JSON.stringify(plan)).toBe(JSON.stringify(planByTheRules(ROOT, graphOf(...tasks))));
    expect(plan.overlap_serializations.length).toBeGreaterThan(20_000);
  });

  test("lets a later slice wait for an earlier one whose folder it writes into", () => {
    const a = taskOf("a", { write_set: ["src/runtime/goal"], risk: "high" });
    const b = taskOf("b", { read_set: ["docs/bench.md"], write_set: ["./src/runtime/goal//planner.rs"] });
    const plan = planSlices(ROOT, graphOf(b, a));
    expect(plan.overlap_serializations).toEqual([
      {
        blocked_slice_id: "b",
        serializes_after: "a",
        kind: "write_write",
        path: "src/runtime/goal/planner.rs",
      },
    ]);
    expect(plan.slices).toEqual([
      expect.objectContaining({
        slice_id: "a",
        dependencies: [],
        gates: ["acceptance_criteria", "local_verification_wall", "security_review_gate"],
        review_needs: [
          "anti_slop_review",
          "architect_review",
          "code_review",
          "security_review",
          "test_engineer_review",
        ],
      }),
      expect.objectContaining({
        slice_id: "b",
        dependencies: ["a"],
        write_scope: ["./src/runtime/goal//planner.rs"],
        gates: ["acceptance_criteria", "local_verification_wall"],
        review_needs: ["anti_slop_review", "code_review", "performance_review", "test_engineer_review"],
      }),
    ]);
    const ordered = planSlices(ROOT, graphOf({ ...b, dependencies: ["a"] }, a));
    expect(ordered.overlap_serializations).toEqual([]);
    expect(ordered.slices.map(({ dependencies }) => dependencies)).toEqual([[], ["a"]]);
  });

  test("keeps folders apart whose names begin alike, and readers from waiting for readers", () => {
    const tasks = [
      taskOf("a", { read_set: ["prd.md"], write_set: ["docs"] }),
      taskOf("b", { read_set: ["prd.md"], write_set: ["docs2/guide.md"] }),
    ];
    expect(planSlices(ROOT, graphOf(...tasks)).overlap_serializations).toEqual([]);
  });

  test("fits its format, and is the same each time without changing the graph", () => {
    const graph = graphOf(taskOf("b"), taskOf("a", { write_set: ["z", "a", "z"] }));
    const before = JSON.stringify(graph);
    const plan = planSlices(ROOT, graph);
    expect(SlicePlan.parse(plan)).toEqual(plan);
    expect(planSlices(ROOT, graph)).toEqual(plan);
    expect(JSON.stringify(graph)).toBe(before);
  });

  test("is made of a chain of 10,000 tasks, each of which may touch anything", () => {
    const tasks = Array.from({ length: 10_000 }, (_, at) =>
      taskOf(`t${at}`, { dependencies: at === 0 ? [] : [`t${at - 1}`], write_set: ["project files"] }),
    );
    const plan = planSlices(ROOT, graphOf(...tasks.toReversed()));
    expect(plan.overlap_serializations).toEqual([]);
    expect(plan.slices.map(({ slice_id }) => slice_id)).toEqual(tasks.map(({ id }) => id));
    expect(plan.slices.at(-1)?.dependencies).toEqual(["t9998"]);
  });

  test("is made of a path with 10,000 folders", () => {
    const deep = "d/".repeat(10_000);
    const plan = planSlices(
      ROOT,
      graphOf(taskOf("a", { write_set: [deep] }), taskOf("b", { write_set: ["d"] })),
    );
    expect(plan.overlap_serializations).toHaveLength(1);
  });

  test.each([
    ["a cycle", [taskOf("a", { dependencies: ["b"] }), taskOf("b", { dependencies: ["a"] })], /cycle/],
    ["a missing task", [taskOf("a", { dependencies: ["b"] })], /missing task b/],
    ["no tasks", [], /no tasks/],
    ["an id that gives no name", [taskOf("../..")], /task id .* no letter/],
    [
      "ids that only broken text tells apart",
      [taskOf("a\ud800"), taskOf("a\ud801")],
      /worktree plan collision/,
    ],
  ])("is refused for a graph with %s", (_, tasks, message) => {
    const refusal = expect.objectContaining({
      code: "tasks.invalid",
      message: expect.stringMatching(message),
    });
    expect(() => planSlices(ROOT, graphOf(...tasks))).toThrow(refusal);
  });

  test("is refused where too many slices get in each other's way", () => {
    const tasks = ["a", "b", "c"].map((id) => taskOf(id, { write_set: ["src"] }));
    expect(planSlices(ROOT, graphOf(...tasks), { overlaps: 3 }).overlap_serializations).toHaveLength(3);
    expect(() => planSlices(ROOT, graphOf(...tasks), { overlaps: 2 })).toThrow(OmkError);
  });
});
