/** Accepting a part of a goal's slices: what belongs together, what it makes, and that nothing of the others is lost. */
import fs from "node:fs";
import path from "node:path";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { OmkError } from "../../src/errors.ts";
import type { GoalTask } from "../../src/format/task-graph.ts";
import type { Work } from "../../src/format/work.ts";
import { openTasks } from "../../src/goal/agent-tasks.ts";
import { chooseSlices, decideChoice } from "../../src/goal/choose-slices.ts";
import { acceptByHand, rejectByHand } from "../../src/goal/decisions-by-hand.ts";
import { change } from "../../src/goal/open.ts";
import { resumeGoal } from "../../src/goal/resume.ts";
import { MadeSlices, type WantedSlice } from "../support/made-slices.ts";

const BASE = { "a.txt": "a\n", "b.txt": "b\n", "c.txt": "c\n" };
const A = "goal-agent-implement-a";
const B = "goal-agent-implement-b";
const C = "goal-agent-implement-c";
const SOLVER = `goal-agent-resolve-${B}`;

const SETUP = `[[gates]]
name = "own"
command = "sh"
args = ["-c", "exit 0"]
[setup]
commands = [["true"]]
`;

/** Two that stand by themselves, one on the first of them, and one that came to nothing. */
const SLICES: WantedSlice[] = [
  { id: A, files: { "a.txt": "a word\n" }, landed: true },
  { id: B, files: { "b.txt": "b word\n" }, landed: true },
  { id: C, files: { "c.txt": "c word\n" }, on: [A], landed: true },
  { id: "goal-agent-implement-d" },
];

async function goal(slices: readonly WantedSlice[], gate?: string): Promise<MadeSlices> {
  const place = new MadeSlices(BASE);
  await place.begin(gate === undefined ? {} : { gate });
  await place.has(slices);
  return place;
}

function accept(place: MadeSlices, slices: string[], more: object = {}) {
  const attested = { acceptance: "seen", smoke: "seen", demo: "seen" };
  const request = { summary: "only these", attested, slices, ...more };
  return acceptByHand(place.id, request, place.ports, place.signal);
}

function logged(place: MadeSlices): { kind: string }[] {
  const lines = fs.readFileSync(path.join(place.goalFolder, "events.jsonl"), "utf8").trim().split("\n");
  return lines.map((line) => JSON.parse(line) as { kind: string });
}

async function refusal(promise: Promise<unknown>): Promise<OmkError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(OmkError);
  return error as OmkError;
}

describe("slices that a person chooses", () => {
  test("make up the result anew, are judged and delivered, and the others stay where they are", async () => {
    using place = await goal(SLICES, "grep -q word b.txt && ! grep -q word a.txt");
    const before = place.users();
    const { open, ending } = await accept(place, [B]);
    expect(ending, open.proof?.readiness).toMatchObject({ status: "ready" });
    expect(place.users()).toEqual(before);
    expect(place.git("diff", "--name-only", "main", `omk/result/${place.id}`)).toBe("b.txt\n");
    const { slices } = open.work;
    expect(slices?.order).toEqual([B]);
    expect(slices?.slices.map(({ landed }) => landed !== null)).toEqual([false, true, false, false]);
    // Their commits are still there, and somebody may still want them.
    expect(slices?.slices.map(({ commit }) => commit !== null)).toEqual([true, true, true, false]);
    expect(openTasks(open.graph, open.work)).toEqual([]);
    expect(open.proof?.slices).toMatchObject([
      { id: A, status: "left_out", left_out: { reason: "only these" } },
      { id: B, status: "landed" },
      { id: C, status: "left_out" },
      { id: "goal-agent-implement-d", status: "left_out" },
    ]);
    expect(open.proof?.gates).toMatchObject([{ name: "words", verdict: "passed" }]);
    expect(open.proof?.changed_files).toEqual(["b.txt"]);
  });

  test("may be other ones later: who was left out comes back as it was", async () => {
    using place = await goal(SLICES);
    await accept(place, [B]);
    const refused = await refusal(accept(place, [C, A, B]));
    expect([refused.code, refused.hint]).toEqual([
      "goal.refused",
      "To make another result of it, say so: add --again",
    ]);
    const { open, ending } = await accept(place, [C, A, B], { again: true });
    expect(ending.status).toBe("ready");
    expect(open.work.slices?.order.toSorted()).toEqual([A, B, C]);
    expect(open.graph.tasks.filter(({ left_out }) => left_out !== undefined).map(({ id }) => id)).toEqual([
      "goal-agent-execute",
      "goal-agent-implement-d",
    ]);
    const changed = place.git("diff", "--name-only", "main", `omk/result/${place.id}`);
    expect(changed).toBe("a.txt\nb.txt\nc.txt\n");
  });

  test("must hold what they build on, and be slices with a result", async () => {
    using place = await goal(SLICES);
    const missing = await refusal(accept(place, [C]));
    expect([missing.code, missing.message, missing.hint]).toEqual([
      "usage.invalid",
      `--slice ${C}: it builds on ${A}, not chosen.`,
      `Choose those, too: --slice ${A} --slice ${C}`,
    ]);
    const unknown = await refusal(accept(place, [A, "goal-agent-implement-d"]));
    expect(unknown.code).toBe("usage.invalid");
    expect(unknown.hint).toBe(`There are: ${A}, ${B}, ${C}.`);
    await place.opened((open) => {
      expect(open.work.slices?.order).toEqual([A, B, C]);
      expect(open.work.acceptance).toBeNull();
      return Promise.resolve();
    });
  });

  test("that are in each other's way are refused together, and each may be taken alone", async () => {
    using place = await goal([
      { id: A, files: { "a.txt": "one\n" }, landed: true },
      { id: B, files: { "a.txt": "two\n" } },
    ]);
    const both = await refusal(accept(place, [A, B]));
    expect([both.code, both.message]).toEqual([
      "goal.refused",
      `The slice ${B} does not fit together with ${A}: a.txt.`,
    ]);
    const { ending } = await accept(place, [B]);
    expect(ending.status).toBe("ready");
    expect(place.git("show", `omk/result/${place.id}:a.txt`)).toBe("two\n");
  });

  test("bring along the task that solved their conflict, only where all that it holds is wanted", async () => {
    using place = new MadeSlices(BASE);
    await place.begin();
    await place.has([
      { id: A, files: { "a.txt": "one\n" }, landed: true },
      { id: B, files: { "a.txt": "two\n" } },
      { id: SOLVER, files: { "a.txt": "one and two\n" }, on: [A, B], landed: true },
    ]);
    const alone = await accept(place, [B]);
    expect(alone.open.work.slices?.order).toEqual([B]);
    expect(place.git("show", `omk/result/${place.id}:a.txt`)).toBe("two\n");
    const both = await accept(place, [A, B], { again: true });
    expect(both.ending.status).toBe("ready");
    expect(both.open.work.slices?.order).toEqual([A, SOLVER]);
    expect(place.git("show", `omk/result/${place.id}:a.txt`)).toBe("one and two\n");
  });

  test("that fail their gates are kept as chosen, and nothing is delivered", async () => {
    using place = await goal(SLICES, "grep -q word a.txt");
    const { open, ending } = await accept(place, [B]);
    expect(ending).toMatchObject({ status: "not_ready", reasonCode: "gates_red" });
    expect(place.git("for-each-ref", "refs/heads/omk")).toBe("");
    expect(open.proof?.changed_files).toEqual(["b.txt"]);
  });

  test("leave no goal ready whose result nobody has judged, whoever dies in between, and the same words go on", async () => {
    using place = await goal(SLICES);
    await accept(place, [B]);
    // Killed when the choice was recorded, and nothing else.
    await place.opened((open, space) =>
      chooseSlices(open, space.sliced.git, { wanted: [A], reason: "rather" }, place.ports, place.signal),
    );
    await place.opened((open) => {
      expect([open.goal.status, open.work.slices?.order]).toEqual(["running", [A]]);
      return Promise.resolve();
    });
    const { ending, open } = await accept(place, [A]);
    expect(ending, open.proof?.readiness).toMatchObject({ status: "ready" });
    expect(place.git("diff", "--name-only", "main", `omk/result/${place.id}`)).toBe("a.txt\n");
  });

  test("are all there is to take where the result was merged: nothing can be left out of that", async () => {
    using place = await goal(SLICES);
    await place.opened(async (open) => {
      const merge = { commit: "m", landed: "parent", slices: [], at: "2026-01-02T03:04:05Z" };
      const delivery = { tree: "t", pushed: [], pulls: [], merge };
      await open.record({ kind: "made_up", actor: "test", changes: [change("work.json", { delivery })] });
    });
    const error = await refusal(accept(place, [B], { again: true }));
    expect([error.code, error.message]).toEqual([
      "goal.refused",
      `The result of goal ${place.id} was merged: what is on the base branch cannot be left out any more.`,
    ]);
  });

  test("are judged in a folder that is set up; a result that was judged needs none to be accepted", async () => {
    using place = new MadeSlices({ ...BASE, ".omk/gates.toml": SETUP });
    await place.begin();
    await place.has(SLICES);
    const prepared = () => logged(place).filter(({ kind }) => kind === "folder_prepared").length;
    await accept(place, [B]);
    const before = prepared();
    expect(before).toBeGreaterThan(0);
    await rejectByHand(place.id, "wait", place.ports, place.signal);
    const { ending, open } = await accept(place, []);
    expect(ending, open.proof?.readiness).toMatchObject({ status: "ready" });
    expect(prepared()).toBe(before);
  });

  test("whose folder cannot be set up bring the goal to a standstill that says so", async () => {
    using place = new MadeSlices({ ...BASE, ".omk/gates.toml": SETUP.replace('"true"', '"false"') });
    await place.begin();
    await place.has(SLICES);
    const { ending } = await accept(place, [B]);
    expect(ending).toMatchObject({ status: "failed_infra", reasonCode: "setup_failed" });
    // The file is the user's own; committed or not, it counts when they say so.
    place.write(place.project, { ".omk/gates.toml": SETUP });
    await resumeGoal(place.id, place.ports, place.signal);
    expect((await accept(place, [B])).ending.status).toBe("ready");
  });

  test("are nothing that a goal in place has", async () => {
    using place = new MadeSlices(BASE);
    await place.begin({ sliceExecution: false });
    const error = await refusal(accept(place, [A]));
    expect([error.code, error.message]).toEqual([
      "usage.invalid",
      `--slice: goal ${place.id} is worked on in place, as a whole.`,
    ]);
  });
});

test("whatever builds on whatever, a choice is taken exactly when it holds all that it builds on", () => {
  const histories = fc.array(fc.array(fc.nat(7), { maxLength: 3 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(histories, fc.array(fc.nat(7), { minLength: 1 }), (given, chosen) => {
      const ids = given.map((_, at) => `goal-agent-implement-${at}`);
      const contents = new Map<string, Set<string>>();
      for (const [at, starts] of given.entries()) {
        const below = starts
          .filter((one) => one < at)
          .flatMap((one) => [...(contents.get(ids[one] ?? "") ?? [])]);
        contents.set(ids[at] ?? "", new Set([...below, ids[at] ?? ""]));
      }
      const slices = ids.map((task_id) => ({ task_id, parents: ["base"], commit: task_id }));
      const work = { slices: { base: "base", head: "head", order: ids, slices } } as unknown as Pick<
        Work,
        "slices"
      >;
      const graph = { tasks: ids.map((id) => ({ id })) as GoalTask[] };
      const wanted = [...new Set(chosen.map((one) => ids[one % ids.length] ?? ""))];
      const needed = new Set(wanted.flatMap((id) => [...(contents.get(id) ?? [])]));
      const decide = () => decideChoice({ graph, work }, wanted, contents);
      if (needed.size > wanted.length) {
        expect(decide).toThrow("not chosen");
        return;
      }
      const { merged, taken, leftOut } = decide();
      expect([...taken].toSorted()).toEqual(wanted.toSorted());
      expect(merged).toEqual(ids.filter((id) => taken.has(id)));
      expect([...merged, ...leftOut].toSorted()).toEqual(ids.toSorted());
    }),
  );
});
