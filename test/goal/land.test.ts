/** How results of slices become one: what fits is merged, what does not becomes a task, and what will not is seen early. */
import fs from "node:fs";
import path from "node:path";

import { describe, expect, test } from "vitest";

import { makeAttemptTree } from "../../src/git/attempt-tree.ts";
import { CONFLICT_NOTE, undecidedPaths } from "../../src/goal/conflict-note.ts";
import {
  avoidConflict,
  beginSlice,
  landSlice,
  planGoalSlices,
  probeLive,
  reopenSlice,
} from "../../src/goal/land.ts";
import { change, changeTask } from "../../src/goal/open.ts";
import { requireSlices, sliceMoves, sliceState, strandedSlices, withSlice } from "../../src/goal/slices.ts";
import { MadeSlices } from "../support/made-slices.ts";

const X = "goal-agent-implement-0";
const Y = "goal-agent-implement-1";
const RESOLVER = `goal-agent-resolve-${Y}`;
const BASE = { "words.txt": "one\ntwo\nthree\n" };
const OF_X = { "words.txt": "one\ntwo of x\nthree\n" };
const OF_Y = { "words.txt": "one\ntwo of y\nthree\n" };

async function made(slices: Parameters<MadeSlices["has"]>[0]): Promise<MadeSlices> {
  const goal = new MadeSlices(BASE);
  await goal.begin({ maxAgents: 2 });
  await goal.has(slices);
  return goal;
}

describe("results of slices", () => {
  test("land one after another; the same merge made again is the same commit", async () => {
    using goal = await made([
      { id: X, files: OF_X },
      { id: Y, files: { "more.txt": "more\n" } },
    ]);
    const once = await goal.opened(async (open, space) => {
      for (const id of [X, Y]) await landSlice(open, space, id, goal.ports);
      const { head, order, slices } = requireSlices(open.work);
      expect(order).toEqual([X, Y]);
      // The first one continues the base as it is: nothing needs to be merged.
      expect(slices.map(({ landed, commit }) => landed === commit)).toEqual([true, false]);
      expect(open.work.result?.changed_files.map((one) => one.path)).toEqual(["more.txt", "words.txt"]);
      const record = open.graph.tasks.find(({ id }) => id === Y)?.delivery;
      expect(record).toMatchObject({ status: "ready_for_review", merge_conflict_clean: true });
      return head;
    });
    const again = await goal.opened(async (open, space) => {
      const { slices } = requireSlices(open.work);
      await reopenSlice(open, X);
      const { git } = space.sliced;
      const [first, second] = slices.map(({ commit }) => commit ?? "");
      const parents = [first ?? "", second ?? ""];
      const made = await git.call(["rev-list", "--parents", "-n", "1", once], {}, goal.signal);
      return { parents, made: made.toString().trim().split(" ").slice(1) };
    });
    expect(again.made).toEqual(again.parents);
  });

  test("that are in each other's way are kept as evidence, and become a task that starts with both", async () => {
    using goal = await made([
      { id: X, files: OF_X },
      { id: Y, files: OF_Y },
    ]);
    await goal.opened(async (open, space) => {
      for (const id of [X, Y]) await landSlice(open, space, id, goal.ports);
      const { conflict } = sliceState(open.work, Y) ?? {};
      expect(conflict).toMatchObject({ files: ["words.txt"], resolved_by: RESOLVER });
      const evidence = fs.readFileSync(path.join(open.folder, conflict?.evidence ?? ""), "utf8");
      expect(JSON.parse(evidence)).toMatchObject({ clean_merge: false, conflicting_files: ["words.txt"] });
      expect(open.work.evidence.map((one) => one.path)).toContain(conflict?.evidence);
      expect(open.graph.tasks.find(({ id }) => id === Y)?.delivery).toMatchObject({
        status: "blocked",
        conflict_evidence_path: conflict?.evidence,
      });

      await planGoalSlices(open, goal.ports);
      expect(sliceMoves(open.work, open.graph, { maxAttempts: 3, width: 2 }).start).toEqual([
        { task: RESOLVER, number: 1 },
      ]);
      const task = open.graph.tasks.find(({ id }) => id === RESOLVER);
      if (!task) throw new Error("there is no such task");
      expect(task.write_set).toContain("words.txt");
      const { git } = space.sliced;
      await beginSlice(open, git, task, goal.signal);
      const begun = sliceState(open.work, RESOLVER);
      expect(begun?.parents).toEqual([conflict?.onto, conflict?.commit]);
      const text = await git.call(["show", `${begun?.start}:words.txt`], {}, goal.signal);
      expect(text.toString()).toMatch(/^<<<<<<< [^]*two of x\n=======\ntwo of y\n>>>>>>> /m);
    });
  });

  test("that an attempt under way will be in the way of are told early, and that slice begins anew on top of them", async () => {
    using goal = await made([{ id: X, files: OF_X }, { id: Y }]);
    await goal.opened(async (open, space) => {
      const { git } = space.sliced;
      const base = requireSlices(open.work).base;
      const given = { name: "goal-test-y", fence: 9, branch: "omk/goal/test/y", base };
      const folder = await makeAttemptTree(git, given, goal.signal);
      fs.writeFileSync(path.join(folder.cwd, "words.txt"), OF_Y["words.txt"]);
      await landSlice(open, space, X, goal.ports);
      const live = new Map([[Y, folder]]);
      await probeLive(open, git, live, goal.ports);
      const { head } = requireSlices(open.work);
      expect(sliceState(open.work, Y)?.foreseen).toEqual({ onto: head, files: ["words.txt"] });
      expect(goal.told.at(-1)).toContain("words.txt");
      // Told once, not at every look; and taken back where the agent has solved it since.
      const told = goal.told.length;
      await probeLive(open, git, live, goal.ports);
      expect(goal.told).toHaveLength(told);
      // What it did so far would only conflict: on top of what has landed it need not.
      await avoidConflict(open, git, Y, goal.ports);
      expect(sliceState(open.work, Y)).toMatchObject({ start: head, parents: [head], commit: null });
      expect(sliceState(open.work, Y)?.foreseen).toBeUndefined();
      expect(strandedSlices(open.graph, open.work)).toEqual([]);
    });
  });

  test("that conflict where git can leave no markers come with a note, and are not solved as long as that is there", async () => {
    const binary = (name: string): string => `${name}\0${name}`;
    using goal = await made([
      { id: X, files: { "logo.bin": binary("x") } },
      { id: Y, files: { "logo.bin": binary("y") } },
    ]);
    await goal.opened(async (open, space) => {
      for (const id of [X, Y]) await landSlice(open, space, id, goal.ports);
      await planGoalSlices(open, goal.ports);
      const task = open.graph.tasks.find(({ id }) => id === RESOLVER);
      if (!task) throw new Error("there is no such task");
      expect(task.write_set).toEqual(expect.arrayContaining(["logo.bin", CONFLICT_NOTE]));
      const { git } = space.sliced;
      await beginSlice(open, git, task, goal.signal);
      const begun = sliceState(open.work, RESOLVER);
      if (!begun) throw new Error("it was not begun");
      const note = await git.call(["show", `${begun.start}:${CONFLICT_NOTE}`], {}, goal.signal);
      expect(note.toString()).toContain("- `logo.bin`");
      const tree = await git.treeOf(begun.start, goal.signal);
      expect(await undecidedPaths(git, { ...begun, tree }, goal.signal)).toEqual([CONFLICT_NOTE]);
      const decided = await git.treeOf(begun.parents[0] ?? "", goal.signal);
      expect(await undecidedPaths(git, { ...begun, tree: decided }, goal.signal)).toEqual([]);
    });
  });

  test("are not lost when tasks are planned that came up meanwhile", async () => {
    using goal = await made([{ id: X }, { id: Y, files: OF_Y }]);
    await goal.opened(async (open) => {
      const state = sliceState(open.work, X);
      const found = open.graph.tasks.find(({ id }) => id === Y);
      if (!state || !found) throw new Error("there is no such slice");
      const { delivery: _, ...task } = found;
      const asked = { ...task, id: "goal-agent-asked-for", status: "pending", owner_role: "executor" };
      await open.record({ kind: "made_up", actor: "test", changes: [changeTask(asked.id, asked)] });
      const ended = open.update(() => {
        const slices = requireSlices(open.work);
        const taken = withSlice(slices, { ...state, commit: "c0ffee" });
        return [
          {
            kind: "made_up",
            actor: "test",
            changes: [change("work.json", { slices: { ...slices, slices: taken } })],
          },
        ];
      });
      await Promise.all([ended, planGoalSlices(open, goal.ports)]);
      expect(sliceState(open.work, X)?.commit).toBe("c0ffee");
    });
  });
});
