/** Writing down what a turn uses while it runs, so that it stays charged when nobody lives to see its end. */
import type { Usage } from "../format/proof.ts";
import type { Clock } from "../ports.ts";
import type { Reservation, TurnMeter } from "./ledger.ts";
import type { Cost } from "./usage.ts";

/** Reports come with every call of the model; the log needs one now and then. */
const REPORT_MS_MIN = 2_000;
/** A report that uses up so much of what was set aside for the turn is written at once. */
const LARGE_PART = 0.05;

/** Records the latest usage of one turn: at once, and then every two seconds while it changes, or when much has changed. */
export class UsageLog {
  readonly #record: (usage: Usage) => Promise<unknown>;
  readonly #clock: Pick<Clock, "sleep">;
  readonly #over = new AbortController();
  #hurry = new AbortController();
  #next: Usage | undefined;
  #writing: Promise<void> | undefined;
  #failure: { error: unknown } | undefined;

  constructor(record: (usage: Usage) => Promise<unknown>, ports: { clock: Pick<Clock, "sleep"> }) {
    this.#record = record;
    this.#clock = ports.clock;
  }

  /** Notes the usage so far. Never blocks; throws what made an earlier one impossible to record. */
  take(usage: Usage, { atOnce }: { atOnce: boolean }): void {
    if (this.#failure) throw this.#failure.error;
    this.#next = usage;
    if (atOnce) this.#hurry.abort();
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
      this.#hurry = new AbortController();
      const early = AbortSignal.any([this.#over.signal, this.#hurry.signal]);
      await this.#record(usage);
      // What comes in the meantime waits; a flush ends the waiting, not the writing.
      if (!early.aborted) await this.#clock.sleep(REPORT_MS_MIN, early).catch(() => undefined);
    }
    this.#writing = undefined;
  }
}

/** The meter of a turn whose usage is written down as it goes. */
export function loggedMeter(turn: Reservation, log: UsageLog): TurnMeter {
  let written: Cost = { tokens: 0, usd: 0 };
  const isMuch = (what: keyof Cost): boolean =>
    turn.used[what] - written[what] > turn.share[what] * LARGE_PART;
  return {
    over: turn.over,
    take(event) {
      turn.take(event);
      if (event.kind !== "usage" || !turn.usage) return;
      const atOnce = isMuch("tokens") || isMuch("usd");
      if (atOnce) written = turn.used;
      log.take(turn.usage, { atOnce });
    },
  };
}
