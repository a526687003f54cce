import { expect, test } from "vitest";

import { changedFiles } from "../../src/git/changed-files.ts";

/** A tree is the list of its files, each with its content. */
const TREES: Record<string, Record<string, string>> = {
  base: { a: "1", b: "1" },
  one: { a: "2", b: "1" },
  gated: { a: "2", b: "1", log: "1" },
  two: { a: "2", b: "2", log: "1" },
};

const tree = {
  changes: (from: string, to: string) => {
    const [before = {}, after = {}] = [TREES[from], TREES[to]];
    const paths = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    return Promise.resolve(
      paths
        .filter((path) => before[path] !== after[path])
        .map((path) => ({ path, kind: "modified" as const, old_mode: null, new_mode: null })),
    );
  },
};
const never = new AbortController().signal;
const paths = async (...rest: Parameters<typeof changedFiles> extends [unknown, ...infer R] ? R : never) =>
  (await changedFiles(tree, ...rest)).map(({ path }) => path);

test("everything that differs from the base has changed", async () => {
  expect(await paths("base", "two", never)).toEqual(["a", "b", "log"]);
});

test("where turns are known, what only gates wrote between them has not", async () => {
  const attempts = [
    { start_tree: "base", result_tree: "one" },
    { start_tree: "gated", result_tree: "two" },
  ];
  expect(await paths("base", "two", never, { attempts, outside: [] })).toEqual(["a", "b"]);
  expect(await paths("base", "two", never, { attempts, outside: ["log"] })).toEqual(["a", "b", "log"]);
});

test("a turn that was cut off reaches to where the next one started, or to the result", async () => {
  const cut = { start_tree: "base", result_tree: null };
  const next = { start_tree: "one", result_tree: "one" };
  expect(await paths("base", "two", never, { attempts: [cut, next], outside: [] })).toEqual(["a"]);
  expect(await paths("base", "two", never, { attempts: [cut], outside: [] })).toEqual(["a", "b", "log"]);
});
