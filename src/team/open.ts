/** A team run that this process controls: its journal, with the documents typed, and the files rendered from them. */
import { join } from "node:path";

import type { AskPerson } from "../approval/approvals.ts";
import { ApprovalBook } from "../approval/book.ts";
import type { Settings } from "../config/settings.ts";
import type { Engine } from "../engine/engine.ts";
import { OmkError } from "../errors.ts";
import type { DocumentChange, Event } from "../format/event.ts";
import type { GateResult } from "../format/gate.ts";
import { renderDocument, renderLine } from "../format/json.ts";
import { byIdBytes } from "../format/names.ts";
import type { RunProof } from "../format/proof.ts";
import { RunManifest, Task } from "../format/run.ts";
import { RunAttempt, TeamWork } from "../format/team-work.ts";
import { TeamState } from "../format/team.ts";
import type { Observed, ObservedRun } from "../gate/observe.ts";
import type { GateRun } from "../gate/run.ts";
import type { PrivateGit } from "../git/private-git.ts";
import type { WorkTree } from "../git/work-tree.ts";
import type { Processes } from "../ports.ts";
import type { NewEvent } from "../store/event-log.ts";
import { ensureFolder, replaceFile } from "../store/files.ts";
import { Journal, type Documents, type JournalPorts } from "../store/journal.ts";
import { OPEN_ENDS_MARKS, OpenEnds } from "../store/open-ends.ts";
import type { Redactor } from "../store/redact.ts";
import { stateFolder } from "../store/state-root.ts";
import { shownTask } from "./find.ts";

/** What the team runtime needs of the world; git, gates and agents are ports, so that a test can script them. */
export interface RunPorts extends JournalPorts {
  processes: Pick<Processes, "self" | "liveness" | "run" | "sweep" | "killAll">;
  redactor: Redactor;
  /** The root of all state. */
  root: string;
  uid: number | undefined;
  /** Variables that children may see. */
  environment: Readonly<Record<string, string>>;
  openWorkTree(request: { projectDir: string; goalDir: string; goalId: string }): Promise<WorkTree>;
  /** The private git directory itself, where attempts work in folders of their own: in place of `openWorkTree`, not beside it. */
  openGit(request: { projectDir: string; goalDir: string; goalId: string }): Promise<PrivateGit>;
  /** The caller's whole environment, for programs that reach the network with the user's logins. Never for agents or gates. */
  callerEnvironment: Readonly<Record<string, string | undefined>>;
  runGates(run: GateRun, signal: AbortSignal): Promise<GateResult[]>;
  engineNamed(name: string, baseDir: string): Engine;
  /** The configuration that holds in a project directory. Throws `config.invalid`. */
  settings(projectDir: string): Settings;
  /** Runs a command to see what it does: for observations of a program. */
  observe(run: ObservedRun, signal: AbortSignal): Promise<Observed>;
  /** Asks whoever sits at the terminal; absent without one. */
  askPerson?: AskPerson;
  /** The spawn ids that this process bears: not empty in what an agent has started. */
  spawnChain?: readonly string[];
  /** One line of the story for whoever watches. */
  tell(line: string): void;
}

/** Documents of a run that are changed as a whole; tasks and attempts are changed one by one. */
interface RunDocuments {
  "team-state.json": Omit<TeamState, "tasks">;
  "manifest.json": Omit<RunManifest, "tasks">;
  "team-work.json": TeamWork;
  "proof.json": RunProof;
}
type RunDocument = keyof RunDocuments;

/** A change of one document. */
export function change<Name extends RunDocument>(
  file: Name,
  set: Partial<RunDocuments[Name]>,
  unset?: string[],
): DocumentChange {
  return { file, set, ...(unset && { unset }) };
}

/** A change of one task. */
export function changeTask(id: string, set: Readonly<Record<string, unknown>>): DocumentChange {
  return { file: "tasks.jsonl", id, set };
}

/** A change of one attempt. */
export function changeAttempt(fence: number, set: Partial<RunAttempt>): DocumentChange {
  return { file: "attempts.jsonl", id: String(fence), set };
}

/** Only these have a file that is nothing but the fold; the others are rendered together by `saveViews`. */
export const SNAPSHOTS = ["team-work.json", "proof.json"] as const;

/** Above this many tasks the rendered files are written only when a phase ends: they grow, the log does not care. */
const LIVE_VIEW_TASKS_MAX = 200;

/** A team run under this process's control. */
export class OpenRun {
  readonly id: string;
  readonly folder: string;
  readonly journal: Journal;
  /** Spawn ids whose end the log does not know: an earlier controller died over them. */
  readonly orphanedSpawns: readonly string[];
  /** Requests that were applied already, so that a file left behind is not applied again. */
  readonly appliedRequests: Set<string>;
  /** What agents asked a person. */
  readonly approvals: ApprovalBook;
  /** Whether the log had a proof of the run's last end when it was opened. */
  readonly wasProven: boolean;
  readonly #ports: RunPorts;

  private constructor(
    id: string,
    journal: Journal,
    seen: { ends: OpenEnds; wasProven: boolean },
    ports: RunPorts,
  ) {
    this.id = id;
    this.folder = journal.folder;
    this.journal = journal;
    this.orphanedSpawns = seen.ends.spawns;
    this.appliedRequests = seen.ends.appliedRequests;
    this.wasProven = seen.wasProven;
    const record = (...events: NewEvent[]) => this.record(...events);
    const { folder, documents } = journal;
    this.approvals = new ApprovalBook({ id, kind: "team", folder, record, documents }, ports);
    this.#ports = ports;
  }

  /** Takes control of a run, or of a folder that is to become one; `state.busy` while another living omk has it. */
  static async open(id: string, command: string, ports: RunPorts, signal: AbortSignal): Promise<OpenRun> {
    const folder = join(await stateFolder(ports.root, "team", ports), id);
    const ends = new OpenEnds();
    let wasProven = false;
    const request = {
      runId: id,
      command,
      what: `Team run ${id}`,
      snapshots: SNAPSHOTS,
      visit: (event: Event) => {
        ends.visit(event);
        if (event.kind === "run_completed" || event.kind === "run_failed") wasProven = false;
        else if (event.kind === "proof_written") wasProven = true;
      },
      marks: [...OPEN_ENDS_MARKS, '"run_completed"', '"run_failed"', '"proof_written"'],
    };
    const journal = await Journal.open(folder, request, ports, signal);
    for (const repair of journal.repairs) ports.tell(`repaired: ${repair}`);
    const open = new OpenRun(id, journal, { ends, wasProven }, ports);
    if (journal.position.seq > 0) await open.#check();
    return open;
  }

  get state(): TeamState {
    return this.#document("team-state.json") as TeamState;
  }

  get work(): TeamWork {
    return this.#document("team-work.json") as TeamWork;
  }

  get proof(): RunProof | undefined {
    return this.#document("proof.json") as RunProof | undefined;
  }

  /** Every task as the log has it. */
  get tasks(): readonly Task[] {
    return this.#listed("tasks.jsonl") as Task[];
  }

  /** Every attempt as the log has it, in the order of their claims. */
  get attempts(): readonly RunAttempt[] {
    return this.#listed("attempts.jsonl") as RunAttempt[];
  }

  /** Appends events; resolves with their numbers when they are durable. */
  async record(...events: NewEvent[]): Promise<number[]> {
    return (await this.journal.append(...events)).map((event) => event.seq);
  }

  /** The same for an event whose changes are made of what `team-work.json` holds: made when those before it are folded in. */
  update(make: () => NewEvent): Promise<number[]> {
    return this.journal.inTurn(() => this.record(make()));
  }

  /** Writes everything that other programs read: the snapshots, `team-state.json` and the run's manifest and tasks. */
  async saveViews(): Promise<void> {
    await this.journal.save();
    const views = renderViews(this.journal.documents, this.journal.position.seq);
    const runs = join(await stateFolder(this.#ports.root, "runs", this.#ports), this.id);
    await ensureFolder(runs, this.#ports);
    await replaceFile(join(this.folder, "team-state.json"), views.state, this.#ports);
    await replaceFile(join(runs, "manifest.json"), views.manifest, this.#ports);
    await replaceFile(join(runs, "tasks.jsonl"), views.tasks, this.#ports);
  }

  /** As `saveViews`, while the run goes on: left out where it would cost more with every task. */
  async saveLiveViews(): Promise<void> {
    if (this.tasks.length <= LIVE_VIEW_TASKS_MAX) await this.saveViews();
  }

  close(): Promise<void> {
    return this.journal.close();
  }

  #document(name: RunDocument): unknown {
    return this.journal.documents.get(name);
  }

  #listed(name: "tasks.jsonl" | "attempts.jsonl"): unknown[] {
    const { tasks } = (this.journal.documents.get(name) ?? {}) as { tasks?: unknown[] };
    return tasks ?? [];
  }

  /** Validates what the log folded to, once; it is changed only by our own events since. */
  async #check(): Promise<void> {
    const checks: [string, boolean][] = [
      ["team-state.json", TeamState.safeParse({ ...this.state, tasks: [] }).success],
      ["team-work.json", TeamWork.safeParse(this.work).success],
      [
        "manifest.json",
        RunManifest.safeParse({ ...(this.#document("manifest.json") as object), tasks: [] }).success,
      ],
      ["tasks.jsonl", this.tasks.every((task) => Task.safeParse(task).success)],
      ["attempts.jsonl", this.attempts.every((attempt) => RunAttempt.safeParse(attempt).success)],
    ];
    const broken = checks.find(([, isFine]) => !isFine);
    if (!broken) return;
    await this.journal.abandon();
    throw new OmkError("state.damaged", `Team run ${this.id} has a ${broken[0]} that this omk cannot read.`, {
      hint: "It may be of an older omk: look at it with `omk run show`, and start the work anew under another name.",
    });
  }
}

/** The files rendered from the fold of a run's log as it was after event `seq`. */
export function renderViews(
  documents: Documents,
  seq: number,
): { state: string; manifest: string; tasks: string } {
  const { tasks: listed = [] } = (documents.get("tasks.jsonl") ?? {}) as { tasks?: Task[] };
  const tasks = byIdBytes(listed, ({ id }) => id);
  return {
    state: renderDocument({ ...documents.get("team-state.json"), tasks: tasks.map(shownTask), seq }),
    manifest: renderDocument({ ...documents.get("manifest.json"), tasks, seq }),
    tasks: tasks.map((task) => renderLine({ ...task, snapshot_seq: seq })).join("\n"),
  };
}
