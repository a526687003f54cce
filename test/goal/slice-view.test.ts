/** How slices and delivery are shown: every state in words, from documents that may lack anything. */
import { describe, expect, test } from "vitest";

import type { DeliveryWork } from "../../src/format/delivery.ts";
import type { SliceState } from "../../src/format/slices.ts";
import type { GoalTask } from "../../src/format/task-graph.ts";
import type { Attempt, Work } from "../../src/format/work.ts";
import { tasksDone } from "../../src/goal/progress.ts";
import { deliverySteps, sliceText, sliceViews } from "../../src/goal/slice-view.ts";

const AT = "2026-01-01T00:00:00Z";

type Given = Partial<SliceState> & { task?: Partial<GoalTask>; attempts?: Partial<Attempt>[] };

/** The text of each slice, by its id. */
function shown(slices: Record<string, Given>): Record<string, string> {
  const ids = Object.keys(slices);
  const tasks = ids.map((id) => ({ id, dependencies: [], status: "pending", ...slices[id]?.task }));
  const states = ids.map((id) => ({
    task_id: id,
    branch: `omk/goal/${id}`,
    commit: null,
    landed: null,
    ...slices[id],
  }));
  const attempts = ids.flatMap((id) => (slices[id]?.attempts ?? []).map((one) => ({ task_id: id, ...one })));
  const work = { slices: { slices: states }, attempts } as unknown as Work;
  const views = sliceViews({ graph: { tasks: tasks as unknown as GoalTask[] }, work });
  return Object.fromEntries(views.map((view) => [view.id, sliceText(view)]));
}

function conflict(resolved_by: string | null): SliceState["conflict"] {
  return { commit: "c", onto: "h", files: ["a", "b", "c", "d"], kinds: [], evidence: "e.json", resolved_by };
}

describe("a slice", () => {
  test("is shown by what is known of it", () => {
    expect(
      shown({
        new: {},
        behind: { task: { dependencies: ["new", "intake", "done"] } },
        overlapping: { task: { delivery: { dependencies: ["new", "behind"] } } },
        busy: { attempts: [{ status: "ended" }, { status: "running" }] },
        failed: { attempts: [{ status: "ended", outcome: "rejected", outcome_code: "gates_red" }] },
        ready: { commit: "c1" },
        done: { commit: "c2", landed: "h2" },
        left: { commit: "c3", task: { left_out: { reason: "not now", at: AT } } },
      }),
    ).toEqual({
      new: "open",
      behind: "waits for new",
      overlapping: "waits for new, behind",
      busy: "being worked on, attempt 2",
      failed: "open: attempt 1 was not taken (gates_red)",
      ready: "done, waits to land",
      done: "landed",
      left: "left out: not now",
    });
  });

  test("in a conflict names who solves it, and has landed when that has", () => {
    expect(
      shown({
        stuck: { commit: "c1", conflict: conflict(null) },
        waiting: { commit: "c2", conflict: conflict("solver") },
        solver: { task: { dependencies: ["waiting"] } },
        solved: { commit: "c3", conflict: conflict("first") },
        first: { commit: "c4", conflict: conflict("second") },
        second: { commit: "c5", landed: "h" },
        after: { task: { dependencies: ["solved", "stuck"] } },
      }),
    ).toEqual({
      stuck: "in conflict over a, b, c and 1 more; nobody solves it",
      waiting: "in conflict over a, b, c and 1 more; solver is to solve it",
      solver: "open",
      solved: "landed, its conflict solved by first",
      first: "landed, its conflict solved by second",
      second: "landed",
      after: "waits for stuck",
    });
  });

  test("is nothing that work in place has, and one that is left out counts among no tasks", () => {
    expect(sliceViews({ graph: {}, work: {} })).toEqual([]);
    const tasks = [
      { id: "a", status: "done" },
      { id: "b", status: "blocked", left_out: { reason: "r", at: AT } },
    ] as GoalTask[];
    expect(tasksDone({ graph: { tasks } })).toEqual({ done: 1, total: 1 });
  });
});

test("each step of a delivery that was taken is one line, in the order in which it is taken", () => {
  expect(deliverySteps(undefined)).toEqual([]);
  const delivery: DeliveryWork = {
    tree: "t",
    result: { ref: "refs/heads/omk/result/g", commit: "c0" },
    applied: { tree: "t", written: 2, removed: 1, at: AT },
    pushed: [{ branch: "b", commit: "c1", at: AT }],
    pulls: [
      { slice_id: "a", branch: "b", number: 1, url: "https://h/1", commit: "c1", state: "open" },
      { slice_id: null, branch: "i", number: 2, url: "https://h/2", commit: "c2", state: "merged" },
    ],
    merge: { commit: "m", landed: "tree", slices: [{ slice_id: "a", commit: "c1", landed: true }], at: AT },
    done_at: AT,
  };
  const steps = deliverySteps(delivery, { tree: "t", commit: "c0" });
  expect(steps).toEqual([
    "result: omk/result/g is c0",
    `applied to your files: 2 written, 1 removed, at ${AT}`,
    `pushed: b is c1, at ${AT}`,
    "pull request https://h/1 (a): open",
    "pull request https://h/2 (all slices together): merged",
    `merged: m, at ${AT}; landed, shown by equal files: 1 of 1 slices`,
    `delivered at ${AT}`,
  ]);

  expect(deliverySteps(delivery, { tree: "t", isRejected: true })).toEqual([
    ...steps,
    "a person has rejected this result since; what lies outside stays there",
  ]);
  const later = deliverySteps(delivery, { tree: "t2", commit: "c9", isRejected: true });
  expect(later).toEqual(steps.map((step) => `${step} (an earlier result)`));
  // The new one lies on the branch by now, and not yet in the files.
  const again = { ...delivery, tree: "t2", result: { ref: "refs/heads/omk/result/g", commit: "c9" } };
  expect(deliverySteps(again, { tree: "t2", commit: "c9" }).slice(0, 2)).toEqual([
    "result: omk/result/g is c9",
    `applied to your files: 2 written, 1 removed, at ${AT} (an earlier result)`,
  ]);
});
