/** Goals as records to be read: from a state root, or from memory where a program's own tests need some. Nothing writes. */
import { join } from "node:path";
import type { z } from "zod";

import { OmkError } from "../errors.ts";
import { Goal } from "../format/goal.ts";
import { problemsOf } from "../format/problems.ts";
import { Proof } from "../format/proof.ts";
import { TaskGraph } from "../format/task-graph.ts";
import type { Disk } from "../ports.ts";
import { untoldFailure } from "../store/files.ts";
import { readDocument } from "../store/journal.ts";
import { findGoal, listGoals, readGoal, readGoalDocuments } from "./find.ts";
import { existingGoalId } from "../format/names.ts";

/** Why a goal's state cannot be had: it is not there, the disk refuses, or what is there is nothing omk wrote. */
export type GoalStateProblem = "MissingFile" | "IoError" | "InvalidFormat";

/** A goal's state cannot be had. `kind` says which way; the message and the hint are for people. */
export class GoalStateError extends OmkError {
  readonly kind: GoalStateProblem;

  constructor(kind: GoalStateProblem, failure: OmkError) {
    super(failure.code, failure.message, {
      ...(failure.hint !== undefined && { hint: failure.hint }),
      cause: failure,
    });
    this.kind = kind;
  }
}

/** A goal whose state cannot be read: named, and never in the way of the others. */
export interface UnreadableState {
  id: string;
  because: string;
}

/** Where goals can be read. Ids that are no ids are refused with `usage.invalid`; all else that fails is a `GoalStateError`. */
export interface GoalStateStore {
  /** All goals, newest first, and those that cannot be read. */
  list(): { goals: Goal[]; unreadable: UnreadableState[] };
  /** The goal with this id. */
  load(id: string): Goal;
  /** The goal with this id, or the newest one for `latest`. */
  resolve(wanted: string): Goal;
  loadTaskGraph(id: string): TaskGraph;
  /** The proof as it was last written. */
  loadProof(id: string): Proof;
}

/** The goals of a state root, each as its log says it stands. */
export class DiskGoalStateStore implements GoalStateStore {
  readonly #root: string;
  readonly #ports: { disk: Disk };

  constructor(root: string, ports: { disk: Disk }) {
    this.#root = root;
    this.#ports = ports;
  }

  list(): { goals: Goal[]; unreadable: UnreadableState[] } {
    return translated(() => {
      const found = listGoals(this.#root, this.#ports);
      const goals: Goal[] = [];
      const unreadable = [...found.unreadable];
      for (const { id, record } of found.goals) {
        const read = Goal.safeParse(record);
        if (read.success) goals.push(read.data);
        else unreadable.push({ id, because: problemsOf(read.error).join("; ") });
      }
      return { goals, unreadable };
    });
  }

  load(id: string): Goal {
    existingGoalId(id);
    return translated(() => {
      const goal = readGoal(this.#folderOf(id), id, this.#ports);
      if (!goal) throw missing(id);
      return typedRecord(Goal, goal.record, id, "goal.json");
    });
  }

  resolve(wanted: string): Goal {
    if (wanted !== "latest") return this.load(wanted);
    return translated(() => {
      const { id, record } = findGoal(this.#root, wanted, this.#ports);
      return typedRecord(Goal, record, id, "goal.json");
    });
  }

  loadTaskGraph(id: string): TaskGraph {
    return this.#document(id, "task-graph.json", TaskGraph);
  }

  loadProof(id: string): Proof {
    return this.#document(id, "proof.json", Proof);
  }

  #document<T>(id: string, name: string, schema: z.ZodType<T>): T {
    existingGoalId(id);
    return translated(() => {
      const folder = this.#folderOf(id);
      if (this.#ports.disk.stat(folder)?.kind !== "folder") throw missing(id);
      const known = readGoalDocuments({ folder }, [name], this.#ports).get(name);
      if (known) return typedRecord(schema, known, id, name);
      const found = readDocument(join(folder, name), this.#ports);
      if (found.state === "missing") throw missing(id, name);
      if (found.state === "unreadable") throw invalid(id, name, found.because);
      return typedRecord(schema, found.record, id, name);
    });
  }

  #folderOf(id: string): string {
    return join(this.#root, "goals", id);
  }
}

/** What a store in memory holds of a goal. */
export interface StoredGoal {
  goal: Goal;
  taskGraph?: TaskGraph;
  proof?: Proof;
}

/** The same in memory: for tests of programs that read goals. */
export class InMemoryGoalStateStore implements GoalStateStore {
  readonly #stored = new Map<string, StoredGoal>();

  constructor(goals: Iterable<StoredGoal> = []) {
    for (const goal of goals) this.put(goal);
  }

  /** Adds a goal, or replaces the one with its id. Throws for records that are not what files may hold. */
  put({ goal, taskGraph, proof }: StoredGoal): void {
    const id = existingGoalId(goal.goal_id);
    this.#stored.set(id, {
      goal: typedRecord(Goal, goal, id, "goal.json"),
      ...(taskGraph && { taskGraph: typedRecord(TaskGraph, taskGraph, id, "task-graph.json") }),
      ...(proof && { proof: typedRecord(Proof, proof, id, "proof.json") }),
    });
  }

  list(): { goals: Goal[]; unreadable: UnreadableState[] } {
    const goals = [...this.#stored.values()].map(({ goal }) => Goal.parse(goal));
    const key = (goal: Goal) => `${String(Date.parse(goal.created_at)).padStart(16, "0")} ${goal.goal_id}`;
    return { goals: goals.toSorted((a, b) => (key(a) < key(b) ? 1 : -1)), unreadable: [] };
  }

  load(id: string): Goal {
    // Parsing copies: what a caller changes is not in the store.
    return Goal.parse(this.#get(id).goal);
  }

  resolve(wanted: string): Goal {
    if (wanted !== "latest") return this.load(wanted);
    const [newest] = this.list().goals;
    if (newest) return newest;
    const none = new OmkError("goal.not_found", "There are no goals.", { hint: "Put one into the store." });
    throw new GoalStateError("MissingFile", none);
  }

  loadTaskGraph(id: string): TaskGraph {
    const { taskGraph } = this.#get(id);
    if (taskGraph) return TaskGraph.parse(taskGraph);
    throw new GoalStateError("MissingFile", missing(id, "task-graph.json"));
  }

  loadProof(id: string): Proof {
    const { proof } = this.#get(id);
    if (proof) return Proof.parse(proof);
    throw new GoalStateError("MissingFile", missing(id, "proof.json"));
  }

  #get(id: string): StoredGoal {
    const stored = this.#stored.get(existingGoalId(id));
    if (stored) return stored;
    throw new GoalStateError("MissingFile", missing(id));
  }
}

/** A record of a goal as its schema has it; `state.damaged` where it is not. */
export function typedRecord<T>(schema: z.ZodType<T>, record: unknown, id: string, name: string): T {
  const read = schema.safeParse(record);
  if (read.success) return read.data;
  throw invalid(id, name, problemsOf(read.error).join("; "));
}

function missing(id: string, name = "goal.json"): OmkError {
  return new OmkError("goal.not_found", `Goal ${id} has no ${name}.`, {
    hint: "Look at the goals that there are.",
  });
}

function invalid(id: string, name: string, because: string): OmkError {
  return new OmkError("state.damaged", `Goal ${id} has an invalid ${name}: ${because}.`, {
    hint: "Other goals are not affected.",
  });
}

const KINDS: Partial<Record<OmkError["code"], GoalStateProblem>> = {
  "goal.not_found": "MissingFile",
  "state.io": "IoError",
  "state.permissions": "IoError",
  "state.damaged": "InvalidFormat",
  "state.version": "InvalidFormat",
};

/** Gives what the reading gives; what fails at it is told apart. */
function translated<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    const told = error instanceof OmkError ? error : untoldFailure(error);
    const kind = told && KINDS[told.code];
    if (!told || kind === undefined) throw error;
    throw new GoalStateError(kind, told);
  }
}
