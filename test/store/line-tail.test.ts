import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { LineTail } from "../../src/store/line-tail.ts";
import { createWorld } from "../../src/world.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("the tail of a file of lines", () => {
  test("gives every line once and in order, however it was written in pieces and looked at", () => {
    const line = fc
      .string({ maxLength: 300, unit: "binary" })
      .map((text) => text.replaceAll(/[\n\r]/g, "·").trim());
    fc.assert(
      fc.property(
        fc.array(line, { maxLength: 20 }),
        fc.infiniteStream(fc.tuple(fc.integer({ min: 1, max: 500 }), fc.boolean())),
        (lines, cuts) => {
          const disk = new SimulatedDisk({ folders: ["/s"] });
          const tail = new LineTail("/s/outbox.jsonl", 0, { disk });
          const all = bytes(lines.map((one) => `${one}\n`).join(""));
          const seen: string[] = [];
          for (let at = 0; at < all.length;) {
            const [size, looks] = cuts.next().value as [number, boolean];
            const file = disk.open("/s/outbox.jsonl", "append");
            file.write(all.subarray(at, at + size));
            file.close();
            at += size;
            if (looks) seen.push(...tail.read().lines);
          }
          seen.push(...tail.read().lines);
          // A lone surrogate cannot be written as UTF-8: what is read back is what the bytes say.
          const written = lines.map((one) => Buffer.from(one).toString("utf8").trim());
          expect(seen).toEqual(written.filter((one) => one !== ""));
        },
      ),
    );
  });

  test("leaves an unfinished line until it is finished, and begins anew when the file became shorter", () => {
    const folder = mkdtempSync(join(tmpdir(), "tail-"));
    try {
      const path = join(folder, "outbox.jsonl");
      const tail = new LineTail(path, 0, createWorld());
      expect(tail.read()).toMatchObject({ lines: [], skipped: 0 });
      writeFileSync(path, "one\ntw");
      expect(tail.read().lines).toEqual(["one"]);
      expect(tail.read().lines).toEqual([]);
      appendFileSync(path, "o\n");
      expect(tail.read().lines).toEqual(["two"]);
      writeFileSync(path, "new\n");
      expect(tail.read().lines).toEqual(["new"]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("skips a line that is too long and reads on behind it, in any number of looks", () => {
    const folder = mkdtempSync(join(tmpdir(), "tail-"));
    try {
      const path = join(folder, "outbox.jsonl");
      const tail = new LineTail(path, 0, createWorld());
      const part = "x".repeat(5 * 1024 * 1024);
      writeFileSync(path, `one\n${part}`);
      expect(tail.read()).toMatchObject({ lines: ["one"], skipped: 0 });
      appendFileSync(path, part);
      expect(tail.read()).toMatchObject({ lines: [], skipped: 0 });
      appendFileSync(path, `${part}\ntwo\n`);
      expect(tail.read()).toMatchObject({ lines: ["two"], skipped: 1 });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
