// One of several processes that ask things of goals at work, at random: real commands of the built command line, one
// after another in one process. Prints what each was and how it ended, one JSON text a line.
import { createRequire } from "node:module";

const [entry, given] = process.argv.slice(2);
const { main } = createRequire(import.meta.url)(entry);
const { seed, worker, count, goals, environment } = JSON.parse(given);

/** Mulberry32: small, and the same everywhere. */
let state = (seed + worker * 0x9e3779b9) >>> 0;
function random(below) {
  state = (state + 0x6d2b79f5) >>> 0;
  let mixed = Math.imul(state ^ (state >>> 15), state | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
}

async function omk(...args) {
  let stdout = "";
  let stderr = "";
  const status = await main(args, {
    stdout: { write: (text) => ((stdout += text), true), on() {} },
    stderr: { write: (text) => ((stderr += text), true), on() {} },
    stdin: (async function* () {})(),
    env: environment,
    execPath: process.execPath,
    argv: [process.execPath, entry.replace("dist/main.cjs", "bin/omk.cjs")],
    cwd: () => environment.HOME,
    on() {},
    off() {},
    exit() {},
  });
  return { status, stdout, stderr };
}

/** The command, and what is looked for in the log afterwards. */
async function nextRequest(at) {
  const goal = goals[random(goals.length)];
  const dice = random(100);
  // One goal is cancelled, once, by one of all.
  if (worker === 0 && at === Math.floor(count * 0.6)) {
    const last = goals.at(-1);
    return { kind: "cancel", goal: last, args: ["goal", "cancel", last] };
  }
  if (dice < 6) return { kind: "pause", goal, args: ["goal", "pause", goal] };
  if (dice < 30) {
    const { approvals } = JSON.parse((await omk("approvals", "list", "--json")).stdout);
    const one = approvals[random(approvals.length || 1)];
    const decision = random(2) === 0 ? "approve" : "reject";
    if (one) {
      const { id, owner_id } = one;
      return { kind: "answer", goal: owner_id, id, decision, args: ["approvals", "answer", id, decision] };
    }
  }
  // No two are the same, so that each is found again.
  const amount = (worker + 1) * 100_000 + at;
  const what = random(2) === 0 ? "--tokens" : "--time";
  const value = what === "--time" ? `${amount}s` : `${amount}`;
  return { kind: "budget", goal, what, amount, args: ["goal", "budget-add", goal, what, value] };
}

for (let at = 0; at < count; at++) {
  const { args, ...request } = await nextRequest(at);
  const { status, stderr } = await omk(...args);
  const isLate = stderr.includes("has not applied it yet");
  process.stdout.write(`${JSON.stringify({ worker, at, ...request, status, isLate, stderr })}\n`);
}
