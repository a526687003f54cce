/** A state folder with runs in it: those of 0.5.0, ours, and what strangers may have put there. */
import {
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { TeamState } from "../../src/format/team.ts";
import { renderDocument, renderLine } from "../../src/format/json.ts";
import { Journal, type JournalPorts } from "../../src/store/journal.ts";
import type { NewEvent } from "../../src/store/event-log.ts";
import { createRedactor } from "../../src/store/redact.ts";
import { createWorld } from "../../src/world.ts";
import { CountingRandom, ManualClock, NoProcesses } from "../support/fakes.ts";

const FIXTURES = join(import.meta.dirname, "../fixtures/v0.5.0");

/** When everything here happens. */
export const NOW = new Date("2026-05-25T10:10:00Z");

/** What a run of ours is made of. */
export interface OurRun {
  phase?: TeamState["phase"];
  tasks?: readonly { id: string; state: string; owner?: string }[];
  events?: readonly NewEvent[];
  /** Events that the files do not know yet. */
  later?: readonly NewEvent[];
  /** Whose process works on it; by default it was handed on. */
  holder?: "alive" | "dead";
}

const DEAD_PID = 666;

/** A state folder; gone when the test ends. */
export class Runs implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "omk-runs-"));
  readonly root = join(this.folder, "state");
  readonly clock = new ManualClock(NOW);
  readonly ports: JournalPorts & { uid: undefined };
  readonly #open: Journal[] = [];
  #streams = 0;

  constructor() {
    mkdirSync(join(this.root, "team"), { recursive: true, mode: 0o700 });
    mkdirSync(join(this.root, "runs"), { mode: 0o700 });
    this.ports = this.#portsAs(4242);
  }

  #portsAs(pid: number): JournalPorts & { uid: undefined } {
    return {
      disk: createWorld().disk,
      clock: this.clock,
      random: new CountingRandom(++this.#streams),
      processes: new NoProcesses({ self: { pid }, liveness: new Map([[4242, "alive"]]) }),
      redactor: createRedactor({ environment: {} }),
      uid: undefined,
    };
  }

  team(name: string): string {
    return join(this.root, "team", name);
  }

  run(name: string): string {
    return join(this.root, "runs", name);
  }

  /** The run of 0.5.0 of the fixtures, under this name. */
  old(name: string): string {
    cpSync(join(FIXTURES, "team"), this.team(name), { recursive: true });
    cpSync(join(FIXTURES, "run"), this.run(name), { recursive: true });
    return this.team(name);
  }

  /** A run as we leave it: its log, and the files rendered from it. */
  async ours(name: string, run: OurRun = {}): Promise<string> {
    const folder = this.team(name);
    const ports = this.#portsAs(run.holder === "dead" ? DEAD_PID : 4242);
    const request = {
      runId: name,
      command: "team run",
      what: `Team run ${name}`,
      snapshots: ["team-work.json", "proof.json"],
    };
    const journal = await Journal.open(folder, request, ports, new AbortController().signal);
    const state = {
      version: 1,
      name,
      task: "Build a parser",
      created_at: "2026-05-25T10:00:00.000Z",
      worker_count: 2,
      worker_role: "executor",
      phase: run.phase ?? "Complete",
      state_dir: folder,
    };
    const tasks = (run.tasks ?? [{ id: "task-1", state: "completed", owner: "worker-0" }]).map(taskRecord);
    await journal.append({
      kind: "run_started",
      actor: null,
      payload: { mode: "team", project_dir: "/nowhere", description: state.task },
      changes: [
        { file: "team-state.json", set: state },
        {
          file: "manifest.json",
          set: {
            run_id: name,
            mode: "team",
            created_at: state.created_at,
            project_dir: "/nowhere",
            description: state.task,
          },
        },
        { file: "team-work.json", set: { version: 1 } },
        { file: "tasks.jsonl", set: { tasks } },
      ],
    });
    for (const event of run.events ?? []) await journal.append(event);
    await journal.save();
    const { seq } = journal.position;
    const shown = tasks.map((task) => ({
      id: task.id,
      description: task.description,
      assigned_to: task.owner,
      status:
        { completed: "Done", pending: "Pending", failed: "Failed", cancelled: "Failed" }[task.state] ??
        "InProgress",
      created_at: task.created_at,
      completed_at: null,
    }));
    writeFileSync(join(folder, "team-state.json"), renderDocument({ ...state, tasks: shown, seq }));
    mkdirSync(this.run(name), { mode: 0o700 });
    const manifest = { ...journal.documents.get("manifest.json"), tasks, seq };
    writeFileSync(join(this.run(name), "manifest.json"), renderDocument(manifest));
    writeFileSync(join(this.run(name), "tasks.jsonl"), tasks.map((task) => renderLine(task)).join("\n"));
    for (const event of run.later ?? []) await journal.append(event);
    if (run.holder === undefined) await journal.close();
    else this.#open.push(journal);
    return folder;
  }

  /** A worker's folder. */
  worker(team: string, name: string, heartbeat?: object | string): string {
    const place = join(this.team(team), "workers", name);
    mkdirSync(place, { recursive: true });
    const path = (file: string) => join(place, file);
    writeFileSync(
      path("worker-spec.json"),
      JSON.stringify({
        name,
        role: "executor",
        inbox: path("inbox.jsonl"),
        outbox: path("outbox.jsonl"),
        heartbeat: path("heartbeat.json"),
      }),
    );
    if (heartbeat !== undefined) {
      writeFileSync(
        path("heartbeat.json"),
        typeof heartbeat === "string" ? heartbeat : JSON.stringify(heartbeat),
      );
    }
    return place;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The test may have moved or removed what is handed on here.
    for (const journal of this.#open) await journal.abandon().catch(() => undefined);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function taskRecord({ id, state, owner }: { id: string; state: string; owner?: string }) {
  return {
    id,
    name: "subtask",
    description: `Do ${id}`,
    dependencies: [],
    priority: 0,
    owner: owner ?? null,
    lease_expires: null,
    retry_count: 0,
    retry_policy: {
      max_attempts: 2,
      backoff_seconds: 1,
      backoff_multiplier: 2,
      terminal_on_permanent_failure: true,
    },
    state,
    created_at: "2026-05-25T10:00:00.000Z",
    started_at: null,
    completed_at: null,
    read_set: [],
    write_set: [],
  };
}

/** Every file with its bytes and times: what looking must not change. */
export function imageOf(folder: string): Record<string, string> {
  const image: Record<string, string> = {};
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) {
    const found = lstatSync(join(folder, name));
    const bytes = found.isFile()
      ? createHash("sha256")
          .update(readFileSync(join(folder, name)))
          .digest("hex")
      : "folder";
    image[name] = `${bytes} ${found.mode} ${found.mtimeMs}`;
  }
  return image;
}
