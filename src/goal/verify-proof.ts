/**
 * Checks a proof without trusting the omk that wrote it: the file against its event, the whole chain of events, every
 * evidence file, the snapshots against the fold of the log, and the verdict against the facts. Offline; writes nothing.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import type { Event } from "../format/event.ts";
import { renderDocument } from "../format/json.ts";
import { Goal } from "../format/goal.ts";
import { Proof } from "../format/proof.ts";
import { Work } from "../format/work.ts";
import type { Disk } from "../ports.ts";
import {
  applyChanges,
  foldFolder,
  readDocument,
  renderSnapshot,
  snapshotSeq,
  type Documents,
} from "../store/journal.ts";
import { factsOf } from "./facts.ts";
import { GOAL_DOCUMENTS } from "./open.ts";
import { decideVerdict, STATE_CONTROLLED } from "./verdict.ts";

/** One thing that does not hold: in which file, and why. */
export interface ProofFault {
  file: string;
  because: string;
}

/** What a check found. */
export interface ProofCheck {
  goal_id: string;
  status: string;
  /** Everything holds, whatever the status. */
  valid: boolean;
  events: number;
  evidence_files: number;
  faults: ProofFault[];
  /** Events after the proof, which are allowed: what happened to the goal since. */
  later_events: { seq: number; kind: string }[];
}

const READ_BYTES = 1024 * 1024;

/** Checks the proof of the goal in a folder; `proof.missing` when it has none that was ever recorded. */
export function verifyProof(folder: string, goalId: string, ports: { disk: Disk }): ProofCheck {
  const faults: ProofFault[] = [];
  const fault = (file: string, because: string) => void faults.push({ file, because });
  let written: Event | undefined;
  let later: Event[] = [];
  const history = new SnapshotHistory();
  const folded = foldChecked(folder, ports, fault, (event, end) => {
    history.note(event, end);
    if (event.kind === "proof_written" && event.seq !== undefined) {
      written = event;
      later = [];
    } else later.push(event);
  });
  if (folded && folded.position.seq === 0 && folded.log.legacyLines > 0) {
    throw new OmkError(
      "proof.missing",
      `Goal ${goalId} was made by omk 0.5.0, whose proofs name nothing by digest.`,
      {
        hint: `There is nothing to check it by. To read it: omk goal proof ${goalId}`,
      },
    );
  }
  for (const { line, because } of folded?.log.damage ?? []) fault("events.jsonl", `line ${line}: ${because}`);
  if (folded?.log.torn === true) fault("events.jsonl", "its end is cut off or damaged");
  const status = checkProofFile(
    folder,
    written,
    { history, documents: folded?.documents ?? new Map() },
    ports,
    fault,
  );
  const proof = readProof(folder, ports);
  // A whole folder put in another one's place is a proof of something else.
  if (proof && proof.goal_id !== goalId) fault("proof.json", `it is the proof of ${proof.goal_id}`);
  if (written && written.run_id !== goalId) fault("events.jsonl", `it is the log of ${written.run_id}`);
  for (const one of proof?.evidence ?? []) checkEvidence(folder, one, ports, fault);
  const work = Work.safeParse(folded?.documents.get("work.json"));
  checkCopies(folder, work.data?.evidence ?? [], ports, fault);
  if (proof?.log && !history.has(proof.log.seq, proof.log.digest)) {
    fault("proof.json", `event ${proof.log.seq} of the log is not the one it stands on`);
  }
  if (folded) checkSnapshots(folder, folded.documents, history, ports, fault);
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
    later_events: later.map((event) => ({ seq: event.seq ?? 0, kind: event.kind })),
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
  const faults: ProofFault[] = [];
  const fault = (file: string, because: string) => void faults.push({ file, because });
  const folded = foldChecked(open.folder, ports, fault, () => undefined);
  const { position } = open.journal;
  if (
    folded &&
    (folded.log.damage.length > 0 || folded.log.torn || folded.position.digest !== position.digest)
  ) {
    fault("events.jsonl", `it does not end with event ${position.seq}, which this run wrote last`);
  }
  for (const one of open.work.evidence) checkEvidence(open.folder, one, ports, fault);
  assureNone(open.id, faults);
}

/** Throws `state.damaged` for the first fault. */
export function assureNone(id: string, faults: readonly ProofFault[]): void {
  const first = faults[0];
  if (!first) return;
  throw new OmkError(
    "state.damaged",
    `The records of goal ${id} were changed: ${first.file}: ${first.because}.`,
    {
      hint: "Something other than omk wrote there; nothing is concluded from them. Start the goal anew.",
    },
  );
}

type Fault = (file: string, because: string) => void;

function foldChecked(
  folder: string,
  ports: { disk: Disk },
  fault: Fault,
  visit: (event: Event, end: number) => void,
) {
  try {
    return foldFolder(folder, ports, visit);
  } catch (error) {
    if (!(error instanceof OmkError)) throw error;
    fault("events.jsonl", error.message);
    return undefined;
  }
}

/** The proof's bytes against the digest in its event, and its verdict against the facts in the log. */
function checkProofFile(
  folder: string,
  written: Event | undefined,
  { history, documents }: { history: SnapshotHistory; documents: Documents },
  ports: { disk: Disk },
  fault: Fault,
): string {
  const path = join(folder, "proof.json");
  if (!written) {
    if (ports.disk.stat(path)) fault("proof.json", "no event of the log says that it was written");
    return "unknown";
  }
  const status = textOf(written.payload?.["status"]);
  const expected = written.payload?.["sha256"];
  if (ports.disk.stat(path)?.kind !== "file") fault("proof.json", "it is missing");
  else if (digestOf(path, ports).sha256 !== expected)
    fault("proof.json", "its bytes are not those that were recorded");
  // What happened to the goal since is allowed, and no reason to judge the proof by it.
  const at = written.seq ?? 0;
  const recorded = history.documentAt("proof.json", at, documents);
  if (recorded && createHash("sha256").update(renderDocument(recorded)).digest("hex") !== expected) {
    fault("events.jsonl", "the recorded proof does not have the recorded digest");
  }
  const goal = Goal.safeParse(history.documentAt("goal.json", at, documents));
  const work = Work.safeParse(history.documentAt("work.json", at, documents));
  const proof = Proof.safeParse(recorded);
  if (goal.success && work.success && proof.success && STATE_CONTROLLED[proof.data.status] === undefined) {
    const verdict = decideVerdict(factsOf(goal.data, work.data));
    if (verdict.status !== proof.data.status) {
      fault(
        "proof.json",
        `it says ${proof.data.status}, but the evidence says ${verdict.status} (${verdict.readinessCode})`,
      );
    }
  }
  return status;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "unknown";
}

function readProof(folder: string, ports: { disk: Disk }): Proof | undefined {
  const found = readDocument(join(folder, "proof.json"), ports);
  return found.state === "found" ? Proof.safeParse(found.record).data : undefined;
}

function checkEvidence(
  folder: string,
  evidence: { path: string; sha256: string; bytes: number },
  ports: { disk: Disk },
  fault: Fault,
): void {
  if (evidence.path.startsWith("/") || evidence.path.split("/").includes("..")) {
    fault(evidence.path, "evidence must lie inside the goal's folder");
    return;
  }
  const path = join(folder, evidence.path);
  if (ports.disk.stat(path)?.kind !== "file") {
    fault(evidence.path, "it is missing");
    return;
  }
  const real = ports.disk.realPath(path);
  if (real !== join(ports.disk.realPath(folder) ?? folder, evidence.path)) {
    fault(evidence.path, "a link leads to it: evidence must lie inside the goal's folder");
    return;
  }
  const seen = digestOf(path, ports);
  if (seen.bytes !== evidence.bytes)
    fault(evidence.path, `it has ${seen.bytes} bytes instead of ${evidence.bytes}`);
  else if (seen.sha256 !== evidence.sha256) fault(evidence.path, "its content was changed");
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

function digestOf(path: string, ports: { disk: Disk }): { sha256: string; bytes: number } {
  const hash = createHash("sha256");
  const file = ports.disk.open(path, "read");
  try {
    const chunk = Buffer.allocUnsafe(READ_BYTES);
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

/** Snapshots may be older than the log, but each must be exactly what the log folded to at its `seq`. */
function checkSnapshots(
  folder: string,
  documents: Documents,
  history: SnapshotHistory,
  ports: { disk: Disk },
  fault: Fault,
): void {
  for (const name of GOAL_DOCUMENTS) {
    if (name === "proof.json" || !documents.has(name)) continue;
    const found = readDocument(join(folder, name), ports);
    if (found.state !== "found") {
      fault(name, found.state === "missing" ? "it is missing" : found.because);
      continue;
    }
    const seq = snapshotSeq(found.record) ?? -1;
    const bytes = Number(found.record["log_bytes"] ?? -1);
    if (!history.isPlace(seq, bytes)) {
      fault(name, "it names a place that the log does not have");
      continue;
    }
    const expected = history.documentAt(name, seq, documents);
    const place = { seq, digest: "", bytes };
    if (!expected || renderDocument(found.record) !== renderSnapshot(name, expected, place)) {
      fault(name, "it differs from what the log says");
    }
  }
}

/** Digests of all events, and the events that change documents, so that a snapshot of any age can be checked. */
class SnapshotHistory {
  readonly #events: Event[] = [];
  readonly #digests = new Map<number, string>();
  /** Where the lines of each event end; lines of 0.5.0 behind one belong to it. */
  readonly #ends = new Map<number, number[]>();
  #last: Event | undefined;

  note(event: Event, end: number): void {
    const seq = event.seq ?? this.#last?.seq ?? 0;
    this.#ends.set(seq, event.seq === undefined ? [...(this.#ends.get(seq) ?? []), end] : [end]);
    // Without a number of its own it has no digest to be named by.
    if (event.seq === undefined) return;
    // The next event's `prev` is this one's digest, which saves hashing each line twice.
    if (this.#last?.seq !== undefined && event.prev !== undefined)
      this.#digests.set(this.#last.seq, event.prev);
    this.#last = event;
    if (event.changes) this.#events.push(event);
  }

  has(seq: number, digest: string): boolean {
    return seq === 0 || this.#digests.get(seq) === digest;
  }

  /** Whether a snapshot may have been written when the log stood there. */
  isPlace(seq: number, bytes: number): boolean {
    return this.#ends.get(seq)?.includes(bytes) === true;
  }

  /** A document as it was after an event; `now` is what it has become. */
  documentAt(name: string, seq: number, now: Documents): Record<string, unknown> | undefined {
    const isChange = (event: Event) => event.changes?.some((change) => change.file === name) === true;
    const last = this.#events.findLast(isChange);
    if ((last?.seq ?? 0) <= seq) return now.get(name);
    const documents: Documents = new Map();
    for (const event of this.#events) {
      if ((event.seq ?? 0) > seq) break;
      applyChanges(
        documents,
        structuredClone((event.changes ?? []).filter((change) => change.file === name)),
      );
    }
    return documents.get(name);
  }
}
