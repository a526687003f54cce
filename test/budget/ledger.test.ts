import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { Ledger, type Reservation } from "../../src/budget/ledger.ts";
import { exhausted, type BudgetLimits } from "../../src/budget/limits.ts";
import { BUILT_IN_PRICING } from "../../src/budget/prices.ts";
import { costOf } from "../../src/budget/usage.ts";
import type { EngineEvent, TurnUsage } from "../../src/engine/engine.ts";
import { ManualClock } from "../support/fakes.ts";

const NOTHING = { activeMs: 0, tokens: 0, usd: 0 };
const UNLIMITED: BudgetLimits = { ms: Infinity, tokens: Infinity, usd: Infinity };

function ledgerWith(limits: Partial<BudgetLimits>, before = NOTHING): Ledger {
  const all = { ...UNLIMITED, ...limits };
  return new Ledger(() => all, before, BUILT_IN_PRICING, { clock: new ManualClock() });
}

function report(spent: Partial<TurnUsage>): EngineEvent {
  return {
    kind: "usage",
    at: "2026-01-01T00:00:00Z",
    session: "one",
    sequence: 1,
    context_tokens: 0,
    context_size: 200_000,
    spent: { input_tokens: 0, output_tokens: 0, quality: "exact", ...spent },
  };
}

const usage = (input_tokens: number, quality: TurnUsage["quality"] = "exact"): TurnUsage => ({
  input_tokens,
  output_tokens: 0,
  quality,
});

const isStopped = (turn: Reservation | undefined): boolean => turn?.over.signal.aborted === true;

describe("a reservation", () => {
  test("is an equal share of what nobody has set aside", () => {
    const ledger = ledgerWith({ tokens: 100, usd: 3 });
    expect(ledger.reserve(3)?.share).toEqual({ tokens: 34, usd: 1 });
    expect(ledger.reserve(2)?.share).toEqual({ tokens: 33, usd: 1 });
    expect(ledger.reserve(1)?.share).toEqual({ tokens: 33, usd: 1 });
    expect(ledger.reserve(1)).toBeUndefined();
  });

  test("may be passed while the whole is not spent, and then all turns are stopped", () => {
    const ledger = ledgerWith({ tokens: 100 });
    const [one, other] = [ledger.reserve(2), ledger.reserve(1)];
    one?.take(report({ input_tokens: 90 }));
    expect([isStopped(one), isStopped(other)]).toEqual([false, false]);
    other?.take(report({ output_tokens: 12 }));
    expect([isStopped(one), isStopped(other)]).toEqual([true, true]);
    expect(ledger.exhausted()).toMatchObject({ code: "budget_tokens", reason: "102 of 100 tokens used" });
    expect(one?.stoppedBy).toBe("tokens");
  });

  test("gives back what its turn did not use", () => {
    const ledger = ledgerWith({ tokens: 100 });
    const one = ledger.reserve(1);
    expect(ledger.reserve(1)).toBeUndefined();
    one?.settle(usage(40));
    expect(ledger.reserve(1)?.share.tokens).toBe(60);
  });

  test("that was never begun costs nothing, and one that died costs what it had reported", () => {
    const ledger = ledgerWith({ tokens: 100 });
    ledger.reserve(1)?.release();
    const died = ledger.reserve(1);
    died?.take(report({ input_tokens: 30 }));
    died?.release();
    died?.settle(usage(80));
    expect(ledger.spent.tokens).toBe(30);
  });

  test("keeps what was told on the way when the last word says less", () => {
    const ledger = ledgerWith({});
    const turn = ledger.reserve(1);
    turn?.take(report({ input_tokens: 500, output_tokens: 20 }));
    expect(turn?.settle({ input_tokens: 0, output_tokens: 0, quality: "missing" })).toMatchObject({
      input_tokens: 500,
      output_tokens: 20,
      quality: "exact",
    });
    expect(ledger.spent.tokens).toBe(520);
  });

  test("takes the context as a lower bound until something exact is said", () => {
    const ledger = ledgerWith({ tokens: 1_000 });
    const turn = ledger.reserve(1);
    const { spent: _spent, ...context } = report({}) as Extract<EngineEvent, { kind: "usage" }>;
    turn?.take({ ...context, context_tokens: 300 });
    turn?.take({ ...context, context_tokens: 200 });
    expect(ledger.spent.tokens).toBe(300);
    turn?.settle(usage(120));
    expect(ledger.spent.tokens).toBe(120);
  });

  test("that was stopped is charged with what stopped it, whatever is said afterwards", () => {
    const ledger = ledgerWith({ tokens: 1_000 });
    const turn = ledger.reserve(1);
    const { spent: _spent, ...context } = report({}) as Extract<EngineEvent, { kind: "usage" }>;
    turn?.take({ ...context, context_tokens: 1_200 });
    expect(isStopped(turn)).toBe(true);
    turn?.settle(usage(100));
    expect(ledger.exhausted()?.source).toBe("tokens");
  });

  test("follows the cost that the agent reports, and else the price of its tokens", () => {
    const ledger = ledgerWith({ usd: 1 });
    const turn = ledger.reserve(1);
    turn?.take(report({ input_tokens: 100_000, output_tokens: 10_000 }));
    expect(turn?.usage).toMatchObject({ cost_usd: 0.28, cost_source: "priced" });
    turn?.take(report({ input_tokens: 100_000, output_tokens: 10_000, cost_usd: 0.5 }));
    expect(turn?.usage).toMatchObject({ cost_usd: 0.5, cost_source: "reported" });
    expect(isStopped(turn)).toBe(false);
    turn?.take(report({ input_tokens: 100_000, output_tokens: 10_000, cost_usd: 1 }));
    expect(turn?.stoppedBy).toBe("cost");
  });
});

describe("a ledger", () => {
  test("has nothing to give when its time is over", async () => {
    const clock = new ManualClock();
    const ledger = new Ledger(() => ({ ...UNLIMITED, ms: 1_000 }), NOTHING, BUILT_IN_PRICING, { clock });
    await clock.advance(1_000);
    expect(ledger.reserve(1)).toBeUndefined();
    expect(ledger.exhausted()).toMatchObject({ source: "time", reason: "1s of 1s used" });
  });

  test("charges a turn of an earlier controller only with what the log did not have", () => {
    const before = { ...usage(70), cost_usd: 0.00014, cost_source: "priced" as const };
    const ledger = ledgerWith({ tokens: 100 }, { ...NOTHING, tokens: 70, usd: 0.00014 });
    expect(ledger.charge(usage(90), before)).toMatchObject({ input_tokens: 90 });
    expect(ledger.spent.tokens).toBe(90);
    expect(ledger.spent.usd).toBeCloseTo(0.00018, 12);
  });

  test("finds dollars used up although sums of fractions are not exact", () => {
    const ledger = ledgerWith({ usd: 0.3 }, { ...NOTHING, usd: 0.1 + 0.1 + 0.1 - 1e-16 });
    expect(ledger.exhausted()?.source).toBe("cost");
    expect(ledger.reserve(1)).toBeUndefined();
  });
});

/** What may happen to one of some turns. */
const Step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("report" as const),
      turn: fc.nat(7),
      more: fc.integer({ min: 0, max: 60 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("reserve" as const), turn: fc.nat(7), more: fc.constant(0) }),
  },
  fc.record({ do: fc.constant("settle" as const), turn: fc.nat(7), more: fc.integer({ min: 0, max: 60 }) }),
  fc.record({ do: fc.constant("release" as const), turn: fc.nat(7), more: fc.constant(0) }),
);

test("no interleaving of turns loses or doubles a charge, or passes the limit by more than a report of each", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.nat(100),
      fc.array(Step, { maxLength: 60 }),
      (limit, before, steps) => {
        const ledger = ledgerWith({ tokens: limit }, { ...NOTHING, tokens: before });
        const running = new Map<number, { turn: Reservation; told: number }>();
        let charged = before;
        /** Beyond the limit, by turns that told something after it was reached or while reaching it. */
        let passed = Math.max(0, before - limit);
        for (const step of steps) {
          const one = running.get(step.turn);
          const total = (): number => [...running.values()].reduce((sum, { told }) => sum + told, charged);
          if (step.do === "reserve" && !one) {
            const turn = ledger.reserve(8 - running.size);
            // Refused exactly when nothing is left that is not set aside.
            const setAside = [...running.values()].reduce(
              (sum, { turn: other, told }) => sum + Math.max(other.share.tokens, told),
              charged,
            );
            expect(turn === undefined).toBe(limit - setAside <= 0);
            if (turn) {
              expect(turn.share.tokens).toBeLessThanOrEqual(limit - setAside);
              expect(turn.share.tokens).toBeGreaterThan(0);
              running.set(step.turn, { turn, told: 0 });
            }
          } else if (step.do === "report" && one && !isStopped(one.turn)) {
            const left = Math.max(0, limit - total());
            one.told += step.more;
            one.turn.take(report({ input_tokens: one.told }));
            passed += Math.max(0, step.more - left);
          } else if (step.do === "settle" && one) {
            const left = Math.max(0, limit - total());
            one.told += step.more;
            passed += Math.max(0, step.more - left);
            running.delete(step.turn);
            charged += one.told;
            expect(costOf(one.turn.settle(usage(one.told))).tokens).toBe(one.told);
            // Told twice: nothing happens.
            one.turn.settle(usage(one.told));
            one.turn.release();
          } else if (step.do === "release" && one) {
            one.turn.release();
            running.delete(step.turn);
            charged += one.told;
          }
          expect(ledger.spent.tokens).toBe(total());
          expect(ledger.running).toBe(running.size);
          // Whoever runs when the whole is spent is told to stop, and nobody before.
          const isSpent = total() >= limit;
          for (const { turn } of running.values()) expect(isStopped(turn)).toBe(isSpent);
          expect(total() - Math.max(limit, 0)).toBeLessThanOrEqual(passed);
        }
        for (const { turn } of running.values()) turn.release();
        expect(ledger.reserve(1) === undefined).toBe(
          exhausted({ ...UNLIMITED, tokens: limit }, ledger.spent) !== undefined,
        );
      },
    ),
    { numRuns: 500 },
  );
});
