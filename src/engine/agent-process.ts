import { within } from "./deadline.ts";
import type { EventBody, Failure, StartOptions } from "./engine.ts";
import { instantOf } from "../format/stamp.ts";
import type { Child, Clock, Exit, Processes } from "../ports.ts";

/** How long an agent may take to leave after its stdin was closed; one adapter needs 2 s. */
const LEAVE_MS = 3000;
/** Between TERM and KILL. */
const TERM_MS = 2000;
/** An exit should follow the end of stdout; a process that stays without output is ended. */
const EXIT_MS = 2000;

/** How much of one message an event keeps, and how much of a text. */
export const RAW_BYTES_MAX = 16 * 1024;
export const EVENT_TEXT_MAX = 64 * 1024;
const STDERR_TAIL = 4096;
const STDERR_EVENTS_BYTES_MAX = 256 * 1024;
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024;

/** What an engine does with processes. */
export type AgentProcesses = Pick<Processes, "spawn" | "run">;

/** What is started. */
export interface AgentProgram {
  name: string;
  argv: readonly [string, ...string[]];
  stdin: "pipe" | "none";
}

/** What only the protocol can do about what its process does. */
export interface AgentWatch {
  /** The agent must not go on: it says more than is allowed. */
  refuse(message: string): void;
  /** One of our own callbacks threw, so nothing of the conversation can be kept any more. */
  broken(cause: unknown): void;
  /** The process is gone: nothing that it said and nobody has heard yet counts. */
  ended(): void;
}

/** One agent process, whatever it speaks: its events, its stderr, how much it says, and its end. */
export class AgentProcess {
  readonly name: string;
  readonly child: Child;
  /** What the agent says, counted against the limit of its output. */
  readonly stdout: AsyncIterable<Uint8Array>;
  /** The agent's own name for the session, once there is one: events carry it. */
  sessionId: string | undefined;
  /** Why no turn can run any more. */
  dead: Failure | undefined;
  readonly #program: AgentProgram;
  readonly #options: Pick<StartOptions, "onEvent">;
  readonly #clock: Clock;
  readonly #watch: AgentWatch;
  /** What one of our own callbacks threw: not the agent's doing, so it goes to our caller. */
  #thrown: { error: unknown } | undefined;
  #sequence = 0;
  #unknown = 0;
  #outputBytes = 0;
  #stderrTail = "";
  #stderrEventBytes = 0;
  readonly #stderrDone: Promise<void>;
  #ending: Promise<Exit> | undefined;

  constructor(
    program: AgentProgram,
    options: Pick<StartOptions, "cwd" | "environment" | "spawnId" | "onEvent">,
    ports: { processes: Pick<Processes, "spawn">; clock: Clock },
    watch: AgentWatch,
  ) {
    this.name = program.name;
    this.#program = program;
    this.#options = options;
    this.#clock = ports.clock;
    this.#watch = watch;
    this.child = ports.processes.spawn({
      argv: program.argv,
      cwd: options.cwd,
      env: options.environment,
      spawnId: options.spawnId,
      stdin: program.stdin,
      stdout: "pipe",
      stderr: "pipe",
    });
    this.stdout = this.#counted(this.child.stdout);
    this.#stderrDone = this.#drainStderr();
  }

  /** Tells an event; the message it was made from is kept beside it unless it is large. */
  emit(body: EventBody, raw?: unknown, bytes = 0): void {
    if (this.#thrown) return;
    this.#sequence++;
    const kept = raw === undefined ? {} : { raw: bytes <= RAW_BYTES_MAX ? raw : { omitted_bytes: bytes } };
    try {
      this.#options.onEvent({
        ...body,
        at: instantOf(this.#clock.now()),
        session: this.sessionId ?? null,
        sequence: this.#sequence,
        ...kept,
      });
    } catch (error) {
      // Events go to the log; when that fails the turn must end, and its caller must hear why.
      this.fail(error);
    }
  }

  /** Keeps a message that nothing else was made of. */
  emitUnknown(what: string, message: unknown, bytes: number): void {
    this.#unknown++;
    this.emit({ kind: "unknown", what: clip(what, 200), count: this.#unknown }, message, bytes);
  }

  /** A failure of ours, for the caller of the session. */
  fail(error: unknown): void {
    this.#thrown ??= { error };
    this.#watch.broken(error);
  }

  /** Whether something of ours failed. */
  get isBroken(): boolean {
    return this.#thrown !== undefined;
  }

  /** Throws what one of our own callbacks threw. */
  passOn(): void {
    if (this.#thrown) throw this.#thrown.error;
  }

  /** What the agent said last on stderr, as a sentence to add. */
  lastWords(): string {
    const tail = this.#stderrTail.trim();
    return tail === "" ? "" : ` Its last words on stderr: ${tail}`;
  }

  /** Lets the agent leave by itself, then ends what is left of it. */
  async leave(): Promise<void> {
    if (!this.#ending) {
      this.child.closeStdin();
      await within(this.child.exited, LEAVE_MS, this.#clock);
    }
    await this.end();
  }

  /** Ends the process tree now, also what an agent that left by itself has left behind. */
  end(): Promise<Exit> {
    this.#ending ??= (async () => {
      await this.child.end(TERM_MS);
      const exit = await this.child.exited;
      this.#watch.ended();
      this.emit({ kind: "session-ended", exit: exitText(exit) });
      return exit;
    })();
    return this.#ending;
  }

  /**
   * What an agent that ended its output came to: waits a moment for its exit, ends what is left, and keeps the reason for
   * later turns. `exit` is undefined when it stayed without output.
   */
  async death(): Promise<{ failure: Failure; exit: Exit | undefined }> {
    const left = await within(this.child.exited, EXIT_MS, this.#clock);
    const exit = await this.end();
    // Everything it wrote to stderr is there at most a second after its exit.
    await within(this.#stderrDone, EXIT_MS, this.#clock);
    if (exit.kind === "not_started") {
      this.dead = {
        class: "config",
        message: `${this.#program.argv[0]} could not be started: ${exit.message} (${exit.code}).`,
        retryable: false,
      };
      return { failure: this.dead, exit };
    }
    const text = left.done ? exitText(exit) : "closed its output and stayed";
    this.dead = {
      class: "crashed",
      message: `${this.name} ended: ${text}.${this.lastWords()}`,
      retryable: true,
    };
    return { failure: this.dead, exit: left.done ? exit : undefined };
  }

  async #drainStderr(): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for await (const chunk of this.child.stderr) {
        const text = decoder.decode(chunk, { stream: true });
        this.#stderrTail = (this.#stderrTail + text).slice(-STDERR_TAIL);
        const room = STDERR_EVENTS_BYTES_MAX - this.#stderrEventBytes;
        this.#stderrEventBytes += chunk.length;
        if (room > 0) this.emit({ kind: "stderr", text: text.slice(0, Math.min(room, EVENT_TEXT_MAX)) });
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
    if (this.#outputBytes > OUTPUT_BYTES_MAX)
      this.#watch.refuse(`Its output exceeds ${OUTPUT_BYTES_MAX} bytes.`);
  }
}

/** How a process ended, in words. */
export function exitText(exit: Exit): string {
  switch (exit.kind) {
    case "exited":
      return `exit status ${exit.code}`;
    case "signalled":
      return `signal ${exit.signal}`;
    case "not_started":
      return `not started (${exit.code})`;
  }
}

/** A text, cut when it is longer than that. */
export function clip(text: string, charactersMax: number): string {
  return text.length <= charactersMax ? text : `${text.slice(0, charactersMax)}…`;
}
