/** What git ignores, in a checkout: copied, with its links; linked and watched where it is too much. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import { bringIgnored } from "../../src/git/ignored-files.ts";
import { createWorld } from "../../src/world.ts";

const world = createWorld();
const signal = new AbortController().signal;
const PLENTY = { entries: 1_000, bytes: 1_000_000 };
let folder: string;
let root: string;
let copy: string;

beforeEach(() => {
  folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "ignored-")));
  root = path.join(folder, "project");
  copy = path.join(folder, "copy");
  for (const one of [root, copy]) fs.mkdirSync(one);
});

afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

function write(name: string, text = "old\n"): void {
  const file = path.join(folder, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text);
}

function bring(paths: string[], limits = PLENTY) {
  const searchPath = process.env["PATH"] ?? "";
  return bringIgnored({ root, folder: copy, paths, searchPath }, world, signal, limits);
}

const real = (name: string) => fs.realpathSync(path.join(copy, name));

test("files, folders and modes are copied, and writing to the copies leaves the project alone", async () => {
  write("project/dist/cli.js");
  write("project/.env");
  fs.chmodSync(path.join(root, "dist/cli.js"), 0o755);
  expect(await bring(["dist/", ".env", "gone/"])).toBeUndefined();
  expect(fs.statSync(path.join(copy, "dist/cli.js")).mode & 0o777).toBe(0o755);
  for (const name of ["dist/cli.js", ".env"]) {
    fs.writeFileSync(path.join(copy, name), "new\n");
    expect(fs.readFileSync(path.join(root, name), "utf8")).toBe("old\n");
  }
});

test("what the checkout has stays as it is", async () => {
  write("project/dist/a.js");
  write("copy/dist/a.js", "of the tree\n");
  await bring(["dist/"]);
  expect(fs.readFileSync(path.join(copy, "dist/a.js"), "utf8")).toBe("of the tree\n");
});

test("a link into the project leads to the copy, and one out of it to where it led", async () => {
  write("project/packages/a/index.js");
  write("copy/packages/a/index.js");
  write("elsewhere/lib/index.js");
  write("project/node_modules/dep/index.js");
  const modules = path.join(root, "node_modules");
  fs.symlinkSync("../packages/a", path.join(modules, "relative"));
  fs.symlinkSync(path.join(root, "packages/a"), path.join(modules, "absolute"));
  fs.symlinkSync("../../elsewhere/lib", path.join(modules, "linked"));
  fs.symlinkSync("nowhere", path.join(modules, "dangling"));
  await bring(["node_modules/"]);
  expect(real("node_modules/relative")).toBe(path.join(copy, "packages/a"));
  expect(real("node_modules/absolute")).toBe(path.join(copy, "packages/a"));
  expect(real("node_modules/linked")).toBe(path.join(folder, "elsewhere/lib"));
  expect(fs.readlinkSync(path.join(copy, "node_modules/dangling"))).toBe("nowhere");
});

test("an ignored path that is a link itself is copied from where it leads", async () => {
  write("shared/modules/dep/index.js");
  fs.symlinkSync("../shared/modules", path.join(root, "node_modules"));
  await bring(["node_modules"]);
  expect(real("node_modules/dep/index.js")).toBe(path.join(copy, "node_modules/dep/index.js"));
});

test("what is too large is linked entry by entry, named, and watched; small folders beside it are copied", async () => {
  for (let n = 0; n < 30; n++) write(`project/node_modules/dep-${n}/index.js`);
  write("project/dist/cli.js");
  const linked = await bring(["dist/", "node_modules/"], { entries: 20, bytes: 1_000_000 });
  expect(linked?.paths).toEqual(["node_modules"]);
  expect(real("dist/cli.js")).toBe(path.join(copy, "dist/cli.js"));
  expect(real("node_modules/dep-7")).toBe(path.join(root, "node_modules/dep-7"));
  // What is new lies in the copy alone.
  write("copy/node_modules/.cache/x");
  expect(fs.existsSync(path.join(root, "node_modules/.cache"))).toBe(false);
  expect(linked?.changed()).toEqual([]);
  fs.appendFileSync(path.join(copy, "node_modules/dep-7/index.js"), "more\n");
  expect(linked?.changed()).toEqual(["node_modules/dep-7"]);
});

test("bytes count as well, and an aborted or failing copy is said", async () => {
  write("project/big.bin", "x".repeat(100));
  expect((await bring(["big.bin"], { entries: 10, bytes: 50 }))?.paths).toEqual(["big.bin"]);
  fs.rmSync(path.join(copy, "big.bin"));
  const without = { root, folder: copy, paths: ["big.bin"], searchPath: "/nowhere" };
  await expect(bringIgnored(without, world, signal, PLENTY)).rejects.toMatchObject({ code: "state.io" });
});

test("what is too much to copy and may not be linked is left out, and the rest is not the poorer for it", async () => {
  for (const name of ["target/debug/a.o", "target/debug/b.o", "data/a", "data/b"]) write(`project/${name}`);
  write("project/.env");
  const given = {
    root,
    folder: copy,
    paths: ["target/", "data/", ".env"],
    mayLink: (one: string) => one === "data",
  };
  const searchPath = process.env["PATH"] ?? "";
  const linked = await bringIgnored({ ...given, searchPath }, world, signal, { entries: 2, bytes: 1_000 });
  expect(linked?.paths).toEqual(["data"]);
  expect(fs.readdirSync(copy).toSorted()).toEqual([".env", "data"]);
});
