// Reading how a goal stands when its log has gone on: what that costs must depend on what is new, not on what was.
import fs from "node:fs";
import path from "node:path";

import { interleave, result, timed } from "./measure.mjs";

const NEW_EVENTS = [1, 100];
const NEW_MAX = Math.max(...NEW_EVENTS);
/** Lines of the long log; a log holds at most a million, so the new events are among them. */
const LONG = 1_000_000 - NEW_MAX;
const SHORT = 1_000;
const GOAL = "goal-20260101-120000-000-00000000";
const BATCH = 1_000;
/** Readings of a turn: one alone is over too soon to be measured. */
const READINGS = 20;

export const names = ["tail/1-1k", "tail/100-1k", "tail/1-1M", "tail/100-1M"];

export async function* run(wanted, context) {
  const { measured, quick } = context;
  const folder = path.join(context.folder, "follow");
  fs.mkdirSync(folder);
  const world = measured.createWorld();
  const long = quick ? LONG / 10 - 90 : LONG;
  const places = { "1k": await makeGoal(folder, "short", SHORT, context) };
  if (wanted.has("tail/1-1M") || wanted.has("tail/100-1M")) {
    places["1M"] = await makeGoal(folder, "long", long, context);
  }
  const reading = (place) => () =>
    timed(() => {
      for (let at = 0; at < READINGS; at++) {
        const goal = measured.readGoal(place, GOAL, world);
        if (goal?.phase !== "new") throw new Error(`${place} was read as ${JSON.stringify(goal)}`);
      }
    });
  // What a reading costs when the log holds nothing that the snapshot lacks.
  const contestants = { floor: reading(places["1k"][0]) };
  for (const [size, byCount] of Object.entries(places)) {
    for (const count of NEW_EVENTS) contestants[`tail/${count}-${size}`] = reading(byCount[count]);
  }
  const times = await interleave(quick ? 15 : 50, contestants, { warmups: 3 });
  for (const name of Object.keys(times).filter((one) => wanted.has(one))) {
    const isLong = name.endsWith("-1M");
    const rival = isLong ? name.replace("-1M", "-1k") : "floor";
    const note = isLong ? `${long + NEW_MAX} lines against ${SHORT + NEW_MAX}` : "against nothing new";
    yield result(name, times[name], times[rival], { ...(isLong && { target: 1.1 }), each: READINGS, note });
  }
}

/** A goal whose log has `lines` events and then the new ones; gives a folder for each number of new events. */
async function makeGoal(folder, name, lines, { measured }) {
  const place = path.join(folder, name);
  const { journal, record } = await openJournal(place, measured);
  const event = (phase) => ({
    kind: "task_output",
    actor: "goal-controller",
    payload: {
      task_id: "task-1",
      output_summary: "One more line of the story of a goal that has a long one.",
    },
    changes: [{ file: "goal.json", set: { phase, updated_at: "2026-11-21T10:41:29.717Z" } }],
  });
  await record([{ kind: "run_started", actor: null, changes: [{ file: "goal.json", set: firstGoal }] }]);
  for (let at = 1; at < lines; at += BATCH) {
    await record(Array.from({ length: Math.min(BATCH, lines - at) }, () => event("old")));
  }
  const places = {};
  for (const count of [...NEW_EVENTS, 0].toSorted((a, b) => b - a)) {
    // The snapshot says what the log said so many events before its end.
    while (journal.position.seq < lines + NEW_MAX - count) await record([event("new")]);
    await journal.save();
    places[count] = path.join(folder, `${name}-${count}`);
    fs.mkdirSync(places[count]);
    fs.copyFileSync(path.join(place, "goal.json"), path.join(places[count], "goal.json"));
  }
  await journal.close();
  // One log for both: it is only read from here on.
  for (const one of Object.values(places))
    fs.linkSync(path.join(place, "events.jsonl"), path.join(one, "events.jsonl"));
  return places;
}

const firstGoal = {
  goal_id: GOAL,
  original_goal: "Fix the failing test in sum.test.js",
  status: "running",
  phase: "old",
  created_at: "2026-11-21T10:41:29.000Z",
  updated_at: "2026-11-21T10:41:29.000Z",
};

/** A journal without syncs: making a million durable events is not what is measured. */
async function openJournal(place, measured) {
  const world = measured.createWorld();
  const disk = {
    ...world.disk,
    open: (...given) => ({ ...world.disk.open(...given), sync: () => Promise.resolve() }),
    syncFolder: () => Promise.resolve(),
  };
  const ports = { ...world, disk, redactor: measured.createRedactor({ environment: {} }) };
  const request = {
    runId: GOAL,
    command: "bench",
    what: "The goal of the benchmark",
    snapshots: ["goal.json"],
  };
  const journal = await measured.Journal.open(place, request, ports, new AbortController().signal);
  return { journal, record: (events) => journal.append(...events) };
}
