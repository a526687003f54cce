// Files of state: replaced, appended to, and taken over from a holder that was killed.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";

import lockfile from "proper-lockfile";
import writeFileAtomic from "write-file-atomic";

import { interleave, result, shortTime, timed } from "./measure.mjs";

const PRODUCERS = [1, 8, 64];
/** Events of a turn without syncs, enough that starting and stopping do not count, and how many are given at once. */
const EVENTS = 2_000;
const EVENTS_AT_ONCE = 100;
/** After this long a takeover has failed. */
const TAKEOVER_MS_MAX = 60_000;

export const names = [
  "atomic/replace-2k",
  "atomic/replace-2k-rival",
  "atomic/replace-1m",
  "atomic/replace-1m-rival",
  "append/events",
  ...PRODUCERS.map((count) => `append/durable-${count}`),
  "claim/takeover",
];

export async function* run(wanted, context) {
  const folder = path.join(context.folder, "store");
  fs.mkdirSync(folder);
  for (const [size, bytes] of [
    ["2k", 2 * 1024],
    ["1m", 1024 * 1024],
  ]) {
    const name = `atomic/replace-${size}`;
    if (wanted.has(name) || wanted.has(`${name}-rival`))
      yield* replaceBench(name, bytes, wanted, folder, context);
  }
  if (wanted.has("append/events")) yield await appendBench(folder, context);
  for (const producers of PRODUCERS) {
    if (wanted.has(`append/durable-${producers}`)) yield await durableBench(producers, folder, context);
  }
  if (wanted.has("claim/takeover")) yield await takeoverBench(folder, context);
}

// ---- Replacing a file

/** Ours against the bare calls, and (`-rival`) against `write-file-atomic`, which syncs no folder. */
async function* replaceBench(name, bytes, wanted, folder, { measured, quick }) {
  const ports = measured.createWorld();
  const content = Buffer.alloc(bytes, "a line of a document that is not very long\n");
  const place = (who) => path.join(folder, `${who}-${bytes}.json`);
  const times = await interleave(quick ? 15 : 60, {
    ours: () => timed(() => measured.replaceFile(place("ours"), content, ports)),
    bare: () => timed(() => replaceBare(place("bare"), content)),
    rival: () => timed(() => writeFileAtomic(place("rival"), content)),
  });
  if (wanted.has(name)) yield result(name, times.ours, times.bare);
  if (wanted.has(`${name}-rival`)) yield result(`${name}-rival`, times.ours, times.rival);
}

/** What no durable replacement can do without, each call synchronous. */
function replaceBare(target, content) {
  const temporary = `${target}.tmp`;
  const file = fs.openSync(temporary, "w", 0o600);
  fs.writeSync(file, content);
  fs.fsyncSync(file);
  fs.closeSync(file);
  fs.renameSync(temporary, target);
  const folder = fs.openSync(path.dirname(target), "r");
  fs.fsyncSync(folder);
  fs.closeSync(folder);
}

// ---- Appending

/** Events as a goal makes them, in about the mixture and the sizes that its log shows. */
function eventAt(at) {
  const task = `task-${at % 40}`;
  const changed = { updated_at: "2026-11-21T10:41:29.717Z" };
  switch (at % 4) {
    case 0:
      return {
        kind: "task_claimed",
        actor: "goal-controller",
        payload: {
          task_id: task,
          worker_id: "worker-0",
          attempt: 1,
          lease_deadline: "2026-11-21T11:41:29.487Z",
        },
      };
    case 1:
      return {
        kind: "task_started",
        actor: "worker-0",
        payload: { task_id: task, worker_id: "worker-0", attempt: 1, spawn_id: "omk-o0nn8owjimikg19tfl92" },
        changes: [{ file: "work.json", set: { ...changed, running: [{ task_id: task, attempt: 1 }] } }],
      };
    case 2:
      return {
        kind: "command_finished",
        actor: "goal-controller",
        payload: {
          gate_id: "tests",
          command_line: "npm test",
          exit_code: 1,
          verdict: "failed",
          stdout_summary: "> sum@1.0.0 test\n> node --test\nnot ok 1 - sum adds its arguments\n...",
          duration_ms: 215,
        },
      };
    default:
      return {
        kind: "task_completed",
        actor: "worker-0",
        payload: {
          task_id: task,
          outcome: "finished",
          output_summary: "The function adds now; its test passes.",
        },
        changes: [
          { file: "task-graph.json", id: task, set: { ...changed, state: "completed", attempts: 1 } },
        ],
      };
  }
}

/** A log and what it stands on. `sync` false leaves the disk's syncs out, for what is then left is our own work. */
function openLog(place, measured, sync) {
  const world = measured.createWorld();
  const { disk } = world;
  const unsynced = {
    ...disk,
    open: (...given) => ({ ...disk.open(...given), sync: () => Promise.resolve() }),
    syncFolder: () => Promise.resolve(),
  };
  const redactor = measured.createRedactor({
    environment: { PATH: "/usr/bin", SERVICE_TOKEN: "b7f3c1d9e5a2" },
  });
  const ports = { ...world, redactor, disk: sync ? disk : unsynced };
  const isNewest = () => disk.stat(`${place}.2`) === undefined;
  const chain = { epoch: 1, isClean: true, isNewest, release: () => Promise.resolve() };
  const start = { seq: 0, digest: measured.CHAIN_START, bytes: 0 };
  return new measured.EventLog(place, "goal-bench", chain, start, ports);
}

/** Redaction, digests and the envelope, against the plainest log there is: an id, a time, one write per line. */
async function appendBench(folder, { measured, quick }) {
  const events = Array.from({ length: EVENTS }, (_, at) => eventAt(at));
  const ours = path.join(folder, "append-ours.jsonl");
  const plain = path.join(folder, "append-plain.jsonl");
  const times = await interleave(
    quick ? 10 : 40,
    {
      async ours() {
        const log = openLog(ours, measured, false);
        const ms = await timed(async () => {
          for (let at = 0; at < EVENTS; at += EVENTS_AT_ONCE) {
            await Promise.all(events.slice(at, at + EVENTS_AT_ONCE).map((event) => log.append([event])));
          }
        });
        await log.close();
        fs.rmSync(ours);
        return ms;
      },
      async plain() {
        const file = fs.openSync(plain, "a");
        const ms = await timed(() => {
          for (const [at, event] of events.entries()) {
            const { kind, actor, payload, changes } = event;
            const ts = new Date().toISOString();
            const envelope = { id: randomUUID(), run_id: "goal-bench", ts, schema_version: 1, kind, actor };
            fs.writeSync(file, `${JSON.stringify({ ...envelope, payload, seq: at + 1, changes })}\n`);
          }
        });
        fs.closeSync(file);
        fs.rmSync(plain);
        return ms;
      },
    },
    { warmups: 3 },
  );
  return result("append/events", times.ours, times.plain, { target: 1.5, each: EVENTS, note: "per event" });
}

/** So many producers, each of which waits until its event is durable, against a write and an fdatasync per line. */
async function durableBench(producers, folder, { measured, quick }) {
  const each = quick ? 8 : 20;
  const count = producers * each;
  const ours = path.join(folder, `durable-${producers}-ours.jsonl`);
  const plain = path.join(folder, `durable-${producers}-plain.jsonl`);
  // The rival's cost per line is the same however many there are: it need not write them all.
  const plainCount = Math.min(count, 64);
  const line = `${JSON.stringify({ id: randomUUID(), seq: 1, ...eventAt(2) })}\n`;
  const times = await interleave(quick ? 5 : 15, {
    async ours() {
      const log = openLog(ours, measured, true);
      const produce = async (producer) => {
        for (let at = 0; at < each; at++) await log.append([eventAt(producer + at)]);
      };
      const ms = await timed(() => Promise.all(Array.from({ length: producers }, (_, at) => produce(at))));
      await log.close();
      fs.rmSync(ours);
      return ms / count;
    },
    async plain() {
      const file = fs.openSync(plain, "a");
      const ms = await timed(() => {
        for (let at = 0; at < plainCount; at++) {
          fs.writeSync(file, line);
          fs.fdatasyncSync(file);
        }
      });
      fs.closeSync(file);
      fs.rmSync(plain);
      return ms / plainCount;
    },
  });
  return result(`append/durable-${producers}`, times.ours, times.plain, {
    ...(producers === 64 && { target: 1 / 50 }),
    note: "per line",
  });
}

// ---- Taking over

/** From the kill of the holder to a claim that is on the disk, against the time that `proper-lockfile` waits. */
async function takeoverBench(folder, { measured, bundle, environment, quick }) {
  // Its default; and in a hurry the least it allows, which flatters it.
  const staleMs = quick ? 2_000 : 10_000;
  const locked = path.join(folder, "locked");
  const chain = path.join(folder, "chain");
  const world = measured.createWorld();
  const kill = async (holder) => {
    const start = performance.now();
    holder.kill("SIGKILL");
    return start;
  };

  fs.writeFileSync(locked, "");
  const rivalHolder = await holderOf("lockfile", locked, { bundle, environment, staleMs });
  const rivalStart = await kill(rivalHolder);
  const onCompromised = () => undefined; // it is released a moment later
  const retries = { retries: TAKEOVER_MS_MAX / 10, factor: 1, minTimeout: 10, maxTimeout: 10 };
  const release = await lockfile.lock(locked, { stale: staleMs, retries, onCompromised });
  const rivalMs = performance.now() - rivalStart;
  await release();

  const times = [];
  for (let round = 0; round < (quick ? 5 : 15); round++) {
    const holder = await holderOf("chain", chain, { bundle, environment, staleMs });
    const start = await kill(holder);
    const held = await claimSoon(chain, measured, world);
    times.push(performance.now() - start);
    await held.release(true);
  }
  const target = quick ? undefined : 1 / 1000;
  const note = `proper-lockfile once, stale ${shortTime(staleMs)}`;
  return result("claim/takeover", times, [rivalMs], { target, note });
}

/** A process that holds the chain or the lock and waits to be killed. */
async function holderOf(kind, place, { bundle, environment, staleMs }) {
  const script = path.join(import.meta.dirname, "holder.mjs");
  const argv = [script, kind, place, kind === "chain" ? bundle : String(staleMs)];
  const holder = spawn(process.execPath, argv, { env: environment, stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(holder, "exit").then(([code]) => {
    throw new Error(`the holder of the ${kind} ended with ${code} before it was killed`);
  });
  ended.catch(() => undefined); // being killed is its purpose
  await Promise.race([once(holder.stdout, "data"), ended]);
  return holder;
}

/** Claims as soon as the kernel has carried out the kill, which it does a moment after it was asked. */
async function claimSoon(chain, measured, world) {
  const request = { command: "bench", what: "The chain of the benchmark" };
  const until = performance.now() + TAKEOVER_MS_MAX;
  for (;;) {
    try {
      return await measured.claimChain(chain, request, world, new AbortController().signal);
    } catch (error) {
      if (error.code !== "state.busy" || performance.now() > until) throw error;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}
