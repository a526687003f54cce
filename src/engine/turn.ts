/** One turn of an agent, whatever comes of it: started, watched, kept as a transcript, and always ended. */
import { dirname } from "node:path";

import { OmkError } from "../errors.ts";
import { instantOf } from "../format/stamp.ts";
import { renderLine } from "../format/json.ts";
import type { Clock, Disk, OpenFile } from "../ports.ts";
import { ioFailure, writeAll } from "../store/files.ts";
import type { RedactingStream, Redactor } from "../store/redact.ts";
import type {
  Engine,
  EngineEvent,
  EngineLimits,
  FailureClass,
  Prompt,
  Session,
  StartOptions,
  Turn,
  TurnUsage,
} from "./engine.ts";

/** From the start of an agent to a usable session. */
export const HANDSHAKE_MS = 20_000;
/** Without any sign of life, and with no tool call open, a turn is given up after this long. */
export const IDLE_MS = 10 * 60_000;
/** The longest turn, whatever the budget. */
export const TURN_MS_MAX = 60 * 60_000;
const TRANSCRIPT_BYTES_MAX = 256 * 1024 * 1024;

/** What may end a turn although nobody asked the run to stop. */
export interface TurnStop {
  readonly signal: AbortSignal;
  /** What the turn is then. */
  readonly status: "over_budget" | "blocked";
}

/** What a turn is taken with. */
export interface TurnRequest extends Pick<StartOptions, "mode" | "writeSet" | "hooks" | "takesProposals"> {
  engine: Engine;
  cwd: string;
  /** The agent's whole environment. */
  environment: Readonly<Record<string, string>>;
  spawnId: string;
  limits: EngineLimits;
  prompt: Prompt;
  /** The caller's, who also closes it. */
  transcript: Transcript;
  decidePermission: StartOptions["decidePermission"];
  /** Called after the transcript has the event; what it throws ends the turn and is thrown. */
  onEvent?: (event: EngineEvent) => void;
  onSession?: (session: Session) => void;
  /** Each cancels the turn when its signal fires; the first that did names the status. */
  stops?: readonly TurnStop[];
}

/**
 * Takes one turn to its end; nothing of the agent is left when this resolves or rejects. What the agent does, not starting
 * included, is a `Turn`. It rejects only with what is no doing of the agent's: a defect of ours, or the user's disk.
 */
export async function takeTurn(request: TurnRequest, signal: AbortSignal): Promise<Turn> {
  const { engine, cwd, environment, spawnId, limits, prompt, transcript, decidePermission } = request;
  const { mode, writeSet, hooks, takesProposals, stops = [] } = request;
  const stop = AbortSignal.any([signal, ...stops.map((one) => one.signal)]);
  let session: Session | undefined;
  try {
    session = await engine.start(
      {
        ...(mode && { mode }),
        ...(writeSet && { writeSet }),
        ...(hooks && { hooks }),
        ...(takesProposals && { takesProposals }),
        cwd,
        environment: { ...environment },
        spawnId,
        limits,
        decidePermission,
        onEvent: (event) => {
          transcript.add(event);
          request.onEvent?.(event);
        },
      },
      stop,
    );
    request.onSession?.(session);
    const turn = await session.run(prompt, stop);
    const status = signal.aborted ? undefined : stopStatus(stops);
    return status && turn.status === "cancelled" ? { ...turn, status } : turn;
  } catch (error) {
    // Only the reason itself is the stop: what else fails after a Ctrl-C is as much a defect as before it.
    if (stop.aborted && error === stop.reason) {
      const status = signal.aborted ? undefined : stopStatus(stops);
      return noTurn(status ?? "cancelled", "it was stopped before it began");
    }
    throw error;
  } finally {
    await session?.stop();
  }
}

function stopStatus(stops: readonly TurnStop[]): TurnStop["status"] | undefined {
  return stops.find(({ signal }) => signal.aborted)?.status;
}

/** A turn that was never begun. */
function noTurn(status: "failed" | "cancelled" | TurnStop["status"], message: string): Turn {
  const usage = { input_tokens: 0, output_tokens: 0, quality: "missing" as const };
  const failure = { class: "crashed" as const, message, retryable: true };
  return { status, text: "", toolCalls: 0, usage, proposals: [], ...(status === "failed" && { failure }) };
}

/**
 * Login, quota and outage, and a program that is not there: the agent could not work, so it is nobody's failed attempt. An
 * empty turn is a failed one.
 */
export function isOutside({ status, failure }: Pick<Turn, "status" | "failure">): boolean {
  if (status !== "failed" || failure === undefined) return false;
  if (failure.class === "provider") return failure.retryable;
  return OUTSIDE.has(failure.class);
}

const OUTSIDE: ReadonlySet<FailureClass> = new Set(["auth", "quota", "rate_limit", "config"]);

/** Turns that we ended for a reason outside the work: nobody's failed attempt either. */
export function isHeld({ status }: Pick<Turn, "status">): boolean {
  return status === "over_budget" || status === "blocked";
}

/** What a turn is known to have used. */
type Used = Readonly<Pick<TurnUsage, "input_tokens" | "output_tokens">> & {
  readonly cost_usd?: number | undefined;
};

/**
 * A turn in a few words. Redacted before it is cut: half a secret would not be known as one. `used` is what is known beside
 * the turn's own word, which one that was cut off may never have given.
 */
export function summaryOf(turn: Turn, redactor: Pick<Redactor, "text">, used: Used = turn.usage): string {
  if (turn.failure) return redactor.text(turn.failure.message);
  const said = redactor.text(turn.text.trim());
  if (said === "")
    return turn.status === "over_budget" ? overBudget(turn, used) : (SILENT[turn.status] ?? "");
  return said.length <= 2_000 ? said : `${said.slice(0, 1_000)} […] ${said.slice(-900)}`;
}

/** What is said of a turn in which the agent said nothing. */
const SILENT: Partial<Record<Turn["status"], string>> = {
  denied: "what the agent asked for was refused, and it gave up",
  refused: "the model refused the request",
  limit: "the agent came to a limit of its own",
};

/** What is said of a turn that the budget ended without a word of the agent: it may well have been at work. */
function overBudget({ toolCalls }: Turn, used: Used): string {
  const { input_tokens, output_tokens, cost_usd } = used;
  const spent = [
    ...(input_tokens + output_tokens > 0 ? [`${input_tokens} input and ${output_tokens} output tokens`] : []),
    ...(toolCalls > 0 ? [`${toolCalls} tool calls`] : []),
    ...(cost_usd !== undefined && cost_usd > 0 ? [`$${cost_usd.toFixed(4)}`] : []),
  ];
  if (spent.length === 0) return "the budget was spent before anything of the agent was heard";
  return `the budget was spent before the agent was done: it used ${spent.join(", ")}; what it changed is kept`;
}

/** Text comes in pieces of any size, so a secret may lie across two of them. */
type TextEvent = Extract<EngineEvent, { text: string }>;

/** Events after which nothing continues the text before them. */
const ENDS_TEXT: ReadonlySet<EngineEvent["kind"]> = new Set([
  "tool-started",
  "tool-finished",
  "approval-asked",
  "turn-ended",
  "session-ended",
]);

/** What keeping a transcript needs of the world. */
export interface TranscriptPorts {
  disk: Disk;
  clock: Clock;
  redactor: Pick<Redactor, "stream" | "value">;
}

/** The agent's events as they come, redacted, one line each, up to a bound. Pieces of text are joined. */
export class Transcript {
  readonly path: string;
  readonly #file: OpenFile;
  readonly #ports: TranscriptPorts;
  readonly #texts = new Map<string, { stream: RedactingStream; last: TextEvent }>();
  #bytes = 0;
  #failure: unknown;

  /** Makes the file, which must not be there yet. */
  constructor(path: string, ports: TranscriptPorts) {
    this.path = path;
    this.#ports = ports;
    this.#file = ports.disk.open(path, "create");
  }

  /** Takes in one event of the agent. */
  add(event: EngineEvent): void {
    if (event.kind === "text" || event.kind === "stderr") return this.#addText(event);
    if (ENDS_TEXT.has(event.kind)) this.#endTexts();
    this.#write(event);
  }

  /** Adds a line of our own, e.g. what the agent was told. */
  note(line: Record<string, unknown>): void {
    this.#write(line);
  }

  #addText(event: TextEvent): void {
    const name = event.kind === "text" && event.thinking ? "thinking" : event.kind;
    const stream = this.#texts.get(name)?.stream ?? this.#ports.redactor.stream();
    this.#texts.set(name, { stream, last: event });
    const text = stream.push(event.text);
    if (text !== "") this.#write({ ...event, text });
  }

  #endTexts(): void {
    for (const { stream, last } of this.#texts.values()) {
      const text = stream.end();
      if (text !== "") this.#write({ ...last, text });
    }
    this.#texts.clear();
  }

  #write(event: object): void {
    if (this.#bytes > TRANSCRIPT_BYTES_MAX || this.#failure !== undefined) return;
    const ts = instantOf(this.#ports.clock.now());
    const redacted = this.#ports.redactor.value(event) as Record<string, unknown>;
    const line = Buffer.from(`${renderLine({ ts, ...redacted })}\n`);
    this.#bytes += line.length;
    try {
      writeAll(this.#file, line);
    } catch (error) {
      // Told at the close: a handler of the agent's messages is no place to end the run from.
      this.#failure = error;
    }
  }

  /** Writes what is left and makes it durable; throws what went wrong on the way. */
  async close(): Promise<void> {
    this.#endTexts();
    try {
      if (this.#failure !== undefined) throw ioFailure("write", this.path, this.#failure);
      await this.#file.sync();
      // The file's name, too: it is named as evidence next.
      await this.#ports.disk.syncFolder(dirname(this.path));
    } catch (error) {
      throw error instanceof OmkError ? error : ioFailure("sync", this.path, error);
    } finally {
      this.#file.close();
    }
  }
}
