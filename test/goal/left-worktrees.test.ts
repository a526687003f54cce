/** What an omk that died leaves in the folders of its attempts: nothing of it is lost, and nothing of it stays in the way. */
import fs from "node:fs";
import path from "node:path";

import { describe, expect, test } from "vitest";

import type { Attempt } from "../../src/format/work.ts";
import { makeAttemptTree } from "../../src/git/attempt-tree.ts";
import { askGoal } from "../../src/goal/ask.ts";
import { recordBase } from "../../src/goal/gate-steps.ts";
import { clearWorktrees } from "../../src/goal/left-worktrees.ts";
import { change, type OpenGoal } from "../../src/goal/open.ts";
import { TASK } from "../../src/goal/task-ids.ts";
import type { SlicedWorkspace } from "../../src/goal/sliced-space.ts";
import { RealGoals } from "../support/real-goal.ts";

const FILES = { "a.txt": "a\n", ".gitignore": "ignored/\n" };

/** An attempt as it is recorded when its turn begins. */
function running(fence: number, startedAt: string): Attempt {
  return {
    task_id: TASK.execute,
    number: 1,
    fence,
    run_key: `${TASK.execute}/${fence}`,
    spawn_id: `omk-${fence}`,
    status: "running",
    outcome: null,
    outcome_code: null,
    start_tree: "",
    prepared_tree: "",
    result_tree: null,
    started_at: startedAt,
    ended_at: null,
    summary: null,
    usage: null,
    counted: false,
  };
}

/** Gives out two attempts, and lets omk die over them; they may be recorded otherwise. */
async function died(
  at: RealGoals,
  recorded: (attempts: readonly Attempt[]) => object[] = (attempts) => [...attempts],
): Promise<{ goal: OpenGoal; folders: string[] }> {
  const open = await at.create();
  const space = await at.work(open);
  await recordBase({ open, space, ports: at.ports, signal: at.signal });
  const attempts = [running(101, "2026-01-02T03:04:05Z"), running(102, "2026-01-02T03:04:06Z")];
  await open.record({
    kind: "task_started",
    actor: "test",
    payload: {},
    changes: [change("work.json", { attempts: recorded(attempts) })],
  });
  const folders = await Promise.all(attempts.map(({ fence }) => folderOf(at, space, fence)));
  for (const { fence, task_id, started_at } of attempts) {
    const folder = path.join(open.folder, "artifacts", "agent-runs", task_id, String(fence));
    const transcript = path.join(folder, "engine-events.jsonl");
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(transcript, "");
    const spoke = Date.parse(started_at) / 1_000 + 10;
    fs.utimesSync(transcript, spoke, spoke);
  }
  await space.release();
  await open.close();
  return { goal: open, folders };
}

async function folderOf(at: RealGoals, space: SlicedWorkspace, fence: number): Promise<string> {
  const { git } = space.sliced;
  const made = await makeAttemptTree(
    git,
    { name: `${git.goalId}-part`, fence, branch: `omk/goal/${git.goalId}/part-${fence}`, base: at.head() },
    at.signal,
  );
  at.write(made.folder, { "a.txt": `by ${fence}\n` });
  return made.folder;
}

describe("folders of attempts that an omk has left", () => {
  test("are rescued when the goal is worked on again, are named by their attempts, and go", async () => {
    using at = new RealGoals(FILES);
    const { goal, folders } = await died(at);
    const before = at.users();
    // Begun just before its attempt was, and never whole.
    fs.mkdirSync(path.join(goal.folder, "worktrees", "half-made-103"));
    const open = await at.takeOver(goal);
    // They worked side by side: the goal spent that time once.
    expect(open.work.active_ms).toBe(10_000);
    const space = await at.work(open);
    for (const { status, rescue, result_tree, fence } of open.work.attempts) {
      expect(status).toBe("interrupted");
      expect(rescue?.ref).toBe(`refs/omk/rescue/${goal.id}/${TASK.execute}-${fence}`);
      expect(at.git("show", `${rescue?.ref ?? ""}:a.txt`)).toBe(`by ${fence}\n`);
      expect(at.git("rev-parse", `${rescue?.ref ?? ""}^{tree}`).trim()).toBe(result_tree);
    }
    expect(folders.filter((folder) => fs.existsSync(folder))).toEqual([]);
    expect(fs.readdirSync(path.join(goal.folder, "worktrees"))).toEqual([]);
    expect(open.work.slices?.set_aside).toMatchObject([{ because: "it was never whole" }]);
    expect(at.told.join("\n")).toContain("set aside: ");
    expect(at.users()).toEqual(before);
    // An omk that dies between the record and the removal: what is saved again is the same.
    const left = path.join(goal.folder, "worktrees", `${goal.id}-part-101`);
    const again = await folderOf(at, space, 101);
    expect(again).toBe(left);
    const saved = at.git("for-each-ref", "refs/omk/rescue/");

    await space.release();
    const { attempts } = open.work;
    await (await at.work(open)).release();
    expect(open.work.attempts).toEqual(attempts);
    expect(at.git("for-each-ref", "refs/omk/rescue/")).toBe(saved);
    expect(fs.existsSync(again)).toBe(false);
    await open.close();
  });

  test("are rescued when a goal at rest is cancelled, but a folder with unsaved work is kept and named", async () => {
    using at = new RealGoals(FILES);
    const { goal, folders } = await died(at);
    const [, second = ""] = folders;
    at.write(second, { "inner/x.txt": "x\n" });
    at.gitIn(path.join(second, "inner"), "init", "--quiet");
    at.gitIn(path.join(second, "inner"), "add", "--all");
    at.gitIn(path.join(second, "inner"), "commit", "--quiet", "--message", "of its own");
    fs.mkdirSync(path.join(goal.folder, "stage"));
    const asked = await askGoal(goal.id, { kind: "cancel" }, at.ports, at.signal);
    expect(asked.outcome).toBe("applied");
    const open = await at.takeOver(goal);
    expect(open.goal.status).toBe("cancelled");
    expect(open.work.attempts.map(({ rescue }) => rescue?.ref.split("/").at(-1))).toEqual([
      `${TASK.execute}-101`,
      `${TASK.execute}-102`,
    ]);
    const [kept] = open.work.slices?.set_aside ?? [];
    expect(kept?.because).toContain("inner");
    expect(fs.readFileSync(path.join(kept?.path ?? "", "inner", "x.txt"), "utf8")).toBe("x\n");
    expect(at.told.join("\n")).toContain(kept?.path ?? "?");
    expect(folders.filter((folder) => fs.existsSync(folder))).toEqual([]);
    expect(fs.existsSync(path.join(goal.folder, "stage"))).toBe(false);
    await open.close();
  });

  test("are not looked at again where what their agents left is recorded, or no agent was there", async () => {
    using at = new RealGoals(FILES);
    const { goal, folders } = await died(at, ([saved, early]) => [
      { ...saved, result_tree: "", rescue: { ref: "refs/omk/rescue/g/t", commit: "c", unsaved: ["inner"] } },
      { ...early, prepared_tree: undefined },
    ]);
    const open = await at.takeOver(goal);
    const { attempts } = open.work;
    await (await at.work(open)).release();
    expect(open.work.attempts).toEqual(attempts);
    expect(at.git("for-each-ref", "refs/omk/rescue/")).toBe("");
    expect(folders.filter((folder) => fs.existsSync(folder))).toEqual([]);
    expect(open.work.slices?.set_aside).toMatchObject([{ because: "not saved: inner" }]);
    await open.close();
  });

  test("that hold what nobody can look at are set aside, and the others are rescued", async () => {
    using at = new RealGoals(FILES);
    const { goal, folders } = await died(at);
    const [first = ""] = folders;
    fs.rmSync(first, { recursive: true });
    fs.writeFileSync(first, "a file");
    const open = await at.takeOver(goal);
    const space = await at.work(open);
    expect(open.work.attempts.map(({ status, rescue }) => [status, rescue?.ref.split("-").at(-1)])).toEqual([
      ["interrupted", undefined],
      ["interrupted", "102"],
    ]);
    const [kept] = open.work.slices?.set_aside ?? [];
    expect(fs.readFileSync(kept?.path ?? "", "utf8")).toBe("a file");
    expect(at.told.join("\n")).toContain(kept?.path ?? "?");
    await space.release();
    await open.close();
  });

  test("stay where they are when git cannot look at them, and the goal is cancelled all the same", async () => {
    using at = new RealGoals(FILES);
    const { goal, folders } = await died(at);
    fs.renameSync(at.project, `${at.project}-moved`);
    await askGoal(goal.id, { kind: "cancel" }, at.ports, at.signal);
    expect(at.told.join("\n")).toContain("was not rescued, and stays there");
    expect(folders.every((folder) => fs.existsSync(folder))).toBe(true);
    fs.renameSync(`${at.project}-moved`, at.project);
    const open = await at.takeOver(goal);
    expect(open.goal.status).toBe("cancelled");
    await clearWorktrees(open, at.ports);
    expect(open.work.attempts.every(({ rescue }) => rescue !== undefined)).toBe(true);
    expect(folders.filter((folder) => fs.existsSync(folder))).toEqual([]);
    await open.close();
  });
});
