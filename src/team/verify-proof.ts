/**
 * Checks the proof of a team run without trusting the omk that wrote it: the file against its event, the whole chain of
 * events, every evidence file, what else is rendered from the log, and the proof itself, which is made again from the
 * log and must come out the same. Offline; writes nothing.
 */
import { dirname, join } from "node:path";
import { isDeepStrictEqual } from "node:util";

import { z } from "zod";

import { OmkError } from "../errors.ts";
import { parseJson, renderLine } from "../format/json.ts";
import { EvidenceFile, RunProof } from "../format/proof.ts";
import { Task } from "../format/run.ts";
import { RunAttempt, TeamWork } from "../format/team-work.ts";
import type { Disk } from "../ports.ts";
import { sha256 } from "../store/event-line.ts";
import { readDocument, snapshotSeq, type Documents } from "../store/journal.ts";
import { createRedactor } from "../store/redact.ts";
import {
  checkEvidence,
  checkLog,
  checkProofFile,
  checkSnapshots,
  checkStand,
  isUnchained,
  type CheckedLog,
  type Fault,
  type ProofFault,
  type ProofFindings,
} from "../store/verify.ts";
import { digestOf } from "../store/evidence.ts";
import { renderViews } from "./open.ts";
import { buildProof, decideRun, runFacts } from "./proof.ts";
import { mayChangeFiles } from "./roles.ts";

/** What a check of a run's proof found. */
export interface RunProofCheck extends ProofFindings {
  run_id: string;
}

/** What our proofs of runs have on top of those of 0.5.0, as far as it is read here. */
const OurProof = RunProof.extend({
  log: z.looseObject({ seq: z.int().min(0), digest: z.string() }),
  evidence: z.array(EvidenceFile),
});

/** Everything but when and on what the proof was written, and by which omk: the log does not say those. */
const NOT_MADE_AGAIN: ReadonlySet<string> = new Set(["generated_at", "log", "omk_version"]);

/** Far more than a task takes: its description is an agent's answer, which is bounded. */
const LINE_BYTES_MAX = 16 * 1024 * 1024;

/** What was composed of redacted parts was redacted once more by its writer; the values it knew are gone already. */
const redactor = createRedactor({ environment: {} });

/** Checks the proof of the run in a folder; `proof.missing` when it has none that was ever recorded. */
export function verifyRunProof(folder: string, id: string, ports: { disk: Disk }): RunProofCheck {
  const faults: ProofFault[] = [];
  const fault = (file: string, because: string) => void faults.push({ file, because });
  const log = checkLog(folder, ports, fault);
  if (isUnchained(log)) {
    throw new OmkError(
      "proof.missing",
      `Team run ${id} was made by omk 0.5.0, whose proofs name nothing by digest.`,
      { hint: `There is nothing to check it by. To read it: omk proof show ${id}` },
    );
  }
  const { status, recorded } = checkProofFile(folder, log, ports, fault);
  checkContent(log, recorded, fault);
  checkName(log, id, fault);
  const proof = readProof(folder, ports, fault);
  for (const one of proof?.evidence ?? []) checkEvidence(folder, one, ports, fault);
  checkStand(proof?.log, log.history, fault);
  checkSnapshots(folder, ["team-work.json"], log, ports, fault);
  checkViews(folder, id, log, ports, fault);
  if (log.written === undefined && faults.length === 0) {
    throw new OmkError("proof.missing", `Team run ${id} has no proof that can be checked.`, {
      hint: `A run has one when it has ended. If it was interrupted: omk team run --resume --name ${id}`,
    });
  }
  return {
    run_id: id,
    status,
    valid: faults.length === 0,
    events: log.folded?.log.seq ?? 0,
    evidence_files: proof?.evidence.length ?? 0,
    faults,
    later_events: log.later.map((event) => ({ seq: event.seq ?? 0, kind: event.kind })),
  };
}

function readProof(
  folder: string,
  ports: { disk: Disk },
  fault: Fault,
): z.infer<typeof OurProof> | undefined {
  const found = readDocument(join(folder, "proof.json"), ports);
  // A missing one was named with its event.
  if (found.state === "missing") return undefined;
  const parsed = found.state === "found" ? OurProof.safeParse(found.record) : undefined;
  if (!parsed?.success) fault("proof.json", "it cannot be read as the proof of a team run");
  return parsed?.data;
}

/** A whole folder put in another one's place is a run of something else. Renaming a run is an event of its log. */
function checkName({ folded }: CheckedLog, id: string, fault: Fault): void {
  const name = folded?.documents.get("team-state.json")?.["name"];
  if (typeof name === "string" && name !== id) fault("events.jsonl", `it is the log of ${name}`);
}

/** Makes the proof again from the documents as they were when it was written, and names every key that differs. */
function checkContent(log: CheckedLog, recorded: Record<string, unknown> | undefined, fault: Fault): void {
  // From a log with a gap nothing follows, and the gap was named.
  if (!log.written || !recorded || !log.isWhole) return;
  const documents = documentsAt(log, (log.written.seq ?? 0) - 1);
  const proof = OurProof.safeParse(recorded);
  const run = {
    // Not the name it may have been given since.
    id: textOf(documents.get("team-state.json")?.["name"]),
    // As they are, without the defaults that a schema would add.
    work: documents.get("team-work.json") as TeamWork,
    tasks: (documents.get("tasks.jsonl")?.["tasks"] ?? []) as Task[],
    attempts: (documents.get("attempts.jsonl")?.["tasks"] ?? []) as RunAttempt[],
    journal: { position: proof.data?.log ?? { seq: 0, digest: "" } },
  };
  const isReadable =
    TeamWork.safeParse(run.work).success &&
    z.array(Task).safeParse(run.tasks).success &&
    z.array(RunAttempt).safeParse(run.attempts).success;
  if (!proof.success || !isReadable) {
    fault("events.jsonl", "the documents that the proof is made from cannot be read");
    return;
  }
  const verdict = decideRun(runFacts(run, mayChangeFiles(run.work)));
  const made = redactor.value(buildProof(run, verdict, proof.data.generated_at));
  const again = parseJson(renderLine(made)) as Record<string, unknown>;
  if (again["status"] !== recorded["status"]) {
    fault(
      "proof.json",
      `it says ${textOf(recorded["status"])}, but the log says ${verdict.status} (${verdict.code})`,
    );
  }
  for (const key of new Set([...Object.keys(again), ...Object.keys(recorded)])) {
    if (key === "status" || NOT_MADE_AGAIN.has(key)) continue;
    if (!isDeepStrictEqual(again[key], recorded[key]))
      fault("proof.json", `its "${key}" is not what follows from the log`);
  }
}

const DOCUMENTS = [
  "team-state.json",
  "manifest.json",
  "tasks.jsonl",
  "team-work.json",
  "attempts.jsonl",
] as const;

/** The documents as they were after an event. */
function documentsAt({ folded, history }: CheckedLog, seq: number): Documents {
  const documents: Documents = new Map();
  for (const name of DOCUMENTS) {
    const document = folded && history.documentAt(name, seq, folded.documents);
    if (document) documents.set(name, document);
  }
  return documents;
}

/** The files that other programs read: each may be older than the log, but must be what it folded to at its `seq`. */
function checkViews(folder: string, id: string, log: CheckedLog, ports: { disk: Disk }, fault: Fault): void {
  const { folded, written } = log;
  // Without documents in the log there is nothing to render; with a gap in it, nothing that must be right.
  if (!folded?.imported || !log.isWhole) return;
  const runs = join(dirname(dirname(folder)), "runs", id);
  const check = (name: string, path: string, seq: number | undefined, view: keyof Views) => {
    if (seq === undefined || !log.history.isEvent(seq)) {
      fault(name, "it names a place that the log does not have");
    } else if (digestOf(path, ports).sha256 !== sha256(views(log, seq)[view])) {
      fault(name, "it differs from what the log says");
    }
  };
  for (const [name, path, view] of [
    ["team-state.json", join(folder, "team-state.json"), "state"],
    [`runs/${id}/manifest.json`, join(runs, "manifest.json"), "manifest"],
  ] as const) {
    const found = readDocument(path, ports);
    if (found.state === "missing") fault(name, "it is missing");
    else if (found.state === "unreadable") fault(name, found.because);
    else check(name, path, snapshotSeq(found.record), view);
  }
  const name = `runs/${id}/tasks.jsonl`;
  const path = join(runs, "tasks.jsonl");
  if (ports.disk.stat(path)?.kind !== "file") fault(name, "it is missing");
  // An empty one names no place: it is right if there were no tasks when the proof was written.
  else check(name, path, firstLineSeq(path, ports) ?? written?.seq ?? folded.position.seq, "tasks");
}

type Views = ReturnType<typeof renderViews>;

function views(log: CheckedLog, seq: number): Views {
  return renderViews(documentsAt(log, seq), seq);
}

/** The place that the first line of a `tasks.jsonl` names; undefined when it has none. */
function firstLineSeq(path: string, ports: { disk: Disk }): number | undefined {
  const file = ports.disk.open(path, "read");
  try {
    const head = Buffer.alloc(Math.min(file.size(), LINE_BYTES_MAX));
    const [line = ""] = head.subarray(0, file.read(head, 0)).toString("utf8").split("\n", 1);
    const seq = (parseJson(line) as Partial<Record<string, unknown>> | null)?.["snapshot_seq"];
    return typeof seq === "number" ? seq : undefined;
  } catch (error) {
    // What is no JSON differs from whatever the log says, and that is found next.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  } finally {
    file.close();
  }
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "unknown";
}
