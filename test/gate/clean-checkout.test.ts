/** When a fresh checkout may judge, over scripted gates: what the base shows of it, and what a result means then. */
import { describe, expect, test } from "vitest";

import { OmkError } from "../../src/errors.ts";
import type { GateDefinition, GateResult, GateVerdict } from "../../src/format/gate.ts";
import { judgeClean, tryCleanBase } from "../../src/gate/clean-checkout.ts";
import type { GateRun } from "../../src/gate/run.ts";
import type { GateStepPorts, GateSubject } from "../../src/gate/steps.ts";
import { createRedactor } from "../../src/store/redact.ts";
import { CountingRandom, ManualClock } from "../support/fakes.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";

const never = new AbortController().signal;
const TESTS: GateDefinition = {
  name: "tests",
  command: "npm",
  args: ["test"],
  required: true,
  timeout_secs: 0,
  skip: false,
  covers: [],
  env: [],
  kind: "test",
  source: "detected",
};

function result(name: string, verdict: GateVerdict, more: Partial<GateResult> = {}): GateResult {
  return {
    name,
    verdict,
    passed: verdict === "passed",
    stdout: "",
    stderr: "",
    duration_ms: 1_000,
    required: true,
    command_line: name,
    timed_out: false,
    timeout_secs: 0,
    exit_code: verdict === "passed" ? 0 : 1,
    ...more,
  };
}

/** A project whose gates and set-up say this on a fresh checkout; `sayAgain` is what the set-up says the second time. */
function machine(
  said: Record<string, GateResult>,
  given: {
    files?: string[];
    folder?: string;
    tookMs?: number;
    noCheckout?: boolean;
    sayAgain?: GateResult;
  } = {},
) {
  const { folder = "/state/goal", tookMs = 0 } = given;
  const clock = new ManualClock();
  const disk = new SimulatedDisk({ folders: ["/project", folder] });
  const ran: string[] = [];
  const ports: GateStepPorts = {
    disk,
    clock,
    random: new CountingRandom(1),
    redactor: createRedactor({ environment: {} }),
    environment: {},
    tell: () => undefined,
    runGates: async (run: GateRun) => {
      const results: GateResult[] = [];
      for (const gate of run.definitions) {
        await run.onStart(gate, "spawn");
        await clock.advance(tookMs);
        const isAgain = ran.includes(gate.name) && given.sayAgain !== undefined;
        const one = (isAgain ? given.sayAgain : said[gate.name]) ?? result(gate.name, "passed");
        ran.push(gate.name);
        await run.onEnd(one, "spawn");
        results.push({ ...one, stderr: one.stderr.replace("HERE", run.cwd) });
      }
      return results;
    },
  } as unknown as GateStepPorts;
  const kinds: string[] = [];
  const subject = {
    folder,
    definitions: [TESTS],
    base: { tree: "base" },
    baseline: [],
    nextSeq: () => kinds.length,
    record: (...events: { kind: string }[]) => {
      kinds.push(...events.map(({ kind }) => kind));
      return Promise.resolve([]);
    },
    tree: {
      root: "/project",
      files: () => Promise.resolve(given.files ?? []),
      ignored: () => Promise.resolve(["node_modules/"]),
      checkout: () =>
        given.noCheckout === true ? Promise.reject(new OmkError("git.failed", "no.")) : Promise.resolve(),
    },
  } as unknown as GateSubject;
  const steps = { subject, setup: undefined, ports, signal: never };
  return { steps, ran, kinds, disk };
}

const LOCKED = { files: ["package.json", "package-lock.json"] };

describe("on the base, a fresh checkout", () => {
  test("may judge when set-up works and the gates are as good there", async () => {
    const { steps, ran, kinds, disk } = machine({}, LOCKED);
    const { clean } = await tryCleanBase(steps, "base", [result("tests", "passed")]);
    expect(clean).toMatchObject({ status: "passed", results: [{ name: "setup" }, { name: "tests" }] });
    expect(ran).toEqual(["setup", "tests"]);
    // A set-up is no gate.
    expect(kinds).toEqual([
      "command_started",
      "command_finished",
      "command_started",
      "command_finished",
      "gate_passed",
    ]);
    expect(disk.list("/state/goal/checkout")).toEqual([]);
  });

  const red = result("tests", "failed");
  test.each<[string, GateResult, GateResult, "passed" | "unusable"]>([
    ["green in the project and red there", result("tests", "passed"), red, "unusable"],
    [
      "red in both for the same number of tests",
      { ...red, counts: { tests: 2, passed: 1, failed: 1, skipped: 0 } },
      { ...red, counts: { tests: 2, passed: 1, failed: 1, skipped: 0 } },
      "passed",
    ],
    [
      "red in both, for more tests there",
      { ...red, counts: { tests: 2, passed: 1, failed: 1, skipped: 0 } },
      { ...red, counts: { tests: 2, passed: 0, failed: 2, skipped: 0 } },
      "unusable",
    ],
    [
      "red in both with the same words but for the place and the time",
      { ...red, stderr: "at /project/sum.js:1 in 17 ms" },
      { ...red, stderr: "at HERE/sum.js:1 in 4 ms" },
      "passed",
    ],
    [
      "red in both for another reason",
      { ...red, stderr: "5 is not -1" },
      { ...red, stderr: "Cannot find module x" },
      "unusable",
    ],
    ["red with another status", red, { ...red, exit_code: 2 }, "unusable"],
    ["red in the project and green there", red, result("tests", "passed"), "passed"],
  ])("with a gate that is %s", async (_name, own, there, expected) => {
    const { steps } = machine({ tests: there });
    const { clean } = await tryCleanBase(steps, "base", [own]);
    expect(clean.status).toBe(expected);
    if (expected === "unusable") {
      expect(clean.reason).toMatch(
        /^gate tests does not do there what .* in the project directory: .*`\[setup\]`/,
      );
      expect(clean.reason).not.toContain("failed there, failed here");
      expect(clean).toMatchObject({
        code: "clean_checkout_unusable",
        ignored: ["node_modules/"],
        ignored_total: 1,
      });
    }
  });

  test.each([
    ["its set-up fails", { said: { setup: result("setup", "failed") }, given: LOCKED }, "set-up failed"],
    ["nothing can be checked out", { said: {}, given: { noCheckout: true } }, "cannot be checked out"],
    ["it takes more than ten minutes", { said: {}, given: { tookMs: 600_001 } }, "took 10 minutes"],
    [
      "it would lie inside the project",
      { said: {}, given: { folder: "/project/.state/goal" } },
      "inside the project",
    ],
  ])("may not judge when %s", async (_name, { said, given }, reason) => {
    const { steps } = machine(said, given);
    const { clean } = await tryCleanBase(steps, "base", [result("tests", "passed")]);
    expect(clean).toMatchObject({ status: "unusable", reason: expect.stringContaining(reason) as string });
  });

  test("is not even tried when the gates alone take more than ten minutes", async () => {
    const { steps, ran } = machine({});
    const slow = result("tests", "passed", { duration_ms: 600_001 });
    expect((await tryCleanBase(steps, "base", [slow])).clean.status).toBe("unusable");
    expect(ran).toEqual([]);
  });
});

describe("on a result, a fresh checkout", () => {
  test("passes and fails by its required gates", async () => {
    expect((await judgeClean(machine({}).steps, "result")).clean).toMatchObject({ status: "passed" });
    expect(
      (await judgeClean(machine({ tests: result("tests", "failed") }).steps, "result")).clean,
    ).toMatchObject({
      status: "failed",
      reason: expect.stringContaining("tests failed") as string,
    });
  });

  test("fails when its set-up fails and that of the base still works", async () => {
    const given = { ...LOCKED, sayAgain: result("setup", "passed") };
    const { steps, ran } = machine({ setup: result("setup", "failed") }, given);
    expect((await judgeClean(steps, "result")).clean.status).toBe("failed");
    expect(ran).toEqual(["setup", "setup"]);
  });

  test("says nothing when the set-up fails on the base as well by now", async () => {
    const { steps } = machine({ setup: result("setup", "failed") }, LOCKED);
    expect((await judgeClean(steps, "result")).clean.status).toBe("unusable");
  });
});
