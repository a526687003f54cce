/** What a turn has used, put together from everything the agent reports on the way and at its end. */
import type { EngineEvent } from "../engine/engine.ts";
import type { Price } from "../format/config.ts";
import type { Usage } from "../format/proof.ts";
import { costByTable, priceFor, type Pricing } from "./prices.ts";

/** What counts against a budget. */
export interface Cost {
  tokens: number;
  usd: number;
}

/**
 * What a usage counts. Tokens read from a cache are left out: they are the same conversation again with every call, and
 * cost a fraction. Those written to one are new, like other input.
 */
export function costOf(usage: Usage | null): Cost {
  return {
    tokens: (usage?.input_tokens ?? 0) + (usage?.output_tokens ?? 0) + (usage?.cache_write_tokens ?? 0),
    usd: usage?.cost_usd ?? 0,
  };
}

const COUNTS = ["input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"] as const;

/** The running usage of one turn. Reports are running totals, so the largest is the latest. */
export class TurnUsageSoFar {
  readonly #pricing: Pricing;
  #price: Price;
  /** What the agent said that the turn has used. */
  #told: Usage | undefined;
  /** How full its context was, at most: every one of these tokens was sent once. */
  #contextTokens = 0;
  #costUsd = 0;

  /** `before` is what was recorded of the turn already. */
  constructor(pricing: Pricing, before: Usage | null = null) {
    this.#pricing = pricing;
    this.#price = priceFor(pricing, null);
    if (before) this.#told = before;
    if (before?.cost_source === "reported") this.#costUsd = before.cost_usd ?? 0;
  }

  /** Takes in one event; true when the turn may have used more than before. */
  take(event: EngineEvent): boolean {
    if (event.kind === "session-started") this.#price = priceFor(this.#pricing, event.agent);
    if (event.kind !== "usage") return false;
    if (event.spent) this.#told = largest(this.#told, event.spent);
    this.#contextTokens = Math.max(this.#contextTokens, event.context_tokens);
    // An agent that knows no price says 0: that is no report. Every turn has a session of its own.
    this.#costUsd = Math.max(this.#costUsd, event.session_cost_usd ?? 0, event.spent?.cost_usd ?? 0);
    return true;
  }

  /** What is known by now; null when nothing is. */
  get current(): Usage | null {
    if (this.#told) return this.#priced(this.#told);
    if (this.#contextTokens === 0 && this.#costUsd === 0) return null;
    const quality = this.#contextTokens > 0 ? "estimated" : "missing";
    return this.#priced({ input_tokens: this.#contextTokens, output_tokens: 0, quality });
  }

  /**
   * The turn's usage with the report at its end. `exact` numbers replace what was only derived from the context;
   * `atLeast` keeps everything that was charged on the way, for a turn that was stopped because of it.
   */
  final(usage: Usage | null, atLeast: boolean): Usage | null {
    const cost = usage?.cost_usd ?? 0;
    this.#costUsd = Math.max(this.#costUsd, cost);
    const isGuess = usage?.quality === "missing" || (usage?.quality === "estimated" && this.#told);
    const told = usage && !isGuess ? largest(this.#told, usage) : this.#told;
    const isKnown = told?.quality === "exact" && !atLeast;
    if (isKnown) return this.#priced(told);
    const derived: Usage = { input_tokens: this.#contextTokens, output_tokens: 0, quality: "estimated" };
    if (this.#contextTokens > 0 && costOf(told ?? null).tokens < this.#contextTokens)
      return this.#priced(told ? { ...largest(told, derived), quality: "estimated" } : derived);
    if (told) return this.#priced(told);
    if (usage === null && this.#costUsd === 0) return null;
    return this.#priced(usage ?? MISSING);
  }

  #priced(usage: Usage): Usage {
    const { cost_usd: _cost, cost_source: _source, ...tokens } = usage;
    if (this.#costUsd > 0) return { ...tokens, cost_usd: this.#costUsd, cost_source: "reported" };
    const priced = costByTable(tokens, this.#price);
    return priced > 0 ? { ...tokens, cost_usd: priced, cost_source: "priced" } : tokens;
  }
}

const MISSING: Usage = { input_tokens: 0, output_tokens: 0, quality: "missing" };

/** Each count at its largest; the quality of the one that counts more. */
function largest(one: Usage | undefined, other: Usage): Usage {
  if (!one) return other;
  const more = costOf(other).tokens >= costOf(one).tokens ? other : one;
  const counts = COUNTS.map((name) => [name, Math.max(one[name] ?? 0, other[name] ?? 0)] as const);
  return { ...more, ...Object.fromEntries(counts.filter(([name, value]) => value > 0 || more[name] === 0)) };
}
