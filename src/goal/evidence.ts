/** Evidence files: written once, synced, and named in the proof by path, size and digest. */
import { relative } from "node:path";

import type { Disk } from "../ports.ts";
import { sha256 } from "../store/event-line.ts";
import { writeOnce, type FilePorts } from "../store/files.ts";
import type { OpenGoal } from "./open.ts";

/** One evidence file; its path is relative to the goal folder. */
export interface EvidenceFile {
  path: string;
  sha256: string;
  bytes: number;
}

/** Writes an evidence file durably and names it. */
export async function keepEvidence(
  open: Pick<OpenGoal, "folder">,
  path: string,
  content: string,
  ports: FilePorts,
): Promise<EvidenceFile> {
  await writeOnce(path, content, ports);
  const bytes = Buffer.from(content);
  return { path: relative(open.folder, path), sha256: sha256(bytes), bytes: bytes.length };
}

/** Names an evidence file that was written as it came. */
export function evidenceOf(
  open: Pick<OpenGoal, "folder">,
  path: string,
  ports: { disk: Disk },
): EvidenceFile {
  const bytes = ports.disk.readFile(path);
  return { path: relative(open.folder, path), sha256: sha256(bytes), bytes: bytes.length };
}
