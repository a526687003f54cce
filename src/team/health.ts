/**
 * How the workers of a team are, from the files they leave. Only looks: what a look finds is never an event, so looking
 * at a run cannot change what its log says.
 */
import { join } from "node:path";

import { OmkError, systemCode } from "../errors.ts";
import type { Clock, Disk } from "../ports.ts";
import { untoldFailure } from "../store/files.ts";
import { readDocument } from "../store/journal.ts";
import { forEachLine } from "../store/log-reader.ts";
import { isFinished, type Team } from "./find.ts";

/** Heartbeats come every ten seconds: three are missing. */
const STALLED_SECS = 30;
/** Nobody who lives is this late. */
const DEAD_SECS = 60;
const HEARTBEAT_BYTES_MAX = 64 * 1024;

/** A worker as it is found; the keys are those of 0.5.0's report. */
export interface WorkerHealth {
  worker_id: string;
  status: "healthy" | "stalled" | "dead" | "unknown";
  last_heartbeat: string | null;
  heartbeat_content: string | null;
  inbox_count: number;
  outbox_count: number;
  message: string;
}

/** What `omk team health --json` prints. */
export interface HealthReport {
  run_id: string;
  checked_at: string;
  workers: WorkerHealth[];
  issues_found: number;
}

/** A worker with what else its files say. */
export interface WorkerView extends WorkerHealth {
  role: string;
  /** The heartbeat's own status, or why there is none. */
  heartbeat: string;
  /** Seconds since the last heartbeat; null when none can be read. */
  age_secs: number | null;
}

/** What a heartbeat file holds. */
type Heartbeat =
  | { state: "missing" }
  | { state: "unreadable"; because: string }
  | { state: "invalid"; content: string }
  | { state: "read"; content: string; status: string | undefined; ts: string | undefined };

/** The workers of a team in the order of their names, and folders that are none. */
export function workersOf(
  team: Pick<Team, "folder" | "phase" | "controller">,
  ports: { disk: Disk; clock: Pick<Clock, "now"> },
): { workers: WorkerView[]; skipped: string[] } {
  const folder = join(team.folder, "workers");
  const workers: WorkerView[] = [];
  const skipped: string[] = [];
  if (ports.disk.stat(folder)?.kind !== "folder") return { workers, skipped };
  for (const name of ports.disk.list(folder)) {
    const place = join(folder, name);
    if (ports.disk.stat(place)?.kind !== "folder") continue;
    const role = roleOfSpec(place, ports);
    if (role === undefined) skipped.push(`${place} has no worker-spec.json that can be read`);
    else workers.push(viewOf(team, name, role, place, ports));
  }
  return { workers: workers.toSorted((a, b) => byNumber(a.worker_id, b.worker_id)), skipped };
}

/** The report of a whole team. */
export function healthReport(team: Team, workers: readonly WorkerView[], checked_at: string): HealthReport {
  return {
    run_id: team.name,
    checked_at,
    workers: workers.map(({ role: _role, heartbeat: _heartbeat, age_secs: _age, ...health }) => health),
    issues_found: workers.filter(({ status }) => status !== "healthy").length,
  };
}

function viewOf(
  team: Pick<Team, "phase" | "controller">,
  name: string,
  role: string,
  place: string,
  ports: { disk: Disk; clock: Pick<Clock, "now"> },
): WorkerView {
  const heartbeat = readHeartbeat(join(place, "heartbeat.json"), ports);
  const read = heartbeat.state === "read" ? heartbeat : undefined;
  const beatMs = read?.ts === undefined ? Number.NaN : Date.parse(read.ts);
  // A clock that was set back makes no negative ages.
  const age = Number.isNaN(beatMs)
    ? null
    : Math.max(0, Math.floor((ports.clock.now().getTime() - beatMs) / 1_000));
  return {
    worker_id: name,
    ...judge(team, heartbeat, age),
    last_heartbeat: age === null ? null : (read?.ts ?? null),
    heartbeat_content: "content" in heartbeat ? heartbeat.content : null,
    inbox_count: countLines(join(place, "inbox.jsonl"), ports),
    outbox_count: countLines(join(place, "outbox.jsonl"), ports),
    role,
    heartbeat: heartbeat.state === "read" ? (heartbeat.status ?? "unknown") : heartbeat.state,
    age_secs: age,
  };
}

/** The rule. Workers of a run that has ended are well, however old their last word is. */
function judge(
  { phase, controller }: Pick<Team, "phase" | "controller">,
  heartbeat: Heartbeat,
  age: number | null,
): Pick<WorkerHealth, "status" | "message"> {
  if (isFinished({ phase }) || phase === "Shutdown") return healthy("stopped: its run has ended");
  if (heartbeat.state === "read" && heartbeat.status === "stopped") return healthy("stopped");
  if (controller === "dead" || controller === "released") {
    return { status: "dead", message: "ended with the process that ran it" };
  }
  switch (heartbeat.state) {
    case "missing":
      return controller === "none"
        ? { status: "dead", message: "its heartbeat file is missing" }
        : { status: "unknown", message: "it has not reported yet" };
    case "unreadable":
      return { status: "dead", message: `its heartbeat file cannot be read: ${heartbeat.because}` };
    case "invalid":
      return { status: "stalled", message: "its heartbeat is invalid: it is not JSON" };
    case "read":
      break;
  }
  if (age === null) return { status: "stalled", message: "its heartbeat has no timestamp that can be read" };
  if (age > DEAD_SECS)
    return { status: "dead", message: `its last heartbeat is ${age}s old, more than ${DEAD_SECS}s` };
  if (age > STALLED_SECS) {
    return { status: "stalled", message: `its last heartbeat is ${age}s old, more than ${STALLED_SECS}s` };
  }
  return healthy(`last heartbeat ${age}s ago`);
}

function healthy(message: string): Pick<WorkerHealth, "status" | "message"> {
  return { status: "healthy", message };
}

function readHeartbeat(path: string, { disk }: { disk: Disk }): Heartbeat {
  const found = disk.stat(path);
  if (!found) return { state: "missing" };
  if (found.kind !== "file") return { state: "unreadable", because: `it is a ${found.kind}` };
  let content: string;
  try {
    content = Buffer.from(disk.readFile(path, HEARTBEAT_BYTES_MAX)).toString("utf8");
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined) throw error;
    if (code === "ENOENT") return { state: "missing" };
    return { state: "unreadable", because: code === "EFBIG" ? "it is too large" : code };
  }
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch {
    // Half a write, or another program's: said by its state.
    return { state: "invalid", content };
  }
  if (typeof value !== "object" || value === null) return { state: "invalid", content };
  const { status, ts } = value as Record<string, unknown>;
  return {
    state: "read",
    content,
    status: typeof status === "string" ? status : undefined,
    ts: typeof ts === "string" && !Number.isNaN(Date.parse(ts)) ? ts : undefined,
  };
}

/** The role in a worker's spec; undefined when there is no spec that can be read. */
function roleOfSpec(place: string, ports: { disk: Disk }): string | undefined {
  try {
    const found = readDocument(join(place, "worker-spec.json"), ports);
    const role = found.state === "found" ? found.record["role"] : undefined;
    return typeof role === "string" ? role : undefined;
  } catch (error) {
    // One bad worker folder must not hide the others.
    if (error instanceof OmkError || untoldFailure(error)) return undefined;
    throw error;
  }
}

/** Lines that are not blank, also the last one when it has no newline; 0 for what is no file. */
function countLines(path: string, ports: { disk: Disk }): number {
  if (ports.disk.stat(path)?.kind !== "file") return 0;
  let count = 0;
  const isBlank = (line: Buffer) => line.every((byte) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d));
  try {
    const { unfinished } = forEachLine(path, 0, ports, (line) => {
      if (!isBlank(line)) count++;
    });
    return unfinished > 0 ? count + 1 : count;
  } catch (error) {
    // A number for whoever looks; the run itself does not depend on it.
    if (untoldFailure(error)) return count;
    throw error;
  }
}

/** `worker-10` after `worker-9`. */
function byNumber(a: string, b: string): number {
  const number = (name: string) => Number(/(\d{1,9})$/.exec(name)?.[1] ?? Number.NaN);
  const difference = number(a) - number(b);
  return difference || (a < b ? -1 : 1);
}
