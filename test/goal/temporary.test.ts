/** Temporary folders of commands that hold no goal. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";

import { withTemporary } from "../../src/goal/temporary.ts";
import { createWorld } from "../../src/world.ts";

function ports() {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), "omk-temporary-"));
  onTestFinished(() => fs.rmSync(root, { recursive: true, force: true }));
  return { ...createWorld(), root, uid: process.getuid?.() };
}

test("a folder is the owner's alone, and gone at the end, whatever comes of the action", async () => {
  const world = ports();
  const all = path.join(world.root, "temporary");
  const mode = await withTemporary("rerun", world, (folder) => {
    expect(folder.startsWith(all)).toBe(true);
    fs.writeFileSync(path.join(folder, "x"), "x");
    return Promise.resolve(fs.statSync(folder).mode & 0o777);
  });
  expect(mode).toBe(0o700);
  const failing = withTemporary("rerun", world, () => Promise.reject(new Error("no room")));
  await expect(failing).rejects.toThrow("no room");
  expect(fs.readdirSync(all)).toEqual([]);
});

test("the next command takes away what dead ones left, and nothing of the living", async () => {
  const world = ports();
  const all = path.join(world.root, "temporary");
  const left = (name: string, owner: string | undefined) => {
    fs.mkdirSync(path.join(all, name, "files"), { recursive: true, mode: 0o700 });
    if (owner !== undefined) fs.writeFileSync(path.join(all, name, "owner.json"), owner);
  };
  const { self } = world.processes;
  left("rerun-dead", JSON.stringify({ ...self, pid: 2 ** 22 + 1, start_time: "1" }));
  left("rerun-alive", JSON.stringify(self));
  left("rerun-new", undefined);
  left("rerun-half", "{");
  left("rerun-old", undefined);
  const longAgo = new Date(world.clock.now().getTime() - 2 * 60 * 60 * 1000);
  fs.utimesSync(path.join(all, "rerun-old"), longAgo, longAgo);
  await withTemporary("export", world, () => Promise.resolve());
  expect(fs.readdirSync(all).toSorted()).toEqual(["rerun-alive", "rerun-half", "rerun-new"]);
});
