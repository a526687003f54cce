/** One finished goal on the simulated disk, of which every byte is bent once: `omk proof verify` must see each. */
import { join, relative } from "node:path";

import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";

import { askGoal } from "../../src/goal/ask.ts";
import { runGoal } from "../../src/goal/by-hand.ts";
import { verifyProof } from "../../src/goal/verify-proof.ts";
import type { Disk, OpenFile } from "../../src/ports.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;

let disk: SimulatedDisk;
let folder: string;
let id: string;
let evidence: string[];

beforeAll(async () => {
  disk = new SimulatedDisk(GROUND);
  const ports = simulatedPorts(disk, new SimulatedProject(1), 1);
  const request = {
    text: "Fix the failing test",
    projectDir: PROJECT,
    untilReady: true,
    autoAccept: true,
    engine: "simulated",
  };
  const { open, ending } = await runGoal(request, ports, never, () => undefined);
  expect(ending.status).toBe("ready");
  ({ folder, id } = open);
  evidence = open.work.evidence.map(({ path }) => path).filter((path) => bytesOf(path).length > 0);
  expect(evidence.length).toBeGreaterThan(4);
});

function bytesOf(name: string): Uint8Array {
  return disk.readFile(join(folder, name));
}

/** The disk with other bytes in some files, by their names in the goal's folder; `null` for a missing one. */
function withFiles(files: Readonly<Record<string, Uint8Array | null>>): Disk {
  const at = (path: string) => files[relative(folder, path)];
  return new Proxy<Disk>(disk, {
    get: (_target, key: keyof Disk) => {
      const own = {
        stat: (path: string) => (at(path) === null ? undefined : disk.stat(path)),
        readFile: (path: string, max?: number) => at(path) ?? disk.readFile(path, max),
        open: (path: string, how: "read") => {
          const bytes = at(path);
          return bytes ? openBytes(bytes) : disk.open(path, how);
        },
      };
      if (key in own) return own[key as keyof typeof own];
      const method: (...args: never[]) => unknown = disk[key];
      return method.bind(disk);
    },
  });
}

function openBytes(bytes: Uint8Array): OpenFile {
  return {
    size: () => bytes.length,
    read: (into: Uint8Array, position: number) => {
      const part = bytes.subarray(position, position + into.length);
      into.set(part);
      return part.length;
    },
    close: () => undefined,
  } as unknown as OpenFile;
}

function check(files: Readonly<Record<string, Uint8Array | null>>) {
  return verifyProof(folder, id, { disk: withFiles(files) });
}

function bent(name: string, at: number): Uint8Array {
  const bytes = Uint8Array.from(bytesOf(name));
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
}

/** Bends byte 0 of all files at once, then byte 1 and so on: each time every file that was bent must be named. */
function bendTogether(names: readonly string[]): number {
  const sizes = names.map((name) => bytesOf(name).length);
  let bends = 0;
  for (let at = 0; at < Math.max(...sizes); at++) {
    const chosen = names.filter((_, index) => at < (sizes[index] ?? 0));
    const { valid, faults } = check(Object.fromEntries(chosen.map((name) => [name, bent(name, at)])));
    const named = new Set(faults.map(({ file }) => file));
    const missed = chosen.filter((name) => !named.has(name));
    if (valid || missed.length > 0) throw new Error(`byte ${at} of ${missed.join(", ")} was bent unseen`);
    bends += chosen.length;
  }
  return bends;
}

describe("a proof", () => {
  test("of a goal nobody touched holds", () => {
    expect(check({})).toMatchObject({ status: "ready", valid: true, faults: [], later_events: [] });
  });

  test(
    "is found out, by name, when any bit-flipped byte is in it or in a document",
    { timeout: 60_000 },
    () => {
      expect(bendTogether(["proof.json", "goal.json", "work.json", "task-graph.json"])).toBeGreaterThan(
        20_000,
      );
    },
  );

  test("is found out, by name, when any byte of its evidence is another", { timeout: 60_000 }, () => {
    expect(bendTogether(evidence)).toBeGreaterThan(2_000);
  });

  test(
    "is found out when a byte of the log is another: all of one line, and a sample of all",
    { timeout: 60_000 },
    () => {
      const text = Buffer.from(bytesOf("events.jsonl"));
      const lastLine = text.subarray(0, -1).lastIndexOf("\n") + 1;
      const firstLine = text.indexOf("\n") + 1;
      const secondLine = text.indexOf("\n", firstLine) + 1;
      const places = fc.sample(fc.nat(text.length - 1), 2_000);
      for (let at = firstLine; at < secondLine; at++) places.push(at);
      // The end is where a flip might pass for a write that was cut off.
      for (const at of [0, lastLine - 1, lastLine, text.length - 2, text.length - 1]) places.push(at);
      for (const at of places) {
        const { valid, faults } = check({ "events.jsonl": bent("events.jsonl", at) });
        expect(valid, `byte ${at}`).toBe(false);
        expect(faults[0]?.file, `byte ${at}`).toBe("events.jsonl");
      }
    },
  );

  test("is found out when lines of the log are gone, doubled or exchanged", () => {
    const lines = Buffer.from(bytesOf("events.jsonl")).toString("utf8").split("\n").slice(0, -1);
    const without = (text: readonly string[]) =>
      check({ "events.jsonl": Buffer.from(text.map((line) => `${line}\n`).join("")) });
    expect(without(lines).valid).toBe(true);
    lines.forEach((line, at) => {
      expect(without(lines.toSpliced(at, 1)).valid, `without line ${at}`).toBe(false);
      expect(without(lines.toSpliced(at, 0, line)).valid, `line ${at} twice`).toBe(false);
      const next = lines[at + 1];
      if (next !== undefined)
        expect(without(lines.toSpliced(at, 2, next, line)).valid, `line ${at} exchanged`).toBe(false);
    });
  });

  test("is found out, by name, when a file is missing, empty, longer or shorter", () => {
    for (const name of ["proof.json", "goal.json", "work.json", "task-graph.json", ...evidence]) {
      const bytes = bytesOf(name);
      for (const other of [
        null,
        new Uint8Array(),
        Buffer.concat([bytes, Buffer.from("x")]),
        bytes.subarray(0, -1),
      ]) {
        const { valid, faults } = check({ [name]: other });
        expect(valid, name).toBe(false);
        expect(
          faults.map(({ file }) => file),
          name,
        ).toContain(name);
      }
    }
  });

  test("that names evidence outside the goal's folder is found out without reading it", () => {
    const proof = JSON.parse(Buffer.from(bytesOf("proof.json")).toString("utf8")) as {
      evidence: { path: string }[];
    };
    for (const path of ["/etc/passwd", "../../other/proof.json", "artifacts/../../x"]) {
      proof.evidence = [{ ...proof.evidence[0], path }];
      const { faults } = check({ "proof.json": Buffer.from(JSON.stringify(proof)) });
      expect(faults).toContainEqual({ file: path, because: "evidence must lie inside the goal's folder" });
    }
  });

  test("of a goal that went on is still valid, and what came later is listed", async () => {
    const later = disk.survivor();
    const ports = simulatedPorts(later, new SimulatedProject(1, 1), 2);
    await askGoal(id, { kind: "cancel" }, ports, never);
    const checked = verifyProof(folder, id, { disk: later });
    expect(checked).toMatchObject({ valid: true, status: "ready" });
    expect(checked.later_events.map(({ kind }) => kind)).toContain("manual_interrupt");
  });
});
