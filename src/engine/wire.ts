/**
 * Kimi's Wire protocol: an agent program started with `--wire`, one session per process. Only the answer to a prompt ends a
 * turn: its `TurnEnd` may be missing after an interruption, and an interrupted step is no end.
 */
import { basename } from "node:path";

import { clip, exitText, type AgentProcesses } from "./agent-process.ts";
import { within } from "./deadline.ts";
import type {
  Engine,
  EngineCapabilities,
  Failure,
  PermissionRequest,
  Prompt,
  StartOptions,
  Turn,
  TurnUsage,
} from "./engine.ts";
import { providerFailure } from "./failure.ts";
import { probeProgram, type VersionCall } from "./probe.ts";
import { RpcSession, type Answer } from "./rpc-session.ts";
import { RPC_CODES, RpcError, asRecord, type RpcClosed } from "./rpc.ts";
import type { IncomingRequest } from "./rpc.ts";
import {
  PATHS_MAX,
  READS_ONLY,
  timeoutFailure,
  TITLE_MAX,
  TurnRecord,
  type Tool,
  type ToolReport,
} from "./turn-record.ts";
import { StepUsage, StreamedCalls, type JoinedCall } from "./wire-calls.ts";
import {
  ApprovalRequest,
  ContentPart,
  Envelope,
  HookRequest,
  InitializeResult,
  kindOfTool,
  parseArguments,
  pathsOf,
  PlanDisplay,
  PromptResult,
  readApproval,
  StatusUpdate,
  StepRetry,
  SubagentEvent,
  todoOf,
  ToolCall,
  ToolCallPart,
  ToolResult,
  wireName,
} from "./wire-messages.ts";
import type { Clock } from "../ports.ts";

/** What we ask for; servers answer with their own version, and unknown events are kept, so any is taken. */
const PROTOCOL_VERSION = "1.10";
/** What stands for the version of a server from before there was a handshake. */
const LEGACY = "legacy";
/** How long a request for an approval waits for the tool call that it overtook. */
const LATE_CALL_MS = 100;
const MESSAGE_MAX = 4096;
/** Hooks that are asked at once, each a process or several: more than an agent has tool calls side by side. */
const HOOKS_MAX = 32;

/** An agent program that speaks Wire. */
export interface WireProgram extends VersionCall {
  name: string;
  /** What we call ourselves to the agent. */
  clientVersion?: string;
}

/** The server's own codes for errors. */
const WIRE_CODES = { wrongState: -32000, noModel: -32001, badModel: -32002, provider: -32003, login: -32004 };

const CAPABILITIES: EngineCapabilities = {
  approvals: "asks_all",
  cancel: "graceful",
  steer: false,
  hooks: true,
  reload: false,
  sessionsPerProcess: "one",
  mcp: false,
  extraTools: true,
  interceptWrites: false,
  interceptShell: false,
  usage: "exact",
  cost: false,
};

const STRINGS = { type: "array", items: { type: "string" } };
/** The tool with which an agent proposes a task, as Wire describes tools. */
const PROPOSE_TOOL = {
  name: "omk_propose_task",
  description:
    "Proposes a task for work that turned out to be needed beyond your own. It is decided after your turn, and done by " +
    "another one; do your own work yourself.",
  parameters: {
    type: "object",
    properties: {
      id: { type: "string", description: "short, of lower-case letters and dashes" },
      title: { type: "string" },
      description: { type: "string", description: "what is to be done, for somebody who knows only this" },
      write_set: { ...STRINGS, description: "paths below the project that it may change" },
      read_set: { ...STRINGS, description: "paths that must not change meanwhile" },
      acceptance: { ...STRINGS, description: "what holds when it is done" },
      dependencies: { ...STRINGS, description: "ids of tasks that must be done before" },
      budget_secs: { type: "integer", description: "the longest it may take" },
    },
    required: ["id", "title", "description", "write_set", "acceptance"],
  },
};

/** Whether the command line makes the program ask nothing. `-y` alone may belong to what starts it, as in `npx -y`. */
function asksNothing([program, ...words]: readonly [string, ...string[]]): boolean {
  const isItself = /^kimi(?:-cli)?$/.test(basename(program));
  return words.some(
    (word) => /^--(?:yolo|auto-approve|afk)$/.test(word) || (isItself && /^(?:-y|--yes)$/.test(word)),
  );
}

/** The engine for a program that speaks Wire. */
export function wireEngine(program: WireProgram, ports: { processes: AgentProcesses; clock: Clock }): Engine {
  return {
    name: program.name,
    capabilities: asksNothing(program.argv) ? { ...CAPABILITIES, approvals: "none" } : CAPABILITIES,
    probe: (signal) => probeProgram(program, ports.processes, signal),
    async start(options, signal) {
      signal.throwIfAborted();
      const session = new WireSession(program, options, ports);
      await session.open(signal);
      return session;
    },
  };
}

/** Which of the agents in the process speaks. */
interface Speaker {
  /** Empty for the main one. */
  agent: string;
  /** What tells its tool calls from those of the others: their models know nothing of each other. */
  prefix: string;
}

const MAIN: Speaker = { agent: "", prefix: "" };

/** One event, and the message that it came in. */
interface Said {
  payload: Record<string, unknown>;
  speaker: Speaker;
  raw: unknown;
  bytes: number;
}

class WireSession extends RpcSession<PromptResult> {
  readonly #program: WireProgram;
  /** What happens while no turn runs: agents in the background go on, and ask. */
  readonly #between: TurnRecord;
  readonly #handlers = new Map([["request", (request: IncomingRequest) => this.#request(request)]]);
  #calls = new StreamedCalls();
  /** Requests for approvals that overtook their tool calls, by the calls' ids. */
  readonly #awaited = new Map<string, () => void>();
  #usage = new StepUsage();
  /** Aborted when a turn is over: nobody waits for its hooks any more. */
  #turnOver = new AbortController();
  /** Hooks of ours that are being asked. */
  #openHooks = 0;
  /** A hook of ours refused the prompt itself: the agent says so, in words of its own, and does nothing. */
  #promptRefused = false;
  /** The HTTP status of the last model call that failed in this step. */
  #retryStatus: number | undefined;
  #context: { tokens: number | undefined; size: number } = { tokens: undefined, size: 0 };
  #planMode = false;
  #noise = "";

  constructor(
    program: WireProgram,
    options: StartOptions,
    ports: { processes: AgentProcesses; clock: Clock },
  ) {
    const argv = wireArgv(program.argv, options.cwd);
    super({ name: program.name, argv, ids: "string" }, options, ports);
    this.#program = program;
    this.#between = new TurnRecord(this.process, options, this.clock);
  }

  protected override handlers(): Map<string, (request: IncomingRequest) => Promise<unknown>> {
    return this.#handlers;
  }

  protected override noise(text: string): void {
    if (this.#noise.length < MESSAGE_MAX) this.#noise += `${clip(text, TITLE_MAX)}\n`;
    super.noise(text);
  }

  protected override closed(): void {
    super.closed();
    this.#between.cancelApprovals();
    this.#turnOver.abort();
  }

  protected override refusal(error: RpcError): Failure {
    return failureOf(error, undefined);
  }

  protected override tellCancel(): void {
    // What counts is how the prompt is answered. It is refused where the turn has just ended by itself.
    this.peer.request("cancel", {}).catch(() => undefined);
    this.#turnOver.abort();
  }

  protected override async leave(): Promise<void> {
    this.#between.isCancelling = true;
    await this.#between.answersTold();
    await super.leave();
    this.#between.close();
  }

  /**
   * Why there is no session. A program that leaves by itself without a word of Wire is another program of that name, one
   * that is retired and says only that, or one whose settings are broken: nothing that a second try makes better.
   */
  protected override async stillborn(closed: RpcClosed): Promise<Failure | undefined> {
    if (closed.reason !== "ended" && closed.reason !== "write_failed") return this.deathBy(closed);
    const { failure, exit } = await this.process.death();
    if (exit?.kind !== "exited") return failure;
    const said = this.#noise.trim() === "" ? "" : ` It said: ${this.#noise.trim()}`;
    const message = `${this.#program.name} left with ${exitText(exit)} instead of answering in Wire.${said}${this.process.lastWords()}`;
    return { class: "config", message: clip(message, MESSAGE_MAX), retryable: false };
  }

  protected override async handshake(): Promise<void> {
    const { hooks: port, mcpServers = [] } = this.options;
    const subscriptions = port?.subscriptions ?? [];
    if (mcpServers.length > 0) {
      // On its command line every user of the machine could read what is in their environment.
      const message = `Wire has no message for servers of tools, so they are left out: ${mcpServers.length}`;
      this.process.emit({ kind: "notice", message });
    }
    let answer: unknown;
    try {
      answer = await this.peer.request("initialize", {
        protocol_version: PROTOCOL_VERSION,
        client: { name: "omk", version: this.#program.clientVersion ?? "unknown" },
        // No capabilities: nobody is there to answer questions or to approve a plan, so the agent must not count on it.
        ...(subscriptions.length > 0 && {
          // Servers match the tool's name alone, and in another dialect: what they leave out, nobody would hear of.
          hooks: subscriptions.map(({ id, event, timeoutSecs: timeout }) => ({
            id,
            event,
            matcher: "",
            timeout,
          })),
        }),
        ...(this.options.takesProposals && { external_tools: [PROPOSE_TOOL] }),
      });
    } catch (error) {
      if (!(error instanceof RpcError) || error.code !== RPC_CODES.unknownMethod) throw error;
      this.#needHooks([]);
      this.process.emit({
        kind: "session-started",
        agent: null,
        agent_version: null,
        protocol_version: LEGACY,
      });
      return;
    }
    const greeting = InitializeResult.safeParse(answer);
    if (!greeting.success) throw this.refuse("Its answer to initialize is not what the protocol says.");
    const { protocol_version, server, hooks } = greeting.data;
    this.#needHooks(hooks?.supported_events ?? []);
    this.process.emit({
      kind: "session-started",
      agent: server ? clip(server.name, 200) : null,
      agent_version: server?.version ? clip(server.version, 200) : null,
      protocol_version: typeof protocol_version === "string" ? clip(protocol_version, 200) : protocol_version,
    });
  }

  /** A hook that the server drops without a word would be a guard that is not there. */
  #needHooks(supported: readonly string[]): void {
    const events = new Set(this.options.hooks?.subscriptions.map(({ event }) => event));
    const missing = [...events].filter((event) => !supported.includes(event));
    if (missing.length === 0) return;
    const message = `${this.#program.name} runs no hooks for ${missing.join(", ")}, and hooks for that are configured. Remove them, or take a version of it that has them (Wire 1.7 or later).`;
    this.process.dead = { class: "config", message: clip(message, MESSAGE_MAX), retryable: false };
  }

  protected override async takeTurn(turn: TurnRecord, prompt: Prompt, signal: AbortSignal): Promise<Turn> {
    const { limits } = this.options;
    this.#usage = new StepUsage();
    this.#context.tokens = undefined;
    this.#promptRefused = false;
    this.#retryStatus = undefined;
    this.#turnOver = new AbortController();
    const asked = this.#prompt(prompt);
    const ending = await turn.outcome(asked, limits, signal);
    const answer = ending.by === "answer" ? ending.answer : await this.cancel(turn, asked);
    this.#turnOver.abort();
    await turn.answersTold();
    let failure: Failure | undefined;
    if (answer.by === "error") failure = failureOf(answer.error, this.#retryStatus);
    else if (answer.by === "closed") failure = await this.deathBy(answer.closed);
    if (ending.by === "idle" || ending.by === "time")
      failure = timeoutFailure(this.process, ending.by, limits);
    for (const call of this.#calls.finishAll()) this.#reportCall(turn, call);
    const common = { ...turn.close(), usage: this.#usageNow() };
    if (ending.by === "cancel") return { status: "cancelled", ...common };
    if (failure) return { status: "failed", failure, ...common };
    const status = answer.by === "result" ? answer.result.status : undefined;
    return { ...this.#readStatus(turn, status), ...common };
  }

  /** What the status of a prompt means, corrected by what was seen. */
  #readStatus(turn: TurnRecord, status: string | undefined): Pick<Turn, "status" | "failure"> {
    switch (status) {
      case "finished":
        return this.#promptRefused ? { status: "denied" } : turn.endedByAgent();
      case "max_steps_reached":
        return { status: "limit" };
      case "cancelled": {
        if (turn.denied !== undefined) return { status: "denied" };
        // Nobody asked for it, and it is no outage either: the agent had its turn and did not use it.
        const message = "The agent cancelled its turn without being asked.";
        return { status: "failed", failure: { class: "protocol", message, retryable: true } };
      }
      default: {
        const message = `The agent ended its turn with the unknown status ${clip(String(status), 100)}.`;
        return { status: "failed", failure: { class: "protocol", message, retryable: true } };
      }
    }
  }

  #prompt(prompt: Prompt): Promise<Answer<PromptResult>> {
    // What begins with a slash is taken as one of the agent's own commands, also behind white space.
    const text = /^\s*\//.test(prompt.text) ? `Request: ${prompt.text}` : prompt.text;
    const read = (answer: unknown): PromptResult | undefined => PromptResult.safeParse(answer).data;
    return this.ask("prompt", { user_input: text }, read, "Its answer to prompt has no status.");
  }

  /** Where what happens now belongs. */
  get #record(): TurnRecord {
    return this.turn ?? this.#between;
  }

  protected override notification(method: string, params: unknown, bytes: number): void {
    this.#record.sign();
    const read = method === "event" ? Envelope.safeParse(params) : undefined;
    if (!read?.success) {
      this.process.emitUnknown(method, params, bytes);
      return;
    }
    const { type, payload } = read.data;
    if (!this.#event(type, { payload: payload ?? {}, speaker: MAIN, raw: params, bytes }))
      this.process.emitUnknown(type, params, bytes);
  }

  /** Takes one event in; false when it is of no known kind or not shaped like it. */
  #event(type: string, said: Said): boolean {
    const { payload, speaker, raw, bytes } = said;
    const name = wireName(type);
    switch (name) {
      case "content_part":
      case "text":
      case "content":
      case "thinking":
        return this.#takeContent(name, said);
      case "tool_call":
        return this.#takeCall(said);
      case "tool_call_part": {
        const part = ToolCallPart.safeParse(payload);
        if (!part.success || !this.#calls.add(speaker.agent, part.data.arguments_part ?? "")) return false;
        this.#wakeAwaiting();
        return true;
      }
      case "tool_result":
        return this.#takeResult(said);
      case "status_update":
        return this.#takeStatus(said);
      case "subagent_event":
        return this.#takeSubagent(said);
      case "step_begin":
        this.#finishCall(this.#calls.finish(speaker.agent));
        this.#calls.step(speaker.agent);
        if (speaker === MAIN) {
          this.#record.markText();
          this.#retryStatus = undefined;
        }
        return this.#notice("a step begins", said);
      case "step_retry":
        return this.#takeRetry(said);
      case "plan_display": {
        const plan = PlanDisplay.safeParse(payload);
        if (!plan.success) return false;
        const entries = [{ content: clip(plan.data.content, TITLE_MAX), status: "proposed" }];
        this.process.emit({ kind: "plan", entries }, raw, bytes);
        return true;
      }
      case "hook_resolved": {
        const { event, target, action, reason } = payload;
        const words = ["hook", event, target, action, reason].filter(isWord);
        return this.#notice(words.join(" "), said);
      }
      case "notification": {
        const words = [payload["title"], payload["body"]].filter(isWord);
        return this.#notice(words.length > 0 ? words.join(": ") : name, said);
      }
      case "turn_begin":
      case "turn_end":
      case "step_interrupted":
      case "steer_input":
      case "approval_response":
      case "approval_request_resolved":
      case "compaction_begin":
      case "compaction_end":
      case "mcp_loading_begin":
      case "mcp_loading_end":
      case "hook_triggered":
      case "btw_begin":
      case "btw_end":
        // Known, and nothing omk acts on; kept as what they are.
        return this.#notice(name.replaceAll("_", " "), said);
      default:
        return false;
    }
  }

  #notice(message: string, { raw, bytes }: Said): true {
    this.process.emit({ kind: "notice", message: clip(message, TITLE_MAX) }, raw, bytes);
    return true;
  }

  #takeContent(name: string, said: Said): boolean {
    const part = ContentPart.safeParse(said.payload);
    if (!part.success) return false;
    const { type, text, think, chunk } = part.data;
    const isThought = type === "think" || name === "thinking";
    const words = isThought ? (think ?? text ?? chunk) : (text ?? chunk);
    if (typeof words !== "string") return type ? this.#notice(`content of type ${type}`, said) : false;
    // A subagent speaks to the agent that started it: for us it is something the agent thinks.
    this.#record.takeText(words, isThought || said.speaker !== MAIN);
    return true;
  }

  #takeCall({ payload, speaker, raw, bytes }: Said): boolean {
    const call = ToolCall.safeParse(payload);
    if (!call.success) return false;
    const id = speaker.prefix + call.data.id;
    const { name } = call.data.function;
    this.#finishCall(this.#calls.finish(speaker.agent));
    if (!this.#calls.begin(speaker.agent, { id, text: call.data.function.arguments ?? "" }))
      this.refuse("Too many agents speak at once.");
    // Where a request for an approval came first, it said more.
    const first = this.#record.tools.has(id) ? {} : { name, kind: kindOfTool(name), title: name };
    this.#takeTool(this.#record, { id, ...first }, raw, bytes);
    this.#wakeAwaiting();
    return true;
  }

  /** The arguments of a call are all there. */
  #finishCall(call: JoinedCall | undefined): void {
    if (call) this.#reportCall(this.#record, call);
  }

  #reportCall(record: TurnRecord, { id, input, characters }: JoinedCall): void {
    const paths = pathsOf(input);
    const isCut = input === undefined;
    const report = { id, status: "in_progress", input, isCut, ...(paths.length > 0 && { paths }) };
    this.#takeTool(record, report, undefined, characters);
  }

  #takeResult({ payload, speaker, raw, bytes }: Said): boolean {
    const result = ToolResult.safeParse(payload);
    if (!result.success) return false;
    const id = speaker.prefix + result.data.tool_call_id;
    this.#finishCall(this.#calls.finishCall(id));
    const { is_error, display } = result.data.return_value;
    const record = this.#record;
    const status = is_error ? "failed" : "completed";
    this.#takeTool(record, { id, status }, raw, bytes);
    const todo = speaker === MAIN && !is_error ? todoOf(display ?? []) : undefined;
    if (todo) {
      const entries = todo.slice(0, PATHS_MAX).map(({ content, status: state }) => ({
        content: clip(content, TITLE_MAX),
        status: clip(state, 100),
      }));
      this.process.emit({ kind: "plan", entries });
    }
    return true;
  }

  #takeTool(record: TurnRecord, report: ToolReport, raw: unknown, bytes: number): Tool | undefined {
    const tool = record.takeTool(report, raw, bytes);
    if (!tool) this.refuse("Too many tool calls in one turn.");
    return tool;
  }

  #takeStatus(said: Said): boolean {
    const { payload, speaker, raw, bytes } = said;
    const status = StatusUpdate.safeParse(payload);
    if (!status.success) return false;
    const { context_tokens: tokens, max_context_tokens: size, plan_mode: planMode } = status.data;
    const spends = this.turn !== undefined && this.#usage.add(status.data);
    if (speaker === MAIN) {
      this.#context.tokens = tokens ?? this.#context.tokens;
      this.#context.size = size ?? this.#context.size;
      if (typeof planMode === "boolean" && planMode !== this.#planMode) {
        this.#planMode = planMode;
        this.process.emit({ kind: "mode", mode: planMode ? "plan" : "default" });
      }
    }
    const { spent } = this.#usage;
    if (!spends && (speaker !== MAIN || typeof tokens !== "number")) return this.#notice("a status", said);
    this.process.emit(
      {
        kind: "usage",
        context_tokens: this.#context.tokens ?? 0,
        context_size: this.#context.size,
        ...(spends && spent && { spent }),
      },
      raw,
      bytes,
    );
    return true;
  }

  #takeSubagent({ payload, raw, bytes }: Said): boolean {
    const nested = SubagentEvent.safeParse(payload);
    if (!nested.success) return false;
    const { agent_id, parent_tool_call_id, task_tool_call_id, event } = nested.data;
    const speaker = {
      agent: `of ${agent_id ?? parent_tool_call_id ?? task_tool_call_id ?? ""}`,
      prefix: agent_id ? `${agent_id}/` : "",
    };
    return this.#event(event.type, { payload: event.payload ?? {}, speaker, raw, bytes });
  }

  #takeRetry({ payload, speaker, raw, bytes }: Said): boolean {
    const retry = StepRetry.safeParse(payload);
    if (!retry.success) return false;
    const { n, next_attempt, max_attempts, wait_s, error_type, status_code } = retry.data;
    const record = this.#record;
    // What was said and called in this attempt of the step comes anew.
    for (const id of this.#calls.discard(speaker.agent)) {
      const tool = record.tools.get(id);
      if (tool && !tool.outcome) record.finishTool(tool, "cancelled");
    }
    if (speaker === MAIN) {
      record.dropText();
      this.#retryStatus = status_code ?? undefined;
    }
    const why = [error_type, status_code].filter((part) => part !== null && part !== undefined).join(" ");
    const message = `step ${n ?? "?"}: attempt ${next_attempt ?? "?"} of ${max_attempts ?? "?"} in ${wait_s?.toFixed(1) ?? "?"} s after ${why || "a failure"}`;
    this.process.emit({ kind: "retrying", message: clip(message, TITLE_MAX) }, raw, bytes);
    return true;
  }

  /** Answers a request of the agent: all come under one method. */
  async #request(request: IncomingRequest): Promise<unknown> {
    this.#record.sign();
    const read = Envelope.safeParse(request.params);
    const type = read.success ? wireName(read.data.type) : "";
    const payload = read.success ? (read.data.payload ?? {}) : {};
    switch (type) {
      case "approval_request":
        return this.#approval(payload, request);
      case "hook_request":
        return this.#hook(payload, request);
      case "tool_call_request":
        return this.#extraTool(payload, request);
      case "question_request":
        this.process.emit(
          { kind: "notice", message: "asked a question, which nobody is there to answer" },
          request.params,
          request.bytes,
        );
        return { request_id: payload["id"] ?? request.id, answers: {} };
      default:
        this.process.emitUnknown(`request ${type}`, request.params, request.bytes);
        throw new RpcError(RPC_CODES.unknownMethod, "Unknown type of request");
    }
  }

  /** A call of a tool of ours: there is one, with which tasks are proposed. */
  #extraTool(payload: Record<string, unknown>, { id, params, bytes }: IncomingRequest): object {
    const name = clip(String(payload["name"]), TITLE_MAX);
    const { arguments: text } = payload;
    const input = typeof text === "string" ? parseArguments(text) : undefined;
    let problem: string | undefined;
    if (name !== PROPOSE_TOOL.name || !this.options.takesProposals)
      problem = `omk has no tool called ${name}.`;
    else if (!this.turn || this.turn.isOver) problem = OVER;
    else if (input === undefined) problem = "The arguments are no JSON object.";
    if (problem === undefined) this.turn?.takeProposal(input, bytes);
    else this.process.emit({ kind: "notice", message: problem }, params, bytes);
    const output =
      "Noted. When the turn is over, omk decides whether it becomes a task; go on with your own.";
    return {
      tool_call_id: payload["id"] ?? id,
      return_value: {
        is_error: problem !== undefined,
        output: problem === undefined ? output : "",
        message: problem ?? "Noted.",
        display: [],
      },
    };
  }

  async #approval(payload: object, { id: messageId, params, bytes }: IncomingRequest): Promise<unknown> {
    const read = ApprovalRequest.safeParse(payload);
    // An error answer is a rejection.
    if (!read.success) throw new RpcError(RPC_CODES.invalidParams, "Not a request for an approval");
    const request = read.data;
    const id = (request.agent_id ? `${request.agent_id}/` : "") + request.tool_call_id;
    const before = this.#record;
    await this.#callWhole(before, id);
    const record = this.#record;
    // Agents in the background outlive the turn that started them.
    const isOver = before !== record && before !== this.#between;
    if (isOver && request.source_kind !== "background_agent") return rejection(request.id, OVER);
    this.#finishCall(this.#calls.finishCall(id));
    const known = record.tools.get(id);
    const about = readApproval(request, { name: known?.name ?? null, input: known?.input }, this.options.cwd);
    const { name, kind, command, content } = about;
    const paths = about.paths.length > 0 ? { paths: about.paths } : {};
    const report = { id, name, kind, title: request.description, content, ...paths };
    const tool = this.#takeTool(record, report, params, bytes);
    if (!tool) return rejection(request.id, "There are too many tool calls in this turn.");
    const asked: PermissionRequest = {
      id: String(messageId),
      toolCallId: tool.id,
      title: tool.title,
      name: tool.name,
      kind: tool.kind,
      command,
      locations: [...tool.everyPath],
      rawInput: tool.input,
      content,
      options: OPTIONS,
      ...(tool.isCut && { isCut: true as const }),
    };
    const { decision, feedback, rule } = await record.ask(asked, {
      raw: params,
      bytes,
      tool,
      optionKind: (wanted) => (wanted === "allow" ? "allow_once" : "reject_once"),
      insteadOfLeave: this.options.mode === "read_only" && kind === "edit" ? READS_ONLY : undefined,
    });
    // Never for the session: such an answer covers every later command, and nothing would be asked or noted any more.
    if (decision === "allow") return { request_id: request.id, response: "approve" };
    if (decision === "cancelled") return rejection(request.id, OVER);
    return rejection(request.id, feedback?.trim() ? feedback : `Refused (${rule}). ${GO_ON}`);
  }

  /**
   * Waits a moment for a tool call whose approval is asked for: what subagents say takes a longer way through the server
   * than their requests. Without the call a request still shows what it is about, so it is asked all the same.
   */
  async #callWhole(record: TurnRecord, id: string): Promise<void> {
    if (record.tools.get(id)?.input !== undefined || this.#calls.isWhole(id)) return;
    const whole = new Promise<void>((resolve) => {
      this.#awaited.set(id, resolve);
    });
    await within(whole, LATE_CALL_MS, this.clock);
    this.#awaited.delete(id);
  }

  #wakeAwaiting(): void {
    for (const [id, wake] of this.#awaited) if (this.#calls.isWhole(id)) wake();
  }

  /** Runs our hooks. Whatever goes wrong is a block: to the server a broken answer is leave to go on. */
  async #hook(payload: object, { id: messageId, params, bytes, signal }: IncomingRequest): Promise<unknown> {
    const read = HookRequest.safeParse(payload);
    const request_id = (read.success ? read.data.id : undefined) ?? String(messageId);
    if (!read.success)
      return { request_id, action: "block", reason: "omk could not read the hook's request." };
    const { event, target: said, subscription_id, input_data } = read.data;
    const target = said ?? "";
    const { hooks } = this.options;
    if (!hooks) return { request_id, action: "allow", reason: "" };
    // None may wait for others: what is not answered in time, the server lets pass.
    if (this.#openHooks >= HOOKS_MAX)
      return { request_id, action: "block", reason: `More than ${HOOKS_MAX} hooks were asked at once.` };
    const record = this.#record;
    const over = AbortSignal.any([signal, this.#turnOver.signal]);
    const toolKind = TOOL_EVENTS.has(wireName(event)) ? kindOfTool(target) : null;
    this.#openHooks++;
    const answer = await runHooks(
      hooks,
      { event, target, toolKind, subscriptionId: subscription_id || null, input: input_data },
      over,
    );
    this.#openHooks--;
    record.sign();
    if (answer.action === "block") {
      if (wireName(event) === "user_prompt_submit") this.#promptRefused = true;
      const toolId = asRecord(input_data)["tool_call_id"];
      const tool = typeof toolId === "string" ? record.tools.get(toolId) : undefined;
      if (wireName(event) === "pre_tool_use" && tool && !tool.outcome) {
        tool.denied = true;
        record.denied = tool.id;
      }
    }
    const message = [`asked hook ${event}`, target, answer.action, answer.reason].filter(isWord).join(" ");
    this.process.emit({ kind: "notice", message: clip(message, TITLE_MAX) }, params, bytes);
    return { request_id, action: answer.action, reason: answer.reason };
  }

  #usageNow(): TurnUsage {
    const { spent } = this.#usage;
    if (spent) return spent;
    const { tokens } = this.#context;
    // How full the context is, is no count of what was spent, but better than nothing for a budget.
    if (tokens !== undefined) return { input_tokens: tokens, output_tokens: 0, quality: "estimated" };
    return { input_tokens: 0, output_tokens: 0, quality: "missing" };
  }
}

const OPTIONS: PermissionRequest["options"] = [
  { id: "approve", name: "Approve once", kind: "allow_once" },
  { id: "reject", name: "Reject", kind: "reject_once" },
];

/** Events whose target is the name of a tool. */
const TOOL_EVENTS: ReadonlySet<string> = new Set(["pre_tool_use", "post_tool_use", "post_tool_use_failure"]);

const OVER = "The turn is over.";
const GO_ON = "Do not try the same again; go on without it, or say what you need it for.";

/** A rejection without a word ends the whole turn; with one the agent hears it and goes on. */
function rejection(requestId: string, feedback: string): object {
  return { request_id: requestId, response: "reject", feedback };
}

async function runHooks(
  hooks: NonNullable<StartOptions["hooks"]>,
  request: Parameters<NonNullable<StartOptions["hooks"]>["run"]>[0],
  signal: AbortSignal,
): Promise<{ action: "allow" | "block"; reason: string }> {
  try {
    return await hooks.run(request, signal);
  } catch (error) {
    // Promised not to happen. Should it, a guard that fails is no leave to go on.
    return {
      action: "block",
      reason: `A hook failed: ${error instanceof Error ? error.message : "unknown"}`,
    };
  }
}

function isWord(part: unknown): part is string {
  return typeof part === "string" && part !== "";
}

/** The command line as it is, with what it lacks to speak Wire in that folder. */
function wireArgv(argv: readonly [string, ...string[]], cwd: string): [string, ...string[]] {
  const has = (...flags: string[]): boolean =>
    argv.some((word) => flags.some((flag) => word === flag || word.startsWith(`${flag}=`)));
  return [
    ...argv,
    ...(has("--wire") ? [] : ["--wire"]),
    ...(has("--work-dir", "-w") ? [] : ["--work-dir", cwd]),
  ] as [string, ...string[]];
}

/** The class of an error answer. `retryStatus` is the last status that the provider was seen to give. */
function failureOf(error: RpcError, retryStatus: number | undefined): Failure {
  const message = clip(`The agent answered with an error: ${error.message} (${error.code})`, MESSAGE_MAX);
  switch (error.code) {
    case WIRE_CODES.login:
      return { class: "auth", message, retryable: false };
    case WIRE_CODES.noModel:
    case WIRE_CODES.badModel:
      return { class: "config", message, retryable: false };
    case WIRE_CODES.provider:
      return modelFailure(error, retryStatus);
    case WIRE_CODES.wrongState:
      return { class: "protocol", message, retryable: true };
    case RPC_CODES.internal:
      return { class: "crashed", message, retryable: true };
    default:
      return { class: "protocol", message, retryable: false };
  }
}

/** The model could not be called. Its code must not be read as an HTTP status, and only the message may hold one. */
function modelFailure(error: RpcError, retryStatus: number | undefined): Failure {
  const data = asRecord(error.data);
  const told = [data["status_code"], data["status"], data["statusCode"]].find(
    (value): value is number => typeof value === "number" && value >= 400 && value <= 599,
  );
  const inText = /\b[45]\d\d\b/.test(error.message);
  const status = told ?? (inText ? undefined : retryStatus);
  const { reset_at: reset, resets_at: resets } = data;
  const resetsAt = [reset, resets].find((value): value is string => typeof value === "string");
  const failure = providerFailure({
    message: `The model could not be used: ${error.message}`,
    status,
    resetsAt,
  });
  // Without any status there was no answer: no connection, a time-out, an empty message. That is an outage.
  const isOutage = failure.class === "provider" && status === undefined && !inText;
  return isOutage ? { ...failure, retryable: true } : failure;
}
