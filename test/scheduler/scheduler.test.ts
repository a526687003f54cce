import { describe, expect, test } from "vitest";

import { OmkError } from "../../src/errors.ts";
import { Task } from "../../src/format/run.ts";
import { Scheduler, type Now, type TaskChange } from "../../src/scheduler/scheduler.ts";

const LEASE_MS = 60_000;
const START = Date.parse("2026-05-25T10:00:00Z");

/** The moment so long after the start; the wall clock may have been set meanwhile. */
function at(ms: number, wallShiftMs = 0): Now {
  return { wall: new Date(START + ms + wallShiftMs), monotonicMs: 5_000 + ms };
}

function task(id: string, over: Record<string, unknown> = {}): Task {
  return Task.parse({
    id,
    name: "subtask",
    description: id,
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

/** Lets a worker claim and start what comes next. */
function begin(scheduler: Scheduler, worker: string, fence: number, now = at(0)): string | undefined {
  const claimed = scheduler.claimNext(worker, LEASE_MS, now);
  if (claimed) scheduler.start(claimed.task.id, { fence, attempt: 1 }, now);
  return claimed?.task.id;
}

const ids = (changes: readonly TaskChange[]): string[] => changes.map(({ id }) => id);

describe("dispatch", () => {
  test("gives one task to exactly one of ten workers", () => {
    const scheduler = new Scheduler([task("t")]);
    const won = Array.from({ length: 10 }, (_, n) => scheduler.claimNext(`w${n}`, LEASE_MS, at(0))).filter(
      Boolean,
    );
    expect(won).toHaveLength(1);
    expect(scheduler.get("t")).toMatchObject({ state: "claimed", owner: "w0" });
  });

  test("goes by priority, then by the bytes of the ids", () => {
    // As UTF-16, the smiling face would come before the full-width tilde.
    const names = ["b", "a", "\u{1f600}", "\uff5e"];
    const scheduler = new Scheduler([
      ...names.map((id) => task(id)),
      task("late", { priority: -1 }),
      task("z", { priority: 9 }),
    ]);
    const order = Array.from({ length: 6 }, (_, n) => begin(scheduler, `w${n}`, n + 1));
    expect(order).toEqual(["z", "a", "b", "\uff5e", "\u{1f600}", "late"]);
  });

  test("gives a worker one task at a time", () => {
    const scheduler = new Scheduler([task("a"), task("b")]);
    expect(begin(scheduler, "w0", 1)).toBe("a");
    expect(begin(scheduler, "w0", 2)).toBeUndefined();
  });

  test("waits until dependencies have completed", () => {
    const scheduler = new Scheduler([task("b", { dependencies: ["a"] }), task("a")]);
    expect(begin(scheduler, "w0", 1)).toBe("a");
    expect(begin(scheduler, "w1", 2)).toBeUndefined();
    scheduler.complete("a", 1, at(0));
    expect(begin(scheduler, "w1", 2)).toBe("b");
  });

  test("lets only one of several writers of a path run, and one more when it has ended", () => {
    const scheduler = new Scheduler(["a", "b", "c"].map((id) => task(id, { write_set: ["src/x.ts"] })));
    expect(begin(scheduler, "w0", 1)).toBe("a");
    expect(begin(scheduler, "w1", 2)).toBeUndefined();
    scheduler.complete("a", 1, at(1));
    expect(begin(scheduler, "w1", 2)).toBe("b");
    expect(begin(scheduler, "w2", 3)).toBeUndefined();
  });

  test("keeps readers of a path from its writer and the other way round, but not from each other", () => {
    const scheduler = new Scheduler([
      task("a-reader", { read_set: ["src"] }),
      task("b-writer", { write_set: ["src/x.ts"] }),
      task("c-reader", { read_set: ["src/x.ts"] }),
    ]);
    expect(begin(scheduler, "w0", 1)).toBe("a-reader");
    expect(begin(scheduler, "w1", 2)).toBe("c-reader");
    expect(begin(scheduler, "w2", 3)).toBeUndefined();
    scheduler.complete("a-reader", 1, at(1));
    scheduler.complete("c-reader", 2, at(1));
    expect(begin(scheduler, "w2", 3)).toBe("b-writer");
  });

  test("passes over a task whose paths are in use to one whose are free", () => {
    const scheduler = new Scheduler([
      task("a", { write_set: ["project files"] }),
      task("b", { write_set: ["docs"] }),
      task("c"),
    ]);
    expect(begin(scheduler, "w0", 1)).toBe("a");
    expect(begin(scheduler, "w1", 2)).toBe("c");
    scheduler.complete("a", 1, at(1));
    expect(begin(scheduler, "w0", 3)).toBe("b");
  });

  test("refuses a list that could never be worked off", () => {
    const cycle = [task("a", { dependencies: ["b"] }), task("b", { dependencies: ["a"] })];
    for (const list of [cycle, [task("a"), task("a")], [task("a", { dependencies: ["gone"] })]])
      expect(() => new Scheduler(list)).toThrow(OmkError);
  });

  test("of nothing is done at once", () => {
    const scheduler = new Scheduler([]);
    expect(scheduler.isDone).toBe(true);
    expect(scheduler.claimNext("w0", LEASE_MS, at(0))).toBeUndefined();
    expect(scheduler.nextWakeMs(at(0))).toBeUndefined();
  });
});

describe("an attempt", () => {
  test("that rested long enough is told once, so that who waits for it does not wait for nothing", () => {
    const scheduler = new Scheduler([task("t")]);
    begin(scheduler, "w0", 1);
    scheduler.fail("t", 1, { retryable: true }, at(0));
    expect(scheduler.nextWakeMs(at(1_000))).toBe(0);
    expect(scheduler.nextWakeMs(at(1_000))).toBeUndefined();
    expect(begin(scheduler, "w0", 2, at(1_000))).toBe("t");
  });

  test("that failed is tried again after its backoff, and the third failure is the last", () => {
    const scheduler = new Scheduler([task("t")]);
    begin(scheduler, "w0", 1);
    expect(scheduler.fail("t", 1, { retryable: true }, at(0))).toMatchObject([
      {
        id: "t",
        set: { state: "pending", retry_count: 1, owner: null, lease_expires: "2026-05-25T10:00:01.000Z" },
      },
    ]);
    expect(scheduler.nextWakeMs(at(400))).toBe(600);
    expect(begin(scheduler, "w0", 2, at(999))).toBeUndefined();
    expect(begin(scheduler, "w0", 2, at(1_000))).toBe("t");
    scheduler.fail("t", 2, { retryable: true }, at(1_000));
    expect(begin(scheduler, "w0", 3, at(2_999))).toBeUndefined();
    expect(begin(scheduler, "w0", 3, at(3_000))).toBe("t");
    expect(scheduler.fail("t", 3, { retryable: true }, at(3_000))).toMatchObject([
      { set: { state: "failed" } },
    ]);
    expect(scheduler.counts()).toMatchObject({ failed: 1, done: 1, total: 1 });
  });

  test("waits out its backoff whatever the wall clock says", () => {
    const scheduler = new Scheduler([task("t")]);
    begin(scheduler, "w0", 1);
    scheduler.fail("t", 1, { retryable: true }, at(0));
    const yearMs = 365 * 24 * 60 * 60_000;
    expect(begin(scheduler, "w0", 2, at(500, yearMs))).toBeUndefined();
    expect(begin(scheduler, "w0", 2, at(1_000, -yearMs))).toBe("t");
  });

  test("that is given back does not count and can be taken at once", () => {
    const scheduler = new Scheduler([task("t", { retry_policy: { max_attempts: 0 } })]);
    for (let fence = 1; fence < 10; fence++) {
      expect(begin(scheduler, "w0", fence)).toBe("t");
      expect(scheduler.release("t", fence)).toMatchObject([{ set: { state: "pending", owner: null } }]);
    }
    expect(scheduler.get("t")).toMatchObject({ retry_count: 0, attempt: 1 });
  });

  test("that is claimed and never started can be given back without a fence", () => {
    const scheduler = new Scheduler([task("t")]);
    scheduler.claimNext("w0", LEASE_MS, at(0));
    expect(scheduler.release("t", 4)).toEqual([]);
    expect(scheduler.release("t", undefined)).toHaveLength(1);
    expect(scheduler.start("t", { fence: 4, attempt: 1 }, at(0))).toBeUndefined();
  });

  test("is not started by a worker that does not own it", () => {
    const scheduler = new Scheduler([task("t")]);
    scheduler.claimNext("w0", LEASE_MS, at(0));
    expect(scheduler.start("t", { fence: 1, attempt: 1, worker: "w1" }, at(0))).toBeUndefined();
    expect(scheduler.get("t")).toMatchObject({ state: "claimed", owner: "w0" });
  });

  test("that answers after another one took over changes nothing", () => {
    const scheduler = new Scheduler([task("t")]);
    begin(scheduler, "w0", 1);
    scheduler.recoverLease("t", 1, at(LEASE_MS));
    expect(scheduler.complete("t", 1, at(LEASE_MS))).toEqual([]);
    scheduler.claimNext("w1", LEASE_MS, at(LEASE_MS));
    expect(scheduler.complete("t", 1, at(LEASE_MS))).toEqual([]);
    scheduler.start("t", { fence: 2, attempt: 2 }, at(LEASE_MS));
    const before = scheduler.get("t");
    expect(scheduler.complete("t", 1, at(LEASE_MS))).toEqual([]);
    expect(scheduler.fail("t", 1, { retryable: true }, at(LEASE_MS))).toEqual([]);
    expect(scheduler.release("t", 1)).toEqual([]);
    expect(scheduler.recoverLease("t", 1, at(LEASE_MS))).toEqual([]);
    expect(scheduler.signOfLife("t", 1, LEASE_MS, at(LEASE_MS))).toBe(false);
    expect(scheduler.get("t")).toEqual(before);
    expect(scheduler.complete("t", 2, at(LEASE_MS))).toHaveLength(1);
    expect(scheduler.complete("t", 2, at(LEASE_MS))).toEqual([]);
    expect(scheduler.complete("unknown", 2, at(LEASE_MS))).toEqual([]);
  });
});

describe("a lease", () => {
  test("that is over makes the task ready for another worker, clears its owner and frees its paths", () => {
    const scheduler = new Scheduler([task("t", { write_set: ["a"] }), task("u", { write_set: ["a/b"] })]);
    begin(scheduler, "w0", 1);
    expect(scheduler.expired(at(LEASE_MS - 1))).toEqual([]);
    expect(scheduler.nextWakeMs(at(0))).toBe(LEASE_MS);
    expect(scheduler.expired(at(LEASE_MS))).toMatchObject([{ task: { id: "t" }, worker: "w0", fence: 1 }]);
    expect(begin(scheduler, "w1", 2, at(LEASE_MS))).toBeUndefined();
    expect(scheduler.recoverLease("t", 1, at(LEASE_MS))).toMatchObject([
      { id: "t", set: { state: "pending", owner: null, lease_expires: null, retry_count: 1 } },
    ]);
    expect(begin(scheduler, "w1", 2, at(LEASE_MS))).toBe("t");
  });

  test("is renewed by every sign of life, and by none after it was declared over", () => {
    // Weakness 2: leases were never renewed, so healthy work was taken for dead.
    const scheduler = new Scheduler([task("t")]);
    begin(scheduler, "w0", 1);
    expect(scheduler.signOfLife("t", 1, LEASE_MS, at(LEASE_MS - 1))).toBe(true);
    expect(scheduler.expired(at(LEASE_MS))).toEqual([]);
    expect(scheduler.signOfLife("t", 1, 2 * LEASE_MS, at(LEASE_MS))).toBe(true);
    expect(scheduler.signOfLife("t", 1, 10, at(LEASE_MS))).toBe(true);
    expect(scheduler.nextWakeMs(at(LEASE_MS))).toBe(10);
    expect(scheduler.expired(at(LEASE_MS + 10))).toHaveLength(1);
    expect(scheduler.signOfLife("t", 1, LEASE_MS, at(LEASE_MS + 10))).toBe(false);
    // Whoever waits for the next moment that matters does not spin while the worker is being ended.
    expect(scheduler.nextWakeMs(at(LEASE_MS + 11))).toBeUndefined();
    expect(scheduler.expired(at(LEASE_MS + 11))).toHaveLength(1);
  });

  test("does not end because the wall clock is set", () => {
    const scheduler = new Scheduler([task("t")]);
    begin(scheduler, "w0", 1);
    const yearMs = 365 * 24 * 60 * 60_000;
    expect(scheduler.expired(at(10, yearMs))).toEqual([]);
    expect(scheduler.expired(at(LEASE_MS, -yearMs))).toHaveLength(1);
  });

  test("of endless length is written down as text all the same", () => {
    const scheduler = new Scheduler([task("t")]);
    const claimed = scheduler.claimNext("w0", Number.POSITIVE_INFINITY, at(0));
    expect(claimed?.change.set.lease_expires).toBe("2027-05-26T10:00:00.000Z");
    expect(scheduler.nextWakeMs(at(0))).toBeUndefined();
  });

  test("lost again and again fails the task, and what needs it is cancelled with the reason", () => {
    // Weakness 10: such a task was bounded only by the number of workers.
    const scheduler = new Scheduler([
      task("t", { retry_policy: { max_attempts: 1 } }),
      task("v", { dependencies: ["u"] }),
      task("u", { dependencies: ["t"] }),
      task("free", { priority: -1 }),
    ]);
    begin(scheduler, "w0", 1);
    scheduler.recoverLease("t", 1, at(1));
    begin(scheduler, "w1", 2);
    const because = { code: "dependency_failed", task: "t" };
    expect(scheduler.recoverLease("t", 2, at(2))).toMatchObject([
      { id: "t", set: { state: "failed", retry_count: 2 } },
      { id: "u", set: { state: "cancelled" }, because },
      { id: "v", set: { state: "cancelled" }, because },
    ]);
    expect(begin(scheduler, "w2", 3)).toBe("free");
  });

  test("lost by a worker keeps its task from that worker while another one is idle", () => {
    const scheduler = new Scheduler([task("t"), task("u")]);
    begin(scheduler, "w0", 1);
    scheduler.recoverLease("t", 1, at(1));
    expect(scheduler.claimNext("w0", LEASE_MS, at(1), { othersIdle: true })?.task.id).toBe("u");
    expect(scheduler.claimNext("w1", LEASE_MS, at(1), { othersIdle: true })?.task.id).toBe("t");
  });

  test("lost by the only worker gives it the task again", () => {
    const scheduler = new Scheduler([task("t")]);
    begin(scheduler, "w0", 1);
    scheduler.recoverLease("t", 1, at(1));
    expect(scheduler.claimNext("w0", LEASE_MS, at(1), { othersIdle: true })).toBeUndefined();
    expect(scheduler.claimNext("w0", LEASE_MS, at(1))?.task.id).toBe("t");
  });
});

describe("cancelling", () => {
  test("a task cancels what waits for it, each with its own change", () => {
    // Weakness 20: dependents got no event of their own.
    const scheduler = new Scheduler([
      task("a"),
      task("c", { dependencies: ["a", "b"] }),
      task("b", { dependencies: ["a"] }),
      task("d"),
    ]);
    const changes = scheduler.cancel("a", at(0));
    expect(ids(changes)).toEqual(["a", "b", "c"]);
    expect(changes[0]).not.toHaveProperty("because");
    expect(changes[2]).toMatchObject({
      set: { state: "cancelled" },
      because: { code: "dependency_cancelled", task: "a" },
    });
    expect(scheduler.cancel("a", at(0))).toEqual([]);
    expect(scheduler.cancel("unknown", at(0))).toEqual([]);
    expect(begin(scheduler, "w0", 1)).toBe("d");
  });

  test("a failure that nothing can mend cancels dependents instead of releasing them", () => {
    // Weakness 9: a failed dependency counted as met.
    const scheduler = new Scheduler([task("a"), task("b", { dependencies: ["a"] })]);
    begin(scheduler, "w0", 1);
    expect(scheduler.fail("a", 1, { retryable: false }, at(0))).toMatchObject([
      { id: "a", set: { state: "failed" } },
      { id: "b", set: { state: "cancelled" }, because: { code: "dependency_failed", task: "a" } },
    ]);
    expect(scheduler.isDone).toBe(true);
  });

  test("a task before it started leaves nothing completed and nothing failed", () => {
    const scheduler = new Scheduler([task("t")]);
    expect(ids(scheduler.cancel("t", at(0)))).toEqual(["t"]);
    expect(scheduler.counts()).toMatchObject({ completed: 0, failed: 0, cancelled: 1, total: 1, done: 1 });
  });

  test("frees paths, backoffs and leases", () => {
    const scheduler = new Scheduler(["a", "b", "c"].map((id) => task(id, { write_set: ["x"] })));
    begin(scheduler, "w0", 1);
    scheduler.fail("a", 1, { retryable: true }, at(0));
    expect(begin(scheduler, "w0", 2)).toBe("b");
    scheduler.cancel("a", at(0));
    scheduler.cancel("b", at(0));
    expect(scheduler.nextWakeMs(at(0))).toBeUndefined();
    expect(scheduler.expired(at(10 * LEASE_MS))).toEqual([]);
    expect(scheduler.complete("b", 2, at(0))).toEqual([]);
    expect(begin(scheduler, "w1", 3)).toBe("c");
  });

  test("a task that rests leaves the others of its kind where they are", () => {
    const scheduler = new Scheduler(["a", "b", "c", "d"].map((id) => task(id)));
    begin(scheduler, "w0", 1);
    scheduler.fail("a", 1, { retryable: true }, at(0));
    scheduler.cancel("a", at(0));
    expect(scheduler.nextWakeMs(at(0))).toBeUndefined();
    expect(["w0", "w1", "w2", "w3"].map((worker, n) => begin(scheduler, worker, 2 + n))).toEqual([
      "b",
      "c",
      "d",
      undefined,
    ]);
  });

  test("a claim that is being written down keeps its worker from starting", () => {
    const scheduler = new Scheduler([task("t")]);
    scheduler.claimNext("w0", LEASE_MS, at(0));
    scheduler.cancel("t", at(0));
    expect(scheduler.start("t", { fence: 1, attempt: 1 }, at(0))).toBeUndefined();
  });
});

describe("loaded tasks", () => {
  const held = {
    state: "running",
    owner: "w0",
    fence: 7,
    attempt: 2,
    retry_count: 1,
    started_at: "2026-05-25T09:00:00Z",
  };

  test("that a dead controller had given out are pending again, uncounted", () => {
    const loaded = [
      task("run", { ...held, write_set: ["a"] }),
      task("got", { state: "claimed", owner: "w1", fence: 3 }),
      task("old", { state: "running", owner: null }),
      task("done", { state: "completed" }),
    ];
    const scheduler = new Scheduler(loaded);
    expect(scheduler.expired(at(10 * LEASE_MS))).toEqual([]);
    const set = { state: "pending", owner: null, lease_expires: null, started_at: null };
    expect(scheduler.recover(at(0))).toEqual(["got", "old", "run"].map((id) => ({ id, set })));
    expect(scheduler.recover(at(0))).toEqual([]);
    expect(scheduler.get("run")).toMatchObject({ retry_count: 1, fence: 7 });
    expect(loaded[0]?.state).toBe("running");
    expect(["w0", "w1", "w2"].map((worker, n) => begin(scheduler, worker, 10 + n))).toEqual([
      "got",
      "old",
      "run",
    ]);
  });

  test("whose result lay in the outbox can still be completed before recovery, by their fence alone", () => {
    const scheduler = new Scheduler([task("t", held), task("u", { dependencies: ["t"] })]);
    expect(scheduler.complete("t", 6, at(0))).toEqual([]);
    expect(scheduler.complete("t", 7, at(0))).toHaveLength(1);
    expect(scheduler.recover(at(0))).toEqual([]);
    expect(begin(scheduler, "w0", 8)).toBe("u");
  });

  test("that need what has failed or was cancelled are cancelled, as 0.5.0 did not", () => {
    const scheduler = new Scheduler([
      task("a", { state: "failed" }),
      task("b", { dependencies: ["a"] }),
      task("c", { ...held, dependencies: ["b"] }),
      task("d", { state: "completed", dependencies: ["a"] }),
    ]);
    const because = { code: "dependency_failed", task: "a" };
    expect(scheduler.recover(at(0))).toMatchObject([
      { id: "b", set: { state: "cancelled" }, because },
      { id: "c", set: { state: "cancelled", owner: null, started_at: null }, because },
    ]);
    expect(scheduler.isDone).toBe(true);
  });

  test("never rest longer than their policy says, however the wall clock was set meanwhile", () => {
    const resting = (lease_expires: string): Scheduler =>
      new Scheduler([task("t", { retry_count: 1, lease_expires })]);
    const longAhead = resting("2031-01-01T00:00:00Z");
    expect(longAhead.nextWakeMs(at(0))).toBe(1_000);
    expect(begin(longAhead, "w0", 1, at(999))).toBeUndefined();
    expect(begin(longAhead, "w0", 1, at(1_000))).toBe("t");
    expect(resting("2026-05-25T10:00:00.250Z").nextWakeMs(at(0))).toBe(250);
    expect(begin(resting("2020-01-01T00:00:00Z"), "w0", 1)).toBe("t");
    expect(resting("2026-06-30T23:59:60Z").nextWakeMs(at(0))).toBe(1_000);
  });
});
