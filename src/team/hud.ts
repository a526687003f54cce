/**
 * How a run is doing right now: workers, task counters, gates. One pass over the log, then only what was added: a look
 * costs as much as what happened since the last one.
 */
import { OmkError } from "../errors.ts";
import type { Event } from "../format/event.ts";
import type { Clock } from "../ports.ts";
import { readLine } from "../store/event-line.ts";
import { foldFolder, logPath } from "../store/journal.ts";
import { forEachLine } from "../store/log-reader.ts";
import {
  findTeam,
  isFinished,
  isInterrupted,
  readTeam,
  STATE_OF_SHOWN,
  type FindPorts,
  type Team,
} from "./find.ts";
import { workersOf, type WorkerHealth, type WorkerView } from "./health.ts";
import { isAboutResult, textOf } from "./timeline.ts";

/** What the JSON view shows at most; the log has the others. */
const EVENTS_MAX = 10_000;

/** Counters of a run's tasks. Cancelled ones count as failed: they were not done. */
export interface TaskSummary {
  total: number;
  completed: number;
  running: number;
  pending: number;
  failed: number;
}

/** A worker's row. */
export interface HudWorker {
  name: string;
  state: "Busy" | "Ready" | "Stalled" | "Dead" | "Stopped" | "Unknown";
  /** Seconds since it was last heard of; -1 when nobody knows. */
  age: number;
  task: string | undefined;
  retries: number;
  gates: "passed" | "failed" | undefined;
}

/** The JSON view: 0.5.0's keys, then ours. */
export interface HudSnapshot {
  run_id: string;
  team_name: string;
  events: Event[];
  workers: WorkerHealth[];
  task_summary: TaskSummary;
  start_time: string;
  last_update: string;
  proof_status?: string;
  latest_failed_gate?: string;
  phase: Team["phase"];
  controller: Team["controller"];
  event_count: number;
  /** Older events that `events` leaves out. */
  events_omitted: number;
}

/** A run that is watched. */
export class Hud {
  readonly #root: string;
  readonly #ports: FindPorts & { clock: Pick<Clock, "now"> };
  #team: Team;
  #facts = new Facts();
  /** Behind the last whole line that was taken; undefined before the first look. */
  #offset: number | undefined;

  private constructor(root: string, team: Team, ports: FindPorts & { clock: Pick<Clock, "now"> }) {
    this.#root = root;
    this.#team = team;
    this.#ports = ports;
  }

  /** Looks at a team for the first time. Throws `team.not_found`. */
  static open(root: string, wanted: string, ports: FindPorts & { clock: Pick<Clock, "now"> }): Hud {
    const hud = new Hud(root, findTeam(root, wanted, ports), ports);
    hud.#readLog();
    return hud;
  }

  /** Looks again. */
  refresh(): void {
    const { folder, name } = this.#team;
    this.#team = readTeam(folder, name, this.#ports) ?? findTeam(this.#root, name, this.#ports);
    this.#readLog();
  }

  /** Whether nothing more is to be expected: the run has ended, or nobody works on it any more. */
  get hasEnded(): boolean {
    const { phase, controller } = this.#team;
    const isStopped = phase === "Shutdown" && controller !== "alive";
    return (
      this.#facts.endedAt !== undefined || isStopped || isFinished(this.#team) || isInterrupted(this.#team)
    );
  }

  /** What a script is told. */
  snapshot(): HudSnapshot {
    const { name, phase, controller } = this.#team;
    const { events, count, proofStatus } = this.#facts;
    const failed = this.#facts.failedGate;
    return {
      run_id: name,
      team_name: name,
      events,
      workers: this.#workers().map(
        ({ role: _role, heartbeat: _heartbeat, age_secs: _age, ...health }) => health,
      ),
      task_summary: this.#taskSummary(),
      start_time: this.#startTime,
      last_update: this.#ports.clock.now().toISOString(),
      ...(proofStatus !== undefined && { proof_status: proofStatus }),
      ...(failed !== undefined && { latest_failed_gate: failed }),
      phase,
      controller,
      event_count: count,
      events_omitted: count - events.length,
    };
  }

  /** What a person is shown. */
  text(): string {
    const { name } = this.#team;
    const workers = this.#workers();
    const count = (status: WorkerHealth["status"]) => workers.filter((one) => one.status === status).length;
    const tasks = this.#taskSummary();
    const { count: events, proofStatus, failedGate } = this.#facts;
    const rule = "━".repeat(38);
    return [
      `OMK HUD — team: ${name} | run: ${name}`,
      rule,
      `Workers: ${workers.length} total | ${count("healthy")} healthy | ${count("stalled")} stalled | ${count("dead")} dead`,
      `Tasks:   ${tasks.total} total | ${tasks.completed} completed | ${tasks.running} running | ${tasks.pending} pending${tasks.failed > 0 ? ` | ${tasks.failed} failed` : ""}`,
      `Runtime: ${duration(this.#runtimeMs())}`,
      `Events:  ${events}`,
      ...(failedGate === undefined ? [] : [`Gate:    ${plain(failedGate)} (failed)`]),
      ...(proofStatus === undefined ? [] : [`Proof:   ${plain(proofStatus)}`]),
      rule,
      ...workers.map((worker) => rowText(this.#row(worker))),
    ].join("\n");
  }

  #workers(): WorkerView[] {
    return workersOf(this.#team, this.#ports).workers;
  }

  #row(worker: WorkerView): HudWorker {
    const now = this.#ports.clock.now().getTime();
    const task = this.#facts.currentTask(worker.worker_id);
    const heard = this.#facts.heardOf(worker.worker_id);
    const sinceEvent = heard === undefined ? -1 : Math.max(0, Math.floor((now - heard) / 1_000));
    return {
      name: worker.worker_id,
      state: stateOf(worker, task, isFinished(this.#team) || this.#team.phase === "Shutdown"),
      age: worker.age_secs ?? sinceEvent,
      task,
      retries: task === undefined ? 0 : this.#facts.retriesOf(task),
      gates: this.#facts.latestGate,
    };
  }

  /** From the log where it carries the tasks; a run of 0.5.0 has them in its state or, too late, in its events. */
  #taskSummary(): TaskSummary {
    const fromLog = this.#facts.states;
    const listed = this.#facts.carriesTasks
      ? fromLog
      : new Map(
          this.#team.tasks.map((task) => [
            String(task["id"]),
            STATE_OF_SHOWN[String(task["status"])] ?? "pending",
          ]),
        );
    const states = [...(listed.size > 0 ? listed : fromLog).values()];
    const of = (...wanted: string[]) => states.filter((state) => wanted.includes(state)).length;
    const summary = {
      completed: of("completed"),
      running: of("claimed", "running"),
      failed: of("failed", "cancelled"),
    };
    const pending = states.length - summary.completed - summary.running - summary.failed;
    return {
      total: states.length,
      completed: summary.completed,
      running: summary.running,
      pending,
      failed: summary.failed,
    };
  }

  get #startTime(): string {
    return this.#facts.startedAt ?? this.#team.createdAt;
  }

  #runtimeMs(): number {
    const start = Date.parse(this.#startTime);
    const end =
      this.#facts.endedAt === undefined ? this.#ports.clock.now().getTime() : Date.parse(this.#facts.endedAt);
    return Number.isNaN(start) || Number.isNaN(end) ? 0 : Math.max(0, end - start);
  }

  #readLog(): void {
    const { folder } = this.#team;
    const size = this.#ports.disk.stat(logPath(folder, this.#ports))?.size ?? 0;
    if (this.#offset === undefined || size < this.#offset || !this.#readOn(this.#offset)) this.#readWhole();
  }

  #readWhole(): void {
    this.#facts = new Facts();
    this.#offset = 0;
    if (this.#readOn(0)) return;
    this.#facts = new Facts();
    try {
      const folded = foldFolder(this.#team.folder, this.#ports, (event) => this.#facts.take(event));
      this.#offset = folded.position.bytes;
    } catch (error) {
      // A blob that is gone or damaged: a view shows what there is.
      if (!(error instanceof OmkError)) throw error;
      this.#facts = new Facts();
      this.#readOn(0, { withoutBlobs: true });
    }
  }

  /** False when an event keeps its content elsewhere: then only a whole reading knows it. */
  #readOn(from: number, options: { withoutBlobs?: boolean } = {}): boolean {
    let isWhole = true;
    forEachLine(logPath(this.#team.folder, this.#ports), from, this.#ports, (line, end) => {
      const read = readLine(line);
      this.#offset = end;
      if (read.kind === "bad") return;
      if (read.kind === "event" && typeof read.event.payload?.["blob"] === "string") {
        isWhole = options.withoutBlobs === true;
      }
      if (isWhole) this.#facts.take(read.event);
    });
    return isWhole;
  }
}

/** What the log says so far, each event taken once. */
class Facts {
  count = 0;
  startedAt: string | undefined;
  endedAt: string | undefined;
  proofStatus: string | undefined;
  latestGate: "passed" | "failed" | undefined;
  /** The log carries the tasks themselves, so their states are known and not guessed from events. */
  carriesTasks = false;
  /** By task. */
  states = new Map<string, string>();
  #epoch = 0;
  readonly #latest: Event[] = [];
  /** Gates whose last result is red, the latest last. */
  readonly #redGates = new Set<string>();
  readonly #currentTasks = new Map<string, string>();
  readonly #workersOf = new Map<string, string>();
  readonly #retries = new Map<string, number>();
  readonly #heard = new Map<string, number>();

  /** The newest events, in order. */
  get events(): Event[] {
    const at = this.count % EVENTS_MAX;
    return this.count <= EVENTS_MAX
      ? this.#latest
      : [...this.#latest.slice(at), ...this.#latest.slice(0, at)];
  }

  get failedGate(): string | undefined {
    return [...this.#redGates].at(-1);
  }

  currentTask(worker: string): string | undefined {
    return this.#currentTasks.get(worker);
  }

  retriesOf(task: string): number {
    return this.#retries.get(task) ?? 0;
  }

  heardOf(worker: string): number | undefined {
    return this.#heard.get(worker);
  }

  take(event: Event): void {
    if (event.epoch !== undefined) {
      // A controller that had been overtaken when its line landed.
      if (event.epoch < this.#epoch) return;
      this.#epoch = event.epoch;
    }
    this.#latest[this.count % EVENTS_MAX] = event;
    this.count++;
    this.#takeChanges(event);
    const payload = event.payload ?? {};
    const task = textOf(payload["task_id"]);
    switch (event.kind) {
      case "run_started":
        this.startedAt ??= event.ts;
        this.endedAt = undefined;
        break;
      case "run_resumed":
        this.endedAt = undefined;
        break;
      case "run_completed":
      case "run_failed":
      case "manual_interrupt":
        this.endedAt = event.ts;
        break;
      case "proof_written":
        this.proofStatus = textOf(payload["status"]) ?? this.proofStatus;
        break;
      case "gate_passed":
      case "gate_failed":
        if (isAboutResult(payload))
          this.#takeGate(event.kind === "gate_passed" ? "passed" : "failed", payload);
        break;
      case "worker_heartbeat":
        if (typeof event.actor === "string") this.#heard.set(event.actor, Date.parse(event.ts));
        break;
      case "retry_scheduled":
        if (task !== undefined) this.#retries.set(task, this.retriesOf(task) + 1);
        break;
      default:
        break;
    }
    // The summing up at the end is no task of the run.
    if (task !== undefined && event.actor !== "synthesis-agent") this.#takeTask(event, task);
  }

  #takeTask({ kind, actor }: Event, task: string): void {
    if (kind === "task_claimed" || kind === "task_started") {
      this.#setState(task, "running");
      if (typeof actor !== "string") return;
      this.#currentTasks.set(actor, task);
      this.#workersOf.set(task, actor);
      return;
    }
    const ends: Readonly<Record<string, string>> = {
      task_completed: "completed",
      task_failed: "failed",
      retry_scheduled: "pending",
    };
    const state = ends[kind];
    if (state === undefined) return;
    this.#setState(task, state);
    const worker = this.#workersOf.get(task);
    if (worker !== undefined && this.#currentTasks.get(worker) === task) this.#currentTasks.delete(worker);
  }

  #setState(task: string, state: string): void {
    if (!this.carriesTasks) this.states.set(task, state);
  }

  #takeChanges({ changes }: Event): void {
    for (const { file, id, set } of changes ?? []) {
      if (file !== "tasks.jsonl") continue;
      if (!this.carriesTasks) {
        this.carriesTasks = true;
        this.states.clear();
      }
      if (id !== undefined) {
        if (typeof set["state"] === "string") this.states.set(id, set["state"]);
      } else if (Array.isArray(set["tasks"])) {
        const tasks = set["tasks"] as Record<string, unknown>[];
        this.states = new Map(
          tasks.map(({ id, state }) => [String(id), typeof state === "string" ? state : "pending"]),
        );
      }
    }
  }

  #takeGate(result: "passed" | "failed", payload: Record<string, unknown>): void {
    const name = textOf(payload["name"]) ?? textOf(payload["gate_id"]) ?? "?";
    this.latestGate = result;
    this.#redGates.delete(name);
    if (result === "failed") this.#redGates.add(name);
  }
}

function stateOf(worker: WorkerView, task: string | undefined, isOver: boolean): HudWorker["state"] {
  switch (worker.status) {
    case "healthy":
      if (isOver || worker.heartbeat === "stopped") return "Stopped";
      return task === undefined ? "Ready" : "Busy";
    case "stalled":
      return "Stalled";
    case "dead":
      return "Dead";
    case "unknown":
      return "Unknown";
  }
}

const ICONS = { Busy: "✅", Ready: "✅", Stopped: "✅", Stalled: "⚠️", Dead: "❌", Unknown: "❓" } as const;

function rowText({ name, state, age, task, retries, gates }: HudWorker): string {
  const seconds = age < 0 ? "N/A" : `${age}s`;
  const shown = task === undefined ? "-" : plain(task);
  return `[${plain(name)}] ${ICONS[state]} ${state} | age: ${seconds} | task: ${shown} | retries: ${retries} | gates: ${gates ?? "-"}`;
}

function duration(ms: number): string {
  const seconds = Math.floor(ms / 1_000);
  const two = (number: number) => String(number).padStart(2, "0");
  return `${Math.floor(seconds / 3_600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

/** On one line and without what steers a terminal. */
function plain(text: string): string {
  return withoutControls(text).replaceAll(/\s+/g, " ");
}

/**
 * Text without escape sequences and their bodies, and without control characters but tab and newline. A sequence that
 * does not end swallows the rest: a terminal would wait for its end, too.
 */
export function withoutControls(text: string): string {
  let kept = "";
  for (let at = 0; at < text.length;) {
    const code = text.charCodeAt(at);
    if (code === ESC) at = behindSequence(text, text.charCodeAt(at + 1), at + 2);
    // The same sequences begin with one character of the upper half.
    else if (code >= 0x80 && code <= 0x9f) at = behindSequence(text, code - 0x40, at + 1);
    else {
      if (code >= 0x20 ? code !== 0x7f : code === 0x09 || code === 0x0a) kept += text[at];
      at++;
    }
  }
  return kept;
}

const ESC = 0x1b;
const BEL = 0x07;
const STRING_END = 0x9c;
const CSI = "[".charCodeAt(0);
/** OSC, DCS, SOS, PM and APC: they have a body, up to BEL or the end of a string. */
const WITH_BODY: ReadonlySet<number> = new Set(Array.from("]PX^_", (letter) => letter.charCodeAt(0)));

/** Where the sequence ends whose kind is this character; `at` is behind it. */
function behindSequence(text: string, kind: number, at: number): number {
  if (WITH_BODY.has(kind)) {
    for (let end = at; end < text.length; end++) {
      const code = text.charCodeAt(end);
      if (code === BEL || code === STRING_END) return end + 1;
      if (code === ESC && text[end + 1] === "\\") return end + 2;
    }
    return text.length;
  }
  const isCsi = kind === CSI;
  // Other sequences have two characters, or more when the second one says that another follows.
  if (!isCsi && !(kind >= 0x20 && kind <= 0x2f)) return Math.min(at, text.length);
  let end = at;
  while (end < text.length && isBetween(text.charCodeAt(end), 0x20, isCsi ? 0x3f : 0x2f)) end++;
  return isBetween(text.charCodeAt(end), isCsi ? 0x40 : 0x30, 0x7e) ? end + 1 : end;
}

function isBetween(code: number, low: number, high: number): boolean {
  return code >= low && code <= high;
}
