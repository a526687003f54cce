/**
 * Any history of claims, results in time and late, losses, pauses, cancels, restarts and clocks that are set: checked step
 * by step against the rules written down as plainly as can be, which look at all tasks for every answer.
 */
import fc from "fast-check";
import { expect, test } from "vitest";

import { Task } from "../../src/format/run.ts";
import { normalizedPath } from "../../src/scheduler/ownership.ts";
import { Scheduler, type ExpiredLease, type Now, type TaskChange } from "../../src/scheduler/scheduler.ts";
import { backoffMs, retryRule } from "../../src/scheduler/task.ts";

const WORKERS = ["w0", "w1", "w2"];
const LEASE_MS = 10_000;
const IDS = ["a", "b", "c", "é", "\uff5e", "\u{1f600}", "A", "z9"];
const PATHS = ["src", "src/a", "./src//a/", "docs", "src/*.ts", "project files", "../odd"];

// ---- What can happen

const someTasks = fc
  .array(
    fc.record({
      priority: fc.integer({ min: -1, max: 1 }),
      needs: fc.array(fc.nat({ max: 7 }), { maxLength: 2 }),
      write_set: fc.array(fc.constantFrom(...PATHS), { maxLength: 2 }),
      read_set: fc.array(fc.constantFrom(...PATHS), { maxLength: 1 }),
      max_attempts: fc.nat({ max: 2 }),
      backoff_seconds: fc.nat({ max: 3 }),
    }),
    { minLength: 1, maxLength: IDS.length },
  )
  .map((rows) =>
    rows.map(({ priority, needs, write_set, read_set, max_attempts, backoff_seconds }, at) =>
      Task.parse({
        id: IDS[at],
        name: "subtask",
        description: "",
        // Only earlier ones: no circle.
        dependencies: needs.filter((need) => need < at).map((need) => IDS[need]),
        priority,
        retry_count: 0,
        retry_policy: { max_attempts, backoff_seconds },
        state: "pending",
        created_at: "2026-05-25T10:00:00Z",
        read_set,
        write_set,
      }),
    ),
  );

const which = fc.nat({ max: 7 });
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant("claim" as const), which, othersIdle: fc.boolean() }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("start" as const), which }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "complete" as const,
        "fail" as const,
        "give_up" as const,
        "release" as const,
        "lose" as const,
      ),
      which,
      late: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("sign" as const), which, late: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("pass" as const),
      ms: fc.oneof(fc.nat({ max: 3_000 }), fc.nat({ max: 12_000 })),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("set_clock" as const),
      ms: fc.integer({ min: -1e11, max: 1e11 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("look" as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("sweep" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("cancel" as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("pause" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("restart" as const), which }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

// ---- The rules, plainly

interface Claim {
  worker: string;
  /** Known once it has started. */
  fence: number | undefined;
  leaseEndMs: number;
  isLost: boolean;
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function overlap(a: readonly string[], b: readonly string[]): boolean {
  const plain = (path: string): string => `${normalizedPath(path) ?? "."}/`.replace(/^\.\//, "");
  return a.some((one) =>
    b.some((other) => plain(one).startsWith(plain(other)) || plain(other).startsWith(plain(one))),
  );
}

function inTheWay(a: Task, b: Task): boolean {
  return (
    overlap(a.write_set, b.write_set) || overlap(a.write_set, b.read_set) || overlap(a.read_set, b.write_set)
  );
}

/** A run: the scheduler, and beside it what the log says and what follows from that. */
class Run {
  scheduler: Scheduler;
  /** What the log says: the changes, folded. */
  readonly log: Map<string, Task>;
  readonly claims = new Map<string, Claim>();
  readonly restUntilMs = new Map<string, number>();
  readonly staleOwner = new Map<string, string>();
  readonly fences = new Map<string, number[]>();
  readonly accepted = new Map<string, number>();
  monotonicMs = 1_000;
  wallMs = Date.parse("2026-05-25T10:00:00Z");
  seq = 0;

  constructor(tasks: readonly Task[]) {
    this.log = new Map(tasks.map((task) => [task.id, task]));
    this.scheduler = new Scheduler(tasks);
  }

  get now(): Now {
    return { wall: new Date(this.wallMs), monotonicMs: this.monotonicMs };
  }

  /** What the scheduler says of every task. */
  tasks(): (Task | undefined)[] {
    return [...this.log.keys()].map((id) => this.scheduler.get(id));
  }

  pass(ms: number): void {
    this.monotonicMs += ms;
    this.wallMs += ms;
  }

  append(changes: readonly TaskChange[]): void {
    for (const { id, set } of changes) {
      this.seq++;
      const task = this.log.get(id);
      if (!task) throw new Error(`The log knows no task ${id}.`);
      this.log.set(id, { ...task, ...set });
      if (set.state !== undefined && set.state !== "claimed" && set.state !== "running")
        this.claims.delete(id);
      if (set.state === "completed") this.accepted.set(id, (this.accepted.get(id) ?? 0) + 1);
    }
    expect(this.tasks()).toEqual([...this.log.values()]);
    this.checkCascade();
  }

  /** Nothing waits for what can never be. */
  checkCascade(): void {
    for (const { state, dependencies } of this.log.values()) {
      if (state !== "pending") continue;
      for (const id of dependencies) expect(["failed", "cancelled"]).not.toContain(this.log.get(id)?.state);
    }
  }

  /** What is to be claimed next, from a look at everything. */
  next(worker: string, othersIdle: boolean): string | undefined {
    const claims = [...this.claims];
    if (claims.some(([, claim]) => claim.worker === worker)) return undefined;
    const held = claims.flatMap(([id]) => this.log.get(id) ?? []);
    return [...this.log.values()]
      .filter((task) => task.state === "pending")
      .filter((task) => task.dependencies.every((id) => this.log.get(id)?.state === "completed"))
      .filter(({ id }) => (this.restUntilMs.get(id) ?? 0) <= this.monotonicMs)
      .sort((a, b) => b.priority - a.priority || byBytes(a.id, b.id))
      .filter((task) => !held.some((other) => inTheWay(task, other)))
      .find(({ id }) => !(othersIdle && this.staleOwner.get(id) === worker))?.id;
  }

  claim(worker: string, othersIdle: boolean): string | undefined {
    const expected = this.next(worker, othersIdle);
    const before = this.tasks();
    const claimed = this.scheduler.claimNext(worker, LEASE_MS, this.now, { othersIdle });
    expect(claimed?.task.id).toBe(expected);
    if (!claimed) {
      expect(this.tasks()).toEqual(before);
      return undefined;
    }
    const { id } = claimed.task;
    expect(this.claims.has(id)).toBe(false); // never two live owners
    this.claims.set(id, { worker, fence: undefined, leaseEndMs: this.monotonicMs + LEASE_MS, isLost: false });
    this.staleOwner.delete(id);
    this.restUntilMs.delete(id);
    this.append([claimed.change]);
    return id;
  }

  start(id: string): void {
    const claim = this.claims.get(id);
    const fence = ++this.seq;
    const change = this.scheduler.start(
      id,
      { fence, attempt: (this.log.get(id)?.retry_count ?? 0) + 1 },
      this.now,
    );
    expect(change !== undefined).toBe(claim !== undefined && claim.fence === undefined);
    if (!change || !claim) return this.append([]);
    claim.fence = fence;
    this.fences.set(id, [...(this.fences.get(id) ?? []), fence]);
    this.append([change]);
  }

  /** A fence of this task: that of its claim, or, when late, an earlier one. */
  fenceOf(id: string, late: boolean): number {
    const known = this.fences.get(id) ?? [];
    return (late ? known.at(-2) : known.at(-1)) ?? 999_999;
  }

  end(how: "complete" | "fail" | "give_up" | "release" | "lose", id: string, late: boolean): void {
    const claim = this.claims.get(id);
    const before = this.log.get(id);
    const fence = this.fenceOf(id, late);
    const isCurrent = claim !== undefined && claim.fence === fence;
    const { scheduler, now } = this;
    const changes = {
      complete: () => scheduler.complete(id, fence, now),
      fail: () => scheduler.fail(id, fence, { retryable: true }, now),
      give_up: () => scheduler.fail(id, fence, { retryable: false }, now),
      release: () => scheduler.release(id, fence),
      lose: () => scheduler.recoverLease(id, fence, now),
    }[how]();
    expect(changes.length > 0).toBe(isCurrent);
    this.append(changes);
    const after = this.log.get(id);
    if (!isCurrent || !before || !after) return;
    const counted = how === "fail" || how === "give_up" || how === "lose";
    expect(after.retry_count - before.retry_count).toBe(counted ? 1 : 0);
    expect(after.retry_count).toBeLessThanOrEqual(before.retry_policy.max_attempts + 1);
    if (after.state !== "pending") return;
    if (how === "fail")
      this.restUntilMs.set(id, this.monotonicMs + backoffMs(retryRule(after), after.retry_count));
    if (how === "lose") this.staleOwner.set(id, claim.worker);
  }

  sign(id: string, late: boolean): void {
    const claim = this.claims.get(id);
    const fence = this.fenceOf(id, late);
    const isRenewed = this.scheduler.signOfLife(id, fence, LEASE_MS, this.now);
    expect(isRenewed).toBe(claim !== undefined && claim.fence === fence && !claim.isLost);
    if (claim && isRenewed) claim.leaseEndMs = this.monotonicMs + LEASE_MS;
  }

  /** Learns whose lease is over, and begins to end those workers. */
  look(): ExpiredLease[] {
    const expired = this.scheduler.expired(this.now);
    const over = [...this.claims].filter(([, claim]) => claim.isLost || claim.leaseEndMs <= this.monotonicMs);
    expect(expired.map(({ task }) => task.id)).toEqual(over.map(([id]) => id).sort(byBytes));
    for (const [, claim] of over) claim.isLost = true;
    return expired;
  }

  /** Ends whoever lost a lease, then lets the task be done again. */
  sweep(): void {
    for (const { task, worker, fence } of this.look()) {
      expect(this.claims.get(task.id)).toMatchObject({ worker, fence });
      const changes = this.scheduler.recoverLease(task.id, fence, this.now);
      expect(changes.length).toBeGreaterThan(0);
      this.append(changes);
      if (this.log.get(task.id)?.state === "pending") this.staleOwner.set(task.id, worker);
    }
  }

  cancel(id: string): void {
    const { state } = this.log.get(id) ?? {};
    const changes = this.scheduler.cancel(id, this.now);
    expect(changes.length > 0).toBe(["pending", "claimed", "running"].includes(state ?? ""));
    this.append(changes);
  }

  pause(): void {
    for (const [id, { fence }] of this.claims) this.append(this.scheduler.release(id, fence));
    expect(this.claims.size).toBe(0);
  }

  /** The controller dies; the next one hears one more result that had been reported, and takes over. */
  restart(heard: string): void {
    this.scheduler = new Scheduler(this.log.values());
    this.staleOwner.clear();
    this.restUntilMs.clear();
    const claim = this.claims.get(heard);
    if (claim?.fence !== undefined) this.append(this.scheduler.complete(heard, claim.fence, this.now));
    const before = new Map(this.log);
    this.append(this.scheduler.recover(this.now));
    expect(this.claims.size).toBe(0);
    for (const [id, { state, retry_count, lease_expires }] of this.log) {
      expect(retry_count).toBe(before.get(id)?.retry_count);
      if (state !== "pending" || lease_expires === null) continue;
      const wholeMs = backoffMs(retryRule(this.log.get(id) as Task), retry_count);
      const restMs = Math.min(Math.max(Date.parse(lease_expires) - this.wallMs, 0), wholeMs);
      this.restUntilMs.set(id, this.monotonicMs + restMs);
    }
  }

  checkWake(): void {
    const moments = [
      ...[...this.claims.values()].filter(({ isLost }) => !isLost).map(({ leaseEndMs }) => leaseEndMs),
      ...[...this.restUntilMs]
        .filter(([id]) => this.log.get(id)?.state === "pending")
        .map(([, until]) => until),
    ];
    const next = this.scheduler.nextWakeMs(this.now);
    // Rests that are over may have been taken note of: then nobody needs to wake for them.
    const ahead = moments.filter((moment) => moment > this.monotonicMs);
    if (next === undefined) expect(ahead).toEqual([]);
    else if (next > 0) expect(next).toBe(Math.min(...ahead) - this.monotonicMs);
    else expect(moments.length).toBeGreaterThan(ahead.length);
  }

  take(one: Step): void {
    const isOfClaim = one.do === "start" || ("late" in one && !one.late);
    const ids = isOfClaim && this.claims.size > 0 ? [...this.claims.keys()] : [...this.log.keys()];
    const id = "which" in one ? (ids[one.which % ids.length] ?? "") : "";
    switch (one.do) {
      case "claim":
        this.claim(WORKERS[one.which % WORKERS.length] ?? "w0", one.othersIdle);
        break;
      case "start":
        this.start(id);
        break;
      case "sign":
        this.sign(id, one.late);
        break;
      case "pass":
        this.pass(one.ms);
        break;
      case "set_clock":
        this.wallMs = Date.parse("2026-05-25T10:00:00Z") + one.ms;
        break;
      case "look":
        this.look();
        break;
      case "sweep":
        this.sweep();
        break;
      case "cancel":
        this.cancel(id);
        break;
      case "pause":
        this.pause();
        break;
      case "restart":
        this.restart(id);
        break;
      case "complete":
      case "fail":
      case "give_up":
      case "release":
      case "lose":
        this.end(one.do, id, one.late);
    }
    this.checkWake();
  }

  /** With workers that work, and enough time, every task comes to its end. */
  finish(): void {
    // Each task is claimed once more, and each wait ends a lease or a rest.
    for (let turn = 0; turn < 10 * this.log.size + 10 && !this.scheduler.isDone; turn++) {
      for (const worker of WORKERS) {
        const id = this.claim(worker, false);
        if (id !== undefined) this.start(id);
      }
      const running = [...this.claims].filter(([, { fence }]) => fence !== undefined);
      for (const [id, { fence }] of running) this.append(this.scheduler.complete(id, fence ?? 0, this.now));
      if (running.length > 0) continue;
      this.pass(this.scheduler.nextWakeMs(this.now) ?? 0);
      this.sweep();
    }
    expect(this.scheduler.isDone).toBe(true);
    expect(this.scheduler.counts().done).toBe(this.log.size);
    for (const { state, dependencies } of this.log.values()) {
      const met = dependencies.every((id) => this.log.get(id)?.state === "completed");
      if (state === "completed") expect(met).toBe(true);
    }
    for (const times of this.accepted.values()) expect(times).toBe(1);
    expect(WORKERS.flatMap((worker) => this.scheduler.claimNext(worker, LEASE_MS, this.now) ?? [])).toEqual(
      [],
    );
  }
}

test("no history gives a task two results or two owners, strands it, or dispatches out of order", () => {
  fc.assert(
    fc.property(someTasks, fc.array(step, { maxLength: 60, size: "max" }), (tasks, steps) => {
      const run = new Run(tasks);
      for (const one of steps) run.take(one);
      run.finish();
      expect(run.scheduler.isDone).toBe(true);
    }),
    { numRuns: 500 },
  );
}, 60_000);

test("hundreds of tasks with overlapping paths are dispatched as the plain rules say", () => {
  // A fixed mixture, large enough that groups are parked and woken many times.
  const tasks = Array.from({ length: 150 }, (_, at) =>
    Task.parse({
      id: `t${(at * 7919) % 1_000}`,
      name: "subtask",
      description: "",
      dependencies: at > 10 && at % 3 === 0 ? [`t${((at - 7) * 7919) % 1_000}`] : [],
      priority: at % 4,
      retry_count: 0,
      state: "pending",
      created_at: "2026-05-25T10:00:00Z",
      read_set: at % 5 === 0 ? ["src"] : [],
      write_set: at % 50 === 49 ? ["project files"] : [`src/${at % 13}${at % 2 === 0 ? "/x" : ""}`],
    }),
  );
  const run = new Run(tasks);
  run.finish();
  expect(run.scheduler.counts().completed).toBe(tasks.length);
});
