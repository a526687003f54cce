/**
 * A worker: a mailbox, and a loop in the controller's process that takes an assignment from the inbox, lets a fresh
 * agent process work on it, and puts what came of it into the outbox.
 */
import { join } from "node:path";

import type { Approvals, AttemptPermissions } from "../approval/approvals.ts";
import { takeGuardedTurn } from "../approval/turn.ts";
import type { TurnMeter } from "../budget/ledger.ts";
import type { Engine, EngineEvent, Turn } from "../engine/engine.ts";
import { HANDSHAKE_MS, isOutside, summaryOf, Transcript } from "../engine/turn.ts";
import { Assignment, type Heartbeat, type Report } from "../format/agent-run.ts";
import { tryJson } from "../format/json.ts";
import { instantOf } from "../format/stamp.ts";
import type { Mailbox } from "./mailbox.ts";
import type { RunPorts } from "./open.ts";
import { allowsTool, type RolePack } from "./roles.ts";

/** How often an inbox is looked at for one assignment: whoever floods it gains nothing. */
const INBOX_LOOKS_MAX = 64;
/** Short tasks follow each other faster than anybody looks at heartbeats. */
const BEAT_MS_MIN = 1_000;

/** What every worker of a run works with. */
export interface Workplace {
  runFolder: string;
  /** Whether all workers are in one directory. */
  isShared: boolean;
  engine: () => Engine;
  role: RolePack;
  idleMs: number;
  approvals: Approvals;
}

/** An assignment that is being worked on. */
interface Current {
  taskId: string;
  /** Null until the agent has said or done something. */
  lastSign: Date | null;
  /** Tool calls and requests that are open: while there are any, silence means work. */
  open: Set<string>;
}

/** What the controller passes beside the inbox line, because it is no business of other programs. */
export interface Launch {
  /** The assignment as it was written into the inbox. */
  line: string;
  fence: number;
  spawnId: string;
  attempt: number;
  turnMs: number;
  /** Where the agent works. */
  cwd: string;
  /** Where the agent's files may be written when it asks us to; absent means everywhere in the project. */
  writeSet?: readonly string[];
  meter: TurnMeter;
  /** Called at each sign of life; `isBusy` while a tool call or request is open. */
  onSign(isBusy: boolean): void;
}

/** One worker. */
export class Worker {
  readonly name: string;
  readonly mailbox: Mailbox;
  readonly #place: Workplace;
  readonly #ports: RunPorts;
  #current: Current | undefined;
  #beatMs = Number.NEGATIVE_INFINITY;

  constructor(name: string, mailbox: Mailbox, place: Workplace, ports: RunPorts) {
    this.name = name;
    this.mailbox = mailbox;
    this.#place = place;
    this.#ports = ports;
  }

  /** Where the transcript of an attempt lies. */
  static transcriptPath(runFolder: string, taskId: string, fence: number): string {
    return join(runFolder, "artifacts", "agent-runs", `${fence}-${taskId}.jsonl`);
  }

  /**
   * Takes the assignment from the inbox, which is the controller's own line and no other, and works on it to its end,
   * whatever that is; resolves with the line that is in the outbox then, when nothing of its agent is left. Undefined when
   * the line was not found. Rejects with what the user must mend (an OmkError) and with bugs.
   */
  async workNext(launch: Launch, signal: AbortSignal): Promise<string | undefined> {
    for (let looks = 0; looks < INBOX_LOOKS_MAX; looks++) {
      const { lines, more } = this.mailbox.assignments();
      for (const line of lines) {
        if (line === launch.line) return this.#work(Assignment.parse(tryJson(line)), launch, signal);
        // What another program wrote into the inbox is nothing the controller gave out.
        this.#ports.tell(`${this.name}: a line in its inbox is no assignment and was left out`);
      }
      if (!more) break;
    }
    return undefined;
  }

  async #work(assignment: Assignment, launch: Launch, signal: AbortSignal): Promise<string> {
    const { clock } = this.#ports;
    const startedMs = clock.monotonicMs();
    const current: Current = { taskId: assignment.id, lastSign: null, open: new Set() };
    this.#current = current;
    await this.beat("alive");
    const path = Worker.transcriptPath(this.#place.runFolder, assignment.id, launch.fence);
    const transcript = new Transcript(path, this.#ports);
    const { approvals, engine, role } = this.#place;
    const permissions = approvals.attempt({
      task: assignment.id,
      fence: launch.fence,
      worker: this.name,
      cwd: launch.cwd,
      endsAtMs: startedMs + launch.turnMs,
      roleRefuses: (kind) => (allowsTool(role, kind) ? undefined : `role ${role.id} may not ${kind}`),
      callsHooks: () => engine().capabilities.hooks,
    });
    let turn: Turn;
    try {
      turn = await this.#turn(assignment, launch, { transcript, current, permissions }, signal);
    } finally {
      await transcript.close();
      this.#current = undefined;
    }
    const elapsedMs = clock.monotonicMs() - startedMs;
    const line = this.mailbox.report({
      ...this.#reportOf(assignment, launch.fence, turn, path, elapsedMs),
      ...(turn.status === "denied" && permissions.refused !== undefined && { summary: permissions.refused }),
    });
    await this.beat("ready");
    return line;
  }

  #turn(
    assignment: Assignment,
    launch: Launch,
    {
      transcript,
      current,
      permissions,
    }: {
      transcript: Transcript;
      current: Current;
      permissions: AttemptPermissions;
    },
    signal: AbortSignal,
  ): Promise<Turn> {
    const { engine, role, idleMs, isShared } = this.#place;
    const text = workerPrompt({ name: this.name, role, isShared }, assignment);
    transcript.note({ kind: "prompt", text });
    return takeGuardedTurn(
      {
        engine: engine(),
        cwd: launch.cwd,
        environment: this.#ports.environment,
        spawnId: launch.spawnId,
        limits: { handshakeMs: HANDSHAKE_MS, idleMs, turnMs: launch.turnMs },
        ...(launch.writeSet && { writeSet: launch.writeSet }),
        prompt: { text, meta: { role: "work", task: assignment.id, attempt: launch.attempt } },
        transcript,
        stops: [launch.meter.over],
        onEvent: (event) => {
          followOpen(current.open, event);
          current.lastSign = this.#ports.clock.now();
          launch.meter.take(event);
          launch.onSign(current.open.size > 0);
        },
      },
      permissions,
      signal,
    );
  }

  #reportOf(
    assignment: Assignment,
    fence: number,
    turn: Turn,
    transcript: string,
    elapsedMs: number,
  ): Report {
    return {
      task_id: assignment.id,
      status: turn.status === "finished" ? "success" : "failed",
      summary: summaryOf(turn, this.#ports.redactor),
      artifacts: [transcript],
      elapsed_secs: Math.round(elapsedMs / 1_000),
      fence,
      outcome: turn.status,
      outcome_code: turn.failure?.class ?? null,
      ...(turn.failure?.resets_at !== undefined && { resets_at: turn.failure.resets_at }),
      outside: isOutside(turn),
      usage: turn.usage,
    };
  }

  /** Writes the heartbeat; at most once a second, but for the last one. */
  async beat(status: Heartbeat["status"]): Promise<void> {
    const nowMs = this.#ports.clock.monotonicMs();
    if (status !== "stopped" && nowMs - this.#beatMs < BEAT_MS_MIN) return;
    this.#beatMs = nowMs;
    await this.mailbox.beat({
      status,
      name: this.name,
      ts: instantOf(this.#ports.clock.now()),
      task_id: this.#current?.taskId ?? null,
      last_sign_of_life: this.#current?.lastSign ? instantOf(this.#current.lastSign) : null,
    });
  }

  /** The time at which its agent was last heard of; undefined when it has none or it has not spoken. */
  get lastSign(): Date | undefined {
    return this.#current?.lastSign ?? undefined;
  }
}

/** What a worker is told. */
function workerPrompt(
  { name, role, isShared }: { name: string; role: RolePack; isShared: boolean },
  assignment: Assignment,
): string {
  const criteria = assignment.acceptance_criteria.map((one) => `- ${one}`);
  const others = isShared
    ? "Other workers may be at work here at the same time."
    : "Other workers have directories of their own; what each of you leaves in its files is merged.";
  return [
    `You are ${name}, working as ${role.id} in this directory. ${others}`,
    "",
    ...(role.systemPrompt === "" ? [] : [role.systemPrompt, ""]),
    "Your task:",
    "",
    assignment.task,
    "",
    ...(criteria.length === 0 ? [] : ["It is done when:", ...criteria, ""]),
    ...(assignment.context === undefined ? [] : ["What else is known:", assignment.context, ""]),
    "When you are done, say in one or two sentences what you did and what is left. The project's own checks decide",
    "whether it is right.",
  ].join("\n");
}

/** Keeps track of what is open in a turn. */
function followOpen(open: Set<string>, event: EngineEvent): void {
  if (event.kind === "tool-started") open.add(event.tool_id);
  else if (event.kind === "tool-finished") open.delete(event.tool_id);
  else if (event.kind === "approval-asked") open.add(event.request_id);
  else if (event.kind === "approval-answered") open.delete(event.request_id);
}
