import { expect, test } from "vitest";

import { costByTable, priceFor, priceOf, PRICES } from "../../src/budget/prices.ts";

const own = {
  "big-model": { input: 10, output: 30 },
  big: { input: 1, output: 3 },
  default: { input: 5, output: 5 },
};

test("a price is the user's own before the built-in one, and the longest name that fits", () => {
  expect(priceOf(["the-big-model-2"], own)).toEqual(own["big-model"]);
  expect(priceOf(["a-BIG-one"], own)).toEqual(own.big);
  expect(priceOf(["gemini"], own)).toEqual(own.default);
  expect(priceOf(["gemini-cli"], {})).toEqual(PRICES["gemini"]);
  expect(priceOf(["something"], {})).toEqual(PRICES["default"]);
  expect(priceOf([], { free: { input: 0, output: 0 } })).toEqual(PRICES["default"]);
});

test("an engine is priced by what its agent calls itself, never by words in a command line", () => {
  expect(priceFor({ own: {}, engine: "acp:/home/codex/agent" }, null)).toEqual(PRICES["default"]);
  expect(priceFor({ own: {}, engine: "acp:/home/codex/agent" }, "gemini-cli")).toEqual(PRICES["gemini"]);
  expect(priceFor({ own: {}, engine: "codex" }, null)).toEqual(PRICES["codex"]);
});

test("tokens of a cache cost what fresh ones cost, unless the table says otherwise", () => {
  const usage = {
    input_tokens: 1_000_000,
    output_tokens: 500_000,
    cache_read_tokens: 2_000_000,
    cache_write_tokens: 1_000_000,
    quality: "exact" as const,
  };
  expect(costByTable(usage, { input: 2, output: 8 })).toBe(12);
  expect(costByTable(usage, { input: 2, output: 8, cache_read: 0.1, cache_write: 3 })).toBeCloseTo(9.2, 9);
});
