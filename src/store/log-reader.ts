/** Reads `events.jsonl` by chunks: what is valid, what is void, what is damaged, and where the whole part ends. */
import type { Disk } from "../ports.ts";
import { CHAIN_START, readLine, type SealedEvent } from "./event-line.ts";
import type { Event } from "../format/event.ts";

/** One problem of a log, by line number (from 1). */
export interface LogProblem {
  line: number;
  because: string;
}

/** What a whole reading found. */
export interface LogReading {
  /** Number and digest of the last valid event of ours; 0 and CHAIN_START when there is none. */
  seq: number;
  epoch: number;
  digest: string;
  /** Bytes up to the end of the last valid line of any kind. */
  validBytes: number;
  /** Bytes of the file. */
  bytes: number;
  legacyLines: number;
  /** Lines of a controller that had been overtaken when they landed: skipped. */
  voidLines: LogProblem[];
  /** Damage in the middle: the rest stays readable, writing needs a repair. */
  damage: LogProblem[];
  /**
   * The end of the file is not a whole acknowledged line: a write was cut off. Everything from `validBytes` on may be
   * cut, because nothing behind it was ever acknowledged.
   */
  torn: boolean;
  /** How many lines that end makes, whole or not. */
  tornLines: number;
}

/** Called for each valid event in order; `end` is the byte offset behind its line. */
export type EventVisitor = (event: Event, line: number, end: number) => void;

const CHUNK_BYTES = 256 * 1024;
/** An event is at most 256 KiB before its payload moves out; lines of others may be larger. */
const LINE_BYTES_MAX = 16 * 1024 * 1024;

/** Reads a log from its start; a missing one is an empty one. */
export function readLog(path: string, ports: { disk: Disk }, visit: EventVisitor): LogReading {
  const reading: LogReading = {
    seq: 0,
    epoch: 0,
    digest: CHAIN_START,
    validBytes: 0,
    bytes: 0,
    legacyLines: 0,
    voidLines: [],
    damage: [],
    torn: false,
    tornLines: 0,
  };
  // Bad lines that may still turn out to be the torn end of the last write.
  let suspects: LogProblem[] = [];
  let number = 0;

  const take = (line: Buffer, end: number) => {
    number++;
    if (isBlank(line)) return;
    const read = readLine(line);
    if (read.kind === "bad") {
      suspects.push({ line: number, because: read.because });
      return;
    }
    if (read.kind === "legacy") {
      settle();
      reading.legacyLines++;
      reading.validBytes = end;
      visit(read.event, number, end);
      return;
    }
    const { event, digest } = read;
    if (event.epoch < reading.epoch) {
      reading.voidLines.push({
        line: number,
        because: `it is of epoch ${event.epoch}, behind ${reading.epoch}`,
      });
      return;
    }
    if (suspects.length > 0 && isSameWrite(event, reading.seq)) {
      // One write of several events, of which the system kept a later part and lost an earlier one: none of it was
      // acknowledged, so it is all torn.
      suspects.push({ line: number, because: "it belongs to a write that was cut off" });
      return;
    }
    settle();
    if (event.prev !== reading.digest || event.seq !== reading.seq + 1) {
      reading.damage.push({ line: number, because: `it does not follow event ${reading.seq}` });
    }
    reading.seq = event.seq;
    reading.epoch = event.epoch;
    reading.digest = digest;
    reading.validBytes = end;
    visit(event, number, end);
  };
  const settle = () => {
    reading.damage.push(...suspects);
    suspects = [];
  };

  const rest = forEachLine(path, 0, ports, take);
  reading.bytes = rest.bytes;
  reading.tornLines = suspects.length + (rest.unfinished > 0 ? 1 : 0);
  reading.torn = reading.tornLines > 0;
  return reading;
}

/** 0.5.0 skipped lines of white space alone. */
function isBlank(line: Buffer): boolean {
  return line.every((byte) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d));
}

function isSameWrite(event: SealedEvent, lastSeq: number): boolean {
  const batch = event["batch"];
  return typeof batch === "number" && batch <= lastSeq + 1;
}

/**
 * Calls `take` with each line that ends in a newline, from an offset on, and with the offset behind it. Says how many
 * bytes the file has and how many at its end are no whole line.
 */
export function forEachLine(
  path: string,
  from: number,
  ports: { disk: Disk },
  take: (line: Buffer, end: number) => void,
): { bytes: number; unfinished: number } {
  if (!ports.disk.stat(path)) return { bytes: 0, unfinished: 0 };
  const file = ports.disk.open(path, "read");
  try {
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    let carry: Buffer[] = [];
    let carried = 0;
    let at = from;
    for (;;) {
      const got = file.read(chunk, at);
      if (got === 0) break;
      let start = 0;
      for (;;) {
        const newline = chunk.subarray(0, got).indexOf(0x0a, start);
        if (newline === -1) break;
        const part = chunk.subarray(start, newline);
        const line = carried === 0 ? part : Buffer.concat([...carry, part]);
        carry = [];
        carried = 0;
        take(line, at + newline + 1);
        start = newline + 1;
      }
      if (start < got && carried <= LINE_BYTES_MAX) {
        carry.push(Buffer.from(chunk.subarray(start, got)));
      }
      carried += got - start;
      at += got;
    }
    return { bytes: at, unfinished: carried };
  } finally {
    file.close();
  }
}
