/**
 * What checking a proof has in common for goals and team runs: the chain of events, the proof's file against its event,
 * evidence files against their digests, and snapshots against the fold of the log. Offline; writes nothing.
 */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import type { Event } from "../format/event.ts";
import { parseJson, renderDocument, renderLine } from "../format/json.ts";
import type { EvidenceFile } from "../format/proof.ts";
import type { Disk } from "../ports.ts";
import { sha256 } from "./event-line.ts";
import { digestOf } from "./evidence.ts";
import {
  applyChanges,
  foldFolder,
  readDocument,
  renderSnapshot,
  snapshotSeq,
  type Documents,
  type Folded,
} from "./journal.ts";

/** One thing that does not hold: in which file, and why. */
export interface ProofFault {
  file: string;
  because: string;
}

/** Notes one thing that does not hold. */
export type Fault = (file: string, because: string) => void;

/** What a check of any proof found. */
export interface ProofFindings {
  status: string;
  /** Everything holds, whatever the status. */
  valid: boolean;
  events: number;
  evidence_files: number;
  faults: ProofFault[];
  /** Events after the proof, which are allowed: what happened since. */
  later_events: { seq: number; kind: string }[];
}

/** A log as a check has read it. */
export interface CheckedLog {
  /** What it folded to; undefined when it could not be read to its end. */
  folded: Folded | undefined;
  history: LogHistory;
  /** The event of the newest proof. */
  written: Event | undefined;
  /** Events behind that one. */
  later: Event[];
  /** Digests of everything that was ever rendered for people from a proof. */
  renderings: ReadonlySet<string>;
  /** No line of it is damaged, missing or cut off. */
  isWhole: boolean;
}

/** In place of a digest, where a proof was rendered and nothing says what came of it. */
export const UNKNOWN_RENDERING = "unknown";

/** Reads the whole log of a folder and names every line that is not as it was written. */
export function checkLog(folder: string, ports: { disk: Disk }, fault: Fault): CheckedLog {
  const history = new LogHistory();
  const seen: { written: Event | undefined; later: Event[] } = { written: undefined, later: [] };
  const renderings = new Set<string>();
  const folded = foldChecked(folder, ports, fault, (event, end) => {
    history.note(event, end);
    // Earlier versions recorded no digest: what they rendered cannot be told from what others wrote.
    const rendered = event.payload?.["markdown_sha256"] ?? UNKNOWN_RENDERING;
    if (event.kind === "proof_written" && typeof rendered === "string") renderings.add(rendered);
    if (event.kind === "proof_written" && event.seq !== undefined) {
      seen.written = event;
      seen.later = [];
    } else seen.later.push(event);
  });
  for (const { line, because } of folded?.log.damage ?? []) fault("events.jsonl", `line ${line}: ${because}`);
  if (folded?.log.torn === true) fault("events.jsonl", "its end is cut off or damaged");
  const isWhole = folded !== undefined && folded.log.damage.length === 0 && !folded.log.torn;
  return { folded, history, ...seen, renderings, isWhole };
}

/** Folds the log of a folder; what keeps it from being read to its end is a fault, and then there is no fold. */
function foldChecked(
  folder: string,
  ports: { disk: Disk },
  fault: Fault,
  visit: (event: Event, end: number) => void,
): Folded | undefined {
  try {
    return foldFolder(folder, ports, visit);
  } catch (error) {
    if (!(error instanceof OmkError)) throw error;
    fault("events.jsonl", error.message);
    return undefined;
  }
}

/** Only 0.5.0 wrote here, whose proofs name nothing by digest: there is nothing to check one by. */
export function isUnchained({ folded }: CheckedLog): boolean {
  return folded !== undefined && folded.position.seq === 0 && folded.log.legacyLines > 0;
}

/** The proof's bytes against the digest in its event; gives its status and the proof as the log has it. */
export function checkProofFile(
  folder: string,
  { written, history, folded }: CheckedLog,
  ports: { disk: Disk },
  fault: Fault,
): { status: string; recorded: Record<string, unknown> | undefined } {
  const path = join(folder, "proof.json");
  if (!written) {
    if (ports.disk.stat(path)) fault("proof.json", "no event of the log says that it was written");
    return { status: "unknown", recorded: undefined };
  }
  const expected = written.payload?.["sha256"];
  if (ports.disk.stat(path)?.kind !== "file") fault("proof.json", "it is missing");
  else if (digestOf(path, ports).sha256 !== expected)
    fault("proof.json", "its bytes are not those that were recorded");
  const recorded = history.documentAt("proof.json", written.seq ?? 0, folded?.documents ?? new Map());
  if (recorded && sha256(renderDocument(recorded)) !== expected) {
    fault("events.jsonl", "the recorded proof does not have the recorded digest");
  }
  const status = written.payload?.["status"];
  return { status: typeof status === "string" ? status : "unknown", recorded };
}

/** The event that a proof says it stands on. */
export function checkStand(
  log: { seq: number; digest: string } | undefined,
  history: LogHistory,
  fault: Fault,
): void {
  if (log && !history.has(log.seq, log.digest))
    fault("proof.json", `event ${log.seq} of the log is not the one it stands on`);
}

/** An evidence file against what is written down about it. Never reads outside the folder. */
export function checkEvidence(
  folder: string,
  evidence: EvidenceFile,
  ports: { disk: Disk },
  fault: Fault,
): void {
  if (evidence.path.startsWith("/") || evidence.path.split("/").includes("..")) {
    fault(evidence.path, "evidence must lie inside the folder of its proof");
    return;
  }
  const path = join(folder, evidence.path);
  if (ports.disk.stat(path)?.kind !== "file") {
    fault(evidence.path, "it is missing");
    return;
  }
  const real = ports.disk.realPath(path);
  if (real !== join(ports.disk.realPath(folder) ?? folder, evidence.path)) {
    fault(evidence.path, "a link leads to it: evidence must lie inside the folder of its proof");
    return;
  }
  const seen = digestOf(path, ports);
  if (seen.bytes !== evidence.bytes)
    fault(evidence.path, `it has ${seen.bytes} bytes instead of ${evidence.bytes}`);
  else if (seen.sha256 !== evidence.sha256) fault(evidence.path, "its content was changed");
}

/** Snapshots may be older than the log, but each must be exactly what the log folded to at its `seq`. */
export function checkSnapshots(
  folder: string,
  names: readonly string[],
  { history, folded }: CheckedLog,
  ports: { disk: Disk },
  fault: Fault,
): void {
  if (!folded) return;
  for (const name of names) {
    if (!folded.documents.has(name)) continue;
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
    const expected = history.documentAt(name, seq, folded.documents);
    const place = { seq, digest: "", bytes };
    if (
      !expected ||
      digestOf(join(folder, name), ports).sha256 !== sha256(renderSnapshot(name, expected, place))
    ) {
      fault(name, "it differs from what the log says");
    }
  }
}

/** Digests of all events, and what they change, so that a snapshot of any age can be checked. */
export class LogHistory {
  /** As text: what they bring into the documents is changed there by later events. */
  readonly #changes: { seq: number; files: readonly string[]; text: string }[] = [];
  readonly #digests = new Map<number, string>();
  /** Where the lines of each event end; lines of 0.5.0 behind one belong to it. */
  readonly #ends = new Map<number, number[]>();
  #last: Event | undefined;

  /** Takes the next event, and where its line ends. */
  note(event: Event, end: number): void {
    const seq = event.seq ?? this.#last?.seq ?? 0;
    const ends = event.seq === undefined ? this.#ends.get(seq) : undefined;
    if (ends) ends.push(end);
    else this.#ends.set(seq, [end]);
    // Without a number of its own it has no digest to be named by.
    if (event.seq === undefined) return;
    // The next event's `prev` is this one's digest, which saves hashing each line twice.
    if (this.#last?.seq !== undefined && event.prev !== undefined)
      this.#digests.set(this.#last.seq, event.prev);
    this.#last = event;
    if (!event.changes) return;
    const files = [...new Set(event.changes.map(({ file }) => file))];
    this.#changes.push({ seq: event.seq, files, text: renderLine(event.changes) });
  }

  /** Whether an event has that digest. */
  has(seq: number, digest: string): boolean {
    return seq === 0 || this.#digests.get(seq) === digest;
  }

  /** Whether there is an event of that number. */
  isEvent(seq: number): boolean {
    return this.#ends.has(seq);
  }

  /** Whether a snapshot may have been written when the log stood there. */
  isPlace(seq: number, bytes: number): boolean {
    return this.#ends.get(seq)?.includes(bytes) === true;
  }

  /** Every version of a document, oldest first; each is only good until the next is asked for. */
  *versions(name: string): Iterable<Record<string, unknown>> {
    const documents: Documents = new Map();
    for (const { files, text } of this.#changes) {
      if (!files.includes(name)) continue;
      const changes = parseJson(text) as NonNullable<Event["changes"]>;
      applyChanges(
        documents,
        changes.filter(({ file }) => file === name),
      );
      const version = documents.get(name);
      if (version) yield version;
    }
  }

  /** A document as it was after an event; `now` is what it has become. */
  documentAt(name: string, seq: number, now: Documents): Record<string, unknown> | undefined {
    const last = this.#changes.findLast(({ files }) => files.includes(name));
    if ((last?.seq ?? 0) <= seq) return now.get(name);
    const documents: Documents = new Map();
    for (const { seq: at, files, text } of this.#changes) {
      if (at > seq) break;
      if (!files.includes(name)) continue;
      const changes = parseJson(text) as NonNullable<Event["changes"]>;
      applyChanges(
        documents,
        changes.filter(({ file }) => file === name),
      );
    }
    return documents.get(name);
  }
}

/** Throws `state.damaged` when the log on the disk is not the one its controller wrote, or evidence was changed. */
export function assureWhole(
  run: {
    id: string;
    folder: string;
    position: { seq: number; digest: string };
    evidence: readonly EvidenceFile[];
  },
  ports: { disk: Disk },
): void {
  const faults: ProofFault[] = [];
  const fault = (file: string, because: string) => void faults.push({ file, because });
  const folded = foldChecked(run.folder, ports, fault, () => undefined);
  const { damage, torn } = folded?.log ?? { damage: [], torn: false };
  if (folded && (damage.length > 0 || torn || folded.position.digest !== run.position.digest)) {
    fault("events.jsonl", `it does not end with event ${run.position.seq}, which this run wrote last`);
  }
  for (const one of run.evidence) checkEvidence(run.folder, one, ports, fault);
  assureNone(run.id, faults);
}

/** Throws `state.damaged` for the first fault. */
export function assureNone(id: string, faults: readonly ProofFault[]): void {
  const first = faults[0];
  if (!first) return;
  throw new OmkError("state.damaged", `The records of ${id} were changed: ${first.file}: ${first.because}.`, {
    hint: "Something other than omk wrote there; nothing is concluded from them. Start the work anew.",
  });
}
