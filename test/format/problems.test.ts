import { expect, test } from "vitest";
import { z } from "zod";

import { problemsOf } from "../../src/format/problems.ts";

const Shape = z.object({ name: z.string(), tasks: z.array(z.object({ id: z.string() })) });

function problems(value: unknown): string[] {
  const read = Shape.safeParse(value);
  return read.success ? [] : problemsOf(read.error);
}

test("a problem is one line: where it is and what was expected there", () => {
  expect(problems({ name: 1, tasks: [{ id: "a" }, { id: null }] })).toEqual([
    "name: expected string, received number",
    "tasks[1].id: expected string, received null",
  ]);
  expect(problems("text")).toEqual(["expected object, received string"]);
});

test("more than ten are counted", () => {
  const said = problems({ name: "a", tasks: Array.from({ length: 20 }, () => ({})) });
  expect(said).toHaveLength(11);
  expect(said.at(-1)).toBe("and 10 more");
});
