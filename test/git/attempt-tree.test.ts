/** Folders of attempts, what comes of them, and how that reaches the user. */
import fs from "node:fs";
import path from "node:path";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { applyResult } from "../../src/git/apply-result.ts";
import {
  leftAttemptTrees,
  makeAttemptTree,
  openAttemptTree,
  removeAttemptTree,
  type AttemptTree,
} from "../../src/git/attempt-tree.ts";
import {
  baseCommit,
  branchTip,
  commitOnBranch,
  isContained,
  mergeCommits,
  probeMerge,
} from "../../src/git/integrate.ts";
import type { PrivateGit } from "../../src/git/private-git.ts";
import { refusedChanges } from "../../src/git/refused-changes.ts";
import { rescueAttempt, tryRescue } from "../../src/git/rescue.ts";
import { publishResult } from "../../src/git/result.ts";
import { workTreeOf } from "../../src/git/work-tree.ts";
import { createWorld } from "../../src/world.ts";
import { GitPlace, worldFailingAt } from "../support/git-place.ts";

const BRANCH = "omk/goal/goal-1/fix-7ec701dc2d4c52a1";
const RESULT = "refs/heads/omk/result/goal-1";

function make(
  at: GitPlace,
  git: PrivateGit,
  base: string,
  fence = 7,
  name = "goal-1-fix",
): Promise<AttemptTree> {
  const branch = name === "goal-1-fix" ? BRANCH : `omk/goal/goal-1/${name}`;
  return makeAttemptTree(git, { name, fence, branch, base }, at.signal);
}

/** A commit of what some files become on a base, made in a folder of its own. */
async function slice(
  at: GitPlace,
  git: PrivateGit,
  base: string,
  name: string,
  files: Readonly<Record<string, string | null>>,
): Promise<string> {
  const attempt = await make(at, git, base, 1, name);
  at.write(attempt.folder, files);
  const tree = await attempt.snapshot(at.signal);
  const branch = `omk/goal/goal-1/${name}`;
  const commit = { branch, tree, parents: [base], message: name, at: at.at, expected: null };
  return commitOnBranch(git, commit, at.signal);
}

describe("the folder of an attempt", () => {
  test("holds the base, and the agent's own git works in it", async () => {
    using at = new GitPlace({ "a.txt": "a\n", "d/b.txt": "b\n", ".gitignore": "ignored\n" });
    at.write(at.project, { "a.txt": "the user's dirt\n" });
    const before = at.users();
    const git = await at.open();
    const attempt = await make(at, git, at.head());

    expect(attempt.folder).toBe(path.join(at.goalDir, "worktrees", "goal-1-fix-7"));
    expect(at.files(attempt.folder)).toEqual({ "a.txt": "a\n", "d/b.txt": "b\n", ".gitignore": "ignored\n" });
    expect(at.gitIn(attempt.folder, "status", "--porcelain", "--branch")).toBe(`## ${BRANCH}\n`);
    expect(at.gitIn(attempt.folder, "log", "--format=%s")).toBe("as it is\n");
    expect(at.users()).toEqual(before);
    // Whatever an agent does to its own repository stays there.
    at.gitIn(attempt.folder, "checkout", "--quiet", "-b", "elsewhere");
    at.gitIn(attempt.folder, "branch", "-D", BRANCH);
    at.gitIn(attempt.folder, "config", "core.bare", "true");
    fs.writeFileSync(path.join(attempt.folder, ".git", "HEAD"), "junk");
    expect(await attempt.snapshot(at.signal)).toBe(await git.treeOf(at.head(), at.signal));
  });

  test("is seen as it is: changed, new, removed, staged and added by force, but not what is ignored", async () => {
    using at = new GitPlace({
      "a.txt": "a\n",
      "gone.txt": "g\n",
      ".gitignore": "*.log\n",
      "kept.log": "k\n",
    });
    at.git("add", "--force", "kept.log");
    const base = at.commitAll("with a log");
    const git = await at.open();
    const attempt = await make(at, git, base);
    at.write(attempt.folder, {
      "a.txt": "changed\n",
      "gone.txt": null,
      "new\n\"ü'.txt": "n\n",
      "kept.log": "changed\n",
      "forced.log": "f\n",
      "ignored.log": "i\n",
      "staged.txt": "s\n",
    });
    at.gitIn(attempt.folder, "add", "--force", "forced.log", "staged.txt");
    at.gitIn(attempt.folder, "update-index", "--assume-unchanged", "a.txt");
    const tree = await attempt.snapshot(at.signal);
    const changes = await git.changes(base, tree, at.signal);
    expect(changes.map(({ kind, path: name }) => `${kind} ${name}`)).toEqual([
      "modified a.txt",
      "added forced.log",
      "deleted gone.txt",
      "modified kept.log",
      "added new\n\"ü'.txt",
      "added staged.txt",
    ]);
    // Another process sees the same.
    const again = await openAttemptTree(await at.open(), { name: "goal-1-fix", fence: 7 }, at.signal);
    expect(again?.base).toBe(base);
    expect(await again?.snapshot(at.signal)).toBe(tree);
  });

  test("is made eight times at once, and none knows of the others", async () => {
    using at = new GitPlace({ "a.txt": "a\n" });
    const git = await at.open();
    const base = at.head();
    const fences = [1, 2, 3, 4, 5, 6, 7, 8];
    const attempts = await Promise.all(fences.map((fence) => make(at, git, base, fence)));
    for (const [n, { folder }] of attempts.entries()) at.write(folder, { "a.txt": `${n}\n` });
    const trees = await Promise.all(attempts.map((attempt) => attempt.snapshot(at.signal)));
    expect(new Set(trees).size).toBe(8);
    expect((await leftAttemptTrees(git, at.signal)).attempts.map(({ id }) => id)).toEqual(
      fences.map((fence) => `goal-1-fix-${fence}`),
    );
  });

  test("starts from a tree where there is no commit, and holds the whole repository of a project inside one", async () => {
    using bare = new GitPlace();
    bare.write(bare.project, { "a.txt": "a\n" });
    const git = await bare.open();
    const tree = await workTreeOf(git).snapshot(bare.signal);
    const base = await baseCommit(git, { tree, at: bare.at }, bare.signal);
    expect(await baseCommit(git, { tree, at: bare.at }, bare.signal)).toBe(base);
    expect(bare.files((await make(bare, git, base)).cwd)).toEqual({ "a.txt": "a\n" });

    using at = new GitPlace({ "lib/a.txt": "a\n", "other.txt": "o\n" });
    const inside = await at.open(undefined, path.join(at.project, "lib"));
    const attempt = await make(at, inside, at.head());
    expect(attempt.cwd).toBe(path.join(attempt.folder, "lib/"));
    at.write(attempt.folder, { "other.txt": "changed\n" });
    const whole = await attempt.snapshot(at.signal);
    expect(await inside.projectIn(whole, at.signal)).toBe(at.git("rev-parse", "HEAD:lib").trim());
    expect(await inside.changes(at.head(), whole, at.signal)).toHaveLength(1);
  });

  test("is made in shallow clones, with alternates, on a detached HEAD and with longer object names", async () => {
    using at = new GitPlace({ "a.txt": "a\n" });
    at.write(at.project, { "a.txt": "2\n" });
    at.commitAll("second");
    const kinds: [string, string[]][] = [
      ["shallow", ["clone", "--quiet", "--depth=1", `file://${at.project}`]],
      ["shared", ["clone", "--quiet", "--shared", at.project]],
    ];
    for (const [name, args] of kinds) {
      const clone = path.join(at.folder, name);
      at.git(...args, clone);
      at.gitIn(clone, "checkout", "--quiet", "--detach");
      fs.rmSync(at.goalDir, { recursive: true });
      fs.mkdirSync(at.goalDir);
      const git = await at.open(undefined, clone);
      const attempt = await make(at, git, at.head());
      expect(at.gitIn(attempt.folder, "status", "--porcelain")).toBe("");
      expect(at.gitIn(attempt.folder, "log", "--format=%s").split("\n")[0]).toBe("second");
    }
    const long = path.join(at.folder, "long");
    at.gitIn(at.folder, "init", "--quiet", "--object-format=sha256", long);
    at.write(long, { "a.txt": "a\n" });
    at.gitIn(long, "add", "--all");
    at.gitIn(long, "commit", "--quiet", "--message", "long");
    fs.rmSync(at.goalDir, { recursive: true });
    fs.mkdirSync(at.goalDir);
    const attempt = await make(
      at,
      await at.open(undefined, long),
      at.gitIn(long, "rev-parse", "HEAD").trim(),
    );
    expect(at.gitIn(attempt.folder, "status", "--porcelain")).toBe("");
  });

  test("that was never whole, or cannot go, is set aside", async () => {
    using at = new GitPlace({ "a.txt": "a\n" });
    const git = await at.open();
    const half = path.join(at.goalDir, "worktrees", "goal-1-fix-7");
    at.write(half, { "half.txt": "h\n" });
    const attempt = await make(at, git, at.head());
    expect(at.files(attempt.folder)).toEqual({ "a.txt": "a\n" });
    const [first = ""] = fs.readdirSync(path.join(at.goalDir, "quarantine"));
    expect(at.files(path.join(at.goalDir, "quarantine", first))).toEqual({ "half.txt": "h\n" });

    const removal = await removeAttemptTree(git, attempt, { unsaved: ["inner"] }, at.signal);
    expect(removal).toMatchObject({ outcome: "set_aside", because: "not saved: inner" });
    expect(fs.existsSync(attempt.folder)).toBe(false);
    expect(await leftAttemptTrees(git, at.signal)).toEqual({ attempts: [], setAside: [] });
    await expect(make(at, git, "0".repeat(40), 8)).rejects.toThrow("git read-tree failed");
    expect(fs.existsSync(path.join(at.goalDir, "worktrees", "goal-1-fix-8"))).toBe(false);
    await expect(make(at, git, at.head(), 9, "X")).rejects.toThrow("cannot name a worktree");
  });

  test("that its agent took away leaves nothing behind, and what lies in its place is set aside", async () => {
    using at = new GitPlace({ "a.txt": "a\n" });
    const git = await at.open();
    const [gone, replaced, left] = await Promise.all(
      [7, 8, 9].map((fence) => make(at, git, at.head(), fence)),
    );
    if (!gone || !replaced || !left) throw new Error("three were made");
    for (const { folder } of [gone, replaced]) fs.rmSync(folder, { recursive: true });
    fs.symlinkSync(at.project, replaced.folder);
    const given = { task: "fix", fence: 7, at: at.at };
    for (const one of [gone, replaced])
      expect(await tryRescue(git, one, given, at.signal)).toMatchObject({
        outcome: "unreadable",
        because: `The worktree ${one.folder} is not there any more.`,
      });
    const found = await leftAttemptTrees(git, at.signal);
    expect(found.attempts.map(({ id }) => id)).toEqual([left.id]);
    expect(found.setAside).toMatchObject([{ because: "it lies where the folder of an attempt was" }]);
    const refs = await git.call(["for-each-ref", "--format=%(refname)", "refs/omk/attempt/"], {}, at.signal);
    expect(String(refs).trim()).toBe(`refs/omk/attempt/${left.id}`);
    expect(fs.readdirSync(path.join(git.gitDir, "attempts"))).toEqual([`${left.id}.index`]);
    expect(at.files(at.project)).toEqual({ "a.txt": "a\n" });
  });

  test("at which git cannot look is told from a git that does not work", async () => {
    using at = new GitPlace({ "a.txt": "a\n" });
    const world = createWorld();
    let failing: string | undefined;
    const run: typeof world.processes.run = (request, signal) => {
      const fails = failing !== undefined && request.argv.includes(failing);
      return world.processes.run(fails ? { ...request, argv: ["git", "no-such-command"] } : request, signal);
    };
    const processes = Object.assign(Object.create(world.processes) as typeof world.processes, { run });
    const git = await at.open({ ...world, processes });
    const attempt = await make(at, git, at.head());
    const given = { task: "fix", fence: 7, at: at.at };
    failing = "--others";
    expect(await tryRescue(git, attempt, given, at.signal)).toMatchObject({
      outcome: "unreadable",
      because: expect.stringContaining("git ls-files failed") as string,
    });
    failing = "git";
    await expect(tryRescue(git, attempt, given, at.signal)).rejects.toThrow("failed");
    failing = undefined;
    expect(await tryRescue(git, attempt, given, at.signal)).toMatchObject({ outcome: "rescued" });
  });

  test("has submodules of the base as empty folders, and neither loses nor gains one unseen", async () => {
    using at = new GitPlace({ "a.txt": "a\n" });
    const inner = path.join(at.project, "inner");
    at.gitIn(at.folder, "init", "--quiet", inner);
    at.write(inner, { "i.txt": "i\n" });
    at.gitIn(inner, "add", "--all");
    at.gitIn(inner, "commit", "--quiet", "--message", "inner");
    const base = at.commitAll("with a repository inside");
    const git = await at.open();
    const attempt = await make(at, git, base);
    expect(fs.readdirSync(path.join(attempt.folder, "inner"))).toEqual([]);
    fs.rmdirSync(path.join(attempt.folder, "inner"));
    expect(await git.changes(base, await attempt.snapshot(at.signal), at.signal)).toEqual([]);

    at.gitIn(attempt.folder, "init", "--quiet", "added");
    at.write(attempt.folder, { "added/x.txt": "x\n", "GIT~1/x": "x\n", ".omk/x": "x\n" });
    const tree = await attempt.snapshot(at.signal);
    expect(refusedChanges(await git.changes(base, tree, at.signal))).toEqual([
      { path: ".omk/x", because: "it leads into .git, .gitmodules or .omk" },
      { path: "added", because: "it adds a repository inside the project" },
    ]);
    // What is in it is in no commit, nor what git takes into none, so the folder stays.
    const rescued = await rescueAttempt(git, attempt, { task: "fix", fence: 7, at: at.at }, at.signal);
    expect(rescued.unsaved).toEqual(["added", "GIT~1/x"]);
  });
});

test("changes that steer git or omk, and names that not every system has, are refused in every form", () => {
  const refused = [
    ".git/config",
    "a/.GIT/x",
    "git~1",
    ".g\u200cit/x",
    ".gitmodules",
    "sub/.GITMODULES",
    "gitmod~1",
    ".omk/gates.toml",
    "a/.Omk",
    "new\nline",
    "back\\slash",
    "c:on",
    "nul.txt",
    "b\uFFFDd",
  ];
  const change = (name: string) => ({
    path: name,
    kind: "added" as const,
    old_mode: null,
    new_mode: "100644",
  });
  expect(refusedChanges(refused.map(change)).map(({ path: name }) => name)).toEqual(refused);
  const fine = ["a.txt", 'it\'s "quoted"', "ünï/çödé", ".gitignore", ".gitattributes", ".github/x", "a b"];
  expect(refusedChanges(fine.map(change))).toEqual([]);
  const link = { path: "m", kind: "modified" as const, old_mode: "160000", new_mode: "160000" };
  const gone = { ...link, kind: "deleted" as const, new_mode: null };
  expect(refusedChanges([link, gone]).map(({ because }) => because)).toEqual([
    "it moves a repository inside the project to another commit",
    "it takes a repository out of the project",
  ]);
});

describe("results", () => {
  test("are told to fit or not, with every file that is in the way whatever the conflict is", async () => {
    using at = new GitPlace({ "a.txt": "a\n", "b.txt": "b\n", conflict: "c\n", "m.txt": "1\n2\n3\n4\n5\n" });
    const git = await at.open();
    const base = at.head();
    const one = await slice(at, git, base, "one", {
      "a.txt": "one\n",
      "b.txt": null,
      "m.txt": "one\n2\n3\n4\n5\n",
      new: "file\n",
      "added\né": "1\n",
    });
    const two = await slice(at, git, base, "two", {
      "a.txt": "two\n",
      "b.txt": "changed\n",
      "m.txt": "1\n2\n3\n4\ntwo\n",
      "new/inside": "folder\n",
      "added\né": "2\n",
    });
    const three = await slice(at, git, base, "three", {
      "m.txt": "1\n2\n3\n4\nthree\n",
      conflict: "CONFLICT\n",
    });
    const probe = await probeMerge(git, one, two, at.signal);
    expect(probe).toMatchObject({ outcome: "conflict" });
    if (probe.outcome !== "conflict") return;
    expect(probe.files).toEqual(expect.arrayContaining(["a.txt", "added\né", "b.txt"]));
    expect(probe.files.some((name) => name.startsWith("new"))).toBe(true);
    expect(probe.files).not.toContain("m.txt");
    expect(probe.kinds).toEqual(
      expect.arrayContaining([
        "CONFLICT (contents)",
        "CONFLICT (file/directory)",
        "CONFLICT (modify/delete)",
      ]),
    );
    const fits = await probeMerge(git, one, three, at.signal);
    expect(fits.outcome).toBe("fits");
    const merge = { onto: one, commit: three, message: "both", at: at.at };
    const merged = await mergeCommits(git, merge, at.signal);
    expect(merged).toEqual(await mergeCommits(git, merge, at.signal));
    if (merged.outcome !== "merged") return;
    const text = await workTreeOf(git).read(merged.tree, "m.txt", 100, at.signal);
    expect(Buffer.from(text ?? []).toString()).toBe("one\n2\n3\n4\nthree\n");
    expect(await isContained(git, three, merged.commit, at.signal)).toBe(true);
    expect(await isContained(git, two, merged.commit, at.signal)).toBe(false);
    expect(await mergeCommits(git, { ...merge, commit: two }, at.signal)).toMatchObject({
      outcome: "conflict",
    });
  });

  test("of an attempt that another one has followed do not move the branch", async () => {
    using at = new GitPlace({ "a.txt": "a\n" });
    fs.writeFileSync(path.join(at.home, ".gitconfig"), "[user]\n\tname = Ada\n\temail = ada@example.org\n");
    const git = await at.open();
    const base = at.head();
    const tree = await git.treeOf(base, at.signal);
    const given = { branch: BRANCH, tree, parents: [base], message: "one", at: at.at, expected: null };
    const first = await commitOnBranch(git, given, at.signal);
    expect(await commitOnBranch(git, given, at.signal)).toBe(first);
    expect(await branchTip(git, BRANCH, at.signal)).toBe(first);
    await expect(commitOnBranch(git, { ...given, message: "late" }, at.signal)).rejects.toThrow(
      "later attempt",
    );
    // What a killed omk has put there is what the next attempt finds when it begins.
    const both = { ...given, branch: `${BRANCH}-2`, parents: [base, first] };
    const left = await commitOnBranch(git, both, at.signal);
    const next = await commitOnBranch(git, { ...both, message: "next", expected: left }, at.signal);
    expect(at.gitIn(git.gitDir, "rev-parse", `${next}^@`).trim().split("\n")).toEqual([base, first]);
    expect(await branchTip(git, BRANCH, at.signal)).toBe(first);
    const shown = (await git.call(["cat-file", "commit", first], {}, at.signal)).toString();
    expect(shown).toContain("author Ada <ada@example.org> 1767323045 +0000");
    await expect(commitOnBranch(git, { ...given, branch: "-x" }, at.signal)).rejects.toThrow(
      "no branch name",
    );
  });

  test("become a branch of the user's repository and touch nothing else there", async () => {
    using at = new GitPlace({ "a.txt": "a\n" });
    at.write(at.project, { "a.txt": "dirt\n", "new.txt": "n\n" });
    at.git("add", "new.txt");
    const before = at.users();
    const git = await at.open();
    const base = at.head();
    const commit = await slice(at, git, base, "one", { "a.txt": "one\n" });
    expect(await publishResult(git, { commit, base, expected: null }, at.signal)).toBe(RESULT);
    expect(await publishResult(git, { commit, base, expected: null }, at.signal)).toBe(RESULT);
    // It stands without the goal's folder.
    const later = await slice(at, git, commit, "two", { "b.txt": "two\n" });
    await publishResult(git, { commit: later, base, expected: commit }, at.signal);
    expect(at.users()).toEqual(before);
    fs.rmSync(at.goalDir, { recursive: true });
    at.git("fsck", "--full", "--strict");
    expect(at.git("show", `${RESULT}:a.txt`)).toBe("one\n");

    fs.mkdirSync(at.goalDir);
    const anew = await at.open();
    at.git("update-ref", RESULT, base);
    await expect(publishResult(anew, { commit: later, base, expected: commit }, at.signal)).rejects.toThrow(
      "not where omk left it",
    );
    at.git("worktree", "add", "--quiet", path.join(at.folder, "linked"), "omk/result/goal-1");
    await expect(publishResult(anew, { commit: later, base, expected: base }, at.signal)).rejects.toThrow(
      "is checked out",
    );
  });
});

describe("a result laid over the user's files", () => {
  const FILES = { "a.txt": "a\n", "b.txt": "b\n", "d/c.txt": "c\n", ".gitignore": "*.log\n" };

  async function apply(at: GitPlace, files: Readonly<Record<string, string | null>>) {
    const git = await at.open();
    const base = at.head();
    const commit = await slice(at, git, base, "one", files);
    const trees = { base: await git.treeOf(base, at.signal), result: await git.treeOf(commit, at.signal) };
    return () => applyResult(git, workTreeOf(git), { ...trees, at: at.at }, at.signal);
  }

  test("changes just those files, and does so once", async () => {
    using at = new GitPlace(FILES);
    at.write(at.project, { "b.txt": "the user's own\n" });
    const index = fs.readFileSync(path.join(at.project, ".git", "index"));
    const again = await apply(at, { "a.txt": "one\n", "d/c.txt": null, "e/f.txt": "f\n" });
    expect(await again()).toEqual({ outcome: "applied", written: 2, removed: 1 });
    const after = {
      ".gitignore": "*.log\n",
      "a.txt": "one\n",
      "b.txt": "the user's own\n",
      "e/f.txt": "f\n",
    };
    expect(at.files(at.project)).toEqual(after);
    expect(fs.existsSync(path.join(at.project, "d"))).toBe(false);
    expect(fs.readFileSync(path.join(at.project, ".git", "index")).equals(index)).toBe(true);
    // Cut off half-way, the rest is done.
    at.write(at.project, { "e/f.txt": null, "d/c.txt": "c\n" });
    expect(await again()).toEqual({ outcome: "applied", written: 1, removed: 1 });
    expect(await again()).toEqual({ outcome: "applied", written: 0, removed: 0 });
    expect(at.files(at.project)).toEqual(after);
  });

  test.each([
    ["a changed file", { "a.txt": "mine\n" }, { "a.txt": "one\n" }],
    ["a file that is gone", { "a.txt": null }, { "a.txt": "one\n" }],
    ["a change of a file that goes", { "a.txt": "mine\n" }, { "a.txt": null }],
    ["an untracked file", { "new.txt": "mine\n" }, { "new.txt": "one\n" }],
    ["an ignored file", { "x.log": "mine\n" }, { "x.log": "one\n", ".gitignore": "nothing\n" }],
    ["a file where a folder goes", { new: "mine\n" }, { "new/x.txt": "one\n" }],
    ["a folder with something where a file goes", { "new/x.log": "mine\n" }, { new: "one\n" }],
    ["something in a folder that becomes a file", { "d/x.log": "mine\n" }, { "d/c.txt": null, d: "one\n" }],
  ])("is refused because of %s, and then nothing is changed", async (_what, mine, theirs) => {
    using at = new GitPlace(FILES);
    at.write(at.project, mine);
    const before = at.users();
    const result = Object.entries(theirs).some(([name]) => name === "d")
      ? { "d/c.txt": null, d: null, "b.txt": "one\n" }
      : theirs;
    const git = await at.open();
    const base = at.head();
    const attempt = await make(at, git, base, 1, "one");
    for (const [name, text] of Object.entries(result)) {
      if (name !== "d") at.write(attempt.folder, { [name]: text });
      else fs.rmSync(path.join(attempt.folder, "d"), { recursive: true, force: true });
    }
    if (result !== theirs) at.write(attempt.folder, { d: "one\n" });
    const tree = await attempt.snapshot(at.signal);
    const trees = { base: await git.treeOf(base, at.signal), result: tree };
    const applied = await applyResult(git, workTreeOf(git), { ...trees, at: at.at }, at.signal);
    expect(applied).toMatchObject({ outcome: "refused" });
    expect(at.users()).toEqual(before);
  });

  test("never goes through a link of the user's to somewhere else", async () => {
    using at = new GitPlace(FILES);
    const outside = path.join(at.folder, "outside");
    fs.mkdirSync(outside);
    fs.symlinkSync(outside, path.join(at.project, "e"));
    const again = await apply(at, { "e/f.txt": "f\n" });
    expect(await again()).toMatchObject({ outcome: "refused", inTheWay: [{ because: "e is no folder" }] });
    expect(fs.readdirSync(outside)).toEqual([]);
  });
});

test("cut off before or after any call of git, the next attempt goes on and nothing of the user's has changed", async () => {
  const whole = async (at: GitPlace, git: PrivateGit, fence: number): Promise<string> => {
    const base = at.head();
    const { attempts } = await leftAttemptTrees(git, at.signal);
    for (const left of attempts) {
      const given = { task: "fix", fence: Number(left.id.split("-").at(-1)), at: at.at };
      await removeAttemptTree(git, left, await rescueAttempt(git, left, given, at.signal), at.signal);
    }
    const attempt = await make(at, git, base, fence);
    at.write(attempt.folder, { "a.txt": "done\n" });
    const tree = await attempt.snapshot(at.signal);
    const expected = (await branchTip(git, BRANCH, at.signal)) ?? null;
    const given = { branch: BRANCH, tree, parents: [base], message: "done", at: at.at, expected };
    const commit = await commitOnBranch(git, given, at.signal);
    const rescued = await rescueAttempt(git, attempt, { task: "fix", fence, at: at.at }, at.signal);
    await removeAttemptTree(git, attempt, rescued, at.signal);
    const now = at.git("for-each-ref", "--format=%(objectname)", RESULT).trim();
    await publishResult(git, { commit, base, expected: now === "" ? null : now }, at.signal);
    return commit;
  };
  using counted = new GitPlace({ "a.txt": "a\n" });
  using fresh = new GitPlace(counted);
  const [index, head] = ["index", "HEAD"].map((name) =>
    fs.readFileSync(path.join(counted.project, ".git", name), "latin1"),
  );
  const counting = worldFailingAt(Infinity, false);
  await whole(counted, await counted.open(counting.world), 1);
  const all = counting.calls();
  expect(all).toBeGreaterThan(15);
  // Every call with OMK_SIM=full; else some, others with each seed.
  const stride = process.env["OMK_SIM"] === "full" ? 1 : 4;
  const [first = 0] = fc.sample(fc.nat(stride - 1), 1);
  for (let n = 1 + first; n <= all; n += stride) {
    using at = new GitPlace(fresh);
    const { world } = worldFailingAt(n, n % 2 === 0);
    await expect(at.open(world).then((git) => whole(at, git, 1))).rejects.toThrow("cut off");
    const commit = await whole(at, await at.open(), 2);
    expect(at.git("rev-parse", RESULT).trim(), `call ${n}`).toBe(commit);
    expect(fs.readdirSync(path.join(at.goalDir, "worktrees"))).toEqual([]);
    const own = (name: string) => fs.readFileSync(path.join(at.project, ".git", name), "latin1");
    expect([own("index"), own("HEAD"), at.files(at.project)]).toEqual([index, head, { "a.txt": "a\n" }]);
  }
}, 300_000);
