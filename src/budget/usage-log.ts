/** Writing down what a turn uses while it runs, so that it stays charged when nobody lives to see its end. */
import type { Usage } from "../format/proof.ts";
import type { Clock } from "../ports.ts";
import type { Reservation, TurnMeter } from "./ledger.ts";

/** Reports come with every call of the model; the log needs one now and then. */
const REPORT_MS_MIN = 2_000;

/** Records the latest usage of one turn: at once, and then at most every two seconds while it changes. */
export class UsageLog {
  readonly #record: (usage: Usage) => Promise<unknown>;
  readonly #clock: Pick<Clock, "sleep">;
  readonly #over = new AbortController();
  #next: Usage | undefined;
  #writing: Promise<void> | undefined;
  #failure: { error: unknown } | undefined;

  constructor(record: (usage: Usage) => Promise<unknown>, ports: { clock: Pick<Clock, "sleep"> }) {
    this.#record = record;
    this.#clock = ports.clock;
  }

  /** Notes the usage so far. Never blocks; throws what made an earlier one impossible to record. */
  take(usage: Usage): void {
    if (this.#failure) throw this.#failure.error;
    this.#next = usage;
    this.#writing ??= this.#write().catch((error: unknown) => {
      this.#failure = { error };
    });
  }

  /** The turn is over: what was noted last is written without waiting. Harmless when called again. */
  close(): void {
    this.#over.abort();
  }

  /** Closes it; resolves when what was noted last is durable, rejects when that is impossible. */
  async flush(): Promise<void> {
    this.close();
    await this.#writing;
    if (this.#failure) throw this.#failure.error;
  }

  async #write(): Promise<void> {
    while (this.#next) {
      const usage = this.#next;
      this.#next = undefined;
      await this.#record(usage);
      // What comes in the meantime waits; a flush ends the waiting, not the writing.
      if (!this.#over.signal.aborted)
        await this.#clock.sleep(REPORT_MS_MIN, this.#over.signal).catch(() => undefined);
    }
    this.#writing = undefined;
  }
}

/** The meter of a turn whose usage is written down as it goes. */
export function loggedMeter(turn: Reservation, log: UsageLog): TurnMeter {
  return {
    over: turn.over,
    take(event) {
      turn.take(event);
      if (event.kind === "usage" && turn.usage) log.take(turn.usage);
    },
  };
}
