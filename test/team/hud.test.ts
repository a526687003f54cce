import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { Disk } from "../../src/ports.ts";
import { Hud, withoutControls } from "../../src/team/hud.ts";
import { imageOf, NOW, Runs } from "./rig.ts";

let number = 0;

/** A line as 0.5.0 wrote it. */
function legacy(kind: string, actor: string | null, payload?: object, ts = "2026-05-25T10:01:00Z"): string {
  const id = `00000000-0000-4000-8000-${String(++number).padStart(12, "0")}`;
  return `${JSON.stringify({ id, run_id: "demo", ts, schema_version: 1, kind, actor, ...(payload && { payload }) })}\n`;
}

const task = (kind: string, worker: string, id: string) =>
  legacy(kind, worker, { task_id: id, worker_id: worker });

const state = (id: string, to: string, kind = "task_started", actor = "worker-0") => ({
  kind,
  actor,
  payload: { task_id: id, worker_id: actor },
  changes: [{ file: "tasks.jsonl", id, set: { state: to } }],
});

/** The ports of a state folder, which count the bytes that are read. */
function counting(runs: Runs): { ports: Runs["ports"]; bytes: () => number } {
  let bytes = 0;
  const { disk } = runs.ports;
  const counted: Disk = {
    ...disk,
    open(path, how) {
      const file = disk.open(path, how);
      return {
        size: () => file.size(),
        modifiedMs: () => file.modifiedMs(),
        read(into, position) {
          const got = file.read(into, position);
          bytes += got;
          return got;
        },
        write: (given) => file.write(given),
        truncate: (size) => file.truncate(size),
        sync: () => file.sync(),
        close: () => file.close(),
      };
    },
  };
  return { ports: { ...runs.ports, disk: counted }, bytes: () => bytes };
}

describe("the text of the HUD", () => {
  test("has the lines of 0.5.0", async () => {
    await using runs = new Runs();
    const tasks = ["a", "b", "c", "d", "e"].map((id) => ({ id, state: "pending" }));
    const events = [
      state("a", "claimed", "task_claimed"),
      state("a", "completed", "task_completed"),
      state("b", "claimed", "task_claimed", "worker-1"),
      { ...state("b", "pending", "retry_scheduled", "scheduler"), payload: { task_id: "b", reason: "x" } },
      state("b", "running", "task_claimed"),
      state("c", "failed", "task_failed", "worker-1"),
      { kind: "gate_failed", actor: null, payload: { gate_id: "g1", name: "lint", required: true } },
      { kind: "gate_failed", actor: null, payload: { gate_id: "g2", name: "tests", required: true } },
      { kind: "proof_written", actor: null, payload: { status: "not_ready" } },
      { kind: "proof_written", actor: null, payload: { status: "failed" } },
    ];
    await runs.ours("fix", { phase: "Executing", tasks, events, holder: "alive" });
    const at = (seconds: number) => ({
      status: "alive",
      ts: new Date(NOW.getTime() + 3_723_999 - seconds * 1_000).toISOString(),
    });
    runs.worker("fix", "worker-0", at(4));
    runs.worker("fix", "worker-1", at(40));
    runs.worker("fix", "worker-2", at(400));
    runs.worker("fix", "worker-3");
    runs.clock.setWall(new Date(NOW.getTime() + 3_723_999));
    const text = Hud.open(runs.root, "fix", runs.ports).text();
    expect(text.split("\n")).toEqual([
      "OMK HUD — team: fix | run: fix",
      "━".repeat(38),
      "Workers: 4 total | 1 healthy | 1 stalled | 1 dead",
      "Tasks:   5 total | 1 completed | 1 running | 2 pending | 1 failed",
      "Runtime: 1:02:03",
      "Events:  11",
      "Gate:    tests (failed)",
      "Proof:   failed",
      "━".repeat(38),
      "[worker-0] ✅ Busy | age: 4s | task: b | retries: 1 | gates: failed",
      "[worker-1] ⚠️ Stalled | age: 40s | task: - | retries: 0 | gates: failed",
      "[worker-2] ❌ Dead | age: 400s | task: - | retries: 0 | gates: failed",
      "[worker-3] ❓ Unknown | age: N/A | task: - | retries: 0 | gates: failed",
    ]);
  });

  test("forgets a red gate that has passed since", async () => {
    await using runs = new Runs();
    const gate = (kind: string, name: string) => ({
      kind,
      actor: null,
      payload: { gate_id: name, name, required: true },
    });
    await runs.ours("fix", {
      events: [gate("gate_failed", "tests"), gate("gate_failed", "lint"), gate("gate_passed", "lint")],
    });
    expect(Hud.open(runs.root, "fix", runs.ports).snapshot().latest_failed_gate).toBe("tests");
  });

  test("holds nothing that steers a terminal", () => {
    for (const [given, shown] of [
      ["a\u001b[31mred\u001b[0m", "ared"],
      ["a\u001b]0;title\u0007b", "ab"],
      ["a\u001b]0;title\u001b\\b", "ab"],
      ["a\u001bPdcs\u001b\\b\u001b_apc\u001b\\c\u001b^pm\u001b\\d\u001bXsos\u001b\\e", "abcde"],
      ["a\u001b(Bb\u001b7c\u001bcd", "abcd"],
      ["a\u009b31mb\u009dtitle\u009cc", "abc"],
      ["a\u001b]never ends", "a"],
      ["a\u001b[31", "a"],
      ["a\u001b", "a"],
      ["tab\tnewline\n😀 é", "tab\tnewline\n😀 é"],
      ["b\u0007e\u0000l\u007f", "bel"],
    ] as const) {
      expect(withoutControls(given), JSON.stringify(given)).toBe(shown);
    }
    fc.assert(
      fc.property(
        fc.array(
          fc.constantFrom("\u001b", "[", "]", "\\", "\u0007", "\u009b", "m", "1", ";", "a", "\n", "(", "P"),
          { maxLength: 30 },
        ),
        (parts) => {
          const once = withoutControls(parts.join(""));
          expect(once).not.toMatch(/(?![\t\n])\p{Cc}/u);
          expect(withoutControls(once)).toBe(once);
        },
      ),
    );
  });
});

describe("the counters of the HUD", () => {
  test("tell pending from nothing, count a retried task as pending, and the summing up as no task", async () => {
    await using runs = new Runs();
    const tasks = ["a", "b", "c"].map((id) => ({ id, state: "pending" }));
    const summary = {
      kind: "task_completed",
      actor: "synthesis-agent",
      payload: { task_id: "synthesis", summary: "done" },
    };
    await runs.ours("fix", {
      tasks,
      events: [
        state("a", "running"),
        state("a", "completed", "task_completed"),
        state("b", "cancelled", "task_failed"),
        summary,
      ],
    });
    expect(Hud.open(runs.root, "fix", runs.ports).snapshot().task_summary).toEqual({
      total: 3,
      completed: 1,
      running: 0,
      pending: 1,
      failed: 1,
    });
  });

  test("of a run of 0.5.0 come from its state, or from its events where that lists none", async () => {
    await using runs = new Runs();
    const folder = runs.old("demo");
    expect(Hud.open(runs.root, "demo", runs.ports).snapshot().task_summary).toMatchObject({
      total: 2,
      completed: 1,
      running: 1,
    });
    const path = join(folder, "team-state.json");
    writeFileSync(
      path,
      JSON.stringify({ ...(JSON.parse(readFileSync(path, "utf8")) as object), phase: "Planning", tasks: [] }),
    );
    const lines = [
      task("task_claimed", "worker-0", "a"),
      task("task_started", "worker-0", "a"),
      task("task_completed", "worker-0", "a"),
      task("task_claimed", "worker-0", "b"),
      legacy("retry_scheduled", "scheduler", { task_id: "b", reason: "x" }),
      task("task_started", "worker-1", "c"),
      task("task_failed", "worker-1", "d"),
      legacy("task_completed", "synthesis-agent", { task_id: "synthesis" }),
    ];
    writeFileSync(join(folder, "events.jsonl"), lines.join(""));
    expect(Hud.open(runs.root, "demo", runs.ports).snapshot().task_summary).toEqual({
      total: 4,
      completed: 1,
      running: 1,
      pending: 1,
      failed: 1,
    });
  });
});

describe("following a run", () => {
  test("reads only what was added, and sees the end", async () => {
    await using runs = new Runs();
    const folder = runs.old("demo");
    const log = join(folder, "events.jsonl");
    const snapshot = readFileSync(join(folder, "team-state.json"), "utf8");
    writeFileSync(join(folder, "team-state.json"), snapshot.replace("Shutdown", "Planning"));
    writeFileSync(
      log,
      legacy("run_started", null) +
        Array.from({ length: 2_000 }, () => task("task_output", "worker-0", "a")).join(""),
    );
    const { ports, bytes } = counting(runs);
    const hud = Hud.open(runs.root, "demo", ports);
    const whole = bytes();
    expect(hud.hasEnded).toBe(false);
    const added = task("task_started", "worker-0", "a");
    appendFileSync(log, added + legacy("run_completed", null).slice(0, 20));
    hud.refresh();
    expect(hud.snapshot()).toMatchObject({ event_count: 2_002 });
    expect(bytes() - whole).toBeLessThan(10_000);
    appendFileSync(log, "torn\n" + legacy("run_completed", null, undefined, "2026-05-25T10:02:03Z"));
    hud.refresh();
    expect(hud.hasEnded).toBe(true);
    expect(hud.text()).toContain("Runtime: 0:01:03\n");
    hud.refresh();
    expect(hud.snapshot().event_count).toBe(2_003);
    // Another log under the same name.
    writeFileSync(log, legacy("run_started", null));
    hud.refresh();
    expect(hud.snapshot().event_count).toBe(1);
  });

  test("reads anew when an event keeps its tasks elsewhere, and shows what there is when they are gone", async () => {
    await using runs = new Runs();
    const many = Array.from({ length: 3_000 }, (_, at) => ({
      id: `t${at}`,
      state: "pending",
      note: "x".repeat(100),
    }));
    const folder = await runs.ours("fix", {
      phase: "Executing",
      holder: "alive",
      later: [
        {
          kind: "decomposition_recorded",
          actor: "scheduler",
          changes: [{ file: "tasks.jsonl", set: { tasks: many } }],
        },
      ],
    });
    const hud = Hud.open(runs.root, "fix", runs.ports);
    expect(hud.snapshot().task_summary.pending).toBe(3_000);
    hud.refresh();
    expect(hud.snapshot().task_summary.pending).toBe(3_000);
    runs.ports.disk.removeTree(join(folder, "blobs"));
    writeFileSync(
      join(folder, "team-state.json"),
      JSON.stringify({
        ...(JSON.parse(readFileSync(join(folder, "team-state.json"), "utf8")) as object),
        seq: undefined,
      }),
    );
    expect(Hud.open(runs.root, "fix", runs.ports).snapshot().event_count).toBe(2);
  });

  test("ends when the process that did the work is gone", async () => {
    await using runs = new Runs();
    await runs.ours("killed", { phase: "Executing", holder: "dead" });
    expect(Hud.open(runs.root, "killed", runs.ports).hasEnded).toBe(true);
  });
});

describe("the JSON of the HUD", () => {
  test("has the keys of 0.5.0, writes nothing, and holds no more events than it says", async () => {
    await using runs = new Runs();
    runs.old("demo");
    const before = imageOf(runs.root);
    const snapshot = Hud.open(runs.root, "demo", runs.ports).snapshot();
    expect(imageOf(runs.root)).toEqual(before);
    expect(snapshot).toMatchObject({
      run_id: "demo",
      team_name: "demo",
      start_time: "2026-05-14T08:55:00Z",
      event_count: 4,
      events_omitted: 0,
    });
    expect(snapshot.events.map(({ kind }) => kind)).toEqual([
      "run_started",
      "worker_started",
      "task_output",
      "task_failed",
    ]);
    expect(Object.keys(snapshot.workers[0] ?? {}).sort()).toEqual(
      [
        "heartbeat_content",
        "inbox_count",
        "last_heartbeat",
        "message",
        "outbox_count",
        "status",
        "worker_id",
      ].sort(),
    );
    expect(snapshot).not.toHaveProperty("proof_status");
    const lines = Array.from({ length: 10_005 }, (_, at) => legacy("task_output", `worker-${at}`));
    writeFileSync(join(runs.team("demo"), "events.jsonl"), lines.join(""));
    const large = Hud.open(runs.root, "demo", runs.ports).snapshot();
    expect(large).toMatchObject({ event_count: 10_005, events_omitted: 5, events: { length: 10_000 } });
    expect([large.events[0]?.actor, large.events.at(-1)?.actor]).toEqual(["worker-5", "worker-10004"]);
  });
});
