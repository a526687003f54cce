import { expect, test } from "vitest";

import { UsageLog } from "../../src/budget/usage-log.ts";
import type { Usage } from "../../src/format/proof.ts";
import { ManualClock } from "../support/fakes.ts";

const usage = (input_tokens: number): Usage => ({ input_tokens, output_tokens: 0, quality: "exact" });

test("writes the first usage at once, then the latest every two seconds, and the last one at the end", async () => {
  const clock = new ManualClock();
  const written: number[] = [];
  const log = new UsageLog((one) => Promise.resolve(written.push(one.input_tokens)), { clock });
  for (const tokens of [1, 2, 3]) log.take(usage(tokens));
  await clock.someoneSleeps();
  await clock.advance(1_999);
  expect(written).toEqual([1]);
  log.take(usage(4));
  log.take(usage(5));
  await clock.advance(1);
  log.take(usage(6));
  await log.flush();
  expect(written).toEqual([1, 5, 6]);
});

test("tells what kept it from writing at the next report, and at the end", async () => {
  const clock = new ManualClock();
  const log = new UsageLog(() => Promise.reject(new Error("the disk is full")), { clock });
  log.take(usage(1));
  await expect(log.flush()).rejects.toThrow("the disk is full");
  expect(() => log.take(usage(2))).toThrow("the disk is full");
});
