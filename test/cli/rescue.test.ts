/** `omk rescue`: what goals leave behind, found and brought back by the built command line. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { expect, test } from "vitest";

import { RescueList, RescuePruned, RescueRestored, RescueView } from "../../src/format/rescue.ts";
import { Place } from "../support/cli.ts";

const FILES = { "fix.js": `require("fs").writeFileSync("hello.txt", "hello\\n");\n`, "a.txt": "a\n" };
const SCRIPT = { turns: [{ match: { role: "work" }, steps: [{ run: "node fix.js" }, { say: "fixed" }] }] };

/** A goal that made `hello.txt` in place, whatever became of it; returns its id. */
async function goal(at: Place, ...flags: string[]): Promise<string> {
  const engine = at.script(SCRIPT);
  const gate = ["--gate", "hello=grep -q hello hello.txt"];
  await at.run(
    "goal",
    "run",
    "Create hello.txt that says hello",
    "--until-ready",
    "--engine",
    engine,
    ...gate,
    ...flags,
  );
  return at.goalFolder().split("/").at(-1) ?? "";
}

async function listed(at: Place, ...flags: string[]) {
  const { stdout } = await at.run("rescue", "list", "--json", ...flags);
  return RescueList.parse(JSON.parse(stdout)).rescues;
}

test("what a goal in place has left is listed, shown, restored to a folder or a branch, and pruned", async () => {
  using at = new Place(FILES);
  await at.commitAll();
  expect((await at.run("rescue", "list")).stdout).toBe("Nothing is kept here.\n");
  const id = await goal(at, "--auto-accept");
  const names = [`${id}/base`, `${id}/result`];
  expect((await listed(at)).map(({ name }) => name).toSorted()).toEqual(names);
  expect((await listed(at)).every(({ owner, kind }) => owner === "ended" && kind === "tree")).toBe(true);
  expect(await listed(at, "--goal", "other")).toEqual([]);
  // From anywhere.
  at.work = at.folder;
  const list = await at.run("rescue", "list");
  expect(list.stdout).toContain(`omk rescue show '${id}/result'`);
  // The base was there before the result, and no later look at the goal changes when either was kept.
  const [newest, oldest] = (await listed(at)).map(({ saved_at }) => saved_at ?? "");
  expect(Date.parse(newest ?? "")).toBeGreaterThanOrEqual(Date.parse(oldest ?? ""));
  await at.run("goal", "accept", id, "--summary", "once more");
  expect((await listed(at)).map(({ saved_at }) => saved_at)).toEqual([newest, oldest]);
  expect(list.stdout).toContain(at.project);

  const shown = await at.run("rescue", "show", `${id}/r`, "--json");
  const view = RescueView.parse(JSON.parse(shown.stdout));
  expect(view.changed_files.map(({ kind, path }) => [kind, path])).toEqual([["added", "hello.txt"]]);
  expect((await at.run("rescue", "show", `${id}/result`)).stdout).toContain("  A hello.txt\n");
  expect((await at.run("rescue", "show", `${id}/result`, "--patch")).stdout).toContain("+hello\n");

  const restored = await at.run("rescue", "restore", `${id}/result`, "--to", "back", "--json");
  expect(RescueRestored.parse(JSON.parse(restored.stdout)).files).toBe(3);
  expect(readFileSync(join(at.folder, "back", "hello.txt"), "utf8")).toBe("hello\n");
  expect(readdirSync(join(at.folder, "back")).toSorted()).toEqual(["a.txt", "fix.js", "hello.txt"]);
  const twice = await at.run("rescue", "restore", `${id}/result`, "--to", "back");
  expect([twice.status, twice.stderr.includes("not empty")]).toEqual([2, true]);

  const branched = await at.run("rescue", "restore", `${id}/result`, "--branch", "back/hello");
  expect(branched.stdout).toContain("Made the branch back/hello");
  expect(await at.git("show", "back/hello:hello.txt")).toBe("hello\n");
  expect(await at.git("rev-parse", "back/hello^")).toBe(await at.git("rev-parse", "HEAD"));
  expect(readdirSync(join(at.state, "scratch"))).toEqual([]);

  const dry = await at.run("rescue", "prune", "--ended", "--dry-run");
  expect(dry.stdout).toContain(`would remove ${id}/result`);
  const young = await at.run("rescue", "prune", "--older-than", "1d", "--json");
  expect(RescuePruned.parse(JSON.parse(young.stdout)).removed).toEqual([]);
  const pruned = await at.run("rescue", "prune", "--ended", "--json");
  expect(
    RescuePruned.parse(JSON.parse(pruned.stdout))
      .removed.map(({ name }) => name)
      .toSorted(),
  ).toEqual(names);
  expect(await listed(at)).toEqual([]);
});

test("a project without a repository has what is kept in the goal's own folder", async () => {
  using at = new Place(FILES);
  const id = await goal(at, "--auto-accept");
  at.work = at.folder;
  expect(await listed(at)).toHaveLength(2);
  expect((await at.run("rescue", "restore", `${id}/result`, "--to", "back")).status).toBe(0);
  expect(existsSync(join(at.folder, "back", "hello.txt"))).toBe(true);
  const branch = await at.run("rescue", "restore", `${id}/result`, "--branch", "x");
  expect([branch.status, branch.stderr.includes("no git repository")]).toEqual([2, true]);
});

test("goals that may go on and goals nobody knows here keep what they have", async () => {
  using at = new Place(FILES);
  await at.commitAll();
  const id = await goal(at);
  // Not accepted: it rests, and goes on when somebody says so.
  expect((await listed(at)).map(({ owner }) => owner)).toEqual(["resting", "resting"]);
  await at.git("update-ref", "refs/omk/rescue/goal-elsewhere/fix-7", "HEAD");
  const ended = await at.run("rescue", "prune", "--ended");
  expect(ended.stdout).toContain("Nothing to remove.");
  expect(ended.stdout).toContain("1 left alone");
  await at.run("rescue", "prune", "--older-than", "0s");
  expect((await listed(at)).map(({ name }) => name)).toEqual(["goal-elsewhere/fix-7"]);
  await at.run("rescue", "prune", "--ended", "--goal", "goal-elsewhere");
  expect(await listed(at)).toEqual([]);
  expect(id).not.toBe("");
});

test("misuse, unknown names and broken repositories are told apart", async () => {
  using at = new Place(FILES);
  await at.commitAll();
  for (const args of [["prune"], ["restore", "x"], ["restore", "x", "--to", "a", "--branch", "b"]])
    expect((await at.run("rescue", ...args)).status, args.join(" ")).toBe(2);
  const unknown = await at.run("rescue", "show", "nothing");
  expect([unknown.status, unknown.stderr]).toEqual([
    1,
    "Error: Nothing called nothing is kept.\n  See `omk rescue list`.\n",
  ]);
  await at.git("update-ref", "refs/omk/rescue/goal-1/a-7", "HEAD");
  await at.git("update-ref", "refs/omk/rescue/goal-1/a-8", "HEAD");
  expect((await at.run("rescue", "show", "goal-1")).stderr).toContain("2 names begin with goal-1");
  const staged = await at.run("rescue", "restore", "goal-1/a-7", "--to", "back", "--staged");
  expect([staged.status, existsSync(join(at.project, "back"))]).toEqual([2, false]);
  await at.git("config", "core.repositoryformatversion", "99");
  const broken = await at.run("rescue", "list");
  expect([broken.status, broken.stderr.includes("cannot be read")]).toEqual([0, true]);
});
