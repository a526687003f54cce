/** What a goal's log tells once, and when: nothing twice, no failure that was none, and leases that end soon. */
import { join } from "node:path";

import { expect, test } from "vitest";

import type { Event } from "../../src/format/event.ts";
import { Goal } from "../../src/format/goal.ts";
import { runGoal } from "../../src/goal/run-goal.ts";
import { readLog } from "../../src/store/log-reader.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;
const HOUR_MS = 60 * 60 * 1_000;

async function eventsOf(untilReady: boolean) {
  const disk = new SimulatedDisk(GROUND);
  const request = {
    text: "Fix the failing test",
    projectDir: PROJECT,
    untilReady,
    autoAccept: true,
    noLlmPlanner: true,
    engine: "simulated",
  };
  const ports = simulatedPorts(disk, new SimulatedProject(2), 1);
  const { open } = await runGoal(request, ports, never, () => undefined);
  const events: Event[] = [];
  readLog(join(open.folder, "events.jsonl"), { disk }, (event) => events.push(event));
  return { events, goal: Goal.parse(open.goal) };
}

test("a goal that was only made has neither failed nor been completed", async () => {
  const { events, goal } = await eventsOf(false);
  expect(events.map(({ kind }) => kind)).toContain("goal_created");
  expect(events.filter(({ kind }) => kind === "run_failed" || kind === "run_completed")).toEqual([]);
  expect(goal).not.toHaveProperty("completed_at");
});

test("every attempt begins and ends once, and every command as well", async () => {
  const { events } = await eventsOf(true);
  const times = (kind: string, key: string): unknown[] =>
    events.filter((event) => event.kind === kind).map(({ payload }) => payload?.[key]);
  const fences = times("task_claimed", "fence");
  expect(fences.length).toBeGreaterThan(1);
  const ends = events
    .filter(({ kind, payload }) => /^task_(completed|failed)$/.test(kind) && payload?.["fence"] !== undefined)
    .map(({ payload }) => payload?.["fence"]);
  expect(ends).toEqual([...new Set(ends)]);
  const started = events
    .filter(({ kind }) => kind === "task_started")
    .map(({ payload }) => `${String(payload?.["task_id"])} ${String(payload?.["fence"])}`);
  expect(started).toEqual([...new Set(started)]);
  const commands = times("command_started", "spawn_id").length;
  expect(commands).toBeGreaterThan(1);
  expect(times("command_finished", "spawn_id")).toHaveLength(commands);
});

test("a lease ends soon after the turn that it is for, not in a far future", async () => {
  const { events } = await eventsOf(true);
  const claims = events.filter(({ kind }) => kind === "task_claimed");
  expect(claims).not.toEqual([]);
  for (const { ts, payload } of claims) {
    const leased = Date.parse(String(payload?.["lease_deadline"])) - Date.parse(ts);
    expect(leased).toBeGreaterThan(0);
    expect(leased).toBeLessThan(2 * HOUR_MS);
  }
});
