import fc from "fast-check";
import { describe, expect, test } from "vitest";

import {
  deliveryChange,
  deliveryRecords,
  parseDelivery,
  planChanges,
  renderDelivery,
  updateDelivery,
} from "../../src/delivery/metadata.ts";
import { planSlices } from "../../src/delivery/slice-plan.ts";
import type { Delivery, TaskGraph } from "../../src/format/task-graph.ts";
import { applyChanges, type Documents } from "../../src/store/journal.ts";
import { graphOf, taskOf } from "./graphs.ts";

const known = fc.constantFrom("slice_id", "owner", "write_scope", "gates", "status", "pr_url");
const foreign = fc.constantFrom("pr_link", "review_feedback", "__proto__", "1", "task_id");
const value = fc.oneof(
  fc.string(),
  fc.array(fc.string(), { maxLength: 2 }),
  fc.constantFrom(null, 1, [1], {}),
);
const anyDelivery: fc.Arbitrary<Delivery> = fc
  .array(fc.tuple(fc.oneof(known, foreign), value), { maxLength: 6 })
  .map((entries) => Object.fromEntries(entries));

describe("a delivery record", () => {
  test("keeps a known key of the wrong type as somebody else's, and writes those first", () => {
    const delivery = {
      status: "planned",
      slice_id: "s",
      write_scope: "src",
      pr_link: "https://x",
      gates: [],
    };
    const parsed = parseDelivery(delivery);
    expect(parsed.fields).toEqual({ status: "planned", slice_id: "s", gates: [] });
    expect(parsed.extra).toEqual({ write_scope: "src", pr_link: "https://x" });
    expect(JSON.stringify(renderDelivery(parsed))).toBe(
      '{"write_scope":"src","pr_link":"https://x","slice_id":"s","status":"planned"}',
    );
  });

  test("loses nothing but empty lists by being taken apart and put together", () => {
    fc.assert(
      fc.property(anyDelivery, (delivery) => {
        const rendered = renderDelivery(parseDelivery(delivery));
        const full = Object.entries(delivery).filter(
          ([key, one]) => !(["write_scope", "gates"].includes(key) && Array.isArray(one) && one.length === 0),
        );
        expect(new Map(Object.entries(rendered))).toEqual(new Map(full));
      }),
    );
  });

  test("changes where an update says so, and the same update again changes nothing", () => {
    const update = fc.record({
      set: fc.record(
        { owner: fc.string(), gates: fc.array(fc.string(), { maxLength: 2 }) },
        { requiredKeys: [] },
      ),
      extra: fc.dictionary(foreign, value, { maxKeys: 2 }),
      unset: fc.array(fc.oneof(known, foreign), { maxLength: 2 }),
    });
    fc.assert(
      fc.property(anyDelivery, update, (delivery, change) => {
        const once = updateDelivery(delivery, change);
        expect(JSON.stringify(updateDelivery(once, change))).toBe(JSON.stringify(once));
        for (const key of change.unset) expect(Object.hasOwn(once ?? {}, key)).toBe(false);
      }),
      { numRuns: 1_000 },
    );
  });

  test("replaces a foreign value by one of the right type", () => {
    expect(updateDelivery({ write_scope: "src", note: 1 }, { set: { write_scope: ["src"] } })).toEqual({
      note: 1,
      write_scope: ["src"],
    });
  });

  test("can be cleared, key by key and as a whole", () => {
    const delivery = { note: 1, conflict_evidence_path: "x", slice_lease_id: "7", status: "blocked" };
    expect(
      updateDelivery(delivery, {
        set: { status: "ready_for_review" },
        unset: ["conflict_evidence_path", "slice_lease_id"],
      }),
    ).toEqual({ note: 1, status: "ready_for_review" });
    expect(updateDelivery(delivery, { unset: Object.keys(delivery) })).toBeUndefined();
    expect(updateDelivery(undefined, { set: { gates: [] } })).toBeUndefined();
  });

  test("changes the graph by one whole value, or goes, or leaves it alone", () => {
    const graph = graphOf(taskOf("a", { delivery: { status: "planned", note: 1 } }), taskOf("b"));
    expect(deliveryChange(graph, "a", { set: { status: "delivered" } })).toEqual({
      file: "task-graph.json",
      id: "a",
      set: { delivery: { note: 1, status: "delivered" } },
    });
    expect(deliveryChange(graph, "a", { unset: ["status", "note"] })).toEqual({
      file: "task-graph.json",
      id: "a",
      set: {},
      unset: ["delivery"],
    });
    expect(deliveryChange(graph, "b", { unset: ["status"] })).toBeUndefined();
    expect(() => deliveryChange(graph, "c", {})).toThrow(expect.objectContaining({ code: "tasks.invalid" }));
  });
});

describe("a recorded plan", () => {
  const graph = graphOf(
    taskOf("a", { write_set: ["src"], delivery: { review_feedback: "more tests" } }),
    taskOf("b", { write_set: ["src/b"] }),
    taskOf("done", { status: "done" }),
  );
  const recorded = (): TaskGraph => {
    const documents: Documents = new Map([["task-graph.json", structuredClone(graph)]]);
    applyChanges(documents, planChanges(graph, planSlices("/w", graph)));
    return documents.get("task-graph.json") as unknown as TaskGraph;
  };

  test("has every field of each slice, keeps what was there, and is recorded once", () => {
    const after = recorded();
    expect(after.tasks.map(({ delivery }) => delivery)).toEqual([
      {
        review_feedback: "more tests",
        slice_id: "a",
        owner: "executor",
        write_scope: ["src"],
        branch: expect.stringMatching(/^omk\/goal\/goal-20260514-delivery\/a-/),
        worktree_name: expect.stringMatching(/^goal-goal-20260514-delivery-a-/),
        worktree_path: expect.stringMatching(/^\/w\/goal-/),
        gates: ["acceptance_criteria", "local_verification_wall"],
        review_needs: ["anti_slop_review", "code_review", "test_engineer_review"],
        status: "planned",
      },
      expect.objectContaining({ slice_id: "b", dependencies: ["a"], status: "planned" }),
      undefined,
    ]);
    expect(planChanges(after, planSlices("/w", after))).toEqual([]);
  });

  test("gives the records of the proof in the graph's order", () => {
    const after = recorded();
    expect(deliveryRecords(after).map((record) => record["task_id"])).toEqual(["a", "b"]);
    const legacy = graphOf(
      taskOf("x", { delivery: { task_id: "old", note: 1 } }),
      taskOf("y", { delivery: {} }),
    );
    expect(deliveryRecords(legacy)).toEqual([{ task_id: "x", note: 1 }]);
    expect(deliveryRecords(graphOf(taskOf("z")))).toEqual([]);
  });
});
