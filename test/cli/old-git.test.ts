/** A git that cannot merge slices: said before an agent starts, and no hindrance to work in place. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";

import { expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

test("a goal in slices is refused with an old git before anybody is paid, and done in place with the same", async () => {
  using at = new Place(BROKEN_SUM);
  await at.commitAll();
  const bin = join(at.folder, "bin");
  mkdirSync(bin);
  const path = at.environment["PATH"] ?? "";
  const old = `#!/bin/sh
for word in "$@"; do
  test "$word" = version && { echo git version 2.34.1; exit; }
  test "$word" = --write-tree && { echo "error: unknown option" >&2; exit 129; }
done
PATH='${path}' exec git "$@"
`;
  writeFileSync(join(bin, "git"), old, { mode: 0o755 });
  at.environment["PATH"] = `${bin}${delimiter}${path}`;
  const mark = join(at.folder, "started");
  const engine = at.script({ turns: [{ steps: [{ write: mark, text: "x\n" }, ...REPAIR] }] });
  const goal = ["goal", "run", "Fix the failing test in sum.test.js", "--until-ready", "--auto-accept"];
  const run = [...goal, "--no-llm-planner", "--approval-policy", "yolo", "--engine", engine];
  const refused = await at.run(...run, "--slice-execution");
  expect(refused).toMatchObject({ status: 78 });
  expect(refused.stderr).toContain("This is git version 2.34.1; work in slices needs git 2.38 or newer.");
  expect(existsSync(mark)).toBe(false);
  expect((await at.run(...run)).status).toBe(0);
});
