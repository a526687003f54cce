import { expect, test } from "vitest";

import type { GateResult } from "../../src/format/gate.ts";
import { withoutLostTests } from "../../src/gate/lost-tests.ts";

function gate(passed: number, failed: number, difference: Partial<GateResult> = {}): GateResult {
  return {
    name: "tests",
    passed: failed === 0,
    verdict: failed === 0 ? "passed" : "failed",
    counts: { tests: passed + failed, passed, failed, skipped: 0 },
    stdout: "",
    stderr: "",
    duration_ms: 1,
    required: true,
    command_line: "npm test",
    timed_out: false,
    timeout_secs: 0,
    source: "config",
    kind: "test",
    ...difference,
  };
}

test.each<[string, GateResult, GateResult, string]>([
  ["as many tests as before", gate(3, 0), gate(3, 0), "passed"],
  ["more than before", gate(2, 1), gate(5, 0), "passed"],
  ["all that failed before", gate(2, 1), gate(3, 0), "passed"],
  ["none of those that failed before", gate(2, 1), gate(2, 0), "ran_nothing"],
  ["fewer than were green before", gate(3, 0), gate(2, 0), "ran_nothing"],
  [
    "those beside a file that had none to begin with",
    gate(2, 1, { stdout: "✖ test/helper.js (3ms)\n" }),
    gate(2, 0),
    "passed",
  ],
  [
    "those that had errors around them",
    gate(1, 1, { stdout: "== 1 passed, 1 error in 0.1s ==\n" }),
    gate(1, 0),
    "passed",
  ],
  ["fewer, but red for it", gate(3, 0), gate(1, 1), "failed"],
])("a gate that ran %s", (_name, before, after, verdict) => {
  const [judged] = withoutLostTests([after], [before]);
  expect(judged).toMatchObject({ verdict, passed: verdict === "passed" });
});

test("without counts, or without a baseline, nothing is known to be lost", () => {
  const [before] = [gate(3, 0)];
  const silent = gate(0, 0);
  delete silent.counts;
  expect(withoutLostTests([silent], [before])).toEqual([silent]);
  expect(withoutLostTests([gate(1, 0)], [])).toEqual([gate(1, 0)]);
});
