import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import { createWorld } from "../../src/world.ts";

const { disk } = createWorld();
let folder: string;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "disk-"));
});

afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

function at(name: string): string {
  return path.join(folder, name);
}

function codeOf(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
  return "none";
}

function text(name: string): string {
  return Buffer.from(disk.readFile(at(name))).toString("utf8");
}

test("a created file is private whatever the umask, and its name cannot be taken twice", () => {
  // A worker of the test runner has its own umask to change; it is put back at once.
  const umask = process.umask(0o777);
  try {
    disk.open(at("file"), "create").close();
    disk.makeFolder(at("folder"));
  } finally {
    process.umask(umask);
  }
  expect(disk.stat(at("file"))).toMatchObject({
    kind: "file",
    mode: 0o600,
    size: 0,
    uid: process.getuid?.(),
  });
  expect(disk.stat(at("folder"))).toMatchObject({ kind: "folder", mode: 0o700 });
  expect(codeOf(() => disk.open(at("file"), "create"))).toBe("EEXIST");
  expect(codeOf(() => disk.makeFolder(at("folder")))).toBe("EEXIST");
});

test("no open follows a link at the last component, and asking about it tells of the link itself", () => {
  fs.writeFileSync(at("target"), "text");
  disk.symbolicLink("target", at("link"));
  for (const how of ["read", "edit", "append"] as const)
    expect(codeOf(() => disk.open(at("link"), how))).toBe("ELOOP");
  expect(codeOf(() => disk.open(at("link"), "create"))).toBe("EEXIST");
  disk.symbolicLink("nowhere", at("dangling"));
  expect(codeOf(() => disk.open(at("dangling"), "append"))).toBe("ELOOP");
  expect(fs.existsSync(at("nowhere"))).toBe(false);
  expect(disk.stat(at("link"))?.kind).toBe("link");
  expect(disk.realPath(at("link"))).toBe(at("target"));
  expect(disk.realPath(at("dangling"))).toBeUndefined();
});

test("an appended file grows at its end, whatever was read or cut before", async () => {
  const file = disk.open(at("log"), "append");
  expect(file.write(Buffer.from("one\n"))).toBe(4);
  await file.sync();
  file.close();
  const again = disk.open(at("log"), "edit");
  again.write(Buffer.from("two\n"));
  expect(again.size()).toBe(8);
  const into = new Uint8Array(100);
  expect(again.read(into, 4)).toBe(4);
  expect(Buffer.from(into.subarray(0, 4)).toString()).toBe("two\n");
  expect(again.read(into, 8)).toBe(0);
  again.truncate(4);
  again.write(Buffer.from("three\n"));
  again.close();
  await disk.syncFolder(folder);
  expect(text("log")).toBe("one\nthree\n");
});

test("what is missing is undefined when asked about and an error when opened", () => {
  fs.writeFileSync(at("file"), "");
  for (const name of ["none", "none/below", "file/below"]) {
    expect(disk.stat(at(name))).toBeUndefined();
    expect(disk.realPath(at(name))).toBeUndefined();
  }
  expect(codeOf(() => disk.open(at("none"), "edit"))).toBe("ENOENT");
  expect(codeOf(() => disk.readFile(at("none")))).toBe("ENOENT");
  expect(codeOf(() => disk.readFile(folder))).toBe("EISDIR");
});

test("a file is read up to its limit, not further, and a pipe in its place is not waited for", () => {
  const bytes = Buffer.alloc(100_000, "x");
  fs.writeFileSync(at("file"), bytes);
  expect(Buffer.compare(disk.readFile(at("file"), 100_000), bytes)).toBe(0);
  expect(codeOf(() => disk.readFile(at("file"), 99_999))).toBe("EFBIG");
  fs.writeFileSync(at("empty"), "");
  expect(disk.readFile(at("empty"), 0)).toHaveLength(0);
  execFileSync("sh", ["-c", 'mkfifo "$@"', "sh", at("pipe")]);
  expect(disk.readFile(at("pipe"))).toHaveLength(0);
});

test.runIf(process.platform === "linux")(
  "a file that lies about its size is read whole, and still bounded",
  () => {
    expect(disk.readFile("/proc/self/status").length).toBeGreaterThan(100);
    expect(codeOf(() => disk.readFile("/proc/self/status", 10))).toBe("EFBIG");
    expect(codeOf(() => disk.readFile("/dev/zero", 1_000_000))).toBe("EFBIG");
  },
);

test("names are listed in the order of their bytes", () => {
  for (const name of ["b", "B", "ä", "a.b", "a", "\u{ffff}", "\u{1f600}"]) fs.writeFileSync(at(name), "");
  expect(disk.list(folder)).toEqual(["B", "a", "a.b", "b", "ä", "\u{ffff}", "\u{1f600}"]);
});

test("a link refuses a taken name and a rename replaces it", () => {
  fs.writeFileSync(at("one"), "1");
  fs.writeFileSync(at("two"), "2");
  expect(codeOf(() => disk.link(at("one"), at("two")))).toBe("EEXIST");
  disk.link(at("one"), at("three"));
  expect(disk.stat(at("three"))?.inode).toBe(disk.stat(at("one"))?.inode);
  disk.rename(at("one"), at("two"));
  expect(text("two")).toBe("1");
  disk.remove(at("three"));
  expect(disk.list(folder)).toEqual(["two"]);
  expect(codeOf(() => disk.remove(at("three")))).toBe("ENOENT");
});

test("a removed tree takes nothing along that lies behind its links", () => {
  fs.mkdirSync(at("tree/deep"), { recursive: true });
  fs.mkdirSync(at("kept"));
  fs.writeFileSync(at("kept/file"), "k");
  disk.symbolicLink(at("kept"), at("tree/deep/link"));
  disk.removeTree(at("tree"));
  disk.removeTree(at("tree"));
  expect(disk.list(folder)).toEqual(["kept"]);
  expect(text("kept/file")).toBe("k");
  expect(codeOf(() => disk.removeFolder(at("kept")))).toBe("ENOTEMPTY");
});

test("a derived file is private, makes its folder and replaces the former one", async () => {
  await disk.writeDerived(at("new/report.md"), "old\n");
  await disk.writeDerived(at("new/report.md"), "new\n");
  expect(text("new/report.md")).toBe("new\n");
  expect(disk.stat(at("new/report.md"))?.mode).toBe(0o600);
  expect(disk.list(at("new"))).toEqual(["report.md"]);
  expect(disk.freeBytes(folder)).toBeGreaterThan(0);
});
