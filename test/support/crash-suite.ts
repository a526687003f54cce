/**
 * What the crash tests of goals and of team runs have in common: which states are tried, what counts as acknowledged,
 * and what has to hold when an operation of the disk fails.
 */
import { expect } from "vitest";

import { OmkError } from "../../src/errors.ts";
import { untoldFailure } from "../../src/store/files.ts";
import { canFail, crashStates, SimulatedDisk, type CrashState, type DiskError } from "./simulated-disk.ts";

/** How many states are tried, how many of them are run to their end, and which. */
export interface CrashBounds {
  states: number;
  ends: number;
  seed: number;
}

/** The environment decides, so that a long run tries more than `npm test` does. */
export function crashBounds(usual: { states: number; ends: number }): CrashBounds {
  return {
    states: Number(process.env["OMK_CRASH_STATES"] ?? usual.states),
    ends: Number(process.env["OMK_CRASH_ENDS"] ?? usual.ends),
    seed: Number(process.env["OMK_TEST_SEED"] ?? 20_261_121),
  };
}

/** One acknowledged event: its number, and how many disk operations had been done when it was acknowledged. */
export interface Acknowledged {
  seq: number;
  operations: number;
}

/** What hands events to the log: an open goal, an open team run. */
interface Recorder {
  prototype: { record(...events: never[]): Promise<number[]> };
}

/** Notes every event that `recorder` acknowledges to its caller while `run` runs. */
export async function acknowledgedBy<T>(
  recorder: Recorder,
  disk: SimulatedDisk,
  run: () => Promise<T>,
): Promise<{ result: T | undefined; error: unknown; acknowledged: Acknowledged[] }> {
  const acknowledged: Acknowledged[] = [];
  const { prototype } = recorder;
  // oxlint-disable-next-line typescript/unbound-method -- it is called with its own `this` below
  const { record } = prototype;
  prototype.record = async function (...events) {
    const seqs = await record.apply(this, events);
    for (const seq of seqs) acknowledged.push({ seq, operations: disk.operationCount });
    return seqs;
  };
  try {
    return { result: await run(), error: undefined, acknowledged };
  } catch (error) {
    return { result: undefined, error, acknowledged };
  } finally {
    prototype.record = record;
  }
}

/** A recorded run whose crashes are tried: its disk, the project beside it, and what it acknowledged when. */
export interface Recorded<Project> {
  name: string;
  disk: SimulatedDisk;
  project: Project;
  acknowledged: Acknowledged[];
  /** What had been acknowledged before this disk's first operation (by the run it continues). */
  before: number;
  lines: string[];
}

/** The last event that had been acknowledged when so many operations were done. */
export function seenAt(run: Recorded<unknown>, at: number): number {
  return run.acknowledged.reduce(
    (most, one) => (one.operations <= at ? Math.max(most, one.seq) : most),
    run.before,
  );
}

/** Every whole line of a log; none where there is no log. */
export function wholeLines(disk: SimulatedDisk, path: string | undefined): string[] {
  if (path === undefined || !disk.stat(path)) return [];
  return Buffer.from(disk.readFile(path)).toString("utf8").split("\n").slice(0, -1);
}

/** For the message of a failed check. */
export function whereOf(run: Recorded<unknown>, state: CrashState): string {
  return `${run.name}, ${state.cause} after operation ${state.at}: ${state.story()}`;
}

/** What is done with a state: most are only recovered, a sample is run to its end. */
export interface StateChecks<Project> {
  recovered(run: Recorded<Project>, state: CrashState): Promise<void>;
  ended(run: Recorded<Project>, state: CrashState): Promise<void>;
}

/** Tries so many different states of the runs: few of each point first, then more of each. Says how many there were. */
export async function tryStates<Project>(
  runs: readonly Recorded<Project>[],
  { states, ends, seed }: CrashBounds,
  checks: StateChecks<Project>,
): Promise<{ tried: number; ended: number }> {
  const tried = new Set<string>();
  let ended = 0;
  for (let perPointMax = 8; tried.size < states && perPointMax <= 4_096; perPointMax *= 4) {
    for (const [index, run] of runs.entries()) {
      const acknowledgedAt = run.acknowledged.map(({ operations }) => operations);
      for (const state of crashStates(run.disk, { seed, perPointMax, acknowledgedAt })) {
        const key = `${index} ${state.digest}`;
        if (tried.has(key)) continue;
        tried.add(key);
        if (ended < ends && tried.size % Math.max(1, Math.floor(states / ends)) === 0) {
          ended++;
          await checks.ended(run, state);
        } else await checks.recovered(run, state);
        if (tried.size >= states) break;
      }
      if (tried.size >= states) break;
    }
  }
  console.log(
    `crash states: ${tried.size} distinct states recovered, ${ended} of them run to their end (seed ${seed})`,
  );
  return { tried: tried.size, ended };
}

/** One run whose disk fails, and going on with it when the cause is gone. */
export interface FaultSubject<Project> {
  /** What a new simulated machine has. */
  ground: ConstructorParameters<typeof SimulatedDisk>[0];
  project(): Project;
  /** The first run; resolves with `ready` when nothing came of the failure. */
  run(
    disk: SimulatedDisk,
    project: Project,
  ): Promise<{ result: string | undefined; error: unknown; acknowledged: Acknowledged[] }>;
  /** What a person does then; resolves with how that ended. */
  goOn(disk: SimulatedDisk, project: Project): Promise<string>;
  lines(disk: SimulatedDisk): string[];
}

/** A failure to be tried. */
export interface FaultCase {
  error: DiskError;
  mode: "once" | "from_then_on";
  operation: number;
}

/** Every operation of the subject's undisturbed run that can fail in this way, once and for ever. */
export async function faultCases<Project>(
  subject: FaultSubject<Project>,
  error: DiskError,
): Promise<FaultCase[]> {
  const disk = new SimulatedDisk(subject.ground);
  const reference = await subject.run(disk, subject.project());
  expect(reference.error).toBeUndefined();
  expect(reference.result).toBe("ready");
  const operations = disk.operations.filter(({ call }) => canFail(call, error));
  return (["once", "from_then_on"] as const).flatMap((mode) =>
    operations.map(({ number }) => ({ error, mode, operation: number })),
  );
}

/** P8: the failure is told, nothing that was acknowledged is lost, and going on reaches the end. True when it was told. */
export async function checkFault<Project>(
  subject: FaultSubject<Project>,
  { error, mode, operation }: FaultCase,
  seed: number,
): Promise<boolean> {
  const disk = new SimulatedDisk(subject.ground);
  const project = subject.project();
  disk.failAt({ operation, mode, error });
  const run = await subject.run(disk, project);
  const where = `${error} ${mode} at operation ${operation} (${JSON.stringify(disk.operations[operation - 1])})`;
  expect(disk.faultsMet, where).toBeGreaterThan(0);
  if (run.error !== undefined) {
    const told = run.error instanceof OmkError ? run.error : untoldFailure(run.error);
    if (!told) throw new Error(`not an error a user can be told: ${where}`, { cause: run.error });
    expect([74, 77, 78], where).toContain(told.exitStatus);
    expect(told.message, where).toMatch(/\//);
  } else expect(run.result, where).toBe("ready");
  expect(disk.openFiles, where).toBe(0);
  disk.heal();
  const kept = subject.lines(disk);
  const last = Math.max(0, ...run.acknowledged.map(({ seq }) => seq));
  const after = disk.survivor();
  expect(await subject.goOn(after, project), where).toBe("ready");
  const end = subject.lines(after);
  expect(end.slice(0, last), where).toEqual(kept.slice(0, last));
  expect(end.length, where).toBeGreaterThanOrEqual(last);
  // What the failed sync left unsafe must not lie under what was acknowledged afterwards.
  for (const state of crashStates(after, { at: after.operationCount, seed, perPointMax: 16 })) {
    expect(subject.lines(state.disk).length, `${where}, then a power cut: ${state.story()}`).toBe(end.length);
  }
  return run.error !== undefined;
}
