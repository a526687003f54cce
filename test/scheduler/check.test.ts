import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { OmkError } from "../../src/errors.ts";
import { checkTasks, requireSoundTasks, TASK_LIMITS, TASK_LIMITS_MAX } from "../../src/scheduler/check.ts";

const node = (id: string, ...dependencies: string[]): { id: string; dependencies: string[] } => ({
  id,
  dependencies,
});
const codes = (...tasks: { id: string; dependencies: string[] }[]): string[] =>
  checkTasks(tasks).map(({ code }) => code);

describe("the check of a task list", () => {
  test("finds nothing wrong with an empty list, a chain and a diamond", () => {
    expect(codes()).toEqual([]);
    expect(codes(node("c", "b"), node("b", "a"), node("a"))).toEqual([]);
    expect(codes(node("d", "b", "c", "b"), node("b", "a"), node("c", "a"), node("a"))).toEqual([]);
  });

  test("finds duplicates, tasks that are not there, and tasks that wait for themselves, all at once", () => {
    expect(codes(node("a", "a"), node("a"), node("b", "x", "x"))).toEqual([
      "duplicate_id",
      "self_dependency",
      "unknown_dependency",
    ]);
  });

  test("names the tasks of a circle and none that only waits for it", () => {
    // Weakness 9: a circle made the run wait for ever.
    const [problem] = checkTasks([
      node("late", "a"),
      node("a", "free", "b"),
      node("b", "c"),
      node("c", "a"),
      node("free"),
    ]);
    expect(problem?.code).toBe("cycle");
    expect(problem?.text).toContain('"a", which needs "b", which needs "c", which needs "a"');
    expect(problem?.text).not.toContain("late");
  });

  test("survives the longest chain and the longest circle", () => {
    const chain = Array.from({ length: 10_000 }, (_, at) =>
      node(`t${at}`, ...(at > 0 ? [`t${at - 1}`] : [])),
    );
    expect(checkTasks(chain, { ...TASK_LIMITS_MAX, depth: 10_000 })).toEqual([]);
    expect(checkTasks(chain, TASK_LIMITS_MAX)).toMatchObject([{ code: "too_deep" }]);
    chain[0]?.dependencies.push("t9999");
    expect(checkTasks(chain, TASK_LIMITS_MAX)).toMatchObject([{ code: "cycle" }]);
    expect(checkTasks(chain, TASK_LIMITS_MAX)[0]?.text.length).toBeLessThan(1_000);
  });

  test("refuses more tasks, dependencies and depth than allowed", () => {
    const many = (count: number): { id: string; dependencies: string[] }[] =>
      Array.from({ length: count }, (_, at) => node(`t${at}`));
    expect(checkTasks(many(TASK_LIMITS.tasks))).toEqual([]);
    expect(checkTasks(many(TASK_LIMITS.tasks + 1))).toMatchObject([{ code: "too_many_tasks" }]);
    const dense = many(2).map((one) => ({ ...one, dependencies: Array<string>(10_001).fill("x") }));
    expect(checkTasks(dense)).toMatchObject([{ code: "too_many_dependencies" }]);
    const deep = (depth: number): { id: string; dependencies: string[] }[] =>
      many(depth).map((one, at) => (at > 0 ? node(one.id, `t${at - 1}`) : one));
    expect(checkTasks(deep(TASK_LIMITS.depth))).toEqual([]);
    expect(checkTasks(deep(TASK_LIMITS.depth + 1))).toMatchObject([{ code: "too_deep" }]);
  });

  test("finds a circle exactly where plain deletion of free tasks gets stuck", () => {
    const graph = fc
      .array(fc.array(fc.integer({ min: 0, max: 7 }), { maxLength: 3 }), { minLength: 1, maxLength: 8 })
      .map((rows) =>
        rows.map((row, at) =>
          node(`t${at}`, ...row.filter((to) => to !== at && to < rows.length).map((to) => `t${to}`)),
        ),
      );
    fc.assert(
      fc.property(graph, (tasks) => {
        let left = tasks;
        for (let before = -1; before !== left.length;) {
          before = left.length;
          const ids = new Set(left.map(({ id }) => id));
          left = left.filter(({ dependencies }) => dependencies.some((id) => ids.has(id)));
        }
        expect(checkTasks(tasks).map(({ code }) => code)).toEqual(left.length > 0 ? ["cycle"] : []);
      }),
    );
  });

  test("says what is wrong where, briefly, with status 78", () => {
    const error = (() => {
      try {
        requireSoundTasks(
          Array.from({ length: 50 }, (_, at) => node(`t${at}`, "gone")),
          "tasks.jsonl of run demo",
        );
      } catch (caught) {
        return caught;
      }
      return undefined;
    })();
    expect(error).toBeInstanceOf(OmkError);
    expect(error).toMatchObject({ code: "tasks.invalid", exitStatus: 78 });
    expect((error as OmkError).message).toContain('tasks.jsonl of run demo cannot be worked off: task "t0"');
    expect((error as OmkError).message).toContain("and 45 more");
    expect((error as OmkError).hint).toBeDefined();
    expect(() => requireSoundTasks([node("a")], "x")).not.toThrow();
  });
});
