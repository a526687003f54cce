/** What happened in a run, event by event, as `omk run show` shows it: one event in memory at a time. */
import type { Event } from "../format/event.ts";
import type { Disk } from "../ports.ts";
import { logPath } from "../store/journal.ts";
import { readLog } from "../store/log-reader.ts";

/** Which events are wanted; what is not given does not restrict. */
export interface TimelineFilter {
  /** Part of the kind's name, in any case. */
  kind?: string;
  /** The actor. */
  worker?: string;
  task?: string;
}

/** What a whole reading found beside the events. */
export interface TimelineEnd {
  source: string;
  /** Lines that cannot be read. */
  malformed: number;
  /** Lines of a controller that had been overtaken. */
  voided: number;
}

/** Calls `visit` with each event that passes the filter, in the order of the log; blobs are not fetched. */
export function readTimeline(
  folder: string,
  filter: TimelineFilter,
  ports: { disk: Disk },
  visit: (event: Event) => void,
): TimelineEnd {
  const source = logPath(folder, ports);
  const kind = filter.kind?.toLowerCase();
  const log = readLog(source, ports, (event) => {
    if (kind !== undefined && !event.kind.toLowerCase().includes(kind)) return;
    if (filter.worker !== undefined && event.actor !== filter.worker) return;
    if (filter.task !== undefined && textOf(event.payload?.["task_id"]) !== filter.task) return;
    visit(event);
  });
  return { source, malformed: log.damage.length + log.tornLines, voided: log.voidLines.length };
}

/** Columns that show what an event is evidence of, each with the keys it may stand under; others are not shown. */
const COLUMNS: readonly (readonly [column: string, ...keys: string[]])[] = [
  ["wire_method", "wire_method", "method"],
  ["wire_event", "wire_event", "event_type", "type"],
  ["wire_request", "wire_request", "request_type", "raw_request_type"],
  ["wire_request_id", "wire_request_id", "request_id"],
  ["output_summary", "output_summary"],
  ["message", "message"],
  ["reason", "reason", "error"],
];

/** One event as a line of text. */
export function timelineRow(event: Event): string {
  const time = Date.parse(event.ts);
  const clock = Number.isNaN(time) ? "--:--:--" : new Date(time).toISOString().slice(11, 19);
  const payload = event.payload ?? {};
  const task = textOf(payload["task_id"]);
  const cells = COLUMNS.flatMap(([column, ...keys]) => {
    const text = keys
      .map((key) => textOf(payload[key]))
      .find((one) => one !== undefined)
      ?.replaceAll(/\s+/g, " ")
      .trim();
    return text === undefined || text === "" ? [] : [`  ${column}=${text}`];
  });
  const kind = flat(event.kind).padEnd(22);
  const who = typeof event.actor === "string" ? flat(event.actor) : "—";
  return `  ${clock}  ${kind}  actor=${who}${task === undefined ? "" : `  task=${flat(task)}`}${cells.join("")}`;
}

/** Text, also in the form of older logs, which wrap ids as `{"0": "…"}`. */
export function textOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value === "object" && value !== null && "0" in value && typeof value["0"] === "string")
    return value["0"];
  return undefined;
}

function flat(text: string): string {
  return text.replaceAll(/\s+/g, " ");
}

/** Gates also run on the base, and in copies: these say nothing of the result. Runs of 0.5.0 have only the one. */
export function isAboutResult({ run }: Readonly<Record<string, unknown>>): boolean {
  return typeof run !== "string" || run.endsWith("-result");
}
