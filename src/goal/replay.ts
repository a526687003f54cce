/** What happened to a goal, from its log alone; the same log always gives the same answer. */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import type { Event } from "../format/event.ts";
import type { Disk } from "../ports.ts";
import { eventIn, sha256 } from "../store/event-line.ts";
import { applyChanges, logPath, wholeEvent, type Documents } from "../store/journal.ts";
import {
  anyOf,
  forEachLine,
  lineBatches,
  scanLog,
  type LogLine,
  type LogReading,
} from "../store/log-reader.ts";
import { recordOrNothing, type GoalSummary } from "./find.ts";
import { countTasks } from "./task-counts.ts";

/** One event as the timeline shows it. */
export interface TimelineEntry {
  /** Its position among the valid events, repeated ones included. */
  index: number;
  ts: string;
  kind: string;
  actor?: string;
  summary?: string;
}

/** The replay record but for its timeline, with 0.5.0's keys. */
export interface ReplaySummary {
  version: 1;
  goal_id: string;
  status: string;
  phase: string;
  generated_at: string;
  event_count: number;
  task_graph_summary: {
    total_tasks: number;
    pending_tasks: number;
    blocked_tasks: number;
    done_tasks: number;
  };
  recovery_status?: string;
  known_gaps?: string[];
  duplicate_events: number;
  parse_failures: number;
}

/** What a replay may leave out. */
export interface ReplayRequest {
  /** Only so many of the last events. */
  tail?: number;
}

/** A goal's log, read once in full; its timeline is read again where it is shown, so that it never has to fit into memory. */
export interface Replay {
  summary: ReplaySummary;
  /** Events before the first one that `entries` gives. */
  omitted: number;
  /** The timeline, some entries at a time. */
  entries(): Generator<TimelineEntry[]>;
}

/** Reads a goal's log from its start to its end and names what could not be read. */
export function readReplay(goal: GoalSummary, request: ReplayRequest, ports: { disk: Disk }): Replay {
  const survey = surveyLog(goal.folder, request.tail, ports);
  const graph = graphSummary(goal.folder, survey.graph, ports);
  const { log, duplicates } = survey;
  const failures = survey.unread + log.tornLines;
  const { breaks } = survey;
  const voids = log.voidLines.length;
  const gaps = [
    graph.readable ? undefined : "Task graph cannot be read",
    failures > 0 ? `${count(failures, "malformed line")} left out` : undefined,
    breaks.length > 0
      ? `the chain of events is broken before line ${breaks.slice(0, BREAKS_SHOWN).join(", ")}${breaks.length > BREAKS_SHOWN ? ", …" : ""}: something was taken out or changed there`
      : undefined,
    voids > 0 ? `${voids} ${voids === 1 ? "line" : "lines"} of an overtaken controller left out` : undefined,
    duplicates.size > 0 ? `${count(duplicates.size, "duplicate event")} left out` : undefined,
  ].filter((gap) => gap !== undefined);
  const recovery =
    !graph.readable || failures > 0 || breaks.length > 0
      ? "partial: some of the record cannot be read"
      : "recovered: see the gaps";
  return {
    summary: {
      version: 1,
      goal_id: goal.id,
      status: goal.status,
      phase: goal.phase,
      generated_at: survey.lastTs ?? goal.updatedAt,
      event_count: survey.events,
      task_graph_summary: graph.summary,
      ...(gaps.length > 0 && { recovery_status: recovery, known_gaps: gaps }),
      duplicate_events: duplicates.size,
      parse_failures: failures,
    },
    omitted: survey.shown.omitted,
    entries: () => entriesFrom(goal.folder, survey, ports),
  };
}

function count(number: number, what: string): string {
  return number === 1 ? `1 ${what} was` : `${number} ${what}s were`;
}

/** So many places of a broken chain are named. */
const BREAKS_SHOWN = 5;

/** Where a line begins, and the numbers that go with it. */
interface Place {
  /** The byte offset of the line. */
  start: number;
  /** Of the line, from 1. */
  line: number;
  /** Among the valid events. */
  index: number;
}

interface Survey {
  log: LogReading;
  /** Events of the timeline. */
  events: number;
  /** Lines that are no part of the timeline although they are whole. */
  skipped: ReadonlySet<number>;
  /** Lines that say again what another one has said. */
  duplicates: ReadonlySet<number>;
  /** How many lines could not be read. */
  unread: number;
  /** Lines that were read and do not follow the one before, although that one is an event of the timeline. */
  breaks: number[];
  graph: Record<string, unknown> | undefined;
  lastTs: string | undefined;
  /** From where on the timeline is shown. */
  shown: Place & { omitted: number };
}

const GRAPH = "task-graph.json";
/** What a line holds that may change the graph. */
const MARKS = anyOf([`"${GRAPH}"`, '"blob"']);

/** The first reading: everything is checked, and hardly anything is parsed. */
function surveyLog(folder: string, tail: number | undefined, ports: { disk: Disk }): Survey {
  const graph: Documents = new Map([[GRAPH, {}]]);
  const path = logPath(folder, ports);
  const last = new LastPlaces(tail);
  const repeats = new Repeats();
  let events = 0;
  let index = 0;
  /** Where the last line begins; only then it is parsed. */
  let newest = Infinity;
  const log = scanLog(path, ports, (line) => {
    const position = index++;
    if (!repeats.take(line)) {
      events++;
      last.take(placeOf(line, position));
      newest = line.end - line.bytes.length - 1;
    }
    if (line.holds(MARKS)) applyToGraph(folder, line, graph, ports);
  });
  const strays = repeats.strays.size === 0 ? [] : repeatedStrays(path, repeats.strays, ports);
  const duplicates = new Set([...repeats.duplicates, ...strays]);
  const skipped = new Set([...duplicates, ...log.voidLines.map(({ line }) => line)]);
  const unread = log.damage.filter(({ line }) => !repeats.visitedDamage.has(line)).map(({ line }) => line);
  for (const line of unread) skipped.add(line);
  // A line behind one that was left out cannot follow it: that is no second damage.
  const breaks = log.damage
    .map(({ line }) => line)
    .filter((line) => !skipped.has(line) && !skipped.has(line - 1));
  const whole = graph.get(GRAPH);
  return {
    log,
    events: events - strays.length,
    skipped,
    duplicates,
    unread: unread.length,
    breaks,
    graph: whole && Object.keys(whole).length > 0 ? whole : undefined,
    lastTs: newest < log.validBytes ? eventAt(newest, path, ports)?.ts : undefined,
    shown: strays.length === 0 ? last.first(events) : lastWithout(duplicates, path, tail, ports),
  };
}

function eventAt(start: number, path: string, ports: { disk: Disk }): Event | undefined {
  for (const [first] of lineBatches(path, start, { bytes: 0, unfinished: 0 }, ports))
    if (first) return eventIn(first.line);
  return undefined;
}

/** The same places where some lines were only afterwards seen to repeat others. */
function lastWithout(
  duplicates: ReadonlySet<number>,
  path: string,
  tail: number | undefined,
  ports: { disk: Disk },
): Place & { omitted: number } {
  const last = new LastPlaces(tail);
  let events = 0;
  let index = 0;
  scanLog(path, ports, (line) => {
    const position = index++;
    if (duplicates.has(line.number)) return;
    events++;
    last.take(placeOf(line, position));
  });
  return last.first(events);
}

function placeOf({ number, end, bytes }: LogLine, index: number): Place {
  return { start: end - bytes.length - 1, line: number, index };
}

function applyToGraph(folder: string, line: LogLine, graph: Documents, ports: { disk: Disk }): void {
  const event = line.event();
  const changes = event && partsOf(folder, event, ports).changes;
  if (changes)
    applyChanges(
      graph,
      changes.filter(({ file }) => file === GRAPH),
    );
}

/** The event with what it keeps elsewhere, or without when that is gone: its line is readable all the same. */
function partsOf(folder: string, event: Event, ports: { disk: Disk }): Event {
  try {
    return wholeEvent(folder, event, ports);
  } catch (error) {
    // The timeline shows the name of what is missing.
    if (error instanceof OmkError) return event;
    throw error;
  }
}

/** The places of the last events, as many as were asked for. */
class LastPlaces {
  readonly #most: number | undefined;
  readonly #ring: Place[] = [];
  #taken = 0;

  constructor(most: number | undefined) {
    this.#most = most;
  }

  take(place: Place): void {
    if (this.#most === undefined) {
      if (this.#ring.length === 0) this.#ring.push(place);
      return;
    }
    if (this.#most === 0) return;
    this.#ring[this.#taken++ % this.#most] = place;
  }

  first(events: number): Place & { omitted: number } {
    const at = this.#most === undefined || this.#taken <= this.#most ? 0 : this.#taken % this.#most;
    const place = this.#ring[at];
    if (!place) return { start: Infinity, line: 0, index: 0, omitted: events };
    return { ...place, omitted: this.#most === undefined ? 0 : Math.max(0, events - this.#most) };
  }
}

/** Finds events that are there twice. Those of the chain are not, so nothing has to be kept of them. */
class Repeats {
  readonly duplicates: number[] = [];
  /** Lines that do not follow the one before but were read: number by digest. */
  readonly strays = new Map<string, number[]>();
  readonly visitedDamage = new Set<number>();
  /** Digests of what 0.5.0 wrote, shortened: its logs are small. */
  readonly #legacy = new Set<string>();

  /** Whether this line is known to repeat another one. */
  take(line: LogLine): boolean {
    if (line.digest === undefined) {
      const digest = sha256(JSON.stringify(line.event())).slice(0, 32);
      if (this.#legacy.has(digest)) {
        this.duplicates.push(line.number);
        return true;
      }
      this.#legacy.add(digest);
    } else if (!line.follows) {
      this.visitedDamage.add(line.number);
      const same = this.strays.get(line.digest);
      if (same) same.push(line.number);
      else this.strays.set(line.digest, [line.number]);
    }
    return false;
  }
}

/** Of the lines that follow nothing, those that repeat an earlier line. */
function repeatedStrays(path: string, strays: Map<string, number[]>, ports: { disk: Disk }): number[] {
  const seen = new Set<string>();
  const repeated: number[] = [];
  let number = 0;
  forEachLine(path, 0, ports, (line) => {
    number++;
    const digest = sha256(line);
    if (!strays.has(digest)) return;
    if (seen.has(digest)) repeated.push(number);
    seen.add(digest);
  });
  return repeated;
}

/** The second reading: only what is shown, and no more than the first one had seen. */
function* entriesFrom(folder: string, survey: Survey, ports: { disk: Disk }): Generator<TimelineEntry[]> {
  const { shown, skipped, log } = survey;
  let { line: number, index } = shown;
  if (shown.start > log.validBytes) return;
  for (const batch of lineBatches(logPath(folder, ports), shown.start, { bytes: 0, unfinished: 0 }, ports)) {
    const entries: TimelineEntry[] = [];
    for (const { line, end } of batch) {
      if (end > log.validBytes) break;
      const at = number++;
      const event = skipped.has(at) && !survey.duplicates.has(at) ? undefined : eventIn(line);
      if (!event) continue;
      const position = index++;
      if (!survey.duplicates.has(at)) entries.push(entryOf(partsOf(folder, event, ports), position));
    }
    if (entries.length > 0) yield entries;
  }
}

/** An event as one line of a story. */
export function entryOf(event: Event, index: number): TimelineEntry {
  const summary = summaryOf(event.payload);
  return {
    index,
    ts: event.ts,
    kind: event.kind,
    ...(typeof event.actor === "string" && { actor: event.actor }),
    ...(summary !== undefined && { summary }),
  };
}

const SUMMARY_KEYS = [
  "message",
  "label",
  "reason",
  "status",
  "phase",
  "task_id",
  "gate_id",
  "name",
  "action",
  "source",
  "worker_id",
] as const;

function summaryOf(payload: Event["payload"]): string | undefined {
  if (!payload) return undefined;
  const parts: string[] = [];
  for (const key of SUMMARY_KEYS) {
    const value = scalar(payload[key]);
    if (value !== undefined) parts.push(`${key}=${value}`);
  }
  if (parts.length > 0) return parts.join(", ");
  return Object.keys(payload).length === 0 ? undefined : JSON.stringify(payload);
}

/** Ids of older logs are objects whose key `0` holds the text. */
function scalar(value: unknown): string | undefined {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean")
    return String(value);
  if (Array.isArray(value))
    return value
      .map(scalar)
      .filter((one) => one !== undefined)
      .join(",");
  if (typeof value === "object" && value !== null && "0" in value) return scalar(value["0"]);
  return undefined;
}

/** Counts of a goal's tasks by state, from its log or, for a goal of 0.5.0, its file. */
export function graphSummary(
  folder: string,
  folded: Record<string, unknown> | undefined,
  ports: { disk: Disk },
) {
  const found = folded ?? recordOrNothing(join(folder, GRAPH), ports);
  const tasks = found?.["tasks"];
  const list = Array.isArray(tasks) ? (tasks as { status?: string }[]) : [];
  return { readable: Array.isArray(tasks), summary: countTasks(list) };
}
