// How long a command takes from its start to its end, against a Node that does nothing. The package is packed and
// unpacked elsewhere, so that nothing of the checkout takes part.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

import { interleave, result, timeProcess } from "./measure.mjs";

const GOALS = 1_000;

/** Command lines and their targets; `one` and `many` are state folders with so many goals. */
const COMMANDS = {
  "startup/version": { argv: ["--version"], state: "one", target: 1.05 },
  "startup/help": { argv: ["--help"], state: "one", target: 1.6 },
  "startup/goal-status": { argv: ["goal", "status"], state: "one", target: 1.3 },
  "startup/goal-status-json": { argv: ["goal", "status", "--json"], state: "one", target: 1.3 },
  "startup/goal-list-1000": { argv: ["goal", "list"], state: "many", target: 1.6 },
};

export const names = Object.keys(COMMANDS);

export async function* run(wanted, context) {
  const folder = path.join(context.folder, "startup");
  fs.mkdirSync(folder);
  const entry = unpack(folder, context);
  const state = { one: path.join(folder, "one"), many: path.join(folder, "many") };
  makeGoal(entry, folder, state.one, context);
  if (wanted.has("startup/goal-list-1000")) copyGoal(state.one, state.many);

  const empty = path.join(folder, "empty.cjs");
  fs.writeFileSync(empty, "");
  const contestants = {
    floor: () => timeProcess([process.execPath, empty], { cwd: folder, env: context.environment }),
  };
  for (const [name, { argv, state: which }] of Object.entries(COMMANDS)) {
    if (!wanted.has(name)) continue;
    const env = { ...context.environment, OMK_STATE_DIR: state[which] };
    contestants[name] = () => timeProcess([process.execPath, entry, ...argv], { cwd: folder, env });
  }
  const { floor, ...times } = await interleave(context.quick ? 10 : 40, contestants, { warmups: 2 });
  for (const [name, one] of Object.entries(times)) {
    yield result(name, one, floor, { target: COMMANDS[name].target });
  }
}

/** Packs the checkout, whose build is fresh, and unpacks the tarball; returns the path of the command. */
function unpack(folder, { root }) {
  const caller = process.env["npm_execpath"];
  const npm = caller && path.basename(caller) === "npm-cli.js" ? [process.execPath, caller] : ["npm"];
  call([...npm, "pack", "--ignore-scripts", "--loglevel=error", "--pack-destination", folder], { cwd: root });
  const tarball = fs.readdirSync(folder).find((name) => name.endsWith(".tgz"));
  if (!tarball) throw new Error("npm pack made no tarball");
  call(["tar", "-xzf", tarball], { cwd: folder });
  return path.join(folder, "package", "bin", "omk.cjs");
}

function makeGoal(entry, folder, state, { environment }) {
  const project = path.join(folder, "project");
  fs.mkdirSync(project);
  fs.writeFileSync(path.join(project, "package.json"), '{"scripts":{"test":"node --test"}}\n');
  call([process.execPath, entry, "goal", "create", "Fix the failing test in sum.test.js"], {
    cwd: project,
    env: { ...environment, OMK_STATE_DIR: state },
  });
}

/** The same goal under many ids. The log is only looked at for its size, so it is the same. */
function copyGoal(from, to) {
  const [id] = fs.readdirSync(path.join(from, "goals"));
  const source = path.join(from, "goals", id);
  const document = fs.readFileSync(path.join(source, "goal.json"), "utf8");
  const log = fs.readFileSync(path.join(source, "events.jsonl"));
  fs.mkdirSync(path.join(to, "goals"), { recursive: true, mode: 0o700 });
  for (let at = 0; at < GOALS; at++) {
    const copy = `goal-20260101-120000-000-${at.toString(16).padStart(8, "0")}`;
    const folder = path.join(to, "goals", copy);
    fs.mkdirSync(folder, { mode: 0o700 });
    fs.writeFileSync(path.join(folder, "goal.json"), document.replaceAll(id, copy));
    fs.writeFileSync(path.join(folder, "events.jsonl"), log);
  }
}

function call(argv, options) {
  const done = spawnSync(argv[0], argv.slice(1), { encoding: "utf8", timeout: 60_000, ...options });
  if (done.error) throw done.error;
  if (done.status !== 0) throw new Error(`${argv.join(" ")} ended with ${done.status}: ${done.stderr}`);
}
