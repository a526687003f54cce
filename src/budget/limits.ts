/** What may be spent and when that is used up: pure, and so light that commands which must answer at once ask it. */
import type { Cost } from "./usage.ts";

/** The limits of a goal or a run; Infinity where none was set. */
export interface BudgetLimits extends Cost {
  /** Time at work. */
  ms: number;
}

/** What was spent; time counts while there is work, not while it rests. */
export interface Spent extends Cost {
  activeMs: number;
}

/** A limit that is reached. */
export interface Exhausted {
  source: "time" | "tokens" | "cost";
  code: "budget_time" | "budget_tokens" | "budget_cost";
  /** How much of how much, e.g. `120 of 100 tokens used`. */
  reason: string;
}

/** Less than this is nothing: sums of dollars are not exact. */
export const DUST = 1e-9;

/** Which limit is reached, in the order in which they are reported; undefined while work may go on. */
export function exhausted(limits: BudgetLimits, spent: Spent): Exhausted | undefined {
  const source =
    spent.activeMs >= limits.ms
      ? "time"
      : limits.tokens - spent.tokens < DUST
        ? "tokens"
        : limits.usd - spent.usd < DUST
          ? "cost"
          : undefined;
  return source && limitReached(source, limits, spent);
}

/** A limit as it is reached, with how much of it is used. */
export function limitReached(source: Exhausted["source"], limits: BudgetLimits, spent: Spent): Exhausted {
  const used = {
    time: `${seconds(spent.activeMs)}s of ${seconds(limits.ms)}s`,
    tokens: `${spent.tokens} of ${limits.tokens} tokens`,
    cost: `$${spent.usd.toFixed(6)} of $${limits.usd}`,
  };
  return { source, code: `budget_${source}`, reason: `${used[source]} used` };
}

function seconds(ms: number): number {
  return Math.round(ms / 1_000);
}
