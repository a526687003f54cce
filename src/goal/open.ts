/** A goal that this process controls: its journal, with the documents typed. */
import { ApprovalBook } from "../approval/book.ts";
import { OmkError } from "../errors.ts";
import type { DocumentChange, Event } from "../format/event.ts";
import { Goal } from "../format/goal.ts";
import { instantOf } from "../format/stamp.ts";
import type { Proof } from "../format/proof.ts";
import { problemsOf } from "../format/problems.ts";
import { checkTask, checkTaskGraph, GoalTask, TaskGraph } from "../format/task-graph.ts";
import { Work } from "../format/work.ts";
import type { NewEvent } from "../store/event-log.ts";
import { applyChanges, Journal, type Documents } from "../store/journal.ts";
import { OPEN_ENDS_MARKS, OpenEnds } from "../store/open-ends.ts";
import type { RunPorts } from "../team/open.ts";
import { BOOK_MARKS, BudgetBooks, checkpointEvents } from "./checkpoints.ts";
import { scaffoldGraph, scaffoldWork } from "./scaffold.ts";

/** What the goal runtime needs of the world: what team runs need. */
export type GoalPorts = RunPorts;

/** Names of the documents a goal keeps. */
export const GOAL_DOCUMENTS = ["goal.json", "task-graph.json", "work.json", "proof.json"] as const;
type GoalDocument = (typeof GOAL_DOCUMENTS)[number];

const GRAPH = "task-graph.json";

/** A change of one document; `goal.json` gets its `updated_at` by itself. */
export function change(file: GoalDocument, set: Record<string, unknown>, unset?: string[]): DocumentChange {
  return { file, set, ...(unset && { unset }) };
}

/** A change of one task of the graph. */
export function changeTask(id: string, set: Record<string, unknown>, unset?: string[]): DocumentChange {
  return { ...change("task-graph.json", set, unset), id };
}

/** A goal under this process's control. */
export class OpenGoal {
  readonly id: string;
  readonly folder: string;
  readonly journal: Journal;
  /** Spawn ids whose end the log does not know: an earlier controller died over them. */
  readonly orphanedSpawns: readonly string[];
  /** Requests that were applied already, so that a file left behind is not applied again. */
  readonly appliedRequests: Set<string>;
  /** What agents asked a person. */
  readonly approvals: ApprovalBook;
  /** Files among the requests that are none, as far as they were told of. */
  readonly foreignRequests = new Set<string>();
  readonly #books: BudgetBooks;
  readonly #ports: GoalPorts;

  private constructor(
    id: string,
    journal: Journal,
    { ends, books }: { ends: OpenEnds; books: BudgetBooks },
    ports: GoalPorts,
  ) {
    this.id = id;
    this.#books = books;
    this.folder = journal.folder;
    this.journal = journal;
    this.orphanedSpawns = ends.spawns;
    this.appliedRequests = ends.appliedRequests;
    const record = (...events: NewEvent[]) => this.record(...events);
    const { folder, documents } = journal;
    this.approvals = new ApprovalBook({ id, kind: "goal", folder, record, documents }, ports);
    this.#ports = ports;
  }

  /** Takes control; `state.busy` while another living omk has it. A goal of 0.5.0 is imported by its first write. */
  static async open(
    id: string,
    folder: string,
    command: string,
    ports: GoalPorts,
    signal: AbortSignal,
  ): Promise<OpenGoal> {
    const ends = new OpenEnds();
    const books = new BudgetBooks(folder);
    const request = {
      runId: id,
      command,
      what: `Goal ${id}`,
      snapshots: GOAL_DOCUMENTS,
      visit: (event: Event) => {
        ends.visit(event);
        books.take([event]);
      },
      marks: [...OPEN_ENDS_MARKS, ...BOOK_MARKS],
    };
    const journal = await Journal.open(folder, request, ports, signal);
    for (const repair of journal.repairs) ports.tell(`repaired: ${repair}`);
    const open = new OpenGoal(id, journal, { ends, books }, ports);
    if (journal.position.seq > 0) await open.#check();
    return open;
  }

  get goal(): Goal {
    return this.#document("goal.json") as Goal;
  }

  get graph(): TaskGraph {
    return this.#document("task-graph.json") as TaskGraph;
  }

  get work(): Work {
    return this.#document("work.json") as Work;
  }

  get proof(): Proof | undefined {
    return this.journal.documents.get("proof.json") as Proof | undefined;
  }

  /**
   * Appends events; resolves when they are durable. A change of `goal.json` also sets its `updated_at`, and where they mark a
   * moment at which the budget is looked at, the same write says how it stands.
   */
  async record(...events: NewEvent[]): Promise<number[]> {
    this.#checkGraph(events.flatMap(({ changes }) => changes ?? []));
    const now = instantOf(this.#ports.clock.now());
    const stamped: NewEvent[] = events.map((event) => ({
      ...event,
      ...(event.changes && {
        changes: event.changes.map((one) =>
          one.file === "goal.json" ? { ...one, set: { ...one.set, updated_at: now } } : one,
        ),
      }),
    }));
    const checkpoints = checkpointEvents(this.id, stamped, this.journal.documents, now);
    const written = await this.journal.append(...stamped, ...checkpoints);
    this.#books.take(checkpoints);
    return written.slice(0, events.length).map((event) => event.seq);
  }

  /**
   * The same for events whose changes are made of what the documents hold: they are made when all such events before them
   * are folded in, so that steps side by side do not overwrite each other's.
   */
  update(make: () => NewEvent[]): Promise<number[]> {
    return this.inTurn(() => this.record(...make()));
  }

  /** The same for a step that has more to do than to record. Nothing in it may wait for another one. */
  inTurn<T>(step: () => Promise<T>): Promise<T> {
    return this.journal.inTurn(step);
  }

  /** A graph that is unsound is never recorded: what comes later trusts the log. */
  #checkGraph(changes: readonly DocumentChange[]): void {
    const touching = changes.filter(({ file }) => file === GRAPH);
    if (touching.length === 0) return;
    const before = this.journal.documents.get(GRAPH) as TaskGraph | undefined;
    const problems = graphProblems(before, touching);
    if (problems.length === 0) return;
    throw new OmkError(
      "state.damaged",
      `Goal ${this.id} would get a task graph that is not sound: ${problems.join("; ")}.`,
      { hint: "Nothing was changed. Start the goal anew with `omk goal run`." },
    );
  }

  /** Hands the goal on, and writes the files that are made from its log for readers. */
  async close(): Promise<void> {
    try {
      if (this.journal.isNewest()) await this.#books.write(this.journal.documents, this.#ports);
    } finally {
      await this.journal.close();
    }
  }

  /** Validated once at the opening, and changed only by our own events since. */
  #document(name: GoalDocument): unknown {
    return this.journal.documents.get(name);
  }

  /** Validates what the log folded to, once; documents that 0.5.0 did not have begin empty. */
  async #check(): Promise<void> {
    const { documents } = this.journal;
    const goal = Goal.safeParse(documents.get("goal.json"));
    if (!goal.success) {
      await this.journal.abandon();
      throw new OmkError(
        "state.damaged",
        `Goal ${this.id} has an invalid goal.json: ${problemsOf(goal.error).join("; ")}.`,
        {
          hint: "Other goals are not affected.",
        },
      );
    }
    const changes: DocumentChange[] = [];
    for (const [name, schema, scaffold] of [
      ["work.json", Work, scaffoldWork()],
      ["task-graph.json", TaskGraph, scaffoldGraph(this.id, goal.data.created_at)],
    ] as const) {
      if (!documents.has(name)) changes.push(change(name, scaffold));
      else if (!schema.safeParse(documents.get(name)).success) {
        // Another version's, perhaps: what is there is never replaced by an empty one.
        await this.journal.abandon();
        throw new OmkError("state.damaged", `Goal ${this.id} has a ${name} that this omk cannot read.`, {
          hint: "Other goals are not affected.",
        });
      }
    }
    if (changes.length > 0) {
      await this.record({ kind: "documents_added", actor: "goal-controller", changes });
    }
  }
}

/** What a graph with these changes would have wrong; nothing is changed. */
export function graphProblems(before: TaskGraph | undefined, changes: readonly DocumentChange[]): string[] {
  return (before && problemsOfTasks(before, changes)) ?? problemsOfGraph(before, changes);
}

function problemsOfGraph(before: TaskGraph | undefined, changes: readonly DocumentChange[]): string[] {
  const copy: Documents = new Map([
    [GRAPH, { ...before, ...(before && { tasks: before.tasks.map((task) => ({ ...task })) }) }],
  ]);
  applyChanges(copy, changes);
  const read = TaskGraph.safeParse(copy.get(GRAPH));
  return read.success ? checkTaskGraph(read.data) : problemsOf(read.error);
}

/** What makes a graph one: the rest of a task concerns that task alone. */
const SHAPE = ["id", "dependencies"];

/**
 * The same where only tasks are changed that are there, and nothing that connects them: then the others need not be looked
 * at, which matters with thousands of them. Undefined for any other change.
 */
function problemsOfTasks(before: TaskGraph, changes: readonly DocumentChange[]): string[] | undefined {
  const changed = new Map<string, Record<string, unknown>>();
  for (const { id, set, unset = [] } of changes) {
    if (id === undefined || SHAPE.some((key) => key in set || unset.includes(key))) return undefined;
    const task = changed.get(id) ?? before.tasks.find((one) => one.id === id);
    if (!task) return undefined;
    const copy: Record<string, unknown> = { ...task, ...set };
    for (const key of unset) delete copy[key];
    changed.set(id, copy);
  }
  return [...changed.values()].flatMap((task) => {
    const read = GoalTask.safeParse(task);
    return read.success ? checkTask(read.data) : problemsOf(read.error);
  });
}
