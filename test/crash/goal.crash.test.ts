/**
 * Tests 1 and 2 of the reliability suite: a whole goal on a disk that forgets what was not synced, crashed after every
 * operation, and on a disk where every operation fails.
 */
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { OmkError } from "../../src/errors.ts";
import { Goal } from "../../src/format/goal.ts";
import { TaskGraph } from "../../src/format/task-graph.ts";
import { Work } from "../../src/format/work.ts";
import { resumeGoal, runGoal } from "../../src/goal/by-hand.ts";
import { listGoals } from "../../src/goal/find.ts";
import { OpenGoal } from "../../src/goal/open.ts";
import { verifyProof } from "../../src/goal/verify-proof.ts";
import { untoldFailure } from "../../src/store/files.ts";
import { foldFolder } from "../../src/store/journal.ts";
import { crashStates, SimulatedDisk, type CrashState } from "../support/simulated-disk.ts";
import {
  acknowledgedDuring,
  GROUND,
  PROJECT,
  ROOT,
  simulatedPorts,
  SimulatedProject,
  type Acknowledged,
} from "../support/simulated-goal.ts";

const STATES = Number(process.env["OMK_CRASH_STATES"] ?? 10_000);
const ENDS = Number(process.env["OMK_CRASH_ENDS"] ?? 500);
const SEED = Number(process.env["OMK_TEST_SEED"] ?? 20_261_121);
const never = new AbortController().signal;

const REQUEST = {
  text: "Fix the failing test in sum.test.js",
  projectDir: PROJECT,
  untilReady: true,
  autoAccept: true,
  engine: "simulated",
};

/** A recorded run whose crashes are tried: its disk, the project beside it, and what it acknowledged when. */
interface Recorded {
  name: string;
  disk: SimulatedDisk;
  project: SimulatedProject;
  acknowledged: Acknowledged[];
  /** What had been acknowledged before this disk's first operation (by the run it continues). */
  before: number;
  lines: string[];
}

async function recordRun(name: string, turns: number): Promise<Recorded> {
  const disk = new SimulatedDisk(GROUND);
  const project = new SimulatedProject(turns);
  const ports = simulatedPorts(disk, project, 1);
  const { result, error, acknowledged } = await acknowledgedDuring(disk, () =>
    runGoal(REQUEST, ports, never, () => {}),
  );
  expect(error).toBeUndefined();
  expect(result?.ending.status).toBe("ready");
  return { name, disk, project, acknowledged, before: 0, lines: linesOf(disk) };
}

/** A run that goes on after a crash of another: what recovery does is crashed as well. */
async function recordRecovery(from: Recorded, at: number, stream: number): Promise<Recorded> {
  const first = [...crashStates(from.disk, { at, seed: SEED, perPointMax: 1 })][0];
  if (!first) throw new Error(`there is no state after operation ${at}`);
  const { disk } = first;
  const project = from.project.at(at);
  const ports = simulatedPorts(disk, project, stream);
  const before = seenAt(from, at);
  const { error, acknowledged } = await acknowledgedDuring(disk, () => goOn(ports));
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
async function goOn(ports: ReturnType<typeof simulatedPorts>): Promise<string> {
  const { goals } = listGoals(ROOT, ports);
  const goal = goals[0];
  const outcome = goal
    ? await resumeGoal(goal.id, ports, never)
    : await runGoal(REQUEST, ports, never, () => {});
  return outcome.ending.status;
}

function goalFolder(disk: SimulatedDisk): string | undefined {
  const goals = join(ROOT, "goals");
  const name = disk.stat(goals) ? disk.list(goals)[0] : undefined;
  return name === undefined ? undefined : join(goals, name);
}

function linesOf(disk: SimulatedDisk): string[] {
  const folder = goalFolder(disk);
  const path = folder && join(folder, "events.jsonl");
  if (path === undefined || !disk.stat(path)) return [];
  return Buffer.from(disk.readFile(path)).toString("utf8").split("\n").slice(0, -1);
}

function seenAt(run: Recorded, at: number): number {
  return run.acknowledged.reduce(
    (most, one) => (one.operations <= at ? Math.max(most, one.seq) : most),
    run.before,
  );
}

/** P1 and P2 on one surviving state, before and after its recovery. */
async function checkState(run: Recorded, state: CrashState): Promise<void> {
  const where = `${run.name}, ${state.cause} after operation ${state.at}: ${state.story()}`;
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
async function checkEnd(run: Recorded, state: CrashState): Promise<void> {
  const where = `${run.name}, ${state.cause} after operation ${state.at}: ${state.story()}`;
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
      const tried = new Set<string>();
      let ends = 0;
      let perPointMax = 8;
      for (; tried.size < STATES && perPointMax <= 4_096; perPointMax *= 4) {
        for (const [index, run] of runs.entries()) {
          const acknowledgedAt = run.acknowledged.map(({ operations }) => operations);
          for (const state of crashStates(run.disk, { seed: SEED, perPointMax, acknowledgedAt })) {
            const key = `${index} ${state.digest}`;
            if (tried.has(key) && !state.isNew) continue;
            if (tried.has(key)) continue;
            tried.add(key);
            // A seeded sample is run to its end; the others are recovered and checked.
            if (ends < ENDS && tried.size % Math.max(1, Math.floor(STATES / ENDS)) === 0) {
              ends++;
              await checkEnd(run, state);
            } else await checkState(run, state);
            if (tried.size >= STATES) break;
          }
          if (tried.size >= STATES) break;
        }
      }
      console.log(
        `crash states: ${tried.size} distinct states recovered, ${ends} of them run to their end (seed ${SEED})`,
      );
      expect(tried.size).toBeGreaterThanOrEqual(STATES);
      expect(ends).toBeGreaterThanOrEqual(ENDS);
    },
  );
});

describe("a whole goal on a disk that fails", () => {
  const kinds = ["ENOSPC", "EIO", "EMFILE", "short_write"] as const;

  test.each(kinds)(
    "says what failed with %s at every operation, loses nothing and goes on",
    { timeout: 1_200_000 },
    async (error) => {
      const reference = await recordRun("reference", 1);
      const total = reference.disk.operationCount;
      let failures = 0;
      for (const mode of ["once", "from_then_on"] as const) {
        for (let operation = 1; operation <= total; operation++) {
          const disk = new SimulatedDisk(GROUND);
          const project = new SimulatedProject(1);
          disk.failAt({ operation, mode, error });
          const ports = simulatedPorts(disk, project, 1);
          const run = await acknowledgedDuring(disk, () => runGoal(REQUEST, ports, never, () => {}));
          if (disk.faultsMet === 0) continue;
          const where = `${error} ${mode} at operation ${operation} (${JSON.stringify(disk.operations[operation - 1])})`;
          if (run.error !== undefined) {
            failures++;
            const told = run.error instanceof OmkError ? run.error : untoldFailure(run.error);
            if (!told) throw new Error(`not an error a user can be told: ${where}`, { cause: run.error });
            expect([74, 77, 78], where).toContain(told.exitStatus);
            expect(told.message, where).toMatch(/\//);
          } else expect(run.result?.ending.status, where).toBe("ready");
          expect(disk.openFiles, where).toBe(0);
          disk.heal();
          const after = simulatedPorts(disk.survivor(), project, 2);
          expect(await goOn(after), where).toBe("ready");
          // What the failed sync left unsafe must not lie under what was acknowledged afterwards.
          const end = linesOf(after.disk);
          for (const state of crashStates(after.disk, {
            at: after.disk.operationCount,
            seed: SEED,
            perPointMax: 16,
          })) {
            expect(linesOf(state.disk).length, `${where}, then a power cut: ${state.story()}`).toBe(
              end.length,
            );
          }
          const last = Math.max(0, ...run.acknowledged.map(({ seq }) => seq));
          const seqs = linesOf(after.disk).map((line) => (JSON.parse(line) as { seq: number }).seq);
          if (goalFolder(after.disk) !== undefined && last > 0)
            expect(seqs.slice(0, last).length, where).toBe(last);
        }
      }
      expect(failures).toBeGreaterThan(0);
    },
  );
});
