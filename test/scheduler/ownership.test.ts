import fc from "fast-check";
import { describe, expect, test } from "vitest";

import {
  footprintOf,
  normalizedPath,
  OwnershipMap,
  readWriteHazards,
  type Claimant,
} from "../../src/scheduler/ownership.ts";

function claimant(id: string, owner: string | null, write_set: string[], read_set: string[] = []): Claimant {
  return { id, owner, read_set, write_set };
}

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
    expect(footprintOf({ read_set: [], write_set: ["../x"] }).writes).toEqual([[]]);
  });
});

describe("the ownership map", () => {
  test("lets one worker take all its paths", () => {
    const map = new OwnershipMap();
    expect(map.register(claimant("t1", "worker-0", ["a", "b"]))).toEqual([]);
    expect(map.register(claimant("t2", "worker-0", ["b", "c"]))).toEqual([]);
  });

  test("names path and both workers when a second one wants the same", () => {
    const map = new OwnershipMap();
    map.register(claimant("t1", "worker-0", ["src/a.ts"]));
    const conflict = {
      path: "src/a.ts",
      existingWorker: "worker-0",
      existingTask: "t1",
      newWorker: "worker-1",
      newTask: "t2",
    };
    expect(map.wouldConflict(claimant("t2", null, ["src/a.ts"]), "worker-1")).toEqual([conflict]);
    expect(map.register(claimant("t2", "worker-1", ["src/a.ts", "src/b.ts"]))).toEqual([conflict]);
    // The free one was taken all the same, the other one was not.
    expect(map.wouldConflict(claimant("t3", null, ["src/b.ts"]), "worker-2")).toHaveLength(1);
    map.release({ id: "t1" });
    expect(map.wouldConflict(claimant("t3", null, ["src/a.ts"]), "worker-2")).toEqual([]);
  });

  test("frees the paths of a released task and of no other", () => {
    const map = new OwnershipMap();
    map.register(claimant("t1", "worker-0", ["a"]));
    map.register(claimant("t2", "worker-0", ["b"]));
    map.release({ id: "t1" });
    map.release({ id: "unknown" });
    expect(map.register(claimant("t3", "worker-1", ["a"]))).toEqual([]);
    expect(map.wouldConflict(claimant("t4", null, ["b"]), "worker-1")).toHaveLength(1);
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
    map.register(claimant("t1", "worker-0", [held]));
    expect(map.wouldConflict(claimant("t2", null, [wanted]), "worker-1")).toHaveLength(1);
  });

  test.each([
    ["src", "srcs"],
    ["src/a.ts", "src/A.ts"],
    ["src/a", "src/b"],
  ])("takes %j and %j for two places", (held, wanted) => {
    const map = new OwnershipMap();
    map.register(claimant("t1", "worker-0", [held]));
    expect(map.wouldConflict(claimant("t2", null, [wanted]), "worker-1")).toEqual([]);
  });

  test("has nothing of a task without owner and of empty sets", () => {
    const map = new OwnershipMap();
    expect(map.register(claimant("t1", null, ["a"]))).toEqual([]);
    expect(map.register(claimant("t2", "worker-0", []))).toEqual([]);
    expect(map.blocker(footprintOf({ read_set: [], write_set: ["project files"] }))).toBeUndefined();
  });

  test("finds one hazard where a task reads what another one writes", () => {
    const reader = claimant("reader", "worker-0", [], ["src/a.ts"]);
    const writer = claimant("writer", "worker-1", ["./src/a.ts"]);
    expect(readWriteHazards(reader, [reader, writer])).toEqual([
      { path: "src/a.ts", readerTask: "reader", writerTask: "writer" },
    ]);
    expect(readWriteHazards(writer, [reader])).toEqual([]);
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
    task: fc.integer({ min: 0, max: 7 }),
    worker: fc.constantFrom("w0", "w1", "w2"),
    read_set: paths,
    write_set: paths,
  });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 25, size: "max" }), (actions) => {
      const map = new OwnershipMap();
      let held: { path: string; task: string; worker: string; use: "read" | "write" }[] = [];
      for (const { release, task, worker, read_set, write_set } of actions) {
        const id = `t${task}`;
        if (release) {
          map.release({ id });
          held = held.filter((one) => one.task !== id);
          continue;
        }
        const asked = { id, owner: worker, read_set, write_set };
        const writes = pathsOf(write_set);
        const reads = pathsOf(read_set);
        const against = (one: string): string[] => [
          ...new Set(
            held
              .filter((h) => h.use === "write" && h.worker !== worker && overlaps(h.path, one))
              .map((h) => h.task),
          ),
        ];
        const expected = writes.flatMap((one) => against(one).map((existing) => `${one} ${existing}`)).sort();
        const told = (found: { path: string; existingTask: string }[]): string[] =>
          found.map((one) => `${one.path} ${one.existingTask}`).sort();
        expect(told(map.wouldConflict(asked, worker))).toEqual(expected);
        const isBlocked = held.some(
          (h) =>
            (writes.some((one) => overlaps(h.path, one)) && (h.use === "read" || h.use === "write")) ||
            (h.use === "write" && reads.some((one) => overlaps(h.path, one))),
        );
        const blocker = map.blocker(footprintOf(asked));
        expect(blocker !== undefined).toBe(isBlocked);
        if (blocker !== undefined) expect(held.map((h) => h.task)).toContain(blocker);
        if (held.some((h) => h.task === id)) continue; // a task at work is registered once
        const free = writes.filter((one) => against(one).length === 0);
        expect(told(map.register(asked))).toEqual(expected);
        held.push(
          ...free.map((one) => ({ path: one, task: id, worker, use: "write" as const })),
          ...reads.map((one) => ({ path: one, task: id, worker, use: "read" as const })),
        );
      }
    }),
  );
});
