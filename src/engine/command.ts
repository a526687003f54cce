/**
 * Any agent that is run by one command line per turn: the prompt goes in, the story of the turn comes out, and nobody can
 * be asked anything on the way. Its exit says as little as its words: the output's own errors come first.
 */
import { basename, join } from "node:path";

import { AgentProcess, clip, type AgentProcesses } from "./agent-process.ts";
import {
  TOLD_COST,
  outputOf,
  outputReader,
  type OutputEnd,
  type OutputKind,
  type OutputReader,
  type OutputSink,
  type Spent,
  type ToldFailure,
} from "./command-output.ts";
import { abortOf } from "./deadline.ts";
import type {
  Engine,
  EngineCapabilities,
  EngineEvent,
  Failure,
  Prompt,
  Session,
  StartOptions,
  Turn,
  TurnUsage,
} from "./engine.ts";
import { failureDetails, providerFailure } from "./failure.ts";
import { FrameError } from "./frames.ts";
import { KimiSessionLog } from "./kimi-session-log.ts";
import { probeProgram, type VersionCall } from "./probe.ts";
import { placePrompt, type PlacedPrompt } from "./prompt-argument.ts";
import { emptyTurn, PATHS_MAX, timeoutFailure, TITLE_MAX, TurnRecord } from "./turn-record.ts";
import type { Tool, ToolReport } from "./turn-record.ts";
import type { Clock, Disk } from "../ports.ts";

/** A headless program and how it is used. */
export interface CommandProgram extends VersionCall {
  name: string;
  /**
   * Its command line. `{prompt}` in a word stands for the prompt, `{prompt_file}` for the path of a file with it; without
   * both the prompt comes on stdin, which is otherwise closed.
   */
  template: readonly [string, ...string[]];
  output: OutputKind;
}

/** What the engine needs of the world. */
export interface CommandPorts {
  processes: AgentProcesses;
  disk: Disk;
  clock: Clock;
}

/** The engine for one headless program. */
export function commandEngine(program: CommandProgram, ports: CommandPorts): Engine {
  const known = program.output === "auto" ? outputOf(program.template) : program.output;
  const settled = { ...program, output: known };
  return {
    name: program.name,
    capabilities: { ...CAPABILITIES, ...TOLD_COST[known] },
    probe: (signal) => probeProgram(program, ports.processes, signal),
    start(options, signal) {
      if (signal.aborted) return Promise.reject(signal.reason as Error);
      return Promise.resolve(new CommandSession(settled, options, ports));
    },
  };
}

const CAPABILITIES: EngineCapabilities = {
  approvals: "none",
  cancel: "kill_only",
  steer: false,
  hooks: false,
  reload: false,
  sessionsPerProcess: "one",
  mcp: false,
  extraTools: false,
  interceptWrites: false,
  interceptShell: false,
  usage: "none",
  cost: false,
};

/** Turns of one program, each a process of its own that knows nothing of the one before. */
class CommandSession implements Session {
  readonly #program: CommandProgram;
  readonly #options: StartOptions;
  readonly #ports: CommandPorts;
  #current: CommandTurn | undefined;
  #running: Promise<Turn> | undefined;
  #stopping: Promise<void> | undefined;
  #turns = 0;
  #sequence = 0;
  #id: string | undefined;

  constructor(program: CommandProgram, options: StartOptions, ports: CommandPorts) {
    this.#program = program;
    this.#options = options;
    this.#ports = ports;
  }

  get id(): string | undefined {
    return this.#current?.sessionId ?? this.#id;
  }

  run(prompt: Prompt, signal: AbortSignal): Promise<Turn> {
    if (this.#current) throw new Error("A session runs one turn at a time.");
    const running = this.#run(prompt, signal);
    this.#running = running;
    return running;
  }

  async #run(prompt: Prompt, signal: AbortSignal): Promise<Turn> {
    if (this.#stopping || signal.aborted) return emptyTurn("cancelled");
    const { environment, spawnId } = this.#options;
    this.#turns++;
    const place = { folder: environment["TMPDIR"] ?? "/tmp", name: `${spawnId}-${this.#turns}` };
    const placed = placePrompt(this.#program.template, prompt.text, place, this.#ports);
    if (!("argv" in placed)) return emptyTurn("failed", placed);
    try {
      // One session, one count of events, however many processes it takes.
      const onEvent = (event: EngineEvent): void => {
        this.#sequence++;
        this.#options.onEvent({ ...event, sequence: this.#sequence });
      };
      const turn = new CommandTurn(this.#program, placed, { ...this.#options, onEvent }, this.#ports);
      this.#current = turn;
      return await turn.take(prompt, signal);
    } finally {
      this.#id = this.#current?.sessionId ?? this.#id;
      this.#current = undefined;
      placed.remove();
    }
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#current?.stop();
    // Bounded by the ending of its process; what the turn came to, or threw, is its caller's to hear.
    await this.#running?.then(
      () => undefined,
      () => undefined,
    );
  }
}

/** One process, which is one turn. */
class CommandTurn implements OutputSink {
  readonly #program: CommandProgram;
  readonly #options: StartOptions;
  readonly #ports: CommandPorts;
  readonly #clock: Clock;
  readonly #process: AgentProcess;
  readonly #record: TurnRecord;
  readonly #reader: OutputReader;
  readonly #stdin: Uint8Array | undefined;
  /** Aborted when nothing more of the output counts. */
  readonly #halt = new AbortController();
  #refused: string | undefined;
  /** Its whole output was taken in. */
  #isRead = false;
  /** Told after the end of the turn, as other engines do. */
  #processEnded: EngineEvent | undefined;
  #raw: Record<string, unknown> | undefined;
  #rawBytes = 0;
  #endsInMessage = false;
  #hasStarted = false;
  #usage: TurnUsage = { input_tokens: 0, output_tokens: 0, quality: "missing" };

  constructor(program: CommandProgram, placed: PlacedPrompt, options: StartOptions, ports: CommandPorts) {
    this.#program = program;
    this.#options = options;
    this.#ports = ports;
    this.#clock = ports.clock;
    this.#stdin = placed.stdin;
    const onEvent = (event: EngineEvent): void => this.#told(event);
    this.#process = new AgentProcess(
      { name: program.name, argv: placed.argv, stdin: placed.stdin ? "pipe" : "none" },
      { ...options, onEvent },
      ports,
      {
        refuse: (message) => this.#refuse(message),
        broken: () => this.#halt.abort(),
        // Its output was read to the end before, or does not count.
        ended: () => undefined,
      },
    );
    this.#record = new TurnRecord(this.#process, options, this.#clock);
    this.#reader = outputReader(program.output, this);
  }

  get sessionId(): string | undefined {
    return this.#process.sessionId;
  }

  stop(): void {
    this.#record.stop.abort();
  }

  /** Takes the turn to its end; nothing of the process is left then. */
  async take(prompt: Prompt, signal: AbortSignal): Promise<Turn> {
    // Other programs name their session later.
    if (this.#program.output === "text") this.#started(undefined);
    this.#process.emit({ kind: "turn-started", ...prompt.meta });
    let result: Turn;
    try {
      result = await this.#take(signal);
    } finally {
      // Whatever went wrong in between.
      await this.#process.end();
    }
    this.#process.emit({
      kind: "turn-ended",
      status: result.status,
      ...(result.failure ? { failure: result.failure } : {}),
      tool_calls: result.toolCalls,
      usage: result.usage,
    });
    if (this.#processEnded) this.#options.onEvent(this.#processEnded);
    this.#process.passOn();
    return result;
  }

  async #take(signal: AbortSignal): Promise<Turn> {
    const { limits } = this.#options;
    this.#feed();
    const ending = await this.#record.outcome(this.#read(), limits, signal);
    // What is still on its way was said after the end.
    this.#halt.abort();
    this.#started(undefined);
    let end: Pick<Turn, "status" | "failure">;
    if (ending.by === "answer") {
      end = await this.#judge(ending.answer);
    } else {
      this.#record.isCancelling = true;
      await this.#process.end();
      end =
        ending.by === "cancel"
          ? { status: "cancelled" }
          : { status: "failed", failure: timeoutFailure(this.#process, ending.by, limits) };
    }
    this.#readLog();
    return { ...this.#record.close(), usage: this.#usage, ...end };
  }

  /** One program tells only its own log what a turn has cost, and its session's name only at the end. */
  #readLog(): void {
    if (this.#program.output !== "kimi" || this.sessionId === undefined) return;
    const { KIMI_CODE_HOME, HOME = "/" } = this.#options.environment;
    const folder = KIMI_CODE_HOME || join(HOME, ".kimi-code");
    const { spent } = new KimiSessionLog(folder, this.sessionId, this.#ports).read();
    if (spent) this.spent(spent, spent.quality === "exact");
  }

  /** Gives it the prompt. Not waited for: a program that does not read its stdin would never let this pass. */
  #feed(): void {
    if (!this.#stdin) return;
    // A program that leaves without having read it says with its output and its exit how it fared.
    this.#process.child.write(this.#stdin).catch(() => undefined);
    this.#process.child.closeStdin();
  }

  /** Reads the output to its end, or until it is not to be read any further. */
  async #read(): Promise<OutputEnd | undefined> {
    const over = new AbortController();
    try {
      return await Promise.race([
        this.#readAll(),
        abortOf(this.#halt.signal, over.signal).then(() => undefined),
      ]);
    } finally {
      over.abort();
    }
  }

  async #readAll(): Promise<OutputEnd | undefined> {
    const { signal } = this.#halt;
    try {
      for await (const chunk of this.#process.stdout) {
        if (signal.aborted) return undefined;
        this.#record.sign();
        if (!this.#guarded(() => this.#reader.take(chunk))) return undefined;
      }
    } catch {
      // A pipe that breaks while reading is the same as one that ends.
    }
    if (signal.aborted) return undefined;
    this.#isRead = true;
    let end: OutputEnd | undefined;
    this.#guarded(() => (end = this.#reader.end()));
    return end;
  }

  /** Whether that went well; what went wrong ends the turn. */
  #guarded(work: () => void): boolean {
    try {
      work();
    } catch (error) {
      if (error instanceof FrameError) this.#refuse(`${error.message} It sent: ${error.evidence}`);
      // A defect of ours, for the caller.
      else this.#process.fail(error);
      return false;
    }
    return !this.#halt.signal.aborted;
  }

  #refuse(message: string): void {
    this.#refused ??= message;
    this.#halt.abort();
  }

  /** What the turn came to, from its output and then from its exit. */
  async #judge(end: OutputEnd | undefined): Promise<Pick<Turn, "status" | "failure">> {
    if (this.#process.isBroken || (this.#refused !== undefined && !this.#isRead)) {
      await this.#process.end();
      return failed(this.#protocolFailure());
    }
    const { failure, exit } = await this.#process.death();
    if (exit === undefined || exit.kind === "not_started") return failed(failure);
    if (end?.status === "failed") return end;
    if (exit.kind === "signalled") return failed(failure);
    if (end?.status === "limit" || end?.status === "refused" || end?.status === "denied")
      return { status: end.status };
    // Half a line says less than what the process did.
    if (exit.code !== 0) return this.#badExit(exit.code, failure);
    if (this.#refused !== undefined) return failed(this.#protocolFailure());
    if (end?.status !== "finished") {
      const message = `${this.#program.name} left in the middle of its turn as if it were done.${this.#process.lastWords()}`;
      return failed({ class: "protocol", message, retryable: true });
    }
    const ended = this.#record.endedByAgent();
    // An ordinary program that is done says nothing; an agent that says nothing has not reached its model.
    return ended.status === "empty" && this.#reader.isText && !isAgent(this.#program)
      ? { status: "finished" }
      : ended;
  }

  #protocolFailure(): Failure {
    const what = this.#refused ?? "what it said could not be kept.";
    return {
      class: "protocol",
      message: `${this.#program.name} broke the protocol: ${what}`,
      retryable: true,
    };
  }

  /** What an exit means that is none of success. */
  #badExit(code: number, died: Failure): Pick<Turn, "status" | "failure"> {
    const { output } = this.#program;
    if (code === 126 || code === 127) return failed({ ...died, class: "config", retryable: false });
    const means = output === "gemini" ? GEMINI_EXITS[code] : undefined;
    if (means === "limit") return { status: "limit" };
    if (means) return failed({ ...died, class: means, retryable: false });
    const status = (output === "gemini" ? httpStatusOfExit(code) : undefined) ?? httpStatusIn(died.message);
    // Its last words may hold any number, so none of them is taken for a status unless it is called one.
    const told = this.failure({ message: died.message, status: status ?? Number.NaN });
    if (output === "kimi" && code === EXIT_RETRY) return failed({ ...told, retryable: true });
    // Nothing points to the provider, so it is the program's own failure.
    const isOwn = told.class === "provider" && !told.retryable && status === undefined;
    return failed(isOwn ? died : told);
  }

  session(id: string, version?: string): void {
    if (id === this.#process.sessionId) return;
    this.#process.sessionId = clip(id, 200);
    this.#started(version);
  }

  #started(version: string | undefined): void {
    if (this.#hasStarted) return;
    this.#hasStarted = true;
    this.#emit({
      kind: "session-started",
      agent: basename(this.#program.template[0]),
      agent_version: version === undefined ? null : clip(version, 200),
      protocol_version: 0,
    });
  }

  text(text: string, thinking = false): void {
    this.#record.takeText(text, thinking);
    this.#endsInMessage = false;
  }

  message(text: string, thinking = false): void {
    if (text === "") return;
    this.#record.takeText(this.#endsInMessage && !thinking ? `\n${text}` : text, thinking);
    if (!thinking) this.#endsInMessage = !text.endsWith("\n");
  }

  tool(report: ToolReport, denied = false): void {
    if (denied) {
      // Some tell of a call only once it is over; it has to be known as refused before it ends.
      const known = this.#record.tools.get(report.id) ?? this.#takeTool({ ...report, status: "pending" });
      if (known) known.denied = true;
    }
    this.#takeTool(report);
  }

  #takeTool(report: ToolReport): Tool | undefined {
    const tool = this.#record.takeTool(report, this.#raw, this.#rawBytes);
    if (!tool) this.#refuse("Too many tool calls in one turn.");
    return tool;
  }

  plan(entries: { content: string; status: string }[]): void {
    const kept = entries.slice(0, PATHS_MAX).map(({ content, status }) => ({
      content: clip(content, TITLE_MAX),
      status: clip(status, 100),
    }));
    this.#emit({ kind: "plan", entries: kept });
  }

  spent(usage: Spent, exact: boolean): void {
    const spent: TurnUsage = { ...usage, quality: exact ? "exact" : "estimated" };
    this.#usage = spent;
    // None of these programs tells how full its context is.
    this.#emit({ kind: "usage", context_tokens: 0, context_size: 0, spent });
  }

  retrying(message: string): void {
    this.#emit({ kind: "retrying", message: clip(message, TITLE_MAX) });
  }

  notice(message: string): void {
    this.#emit({ kind: "notice", message: clip(message, TITLE_MAX) });
  }

  line(raw: Record<string, unknown> | undefined, bytes: number): void {
    this.#raw = raw;
    this.#rawBytes = bytes;
  }

  unknown(message: Record<string, unknown>, bytes: number): void {
    const { type, role } = message;
    const what = [type, role].find((name) => typeof name === "string");
    this.#process.emitUnknown(what ?? "message", message, bytes);
  }

  failure({ message, status, details }: ToldFailure): Failure {
    const now = this.#clock.now();
    const found = failureDetails(details, now);
    return providerFailure({ message, status: status ?? found.status, resetsAt: found.resetsAt }, now);
  }

  #emit(body: Parameters<AgentProcess["emit"]>[0]): void {
    this.#process.emit(body, this.#raw, this.#rawBytes);
  }

  #told(event: EngineEvent): void {
    // Before the turn ends, and after it is only ours to tell.
    if (event.kind === "session-ended") this.#processEnded = event;
    else {
      if (event.kind === "stderr") this.#record.sign();
      this.#options.onEvent(event);
    }
  }
}

/** Programs that are agents, whatever form of output they are asked for. */
const AGENTS: ReadonlySet<string> = new Set(["opencode", "kimi", "gemini", "claude", "codex", "goose"]);

function isAgent({ template: [program] }: Pick<CommandProgram, "template">): boolean {
  return AGENTS.has(basename(program));
}

/** What the exit statuses of one program mean that have a meaning. */
const GEMINI_EXITS: Readonly<Record<number, "auth" | "config" | "limit">> = {
  41: "auth",
  42: "config",
  44: "config",
  52: "config",
  53: "limit",
  55: "config",
};
/** `EX_TEMPFAIL`. */
const EXIT_RETRY = 75;

/** The HTTP status behind an exit status that is its rest after division by 256. */
function httpStatusOfExit(code: number): number | undefined {
  const status = code + 256;
  return (status >= 400 && status <= 451) || status >= 500 ? status : undefined;
}

const TOLD_MAX = 8192;
const HTTP_STATUS =
  /(?:status(?:[ _-]?code)?|http(?:\/[\d.]+)?|error|code)\W{0,4}([45]\d\d)\b|\b([45]\d\d) (?:status|error|unauthorized|forbidden|bad|too many|payment|internal|service|gateway)/i;
function httpStatusIn(text: string): number | undefined {
  const [, first, second] = HTTP_STATUS.exec(text.slice(-TOLD_MAX)) ?? [];
  const digits = first ?? second;
  return digits === undefined ? undefined : Number(digits);
}

function failed(failure: Failure): Pick<Turn, "status" | "failure"> {
  return { status: "failed", failure };
}
