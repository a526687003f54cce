import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import { OmkError } from "../../src/errors.ts";
import { openWorkTree, type WorkTree } from "../../src/git/work-tree.ts";
import { createWorld } from "../../src/world.ts";

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

function write(name: string, text: string, mode = 0o644): void {
  const file = path.join(project, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text, { mode });
}

function commitAll(message = "change"): void {
  git("add", "--all");
  git("commit", "--quiet", "--message", message);
}

function repository(files: Record<string, string> = { "a.txt": "a\n" }): void {
  git("init", "--quiet", "--initial-branch=main");
  for (const [name, text] of Object.entries(files)) write(name, text);
  commitAll("first");
}

function open(projectDir = project, goalId = "goal-1"): Promise<WorkTree> {
  const environment = { PATH: process.env["PATH"] ?? "", HOME: home };
  return openWorkTree({ projectDir, goalDir, goalId, environment }, world, signal);
}

async function differences(tree: WorkTree, from: string, to: string): Promise<string[]> {
  const changes = await tree.changes(from, to, signal);
  return changes.map(({ path, kind, old_mode, new_mode }) => `${kind} ${old_mode} ${new_mode} ${path}`);
}

async function textAt(tree: WorkTree, oid: string, name: string): Promise<string | undefined> {
  const bytes = await tree.read(oid, name, 1_000, signal);
  return bytes && Buffer.from(bytes).toString("utf8");
}

test("what changed between two snapshots is told per path, with the user's earlier dirt left out", async () => {
  repository({
    "kept.txt": "k\n",
    "edited.txt": "1\n",
    "removed.txt": "r\n",
    "tool.sh": "#!/bin/sh\n",
    "kind.txt": "x\n",
  });
  write("dirt.txt", "there before\n");
  write("edited.txt", "dirty before\n");
  const tree = await open();
  const before = await tree.snapshot(signal);

  write("edited.txt", "2\n");
  fs.rmSync(path.join(project, "removed.txt"));
  fs.chmodSync(path.join(project, "tool.sh"), 0o755);
  fs.rmSync(path.join(project, "kind.txt"));
  fs.symlinkSync("kept.txt", path.join(project, "kind.txt"));
  write("new folder/deep/new.txt", "n\n");
  const after = await tree.snapshot(signal);

  expect(await differences(tree, before, after)).toEqual([
    "modified 100644 100644 edited.txt",
    "type_changed 100644 120000 kind.txt",
    "added null 100644 new folder/deep/new.txt",
    "deleted 100644 null removed.txt",
    "modified 100644 100755 tool.sh",
  ]);
  expect(await tree.files(before, signal)).toContain("dirt.txt");
  expect(await textAt(tree, before, "edited.txt")).toBe("dirty before\n");
  expect(await tree.changes(after, after, signal)).toEqual([]);
  expect(await tree.snapshot(signal)).toBe(after);
});

test("the user's index, work tree, branches and objects of the past are not touched", async () => {
  repository({ "a.txt": "a\n", "b.txt": "b\n" });
  write("a.txt", "staged\n");
  git("add", "a.txt");
  write("b.txt", "not staged\n");
  write("c.txt", "untracked\n");
  const index = fs.readFileSync(path.join(project, ".git", "index"));
  const status = git("status", "--porcelain", "-z");
  const restored = fs.readFileSync(path.join(project, ".git", "index"));

  const tree = await open();
  const oid = await tree.snapshot(signal);
  await tree.evidence(signal);
  await tree.position(signal);
  await tree.pinBase((await tree.head(signal)) ?? "", signal);
  await tree.keep(oid, { name: "base", at: AT }, signal);

  expect(fs.readFileSync(path.join(project, ".git", "index")).equals(restored)).toBe(true);
  expect(git("status", "--porcelain", "-z")).toBe(status);
  expect(index.length).toBe(restored.length);
  expect(git("branch", "--all", "--list").trim()).toBe("* main");
  git("fsck", "--strict");
});

test("names with line ends, tabs, quotes, leading dashes, colons and other scripts come through", async () => {
  const names = [
    "-dash",
    "--all",
    ":(top)x",
    "new\nline",
    'quo"te',
    "tab\there",
    "späße/日本.txt",
    "space end ",
    "*",
    "a\\b",
  ];
  repository();
  const tree = await open();
  const before = await tree.snapshot(signal);
  for (const name of names) write(name, `${name}\n`);
  const after = await tree.snapshot(signal);

  const sorted = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  expect((await tree.changes(before, after, signal)).map((change) => change.path)).toEqual(sorted);
  for (const name of names) expect(await textAt(tree, after, name)).toBe(`${name}\n`);
  for (const name of names) fs.rmSync(path.join(project, name));
  expect(await tree.snapshot(signal)).toBe(before);
});

test("a name that is no UTF-8 is in the snapshot and shows as replacement characters", async () => {
  repository();
  const tree = await open();
  const before = await tree.snapshot(signal);
  fs.writeFileSync(Buffer.concat([Buffer.from(`${project}/x`), Buffer.of(0xff)]), "1");
  expect(await differences(tree, before, await tree.snapshot(signal))).toEqual([
    "added null 100644 x\u{fffd}",
  ]);
});

test("ignore rules of the repository, of the user and of the user's home hold; tracked files are seen all the same", async () => {
  repository({ ".gitignore": "*.log\n/dist/\n!kept.log\n", "kept.log": "k\n" });
  write("dist/forced.js", "f\n");
  git("add", "--force", "dist/forced.js");
  git("commit", "--quiet", "--message", "forced");
  fs.writeFileSync(path.join(project, ".git", "info", "exclude"), "private.txt\n");
  fs.mkdirSync(path.join(home, ".config", "git"), { recursive: true });
  fs.writeFileSync(path.join(home, ".config", "git", "ignore"), ".DS_Store\n");
  const tree = await open();
  for (const name of ["x.log", "dist/built.js", "private.txt", ".DS_Store"]) write(name, "ignored\n");
  const before = await tree.snapshot(signal);
  expect(await tree.files(before, signal)).toEqual([".gitignore", "dist/forced.js", "kept.log"]);
  write("dist/forced.js", "changed\n");
  expect(await differences(tree, before, await tree.snapshot(signal))).toEqual([
    "modified 100644 100644 dist/forced.js",
  ]);
});

test("files become folders and links, and folders become files and links", async () => {
  repository({ file: "f\n", "folder/one": "1\n", "folder/two": "2\n", "other/x": "x\n" });
  const tree = await open();
  const before = await tree.snapshot(signal);
  fs.rmSync(path.join(project, "file"));
  write("file/inside", "i\n");
  fs.renameSync(path.join(project, "folder"), path.join(project, "moved"));
  fs.symlinkSync("moved", path.join(project, "folder"));
  fs.rmSync(path.join(project, "other"), { recursive: true });
  write("other", "o\n");
  const after = await tree.snapshot(signal);
  expect(await differences(tree, before, after)).toEqual([
    "deleted 100644 null file",
    "added null 100644 file/inside",
    "added null 120000 folder",
    "deleted 100644 null folder/one",
    "deleted 100644 null folder/two",
    "added null 100644 moved/one",
    "added null 100644 moved/two",
    "added null 100644 other",
    "deleted 100644 null other/x",
  ]);
});

test("a pipe in place of a tracked file counts as its removal, and no pipe is waited for", async () => {
  repository({ "a.txt": "a\n", "b.txt": "b\n" });
  const tree = await open();
  const before = await tree.snapshot(signal);
  fs.rmSync(path.join(project, "a.txt"));
  execFileSync("sh", [
    "-c",
    'mkfifo "$@"',
    "sh",
    path.join(project, "a.txt"),
    path.join(project, "new-pipe"),
  ]);
  expect(await differences(tree, before, await tree.snapshot(signal))).toEqual(["deleted 100644 null a.txt"]);
});

test("repositories inside the project are entries of mode 160000, also without a commit", async () => {
  repository();
  write("tracked-here/x", "x\n");
  const tree = await open();
  const before = await tree.snapshot(signal);
  write("empty/file.js", "hidden\n");
  gitIn(path.join(project, "empty"), "init", "--quiet");
  write("full/file.js", "f\n");
  const full = path.join(project, "full");
  gitIn(full, "init", "--quiet");
  gitIn(full, "add", "--all");
  gitIn(full, "commit", "--quiet", "--message", "inner");
  const after = await tree.snapshot(signal);
  expect(await differences(tree, before, after)).toEqual([
    "added null 160000 empty",
    "added null 160000 full",
  ]);
  expect(await tree.snapshot(signal)).toBe(after);

  write("full/file.js", "g\n");
  gitIn(full, "commit", "--quiet", "--all", "--message", "again");
  expect(await differences(tree, after, await tree.snapshot(signal))).toEqual([
    "modified 160000 160000 full",
  ]);
  fs.rmSync(full, { recursive: true });
  expect(await differences(tree, after, await tree.snapshot(signal))).toEqual(["deleted 160000 null full"]);
});

test("nothing that a repository configures is ever run", async () => {
  repository({ "a.txt": "a\n", ".gitattributes": "* filter=evil diff=evil merge=evil\n" });
  const mark = path.join(folder, "ran");
  const script = path.join(folder, "evil.sh");
  fs.writeFileSync(script, `#!/bin/sh\ntouch '${mark}'\ncat\n`, { mode: 0o755 });
  const hooks = path.join(folder, "hooks");
  fs.mkdirSync(hooks);
  for (const name of fs
    .readdirSync(path.join(project, ".git", "hooks"))
    .concat("reference-transaction", "post-index-change")) {
    fs.copyFileSync(script, path.join(hooks, name.replace(/\.sample$/, "")));
    fs.copyFileSync(script, path.join(project, ".git", "hooks", name.replace(/\.sample$/, "")));
  }
  const evil = {
    "filter.evil.clean": script,
    "filter.evil.smudge": script,
    "filter.evil.process": script,
    "filter.evil.required": "true",
    "diff.evil.textconv": script,
    "diff.evil.command": script,
    "diff.external": script,
    "core.fsmonitor": script,
    "core.hooksPath": hooks,
    "core.alternateRefsCommand": script,
    "core.sshCommand": script,
    "core.editor": script,
    "core.pager": script,
    "gpg.program": script,
    "commit.gpgSign": "true",
    "core.askPass": script,
    "uploadpack.packObjectsHook": script,
    "core.worktree": folder,
    "alias.update-index": `!${script}`,
  };
  for (const [key, value] of Object.entries(evil)) git("config", key, value);
  // A repository inside, whose configuration counts as little.
  write("inner/x", "x\n");
  gitIn(path.join(project, "inner"), "init", "--quiet");
  gitIn(path.join(project, "inner"), "config", "core.fsmonitor", script);

  const tree = await open();
  const before = await tree.snapshot(signal);
  write("a.txt", "changed\n");
  const after = await tree.snapshot(signal);
  await tree.evidence(signal);
  await tree.position(signal);
  await tree.pinBase((await tree.head(signal)) ?? "", signal);
  await tree.keep(after, { name: "result", at: AT }, signal);
  const patch = await tree.patch(before, after, 10_000, signal);
  const copy = path.join(folder, "copy");
  fs.mkdirSync(copy);
  await tree.checkout(after, copy, { withIgnored: true }, signal);

  expect(fs.existsSync(mark)).toBe(false);
  expect(patch.text).toContain("-a\n+changed\n");
  expect(fs.readFileSync(path.join(copy, "a.txt"), "utf8")).toBe("changed\n");
});

test("attributes of the work tree neither change bytes nor hide a text from the patch", async () => {
  repository();
  const tree = await open();
  const before = await tree.snapshot(signal);
  write(".gitattributes", "*.js binary\n*.txt text eol=crlf working-tree-encoding=UTF-16\n*.c ident\n");
  write("secret.js", "const key = 1;\n");
  write("lines.txt", "one\r\ntwo\n");
  write("id.c", "$Id: mine $\n");
  const after = await tree.snapshot(signal);
  expect(await textAt(tree, after, "lines.txt")).toBe("one\r\ntwo\n");
  expect(await textAt(tree, after, "id.c")).toBe("$Id: mine $\n");
  expect((await tree.patch(before, after, 100_000, signal)).text).toContain("+const key = 1;");
  const copy = path.join(folder, "copy");
  fs.mkdirSync(copy);
  await tree.checkout(after, copy, {}, signal);
  expect(fs.readFileSync(path.join(copy, "lines.txt"), "utf8")).toBe("one\r\ntwo\n");
  expect(fs.readFileSync(path.join(copy, "id.c"), "utf8")).toBe("$Id: mine $\n");
});

test("a patch is cut off at its limit, between characters", async () => {
  repository();
  const tree = await open();
  const before = await tree.snapshot(signal);
  write("long.txt", "ä".repeat(5_000));
  const after = await tree.snapshot(signal);
  const all = await tree.patch(before, after, 100_000, signal);
  expect(all.truncated).toBe(false);
  const start = Buffer.byteLength(all.text.slice(0, all.text.indexOf("ä")));
  const cut = await tree.patch(before, after, start + 3, signal);
  expect(cut.truncated).toBe(true);
  expect(cut.text).toBe(all.text.slice(0, all.text.indexOf("ä") + 1));
});

test("a folder without repository has snapshots, checkouts and kept trees, but no evidence", async () => {
  write("a.txt", "a\n");
  write(".gitignore", "skip/\n");
  write("skip/x", "x\n");
  const tree = await open();
  expect(tree.kind).toBe("folder");
  const before = await tree.snapshot(signal);
  expect(await tree.files(before, signal)).toEqual([".gitignore", "a.txt"]);
  write("b.txt", "b\n");
  const after = await tree.snapshot(signal);
  expect(await differences(tree, before, after)).toEqual(["added null 100644 b.txt"]);
  expect(await tree.evidence(signal)).toBeUndefined();
  expect(await tree.head(signal)).toBeUndefined();
  expect(await tree.position(signal)).toBe(await tree.position(signal));
  expect(await tree.keep(after, { name: "result", at: AT }, signal)).toBe("refs/omk/rescue/goal-1/result");
  await tree.pinBase("0".repeat(40), signal);
  expect(fs.existsSync(path.join(project, ".git"))).toBe(false);
  // Another process goes on with what the first one left.
  const again = await open();
  expect(await again.snapshot(signal)).toBe(after);
  expect(await again.keep(after, { name: "result", at: AT }, signal)).toBe("refs/omk/rescue/goal-1/result");
});

test("an empty folder and a repository without commits work", async () => {
  const empty = await open();
  const nothing = await empty.snapshot(signal);
  expect(await empty.files(nothing, signal)).toEqual([]);
  fs.rmSync(goalDir, { recursive: true });
  fs.mkdirSync(goalDir);

  git("init", "--quiet", "--initial-branch=main");
  const tree = await open();
  expect(tree.kind).toBe("repository");
  expect(await tree.head(signal)).toBeUndefined();
  expect(await tree.evidence(signal)).toBeUndefined();
  const before = await tree.position(signal);
  expect(await tree.snapshot(signal)).toBe(nothing);
  write("a.txt", "a\n");
  git("add", "a.txt");
  expect(await tree.position(signal)).not.toBe(before);
  const after = await tree.snapshot(signal);
  expect(await tree.files(after, signal)).toEqual(["a.txt"]);
  await tree.keep(after, { name: "result", at: AT }, signal);
  expect(git("show", "refs/omk/rescue/goal-1/result:a.txt")).toBe("a\n");
});

test("a project below the repository's top sees its own files by the rules from above", async () => {
  repository({
    ".gitignore": "*.tmp\n",
    "top.txt": "t\n",
    "part/one.txt": "1\n",
    "part/deep/two.txt": "2\n",
    "party.txt": "p\n",
  });
  const tree = await open(path.join(project, "part"));
  const before = await tree.snapshot(signal);
  write("part/x.tmp", "ignored\n");
  write("part/three.txt", "3\n");
  write("top.txt", "somebody else's\n");
  const after = await tree.snapshot(signal);
  expect(await tree.files(before, signal)).toEqual(["deep/two.txt", "one.txt"]);
  expect(await differences(tree, before, after)).toEqual(["added null 100644 three.txt"]);
  expect(await tree.evidence(signal)).toEqual({
    branch: "main",
    head: git("rev-parse", "HEAD").trim(),
    dirty: true,
  });
  await tree.keep(after, { name: "result", at: AT }, signal);
  expect(git("show", "refs/omk/rescue/goal-1/result:three.txt")).toBe("3\n");
  const copy = path.join(folder, "copy");
  fs.mkdirSync(copy);
  await tree.checkout(after, copy, { withIgnored: true }, signal);
  expect(fs.readdirSync(copy).toSorted()).toEqual(["deep", "one.txt", "three.txt", "x.tmp"]);
  expect(fs.lstatSync(path.join(copy, "x.tmp")).isFile()).toBe(true);

  fs.rmSync(path.join(project, "part"), { recursive: true });
  fs.mkdirSync(path.join(project, "part"));
  expect(await tree.files(await tree.snapshot(signal), signal)).toEqual([]);
});

test("a linked worktree and a submodule are found by their git file", async () => {
  repository();
  const linked = path.join(folder, "linked");
  git("worktree", "add", "--quiet", "-b", "side", linked);
  fs.writeFileSync(path.join(linked, "b.txt"), "b\n");
  const tree = await open(linked);
  expect(await tree.evidence(signal)).toEqual({
    branch: "side",
    head: git("rev-parse", "HEAD").trim(),
    dirty: true,
  });
  const oid = await tree.snapshot(signal);
  expect(await tree.files(oid, signal)).toEqual(["a.txt", "b.txt"]);
  await tree.keep(oid, { name: "result", at: AT }, signal);
  expect(git("show", "refs/omk/rescue/goal-1/result:b.txt")).toBe("b\n");
  git("worktree", "remove", "--force", linked);
  fs.mkdirSync(linked);
  fs.writeFileSync(path.join(linked, ".git"), "gitdir: /nowhere/at/all\n");
  await expect(open(linked)).rejects.toMatchObject({ code: "git.failed" });
});

test("evidence names branch, commit and dirt, and a refreshed index is no dirt", async () => {
  repository({ "a.txt": "a\n", ".gitignore": "*.log\n" });
  const head = git("rev-parse", "HEAD").trim();
  const tree = await open();
  expect(await tree.evidence(signal)).toEqual({ branch: "main", head, dirty: false });
  write("x.log", "ignored\n");
  fs.utimesSync(path.join(project, "a.txt"), 1, 1);
  expect(await tree.evidence(signal)).toEqual({ branch: "main", head, dirty: false });
  write("new.txt", "n\n");
  expect((await tree.evidence(signal))?.dirty).toBe(true);
  git("checkout", "--quiet", "--detach");
  expect(await tree.evidence(signal)).toBeUndefined();
  expect(await tree.head(signal)).toBe(head);
});

test("the position changes by a commit, a switch and a staged file, not by edits or refreshes", async () => {
  repository();
  const tree = await open();
  const first = await tree.position(signal);
  write("a.txt", "edited\n");
  write("new.txt", "n\n");
  git("status");
  expect(await tree.position(signal)).toBe(first);
  git("add", "new.txt");
  const staged = await tree.position(signal);
  git("commit", "--quiet", "--message", "second");
  const committed = await tree.position(signal);
  git("switch", "--quiet", "-c", "other");
  const switched = await tree.position(signal);
  expect(new Set([first, staged, committed, switched]).size).toBe(4);
});

test("a split index and paths in conflict are read like any others", async () => {
  repository({ "a.txt": "a\n" });
  git("switch", "--quiet", "-c", "side");
  write("a.txt", "side\n");
  commitAll();
  git("switch", "--quiet", "main");
  write("a.txt", "main\n");
  commitAll();
  expect(() => git("merge", "side")).toThrow("merge");
  git("update-index", "--split-index");
  const tree = await open();
  expect(await tree.position(signal)).toHaveLength(64);
  const oid = await tree.snapshot(signal);
  expect(await textAt(tree, oid, "a.txt")).toContain("<<<<<<<");
});

test("a checkout takes some paths from another tree, and a copy of what is ignored", async () => {
  repository({
    ".gitignore": "node_modules/\n.env\nlocal/\n",
    "sum.js": "base\n",
    "test/sum.test.js": "base test\n",
    "packages/a/index.js": "i\n",
    "tool.sh": "t\n",
  });
  const tree = await open();
  const base = await tree.snapshot(signal);
  for (const name of ["node_modules/dep/index.js", "packages/a/node_modules/x.js", ".env", "gone/local/x"])
    write(name, "i\n");
  write("sum.js", "changed\n");
  write("test/sum.test.js", "emptied\n");
  write("test/new.test.js", "new\n");
  fs.chmodSync(path.join(project, "tool.sh"), 0o755);
  const result = await tree.snapshot(signal);
  const copy = path.join(folder, "copy");
  fs.mkdirSync(copy);
  const paths = ["test/sum.test.js", "test/new.test.js"];
  await tree.checkout(result, copy, { overlay: { tree: base, paths }, withIgnored: true }, signal);

  expect(fs.readFileSync(path.join(copy, "sum.js"), "utf8")).toBe("changed\n");
  expect(fs.readFileSync(path.join(copy, "test/sum.test.js"), "utf8")).toBe("base test\n");
  expect(fs.readdirSync(path.join(copy, "test"))).toEqual(["sum.test.js"]);
  expect(fs.statSync(path.join(copy, "tool.sh")).mode & 0o111).not.toBe(0);
  for (const name of ["node_modules/dep/index.js", "packages/a/node_modules/x.js", ".env", "gone/local/x"]) {
    expect(fs.realpathSync(path.join(copy, name))).toBe(path.join(fs.realpathSync(copy), name));
    fs.writeFileSync(path.join(copy, name), "written in the copy\n");
    expect(fs.readFileSync(path.join(project, name), "utf8")).toBe("i\n");
  }
  expect(fs.readdirSync(copy).toSorted()).toEqual([
    ".env",
    ".gitignore",
    "gone",
    "node_modules",
    "packages",
    "sum.js",
    "test",
    "tool.sh",
  ]);
});

test("ignored entries are never brought in through a link that the tree brings along", async () => {
  repository({ ".gitignore": "*.log\n", "sub/keep.txt": "k\n" });
  write("sub/x.log", "x\n");
  const tree = await open();
  const outside = path.join(folder, "outside");
  fs.mkdirSync(outside);
  // The tree to check out has a link where the project has a folder.
  fs.renameSync(path.join(project, "sub"), path.join(project, "sub2"));
  fs.symlinkSync(outside, path.join(project, "sub"));
  const oid = await tree.snapshot(signal);
  fs.rmSync(path.join(project, "sub"));
  fs.renameSync(path.join(project, "sub2"), path.join(project, "sub"));
  const copy = path.join(folder, "copy");
  fs.mkdirSync(copy);
  await tree.checkout(oid, copy, { withIgnored: true }, signal);
  expect(fs.readlinkSync(path.join(copy, "sub"))).toBe(outside);
  expect(fs.readdirSync(outside)).toEqual([]);
});

test("a kept tree survives the loss of the goal and a garbage collection, and keeping it again changes nothing", async () => {
  repository({ "a.txt": "a\n", "b.txt": "b\n" });
  const tree = await open();
  await tree.pinBase((await tree.head(signal)) ?? "", signal);
  write("a.txt", "one\n");
  write("deep/er/new.txt", "new\n");
  const first = await tree.snapshot(signal);
  const ref = await tree.keep(first, { name: "result", at: AT }, signal);
  expect(ref).toBe("refs/omk/rescue/goal-1/result");
  const refs = git("show-ref");
  const packs = fs.readdirSync(path.join(project, ".git", "objects", "pack"));
  const later = new Date("2026-01-02T00:00:00Z");
  expect(await tree.keep(first, { name: "result", at: later }, signal)).toBe(ref);
  expect(git("log", "-1", "--format=%cI", ref).trim()).toMatch(/^2026-01-01T00:00:00/);
  expect(git("show-ref")).toBe(refs);
  expect(fs.readdirSync(path.join(project, ".git", "objects", "pack"))).toEqual(packs);

  write("a.txt", "two\n");
  const second = await tree.snapshot(signal);
  await tree.keep(second, { name: "result", at: AT }, signal);
  await tree.keep(first, { name: "result", at: AT }, signal);
  await tree.keep(second, { name: "result", at: AT }, signal);
  fs.rmSync(goalDir, { recursive: true });
  git("gc", "--quiet", "--prune=now");
  git("fsck", "--strict", "--full");
  expect(git("rev-parse", `${ref}^{tree}`).trim()).toBe(second);
  expect(git("rev-parse", `${ref}-1^{tree}`).trim()).toBe(first);
  expect(git("show", `${ref}-1:deep/er/new.txt`)).toBe("new\n");
  expect(git("rev-parse", "refs/omk/base/goal-1")).toBe(git("rev-parse", "HEAD"));
  expect(git("for-each-ref", "refs/omk/rescue").trim().split("\n")).toHaveLength(3);
});

test("a repository with alternates of its own, and one with longer object names, work", async () => {
  repository();
  const clone = path.join(folder, "clone");
  gitIn(folder, "clone", "--quiet", "--shared", project, clone);
  const again = path.join(folder, "again");
  gitIn(folder, "clone", "--quiet", "--reference", clone, project, again);
  const tree = await open(again);
  const oid = await tree.snapshot(signal);
  expect(oid).toBe(gitIn(again, "rev-parse", "HEAD^{tree}").trim());
  expect(await textAt(tree, oid, "a.txt")).toBe("a\n");

  const long = path.join(folder, "long");
  gitIn(folder, "init", "--quiet", "--object-format=sha256", long);
  fs.writeFileSync(path.join(long, "a.txt"), "a\n");
  fs.rmSync(goalDir, { recursive: true });
  fs.mkdirSync(goalDir);
  const other = await open(long);
  const before = await other.snapshot(signal);
  expect(before).toHaveLength(64);
  fs.rmSync(path.join(long, "a.txt"));
  fs.writeFileSync(path.join(long, "b.txt"), "b\n");
  const after = await other.snapshot(signal);
  const copy = path.join(folder, "copy");
  fs.mkdirSync(copy);
  await other.checkout(after, copy, { overlay: { tree: before, paths: ["b.txt", "a.txt"] } }, signal);
  expect(fs.readdirSync(copy)).toEqual(["a.txt"]);
  await other.keep(after, { name: "result", at: AT }, signal);
  expect(gitIn(long, "show", "refs/omk/rescue/goal-1/result:b.txt")).toBe("b\n");
});

test("shallow clones work and partial clones are refused with a way out", async () => {
  repository();
  write("a.txt", "second\n");
  commitAll();
  const shallow = path.join(folder, "shallow");
  gitIn(folder, "clone", "--quiet", "--depth=1", `file://${project}`, shallow);
  const tree = await open(shallow);
  expect((await tree.evidence(signal))?.dirty).toBe(false);
  const oid = await tree.snapshot(signal);
  await tree.keep(oid, { name: "base", at: AT }, signal);
  gitIn(shallow, "fsck", "--strict");

  git("config", "extensions.partialClone", "origin");
  const refused = await open().catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(OmkError);
  expect(refused).toMatchObject({ code: "git.unsupported", hint: expect.stringContaining("full clone") });
});

test("state that lies inside the project is no part of it", async () => {
  repository();
  goalDir = path.join(project, "state [1]", "goals", "goal-1");
  fs.mkdirSync(goalDir, { recursive: true });
  fs.writeFileSync(path.join(goalDir, "events.jsonl"), "1\n");
  const tree = await open();
  const before = await tree.snapshot(signal);
  fs.appendFileSync(path.join(goalDir, "events.jsonl"), "2\n");
  expect(await tree.snapshot(signal)).toBe(before);
  expect(await tree.files(before, signal)).toEqual(["a.txt"]);
  expect((await tree.evidence(signal))?.dirty).toBe(false);
  const copy = path.join(goalDir, "copy");
  fs.mkdirSync(copy);
  await tree.checkout(before, copy, { withIgnored: true }, signal);
  expect(fs.readdirSync(copy)).toEqual(["a.txt"]);
});

test("what a dead omk left behind is in nobody's way", async () => {
  repository();
  const tree = await open();
  const oid = await tree.snapshot(signal);
  const own = path.join(goalDir, "git");
  for (const name of ["index-dead", "index-dead.lock"]) fs.writeFileSync(path.join(own, name), "half");
  const again = await open();
  expect(await again.snapshot(signal)).toBe(oid);
  expect(fs.readdirSync(own).filter((name) => name.startsWith("index"))).toEqual(["index"]);
  expect(fs.statSync(own).mode & 0o777).toBe(0o700);
});

test("a missing file, a folder, a link and a file too large read as undefined", async () => {
  repository({ "a.txt": "12345", "folder/x": "x" });
  fs.symlinkSync("a.txt", path.join(project, "link"));
  const tree = await open();
  const oid = await tree.snapshot(signal);
  expect(await textAt(tree, oid, "a.txt")).toBe("12345");
  expect(await tree.read(oid, "a.txt", 4, signal)).toBeUndefined();
  for (const name of ["none", "folder", "link", "../a.txt", "folder/../a.txt", "/a.txt", ""])
    expect(await tree.read(oid, name, 100, signal)).toBeUndefined();
});

test("git that is missing, a broken repository and an abort are told apart", async () => {
  repository();
  const environment = { PATH: path.join(folder, "nothing-here"), HOME: home };
  await expect(
    openWorkTree({ projectDir: project, goalDir, goalId: "goal-1", environment }, world, signal),
  ).rejects.toMatchObject({ code: "git.failed", hint: expect.stringContaining("PATH") });
  await expect(open(path.join(folder, "none"))).rejects.toMatchObject({ code: "git.failed" });

  const tree = await open();
  const stop = new AbortController();
  const reason = new Error("stopped by the test");
  stop.abort(reason);
  await expect(tree.snapshot(stop.signal)).rejects.toBe(reason);

  fs.writeFileSync(path.join(project, ".git", "config"), "[broken\n");
  await expect(open()).rejects.toMatchObject({ code: "git.failed" });
  expect(await tree.evidence(signal)).toBeUndefined();
});

test("a checkout takes a text in place of what its tree has, also where that lies behind a link by now", async () => {
  repository({ "test/a.txt": "a\n", "package.json": "base\n" });
  const tree = await open();
  const base = await tree.snapshot(signal);
  fs.rmSync(path.join(project, "test"), { recursive: true });
  fs.symlinkSync(folder, path.join(project, "test"));
  write("package.json", "result\n");
  const result = await tree.snapshot(signal);
  const copy = path.join(folder, "copy");
  fs.mkdirSync(copy);
  const texts = new Map([["package.json", "both\n"]]);
  await tree.checkout(result, copy, { overlay: { tree: base, paths: ["test/a.txt"], texts } }, signal);
  expect(fs.readFileSync(path.join(copy, "package.json"), "utf8")).toBe("both\n");
  expect(fs.lstatSync(path.join(copy, "test")).isDirectory()).toBe(true);
  expect(fs.readFileSync(path.join(copy, "test", "a.txt"), "utf8")).toBe("a\n");
});

test("what is ignored is listed, whole folders as one, without what omk keeps in the project", async () => {
  repository({ ".gitignore": "out/\n*.log\nstate/\n", "sub/kept.txt": "k\n" });
  write("out/a/b.js", "");
  write("sub/x.log", "");
  goalDir = path.join(project, "state", "goals", "goal-1");
  fs.mkdirSync(goalDir, { recursive: true });
  expect(await (await open()).ignored(signal)).toEqual(["out/", "sub/x.log"]);
});
