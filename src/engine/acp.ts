import type { PermissionOptionKind, StopReason } from "@agentclientprotocol/sdk";
import { z } from "zod";
import { abortOf, within } from "./deadline.ts";
import { RPC_CODES, RpcClosed, RpcError, RpcPeer, asRecord } from "./rpc.ts";
import type { IncomingRequest } from "./rpc.ts";
import type {
  Engine,
  EngineCapabilities,
  EventBody,
  Failure,
  PermissionRequest,
  ProbeResult,
  Prompt,
  Session,
  StartOptions,
  ToolFields,
  ToolOutcome,
  Turn,
  TurnUsage,
} from "./engine.ts";
import { instantOf } from "../format/stamp.ts";
import type { Child, Clock, Exit, Processes } from "../ports.ts";

/**
 * Any agent that speaks the Agent Client Protocol, version 1, on its stdio. One process, one session. Its types come
 * from the official SDK; its client does not, because that drops updates it does not know and lets lines reach 32 MiB.
 */

const PROTOCOL_VERSION = 1;
/** How long a cancelled turn may take to end by itself. */
const CANCEL_MS = 5000;
/** How long an agent may take to leave after its stdin was closed; one adapter needs 2 s. */
const LEAVE_MS = 3000;
/** Between TERM and KILL. */
const TERM_MS = 2000;
/** Some agents send a turn's last update up to 10 ms after its result. */
const LATE_UPDATES_MS = 100;
/** An exit should follow the end of stdout; a process that stays without output is ended. */
const EXIT_MS = 2000;
const PROBE_MS = 10_000;

const TEXT_BYTES_MAX = 1024 * 1024;
const EVENT_TEXT_MAX = 64 * 1024;
const RAW_BYTES_MAX = 16 * 1024;
const STDERR_TAIL = 4096;
const STDERR_EVENTS_BYTES_MAX = 256 * 1024;
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024;
const TOOLS_MAX = 10_000;
/** What the open tool calls of a turn told us, kept to judge a later permission request that tells less. */
const KEPT_INPUT_BYTES_MAX = 8 * 1024 * 1024;
const OPEN_APPROVALS_MAX = 100;
const PROPOSALS_MAX = 50;
const PROPOSAL_BYTES_MAX = 256 * 1024;
const TITLE_MAX = 1000;
const PATHS_MAX = 200;

/** An agent program and what is known about it. */
export interface AcpProgram {
  name: string;
  argv: readonly [string, ...string[]];
  /** Prints the version; default is the program with `--version`. */
  versionArgv?: readonly [string, ...string[]];
  /** The environment of the version call: without `PATH` only programs with a path are found. */
  environment?: Readonly<Record<string, string>>;
  /** What we call ourselves to the agent. */
  clientVersion?: string;
  /** Some agents report only the last model call of a turn. */
  usageCovers?: "turn" | "last_call";
}

/** What an engine does with processes. */
export type AgentProcesses = Pick<Processes, "spawn" | "run">;

const CAPABILITIES: EngineCapabilities = {
  approvals: "asks",
  cancel: "graceful",
  steer: false,
  hooks: false,
  reload: false,
  sessionsPerProcess: "one",
  mcp: false,
  extraTools: false,
  interceptWrites: false,
  interceptShell: false,
  usage: "exact",
  cost: true,
};

/** The engine for one ACP agent program. */
export function acpEngine(program: AcpProgram, ports: { processes: AgentProcesses; clock: Clock }): Engine {
  return {
    name: program.name,
    capabilities:
      program.usageCovers === "last_call" ? { ...CAPABILITIES, usage: "last_call" } : CAPABILITIES,
    probe: (signal) => probe(program, ports.processes, signal),
    async start(options, signal) {
      signal.throwIfAborted();
      const session = new AcpSession(program, options, ports);
      await session.open(signal);
      return session;
    },
  };
}

async function probe(
  program: AcpProgram,
  processes: AgentProcesses,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const argv = program.versionArgv ?? ([program.argv[0], "--version"] as const);
  const result = await processes.run(
    { argv, cwd: "/", env: program.environment ?? {}, timeoutMs: PROBE_MS, outputBytesMax: 64 * 1024 },
    signal,
  );
  if (result.exit.kind === "not_started") {
    return { found: false, program: null, version: null, warnings: [] };
  }
  const lines = new TextDecoder().decode(result.stdout).split("\n");
  const version =
    lines
      .find((line) => /\d/.test(line))
      ?.trim()
      .slice(0, 200) ?? null;
  const answered = result.exit.kind === "exited" && result.exit.code === 0 && version !== null;
  const warnings = answered ? [] : [`${argv.join(" ")} told no version (${exitText(result.exit)}).`];
  return { found: true, program: program.argv[0], version: answered ? version : null, warnings };
}

// What we read of an agent's messages. Loose, since agents add fields; narrow, since only this is used.

const ToolCallFields = z.looseObject({
  toolCallId: z.string().min(1).max(1024),
  title: z.string().nullish(),
  name: z.string().nullish(),
  kind: z.string().nullish(),
  status: z.string().nullish(),
  content: z.array(z.unknown()).nullish(),
  locations: z.array(z.looseObject({ path: z.string() })).nullish(),
  rawInput: z.unknown().optional(),
});
type ToolCallFields = z.infer<typeof ToolCallFields>;

const UpdateParams = z.looseObject({
  sessionId: z.string(),
  update: z.looseObject({ sessionUpdate: z.string() }),
});
const Chunk = z.looseObject({ content: z.looseObject({ type: z.string(), text: z.string().optional() }) });
const PlanUpdate = z.looseObject({
  entries: z.array(z.looseObject({ content: z.string(), status: z.string() })),
});
const UsageUpdate = z.looseObject({
  used: z.number().nonnegative(),
  size: z.number().nonnegative(),
  cost: z.looseObject({ amount: z.number().nonnegative(), currency: z.string() }).nullish(),
});
const ModeUpdate = z.looseObject({ currentModeId: z.string() });
const NoticeUpdate = z.looseObject({ title: z.string(), description: z.string().nullish() });

const PermissionParams = z.looseObject({
  sessionId: z.string(),
  toolCall: ToolCallFields,
  options: z.array(z.looseObject({ optionId: z.string(), name: z.string(), kind: z.string() })).max(100),
});
type PermissionParams = z.infer<typeof PermissionParams>;

const InitializeResult = z.looseObject({
  protocolVersion: z.number(),
  agentInfo: z.looseObject({ name: z.string(), version: z.string() }).nullish(),
});
const NewSessionResult = z.looseObject({ sessionId: z.string().min(1).max(1024) });

const Count = z.number().nonnegative();
const PromptResult = z.looseObject({
  stopReason: z.string(),
  // A broken usage must not spoil the result it came with.
  usage: z
    .looseObject({
      totalTokens: Count,
      inputTokens: Count,
      outputTokens: Count,
      thoughtTokens: Count.nullish(),
      cachedReadTokens: Count.nullish(),
      cachedWriteTokens: Count.nullish(),
    })
    .nullish()
    .catch(undefined),
});
type PromptResult = z.infer<typeof PromptResult>;

interface Tool {
  id: string;
  name: string | null;
  kind: string;
  title: string;
  paths: string[];
  input: unknown;
  content: unknown[];
  keptBytes: number;
  denied: boolean;
  outcome: ToolOutcome | undefined;
}

/** What is gathered while a turn runs. */
interface TurnRecord {
  text: TextTail;
  tools: Map<string, Tool>;
  openTools: number;
  keptBytes: number;
  /** The tool that was refused last, until something else follows. */
  denied: string | undefined;
  proposals: unknown[];
  proposalsDropped: number;
  contextTokens: number | undefined;
  costAtStartUsd: number;
  lastSignMs: number;
  cancelling: boolean;
  stop: AbortController;
}

/** What ended the waiting for a turn. */
type Ending =
  | { by: "result"; result: PromptResult }
  | { by: "error"; error: RpcError }
  | { by: "closed"; closed: RpcClosed }
  | { by: "cancel" }
  | { by: "idle" }
  | { by: "time" };

class AcpSession implements Session {
  readonly #program: AcpProgram;
  readonly #options: StartOptions;
  readonly #clock: Clock;
  readonly #child: Child;
  readonly #peer: RpcPeer;
  #id: string | undefined;
  #turn: TurnRecord | undefined;
  /** The turn that runs, for `stop` to wait for. */
  #running: Promise<Turn> | undefined;
  /** Why no turn can run any more. */
  #dead: Failure | undefined;
  /** What one of our own callbacks threw: not the agent's doing, so it goes to our caller. */
  #thrown: { error: unknown } | undefined;
  #sequence = 0;
  #unknown = 0;
  #costUsd = 0;
  #outputBytes = 0;
  #stderrTail = "";
  #stderrEventBytes = 0;
  readonly #stderrDone: Promise<void>;
  readonly #approvals = new Map<string, AbortController>();
  readonly #answering = new Set<Promise<unknown>>();
  #ending: Promise<Exit> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(
    program: AcpProgram,
    options: StartOptions,
    ports: { processes: AgentProcesses; clock: Clock },
  ) {
    this.#program = program;
    this.#options = options;
    this.#clock = ports.clock;
    this.#child = ports.processes.spawn({
      argv: program.argv,
      cwd: options.cwd,
      env: options.environment,
      spawnId: options.spawnId,
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.#stderrDone = this.#drainStderr();
    this.#peer = new RpcPeer(
      { write: (bytes) => this.#child.write(bytes), incoming: this.#counted(this.#child.stdout) },
      {
        requests: new Map([
          ["session/request_permission", (request) => this.#tracked(this.#permission(request))],
        ]),
        notification: (method, params, bytes) => this.#notification(method, params, bytes),
        unknownRequest: (method, params, bytes) => this.#emitUnknown(method, params, bytes),
        noise: (text) => this.#emit({ kind: "notice", message: `not a message: ${clip(text, TITLE_MAX)}` }),
      },
      { clock: this.#clock, ids: "number" },
    );
    void this.#peer.closed.then(() => this.#cancelApprovals());
  }

  get id(): string | undefined {
    return this.#id;
  }

  /** The handshake. Afterwards the session is usable or knows why not; rejects only when aborted. */
  async open(signal: AbortSignal): Promise<void> {
    const { handshakeMs } = this.#options.limits;
    const shaking = this.#handshake().catch((error: unknown) => {
      if (error instanceof RpcError || error instanceof RpcClosed) return error;
      throw error;
    });
    const over = new AbortController();
    const ended = await within(
      Promise.race([shaking, abortOf(signal, over.signal)]),
      handshakeMs,
      this.#clock,
    );
    over.abort();
    if (signal.aborted || this.#thrown) {
      this.#dead = { class: "config", message: "The start was given up.", retryable: true };
      await this.#end();
      this.#passOn();
      throw signal.reason;
    }
    if (!ended.done) {
      this.#dead = {
        class: "timeout",
        message: `${this.#program.name} did not finish the handshake within ${handshakeMs} ms.${this.#lastWords()}`,
        retryable: true,
      };
    } else if (ended.value instanceof RpcClosed) {
      this.#dead = await this.#deathBy(ended.value);
    } else if (ended.value instanceof RpcError) {
      this.#dead = failureOf(ended.value);
    }
    if (this.#dead) await this.#end();
    this.#passOn();
  }

  async #handshake(): Promise<void> {
    const greeting = InitializeResult.safeParse(
      await this.#peer.request("initialize", {
        protocolVersion: PROTOCOL_VERSION,
        // Nothing is offered yet. Client files and terminals are only extras that most agents ignore, one agent
        // writes although told no, and protocol 2 drops them: the work tree and the gates are the guard.
        clientCapabilities: { fs: { readTextFile: false, writeTextFile: false }, terminal: false },
        clientInfo: { name: "omk", version: this.#program.clientVersion ?? "unknown" },
      }),
    );
    if (!greeting.success) throw this.#refuse("Its answer to initialize is not what the protocol says.");
    const { protocolVersion, agentInfo } = greeting.data;
    if (protocolVersion !== PROTOCOL_VERSION) {
      throw this.#refuse(`It speaks protocol version ${protocolVersion}, omk speaks ${PROTOCOL_VERSION}.`);
    }
    const made = NewSessionResult.safeParse(
      await this.#peer.request("session/new", { cwd: this.#options.cwd, mcpServers: [] }),
    );
    if (!made.success) throw this.#refuse("Its answer to session/new names no session.");
    this.#id = made.data.sessionId;
    this.#emit({
      kind: "session-started",
      agent: agentInfo ? clip(agentInfo.name, 200) : null,
      agent_version: agentInfo ? clip(agentInfo.version, 200) : null,
      protocol_version: protocolVersion,
    });
  }

  run(prompt: Prompt, signal: AbortSignal): Promise<Turn> {
    if (this.#turn) throw new Error("A session runs one turn at a time.");
    const running = this.#run(prompt, signal);
    this.#running = running;
    return running;
  }

  async #run(prompt: Prompt, signal: AbortSignal): Promise<Turn> {
    this.#passOn();
    if (this.#dead) return emptyTurn("failed", this.#dead);
    if (this.#stopping || signal.aborted) return emptyTurn("cancelled");
    const turn: TurnRecord = {
      text: new TextTail(TEXT_BYTES_MAX),
      tools: new Map(),
      openTools: 0,
      keptBytes: 0,
      denied: undefined,
      proposals: [],
      proposalsDropped: 0,
      contextTokens: undefined,
      costAtStartUsd: this.#costUsd,
      lastSignMs: this.#clock.monotonicMs(),
      cancelling: false,
      stop: new AbortController(),
    };
    this.#turn = turn;
    const over = new AbortController();
    try {
      this.#emit({ kind: "turn-started", ...prompt.meta });
      const answer = this.#prompt(prompt);
      const ending = await Promise.race([
        answer,
        this.#timeOut(over.signal),
        this.#watchSilence(turn, over.signal),
        abortOf(signal, over.signal).then(() => ({ by: "cancel" }) as const),
        abortOf(turn.stop.signal, over.signal).then(() => ({ by: "cancel" }) as const),
      ]);
      over.abort();
      const result = await this.#settle(turn, ending, answer);
      this.#emit({
        kind: "turn-ended",
        status: result.status,
        ...(result.failure ? { failure: result.failure } : {}),
        tool_calls: result.toolCalls,
        usage: result.usage,
      });
      this.#passOn();
      return result;
    } finally {
      over.abort();
      this.#turn = undefined;
    }
  }

  /** Sends the prompt; every way it can be answered is a value. */
  async #prompt(prompt: Prompt): Promise<Ending> {
    // Agents take a leading slash as one of their own commands.
    const text = prompt.text.startsWith("/") ? `Request: ${prompt.text}` : prompt.text;
    try {
      const answer = await this.#peer.request("session/prompt", {
        sessionId: this.#id,
        prompt: [{ type: "text", text }],
        _meta: { omk: prompt.meta },
      });
      const result = PromptResult.safeParse(answer);
      if (result.success) return { by: "result", result: result.data };
      return { by: "closed", closed: this.#refuse("Its answer to session/prompt has no stop reason.") };
    } catch (error) {
      if (error instanceof RpcError) return { by: "error", error };
      if (error instanceof RpcClosed) return { by: "closed", closed: error };
      throw error;
    }
  }

  async #timeOut(signal: AbortSignal): Promise<Ending> {
    await sleepUnlessOver(this.#clock, this.#options.limits.turnMs, signal);
    return { by: "time" };
  }

  async #watchSilence(turn: TurnRecord, signal: AbortSignal): Promise<Ending> {
    const { idleMs } = this.#options.limits;
    while (!signal.aborted) {
      // While a tool or a request is open the agent waits, too; its end is a sign, so silence is counted from there.
      const busy = turn.openTools > 0 || this.#approvals.size > 0;
      const silentMs = busy ? 0 : this.#clock.monotonicMs() - turn.lastSignMs;
      if (silentMs >= idleMs) break;
      await sleepUnlessOver(this.#clock, idleMs - silentMs, signal);
    }
    return { by: "idle" };
  }

  async #settle(turn: TurnRecord, ending: Ending, answer: Promise<Ending>): Promise<Turn> {
    let last = ending;
    if (ending.by === "cancel" || ending.by === "idle" || ending.by === "time") {
      last = await this.#cancel(turn, answer);
    }
    this.#cancelApprovals();
    // So that every answer is in the story before the turn's end.
    await Promise.allSettled(this.#answering);
    let failure: Failure | undefined;
    if (last.by === "result") {
      const late = await within(this.#peer.closed, LATE_UPDATES_MS, this.#clock);
      // A crash or a broken line right behind a friendly stop reason counts more than the stop reason.
      if (late.done) failure = await this.#deathBy(late.value, { cleanExitIsFine: true });
    } else if (last.by === "error") {
      failure = failureOf(last.error);
    } else if (last.by === "closed") {
      failure = await this.#deathBy(last.closed);
    }
    if (ending.by === "idle" || ending.by === "time") {
      failure = this.#timeoutFailure(ending.by);
    }
    const wanted = ending.by === "cancel";
    for (const tool of turn.tools.values()) {
      if (!tool.outcome)
        this.#finishTool(turn, tool, tool.denied ? "denied" : turn.cancelling ? "cancelled" : "unknown");
    }
    if (turn.proposalsDropped > 0) {
      this.#emit({
        kind: "notice",
        message: `${turn.proposalsDropped} proposed tasks were dropped: too many or too large`,
      });
    }
    const common = {
      text: turn.text.read(),
      toolCalls: turn.tools.size,
      usage: this.#usageOf(turn, last.by === "result" ? last.result : undefined),
      proposals: turn.proposals,
    };
    if (wanted) return { status: "cancelled", ...common };
    if (failure) return { status: "failed", failure, ...common };
    const stopReason = last.by === "result" ? (last.result.stopReason as StopReason) : undefined;
    return { ...this.#read(turn, stopReason, common.text), ...common };
  }

  /** What a stop reason means, corrected by what was seen. */
  #read(
    turn: TurnRecord,
    stopReason: StopReason | undefined,
    text: string,
  ): Pick<Turn, "status" | "failure"> {
    switch (stopReason) {
      case "end_turn":
        if (turn.denied !== undefined) return { status: "denied" };
        if (text.trim() === "" && turn.tools.size === 0) {
          // One agent ends like this when its model cannot be reached.
          const message = "The agent ended its turn without a word and without using a tool.";
          return { status: "empty", failure: { class: "provider", message, retryable: true } };
        }
        return { status: "finished" };
      case "max_tokens":
      case "max_turn_requests":
        return { status: "limit" };
      case "refusal":
        return { status: "refused" };
      case "cancelled": {
        if (turn.denied !== undefined) return { status: "denied" };
        // Nobody asked for it, and it is no outage either: the agent had its turn and did not use it.
        const message = "The agent cancelled its turn without being asked.";
        return { status: "failed", failure: { class: "protocol", message, retryable: true } };
      }
      default: {
        const message = `The agent ended its turn with the unknown stop reason ${clip(String(stopReason), 100)}.`;
        return { status: "failed", failure: { class: "protocol", message, retryable: true } };
      }
    }
  }

  #timeoutFailure(by: "idle" | "time"): Failure {
    const { idleMs, turnMs } = this.#options.limits;
    const what = by === "idle" ? `gave no sign of life for ${idleMs} ms` : `took longer than ${turnMs} ms`;
    return {
      class: "timeout",
      message: `The turn of ${this.#program.name} ${what}.${this.#lastWords()}`,
      retryable: true,
    };
  }

  /** Asks for an end of the turn and waits for it; a process that does not listen is ended. */
  async #cancel(turn: TurnRecord, answer: Promise<Ending>): Promise<Ending> {
    turn.cancelling = true;
    // Not awaited: an agent that does not read its stdin would never let this pass.
    void this.#peer.notify("session/cancel", { sessionId: this.#id });
    this.#cancelApprovals();
    const answered = await within(answer, CANCEL_MS, this.#clock);
    if (answered.done) return answered.value;
    this.#dead = {
      class: "timeout",
      message: `${this.#program.name} did not end its turn within ${CANCEL_MS} ms of being asked, so it was ended.`,
      retryable: true,
    };
    await this.#end();
    return { by: "cancel" };
  }

  /** What a conversation's end says about the agent. Ends what is left of it, and keeps the reason for later turns. */
  async #deathBy(closed: RpcClosed, how: { cleanExitIsFine?: boolean } = {}): Promise<Failure | undefined> {
    if (closed.reason === "handler") {
      this.#thrown ??= { error: closed.cause };
      await this.#end();
      return { class: "crashed", message: "omk itself failed while reading the agent.", retryable: false };
    }
    if (closed.reason === "protocol") {
      const evidence = closed.evidence === undefined ? "" : ` It sent: ${closed.evidence}`;
      this.#dead = {
        class: "protocol",
        message: `${this.#program.name} broke the protocol: ${closed.message}${evidence}`,
        retryable: true,
      };
      await this.#end();
      return this.#dead;
    }
    const left = await within(this.#child.exited, EXIT_MS, this.#clock);
    const exit = await this.#end();
    // Everything it wrote to stderr is there at most a second after its exit.
    await within(this.#stderrDone, EXIT_MS, this.#clock);
    if (exit.kind === "not_started") {
      this.#dead = {
        class: "config",
        message: `${this.#program.argv[0]} could not be started: ${exit.message} (${exit.code}).`,
        retryable: false,
      };
      return this.#dead;
    }
    const text = left.done ? exitText(exit) : "closed its output and stayed";
    this.#dead = {
      class: "crashed",
      message: `${this.#program.name} ended: ${text}.${this.#lastWords()}`,
      retryable: true,
    };
    const clean = left.done && exit.kind === "exited" && exit.code === 0;
    return clean && how.cleanExitIsFine ? undefined : this.#dead;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#turn?.stop.abort();
    // Bounded by the cancelling above; what the turn came to, or threw, is its caller's to hear.
    await this.#running?.then(
      () => undefined,
      () => undefined,
    );
    if (!this.#ending) {
      this.#child.closeStdin();
      await within(this.#child.exited, LEAVE_MS, this.#clock);
    }
    await this.#end();
    this.#passOn();
  }

  /** Ends the process tree now, also what an agent that left by itself has left behind. */
  #end(): Promise<Exit> {
    this.#ending ??= (async () => {
      await this.#child.end(TERM_MS);
      const exit = await this.#child.exited;
      this.#peer.close();
      this.#emit({ kind: "session-ended", exit: exitText(exit) });
      return exit;
    })();
    return this.#ending;
  }

  #notification(method: string, params: unknown, bytes: number): void {
    if (method === "session/update") {
      const read = UpdateParams.safeParse(params);
      if (!read.success || (this.#id !== undefined && read.data.sessionId !== this.#id)) {
        this.#emitUnknown(method, params, bytes);
        return;
      }
      if (this.#turn) this.#turn.lastSignMs = this.#clock.monotonicMs();
      const { update } = read.data;
      if (!this.#update(update.sessionUpdate, update, bytes)) {
        this.#emitUnknown(update.sessionUpdate, update, bytes);
      }
      return;
    }
    if (this.#turn) this.#turn.lastSignMs = this.#clock.monotonicMs();
    if (method === "_omk/propose_task") {
      const turn = this.#turn;
      if (!turn) {
        this.#emitUnknown(method, params, bytes);
      } else if (turn.proposals.length >= PROPOSALS_MAX || bytes > PROPOSAL_BYTES_MAX) {
        turn.proposalsDropped++;
      } else {
        turn.proposals.push(params);
        this.#emit({ kind: "notice", message: "proposed a task" }, params, bytes);
      }
      return;
    }
    this.#emitUnknown(method, params, bytes);
  }

  /** Takes one update in; false when it is of no known kind or not shaped like it. */
  #update(kind: string, update: Record<string, unknown>, bytes: number): boolean {
    switch (kind) {
      case "agent_message_chunk":
      case "agent_thought_chunk": {
        const chunk = Chunk.safeParse(update);
        if (!chunk.success || chunk.data.content.type !== "text" || chunk.data.content.text === undefined)
          return false;
        this.#takeText(chunk.data.content.text, kind === "agent_thought_chunk");
        return true;
      }
      case "tool_call":
      case "tool_call_update": {
        const fields = ToolCallFields.safeParse(update);
        if (!fields.success) return false;
        if (this.#turn) this.#takeTool(this.#turn, fields.data, update, bytes);
        // Between turns there is nothing to join it to, but it is not lost.
        else this.#emitUnknown(`${kind} between turns`, update, bytes);
        return true;
      }
      case "plan": {
        const plan = PlanUpdate.safeParse(update);
        if (!plan.success) return false;
        const entries = plan.data.entries.slice(0, PATHS_MAX);
        this.#emit(
          {
            kind: "plan",
            entries: entries.map(({ content, status }) => ({
              content: clip(content, TITLE_MAX),
              status: clip(status, 100),
            })),
          },
          update,
          bytes,
        );
        return true;
      }
      case "usage_update": {
        const usage = UsageUpdate.safeParse(update);
        if (!usage.success) return false;
        const { used, size, cost } = usage.data;
        if (this.#turn) this.#turn.contextTokens = used;
        const inDollars = cost?.currency === "USD";
        if (inDollars) this.#costUsd = cost.amount;
        this.#emit(
          {
            kind: "usage",
            context_tokens: used,
            context_size: size,
            ...(inDollars ? { session_cost_usd: cost.amount } : {}),
          },
          update,
          bytes,
        );
        return true;
      }
      case "current_mode_update": {
        const mode = ModeUpdate.safeParse(update);
        if (!mode.success) return false;
        this.#emit({ kind: "mode", mode: clip(mode.data.currentModeId, TITLE_MAX) }, update, bytes);
        return true;
      }
      case "notice": {
        const notice = NoticeUpdate.safeParse(update);
        if (!notice.success) return false;
        const { title, description } = notice.data;
        this.#emit(
          { kind: "notice", message: clip(description ? `${title}: ${description}` : title, TITLE_MAX) },
          update,
          bytes,
        );
        return true;
      }
      case "user_message_chunk":
      case "available_commands_update":
      case "config_option_update":
      case "session_info_update":
        // Known, and nothing omk acts on; kept as what they are.
        this.#emit({ kind: "notice", message: kind }, update, bytes);
        return true;
      default:
        return false;
    }
  }

  #takeText(text: string, thinking: boolean): void {
    if (this.#turn) {
      if (!thinking) this.#turn.text.add(text);
      if (text.trim() !== "") this.#turn.denied = undefined;
    }
    const omitted = text.length - EVENT_TEXT_MAX;
    this.#emit({
      kind: "text",
      text: text.slice(0, EVENT_TEXT_MAX),
      thinking,
      ...(omitted > 0 ? { omitted_characters: omitted } : {}),
    });
  }

  /** A call may be seen first as `tool_call`, as an update of an unknown id, or in a permission request. */
  #takeTool(turn: TurnRecord, fields: ToolCallFields, raw: unknown, bytes: number): Tool | undefined {
    let tool = turn.tools.get(fields.toolCallId);
    const isNew = tool === undefined;
    if (!tool) {
      if (turn.tools.size >= TOOLS_MAX) {
        this.#refuse(`More than ${TOOLS_MAX} tool calls in one turn.`);
        return undefined;
      }
      tool = {
        id: fields.toolCallId,
        name: null,
        kind: "other",
        title: "",
        paths: [],
        input: undefined,
        content: [],
        keptBytes: 0,
        denied: false,
        outcome: undefined,
      };
      turn.tools.set(tool.id, tool);
      turn.openTools++;
    }
    if (turn.denied !== tool.id) turn.denied = undefined;
    if (typeof fields.name === "string") tool.name = clip(fields.name, 200);
    if (typeof fields.kind === "string") tool.kind = clip(fields.kind, 100);
    if (typeof fields.title === "string") tool.title = clip(fields.title, TITLE_MAX);
    if (fields.locations)
      tool.paths = fields.locations.slice(0, PATHS_MAX).map(({ path }) => clip(path, 4096));
    if (!tool.outcome) this.#keepInput(turn, tool, fields, bytes);

    const status = fields.status ?? "pending";
    const shown = toolFields(tool);
    if (isNew) {
      this.#emit(
        { kind: "tool-started", status: clip(status, 100), ...inputOf(fields, bytes), ...shown },
        raw,
        bytes,
      );
    }
    if (!tool.outcome && (status === "completed" || status === "failed")) {
      const outcome = status === "completed" ? "ok" : tool.denied ? "denied" : "failed";
      this.#finishTool(turn, tool, outcome, raw, bytes);
    } else if (!isNew) {
      this.#emit(
        { kind: "tool-updated", status: clip(status, 100), ...inputOf(fields, bytes), ...shown },
        raw,
        bytes,
      );
    }
    return tool;
  }

  #keepInput(turn: TurnRecord, tool: Tool, fields: ToolCallFields, bytes: number): void {
    if (fields.rawInput === undefined && !fields.content) return;
    const kept = turn.keptBytes - tool.keptBytes;
    if (kept + bytes > KEPT_INPUT_BYTES_MAX) {
      // Dropped rather than cut: a policy must not judge half an input. It sees that there is none.
      tool.input = undefined;
      tool.content = [];
      tool.keptBytes = 0;
    } else {
      if (fields.rawInput !== undefined) tool.input = fields.rawInput;
      if (fields.content) tool.content = fields.content;
      tool.keptBytes += bytes;
    }
    turn.keptBytes = kept + tool.keptBytes;
  }

  #finishTool(turn: TurnRecord, tool: Tool, outcome: ToolOutcome, raw?: unknown, bytes = 0): void {
    tool.outcome = outcome;
    turn.openTools--;
    turn.keptBytes -= tool.keptBytes;
    tool.keptBytes = 0;
    tool.input = undefined;
    tool.content = [];
    this.#emit({ kind: "tool-finished", outcome, ...toolFields(tool) }, raw, bytes);
  }

  #tracked<T>(answering: Promise<T>): Promise<T> {
    this.#answering.add(answering);
    return answering.finally(() => this.#answering.delete(answering));
  }

  async #permission(request: IncomingRequest): Promise<unknown> {
    const read = PermissionParams.safeParse(request.params);
    if (!read.success || read.data.sessionId !== this.#id) {
      throw new RpcError(RPC_CODES.invalidParams, "Not a permission request of this session");
    }
    const turn = this.#turn;
    if (!turn) return CANCELLED;
    turn.lastSignMs = this.#clock.monotonicMs();
    const { toolCall, options } = read.data;
    const tool = this.#takeTool(turn, toolCall, toolCall, request.bytes);
    if (!tool) return CANCELLED;
    const id = String(request.id);
    const asked: PermissionRequest = {
      id,
      toolCallId: tool.id,
      title: tool.title,
      name: tool.name,
      kind: tool.kind,
      command: null,
      locations: tool.paths,
      // What this request says counts most; what it leaves out, earlier updates said.
      rawInput: toolCall.rawInput ?? tool.input,
      content: toolCall.content ?? tool.content,
      options: options.map((option) => ({ id: option.optionId, name: option.name, kind: option.kind })),
    };
    this.#emit(
      {
        kind: "approval-asked",
        request_id: id,
        option_kinds: options.map((option) => clip(option.kind, 100)),
        ...inputOf({ rawInput: asked.rawInput }, request.bytes),
        ...toolFields(tool),
      },
      request.params,
      request.bytes,
    );
    const answer = await this.#decide(turn, asked);
    if (this.#turn === turn) turn.lastSignMs = this.#clock.monotonicMs();
    const option = answer.decision === "cancelled" ? undefined : chooseOption(options, answer.decision);
    if (answer.decision === "reject") {
      tool.denied = true;
      turn.denied = tool.id;
    }
    this.#emit({
      kind: "approval-answered",
      request_id: id,
      tool_id: tool.id,
      decision: option ? answer.decision : "cancelled",
      rule: answer.rule,
      option_kind: option?.kind ?? null,
    });
    return option ? { outcome: { outcome: "selected", optionId: option.optionId } } : CANCELLED;
  }

  async #decide(
    turn: TurnRecord,
    asked: PermissionRequest,
  ): Promise<{ decision: "allow" | "reject" | "cancelled"; rule: string }> {
    if (turn.cancelling) return TURN_OVER;
    if (this.#approvals.size >= OPEN_APPROVALS_MAX)
      return { decision: "reject", rule: "limit.open_approvals" };
    const gone = new AbortController();
    const answered = new AbortController();
    const cancelled = abortOf(gone.signal, answered.signal).then(() => TURN_OVER);
    this.#approvals.set(asked.id, gone);
    try {
      return await Promise.race([cancelled, this.#options.decidePermission(asked, gone.signal)]);
    } catch (error) {
      // A decider may reject because we told it that nobody waits any more.
      if (gone.signal.aborted) return TURN_OVER;
      throw error;
    } finally {
      answered.abort();
      this.#approvals.delete(asked.id);
    }
  }

  #cancelApprovals(): void {
    for (const gone of this.#approvals.values()) gone.abort();
  }

  #usageOf(turn: TurnRecord, result: PromptResult | undefined): TurnUsage {
    const spent = this.#costUsd - turn.costAtStartUsd;
    const cost = spent > 0 ? { cost_usd: spent } : {};
    const usage = result?.usage;
    if (usage) {
      const quality = this.#program.usageCovers === "last_call" ? "last_call_only" : "exact";
      return { ...normaliseUsage(usage), ...cost, quality };
    }
    if (turn.contextTokens !== undefined) {
      // How full the context is, is no count of what was spent, but better than nothing for a budget.
      return { input_tokens: turn.contextTokens, output_tokens: 0, ...cost, quality: "estimated" };
    }
    return { input_tokens: 0, output_tokens: 0, ...cost, quality: "missing" };
  }

  async #drainStderr(): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for await (const chunk of this.#child.stderr) {
        const text = decoder.decode(chunk, { stream: true });
        this.#stderrTail = (this.#stderrTail + text).slice(-STDERR_TAIL);
        const room = STDERR_EVENTS_BYTES_MAX - this.#stderrEventBytes;
        this.#stderrEventBytes += chunk.length;
        if (room > 0) this.#emit({ kind: "stderr", text: text.slice(0, Math.min(room, EVENT_TEXT_MAX)) });
        this.#countOutput(chunk.length);
      }
    } catch {
      // A broken stderr pipe says nothing that the exit does not say better.
    }
  }

  async *#counted(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
    for await (const chunk of source) {
      this.#countOutput(chunk.length);
      yield chunk;
    }
  }

  #countOutput(bytes: number): void {
    this.#outputBytes += bytes;
    if (this.#outputBytes > OUTPUT_BYTES_MAX) this.#refuse(`Its output exceeds ${OUTPUT_BYTES_MAX} bytes.`);
  }

  /** Ends the conversation because of what the agent sent. */
  #refuse(message: string): RpcClosed {
    const closed = new RpcClosed("protocol", message);
    this.#peer.close(closed);
    return closed;
  }

  #emitUnknown(what: string, message: unknown, bytes: number): void {
    this.#unknown++;
    this.#emit({ kind: "unknown", what: clip(what, 200), count: this.#unknown }, message, bytes);
  }

  #emit(body: EventBody, raw?: unknown, bytes = 0): void {
    if (this.#thrown) return;
    this.#sequence++;
    const kept = raw === undefined ? {} : { raw: bytes <= RAW_BYTES_MAX ? raw : { omitted_bytes: bytes } };
    try {
      this.#options.onEvent({
        ...body,
        at: instantOf(this.#clock.now()),
        session: this.#id ?? null,
        sequence: this.#sequence,
        ...kept,
      });
    } catch (error) {
      // Events go to the log; when that fails the turn must end, and its caller must hear why.
      this.#thrown = { error };
      this.#peer.close(new RpcClosed("handler", "An event could not be kept.", { cause: error }));
    }
  }

  /** Throws what one of our own callbacks threw. */
  #passOn(): void {
    if (this.#thrown) throw this.#thrown.error;
  }

  #lastWords(): string {
    const tail = this.#stderrTail.trim();
    return tail === "" ? "" : ` Its last words on stderr: ${tail}`;
  }
}

const CANCELLED = { outcome: { outcome: "cancelled" } } as const;
const TURN_OVER = { decision: "cancelled", rule: "turn.over" } as const;

/** By kind, never by id or label: those differ in every agent. An answer is meant for one request, so once comes first. */
function chooseOption(
  options: PermissionParams["options"],
  decision: "allow" | "reject",
): PermissionParams["options"][number] | undefined {
  const kinds: PermissionOptionKind[] =
    decision === "allow" ? ["allow_once", "allow_always"] : ["reject_once", "reject_always"];
  for (const kind of kinds) {
    const option = options.find((candidate) => candidate.kind === kind);
    if (option) return option;
  }
  return undefined;
}

/** Agents differ in what they count as input; their total tells which way they count. */
function normaliseUsage(usage: NonNullable<PromptResult["usage"]>): Omit<TurnUsage, "quality"> {
  const read = usage.cachedReadTokens ?? 0;
  const written = usage.cachedWriteTokens ?? 0;
  const thought = usage.thoughtTokens ?? 0;
  const plain = usage.inputTokens + usage.outputTokens;
  const cacheInside =
    read + written > 0 && (usage.totalTokens === plain || usage.totalTokens === plain + thought);
  const thoughtOutside =
    thought > 0 &&
    (usage.totalTokens === plain + thought || usage.totalTokens === plain + thought + read + written);
  return {
    input_tokens: cacheInside ? Math.max(0, usage.inputTokens - read - written) : usage.inputTokens,
    output_tokens: usage.outputTokens + (thoughtOutside ? thought : 0),
    ...(read > 0 ? { cache_read_tokens: read } : {}),
    ...(written > 0 ? { cache_write_tokens: written } : {}),
  };
}

/**
 * The class of an error answer. Numbers decide where there are any. Most agents put the provider's failure only into
 * the message, so that is read as a last resort: the one place where a foreign sentence becomes a code of ours.
 */
function failureOf(error: RpcError): Failure {
  const message = clip(`The agent answered with an error: ${error.message} (${error.code})`, STDERR_TAIL);
  const data = asRecord(error.data);
  const given = [error.code, data["statusCode"], data["status"], data["code"]].find(
    (value): value is number => typeof value === "number" && value >= 400 && value <= 599,
  );
  const status = given ?? Number(/\b(?:40[0-9]|429|5[0-9]{2})\b/.exec(error.message)?.[0] ?? Number.NaN);
  if (error.code === -32000 || status === 401 || status === 403)
    return { class: "auth", message, retryable: false };
  if (status === 429 || /rate.?limit|quota|too many requests/i.test(error.message)) {
    return { class: "rate_limit", message, retryable: true };
  }
  // Resource not found: what we named (a session, a script's entry) is not there, and will not be next time.
  if (error.code === -32002) return { class: "config", message, retryable: false };
  const ours = [RPC_CODES.parse, RPC_CODES.invalidRequest, RPC_CODES.unknownMethod, RPC_CODES.invalidParams];
  if (ours.some((code) => code === error.code)) return { class: "protocol", message, retryable: false };
  return { class: "provider", message, retryable: status >= 500 || status === 408 };
}

function emptyTurn(status: "failed" | "cancelled", failure?: Failure): Turn {
  return {
    status,
    ...(failure ? { failure } : {}),
    text: "",
    toolCalls: 0,
    usage: { input_tokens: 0, output_tokens: 0, quality: "missing" },
    proposals: [],
  };
}

function toolFields(tool: Tool): ToolFields {
  return { tool_id: tool.id, name: tool.name, tool_kind: tool.kind, title: tool.title, paths: tool.paths };
}

function inputOf(fields: { rawInput?: unknown }, bytes: number): { input?: unknown } {
  if (fields.rawInput === undefined) return {};
  return { input: bytes <= RAW_BYTES_MAX ? fields.rawInput : { omitted_bytes: bytes } };
}

function exitText(exit: Exit): string {
  switch (exit.kind) {
    case "exited":
      return `exit status ${exit.code}`;
    case "signalled":
      return `signal ${exit.signal}`;
    case "not_started":
      return `not started (${exit.code})`;
  }
}

function clip(text: string, charactersMax: number): string {
  return text.length <= charactersMax ? text : `${text.slice(0, charactersMax)}…`;
}

/** Sleeps that long or until the signal is aborted. */
async function sleepUnlessOver(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(ms, signal);
  } catch (error) {
    // The caller looks at the signal itself.
    if (!signal.aborted) throw error;
  }
}

/** The end of a text that may be much longer. */
class TextTail {
  readonly #bytesMax: number;
  #text = "";
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  add(part: string): void {
    this.#text += part;
    // A character is at least one byte, so this many characters always hold what is kept in the end.
    if (this.#text.length > this.#bytesMax * 2) this.#text = this.#text.slice(-this.#bytesMax);
  }

  read(): string {
    const bytes = new TextEncoder().encode(this.#text);
    if (bytes.length <= this.#bytesMax) return this.#text;
    let start = bytes.length - this.#bytesMax;
    // Not in the middle of a character.
    while (start < bytes.length && ((bytes[start] ?? 0) & 0xc0) === 0x80) start++;
    return new TextDecoder().decode(bytes.subarray(start));
  }
}
