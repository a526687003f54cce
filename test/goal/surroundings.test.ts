/** What of the user's own project reaches into the folders of a sliced goal: told, recorded, and no way to ready. */
import fs from "node:fs";
import path from "node:path";

import { expect, test } from "vitest";

import { recordDrift } from "../../src/goal/drift.ts";
import { factsOf } from "../../src/goal/facts.ts";
import { recordBase, runBaseline } from "../../src/goal/gate-steps.ts";
import type { OpenGoal } from "../../src/goal/open.ts";
import { decideVerdict } from "../../src/goal/verdict.ts";
import { RealGoals } from "../support/real-goal.ts";

const GATES =
  '[[gates]]\nname = "seen"\ncommand = "sh"\nargs = ["-c", "test -f node_modules/dep/index.js"]\n';
const FILES = { "a.txt": "a\n", ".gitignore": "node_modules/\nvenv/\n", ".omk/gates.toml": GATES };
const DEP = "node_modules/dep/index.js";

/** The gaps that are about the surroundings. */
function gaps({ goal, work, graph }: OpenGoal, more: object = {}): string[] {
  return decideVerdict(factsOf(goal, { ...work, ...more }, graph))
    .gaps.map(({ code }) => code as string)
    .filter((code) => code === "linked_changed" || code === "environment_points_back");
}

/** A project whose installed packages are too large to be copied: a file with a hole in it takes no room. */
function withLarge(at: RealGoals): void {
  at.write(at.project, { [DEP]: "old\n", "node_modules/large.bin": "" });
  fs.truncateSync(path.join(at.project, "node_modules/large.bin"), 3 * 1024 ** 3);
}

test("a copied environment in which the project is installed by its path keeps a goal from being ready unseen", async () => {
  using at = new RealGoals(FILES);
  at.write(at.project, { [DEP]: "x\n", "venv/lib/it.pth": `${at.project}\n` });
  const open = await at.create();
  const space = await at.work(open);
  const steps = { open, space, ports: at.ports, signal: at.signal };
  await recordBase(steps);
  await space.sliced.show(at.head(), at.signal);
  expect(open.work.surroundings).toMatchObject({ points_back: ["venv/lib/it.pth"], changed: [] });
  expect(at.told.join("\n")).toMatch(
    /gates may look at .* itself.*: venv\/lib\/it\.pth; a \[setup\] in \.omk/,
  );
  expect(gaps(open)).toEqual(["environment_points_back"]);

  // A person may know better, and a fresh checkout that passes has nothing of it.
  const tree = open.work.base?.tree ?? "";
  const given = { decision: "accepted", summary: "", decided_at: "2026-01-01T00:00:00Z", tree };
  const accepted = { ...given, attested: {}, artifact_path: "", missing_evidence: [] };
  expect(gaps(open, { acceptance: { ...accepted, by: "omk" } })).toEqual(["environment_points_back"]);
  expect(gaps(open, { acceptance: { ...accepted, by: "omk-cli" } })).toEqual([]);
  expect(gaps(open, { acceptance: { ...accepted, by: "omk-cli", tree: "another" } })).toHaveLength(1);
  const clean_checkout = { status: "passed", reason: "", results: [] };
  const run = { tree, run: "r", results: [], base_copies: null, side_effects: [] };
  expect(gaps(open, { gates: { ...run, clean_checkout } })).toEqual([]);

  // Mended and shown anew, it is gone.
  at.write(at.project, { "venv/lib/it.pth": null });
  at.write(at.project, { "a.txt": "b\n" });
  await space.sliced.show(at.commitAll("next"), at.signal);
  expect(gaps(open)).toEqual([]);
  await space.release();
  await open.close();
});

test("shared files that are changed are told, recorded and kept in mind, also by the next process", async () => {
  using at = new RealGoals(FILES);
  withLarge(at);
  const open = await at.create();
  const space = await at.work(open);
  const steps = { open, space, ports: at.ports, signal: at.signal };
  await recordBase(steps);
  await runBaseline(steps);
  await recordDrift(open, space, at.signal);
  expect(open.work.baseline?.gates).toMatchObject([{ verdict: "passed" }]);
  expect(at.told.join("\n")).toMatch(/shared with the project: node_modules/);
  expect(open.work.surroundings).toMatchObject({ shared: [{ path: "node_modules" }], changed: [] });
  expect(gaps(open)).toEqual([]);

  fs.appendFileSync(path.join(space.tree.root, DEP), "more\n");
  await recordDrift(open, space, at.signal);
  expect(open.work.surroundings?.changed).toEqual([DEP]);
  expect(gaps(open)).toEqual(["linked_changed"]);
  expect(at.told.join("\n")).toMatch(/files of yours were changed in .*: node_modules\/dep\/index\.js/);
  await space.release();
  await open.close();

  // What was changed while no omk was at work is seen by the whole.
  fs.appendFileSync(path.join(at.project, DEP), "again\n");
  const next = await at.takeOver(open);
  const again = await at.work(next);
  await again.sliced.show(at.head(), at.signal);
  expect(next.work.surroundings?.changed).toEqual([DEP, "node_modules"]);
  await again.release();
  await next.close();
});
