/** The folder in which a sliced goal's base and merged result are judged. */
import fs from "node:fs";
import path from "node:path";

import { describe, expect, test } from "vitest";

import type { PrivateGit } from "../../src/git/private-git.ts";
import { openStage } from "../../src/git/stage.ts";
import { uncommittedPaths, workTreeOf } from "../../src/git/work-tree.ts";
import { createWorld } from "../../src/world.ts";
import { GitPlace, worldFailingAt } from "../support/git-place.ts";

const BASE = { "a.txt": "a\n", "d/b.txt": "b\n", ".gitignore": "ignored/\n" };

/** A commit of other files on a base, that only omk's own git has. */
async function commitOf(
  at: GitPlace,
  git: PrivateGit,
  files: Readonly<Record<string, string | null>>,
): Promise<string> {
  const stage = openStage(git);
  await stage.show(at.head(), at.signal);
  at.write(path.join(at.goalDir, "stage"), files);
  const tree = await stage.snapshot(at.signal);
  return git.commitTree({ tree, parents: [at.head()], message: "more", at: at.at }, at.signal);
}

describe("the stage of a goal", () => {
  test("shows one commit at a time, and nothing of what was left there goes on to the next", async () => {
    using at = new GitPlace(BASE);
    at.write(at.project, { "a.txt": "the user's dirt\n", "mine.txt": "m\n", "ignored/x": "x\n" });
    const before = at.users();
    const git = await at.open();
    const next = await commitOf(at, git, { "a.txt": "changed\n", "d/b.txt": null });
    const stage = openStage(git);
    expect(stage.commit).toBeUndefined();
    await expect(stage.snapshot(at.signal)).rejects.toThrow("shows no commit");
    await stage.show(at.head(), at.signal);
    expect(stage.root).toBe(path.join(at.goalDir, "stage"));
    expect(at.files(stage.root)).toEqual(BASE);
    expect(await stage.snapshot(at.signal)).toBe(await git.treeOf(at.head(), at.signal));
    at.write(stage.root, { "report.xml": "r\n", "ignored/y": "y\n", "a.txt": "side effect\n" });
    const written = await stage.changes(at.head(), await stage.snapshot(at.signal), at.signal);
    expect(written.map(({ path: name }) => name)).toEqual(["a.txt", "report.xml"]);
    expect(await stage.ignored(at.signal)).toEqual(["ignored/"]);

    // The same commit again leaves all as it is; another one, and the same after it was forgotten, are made anew.
    await stage.show(at.head(), at.signal);
    expect(at.files(stage.root)).toHaveProperty(["report.xml"]);
    await stage.show(next, at.signal);
    expect(at.files(stage.root)).toEqual({ "a.txt": "changed\n", ".gitignore": BASE[".gitignore"] });
    at.write(stage.root, { "junk.txt": "j\n" });
    stage.forget();
    await stage.show(next, at.signal);
    expect(at.files(stage.root)).not.toHaveProperty(["junk.txt"]);
    expect(stage.remove()).toEqual({ outcome: "removed" });
    expect(fs.existsSync(stage.root)).toBe(false);
    expect(at.users()).toEqual(before);
  });

  test("is a repository for the gates, whatever they do to it, and its place never moves", async () => {
    using at = new GitPlace(BASE);
    const git = await at.open();
    const stage = openStage(git);
    await stage.show(at.head(), at.signal);
    expect(at.gitIn(stage.root, "status", "--porcelain", "--branch")).toBe("## omk/stage\n");
    expect(at.gitIn(stage.root, "log", "--format=%s")).toBe("as it is\n");
    expect(at.gitIn(stage.root, "ls-files")).toBe(".gitignore\na.txt\nd/b.txt\n");
    const position = await stage.position(at.signal);
    at.gitIn(stage.root, "update-index", "--assume-unchanged", "a.txt");
    at.gitIn(stage.root, "commit", "--quiet", "--allow-empty", "--message", "gate");
    at.write(at.project, { "new.txt": "n\n" });
    at.commitAll("the user goes on");
    at.write(stage.root, { "a.txt": "hidden\n" });
    expect(await stage.position(at.signal)).toBe(position);
    expect(await stage.snapshot(at.signal)).not.toBe(await git.treeOf(`${at.head()}~1`, at.signal));
    // What concerns the user's repository is still asked of that one.
    expect((await stage.evidence(at.signal))?.head).toBe(at.head());
  });

  test("copies of trees have what is ignored in the stage, not in the user's folder", async () => {
    using at = new GitPlace(BASE);
    at.write(at.project, { "ignored/user.txt": "u\n" });
    const git = await at.open();
    const stage = openStage(git);
    await stage.show(at.head(), at.signal);
    at.write(stage.root, { "ignored/own.txt": "o\n" });
    const copy = path.join(at.folder, "copy");
    fs.mkdirSync(copy);
    await stage.checkout(at.head(), copy, { withIgnored: true }, at.signal);
    expect(at.files(copy)).toEqual({ ...BASE, "ignored/own.txt": "o\n" });
  });

  test("shows a project that is a part of its repository, also where a commit has nothing of it", async () => {
    using at = new GitPlace({ "top.txt": "t\n", "sub/a.txt": "a\n" });
    const git = await at.open(createWorld(), path.join(at.project, "sub"));
    const stage = openStage(git);
    await stage.show(at.head(), at.signal);
    expect(stage.root).toBe(path.join(at.goalDir, "stage", "sub"));
    expect(at.files(stage.root)).toEqual({ "a.txt": "a\n" });
    expect(at.files(path.join(stage.root, ".."))).toHaveProperty(["top.txt"]);
    const whole = await git.treeOf(at.head(), at.signal);
    const tree = await stage.snapshot(at.signal);
    expect(tree).toBe(await git.projectIn(whole, at.signal));
    expect(await stage.files(tree, at.signal)).toEqual(["a.txt"]);
    at.write(at.project, { "sub/a.txt": null, "sub/mine.txt": "m\n", "beside.txt": "b\n" });
    expect(await uncommittedPaths(git, at.signal)).toEqual(["a.txt", "mine.txt"]);
    fs.rmSync(path.join(at.project, "sub"), { recursive: true });
    const without = at.commitAll("nothing of the project");
    await stage.show(without, at.signal);
    expect(fs.readdirSync(stage.root)).toEqual([]);
    expect(await stage.snapshot(at.signal)).toBe(await git.emptyTree(at.signal));
  });

  test("shows a commit without any file, and one that omk made of a folder without a repository", async () => {
    using at = new GitPlace();
    at.write(at.project, { "a.txt": "a\n" });
    const git = await at.open();
    const stage = openStage(git);
    const empty = await git.emptyTree(at.signal);
    const trees = [empty, await workTreeOf(git).snapshot(at.signal)];
    for (const tree of trees) {
      const commit = await git.commitTree({ tree, parents: [], message: "found", at: at.at }, at.signal);
      await stage.show(commit, at.signal);
      expect(await stage.snapshot(at.signal)).toBe(tree);
    }
    expect(at.files(stage.root)).toEqual({ "a.txt": "a\n" });
    expect(stage.kind).toBe("folder");
    expect(await uncommittedPaths(git, at.signal)).toEqual([]);
  });

  test("cut off before or after any call of git, is made again as a whole", async () => {
    using at = new GitPlace(BASE);
    const stage = openStage(await at.open());
    const calls = worldFailingAt(Infinity, false);
    const counted = await at.open(calls.world);
    const beside = calls.calls();
    await openStage(counted).show(at.head(), at.signal);
    const needed = calls.calls() - beside;
    expect(needed).toBeGreaterThan(0);
    for (const after of [false, true]) {
      for (let n = 1; n <= needed; n++) {
        const { world } = worldFailingAt(beside + n, after);
        const cut = openStage(await at.open(world));
        await expect(cut.show(at.head(), at.signal)).rejects.toThrow("cut off");
        expect(cut.commit).toBeUndefined();
        await stage.show(at.head(), at.signal);
        expect(at.files(stage.root)).toEqual(BASE);
        expect(at.gitIn(stage.root, "status", "--porcelain")).toBe("");
        stage.forget();
      }
    }
  });
});
