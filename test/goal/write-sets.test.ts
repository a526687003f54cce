/** Which changed paths lie outside the write sets, over made-up series of attempts. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { TreeChange } from "../../src/git/work-tree.ts";
import { ANYWHERE, outsideAfter, outsideOfAll, strayedBy } from "../../src/goal/write-sets.ts";

function changed(path: string, kind: TreeChange["kind"] = "modified"): TreeChange {
  return { path, kind, old_mode: "100644", new_mode: "100644" };
}

const path = fc.constantFrom<string>("src/a.js", "src/b/c.js", "src2/a.js", "lib/d.js", "README.md");

describe("paths outside the write sets", () => {
  test("are those that an attempt changed and its task does not name", () => {
    const both = [changed("src/a.js"), changed("src2/a.js"), changed("lib/d.js")];
    const changes = { inAttempt: both, sinceBase: both };
    expect(outsideAfter([], { write_set: ["src", "./lib/d.js"] }, changes)).toEqual(["src2/a.js"]);
  });

  test("are none where the task may write anything, and added tests are free everywhere", () => {
    fc.assert(
      fc.property(fc.array(path), (paths) => {
        const all = paths.map((one) => changed(one));
        for (const anywhere of [ANYWHERE, ".", "./"])
          expect(outsideAfter([], { write_set: [anywhere] }, { inAttempt: all, sinceBase: all })).toEqual([]);
      }),
    );
    const tests = [changed("test/new.test.js", "added"), changed("test/old.test.js")];
    const changes = { inAttempt: tests, sinceBase: tests };
    expect(outsideAfter([], { write_set: ["src"] }, changes)).toEqual(["test/old.test.js"]);
  });

  test("are forgotten when they are as they were in the base, and kept when a later attempt leaves them", () => {
    const later = [changed("src/a.js")];
    const kept = { inAttempt: later, sinceBase: [...later, changed("README.md")] };
    expect(outsideAfter(["README.md"], { write_set: ["src"] }, kept)).toEqual(["README.md"]);
    expect(
      outsideAfter(["README.md"], { write_set: ["src"] }, { inAttempt: later, sinceBase: later }),
    ).toEqual([]);
  });

  test("are forgotten when the task whose they are goes on from them", () => {
    const all = [changed("lib/d.js")];
    expect(outsideAfter(["lib/d.js"], { write_set: ["lib"] }, { inAttempt: [], sinceBase: all })).toEqual([]);
  });

  test("always differ from the base, each named once, in order", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(path),
        fc.uniqueArray(path),
        fc.uniqueArray(path),
        (before, inAttempt, since) => {
          const outside = outsideAfter(
            before,
            { write_set: ["src"] },
            { inAttempt: inAttempt.map((one) => changed(one)), sinceBase: since.map((one) => changed(one)) },
          );
          expect(outside.every((one) => since.includes(one))).toBe(true);
          expect(outside).toEqual([...new Set(outside)].sort());
        },
      ),
    );
  });
});

describe("files that were changed while no attempt was at work", () => {
  const parts = [{ write_set: ["src"] }, { write_set: ["lib"] }];

  test("are outside when no task may change them, and none where a task may change anything", () => {
    const meanwhile = [changed("src/a.js"), changed("lib/d.js"), changed("README.md")];
    const changes = { meanwhile, sinceBase: meanwhile };
    expect(outsideOfAll([], parts, changes)).toEqual(["README.md"]);
    expect(outsideOfAll([], [...parts, { write_set: [ANYWHERE] }], changes)).toEqual([]);
    expect(outsideOfAll([], [{ write_set: [] }], changes)).toEqual([]);
  });

  test("take nothing back that an attempt left outside, unless it is as it was in the base", () => {
    const sinceBase = [changed("lib/d.js")];
    expect(outsideOfAll(["lib/d.js", "x"], parts, { meanwhile: [], sinceBase })).toEqual(["lib/d.js"]);
  });

  test("are nobody's, while what an attempt left stays its task's", () => {
    const work = { outside_write_sets: ["a"], strayed_by: { a: "first" } };
    expect(strayedBy(work, ["a", "b"], "second")).toEqual({ a: "first", b: "second" });
    expect(strayedBy(work, ["a", "b"])).toEqual({ a: "first" });
    expect(strayedBy({ outside_write_sets: ["a"], strayed_by: {} }, ["a"], "second")).toEqual({});
  });
});
