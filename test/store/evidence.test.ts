import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, test } from "vitest";

import type { Disk } from "../../src/ports.ts";
import { evidenceOf } from "../../src/store/evidence.ts";
import { createWorld } from "../../src/world.ts";

test("an evidence file is hashed by parts, however large it is, and closed again", () => {
  const folder = mkdtempSync(join(tmpdir(), "omk-evidence-"));
  const { disk } = createWorld();
  let open = 0;
  let largest = 0;
  const watched: Disk = {
    ...disk,
    readFile: () => {
      throw new Error("The whole file was asked for.");
    },
    open: (path, how) => {
      const file = disk.open(path, how);
      open++;
      return {
        size: () => file.size(),
        modifiedMs: () => file.modifiedMs(),
        // Fewer bytes than asked are no end.
        read: (into, position) => {
          largest = Math.max(largest, into.length);
          return file.read(into.subarray(0, 300_000), position);
        },
        write: (bytes) => file.write(bytes),
        truncate: (size) => file.truncate(size),
        sync: () => file.sync(),
        close: () => {
          open--;
          file.close();
        },
      };
    },
  };
  try {
    for (const size of [0, 1, 1024 * 1024, 3 * 1024 * 1024 + 7]) {
      const content = Buffer.alloc(size, "transcript ");
      writeFileSync(join(folder, "wire.jsonl"), content);
      expect(evidenceOf({ folder }, join(folder, "wire.jsonl"), { disk: watched })).toEqual({
        path: "wire.jsonl",
        bytes: size,
        sha256: createHash("sha256").update(content).digest("hex"),
      });
    }
    expect(largest).toBeLessThanOrEqual(1024 * 1024);
    expect(open).toBe(0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
