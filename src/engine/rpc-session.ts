import { AgentProcess, clip, type AgentProcesses } from "./agent-process.ts";
import { abortOf, within } from "./deadline.ts";
import type { Failure, Prompt, Session, StartOptions, Turn } from "./engine.ts";
import { RpcClosed, RpcError, RpcPeer, type RpcHandlers } from "./rpc.ts";
import { emptyTurn, TITLE_MAX, TurnRecord } from "./turn-record.ts";
import type { Clock } from "../ports.ts";

/**
 * A session with an agent that speaks JSON-RPC on its stdio: starting it, taking its turns one by one, and ending it are
 * the same whatever the methods are called.
 */

/** How long a cancelled turn may take to end by itself. */
const CANCEL_MS = 5000;

/** What is started, and how its conversation is numbered. */
export interface RpcAgent {
  name: string;
  argv: readonly [string, ...string[]];
  ids: "number" | "string";
}

/** How a prompt was answered, as a value. */
export type Answer<Result> =
  | { by: "result"; result: Result }
  | { by: "error"; error: RpcError }
  | { by: "closed"; closed: RpcClosed }
  /** It was asked to end, did not, and was ended. */
  | { by: "ended" };

/** One conversation with one process; a protocol says what is asked and what the answers mean. */
export abstract class RpcSession<Result> implements Session {
  protected readonly options: StartOptions;
  protected readonly clock: Clock;
  protected readonly process: AgentProcess;
  protected readonly peer: RpcPeer;
  protected turn: TurnRecord | undefined;
  readonly #name: string;
  /** The turn that runs, for `stop` to wait for. */
  #running: Promise<Turn> | undefined;
  #stopping: Promise<void> | undefined;

  protected constructor(
    agent: RpcAgent,
    options: StartOptions,
    ports: { processes: AgentProcesses; clock: Clock },
  ) {
    this.#name = agent.name;
    this.options = options;
    this.clock = ports.clock;
    this.process = new AgentProcess({ name: agent.name, argv: agent.argv, stdin: "pipe" }, options, ports, {
      refuse: (message) => void this.refuse(message),
      broken: (cause) => this.peer.close(new RpcClosed("handler", "An event could not be kept.", { cause })),
      ended: () => this.peer.close(),
    });
    const { child, stdout } = this.process;
    this.peer = new RpcPeer(
      { write: (bytes) => child.write(bytes), incoming: stdout },
      {
        // Looked up when one comes: what makes them is not there yet.
        requests: { get: (method) => this.handlers().get(method) },
        notification: (method, params, bytes) => this.notification(method, params, bytes),
        unknownRequest: (method, params, bytes) => this.process.emitUnknown(method, params, bytes),
        noise: (text) => this.noise(text),
      },
      { clock: this.clock, ids: agent.ids },
    );
    void this.peer.closed.then(() => this.closed());
  }

  get id(): string | undefined {
    return this.process.sessionId;
  }

  /** What the agent may ask, by method. */
  protected abstract handlers(): RpcHandlers["requests"];
  /** Takes in what the agent tells. */
  protected abstract notification(method: string, params: unknown, bytes: number): void;
  /** Comes to a usable session, sets `process.dead`, or throws what the conversation throws. */
  protected abstract handshake(): Promise<void>;
  /** Why an error answer to the handshake leaves no session. */
  protected abstract refusal(error: RpcError): Failure;
  /** Takes one turn to its end. */
  protected abstract takeTurn(turn: TurnRecord, prompt: Prompt, signal: AbortSignal): Promise<Turn>;
  /** Tells the agent to end its turn; not waited for, since an agent may not read its stdin. */
  protected abstract tellCancel(): void;

  /** A line that is no message. */
  protected noise(text: string): void {
    this.process.emit({ kind: "notice", message: `not a message: ${clip(text, TITLE_MAX)}` });
  }

  /** The conversation is over. */
  protected closed(): void {
    this.turn?.cancelApprovals();
  }

  /** Why a conversation that ended before there was a session leaves none. */
  protected stillborn(closed: RpcClosed): Promise<Failure | undefined> {
    return this.deathBy(closed);
  }

  /** The handshake. Afterwards the session is usable or knows why not; rejects only when aborted. */
  async open(signal: AbortSignal): Promise<void> {
    const { handshakeMs } = this.options.limits;
    const shaking = this.handshake().catch((error: unknown) => {
      if (error instanceof RpcError || error instanceof RpcClosed) return error;
      throw error;
    });
    const over = new AbortController();
    const given = abortOf(signal, over.signal);
    const ended = await within(Promise.race([shaking, given]), handshakeMs, this.clock);
    over.abort();
    if (signal.aborted || this.process.isBroken) {
      this.process.dead = { class: "config", message: "The start was given up.", retryable: true };
      await this.process.end();
      this.process.passOn();
      throw signal.reason;
    }
    if (!ended.done) {
      const message = `${this.#name} did not finish the handshake within ${handshakeMs} ms.${this.process.lastWords()}`;
      this.process.dead = { class: "timeout", message, retryable: true };
    } else if (ended.value instanceof RpcClosed) {
      this.process.dead = await this.stillborn(ended.value);
    } else if (ended.value instanceof RpcError) {
      this.process.dead = this.refusal(ended.value);
    }
    if (this.process.dead) await this.process.end();
    this.process.passOn();
  }

  run(prompt: Prompt, signal: AbortSignal): Promise<Turn> {
    if (this.turn) throw new Error("A session runs one turn at a time.");
    const running = this.#run(prompt, signal);
    this.#running = running;
    return running;
  }

  async #run(prompt: Prompt, signal: AbortSignal): Promise<Turn> {
    this.process.passOn();
    if (this.process.dead) return emptyTurn("failed", this.process.dead);
    if (this.#stopping || signal.aborted) return emptyTurn("cancelled");
    const turn = new TurnRecord(this.process, this.options, this.clock);
    this.turn = turn;
    try {
      this.process.emit({ kind: "turn-started", ...prompt.meta });
      const result = await this.takeTurn(turn, prompt, signal);
      this.process.emit({
        kind: "turn-ended",
        status: result.status,
        ...(result.failure ? { failure: result.failure } : {}),
        tool_calls: result.toolCalls,
        usage: result.usage,
      });
      this.process.passOn();
      return result;
    } finally {
      this.turn = undefined;
    }
  }

  /** Asks, and gives every way in which that can be answered as a value; `read` is undefined for what it cannot be. */
  protected async ask(
    method: string,
    params: object,
    read: (answer: unknown) => Result | undefined,
    broken: string,
  ): Promise<Answer<Result>> {
    try {
      const result = read(await this.peer.request(method, params));
      return result === undefined ? { by: "closed", closed: this.refuse(broken) } : { by: "result", result };
    } catch (error) {
      if (error instanceof RpcError) return { by: "error", error };
      if (error instanceof RpcClosed) return { by: "closed", closed: error };
      throw error;
    }
  }

  /** Asks for an end of the turn and waits for it; a process that does not listen is ended. */
  protected async cancel(turn: TurnRecord, answer: Promise<Answer<Result>>): Promise<Answer<Result>> {
    turn.isCancelling = true;
    this.tellCancel();
    turn.cancelApprovals();
    const answered = await within(answer, CANCEL_MS, this.clock);
    if (answered.done) return answered.value;
    const message = `${this.#name} did not end its turn within ${CANCEL_MS} ms of being asked, so it was ended.`;
    this.process.dead = { class: "timeout", message, retryable: true };
    await this.process.end();
    return { by: "ended" };
  }

  /** What a conversation's end says about the agent. Ends what is left of it, and keeps the reason for later turns. */
  protected async deathBy(
    closed: RpcClosed,
    how: { cleanExitIsFine?: boolean } = {},
  ): Promise<Failure | undefined> {
    if (closed.reason === "handler") {
      this.process.fail(closed.cause);
      await this.process.end();
      return { class: "crashed", message: "omk itself failed while reading the agent.", retryable: false };
    }
    if (closed.reason === "protocol") {
      const evidence = closed.evidence === undefined ? "" : ` It sent: ${closed.evidence}`;
      const message = `${this.#name} broke the protocol: ${closed.message}${evidence}`;
      this.process.dead = { class: "protocol", message, retryable: true };
      await this.process.end();
      return this.process.dead;
    }
    const { failure, exit } = await this.process.death();
    const clean = exit?.kind === "exited" && exit.code === 0;
    return clean && how.cleanExitIsFine ? undefined : failure;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.turn?.stop.abort();
    // Bounded by the cancelling above; what the turn came to, or threw, is its caller's to hear.
    await this.#running?.then(
      () => undefined,
      () => undefined,
    );
    await this.leave();
    this.process.passOn();
  }

  /** Lets the agent go. */
  protected leave(): Promise<void> {
    return this.process.leave();
  }

  /** Ends the conversation because of what the agent sent. */
  protected refuse(message: string): RpcClosed {
    const closed = new RpcClosed("protocol", message);
    this.peer.close(closed);
    return closed;
  }
}
