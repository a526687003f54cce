/** Evidence files: written once, synced, and named in the proof by path, size and digest. */
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
  const bytes = ports.disk.readFile(path);
  return { path: relative(folder, path), sha256: sha256(bytes), bytes: bytes.length };
}
