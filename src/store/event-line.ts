/**
 * One line of `events.jsonl`: the envelope of 0.5.0, then our `seq`, `epoch`, `changes`, `prev` and `check`.
 * `prev` is the SHA-256 of the previous valid line (without its newline), `check` of this line up to `,"check"`.
 */
import { hash } from "node:crypto";

import type { DocumentChange, Event } from "../format/event.ts";
import { parseJson, renderLine } from "../format/json.ts";

/** What `prev` says in the first line of a log. */
export const CHAIN_START = "0".repeat(64);

/** SHA-256 in lower-case hexadecimal. */
export function sha256(bytes: Uint8Array | string): string {
  return hash("sha256", bytes, "hex");
}

/** Writes an event as its line (without the newline), sealed with its own digest. */
export function sealLine(event: Omit<Event, "check">): string {
  const open = renderLine(event).slice(0, -1);
  return `${open},"check":"${sha256(open)}"}`;
}

/** A line as read back. */
export type ReadLine =
  /** Ours and whole: its digest is right. */
  | { kind: "event"; event: SealedEvent; digest: string }
  /** An event of 0.5.0: it has no chain. */
  | { kind: "legacy"; event: Event }
  | { kind: "bad"; because: string };

/** An event that carries our chain. */
export type SealedEvent = Event & {
  seq: number;
  epoch: number;
  prev: string;
  check: string;
  changes?: DocumentChange[];
};

const CHECK_LENGTH = ',"check":"'.length + 64 + '"}'.length;

/** Reads one line (without its newline) and verifies its own digest; the chain is the reader's to follow. */
export function readLine(line: Buffer): ReadLine {
  let value: unknown;
  try {
    value = valueOf(line);
  } catch {
    // A torn or foreign line: reported as such, never fatal.
    return { kind: "bad", because: "it is not JSON" };
  }
  if (!isEnvelope(value)) return { kind: "bad", because: "it is not an event" };
  if (value.check === undefined && value.seq === undefined) return { kind: "legacy", event: value };
  if (!isSealed(value)) return { kind: "bad", because: "its chain keys are incomplete" };
  const sealed = line.subarray(0, line.length - CHECK_LENGTH);
  if (line.subarray(-CHECK_LENGTH).toString("latin1") !== `,"check":"${value.check}"}`) {
    return { kind: "bad", because: "its digest is not its last key" };
  }
  if (sha256(sealed) !== value.check) return { kind: "bad", because: "its digest does not fit" };
  return { kind: "event", event: value, digest: sha256(line) };
}

/** Documents may carry numbers of 0.5.0 that must come back as they were written (`5.0`); most lines carry none. */
function valueOf(line: Buffer): unknown {
  const text = line.toString("utf8");
  return text.includes('"changes":') ? parseJson(text) : JSON.parse(text);
}

const PREV = ',"prev":"';
const PREV_LENGTH = PREV.length + 64 + '"'.length;

/** Whether a line, as Latin-1 text, ends the way ours do; nothing is said about its digests. */
export function isChained(text: string): boolean {
  const at = text.length - CHECK_LENGTH - PREV_LENGTH;
  return (
    at >= 0 &&
    text.startsWith(PREV, at) &&
    text.startsWith('","check":"', at + PREV_LENGTH - 1) &&
    text.endsWith('"}')
  );
}

/** Whether a line, as Latin-1 text, ends the way one does that continues the chain behind `prev`. */
export function follows(text: string, prev: string): boolean {
  return isChained(text) && text.startsWith(prev, text.length - CHECK_LENGTH - PREV_LENGTH + PREV.length);
}

/**
 * The digest of a line that `follows` and is whole; undefined for any other. It is not parsed. That is so when the next line
 * follows it in turn, for its writer knew the digest; otherwise its own digest has to say so.
 */
export function continuation(line: Buffer, text: string, next: string | undefined): string | undefined {
  const digest = sha256(line);
  if (next !== undefined && follows(next, digest)) return digest;
  return text.slice(-66, -2) === sha256(line.subarray(0, line.length - CHECK_LENGTH)) ? digest : undefined;
}

/** The event of a line whose digest is known to be right; undefined when it is none all the same. */
export function eventIn(line: Buffer): Event | undefined {
  try {
    const value = valueOf(line);
    return isEnvelope(value) ? value : undefined;
  } catch {
    // Sealed, but not by us: whoever asks leaves it out.
    return undefined;
  }
}

/** The full schema is `format/event.ts`; this light check is tested to agree with it on what it reads. */
function isEnvelope(value: unknown): value is Event {
  if (typeof value !== "object" || value === null) return false;
  const event = value as Partial<Record<keyof Event, unknown>>;
  return typeof event.id === "string" && typeof event.kind === "string" && typeof event.ts === "string";
}

function isSealed(event: Event): event is SealedEvent {
  return (
    Number.isSafeInteger(event.seq) &&
    Number.isSafeInteger(event.epoch) &&
    typeof event.prev === "string" &&
    typeof event.check === "string" &&
    event.check.length === 64
  );
}
