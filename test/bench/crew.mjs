// A team run whose agents do nothing, on the real disk with all its files: what is left is omk's own work. Used inside the
// benchmark's process, and as a process of its own by those that are killed or have their memory looked at:
//
//   node crew.mjs <bundle> <root> drive [turns]    goes on with the run; after so many turns it kills itself
//   node crew.mjs <bundle> <root> idle <seconds>   one task never ends; prints memory, and the CPU of those seconds
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const RUN = "bench";
const never = new AbortController().signal;

/** Puts a run with so many tasks into the log, as a controller does that is killed before any of them began. */
export async function prepareRun(root, { tasks, workers, chained = false }, measured) {
  const ports = portsOf(root, {}, measured);
  const open = await measured.OpenRun.open(RUN, "bench", ports, never);
  const created_at = new Date().toISOString();
  const projectDir = path.join(root, "project");
  fs.mkdirSync(projectDir);
  const { change, changeTask, tasksOf } = measured;
  await open.record({
    kind: "run_started",
    actor: null,
    payload: { mode: "team", project_dir: projectDir, description: "Do nothing, often" },
    changes: [
      change("team-state.json", {
        version: 1,
        name: RUN,
        task: "Do nothing, often",
        created_at,
        worker_count: workers,
        worker_role: "executor",
        phase: "Planning",
        state_dir: open.folder,
      }),
      change("manifest.json", {
        run_id: RUN,
        mode: "team",
        created_at,
        project_dir: projectDir,
        description: "Do nothing, often",
      }),
      change("team-work.json", {
        version: 1,
        project_dir: projectDir,
        engine: "nothing",
        engine_version: null,
        max_attempts: 3,
        role: { id: "executor", system_prompt: "", tools: ["read", "write", "shell"] },
        idle_ms: 600_000,
        lease_ms: null,
        gates: { source: "none", digest: "0".repeat(64), definitions: [] },
        base: null,
        baseline: null,
        decomposition: null,
        result: null,
        verification: null,
        synthesis: null,
        stopped: null,
        helper_usage: { tokens: 0, usd: 0 },
        side_effects: [],
        evidence: [],
        active_ms: 0,
      }),
    ],
  });
  const list = Array.from({ length: tasks }, (_, at) => ({
    id: `task-${at}`,
    description: `Do nothing, for the ${at}th time.`,
    dependencies: chained && at > 0 ? ["task-0"] : [],
    read_set: [],
    write_set: [],
  }));
  await open.record({
    kind: "decomposition_recorded",
    actor: "scheduler",
    payload: { source: "given", tasks },
    changes: [
      change("team-work.json", { decomposition: { source: "given", reason: null } }),
      change("team-state.json", { phase: "Executing" }),
      ...tasksOf(list, 3, new Date()).map(({ id, ...set }) => changeTask(id, set)),
    ],
  });
  await open.close();
}

/** Goes on with the run to its end; gives the time that took in ms. `onTurn` is awaited in every turn of the built-in engine. */
export async function driveRun(root, measured, { onTurn, engine, environment } = {}) {
  const begun = performance.now();
  const ports = portsOf(root, { onTurn, engine, environment }, measured);
  const { open } = await measured.resumeRun(RUN, { budget: {} }, ports, never);
  const ms = performance.now() - begun;
  const left = open.tasks.filter(({ state }) => state !== "completed").length;
  if (left > 0) throw new Error(`${left} of ${open.tasks.length} tasks were not completed`);
  return ms;
}

function portsOf(root, { onTurn = () => undefined, engine = engineOf(onTurn), environment = {} }, measured) {
  return {
    ...measured.createWorld(),
    redactor: measured.createRedactor({ environment: {} }),
    root,
    uid: process.getuid?.(),
    environment,
    settings: measured.defaultSettings,
    openWorkTree: ({ projectDir }) => Promise.resolve(treeOf(projectDir)),
    runGates: () => Promise.resolve([]),
    engineNamed: () => engine,
    tell: () => undefined,
  };
}

const DONE = {
  status: "finished",
  text: "ok",
  toolCalls: 0,
  usage: { input_tokens: 0, output_tokens: 0, quality: "missing" },
  proposals: [],
};

/** An agent that is done before it begins. */
function engineOf(onTurn) {
  const session = {
    id: "nothing",
    run: async () => {
      await onTurn();
      return DONE;
    },
    stop: () => Promise.resolve(),
  };
  return {
    name: "nothing",
    capabilities: { approvals: "asks", hooks: false },
    probe: () => Promise.resolve({ found: true, program: "nothing", version: null, warnings: [] }),
    start: () => Promise.resolve(session),
  };
}

/** A project in which nothing ever changes. */
function treeOf(root) {
  const tree = "0".repeat(40);
  return {
    root,
    kind: "repository",
    evidence: () => Promise.resolve({ branch: "main", head: tree, dirty: false }),
    head: () => Promise.resolve(undefined),
    position: () => Promise.resolve("position"),
    snapshot: () => Promise.resolve(tree),
    changes: () => Promise.resolve([]),
    files: () => Promise.resolve([]),
    read: () => Promise.resolve(undefined),
    patch: () => Promise.resolve({ text: "", truncated: false }),
    checkout: () => Promise.resolve(),
    keep: () => Promise.resolve(undefined),
    undo: () => undefined,
    pinBase: () => Promise.resolve(),
  };
}

// ---- As a process of its own

async function main([bundle, root, act, given]) {
  const measured = createRequire(import.meta.url)(bundle);
  if (act === "drive") {
    let turns = 0;
    const last = given === undefined ? Number.POSITIVE_INFINITY : Number(given);
    const onTurn = () => {
      if (++turns === last) process.kill(process.pid, "SIGKILL");
    };
    await driveRun(root, measured, { onTurn });
    return;
  }
  // Whoever started this process ends it by closing its input.
  process.stdin.resume().on("end", () => process.exit(0));
  await new Promise((resolve, reject) => {
    const onTurn = () => {
      resolve();
      return new Promise(() => undefined);
    };
    driveRun(root, measured, { onTurn }).catch(reject);
  });
  await reportIdle(Number(given));
}

/** Waits until starting up is over, then prints what doing nothing costs. */
export async function reportIdle(seconds) {
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  await pause(2_000);
  const before = process.cpuUsage();
  const begun = performance.now();
  await pause(seconds * 1_000);
  const { user, system } = process.cpuUsage(before);
  const cpu = (user + system) / 1_000 / (performance.now() - begun);
  process.stdout.write(`${JSON.stringify({ rss: process.memoryUsage.rss(), cpu })}\n`);
}

if (process.argv[1] === import.meta.filename) await main(process.argv.slice(2));
