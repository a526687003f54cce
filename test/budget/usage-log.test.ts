import { expect, test } from "vitest";

import { Ledger } from "../../src/budget/ledger.ts";
import { BUILT_IN_PRICING } from "../../src/budget/prices.ts";
import { loggedMeter, UsageLog } from "../../src/budget/usage-log.ts";
import type { EngineEvent } from "../../src/engine/engine.ts";
import type { Usage } from "../../src/format/proof.ts";
import { ManualClock } from "../support/fakes.ts";

const usage = (input_tokens: number): Usage => ({ input_tokens, output_tokens: 0, quality: "exact" });
const LATER = { atOnce: false };

test("writes the first usage at once, then the latest every two seconds, and the last one at the end", async () => {
  const clock = new ManualClock();
  const written: number[] = [];
  const log = new UsageLog((one) => Promise.resolve(written.push(one.input_tokens)), { clock });
  for (const tokens of [1, 2, 3]) log.take(usage(tokens), LATER);
  await clock.someoneSleeps();
  await clock.advance(1_999);
  expect(written).toEqual([1]);
  log.take(usage(4), LATER);
  log.take(usage(5), LATER);
  await clock.advance(1);
  log.take(usage(6), LATER);
  await log.flush();
  expect(written).toEqual([1, 5, 6]);
});

test("tells what kept it from writing at the next report, and at the end", async () => {
  const clock = new ManualClock();
  const log = new UsageLog(() => Promise.reject(new Error("the disk is full")), { clock });
  log.take(usage(1), LATER);
  await expect(log.flush()).rejects.toThrow("the disk is full");
  expect(() => log.take(usage(2), LATER)).toThrow("the disk is full");
});

test("writes a report at once that uses up much of what was set aside for the turn", async () => {
  const clock = new ManualClock();
  const written: number[] = [];
  const log = new UsageLog((one) => Promise.resolve(written.push(one.input_tokens)), { clock });
  const limits = { tokens: 1_000, usd: Infinity, ms: Infinity };
  const before = { tokens: 0, usd: 0, activeMs: 0 };
  const turn = new Ledger(() => limits, before, BUILT_IN_PRICING, { clock }).reserve(1);
  if (!turn) throw new Error("Nothing was left.");
  const meter = loggedMeter(turn, log);
  const report = async (input_tokens: number): Promise<void> => {
    const spent = { input_tokens, output_tokens: 0, quality: "exact" };
    const body = { kind: "usage", context_tokens: 0, context_size: 0, spent };
    meter.take({ at: "", session: null, sequence: 1, ...body } as EngineEvent);
    await clock.someoneSleeps();
  };
  for (const tokens of [10, 50, 60, 61, 110, 111, 900]) await report(tokens);
  // 10 came first; 60 and 111 are 50 more than what was written for being much before them, 900 is much more.
  expect(written).toEqual([10, 60, 111, 900]);
  await log.flush();
});
