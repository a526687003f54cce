import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { findTeam } from "../../src/team/find.ts";
import { healthReport, workersOf } from "../../src/team/health.ts";
import { imageOf, NOW, Runs } from "./rig.ts";

const beat = (secondsAgo: number, status = "alive") => ({
  status,
  name: "w",
  ts: new Date(NOW.getTime() - secondsAgo * 1_000).toISOString().replace("Z", "+00:00"),
});

function look(runs: Runs, name: string) {
  const team = findTeam(runs.root, name, runs.ports);
  const { workers, skipped } = workersOf(team, runs.ports);
  return { report: healthReport(team, workers, NOW.toISOString()), workers, skipped };
}

describe("the health of a working team", () => {
  test("goes from healthy over stalled to dead as its heartbeats grow old", async () => {
    await using runs = new Runs();
    await runs.ours("t", { phase: "Executing", holder: "alive" });
    const ages = [-100, 0, 30, 31, 60, 61, 100_000];
    for (const [at, age] of ages.entries()) runs.worker("t", `worker-${at}`, beat(age));
    const { report } = look(runs, "t");
    expect(report.workers.map(({ status }) => status)).toEqual([
      "healthy",
      "healthy",
      "healthy",
      "stalled",
      "stalled",
      "dead",
      "dead",
    ]);
    expect(report.issues_found).toBe(4);
    expect(report.workers[3]?.message).toContain("31s");
    expect(report.workers[0]?.last_heartbeat).toBe(beat(-100).ts);
  });

  test("says what is wrong with a heartbeat that cannot be used", async () => {
    await using runs = new Runs();
    await runs.ours("t", { phase: "Executing", holder: "alive" });
    runs.worker("t", "worker-0");
    runs.worker("t", "worker-1", "{torn");
    runs.worker("t", "worker-2", "[]");
    runs.worker("t", "worker-3", { status: "alive" });
    runs.worker("t", "worker-4", { status: "alive", ts: "yesterday" });
    mkdirSync(join(runs.worker("t", "worker-5"), "heartbeat.json"));
    symlinkSync("/dev/zero", join(runs.worker("t", "worker-6"), "heartbeat.json"));
    runs.worker("t", "worker-7", "x".repeat(100_000));
    runs.worker("t", "worker-8", beat(500, "stopped"));
    expect(look(runs, "t").workers.map(({ status, heartbeat }) => [status, heartbeat])).toEqual([
      ["unknown", "missing"],
      ["stalled", "invalid"],
      ["stalled", "unknown"],
      ["stalled", "alive"],
      ["stalled", "alive"],
      ["dead", "unreadable"],
      ["dead", "unreadable"],
      ["dead", "unreadable"],
      ["healthy", "stopped"],
    ]);
  });

  test("counts lines that are not blank, and leaves out folders that are no workers", async () => {
    await using runs = new Runs();
    await runs.ours("t", { phase: "Executing", holder: "alive" });
    const place = runs.worker("t", "worker-10", beat(1));
    writeFileSync(join(place, "inbox.jsonl"), '{"a":1}\n\n  \t\n{"b":2}\nno newline');
    symlinkSync("/dev/zero", join(place, "outbox.jsonl"));
    runs.worker("t", "worker-9", beat(1));
    mkdirSync(join(runs.team("t"), "workers", "worker-11"));
    mkdirSync(join(runs.team("t"), "workers", "worker-12"));
    writeFileSync(join(runs.team("t"), "workers", "worker-12", "worker-spec.json"), '{"version":9}');
    symlinkSync(place, join(runs.team("t"), "workers", "worker-13"));
    const { workers, skipped } = look(runs, "t");
    expect(
      workers.map(({ worker_id, inbox_count, outbox_count }) => [worker_id, inbox_count, outbox_count]),
    ).toEqual([
      ["worker-9", 0, 0],
      ["worker-10", 3, 0],
    ]);
    expect(skipped).toHaveLength(2);
  });
});

describe("the health of a team that does not work", () => {
  test("finds the workers of a finished or stopped run well, however old their last word is", async () => {
    await using runs = new Runs();
    for (const [name, phase] of [
      ["done", "Complete"],
      ["failed", "Failed"],
      ["stopped", "Shutdown"],
    ] as const) {
      await runs.ours(name, { phase });
      runs.worker(name, "worker-0", beat(1_000_000));
      runs.worker(name, "worker-1", "{torn");
      runs.worker(name, "worker-2");
      const { report } = look(runs, name);
      expect(report.issues_found, name).toBe(0);
      expect(report.workers[0]?.message).toContain("its run has ended");
    }
  });

  test("finds workers dead whose process was killed, whatever their last heartbeat says", async () => {
    await using runs = new Runs();
    await runs.ours("killed", { phase: "Executing", holder: "dead" });
    runs.worker("killed", "worker-0", beat(1));
    expect(look(runs, "killed").report).toMatchObject({ issues_found: 1, workers: [{ status: "dead" }] });
  });

  test("reads a run of 0.5.0, and writes nothing into any run", async () => {
    await using runs = new Runs();
    runs.old("demo");
    await runs.ours("done");
    runs.worker("done", "worker-0", "{torn");
    const before = imageOf(runs.root);
    expect(look(runs, "demo").report).toEqual({
      run_id: "demo",
      checked_at: NOW.toISOString(),
      issues_found: 0,
      workers: [
        {
          worker_id: "worker-0",
          status: "healthy",
          last_heartbeat: "2026-05-25T10:00:05.120+00:00",
          heartbeat_content: '{"status":"alive","name":"worker-0","ts":"2026-05-25T10:00:05.120+00:00"}',
          inbox_count: 2,
          outbox_count: 2,
          message: "stopped: its run has ended",
        },
      ],
    });
    look(runs, "done");
    expect(imageOf(runs.root)).toEqual(before);
  });
});
