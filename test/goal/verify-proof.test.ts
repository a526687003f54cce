/** One finished goal on the simulated disk, of which every byte is bent once: `omk proof verify` must see each. */
import { join } from "node:path";

import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";

import type { Disk } from "../../src/ports.ts";
import { runGoal } from "../../src/goal/run-goal.ts";
import { OpenGoal } from "../../src/goal/open.ts";
import { verifyProof } from "../../src/goal/verify-proof.ts";
import { scanLog } from "../../src/store/log-reader.ts";
import { Bender, withFiles, type OtherBytes } from "../support/bent-disk.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;

let disk: SimulatedDisk;
let open: OpenGoal;
let folder: string;
let id: string;
let evidence: string[];
let bender: Bender;

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
  const ran = await runGoal(request, ports, never, () => undefined);
  const { ending } = ran;
  ({ open } = ran);
  expect(ending, open.proof?.readiness).toMatchObject({ status: "ready" });
  ({ folder, id } = open);
  bender = new Bender(disk, folder, (other) => verifyProof(folder, id, { disk: other }));
  evidence = open.work.evidence.map(({ path }) => path).filter((path) => bender.bytesOf(path).length > 0);
  expect(evidence.length).toBeGreaterThan(4);
});

/** Made from the documents or the log, read by nothing that decides; and what says who controlled the goal. */
const FOR_READERS =
  /^(prd|technical-plan|test-spec|approvals)\.md$|^(decisions|budget-checkpoints|cost)\.jsonl$|^controller\/|^commands\/|^artifacts\/(oracle\/[^/]+|reviews\/[^/]+\.md|integration\/integrator-(accept|reject)\.json)$|^[a-z-]+\.(md|json)$/;

function filesBelow(on: SimulatedDisk, top: string, below = ""): string[] {
  return on.list(join(top, below)).flatMap((name) => {
    const path = join(below, name);
    return on.stat(join(top, path))?.kind === "folder" ? filesBelow(on, top, path) : [path];
  });
}

function check(files: OtherBytes) {
  return verifyProof(folder, id, { disk: withFiles(disk, folder, files) });
}

describe("a proof", () => {
  // All bytes with OMK_SIM=full; else some of each file and line, others with each seed.
  const stride = process.env["OMK_SIM"] === "full" ? 1 : 9;
  const [first = 0] = fc.sample(fc.nat(stride - 1), 1);

  test("of a goal nobody touched holds", () => {
    expect(check({})).toMatchObject({ status: "ready", valid: true, faults: [], later_events: [] });
  });

  test(
    "is found out, by name, when any bit-flipped byte is in it or in a document",
    { timeout: 240_000 },
    () => {
      expect(
        bender.bendTogether(["proof.json", "proof.md", "goal.json", "work.json", "task-graph.json"], {
          first,
          stride,
        }),
      ).toBeGreaterThan(20_000 / stride);
    },
  );

  test("is found out, by name, when any byte of its evidence is another", { timeout: 120_000 }, () => {
    expect(bender.bendTogether(evidence, { first, stride })).toBeGreaterThan(2_000 / stride);
  });

  test("is found out when any byte of the log is another", { timeout: 240_000 }, () => {
    const lines = Buffer.from(bender.bytesOf("events.jsonl")).toString("utf8").split("\n").slice(0, -1);
    const path = join(folder, "events.jsonl");
    const faultsIn = (other: { disk: Disk }): string[] => {
      const { damage, torn } = scanLog(path, other, () => undefined);
      return [...damage.map(({ line, because }) => `${line} ${because}`), ...(torn ? ["torn"] : [])];
    };
    let bends = 0;
    // All but the last line are followed by one that names their digest, so a line and its neighbours tell.
    for (const [at, line] of lines.slice(0, -1).entries()) {
      const from = Math.max(0, at - 1);
      const text = Buffer.from(
        lines
          .slice(from, at + 2)
          .map((one) => `${one}\n`)
          .join(""),
      );
      const start = at === 0 ? 0 : Buffer.byteLength(`${lines[from] ?? ""}\n`);
      const other = { disk: withFiles(disk, folder, { "events.jsonl": text }) };
      const known = new Set(faultsIn(other));
      for (let byte = start + first; byte <= start + Buffer.byteLength(line); byte += stride) {
        const was = text[byte] ?? 0;
        text[byte] = was ^ 1;
        const isSeen = faultsIn(other).some((fault) => !known.has(fault));
        text[byte] = was;
        if (!isSeen) expect.fail(`line ${at + 1}: byte ${byte - start} was bent unseen`);
        bends++;
      }
    }
    // The last line is known by the snapshots; its end is where a flip might pass for a write that was cut off.
    const size = bender.bytesOf("events.jsonl").length;
    const last = size - Buffer.byteLength(lines.at(-1) ?? "") - 1;
    const places = fc.sample(fc.nat(last - 1), Math.ceil(200 / stride));
    for (let at = last + (stride === 1 ? 0 : first); at < size; at += stride) places.push(at);
    for (const at of places) {
      const { valid, faults } = check({ "events.jsonl": bender.bent("events.jsonl", at) });
      expect(valid, `byte ${at}`).toBe(false);
      expect(faults[0]?.file, `byte ${at}`).toBe("events.jsonl");
    }
    if (stride === 1) expect(bends + size - last).toBe(size);
    else expect(bends).toBeGreaterThan(lines.length * 10);
  });

  test("covers every file of the goal but those that are made for readers, and the claims of controllers", () => {
    const checked = new Set([
      "proof.json",
      "proof.md",
      "goal.json",
      "work.json",
      "task-graph.json",
      "events.jsonl",
    ]);
    for (const path of open.work.evidence.map((one) => one.path)) checked.add(path);
    const others = filesBelow(disk, folder).filter((path) => !checked.has(path));
    expect(others.filter((path) => !FOR_READERS.test(path))).toEqual([]);
  });

  test("is found out when its rendering is that of another, and not when a crash has left none", () => {
    const other = Buffer.from(
      Buffer.from(bender.bytesOf("proof.md")).toString("utf8").replace("ready", "reedy"),
    );
    expect(check({ "proof.md": other })).toMatchObject({ valid: false, faults: [{ file: "proof.md" }] });
    expect(check({ "proof.md": null })).toMatchObject({ valid: true });
  });

  test("is found out when lines of the log are gone, doubled or exchanged", () => {
    const lines = Buffer.from(bender.bytesOf("events.jsonl")).toString("utf8").split("\n").slice(0, -1);
    const without = (text: readonly string[]) => bender.checkLines("events.jsonl", text);
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
      const bytes = bender.bytesOf(name);
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
    const proof = JSON.parse(Buffer.from(bender.bytesOf("proof.json")).toString("utf8")) as {
      evidence: { path: string }[];
    };
    for (const path of ["/etc/passwd", "../../other/proof.json", "artifacts/../../x"]) {
      proof.evidence = [{ ...proof.evidence[0], path }];
      const { faults } = check({ "proof.json": Buffer.from(JSON.stringify(proof)) });
      expect(faults).toContainEqual({
        file: path,
        because: "evidence must lie inside the folder of its proof",
      });
    }
  });

  test("of a goal that went on is still valid, and what came later is listed", async () => {
    const later = disk.survivor();
    const ports = simulatedPorts(later, new SimulatedProject(1, 1), 2);
    // As `goal open-pr` does.
    const open = await OpenGoal.open(id, folder, "goal open-pr", ports, never);
    await open.record({ kind: "pull_request_intended", actor: "omk-cli", payload: {} });
    await open.close();
    const checked = verifyProof(folder, id, { disk: later });
    expect(checked).toMatchObject({ valid: true, status: "ready" });
    expect(checked.later_events.map(({ kind }) => kind)).toContain("pull_request_intended");
  });
});
