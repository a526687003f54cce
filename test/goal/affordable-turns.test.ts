/** How many turns side by side a budget may still pay for. */
import { expect, test } from "vitest";

import type { Goal } from "../../src/format/goal.ts";
import type { Work } from "../../src/format/work.ts";
import { affordableTurns } from "../../src/goal/budget.ts";
import { scaffoldWork } from "../../src/goal/scaffold.ts";

function turns(
  limits: { tokens?: number; usd?: number },
  costs: readonly { tokens: number; usd: number }[],
): number {
  const goal = { budget_tokens: limits.tokens, budget_usd: limits.usd } as unknown as Goal;
  const attempts = costs.map(({ tokens, usd }) => ({
    usage: {
      input_tokens: tokens,
      output_tokens: 0,
      cost_usd: usd,
      cost_source: "reported",
      quality: "exact",
    },
  }));
  return affordableTurns(goal, { ...scaffoldWork(), attempts } as unknown as Work);
}

test("without a limit, or before any turn has cost something, nothing keeps turns from beginning", () => {
  expect(turns({}, [{ tokens: 100, usd: 1 }])).toBe(Infinity);
  expect(turns({ tokens: 10 }, [])).toBe(Infinity);
});

test("as many begin as what is left has paid for so far, the scarcer of tokens and dollars deciding", () => {
  const four = Array.from({ length: 4 }, () => ({ tokens: 2_000, usd: 0.5 }));
  expect(turns({ tokens: 16_000 }, four)).toBe(4);
  expect(turns({ tokens: 11_000 }, four)).toBe(1);
  expect(turns({ tokens: 16_000, usd: 3 }, four)).toBe(2);
});

test("one begins always: whether the budget is used up is decided elsewhere", () => {
  expect(turns({ tokens: 100 }, [{ tokens: 5_000, usd: 0 }])).toBe(1);
});
