/** What is saved of an attempt's folder before it goes, and how it comes back. */
import fs from "node:fs";
import path from "node:path";

import { expect, test } from "vitest";

import { makeAttemptTree, removeAttemptTree, type AttemptTree } from "../../src/git/attempt-tree.ts";
import { findRepository, visitRepository, type PrivateGit } from "../../src/git/private-git.ts";
import {
  comparedWith,
  keptChanges,
  listKept,
  removeKept,
  rescueAttempt,
  restoreAsBranch,
  restoreToFolder,
  stagedOf,
} from "../../src/git/rescue.ts";
import { workTreeOf } from "../../src/git/work-tree.ts";
import { createWorld } from "../../src/world.ts";
import { GitPlace } from "../support/git-place.ts";

const AT = new Date("2026-01-01T00:00:00Z");

const FILES = { "a.txt": "a\n", "b.txt": "b\n", ".gitignore": "*.log\n" };
const REF = "refs/omk/rescue/goal-1/fix-7";

function make(at: GitPlace, git: PrivateGit, base: string): Promise<AttemptTree> {
  return makeAttemptTree(
    git,
    { name: "goal-1-fix", fence: 7, branch: "omk/goal/goal-1/fix", base },
    at.signal,
  );
}

function rescue(at: GitPlace, git: PrivateGit, attempt: AttemptTree) {
  return rescueAttempt(git, attempt, { task: "fix", fence: 7, at: at.at }, at.signal);
}

/** As another process looks at the user's repository. */
async function visit(at: GitPlace): Promise<PrivateGit> {
  const scratch = fs.mkdtempSync(path.join(at.folder, "scratch-"));
  const world = createWorld();
  const user = findRepository(at.project, world);
  if (!user) throw new Error("no repository");
  const environment = { PATH: process.env["PATH"] ?? "" };
  const git = visitRepository(user, { scratch, environment }, world);
  await git.prepare(at.signal);
  return git;
}

test("files, what was staged, commits and stashes of the agent are all in the user's repository afterwards", async () => {
  using at = new GitPlace(FILES);
  const before = at.users();
  const git = await at.open();
  const attempt = await make(at, git, at.head());
  const { folder } = attempt;
  at.write(folder, { "stashed.txt": "s\n" });
  at.gitIn(folder, "stash", "--include-untracked", "--quiet");
  at.write(folder, { "stashed.txt": "again\n" });
  at.gitIn(folder, "stash", "--include-untracked", "--quiet");
  at.write(folder, { "committed.txt": "c\n" });
  at.gitIn(folder, "add", "--all");
  at.gitIn(folder, "commit", "--quiet", "--message", "by the agent");
  const own = at.gitIn(folder, "rev-parse", "HEAD").trim();
  at.gitIn(folder, "reset", "--quiet", "--hard", "HEAD^");
  at.gitIn(folder, "branch", "mine", own);
  at.write(folder, { "a.txt": "staged\n", "n.txt": "n\n" });
  at.gitIn(folder, "add", "a.txt");
  at.gitIn(folder, "add", "--intent-to-add", "n.txt");
  at.write(folder, { "a.txt": "not staged\n", "b.txt": null, "x.log": "ignored\n" });

  const rescued = await rescue(at, git, attempt);
  expect(rescued).toMatchObject({ ref: REF, unsaved: [] });
  expect(await rescue(at, git, attempt)).toEqual(rescued);
  expect(await removeAttemptTree(git, attempt, rescued, at.signal)).toEqual({ outcome: "removed" });
  fs.rmSync(at.goalDir, { recursive: true });

  expect(at.users()).toEqual(before);
  at.git("fsck", "--full", "--strict");
  expect(at.git("ls-tree", "-r", "--name-only", REF)).toBe(".gitignore\na.txt\nn.txt\n");
  expect(at.git("show", `${REF}:a.txt`)).toBe("not staged\n");
  expect(at.git("show", `${REF}^2:a.txt`)).toBe("staged\n");
  expect(at.git("show", `${REF}^2:b.txt`)).toBe("b\n");
  expect(rescued.commits).toContain(own);
  expect(at.git("show", `${own}:committed.txt`)).toBe("c\n");
  const stashed = rescued.commits.flatMap((commit) => {
    const parents = at.git("rev-list", "--parents", "-n1", commit).trim().split(" ").slice(1);
    return parents[2] === undefined ? [] : [at.git("show", `${parents[2]}:stashed.txt`)];
  });
  expect(stashed.toSorted()).toEqual(["again\n", "s\n"]);
});

test("conflicts, damaged indexes and a .git that is something else do not keep the files from being saved", async () => {
  using at = new GitPlace(FILES);
  const git = await at.open();
  const damages: [string, (own: string) => void, "index" | "nothing"][] = [
    [
      "conflict",
      (own) => {
        const folder = path.dirname(own);
        at.gitIn(folder, "checkout", "--quiet", "-b", "x");
        at.write(folder, { "a.txt": "x\n" });
        at.gitIn(folder, "commit", "--quiet", "--all", "--message", "x");
        at.gitIn(folder, "checkout", "--quiet", "-b", "y", "HEAD^");
        at.write(folder, { "a.txt": "y\n" });
        at.gitIn(folder, "commit", "--quiet", "--all", "--message", "y");
        expect(() => at.gitIn(folder, "merge", "x")).toThrow("merge x");
      },
      "index",
    ],
    ["junk", (own) => fs.writeFileSync(path.join(own, "index"), "junk"), "nothing"],
    ["gone", (own) => fs.rmSync(own, { recursive: true }), "nothing"],
    [
      "link",
      (own) => {
        fs.rmSync(own, { recursive: true });
        fs.symlinkSync(path.join(at.project, ".git"), own);
      },
      "nothing",
    ],
    [
      "objects",
      (own) => {
        at.write(path.dirname(own), { "s.txt": "s\n" });
        at.gitIn(path.dirname(own), "add", "s.txt");
        fs.rmSync(path.join(path.dirname(own), "s.txt"));
        for (const name of fs.readdirSync(path.join(own, "objects")).filter((one) => one.length === 2))
          fs.rmSync(path.join(own, "objects", name), { recursive: true });
      },
      "nothing",
    ],
  ];
  for (const [n, [what, damage, expected]] of damages.entries()) {
    const request = { name: "goal-1-fix", fence: n, branch: "omk/goal/goal-1/fix", base: at.head() };
    const attempt = await makeAttemptTree(git, request, at.signal);
    damage(path.join(attempt.folder, ".git"));
    at.write(attempt.folder, { "work.txt": `${what}\n` });
    const rescued = await rescueAttempt(git, attempt, { task: "fix", fence: n, at: at.at }, at.signal);
    expect(at.git("show", `${rescued.ref}:work.txt`), what).toBe(`${what}\n`);
    expect(rescued.index === null ? "nothing" : "index", what).toBe(expected);
    expect(rescued.unsaved, what).toEqual(
      what === "junk" || what === "objects" ? ["what was staged: it cannot be read"] : [],
    );
  }
});

test("is listed, shown and restored by another process, with names of every kind", async () => {
  using at = new GitPlace({ ...FILES, "lïnk\n\"'": "l\n" });
  const git = await at.open();
  const attempt = await make(at, git, at.head());
  at.write(attempt.folder, { "ü\n'.txt": "n\n", "a.txt": "changed\n" });
  fs.symlinkSync("/etc/passwd", path.join(attempt.folder, "out"));
  fs.writeFileSync(path.join(attempt.folder, "tool"), "#!/bin/sh\n", { mode: 0o755 });
  const rescued = await rescue(at, git, attempt);
  const tree = workTreeOf(git);
  await tree.keep(await git.treeOf(at.head(), at.signal), { name: "base", at: AT }, at.signal);
  await tree.keep(rescued.tree, { name: "result", at: AT }, at.signal);

  const visitor = await visit(at);
  const all = await listKept(visitor, at.signal);
  expect(all.map(({ name, kind, saved_at }) => [name, kind, saved_at])).toEqual([
    ["goal-1/base", "tree", AT.toISOString()],
    ["goal-1/fix-7", "attempt", "2026-01-02T03:04:05.000Z"],
    ["goal-1/result", "tree", AT.toISOString()],
  ]);
  for (const kept of all.slice(1)) {
    const changes = await keptChanges(visitor, { from: comparedWith(kept, all), to: kept.commit }, at.signal);
    expect(changes.map(({ path: name }) => name)).toEqual(["a.txt", "out", "tool", "ü\n'.txt"]);
  }
  const [base, saved] = all;
  if (!base || !saved) return;
  expect(comparedWith(base, all)).toBeUndefined();
  expect(await stagedOf(visitor, saved, at.signal)).toBe(rescued.index);

  const folder = path.join(at.folder, "back");
  expect(await restoreToFolder(visitor, saved.commit, folder, at.signal)).toBe(7);
  expect(at.files(folder)).toEqual(at.files(attempt.folder));
  expect(fs.statSync(path.join(folder, "tool")).mode & 0o100).toBe(0o100);
  await expect(restoreToFolder(visitor, saved.commit, folder, at.signal)).rejects.toThrow("not empty");
  fs.symlinkSync("nowhere", path.join(at.folder, "dangling"));
  await expect(
    restoreToFolder(visitor, saved.commit, path.join(at.folder, "dangling"), at.signal),
  ).rejects.toThrow("link to nowhere");

  const before = at.users();
  await restoreAsBranch(visitor, { commit: saved.commit, branch: "omk/back" }, at.signal);
  expect(at.users()).toEqual(before);
  expect(at.git("merge-base", "omk/back", "main").trim()).toBe(at.head());
  const again = { commit: base.commit, branch: "omk/back" };
  await expect(restoreAsBranch(visitor, again, at.signal)).rejects.toThrow("There is a branch");
  await expect(restoreAsBranch(visitor, { ...again, branch: "a..b" }, at.signal)).rejects.toThrow(
    "no branch",
  );

  // What was moved meanwhile is not removed.
  at.git("update-ref", REF, at.head());
  await expect(removeKept(visitor, [saved], at.signal)).rejects.toThrow("update-ref failed");
  await removeKept(visitor, [base], at.signal);
  expect((await listKept(visitor, at.signal)).map(({ name }) => name)).toEqual([
    "goal-1/fix-7",
    "goal-1/result",
  ]);
});
