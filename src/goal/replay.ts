/** What happened to a goal, from its log alone; the same log always gives the same answer. */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import type { Event } from "../format/event.ts";
import type { Disk } from "../ports.ts";
import { foldFolder, readDocument } from "../store/journal.ts";
import type { GoalSummary } from "./find.ts";

/** One event as the timeline shows it. */
export interface TimelineEntry {
  index: number;
  ts: string;
  kind: string;
  actor?: string;
  summary?: string;
}

/** The replay record, with 0.5.0's keys. */
export interface Replay {
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
  timeline: TimelineEntry[];
  recovery_status?: string;
  known_gaps?: string[];
  duplicate_events: number;
  parse_failures: number;
}

/** Replays a goal's log, naming what could not be read. */
export function replayGoal(goal: GoalSummary, ports: { disk: Disk }): Replay {
  const timeline: TimelineEntry[] = [];
  const seen = new Set<string>();
  let index = 0;
  let duplicates = 0;
  const folded = foldFolder(goal.folder, ports, (event) => {
    const position = index++;
    const whole = JSON.stringify(event);
    if (seen.has(whole)) {
      duplicates++;
      return;
    }
    seen.add(whole);
    timeline.push(entryOf(event, position));
  });
  const failures = folded.log.damage.length + folded.log.tornLines;
  const graph = graphSummary(goal.folder, folded.documents.get("task-graph.json"), ports);
  const gaps = [
    graph.readable ? undefined : "Task graph cannot be read",
    failures > 0 ? `${failures} malformed lines were left out` : undefined,
    folded.log.voidLines.length > 0
      ? `${folded.log.voidLines.length} lines of an overtaken controller are void`
      : undefined,
    duplicates > 0 ? `${duplicates} duplicate events were left out` : undefined,
  ].filter((gap) => gap !== undefined);
  const recovery =
    !graph.readable || failures > 0
      ? "partial: some of the record cannot be read"
      : "recovered: see the gaps";
  return {
    version: 1,
    goal_id: goal.id,
    status: goal.status,
    phase: goal.phase,
    generated_at: timeline.at(-1)?.ts ?? goal.updatedAt,
    event_count: timeline.length,
    task_graph_summary: graph.summary,
    timeline,
    ...(gaps.length > 0 && { recovery_status: recovery, known_gaps: gaps }),
    duplicate_events: duplicates,
    parse_failures: failures,
  };
}

function entryOf(event: Event, index: number): TimelineEntry {
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
  const parts = SUMMARY_KEYS.flatMap((key) => {
    const value = scalar(payload[key]);
    return value === undefined ? [] : [`${key}=${value}`];
  });
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
  const found = folded ?? documentOrNothing(join(folder, "task-graph.json"), ports);
  const tasks = found?.["tasks"];
  const list = Array.isArray(tasks) ? (tasks as { status?: string }[]) : [];
  return { readable: Array.isArray(tasks), summary: countTasks(list) };
}

/** Counts of tasks by state. */
export function countTasks(tasks: readonly { status?: string }[]) {
  const count = (status: string) => tasks.filter((task) => task.status === status).length;
  return {
    total_tasks: tasks.length,
    pending_tasks: count("pending"),
    blocked_tasks: count("blocked"),
    done_tasks: count("done"),
  };
}

function documentOrNothing(path: string, ports: { disk: Disk }): Record<string, unknown> | undefined {
  try {
    const found = readDocument(path, ports);
    return found.state === "found" ? found.record : undefined;
  } catch (error) {
    // Replay shows what there is; a graph of a newer version is one of its gaps.
    if (error instanceof OmkError) return undefined;
    throw error;
  }
}
