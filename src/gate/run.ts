/** Runs gates and keeps what they said: straight into files, read at both ends, redacted, logged once. */
import { join } from "node:path";

import { OmkError, systemCode } from "../errors.ts";
import type { GateDefinition, GateResult, GateVerdict, TestCounts } from "../format/gate.ts";
import type { Child, Clock, Disk, Exit, FileInfo, Processes, Random } from "../ports.ts";
import { sha256 } from "../store/event-line.ts";
import { ensureFolder, linkNew } from "../store/files.ts";
import { countReport, countTests } from "./counts.ts";
import { captureOutput, summaryOf, tailOf, type Captured } from "./output.ts";
import { decideVerdict, testsRun, type GateEnd } from "./verdict.ts";

/** Gates to run, one after another, on one state of a folder. */
export interface GateRun {
  definitions: readonly GateDefinition[];
  /** Where they run; absolute. */
  cwd: string;
  /** Where logs are kept, one per gate; made when missing. No file of an earlier run may be there. */
  logFolder: string;
  /** Where output lies while a gate runs; nothing is left in it. */
  rawFolder: string;
  /** What every gate may see. */
  environment: Readonly<Record<string, string>>;
  /** The caller's own variables, of which a gate gets those that its definition names. */
  callerEnvironment?: Readonly<Record<string, string | undefined>>;
  /** The git tree of `cwd`. */
  tree: string;
  where: NonNullable<GateResult["where"]>;
  /** Results before the change, by the gate's name. */
  base?: ReadonlyMap<string, Pick<GateResult, "verdict" | "counts">>;
  /** Awaited before the gate starts, so that no process runs that the log does not know. Not called for skipped gates. */
  onStart(definition: GateDefinition, spawnId: string): Promise<void>;
  /** Awaited when a gate's log is durable and nothing of its processes is left; null for a gate that was skipped. */
  onEnd(result: GateResult, spawnId: string | null): Promise<void>;
}

/** What running gates needs of the world. */
export interface GatePorts {
  processes: Pick<Processes, "spawn" | "self">;
  disk: Disk;
  clock: Clock;
  random: Random;
}

/** What 0 in `timeout_secs` stands for. */
const TIMEOUT_SECS_DEFAULT = 600;

/** A gate that writes more than this, to both streams together, fails. */
const OUTPUT_BYTES_MAX = 1024 ** 3;
/** How often the size of the output is looked at. */
const TICK_MS = 500;
/** Between TERM and KILL when a gate has to be ended. */
const GRACE_MS = 5_000;
/** How much of each stream a result carries; the log has more. */
const FIELD_BYTES_MAX = 16 * 1024;
/** How much of a stream whose middle was left out is searched for counts. */
const COUNTED_CHARACTERS_MAX = 256 * 1024;
const REPORT_BYTES_MAX = 16 * 1024 * 1024;

/**
 * Runs the gates in their order and resolves with one result for each. When the signal is aborted the running gate is
 * ended with all its descendants and the reason is thrown; its output is gone then and `onEnd` is not called.
 * `redact` sees every text before it is kept.
 */
export async function runGates(
  run: GateRun,
  ports: GatePorts,
  redact: (text: string) => string,
  signal: AbortSignal,
): Promise<GateResult[]> {
  const results: GateResult[] = [];
  for (const [at, definition] of run.definitions.entries()) {
    signal.throwIfAborted();
    if (definition.skip) {
      const result = skippedResult(definition, run);
      await run.onEnd(result, null);
      results.push(result);
      continue;
    }
    const spawnId = `omk-${ports.random.name(20)}`;
    const logName = `gate-${String(at + 1).padStart(2, "0")}-${definition.name.replace(/[^A-Za-z0-9]/g, "-")}.log`;
    await ensureFolder(run.rawFolder, ports);
    const raw = {
      stdout: join(run.rawFolder, `${spawnId}.out`),
      stderr: join(run.rawFolder, `${spawnId}.err`),
    };
    await run.onStart(definition, spawnId);
    let result: GateResult;
    try {
      result = await runGate(
        { run, definition, spawnId, raw, logPath: join(run.logFolder, logName) },
        ports,
        redact,
        signal,
      );
    } finally {
      // Raw output may hold secrets: it goes, whatever happened.
      for (const path of [raw.stdout, raw.stderr]) removeRaw(path, ports.disk);
    }
    await run.onEnd(result, spawnId);
    results.push(result);
  }
  return results;
}

/**
 * The environment of a gate: what is allowed to all, the variables its definition names where the caller has them, and
 * no terminal. `CI` is set unless the caller has it, so that runners neither watch files nor write new snapshots.
 */
export function environmentFor(
  definition: Pick<GateDefinition, "env">,
  callerEnvironment: Readonly<Record<string, string | undefined>>,
  allowed: Readonly<Record<string, string>>,
): Record<string, string> {
  const environment: Record<string, string> = { CI: "1", ...allowed };
  for (const name of definition.env) {
    const value = callerEnvironment[name];
    if (value !== undefined) environment[name] = value;
  }
  return { ...environment, TERM: "dumb" };
}

interface OneGate {
  run: GateRun;
  definition: GateDefinition;
  spawnId: string;
  raw: { stdout: string; stderr: string };
  logPath: string;
}

async function runGate(
  gate: OneGate,
  ports: GatePorts,
  redact: (text: string) => string,
  signal: AbortSignal,
): Promise<GateResult> {
  const { run, definition, raw } = gate;
  const earlierReport = findReport(gate, ports.disk);
  const started = ports.clock.monotonicMs();
  const child = ports.processes.spawn({
    argv: [definition.command, ...definition.args],
    cwd: run.cwd,
    env: environmentFor(definition, run.callerEnvironment ?? {}, run.environment),
    spawnId: gate.spawnId,
    stdin: "none",
    stdout: { file: raw.stdout },
    stderr: { file: raw.stderr },
  });
  const { ending, exit } = await waitForEnd(child, gate, ports, signal);
  const duration_ms = Math.max(0, Math.round(ports.clock.monotonicMs() - started));

  const stdout = captureOutput(raw.stdout, ports.disk);
  const stderr = captureOutput(raw.stderr, ports.disk);
  for (const stream of [stdout, stderr]) stream.text = redact(stream.text);
  const counts =
    countsInReport(gate, earlierReport, ports.disk) ??
    countTests(`${countable(stdout)}\n${countable(stderr)}`, [definition.command, ...definition.args]);
  const end = {
    exit,
    timedOut: ending === "timed_out",
    overflowed: ending === "overflowed" || stdout.bytes + stderr.bytes > OUTPUT_BYTES_MAX,
    skipped: false,
    counts,
    definition,
  };
  const base = run.base?.get(definition.name);
  const baseCounted = base?.counts !== undefined && testsRun(base.counts) > 0;
  const { verdict, passed } = decideVerdict({ ...end, base: base?.verdict, baseCounted });
  const said = noteOf(end, verdict, definition);
  const note = said === undefined ? undefined : redact(said);
  const output =
    exit.kind === "not_started" ? undefined : await keepLog(gate, { stdout, stderr, note }, ports);
  const stdoutSummary = summaryOf(stdout.text);
  // What omk says about the gate stands first in the summary, and last in the stream, which readers cut at its start.
  const stderrSummary = joinLines(note, end.timedOut ? undefined : summaryOf(stderr.text));
  return {
    ...sharedFields(definition, run),
    command_line: redact([definition.command, ...definition.args].join(" ")),
    passed,
    verdict,
    stdout: tailOf(stdout, FIELD_BYTES_MAX),
    stderr: withNote(tailOf(stderr, FIELD_BYTES_MAX), note),
    duration_ms,
    timed_out: end.timedOut,
    ...(exit.kind === "exited" && ending === "exited" && { exit_code: exit.code }),
    ...(stdoutSummary !== undefined && { stdout_summary: stdoutSummary }),
    ...(stderrSummary !== undefined && { stderr_summary: stderrSummary }),
    ...(output && { output_path: gate.logPath, output }),
    ...(counts && { counts }),
    base: base?.verdict ?? null,
  };
}

function joinLines(...parts: readonly (string | undefined)[]): string | undefined {
  const said = parts.filter((part) => part !== undefined && part !== "");
  return said.length === 0 ? undefined : said.join("\n");
}

function withNote(text: string, note: string | undefined): string {
  if (note === undefined) return text;
  return text === "" || text.endsWith("\n") ? text + note : `${text}\n${note}`;
}

/** Why the program is not running any more. */
type Ending = "exited" | "timed_out" | "overflowed";

/** Waits for the gate's end or brings it about, leaves nothing of its processes, and throws when it was interrupted. */
export async function waitForEnd(
  child: Child,
  {
    definition,
    raw,
  }: { definition: Pick<GateDefinition, "timeout_secs">; raw: { stdout: string; stderr: string } },
  { clock, disk }: Pick<GatePorts, "clock" | "disk">,
  signal: AbortSignal,
): Promise<{ ending: Ending; exit: Exit }> {
  const woken = new AbortController();
  const exits: Exit[] = [];
  void child.exited.then((exit) => {
    exits.push(exit);
    woken.abort("exited");
  });
  const interrupt = (): void => woken.abort("interrupted");
  signal.addEventListener("abort", interrupt);
  if (signal.aborted) interrupt();
  const deadlineMs = clock.monotonicMs() + timeoutSecs(definition) * 1000;
  let ending: Ending = "exited";
  try {
    while (!woken.signal.aborted && ending === "exited") {
      const leftMs = deadlineMs - clock.monotonicMs();
      if (leftMs <= 0) ending = "timed_out";
      else if (sizeOf(raw.stdout, disk) + sizeOf(raw.stderr, disk) > OUTPUT_BYTES_MAX) ending = "overflowed";
      else await sleepUntilWoken(Math.min(TICK_MS, leftMs), clock, woken.signal);
    }
  } finally {
    signal.removeEventListener("abort", interrupt);
    // Also after an ordinary end: what a gate left in the background must not outlive it.
    await child.end(woken.signal.reason === "exited" ? 0 : GRACE_MS);
  }
  if (woken.signal.reason === "interrupted" && ending === "exited") signal.throwIfAborted();
  // Even the kernel may be unable to end a process that a broken device holds: then it counts as killed.
  return { ending, exit: exits[0] ?? { kind: "signalled", signal: "SIGKILL" } };
}

async function sleepUntilWoken(ms: number, clock: Clock, woken: AbortSignal): Promise<void> {
  try {
    await clock.sleep(ms, woken);
  } catch (error) {
    // Waking is what the signal is for; anything else is a fault.
    if (!woken.aborted) throw error;
  }
}

function sizeOf(path: string, disk: Disk): number {
  return disk.stat(path)?.size ?? 0;
}

function timeoutSecs({ timeout_secs }: Pick<GateDefinition, "timeout_secs">): number {
  return timeout_secs > 0 ? timeout_secs : TIMEOUT_SECS_DEFAULT;
}

/** What omk has to say about an end that the program's own words and status do not explain. */
function noteOf(end: GateEnd, verdict: GateVerdict, definition: GateDefinition): string | undefined {
  const { exit, counts } = end;
  const secs = timeoutSecs(definition);
  if (end.timedOut) {
    const hint = definition.timeout_secs > 0 ? "" : " (the limit where timeout_secs is not set)";
    return `Timed out after ${secs}s${hint}`;
  }
  if (end.overflowed === true) return `Ended because it wrote more than ${OUTPUT_BYTES_MAX} bytes`;
  if (exit?.kind === "not_started") {
    return `${definition.timeout_secs > 0 ? "Run" : "Spawn"} error: ${exit.message || exit.code}`;
  }
  if (exit?.kind === "signalled") return `Ended by signal ${exit.signal}`;
  if (verdict === "did_not_run")
    return "It did not run: by its exit status a program was not found or not executable";
  return verdict === "ran_nothing" ? ranNothingNote(counts, definition.min_tests ?? 0) : undefined;
}

function ranNothingNote(counts: TestCounts | undefined, least: number): string {
  if (counts === undefined && least === 0)
    return "It says nothing of any test, and before the change it counted some";
  if (counts === undefined)
    return `It is to run ${least} tests (min_tests), and nothing it wrote says how many ran`;
  const ran = testsRun(counts);
  if (ran > 0) return `It ran ${ran} tests, and min_tests asks for ${least}`;
  return counts.skipped > 0
    ? `No test ran: all ${counts.skipped} were skipped`
    : "No test ran: the runner counted none";
}

/** Where a runner says its counts: at the end, when there is so much that the middle was left out. */
function countable({ text, leftOut }: Captured): string {
  return leftOut === 0 ? text : text.slice(-COUNTED_CHARACTERS_MAX);
}

/** Writes the log of one gate, durably and once. */
async function keepLog(
  { logPath, run }: OneGate,
  { stdout, stderr, note }: { stdout: Captured; stderr: Captured; note: string | undefined },
  ports: GatePorts,
): Promise<NonNullable<GateResult["output"]>> {
  const remark = note === undefined ? "" : `\n[omk]\n${note}\n`;
  const text = `[stdout]\n${stdout.text.trimEnd()}\n\n[stderr]\n${stderr.text.trimEnd()}\n${remark}`;
  const bytes = Buffer.from(text);
  await ensureFolder(run.logFolder, ports);
  if ((await linkNew(logPath, bytes, ports)) === "taken") {
    throw new OmkError("state.io", `${logPath} is there already, and logs are never written over.`);
  }
  return { sha256: sha256(bytes), bytes: bytes.length, truncated: stdout.leftOut + stderr.leftOut > 0 };
}

/** What a result takes from its definition and the run. */
function sharedFields(definition: GateDefinition, { tree, where }: GateRun) {
  const { name, required, timeout_secs, source, kind, covers } = definition;
  return { name, required, timeout_secs, source, kind, tree, where, ...(covers.length > 0 && { covers }) };
}

function skippedResult(definition: GateDefinition, run: GateRun): GateResult {
  const note = "Skipped by gate config";
  const end = { exit: undefined, timedOut: false, skipped: true, counts: undefined, definition };
  return {
    ...sharedFields(definition, run),
    ...decideVerdict(end),
    required: false,
    // Arguments of a gate that does not run are nobody's business.
    command_line: "<skipped by config>",
    stdout: "",
    stderr: note,
    stderr_summary: note,
    duration_ms: 0,
    timed_out: false,
    base: run.base?.get(definition.name)?.verdict ?? null,
  };
}

/** The report's file as it lies there, if the definition names one and it is a file inside the folder of the run. */
function findReport({ definition, run }: OneGate, disk: Disk): (FileInfo & { path: string }) | undefined {
  if (definition.report === undefined) return undefined;
  const root = disk.realPath(run.cwd);
  const path = disk.realPath(join(run.cwd, definition.report));
  if (root === undefined || path === undefined || !path.startsWith(`${root}/`)) return undefined;
  const found = disk.stat(path);
  return found?.kind === "file" ? { ...found, path } : undefined;
}

/** The counts of a report that this run wrote; one that lies there unchanged tells of another run. */
function countsInReport(gate: OneGate, earlier: FileInfo | undefined, disk: Disk): TestCounts | undefined {
  const found = findReport(gate, disk);
  if (!found) return undefined;
  const isOld =
    earlier?.inode === found.inode && earlier.size === found.size && earlier.modifiedMs === found.modifiedMs;
  if (isOld) return undefined;
  try {
    return countReport(new TextDecoder().decode(disk.readFile(found.path, REPORT_BYTES_MAX)));
  } catch (error) {
    // Too large, or gone again: the output may still say something.
    if (systemCode(error) === undefined) throw error;
    return undefined;
  }
}

function removeRaw(path: string, disk: Disk): void {
  try {
    disk.remove(path);
  } catch (error) {
    // Never made, or not to be removed now: the next start sweeps the folder. The gate's own outcome matters more.
    if (systemCode(error) === undefined) throw error;
  }
}
