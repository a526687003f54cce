import { expect, test } from "vitest";

import type { GateResult, GateVerdict } from "../../src/format/gate.ts";
import { addDurations, withNotes } from "../../src/gate/durations.ts";

function result(duration_ms: number, verdict: GateVerdict = "passed"): GateResult {
  const passed = verdict === "passed";
  const said = { stdout: "", stderr: "", command_line: "", timed_out: false, timeout_secs: 0 };
  return { name: "tests", passed, verdict, duration_ms, required: true, ...said };
}

test.each([
  [[5_000, 6_000, 4_000], 999, "suspiciously_fast"],
  [[5_000, 6_000, 4_000], 1_000, undefined],
  [[5_000, 6_000, 4_000, 4_800], 979, "suspiciously_fast"],
  [[1_000, 1_000], 1, undefined],
  [[], 1, undefined],
])("after runs of %j ms one of %d ms is %s", (earlier, ms, expected) => {
  expect(withNotes([result(ms)], { tests: earlier })[0]?.note).toBe(expected);
});

test("only what passed is suspicious, and only of the same gate", () => {
  expect(withNotes([result(1, "failed")], { tests: [9_000] })[0]?.note).toBeUndefined();
  expect(withNotes([result(1)], { others: [9_000] })[0]?.note).toBeUndefined();
  expect(withNotes([{ ...result(1), name: "constructor" }], {})[0]?.note).toBeUndefined();
});

test("the last twenty runs that were not cut short are remembered", () => {
  let known: Record<string, number[]> | undefined;
  for (let ms = 1; ms <= 30; ms++) known = addDurations(known, [result(ms), result(99, "timed_out")]);
  expect(known?.["tests"]).toEqual(Array.from({ length: 20 }, (_, at) => at + 11));
});
