/** Links in a result that lead out of the repository. */
import fs from "node:fs";
import path from "node:path";

import { expect, test } from "vitest";

import { makeAttemptTree } from "../../src/git/attempt-tree.ts";
import { linksOut } from "../../src/git/links-out.ts";
import { GitPlace } from "../support/git-place.ts";

test("new and changed links that leave the repository are named, all others are free", async () => {
  using at = new GitPlace({ "a.txt": "a\n", "src/b.txt": "b\n" });
  const git = await at.open();
  const given = { name: "goal-1-links", fence: 3, branch: "omk/goal/goal-1/links", base: at.head() };
  const { folder, ...attempt } = await makeAttemptTree(git, given, at.signal);
  const link = (name: string, target: string): void => fs.symlinkSync(target, path.join(folder, name));
  link("inside", "src/b.txt");
  link("src/up", "../a.txt");
  link("src/round", "../../x/../y");
  link("gone", "nowhere\nat all");
  link("absolute", "/etc/passwd");
  link("src/out", "../../../etc/passwd");
  link("top", "..");
  const tree = await attempt.snapshot(at.signal);
  const changes = await git.changes(await git.treeOf(at.head(), at.signal), tree, at.signal);
  const found = await linksOut(git, { tree, changes }, at.signal);
  expect(found.map((one) => one.path)).toEqual(["absolute", "src/out", "src/round", "top"]);
  expect(await linksOut(git, { tree, changes: [] }, at.signal)).toEqual([]);
});
