import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { GateVerdict } from "../../src/format/gate.ts";
import { decideVerdict, type GateEnd } from "../../src/gate/verdict.ts";

const TESTS = { kind: "test" } as const;
const counts = (passed: number, failed = 0, skipped = 0) => ({
  tests: passed + failed + skipped,
  passed,
  failed,
  skipped,
});
const judge = (end: Partial<GateEnd>) =>
  decideVerdict({
    exit: { kind: "exited", code: 0 },
    timedOut: false,
    skipped: false,
    counts: undefined,
    definition: TESTS,
    ...end,
  });
const exited = (code: number) => ({ kind: "exited", code }) as const;

describe("a gate", () => {
  test.each<[string, Partial<GateEnd>, GateVerdict]>([
    ["that ends with 0 passed", {}, "passed"],
    ["that ends with another status failed", { exit: exited(1) }, "failed"],
    ["ended by a signal failed", { exit: { kind: "signalled", signal: "SIGSEGV" } }, "failed"],
    ["whose command was not found did not run", { exit: exited(127) }, "did_not_run"],
    ["whose command cannot be executed did not run", { exit: exited(126) }, "did_not_run"],
    [
      "that could not be started did not run",
      { exit: { kind: "not_started", code: "ENOENT", message: "" } },
      "did_not_run",
    ],
    ["that outlived its time timed out, whatever it ended with", { timedOut: true }, "timed_out"],
    ["that wrote too much failed", { overflowed: true }, "failed"],
    ["of tests that counts none ran nothing, even with 0", { counts: counts(0) }, "ran_nothing"],
    [
      "of tests that counts none ran nothing, also with 5",
      { counts: counts(0), exit: exited(5) },
      "ran_nothing",
    ],
    ["of tests that skipped all of them ran nothing", { counts: counts(0, 0, 3) }, "ran_nothing"],
    [
      "that is no gate of tests may count none",
      { counts: counts(0), definition: { kind: "other" } },
      "passed",
    ],
    [
      "with fewer tests than promised ran nothing",
      { counts: counts(2), definition: { kind: "test", min_tests: 3 } },
      "ran_nothing",
    ],
    [
      "with as many tests as promised passed",
      { counts: counts(3), definition: { kind: "test", min_tests: 3 } },
      "passed",
    ],
    [
      "that promised tests and counts none at all ran nothing",
      { definition: { kind: "test", min_tests: 1 } },
      "ran_nothing",
    ],
    [
      "that is red says so before it says that it ran too few",
      { exit: exited(1), definition: { kind: "test", min_tests: 1 } },
      "failed",
    ],
    [
      "as red as before the change failed there too",
      { exit: exited(1), base: "failed" },
      "failed_on_base_too",
    ],
    [
      "red now and hanging before failed there too",
      { exit: exited(1), base: "timed_out" },
      "failed_on_base_too",
    ],
    ["red now and green before failed", { exit: exited(1), base: "passed" }, "failed"],
    ["that found nothing to run before is no excuse", { exit: exited(1), base: "ran_nothing" }, "failed"],
    ["that was skipped is skipped", { skipped: true, exit: undefined }, "skipped"],
  ])("%s", (_title, end, verdict) => {
    expect(judge(end).verdict).toBe(verdict);
  });

  test("passes only by status 0 in time, with tests that ran where it has tests, or by being skipped", () => {
    const count = fc.nat(20);
    const end = fc.record({
      exit: fc.oneof(
        fc.record({ kind: fc.constant("exited" as const), code: fc.oneof(fc.constant(0), fc.nat(255)) }),
        fc.record({ kind: fc.constant("signalled" as const), signal: fc.constantFrom("SIGKILL", "SIGTERM") }),
        fc.record({
          kind: fc.constant("not_started" as const),
          code: fc.constant("ENOENT"),
          message: fc.string(),
        }),
      ),
      timedOut: fc.boolean(),
      skipped: fc.boolean(),
      overflowed: fc.boolean(),
      counts: fc.option(
        fc.tuple(count, count, count).map(([a, b, c]) => counts(a, b, c)),
        { nil: undefined },
      ),
      definition: fc.record(
        { kind: fc.constantFrom("test" as const, "other" as const), min_tests: fc.nat(5) },
        { requiredKeys: ["kind"] },
      ),
      base: fc.option(fc.constantFrom(...GateVerdict.options), { nil: undefined }),
    });
    fc.assert(
      fc.property(end, (one) => {
        const { verdict, passed } = decideVerdict(one);
        expect(passed).toBe(verdict === "passed" || verdict === "skipped");
        expect(verdict === "skipped").toBe(one.skipped);
        if (verdict !== "passed") return;
        expect(one).toMatchObject({ exit: exited(0), timedOut: false, overflowed: false });
        const ran = one.counts && one.counts.tests - one.counts.skipped;
        expect(one.definition.kind !== "test" || (ran ?? 1) > 0).toBe(true);
        expect(ran ?? 0).toBeGreaterThanOrEqual(one.definition.min_tests ?? 0);
      }),
    );
  });

  test("is never judged better for what it was before the change", () => {
    const bases = fc.constantFrom(...GateVerdict.options);
    fc.assert(
      fc.property(fc.nat(255), fc.boolean(), bases, (code, timedOut, base) => {
        const alone = judge({ exit: exited(code), timedOut });
        expect(judge({ exit: exited(code), timedOut, base }).passed).toBe(alone.passed);
      }),
    );
  });
});
