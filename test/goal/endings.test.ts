import { describe, expect, test } from "vitest";

import type { Attempt, Work } from "../../src/format/work.ts";
import { isTryingAgent, outsideEnding } from "../../src/goal/endings.ts";
import { scaffoldWork } from "../../src/goal/scaffold.ts";

const GOAL = "goal-20260101-000000-000-00100001";

/** Attempts that ended so, one second after another. */
function workOf(ends: readonly (string | null)[], resumed_fence?: number): { id: string; work: Work } {
  const attempts = ends.map((code, at): Attempt => ({
    task_id: "goal-agent-execute",
    number: 1,
    fence: at + 1,
    run_key: `goal-agent-execute/${at + 1}`,
    spawn_id: `omk-${at}`,
    status: "ended",
    outcome: code === null ? "finished" : "failed",
    outcome_code: code,
    start_tree: "a",
    result_tree: "a",
    started_at: `2026-01-01T00:00:0${at}Z`,
    ended_at: `2026-01-01T00:00:0${at}Z`,
    summary: "not now",
    usage: null,
    counted: code === null,
  }));
  const work = { ...scaffoldWork(), attempts, ...(resumed_fence !== undefined && { resumed_fence }) } as Work;
  return { id: GOAL, work };
}

const loop = (ends: readonly (string | null)[], resumed?: number): string | undefined =>
  outsideEnding(workOf(ends, resumed), { mayRetry: true })?.reasonCode;

describe("a goal whose agent could not work", () => {
  test("is tried again by the loop until the fourth outage in a row", () => {
    expect(loop(["provider"])).toBeUndefined();
    expect(loop(["provider", "rate_limit", "provider"])).toBeUndefined();
    expect(loop(["provider", "rate_limit", "provider", "rate_limit"])).toBe("agent_rate_limit");
    expect(loop(["provider", "provider", "provider", null, "provider"])).toBeUndefined();
  });

  test.each(["auth", "quota", "config"])("ends at once for %s", (kind) => {
    expect(loop([null, kind])).toBe(`agent_${kind}`);
  });

  test("gets one try after a person resumed it", () => {
    const four = ["provider", "provider", "provider", "provider"];
    expect(loop(four, 4)).toBeUndefined();
    expect(loop([...four, "provider"], 4)).toBe("agent_provider");
    expect(loop([...four, null, "provider"], 4)).toBeUndefined();
  });

  test("ends at once for a step by hand, which nobody repeats", () => {
    expect(outsideEnding(workOf(["provider"]))).toMatchObject({
      status: "blocked_on_external",
      reasonCode: "agent_provider",
    });
  });

  test("counts an outage once that several agents side by side have met, and one turn tries whether it is over", () => {
    const { id, work } = workOf(["rate_limit", "rate_limit", "rate_limit", "rate_limit", "rate_limit"]);
    const ends = work.attempts.map((one, at) => ({ ...one, ended_at: `2026-01-01T00:00:1${at}Z` }));
    const sliced = { base: "b", head: "b", order: [], overlap_serializations: [], slices: [], set_aside: [] };
    const together = { id, work: { ...work, attempts: ends, slices: sliced } };
    expect(outsideEnding(together, { mayRetry: true })).toBeUndefined();
    expect(isTryingAgent(together)).toBe(true);
    const over: Attempt = {
      ...(ends[0] as Attempt),
      fence: 9,
      outcome: "finished",
      outcome_code: null,
      counted: true,
      started_at: "2026-01-01T00:00:20Z",
      ended_at: "2026-01-01T00:00:21Z",
    };
    expect(isTryingAgent({ work: { ...together.work, attempts: [...ends, over] } })).toBe(false);
  });

  test("is seen to be out of quota by whoever of several ended last, though others that began later still work", () => {
    const { id, work } = workOf(["quota", null]);
    const [first, second] = work.attempts;
    if (!first || !second) throw new Error("there are two");
    const attempts: Attempt[] = [first, { ...second, status: "running", outcome: null, ended_at: null }];
    const sliced = { base: "b", head: "b", order: [], overlap_serializations: [], slices: [], set_aside: [] };
    const state = { id, work: { ...work, attempts, slices: sliced } };
    expect(outsideEnding(state, { mayRetry: true })?.reasonCode).toBe("agent_quota");
  });

  test("is no broken machine because one kill has cut off several turns at once, but because one task was cut off again and again", () => {
    const lost = (tasks: readonly string[]) => {
      const { id, work } = workOf(tasks.map(() => "provider"));
      const attempts = work.attempts.map((one, at): Attempt => ({
        ...one,
        task_id: tasks[at] ?? "",
        status: "interrupted",
        outcome: null,
        outcome_code: null,
        summary: null,
        ended_at: null,
        counted: false,
      }));
      return outsideEnding({ id, work: { ...work, attempts } }, { mayRetry: true })?.reasonCode;
    };
    expect(lost(["a", "b", "c", "d", "e", "f", "g", "h"])).toBeUndefined();
    expect(lost(["a", "a", "a", "a"])).toBeUndefined();
    expect(lost(["b", "a", "a", "a", "a", "a"])).toBe("attempts_lost");
  });
});
