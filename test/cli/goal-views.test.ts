/** What the reading commands show of a goal: while it runs, when it was cut off, and when its log is long. */
import { appendFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

const GOAL = "Fix the failing test in sum.test.js";

interface Status {
  status: string;
  controller: string;
  controller_process?: { pid: number; command: string };
  now?: { kind: string; what: string; waits_for: string; for_secs: number };
  tasks: { done: number; total: number };
  budget: { used_tokens: number; budget_tokens?: number };
  progress: { phase: string; current_task: string };
  story: { kind: string }[];
  next: string[];
}

async function statusOf(place: Place): Promise<Status> {
  const ran = await place.run("goal", "status", "--json");
  expect(ran).toMatchObject({ status: 0, stderr: "" });
  return JSON.parse(ran.stdout) as Status;
}

async function brokenSum(): Promise<Place> {
  const place = new Place(BROKEN_SUM);
  await place.commitAll();
  return place;
}

async function finished(): Promise<Place> {
  const place = await brokenSum();
  const engine = place.script({ turns: [{ steps: REPAIR }] });
  const args = ["--until-ready", "--auto-accept", "--engine", engine, "--budget-tokens", "5000"];
  await place.run("goal", "run", GOAL, ...args);
  return place;
}

describe("the status of a goal", () => {
  test(
    "says what is being done while it runs, and how to go on when that was cut off",
    { timeout: 60_000 },
    async () => {
      using place = await brokenSum();
      const engine = place.script({ turns: [{ steps: [{ say: "thinking" }, { wait_ms: 600_000 }] }] });
      const running = place.start(
        "goal",
        "run",
        GOAL,
        "--until-ready",
        "--engine",
        engine,
        "--budget-tokens",
        "5000",
      );
      await running.says("attempt 1: ");
      let seen = await statusOf(place);
      // The story may be a moment ahead of the log.
      for (let tries = 0; seen.now?.kind !== "turn" && tries < 50; tries++) seen = await statusOf(place);
      expect(seen).toMatchObject({
        status: "running",
        controller: "alive",
        controller_process: { pid: running.child.pid, command: "goal run" },
        now: { kind: "turn", what: "attempt 1 at goal-agent-execute", waits_for: "the agent" },
        budget: { budget_tokens: 5_000 },
        progress: { phase: "execution", current_task: "goal-execution" },
        next: [],
      });
      const text = await place.run("goal", "status");
      expect(text.stdout).toMatch(
        /^ {2}Now: {5}attempt 1 at goal-agent-execute, for \d+s; waits for the agent$/m,
      );
      expect(text.stdout).toMatch(/^ {2}Tasks: {3}\d+\/\d+ done$/m);
      expect(text.stdout).toMatch(/^ {2}Spent: {3}\d+s at work, \d+ of 5000 tokens, \$0\.000000$/m);
      expect(text.stdout).toMatch(/^ {2}Control: alive: process \d+ on .* \(omk goal run\)$/m);
      expect(text.stdout).toMatch(/^ {2}Story:$/m);

      running.child.kill("SIGKILL");
      await running.ended;
      const dead = await statusOf(place);
      expect(dead).toMatchObject({ status: "running", controller: "dead" });
      expect(dead.now).toBeUndefined();
      expect(dead.next.join()).toContain("omk goal resume");
      const after = await place.run("goal", "status");
      expect(after.stdout).toContain("Next:    it was interrupted; go on with: omk goal resume");
      expect((await place.run("goal", "cancel")).status).toBe(0);
    },
  );
});

describe("the views of a finished goal", () => {
  test("are the budget, the replay and the status, each in its formats", { timeout: 60_000 }, async () => {
    using place = await finished();
    const folder = place.goalFolder();
    const id = folder.split("/").at(-1) ?? "";

    const budget = await place.run("goal", "budget");
    expect(budget).toMatchObject({ status: 0, stderr: "" });
    expect(budget.stdout).toMatch(
      new RegExp(`^Goal budget ${id}\nBudget time: unbounded\nTotal: unbounded\nTokens: used=`),
    );
    expect(budget.stdout).toMatch(
      /^ {2}\d{4}-.* UTC {2}goal_created {7}status=running phase=proof remaining=unbounded$/m,
    );
    expect((await place.run("goal", "budget", "--format", "md")).stdout).toContain("## Checkpoints\n\n- ");
    const report = JSON.parse((await place.run("goal", "budget", "--json")).stdout) as {
      checkpoints: { label: string }[];
    };
    const labels = [
      "goal_created",
      "execute_completed",
      "verify_completed",
      "review_completed",
      "integration_decision",
    ];
    expect(report.checkpoints.map(({ label }) => label)).toEqual(labels);
    const file = readFileSync(join(folder, "budget-checkpoints.jsonl"), "utf8").trimEnd().split("\n");
    expect(file.map((line) => JSON.parse(line) as object)).toEqual(report.checkpoints);

    const whole = JSON.parse((await place.run("goal", "replay", "--json")).stdout) as { timeline: object[] };
    const tail = JSON.parse((await place.run("goal", "replay", "--json", "--tail", "2")).stdout) as object;
    expect(tail).toMatchObject({
      event_count: whole.timeline.length,
      omitted_events: whole.timeline.length - 2,
      timeline: whole.timeline.slice(-2),
    });
    const none = JSON.parse((await place.run("goal", "replay", "--json", "--tail", "0")).stdout) as object;
    expect(none).toMatchObject({ timeline: [] });
    expect(await place.run("goal", "replay", "--tail", "-1")).toMatchObject({ status: 2, stdout: "" });
  });

  test("show in every format what cannot be read of the log", { timeout: 60_000 }, async () => {
    using place = await finished();
    appendFileSync(join(place.goalFolder(), "events.jsonl"), "half a li");
    for (const format of ["text", "md", "json"]) {
      const { stdout, status } = await place.run("goal", "replay", "--format", format);
      expect(status).toBe(0);
      expect(stdout).toContain("1 malformed line was left out");
      expect(stdout).toContain("partial: some of the record cannot be read");
    }
  });

  test(
    "say that a goal was left behind, and where its log is damaged, so that it can be put aside",
    { timeout: 60_000 },
    async () => {
      using place = await finished();
      const folder = place.goalFolder();
      const goal = JSON.parse(readFileSync(join(folder, "goal.json"), "utf8")) as Record<string, unknown>;
      writeFileSync(join(folder, "goal.json"), JSON.stringify({ ...goal, status: "running" }));
      expect((await place.run("goal", "list")).stdout).toMatch(/^ {2}\[running\] .* {2}\(interrupted\)$/m);

      const log = join(folder, "events.jsonl");
      const lines = readFileSync(log, "utf8").split("\n");
      writeFileSync(
        log,
        lines.map((line, at) => (at === 9 ? line.replace('"kind"', '"kinX"') : line)).join("\n"),
      );
      expect((await place.run("goal", "list")).stdout).toMatch(
        /^ {2}\[running\] .* {2}\(interrupted; its log is damaged at line 10\)$/m,
      );
      const refused = await place.run("goal", "resume");
      expect(refused.status).toBe(74);
      expect(refused.stderr).toMatch(/damaged at line 10.*\n.*put all of it aside: mv /);
    },
  );

  test("follow the goal when its folder is moved", { timeout: 60_000 }, async () => {
    using place = await finished();
    const file = join(place.goalFolder(), "goal.json");
    const goal = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
    writeFileSync(
      file,
      JSON.stringify({ ...goal, cost_tracker_path: "/elsewhere/cost.jsonl", state_dir: "/elsewhere" }),
    );
    const shown = JSON.parse((await place.run("goal", "show", "--json")).stdout) as Record<string, unknown>;
    expect(shown).toMatchObject({
      cost_tracker_path: join(place.goalFolder(), "cost.jsonl"),
      state_dir: place.goalFolder(),
    });
  });

  test("name a goal that cannot be read, and list the others", { timeout: 60_000 }, async () => {
    using place = await finished();
    const first = place.goalFolder();
    await place.run("goal", "create", GOAL);
    rmSync(join(first, "events.jsonl"));
    writeFileSync(join(first, "goal.json"), "{");
    const listed = await place.run("goal", "list");
    expect(listed.status).toBe(0);
    expect(listed.stdout).toContain("Goals (1):");
    expect(listed.stderr).toContain(`goal ${first.split("/").at(-1)} cannot be read`);
  });
});
