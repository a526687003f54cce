/** Evidence files: written once, synced, and named in the proof by path, size and digest. */
import { createHash } from "node:crypto";
import { relative } from "node:path";

import type { EvidenceFile } from "../format/proof.ts";
import type { Disk } from "../ports.ts";
import { sha256 } from "./event-line.ts";
import { writeOnce, type FilePorts } from "./files.ts";

export type { EvidenceFile };

/** Writes an evidence file durably and names it; its path is relative to the folder of the goal or run. */
export async function keepEvidence(
  { folder }: { folder: string },
  path: string,
  content: string,
  ports: FilePorts,
): Promise<EvidenceFile> {
  await writeOnce(path, content, ports);
  const bytes = Buffer.from(content);
  return { path: relative(folder, path), sha256: sha256(bytes), bytes: bytes.length };
}

/** Names an evidence file that was written as it came. */
export function evidenceOf(
  { folder }: { folder: string },
  path: string,
  ports: { disk: Disk },
): EvidenceFile {
  return { path: relative(folder, path), ...digestOf(path, ports) };
}

/** How much of a file is hashed at a time: a transcript may be larger than the memory omk allows itself. */
const READ_BYTES = 1024 * 1024;

/** Size and digest of a file, read by parts. */
export function digestOf(path: string, ports: { disk: Disk }): { sha256: string; bytes: number } {
  const hash = createHash("sha256");
  const file = ports.disk.open(path, "read");
  try {
    const chunk = Buffer.allocUnsafe(Math.min(READ_BYTES, file.size() + 1));
    let at = 0;
    for (;;) {
      const got = file.read(chunk, at);
      if (got === 0) break;
      hash.update(chunk.subarray(0, got));
      at += got;
    }
    return { sha256: hash.digest("hex"), bytes: at };
  } finally {
    file.close();
  }
}
