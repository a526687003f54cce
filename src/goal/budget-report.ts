/** What a goal may spend, what it has spent, and when: for people and scripts. Light, and quick on a long log. */
import { join } from "node:path";

import type { BudgetCheckpoint, CostFile } from "../format/budget.ts";
import type { Goal } from "../format/goal.ts";
import { tryJson } from "../format/json.ts";
import type { Work } from "../format/work.ts";
import type { Disk } from "../ports.ts";
import { readLine } from "../store/event-line.ts";
import { logPath } from "../store/journal.ts";
import { forEachLine } from "../store/log-reader.ts";
import { budgetStand, CHECKPOINTS_FILE, COST_FILE } from "./checkpoints.ts";
import { readGoalDocuments, type GoalSummary } from "./find.ts";

/** The report, with 0.5.0's keys and its sums put right. */
export type BudgetReport = {
  version: 1;
  goal_id: string;
  generated_at: string;
} & Omit<ReturnType<typeof budgetStand>, "active_secs"> & {
    latest?: BudgetCheckpoint;
    checkpoints: BudgetCheckpoint[];
    spent_usd: number;
    spent_tokens: number;
    spent_seconds: number;
  };

/** Reports a goal's budget, and how many lines of its checkpoint file could not be read. */
export function budgetReport(
  goal: GoalSummary,
  now: string,
  ports: { disk: Disk },
): { report: BudgetReport; malformed: number } {
  const documents = readGoalDocuments(goal, ["work.json"], ports);
  const work: Partial<Work> | undefined = documents.get("work.json");
  const { checkpoints, malformed } = checkpointsOf(goal.folder, ports);
  const latest = checkpoints.at(-1);
  const { active_secs, ...stand } = budgetStand(goal.record as unknown as Goal, {
    attempts: work?.attempts ?? [],
    helper_turns: work?.helper_turns ?? [],
    active_ms: work?.active_ms ?? 0,
  });
  const spent = work
    ? { spent_usd: stand.estimated_cost_usd, spent_tokens: stand.used_tokens, spent_seconds: active_secs }
    : legacySpent(goal.folder, ports);
  // A goal of 0.5.0 that no omk of ours has touched: what it said last is what is known.
  const before = work || !latest ? {} : standOf(latest);
  const report: BudgetReport = {
    version: 1,
    goal_id: goal.id,
    generated_at: now,
    ...stand,
    ...before,
    ...(latest && { latest }),
    checkpoints,
    ...spent,
  };
  return { report, malformed };
}

function standOf(latest: BudgetCheckpoint): Partial<BudgetReport> {
  const keys = ["used_tokens", "estimated_cost_usd", "remaining_budget_secs"] as const;
  const more = ["remaining_budget_tokens", "remaining_budget_usd"] as const;
  return Object.fromEntries(
    [...keys, ...more].flatMap((key) => (latest[key] === undefined ? [] : [[key, latest[key]]])),
  );
}

/** The mark of a line that may hold a checkpoint: few do, and only those are parsed. */
const MARK = '"kind":"budget_checkpoint"';

/** From the log, which is the truth; from the file where the log has none. */
function checkpointsOf(
  folder: string,
  ports: { disk: Disk },
): { checkpoints: BudgetCheckpoint[]; malformed: number } {
  const checkpoints: BudgetCheckpoint[] = [];
  forEachLine(logPath(folder, ports), 0, ports, (line) => {
    if (!line.includes(MARK)) return;
    const read = readLine(line);
    if (read.kind === "bad" || read.event.kind !== "budget_checkpoint") return;
    if (isCheckpoint(read.event.payload)) checkpoints.push(read.event.payload);
  });
  if (checkpoints.length > 0) return { checkpoints, malformed: 0 };
  let malformed = 0;
  forEachLine(join(folder, CHECKPOINTS_FILE), 0, ports, (line) => {
    const text = line.toString("utf8");
    if (text.trim() === "") return;
    const value = tryJson(text);
    if (isCheckpoint(value)) checkpoints.push(value);
    else malformed++;
  });
  return { checkpoints, malformed };
}

/** The full schema is `format/budget.ts`; this light check is tested to agree with it on what is shown. */
export function isCheckpoint(value: unknown): value is BudgetCheckpoint {
  if (typeof value !== "object" || value === null) return false;
  const one = value as Record<string, unknown>;
  return (
    TEXTS.every((key) => typeof one[key] === "string") && one["elapsed_since_created_secs"] !== undefined
  );
}

const TEXTS = ["goal_id", "label", "status", "phase", "recorded_at"];

const COST_BYTES_MAX = 32 * 1024 * 1024;

/** The sums of 0.5.0's file, but for what its budget checks had added up again and again. */
function legacySpent(folder: string, { disk }: { disk: Disk }) {
  const sums = { spent_usd: 0, spent_tokens: 0, spent_seconds: 0 };
  const path = join(folder, COST_FILE);
  if (!disk.stat(path)) return sums;
  const found = tryJson(Buffer.from(disk.readFile(path, COST_BYTES_MAX)).toString("utf8"));
  for (const entry of Array.isArray(found) ? (found as Partial<CostFile[number]>[]) : []) {
    if (entry.session_type === "budget_check" || !entry.estimate) continue;
    sums.spent_usd += Number(entry.actual_usd ?? entry.estimate.estimated_usd);
    sums.spent_tokens += Number(entry.estimate.input_tokens) + Number(entry.estimate.output_tokens);
    sums.spent_seconds += Number(entry.estimate.duration_secs);
  }
  return sums;
}
