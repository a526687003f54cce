/** What a turn of an ACP agent has used, put together from the places where agents tell it. */
import { TurnUsageMeta, UsageUpdate, type PromptResult, type TurnUsageReport } from "./acp-messages.ts";
import type { TurnUsage } from "./engine.ts";
import type { UsageSource } from "./presets.ts";

type Tokens = Omit<TurnUsage, "quality" | "cost_usd">;

/** The usage of one session, turn by turn. */
export class AcpUsage {
  readonly #source: UsageSource | undefined;
  /** Of the session, as the agent last said. */
  #costUsd = 0;
  #costAtStartUsd = 0;
  /** How full the context was in this turn, at most. */
  #contextTokens: number | undefined;
  /** What the agent says of this turn so far, or what its log does. */
  #told: TurnUsage | undefined;

  constructor(source: UsageSource | undefined) {
    this.#source = source;
  }

  /** A turn begins. */
  begin(): void {
    this.#costAtStartUsd = this.#costUsd;
    this.#contextTokens = undefined;
    this.#told = undefined;
  }

  /** Takes a `usage_update` in; undefined when it is not shaped like one. */
  takeUpdate(
    update: Record<string, unknown>,
  ): { context_tokens: number; context_size: number; session_cost_usd?: number } | undefined {
    const usage = UsageUpdate.safeParse(update);
    if (!usage.success) return undefined;
    const { used, size, cost, _meta } = usage.data;
    this.#contextTokens = Math.max(this.#contextTokens ?? 0, used);
    const inDollars = cost?.currency === "USD";
    if (inDollars) this.#costUsd = cost.amount;
    const told = TurnUsageMeta.parse(_meta)?.omk?.turn_usage;
    if (told) this.#told = ofReport(told);
    return {
      context_tokens: used,
      context_size: size,
      ...(inDollars ? { session_cost_usd: cost.amount } : {}),
    };
  }

  /** Takes in what a log of the agent says of the turn so far. */
  takeTotals(told: TurnUsage): void {
    this.#told = told;
  }

  /** How full the context is, as far as was told. */
  get contextTokens(): number {
    return this.#contextTokens ?? 0;
  }

  /** What the turn has used by now, where the agent counts; what could only be guessed is left to whoever reads it. */
  get spent(): TurnUsage | undefined {
    return this.#told && this.#current();
  }

  /** What the turn has used, now that its prompt was answered. */
  final(result: PromptResult | undefined): TurnUsage {
    const tokens = result && this.#ofResult(result);
    if (!tokens) return this.#current();
    // The numbers of one call are no turn's; those that were counted on the way are.
    if (tokens.quality === "last_call_only" && this.#told) return this.#current();
    const isTooLittle = tokens.quality === "exact" && totalOf(tokens) < this.contextTokens / 2;
    return { ...tokens, ...(isTooLittle && { quality: "estimated" as const }), ...this.#cost() };
  }

  #current(): TurnUsage {
    const { cost_usd, ...told } = this.#told ?? {
      // How full the context is, is no count of what was spent, but better than nothing for a budget.
      input_tokens: this.contextTokens,
      output_tokens: 0,
      quality: this.#contextTokens === undefined ? ("missing" as const) : ("estimated" as const),
    };
    const own = cost_usd === undefined ? {} : { cost_usd };
    return { ...told, ...own, ...this.#cost() };
  }

  #cost(): { cost_usd?: number } {
    const spent = this.#costUsd - this.#costAtStartUsd;
    return spent > 0 ? { cost_usd: spent } : {};
  }

  #ofResult({ usage, _meta }: PromptResult): TurnUsage | undefined {
    if (usage) {
      const quality = this.#source?.tokens === "prompt_result_last_call" ? "last_call_only" : "exact";
      return { ...normalised(usage, this.#source), quality };
    }
    const counted = _meta?.quota?.token_count;
    if (!counted) return undefined;
    const cached = Math.min(counted.cached_tokens ?? 0, counted.input_tokens);
    return {
      input_tokens: counted.input_tokens - cached,
      output_tokens: counted.output_tokens,
      ...(cached > 0 ? { cache_read_tokens: cached } : {}),
      quality: "exact",
    };
  }
}

/** All that was sent and said, the cache included: never much less than what the context came to hold. */
function totalOf(tokens: Tokens): number {
  const { input_tokens, output_tokens, cache_read_tokens = 0, cache_write_tokens = 0 } = tokens;
  return input_tokens + output_tokens + cache_read_tokens + cache_write_tokens;
}

function ofReport({
  input_tokens,
  output_tokens,
  cache_read_tokens,
  cache_write_tokens,
  cost_usd,
}: TurnUsageReport): TurnUsage {
  return {
    input_tokens,
    output_tokens,
    ...(cache_read_tokens ? { cache_read_tokens } : {}),
    ...(cache_write_tokens ? { cache_write_tokens } : {}),
    ...(typeof cost_usd === "number" ? { cost_usd } : {}),
    quality: "exact",
  };
}

/** Agents differ in what they count as input; where it is not known how, their total tells. */
function normalised(usage: NonNullable<PromptResult["usage"]>, source: UsageSource | undefined): Tokens {
  const read = usage.cachedReadTokens ?? 0;
  const written = usage.cachedWriteTokens ?? 0;
  const thought = usage.thoughtTokens ?? 0;
  const plain = usage.inputTokens + usage.outputTokens;
  const cacheInside =
    source?.inputHoldsCache ??
    (read + written > 0 && (usage.totalTokens === plain || usage.totalTokens === plain + thought));
  const thoughtOutside =
    thought > 0 &&
    (usage.totalTokens === plain + thought || usage.totalTokens === plain + thought + read + written);
  return {
    input_tokens: cacheInside ? Math.max(0, usage.inputTokens - read - written) : usage.inputTokens,
    output_tokens: usage.outputTokens + (thoughtOutside ? thought : 0),
    ...(read > 0 ? { cache_read_tokens: read } : {}),
    ...(written > 0 ? { cache_write_tokens: written } : {}),
  };
}
