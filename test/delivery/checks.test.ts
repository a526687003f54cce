import fc from "fast-check";
import { expect, test } from "vitest";

import { decideChecks, stateOfCheck, type Check } from "../../src/delivery/checks.ts";

function check(
  name: string,
  conclusion: string | null,
  status = conclusion === null ? "queued" : "completed",
): Check {
  return { name, kind: "run", status, conclusion, url: null };
}

test("checks that were skipped or are neutral are done", () => {
  const checks = ["success", "neutral", "skipped"].map((conclusion) =>
    check(`with blanks ${conclusion}`, conclusion),
  );
  expect(decideChecks(checks, [])).toEqual({ state: "green", failed: [], pending: [], counted: 3 });
});

test.each([
  "failure",
  "cancelled",
  "timed_out",
  "action_required",
  "startup_failure",
  "stale",
  "error",
  "a new word",
])("%s is a failure", (conclusion) => {
  expect(stateOfCheck(check("a", conclusion))).toBe("failed");
});

test("only what is demanded counts, and what has not begun is waited for", () => {
  const checks = [check("test", "success"), check("optional", "failure")];
  expect(decideChecks(checks, ["test"]).state).toBe("green");
  expect(decideChecks(checks, ["test", "lint"])).toMatchObject({ state: "pending", pending: ["lint"] });
  expect(decideChecks(checks, [])).toMatchObject({ state: "red", failed: ["optional"] });
  expect(decideChecks([], [])).toMatchObject({ state: "none" });
});

const Checks = fc.array(
  fc
    .tuple(
      fc.constantFrom("a", "b", "c", "d"),
      fc.constantFrom("success", "neutral", "skipped", "failure", "cancelled", null),
      fc.constantFrom("completed", "queued", "in_progress"),
    )
    .map(([name, conclusion, status]) => check(name, conclusion, status)),
  { maxLength: 8 },
);
const Required = fc.uniqueArray(fc.constantFrom<string>("a", "b", "c", "x"), { maxLength: 3 });

test("the order of checks and names decides nothing", () => {
  fc.assert(
    fc.property(Checks, Required, (checks, required) => {
      expect(decideChecks(checks.toReversed(), required.toReversed())).toEqual(
        decideChecks(checks, required),
      );
    }),
  );
});

test("green means that every check that counts has passed, and that all demanded ones are there", () => {
  fc.assert(
    fc.property(Checks, Required, (checks, required) => {
      const counted = required.length === 0 ? checks : checks.filter(({ name }) => required.includes(name));
      const isGreen =
        counted.length > 0 &&
        counted.every((one) => stateOfCheck(one) === "passed") &&
        required.every((name) => counted.some((one) => one.name === name));
      expect(decideChecks(checks, required).state === "green").toBe(isGreen);
    }),
  );
});

test("another check never makes a verdict better, unless it is the one that was waited for", () => {
  const rank = { red: 0, pending: 1, none: 2, green: 2 };
  fc.assert(
    fc.property(Checks, Required, Checks, (checks, required, [more]) => {
      if (!more) return;
      const before = decideChecks(checks, required);
      const after = decideChecks([...checks, more], required);
      if (!before.pending.includes(more.name))
        expect(rank[after.state]).toBeLessThanOrEqual(rank[before.state]);
      expect(before.state === "red" && after.state !== "red").toBe(false);
      if (required.length > 0 && !required.includes(more.name)) expect(after).toEqual(before);
    }),
  );
});
