/**
 * Any agent that speaks the Agent Client Protocol, version 1, on its stdio. One process, one session. Its types come
 * from the official SDK; its client does not, because that drops updates it does not know and lets lines reach 32 MiB.
 */
import type { PermissionOptionKind, StopReason } from "@agentclientprotocol/sdk";
import { join } from "node:path";
import type { z } from "zod";
import { ClientActs } from "./acp-client.ts";
import { ClientFiles } from "./acp-files.ts";
import {
  Chunk,
  CreateTerminalParams,
  InitializeResult,
  ModeUpdate,
  NewSessionResult,
  NoticeUpdate,
  PermissionParams,
  PlanUpdate,
  PromptResult,
  ReadFileParams,
  TerminalParams,
  ToolCallFields,
  UpdateParams,
  WriteFileParams,
} from "./acp-messages.ts";
import { modeStep } from "./acp-modes.ts";
import { ClientTerminals } from "./acp-terminals.ts";
import { AcpUsage } from "./acp-usage.ts";
import { clip, type AgentProcesses } from "./agent-process.ts";
import { sleepUnlessOver, within } from "./deadline.ts";
import type {
  Engine,
  EngineCapabilities,
  Failure,
  McpServer,
  PermissionRequest,
  Prompt,
  StartOptions,
  Turn,
} from "./engine.ts";
import { failureDetails, providerFailure } from "./failure.ts";
import { KimiSessionLog } from "./kimi-session-log.ts";
import type { AgentPreset } from "./presets.ts";
import { probeProgram, type VersionCall } from "./probe.ts";
import { RpcSession, type Answer } from "./rpc-session.ts";
import { RPC_CODES, RpcError, asRecord } from "./rpc.ts";
import type { IncomingRequest } from "./rpc.ts";
import { commandOf } from "./shell-words.ts";
import {
  emitText,
  PATHS_MAX,
  READS_ONLY,
  timeoutFailure,
  TITLE_MAX,
  type TurnRecord,
  type Tool,
  type ToolReport,
} from "./turn-record.ts";
import type { Clock, Disk } from "../ports.ts";

const PROTOCOL_VERSION = 1;
/** Some agents send a turn's last update up to 10 ms after its result. */
const LATE_UPDATES_MS = 100;

/** How often an agent's own log is looked at while a turn runs, and how long at its end for the record of that. */
const LOG_LOOK_MS = 500;
const LOG_END_MS = 1000;
const LOG_END_LOOK_MS = 20;
/** An agent's arguments, told as text before they are told as input, are read up to this. */
const SPELLED_INPUT_MAX = 1024 * 1024;

/** An agent program and what is known about it. */
export interface AcpProgram extends VersionCall {
  name: string;
  /** What we call ourselves to the agent. */
  clientVersion?: string;
  /** Without one nothing is offered, and only what all agents have in common is understood. */
  preset?: AcpPreset;
}

/** What is asked of a preset here. */
export type AcpPreset = Pick<AgentPreset, "modes" | "client" | "usage" | "failures">;

/** What an engine that speaks this protocol works with. */
export interface AcpPorts {
  processes: AgentProcesses;
  clock: Clock;
  disk: Disk;
}

function capabilitiesOf({ preset }: AcpProgram): EngineCapabilities {
  const { client, usage } = preset ?? {};
  const interceptWrites = client?.writeFiles ?? false;
  const interceptShell = client?.terminal ?? false;
  return {
    approvals: interceptWrites && interceptShell ? "asks_all" : "asks",
    cancel: "graceful",
    // Nothing of omk has text for a running turn, and no turn goes on in an earlier session.
    steer: false,
    reload: false,
    hooks: false,
    sessionsPerProcess: "one",
    mcp: true,
    extraTools: false,
    interceptWrites,
    interceptShell,
    usage: usage ? USAGE[usage.tokens] : "exact",
    cost: usage ? usage.cost !== "none" : true,
  };
}

const USAGE: Readonly<Record<AgentPreset["usage"]["tokens"], EngineCapabilities["usage"]>> = {
  prompt_result_turn: "exact",
  prompt_result_last_call: "last_call",
  session_log: "session_log",
  meta_quota: "exact",
  events: "exact",
  none: "none",
};

/** The engine for one ACP agent program. */
export function acpEngine(program: AcpProgram, ports: AcpPorts): Engine {
  return {
    name: program.name,
    capabilities: capabilitiesOf(program),
    probe: (signal) => probeProgram(program, ports.processes, signal),
    async start(options, signal) {
      signal.throwIfAborted();
      const session = new AcpSession(program, options, ports);
      await session.open(signal);
      return session;
    },
  };
}

class AcpSession extends RpcSession<PromptResult> {
  readonly #program: AcpProgram;
  readonly #usage: AcpUsage;
  #contextSize = 0;
  readonly #files: ClientFiles;
  readonly #terminals: ClientTerminals;
  /** Where the agent tells what it does not tell us. */
  #log: KimiSessionLog | undefined;
  readonly #disk: Disk;
  readonly #handlers: ReturnType<AcpSession["handlers"]>;
  /** What the agent says one can log in with. */
  #logins: string[] = [];

  constructor(program: AcpProgram, options: StartOptions, ports: AcpPorts) {
    super({ name: program.name, argv: program.argv, ids: "number" }, options, ports);
    this.#program = program;
    this.#disk = ports.disk;
    this.#usage = new AcpUsage(program.preset?.usage);
    const acts = new ClientActs({ readOnly: options.mode === "read_only" });
    const place = { ...options, isNote: (path: string) => isPlan(path, this.#logHome) };
    this.#files = new ClientFiles(place, acts, ports);
    this.#terminals = new ClientTerminals(options, acts, ports);
    this.#handlers = this.#requests();
  }

  protected override handlers(): Map<string, (request: IncomingRequest) => Promise<unknown>> {
    return this.#handlers;
  }

  protected override refusal(error: RpcError): Failure {
    const failure = this.#failureOf(error);
    return failure.class === "auth" ? this.#withLogins(failure) : failure;
  }

  protected override tellCancel(): void {
    void this.peer.notify("session/cancel", { sessionId: this.id });
  }

  /** The terminals are the agent's, so they go before it. */
  protected override async leave(): Promise<void> {
    await this.#terminals.endAll();
    await super.leave();
  }

  protected override async handshake(): Promise<void> {
    const offers = this.#offers;
    const greeting = InitializeResult.safeParse(
      await this.peer.request("initialize", {
        protocolVersion: PROTOCOL_VERSION,
        // Only extras, and only to agents that do well with them: most ignore them, one writes although told no, and
        // protocol 2 drops them. The work tree and the gates are the guard.
        clientCapabilities: {
          fs: { readTextFile: offers.readFiles, writeTextFile: offers.writeFiles },
          terminal: offers.terminal,
        },
        clientInfo: { name: "omk", version: this.#program.clientVersion ?? "unknown" },
      }),
    );
    if (!greeting.success) throw this.refuse("Its answer to initialize is not what the protocol says.");
    const { protocolVersion, agentInfo, authMethods } = greeting.data;
    this.#logins = (authMethods ?? []).slice(0, 10).map(({ id, name }) => clip(name ?? id, 100));
    if (protocolVersion !== PROTOCOL_VERSION) {
      throw this.refuse(`It speaks protocol version ${protocolVersion}, omk speaks ${PROTOCOL_VERSION}.`);
    }
    const mcpServers = this.#mcpServers(greeting.data.agentCapabilities?.mcpCapabilities ?? {});
    const made = NewSessionResult.safeParse(
      await this.peer.request("session/new", { cwd: this.options.cwd, mcpServers }),
    );
    if (!made.success) throw this.refuse("Its answer to session/new names no session.");
    this.process.sessionId = made.data.sessionId;
    this.process.emit({
      kind: "session-started",
      agent: agentInfo ? clip(agentInfo.name, 200) : null,
      agent_version: agentInfo ? clip(agentInfo.version, 200) : null,
      protocol_version: protocolVersion,
    });
    const home = this.#logHome;
    if (home !== undefined) {
      const ports = { disk: this.#disk, clock: this.clock };
      this.#log = new KimiSessionLog(home, made.data.sessionId, ports);
    }
    await this.#setMode(made.data);
  }

  /**
   * What the agent may have us do. While it may only read, its files are its own: one agent's plan mode keeps its plan in a
   * file that it takes for broken when a client does not find it.
   */
  get #offers(): AgentPreset["client"] {
    const { client = NOTHING_OFFERED } = this.#program.preset ?? {};
    const isReading = this.options.mode === "read_only";
    return isReading ? { ...client, readFiles: false, writeFiles: false } : client;
  }

  /** Where the agent keeps its sessions, when that is where it tells what we need. */
  get #logHome(): string | undefined {
    if (this.#program.preset?.usage.tokens !== "session_log") return undefined;
    const { KIMI_CODE_HOME, HOME = "/" } = this.options.environment;
    return KIMI_CODE_HOME || join(HOME, ".kimi-code");
  }

  /** In the form of the protocol, as far as the agent can connect to them. */
  #mcpServers(can: { http?: boolean | null | undefined; sse?: boolean | null | undefined }): object[] {
    const pairs = (record: Readonly<Record<string, string>>): { name: string; value: string }[] =>
      Object.entries(record).map(([name, value]) => ({ name, value }));
    return (this.options.mcpServers ?? []).flatMap((server: McpServer): object[] => {
      const { name } = server;
      if ("command" in server)
        return [{ name, command: server.command, args: [...server.args], env: pairs(server.env) }];
      const { type, url, headers } = server;
      if (can[type] === true) return [{ type, name, url, headers: pairs(headers) }];
      const message = `The server ${clip(name, 200)} was not passed on: the agent does not connect over ${type}.`;
      this.process.emit({ kind: "notice", message });
      return [];
    });
  }

  /** Puts the agent into the mode that was asked for. When that may not be missed, it throws. */
  async #setMode(made: NewSessionResult): Promise<void> {
    const { mode = "ask" } = this.options;
    const step = modeStep(mode, this.#program.preset?.modes, made);
    if (step.do === "nothing") return;
    let because = "it does not name it";
    if (step.do === "call") {
      try {
        await this.peer.request(step.method, { sessionId: this.id, ...step.params });
        this.process.emit({ kind: "mode", mode: step.id });
        return;
      } catch (error) {
        if (!(error instanceof RpcError)) throw error;
        because = error.message;
      }
    }
    const message = `${this.#program.name} did not take the mode ${step.id}: ${clip(because, TITLE_MAX)}.`;
    if (mode === "ask") this.process.emit({ kind: "notice", message });
    // Something that is to read only must not be left able to write.
    else this.process.dead = { class: "config", message, retryable: false };
  }

  protected override async takeTurn(turn: TurnRecord, prompt: Prompt, signal: AbortSignal): Promise<Turn> {
    const { limits } = this.options;
    this.#usage.begin();
    this.#log?.begin();
    const asked = this.#prompt(prompt);
    const over = new AbortController();
    const followed = this.#follow(over.signal);
    // Awaited below; until then what it throws is not lost on anybody.
    followed.catch(() => undefined);
    const ending = await turn.outcome(asked, limits, signal);
    const answer = ending.by === "answer" ? ending.answer : await this.cancel(turn, asked);
    // What it asks of us from here on is too late to be watched.
    turn.isOver = true;
    over.abort();
    await followed;
    await turn.answersTold();
    await this.#terminals.endAll();
    let failure: Failure | undefined;
    if (answer.by === "result") {
      const late = await within(this.peer.closed, LATE_UPDATES_MS, this.clock);
      // A crash or a broken line right behind a friendly stop reason counts more than the stop reason.
      if (late.done) failure = await this.deathBy(late.value, { cleanExitIsFine: true });
    } else if (answer.by === "error") {
      failure = this.#failureOf(answer.error);
    } else if (answer.by === "closed") {
      failure = await this.deathBy(answer.closed);
    }
    const result = answer.by === "result" ? answer.result : undefined;
    if (answer.by === "result" || answer.by === "error") {
      const hidden = (await this.#failureInLog()) ?? this.#failureInWords(turn, result);
      // An error answer is clear; a log knows better only which one it was.
      if (!failure || (hidden && hidden.class !== "provider")) failure = hidden ?? failure;
      if (failure?.class === "auth") failure = this.#withLogins(failure);
    } else if (this.#log) this.#readLog(this.#log);
    if (ending.by === "idle" || ending.by === "time")
      failure = timeoutFailure(this.process, ending.by, limits);
    const gathered = turn.close();
    const common = { ...gathered, usage: this.#usage.final(result) };
    if (ending.by === "cancel") return { status: "cancelled", ...common };
    if (failure) return { status: "failed", failure, ...common };
    return { ...readStop(turn, result?.stopReason as StopReason | undefined), ...common };
  }

  /** Looks at the agent's own log while the turn runs. */
  async #follow(signal: AbortSignal): Promise<void> {
    while (this.#log && !signal.aborted) {
      this.#readLog(this.#log);
      await sleepUnlessOver(this.clock, LOG_LOOK_MS, signal);
    }
  }

  #readLog(log: KimiSessionLog): void {
    const { spent, retrying } = log.read();
    for (const message of retrying)
      this.process.emit({ kind: "retrying", message: clip(message, TITLE_MAX) });
    if (retrying.length > 0 || spent) this.turn?.sign();
    if (!spent) return;
    this.#usage.takeTotals(spent);
    this.#emitUsage({ context_tokens: this.#usage.contextTokens, context_size: this.#contextSize });
  }

  /** The failure that the agent told only to its log, which may be a moment behind. */
  async #failureInLog(): Promise<Failure | undefined> {
    const log = this.#log;
    if (!log) return undefined;
    const untilMs = this.clock.monotonicMs() + LOG_END_MS;
    this.#readLog(log);
    while (log.isThere && !log.hasEnded && this.clock.monotonicMs() < untilMs) {
      await this.clock.sleep(LOG_END_LOOK_MS);
      this.#readLog(log);
    }
    // It counts every call that was answered: without one, a full context is nothing that was paid for.
    if (log.hasEnded && !log.spent)
      this.#usage.takeTotals({ input_tokens: 0, output_tokens: 0, quality: "exact" });
    return log.failure;
  }

  /** The failure that the agent told as if it were its answer; it has counted nothing then. */
  #failureInWords(turn: TurnRecord, result: PromptResult | undefined): Failure | undefined {
    if (result?.stopReason !== "end_turn" || result.usage !== null) return undefined;
    const text = turn.text().trim();
    const isKnown = this.#program.preset?.failures === "message_text";
    // Where it is not known that the agent does this, only what can hardly be anything else.
    if (text === "" || !(isKnown || (turn.tools.size === 0 && SPOKEN_ERROR.test(text)))) return undefined;
    return providerFailure({ message: text.slice(-4096) }, this.clock.now());
  }

  #prompt(prompt: Prompt): Promise<Answer<PromptResult>> {
    // Agents take a leading slash as one of their own commands.
    const text = prompt.text.startsWith("/") ? `Request: ${prompt.text}` : prompt.text;
    const params = { sessionId: this.id, prompt: [{ type: "text", text }], _meta: { omk: prompt.meta } };
    const read = (answer: unknown): PromptResult | undefined => PromptResult.safeParse(answer).data;
    return this.ask("session/prompt", params, read, "Its answer to session/prompt has no stop reason.");
  }

  protected override notification(method: string, params: unknown, bytes: number): void {
    if (method === "session/update") {
      const read = UpdateParams.safeParse(params);
      if (!read.success || (this.id !== undefined && read.data.sessionId !== this.id)) {
        this.process.emitUnknown(method, params, bytes);
        return;
      }
      this.turn?.sign();
      const { update } = read.data;
      if (!this.#update(update.sessionUpdate, update, bytes)) {
        this.process.emitUnknown(update.sessionUpdate, update, bytes);
      }
      return;
    }
    this.turn?.sign();
    if (method === "_omk/propose_task" && this.turn) this.turn.takeProposal(params, bytes);
    else this.process.emitUnknown(method, params, bytes);
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
        if (this.turn) this.turn.takeText(text, thinking);
        else emitText(this.process, text, thinking);
        return true;
      }
      case "tool_call":
      case "tool_call_update": {
        const fields = ToolCallFields.safeParse(update);
        if (!fields.success) return false;
        if (this.turn) this.#takeTool(this.turn, fields.data, update, bytes);
        // Between turns there is nothing to join it to, but it is not lost.
        else this.process.emitUnknown(`${kind} between turns`, update, bytes);
        return true;
      }
      case "plan": {
        const plan = PlanUpdate.safeParse(update);
        if (!plan.success) return false;
        const entries = plan.data.entries.slice(0, PATHS_MAX).map(({ content, status }) => ({
          content: clip(content, TITLE_MAX),
          status: clip(status, 100),
        }));
        this.process.emit({ kind: "plan", entries }, update, bytes);
        return true;
      }
      case "usage_update":
        return this.#takeUsage(update, bytes);
      case "current_mode_update": {
        const mode = ModeUpdate.safeParse(update);
        if (!mode.success) return false;
        this.process.emit({ kind: "mode", mode: clip(mode.data.currentModeId, TITLE_MAX) }, update, bytes);
        return true;
      }
      case "notice": {
        const notice = NoticeUpdate.safeParse(update);
        if (!notice.success) return false;
        const { title, description } = notice.data;
        const message = clip(description ? `${title}: ${description}` : title, TITLE_MAX);
        this.process.emit({ kind: "notice", message }, update, bytes);
        return true;
      }
      case "user_message_chunk":
      case "available_commands_update":
      case "config_option_update":
      case "session_info_update":
        // Known, and nothing omk acts on; kept as what they are.
        this.process.emit({ kind: "notice", message: kind }, update, bytes);
        return true;
      default:
        return false;
    }
  }

  #takeUsage(update: Record<string, unknown>, bytes: number): boolean {
    const usage = this.#usage.takeUpdate(update);
    if (!usage) return false;
    this.#contextSize = usage.context_size;
    this.#emitUsage(usage, update, bytes);
    return true;
  }

  #emitUsage(
    usage: { context_tokens: number; context_size: number; session_cost_usd?: number },
    raw?: unknown,
    bytes?: number,
  ): void {
    const spent = this.turn && this.#usage.spent;
    this.process.emit({ kind: "usage", ...usage, ...(spent && { spent }) }, raw, bytes);
  }

  #takeTool(turn: TurnRecord, fields: ToolCallFields, raw: unknown, bytes: number): Tool | undefined {
    const tool = turn.takeTool(reportOf(fields), raw, bytes);
    if (!tool) this.refuse("Too many tool calls in one turn.");
    return tool;
  }

  /** What the agent may ask of us. */
  #requests(): Map<string, (request: IncomingRequest) => Promise<unknown>> {
    const { readFiles, writeFiles, terminal } = this.#offers;
    const all = new Map([
      ["session/request_permission", (request: IncomingRequest) => this.#permission(request)],
    ]);
    const add = <T extends { sessionId: string }>(
      method: string,
      schema: z.ZodType<T>,
      handle: (params: T, request: IncomingRequest) => object | Promise<object>,
    ): void => {
      all.set(method, async (request) => {
        const read = schema.safeParse(request.params);
        if (!read.success || read.data.sessionId !== this.id)
          throw new RpcError(RPC_CODES.invalidParams, `Not a ${method} of this session`);
        this.turn?.sign();
        return await handle(read.data, request);
      });
    };
    const incoming = <T>(params: T, { params: raw, bytes }: IncomingRequest) => ({ params, raw, bytes });
    if (readFiles)
      add("fs/read_text_file", ReadFileParams, (params, request) =>
        this.#files.read(this.turn, incoming(params, request)),
      );
    if (writeFiles)
      add("fs/write_text_file", WriteFileParams, (params, request) =>
        this.#files.write(this.turn, incoming(params, request)),
      );
    if (!terminal) return all;
    add("terminal/create", CreateTerminalParams, (params, request) =>
      this.#terminals.create(this.turn, incoming(params, request)),
    );
    add("terminal/output", TerminalParams, ({ terminalId }) => this.#terminals.output(terminalId));
    add("terminal/wait_for_exit", TerminalParams, ({ terminalId }) =>
      this.#terminals.waitForExit(terminalId),
    );
    add("terminal/kill", TerminalParams, ({ terminalId }) => this.#terminals.kill(terminalId));
    add("terminal/release", TerminalParams, ({ terminalId }) => this.#terminals.release(terminalId));
    return all;
  }

  async #permission(request: IncomingRequest): Promise<unknown> {
    const read = PermissionParams.safeParse(request.params);
    if (!read.success || read.data.sessionId !== this.id) {
      throw new RpcError(RPC_CODES.invalidParams, "Not a permission request of this session");
    }
    const turn = this.turn;
    if (!turn) return CANCELLED;
    const { toolCall, options } = read.data;
    const told = commandOf(turn.tools.get(toolCall.toolCallId)?.input);
    const tool = this.#takeTool(turn, toolCall, toolCall, request.bytes);
    if (!tool) return CANCELLED;
    const asked: PermissionRequest = {
      id: String(request.id),
      toolCallId: tool.id,
      title: tool.title,
      name: tool.name,
      kind: tool.kind,
      command: commandOf(toolCall.rawInput) ?? told,
      locations: [...tool.everyPath],
      // What this request says counts most; what it leaves out, earlier updates said.
      rawInput: toolCall.rawInput ?? tool.input,
      content: toolCall.content ?? tool.content,
      options: options.map((option) => ({ id: option.optionId, name: option.name, kind: option.kind })),
      ...(tool.isCut && { isCut: true as const }),
    };
    // One agent asks in its reading mode before it changes a file, and then does; another before it leaves that mode.
    const isRefused = this.options.mode === "read_only" && CHANGES.has(tool.kind);
    const { decision } = await turn.ask(asked, {
      raw: request.params,
      bytes: request.bytes,
      tool,
      optionKind: (wanted) => chooseOption(options, wanted)?.kind,
      insteadOfLeave: isRefused ? READS_ONLY : undefined,
    });
    return decision === "cancelled" ? CANCELLED : answerWith(options, decision);
  }

  /** The class of an error answer. */
  #failureOf(error: RpcError): Failure {
    const now = this.clock.now();
    const said = `The agent answered with an error: ${error.message} (${error.code})`;
    const { status = httpStatus(error.code), resetsAt } = failureDetails(error.data, now);
    const failure = providerFailure({ message: said, status, resetsAt }, now);
    const { message } = failure;
    if (error.code === AUTH_REQUIRED || failure.class === "auth") {
      // One agent says this of every refusal of its provider.
      if (failure.class === "quota" || failure.class === "rate_limit") return failure;
      return { class: "auth", message, retryable: false };
    }
    // What we named (a session, a script's entry) is not there, and will not be next time.
    if (error.code === NOT_FOUND) return { class: "config", message, retryable: false };
    const isOurs = failure.class === "provider" && OUR_MISTAKES.has(error.code);
    return isOurs ? { ...failure, class: "protocol", retryable: false } : failure;
  }

  #withLogins(failure: Failure): Failure {
    if (this.#logins.length === 0) return failure;
    return { ...failure, message: `${failure.message}. To log in it offers: ${this.#logins.join(", ")}` };
  }
}

const CANCELLED = { outcome: { outcome: "cancelled" } } as const;

/** Kinds of tool calls that change files, or the mode that forbids it. */
const CHANGES: ReadonlySet<string> = new Set(["edit", "delete", "move", "switch_mode"]);

function answerWith(options: PermissionParams["options"], decision: "allow" | "reject"): object {
  const option = chooseOption(options, decision);
  return option ? { outcome: { outcome: "selected", optionId: option.optionId } } : CANCELLED;
}

function reportOf(fields: ToolCallFields): ToolReport {
  const { toolCallId, title, kind, status, content, locations, rawInput } = fields;
  const paths = locations ? { paths: locations.map(({ path }) => path) } : {};
  // A tool of an added server, whose name one agent gives as the title.
  const name = fields.name ?? (title && /^mcp__\w+__\w+$/.test(title) ? title : null);
  const input =
    rawInput ?? (status === "completed" || status === "failed" ? undefined : spelledInput(content));
  return { id: toolCallId, title, name, kind, status, content, ...paths, input };
}

/** One agent tells a call's arguments as text while they come, and asks for leave before it tells them as input. */
function spelledInput(content: unknown[] | null | undefined): unknown {
  const [first, ...more] = content ?? [];
  const { type, text } = asRecord(asRecord(first)["content"]);
  if (more.length > 0 || type !== "text" || typeof text !== "string") return undefined;
  if (text.length > SPELLED_INPUT_MAX || !/^\{[^]*\}$/.test(text)) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // Not all of it has come yet, or it is something else.
    return undefined;
  }
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

/** A plan of Kimi Code, which it keeps with its session. */
function isPlan(path: string, home: string | undefined): boolean {
  if (home === undefined || !path.startsWith(join(home, "sessions", "/"))) return false;
  return /\/agents\/[\w-]+\/plans\/[\w-]+\.md$/.test(path);
}

const NOTHING_OFFERED: AgentPreset["client"] = { readFiles: false, writeFiles: false, terminal: false };

/** Errors of the protocol. */
const AUTH_REQUIRED = -32000;
const NOT_FOUND = -32002;
const OUR_MISTAKES: ReadonlySet<number> = new Set([
  RPC_CODES.parse,
  RPC_CODES.invalidRequest,
  RPC_CODES.unknownMethod,
  RPC_CODES.invalidParams,
]);

/** One agent answers with the provider's status as code. */
function httpStatus(code: number): number | undefined {
  return code >= 400 && code <= 599 ? code : undefined;
}

const SPOKEN_ERROR =
  /^(?:[\w ]{0,40}\b)?error\b|unexpected status \d{3}|stream disconnected|(?:usage|rate).?limit|exceeded retry limit|\b(?:401|403|429|5\d\d)\b/i;
