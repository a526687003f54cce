import fs from "node:fs";
import os from "node:os";
import path from "node:path";

import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";

import { captureOutput, summaryOf, tailOf } from "../../src/gate/output.ts";
import { createWorld } from "../../src/world.ts";

const MIB = 1024 * 1024;

function captured(content: string | Buffer) {
  const folder = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), "output-"));
  onTestFinished(() => fs.rmSync(folder, { recursive: true }));
  fs.writeFileSync(path.join(folder, "out"), content);
  return captureOutput(path.join(folder, "out"), createWorld().disk);
}

describe("an output", () => {
  test("of ordinary size is read whole, with marks where it is no UTF-8", () => {
    expect(captured(Buffer.from([0x61, 0xff, 0x0a]))).toEqual({ text: "a\ufffd\n", bytes: 3, leftOut: 0 });
  });

  test("that was never made is empty", () => {
    const { disk } = createWorld();
    expect(captureOutput(path.join(os.tmpdir(), "never-made"), disk)).toEqual({
      text: "",
      bytes: 0,
      leftOut: 0,
    });
  });

  test("that is large keeps its first 2 MiB and last 8 MiB, cut between lines", () => {
    const lines = Array.from({ length: 1_500_000 }, (_, at) => `line ${String(at).padStart(8, "0")}\n`);
    const { text, bytes, leftOut } = captured(lines.join(""));
    expect(bytes).toBe(1_500_000 * 14);
    const [head = "", tail = ""] = text.split(`[... ${leftOut} bytes left out ...]\n`);
    expect(head.startsWith("line 00000000\n")).toBe(true);
    expect(head.endsWith("\n")).toBe(true);
    expect(tail.startsWith("line ")).toBe(true);
    expect(tail.endsWith("line 01499999\n")).toBe(true);
    expect(head.length + tail.length + leftOut).toBe(bytes);
    expect(head.length).toBeGreaterThan(2 * MIB - 64);
    expect(tail.length).toBeGreaterThan(8 * MIB - 64);
  });

  test("in one endless line drops what a cut could have split", () => {
    const { text } = captured(
      "x".repeat(2 * MIB - 10) + "ghp_0123456789012345678901234567890123456789" + "y".repeat(20 * MIB),
    );
    expect(text).not.toContain("ghp");
  });

  test("never keeps a part of a private key that a cut goes through", () => {
    const line = "SECRETSECRETSECRET\n";
    const key = `-----BEGIN RSA PRIVATE KEY-----\n${line.repeat(200)}-----END RSA PRIVATE KEY-----\n`;
    const head = "a line\n".repeat(Math.floor((2 * MIB - 1000) / 7));
    const tail = "a line\n".repeat(Math.floor((8 * MIB - 1000) / 7));
    const { text } = captured(`${head}${key}${"middle\n".repeat(MIB)}${key}${tail}the end\n`);
    expect(text).not.toContain("SECRET");
    expect(text.endsWith("the end\n")).toBe(true);
  });
});

describe("the tail of an output", () => {
  test("is the whole of a short one, and of a long one its end with what is missing", () => {
    expect(tailOf({ text: "short", bytes: 5, leftOut: 0 }, 100)).toBe("short");
    const text = `${"x".repeat(200)}end`;
    expect(tailOf({ text, bytes: 203, leftOut: 0 }, 60)).toMatch(
      /^\[\.\.\. \d+ bytes left out \.\.\.\]\nx+end$/,
    );
  });

  test("is bounded and whole characters, and says how much is missing", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme", maxLength: 400 }),
        fc.integer({ min: 60, max: 200 }),
        (text, max) => {
          const bytes = Buffer.byteLength(text);
          const tail = tailOf({ text, bytes, leftOut: 0 }, max);
          expect(Buffer.byteLength(tail)).toBeLessThanOrEqual(max);
          const [, missing, kept = tail] =
            /^\[\.\.\. (\d+) bytes left out \.\.\.\]\n([\s\S]*)$/.exec(tail) ?? [];
          expect(text.endsWith(kept)).toBe(true);
          expect(Number(missing ?? 0) + Buffer.byteLength(kept)).toBe(bytes);
        },
      ),
    );
  });
});

describe("a summary", () => {
  test.each([
    ["keeps three lines", "a\nb\nc\n", "a\nb\nc"],
    ["says that there are more", "a\nb\nc\nd\n", "a\nb\nc\n..."],
    ["drops blank lines, but counts them", "\n a \n\nb\n", "a\nb\n..."],
    ["is absent where nothing was said", " \n\n", undefined],
    ["takes Windows' ends of lines", "a\r\nb\r\n", "a\nb"],
    ["cuts long lines", `${"é".repeat(241)}\n`, `${"é".repeat(240)}...`],
    ["leaves lines of the full length", "😀".repeat(240), "😀".repeat(240)],
  ])("%s", (_title, text, expected) => {
    expect(summaryOf(text)).toBe(expected);
  });
});
