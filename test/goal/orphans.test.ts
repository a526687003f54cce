/** Orphans as they are found, and goals whose clock is no longer what it was. */
import { expect, test } from "vitest";

import { askGoal } from "../../src/goal/ask.ts";
import { resumeGoal } from "../../src/goal/resume.ts";
import { runGoal } from "../../src/goal/run-goal.ts";
import { findGoal } from "../../src/goal/find.ts";
import { OpenGoal } from "../../src/goal/open.ts";
import { findOrphans } from "../../src/goal/orphans.ts";
import { mostTelling } from "../../src/cli/exit-status.ts";
import { NoProcesses, type ManualClock } from "../support/fakes.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, ROOT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;
const REQUEST = {
  text: "Fix the failing test",
  projectDir: PROJECT,
  engine: "simulated",
  noLlmPlanner: true,
};

test.each([
  ["dead", 1, 0],
  ["alive", 0, 0],
  ["unknown", 0, 1],
] as const)("a running goal whose controller is %s", async (liveness, orphans, unjudged) => {
  const disk = new SimulatedDisk(GROUND);
  const ports = simulatedPorts(disk, new SimulatedProject(1), 1);
  const { open } = await runGoal(REQUEST, ports, never, () => undefined);
  const held = await OpenGoal.open(open.id, open.folder, "goal run", ports, never);
  await held.record({
    kind: "goal_running",
    actor: "goal-controller",
    changes: [{ file: "goal.json", set: { status: "running" } }],
  });
  const processes = new NoProcesses({ self: { pid: 1 }, liveness: new Map([[4243, liveness]]) });
  const found = findOrphans(ROOT, { disk, processes });
  expect(found.orphans).toHaveLength(orphans);
  expect(found.orphans).toMatchObject(orphans ? [{ id: open.id, pid: 4243 }] : []);
  expect(found.unjudged).toMatchObject(unjudged ? [{ id: open.id }] : []);
});

test("a goal that let go of its claim while it was running has no known controller", async () => {
  const disk = new SimulatedDisk(GROUND);
  const ports = simulatedPorts(disk, new SimulatedProject(1), 1);
  const { open } = await runGoal(REQUEST, ports, never, () => undefined);
  const held = await OpenGoal.open(open.id, open.folder, "goal run", ports, never);
  const changes = [{ file: "goal.json", set: { status: "running" } }];
  await held.record({ kind: "goal_running", actor: "goal-controller", changes });
  await held.close();
  expect(findOrphans(ROOT, ports).orphans).toMatchObject([{ id: open.id, pid: null }]);
});

test("a clock that was set back ten years keeps no goal from being asked, continued and charged as it worked", async () => {
  const disk = new SimulatedDisk(GROUND);
  const project = new SimulatedProject(2);
  const ahead = simulatedPorts(disk, project, 1);
  (ahead.clock as ManualClock).setWall(new Date("2036-01-01T00:00:00Z"));
  const limits = { budgetTime: "1h", budgetTokens: 100, maxAttempts: 1 };
  const drive = { ...REQUEST, ...limits, untilReady: true, autoAccept: true };
  const first = await runGoal(drive, ahead, never, () => undefined);
  expect(first.ending.status).toBe("not_ready");

  const back = simulatedPorts(disk, project, 2);
  await askGoal("latest", { kind: "budget_add", payload: { seconds: 60 } }, back, never);
  await askGoal("latest", { kind: "pause" }, back, never);
  const { record, createdAt, updatedAt } = findGoal(ROOT, "latest", back);
  expect([record["status"], record["budget_time"]]).toEqual(["paused", "61m"]);
  expect(Date.parse(updatedAt)).toBeLessThan(Date.parse(createdAt));
  const { open, ending } = await resumeGoal("latest", back, never);
  expect(ending.status).toBe("ready");
  expect(open.work.active_ms).toBeGreaterThanOrEqual(0);
  expect(open.work.active_ms).toBeLessThan(60_000);
});

test("of several endings the one that tells most is the exit status", () => {
  expect(mostTelling([])).toBe(0);
  expect(mostTelling([0, 0])).toBe(0);
  expect(mostTelling([0, 1, 6])).toBe(1);
  expect(mostTelling([1, 3, 4, 75])).toBe(75);
  expect(mostTelling([75, 74, 3])).toBe(74);
});
