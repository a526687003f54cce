import { describe, expect, test } from "vitest";

import { Task } from "../../src/format/run.ts";
import {
  backoffMs,
  decideCancel,
  decideClaim,
  decideComplete,
  decideFail,
  decideRecover,
  decideRelease,
  decideStart,
  isTerminal,
  retryRule,
} from "../../src/scheduler/task.ts";

const WALL = new Date("2026-05-25T10:00:00Z");

function task(over: Record<string, unknown> = {}): Task {
  return Task.parse({
    id: "task-1",
    name: "subtask",
    description: "do it",
    dependencies: [],
    priority: 0,
    retry_count: 0,
    state: "pending",
    created_at: "2026-05-25T09:00:00Z",
    read_set: [],
    write_set: [],
    ...over,
  });
}

const CLAIM = { worker: "worker-0", leaseMs: 300_000 };
const running = (over: Record<string, unknown> = {}): Task =>
  task({ state: "running", owner: "worker-0", fence: 7, ...over });

describe("a task", () => {
  test("walks through claimed, running and completed", () => {
    let record = task();
    const claim = decideClaim(record, CLAIM, WALL);
    expect(claim).toMatchObject({
      outcome: "claimed",
      set: { state: "claimed", owner: "worker-0", attempt: 1 },
    });
    if (claim.outcome === "claimed") record = { ...record, ...claim.set };
    const start = decideStart(record, { fence: 7, attempt: 1, worker: "worker-0" }, WALL);
    expect(start).toMatchObject({ outcome: "started", set: { state: "running", fence: 7 } });
    if (start.outcome === "started") record = { ...record, ...start.set };
    expect(decideComplete(record, 7, WALL)).toEqual({
      outcome: "completed",
      set: { state: "completed", completed_at: "2026-05-25T10:00:00.000Z", lease_expires: null },
    });
  });

  test("is claimed until the real end of its lease", () => {
    // Weakness 1: the deadline was decades ahead.
    expect(decideClaim(task(), CLAIM, WALL)).toMatchObject({
      set: { lease_expires: "2026-05-25T10:05:00.000Z" },
    });
  });

  test("is not claimed while it is taken or has ended", () => {
    for (const state of ["claimed", "running", "completed", "failed", "cancelled"])
      expect(decideClaim(task({ state }), CLAIM, WALL)).toMatchObject({ because: "taken" });
  });

  test("is started by nobody but its owner, and under a newer fence than before", () => {
    const claimed = task({ state: "claimed", owner: "worker-0", fence: 7 });
    const request = { fence: 8, attempt: 1 };
    expect(decideStart(claimed, { ...request, worker: "worker-1" }, WALL)).toMatchObject({
      because: "stale",
    });
    expect(decideStart(claimed, { ...request, fence: 7 }, WALL)).toMatchObject({ because: "stale" });
    expect(decideStart(task(), request, WALL)).toMatchObject({ because: "not_held" });
    expect(decideStart(claimed, request, WALL)).toMatchObject({ outcome: "started" });
  });

  test("takes nothing from the holder of an earlier claim", () => {
    const again = task({ state: "claimed", owner: "worker-1", fence: 7 });
    for (const record of [again, running({ fence: 9 })]) {
      expect(decideComplete(record, 7, WALL)).toMatchObject({ because: "stale" });
      expect(decideFail(record, { fence: 7, retryable: true }, WALL)).toMatchObject({ because: "stale" });
      expect(decideRelease(record, 7)).toMatchObject({ because: "stale" });
      expect(decideRecover(record, 7, WALL)).toMatchObject({ because: "stale" });
    }
  });

  test("with one retry is pending after the first failure and failed after the second", () => {
    const record = running({ retry_policy: { max_attempts: 1 } });
    const first = decideFail(record, { fence: 7, retryable: true }, WALL);
    expect(first).toMatchObject({
      outcome: "retried",
      restMs: 1_000,
      set: {
        state: "pending",
        retry_count: 1,
        owner: null,
        started_at: null,
        lease_expires: "2026-05-25T10:00:01.000Z",
      },
    });
    const second = decideFail({ ...record, retry_count: 1 }, { fence: 7, retryable: true }, WALL);
    expect(second).toMatchObject({ outcome: "failed", set: { state: "failed", retry_count: 2 } });
    expect(second).not.toHaveProperty("set.owner");
  });

  test("is not tried again when that cannot help", () => {
    expect(decideFail(running(), { fence: 7, retryable: false }, WALL)).toMatchObject({ outcome: "failed" });
  });

  test("counts a lost lease as an attempt, and no release", () => {
    // Weakness 10: attempts were bounded only by the number of workers.
    const cleared = { state: "pending", owner: null, lease_expires: null, started_at: null };
    expect(decideRecover(running(), 7, WALL)).toEqual({
      outcome: "retried",
      set: { ...cleared, retry_count: 1 },
    });
    expect(decideRecover(running({ retry_count: 2 }), 7, WALL)).toMatchObject({ outcome: "failed" });
    expect(decideRelease(running({ retry_count: 2 }), 7)).toEqual({ outcome: "released", set: cleared });
  });

  test("is cancelled from every state but its ends, which are three", () => {
    for (const state of ["pending", "claimed", "running"] as const) {
      expect(isTerminal(state)).toBe(false);
      expect(decideCancel(task({ state }), WALL)).toMatchObject({
        set: { state: "cancelled", lease_expires: null },
      });
    }
    for (const state of ["completed", "failed", "cancelled"] as const) {
      expect(isTerminal(state)).toBe(true);
      expect(decideCancel(task({ state }), WALL)).toMatchObject({ because: "ended" });
    }
  });
});

describe("the retry policy", () => {
  test("doubles the rest with every failure", () => {
    const rule = { maxAttempts: 9, backoffSeconds: 2, backoffMultiplier: 2 };
    expect([0, 1, 2, 3].map((failures) => backoffMs(rule, failures))).toEqual([2_000, 2_000, 4_000, 8_000]);
  });

  test("never asks for a rest that has no end or no sense", () => {
    const rest = (backoffSeconds: number, backoffMultiplier: number, failures: number): number =>
      backoffMs({ maxAttempts: 1, backoffSeconds, backoffMultiplier }, failures);
    const dayMs = 24 * 60 * 60_000;
    expect(rest(1, 10, 300)).toBe(dayMs);
    expect(rest(1, 1e300, 9)).toBe(dayMs);
    expect(rest(0, 1e300, 9)).toBe(0);
    expect(rest(5, -2, 2)).toBe(0);
    expect(rest(1, 0.5, 2)).toBe(0);
  });

  test("follows the older key when a task has no policy of its own", () => {
    expect(retryRule(task({ max_retries: 5 })).maxAttempts).toBe(5);
    expect(retryRule(task({ max_retries: 2 })).maxAttempts).toBe(2);
    expect(retryRule(task()).maxAttempts).toBe(2);
  });

  test("of a task's own wins over the older key", () => {
    expect(retryRule(task({ max_retries: 5, retry_policy: { max_attempts: 1 } })).maxAttempts).toBe(1);
    expect(retryRule(task({ max_retries: 5, retry_policy: { backoff_seconds: 3 } })).maxAttempts).toBe(2);
  });
});
