/** What a run may still spend. Time counts while the run works, not while it rests. */
import type { Usage } from "../format/proof.ts";
import type { TeamWork } from "../format/team-work.ts";
import type { Clock } from "../ports.ts";

/** Why workers stopped before all tasks had ended. */
export type Stop = {
  code: string;
  reason: string;
};

/** The limits of a run; Infinity where none was set. */
export interface BudgetLimits {
  ms: number;
  tokens: number;
  usd: number;
}

/** What a run has spent, counted on while it works. */
export class RunBudget {
  readonly #limits: BudgetLimits;
  readonly #clock: Clock;
  readonly #startedMs: number;
  readonly #before: number;
  #tokens: number;
  #usd: number;

  constructor(limits: BudgetLimits, before: { activeMs: number; tokens: number; usd: number }, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
    this.#startedMs = clock.monotonicMs();
    this.#before = before.activeMs;
    this.#tokens = before.tokens;
    this.#usd = before.usd;
  }

  /** Time at work, in all. */
  get activeMs(): number {
    return this.#before + this.#clock.monotonicMs() - this.#startedMs;
  }

  get spent(): { tokens: number; usd: number } {
    return { tokens: this.#tokens, usd: this.#usd };
  }

  /** Time that is left; Infinity without a limit. */
  leftMs(): number {
    return Math.max(0, this.#limits.ms - this.activeMs);
  }

  /** Charges what a turn reported. */
  settle(usage: Usage | null): void {
    const { tokens, usd } = costOf(usage);
    this.#tokens += tokens;
    this.#usd += usd;
  }

  /** Which limit is reached, as the reason to stop; undefined while work may go on. */
  exhausted(): Stop | undefined {
    const { ms, tokens, usd } = this.#limits;
    if (this.leftMs() <= 0)
      return { code: "budget_time", reason: `${seconds(this.activeMs)}s of ${seconds(ms)}s used` };
    if (this.#tokens >= tokens)
      return { code: "budget_tokens", reason: `${this.#tokens} of ${tokens} tokens used` };
    if (this.#usd >= usd) return { code: "budget_cost", reason: `$${this.#usd.toFixed(6)} of $${usd} used` };
    return undefined;
  }
}

/** What a turn cost, as far as it was reported. */
export function costOf(usage: Usage | null): { tokens: number; usd: number } {
  return {
    tokens: (usage?.input_tokens ?? 0) + (usage?.output_tokens ?? 0),
    usd: usage?.cost_usd ?? 0,
  };
}

/** What the turns of a run have cost so far, interrupted ones included. */
export function costSoFar(
  work: TeamWork,
  attempts: readonly { usage: Usage | null }[],
): { tokens: number; usd: number } {
  const sum = { ...work.helper_usage };
  for (const { usage } of attempts) {
    const { tokens, usd } = costOf(usage);
    sum.tokens += tokens;
    sum.usd += usd;
  }
  return sum;
}

function seconds(ms: number): number {
  return Math.round(ms / 1_000);
}
