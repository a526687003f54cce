// What omk itself costs between a sentence and `ready`: the demo's time without the agent's turn and the gates.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

import { median } from "./measure.mjs";

export const names = ["demo/overhead"];

export async function* run(_wanted, { root, folder: parent, environment, quick }) {
  const folder = path.join(parent, "demo");
  const runs = [];
  for (let round = -1; round < (quick ? 5 : 15); round++) {
    fs.mkdirSync(folder);
    const argv = [path.join(root, "bin", "omk.cjs"), "demo", "--keep"];
    const env = { ...environment, TMPDIR: folder, OMK_STATE_DIR: path.join(folder, "logs") };
    const start = performance.now();
    const done = spawnSync(process.execPath, argv, { encoding: "utf8", env, cwd: parent, timeout: 60_000 });
    const wallMs = performance.now() - start;
    if (done.status !== 0) throw new Error(`the demo ended with ${done.status}: ${done.stderr}`);
    if (round >= 0) runs.push({ wallMs, ...partsOf(folder) });
    fs.rmSync(folder, { recursive: true });
  }
  const ms = (key) => `${median(runs.map((one) => one[key])).toFixed(0)} ms`;
  yield {
    name: "demo/overhead",
    ratios: runs.map(({ ownMs, totalMs }) => ownMs / totalMs),
    note:
      `share of ${ms("totalMs")} from create to ready that is omk's own: ${ms("ownMs")}; ` +
      `agent ${ms("agentMs")}, gates ${ms("gatesMs")}; the whole command ${ms("wallMs")}`,
  };
}

/** The times in a demo's log, from its first event to its last. */
function partsOf(folder) {
  const demo = fs.readdirSync(folder).find((name) => name.startsWith("omk-demo-"));
  const goals = path.join(folder, demo, "state", "goals");
  const [goal] = fs.readdirSync(goals);
  const lines = fs
    .readFileSync(path.join(goals, goal, "events.jsonl"), "utf8")
    .trim()
    .split("\n");
  const events = lines
    .map((line) => JSON.parse(line))
    .map((event) => ({ ...event, ms: Date.parse(event.ts) }));
  const between = (startKind, endKind, isMeant) => {
    let total = 0;
    let startedMs;
    for (const event of events.filter(isMeant)) {
      if (event.kind === startKind) startedMs = event.ms;
      if (event.kind === endKind && startedMs !== undefined) {
        total += event.ms - startedMs;
        startedMs = undefined;
      }
    }
    if (total === 0) throw new Error(`the demo's log has no ${startKind} with its ${endKind}`);
    return total;
  };
  const agentMs = between(
    "task_started",
    "task_completed",
    ({ payload }) => payload?.task_id === "goal-agent-execute",
  );
  const gatesMs = between("command_started", "command_finished", () => true);
  const totalMs = events.at(-1).ms - events[0].ms;
  return { totalMs, agentMs, gatesMs, ownMs: totalMs - agentMs - gatesMs };
}
