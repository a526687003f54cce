/** Reading a log without parsing it says the same as parsing every line, whatever has happened to the file. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { Event } from "../../src/format/event.ts";
import { findEvents, foldFolder, Journal, type JournalPorts } from "../../src/store/journal.ts";
import { readLog, scanLog, type LogReading } from "../../src/store/log-reader.ts";
import { lastEvents } from "../../src/store/log-tail.ts";
import { createRedactor } from "../../src/store/redact.ts";
import { CountingRandom, ManualClock, NoProcesses } from "../support/fakes.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";

const FOLDER = "/state/goals/g1";
const LOG = `${FOLDER}/events.jsonl`;
const never = new AbortController().signal;
const LEGACY =
  '{"id":"0","run_id":"g1","ts":"2026-01-01T00:00:00Z","schema_version":1,"kind":"run_started","actor":null}';

function portsOn(disk: SimulatedDisk, pid: number): JournalPorts & { disk: SimulatedDisk } {
  return {
    disk,
    clock: new ManualClock(),
    random: new CountingRandom(pid),
    processes: new NoProcesses({ self: { pid } }),
    redactor: createRedactor({ environment: {} }),
  };
}

/** A log of three controllers, with single events and several in one write. */
async function wholeLog(): Promise<string[]> {
  const disk = new SimulatedDisk();
  for (let pid = 1; pid <= 3; pid++) {
    const request = { runId: "g1", command: "test", what: "Goal g1", snapshots: ["goal.json"] };
    const journal = await Journal.open(FOLDER, request, portsOn(disk, pid), never);
    const note = (at: number) => ({
      kind: "task_output",
      actor: "test",
      payload: { message: `${pid}.${at}`, seq: at, prev: "x" },
      ...(at % 2 === 0 && { changes: [{ file: "goal.json", set: { at } }] }),
    });
    await journal.append(note(1));
    await journal.append(note(2), note(3));
    await journal.append(note(4));
    await journal.close();
  }
  return Buffer.from(disk.readFile(LOG)).toString("utf8").split("\n").slice(0, -1);
}

function diskWith(text: string): SimulatedDisk {
  return new SimulatedDisk({ folders: ["/state/goals", FOLDER], files: { [LOG]: text } });
}

type Seen = { reading: LogReading; events: { event: Event; number: number; end: number }[] };

function bothWays(text: string): { read: Seen; scanned: Seen } {
  const ports = { disk: diskWith(text) };
  const read: Seen["events"] = [];
  const scanned: Seen["events"] = [];
  const reading = readLog(LOG, ports, (event, number, end) => read.push({ event, number, end }));
  const scan = scanLog(LOG, ports, (line) => {
    const event = line.event();
    if (event) scanned.push({ event, number: line.number, end: line.end });
  });
  return { read: { reading, events: read }, scanned: { reading: scan, events: scanned } };
}

describe("a log that is not parsed", () => {
  test("is judged like one that is, whatever has happened to its lines", async () => {
    const lines = await wholeLog();
    const place = fc.nat({ max: lines.length - 1 });
    const mishap = fc.oneof(
      fc.record({ kind: fc.constant("drop" as const), at: place }),
      fc.record({ kind: fc.constant("repeat" as const), at: place, to: place }),
      fc.record({ kind: fc.constant("swap" as const), at: place, to: place }),
      fc.record({ kind: fc.constant("flip" as const), at: place, to: fc.nat({ max: 400 }) }),
      fc.record({
        kind: fc.constant("insert" as const),
        at: place,
        text: fc.constantFrom("", "{}", "x", LEGACY),
      }),
    );
    const mishaps = fc.tuple(fc.array(mishap, { maxLength: 4 }), fc.nat({ max: 200 }));
    fc.assert(
      fc.property(mishaps, ([all, cut]) => {
        const log = [...lines];
        for (const one of all) {
          const at = Math.min(one.at, log.length - 1);
          const line = log[at] ?? "";
          if (one.kind === "drop") log.splice(at, 1);
          else if (one.kind === "repeat") log.splice(one.to, 0, line);
          else if (one.kind === "insert") log.splice(at, 0, one.text);
          else if (one.kind === "flip") log[at] = `${line.slice(0, one.to)}#${line.slice(one.to + 1)}`;
          else {
            log[at] = log[one.to] ?? "";
            log[one.to] = line;
          }
        }
        const whole = `${log.join("\n")}\n`;
        const text = whole.slice(0, whole.length - cut);
        const { read, scanned } = bothWays(text);
        expect(scanned).toEqual(read);
        const ports = { disk: diskWith(text) };
        // Seeing every event means parsing every line.
        expect(foldFolder(FOLDER, ports)).toEqual(foldFolder(FOLDER, ports, () => undefined));
      }),
    );
  });

  test("hands out each line's event when it is asked for", async () => {
    const lines = await wholeLog();
    const { read, scanned } = bothWays(`${lines.join("\n")}\n`);
    expect(scanned.reading).toMatchObject({ seq: 12, epoch: 5, damage: [], torn: false });
    expect(scanned.events.map(({ event }) => event)).toEqual(read.events.map(({ event }) => event));
  });
});

describe("events that are looked for by a text", () => {
  test("are found from any line on, and shown to whoever folds the log", async () => {
    const lines = await wholeLog();
    const ports = { disk: diskWith(`${lines.join("\n")}\n`) };
    const wanted = ['"2.3"', '"3.1"'];
    const kept: unknown[] = [];
    foldFolder(FOLDER, ports, ({ payload }) => void kept.push(payload?.["message"]), wanted);
    // Those with changes are seen, too: they have to be parsed.
    expect(kept).toEqual(["1.2", "1.4", "2.2", "2.3", "2.4", "3.1", "3.2", "3.4"]);
    let bytes = 0;
    for (const line of lines) {
      const found: unknown[] = [];
      const take = ({ payload }: Event) => void found.push(payload?.["message"]);
      findEvents(FOLDER, wanted, ports, take, { seq: 0, bytes });
      expect(found).toEqual(["2.3", "3.1"].filter((one) => bytes <= offsetOf(lines, `"${one}"`)));
      bytes += line.length + 1;
    }
  });
});

function offsetOf(lines: readonly string[], text: string): number {
  const at = lines.findIndex((line) => line.includes(text));
  return lines.slice(0, at).join("\n").length + (at === 0 ? 0 : 1);
}

describe("the end of a log", () => {
  test("is its last events, without a torn one", async () => {
    const lines = await wholeLog();
    const ports = { disk: diskWith(`${lines.join("\n")}\n{"id":`) };
    const last = lastEvents(FOLDER, 2, ports);
    expect(last.map(({ payload }) => payload?.["message"])).toEqual(["3.3", "3.4"]);
    expect(lastEvents("/state/goals", 2, ports)).toEqual([]);
  });
});
