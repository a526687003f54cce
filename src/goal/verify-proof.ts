/**
 * Checks a proof without trusting the omk that wrote it: the file against its event, the whole chain of events, every
 * evidence file, the snapshots against the fold of the log, and the verdict against the facts. Offline; writes nothing.
 */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import { Goal } from "../format/goal.ts";
import { Proof } from "../format/proof.ts";
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
  type CheckedLog,
  type Fault,
  type ProofFault,
  type ProofFindings,
} from "../store/verify.ts";
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
  for (const one of proof?.evidence ?? []) checkEvidence(folder, one, ports, fault);
  const work = Work.safeParse(folded?.documents.get("work.json"));
  checkCopies(folder, work.data?.evidence ?? [], ports, fault);
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
