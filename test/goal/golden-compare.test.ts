import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { OmkError } from "../../src/errors.ts";
import type { Work } from "../../src/format/work.ts";
import {
  compareBehaviour,
  compileIgnored,
  goldenFeedback,
  observationsDigest,
  unwantedMismatches,
  type Behaviour,
} from "../../src/goal/golden-compare.ts";
import { scaffoldWork } from "../../src/goal/scaffold.ts";

const nothing = { ignore: [], intentional: [] };

function did(given: Partial<Omit<Behaviour, "files">> & { files?: Record<string, string> } = {}): Behaviour {
  const { files = {}, ...rest } = given;
  const contents = new Map(Object.entries(files).map(([path, text]) => [path, Buffer.from(text)]));
  return { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0), exitCode: 0, ...rest, files: contents };
}

describe("comparing what two programs did", () => {
  test("finds nothing where all is the same, whatever it is", () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.uint8Array(), fc.integer(), (stdout, stderr, exitCode) => {
        const one = () => did({ stdout: Buffer.from(stdout), stderr: Buffer.from(stderr), exitCode });
        expect(compareBehaviour(one(), one(), nothing)).toEqual([]);
      }),
    );
  });

  test("names differences in the order stdout, stderr, exit code, files by path, with what is missing", () => {
    const before = did({ stdout: Buffer.from("a"), stderr: Buffer.from("b"), files: { z: "1", b: "2" } });
    const after = did({ exitCode: 3, files: { a: "new", z: "9" } });
    const found = compareBehaviour(before, after, nothing);
    expect(found.map(({ field }) => field)).toEqual([
      "stdout",
      "stderr",
      "exit_code",
      "files/a",
      "files/b",
      "files/z",
    ]);
    expect(found).toMatchObject([
      {},
      {},
      { expected: "0", actual: "3" },
      { expected: "<missing>", actual: "new" },
      { expected: "2", actual: "<missing>" },
      {},
    ]);
  });

  test("takes what a pattern matches for equal, and nothing else; the exit code is never ignored", () => {
    const run = (text: string, exitCode = 0) => did({ stdout: Buffer.from(text), exitCode });
    const ignoring = { ignore: ["[0-9]+ms"], intentional: [] };
    expect(compareBehaviour(run("done in 12ms\n"), run("done in 7ms\n"), ignoring)).toEqual([]);
    expect(compareBehaviour(run("done in 12ms\n"), run("gone in 7ms\n"), ignoring)).toHaveLength(1);
    expect(compareBehaviour(run("", 0), run("", 1), { ...ignoring, ignore: [".*"] })).toMatchObject([
      { field: "exit_code" },
    ]);
  });

  test("tells bytes apart that are no text", () => {
    const run = (byte: number) => did({ stdout: Buffer.from([0xff, byte]) });
    expect(compareBehaviour(run(0xfe), run(0xfd), nothing)).toHaveLength(1);
    expect(compareBehaviour(run(0xfe), run(0xfd), { ignore: ["x"], intentional: [] })).toHaveLength(1);
  });

  test("shows both sides from a little before where they part, bounded", () => {
    const same = "x".repeat(10_000);
    const run = (text: string) => did({ stdout: Buffer.from(same + text + same) });
    const [found] = compareBehaviour(run("old"), run("new"), nothing);
    expect(found?.expected).toContain("old");
    expect(found?.actual).toContain("new");
    expect(found?.expected.length).toBeLessThan(2_200);
  });

  test("keeps a difference that is wanted, with its reason, and does not count it", () => {
    const intentional = [{ field: "stdout", reason: "sorted now" }];
    const mismatches = compareBehaviour(did({ stdout: Buffer.from("b a") }), did({ exitCode: 1 }), {
      ignore: [],
      intentional,
    });
    expect(mismatches).toMatchObject([
      { field: "stdout", intentional: "sorted now" },
      { field: "exit_code" },
    ]);
    expect(unwantedMismatches({ results: [{ name: "help", mismatches }] })).toMatchObject([
      { name: "help", mismatch: { field: "exit_code" } },
    ]);
  });

  test("refuses a pattern that is none, and takes no time over one that would run for ever elsewhere", () => {
    expect(() => compileIgnored(["("])).toThrow(
      expect.objectContaining({ code: "usage.invalid" }) as OmkError,
    );
    const evil = { ignore: ["(a+)+$"], intentional: [] };
    const run = (end: string) => did({ stdout: Buffer.from("a".repeat(50_000) + end) });
    expect(compareBehaviour(run("b"), run("c"), evil)).toHaveLength(1);
  });
});

describe("what is told of a comparison", () => {
  const observation = {
    name: "help",
    command: "node tool.js --help",
    env: [],
    timeout_secs: 60,
    files: [],
    ignore: [],
    folder: "artifacts/golden/1-help",
    has_stdin: false,
    tree: "t0",
    at: "2026-01-01T00:00:00Z",
    evidence: [],
    intentional: [],
  };

  test("goes to the agent only for the result it was made of", () => {
    const mismatches = [{ field: "stdout", expected: "usage: tool", actual: "" }];
    const results = [{ name: "help", mismatches }];
    const work = (tree: string): Work => ({
      ...scaffoldWork(),
      golden: [observation],
      golden_comparison: { tree, observations: "d", results },
      result: { tree: "t1", changed_files: [] },
    });
    expect(goldenFeedback(work("t1"))[0]).toContain("node tool.js --help");
    expect(goldenFeedback(work("t1"))[0]).toContain("usage: tool");
    expect(goldenFeedback(work("t2"))).toEqual([]);
  });

  test("is another one as soon as a difference is wanted", () => {
    const wanted = { ...observation, intentional: [{ field: "stdout", reason: "sorted" }] };
    expect(observationsDigest([observation])).not.toBe(observationsDigest([wanted]));
    expect(observationsDigest([observation])).toBe(observationsDigest([{ ...observation }]));
  });
});
