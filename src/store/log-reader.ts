/** Reads `events.jsonl` by chunks: what is valid, what is void, what is damaged, and where the whole part ends. */
import type { Disk } from "../ports.ts";
import type { Event } from "../format/event.ts";
import { CHAIN_START, continuation, eventIn, follows, readLine, type SealedEvent } from "./event-line.ts";

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

/** One valid line of a log, as long as the visit lasts. */
export interface LogLine {
  /** From 1. */
  number: number;
  /** The byte offset behind it. */
  end: number;
  bytes: Buffer;
  /** Of the whole line; undefined for lines of 0.5.0, which have no chain. */
  digest: string | undefined;
  /** Whether it continues the chain. */
  follows: boolean;
  /** Whether it holds what `anyOf` looks for. */
  holds(marks: RegExp): boolean;
  /** The event, parsed when it is asked for; undefined when a right digest seals something that is no event. */
  event(): Event | undefined;
}

/** Where in a log a reading begins: behind that event, whose digest need not be known. */
export interface LogPlace {
  seq: number;
  bytes: number;
}

/** Finds lines that hold one of these texts, ASCII as JSON writes them, in one search for all of them. */
export function anyOf(texts: readonly string[]): RegExp {
  return new RegExp(texts.map((text) => text.replace(/[$()*+.?[\\\]^{|}/]/g, "\\$&")).join("|"));
}

const CHUNK_BYTES = 256 * 1024;
/** An event is at most 256 KiB before its payload moves out; lines of others may be larger. */
const LINE_BYTES_MAX = 16 * 1024 * 1024;

/** Reads a log from its start; a missing one is an empty one. */
export function readLog(path: string, ports: { disk: Disk }, visit: EventVisitor): LogReading {
  const reader = new LogReader(false, (line) => {
    const event = line.event();
    if (event) visit(event, line.number, line.end);
  });
  return reader.read(path, ports);
}

/**
 * The same for whoever needs few of the events: a line that continues the chain and is whole is not even parsed, which is
 * most of the work. With `from` the lines before that place are taken for granted, and numbers are counted from there.
 */
export function scanLog(
  path: string,
  ports: { disk: Disk },
  visit: (line: LogLine) => void,
  from?: LogPlace,
): LogReading {
  return new LogReader(true, visit, from).read(path, ports);
}

/** A line that was read, parsed or not. */
class ReadLogLine implements LogLine {
  readonly number: number;
  readonly end: number;
  readonly bytes: Buffer;
  readonly digest: string | undefined;
  readonly follows: boolean;
  #text: string | undefined;
  #event: Event | undefined;

  constructor(
    { number, end, bytes }: { number: number; end: number; bytes: Buffer },
    digest: string | undefined,
    follows: boolean,
    known: { text?: string; event?: Event },
  ) {
    this.number = number;
    this.end = end;
    this.bytes = bytes;
    this.digest = digest;
    this.follows = follows;
    this.#text = known.text;
    this.#event = known.event;
  }

  holds(marks: RegExp): boolean {
    return marks.test((this.#text ??= this.bytes.toString("latin1")));
  }

  event(): Event | undefined {
    return (this.#event ??= eventIn(this.bytes));
  }
}

class LogReader {
  readonly #reading: LogReading = {
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
  readonly #isLazy: boolean;
  readonly #visit: (line: LogLine) => void;
  /** Bad lines that may still turn out to be the torn end of the last write. */
  #suspects: LogProblem[] = [];
  #number = 0;
  /** The last line that was not parsed; its epoch is asked for when a line does not continue it. */
  #unread: Buffer | undefined;
  /** The line after the one that is being read, as far as it has been read, too. */
  #nextText: string | undefined;
  /** The reading begins in the middle, and the digest of the line before is not known. */
  #isMidway: boolean;

  constructor(isLazy: boolean, visit: (line: LogLine) => void, from?: LogPlace) {
    this.#isLazy = isLazy;
    this.#visit = visit;
    this.#isMidway = from !== undefined;
    if (from) Object.assign(this.#reading, { seq: from.seq, validBytes: from.bytes });
  }

  read(path: string, ports: { disk: Disk }): LogReading {
    const reading = this.#reading;
    const rest = { bytes: reading.validBytes, unfinished: 0 };
    for (const batch of lineBatches(path, reading.validBytes, rest, ports)) {
      this.#nextText = undefined;
      batch.forEach(({ line, end }, at) => this.#take(line, end, batch[at + 1]?.line));
      // Its bytes hold for this batch only.
      if (this.#unread) this.#unread = Buffer.from(this.#unread);
    }
    this.#settleEpoch();
    reading.bytes = rest.bytes;
    reading.tornLines = this.#suspects.length + (rest.unfinished > 0 ? 1 : 0);
    reading.torn = reading.tornLines > 0;
    return reading;
  }

  #take(line: Buffer, end: number, next: Buffer | undefined): void {
    this.#number++;
    if (this.#isLazy && this.#takeUnread(line, end, next)) return;
    if (isBlank(line)) return;
    const reading = this.#reading;
    const number = this.#number;
    const place = { number, end, bytes: line };
    const read = readLine(line);
    if (read.kind === "bad") {
      this.#suspects.push({ line: number, because: read.because });
      return;
    }
    if (read.kind === "legacy") {
      this.#settle();
      reading.legacyLines++;
      reading.validBytes = end;
      this.#visit(new ReadLogLine(place, undefined, true, { event: read.event }));
      return;
    }
    const { event, digest } = read;
    this.#settleEpoch();
    if (event.epoch < reading.epoch) {
      reading.voidLines.push({
        line: number,
        because: `it is of epoch ${event.epoch}, behind ${reading.epoch}`,
      });
      return;
    }
    if (this.#suspects.length > 0 && isSameWrite(event, reading.seq)) {
      // One write of several events, of which the system kept a later part and lost an earlier one: none of it was
      // acknowledged, so it is all torn.
      this.#suspects.push({ line: number, because: "it belongs to a write that was cut off" });
      return;
    }
    this.#settle();
    const continues = (this.#isMidway || event.prev === reading.digest) && event.seq === reading.seq + 1;
    this.#isMidway = false;
    if (!continues) reading.damage.push({ line: number, because: `it does not follow event ${reading.seq}` });
    reading.seq = event.seq;
    reading.epoch = event.epoch;
    reading.digest = digest;
    reading.validBytes = end;
    this.#visit(new ReadLogLine(place, digest, continues, { event }));
  }

  /**
   * Whoever wrote a line behind another one had the number after it; so the digests alone say that it is valid. And who
   * continued it had seen it whole: then its own digest need not be looked at.
   */
  #takeUnread(line: Buffer, end: number, next: Buffer | undefined): boolean {
    const reading = this.#reading;
    const text = this.#nextText ?? line.toString("latin1");
    this.#nextText = next?.toString("latin1");
    if (this.#suspects.length > 0 || this.#isMidway || !follows(text, reading.digest)) return false;
    const digest = continuation(line, text, this.#nextText);
    if (digest === undefined) return false;
    reading.seq++;
    reading.digest = digest;
    reading.validBytes = end;
    this.#unread = line;
    this.#visit(new ReadLogLine({ number: this.#number, end, bytes: line }, digest, true, { text }));
    return true;
  }

  #settleEpoch(): void {
    if (this.#unread) this.#reading.epoch = eventIn(this.#unread)?.epoch ?? this.#reading.epoch;
    this.#unread = undefined;
  }

  #settle(): void {
    this.#reading.damage.push(...this.#suspects);
    this.#suspects = [];
  }
}

/** 0.5.0 skipped lines of white space alone. */
function isBlank(line: Buffer): boolean {
  return line.every((byte) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d));
}

function isSameWrite(event: SealedEvent, lastSeq: number): boolean {
  const batch = event["batch"];
  return typeof batch === "number" && batch <= lastSeq + 1;
}

/** A line that ends in a newline (not part of it), with the offset behind it; its bytes hold until the next batch. */
export interface WholeLine {
  line: Buffer;
  end: number;
}

/** What reading lines left: how many bytes the file has, and how many at its end are no whole line. */
export interface LinesRest {
  bytes: number;
  unfinished: number;
}

/** Calls `take` with each whole line from an offset on. */
export function forEachLine(
  path: string,
  from: number,
  ports: { disk: Disk },
  take: (line: Buffer, end: number) => void,
): LinesRest {
  const rest = { bytes: 0, unfinished: 0 };
  for (const batch of lineBatches(path, from, rest, ports))
    for (const { line, end } of batch) take(line, end);
  return rest;
}

/** The whole lines from an offset on, as many at a time as one chunk of the file holds. */
export function* lineBatches(
  path: string,
  from: number,
  rest: LinesRest,
  ports: { disk: Disk },
): Generator<WholeLine[]> {
  if (!ports.disk.stat(path)) return;
  const file = ports.disk.open(path, "read");
  try {
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    let carry: Buffer[] = [];
    let carried = 0;
    let at = from;
    for (;;) {
      const got = file.read(chunk, at);
      if (got === 0) break;
      const lines: WholeLine[] = [];
      const filled = chunk.subarray(0, got);
      let start = 0;
      for (;;) {
        const newline = filled.indexOf(0x0a, start);
        if (newline === -1) break;
        const part = filled.subarray(start, newline);
        const line = carried === 0 ? part : Buffer.concat([...carry, part]);
        carry = [];
        carried = 0;
        lines.push({ line, end: at + newline + 1 });
        start = newline + 1;
      }
      if (start < got && carried <= LINE_BYTES_MAX) {
        carry.push(Buffer.from(chunk.subarray(start, got)));
      }
      carried += got - start;
      at += got;
      yield lines;
    }
    Object.assign(rest, { bytes: at, unfinished: carried });
  } finally {
    file.close();
  }
}
