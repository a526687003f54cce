/** A goal that 0.5.0 made: everything reads it and nothing changes it, until it is cancelled. */
import { createHash } from "node:crypto";
import {
  appendFileSync,
  cpSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { NumberText, parseJson } from "../../src/format/json.ts";
import { Place } from "../support/cli.ts";

const FIXTURE = join(import.meta.dirname, "../fixtures/v0.5.0/goal");
const ID = "goal-20260514-085416-149-ea263039";

/** A state folder with that goal in it. */
function withOldGoal(): Place & { folder050: string } {
  const place = new Place();
  const folder050 = join(place.state, "goals", ID);
  mkdirSync(join(place.state, "goals"), { recursive: true, mode: 0o700 });
  cpSync(FIXTURE, folder050, { recursive: true });
  return Object.assign(place, { folder050 });
}

/** Every file with its bytes and times: what reading must not change. */
function imageOf(folder: string): Record<string, string> {
  const image: Record<string, string> = {};
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) {
    const found = lstatSync(join(folder, name));
    const bytes = found.isFile()
      ? createHash("sha256")
          .update(readFileSync(join(folder, name)))
          .digest("hex")
      : "folder";
    image[name] = `${bytes} ${found.mode} ${found.mtimeMs}`;
  }
  return image;
}

const READING = [
  ["goal", "list"],
  ["goal", "list", "--json"],
  ["goal", "status"],
  ["goal", "status", "--json"],
  ["goal", "show"],
  ["goal", "show", "--format", "md"],
  ["goal", "show", "--json"],
  ["goal", "proof"],
  ["goal", "proof", "--format", "md"],
  ["goal", "proof", "--json"],
  ["goal", "replay"],
  ["goal", "replay", "--format", "md"],
  ["goal", "replay", "--json"],
];

const WORKING = [
  ["goal", "verify"],
  ["goal", "execute"],
  ["goal", "review"],
  ["goal", "resume"],
  ["goal", "accept", "--summary", "fine"],
  ["goal", "reject", "--reason", "no"],
];

describe("a goal of 0.5.0", () => {
  test("is read by every reading command, and nothing of it is touched", { timeout: 60_000 }, async () => {
    using place = withOldGoal();
    const before = imageOf(place.state);
    for (const args of READING) {
      const ran = await place.run(...args);
      expect(ran, args.join(" ")).toMatchObject({ status: 0, stderr: "" });
      expect(ran.stdout, args.join(" ")).toContain(ID);
      if (args.includes("--json")) expect(() => JSON.parse(ran.stdout), args.join(" ")).not.toThrow();
    }
    expect(imageOf(place.state)).toEqual(before);
  });

  test(
    "is refused by every command that would work on it, with what to do instead, and nothing is touched",
    { timeout: 60_000 },
    async () => {
      using place = withOldGoal();
      const before = imageOf(place.state);
      for (const args of WORKING) {
        const ran = await place.run(...args);
        expect(ran.status, args.join(" ")).toBe(1);
        expect(ran.stderr, args.join(" ")).toContain("project directory");
        expect(ran.stderr, args.join(" ")).toContain("omk goal run");
      }
      // The log for investigation is all that is new.
      const after = Object.entries(imageOf(place.state)).filter(([name]) => !/^logs(?:\/|$)/.test(name));
      expect(Object.fromEntries(after)).toEqual(before);
    },
  );

  test("has a proof that is shown as it is, and cannot be checked because it names nothing by digest", async () => {
    using place = withOldGoal();
    const shown = await place.run("goal", "proof", "--json");
    expect(shown.stdout).toBe(`${readFileSync(join(FIXTURE, "proof.json"), "utf8")}\n`);
    const checked = await place.run("proof", "verify");
    expect(checked.status).toBe(1);
    expect(checked.stderr).toContain("0.5.0");
    expect(checked.stderr).toContain(`omk goal proof ${ID}`);
  });

  test("is shown with its numbers as they were written", async () => {
    using place = withOldGoal();
    const shown = await place.run("goal", "show", "--json");
    expect(shown.stdout).toContain('"budget_tokens": 18446744073709551615,');
    expect(shown.stdout).toContain('"budget_usd": 5.0,');
    const text = await place.run("goal", "show");
    expect(text.stdout).toContain("\nBudget USD: 5.000000\n");
    expect(text.stdout).toContain("\nBudget tokens: 18446744073709551615\n");
  });

  test(
    "has a proof rebuilt from its state and its graph when the file is missing or damaged",
    { timeout: 60_000 },
    async () => {
      using place = withOldGoal();
      rmSync(join(place.folder050, "proof.json"));
      const before = imageOf(place.state);
      const { stdout, status } = await place.run("goal", "proof", "--json");
      expect(status).toBe(0);
      const proof = JSON.parse(stdout) as {
        known_gaps: string[];
        recovery_status: string;
        task_graph_summary: object;
      };
      expect(proof.recovery_status).toMatch(/^recovered:/);
      expect(proof.known_gaps.join("\n")).toContain("Proof file");
      expect(proof.task_graph_summary).toEqual({
        total_tasks: 8,
        pending_tasks: 3,
        blocked_tasks: 1,
        done_tasks: 4,
      });
      expect(imageOf(place.state)).toEqual(before);

      rmSync(join(place.folder050, "task-graph.json"));
      appendFileSync(join(place.folder050, "proof.json"), "{half");
      const text = await place.run("goal", "proof");
      expect(text.status).toBe(0);
      expect(text.stdout).toContain("Proof file");
      expect(text.stdout).toContain("Task graph");
      expect(text.stdout).toContain("Tasks: 0");
      expect(text.stdout).toContain("Recovery: recovered:");
    },
  );
});

describe("the replay of a goal of 0.5.0", () => {
  interface Replay {
    event_count: number;
    parse_failures: number;
    duplicate_events: number;
    generated_at: string;
    known_gaps?: string[];
    recovery_status?: string;
    timeline: { index: number; kind: string; ts: string; actor?: string; summary?: string }[];
  }

  async function replayed(place: Place): Promise<Replay> {
    const ran = await place.run("goal", "replay", "--json");
    expect(ran).toMatchObject({ status: 0, stderr: "" });
    return JSON.parse(ran.stdout) as Replay;
  }

  test("has its events in order, without gaps when nothing is wrong, and always the same", async () => {
    using place = withOldGoal();
    const replay = await replayed(place);
    expect(replay).toMatchObject({ event_count: 12, parse_failures: 0, duplicate_events: 0 });
    expect(replay).not.toHaveProperty("known_gaps");
    expect(replay).not.toHaveProperty("recovery_status");
    expect(replay.timeline[1]).toEqual({
      index: 1,
      ts: "2026-05-14T08:54:17Z",
      kind: "task_started",
      actor: "goal-controller",
      summary: "task_id=goal-intake, worker_id=goal-controller",
    });
    // An id of an older log is an object whose key 0 holds the text; without a known key the payload is shown whole.
    expect(replay.timeline[7]?.summary).toBe("task_id=goal-agent-implement, worker_id=goal-agent-worker-0");
    expect(replay.timeline[0]?.summary).toContain('"mode":"goal"');
    expect(replay.timeline[11]).not.toHaveProperty("summary");
    expect(replay.generated_at).toBe(replay.timeline[11]?.ts);
    expect(await replayed(place)).toEqual(replay);
  });

  test("counts malformed lines wherever they are, and leaves blank ones out", async () => {
    using place = withOldGoal();
    const log = join(place.folder050, "events.jsonl");
    const first = readFileSync(log, "utf8").split("\n", 1)[0] ?? "";
    appendFileSync(log, "\nnot json\n   \n{}\n");
    appendFileSync(
      log,
      `${first.replace("00000001", "0000000d")}\n{"id":"x","ts":"2026-05-14T08:54:17Z"}\n{half\n`,
    );
    const replay = await replayed(place);
    expect(replay).toMatchObject({ event_count: 13, parse_failures: 4, duplicate_events: 0 });
    expect(replay.known_gaps?.join("\n")).toContain("malformed");
    expect(replay.recovery_status).toMatch(/^partial/);
  });

  test("collapses duplicates to the first and keeps positions", async () => {
    using place = withOldGoal();
    const log = join(place.folder050, "events.jsonl");
    const lines = readFileSync(log, "utf8").split("\n");
    appendFileSync(log, `${lines[3]}\n${lines[11]?.replace("0000000c", "0000000d")}\n`);
    const replay = await replayed(place);
    expect(replay).toMatchObject({ event_count: 13, parse_failures: 0, duplicate_events: 1 });
    expect(replay.timeline.at(-1)?.index).toBe(13);
    expect(replay.known_gaps?.join("\n")).toContain("duplicate");
    expect(replay.recovery_status).toMatch(/^recovered/);
  });

  test("is partial without a task graph, and empty without a log", async () => {
    using place = withOldGoal();
    rmSync(join(place.folder050, "task-graph.json"));
    rmSync(join(place.folder050, "events.jsonl"));
    const replay = await replayed(place);
    expect(replay).toMatchObject({ event_count: 0, timeline: [], generated_at: "2026-05-14T08:57:20.5Z" });
    expect(replay.known_gaps?.join("\n")).toContain("Task graph");
    expect(replay.recovery_status).toMatch(/^partial/);
  });

  test("reads the log under its second name, too", async () => {
    using place = withOldGoal();
    cpSync(join(place.folder050, "events.jsonl"), join(place.folder050, "event-log.jsonl"));
    rmSync(join(place.folder050, "events.jsonl"));
    expect(await replayed(place)).toMatchObject({ event_count: 12, parse_failures: 0 });
  });
});

describe("cancelling a goal of 0.5.0", () => {
  test(
    "imports it whole: its documents, its numbers and its unknown keys, with the digest of its log",
    { timeout: 60_000 },
    async () => {
      using place = withOldGoal();
      const goalFile = join(place.folder050, "goal.json");
      const text = readFileSync(goalFile, "utf8").replace(
        '"phase"',
        '"from_elsewhere": {"deep": [null, 1.50]},\n  "phase"',
      );
      writeFileSync(goalFile, text);
      const logBefore = readFileSync(join(place.folder050, "events.jsonl"));

      const ran = await place.run("goal", "cancel");
      expect(ran).toMatchObject({ status: 0, stderr: "" });
      expect(ran.stdout).toContain("Status: cancelled");

      const events = place.events();
      const imported = events.find(({ kind }) => kind === "goal_imported");
      expect(imported).toMatchObject({
        seq: 1,
        payload: {
          sha256: createHash("sha256").update(logBefore).digest("hex"),
          bytes: logBefore.length,
          legacy_lines: 12,
        },
      });
      expect(events.slice(-2)).toMatchObject([{ kind: "manual_interrupt" }, { kind: "budget_checkpoint" }]);
      const log = readFileSync(join(place.folder050, "events.jsonl"));
      expect(log.subarray(0, logBefore.length).equals(logBefore)).toBe(true);

      const record = parseJson(readFileSync(goalFile)) as Record<string, unknown>;
      expect(record).toMatchObject({
        status: "cancelled",
        goal_id: ID,
        from_elsewhere: { deep: [null, new NumberText("1.50")] },
      });
      expect(String(record["budget_tokens"])).toBe("18446744073709551615");
      expect(readFileSync(goalFile, "utf8")).toContain('"budget_usd": 5.0,');
      expect(readFileSync(join(place.folder050, "proof.json"), "utf8")).toBe(
        readFileSync(join(FIXTURE, "proof.json"), "utf8"),
      );
      const failure = JSON.parse(readFileSync(join(place.folder050, "failure.json"), "utf8")) as object;
      expect(failure).toMatchObject({ status: "cancelled", failure: { reason: "cancelled by user" } });

      const shown = await place.run("goal", "proof");
      expect(shown.stdout).toContain("Status: cancelled");
      expect(shown.stdout).toContain("cancelled by user");
      const replay = JSON.parse((await place.run("goal", "replay", "--json")).stdout) as {
        parse_failures: number;
      };
      expect(replay.parse_failures).toBe(0);
    },
  );

  test("survives the loss of every snapshot, because the log has them all", async () => {
    using place = withOldGoal();
    await place.run("goal", "cancel");
    for (const name of ["goal.json", "task-graph.json", "work.json"]) rmSync(join(place.folder050, name));
    const shown = await place.run("goal", "show", "--json");
    expect(shown).toMatchObject({ status: 0, stderr: "" });
    expect(shown.stdout).toContain('"budget_usd": 5.0,');
    expect(JSON.parse(shown.stdout)).toMatchObject({ status: "cancelled" });
  });
});
