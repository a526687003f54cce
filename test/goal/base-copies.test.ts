/** Gates with the base's copies of changed tests, over scripted gates: what counts as shown, and what does not. */
import { describe, expect, test } from "vitest";

import type { LinkedIgnored } from "../../src/git/ignored-files.ts";
import type { TreeChange, WorkTree } from "../../src/git/work-tree.ts";
import { runGoal } from "../../src/goal/run-goal.ts";
import type { GoalPorts } from "../../src/goal/open.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { PROJECT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;
const TEST_CHANGE: TreeChange = {
  path: "sum.test.js",
  kind: "modified",
  old_mode: "100644",
  new_mode: "100644",
};

/** A goal whose agent also changes a test; `inCopy` says what each gate does in a temporary copy. */
async function driven(gate: string, inCopy: (overlaid: boolean) => boolean, linked?: LinkedIgnored) {
  const disk = new SimulatedDisk({
    folders: [PROJECT],
    files: { [`${PROJECT}/.omk/gates.toml`]: `[[gates]]\n${gate}\n` },
  });
  const plain = simulatedPorts(disk, new SimulatedProject(1), 1);
  let overlaid = false;
  const ports: GoalPorts = {
    ...plain,
    openWorkTree: async (request) => {
      const tree = await plain.openWorkTree(request);
      return {
        ...tree,
        changes: (from, to) => Promise.resolve(from === to ? [] : [TEST_CHANGE]),
        checkout: (_tree, _folder, options) => {
          overlaid = options.overlay !== undefined;
          return Promise.resolve(linked);
        },
      } satisfies WorkTree;
    },
    runGates: async (run, signal) => {
      const results = await plain.runGates(run, signal);
      if (run.where !== "base_copies" || inCopy(overlaid)) return results;
      return results.map((result) => ({ ...result, passed: false, verdict: "failed" as const }));
    },
  };
  const request = {
    text: "Fix the failing test",
    projectDir: PROJECT,
    untilReady: true,
    autoAccept: true,
    engine: "simulated",
    maxAttempts: 1,
  };
  const { open, ending } = await runGoal(request, ports, never, () => undefined);
  const { stories } = plain;
  return { ending, stories, copies: open.work.gates?.base_copies, work: open.work };
}

const TESTS = 'name = "tests"\ncommand = "npm"\nargs = ["test"]';
const OTHER = 'name = "check"\ncommand = "sh"\nargs = ["check.sh"]';

describe.each([
  ["a test gate", TESTS],
  ["a gate that is not known to run tests", OTHER],
])("with %s, a change of a test", (_name, gate) => {
  test("is fine when the gates pass with the base's copy, too", async () => {
    const { ending, copies } = await driven(gate, () => true);
    expect(copies).toMatchObject({
      status: "passed",
      files: ["sum.test.js"],
      results: [{ verdict: "passed" }],
    });
    expect(ending.status).toBe("ready");
  });

  test("is never ready when the gates fail with the base's copy", async () => {
    const { ending, copies } = await driven(gate, (overlaid) => !overlaid);
    expect(copies).toMatchObject({ status: "failed", results: [{ verdict: "failed" }] });
    expect(ending).toMatchObject({ status: "not_ready", reasonCode: "protected_input_changed" });
  });

  test("is never ready when the gates fail in any copy, which is then no place to test", async () => {
    const { ending, copies } = await driven(gate, () => false);
    expect(copies).toMatchObject({ status: "unusable" });
    expect(ending).toMatchObject({ status: "not_ready", reasonCode: "base_copies_unusable" });
  });
});

test("what gates change through a copy, in files too large to be copied, is told and recorded", async () => {
  const linked = { paths: ["node_modules"], changed: () => ["node_modules/.cache"] };
  const { work, stories } = await driven(TESTS, () => true, linked);
  expect(stories.join("\n")).toContain("too large to copy: node_modules");
  expect(work.gates?.side_effects).toContain("node_modules/.cache");
});
