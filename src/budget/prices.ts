/** What tokens cost where nobody reports it: a table that `[prices]` of the configuration extends and overrides. */
import type { Price } from "../format/config.ts";
import type { Usage } from "../format/proof.ts";

/**
 * US dollars for a million tokens. A name fits every model, agent or engine whose own name contains it. The numbers are
 * those of 0.5.0 and meant as a guard: where an agent reports its cost, that counts.
 */
export const PRICES: Readonly<Record<string, Price>> = {
  default: { input: 2, output: 8 },
  gemini: { input: 0.5, output: 2 },
  haiku: { input: 0.5, output: 2 },
  codex: { input: 6, output: 24 },
};

const MILLION = 1_000_000;

/** What prices are looked up with. */
export interface Pricing {
  /** The user's own table. */
  own: Readonly<Record<string, Price>>;
  /** The engine, as it was asked for. */
  engine: string | null;
}

/** Pricing with the built-in table alone. */
export const BUILT_IN_PRICING: Pricing = { own: {}, engine: null };

/** The price for an engine whose agent calls itself so. A command line is no name: it may hold anybody's path. */
export function priceFor({ own, engine }: Pricing, agent: string | null): Price {
  const names = [agent, engine].filter((name) => name !== null && !/[:/\\]/.test(name));
  return priceOf(names as string[], own);
}

/**
 * The price for the first of these names that has one: the user's own entries before the built-in ones, a whole name
 * before the longest that it contains, `default` when none fits.
 */
export function priceOf(names: readonly string[], own: Readonly<Record<string, Price>>): Price {
  for (const table of [own, PRICES]) {
    for (const name of names) {
      const price = lookUp(name.toLowerCase(), table);
      if (price) return price;
    }
    // The user's default is for everything that the user has not named.
    const fallback = table["default"];
    if (table === own && fallback) return fallback;
  }
  return PRICES["default"] as Price;
}

function lookUp(name: string, table: Readonly<Record<string, Price>>): Price | undefined {
  const fitting = Object.entries(table)
    .filter(([key]) => key !== "" && key !== "default" && name.includes(key.toLowerCase()))
    .toSorted(([a], [b]) => b.length - a.length);
  return fitting[0]?.[1];
}

/** What a turn's tokens cost. Tokens of a cache cost as much as fresh ones unless the table says otherwise. */
export function costByTable(usage: Usage, price: Price): number {
  const { input_tokens, output_tokens, cache_read_tokens = 0, cache_write_tokens = 0 } = usage;
  return (
    (input_tokens * price.input +
      output_tokens * price.output +
      cache_read_tokens * (price.cache_read ?? price.input) +
      cache_write_tokens * (price.cache_write ?? price.input)) /
    MILLION
  );
}
