/** Files that folders of attempts share with the project: each change is seen once, and by the part that it is about. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

import { LinkedWatch } from "../../src/git/linked-watch.ts";
import { createWorld } from "../../src/world.ts";

const { disk } = createWorld();
let root: string;

beforeEach(() => {
  root = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "linked-watch-")));
});

afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

function write(name: string, text = "old\n"): void {
  const file = path.join(root, name);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text);
}

test("files that are changed, new or gone are named once for each package; what tools cache there is no change", () => {
  for (const name of ["a/index.js", "a/more.js", "b/index.js", "@s/c/index.js", "@s/d/index.js"])
    write(`node_modules/${name}`);
  const watch = new LinkedWatch(root, disk);
  expect(watch.add(["node_modules"])).toEqual([]);
  const [before] = watch.shared();
  write("node_modules/.cache/x");
  write("node_modules/a/__pycache__/x.pyc");
  expect(watch.look()).toEqual([]);
  expect(watch.shared()).toEqual([before]);
  write("node_modules/a/index.js", "changed\n");
  write("node_modules/@s/c/new.js");
  expect(watch.look()).toEqual(["node_modules/@s/c/new.js", "node_modules/a/index.js"]);
  expect(watch.shared()).not.toEqual([before]);
  const { mark } = watch;
  fs.rmSync(path.join(root, "node_modules/a/more.js"));
  expect(watch.look(mark)).toEqual([]);
  fs.rmSync(path.join(root, "node_modules/@s/d/index.js"));
  expect(watch.look(mark)).toEqual(["node_modules/@s/d/index.js"]);
  expect(watch.since(0)).toHaveLength(3);
});

test("another process gets the same digest of the same files", () => {
  write("big/file");
  const [one, two] = [new LinkedWatch(root, disk), new LinkedWatch(root, disk)];
  for (const watch of [one, two]) watch.add(["big", "gone"]);
  expect(one.shared()).toEqual(two.shared());
});
