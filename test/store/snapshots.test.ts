/** Snapshots are never so far behind that readers have much to catch up on, and catching up loses nothing. */
import { describe, expect, test } from "vitest";

import { readGoalDocuments } from "../../src/goal/find.ts";
import { catchUp } from "../../src/store/catch-up.ts";
import { foldFolder, Journal, readDocument, type JournalPorts } from "../../src/store/journal.ts";
import { createRedactor } from "../../src/store/redact.ts";
import { CountingRandom, ManualClock, NoProcesses } from "../support/fakes.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";

const FOLDER = "/state/goals/g1";
const FILES = ["goal.json", "work.json"];
const REQUEST = { runId: "g1", command: "test", what: "Goal g1", snapshots: FILES };
const never = new AbortController().signal;

function portsOn(disk: SimulatedDisk): JournalPorts & { disk: SimulatedDisk } {
  return {
    disk,
    clock: new ManualClock(),
    random: new CountingRandom(1),
    processes: new NoProcesses({ self: { pid: 1 } }),
    redactor: createRedactor({ environment: {} }),
  };
}

const set = (file: string, values: Record<string, unknown>) => ({
  kind: "task_output",
  actor: "test",
  changes: [{ file, set: values }],
});

function seqOf(name: string, ports: { disk: SimulatedDisk }): unknown {
  const found = readDocument(`${FOLDER}/${name}`, ports);
  return found.state === "found" ? found.record["seq"] : undefined;
}

describe("a snapshot", () => {
  test("is written again when it has not changed but much has happened behind it", async () => {
    const ports = portsOn(new SimulatedDisk());
    const journal = await Journal.open(FOLDER, REQUEST, ports, never);
    await journal.append(set("goal.json", { status: "running" }), set("work.json", { at: 0 }));
    await journal.save();
    await journal.append(...Array.from({ length: 100 }, (_, at) => set("work.json", { at })));
    await journal.save();
    expect(seqOf("goal.json", ports)).toBe(2);
    await journal.append(...Array.from({ length: 2_000 }, (_, at) => set("work.json", { at })));
    await journal.save();
    expect(seqOf("goal.json", ports)).toBe(2_102);
    await journal.close();
  });

  test("never claims an event whose change it does not have, even while others append", async () => {
    const ports = portsOn(new SimulatedDisk());
    const journal = await Journal.open(FOLDER, REQUEST, ports, never);
    const appends = Array.from({ length: 20 }, (_, at) => journal.append(set("work.json", { at: at + 1 })));
    const seen: [unknown, unknown][] = [];
    for (let round = 0; round < 10; round++) {
      await journal.save();
      const found = readDocument(`${FOLDER}/work.json`, ports);
      if (found.state === "found") seen.push([found.record["at"], found.record["seq"]]);
    }
    expect(seen.every(([at, seq]) => at === seq)).toBe(true);
    await Promise.all(appends);
    await journal.close();
  });
});

describe("documents that are read together", () => {
  test("are what the log says, from snapshots of different age", async () => {
    const ports = portsOn(new SimulatedDisk());
    const journal = await Journal.open(FOLDER, REQUEST, ports, never);
    await journal.append(set("goal.json", { status: "new", kept: 1 }), set("work.json", { at: 0, gone: 1 }));
    await journal.save();
    await journal.append({
      ...set("work.json", { at: 1 }),
      changes: [{ file: "work.json", set: { at: 1 }, unset: ["gone"] }],
    });
    await journal.save();
    // So large that its event keeps it in a file of its own.
    await journal.append(set("goal.json", { status: "running", text: "long ".repeat(80_000) }));
    await journal.append(set("work.json", { at: 2 }));
    await journal.abandon();

    const { documents } = foldFolder(FOLDER, ports);
    const read = readGoalDocuments({ folder: FOLDER }, FILES, ports);
    expect(read.get("work.json")).toMatchObject({ at: 2 });
    expect(read.get("work.json")).not.toHaveProperty("gone");
    expect(read.get("goal.json")).toMatchObject(documents.get("goal.json") ?? {});
    // What is damaged or missing comes from the log.
    ports.disk.remove(`${FOLDER}/goal.json`);
    expect(readGoalDocuments({ folder: FOLDER }, FILES, ports).get("goal.json")).toMatchObject({
      status: "running",
    });
  });

  test("of another log are not brought up to date from this one", async () => {
    const ports = portsOn(new SimulatedDisk());
    const journal = await Journal.open(FOLDER, REQUEST, ports, never);
    await journal.append(set("goal.json", { status: "new" }));
    await journal.close();
    const { bytes } = journal.position;
    const stale = () => new Map([["goal.json", { status: "old" }]]);
    expect(catchUp(FOLDER, stale(), { seq: 9, bytes: bytes + 1 }, ports)).toBeUndefined();
    expect(catchUp(FOLDER, stale(), { seq: 9, bytes: 0 }, ports)).toBeUndefined();
  });
});
