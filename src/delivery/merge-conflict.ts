/** What is kept of a merge that failed: what was to be merged, and what git said. */
import { join } from "node:path";

import type { MergeConflict } from "../format/integration.ts";
import { renderDocument } from "../format/json.ts";
import { keepEvidence, type EvidenceFile } from "../store/evidence.ts";
import type { FilePorts } from "../store/files.ts";
import type { Redactor } from "../store/redact.ts";
import { nameComponent } from "./names.ts";

/** Two commits that do not go together. */
interface ConflictFound {
  task: string;
  fence: number;
  /** The result, and what it was to be merged into. */
  commit: string;
  onto: string;
  files: readonly string[];
  /** Git's own words. */
  kinds: readonly string[];
}

/** Writes the evidence of a conflict, in the form of 0.5.0, below the folder of the goal or run. Done twice is done once. */
export function keepConflict(
  owner: { folder: string },
  { task, fence, commit, onto, files, kinds }: ConflictFound,
  ports: FilePorts & { redactor: Pick<Redactor, "value"> },
): Promise<EvidenceFile> {
  // With another state the conflict is another one: a kill between this file and its event may come to that.
  const name = `merge-conflict-${nameComponent(task, "task id")}-${fence}-${onto.slice(0, 12)}.json`;
  const artifact_path = `artifacts/integration/${name}`;
  const record: MergeConflict = {
    task_id: task,
    source_ref: commit,
    target_ref: onto,
    clean_merge: false,
    conflicting_files: [...files],
    conflict_kinds: kinds,
    command_line: `git merge-tree --write-tree ${onto} ${commit}`,
    stdout_summary: files.join("\n"),
    stderr_summary: "",
    artifact_path,
    conflict_classification: null,
  };
  const text = renderDocument(ports.redactor.value(record));
  return keepEvidence(owner, join(owner.folder, artifact_path), text, ports);
}
