/** A result of slices on its way to the user: a branch, and their files where that was asked for; nothing of theirs is overwritten. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

import { expect, test } from "vitest";

import { openPrivateGit } from "../../src/git/private-git.ts";
import { acceptByHand } from "../../src/goal/decisions-by-hand.ts";
import { deliverIfDue } from "../../src/goal/deliver.ts";
import { change, type GoalPorts } from "../../src/goal/open.ts";
import { setupEnding } from "../../src/goal/sliced-space.ts";
import { resumeGoal } from "../../src/goal/resume.ts";
import type { Outcome } from "../../src/goal/with-goal.ts";
import { MadeSlices } from "../support/made-slices.ts";

const BASE = { "a.txt": "a\n", "b.txt": "b\n", "old.txt": "old\n" };
const SLICES = [
  { id: "goal-agent-implement-a", files: { "a.txt": "a word\n", "old.txt": null }, landed: true },
  { id: "goal-agent-implement-b", files: { "b.txt": "b word\n", "new/c.txt": "c\n" }, landed: true },
];
const RESULT = { "a.txt": "a word\n", "b.txt": "b word\n", "new/c.txt": "c\n" };

async function done({ apply = false, repository = true } = {}): Promise<MadeSlices> {
  const place = new MadeSlices(repository ? BASE : undefined);
  if (!repository) place.write(place.project, BASE);
  await place.begin({ apply });
  await place.has(SLICES);
  return place;
}

/** Judged and accepted; then it is delivered. */
function accept(place: MadeSlices, ports = place.ports): Promise<Outcome> {
  const attested = { acceptance: "seen", smoke: "seen", demo: "seen" };
  const request = { summary: "fine", attested, slices: SLICES.map(({ id }) => id) };
  return acceptByHand(place.id, request, ports, place.signal);
}

/** What a goal that goes on does. */
function again(place: MadeSlices) {
  return place.opened((open, space) => deliverIfDue(open, space, place.ports, place.signal));
}

function shell(place: MadeSlices, line: string): string {
  const env = { PATH: process.env["PATH"] ?? "", HOME: place.home, GIT_CONFIG_NOSYSTEM: "1" };
  const who = {
    GIT_AUTHOR_NAME: "u",
    GIT_AUTHOR_EMAIL: "u@x",
    GIT_COMMITTER_NAME: "u",
    GIT_COMMITTER_EMAIL: "u@x",
  };
  return execFileSync("sh", ["-c", line], { cwd: place.project, env: { ...env, ...who }, encoding: "utf8" });
}

test("a result is a branch of the user's, told with commands that work, and made once", async () => {
  using place = await done();
  const before = place.users();
  const { ending, open } = await accept(place);
  expect(ending, open.proof?.readiness).toMatchObject({ status: "ready" });
  expect(place.users()).toEqual(before);
  const branch = `omk/result/${place.id}`;
  const base = place.git("rev-parse", "main").slice(0, 12);
  expect(place.told).toContain(
    `result: branch ${branch}; look at it: git diff ${base}..${branch}; take it, in the project directory: git merge ${branch}`,
  );
  const tip = place.git("rev-parse", branch);
  expect(open.proof?.delivery).toMatchObject({ result: { ref: `refs/heads/${branch}`, commit: tip.trim() } });
  expect(open.work.undo).toBeUndefined();

  // Killed after the branch was made, and before that was known.
  await place.opened((goal) => {
    const { result, done_at, ...delivery } = goal.work.delivery ?? { tree: "", pushed: [], pulls: [] };
    expect([result, done_at]).not.toContain(undefined);
    return goal.record({ kind: "made_up", actor: "test", changes: [change("work.json", { delivery })] });
  });
  expect(await again(place)).toBeUndefined();
  expect(place.git("rev-parse", branch)).toBe(tip);
  place.git("merge", "--quiet", branch);
  expect(place.files(place.project)).toEqual(RESULT);
});

test("a branch of that name that is somebody else's is left alone until a person has made way", async () => {
  using place = await done();
  const branch = `omk/result/${place.id}`;
  place.git("branch", branch, "main");
  const { ending, open } = await accept(place);
  expect(ending).toMatchObject({ status: "blocked_on_human", reasonCode: "result_branch_moved" });
  expect(ending.reason).toContain(`git branch -m ${branch}`);
  expect(open.work.acceptance?.decision).toBe("accepted");
  expect(place.git("rev-parse", branch)).toBe(place.git("rev-parse", "main"));
  place.git("branch", "-m", branch, "mine");
  // Commands of git would take this for the branch.
  place.git("tag", branch, "main");
  expect(await again(place)).toBeUndefined();
  expect(place.git("show", `refs/heads/${branch}:a.txt`)).toBe("a word\n");
  expect(place.told.join("\n")).toContain(`take it, in the project directory: git merge heads/${branch}`);
});

test("a result is laid over the user's files where that was asked for, and the undo command takes it back", async () => {
  using place = await done({ apply: true });
  place.write(place.project, { "mine.txt": "mine\n" });
  const { ending, open } = await accept(place);
  expect(ending.status).toBe("ready");
  expect(place.files(place.project)).toEqual({ ...RESULT, "mine.txt": "mine\n" });
  expect(place.git("diff", "--cached", "--name-only")).toBe("");
  // What lies there already cannot be merged.
  expect(place.told.join("\n")).toContain("result: branch omk/result/");
  expect(place.told.join("\n")).not.toContain("take it");
  expect(open.proof?.delivery?.applied).toMatchObject({ written: 3, removed: 1 });

  // Killed half-way: what is done already stays, and the rest follows.
  place.write(place.project, { "a.txt": "a\n" });
  await place.opened((goal) => {
    const { applied, done_at, ...delivery } = goal.work.delivery ?? { tree: "", pushed: [], pulls: [] };
    expect([applied, done_at]).not.toContain(undefined);
    return goal.record({ kind: "made_up", actor: "test", changes: [change("work.json", { delivery })] });
  });
  expect(await again(place)).toBeUndefined();
  expect(place.files(place.project)).toEqual({ ...RESULT, "mine.txt": "mine\n" });

  expect(open.work.undo).toContain("git apply");
  shell(place, open.work.undo ?? "false");
  expect(place.files(place.project)).toEqual({ ...BASE, "mine.txt": "mine\n" });
});

test("nothing is laid over files that the user has changed, and later it is tried again", async () => {
  using place = await done({ apply: true });
  place.write(place.project, { "a.txt": "mine\n", new: "a file\n" });
  const before = place.files(place.project);
  const { ending } = await accept(place);
  expect(ending).toMatchObject({ status: "blocked_on_human", reasonCode: "apply_refused" });
  expect(ending.reason).toContain("a.txt: it is not as the goal's base has it; new/c.txt: new is no folder");
  expect(place.files(place.project)).toEqual(before);
  expect(place.git("show", `omk/result/${place.id}:a.txt`)).toBe("a word\n");
  place.write(place.project, { "a.txt": "a\n", new: null });
  expect(await again(place)).toBeUndefined();
  expect(place.files(place.project)).toEqual(RESULT);
});

test("a person may say that the branch is enough, and one who made way is served by resume, whoever drives", async () => {
  using place = await done({ apply: true });
  place.write(place.project, { "a.txt": "mine\n" });
  const { ending } = await accept(place);
  expect(ending.reason).toContain(`omk goal accept ${place.id} --no-apply`);
  const enough = { summary: "I merge it", attested: {}, noApply: true };
  const { ending: last, open } = await acceptByHand(place.id, enough, place.ports, place.signal);
  expect(last, open.proof?.readiness).toMatchObject({ status: "ready" });
  expect(place.files(place.project)).toEqual({ ...BASE, "a.txt": "mine\n" });
  await expect(acceptByHand(place.id, enough, place.ports, place.signal)).rejects.toMatchObject({
    code: "usage.invalid",
  });

  using other = await done({ apply: true });
  other.write(other.project, { "a.txt": "mine\n" });
  await accept(other);
  other.write(other.project, { "a.txt": "a\n" });
  const resumed = await resumeGoal(other.id, other.ports, other.signal);
  expect(resumed.ending.status).toBe("ready");
  expect(other.files(other.project)).toEqual(RESULT);
});

test("a file saved while the result is laid over the others stays, and when it is put back the rest follows", async () => {
  using place = await done({ apply: true });
  const { disk, environment } = place.ports;
  const rename = (from: string, to: string) => {
    if (to === path.join(place.project, "a.txt")) place.write(place.project, { "b.txt": "mine\n" });
    disk.rename(from, to);
  };
  const ports: GoalPorts = {
    ...place.ports,
    openGit: (request) =>
      openPrivateGit({ ...request, environment }, { ...ports, disk: { ...disk, rename } }),
  };
  const { ending } = await accept(place, ports);
  expect(ending).toMatchObject({ status: "blocked_on_human", reasonCode: "apply_refused" });
  expect(ending.reason).toContain("(b.txt: it was changed meanwhile); written: 2, removed: 1");
  expect(place.files(place.project)).toEqual({ ...RESULT, "b.txt": "mine\n" });
  const kept = `refs/omk/rescue/${place.id}/before-apply`;
  expect(ending.reason).toContain(`held before is kept as ${kept};`);
  expect(place.git("show", `${kept}:b.txt`)).toBe("b\n");

  expect((await again(place))?.reason).toContain("none was touched this time (b.txt: ");
  expect(place.files(place.project)).toEqual({ ...RESULT, "b.txt": "mine\n" });
  place.write(place.project, { "b.txt": "b\n" });
  expect(await again(place)).toBeUndefined();
  expect(place.files(place.project)).toEqual(RESULT);
  await place.opened(async ({ work }) => {
    expect(work.delivery?.applied).toMatchObject({ tree: work.result?.tree, written: 1 });
    expect(work.delivery).not.toHaveProperty("partly");
    shell(place, work.undo ?? "false");
  });
  expect(place.files(place.project)).toEqual(BASE);
});

test("a branch that leaves no room for the result's is found before anybody works, and at the end", async () => {
  using place = new MadeSlices(BASE);
  place.git("branch", "omk");
  await expect(place.begin()).rejects.toMatchObject({
    code: "delivery.refused",
    hint: "Rename it with `git branch -m omk <other name>`, then make the goal again.",
  });
  expect(fs.readdirSync(path.join(place.folder, "state", "goals"))).toEqual(["goal-1"]);
  place.git("branch", "-m", "omk", "mine");
  await place.begin();
  place.git("branch", "omk/result");
  const failure: unknown = await place.has(SLICES).catch((error: unknown) => error);
  expect(setupEnding(failure)).toMatchObject({
    status: "blocked_on_human",
    reasonCode: "result_branch_moved",
    reason: expect.stringContaining("then run `omk goal resume") as string,
  });
  place.git("branch", "-D", "omk/result");
  await place.has(SLICES);

  // Not there yet, but the one that the user is on.
  place.git("symbolic-ref", "HEAD", "refs/heads/omk");
  const { ending } = await accept(place);
  expect(ending).toMatchObject({ status: "blocked_on_human", reasonCode: "result_branch_moved" });
  expect(ending.reason).toContain("`git branch -m omk <other name>`");
  place.git("symbolic-ref", "HEAD", "refs/heads/main");
  expect(await again(place)).toBeUndefined();
  expect(place.git("show", `omk/result/${place.id}:a.txt`)).toBe("a word\n");
});

test("in a folder without git the commands say where the result lies, and bring it", async () => {
  using place = await done({ repository: false });
  const { ending, open } = await accept(place);
  expect(ending, open.proof?.readiness).toMatchObject({ status: "ready" });
  expect(fs.existsSync(path.join(place.project, ".git"))).toBe(false);
  expect(place.files(place.project)).toEqual(BASE);
  const told = place.told.find((line) => line.startsWith("result: ")) ?? "";
  const [, look = "", take = ""] =
    /look at it: (.*); take it, in the project directory: (.*)$/.exec(told) ?? [];
  expect(shell(place, look)).toContain("+a word");
  shell(place, take);
  expect(place.files(place.project)).toEqual(RESULT);
});
