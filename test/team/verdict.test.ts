import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { decideRun, type RunFacts } from "../../src/team/proof.ts";

const READY: RunFacts = {
  unfinished: [],
  tasks: 2,
  gates: [{ name: "test", passed: true, verdict: "passed" }],
  isOfResult: true,
  baseCopies: null,
  changedFiles: 1,
  mayWrite: true,
  stopped: null,
};

const facts: fc.Arbitrary<RunFacts> = fc.record({
  unfinished: fc.array(
    fc.record({
      task_id: fc.constantFrom("a", "b"),
      state: fc.constantFrom("pending" as const, "failed" as const, "cancelled" as const),
      why: fc.constantFrom("", "because"),
    }),
    { maxLength: 2 },
  ),
  tasks: fc.integer({ min: 0, max: 3 }),
  gates: fc.array(
    fc.boolean().map((passed) => ({ name: "g", passed, verdict: passed ? "passed" : "ran_nothing" })),
    { maxLength: 3 },
  ),
  baseCopies: fc.constantFrom(null, "passed" as const, "failed" as const, "unusable" as const),
  isOfResult: fc.boolean(),
  changedFiles: fc.integer({ min: 0, max: 2 }),
  mayWrite: fc.boolean(),
  stopped: fc.constantFrom(null, { code: "shutdown", reason: "stopped" }),
});

describe("the verdict on a run", () => {
  test("is ready when every task completed, required gates passed and something was changed", () => {
    expect(decideRun(READY)).toEqual({ status: "ready", code: "ready", gaps: [] });
  });

  test("is never ready when anything speaks against it, and then says what", () => {
    fc.assert(
      fc.property(facts, (given) => {
        const { status, code, gaps } = decideRun(given);
        const isFine =
          given.unfinished.length === 0 &&
          given.tasks > 0 &&
          given.gates.length > 0 &&
          given.gates.every(({ passed }) => passed) &&
          (given.baseCopies === null || given.baseCopies === "passed") &&
          given.isOfResult &&
          given.changedFiles > 0 === given.mayWrite &&
          given.stopped === null;
        expect(status === "ready").toBe(isFine);
        expect(gaps.length > 0).toBe(!isFine);
        expect(code).toBe(gaps[0]?.code ?? "ready");
        if (given.gates.some(({ passed }) => !passed)) expect(status).toBe("failed");
      }),
    );
  });

  test("of a role that changes nothing does not ask for changes", () => {
    expect(decideRun({ ...READY, changedFiles: 0, mayWrite: false })).toMatchObject({ status: "ready" });
    expect(decideRun({ ...READY, mayWrite: false })).toMatchObject({ code: "role_violated" });
    expect(decideRun({ ...READY, changedFiles: 0 })).toMatchObject({
      status: "not_ready",
      code: "nothing_changed",
    });
  });
});
