/** What a goal or a run may still spend: set aside before a turn, followed while it runs, settled after it. */
import type { EngineEvent } from "../engine/engine.ts";
import type { TurnStop } from "../engine/turn.ts";
import type { Usage } from "../format/proof.ts";
import type { Clock, Disk } from "../ports.ts";
import { usageInTranscript } from "./lost-usage.ts";
import type { Pricing } from "./prices.ts";
import { DUST, exhausted, limitReached, type BudgetLimits, type Exhausted, type Spent } from "./limits.ts";
import { costOf, TurnUsageSoFar, type Cost } from "./usage.ts";

/** One turn's part of the budget. */
export interface TurnMeter {
  /** Called with each event of the turn, in order. */
  take(event: EngineEvent): void;
  /** Fires when the turn has reached its ceiling. */
  over: TurnStop;
}

const COUNTED = ["tokens", "usd"] as const;

/**
 * The one account of a goal or a run. A turn begins with a part set aside for it, so that no more turns begin than can be
 * paid for. It may use more than its part as long as the whole is not spent; when it is, every running turn is stopped: so
 * the limit is passed by no more than one report of each. Everything is synchronous: no two turns get the same part.
 */
export class Ledger {
  readonly #limits: () => BudgetLimits;
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #pricing: Pricing;
  readonly #startedMs: number;
  readonly #beforeMs: number;
  readonly #settled: Cost;
  readonly #open = new Set<Reservation>();

  /** `limits` are asked for again each time: a budget may be extended while a turn runs. */
  constructor(
    limits: () => BudgetLimits,
    before: Spent,
    pricing: Pricing,
    ports: { clock: Pick<Clock, "monotonicMs"> },
  ) {
    this.#limits = limits;
    this.#clock = ports.clock;
    this.#pricing = pricing;
    this.#startedMs = ports.clock.monotonicMs();
    this.#beforeMs = before.activeMs;
    this.#settled = { tokens: before.tokens, usd: before.usd };
  }

  /** Time at work, in all. */
  get activeMs(): number {
    return this.#beforeMs + this.#clock.monotonicMs() - this.#startedMs;
  }

  /** What was spent, running turns included as far as they have reported. */
  get spent(): Spent {
    const sum = { activeMs: this.activeMs, ...this.#settled };
    for (const { used } of this.#open) for (const what of COUNTED) sum[what] += used[what];
    return sum;
  }

  /** Time that is left; Infinity without a limit. */
  leftMs(): number {
    return Math.max(0, this.#limits().ms - this.activeMs);
  }

  /** Turns that are under way. */
  get running(): number {
    return this.#open.size;
  }

  /** Which limit is reached. */
  exhausted(): Exhausted | undefined {
    return exhausted(this.#limits(), this.spent);
  }

  /** How far one limit is used, as a reason to stop. */
  reached(source: Exhausted["source"]): Exhausted {
    return limitReached(source, this.#limits(), this.spent);
  }

  /**
   * Sets a turn's part aside: an equal share of what is left for so many turns, this one included. Undefined when nothing is
   * left that running turns have not set aside: try again when one of them has ended.
   */
  reserve(sharers: number): Reservation | undefined {
    if (this.leftMs() <= 0) return undefined;
    const rest = { tokens: this.#rest("tokens"), usd: this.#rest("usd") };
    if (rest.tokens <= 0 || rest.usd <= 0) return undefined;
    const parts = Math.max(1, sharers);
    const share = { tokens: Math.min(rest.tokens, Math.ceil(rest.tokens / parts)), usd: rest.usd / parts };
    const reservation = new Reservation(share, this.#pricing, {
      used: () => this.#check(),
      close: (turn, cost) => this.#close(turn, cost),
    });
    this.#open.add(reservation);
    return reservation;
  }

  /**
   * Charges a turn that an earlier controller began, beyond what it was charged with already; answers what it cost in all.
   */
  charge(usage: Usage | null, before: Usage | null): Usage | null {
    const whole = new TurnUsageSoFar(this.#pricing, before).final(usage, true);
    this.#addTo(before, whole);
    return whole;
  }

  /** The same for a turn whose end nobody reported: what its transcript tells. */
  chargeLost(transcript: string, before: Usage | null, ports: { disk: Disk }): Usage | null {
    const whole = usageInTranscript(transcript, before, this.#pricing, ports);
    this.#addTo(before, whole);
    return whole;
  }

  /** Charges what a turn cost beyond what it was charged with when this account began. */
  #addTo(before: Usage | null, whole: Usage | null): void {
    const [cost, known] = [costOf(whole), costOf(before)];
    for (const what of COUNTED) this.#settled[what] += Math.max(0, cost[what] - known[what]);
    this.#check();
  }

  /** What no running turn has set aside. Summed up anew each time: sums of fractions drift. */
  #rest(what: keyof Cost): number {
    const limit = this.#limits()[what];
    if (limit === Infinity) return Infinity;
    let rest = limit - this.#settled[what];
    for (const { share, used } of this.#open) rest -= Math.max(share[what], used[what]);
    return rest < DUST ? Math.min(rest, 0) : rest;
  }

  /** When the whole is spent, no turn has a next step that could be paid for. */
  #check(): void {
    const source = this.exhausted()?.source;
    if (source) for (const turn of this.#open) turn.stop(source);
  }

  #close(turn: Reservation, cost: Cost): void {
    if (!this.#open.delete(turn)) return;
    for (const what of COUNTED) this.#settled[what] += cost[what];
    this.#check();
  }
}

/** What a reservation needs of its ledger. */
interface Account {
  used(): void;
  close(turn: Reservation, cost: Cost): void;
}

/** What one turn has set aside, and what it has used of it so far. */
export class Reservation implements TurnMeter {
  readonly share: Readonly<Cost>;
  readonly #account: Account;
  readonly #usage: TurnUsageSoFar;
  readonly #over = new AbortController();
  readonly over: TurnStop;
  #used: Cost = { tokens: 0, usd: 0 };
  #stoppedBy: Exhausted["source"] | undefined;
  #isClosed = false;

  constructor(share: Cost, pricing: Pricing, account: Account) {
    this.share = share;
    this.#account = account;
    this.#usage = new TurnUsageSoFar(pricing);
    this.over = { signal: this.#over.signal, status: "over_budget" };
  }

  /** What it has used so far, as far as reported. */
  get used(): Readonly<Cost> {
    return this.#used;
  }

  /** The same in full; null when nothing was reported. */
  get usage(): Usage | null {
    return this.#usage.current;
  }

  /** Which limit stopped it; undefined when none did. */
  get stoppedBy(): Exhausted["source"] | undefined {
    return this.#stoppedBy;
  }

  take(event: EngineEvent): void {
    if (this.#isClosed || !this.#usage.take(event)) return;
    this.#used = costOf(this.#usage.current);
    this.#account.used();
  }

  /** Stops the turn: it has reached a limit. */
  stop(source: Exhausted["source"]): void {
    this.#stoppedBy ??= source;
    this.#over.abort();
  }

  /** Charges the turn with the report at its end, and gives back what it did not use; answers what was charged. */
  settle(usage: Usage | null): Usage | null {
    const final = this.#usage.final(usage, this.#over.signal.aborted);
    this.#end(costOf(final));
    return final;
  }

  /** Gives back what was set aside and not used: for a turn that never ended, or never began. Harmless after `settle`. */
  release(): void {
    this.#end(this.#used);
  }

  #end(cost: Cost): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#account.close(this, cost);
  }
}
