/**
 * Tests 1 and 2 of the reliability suite: a whole goal on a disk that forgets what was not synced, crashed after every
 * operation, and on a disk where every operation fails.
 */
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { Goal } from "../../src/format/goal.ts";
import { TaskGraph } from "../../src/format/task-graph.ts";
import { Work } from "../../src/format/work.ts";
import { resumeGoal } from "../../src/goal/resume.ts";
import { runGoal } from "../../src/goal/run-goal.ts";
import { listGoals } from "../../src/goal/find.ts";
import { OpenGoal, type GoalPorts } from "../../src/goal/open.ts";
import { verifyProof } from "../../src/goal/verify-proof.ts";
import { foldFolder } from "../../src/store/journal.ts";
import {
  acknowledgedBy,
  checkFault,
  crashBounds,
  faultCases,
  seenAt,
  tryStates,
  whereOf,
  wholeLines,
  type FaultSubject,
  type Recorded,
} from "../support/crash-suite.ts";
import { crashStates, SimulatedDisk, type CrashState } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, ROOT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const BOUNDS = crashBounds({ states: 4_000, ends: 150 });
const never = new AbortController().signal;

const REQUEST = {
  text: "Fix the failing test in sum.test.js",
  projectDir: PROJECT,
  untilReady: true,
  autoAccept: true,
  engine: "simulated",
};

type RecordedGoal = Recorded<SimulatedProject>;

const start = async (ports: GoalPorts) => (await runGoal(REQUEST, ports, never, () => {})).ending.status;

async function recordRun(name: string, turns: number): Promise<RecordedGoal> {
  const disk = new SimulatedDisk(GROUND);
  const project = new SimulatedProject(turns);
  const ports = simulatedPorts(disk, project, 1);
  const { result, error, acknowledged } = await acknowledgedBy(OpenGoal, disk, () => start(ports));
  expect(error).toBeUndefined();
  expect(result).toBe("ready");
  return { name, disk, project, acknowledged, before: 0, lines: linesOf(disk) };
}

/** A run that goes on after a crash of another: what recovery does is crashed as well. */
async function recordRecovery(from: RecordedGoal, at: number, stream: number): Promise<RecordedGoal> {
  const [first] = crashStates(from.disk, { at, seed: BOUNDS.seed, perPointMax: 1 });
  if (!first) throw new Error(`there is no state after operation ${at}`);
  const { disk } = first;
  const project = from.project.at(at);
  const ports = simulatedPorts(disk, project, stream);
  const before = seenAt(from, at);
  const { error, acknowledged } = await acknowledgedBy(OpenGoal, disk, () => goOn(ports));
  expect(error).toBeUndefined();
  return {
    name: `${from.name}, recovered from ${at}`,
    disk,
    project,
    acknowledged,
    before,
    lines: linesOf(disk),
  };
}

/** What a person does after a crash: resume the goal, or start it anew when it never came to be. */
async function goOn(ports: GoalPorts): Promise<string> {
  const [goal] = listGoals(ROOT, ports).goals;
  return goal ? (await resumeGoal(goal.id, ports, never)).ending.status : start(ports);
}

function goalFolder(disk: SimulatedDisk): string | undefined {
  const goals = join(ROOT, "goals");
  const name = disk.stat(goals) ? disk.list(goals)[0] : undefined;
  return name === undefined ? undefined : join(goals, name);
}

function linesOf(disk: SimulatedDisk): string[] {
  const folder = goalFolder(disk);
  return wholeLines(disk, folder && join(folder, "events.jsonl"));
}

/** P1 and P2 on one surviving state, before and after its recovery. */
async function checkState(run: RecordedGoal, state: CrashState): Promise<void> {
  const where = whereOf(run, state);
  const acknowledged = seenAt(run, state.at);
  const { goals, unreadable } = listGoals(ROOT, state);
  expect(unreadable, where).toEqual([]);
  const folder = goalFolder(state.disk);
  if (goals.length === 0 || folder === undefined) {
    expect(acknowledged, where).toBe(0);
    return;
  }
  const lines = linesOf(state.disk);
  expect(lines.slice(0, acknowledged), where).toEqual(run.lines.slice(0, acknowledged));
  const ports = simulatedPorts(state.disk, run.project.at(state.at), 90);
  const open = await OpenGoal.open(goals[0]?.id ?? "", folder, "test", ports, never);
  Goal.parse(open.goal);
  TaskGraph.parse(open.graph);
  Work.parse(open.work);
  await open.close();
  const folded = foldFolder(folder, ports);
  expect(folded.log.damage, where).toEqual([]);
  expect(folded.log.torn, where).toBe(false);
  expect(linesOf(state.disk).slice(0, acknowledged), where).toEqual(run.lines.slice(0, acknowledged));
  for (const name of ["goal.json", "task-graph.json", "work.json"]) {
    JSON.parse(Buffer.from(state.disk.readFile(join(folder, name))).toString("utf8"));
  }
}

/** P3: whatever survived, going on reaches the end that an undisturbed run reaches, and its proof holds. */
async function checkEnd(run: RecordedGoal, state: CrashState): Promise<void> {
  const where = whereOf(run, state);
  const ports = simulatedPorts(state.disk, run.project.at(state.at), 91);
  expect(await goOn(ports), where).toBe("ready");
  for (const goal of listGoals(ROOT, ports).goals) {
    expect(verifyProof(goal.folder, goal.id, ports).faults, where).toEqual([]);
  }
  const acknowledged = seenAt(run, state.at);
  expect(linesOf(state.disk).slice(0, acknowledged), where).toEqual(run.lines.slice(0, acknowledged));
}

describe("a whole goal on a disk that forgets", () => {
  test(
    "keeps what it acknowledged and goes on to ready from every state a crash may leave",
    { timeout: 3_600_000 },
    async () => {
      const runs = [await recordRun("one attempt", 1), await recordRun("two attempts", 2)];
      for (const run of runs.slice()) {
        const { operationCount } = run.disk;
        for (const part of [0.2, 0.5, 0.8]) {
          runs.push(await recordRecovery(run, Math.floor(operationCount * part), runs.length + 10));
        }
      }
      const { tried, ended } = await tryStates(runs, BOUNDS, { recovered: checkState, ended: checkEnd });
      expect(tried).toBeGreaterThanOrEqual(BOUNDS.states);
      expect(ended).toBeGreaterThanOrEqual(BOUNDS.ends);
    },
  );
});

describe("a whole goal on a disk that fails", () => {
  const kinds = ["ENOSPC", "EIO", "EMFILE", "short_write"] as const;
  const subject: FaultSubject<SimulatedProject> = {
    ground: GROUND,
    project: () => new SimulatedProject(1),
    run: (disk, project) => acknowledgedBy(OpenGoal, disk, () => start(simulatedPorts(disk, project, 1))),
    goOn: (disk, project) => goOn(simulatedPorts(disk, project, 2)),
    lines: linesOf,
  };

  test.each(kinds)(
    "says what failed with %s at every operation, loses nothing and goes on",
    { timeout: 1_200_000 },
    async (error) => {
      let told = 0;
      for (const one of await faultCases(subject, error)) {
        if (await checkFault(subject, one, BOUNDS.seed)) told++;
      }
      expect(told).toBeGreaterThan(0);
    },
  );
});
