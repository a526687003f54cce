import { within } from "./deadline.ts";
import { FrameError, FrameReader, encodeFrame } from "./frames.ts";
import type { Frame } from "./frames.ts";
import type { Clock } from "../ports.ts";

/**
 * One side of a JSON-RPC 2.0 conversation over lines, for agents (`acp`) and for our own scripted agent. There is no
 * queue of incoming messages: each is handled before the next is taken, so order is kept and the pipe itself holds a
 * flooder back. What waits to be written is bounded; reading stops while it is full.
 */

/** Answers to unknown or answered requests, and lines that are no message, that end a conversation when exceeded. */
const STRAY_ANSWERS_MAX = 100;
const NOISE_LINES_MAX = 1000;
const OPEN_REQUESTS_MAX = 1000;
const OUTGOING_MESSAGES_MAX = 1000;
const OUTGOING_BYTES_MAX = 32 * 1024 * 1024;
/** 2,000 messages a second, measured over 10 s; beyond that reading slows down. */
const MESSAGES_PER_SECOND = 2000;
const MESSAGES_BURST = 20_000;
const PACE_MS = 50;
const LAST_WORDS_MS = 1000;

/** JSON-RPC's own error codes. */
export const RPC_CODES = {
  parse: -32700,
  invalidRequest: -32600,
  unknownMethod: -32601,
  invalidParams: -32602,
  internal: -32603,
} as const;

/** An error answer: what the other side gave, or what a handler throws to give one. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: number;
  readonly data: unknown;
  constructor(code: number, message: string, data?: unknown) {
    super(message);
    this.code = code;
    this.data = data;
  }
}

/** The conversation is over; every open request rejects with it. */
export class RpcClosed extends Error {
  override readonly name = "RpcClosed";
  /**
   * `ended`: the other side closed its output; `write_failed`: it takes no input any more; `protocol`: it sent what
   * cannot be accepted; `handler`: one of our own handlers threw (the `cause`); `local`: we closed.
   */
  readonly reason: "ended" | "write_failed" | "protocol" | "handler" | "local";
  /** For `protocol`: the first 4 KiB of the offending line, escaped. */
  readonly evidence: string | undefined;
  constructor(
    reason: RpcClosed["reason"],
    message: string,
    options: ErrorOptions & { evidence?: string } = {},
  ) {
    super(message, options);
    this.reason = reason;
    this.evidence = options.evidence;
  }
}

/** The bytes below: a child's stdio, or our own. */
export interface RpcTransport {
  /** Resolves when the bytes were taken. */
  write(bytes: Uint8Array): Promise<void>;
  incoming: AsyncIterable<Uint8Array>;
}

/** A request from the other side. */
export interface IncomingRequest {
  id: string | number;
  method: string;
  params: unknown;
  /** Size of the whole message, for whoever keeps parts of it. */
  bytes: number;
  /** Aborted when the conversation closes. */
  signal: AbortSignal;
}

export interface RpcHandlers {
  /** By method. A thrown `RpcError` is the answer; anything else thrown closes the conversation. */
  requests: Pick<ReadonlyMap<string, (request: IncomingRequest) => Promise<unknown>>, "get">;
  /** Called in order of arrival, answers included: it has returned before a later answer is given out. */
  notification(method: string, params: unknown, bytes: number): void;
  /** A request that no handler takes; it is answered with -32601. */
  unknownRequest?(method: string, params: unknown, bytes: number): void;
  /** A line that is no message. */
  noise?(text: string): void;
}

interface Pending {
  method: string;
  resolve(result: unknown): void;
  reject(error: Error): void;
}

export interface RpcOptions {
  /** Paces a flooding peer and waits for last words after a broken pipe; without it neither happens. */
  clock?: Clock;
  /** Some agents know only numbers as ids, Wire only strings. */
  ids?: "number" | "string";
}

/** One side of the conversation. It reads from the moment it is made. */
export class RpcPeer {
  /** Resolves when the conversation is over, with the reason. Never rejects. */
  readonly closed: Promise<RpcClosed>;
  readonly #transport: RpcTransport;
  readonly #handlers: RpcHandlers;
  readonly #clock: Clock | undefined;
  readonly #ids: "number" | "string";
  readonly #pending = new Map<string | number, Pending>();
  /** Requests we no longer wait for: their answers are late, not stray. */
  readonly #abandoned = new Set<string | number>();
  readonly #open = new Set<string | number>();
  readonly #over = new AbortController();
  readonly #outgoing: { bytes: Uint8Array; taken: () => void }[] = [];
  #outgoingBytes = 0;
  #writing = false;
  #roomWaiters: (() => void)[] = [];
  #closedWith: RpcClosed | undefined;
  #resolveClosed!: (closed: RpcClosed) => void;
  #nextId = 1;
  #strayAnswers = 0;
  #noiseLines = 0;
  #allowance = MESSAGES_BURST;
  #allowanceAtMs: number;

  constructor(transport: RpcTransport, handlers: RpcHandlers, options: RpcOptions = {}) {
    this.#transport = transport;
    this.#handlers = handlers;
    this.#clock = options.clock;
    this.#ids = options.ids ?? "number";
    this.#allowanceAtMs = this.#clock?.monotonicMs() ?? 0;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    void this.#readAll();
  }

  /** Asks. Rejects with `RpcError` for an error answer, `RpcClosed` at the end, or the signal's reason. */
  request(method: string, params: object, signal?: AbortSignal): Promise<unknown> {
    if (this.#closedWith) return Promise.reject(this.#closedWith);
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    const number = this.#nextId++;
    const id = this.#ids === "number" ? number : `omk-${number}`;
    return new Promise((resolve, reject) => {
      const abandon = (): void => {
        this.#pending.delete(id);
        this.#abandoned.add(id);
        reject(signal?.reason as Error);
      };
      const settled = (): void => signal?.removeEventListener("abort", abandon);
      this.#pending.set(id, {
        method,
        resolve: (result) => {
          settled();
          resolve(result);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      });
      signal?.addEventListener("abort", abandon, { once: true });
      void this.#send({ jsonrpc: "2.0", id, method, params });
    });
  }

  /** Tells. Resolves when the bytes were taken or the conversation is over. */
  notify(method: string, params: object): Promise<void> {
    return this.#send({ jsonrpc: "2.0", method, params });
  }

  /** Writes bytes as they are, in order with the messages: how the scripted agent misbehaves. */
  writeRaw(bytes: Uint8Array): Promise<void> {
    return this.#enqueue(bytes);
  }

  /** Ends the conversation from our side; a second call changes nothing. */
  close(reason: RpcClosed = new RpcClosed("local", "The conversation was closed.")): void {
    if (this.#closedWith) return;
    this.#closedWith = reason;
    for (const pending of this.#pending.values()) pending.reject(reason);
    this.#pending.clear();
    for (const { taken } of this.#outgoing.splice(0)) taken();
    this.#outgoingBytes = 0;
    this.#wakeReader();
    this.#over.abort(reason);
    this.#resolveClosed(reason);
  }

  async #readAll(): Promise<void> {
    const reader = new FrameReader();
    try {
      for await (const chunk of this.#transport.incoming) {
        for (const frame of reader.read(chunk)) {
          if (this.#closedWith) return;
          this.#dispatch(frame);
          await this.#holdBack();
        }
        if (this.#closedWith) return;
      }
      const torn =
        reader.unfinishedBytes > 0 ? ` in the middle of a message (${reader.unfinishedBytes} bytes)` : "";
      this.close(new RpcClosed("ended", `The other side closed its output${torn}.`));
    } catch (error) {
      if (error instanceof FrameError) {
        this.close(new RpcClosed("protocol", error.message, { cause: error, evidence: error.evidence }));
      } else {
        // A pipe that breaks while reading is the same as one that ends.
        this.close(new RpcClosed("ended", "The other side's output broke off.", { cause: error }));
      }
    }
  }

  /** Returns at once unless there is a reason to read more slowly. */
  async #holdBack(): Promise<void> {
    while (!this.#closedWith && this.#outgoingFull()) {
      await new Promise<void>((resolve) => this.#roomWaiters.push(resolve));
    }
    if (!this.#clock) return;
    this.#allowance--;
    while (this.#allowance < 0 && !this.#closedWith) {
      const now = this.#clock.monotonicMs();
      const earned = ((now - this.#allowanceAtMs) / 1000) * MESSAGES_PER_SECOND;
      this.#allowance = Math.min(MESSAGES_BURST, this.#allowance + earned);
      this.#allowanceAtMs = now;
      if (this.#allowance >= 0) return;
      try {
        await this.#clock.sleep(PACE_MS, this.#over.signal);
      } catch {
        // The conversation was closed meanwhile; the loop's condition sees it.
      }
    }
  }

  #dispatch(frame: Frame): void {
    if (frame.kind === "noise") {
      this.#noiseLines++;
      if (this.#noiseLines > NOISE_LINES_MAX) {
        this.#violate(`More than ${NOISE_LINES_MAX} lines were no messages.`, frame.text);
        return;
      }
      this.#guarded(() => this.#handlers.noise?.(frame.text));
      return;
    }
    const message = frame.value;
    const { id, method, params } = message;
    if (message["jsonrpc"] !== "2.0") {
      this.#violate("A message is not JSON-RPC 2.0.", JSON.stringify(message));
    } else if (typeof method === "string") {
      if (!Object.hasOwn(message, "id")) {
        this.#guarded(() => this.#handlers.notification(method, params, frame.bytes));
      } else if (typeof id === "string" || typeof id === "number") {
        this.#takeRequest(id, method, params, frame.bytes);
      } else {
        this.#violate("A request has an id that is neither text nor a number.", JSON.stringify(message));
      }
    } else if (Object.hasOwn(message, "result") !== Object.hasOwn(message, "error")) {
      this.#takeAnswer(message);
    } else {
      this.#violate("A message is neither a request nor an answer.", JSON.stringify(message));
    }
  }

  #takeRequest(id: string | number, method: string, params: unknown, bytes: number): void {
    const handler = this.#handlers.requests.get(method);
    if (!handler) {
      this.#guarded(() => this.#handlers.unknownRequest?.(method, params, bytes));
      this.#answerError(
        id,
        new RpcError(RPC_CODES.unknownMethod, "Method not found", { method: method.slice(0, 200) }),
      );
      return;
    }
    if (this.#open.has(id)) {
      this.#answerError(id, new RpcError(RPC_CODES.invalidRequest, "A request with this id is open already"));
      return;
    }
    if (this.#open.size >= OPEN_REQUESTS_MAX) {
      this.#answerError(
        id,
        new RpcError(RPC_CODES.internal, `More than ${OPEN_REQUESTS_MAX} requests are open`),
      );
      return;
    }
    this.#open.add(id);
    void this.#handle(handler, { id, method, params, bytes, signal: this.#over.signal });
  }

  async #handle(
    handler: (request: IncomingRequest) => Promise<unknown>,
    request: IncomingRequest,
  ): Promise<void> {
    try {
      const result = await handler(request);
      this.#open.delete(request.id);
      void this.#send({ jsonrpc: "2.0", id: request.id, result: result ?? null });
    } catch (error) {
      this.#open.delete(request.id);
      if (error instanceof RpcError) {
        this.#answerError(request.id, error);
      } else if (!this.#closedWith) {
        this.#answerError(request.id, new RpcError(RPC_CODES.internal, "Internal error"));
        this.close(new RpcClosed("handler", "A handler failed.", { cause: error }));
      }
    }
  }

  #takeAnswer(message: Record<string, unknown>): void {
    const { id, error } = message;
    const pending = typeof id === "string" || typeof id === "number" ? this.#pending.get(id) : undefined;
    if (!pending) {
      if ((typeof id === "string" || typeof id === "number") && this.#abandoned.delete(id)) return;
      this.#strayAnswers++;
      if (this.#strayAnswers > STRAY_ANSWERS_MAX) {
        this.#violate(
          `More than ${STRAY_ANSWERS_MAX} answers belong to no open request.`,
          JSON.stringify(message),
        );
      }
      return;
    }
    this.#pending.delete(id as string | number);
    if (error === undefined) {
      pending.resolve(message["result"]);
      return;
    }
    const { code, message: text, data } = asRecord(error);
    if (typeof code !== "number" || typeof text !== "string") {
      const closed = this.#violate("An error answer has no code or no message.", JSON.stringify(message));
      pending.reject(closed);
      return;
    }
    pending.reject(new RpcError(code, text, data));
  }

  #answerError(id: string | number, error: RpcError): void {
    const data = error.data === undefined ? {} : { data: error.data };
    void this.#send({ jsonrpc: "2.0", id, error: { code: error.code, message: error.message, ...data } });
  }

  #violate(message: string, line: string): RpcClosed {
    const evidence = new FrameError("not_json", message, new TextEncoder().encode(line.slice(0, 8192)))
      .evidence;
    const closed = new RpcClosed("protocol", message, { evidence });
    this.close(closed);
    return closed;
  }

  /** Runs one of our handlers; what it throws is our failure, not the other side's. */
  #guarded(handle: () => void): void {
    try {
      handle();
    } catch (error) {
      this.close(new RpcClosed("handler", "A handler failed.", { cause: error }));
    }
  }

  #send(message: object): Promise<void> {
    return this.#enqueue(encodeFrame(message));
  }

  #enqueue(bytes: Uint8Array): Promise<void> {
    if (this.#closedWith) return Promise.resolve();
    return new Promise((taken) => {
      this.#outgoing.push({ bytes, taken });
      this.#outgoingBytes += bytes.length;
      if (!this.#writing) void this.#writeAll();
    });
  }

  async #writeAll(): Promise<void> {
    this.#writing = true;
    try {
      for (let next = this.#outgoing[0]; next; next = this.#outgoing[0]) {
        await this.#transport.write(next.bytes);
        // A close while we wrote has emptied the queue already.
        if (this.#closedWith) break;
        this.#outgoing.shift();
        this.#outgoingBytes -= next.bytes.length;
        next.taken();
        if (!this.#outgoingFull()) this.#wakeReader();
      }
      this.#writing = false;
    } catch (error) {
      // `#writing` stays true: nothing is written any more. What the other side said before it broke is still in its
      // pipe (an error answer, mostly), so reading gets a moment to reach its end by itself.
      if (this.#clock) await within(this.closed, LAST_WORDS_MS, this.#clock);
      this.close(new RpcClosed("write_failed", "The other side takes no input any more.", { cause: error }));
    }
  }

  #outgoingFull(): boolean {
    return this.#outgoing.length > OUTGOING_MESSAGES_MAX || this.#outgoingBytes > OUTGOING_BYTES_MAX;
  }

  #wakeReader(): void {
    for (const wake of this.#roomWaiters.splice(0)) wake();
  }
}

/** The value as a record, or an empty one when it is none. */
export function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}
