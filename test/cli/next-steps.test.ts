/** What a person is told to do next, by how the goal stands: commands that work as they stand. */
import { describe, expect, test } from "vitest";

import { nextSteps, slicesStanding, type Standing } from "../../src/cli/goal/next.ts";
import type { SliceState } from "../../src/format/slices.ts";
import type { GoalTask } from "../../src/format/task-graph.ts";
import type { Work } from "../../src/format/work.ts";

const GOAL: Standing = {
  id: "goal-1",
  status: "not_ready",
  code: undefined,
  untilReady: true,
  engine: "kimi",
};
const LEFT_OUT = { reason: "not now", at: "2026-01-01T00:00:00Z" };

/** The standing of slices: `landed`, with a result only, or with nothing. */
function standing(
  slices: Record<string, { landed?: true; commit?: true; leftOut?: true }>,
  work: object = {},
): Standing["slices"] {
  const tasks = Object.entries(slices).map(([id, { leftOut }]) => ({
    id,
    dependencies: [],
    ...(leftOut && { left_out: LEFT_OUT }),
  }));
  const states = Object.entries(slices).map(([task_id, { landed, commit }]) => ({
    task_id,
    branch: `omk/goal/${task_id}`,
    commit: (landed ?? commit) ? "c" : null,
    landed: landed ? "h" : null,
  }));
  return slicesStanding({
    graph: { tasks: tasks as unknown as GoalTask[] },
    work: { slices: { slices: states as unknown as SliceState[] } as Work["slices"], ...work },
  });
}

function told(difference: Partial<Standing>): string {
  return nextSteps({ ...GOAL, ...difference }).join("\n");
}

describe("what is said next", () => {
  test("of a result that waits for a person is how to look at it, then how to accept it", () => {
    expect(nextSteps({ ...GOAL, code: "acceptance_needed" })).toEqual([
      "Next: look at the change: omk rescue show goal-1/result --patch",
      'Then: omk goal accept goal-1 --summary "<why>"',
    ]);
  });

  test("of a goal that was cancelled is where what was half done lies, if anything was", () => {
    expect(told({ status: "cancelled", hasWorked: true })).toContain("omk rescue list --goal goal-1");
    expect(told({ status: "cancelled", hasWorked: false })).toBe("");
  });

  test("of slices that cannot be done is also how to do without them", () => {
    const slices = standing({ a: { landed: true }, b: { landed: true }, bad: {} });
    for (const code of ["agent_not_executed", "tasks_open", "slice_conflict"])
      expect(told({ code, ...(slices && { slices }) })).toContain(
        `omk goal accept goal-1 --summary "<why>" --slice 'a' --slice 'b'`,
      );
    const none = standing({ a: {}, b: {} });
    expect(told({ code: "tasks_open", ...(none && { slices: none }) })).not.toContain("--slice");
    expect(standing({})).toBeUndefined();
  });

  test("of a goal that is ready without some slices is how those come back, unless it was merged", () => {
    const chosen = {
      a: { landed: true },
      b: { commit: true, leftOut: true },
      never: { leftOut: true },
    } as const;
    const slices = standing(chosen);
    const text = told({ status: "ready", code: "ready", ...(slices && { slices }) });
    expect(text).toContain(`omk goal accept goal-1 --again --summary "<why>" --slice 'a' --slice 'b'`);
    expect(text).toContain("To have never done after all: omk goal reject goal-1");
    expect(standing(chosen, { delivery: { merge: { commit: "m" } } })).toBeUndefined();
  });
});
