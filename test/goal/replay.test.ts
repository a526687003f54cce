/** The replay of a goal: what its log says, event by event, with everything that is wrong with it. */
import { describe, expect, test } from "vitest";

import { checkRequest, createGoal } from "../../src/goal/create.ts";
import { findGoal } from "../../src/goal/find.ts";
import { OpenGoal } from "../../src/goal/open.ts";
import { readReplay, type Replay, type TimelineEntry } from "../../src/goal/replay.ts";
import { foldFolder } from "../../src/store/journal.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, simulatedPorts, SimulatedProject, ROOT } from "../support/simulated-goal.ts";

const never = new AbortController().signal;

interface Rig {
  disk: SimulatedDisk;
  folder: string;
  replay(tail?: number): Replay;
  rewrite(change: (lines: string[]) => string[]): void;
}

async function created(): Promise<Rig> {
  const disk = new SimulatedDisk(GROUND);
  const ports = simulatedPorts(disk, new SimulatedProject(1), 1);
  const request = { text: "Fix the failing test", projectDir: PROJECT };
  const open = await createGoal(checkRequest(request, ports), ports, never);
  for (let at = 0; at < 3; at++)
    await open.record({ kind: "note", actor: "test", payload: { message: `${at}` } });
  await open.close();
  const log = `${open.folder}/events.jsonl`;
  return {
    disk,
    folder: open.folder,
    replay: (tail) => readReplay(findGoal(ROOT, "latest", ports), tail === undefined ? {} : { tail }, ports),
    rewrite(change) {
      const lines = Buffer.from(disk.readFile(log)).toString("utf8").split("\n").slice(0, -1);
      const file = disk.open(log, "edit");
      file.truncate(0);
      file.write(Buffer.from(`${change(lines).join("\n")}\n`));
      file.close();
    },
  };
}

function entriesOf(replay: Replay): TimelineEntry[] {
  return [...replay.entries()].flat();
}

describe("a replay", () => {
  test("has every event of the log in order, and ends when the last one was written", async () => {
    const rig = await created();
    const events: string[] = [];
    foldFolder(rig.folder, rig, (event) => events.push(`${event.ts} ${event.kind}`));
    const replay = rig.replay();
    const entries = entriesOf(replay);
    expect(entries.map(({ ts, kind }) => `${ts} ${kind}`)).toEqual(events);
    expect(entries.map(({ index }) => index)).toEqual(events.map((_, at) => at));
    expect(replay.summary).toMatchObject({
      event_count: events.length,
      generated_at: entries.at(-1)?.ts,
      duplicate_events: 0,
      parse_failures: 0,
    });
    expect(replay.summary.known_gaps).toBeUndefined();
    expect(replay.summary.task_graph_summary.total_tasks).toBeGreaterThan(3);
    expect(entriesOf(rig.replay())).toEqual(entries);
  });

  test("shows only the last events where that is asked for, and says how many it leaves out", async () => {
    const rig = await created();
    const all = entriesOf(rig.replay());
    for (const tail of [0, 1, 3, all.length, all.length + 5]) {
      const some = rig.replay(tail);
      expect(entriesOf(some)).toEqual(tail === 0 ? [] : all.slice(-tail));
      expect(some.omitted).toBe(Math.max(0, all.length - tail));
      expect(some.summary).toEqual(rig.replay().summary);
    }
  });

  test("leaves out what is there twice, and what cannot be read, and names both", async () => {
    const rig = await created();
    const all = entriesOf(rig.replay());
    rig.rewrite((lines) => [
      ...lines.slice(0, -2),
      "not json at all",
      ...lines.slice(-2),
      // Once more, where it follows nothing.
      ...lines.slice(-1),
    ]);
    const replay = rig.replay();
    expect(replay.summary).toMatchObject({ duplicate_events: 1, event_count: all.length });
    expect(replay.summary.recovery_status).toMatch(/^partial/);
    expect(replay.summary.known_gaps?.join("; ")).toMatch(/malformed.*duplicate/);
    expect(entriesOf(replay).map(({ kind, ts }) => [kind, ts])).toEqual(
      all.map(({ kind, ts }) => [kind, ts]),
    );
    expect(entriesOf(rig.replay(2))).toEqual(entriesOf(replay).slice(-2));
  });

  test("says where the chain is broken because a line was taken out", async () => {
    const rig = await created();
    const all = entriesOf(rig.replay());
    rig.rewrite((lines) => lines.filter((_, at) => at !== 3));
    const { summary } = rig.replay();
    expect(summary).toMatchObject({ parse_failures: 0, event_count: all.length - 1 });
    expect(summary.known_gaps).toEqual([expect.stringContaining("chain of events is broken before line 4")]);
    expect(summary.recovery_status).toMatch(/^partial/);
  });

  test("counts a line that cannot be read once, and not the one that follows it", async () => {
    const rig = await created();
    rig.rewrite((lines) => {
      // What was written together with it would be left out with it.
      const next = lines.findIndex((line, at) => at > 1 && !line.includes('"batch"'));
      return lines.map((line, at) => (at === next - 1 ? line.replace('"kind"', '"kinX"') : line));
    });
    const { summary } = rig.replay();
    expect(summary.parse_failures).toBe(1);
    expect(summary.known_gaps).toEqual(["1 malformed line was left out"]);
  });

  test("shows no line that an overtaken controller wrote", async () => {
    const rig = await created();
    const before = entriesOf(rig.replay()).length;
    const ports = simulatedPorts(rig.disk, new SimulatedProject(1), 2);
    const open = await OpenGoal.open(rig.folder.split("/").at(-1) ?? "", rig.folder, "test", ports, never);
    await open.record({ kind: "note", actor: "test" });
    await open.close();
    let late = "";
    rig.rewrite((lines) => {
      late = lines[2] ?? "";
      return [...lines, late];
    });
    const replay = rig.replay();
    expect(replay.summary.known_gaps).toEqual(["1 line of an overtaken controller left out"]);
    expect(replay.summary.recovery_status).toMatch(/^recovered/);
    expect(entriesOf(replay)).toHaveLength(before + 1);
  });

  test("says that the graph is missing when neither log nor file has one", async () => {
    const rig = await created();
    // As 0.5.0 leaves a goal: its files are all there is.
    const { record } = findGoal(ROOT, "latest", rig);
    const { seq: _seq, log_bytes: _bytes, ...goal } = record;
    await rig.disk.writeDerived(`${rig.folder}/goal.json`, JSON.stringify(goal));
    for (const name of ["events.jsonl", "task-graph.json"]) rig.disk.remove(`${rig.folder}/${name}`);
    const replay = rig.replay(5);
    expect(replay.summary).toMatchObject({
      event_count: 0,
      recovery_status: expect.stringMatching(/^partial/),
    });
    expect(replay.summary.known_gaps?.[0]).toContain("Task graph");
    expect(entriesOf(replay)).toEqual([]);
  });
});
