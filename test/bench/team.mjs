// Whole team runs whose agents do nothing: mailboxes, transcripts, heartbeats, leases and the log of a real run on a real
// disk. What a task costs must not grow, must stay far below what an agent costs, and idle workers must cost nothing.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";

import { driveRun, prepareRun } from "./crew.mjs";
import { interleave, median, result, timeProcess } from "./measure.mjs";

const GROWTH = [2, 8];
const FILES = [1, 2, 8, 64];
const IDLE = [8, 64, 256];
/** Whole periods of the heartbeat, which is written every ten seconds: half a period shows none or twice its share. */
const IDLE_SECONDS = 20;
const PROCESS_MS_MAX = 10 * 60_000;
const SCRIPT = path.join(import.meta.dirname, "crew.mjs");

export const names = [
  ...GROWTH.map((workers) => `team/tasks-${workers}`),
  ...FILES.map((workers) => `sched/files-${workers}`),
  "sched/restart",
  ...IDLE.map((workers) => `memory/idle-${workers}`),
];

export async function* run(wanted, context) {
  const folder = path.join(context.folder, "team");
  fs.mkdirSync(folder);
  for (const workers of GROWTH) {
    if (wanted.has(`team/tasks-${workers}`)) yield await growthBench(workers, folder, context);
  }
  yield* filesBench(
    FILES.filter((workers) => wanted.has(`sched/files-${workers}`)),
    folder,
    context,
  );
  if (wanted.has("sched/restart")) yield await restartBench(folder, context);
  yield* memoryBench(
    IDLE.filter((workers) => wanted.has(`memory/idle-${workers}`)),
    folder,
    context,
  );
}

/**
 * The root of a run that is ready to be gone on with. It is left for the end of all benchmarks to remove, about 1 GB in
 * all: ext4 passes over the places of files that were removed seconds ago, which makes new ones five times as dear.
 */
async function newRun(folder, shape, measured) {
  const root = fs.mkdtempSync(path.join(folder, "run-"));
  await prepareRun(root, shape, measured);
  return root;
}

/** The time of a run from its log, with its tasks, to its proof. */
async function timeRun(folder, tasks, workers, { measured }) {
  return driveRun(await newRun(folder, { tasks, workers }, measured), measured);
}

async function growthBench(workers, folder, context) {
  const [few, many] = context.quick ? [200, 2_000] : [1_000, 10_000];
  const times = await interleave(
    context.quick ? 1 : 2,
    {
      many: async () => (await timeRun(folder, many, workers, context)) / many,
      // As many tasks in small runs, or a pause would count for more.
      few: async () => {
        let sum = 0;
        for (let done = 0; done < many; done += few) sum += await timeRun(folder, few, workers, context);
        return sum / many;
      },
    },
    { warmups: 0 },
  );
  const note = `per task, ${many} tasks against ${few}`;
  return result(`team/tasks-${workers}`, times.many, times.few, { target: 1.5, note });
}

async function* filesBench(sizes, folder, context) {
  if (sizes.length === 0) return;
  const count = context.quick ? 500 : 2_000;
  const list = path.join(folder, "list");
  fs.writeFileSync(list, Array.from({ length: count }, (_, at) => `${at}\n`).join(""));
  const contestants = {
    xargs: () =>
      timeProcess(["sh", "-c", 'xargs -P2 -n1 true < "$0"', list], { cwd: folder, env: context.environment }),
  };
  for (const workers of sizes) contestants[workers] = () => timeRun(folder, count, workers, context);
  const { xargs, ...times } = await interleave(context.quick ? 3 : 5, contestants);
  for (const workers of sizes) {
    const note = `per task, ${count} of them, all files and the log, against a process each`;
    yield result(`sched/files-${workers}`, times[workers], xargs, { target: 0.25, each: count, note });
  }
}

/** Both sides are processes of their own, from their start to their end. */
async function restartBench(folder, { bundle, environment, measured, quick }) {
  const [tasks, workers] = [quick ? 200 : 1_000, 8];
  const drive = (root, turns, expected) => {
    const argv = [SCRIPT, bundle, root, "drive", ...turns];
    const start = performance.now();
    const { status, signal, stderr } = spawnSync(process.execPath, argv, {
      env: environment,
      encoding: "utf8",
      timeout: PROCESS_MS_MAX,
    });
    if ((signal ?? status) !== expected) throw new Error(`the run ended with ${signal ?? status}: ${stderr}`);
    return performance.now() - start;
  };
  const times = await interleave(quick ? 3 : 5, {
    restarted: async () => {
      const root = await newRun(folder, { tasks, workers }, measured);
      const first = drive(root, [String(tasks / 2)], "SIGKILL");
      return first + drive(root, [], 0);
    },
    cold: async () => drive(await newRun(folder, { tasks, workers }, measured), [], 0),
  });
  const note = `${tasks} tasks, killed after ${tasks / 2} and resumed, against one run`;
  return result("sched/restart", times.restarted, times.cold, { note });
}

/** All at the same time: they do nothing, so they are not in each other's way. */
async function* memoryBench(sizes, folder, context) {
  if (sizes.length === 0) return;
  const rounds = [];
  for (let round = 0; round < (context.quick ? 1 : 3); round++) {
    const [floor, ...ours] = await Promise.all([
      idleNode(context),
      ...sizes.map(async (workers) => {
        const root = await newRun(folder, { tasks: workers, workers, chained: true }, context.measured);
        return idleProcess([SCRIPT, context.bundle, root, "idle", String(IDLE_SECONDS)], context);
      }),
    ]);
    rounds.push({ floor, ours });
  }
  for (const [at, workers] of sizes.entries()) {
    const rss = median(rounds.map(({ ours }) => ours[at].rss));
    const least = median(rounds.map(({ ours }) => ours[0].rss));
    const cpu = median(rounds.map(({ ours }) => ours[at].cpu)) * 100;
    const each =
      at === 0 ? "" : `; ${((rss - least) / 1_000 / (workers - sizes[0])).toFixed(0)} kB per worker`;
    yield {
      name: `memory/idle-${workers}`,
      ratios: rounds.map(({ floor, ours }) => ours[at].rss / floor.rss),
      ...(workers === 256 && { target: 1.4 }),
      note: `${(rss / 1e6).toFixed(1)} MB resident${each}; ${cpu.toFixed(3)} % CPU over ${IDLE_SECONDS} s`,
    };
  }
}

function idleNode(context) {
  const report = `import(${JSON.stringify(SCRIPT)}).then(({ reportIdle }) => reportIdle(${IDLE_SECONDS}))`;
  return idleProcess(["-e", `process.stdin.resume().on("end", () => process.exit(0)); ${report}`], context);
}

/** What an idle process says about itself. It ends when its input does. */
async function idleProcess(argv, { environment }) {
  const child = spawn(process.execPath, argv, { env: environment, stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "exit");
  try {
    const said = once(child.stdout, "data").then(([bytes]) => JSON.parse(String(bytes)));
    const early = ended.then(([code]) => {
      throw new Error(`an idle process ended with ${code}`);
    });
    early.catch(() => undefined); // it ends after it has said what it costs
    return await Promise.race([said, early]);
  } finally {
    child.stdin.end();
    await ended;
  }
}
