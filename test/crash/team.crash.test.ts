/**
 * A whole team run on a disk that forgets what was not synced, crashed after every operation, and on a disk where every
 * operation fails.
 */
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { foldFolder } from "../../src/store/journal.ts";
import { listTeams } from "../../src/team/find.ts";
import { OpenRun, type RunPorts } from "../../src/team/open.ts";
import { resumeRun, startRun } from "../../src/team/run.ts";
import { verifyRunProof } from "../../src/team/verify-proof.ts";
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
import { GROUND, ROOT } from "../support/simulated-goal.ts";
import {
  simulatedTeam,
  TEAM,
  TEAM_FOLDER,
  TEAM_REQUEST,
  TEAM_TASKS,
  TeamProject,
  type FirstTry,
} from "../support/simulated-team.ts";

const BOUNDS = crashBounds({ states: 2_000, ends: 100 });
/** Every operation with `full`; otherwise a spread over all of them, which ends within the time of `npm test`. */
const FAULTS_PER_KIND = process.env["OMK_SIM"] === "full" ? Number.POSITIVE_INFINITY : 120;
const never = new AbortController().signal;

type RecordedTeam = Recorded<TeamProject>;

const linesOf = (disk: SimulatedDisk) => wholeLines(disk, join(TEAM_FOLDER, "events.jsonl"));
const start = async (ports: RunPorts) =>
  (await startRun(TEAM_REQUEST, ports, never, () => {})).verdict.status;

async function recordRun(firstTry: FirstTry): Promise<RecordedTeam> {
  const disk = new SimulatedDisk(GROUND);
  const project = new TeamProject(firstTry);
  const ports = simulatedTeam(disk, project, 1);
  const { result, error, acknowledged } = await acknowledgedBy(OpenRun, disk, () => start(ports));
  expect(error).toBeUndefined();
  expect(result).toBe("ready");
  checkWhole(ports, `the first try ${firstTry}`);
  return { name: `the first try ${firstTry}`, disk, project, acknowledged, before: 0, lines: linesOf(disk) };
}

/** A run that goes on after a crash of another: what recovery does is crashed as well. */
async function recordRecovery(from: RecordedTeam, at: number, stream: number): Promise<RecordedTeam> {
  const [first] = crashStates(from.disk, { at, seed: BOUNDS.seed, perPointMax: 1 });
  if (!first) throw new Error(`there is no state after operation ${at}`);
  const { disk } = first;
  const project = from.project.at(at).onNewDisk();
  const { error, acknowledged } = await acknowledgedBy(OpenRun, disk, () =>
    goOn(simulatedTeam(disk, project, stream)),
  );
  expect(error).toBeUndefined();
  const name = `${from.name}, recovered from ${at}`;
  return { name, disk, project, acknowledged, before: seenAt(from, at), lines: linesOf(disk) };
}

/** What a person does after a crash: resume the run, or start it anew under its name when it never came to be. */
async function goOn(ports: RunPorts): Promise<string> {
  const isThere = listTeams(ROOT, ports).teams.some(({ name }) => name === TEAM);
  return isThere ? (await resumeRun(TEAM, { budget: {} }, ports, never)).verdict.status : start(ports);
}

/** The state of a run that has ended: its proof holds, and no task was completed twice. */
function checkWhole(ports: RunPorts, where: string): void {
  const { faults, status } = verifyRunProof(TEAM_FOLDER, TEAM, ports);
  expect(faults, where).toEqual([]);
  expect(status, where).toBe("ready");
  const completed: string[] = [];
  foldFolder(TEAM_FOLDER, ports, ({ kind, payload }) => {
    if (kind === "task_completed") completed.push(String(payload?.["task_id"]));
  });
  expect(completed.toSorted(), where).toEqual([...TEAM_TASKS, "synthesis"].toSorted());
}

/** P1 and P2 on one surviving state, before and after its recovery. */
async function checkState(run: RecordedTeam, state: CrashState): Promise<void> {
  const where = whereOf(run, state);
  const acknowledged = seenAt(run, state.at);
  const ports = simulatedTeam(state.disk, run.project.at(state.at), 90);
  const { teams, unreadable } = listTeams(ROOT, ports);
  expect(unreadable, where).toEqual([]);
  if (teams.length === 0) {
    expect(acknowledged, where).toBe(0);
    return;
  }
  const expected = run.lines.slice(0, acknowledged);
  expect(linesOf(state.disk).slice(0, acknowledged), where).toEqual(expected);
  // Opening validates every document that the log folds to.
  const open = await OpenRun.open(TEAM, "test", ports, never);
  await open.close();
  const { log } = foldFolder(TEAM_FOLDER, ports);
  expect(log.damage, where).toEqual([]);
  expect(log.torn, where).toBe(false);
  expect(linesOf(state.disk).slice(0, acknowledged), where).toEqual(expected);
  const parse = (path: string): unknown =>
    JSON.parse(Buffer.from(state.disk.readFile(path)).toString("utf8"));
  parse(join(TEAM_FOLDER, "team-work.json"));
  for (const path of [join(TEAM_FOLDER, "team-state.json"), join(ROOT, "runs", TEAM, "manifest.json")]) {
    if (state.disk.stat(path)) parse(path);
  }
}

/** P3: whatever survived, going on reaches the end that an undisturbed run reaches, and its proof holds. */
async function checkEnd(run: RecordedTeam, state: CrashState): Promise<void> {
  const where = whereOf(run, state);
  const ports = simulatedTeam(state.disk, run.project.at(state.at), 91);
  expect(await goOn(ports), where).toBe("ready");
  checkWhole(ports, where);
  const acknowledged = seenAt(run, state.at);
  expect(linesOf(state.disk).slice(0, acknowledged), where).toEqual(run.lines.slice(0, acknowledged));
}

describe("a whole team run on a disk that forgets", () => {
  test(
    "keeps what it acknowledged and goes on to ready from every state a crash may leave",
    { timeout: 3_600_000 },
    async () => {
      const runs = [await recordRun("crashes"), await recordRun("hangs")];
      for (const run of runs.slice()) {
        for (const part of [0.2, 0.5, 0.8]) {
          runs.push(await recordRecovery(run, Math.floor(run.disk.operationCount * part), runs.length + 10));
        }
      }
      const { tried, ended } = await tryStates(runs, BOUNDS, { recovered: checkState, ended: checkEnd });
      expect(tried).toBeGreaterThanOrEqual(BOUNDS.states);
      expect(ended).toBeGreaterThanOrEqual(BOUNDS.ends);
    },
  );
});

describe("a whole team run on a disk that fails", () => {
  const kinds = ["ENOSPC", "EIO", "EMFILE", "short_write"] as const;
  const subject: FaultSubject<TeamProject> = {
    ground: GROUND,
    project: () => new TeamProject("crashes"),
    run: (disk, project) => acknowledgedBy(OpenRun, disk, () => start(simulatedTeam(disk, project, 1))),
    goOn: async (disk, project) => {
      const ports = simulatedTeam(disk, project, 2);
      const status = await goOn(ports);
      checkWhole(ports, "after the failure");
      return status;
    },
    lines: linesOf,
  };

  test.each(kinds)(
    "says what failed with %s at an operation, loses nothing and goes on",
    { timeout: 1_200_000 },
    async (error) => {
      const cases = await faultCases(subject, error);
      const step = Math.max(1, Math.ceil(cases.length / FAULTS_PER_KIND));
      let told = 0;
      for (let at = BOUNDS.seed % step; at < cases.length; at += step) {
        const one = cases[at];
        if (one && (await checkFault(subject, one, BOUNDS.seed))) told++;
      }
      expect(told).toBeGreaterThan(0);
    },
  );
});
