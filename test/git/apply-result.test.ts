/** A result laid over the user's files while they go on working there: nothing that they save is lost. */
import fs from "node:fs";
import path from "node:path";

import { expect, test } from "vitest";

import { applyResult } from "../../src/git/apply-result.ts";
import type { PrivateGit } from "../../src/git/private-git.ts";
import { workTreeOf } from "../../src/git/work-tree.ts";
import type { Disk } from "../../src/ports.ts";
import { createWorld } from "../../src/world.ts";
import { GitPlace } from "../support/git-place.ts";

type Files = Readonly<Record<string, string | null>>;

const FILES = { "a.txt": "a\n", "b.txt": "b\n", "c.txt": "c\n", "d/e.txt": "e\n", "d/f.txt": "f\n" };
const BEFORE = "refs/omk/rescue/goal-1/before-apply";

/** The tree of HEAD and the tree that the files become by these changes; the files are as they were afterwards. */
async function treesOf(at: GitPlace, git: PrivateGit, make: (project: string) => void) {
  const copy = new GitPlace(at);
  try {
    make(copy.project);
    copy.git("add", "--all", "--force");
    const result = copy.git("write-tree").trim();
    fs.cpSync(path.join(copy.project, ".git", "objects"), path.join(at.project, ".git", "objects"), {
      recursive: true,
      force: false,
    });
    return { base: await git.treeOf(at.head(), at.signal), result };
  } finally {
    copy[Symbol.dispose]();
  }
}

const changing = (at: GitPlace, files: Files) => (project: string) => at.write(project, files);

/** The project's disk, on which something happens before a change of a name in the project. */
function disturbed(at: GitPlace, before: (what: "rename" | "remove", path: string, nth: number) => void) {
  const world = createWorld();
  const { disk } = world;
  let nth = 0;
  const own: Partial<Disk> = {
    rename(from, to) {
      if (to.startsWith(at.project)) before("rename", path.relative(at.project, to), ++nth);
      disk.rename(from, to);
    },
    remove(file) {
      if (file.startsWith(at.project)) before("remove", path.relative(at.project, file), ++nth);
      disk.remove(file);
    },
  };
  return at.open({ ...world, disk: { ...disk, ...own } });
}

function apply(at: GitPlace, git: PrivateGit, trees: { base: string; result: string }) {
  return applyResult(git, workTreeOf(git), { ...trees, at: at.at }, at.signal);
}

const LATER = { "a.txt": "A\n", "b.txt": "B\n", "c.txt": "C\n", "d/e.txt": null, "d/f.txt": "F\n" };

test.each([
  ["is saved", (file: string) => fs.writeFileSync(file, "mine\n"), "it was changed meanwhile"],
  ["gets the same size", (file: string) => fs.writeFileSync(file, "M\n"), "it was changed meanwhile"],
  ["is replaced by an editor", replaceFile, "it was changed meanwhile"],
  ["is made executable", (file: string) => fs.chmodSync(file, 0o755), "it was changed meanwhile"],
  ["goes", (file: string) => fs.rmSync(file), "it is gone"],
])("a file that %s while others are written is left alone and named", async (_what, act, because) => {
  using at = new GitPlace(FILES);
  const file = path.join(at.project, "c.txt");
  // The first change is the removal, then come a, b, c.
  const git = await disturbed(at, (_kind, _path, nth) => nth === 2 && act(file));
  const trees = await treesOf(at, git, changing(at, LATER));
  const applied = await apply(at, git, trees);
  expect(applied).toMatchObject({ outcome: "partial", written: 3, removed: 1 });
  expect(applied).toMatchObject({ inTheWay: [{ path: "c.txt", because }] });
  const { "c.txt": mine, ...others } = at.files(at.project);
  expect(others).toEqual({ "a.txt": "A\n", "b.txt": "B\n", "d/f.txt": "F\n" });
  expect(mine).toBe(because === "it is gone" ? undefined : fs.readFileSync(file, "utf8"));
  expect(mine).not.toBe("C\n");
  // What there was when it began is kept.
  expect(at.git("ls-tree", "-r", "--name-only", BEFORE).trim().split("\n")).toEqual(Object.keys(FILES));
  expect(fs.readdirSync(at.goalDir)).toEqual(["git"]);

  expect(await apply(at, git, trees)).toMatchObject({ outcome: "refused", inTheWay: [{ path: "c.txt" }] });
  fs.rmSync(file, { force: true });
  at.write(at.project, { "c.txt": "c\n" });
  expect(await apply(at, git, trees)).toEqual({ outcome: "applied", written: 1, removed: 0 });
  expect(at.files(at.project)["c.txt"]).toBe("C\n");
});

/** As many editors save: a new file gets the name of the old one. */
function replaceFile(file: string): void {
  fs.writeFileSync(`${file}~`, "M\n");
  fs.renameSync(`${file}~`, file);
}

test("a file that is to go, and is saved meanwhile, stays", async () => {
  using at = new GitPlace(FILES);
  const git = await disturbed(at, (_kind, _path, nth) => {
    if (nth === 1) at.write(at.project, { "d/f.txt": "mine\n" });
  });
  const trees = await treesOf(at, git, changing(at, { "d/e.txt": null, "d/f.txt": null, "a.txt": "A\n" }));
  expect(await apply(at, git, trees)).toMatchObject({
    outcome: "partial",
    written: 1,
    removed: 1,
    inTheWay: [{ path: "d/f.txt", because: "it was changed meanwhile" }],
  });
  expect(at.files(at.project)).toMatchObject({ "d/f.txt": "mine\n", "a.txt": "A\n" });
});

test("what appears where something new goes, or above it, is left alone", async () => {
  using at = new GitPlace(FILES);
  const outside = path.join(at.folder, "outside");
  fs.mkdirSync(outside);
  const git = await disturbed(at, (_kind, _path, nth) => {
    if (nth !== 1) return;
    at.write(at.project, { "new.txt": "mine\n", "x/mine.txt": "mine\n" });
    fs.symlinkSync(outside, path.join(at.project, "y"));
  });
  const added = { "a.txt": "A\n", "new.txt": "theirs\n", x: "theirs\n", "y/z.txt": "theirs\n" };
  const trees = await treesOf(at, git, changing(at, added));
  expect(await apply(at, git, trees)).toMatchObject({
    outcome: "partial",
    written: 1,
    inTheWay: [
      { path: "new.txt", because: "something was put there meanwhile" },
      { path: "x", because: "the folder there holds x/mine.txt" },
      { path: "y/z.txt", because: "y is no folder" },
    ],
  });
  expect(at.files(at.project)).toMatchObject({ "new.txt": "mine\n", "x/mine.txt": "mine\n" });
  expect(fs.readdirSync(outside)).toEqual([]);
});

test("a file always is there, as it was or as it becomes", async () => {
  using at = new GitPlace(FILES);
  const seen = new Set<string>();
  const git = await disturbed(at, () => {
    for (const name of ["a.txt", "b.txt"])
      seen.add(`${name} ${fs.readFileSync(path.join(at.project, name), "utf8")}`);
  });
  const trees = await treesOf(at, git, changing(at, LATER));
  expect(await apply(at, git, trees)).toMatchObject({ outcome: "applied" });
  expect([...seen].sort()).toEqual(["a.txt A\n", "a.txt a\n", "b.txt B\n", "b.txt b\n"]);
});

test.each(["the goal's own folder", "another file system"])(
  "links, modes, names and folders that become files and back come out as they are, by way of %s",
  async (way) => {
    using at = new GitPlace({
      ...FILES,
      "was-file": "f\n",
      "was-folder/x/y.txt": "y\n",
      "run.sh": "#!/bin/sh\n",
    });
    fs.symlinkSync("a.txt", path.join(at.project, "link"));
    at.commitAll("with a link");
    // A folder that holds nothing is not in git.
    fs.mkdirSync(path.join(at.project, "was-folder", "empty", "deep"), { recursive: true });
    const real = createWorld();
    const crossing: Disk = {
      ...real.disk,
      rename(from, to) {
        const isCrossing = from.startsWith(at.goalDir) && to.startsWith(at.project);
        if (isCrossing) throw Object.assign(new Error("EXDEV"), { code: "EXDEV" });
        real.disk.rename(from, to);
      },
    };
    const git = await at.open(way === "another file system" ? { ...real, disk: crossing } : real);
    const trees = await treesOf(at, git, (project) => {
      at.write(project, { "was-file": null, "was-folder": null });
      at.write(project, { "was-file/now.txt": "n\n", "was-folder": "now\n", "odd \"ü'.txt": "o\n" });
      at.write(project, { "deep/er/one.txt": "1\n", "deep/er/two.txt": "2\n" });
      fs.chmodSync(path.join(project, "run.sh"), 0o755);
      fs.rmSync(path.join(project, "link"));
      fs.symlinkSync("../b.txt", path.join(project, "link"));
      fs.rmSync(path.join(project, "a.txt"));
      fs.symlinkSync("nowhere", path.join(project, "a.txt"));
    });
    expect(await apply(at, git, trees)).toEqual({ outcome: "applied", written: 8, removed: 2 });
    expect(at.files(at.project)).toEqual({
      "b.txt": "b\n",
      "c.txt": "c\n",
      "d/e.txt": "e\n",
      "d/f.txt": "f\n",
      "a.txt": "-> nowhere",
      link: "-> ../b.txt",
      "run.sh": "#!/bin/sh\n",
      "was-file/now.txt": "n\n",
      "was-folder": "now\n",
      "odd \"ü'.txt": "o\n",
      "deep/er/one.txt": "1\n",
      "deep/er/two.txt": "2\n",
    });
    const modeOf = (name: string) => fs.statSync(path.join(at.project, name)).mode & 0o777;
    expect(modeOf("run.sh") & 0o100).toBe(0o100);
    expect(modeOf("deep/er")).toBe(modeOf("d"));
    expect(fs.readdirSync(at.goalDir)).toEqual(["git"]);
    expect(fs.readdirSync(path.join(at.project, "deep", "er"))).toEqual(["one.txt", "two.txt"]);
  },
);

test("a link that is pointed elsewhere meanwhile stays as it is", async () => {
  using at = new GitPlace(FILES);
  const link = path.join(at.project, "link");
  fs.symlinkSync("a.txt", link);
  at.commitAll("with a link");
  const git = await disturbed(at, (_kind, _path, nth) => {
    if (nth !== 1) return;
    fs.rmSync(link);
    fs.symlinkSync("c.txt", link);
  });
  const trees = await treesOf(at, git, (project) => {
    at.write(project, { "a.txt": "A\n", link: null });
    fs.symlinkSync("b.txt", path.join(project, "link"));
  });
  expect(await apply(at, git, trees)).toMatchObject({ outcome: "partial", inTheWay: [{ path: "link" }] });
  expect(fs.readlinkSync(link)).toBe("c.txt");
});

test("what the system refuses is named, and the rest is done", async () => {
  using at = new GitPlace(FILES);
  let isReadOnly = true;
  const git = await disturbed(at, (_kind, name) => {
    if (isReadOnly && name.startsWith("d/")) throw Object.assign(new Error("no"), { code: "EACCES" });
  });
  const trees = await treesOf(at, git, changing(at, LATER));
  expect(await apply(at, git, trees)).toMatchObject({
    outcome: "partial",
    written: 3,
    inTheWay: [
      { path: "d/e.txt", because: "it cannot be changed (EACCES)" },
      { path: "d/f.txt", because: "it cannot be changed (EACCES)" },
    ],
  });
  isReadOnly = false;
  expect(await apply(at, git, trees)).toEqual({ outcome: "applied", written: 1, removed: 1 });
});

test("cut off part-way, another result goes on from the files of both, and nothing is left beside them", async () => {
  using at = new GitPlace(FILES);
  const git = await disturbed(at, (_kind, _path, nth) => {
    if (nth === 3) throw new Error("cut off");
  });
  const first = await treesOf(at, git, changing(at, LATER));
  await expect(apply(at, git, first)).rejects.toThrow("cut off");
  expect(at.files(at.project)).toMatchObject({ "a.txt": "A\n", "b.txt": "b\n" });
  const anew = await at.open();
  const second = await treesOf(at, anew, changing(at, { ...FILES, "b.txt": "other\n" }));
  // What an omk that died on another file system had written aside.
  at.write(at.project, { ".omk-apply-goal-1/b.txt": "B\n" });
  const given = { ...second, partly: [first.result], at: at.at };
  expect(await applyResult(anew, workTreeOf(anew), given, at.signal)).toMatchObject({ outcome: "applied" });
  expect(at.files(at.project)).toEqual({ ...FILES, "b.txt": "other\n" });
});
