/** Repositories that make git run something, through every command of omk that uses git: none of it runs. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

import { expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";
import {
  EVIL_FILES,
  EVIL_SETTINGS,
  plantingScript,
  plantInGitDir,
  plantSettings,
  Trap,
} from "../support/planted.ts";

const GOAL = "Fix the failing test in sum.test.js";

/** A repository in which everything is planted, and a scripted agent that plants it once more before it does its work. */
async function hostile(trap: Trap, work: readonly object[] = REPAIR): Promise<{ at: Place; engine: string }> {
  const at = new Place({ ...BROKEN_SUM, ...EVIL_FILES });
  await at.commitAll();
  const own = path.join(at.project, ".git");
  plantSettings(path.join(own, "config"), trap);
  plantInGitDir(own, trap);
  const plant = plantingScript(trap, at.project);
  const engine = at.script({ turns: [{ match: { role: "work" }, steps: [{ run: plant }, ...work] }] });
  return { at, engine };
}

/** Runs each command, which has to do its work, and none of which may make anything run that was planted. */
async function through(at: Place, trap: Trap, commands: readonly string[][]): Promise<void> {
  for (const command of commands) {
    const { status, stderr } = await at.run(...command);
    expect({ command, status, stderr: status === 0 ? "" : stderr, marks: trap.marks() }).toEqual({
      command,
      status: 0,
      stderr: "",
      marks: [],
    });
  }
}

/** The user's own git falls into it, so the trap is one. */
function expectArmed(at: Place, trap: Trap): void {
  try {
    const options = { cwd: at.project, env: at.environment, stdio: "ignore" } as const;
    execFileSync("git", ["--work-tree=.", "status"], options);
  } catch {
    // It may well fail: what it ran is what counts.
  }
  expect(trap.marks().length).toBeGreaterThan(0);
  expect(EVIL_SETTINGS.length).toBeGreaterThan(20);
}

test("nothing planted in a repository runs by the steps of a goal there, taken by hand", async () => {
  using trap = new Trap();
  const { at, engine } = await hostile(trap);
  using _ = at;
  const goal = ["--engine", engine, "--no-llm-planner"];
  await through(at, trap, [
    ["goal", "plan", GOAL, ...goal],
    ["goal", "golden", "record", "latest", "--name", "sum", "--cmd", "node sum.js"],
    ["goal", "execute"],
    ["goal", "verify"],
    ["goal", "golden", "compare"],
    ["goal", "review"],
    ["goal", "accept", "--summary", "it adds"],
    ["goal", "reject", "latest", "--reason", "no"],
    ["goal", "resume"],
    ["goal", "cancel"],
    ["goal", "create", GOAL, ...goal],
  ]);
  expect(trap.marks()).toEqual([]);
  expectArmed(at, trap);
}, 120_000);

test("nothing planted runs while a goal is driven to its end, nor by what shows, checks and brings back its work", async () => {
  using trap = new Trap();
  const { at, engine } = await hostile(trap);
  using _ = at;
  const run = ["goal", "run", GOAL, "--until-ready", "--auto-accept", "--engine", engine];
  await through(at, trap, [
    run,
    ["proof", "verify"],
    ["proof", "verify", "latest", "--rerun"],
    ["proof", "export", "latest", "--out", path.join(at.folder, "export")],
    ["goal", "open-pr", "latest", "--dry-run"],
    ["rescue", "list"],
  ]);
  const id = path.basename(at.goalFolder());
  await through(at, trap, [
    ["rescue", "show", `${id}/result`, "--patch"],
    ["rescue", "restore", `${id}/result`, "--to", path.join(at.folder, "back")],
    ["rescue", "restore", `${id}/result`, "--branch", "back"],
    ["rescue", "prune", "--ended"],
  ]);
  expect(readFileSync(path.join(at.folder, "back", "sum.js"), "utf8")).toContain("a + b");
  expectArmed(at, trap);
}, 120_000);

test("in slices nothing planted runs either, and what an agent has planted for the user's git waits for a person", async () => {
  using trap = new Trap();
  const { at, engine } = await hostile(trap);
  using _ = at;
  const run = [
    "goal",
    "run",
    GOAL,
    "--until-ready",
    "--auto-accept",
    "--engine",
    engine,
    "--slice-execution",
  ];
  const stopped = await at.run(...run, "--no-llm-planner");
  expect(stopped, stopped.stderr).toMatchObject({ status: 3 });
  expect(trap.marks()).toEqual([]);
  expect(at.json("goal.json")).toMatchObject({ status: "blocked_on_human", reason_code: "approval_needed" });
  const id = path.basename(at.goalFolder());
  // Nothing was delivered, and it says what was planted.
  const branches = () => readdirSync(path.join(at.project, ".git", "refs", "heads"));
  expect(branches()).toEqual(["main"]);
  const [asked] = readdirSync(path.join(at.goalFolder(), "approvals"));
  const approval = path.basename(asked ?? "", ".json");
  const shown = await at.run("approvals", "show", approval);
  expect(shown.stdout).toContain("Changed alias:");
  await through(at, trap, [
    ["approvals", "answer", approval, "approve"],
    ["goal", "resume", id],
    ["proof", "verify"],
    ["proof", "verify", "latest", "--rerun"],
    ["proof", "export", "latest", "--out", path.join(at.folder, "export")],
    ["goal", "open-pr", "latest", "--dry-run"],
    ["rescue", "list"],
    ["rescue", "prune", "--ended"],
  ]);
  expect(branches()).toEqual(["main", "omk"]);
  expectArmed(at, trap);
}, 120_000);

test("nothing planted runs in a team's run, nor by what looks at the machine and tidies up", async () => {
  using trap = new Trap();
  const { at, engine } = await hostile(trap);
  using _ = at;
  const run = ["team", "run", "1:executor", GOAL, "--engine", engine, "--name"];
  // In a folder of its own, what the agent planted for the user's git waits for a person.
  const stopped = await at.run(...run, "apart", "--isolation", "worktree");
  expect(stopped, stopped.stderr).toMatchObject({ status: 3 });
  expect(trap.marks()).toEqual([]);
  const [asked] = readdirSync(path.join(at.state, "team", "apart", "approvals"));
  await through(at, trap, [
    ["approvals", "answer", path.basename(asked ?? "", ".json"), "approve"],
    ["team", "run", "--resume", "--name", "apart"],
    ["proof", "verify", "apart"],
    [...run, "fix"],
    ["proof", "verify", "fix"],
    ["team", "cleanup", "--all"],
    ["rescue", "list"],
  ]);
  // No agent is installed here, and doctor says so.
  await at.run("doctor");
  expect(trap.marks()).toEqual([]);
  expectArmed(at, trap);
}, 120_000);
