import { createHash } from "node:crypto";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { OmkError } from "../../src/errors.ts";
import { Event } from "../../src/format/event.ts";
import { foldFolder, Journal, readDocument, type JournalPorts } from "../../src/store/journal.ts";
import { createRedactor } from "../../src/store/redact.ts";
import { CountingRandom, ManualClock, NoProcesses } from "../support/fakes.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";

const FOLDER = "/state/goals/g1";
const REQUEST = { runId: "g1", command: "test", what: "Goal g1", snapshots: ["goal.json", "proof.json"] };
const never = new AbortController().signal;

function portsOn(disk: SimulatedDisk, pid = 1): JournalPorts & { disk: SimulatedDisk } {
  return {
    disk,
    clock: new ManualClock(),
    random: new CountingRandom(pid),
    processes: new NoProcesses({ self: { pid } }),
    redactor: createRedactor({ environment: { API_TOKEN: "correct-horse-battery" } }),
  };
}

function linesOf(disk: SimulatedDisk): string[] {
  return Buffer.from(disk.readFile(`${FOLDER}/events.jsonl`))
    .toString("utf8")
    .split("\n")
    .slice(0, -1);
}

const note = (text: string, set: Record<string, unknown> = {}) => ({
  kind: "task_output",
  actor: "test",
  payload: { message: text },
  changes: [{ file: "goal.json", set }],
});

describe("the log", () => {
  test("chains every line to the one before it and seals it with its own digest", async () => {
    const ports = portsOn(new SimulatedDisk());
    const journal = await Journal.open(FOLDER, REQUEST, ports, never);
    await journal.append(note("one"));
    await journal.append(note("two"), note("three"));
    await journal.close();

    const lines = linesOf(ports.disk);
    let prev = "0".repeat(64);
    lines.forEach((line, at) => {
      const event = Event.parse(JSON.parse(line));
      expect(event.seq).toBe(at + 1);
      expect(event.prev).toBe(prev);
      expect(event.check).toBe(
        createHash("sha256")
          .update(line.slice(0, line.lastIndexOf(',"check":"')))
          .digest("hex"),
      );
      prev = createHash("sha256").update(line).digest("hex");
    });
    expect(lines).toHaveLength(3);
    expect(JSON.parse(lines[2] ?? "")).toMatchObject({ batch: 2, epoch: 1 });
  });

  test("loses nothing of steps side by side that add to one list, and goes on after one that failed", async () => {
    const ports = portsOn(new SimulatedDisk());
    const journal = await Journal.open(FOLDER, REQUEST, ports, never);
    const listed = () => (journal.documents.get("goal.json")?.["evidence"] ?? []) as number[];
    const adding = Array.from({ length: 8 }, (_, at) =>
      journal.inTurn(async () => {
        if (at === 3) throw new Error("this one fails");
        const evidence = [...listed(), at];
        await Promise.resolve();
        await journal.append(note(`adds ${at}`, { evidence }));
      }),
    );
    const ended = await Promise.allSettled(adding);
    expect(ended.map(({ status }) => status).filter((status) => status === "rejected")).toHaveLength(1);
    expect(listed()).toEqual([0, 1, 2, 4, 5, 6, 7]);
    await journal.close();
  });

  test("shares one sync among events that are given together", async () => {
    const ports = portsOn(new SimulatedDisk());
    const journal = await Journal.open(FOLDER, REQUEST, ports, never);
    const before = ports.disk.operations.filter(({ call }) => call === "sync").length;
    await Promise.all(Array.from({ length: 64 }, (_, at) => journal.append(note(`event ${at}`))));
    const syncs = ports.disk.operations.filter(({ call }) => call === "sync").length - before;
    await journal.close();
    expect(linesOf(ports.disk)).toHaveLength(64);
    expect(syncs).toBe(1);
  });

  test("keeps a payload over 256 KiB in a file of its own and gives it back", async () => {
    const ports = portsOn(new SimulatedDisk());
    const journal = await Journal.open(FOLDER, REQUEST, ports, never);
    const large = "x".repeat(300 * 1024);
    await journal.append(note("large", { large }));
    await journal.close();
    expect(linesOf(ports.disk)[0]?.length).toBeLessThan(1_000);
    expect(foldFolder(FOLDER, ports).documents.get("goal.json")).toEqual({ large });
  });

  test("writes no secret, neither in events nor in documents", async () => {
    const ports = portsOn(new SimulatedDisk());
    const journal = await Journal.open(FOLDER, REQUEST, ports, never);
    await journal.append(note("the token is correct-horse-battery", { seen: "correct-horse-battery" }));
    await journal.close();
    expect(Object.values(ports.disk.tree()).join("\n")).not.toContain("correct-horse-battery");
  });

  test("cuts a torn end off, keeps it in quarantine and goes on", async () => {
    const first = portsOn(new SimulatedDisk());
    const journal = await Journal.open(FOLDER, REQUEST, first, never);
    await journal.append(note("one", { a: 1 }));
    await journal.close();
    const file = first.disk.open(`${FOLDER}/events.jsonl`, "append");
    file.write(Buffer.from('{"id":"torn'));
    file.close();

    const second = portsOn(first.disk, 2);
    const again = await Journal.open(FOLDER, REQUEST, second, never);
    expect(again.repairs).toHaveLength(1);
    await again.append(note("two", { b: 2 }));
    await again.close();
    expect(foldFolder(FOLDER, second).documents.get("goal.json")).toEqual({ a: 1, b: 2 });
    expect(second.disk.list(`${FOLDER}/quarantine`)).toHaveLength(1);
  });

  test("refuses to write behind damage in its middle, and still reads the rest", async () => {
    const first = portsOn(new SimulatedDisk());
    const journal = await Journal.open(FOLDER, REQUEST, first, never);
    for (const text of ["one", "two", "three"]) await journal.append(note(text, { [text]: true }));
    await journal.close();
    const lines = linesOf(first.disk);
    const bent = [lines[0], lines[1]?.replace("two", "twö"), lines[2], ""].join("\n");
    const disk = new SimulatedDisk({ files: { [`${FOLDER}/events.jsonl`]: bent } });

    const folded = foldFolder(FOLDER, portsOn(disk));
    expect(folded.log.damage.map(({ line }) => line)).toContain(2);
    expect(folded.documents.get("goal.json")).toMatchObject({ one: true, three: true });
    await expect(Journal.open(FOLDER, REQUEST, portsOn(disk), never)).rejects.toMatchObject({
      code: "state.damaged",
    });
    expect(Buffer.from(disk.readFile(`${FOLDER}/events.jsonl`)).toString()).toBe(bent);
  });

  test("holds a line of an overtaken controller void", async () => {
    const ports = portsOn(new SimulatedDisk());
    const old = await Journal.open(FOLDER, REQUEST, ports, never);
    await old.append(note("from the first", { who: "first" }));
    const late = linesOf(ports.disk)[0] ?? "";
    const newer = await Journal.open(FOLDER, REQUEST, portsOn(ports.disk, 2), never);
    await newer.append(note("from the second", { who: "second" }));
    await expect(old.append(note("late"))).rejects.toMatchObject({ code: "controller.overtaken" });
    // A writer that was stopped between its check and its write: its line still lands.
    const file = ports.disk.open(`${FOLDER}/events.jsonl`, "append");
    file.write(Buffer.from(`${late}\n`));
    file.close();
    await newer.append(note("again from the second", { who: "second again" }));
    await newer.close();
    await old.close();
    const folded = foldFolder(FOLDER, ports);
    expect(folded.documents.get("goal.json")).toEqual({ who: "second again" });
    expect(folded.log.voidLines).toHaveLength(1);
    expect(folded.log.damage).toEqual([]);
  });

  test("documents are the fold of any history, and come back from the log alone", async () => {
    const step = fc.record({
      set: fc.dictionary(fc.constantFrom("a", "b", "c"), fc.jsonValue({ maxDepth: 2 })),
      unset: fc.subarray(["a", "b", "c"]),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const ports = portsOn(new SimulatedDisk());
        const journal = await Journal.open(FOLDER, REQUEST, ports, never);
        const model: Record<string, unknown> = {};
        for (const { set, unset } of steps) {
          await journal.append({ kind: "k", actor: null, changes: [{ file: "goal.json", set, unset }] });
          Object.assign(model, set);
          for (const key of unset) delete model[key];
        }
        await journal.close();
        if (steps.length === 0) return;
        const expected = JSON.parse(JSON.stringify(model)) as unknown;
        expect(foldFolder(FOLDER, ports).documents.get("goal.json")).toEqual(expected);
        ports.disk.remove(`${FOLDER}/goal.json`);
        const again = await Journal.open(FOLDER, REQUEST, portsOn(ports.disk, 2), never);
        await again.close();
        const found = readDocument(`${FOLDER}/goal.json`, ports);
        expect(found.state === "found" && found.record).toMatchObject(expected as object);
      }),
      { numRuns: 60 },
    );
  });
});

describe("control of a goal", () => {
  test("is refused while another living process holds it", async () => {
    const disk = new SimulatedDisk();
    const held = await Journal.open(FOLDER, REQUEST, portsOn(disk, 1), never);
    const other = portsOn(disk, 2);
    other.processes = new NoProcesses({ self: { pid: 2 }, liveness: new Map([[1, "alive"]]) });
    await expect(Journal.open(FOLDER, REQUEST, other, never)).rejects.toMatchObject({ code: "state.busy" });
    await held.close();
    await (await Journal.open(FOLDER, REQUEST, other, never)).close();
  });

  test("is taken from a holder elsewhere only after a whole lease without a sign of life", async () => {
    const disk = new SimulatedDisk();
    const held = await Journal.open(FOLDER, REQUEST, portsOn(disk, 1), never);
    await held.append(note("one"));
    const other = portsOn(disk, 2);
    const clock = new ManualClock();
    other.clock = clock;
    other.processes = new NoProcesses({ self: { pid: 2 }, liveness: new Map([[1, "unknown"]]) });
    const opening = Journal.open(FOLDER, REQUEST, other, never);
    for (let second = 0; second < 60; second++) {
      await clock.someoneSleeps();
      await clock.advance(1_000);
    }
    const taken = await opening;
    expect(taken.epoch).toBe(2);
    await expect(held.append(note("late"))).rejects.toMatchObject({ code: "controller.overtaken" });
    await held.close();
    await taken.close();
  });
});

describe("files of other versions and damaged ones", () => {
  test("a newer version is refused before anything is written", async () => {
    const text = JSON.stringify({ version: 2, goal_id: "g1" });
    const disk = new SimulatedDisk({ files: { [`${FOLDER}/goal.json`]: text } });
    const before = disk.digest();
    const error = await Journal.open(FOLDER, REQUEST, portsOn(disk), never).catch((one: unknown) => one);
    expect(error).toBeInstanceOf(OmkError);
    expect(error).toMatchObject({ code: "state.version", exitStatus: 78 });
    expect((error as OmkError).message).toContain("version 2");
    expect(disk.digest()).toBe(before);
  });

  test("a damaged snapshot is set aside and made again", async () => {
    const ports = portsOn(new SimulatedDisk());
    const journal = await Journal.open(FOLDER, REQUEST, ports, never);
    await journal.append(note("one", { a: 1 }));
    await journal.close();
    ports.disk.remove(`${FOLDER}/goal.json`);
    const file = ports.disk.open(`${FOLDER}/goal.json`, "create");
    file.write(Buffer.from("{half"));
    file.close();
    const again = await Journal.open(FOLDER, REQUEST, portsOn(ports.disk, 2), never);
    await again.close();
    expect(readDocument(`${FOLDER}/goal.json`, ports)).toMatchObject({ state: "found", record: { a: 1 } });
    expect(ports.disk.list(`${FOLDER}/quarantine`).some((name) => name.startsWith("goal.json"))).toBe(true);
  });
});
