// Goals with a long log and goals with a large graph: what reading them costs, and how soon a killed one goes on.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { interleave, result, timed, timeProcess } from "./measure.mjs";

const LONG = 1_000_000;
const SHORT = 10_000;
const TASKS = { "1k": 1_000, "10k": 10_000 };
/** From the start of the command to its first event, the start of Node included. */
const RESUME_MS = 500;
const RESUME_MS_MAX = 60_000;

const GRAPHS = ["save", "load", "validate", "change"];
const GRAPH_NAMES = Object.keys(TASKS).flatMap((size) => GRAPHS.map((what) => `graph/${what}-${size}`));

export const names = ["replay/1M", "replay/1M-text", "status/1M", "resume/10k", ...GRAPH_NAMES];

export async function* run(wanted, context) {
  const folder = path.join(context.folder, "read");
  fs.mkdirSync(folder);
  if (GRAPH_NAMES.some((name) => wanted.has(name))) yield* graphBench(wanted, context);
  if (!["replay/1M", "replay/1M-text", "status/1M", "resume/10k"].some((name) => wanted.has(name))) return;
  const entry = path.join(context.root, "bin", "omk.cjs");
  const made = makeGoal(entry, folder, context);
  if (wanted.has("resume/10k")) yield await resumeBench(entry, folder, made, context);
  if (["replay/1M", "replay/1M-text", "status/1M"].some((name) => wanted.has(name)))
    yield* longBench(entry, folder, made, wanted, context);
}

/** A goal as the command line makes it, with its project. */
function makeGoal(entry, folder, { environment }) {
  const project = path.join(folder, "project");
  const state = path.join(folder, "state");
  fs.mkdirSync(project);
  fs.writeFileSync(path.join(project, "package.json"), '{"scripts":{"test":"node --test"}}\n');
  const script = path.join(folder, "script.json");
  fs.writeFileSync(script, '{"version":1,"turns":[{"steps":[{"say":"nothing to do"}]}]}');
  const env = { ...environment, OMK_STATE_DIR: state };
  const argv = [
    entry,
    "goal",
    "create",
    "Fix the failing test in sum.test.js",
    "--engine",
    `scripted:${script}`,
  ];
  check(spawnSync(process.execPath, argv, { cwd: project, env, encoding: "utf8" }));
  const [id] = fs.readdirSync(path.join(state, "goals"));
  return { project, state, id };
}

/** A copy of the goal's state with so many events. */
function padded(made, to, count, end, { bundle, environment }) {
  fs.cpSync(made.state, to, { recursive: true });
  const argv = [path.join(import.meta.dirname, "pad.mjs"), bundle, goalIn(to, made), String(count), end];
  const done = spawnSync(process.execPath, argv, { env: environment, encoding: "utf8" });
  if (end === "close") check(done);
  return to;
}

function goalIn(state, { id }) {
  return path.join(state, "goals", id);
}

function check({ status, error, stderr }) {
  if (error) throw error;
  if (status !== 0) throw new Error(`it ended with ${status}: ${stderr}`);
}

// ---- Long logs

async function* longBench(entry, folder, made, wanted, context) {
  const { environment, quick } = context;
  const count = quick ? LONG / 10 : LONG;
  const long = padded(made, path.join(folder, "long"), count, "close", context);
  const short = padded(made, path.join(folder, "short"), SHORT, "close", context);
  const log = path.join(goalIn(long, made), "events.jsonl");
  const omk = (state, ...argv) => {
    const env = { ...environment, OMK_STATE_DIR: state };
    return () =>
      timeProcess([process.execPath, entry, "goal", ...argv], { cwd: made.project, env, stdio: "ignore" });
  };
  const bare = path.join(import.meta.dirname, "parse-log.cjs");
  const floor = () => timeProcess([process.execPath, bare, log], { env: environment });
  if (wanted.has("replay/1M")) {
    const replay = omk(long, "replay", "--tail", "20");
    const times = await interleave(quick ? 3 : 5, { replay, floor });
    const memory = memoryOf([entry, "goal", "replay", "--tail", "20"], long, made, environment);
    const note = `${count} lines, ${memory} MB; a bare JSON.parse loop`;
    yield result("replay/1M", times.replay, times.floor, { target: 1.15, note });
  }
  if (wanted.has("replay/1M-text")) {
    const times = await interleave(quick ? 2 : 3, { replay: omk(long, "replay"), floor }, { warmups: 0 });
    const memory = memoryOf([entry, "goal", "replay"], long, made, environment);
    yield result("replay/1M-text", times.replay, times.floor, { note: `every event printed, ${memory} MB` });
  }
  if (wanted.has("status/1M")) {
    const contestants = { long: omk(long, "status"), short: omk(short, "status") };
    const times = await interleave(quick ? 8 : 20, contestants, { warmups: 2 });
    yield result("status/1M", times.long, times.short, {
      target: 1.1,
      note: `${count} against ${SHORT} events`,
    });
  }
}

/** The most memory that a command had, in MB. */
function memoryOf(argv, state, made, environment) {
  const preload = path.join(import.meta.dirname, "memory.cjs");
  const env = { ...environment, OMK_STATE_DIR: state };
  const options = { cwd: made.project, env, encoding: "utf8", stdio: ["ignore", "ignore", "pipe"] };
  const done = spawnSync(process.execPath, ["--require", preload, ...argv], options);
  check(done);
  return /maxrss (\d+)/.exec(done.stderr)?.[1] ?? "?";
}

// ---- Going on after a kill

async function resumeBench(entry, folder, made, context) {
  const killed = padded(made, path.join(folder, "killed"), SHORT, "die", context);
  const times = [];
  for (let round = -1; round < (context.quick ? 5 : 15); round++) {
    const state = path.join(folder, `resumed${round}`);
    fs.cpSync(killed, state, { recursive: true });
    const ms = await firstAction(entry, state, made, context.environment);
    if (round >= 0) times.push(ms);
  }
  return result("resume/10k", times, [RESUME_MS], {
    target: 1,
    note: "to the first event; against the limit",
  });
}

async function firstAction(entry, state, made, environment) {
  const log = path.join(goalIn(state, made), "events.jsonl");
  const before = fs.statSync(log).size;
  const start = performance.now();
  const child = spawn(process.execPath, [entry, "goal", "resume", made.id, "--until-ready"], {
    cwd: made.project,
    env: { ...environment, OMK_STATE_DIR: state },
    stdio: "ignore",
  });
  const ended = once(child, "exit");
  try {
    while (fs.statSync(log).size === before) {
      if (performance.now() - start > RESUME_MS_MAX || child.exitCode !== null)
        throw new Error("the goal did not go on");
      await sleep(1);
    }
    return performance.now() - start;
  } finally {
    child.kill("SIGTERM");
    await ended;
  }
}

// ---- Large graphs

async function* graphBench(wanted, { measured, quick }) {
  for (const [size, count] of Object.entries(TASKS)) {
    const graph = graphOf(count);
    const text = measured.renderDocument(graph);
    // One task moves on; the goal must be sure that the graph is still sound.
    const change = { file: "task-graph.json", id: `task-${count / 2}`, set: { status: "done" } };
    const contestants = {
      save: () => timed(() => measured.renderDocument(graph)),
      stringify: () => timed(() => JSON.stringify(graph, null, 2)),
      load: () => timed(() => measured.TaskGraph.parse(measured.parseJson(text))),
      parse: () => timed(() => JSON.parse(text)),
      validate: () => timed(() => measured.checkTaskGraph(graph)),
      change: () => timed(() => measured.graphProblems(graph, [change])),
    };
    const times = await interleave(quick ? 10 : 30, contestants, { warmups: 3 });
    const rivals = { save: "stringify", load: "parse", validate: "parse", change: "stringify" };
    for (const what of GRAPHS) {
      const name = `graph/${what}-${size}`;
      if (wanted.has(name))
        yield result(name, times[what], times[rivals[what]], { note: `JSON.${rivals[what]}` });
    }
  }
}

/** Tasks that each wait for some before them. */
function graphOf(count) {
  const at = "2026-11-21T10:41:29.717Z";
  const tasks = Array.from({ length: count }, (_, number) => ({
    id: `task-${number}`,
    title: `Part ${number} of the work`,
    description: "One of many parts of a large piece of work, with a description of usual length.",
    status: number < count / 2 ? "done" : "pending",
    owner_role: "executor",
    ...(number < count / 2 && { completed_at: at }),
    evidence: [{ kind: "artifact", path: `artifacts/${number}.json`, summary: "what shows it" }],
    retry_count: 0,
    max_retries: 2,
    lease_expires_at: null,
    dependencies: [1, 7, 31].filter((back) => back <= number).map((back) => `task-${number - back}`),
    read_set: ["src/**"],
    write_set: [`src/part-${number}/**`],
    risk: "low",
    acceptance: ["It is done."],
  }));
  return { version: 1, goal_id: "goal-20260101-120000-000-00000000", generated_at: at, tasks };
}
