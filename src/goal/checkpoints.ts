/**
 * What a goal has spent, moment by moment: `budget_checkpoint` events, and the two files that are made from the log for
 * readers, `budget-checkpoints.jsonl` and `cost.jsonl`. Both may be lost: the next command that writes makes them again.
 */
import { join } from "node:path";

import type { BudgetCheckpoint, CostFile } from "../format/budget.ts";
import type { Event } from "../format/event.ts";
import type { Goal } from "../format/goal.ts";
import { parseJson, renderDocument, renderLine } from "../format/json.ts";
import type { Work } from "../format/work.ts";
import type { Disk } from "../ports.ts";
import type { NewEvent } from "../store/event-log.ts";
import { applyChanges, type Documents } from "../store/journal.ts";
import { BUDGET_CODES, budgetLimits, spent } from "./budget.ts";

/** The moments at which 0.5.0 looked at the budget. */
export type CheckpointLabel =
  | "goal_created"
  | "verify_completed"
  | "execute_completed"
  | "review_completed"
  | "goal_paused"
  | "goal_resumed"
  | "goal_cancelled"
  | "budget_exhausted"
  | "budget_extended"
  | "integration_decision";

/** Names of the two files. */
export const CHECKPOINTS_FILE = "budget-checkpoints.jsonl";
export const COST_FILE = "cost.jsonl";

const BY_KIND: Partial<Record<string, CheckpointLabel>> = {
  goal_created: "goal_created",
  goal_paused: "goal_paused",
  goal_resumed: "goal_resumed",
  manual_interrupt: "goal_cancelled",
  goal_budget_extended: "budget_extended",
  goal_accepted: "integration_decision",
  goal_rejected: "integration_decision",
};

// By their names: the file that has them loads schemas, and light commands load this one.
const BY_TASK: Partial<Record<string, CheckpointLabel>> = {
  "goal-local-verify": "verify_completed",
  "goal-review": "review_completed",
  "goal-security-review": "review_completed",
};

/** Which moment an event is, if it is one. */
function momentOf({ kind, payload }: Pick<NewEvent, "kind" | "payload">): CheckpointLabel | undefined {
  if (kind === "proof_written")
    return payload?.["status"] === "needs_more_budget" ? "budget_exhausted" : undefined;
  if (kind !== "task_completed" && kind !== "task_failed") return BY_KIND[kind];
  // Only what was claimed has a fence: a turn of an agent.
  if (typeof payload?.["fence"] === "number") return "execute_completed";
  return BY_TASK[String(payload?.["task_id"])];
}

type BudgetGoal = Pick<
  Goal,
  "status" | "phase" | "created_at" | "budget_time" | "budget_tokens" | "budget_usd" | "reason_code"
>;
type BudgetWork = Parameters<typeof spent>[0];

/** What a goal may spend in all, what it has spent, and what is left; keys of a limit that was not set are missing. */
export function budgetStand(goal: BudgetGoal, work: BudgetWork) {
  const limits = budgetLimits(goal);
  const used = spent(work);
  const left = (limit: number, spentOfIt: number) => Math.max(0, limit - spentOfIt);
  return {
    ...(goal.budget_time !== undefined && {
      budget_time: goal.budget_time,
      total_budget_secs: limits.ms / 1_000,
      remaining_budget_secs: Math.floor(left(limits.ms, used.activeMs) / 1_000),
    }),
    ...(goal.budget_tokens !== undefined && { budget_tokens: goal.budget_tokens }),
    used_tokens: used.tokens,
    ...(goal.budget_tokens !== undefined && { remaining_budget_tokens: left(limits.tokens, used.tokens) }),
    ...(goal.budget_usd !== undefined && { budget_usd: goal.budget_usd }),
    estimated_cost_usd: used.usd,
    // Sums of dollars are not exact, and nobody wants to see that.
    ...(goal.budget_usd !== undefined && {
      remaining_budget_usd: Number(left(limits.usd, used.usd).toFixed(9)),
    }),
    /** Ours: time at work, which is what a time budget counts. */
    active_secs: Math.floor(used.activeMs / 1_000),
  };
}

function checkpointOf(
  id: string,
  label: CheckpointLabel,
  documents: { goal: BudgetGoal; work: BudgetWork },
  now: string,
): BudgetCheckpoint {
  const { goal, work } = documents;
  const sinceMs = Date.parse(now) - Date.parse(goal.created_at);
  return {
    version: 1,
    goal_id: id,
    label,
    status: goal.status,
    phase: goal.phase,
    recorded_at: now,
    elapsed_since_created_secs: Math.max(0, Math.floor(sinceMs / 1_000) || 0),
    ...budgetStand(goal, work),
  };
}

/** The checkpoints that belong to events which are about to be recorded: how things stand after them. */
export function checkpointEvents(
  id: string,
  events: readonly NewEvent[],
  documents: Documents,
  now: string,
): NewEvent[] {
  const labels = new Set(events.flatMap((event) => momentOf(event) ?? []));
  if (labels.size === 0) return [];
  const after: Documents = new Map();
  for (const file of ["goal.json", "work.json"]) after.set(file, { ...documents.get(file) });
  applyChanges(
    after,
    events.flatMap(({ changes = [] }) => changes.filter(({ file }) => after.has(file))),
  );
  const goal = after.get("goal.json") as unknown as BudgetGoal;
  const work = { attempts: [], active_ms: 0, ...after.get("work.json") } as unknown as BudgetWork;
  return [...labels].flatMap((label): NewEvent[] => {
    const checkpoint = checkpointOf(id, label, { goal, work }, now);
    const written = { kind: "budget_checkpoint", actor: "goal-controller", payload: checkpoint };
    return label === "budget_exhausted" ? [exhaustedEvent(goal, checkpoint), written] : [written];
  });
}

/** Only turns are begun or stopped because of a budget. */
function exhaustedEvent(goal: BudgetGoal, checkpoint: BudgetCheckpoint): NewEvent {
  const { version: _version, goal_id: _id, label: _label, ...values } = checkpoint;
  const found = Object.entries(BUDGET_CODES).find(([, code]) => code === goal.reason_code);
  const budget_source = found?.[0] ?? "";
  const payload = { action: "goal execute", ...values, budget_source };
  return { kind: "goal_budget_exhausted", actor: "goal-controller", payload };
}

const FILE_BYTES_MAX = 32 * 1024 * 1024;

/** What the lines of the events hold from which the files are made. */
export const BOOK_MARKS: readonly string[] = ['"budget_checkpoint"'];

/** Gathers what the files need while the log is read and while it grows. */
export class BudgetBooks {
  readonly #folder: string;
  readonly #checkpoints = new Set<string>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  take(events: readonly Pick<Event, "kind" | "payload">[]): void {
    for (const { kind, payload } of events) {
      if (kind === "budget_checkpoint" && payload) this.#checkpoints.add(renderLine(payload));
    }
  }

  /** Writes what the files lack; what other programs or 0.5.0 put there stays. */
  async write(documents: Documents, ports: { disk: Disk; tell(line: string): void }): Promise<void> {
    try {
      await this.#writeCheckpoints(ports);
      await this.#writeCosts(documents, ports);
    } catch (error) {
      // They can be made again at any time, and the goal itself is safe.
      ports.tell(
        `the files about the budget were not written: ${error instanceof Error ? error.message : ""}`,
      );
    }
  }

  async #writeCheckpoints({ disk }: { disk: Disk }): Promise<void> {
    const path = join(this.#folder, CHECKPOINTS_FILE);
    const before = textOf(path, disk);
    const known = new Set(before.split("\n"));
    const missing = [...this.#checkpoints].filter((line) => !known.has(line));
    if (missing.length === 0) return;
    const start = before === "" || before.endsWith("\n") ? before : `${before}\n`;
    await disk.writeDerived(path, `${start}${missing.join("\n")}\n`);
  }

  async #writeCosts(documents: Documents, { disk }: { disk: Disk }): Promise<void> {
    const path = join(this.#folder, COST_FILE);
    const before = textOf(path, disk);
    const entries = [...legacyCosts(before), ...costEntries(documents)];
    if (entries.length === 0) return;
    const text = renderDocument(entries);
    if (text !== before) await disk.writeDerived(path, text);
  }
}

function textOf(path: string, disk: Disk): string {
  if (!disk.stat(path)) return "";
  return Buffer.from(disk.readFile(path, FILE_BYTES_MAX)).toString("utf8");
}

/** What 0.5.0 had written: its entries have no fence. */
function legacyCosts(text: string): unknown[] {
  if (text === "") return [];
  let found: unknown;
  try {
    found = parseJson(text);
  } catch {
    // Damaged: ours can be made again, and 0.5.0's are no longer to be read.
    return [];
  }
  if (!Array.isArray(found)) return [];
  return found.filter((entry) => typeof entry === "object" && entry !== null && !("fence" in entry));
}

/** One entry per turn that has ended, none of which counts another one again. */
function costEntries(documents: Documents): CostFile {
  const goal: Partial<Goal> | undefined = documents.get("goal.json");
  const work: Partial<Work> | undefined = documents.get("work.json");
  const tier = tierOf(goal?.engine ?? "");
  const entryOf = (
    [session_type, name]: readonly [string, string],
    turn: Work["attempts"][number] | Work["helper_turns"][number],
  ): CostFile[number] => {
    const { usage, started_at, ended_at, fence } = turn;
    const ms = ended_at === null ? 0 : Date.parse(ended_at) - Date.parse(started_at);
    return {
      session_type,
      name,
      started_at,
      ended_at,
      estimate: {
        input_tokens: (usage?.input_tokens ?? 0) + (usage?.cache_write_tokens ?? 0),
        output_tokens: usage?.output_tokens ?? 0,
        duration_secs: Math.max(0, Math.floor(ms / 1_000) || 0),
        worker_count: 1,
        estimated_usd: usage?.cost_usd ?? 0,
        tier,
      },
      actual_usd: usage?.cost_source === "reported" ? (usage.cost_usd ?? null) : null,
      fence,
    };
  };
  return [
    ...(work?.attempts ?? []).map((turn) => ({ turn, who: ["execute", "goal execute"] as const })),
    ...(work?.helper_turns ?? []).map((turn) => ({
      turn,
      who: turn.role === "plan" ? (["plan", "goal plan"] as const) : (["review", "goal review"] as const),
    })),
  ]
    .filter(({ turn }) => turn.status !== "running")
    .toSorted((a, b) => a.turn.fence - b.turn.fence)
    .map(({ turn, who }) => entryOf(who, turn));
}

function tierOf(engine: string): "Budget" | "Standard" | "Premium" {
  if (/codex|gpt-4o/i.test(engine)) return "Premium";
  return /gemini|haiku/i.test(engine) ? "Budget" : "Standard";
}
