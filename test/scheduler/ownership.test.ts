import fc from "fast-check";
import { describe, expect, test } from "vitest";

import {
  footprintOf,
  isNamed,
  normalizedPath,
  OwnershipMap,
  strayedChanges,
  type Footprint,
} from "../../src/scheduler/ownership.ts";

const writing = (...write_set: string[]): Footprint => footprintOf({ read_set: [], write_set });
const reading = (...read_set: string[]): Footprint => footprintOf({ read_set, write_set: [] });

describe("paths", () => {
  const same: [string, string][] = [
    ["./src//a.ts", "src/a.ts"],
    ["src/", "src"],
    ["a/../b", "b"],
    ["src\\a.ts", "src/a.ts"],
    [" src/a.ts ", "src/a.ts"],
    ["src/**/*.ts", "src"],
    ["src/a*.ts", "src"],
    ["app/[id]/page.tsx", "app"],
    ["{a,b}/c", "."],
    ["src/+(a|b)/c", "src"],
    ["!src", "."],
    ["*", "."],
    [".", "."],
    ["./", "."],
    ["project files", "."],
    ["Src/A.ts", "Src/A.ts"],
    ["...", "..."],
  ];
  test.each(same)("%j means %j", (text, path) => {
    expect(normalizedPath(text)).toBe(path);
  });

  test.each(["", "  ", "/etc/passwd", "..", "../x", "a/../../x", "C:\\x", "src/*/../../..", "a\0b"])(
    "%j leads nobody knows where",
    (text) => {
      expect(normalizedPath(text)).toBeUndefined();
    },
  );

  test("that lead nobody knows where stand for the whole project", () => {
    expect(writing("../x").writes).toEqual([[]]);
  });
});

describe("the ownership map", () => {
  test("keeps a second task from writing what is written, until the first one lets go", () => {
    const map = new OwnershipMap();
    map.hold("t1", writing("src/a.ts"));
    expect(map.blocker(writing("src/b.ts", "src/a.ts"))).toBe("t1");
    expect(map.blocker(writing("src/b.ts"))).toBeUndefined();
    map.release("t1");
    expect(map.blocker(writing("src/a.ts"))).toBeUndefined();
  });

  test("keeps a task from reading what is written and from writing what is read, but not from reading along", () => {
    const map = new OwnershipMap();
    map.hold("writer", writing("./src/a.ts"));
    map.hold("reader", reading("docs"));
    expect(map.blocker(reading("src/a.ts"))).toBe("writer");
    expect(map.blocker(writing("docs/a.md"))).toBe("reader");
    expect(map.blocker(reading("docs/a.md"))).toBeUndefined();
  });

  test("frees the paths of a released task and of no other", () => {
    const map = new OwnershipMap();
    map.hold("t1", writing("a", "c"));
    map.hold("t2", writing("b", "c"));
    map.release("t1");
    map.release("unknown");
    expect(map.blocker(writing("a"))).toBeUndefined();
    expect(map.blocker(writing("b"))).toBe("t2");
    expect(map.blocker(writing("c"))).toBe("t2");
  });

  test.each([
    ["src", "src/a.ts"],
    ["src/a.ts", "src"],
    ["./src/", "src/deep/er/a.ts"],
    ["project files", "docs/a.md"],
    ["docs/a.md", "project files"],
    ["src/*.ts", "src/b"],
  ])("takes %j and %j for one place", (held, wanted) => {
    const map = new OwnershipMap();
    map.hold("t1", writing(held));
    expect(map.blocker(writing(wanted))).toBe("t1");
  });

  test.each([
    ["src", "srcs"],
    ["src/a.ts", "src/A.ts"],
    ["src/a", "src/b"],
  ])("takes %j and %j for two places", (held, wanted) => {
    const map = new OwnershipMap();
    map.hold("t1", writing(held));
    expect(map.blocker(writing(wanted))).toBeUndefined();
  });

  test("has nothing of empty sets", () => {
    const map = new OwnershipMap();
    map.hold("t1", writing());
    expect(map.blocker(writing("project files"))).toBeUndefined();
  });
});

// ---- The rules, written down as plainly as can be

function overlaps(a: string, b: string): boolean {
  return a === "." || b === "." || a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`);
}

function pathsOf(paths: readonly string[]): string[] {
  return [...new Set(paths.map((path) => normalizedPath(path) ?? "."))];
}

const part = fc.constantFrom("a", "b", "aa", "*");
const path = fc.oneof(
  { weight: 8, arbitrary: fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/")) },
  { weight: 1, arbitrary: fc.constantFrom("project files", "./a//b/", "..", "a/../b") },
);
const paths = fc.array(path, { maxLength: 3 });

test("the ownership map agrees with a plain comparison of all pairs", () => {
  const action = fc.record({
    release: fc.boolean(),
    task: fc.integer({ min: 0, max: 7 }).map((n) => `t${n}`),
    read_set: paths,
    write_set: paths,
  });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 25, size: "max" }), (actions) => {
      const map = new OwnershipMap();
      let held: { path: string; task: string; use: "read" | "write" }[] = [];
      for (const { release, task, read_set, write_set } of actions) {
        if (release) {
          map.release(task);
          held = held.filter((one) => one.task !== task);
          continue;
        }
        const writes = pathsOf(write_set);
        const reads = pathsOf(read_set);
        const inTheWay = held
          .filter(
            ({ path: taken, use }) =>
              writes.some((one) => overlaps(taken, one)) ||
              (use === "write" && reads.some((one) => overlaps(taken, one))),
          )
          .map((one) => one.task);
        const footprint = footprintOf({ read_set, write_set });
        const blocker = map.blocker(footprint);
        if (inTheWay.length === 0) expect(blocker).toBeUndefined();
        else expect(inTheWay).toContain(blocker);
        if (held.some((one) => one.task === task)) continue; // a task at work takes its paths once
        map.hold(task, footprint);
        held.push(
          ...writes.map((one) => ({ path: one, task, use: "write" as const })),
          ...reads.map((one) => ({ path: one, task, use: "read" as const })),
        );
      }
    }),
  );
});

describe("a write set", () => {
  test("names nothing by what leads nobody knows where, although such a task keeps all others waiting", () => {
    for (const text of ["../x", "/etc", "", "a/*/../b", "C:\\x"]) {
      expect(isNamed("x", [text]), text).toBe(false);
      expect(writing(text).writes, text).toEqual([[]]);
    }
    expect(isNamed("src/a.ts", ["../x", "src"])).toBe(true);
    expect(isNamed("a.ts", [])).toBe(false);
    expect(isNamed("a.ts", [" project files "])).toBe(true);
  });

  test("covers what lies below a named folder, and no other path but new tests", () => {
    const part = fc.stringMatching(/^[a-z]{1,8}$/);
    fc.assert(
      fc.property(part, fc.array(part, { minLength: 1, maxLength: 4 }), (folder, below) => {
        const path = `${folder}/${below.join("/")}.js`;
        const other = `${folder}x/${below.join("/")}.js`;
        const strayed = (prefix: string) =>
          strayedChanges(
            [path, other].map((one) => ({ path: `p/${one}`, kind: "modified" as const })),
            { prefix, writeSet: [folder] },
          );
        expect(strayed("p/")).toEqual([`p/${other}`]);
        expect(strayed("q/")).toHaveLength(2);
      }),
    );
    const tests = (["added", "modified"] as const).map((kind) => ({ path: "b.test.ts", kind }));
    expect(strayedChanges(tests, { prefix: "", writeSet: ["a"] })).toEqual(["b.test.ts"]);
  });
});
