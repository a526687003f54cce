/** The rest of a simulated world: time that moves when told or when nothing else does, ids that count, no processes. */
import type { EngineCapabilities } from "../../src/engine/engine.ts";
import type { Child, Clock, ProcessIdentity, Processes, Random, RunResult } from "../../src/ports.ts";

const START = Date.UTC(2026, 0, 1);

interface Sleeper {
  dueMs: number;
  wake(): void;
}

/** The sleepers of a clock, woken in the order in which they are due. */
class Sleepers {
  #waiting: Sleeper[] = [];

  get count(): number {
    return this.#waiting.length;
  }

  /** The next one due. */
  get first(): Sleeper | undefined {
    return this.#waiting[0];
  }

  add(dueMs: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const leave = (): void => {
        this.#waiting = this.#waiting.filter((other) => other !== sleeper);
        signal?.removeEventListener("abort", give);
      };
      const give = (): void => {
        leave();
        reject(signal?.reason);
      };
      const sleeper: Sleeper = {
        dueMs,
        wake: () => {
          leave();
          resolve();
        },
      };
      signal?.addEventListener("abort", give);
      const after = this.#waiting.findIndex((other) => other.dueMs > dueMs);
      this.#waiting.splice(after === -1 ? this.#waiting.length : after, 0, sleeper);
    });
  }
}

/** One turn of the event loop: whatever only waits for promises has gone on by then. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** A clock that stands still until it is told to go on. */
export class ManualClock implements Clock {
  readonly #sleepers = new Sleepers();
  #elapsedMs = 0;
  #wallMs: number;
  #waiting: { count: number; resolve(): void }[] = [];

  constructor(start: Date = new Date(START)) {
    this.#wallMs = start.getTime();
  }

  now(): Date {
    return new Date(this.#wallMs);
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const slept = this.#sleepers.add(this.#elapsedMs + Math.max(0, ms), signal);
    const { count } = this.#sleepers;
    for (const waiting of this.#waiting.filter((other) => other.count <= count)) waiting.resolve();
    this.#waiting = this.#waiting.filter((other) => other.count > count);
    return slept;
  }

  /** How many sleep right now. */
  get sleepers(): number {
    return this.#sleepers.count;
  }

  /** Resolves as soon as that many sleep: nothing to race against then. */
  someoneSleeps(count = 1): Promise<void> {
    if (this.#sleepers.count >= count) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push({ count, resolve });
    });
  }

  /** Moves both clocks on and wakes who is due, each at its own time; those who sleep again in between wake again. */
  async advance(ms: number): Promise<void> {
    const end = this.#elapsedMs + ms;
    for (let next = this.#sleepers.first; next && next.dueMs <= end; next = this.#sleepers.first) {
      this.#moveTo(next.dueMs);
      next.wake();
      await turn();
    }
    this.#moveTo(end);
    await turn();
  }

  /** Sets the wall clock alone, forwards or back, as a user or a time server does. */
  setWall(to: Date): void {
    this.#wallMs = to.getTime();
  }

  #moveTo(elapsedMs: number): void {
    const ms = Math.max(0, elapsedMs - this.#elapsedMs);
    this.#elapsedMs += ms;
    this.#wallMs += ms;
  }
}

/** How an `AutoClock` starts and when it gives up. */
export interface AutoClockOptions {
  start?: Date;
  /** Turns of the event loop in which nobody begins or ends a sleep before time is moved; 4 by default. */
  idleTurns?: number;
  /** A sleep that would pass this is refused, so that a run which waits for ever fails; 30 days by default. */
  untilMs?: number;
}

/** A clock that goes on by itself, to the next one due, when everybody waits: whole goals without real time. */
export class AutoClock implements Clock {
  readonly #sleepers = new Sleepers();
  readonly #startMs: number;
  readonly #idleTurns: number;
  readonly #untilMs: number;
  #elapsedMs = 0;
  #holds = 0;
  #changes = 0;
  #isRunning = false;

  constructor({
    start = new Date(START),
    idleTurns = 4,
    untilMs = 30 * 24 * 3_600_000,
  }: AutoClockOptions = {}) {
    this.#startMs = start.getTime();
    this.#idleTurns = idleTurns;
    this.#untilMs = untilMs;
  }

  now(): Date {
    return new Date(this.#startMs + this.#elapsedMs);
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const dueMs = this.#elapsedMs + Math.max(0, ms);
    if (dueMs > this.#untilMs)
      return Promise.reject(new Error(`Nothing else happened in ${this.#untilMs} ms.`));
    this.#changes++;
    const slept = this.#sleepers.add(dueMs, signal);
    this.#start();
    return slept;
  }

  /** Keeps time from moving while work goes on that the clock cannot see (a real file, a child); call to let go. */
  hold(): () => void {
    this.#holds++;
    let isHeld = true;
    return () => {
      if (isHeld) this.#holds--;
      isHeld = false;
      this.#start();
    };
  }

  #start(): void {
    if (this.#isRunning || this.#holds > 0 || this.#sleepers.count === 0) return;
    this.#isRunning = true;
    let idle = 0;
    let changes = this.#changes;
    const step = (): void => {
      const next = this.#sleepers.first;
      if (!next || this.#holds > 0) {
        this.#isRunning = false;
        return;
      }
      idle = changes === this.#changes ? idle + 1 : 0;
      changes = this.#changes;
      if (idle >= this.#idleTurns) {
        idle = 0;
        this.#changes++;
        this.#elapsedMs = Math.max(this.#elapsedMs, next.dueMs);
        next.wake();
      }
      setImmediate(step);
    };
    setImmediate(step);
  }
}

/** Ids that count. Another `stream` (of a second process, say) gives other ids. */
export class CountingRandom implements Random {
  readonly #stream: number;
  #count = 0;

  constructor(stream = 0) {
    this.#stream = stream;
  }

  uuid(): string {
    const count = this.#next();
    const head = (this.#stream * 0x100000 + count).toString(16).padStart(8, "0").slice(-8);
    const stream = this.#stream.toString(16).padStart(4, "0").slice(-4);
    return `${head}-${stream}-4000-8000-${count.toString(16).padStart(12, "0")}`;
  }

  name(length: number): string {
    const name = `${this.#stream.toString(36)}${this.#next().toString(36).padStart(6, "0")}`;
    if (name.length > length) return name.slice(-length);
    return name.padStart(length, "0");
  }

  #next(): number {
    return ++this.#count;
  }
}

/** Who we are and who lives, where nothing is ever started. */
export interface NoProcessesOptions {
  /** Differences from process 4242 of boot `boot-1` on host `simulated`. */
  self?: Partial<ProcessIdentity>;
  /** By PID. We ourselves are alive; everybody else is dead unless named here. */
  liveness?: ReadonlyMap<number, "alive" | "dead" | "unknown">;
}

/** A system in which no process can be started: a simulated goal has its agent, git and gates as ports. */
export class NoProcesses implements Processes {
  readonly self: ProcessIdentity;
  /** Every spawn id that was to be swept. */
  readonly swept: string[] = [];
  readonly #liveness: ReadonlyMap<number, "alive" | "dead" | "unknown">;

  constructor({ self, liveness }: NoProcessesOptions = {}) {
    this.self = {
      pid: 4242,
      start_time: "1000",
      boot_id: "boot-1",
      pid_namespace: "pid:[1]",
      host: "simulated",
      ...self,
    };
    this.#liveness = liveness ?? new Map();
  }

  liveness(identity: ProcessIdentity): "alive" | "dead" | "unknown" {
    const isSelf = identity.pid === this.self.pid && identity.start_time === this.self.start_time;
    return isSelf ? "alive" : (this.#liveness.get(identity.pid) ?? "dead");
  }

  run(): Promise<RunResult> {
    return Promise.reject(new Error("No process can be run here."));
  }

  spawn(): Child {
    throw new Error("No process can be started here.");
  }

  killAll(): void {
    // Nothing was ever started.
  }

  sweep(spawnIds: readonly string[]): Promise<number> {
    this.swept.push(...spawnIds);
    return Promise.resolve(0);
  }
}

/** What an agent of a test can promise: it asks, and has nothing of its own. */
export const ASKING: EngineCapabilities = {
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
  plans: false,
};
