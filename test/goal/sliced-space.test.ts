/** The folders of a sliced goal: what they start from, and how they are made ready. */
import fs from "node:fs";
import path from "node:path";

import { describe, expect, test } from "vitest";

import { recordBase, runBaseline, runResultGates } from "../../src/goal/gate-steps.ts";
import { recordDrift } from "../../src/goal/drift.ts";
import { setupEnding } from "../../src/goal/sliced-space.ts";
import { RealGoals } from "../support/real-goal.ts";

const GATES =
  '[[gates]]\nname = "seen"\ncommand = "sh"\nargs = ["-c", "test -f ignored/tool && echo x > report.txt"]\n';
const FILES = { "a.txt": "a\n", ".gitignore": "ignored/\n", ".omk/gates.toml": GATES };

function logged(folder: string): string {
  return fs.readFileSync(path.join(folder, "events.jsonl"), "utf8");
}

describe("the folders of a sliced goal", () => {
  test("start from what is committed, have what git ignores, and gates judge there", async () => {
    using at = new RealGoals(FILES);
    at.write(at.project, { "a.txt": "mine\n", "new.txt": "n\n", "ignored/tool": "t\n" });
    const before = at.users();
    const open = await at.create();
    const space = await at.work(open);
    const steps = { open, space, ports: at.ports, signal: at.signal };
    await recordBase(steps);
    expect(at.told.join("\n")).toMatch(/not committed and so not included: a\.txt, new\.txt/);
    const { base, slices } = open.work;
    expect(base).toMatchObject({ commit: at.head(), tree: at.git("rev-parse", "HEAD^{tree}").trim() });
    expect(slices).toMatchObject({ base: at.head(), head: at.head() });
    expect(at.git("rev-parse", `refs/omk/base/${open.id}`).trim()).toBe(at.head());
    await runBaseline(steps);
    expect(open.work.baseline?.gates).toMatchObject([{ name: "seen", verdict: "passed" }]);
    expect(open.work.side_effects).toEqual(["report.txt"]);

    // What gates leave there is nobody's change, and goes before they run again.
    await runResultGates(steps, false);
    await recordDrift(open, space, at.signal);
    expect(open.work.gates).toMatchObject({ tree: base?.tree, side_effects: ["report.txt"] });
    expect(open.work.result).toBeNull();
    expect(open.work.drift).toBeUndefined();
    await space.release();
    expect(fs.existsSync(path.join(open.folder, "stage"))).toBe(false);
    expect(at.users()).toEqual(before);
    await open.close();
  });

  test("start from the files as they are where nothing was ever committed", async () => {
    using at = new RealGoals();
    at.write(at.project, FILES);
    const open = await at.create();
    const space = await at.work(open);
    await recordBase({ open, space, ports: at.ports, signal: at.signal });
    const { base, slices } = open.work;
    expect(base?.commit).toBeNull();
    await space.sliced.show(slices?.base ?? "", at.signal);
    expect(at.files(space.tree.root)).toEqual(FILES);
    expect(await space.tree.snapshot(at.signal)).toBe(base?.tree);
    await space.release();
    await open.close();
  });

  test("are worked in as they are where the lock file asks for what cannot be installed, which is told", async () => {
    using at = new RealGoals({ "a.txt": "a\n", "package-lock.json": "none\n" });
    const open = await at.create();
    const space = await at.work(open);
    await recordBase({ open, space, ports: at.ports, signal: at.signal });
    await space.sliced.show(at.head(), at.signal);
    expect(at.files(space.tree.root)).toMatchObject({ "a.txt": "a\n" });
    expect(at.told.join("\n")).toContain(
      "set-up by the lock file failed, and the work goes on without: npm ci",
    );
    expect(open.work.evidence).toHaveLength(1);
    await space.release();
    await open.close();
  });

  test("are made ready by [setup], and a set-up that fails ends the goal so that it can be resumed", async () => {
    const setup =
      '[[setup]]\ncommand = "sh"\nargs = ["-c", "mkdir ignored && cp a.txt ignored/ && echo s > own.txt"]\n';
    using at = new RealGoals({ ...FILES, ".omk/gates.toml": `${GATES}\n${setup}` });
    const open = await at.create();
    const space = await at.work(open);
    await recordBase({ open, space, ports: at.ports, signal: at.signal });
    await space.sliced.show(at.head(), at.signal);
    expect(at.files(space.tree.root)).toMatchObject({ "ignored/a.txt": "a\n", "own.txt": "s\n" });
    expect(at.told.join("\n")).toContain("files that git does not ignore, and they are left out: own.txt");
    expect(logged(open.folder)).toContain("folder_prepared");

    // Only what changed since counts: the folder is not made anew for what its own set-up wrote.
    const first = fs.statSync(space.tree.root).ino;
    await space.sliced.tidy(at.signal);
    expect(fs.statSync(space.tree.root).ino).toBe(first);
    at.write(at.project, { "a.txt": null });
    const without = at.commitAll("the set-up fails from here on");
    const failure = await space.sliced.show(without, at.signal).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "setup.failed", exitStatus: 74 });
    expect(setupEnding(failure)).toMatchObject({ status: "failed_infra", reasonCode: "setup_failed" });
    expect(setupEnding(failure)?.reason).toContain("omk goal resume");
    expect(setupEnding(new Error("another"))).toBeUndefined();
    await space.sliced.show(at.git("rev-parse", "HEAD~1").trim(), at.signal);
    expect(at.files(space.tree.root)).toHaveProperty(["ignored/a.txt"]);
    await space.release();
    await open.close();
  });
});
