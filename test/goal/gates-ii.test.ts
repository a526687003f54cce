/** What a goal keeps of its gates from one run to the next, over scripted gates. */
import { expect, test } from "vitest";

import type { GateResult } from "../../src/format/gate.ts";
import { runGoal } from "../../src/goal/run-goal.ts";
import { gateDefinitions, gatesToApprove, needsCandidates } from "../../src/goal/candidates.ts";
import { factsOf } from "../../src/goal/facts.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;

/** A goal that is driven to its end; the gates say what `bend` makes of it. */
async function driven(bend: (result: GateResult, run: number) => GateResult = (result) => result) {
  const plain = simulatedPorts(new SimulatedDisk(GROUND), new SimulatedProject(1), 1);
  let runs = 0;
  const ports = {
    ...plain,
    runGates: async (...given: Parameters<typeof plain.runGates>) => {
      const run = ++runs;
      return (await plain.runGates(...given)).map((result) => bend(result, run));
    },
  };
  const request = {
    text: "Fix the failing test",
    projectDir: PROJECT,
    untilReady: true,
    autoAccept: true,
    noLlmPlanner: true,
    engine: "simulated",
    maxAttempts: 1,
  };
  const outcome = await runGoal(request, ports, never, () => undefined);
  return { ...outcome, stories: plain.stories };
}

test("a gate that passes in a fraction of its time is called suspiciously fast, which decides nothing", async () => {
  const { open, ending, stories } = await driven((result, run) => ({
    ...result,
    duration_ms: run === 1 ? 6_000 : 1_100,
  }));
  expect(ending.status).toBe("ready");
  expect(open.work.gates?.results).toMatchObject([{ name: "tests", note: "suspiciously_fast" }]);
  expect(open.proof?.gates).toMatchObject([{ note: "suspiciously_fast" }]);
  expect(open.work.gate_durations).toEqual({ tests: [6_000, 1_100] });
  expect(stories).toContain("gate tests passed suspiciously fast");
});

test("a gate that takes its time is not", async () => {
  const { open } = await driven((result) => ({ ...result, duration_ms: 6_000 }));
  expect(open.work.gates?.results[0]?.note).toBeUndefined();
});

test("a project of which nothing can be checked out is judged in place, and the proof says why", async () => {
  const { open, ending } = await driven();
  expect(ending.status).toBe("ready");
  expect(open.proof?.clean_checkout).toMatchObject({
    status: "unusable",
    code: "clean_checkout_unusable",
    reason: expect.stringContaining("cannot be checked out") as string,
  });
  expect(open.proof?.gates).toMatchObject([{ where: "worktree" }]);
});

test("other gates that a person approves hold, and what the old ones said counts no more", async () => {
  const { open } = await driven();
  const { goal, work, graph } = open;
  const [tests] = gateDefinitions(goal, work);
  if (!tests) throw new Error("the goal has a gate");
  const changed = {
    source: "config" as const,
    digest: "d".repeat(64),
    definitions: [tests, { ...tests, name: "lint" }],
    tree: work.result?.tree ?? "",
    changes: [{ name: "lint", how: "added" as const }],
  };
  const found = { ...work, changed_gates: changed };
  expect(gatesToApprove(goal, found)).toEqual([changed.digest]);
  expect(gateDefinitions(goal, found)).toHaveLength(1);
  expect(factsOf(goal, found, graph).gates).toBe("green");
  const waiver = { kind: "gates" as const, what: changed.digest, reason: "wanted", at: goal.created_at };
  const approved = { ...found, waivers: [waiver] };
  expect(gatesToApprove(goal, approved)).toEqual([]);
  expect(gateDefinitions(goal, approved)).toHaveLength(2);
  expect(factsOf(goal, approved, graph).gates).toBe("not_run");
});

test("candidates are sought in each result of a goal without gates, and in no other", async () => {
  const { open } = await driven();
  const { goal, work } = open;
  expect(needsCandidates(goal, work)).toBe(false);
  const bare = { ...goal, gates: { source: "none" as const, digest: "", definitions: [] } };
  expect(needsCandidates(bare, work)).toBe(true);
  const none = { source: "none" as const, digest: "", definitions: [], tree: work.result?.tree ?? "" };
  expect(needsCandidates(bare, { ...work, candidate_gates: none })).toBe(false);
  expect(needsCandidates(bare, { ...work, candidate_gates: { ...none, tree: "another" } })).toBe(true);
});
