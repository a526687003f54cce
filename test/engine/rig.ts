import { agent as sdkAgent, ndJsonStream } from "@agentclientprotocol/sdk";
import type { AgentApp } from "@agentclientprotocol/sdk";
import { setTimeout as realSleep } from "node:timers/promises";
import type {
  EngineEvent,
  PermissionAnswer,
  PermissionRequest,
  Prompt,
  StartOptions,
} from "../../src/engine/engine.ts";
import type { AgentProcesses } from "../../src/engine/agent-process.ts";
import type { Child, Clock, Exit, RunRequest, RunResult, SpawnRequest } from "../../src/ports.ts";

/** Bytes from one side to the other, in memory. */
export class BytePipe implements AsyncIterable<Uint8Array> {
  readonly #chunks: Uint8Array[] = [];
  #ended = false;
  #wake: (() => void) | undefined;

  push(bytes: Uint8Array): void {
    if (this.#ended) return;
    this.#chunks.push(bytes);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const next = this.#chunks.shift();
      if (next) {
        yield next;
      } else if (this.#ended) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}

/** Time that passes only when a test says so. */
export class StoppedClock implements Clock {
  #nowMs = 0;
  #sleepers: { dueMs: number; wake: () => void }[] = [];
  #sleeperCame: (() => void) | undefined;

  now(): Date {
    return new Date(Date.UTC(2026, 0, 1) + this.#nowMs);
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    return new Promise((resolve, reject) => {
      const sleeper = { dueMs: this.#nowMs + ms, wake: resolve };
      this.#sleepers.push(sleeper);
      this.#sleeperCame?.();
      signal?.addEventListener(
        "abort",
        () => {
          this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
          reject(signal.reason as Error);
        },
        { once: true },
      );
    });
  }

  /** Waits until somebody sleeps exactly that long from now, then lets the time pass. */
  async pass(ms: number): Promise<void> {
    while (!this.#sleepers.some((sleeper) => sleeper.dueMs === this.#nowMs + ms)) {
      await new Promise<void>((resolve) => {
        this.#sleeperCame = resolve;
      });
    }
    this.#nowMs += ms;
    const due = this.#sleepers.filter((sleeper) => sleeper.dueMs <= this.#nowMs);
    this.#sleepers = this.#sleepers.filter((sleeper) => sleeper.dueMs > this.#nowMs);
    for (const sleeper of due) sleeper.wake();
    await turnOfTheLoop();
  }
}

/** Lets everything that can go on without time passing go on. */
export function turnOfTheLoop(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

export const realClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
  sleep: (ms, signal) => realSleep(ms, undefined, signal ? { signal } : {}),
};

/** The agent's side of a process that exists only in memory. */
export interface AgentProcess {
  request: SpawnRequest;
  stdin: BytePipe;
  /** Writes text or bytes to stdout. */
  write(output: string | Uint8Array): void;
  writeError(text: string): void;
  exit(exit: Exit): void;
}

export class MemoryProcesses implements AgentProcesses {
  /** How often a child was ended by force. */
  killed = 0;
  readonly #start: (agent: AgentProcess) => void;
  constructor(start: (agent: AgentProcess) => void) {
    this.#start = start;
  }

  run(_request: RunRequest): Promise<RunResult> {
    return Promise.reject(new Error("nothing to run here"));
  }

  spawn(request: SpawnRequest): Child {
    const stdin = new BytePipe();
    const stdout = new BytePipe();
    const stderr = new BytePipe();
    let exit!: (exit: Exit) => void;
    let over = false;
    const exited = new Promise<Exit>((resolve) => {
      exit = (how) => {
        over = true;
        stdin.end();
        stdout.end();
        stderr.end();
        resolve(how);
      };
    });
    this.#start({
      request,
      stdin,
      write: (output) => stdout.push(typeof output === "string" ? new TextEncoder().encode(output) : output),
      writeError: (text) => stderr.push(new TextEncoder().encode(text)),
      exit,
    });
    return {
      pid: 2,
      write: (bytes) => {
        if (over) return Promise.reject(Object.assign(new Error("broken pipe"), { code: "EPIPE" }));
        stdin.push(bytes);
        return Promise.resolve();
      },
      closeStdin: () => stdin.end(),
      stdout,
      stderr,
      exited,
      end: () => {
        if (!over) {
          this.killed++;
          exit({ kind: "signalled", signal: "SIGTERM" });
        }
        return Promise.resolve();
      },
    };
  }
}

/** An agent made with the official SDK; it leaves when its stdin closes. */
export function officialAgent(build: (app: AgentApp) => AgentApp): (agent: AgentProcess) => void {
  return (process) => {
    const output = new WritableStream<Uint8Array>({ write: (chunk) => process.write(chunk) });
    const connection = build(sdkAgent({ name: "official" })).connect(
      ndJsonStream(output, readable(process.stdin)),
    );
    void connection.closed.then(() => process.exit({ kind: "exited", code: 0 }));
  };
}

export function readable(source: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  return new ReadableStream({
    async pull(controller) {
      const next = await iterator.next();
      if (next.done) controller.close();
      else controller.enqueue(next.value);
    },
  });
}

/** What a hand-made agent does with each message it gets; `answer` answers the request being handled. */
export type RawBehaviour = (
  method: string,
  agent: AgentProcess & {
    answer(result: object): void;
    fail(code: number, message: string, data?: unknown): void;
    update(update: object): void;
  },
  message: Record<string, unknown>,
) => void;

/** A hand-made agent. The handshake works by itself unless the behaviour is told to do that, too. */
export function rawAgent(
  behave: RawBehaviour,
  options: { handshake?: boolean } = {},
): (agent: AgentProcess) => void {
  return (process) => {
    const say = (message: object): void =>
      process.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
    const read = async (): Promise<void> => {
      let text = "";
      for await (const chunk of process.stdin) {
        text += new TextDecoder().decode(chunk);
        for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
          const message = JSON.parse(text.slice(0, end)) as Record<string, unknown>;
          text = text.slice(end + 1);
          const method = typeof message["method"] === "string" ? message["method"] : "(answer)";
          if (options.handshake !== false && method === "initialize") {
            say({ id: message["id"], result: { protocolVersion: 1, agentCapabilities: {} } });
          } else if (options.handshake !== false && method === "session/new") {
            say({ id: message["id"], result: { sessionId: "s1" } });
          } else {
            behave(
              method,
              {
                ...process,
                answer: (result) => say({ id: message["id"], result }),
                fail: (code, message_, data) =>
                  say({ id: message["id"], error: { code, message: message_, data } }),
                update: (update) => say({ method: "session/update", params: { sessionId: "s1", update } }),
              },
              message,
            );
          }
        }
      }
      process.exit({ kind: "exited", code: 0 });
    };
    void read();
  };
}

/** Start options that gather the events and allow everything, unless told otherwise. */
export function startOptions(
  events: EngineEvent[],
  decide: (request: PermissionRequest, signal: AbortSignal) => Promise<PermissionAnswer> = () =>
    Promise.resolve({ decision: "allow", rule: "test" }),
): StartOptions {
  return {
    cwd: "/project",
    environment: {},
    spawnId: "spawn-1",
    limits: { handshakeMs: 30_000, idleMs: 600_000, turnMs: 3_600_000 },
    onEvent: (event) => events.push(event),
    decidePermission: decide,
  };
}

export const PROMPT: Prompt = { text: "Fix it.", meta: { role: "work", task: "t1", attempt: 1 } };
export const never = new AbortController().signal;
