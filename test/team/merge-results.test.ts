import { describe, expect, test } from "vitest";

import type { Task } from "../../src/format/run.ts";
import type { RunAttempt } from "../../src/format/team-work.ts";
import type { TreeChange } from "../../src/git/private-git.ts";
import { cutOff, lastConflict, lessonsOf, neededResults, whyNotTaken } from "../../src/team/merge-results.ts";

function task(id: string, given: Partial<Task> = {}): Task {
  const policy = { max_attempts: 2, backoff_seconds: 1, backoff_multiplier: 2 };
  return {
    id,
    name: "subtask",
    description: id,
    dependencies: [],
    priority: 0,
    owner: null,
    lease_expires: null,
    retry_count: 0,
    retry_policy: { ...policy, terminal_on_permanent_failure: true },
    state: "pending",
    created_at: "2026-01-01T00:00:00Z",
    started_at: null,
    completed_at: null,
    read_set: [],
    write_set: [],
    ...given,
  };
}

function attempt(number: number, given: Partial<RunAttempt>): RunAttempt {
  return {
    id: String(number),
    task_id: "t",
    number,
    worker_id: "worker-0",
    spawn_id: "s",
    status: "ended",
    outcome: "finished",
    outcome_code: null,
    summary: null,
    usage: null,
    counted: true,
    started_at: "2026-01-01T00:00:00Z",
    ended_at: null,
    evidence: [],
    ...given,
  };
}

function changed(path: string, kind: TreeChange["kind"] = "modified"): TreeChange {
  return {
    path,
    kind,
    old_mode: kind === "added" ? null : "100644",
    new_mode: kind === "deleted" ? null : "100644",
  };
}

describe("a task starts with", () => {
  const merged = { results: { a: "A", b: "B", c: "C" }, order: ["c", "a", "b"] };

  test("nothing but the base when it needs nobody", () => {
    const tasks = [task("a"), task("b"), task("c"), task("d")];
    expect(neededResults(task("d"), tasks, merged)).toEqual([]);
  });

  test("what it waits for, and what those waited for, in the order in which it was taken", () => {
    const tasks = [
      task("a"),
      task("b", { dependencies: ["a"] }),
      task("empty", { dependencies: ["b"] }),
      task("c"),
    ];
    expect(neededResults(task("d", { dependencies: ["empty"] }), tasks, merged)).toEqual(["a", "b"]);
  });

  test("what was written where it reads or writes", () => {
    const tasks = [task("a", { write_set: ["src"] }), task("b", { write_set: ["docs"] }), task("c")];
    expect(neededResults(task("d", { write_set: ["src/x.ts"] }), tasks, merged)).toEqual(["a"]);
    expect(neededResults(task("d", { read_set: ["docs/**"] }), tasks, merged)).toEqual(["b"]);
  });
});

function whyNot(changes: TreeChange[], writeSet: string[] = [], more = {}) {
  return whyNotTaken({ changes, writeSet, prefix: "", leftOut: [], ...more });
}

describe("a result", () => {
  test("may change anything where its task names no paths", () => {
    expect(whyNot([changed("a.js"), changed("b/c.js", "deleted")])).toBeUndefined();
  });

  test("is refused where it leaves the write set, new tests apart", () => {
    const set = ["src/**"];
    expect(whyNot([changed("src/a.ts"), changed("test/a.test.ts", "added")], set)).toBeUndefined();
    expect(whyNot([changed("src/a.ts"), changed("test/a.test.ts")], set)).toEqual({
      code: "write_set_violated",
      because: "it changed test/a.test.ts, and may only write src/** and new tests",
    });
  });

  test("is measured from where the project lies, and may not reach outside it", () => {
    expect(whyNot([changed("part/a.js")], ["a.js"], { prefix: "part/" })).toBeUndefined();
    const outside = whyNot([changed("a.js")], ["a.js"], { prefix: "part/" });
    expect(outside).toMatchObject({ code: "outside_project" });
  });

  test("is refused where it touches what steers git or omk, or holds a repository or what git cannot hold", () => {
    for (const path of [".gitmodules", "sub/.GIT/config", ".omk/gates.toml"])
      expect(whyNot([changed(path)]), path).toMatchObject({ code: "refused_change" });
    const repository = { ...changed("lib", "added"), new_mode: "160000" };
    expect(whyNot([repository])).toMatchObject({ code: "refused_change" });
    expect(whyNot([], [], { leftOut: [".git::$x"] })).toMatchObject({
      code: "refused_change",
      because: expect.stringContaining("git takes no such name") as string,
    });
  });
});

describe("the next attempt", () => {
  test("is told of every result that was not taken, and where its own changes are after a conflict", () => {
    const conflict = { onto: "H", files: ["a.js"], kinds: ["CONFLICT (contents)"] };
    const earlier = [
      attempt(1, { outcome: "rejected", summary: "it changed b.js" }),
      attempt(2, { outcome: "failed", summary: "the agent crashed" }),
      attempt(3, { outcome: "rejected", summary: "it does not merge", onto: "B", commit: "C", conflict }),
    ];
    expect(lastConflict(earlier)?.number).toBe(3);
    expect(lessonsOf(earlier)).toEqual([
      "Attempt 1 was not taken: it changed b.js",
      "Attempt 3 was not taken: it does not merge",
      expect.stringContaining("`git diff B C` shows it."),
      expect.stringContaining("keep what the others did"),
    ]);
  });

  test("goes on with the files of one that was cut off, and of no other", () => {
    const left = { onto: "B", left_tree: "T" };
    expect(cutOff([attempt(1, { ...left, status: "interrupted", counted: false })])?.number).toBe(1);
    expect(cutOff([attempt(1, { ...left, outcome: "over_budget", counted: false })])?.number).toBe(1);
    expect(cutOff([attempt(1, { ...left, outcome: "failed" })])).toBeUndefined();
    expect(cutOff([attempt(1, { ...left, status: "lost" })])).toBeUndefined();
    const before = attempt(2, { status: "interrupted", counted: false });
    expect(cutOff([before])).toBeUndefined();
    expect(cutOff([attempt(1, { ...left, status: "interrupted", counted: false }), before])?.number).toBe(1);
    expect(cutOff([attempt(1, { ...left, outcome: "failed" }), before])).toBeUndefined();
  });
});
