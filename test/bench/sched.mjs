// The scheduler with tasks that do nothing: what a task costs must not grow with their number. Each worker claims,
// starts and completes like those of a run, and waits for the log after every step (or only after the last one).
import fs from "node:fs";
import path from "node:path";

import { interleave, result } from "./measure.mjs";

const WORKERS = [2, 8];
const EVENTS = [1, 3];
const SHAPES = ["chains", "files", "shared"];
const LEASE_MS = 300_000;

export const names = [
  ...WORKERS.flatMap((workers) => EVENTS.map((events) => `sched/growth-${workers}x${events}`)),
  ...SHAPES.map((shape) => `sched/growth-${shape}`),
  "sched/overhead",
  ...WORKERS.map((workers) => `sched/durable-${workers}`),
  ...WORKERS.map((workers) => `sched/durable-growth-${workers}`),
];

export async function* run(wanted, context) {
  const { measured, quick } = context;
  const [few, many] = [1_000, 10_000];
  const rounds = quick ? 5 : 15;
  const inMemory = (shape, count, workers, events) =>
    work(tasksOf(shape, count), workers, events, () => fakeLog(), measured);
  const growth = async (name, shape, workers, events) => {
    const times = await growthOf(many, few, rounds, (count) => inMemory(shape, count, workers, events));
    const note = `per task, ${many} tasks against ${few}`;
    return result(name, times.many, times.few, { target: 1.5, note });
  };

  for (const workers of WORKERS) {
    for (const events of EVENTS) {
      const name = `sched/growth-${workers}x${events}`;
      if (wanted.has(name)) yield await growth(name, "free", workers, events);
    }
  }
  for (const shape of SHAPES) {
    if (wanted.has(`sched/growth-${shape}`)) yield await growth(`sched/growth-${shape}`, shape, 8, 3);
  }
  if (wanted.has("sched/overhead")) {
    // The same waits for the same log, and nobody who decides anything.
    const times = await interleave(rounds, {
      ours: () => inMemory("free", many, 8, 3),
      bare: () => bare(many, 8, 3, fakeLog()),
    });
    yield result("sched/overhead", times.ours, times.bare, { each: many, note: "per task of three events" });
  }
  yield* durable(wanted, context);
}

/** On a real log: what is left to the scheduler beside the disk, and whether either grows. */
async function* durable(wanted, { folder, measured, quick }) {
  const [few, many] = quick ? [100, 1_000] : [1_000, 10_000];
  const place = path.join(folder, "sched");
  fs.mkdirSync(place);
  let logs = 0;
  const openLog = async () => {
    const world = measured.createWorld();
    const ports = { ...world, redactor: measured.createRedactor({ environment: {} }) };
    const request = { runId: "bench", command: "bench", what: "The benchmark", snapshots: [] };
    const at = path.join(place, String(++logs));
    const journal = await measured.Journal.open(at, request, ports, new AbortController().signal);
    const close = async () => {
      await journal.close();
      fs.rmSync(at, { recursive: true });
    };
    return { append: async (...events) => (await journal.append(...events)).at(-1).seq, close };
  };
  for (const workers of WORKERS) {
    const ours = (count) => work(tasksOf("free", count), workers, 3, openLog, measured);
    if (wanted.has(`sched/durable-${workers}`)) {
      const count = quick ? 200 : 1_000;
      const times = await interleave(quick ? 3 : 10, {
        ours: () => ours(count),
        bare: async () => bare(count, workers, 3, await openLog()),
      });
      const note = `per task of three durable events, ${workers} workers`;
      yield result(`sched/durable-${workers}`, times.ours, times.bare, { target: 1.25, each: count, note });
    }
    if (wanted.has(`sched/durable-growth-${workers}`)) {
      const times = await growthOf(many, few, 3, ours);
      const note = `per task, ${many} tasks against ${few}`;
      yield result(`sched/durable-growth-${workers}`, times.many, times.few, { target: 1.5, note });
    }
  }
}

/** The time per task of one large run and of small ones, which come to as many tasks: or a pause would count for more. */
async function growthOf(many, few, rounds, ours) {
  const timesOf = async (size) => {
    let sum = 0;
    for (let done = 0; done < many; done += size) sum += await ours(size);
    return sum / many;
  };
  return interleave(rounds, { many: () => timesOf(many), few: () => timesOf(few) });
}

// ---- The work

/** Does all tasks, and gives the time in ms from having the list to the last answer of the log. */
async function work(tasks, workers, events, openLog, { Scheduler }) {
  const log = await openLog();
  const now = () => ({ wall: new Date(), monotonicMs: performance.now() });
  const begun = performance.now();
  const scheduler = new Scheduler(tasks);
  let fences = 0;
  let waiting = [];
  const ring = () => {
    const woken = waiting;
    waiting = [];
    for (const wake of woken) wake();
  };
  const event = (kind, worker, changes) => ({
    kind,
    actor: worker,
    payload: { task_id: changes[0].id, worker_id: worker },
    changes: changes.map(({ id, set }) => ({ file: "tasks.jsonl", id, set })),
  });
  const serve = async (worker) => {
    while (!scheduler.isDone) {
      const claimed = scheduler.claimNext(worker, LEASE_MS, now());
      if (!claimed) {
        await new Promise((resolve) => waiting.push(resolve));
        continue;
      }
      ring();
      const { id } = claimed.task;
      if (events === 3) await log.append(event("task_claimed", worker, [claimed.change]));
      const fence = ++fences;
      const started = scheduler.start(id, { fence, attempt: 1 }, now());
      if (events === 3) await log.append(event("task_started", worker, [started]));
      scheduler.signOfLife(id, fence, LEASE_MS, now());
      await log.append(event("task_completed", worker, scheduler.complete(id, fence, now())));
      ring();
    }
    ring();
  };
  await Promise.all(Array.from({ length: workers }, (_, at) => serve(`worker-${at}`)));
  const ms = performance.now() - begun;
  await log.close();
  const { completed } = scheduler.counts();
  if (completed !== tasks.length) throw new Error(`${completed} of ${tasks.length} tasks were completed`);
  return ms;
}

/** As many events by as many producers, straight into the log. */
async function bare(count, workers, events, log) {
  const begun = performance.now();
  let left = count;
  const serve = async (worker) => {
    while (left > 0) {
      const id = `task-${left--}`;
      for (let at = 0; at < events; at++) {
        const set = {
          state: "running",
          owner: worker,
          lease_expires: "2026-05-25T10:05:00.000Z",
          attempt: 1,
        };
        const changes = [{ file: "tasks.jsonl", id, set }];
        await log.append({
          kind: "task_claimed",
          actor: worker,
          payload: { task_id: id, worker_id: worker },
          changes,
        });
      }
    }
  };
  await Promise.all(Array.from({ length: workers }, (_, at) => serve(`worker-${at}`)));
  const ms = performance.now() - begun;
  await log.close();
  return ms;
}

/** A log that is as quick as a promise. */
function fakeLog() {
  return { append: () => Promise.resolve(1), close: () => Promise.resolve() };
}

/**
 * Tasks of one shape: `free` of each other, in `chains` of ten, each with `files` of its own, or writing one of sixteen
 * `shared` folders, so that groups are parked and woken all the time.
 */
function tasksOf(shape, count) {
  return Array.from({ length: count }, (_, at) => ({
    id: `task-${at}`,
    name: "subtask",
    description: "nothing",
    dependencies: shape === "chains" && at % 10 > 0 ? [`task-${at - 1}`] : [],
    priority: 0,
    owner: null,
    lease_expires: null,
    retry_count: 0,
    retry_policy: {
      max_attempts: 2,
      backoff_seconds: 1,
      backoff_multiplier: 2,
      terminal_on_permanent_failure: true,
    },
    state: "pending",
    created_at: "2026-05-25T10:00:00Z",
    started_at: null,
    completed_at: null,
    read_set: shape === "files" ? ["docs/guide.md"] : [],
    write_set: shape === "files" ? [`src/part-${at}/index.ts`] : shape === "shared" ? [`src/${at % 16}`] : [],
  }));
}
