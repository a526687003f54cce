/** Many files of a tree: all of them, in their order, at a price that does not grow with their number. */
import { describe, expect, test } from "vitest";

import { openPrivateGit } from "../../src/git/private-git.ts";
import { workTreeOf, type WorkTree } from "../../src/git/work-tree.ts";
import { createWorld } from "../../src/world.ts";
import { GitPlace } from "../support/git-place.ts";

/** The project as omk sees it, and how often git was called. */
async function counted(place: GitPlace): Promise<{ tree: WorkTree; calls: () => number }> {
  const world = createWorld();
  let calls = 0;
  const run: typeof world.processes.run = (...given) => {
    calls++;
    return world.processes.run(...given);
  };
  const { project: projectDir, goalDir, home: HOME } = place;
  const environment = { PATH: process.env["PATH"] ?? "", HOME };
  const request = { projectDir, goalDir, goalId: "goal-1", environment };
  const git = await openPrivateGit(request, { ...world, processes: { run } }, place.signal);
  return { tree: workTreeOf(git), calls: () => calls };
}

async function readAll(tree: WorkTree, id: string, paths: readonly string[], signal: AbortSignal) {
  const found: [string, string | undefined][] = [];
  for await (const { path, bytes } of tree.readAll(id, paths, 1_000, signal))
    found.push([path, bytes && Buffer.from(bytes).toString("latin1")]);
  return found;
}

describe("many files of a tree", () => {
  test("are read as they are, in the order asked for; links, folders, large and missing ones are none", async () => {
    using place = new GitPlace({
      "a.txt": "a\n",
      empty: "",
      "d/two\nlines": "\n1 blob 2\n\0",
      "large.bin": "x".repeat(1_001),
      "same.txt": "a\n",
    });
    place.git("config", "core.symlinks", "true");
    const { tree } = await counted(place);
    const id = await tree.snapshot(place.signal);
    const paths = ["same.txt", "none", "d", "d/two\nlines", "large.bin", "empty", "a.txt", "a.txt"];
    expect(await readAll(tree, id, paths, place.signal)).toEqual([
      ["same.txt", "a\n"],
      ["none", undefined],
      ["d", undefined],
      ["d/two\nlines", "\n1 blob 2\n\0"],
      ["large.bin", undefined],
      ["empty", ""],
      ["a.txt", "a\n"],
      ["a.txt", "a\n"],
    ]);
    expect(await readAll(tree, id, [], place.signal)).toEqual([]);
  });

  test("take three calls of git, whether they are some or hundreds", async () => {
    const files = Object.fromEntries(Array.from({ length: 400 }, (_, n) => [`f${n}.txt`, `line ${n}\n`]));
    using place = new GitPlace(files);
    const { tree, calls } = await counted(place);
    const id = await tree.snapshot(place.signal);
    for (const count of [2, 400]) {
      const before = calls();
      const found = await readAll(tree, id, Object.keys(files).slice(0, count), place.signal);
      expect(found).toEqual(Object.entries(files).slice(0, count));
      expect(calls() - before).toBe(3);
    }
  });
});
