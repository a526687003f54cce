// Makes a goal's log long, in a process of its own that dies over it: argv is the bundle, the goal's folder, how many events
// there are to be in all, and `close` or `die`.
import { createRequire } from "node:module";
import path from "node:path";

const [bundle, folder, count, end] = process.argv.slice(2);
const measured = createRequire(import.meta.url)(bundle);
const BATCH = 1_000;

const world = measured.createWorld();
// Without syncs: making them durable is not what is measured.
const disk = {
  ...world.disk,
  open: (...given) => ({ ...world.disk.open(...given), sync: () => Promise.resolve() }),
  syncFolder: () => Promise.resolve(),
};
const ports = { ...world, disk, redactor: measured.createRedactor({ environment: {} }) };
const request = {
  runId: path.basename(folder),
  command: "bench",
  what: "The goal of the benchmark",
  snapshots: ["goal.json", "task-graph.json", "work.json", "proof.json"],
};
const journal = await measured.Journal.open(folder, request, ports, new AbortController().signal);

/** Events in about the mixture of a goal's log: one in four changes a document. */
function event(at) {
  const payload = { task_id: `task-${at % 40}`, worker_id: "goal-agent-worker-0", fence: at };
  if (at % 4 !== 1) return { kind: "note", actor: "goal-agent-worker-0", payload };
  const message = "One more line of the story of a goal that has a long one.";
  const set = { noted: { at, message } };
  return {
    kind: "task_output",
    actor: "goal-agent-worker-0",
    payload: { ...payload, message },
    changes: [{ file: "work.json", set }],
  };
}

while (journal.position.seq < Number(count)) {
  const from = journal.position.seq;
  const size = Math.min(BATCH, Number(count) - from);
  await journal.append(...Array.from({ length: size }, (_, at) => event(from + at)));
}
if (end === "close") await journal.close();
else process.kill(process.pid, "SIGKILL");
