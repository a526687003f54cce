/** Projects, repositories and interruptions at their worst. What is usual is in `work-tree.test.ts`. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import { applyResult } from "../../src/git/apply-result.ts";
import { makeAttemptTree, removeAttemptTree } from "../../src/git/attempt-tree.ts";
import { commitOnBranch, isContained, mergeCommits } from "../../src/git/integrate.ts";
import { openPrivateGit } from "../../src/git/private-git.ts";
import {
  listKept,
  removeKept,
  rescueAttempt,
  restoreAsBranch,
  restoreToFolder,
  stagedOf,
} from "../../src/git/rescue.ts";
import { publishResult } from "../../src/git/result.ts";
import { openWorkTree, workTreeOf, type WorkTree } from "../../src/git/work-tree.ts";
import { createWorld } from "../../src/world.ts";
import { EVIL_ATTRIBUTES, plantInGitDir, plantSettings, Trap } from "../support/planted.ts";

const AT = new Date("2026-01-01T00:00:00Z");

const world = createWorld();
const { signal } = new AbortController();
let folder: string;
let project: string;
let goalDir: string;
let home: string;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "git-"));
  [project, goalDir, home] = ["project", "goal", "home"].map((name) => path.join(folder, name)) as [
    string,
    string,
    string,
  ];
  for (const name of [project, goalDir, home]) fs.mkdirSync(name);
});

afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

/** The user's own git, as they would call it. */
function git(...args: string[]): string {
  return gitIn(project, ...args);
}

function gitIn(cwd: string, ...args: string[]): string {
  const who = ["-c", "user.name=user", "-c", "user.email=user@example.org", "-c", "commit.gpgSign=false"];
  const env = { PATH: process.env["PATH"] ?? "", HOME: home, GIT_CONFIG_NOSYSTEM: "1" };
  return execFileSync("git", [...who, ...args], {
    cwd,
    env,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

function write(name: string, text: string | Uint8Array, mode = 0o644): void {
  const file = path.join(project, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text, { mode });
}

function repository(files: Record<string, string> = { "a.txt": "a\n" }): void {
  git("init", "--quiet", "--initial-branch=main");
  for (const [name, text] of Object.entries(files)) write(name, text);
  git("add", "--all");
  git("commit", "--quiet", "--message", "first");
}

function open(): Promise<WorkTree> {
  const environment = { PATH: process.env["PATH"] ?? "", HOME: home };
  return openWorkTree({ projectDir: project, goalDir, goalId: "goal-1", environment }, world, signal);
}

/** Every method once. Returns the trees before and after a change. */
async function useAll(tree: WorkTree): Promise<{ before: string; after: string }> {
  const before = await tree.snapshot(signal);
  write("changed-by-test.txt", "c\n");
  const after = await tree.snapshot(signal);
  await tree.evidence(signal);
  await tree.position(signal);
  const head = await tree.head(signal);
  if (head !== undefined) await tree.pinBase(head, signal);
  await tree.changes(before, after, signal);
  for (const name of await tree.files(after, signal)) await tree.read(after, name, 1_000, signal);
  await tree.patch(before, after, 100_000, signal);
  await tree.keep(after, { name: "result", at: AT }, signal);
  const copy = path.join(folder, "copy");
  fs.mkdirSync(copy);
  const overlay = { tree: before, paths: ["changed-by-test.txt"] };
  await tree.checkout(after, copy, { overlay, withIgnored: true }, signal);
  return { before, after };
}

/** A shell script that leaves a mark, and whether it did. */
function trap(): { script: string; wasRun: () => boolean } {
  const mark = path.join(folder, "ran");
  const script = path.join(folder, "evil.sh");
  fs.writeFileSync(script, `#!/bin/sh\necho "$0 $*" >>'${mark}'\ncat\n`, { mode: 0o755 });
  return { script, wasRun: () => fs.existsSync(mark) };
}

test("nothing that is included, from another file or by condition, is ever run", async () => {
  repository({ ".gitattributes": "* filter=evil diff=evil\n", "a.txt": "a\n" });
  const { script, wasRun } = trap();
  const hooks = path.join(folder, "hooks");
  fs.mkdirSync(hooks);
  for (const name of ["reference-transaction", "post-index-change", "pre-auto-gc", "post-checkout"])
    fs.copyFileSync(script, path.join(hooks, name));
  const included = `[core]\n\tfsmonitor = ${script}\n\thooksPath = ${hooks}\n\tpager = ${script}
[filter "evil"]\n\tclean = ${script}\n\tsmudge = ${script}\n\tprocess = ${script}\n\trequired = true
[diff "evil"]\n\ttextconv = ${script}\n\tcommand = ${script}\n[diff]\n\texternal = ${script}
[alias]\n\twrite-tree = !${script}\n\tx = !${script}\n[gc]\n\tauto = 1\n`;
  fs.writeFileSync(path.join(folder, "included"), included);
  git("config", "include.path", path.join(folder, "included"));
  git("config", `includeIf.gitdir:${project}/.path`, path.join(folder, "included"));
  git("config", "extensions.worktreeConfig", "true");
  fs.writeFileSync(path.join(project, ".git", "config.worktree"), included);
  fs.mkdirSync(path.join(project, ".git", "info"), { recursive: true });
  fs.writeFileSync(path.join(project, ".git", "info", "attributes"), "* filter=evil diff=evil\n");
  // The user's own configuration is not asked to run anything either.
  fs.writeFileSync(path.join(home, ".gitconfig"), included);

  const { after } = await useAll(await open());

  expect(wasRun()).toBe(false);
  // Git on its own falls into it.
  write("a.txt", "b\n");
  expect(() => git("status", "--porcelain")).toThrow("evil");
  expect(wasRun()).toBe(true);
  expect(after).toMatch(/^[0-9a-f]{40}$/);
});

/** The whole way of two slices: folders, commits, a merge, rescue, a branch, the user's files, and back again. */
async function deliver(spoil: (folder: string) => void): Promise<void> {
  const environment = { PATH: process.env["PATH"] ?? "", HOME: home };
  const request = { projectDir: project, goalDir, goalId: "goal-1", environment };
  const git = await openPrivateGit(request, world, signal);
  const base = gitIn(project, "rev-parse", "HEAD").trim();
  const at = new Date("2026-01-02T03:04:05Z");
  const commits: string[] = [];
  for (const [n, name] of ["one", "two"].entries()) {
    const branch = `omk/goal/goal-1/${name}`;
    const attempt = await makeAttemptTree(git, { name, fence: n, branch, base }, signal);
    // Both change the file, in lines of their own: a merge driver would be asked.
    const lines = fs.readFileSync(path.join(attempt.folder, "a.txt"), "utf8").split("\n");
    lines[n * 8] = name;
    fs.writeFileSync(path.join(attempt.folder, "a.txt"), lines.join("\n"));
    gitIn(attempt.folder, "add", "--all");
    gitIn(attempt.folder, "commit", "--quiet", "--message", "by the agent");
    spoil(attempt.folder);
    const tree = await attempt.snapshot(signal);
    commits.push(
      await commitOnBranch(git, { branch, tree, parents: [base], message: name, at, expected: null }, signal),
    );
    const rescued = await rescueAttempt(git, attempt, { task: name, fence: n, at }, signal);
    expect(rescued.commits.length).toBeGreaterThan(0);
    await removeAttemptTree(git, attempt, { unsaved: [] }, signal);
  }
  const [onto = "", commit = ""] = commits;
  const merged = await mergeCommits(git, { onto, commit, message: "both", at }, signal);
  if (merged.outcome !== "merged") throw new Error(merged.files.join());
  expect(await isContained(git, commit, merged.commit, signal)).toBe(true);
  await publishResult(git, { commit: merged.commit, base, expected: null }, signal);
  const trees = { base: await git.treeOf(base, signal), result: merged.tree, at };
  expect(await applyResult(git, workTreeOf(git), trees, signal)).toMatchObject({ outcome: "applied" });
  const kept = await listKept(git, signal);
  // Both attempts, and what the files held before.
  expect(kept).toHaveLength(3);
  for (const [n, one] of kept.entries()) {
    await stagedOf(git, one, signal);
    await restoreToFolder(git, one.commit, path.join(folder, `back-${n}`), signal);
    await restoreAsBranch(git, { commit: one.commit, branch: `back-${n}` }, signal);
  }
  await removeKept(git, kept, signal);
}

test("nothing that a repository or an agent has planted runs on the way of slices to the user", async () => {
  const lines = `${Array.from({ length: 10 }, (_, n) => n).join("\n")}\n`;
  repository({ ".gitattributes": EVIL_ATTRIBUTES, "a.txt": lines });
  using trap = new Trap();
  const spoil = (own: string): void => {
    plantSettings(path.join(own, "config"), trap);
    plantInGitDir(own, trap);
  };
  spoil(path.join(project, ".git"));
  fs.writeFileSync(path.join(home, ".gitattributes"), EVIL_ATTRIBUTES);

  await deliver((attempt) => spoil(path.join(attempt, ".git")));

  expect(trap.marks()).toEqual([]);
  expect(fs.readFileSync(path.join(project, "a.txt"), "utf8")).toBe("one\n1\n2\n3\n4\n5\n6\n7\ntwo\n9\n");
  // Git on its own falls into it.
  expect(() => git("merge", "--no-edit", "omk/result/goal-1")).toThrow("merge --no-edit");
  expect(trap.marks()).not.toEqual([]);
});

test("the caller's own GIT variables lead nowhere", async () => {
  repository();
  const evil = { GIT_DIR: "/nowhere", GIT_INDEX_FILE: "/nowhere", GIT_WORK_TREE: "/", GIT_CONFIG_COUNT: "1" };
  const environment = { PATH: process.env["PATH"] ?? "", HOME: home, ...evil };
  const before = { ...process.env };
  Object.assign(process.env, evil);
  try {
    const tree = await openWorkTree(
      { projectDir: project, goalDir, goalId: "goal-1", environment },
      world,
      signal,
    );
    expect(await tree.files(await tree.snapshot(signal), signal)).toEqual(["a.txt"]);
  } finally {
    for (const name of Object.keys(evil)) delete process.env[name];
    Object.assign(process.env, before);
  }
});

test.runIf(process.getuid?.() === 0)("a repository of another user works: nothing of it is run", async () => {
  repository();
  write("new.txt", "n\n");
  execFileSync("chown", ["-R", "12345:12345", project]);
  const tree = await open();
  const { after } = await useAll(tree);
  expect(await tree.files(after, signal)).toEqual(["a.txt", "changed-by-test.txt", "new.txt"]);
  expect((await tree.evidence(signal))?.dirty).toBe(true);
});

test("every method leaves the user's index, HEAD, branches, configuration and files as they are", async () => {
  repository({ "a.txt": "a\n", "b.txt": "b\n", ".gitignore": "ignored\n" });
  git("branch", "other");
  git("tag", "v1");
  write("a.txt", "staged\n");
  git("add", "a.txt");
  write("b.txt", "dirty\n");
  write("ignored", "i\n");
  const seen = () => ({
    git: ["index", "HEAD", "config", "logs/HEAD", "refs/heads/main"].map((name) =>
      fs.readFileSync(path.join(project, ".git", name)).toString("latin1"),
    ),
    refs: git("for-each-ref").replace(/^.*\trefs\/omk\/.*\n/gm, ""),
    objects: git("rev-list", "--objects", "--branches", "--tags"),
    files: Object.fromEntries(
      fs
        .readdirSync(project)
        .filter((name) => name !== ".git" && name !== "changed-by-test.txt")
        .map((name) => [
          name,
          [fs.readFileSync(path.join(project, name), "utf8"), fs.statSync(path.join(project, name)).mtimeMs],
        ]),
    ),
  });
  const before = seen();
  await useAll(await open());
  expect(seen()).toEqual(before);
  expect(fs.existsSync(path.join(project, ".git", "index.lock"))).toBe(false);
});

test("links to nowhere and outside, empty files, modes and long names come back as they were", async () => {
  repository();
  fs.symlinkSync("nowhere", path.join(project, "dangling"));
  fs.symlinkSync(home, path.join(project, "outside"));
  fs.writeFileSync(path.join(home, "private"), "p\n");
  write("empty", "");
  write("tool", "#!/bin/sh\n", 0o755);
  const long = ["a", "b", "c", "d", "e", "f", "g", "h"].map((letter) => letter.repeat(200)).join("/");
  write(`${long}/${"f".repeat(255)}`, "deep\n");
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  write("bytes", bytes);
  const tree = await open();
  const oid = await tree.snapshot(signal);
  expect(await tree.files(oid, signal)).toEqual(
    ["a.txt", `${long}/${"f".repeat(255)}`, "bytes", "dangling", "empty", "outside", "tool"].toSorted(),
  );
  const copy = path.join(folder, "c");
  fs.mkdirSync(copy);
  await tree.checkout(oid, copy, {}, signal);
  expect(fs.readlinkSync(path.join(copy, "dangling"))).toBe("nowhere");
  expect(fs.readlinkSync(path.join(copy, "outside"))).toBe(home);
  expect(fs.readFileSync(path.join(copy, "empty"))).toHaveLength(0);
  expect(fs.statSync(path.join(copy, "tool")).mode & 0o100).toBe(0o100);
  expect(fs.statSync(path.join(copy, "bytes")).mode & 0o111).toBe(0);
  expect(fs.readFileSync(path.join(copy, "bytes")).equals(bytes)).toBe(true);
  expect(fs.readFileSync(path.join(copy, long, "f".repeat(255)), "utf8")).toBe("deep\n");
});

test("a file of 50 MB is in the snapshot whole", async () => {
  repository();
  const big = Buffer.alloc(50_000_000, "0123456789abcde\n");
  write("big", big);
  const tree = await open();
  const read = await tree.read(await tree.snapshot(signal), "big", big.length, signal);
  expect(Buffer.compare(Buffer.from(read ?? []), big)).toBe(0);
});

test("folders and files called .git that are no repository hide nothing", async () => {
  repository();
  fs.mkdirSync(path.join(project, "empty", ".git"), { recursive: true });
  write("half/.git/HEAD", "ref: refs/heads/main\n");
  write("text/.git", "junk\n");
  write("lost/.git", "gitdir: /nowhere\n");
  fs.mkdirSync(path.join(project, "link"));
  fs.symlinkSync("/nowhere", path.join(project, "link", ".git"));
  for (const name of ["empty", "half", "text", "lost", "link"]) write(`${name}/file`, "f\n");
  const tree = await open();
  const files = await tree.files(await tree.snapshot(signal), signal);
  expect(files).toEqual(["a.txt", "empty/file", "half/file", "link/file", "lost/file", "text/file"]);
});

test("what the user told git not to look at is looked at all the same", async () => {
  repository({ "a.txt": "a\n", "b.txt": "b\n", "one/x": "x\n", "two/y": "y\n" });
  git("update-index", "--assume-unchanged", "a.txt");
  git("update-index", "--skip-worktree", "b.txt");
  for (const name of ["a.txt", "b.txt", "new.txt"]) write(name, "changed\n");
  git("add", "--intent-to-add", "new.txt");
  const tree = await open();
  const oid = await tree.snapshot(signal);
  expect(await tree.files(oid, signal)).toEqual(["a.txt", "b.txt", "new.txt", "one/x", "two/y"]);
  for (const name of ["a.txt", "b.txt", "new.txt"]) {
    const bytes = await tree.read(oid, name, 100, signal);
    expect(Buffer.from(bytes ?? []).toString()).toBe("changed\n");
  }
});

test("a sparse checkout is what lies in its folder", async () => {
  repository({ "a.txt": "a\n", "one/x": "x\n", "two/y": "y\n" });
  git("sparse-checkout", "set", "one");
  const tree = await open();
  expect(await tree.files(await tree.snapshot(signal), signal)).toEqual(["a.txt", "one/x"]);
  expect((await tree.evidence(signal))?.dirty).toBe(false);
});

test("snapshots taken while files come and go are whole trees", async () => {
  repository();
  const script = `
    const fs = require("node:fs");
    for (let n = 0; ; n++) {
      fs.mkdirSync("d" + (n % 3), { recursive: true });
      fs.writeFileSync("d" + (n % 3) + "/f" + (n % 20), String(n));
      fs.rmSync("d" + ((n + 1) % 3), { recursive: true, force: true });
      if (n === 50) process.stdout.write("busy");
    }`;
  const busy = spawn(process.execPath, ["-e", script], {
    cwd: project,
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await once(busy.stdout, "data");
    const tree = await open();
    for (let n = 0; n < 8; n++) {
      const oid = await tree.snapshot(signal);
      for (const name of await tree.files(oid, signal))
        expect(await tree.read(oid, name, 100, signal)).toBeDefined();
    }
  } finally {
    busy.kill("SIGKILL");
    await once(busy, "exit");
  }
});

test("two thousand files cost a moment, and a second look a fraction of it", async () => {
  repository();
  for (let n = 0; n < 2_000; n++) write(`d${n % 40}/f${n}`, String(n));
  const tree = await open();
  const oid = await tree.snapshot(signal);
  expect(await tree.files(oid, signal)).toHaveLength(2_001);
  const before = performance.now();
  expect(await tree.snapshot(signal)).toBe(oid);
  expect(performance.now() - before).toBeLessThan(2_000); // about 60 ms; a slow machine is no failure
});

//
test("locks that a killed git left are in nobody's way", async () => {
  repository();
  const first = await (await open()).snapshot(signal);
  const own = path.join(goalDir, "git");
  for (const name of ["index.lock", "HEAD.lock", "config.lock", "packed-refs.lock", "shallow.lock"])
    fs.writeFileSync(path.join(own, name), "");
  for (const name of ["rescue/goal-1/result.lock", "base/goal-1.lock", "base/goal-2.lock"]) {
    const lock = path.join(project, ".git", "refs", "omk", name);
    fs.mkdirSync(path.dirname(lock), { recursive: true });
    fs.writeFileSync(lock, "");
  }
  const tree = await open();
  const { before } = await useAll(tree);
  expect(before).toBe(first);
  // Another goal's lock may be held right now.
  expect(fs.existsSync(path.join(project, ".git", "refs", "omk", "base", "goal-2.lock"))).toBe(true);
});

test("a private directory that a power loss damaged is made whole again", async () => {
  repository();
  const oid = await (await open()).snapshot(signal);
  const own = path.join(goalDir, "git");
  const damages = ["", "[junk", "\0".repeat(100)];
  for (const name of ["index", "HEAD", "config"]) {
    for (const damage of damages) {
      fs.writeFileSync(path.join(own, name), damage);
      const tree = await open();
      expect(await tree.snapshot(signal)).toBe(oid);
      expect((await tree.evidence(signal))?.branch).toBe("main");
    }
  }
});
