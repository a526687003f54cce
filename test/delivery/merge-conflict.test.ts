import { expect, test } from "vitest";

import { keepConflict } from "../../src/delivery/merge-conflict.ts";
import { MergeConflict } from "../../src/format/integration.ts";
import { createRedactor } from "../../src/store/redact.ts";
import { CountingRandom, NoProcesses } from "../support/fakes.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";

const FOLDER = "/state/team/t";

test("the evidence of a conflict is kept once for each state it arose with, so that a kill before its event stops nothing", async () => {
  const disk = new SimulatedDisk();
  const redactor = createRedactor({ environment: { API_TOKEN: "correct-horse-battery" } });
  const processes = new NoProcesses({ self: { pid: 1 } });
  const ports = { disk, random: new CountingRandom(1), processes, redactor };
  const found = {
    task: "Fix one",
    fence: 7,
    commit: "c".repeat(40),
    onto: "a".repeat(40),
    files: ["correct-horse-battery.txt"],
    kinds: ["CONFLICT (contents)"],
  };
  const kept = await keepConflict({ folder: FOLDER }, found, ports);
  expect(kept.path).toMatch(/^artifacts\/integration\/merge-conflict-fix-one-7-a{12}\.json$/);
  expect(await keepConflict({ folder: FOLDER }, found, ports)).toEqual(kept);
  // Killed before the event; meanwhile another result was taken.
  const later = await keepConflict({ folder: FOLDER }, { ...found, onto: "b".repeat(40) }, ports);
  expect(later.path).not.toBe(kept.path);
  const text = Buffer.from(disk.readFile(`${FOLDER}/${kept.path}`)).toString("utf8");
  expect(text).not.toContain("correct-horse");
  expect(MergeConflict.parse(JSON.parse(text))).toMatchObject({
    task_id: "Fix one",
    source_ref: found.commit,
    target_ref: found.onto,
    clean_merge: false,
    artifact_path: kept.path,
  });
});
