/** Where the tasks of a run are worked on: all in the project directory, or each attempt in a folder of its own. */
import { join } from "node:path";

import type { DocumentChange } from "../format/event.ts";
import type { Task } from "../format/run.ts";
import type { RunAttempt, TeamWork } from "../format/team-work.ts";
import type { WorkTree } from "../git/work-tree.ts";
import { normalizedPath } from "../scheduler/ownership.ts";
import type { Stop } from "./budget.ts";

/** Where one attempt works. */
export interface Site {
  cwd: string;
  /** Where the agent's files may be written when it asks us to; absent means everywhere in the project. */
  writeSet?: readonly string[];
  /** What its agent has to know besides its task. */
  notes: readonly string[];
}

/** What became of the result of an attempt that its agent has finished; `attempt` is what the log shall know of it. */
export type Taken =
  | { outcome: "taken"; attempt: Partial<RunAttempt>; changes: DocumentChange[] }
  | { outcome: "rejected"; attempt: Partial<RunAttempt>; code: string; because: string };

/** What a run has left. */
export type RunResult = NonNullable<TeamWork["result"]>;

/** One way of working. What it writes into the log by itself is about folders; how attempts end is the crew's to say. */
export interface Sites {
  /** What planner, gates and summary look at: the project directory, or a folder that shows what has come together. */
  readonly tree: WorkTree;
  /** Whether a worker meets what the others do while they do it. */
  readonly isShared: boolean;

  /** What the work starts from. */
  base(signal: AbortSignal): Promise<{ tree: string; commit: string | null }>;
  /** Brings `tree` to what has come together, ready for gates and readers. */
  show(signal: AbortSignal): Promise<void>;

  /** Makes the place of an attempt that the log knows. */
  enter(task: Task, attempt: RunAttempt, signal: AbortSignal): Promise<Site>;
  /** Saves all that an attempt has left, and says what the log shall know of that. Done twice is done once. */
  leave(attempt: RunAttempt): Promise<Partial<RunAttempt>>;
  /** Makes what a finished attempt has left a part of the result; `record` writes that down before the next one's turn. */
  take(task: Task, attempt: RunAttempt, record: (taken: Taken) => Promise<void>): Promise<void>;
  /** Takes away the place of an attempt whose end the log knows. */
  clear(attempt: RunAttempt): Promise<void>;

  /** What the work has left; undefined when that is what was recorded last. */
  result(signal: AbortSignal): Promise<RunResult | undefined>;
  /** Why what the work has left must not be given to the user yet; undefined when it may. */
  heldBack(): Promise<Stop | undefined>;
  /** Keeps base and result for good; with `isOver` the result is also given to the user. */
  keep(isOver: boolean): Promise<Partial<TeamWork>>;
  /** Saves and takes away what an earlier controller left of attempts whose end is known. */
  tidy(): Promise<void>;
  /** Takes away what only this process needs. */
  release(): Promise<void>;
}

/**
 * Where an agent may write on a task, below a folder; everywhere when the task names no place, or all of the project. What
 * leads nobody knows where is no place (`isNamed`).
 */
export function writable({ write_set }: Pick<Task, "write_set">, folder: string): Pick<Site, "writeSet"> {
  const places = write_set.map(normalizedPath).filter((place) => place !== undefined);
  if (write_set.length === 0 || places.includes(".")) return {};
  return { writeSet: places.map((place) => join(folder, place)) };
}
