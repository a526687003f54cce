/** What is printed about teams and runs: labels that scripts look for, JSON that parses, and nothing written anywhere. */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { Command } from "commander";
import { describe, expect, test } from "vitest";

import { createApp, type MainIo } from "../../src/cli/app.ts";
import { hudCommand, proofShowCommand, runCommand, teamCommand } from "../../src/cli/team-program.ts";
import type { World } from "../../src/ports.ts";
import { sealLine, sha256 } from "../../src/store/event-line.ts";
import { createWorld } from "../../src/world.ts";
import { imageOf, NOW, Runs } from "../team/rig.ts";

interface Ran {
  status: number;
  stdout: string;
  stderr: string;
}

/** How a command line is run: on a terminal or not, and what happens whenever it waits. */
interface Surroundings {
  columns?: number;
  onSleep?: () => void;
}

/** Runs one command line inside the test, in the world of the rig. */
async function omk(
  runs: Runs,
  args: readonly string[],
  { columns, onSleep }: Surroundings = {},
): Promise<Ran> {
  const ran: Ran = { status: 0, stdout: "", stderr: "" };
  const io = {
    stdout: {
      columns,
      on: () => undefined,
      write: (text: string | Uint8Array) => (ran.stdout += text.toString()),
    },
    stderr: { on: () => undefined, write: (text: string) => (ran.stderr += text) },
    env: { OMK_STATE_DIR: runs.root, MY_TOKEN: "correct-horse-battery" },
    argv: ["node", "omk"],
    execPath: "node",
    cwd: () => runs.folder,
    on: () => undefined,
    off: () => undefined,
    exit: () => undefined,
  } as unknown as MainIo;
  const clock = {
    now: () => runs.clock.now(),
    monotonicMs: () => runs.clock.monotonicMs(),
    sleep: (ms: number, signal?: AbortSignal) => {
      if (!onSleep) return runs.clock.sleep(ms, signal);
      onSleep();
      return Promise.resolve();
    },
  };
  const world: World = {
    ...createWorld(),
    clock,
    random: runs.ports.random,
    processes: runs.ports.processes as World["processes"],
  };
  const app = createApp(world, io);
  const program = new Command("omk").exitOverride().configureOutput({
    writeOut: (text) => (ran.stdout += text),
    writeErr: (text) => (ran.stderr += text),
  });
  program.addCommand(teamCommand(app)).addCommand(runCommand(app)).addCommand(hudCommand(app));
  program.addCommand(new Command("proof").addCommand(proofShowCommand(app)));
  const settle = (command: Command): void => {
    for (const one of command.commands) {
      one.copyInheritedSettings(command);
      settle(one);
    }
  };
  settle(program);
  try {
    await program.parseAsync([...args], { from: "user" });
    ran.status = app.endStatus();
  } catch (error) {
    ran.status = app.endStatus(error);
  } finally {
    app.stopListening();
  }
  return ran;
}

const json = (ran: Ran): unknown => JSON.parse(ran.stdout);
const lines = (ran: Ran): string[] => ran.stdout.split("\n");

let number = 0;
const event = (kind: string, actor: string | null, payload?: object, ts = "2026-05-25T10:01:02Z") => {
  const id = `00000000-0000-4000-8000-${String(++number).padStart(12, "0")}`;
  return `${JSON.stringify({ id, run_id: "demo", ts, schema_version: 1, kind, actor, ...(payload && { payload }) })}\n`;
};

describe("omk team list", () => {
  test("says so when there are none, also where there are only broken ones", async () => {
    await using runs = new Runs();
    expect((await omk(runs, ["team", "list"])).stdout).toContain("No teams found.");
    mkdirSync(runs.team("empty"));
    mkdirSync(runs.team("broken"));
    writeFileSync(join(runs.team("broken"), "team-state.json"), "{");
    const ran = await omk(runs, ["team", "list"]);
    expect(ran.status).toBe(0);
    expect(ran.stdout).toContain("No teams found.");
    expect(ran.stderr).toContain("team broken cannot be read");
    expect(json(await omk(runs, ["t", "list", "--json"]))).toEqual([]);
  });

  test("has its columns, cuts long tasks, and names what was interrupted with the command that goes on", async () => {
    await using runs = new Runs();
    const folder = runs.old("demo");
    const path = join(folder, "team-state.json");
    writeFileSync(
      path,
      readFileSync(path, "utf8").replace(
        '"Build a parser"',
        JSON.stringify(`${"😀".repeat(60)}\nPhase: x\u001b[31m`),
      ),
    );
    await runs.ours("fix", { phase: "Executing", holder: "dead" });
    const ran = await omk(runs, ["team", "list"]);
    expect(lines(ran).slice(0, 2)).toEqual([
      "Active teams:",
      "Name                 Phase                Task",
    ]);
    expect(lines(ran)).toContain(`demo                 Shutdown             ${"😀".repeat(40)}`);
    expect(lines(ran)).toContain("fix                  Executing            Build a parser");
    expect(lines(ran)).toContain("fix was interrupted; go on with: omk team run --resume --name 'fix'");
    expect(json(await omk(runs, ["team", "list", "--json"]))).toMatchObject([
      { name: "fix", phase: "Executing", controller: "dead", interrupted: true, imported: false },
      { name: "demo", phase: "Shutdown", controller: "none", interrupted: false },
    ]);
  });
});

describe("omk team status", () => {
  test("has the labels of 0.5.0", async () => {
    await using runs = new Runs();
    runs.old("demo");
    const ran = await omk(runs, ["team", "status", "demo"]);
    expect(lines(ran)).toEqual([
      "Team:        demo",
      "Task:        Build a parser",
      "Phase:       Shutdown",
      "Created:     2026-05-25 10:00:00 UTC",
      "Workers:     2",
      "  worker-0     role=executor   hb=alive    inbox=2  outbox=2",
      "Tasks:       2 total",
      "  [InProgress] Add a parser",
      "  [Done] Add tests",
      "",
    ]);
    expect(json(await omk(runs, ["team", "status", "latest", "--json"]))).toMatchObject({
      name: "demo",
      state_dir: runs.team("demo"),
      workers: [{ worker_id: "worker-0", role: "executor", heartbeat: "alive" }],
    });
  });

  test("says how to go on with what was interrupted or stopped", async () => {
    await using runs = new Runs();
    await runs.ours("killed", { phase: "Executing", holder: "dead" });
    await runs.ours("stopped", { phase: "Shutdown" });
    expect((await omk(runs, ["team", "status", "killed"])).stdout).toContain(
      "it was interrupted; go on with: omk team run --resume --name 'killed'",
    );
    expect((await omk(runs, ["team", "status", "stopped"])).stdout).toContain(
      "Next:        omk team run --resume --name 'stopped'",
    );
  });

  test("ends with 1 for a team that is not there and with 2 for a path", async () => {
    await using runs = new Runs();
    for (const command of ["status", "health", "export"]) {
      const missing = await omk(runs, ["team", command, "nope"]);
      expect(missing).toMatchObject({ status: 1, stdout: "" });
      expect(missing.stderr).toContain("not found");
      expect((await omk(runs, ["team", command, "../runs"])).status).toBe(2);
    }
    expect((await omk(runs, ["team", "spawn"])).status).toBe(2);
    // Without a name it is the newest, and there is none.
    expect((await omk(runs, ["team", "status"])).status).toBe(1);
    expect((await omk(runs, ["team", "shutdown"])).status).toBe(2);
  });
});

describe("omk team health", () => {
  test("has the labels of 0.5.0 and ends with 0 whatever it finds", async () => {
    await using runs = new Runs();
    await runs.ours("fix", { phase: "Executing", holder: "alive" });
    runs.worker("fix", "worker-0", { status: "alive", ts: NOW.toISOString() });
    runs.worker("fix", "worker-1", { status: "alive", ts: "2026-05-25T10:09:15Z" });
    runs.worker("fix", "worker-2", { status: "alive", ts: "2026-05-25T10:00:00Z" });
    const ran = await omk(runs, ["team", "health", "fix"]);
    expect(ran).toMatchObject({ status: 0, stderr: "" });
    expect(lines(ran)).toEqual([
      "🩺 Health check — fix",
      "Checked at: 2026-05-25 10:10:00 UTC",
      "Workers: 3",
      "  ✅ worker-0     inbox=0 outbox=0",
      expect.stringMatching(/^ {5}→ \S/),
      "  ⚠️ worker-1     inbox=0 outbox=0",
      expect.stringMatching(/^ {5}→ .*45s/),
      "  ❌ worker-2     inbox=0 outbox=0",
      expect.stringMatching(/^ {5}→ .*600s/),
      "",
      "2 issue(s) found",
      "",
    ]);
    expect(json(await omk(runs, ["team", "health", "fix", "--json"]))).toMatchObject({
      run_id: "fix",
      checked_at: "2026-05-25T10:10:00.000Z",
      issues_found: 2,
      workers: [{ worker_id: "worker-0", status: "healthy" }, { status: "stalled" }, { status: "dead" }],
    });
  });
});

describe("omk team roles", () => {
  test("lists the built-in ones and the project's own", async () => {
    await using runs = new Runs();
    mkdirSync(join(runs.folder, ".omk", "roles"), { recursive: true });
    writeFileSync(join(runs.folder, ".omk", "roles", "painter.md"), "---\ndescription: paints\n---\n");
    writeFileSync(join(runs.folder, ".omk", "roles", "bad.md"), "---\n");
    const ran = await omk(runs, ["team", "roles"]);
    expect(lines(ran).slice(0, 2)).toEqual(["Role Packs", "─".repeat(40)]);
    expect(lines(ran)[3]).toMatch(/^executor {5}2 {2}\S/);
    expect(lines(ran)).toContain("painter      1  paints (project)");
    expect(ran.stderr).toContain("bad.md cannot be used as a role");
    expect(json(await omk(runs, ["team", "roles", "--json"]))).toHaveLength(6);
  });
});

describe("omk run list", () => {
  test("shows each run once, with its mode", async () => {
    await using runs = new Runs();
    expect((await omk(runs, ["run", "list"])).stdout).toBe("No runs found.\n");
    runs.old("demo");
    mkdirSync(runs.run("wave"));
    expect((await omk(runs, ["run", "list"])).stdout).toBe(
      "📋 Runs (2):\n  [scheduler ] wave\n  [team      ] demo\n",
    );
    expect(json(await omk(runs, ["run", "list", "--json"]))).toMatchObject([
      { name: "wave", mode: "scheduler" },
      { name: "demo", mode: "team" },
    ]);
  });
});

describe("omk run show", () => {
  test("shows evidence columns by their first name that is there, and no other keys", async () => {
    await using runs = new Runs();
    const folder = runs.old("demo");
    writeFileSync(
      join(folder, "events.jsonl"),
      [
        event("run_started", null, { mode: "team", secret_plan: "hidden" }),
        event("task_output", "worker-0", {
          task_id: { 0: "task-1" },
          method: "request",
          type: "wire_request",
          event_type: "first",
          raw_request_type: "raw",
          request_id: "r1",
          message: " two\n  lines ",
          output_summary: "",
          error: "broken",
          other: "unseen",
        }),
        event("task_output", "worker-0", { method: 7, reason: "why", error: "not this" }, "yesterday"),
      ].join(""),
    );
    const ran = await omk(runs, ["run", "show", "demo"]);
    expect(lines(ran)).toEqual([
      "📋 Run timeline — demo (3 events)",
      `  Source: ${join(folder, "events.jsonl")}`,
      "",
      "  10:01:02  run_started             actor=—",
      "  10:01:02  task_output             actor=worker-0  task=task-1  wire_method=request  wire_event=first" +
        "  wire_request=raw  wire_request_id=r1  message=two lines  reason=broken",
      "  --:--:--  task_output             actor=worker-0  reason=why",
      "",
    ]);
  });

  test("combines its filters, and counts what passes them", async () => {
    await using runs = new Runs();
    runs.old("demo");
    const show = (...args: string[]) => omk(runs, ["run", "show", "demo", ...args]);
    expect((await show("--kind", "TASK")).stdout).toContain("(2 events)");
    expect((await show("-k", "task", "--worker", "worker-0", "--task", "task-1")).stdout).toContain(
      "(1 events)",
    );
    expect((await show("--worker", "worker-1")).stdout).toContain("(0 events)");
    expect(json(await show("--worker", "worker-1", "--json"))).toEqual([]);
    expect(json(await show("-k", "failed", "-f", "json"))).toEqual([
      JSON.parse(
        readFileSync(join(runs.team("demo"), "events.jsonl"), "utf8")
          .trim()
          .split("\n")[3] ?? "",
      ),
    ]);
    expect((await show("--format", "xml")).status).toBe(2);
  });

  test("reads the older name of the log, an empty one, and names what cannot be read", async () => {
    await using runs = new Runs();
    const folder = runs.old("demo");
    const log = join(folder, "events.jsonl");
    appendFileSync(log, `garbage\n${event("run_failed", null, { reason: "x" })}{"torn`);
    const ran = await omk(runs, ["run", "show"]);
    expect(ran.stdout).toContain("(5 events)");
    expect(ran.stderr).toContain("2 lines of");
    writeFileSync(join(folder, "event-log.jsonl"), readFileSync(log));
    rmSync(log);
    expect((await omk(runs, ["run", "show", "demo"])).stdout).toContain(join(folder, "event-log.jsonl"));
    mkdirSync(runs.run("wave"));
    expect((await omk(runs, ["run", "show", "wave"])).stdout).toContain("wave (0 events)");
  });

  test("leaves out what a controller wrote after it was overtaken", async () => {
    await using runs = new Runs();
    const folder = await runs.ours("fix");
    const log = join(folder, "events.jsonl");
    const last = readFileSync(log, "utf8").trimEnd().split("\n").at(-1) ?? "";
    const second = {
      ...(JSON.parse(last) as Record<string, unknown>),
      id: "a",
      seq: 2,
      epoch: 2,
      kind: "newer",
      changes: [],
      prev: sha256(last),
    };
    const late = { ...second, id: "b", epoch: 1, kind: "too-late" };
    const sealed = [second, late].map((one) => {
      const { check: _check, ...open } = one as typeof one & { check?: unknown };
      return sealLine(open as unknown as Parameters<typeof sealLine>[0]);
    });
    appendFileSync(log, `${sealed.join("\n")}\n`);
    const ran = await omk(runs, ["run", "show", "fix"]);
    expect(ran.stdout).toContain("newer");
    expect(ran.stdout).not.toContain("too-late");
    expect(ran.stderr).toContain("overtaken");
  });

  test("prints nothing that steers a terminal, and no secret that 0.5.0 left in", async () => {
    await using runs = new Runs();
    const folder = runs.old("demo");
    const payload = {
      task_id: "t",
      message: "\u001b]0;owned\u0007 correct-horse-battery \u202e",
      reason: "\u009b31m",
    };
    appendFileSync(join(folder, "events.jsonl"), event("note", "worker\u001b[2J\nforged line", payload));
    for (const args of [[], ["--json"]]) {
      const { stdout } = await omk(runs, ["run", "show", "demo", ...args]);
      expect(stdout).not.toMatch(/(?![\n\t])[\p{Cc}\p{Cf}]/u);
      expect(stdout).not.toContain("correct-horse");
      expect(stdout).not.toMatch(/^forged/m);
    }
  });

  test("streams a large log: JSON of every event, and as many rows", async () => {
    await using runs = new Runs();
    const folder = runs.old("demo");
    writeFileSync(
      join(folder, "events.jsonl"),
      Array.from({ length: 3_000 }, (_, at) =>
        event("task_output", `w${at}`, { message: "x".repeat(100) }),
      ).join(""),
    );
    const events = json(await omk(runs, ["run", "show", "demo", "--json"])) as { actor: string }[];
    expect([events.length, events[0]?.actor, events.at(-1)?.actor]).toEqual([3_000, "w0", "w2999"]);
    expect(lines(await omk(runs, ["run", "show", "demo"]))).toHaveLength(3_004);
  });
});

describe("omk proof show", () => {
  test("prints Markdown by default, text and JSON when asked, and writes nothing", async () => {
    await using runs = new Runs();
    const folder = runs.old("demo");
    const before = imageOf(runs.root);
    expect((await omk(runs, ["proof", "show", "demo"])).stdout).toMatch(/^# Proof Report for demo\n/);
    expect((await omk(runs, ["proof", "show", "-f", "text"])).stdout).toMatch(
      /^Proof Report for demo\n={60}\nStatus: {6}failed\n/,
    );
    expect(json(await omk(runs, ["proof", "show", "demo", "--json"]))).toEqual(
      JSON.parse(readFileSync(join(folder, "proof.json"), "utf8")),
    );
    const made = await omk(runs, ["proof", "show", "demo", "--regenerate", "-f", "json"]);
    expect(made.status).toBe(0);
    expect(json(made)).toMatchObject({
      run_id: "demo",
      failures: [{ task_id: "task-1", description: "no live workers" }],
    });
    expect(imageOf(runs.root)).toEqual(before);
    expect(await omk(runs, ["proof", "show", "nope"])).toMatchObject({ status: 1, stdout: "" });
    mkdirSync(runs.run("wave"));
    expect((await omk(runs, ["proof", "show", "wave"])).status).toBe(1);
  });
});

describe("omk hud", () => {
  test("prints one view where there is no terminal, or when it is asked for", async () => {
    await using runs = new Runs();
    await runs.ours("fix", { phase: "Executing", holder: "alive" });
    for (const surroundings of [{}, { columns: 80 }]) {
      const ran = await omk(
        runs,
        ["hud", "fix", ...("columns" in surroundings ? ["--once"] : [])],
        surroundings,
      );
      expect(ran).toMatchObject({ status: 0, stderr: "" });
      expect(lines(ran)[0]).toBe("OMK HUD — team: fix | run: fix");
      expect(ran.stdout).not.toContain("\u001b");
    }
    expect(json(await omk(runs, ["hud", "fix", "--json"], { columns: 80 }))).toMatchObject({
      run_id: "fix",
      task_summary: { total: 1, completed: 1, running: 0, pending: 0, failed: 0 },
      phase: "Executing",
      controller: "alive",
    });
  });

  test("redraws on a terminal until the run ends", async () => {
    await using runs = new Runs();
    const folder = runs.old("demo");
    const path = join(folder, "team-state.json");
    writeFileSync(path, readFileSync(path, "utf8").replace("Shutdown", "Executing"));
    let waits = 0;
    const onSleep = () => {
      waits++;
      appendFileSync(join(folder, "events.jsonl"), event(waits < 3 ? "task_output" : "run_completed", null));
    };
    const ran = await omk(runs, ["hud", "demo"], { columns: 80, onSleep });
    expect(ran).toMatchObject({ status: 0, stderr: "" });
    const views = ran.stdout.split("\u001b[2J\u001b[H").slice(1);
    expect(views.map((view) => /Events: {2}(\d+)/.exec(view)?.[1])).toEqual(["4", "5", "6", "7"]);
  });

  test("says what is not there yet", async () => {
    await using runs = new Runs();
    for (const args of [["--tui"], ["x", "--web"], ["--port", "1"]]) {
      const ran = await omk(runs, ["hud", ...args]);
      expect(ran).toMatchObject({ status: 2, stdout: "" });
      expect(ran.stderr).toContain("omk hud <team>");
    }
    expect((await omk(runs, ["hud", "nope", "--once"])).status).toBe(1);
    expect((await omk(runs, ["hud", "../x", "--once"])).status).toBe(2);
  });
});

describe("keeping runs", () => {
  test("cleanup, rename, export and import say what they did", async () => {
    await using runs = new Runs();
    runs.old("demo");
    expect((await omk(runs, ["team", "rename", "demo", "kept"])).stdout).toBe(
      "✓ Renamed team 'demo' → 'kept'\n",
    );
    expect((await omk(runs, ["team", "export", "kept"])).stdout).toBe(
      "✓ Exported team 'kept' to team-export.json\n",
    );
    const file = join(runs.folder, "team-export.json");
    expect(existsSync(file)).toBe(true);
    expect((await omk(runs, ["team", "export", "kept"])).status).toBe(1);
    expect((await omk(runs, ["team", "export", "kept", "--force"])).status).toBe(0);
    expect((await omk(runs, ["team", "import", "team-export.json"])).status).toBe(1);
    const imported = await omk(runs, ["team", "import", file, "--name", "theirs"]);
    expect(lines(imported).slice(0, 2)).toEqual([
      "✓ Imported team 'theirs'",
      `State dir: ${runs.team("theirs")}`,
    ]);
    expect((await omk(runs, ["team", "status", "theirs"])).stdout).toContain("Imported:");
    expect((await omk(runs, ["run", "show", "theirs"])).stdout).toContain("(4 events)");
    for (const name of ["kept", "theirs"]) utimesSync(runs.team(name), 1, 1);
    await runs.ours("working", { phase: "Executing", holder: "alive" });
    const dry = await omk(runs, ["team", "cleanup", "--all", "--dry-run"]);
    expect(lines(dry)).toEqual([
      expect.stringMatching(/^Would remove: .*\/team\/kept \(0\.0 MB\)$/),
      expect.stringMatching(/^Would remove: .*\/team\/theirs \(0\.0 MB\)$/),
      expect.stringMatching(/^Spared: .*\/team\/working \(process 4242 works on it\)$/),
      "Would remove 2 team state directories (0.0 MB)",
      "",
    ]);
    const done = await omk(runs, ["team", "cleanup"]);
    expect(lines(done)[0]).toMatch(/^✓ Removed: .*\/team\/kept \(0\.0 MB\)$/);
    expect(done.stdout).toContain("Removed 2 team state directories (0.0 MB freed)");
    expect(json(await omk(runs, ["team", "cleanup", "--json"]))).toMatchObject({ removed: 0, entries: [] });
    for (const days of ["-1", "1.5", "soon"])
      expect((await omk(runs, ["team", "cleanup", "--older-than", days])).status).toBe(2);
  });
});
