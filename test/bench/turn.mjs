// What omk adds to an agent's turn: the time from an agent's last word to the start of the next one, with everything
// recorded and durable in between, against a program that drives the same agent directly: with the official SDK, with a
// bare pipe, or by starting it again and again.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { Readable, Writable } from "node:stream";

import { client, methods, ndJsonStream } from "@agentclientprotocol/sdk";

import { driveRun, prepareRun } from "./crew.mjs";
import { median } from "./measure.mjs";

const AGENT = path.join(import.meta.dirname, "turn-agent.mjs");
const PROTOCOLS = ["acp", "wire", "command"];

export const names = PROTOCOLS.map((protocol) => `turn/${protocol}`);

export async function* run(wanted, { folder: parent, environment, measured, quick }) {
  const turns = quick ? 6 : 20;
  for (const protocol of PROTOCOLS.filter((one) => wanted.has(`turn/${one}`))) {
    const folder = path.join(parent, `turn-${protocol}`);
    fs.mkdirSync(folder);
    const rounds = [];
    for (let round = 0; round < (quick ? 2 : 5); round++) {
      const at = (name) => path.join(folder, `${name}-${round}`);
      await driveDirectly(protocol, turns, at("direct"), environment);
      const recordedMs = await driveWithOmk(
        protocol,
        { turns, file: at("omk"), root: at("root") },
        environment,
        measured,
      );
      rounds.push({ omk: median(gaps(at("omk"))), direct: median(gaps(at("direct"))), recordedMs });
    }
    fs.rmSync(folder, { recursive: true });
    const ms = (key) => `${median(rounds.map((one) => one[key])).toFixed(0)} ms`;
    yield {
      name: `turn/${protocol}`,
      ratios: rounds.map(({ omk, direct }) => omk / direct),
      note:
        `from the agent's last word to the start of the next agent: ${ms("omk")}, of which ${ms("recordedMs")} until the ` +
        `result is recorded; driven directly ${ms("direct")}`,
    };
  }
}

/** From the last word of each turn to the begin of the next process. */
function gaps(file) {
  const stamps = readLines(file);
  return stamps.slice(1).map(({ begun }, index) => begun - stamps[index].said);
}

function readLines(file) {
  return fs
    .readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

/** Drives a run of so many tasks with one worker; gives how long a result took to be in the log. */
async function driveWithOmk(protocol, { turns, file, root }, environment, measured) {
  fs.mkdirSync(root);
  const world = measured.createWorld();
  const options = { launcher: [process.execPath, "omk"], baseDir: root, environment };
  const engine = measured.engineNamed(
    `${protocol}:${[process.execPath, AGENT, protocol, file].map((word) => JSON.stringify(word)).join(" ")}`,
    options,
    world,
  );
  await prepareRun(root, { tasks: turns, workers: 1 }, measured);
  await driveRun(root, measured, { engine, environment });
  const events = readLines(path.join(root, "team", "bench", "events.jsonl"));
  const ends = events.filter(({ kind }) => kind === "task_completed").map(({ ts }) => Date.parse(ts));
  return median(readLines(file).map(({ said }, index) => ends[index] - said));
}

async function driveDirectly(protocol, turns, file, environment) {
  for (let turn = 0; turn < turns; turn++) {
    const child = spawn(process.execPath, [AGENT, protocol, file], {
      env: environment,
      stdio: ["pipe", "pipe", "inherit"],
    });
    const exited = once(child, "exit");
    if (protocol === "acp") await promptBySdk(child);
    else if (protocol === "wire") await promptByPipe(child);
    else await once(child.stdout.resume(), "end");
    child.stdin.end();
    await exited;
  }
}

async function promptBySdk(child) {
  const stream = ndJsonStream(Writable.toWeb(child.stdin), Readable.toWeb(child.stdout));
  const connection = client({ name: "bench" })
    .onNotification(methods.client.session.update, () => undefined)
    .connect(stream);
  const { agent } = connection;
  await agent.request(methods.agent.initialize, { protocolVersion: 1, clientCapabilities: {} });
  const { sessionId } = await agent.request(methods.agent.session.new, { cwd: "/", mcpServers: [] });
  await agent.request(methods.agent.session.prompt, { sessionId, prompt: [{ type: "text", text: "go" }] });
}

async function promptByPipe(child) {
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (method, params) => {
    child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id: method, method, params })}\n`);
    for (let next = await lines.next(); !next.done; next = await lines.next()) {
      if (JSON.parse(next.value).id === method) return;
    }
    throw new Error("the agent ended before it answered");
  };
  await ask("initialize", { protocol_version: "1.10" });
  await ask("prompt", { user_input: "go" });
}
