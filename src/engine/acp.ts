/**
 * Any agent that speaks the Agent Client Protocol, version 1, on its stdio. One process, one session. Its types come
 * from the official SDK; its client does not, because that drops updates it does not know and lets lines reach 32 MiB.
 */
import type { PermissionOptionKind, StopReason } from "@agentclientprotocol/sdk";
import {
  Chunk,
  InitializeResult,
  ModeUpdate,
  NewSessionResult,
  NoticeUpdate,
  PermissionParams,
  PlanUpdate,
  PromptResult,
  ToolCallFields,
  UpdateParams,
  UsageUpdate,
} from "./acp-messages.ts";
import { AgentProcess, clip, type AgentProcesses } from "./agent-process.ts";
import { abortOf, within } from "./deadline.ts";
import type {
  Engine,
  EngineCapabilities,
  Failure,
  PermissionRequest,
  Prompt,
  Session,
  StartOptions,
  Turn,
  TurnUsage,
} from "./engine.ts";
import { providerFailure } from "./failure.ts";
import { probeProgram, type VersionCall } from "./probe.ts";
import { RPC_CODES, RpcClosed, RpcError, RpcPeer, asRecord } from "./rpc.ts";
import type { IncomingRequest } from "./rpc.ts";
import {
  emitText,
  emptyTurn,
  PATHS_MAX,
  timeoutFailure,
  TITLE_MAX,
  TurnRecord,
  type Tool,
  type ToolReport,
} from "./turn-record.ts";
import type { Clock } from "../ports.ts";

const PROTOCOL_VERSION = 1;
/** How long a cancelled turn may take to end by itself. */
const CANCEL_MS = 5000;
/** Some agents send a turn's last update up to 10 ms after its result. */
const LATE_UPDATES_MS = 100;

/** An agent program and what is known about it. */
export interface AcpProgram extends VersionCall {
  name: string;
  /** What we call ourselves to the agent. */
  clientVersion?: string;
  /** Some agents report only the last model call of a turn. */
  usageCovers?: "turn" | "last_call";
}

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
    probe: (signal) => probeProgram(program, ports.processes, signal),
    async start(options, signal) {
      signal.throwIfAborted();
      const session = new AcpSession(program, options, ports);
      await session.open(signal);
      return session;
    },
  };
}

/** How a prompt was answered. */
type Answer =
  | { by: "result"; result: PromptResult }
  | { by: "error"; error: RpcError }
  | { by: "closed"; closed: RpcClosed }
  /** It was asked to end, did not, and was ended. */
  | { by: "ended" };

class AcpSession implements Session {
  readonly #program: AcpProgram;
  readonly #options: StartOptions;
  readonly #clock: Clock;
  readonly #process: AgentProcess;
  readonly #peer: RpcPeer;
  #turn: TurnRecord | undefined;
  /** The turn that runs, for `stop` to wait for. */
  #running: Promise<Turn> | undefined;
  #stopping: Promise<void> | undefined;
  /** Of the session, as the agent last said. */
  #costUsd = 0;
  #costAtStartUsd = 0;
  #contextTokens: number | undefined;

  constructor(
    program: AcpProgram,
    options: StartOptions,
    ports: { processes: AgentProcesses; clock: Clock },
  ) {
    this.#program = program;
    this.#options = options;
    this.#clock = ports.clock;
    this.#process = new AgentProcess(
      { name: program.name, argv: program.argv, stdin: "pipe" },
      options,
      ports,
      {
        refuse: (message) => void this.#refuse(message),
        broken: (cause) =>
          this.#peer.close(new RpcClosed("handler", "An event could not be kept.", { cause })),
        ended: () => this.#peer.close(),
      },
    );
    const { child, stdout } = this.#process;
    this.#peer = new RpcPeer(
      { write: (bytes) => child.write(bytes), incoming: stdout },
      {
        requests: new Map([["session/request_permission", (request) => this.#permission(request)]]),
        notification: (method, params, bytes) => this.#notification(method, params, bytes),
        unknownRequest: (method, params, bytes) => this.#process.emitUnknown(method, params, bytes),
        noise: (text) =>
          this.#process.emit({ kind: "notice", message: `not a message: ${clip(text, TITLE_MAX)}` }),
      },
      { clock: this.#clock, ids: "number" },
    );
    void this.#peer.closed.then(() => this.#turn?.cancelApprovals());
  }

  get id(): string | undefined {
    return this.#process.sessionId;
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
    if (signal.aborted || this.#process.isBroken) {
      this.#process.dead = { class: "config", message: "The start was given up.", retryable: true };
      await this.#process.end();
      this.#process.passOn();
      throw signal.reason;
    }
    if (!ended.done) {
      const message = `${this.#program.name} did not finish the handshake within ${handshakeMs} ms.${this.#process.lastWords()}`;
      this.#process.dead = { class: "timeout", message, retryable: true };
    } else if (ended.value instanceof RpcClosed) {
      this.#process.dead = await this.#deathBy(ended.value);
    } else if (ended.value instanceof RpcError) {
      this.#process.dead = failureOf(ended.value);
    }
    if (this.#process.dead) await this.#process.end();
    this.#process.passOn();
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
    this.#process.sessionId = made.data.sessionId;
    this.#process.emit({
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
    this.#process.passOn();
    if (this.#process.dead) return emptyTurn("failed", this.#process.dead);
    if (this.#stopping || signal.aborted) return emptyTurn("cancelled");
    const turn = new TurnRecord(this.#process, this.#options, this.#clock);
    this.#turn = turn;
    this.#contextTokens = undefined;
    this.#costAtStartUsd = this.#costUsd;
    try {
      this.#process.emit({ kind: "turn-started", ...prompt.meta });
      const result = await this.#takeTurn(turn, prompt, signal);
      this.#process.emit({
        kind: "turn-ended",
        status: result.status,
        ...(result.failure ? { failure: result.failure } : {}),
        tool_calls: result.toolCalls,
        usage: result.usage,
      });
      this.#process.passOn();
      return result;
    } finally {
      this.#turn = undefined;
    }
  }

  async #takeTurn(turn: TurnRecord, prompt: Prompt, signal: AbortSignal): Promise<Turn> {
    const { limits } = this.#options;
    const asked = this.#prompt(prompt);
    const ending = await turn.outcome(asked, limits, signal);
    const answer = ending.by === "answer" ? ending.answer : await this.#cancel(turn, asked);
    await turn.answersTold();
    let failure: Failure | undefined;
    if (answer.by === "result") {
      const late = await within(this.#peer.closed, LATE_UPDATES_MS, this.#clock);
      // A crash or a broken line right behind a friendly stop reason counts more than the stop reason.
      if (late.done) failure = await this.#deathBy(late.value, { cleanExitIsFine: true });
    } else if (answer.by === "error") {
      failure = failureOf(answer.error);
    } else if (answer.by === "closed") {
      failure = await this.#deathBy(answer.closed);
    }
    if (ending.by === "idle" || ending.by === "time")
      failure = timeoutFailure(this.#process, ending.by, limits);
    const gathered = turn.close();
    const result = answer.by === "result" ? answer.result : undefined;
    const common = { ...gathered, usage: this.#usageOf(result) };
    if (ending.by === "cancel") return { status: "cancelled", ...common };
    if (failure) return { status: "failed", failure, ...common };
    return { ...readStop(turn, result?.stopReason as StopReason | undefined), ...common };
  }

  /** Sends the prompt; every way it can be answered is a value. */
  async #prompt(prompt: Prompt): Promise<Answer> {
    // Agents take a leading slash as one of their own commands.
    const text = prompt.text.startsWith("/") ? `Request: ${prompt.text}` : prompt.text;
    try {
      const answer = await this.#peer.request("session/prompt", {
        sessionId: this.id,
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

  /** Asks for an end of the turn and waits for it; a process that does not listen is ended. */
  async #cancel(turn: TurnRecord, answer: Promise<Answer>): Promise<Answer> {
    turn.isCancelling = true;
    // Not awaited: an agent that does not read its stdin would never let this pass.
    void this.#peer.notify("session/cancel", { sessionId: this.id });
    turn.cancelApprovals();
    const answered = await within(answer, CANCEL_MS, this.#clock);
    if (answered.done) return answered.value;
    const message = `${this.#program.name} did not end its turn within ${CANCEL_MS} ms of being asked, so it was ended.`;
    this.#process.dead = { class: "timeout", message, retryable: true };
    await this.#process.end();
    return { by: "ended" };
  }

  /** What a conversation's end says about the agent. Ends what is left of it, and keeps the reason for later turns. */
  async #deathBy(closed: RpcClosed, how: { cleanExitIsFine?: boolean } = {}): Promise<Failure | undefined> {
    if (closed.reason === "handler") {
      this.#process.fail(closed.cause);
      await this.#process.end();
      return { class: "crashed", message: "omk itself failed while reading the agent.", retryable: false };
    }
    if (closed.reason === "protocol") {
      const evidence = closed.evidence === undefined ? "" : ` It sent: ${closed.evidence}`;
      const message = `${this.#program.name} broke the protocol: ${closed.message}${evidence}`;
      this.#process.dead = { class: "protocol", message, retryable: true };
      await this.#process.end();
      return this.#process.dead;
    }
    const { failure, exit } = await this.#process.death();
    const clean = exit?.kind === "exited" && exit.code === 0;
    return clean && how.cleanExitIsFine ? undefined : failure;
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
    await this.#process.leave();
    this.#process.passOn();
  }

  #notification(method: string, params: unknown, bytes: number): void {
    if (method === "session/update") {
      const read = UpdateParams.safeParse(params);
      if (!read.success || (this.id !== undefined && read.data.sessionId !== this.id)) {
        this.#process.emitUnknown(method, params, bytes);
        return;
      }
      this.#turn?.sign();
      const { update } = read.data;
      if (!this.#update(update.sessionUpdate, update, bytes)) {
        this.#process.emitUnknown(update.sessionUpdate, update, bytes);
      }
      return;
    }
    this.#turn?.sign();
    if (method === "_omk/propose_task" && this.#turn) this.#turn.takeProposal(params, bytes);
    else this.#process.emitUnknown(method, params, bytes);
  }

  /** Takes one update in; false when it is of no known kind or not shaped like it. */
  #update(kind: string, update: Record<string, unknown>, bytes: number): boolean {
    switch (kind) {
      case "agent_message_chunk":
      case "agent_thought_chunk": {
        const chunk = Chunk.safeParse(update);
        if (!chunk.success || chunk.data.content.type !== "text" || chunk.data.content.text === undefined)
          return false;
        const { text } = chunk.data.content;
        const thinking = kind === "agent_thought_chunk";
        if (this.#turn) this.#turn.takeText(text, thinking);
        else emitText(this.#process, text, thinking);
        return true;
      }
      case "tool_call":
      case "tool_call_update": {
        const fields = ToolCallFields.safeParse(update);
        if (!fields.success) return false;
        if (this.#turn) this.#takeTool(this.#turn, fields.data, update, bytes);
        // Between turns there is nothing to join it to, but it is not lost.
        else this.#process.emitUnknown(`${kind} between turns`, update, bytes);
        return true;
      }
      case "plan": {
        const plan = PlanUpdate.safeParse(update);
        if (!plan.success) return false;
        const entries = plan.data.entries.slice(0, PATHS_MAX).map(({ content, status }) => ({
          content: clip(content, TITLE_MAX),
          status: clip(status, 100),
        }));
        this.#process.emit({ kind: "plan", entries }, update, bytes);
        return true;
      }
      case "usage_update":
        return this.#takeUsage(update, bytes);
      case "current_mode_update": {
        const mode = ModeUpdate.safeParse(update);
        if (!mode.success) return false;
        this.#process.emit({ kind: "mode", mode: clip(mode.data.currentModeId, TITLE_MAX) }, update, bytes);
        return true;
      }
      case "notice": {
        const notice = NoticeUpdate.safeParse(update);
        if (!notice.success) return false;
        const { title, description } = notice.data;
        const message = clip(description ? `${title}: ${description}` : title, TITLE_MAX);
        this.#process.emit({ kind: "notice", message }, update, bytes);
        return true;
      }
      case "user_message_chunk":
      case "available_commands_update":
      case "config_option_update":
      case "session_info_update":
        // Known, and nothing omk acts on; kept as what they are.
        this.#process.emit({ kind: "notice", message: kind }, update, bytes);
        return true;
      default:
        return false;
    }
  }

  #takeUsage(update: Record<string, unknown>, bytes: number): boolean {
    const usage = UsageUpdate.safeParse(update);
    if (!usage.success) return false;
    const { used, size, cost } = usage.data;
    if (this.#turn) this.#contextTokens = used;
    const inDollars = cost?.currency === "USD";
    if (inDollars) this.#costUsd = cost.amount;
    this.#process.emit(
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

  #takeTool(turn: TurnRecord, fields: ToolCallFields, raw: unknown, bytes: number): Tool | undefined {
    const tool = turn.takeTool(reportOf(fields), raw, bytes);
    if (!tool) this.#refuse("Too many tool calls in one turn.");
    return tool;
  }

  async #permission(request: IncomingRequest): Promise<unknown> {
    const read = PermissionParams.safeParse(request.params);
    if (!read.success || read.data.sessionId !== this.id) {
      throw new RpcError(RPC_CODES.invalidParams, "Not a permission request of this session");
    }
    const turn = this.#turn;
    if (!turn) return CANCELLED;
    const { toolCall, options } = read.data;
    const tool = this.#takeTool(turn, toolCall, toolCall, request.bytes);
    if (!tool) return CANCELLED;
    const asked: PermissionRequest = {
      id: String(request.id),
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
    const { decision } = await turn.ask(asked, {
      raw: request.params,
      bytes: request.bytes,
      tool,
      optionKind: (wanted) => chooseOption(options, wanted)?.kind,
    });
    if (decision === "cancelled") return CANCELLED;
    return { outcome: { outcome: "selected", optionId: chooseOption(options, decision)?.optionId } };
  }

  #usageOf(result: PromptResult | undefined): TurnUsage {
    const spent = this.#costUsd - this.#costAtStartUsd;
    const cost = spent > 0 ? { cost_usd: spent } : {};
    const usage = result?.usage;
    if (usage) {
      const quality = this.#program.usageCovers === "last_call" ? "last_call_only" : "exact";
      return { ...normaliseUsage(usage), ...cost, quality };
    }
    if (this.#contextTokens !== undefined) {
      // How full the context is, is no count of what was spent, but better than nothing for a budget.
      return { input_tokens: this.#contextTokens, output_tokens: 0, ...cost, quality: "estimated" };
    }
    return { input_tokens: 0, output_tokens: 0, ...cost, quality: "missing" };
  }

  /** Ends the conversation because of what the agent sent. */
  #refuse(message: string): RpcClosed {
    const closed = new RpcClosed("protocol", message);
    this.#peer.close(closed);
    return closed;
  }
}

const CANCELLED = { outcome: { outcome: "cancelled" } } as const;

function reportOf(fields: ToolCallFields): ToolReport {
  const { toolCallId, title, name, kind, status, content, locations, rawInput } = fields;
  const paths = locations ? { paths: locations.map(({ path }) => path) } : {};
  return { id: toolCallId, title, name, kind, status, content, ...paths, input: rawInput };
}

/** What a stop reason means, corrected by what was seen. */
function readStop(turn: TurnRecord, stopReason: StopReason | undefined): Pick<Turn, "status" | "failure"> {
  switch (stopReason) {
    case "end_turn":
      return turn.endedByAgent();
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

/** The class of an error answer. */
function failureOf(error: RpcError): Failure {
  const message = `The agent answered with an error: ${error.message} (${error.code})`;
  const data = asRecord(error.data);
  const status = [error.code, data["statusCode"], data["status"], data["code"]].find(
    (value): value is number => typeof value === "number" && value >= 400 && value <= 599,
  );
  if (error.code === -32000) return { class: "auth", message: clip(message, 4096), retryable: false };
  // Resource not found: what we named (a session, a script's entry) is not there, and will not be next time.
  if (error.code === -32002) return { class: "config", message: clip(message, 4096), retryable: false };
  const failure = providerFailure({ message, status });
  const ours = [RPC_CODES.parse, RPC_CODES.invalidRequest, RPC_CODES.unknownMethod, RPC_CODES.invalidParams];
  const isOurs = failure.class === "provider" && ours.some((code) => code === error.code);
  return isOurs ? { ...failure, class: "protocol", retryable: false } : failure;
}
