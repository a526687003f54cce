import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { checkTasks } from "../../src/scheduler/check.ts";
import { fallbackSubtasks, parseDecomposition, tasksOf } from "../../src/team/decompose.ts";

const one = { id: "a", description: "do a" };

describe("a planner's answer", () => {
  test("is taken without path sets, and with prose around the array", () => {
    expect(parseDecomposition(JSON.stringify([one]), 3)).toMatchObject({
      ok: true,
      subtasks: [{ id: "a", write_set: [] }],
    });
    const wrapped = `Here is the plan:\n\`\`\`json\n${JSON.stringify([{ ...one, write_set: ["src/a.ts"] }])}\n\`\`\`\nGood luck!`;
    expect(parseDecomposition(wrapped, 3)).toMatchObject({
      ok: true,
      subtasks: [{ write_set: ["src/a.ts"] }],
    });
  });

  test.each([
    ["brackets before it", (list: string) => `Plan [3 parts], as asked [1, 2]: ${list}`],
    ["brackets behind it", (list: string) => `${list}\nSee [1] and [{the docs}].`],
    ["a shape before it that is no JSON", (list: string) => `In the form [{ id }, …]:\n${list}`],
    ["an object around it", (list: string) => `{"note": "[3 parts]", "subtasks": ${list}}`],
  ])("is found with %s", (_, wrapped) => {
    const list = JSON.stringify([
      { id: "a", description: 'do [a] and "]"', dependencies: [], read_set: ["x"] },
      { id: "b", description: "do {b", dependencies: ["a"] },
    ]);
    expect(parseDecomposition(wrapped(list), 3)).toMatchObject({
      ok: true,
      subtasks: [{ id: "a", read_set: ["x"] }, { id: "b" }],
    });
  });

  test("that is cut off is none, whatever complete lists lie within", () => {
    const list = JSON.stringify([{ ...one, steps: [{ id: "inner", description: "a step" }] }]);
    expect(parseDecomposition(`Plan: ${list.slice(0, -1)}`, 3)).toMatchObject({ ok: false });
  });

  test("is refused, with the reason, when it is no sound list", () => {
    const because = (answer: unknown, count = 3): string => {
      const parsed = parseDecomposition(typeof answer === "string" ? answer : JSON.stringify(answer), count);
      return parsed.ok ? "" : parsed.because;
    };
    expect(because("no list")).toContain("no JSON array");
    expect(because("][")).toContain("no JSON array");
    expect(because([])).toContain("empty");
    expect(because([one, { ...one, id: "b" }], 1)).toContain("2 subtasks where 1");
    expect(because([one, one])).toContain('id "a"');
    expect(because([{ id: "a" }])).toContain("description");
    expect(because([{ ...one, dependencies: ["a"] }])).toContain("a");
    expect(because([{ ...one, dependencies: ["nobody"] }])).toContain("nobody");
    expect(
      because([
        { ...one, dependencies: ["b"] },
        { id: "b", description: "b", dependencies: ["a"] },
      ]),
    ).toContain("circle");
    for (const path of ["/etc/passwd", "../x", "a/../../x", ""]) {
      expect(because([{ ...one, write_set: [path] }]), path).toContain("not inside the project");
    }
  });

  test("gets ids that are fit to name files, with every mention of them", () => {
    const answer = [
      { id: "Task One!", description: "first" },
      { id: "../../x", description: "second", dependencies: ["Task One!"] },
      { id: "task-1", description: "third", dependencies: ["../../x"] },
    ];
    expect(parseDecomposition(JSON.stringify(answer), 3)).toMatchObject({
      ok: true,
      subtasks: [
        { id: "task-2", dependencies: [] },
        { id: "task-3", dependencies: ["task-2"] },
        { id: "task-1", dependencies: ["task-3"] },
      ],
    });
  });

  test("is sound for the scheduler whenever it is taken, whatever was answered", () => {
    const id = fc.constantFrom("a", "b", "c", "A b", "../x", "synthesis", "");
    const path = fc.constantFrom("src", "./src/a.ts", "../x", "/x", "project files", "src/**");
    const subtask = fc.record(
      {
        id,
        description: fc.string(),
        dependencies: fc.array(id, { maxLength: 2 }),
        write_set: fc.array(path, { maxLength: 2 }),
      },
      { requiredKeys: ["id", "description"] },
    );
    fc.assert(
      fc.property(
        fc.oneof(fc.array(subtask, { maxLength: 4 }), fc.json()),
        fc.integer({ min: 1, max: 4 }),
        (answer, count) => {
          const parsed = parseDecomposition(
            typeof answer === "string" ? answer : JSON.stringify(answer),
            count,
          );
          if (!parsed.ok) return;
          expect(parsed.subtasks.length).toBeLessThanOrEqual(count);
          const tasks = tasksOf(parsed.subtasks, 3, new Date(0));
          expect(checkTasks(tasks)).toEqual([]);
          for (const task of tasks) expect(task.id).toMatch(/^[a-z0-9][a-z0-9._-]{0,63}$/);
        },
      ),
    );
  });
});

test("without a plan every worker gets the whole task and knows its place", () => {
  const subtasks = fallbackSubtasks("build it", 2);
  expect(subtasks.map(({ id }) => id)).toEqual(["task-1", "task-2"]);
  expect(subtasks[1]?.description).toMatch(/^build it\n\n.*worker-1 of 2/);
});
