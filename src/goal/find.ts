/**
 * Finding goals and reading how they stand, for commands that must answer at once: no schema library, no whole log.
 * A snapshot older than the log is brought up to date from the few events behind it.
 */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import type { GoalPhase, GoalStatus } from "../format/goal.ts";
import { existingGoalId } from "../format/names.ts";
import type { Disk } from "../ports.ts";
import { catchUp } from "../store/catch-up.ts";
import { foldFolder, readDocument, type Documents } from "../store/journal.ts";

/** The fields of a goal that every list and status shows; `record` has the others. */
export interface GoalSummary {
  id: string;
  folder: string;
  status: GoalStatus;
  phase: GoalPhase;
  originalGoal: string;
  createdAt: string;
  updatedAt: string;
  record: Record<string, unknown>;
}

/** A goal folder whose state cannot be read: named, and never in the way of the others. */
export interface UnreadableGoal {
  id: string;
  because: string;
}

/** The folder of all goals. */
function goalsFolder(root: string): string {
  return join(root, "goals");
}

/** All goals, newest first, and those that cannot be read. */
export function listGoals(
  root: string,
  ports: { disk: Disk },
): { goals: GoalSummary[]; unreadable: UnreadableGoal[] } {
  const folder = goalsFolder(root);
  const goals: GoalSummary[] = [];
  const unreadable: UnreadableGoal[] = [];
  if (!ports.disk.stat(folder)) return { goals, unreadable };
  for (const id of ports.disk.list(folder)) {
    if (ports.disk.stat(join(folder, id))?.kind !== "folder") continue;
    try {
      const goal = readGoal(join(folder, id), id, ports);
      if (goal) goals.push(goal);
    } catch (error) {
      if (!(error instanceof OmkError)) throw error;
      unreadable.push({ id, because: error.message });
    }
  }
  const key = (goal: GoalSummary) => `${sortable(goal.createdAt)} ${goal.id}`;
  return { goals: goals.toSorted((a, b) => (key(a) < key(b) ? 1 : -1)), unreadable };
}

function sortable(instant: string): string {
  const time = Date.parse(instant);
  return Number.isNaN(time) ? instant : String(time).padStart(16, "0");
}

/** The goal with this id, or the newest for `latest`. Throws `goal.not_found`, and `usage.invalid` for path-like ids. */
export function findGoal(root: string, wanted: string, ports: { disk: Disk }): GoalSummary {
  if (wanted === "latest") {
    const { goals, unreadable } = listGoals(root, ports);
    const newest = goals[0];
    if (newest) return newest;
    throw new OmkError("goal.not_found", `No goals found in ${goalsFolder(root)}.`, {
      hint:
        unreadable[0] === undefined
          ? 'Make one, for example: omk goal run "Fix the failing test in sum.test.js"'
          : `${unreadable.length} cannot be read; the first: ${unreadable[0].because}`,
    });
  }
  const id = existingGoalId(wanted);
  const folder = join(goalsFolder(root), id);
  const goal = ports.disk.stat(folder)?.kind === "folder" ? readGoal(folder, id, ports) : undefined;
  if (goal) return goal;
  throw new OmkError("goal.not_found", `Goal '${id}' not found in ${goalsFolder(root)}.`, {
    hint: "Run `omk goal list` to see the goals there are.",
  });
}

/** The folder of a goal, whatever state it is in: for checks that say themselves what is wrong with it. */
export function findGoalFolder(
  root: string,
  wanted: string,
  ports: { disk: Disk },
): { id: string; folder: string } {
  if (wanted === "latest") return findGoal(root, wanted, ports);
  const id = existingGoalId(wanted);
  const folder = join(goalsFolder(root), id);
  if (ports.disk.stat(join(folder, "proof.json"))) return { id, folder };
  return findGoal(root, wanted, ports);
}

/** How one goal stands; undefined for a folder that never became a goal. Throws when its state cannot be read. */
export function readGoal(folder: string, id: string, ports: { disk: Disk }): GoalSummary | undefined {
  const path = join(folder, "goal.json");
  const found = readDocument(path, ports);
  let record = found.state === "found" ? upToDate(folder, found.record, ports) : undefined;
  if (!record) {
    // Missing or damaged: the log has it all, when it is one of ours.
    record = foldFolder(folder, ports).documents.get("goal.json");
    if (!record && found.state === "missing") return undefined;
  }
  if (!record) {
    const because = found.state === "unreadable" ? found.because : "it cannot be read";
    throw new OmkError("state.damaged", `${path} has an invalid format: ${because}.`, {
      hint: "Other goals are not affected. Restore the file from a copy, or leave it.",
    });
  }
  return summaryOf(folder, id, path, record);
}

function summaryOf(folder: string, id: string, path: string, record: Record<string, unknown>): GoalSummary {
  const text = (key: string): string => {
    const value = record[key];
    if (typeof value === "string") return value;
    throw new OmkError("state.damaged", `${path} has an invalid format: "${key}" is missing.`, {
      hint: "Other goals are not affected. Restore the file from a copy, or leave it.",
    });
  };
  return {
    id,
    folder,
    status: text("status") as GoalStatus,
    phase: (record["phase"] as GoalPhase | undefined) ?? "intake",
    originalGoal: text("original_goal"),
    createdAt: text("created_at"),
    updatedAt: text("updated_at"),
    record: {
      ...record,
      // Where they are now: the folder may have been moved since.
      ...(record["cost_tracker_path"] !== undefined && { cost_tracker_path: join(folder, "cost.jsonl") }),
      state_dir: folder,
    },
  };
}

/**
 * Other documents of a goal as they stand, each brought up to date like the goal itself; what cannot be read is left out.
 * They are not checked against their schemas: for commands that show what is there.
 */
export function readGoalDocuments(
  { folder }: Pick<GoalSummary, "folder">,
  names: readonly string[],
  ports: { disk: Disk },
): Documents {
  const documents: Documents = new Map();
  let from: { seq: number; bytes: number } | undefined;
  for (const name of names) {
    const record = recordOrNothing(join(folder, name), ports);
    if (!record) continue;
    documents.set(name, record);
    const { seq, log_bytes: bytes } = record;
    if (typeof seq !== "number" || typeof bytes !== "number") continue;
    // From the oldest on: what a newer one has already is set again, each key to what it came to be at last.
    if (!from || seq < from.seq) from = { seq, bytes };
  }
  const isWhole = documents.size === names.length;
  const caughtUp = isWhole && from ? catchUp(folder, documents, from, ports) : documents;
  if (isWhole && caughtUp) return caughtUp;
  const folded = foldFolder(folder, ports).documents;
  for (const name of names) {
    const record = folded.get(name);
    if (record) documents.set(name, record);
  }
  return documents;
}

/** A document as it lies there, or nothing when it cannot be read. */
export function recordOrNothing(path: string, ports: { disk: Disk }): Record<string, unknown> | undefined {
  try {
    const found = readDocument(path, ports);
    return found.state === "found" ? found.record : undefined;
  } catch (error) {
    // Of a newer version: others say so where it matters.
    if (error instanceof OmkError) return undefined;
    throw error;
  }
}

/** Brings a snapshot up to date from the events behind it; undefined when they do not continue it. */
function upToDate(
  folder: string,
  record: Record<string, unknown>,
  ports: { disk: Disk },
): Record<string, unknown> | undefined {
  const { seq, log_bytes: bytes } = record;
  if (typeof seq !== "number" || typeof bytes !== "number") return record;
  const documents: Documents = new Map([["goal.json", { ...record }]]);
  return catchUp(folder, documents, { seq, bytes }, ports)?.get("goal.json");
}
