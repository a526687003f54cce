/**
 * Checks a proof without trusting the omk that wrote it: the file against its event, the whole chain of events, every
 * evidence file, the snapshots against the fold of the log, and the verdict against the facts. Offline; writes nothing.
 */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import { Goal } from "../format/goal.ts";
import { renderDocument, renderLine } from "../format/json.ts";
import { Proof, type EvidenceFile } from "../format/proof.ts";
import { TaskGraph } from "../format/task-graph.ts";
import { Work } from "../format/work.ts";
import type { Disk } from "../ports.ts";
import { readDocument } from "../store/journal.ts";
import {
  checkEvidence,
  checkLog,
  checkProofFile,
  checkSnapshots,
  checkStand,
  assureWhole,
  isUnchained,
  UNKNOWN_RENDERING,
  type CheckedLog,
  type Fault,
  type ProofFault,
  type ProofFindings,
} from "../store/verify.ts";
import { sha256 } from "../store/event-line.ts";
import { digestOf } from "../store/evidence.ts";
import { factsOf } from "./facts.ts";
import { GOAL_DOCUMENTS } from "./open.ts";
import { decideVerdict, STATE_CONTROLLED } from "./verdict.ts";

/** What a check of a goal's proof found. */
export interface ProofCheck extends ProofFindings {
  goal_id: string;
}

/** The proof names its own place, and is fixed by the digest in its event. */
const SNAPSHOTS = GOAL_DOCUMENTS.filter((name) => name !== "proof.json");

/** Checks the proof of the goal in a folder; `proof.missing` when it has none that was ever recorded. */
export function verifyProof(folder: string, goalId: string, ports: { disk: Disk }): ProofCheck {
  const faults: ProofFault[] = [];
  const fault = (file: string, because: string) => void faults.push({ file, because });
  const log = checkLog(folder, ports, fault);
  if (isUnchained(log)) {
    throw new OmkError(
      "proof.missing",
      `Goal ${goalId} was made by omk 0.5.0, whose proofs name nothing by digest.`,
      {
        hint: `There is nothing to check it by. To read it: omk goal proof ${goalId}`,
      },
    );
  }
  const { written, folded } = log;
  const { status, recorded } = checkProofFile(folder, log, ports, fault);
  checkVerdict(log, recorded, fault);
  const proof = readProof(folder, ports);
  // A whole folder put in another one's place is a proof of something else.
  if (proof && proof.goal_id !== goalId) fault("proof.json", `it is the proof of ${proof.goal_id}`);
  if (written && written.run_id !== goalId) fault("events.jsonl", `it is the log of ${written.run_id}`);
  for (const one of namedEvidence(proof, recorded)) checkEvidence(folder, one, ports, fault);
  const work = Work.safeParse(folded?.documents.get("work.json"));
  checkCopies(folder, work.data?.evidence ?? [], ports, fault);
  checkMarkdown(folder, log, ports, fault);
  checkApprovals(folder, log, ports, fault);
  checkStand(proof?.log, log.history, fault);
  checkSnapshots(folder, SNAPSHOTS, log, ports, fault);
  if (written === undefined && faults.length === 0) {
    throw new OmkError("proof.missing", `Goal ${goalId} has no proof that can be checked.`, {
      hint: `Make one: omk goal verify ${goalId}`,
    });
  }
  return {
    goal_id: goalId,
    status,
    valid: faults.length === 0,
    events: folded?.log.seq ?? 0,
    evidence_files: proof?.evidence?.length ?? 0,
    faults,
    later_events: log.later.map((event) => ({ seq: event.seq ?? 0, kind: event.kind })),
  };
}

/**
 * Before anything is concluded: the log on the disk is the one this process wrote, and every evidence file is as it was
 * kept. An agent runs as the same user and can reach both. Throws `state.damaged`.
 */
export function assureRecords(
  open: { id: string; folder: string; work: Work; journal: { position: { seq: number; digest: string } } },
  ports: { disk: Disk },
): void {
  const { position } = open.journal;
  assureWhole({ id: open.id, folder: open.folder, position, evidence: open.work.evidence }, ports);
}

/** The evidence that the file names, and that the recorded proof names where the file is not that any more. */
function namedEvidence(
  proof: Proof | undefined,
  recorded: Record<string, unknown> | undefined,
): Iterable<EvidenceFile> {
  const all = [...(proof?.evidence ?? []), ...(Proof.safeParse(recorded).data?.evidence ?? [])];
  return new Map(all.map((one) => [renderLine(one), one])).values();
}

/** The proof's verdict against the facts in the log. */
function checkVerdict(
  { written, history, folded }: CheckedLog,
  recorded: Record<string, unknown> | undefined,
  fault: Fault,
): void {
  if (!written || !folded) return;
  // What happened to the goal since is allowed, and no reason to judge the proof by it.
  const at = written.seq ?? 0;
  const goal = Goal.safeParse(history.documentAt("goal.json", at, folded.documents));
  const work = Work.safeParse(history.documentAt("work.json", at, folded.documents));
  const graph = TaskGraph.safeParse(history.documentAt("task-graph.json", at, folded.documents));
  const proof = Proof.safeParse(recorded);
  if (!goal.success || !work.success || !graph.success || !proof.success) return;
  if (STATE_CONTROLLED[proof.data.status] !== undefined) return;
  const verdict = decideVerdict(factsOf(goal.data, work.data, graph.data));
  if (verdict.status !== proof.data.status) {
    fault(
      "proof.json",
      `it says ${proof.data.status}, but the evidence says ${verdict.status} (${verdict.readinessCode})`,
    );
  }
}

function readProof(folder: string, ports: { disk: Disk }): Proof | undefined {
  const found = readDocument(join(folder, "proof.json"), ports);
  return found.state === "found" ? Proof.safeParse(found.record).data : undefined;
}

/**
 * What people read must be made from a proof that was recorded. A crash may leave that of an earlier one, or none; before
 * renderings had digests there was nothing to check one by.
 */
function checkMarkdown(
  folder: string,
  { renderings }: CheckedLog,
  ports: { disk: Disk },
  fault: Fault,
): void {
  const path = join(folder, "proof.md");
  if (renderings.has(UNKNOWN_RENDERING) || ports.disk.stat(path)?.kind !== "file") return;
  if (!renderings.has(digestOf(path, ports).sha256))
    fault("proof.md", "it was made from no proof of this goal");
}

/** Requests of agents, each in a file made from the log; a crash may leave one as it was before. */
function checkApprovals(
  folder: string,
  { history, folded }: CheckedLog,
  ports: { disk: Disk },
  fault: Fault,
): void {
  const files = join(folder, "approvals");
  if (!folded || ports.disk.stat(files)?.kind !== "folder") return;
  const wrong = new Map<string, string>();
  for (const name of ports.disk.list(files).filter((one) => one.endsWith(".json"))) {
    if (ports.disk.stat(join(files, name))?.kind === "file")
      wrong.set(name, digestOf(join(files, name), ports).sha256);
  }
  for (const version of history.versions("approvals.jsonl")) {
    for (const record of (version["tasks"] ?? []) as { id?: unknown }[]) {
      const name = `${String(record.id)}.json`;
      if (wrong.get(name) === undefined) continue;
      if (sha256(renderDocument(record)) === wrong.get(name)) wrong.delete(name);
    }
    if (wrong.size === 0) return;
  }
  for (const name of wrong.keys()) fault(`approvals/${name}`, "it is not what the log says of any request");
}

/** Files under the names of 0.5.0 are copies of evidence; a crash may leave the copy of an earlier one. */
const COPIES: readonly (readonly [string, RegExp])[] = [
  ["artifacts/reviews/goal-review.md", /^artifacts\/reviews\/\d+\/goal-review\.md$/],
  ["artifacts/reviews/goal-security-review.md", /^artifacts\/reviews\/\d+\/goal-security-review\.md$/],
  [
    "artifacts/integration/integrator-accept.json",
    /^artifacts\/integration\/\d+-[a-z0-9]+-integrator-accept\.json$/,
  ],
  [
    "artifacts/integration/integrator-reject.json",
    /^artifacts\/integration\/\d+-[a-z0-9]+-integrator-reject\.json$/,
  ],
];

function checkCopies(folder: string, evidence: Work["evidence"], ports: { disk: Disk }, fault: Fault): void {
  for (const [copy, original] of COPIES) {
    const originals = evidence.filter(({ path }) => original.test(path));
    if (originals.length === 0 || ports.disk.stat(join(folder, copy))?.kind !== "file") continue;
    const { sha256 } = digestOf(join(folder, copy), ports);
    if (!originals.some((one) => one.sha256 === sha256))
      fault(copy, "it is no copy of any evidence of its kind");
  }
}
