/** What a result of a slice is refused for, and where its next attempt begins: rules alone. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { GateDefinition, GateResult } from "../../src/format/gate.ts";
import type { Attempt } from "../../src/format/work.ts";
import type { TreeChange } from "../../src/git/work-tree.ts";
import {
  decidingGates,
  hasMarkers,
  judgeChanges,
  judgeGates,
  type SliceChanges,
} from "../../src/goal/slice-checks.ts";
import { attemptStart } from "../../src/goal/slice-start.ts";

function changed(path: string, kind: TreeChange["kind"] = "modified"): TreeChange {
  return {
    path,
    kind,
    old_mode: kind === "added" ? null : "100644",
    new_mode: kind === "deleted" ? null : "100644",
  };
}

function result(given: Partial<SliceChanges>): SliceChanges {
  return { changes: [], prefix: "", writeSet: ["src"], isAllowed: () => false, leftOut: [], ...given };
}

describe("the changes of a slice", () => {
  const cases: [string, Partial<SliceChanges>, string | undefined][] = [
    ["in its write set", { changes: [changed("src/a.js"), changed("src/b/c.js", "added")] }, undefined],
    ["beside its write set", { changes: [changed("srcs/a.js")] }, "write_set_violated"],
    ["that delete elsewhere", { changes: [changed("lib.js", "deleted")] }, "write_set_violated"],
    ["that add tests elsewhere", { changes: [changed("test/new.test.js", "added")] }, undefined],
    ["to tests elsewhere", { changes: [changed("test/old.test.js")] }, "write_set_violated"],
    [
      "that a person let pass",
      { changes: [changed("lib.js")], isAllowed: (path) => path === "lib.js" },
      undefined,
    ],
    ["anywhere, where it may", { changes: [changed("lib.js")], writeSet: ["project files"] }, undefined],
    [
      "outside the project",
      { changes: [changed("other/a.js")], prefix: "app/", writeSet: ["project files"] },
      "write_set_violated",
    ],
    ["of a part of a repository", { changes: [changed("app/src/a.js")], prefix: "app/" }, undefined],
    ["that are none", {}, "nothing_changed"],
    ["that are none, where git has merged", { unsolved: [] }, undefined],
    ["with markers", { changes: [changed("src/a.js")], unsolved: ["src/a.js"] }, "conflict_left"],
    ["of git's own", { changes: [changed(".gitmodules")] }, "refused_change"],
    [
      "under names that no tree has",
      { changes: [changed("src/a.js")], leftOut: [".GIT/x"] },
      "refused_change",
    ],
    [
      "that bring a repository",
      { changes: [{ ...changed("src/inner", "added"), new_mode: "160000" }] },
      "refused_change",
    ],
  ];
  test.each(cases)("%s", (_name, given, code) => {
    expect(judgeChanges(result(given))?.code).toBe(code);
  });

  test("that are wrong in several ways are told in all of them", () => {
    const found = judgeChanges(
      result({ changes: [changed("lib.js"), changed(".omk/gates.toml")], unsolved: ["src/a.js"] }),
    );
    expect(found?.code).toBe("refused_change");
    const told = found?.faults.map(({ details = "" }) => details).join("\n");
    for (const path of ["lib.js", ".omk/gates.toml", "src/a.js"]) expect(told).toContain(`\`${path}\``);
  });

  test("are never taken with a path that neither the write set nor a person allows", () => {
    const paths = fc.array(fc.constantFrom("src/a", "src/b/c", "lib/a", "srcx", "a"), { minLength: 1 });
    fc.assert(
      fc.property(paths, fc.boolean(), (names, isAllowed) => {
        const unique = [...new Set(names)];
        const found = judgeChanges(
          result({
            changes: unique.map((name) => changed(name)),
            isAllowed: (path) => isAllowed && path === "a",
          }),
        );
        const strayed = unique.filter((path) => !path.startsWith("src/") && !(isAllowed && path === "a"));
        expect(found?.code).toBe(strayed.length > 0 ? "write_set_violated" : undefined);
        for (const path of strayed) expect(found?.faults[0]?.details).toContain(`- \`${path}\``);
      }),
    );
  });
});

test("a conflict is solved when no line marks it that neither side has", () => {
  const left = "a\n<<<<<<< ours\nb\n=======\nc\n>>>>>>> theirs\n";
  expect(hasMarkers(left, ["a\nb\n", "a\nc\n"])).toBe(true);
  expect(hasMarkers("a\nb\nc\n", ["a\nb\n", "a\nc\n"])).toBe(false);
  expect(hasMarkers("a\n>>>>>>> theirs\n", ["a\n", "a\n"])).toBe(true);
  // A text about conflicts, and a heading that is underlined.
  expect(hasMarkers(left, [left, "a\n"])).toBe(false);
  expect(hasMarkers("Heading\n=======\n", ["a\n", "b\n"])).toBe(false);
});

describe("the gates of a slice", () => {
  const gate = (name: string, more: object = {}) =>
    GateDefinition.parse({ name, command: "true", source: "config", ...more });
  const of = (name: string, verdict: GateResult["verdict"]) =>
    GateResult.parse({
      name,
      verdict,
      passed: verdict === "passed",
      stdout: "said\n".repeat(10_000),
      stderr: "",
      duration_ms: 1,
      required: true,
    });

  test("are those that were green before it: the others are for whoever mends them", () => {
    const all = [gate("green"), gate("red"), gate("new"), gate("optional", { required: false })];
    const baseline = [of("green", "passed"), of("red", "failed"), of("optional", "passed")];
    expect(decidingGates(all, baseline).map(({ name }) => name)).toEqual(["green"]);
  });

  test("send it back when one does not pass, with what that said last", () => {
    expect(judgeGates([of("a", "passed")])).toBeUndefined();
    const found = judgeGates([of("a", "passed"), of("b", "timed_out"), of("c", "ran_nothing")]);
    expect(found?.code).toBe("gates_red");
    expect(found?.faults.map(({ heading }) => heading)).toEqual([
      expect.stringContaining("Gate b"),
      expect.stringContaining("Gate c"),
    ]);
    for (const { details = "" } of found?.faults ?? []) expect(details.length).toBeLessThanOrEqual(12_000);
  });
});

describe("the next attempt at a slice", () => {
  const attempt = (number: number, given: Partial<Attempt>): Attempt => ({
    task_id: "t",
    number,
    fence: number,
    run_key: `t/${number}`,
    spawn_id: "s",
    status: "ended",
    outcome: "rejected",
    outcome_code: null,
    start_tree: "s",
    result_tree: `r${number}`,
    started_at: "2026-01-01T00:00:00Z",
    ended_at: null,
    summary: null,
    usage: null,
    counted: true,
    ...given,
  });
  const red = { outcome_code: "gates_red" };
  const strayed = { outcome_code: "write_set_violated" };
  const crashed = { outcome: "failed", outcome_code: "crashed" };
  const quota = { outcome: "failed", outcome_code: "quota", counted: false };
  const paused = { status: "interrupted", outcome: "cancelled", counted: false } as const;
  const killed = { status: "interrupted", outcome: null, counted: false, result_tree: null } as const;
  const rescue = { ref: "refs/omk/rescue/g/t", commit: "c" };
  const cases: [string, Partial<Attempt>[], number | "start"][] = [
    ["is the first", [], "start"],
    ["follows red gates", [red], 1],
    ["follows a violation", [strayed], "start"],
    ["follows a crash", [crashed], "start"],
    ["follows a crash after red gates", [red, crashed], 1],
    ["follows a violation after red gates", [red, strayed], 1],
    ["follows a pause", [paused], 1],
    ["follows a quota stop", [strayed, quota], 2],
    ["follows a kill whose folder was rescued", [red, { ...killed, rescue }], 2],
    ["follows a kill that left nothing", [red, killed], 1],
    ["follows a pause and then a folder that could not be made", [paused, killed, killed], 1],
    ["follows a crash after a pause", [paused, crashed], "start"],
  ];
  test.each(cases)("that %s", (_name, earlier, from) => {
    const start = attemptStart(earlier.map((one, at) => attempt(at + 1, one)));
    expect(start.from === "start" ? "start" : start.attempt.number).toBe(from);
  });
});
