/**
 * Messages as lines of JSON, read from a program that may be broken or hostile. Everything is checked on the bytes
 * before anything is built from them: a line of 8 MiB of `[` must cost a scan, not a stack overflow.
 */

/** What one message may hold. */
export interface FrameLimits {
  /** Bytes of a line, without its end. */
  lineBytesMax: number;
  depthMax: number;
  /** Keys in all objects of a message together. */
  keysMax: number;
  /** Items in all arrays of a message together; an empty array counts as one. */
  itemsMax: number;
}

export const FRAME_LIMITS: FrameLimits = {
  lineBytesMax: 8 * 1024 * 1024,
  depthMax: 64,
  keysMax: 10_000,
  itemsMax: 100_000,
};

/** How much of a refused line is kept as evidence, in bytes. */
const EVIDENCE_BYTES = 4096;
/** A buffer that one long line made grow is given back after that line. */
const BUFFER_KEPT = 64 * 1024;

/** Bytes that are no acceptable message. `evidence` is the start of the line, escaped, safe to store and print. */
export class FrameError extends Error {
  override readonly name = "FrameError";
  readonly reason: "too_long" | "not_utf8" | "too_deep" | "too_many_keys" | "too_many_items" | "not_json";
  readonly evidence: string;
  constructor(reason: FrameError["reason"], message: string, line: Uint8Array) {
    super(message);
    this.reason = reason;
    this.evidence = escapeBytes(line, EVIDENCE_BYTES);
  }
}

/** One line: a message, or `noise`: a line that is not an object, as programs print by mistake. */
export type Frame =
  | { kind: "message"; value: Record<string, unknown>; bytes: number }
  | { kind: "noise"; text: string; bytes: number };

/** Cuts a stream of chunks into frames. Any chunking of the same bytes gives the same frames. */
export class FrameReader {
  readonly #limits: FrameLimits;
  /** The unfinished line. One growing buffer rather than a list of chunks: a list of one-byte chunks costs 100 times its bytes. */
  #buffer = new Uint8Array(1024);
  #length = 0;

  constructor(limits: FrameLimits = FRAME_LIMITS) {
    this.#limits = limits;
  }

  /** Bytes that came after the last line's end. */
  get unfinishedBytes(): number {
    return this.#length;
  }

  /**
   * The frames that this chunk completes. A generator, so that frames before a bad one are delivered whatever the
   * chunking; it must be run to its end. Throws `FrameError`, after which the reader is of no use.
   */
  *read(chunk: Uint8Array): Generator<Frame> {
    let start = 0;
    while (start < chunk.length) {
      // Only the new bytes are searched: what is in the buffer holds no line end.
      const end = chunk.indexOf(0x0a, start);
      const part = chunk.subarray(start, end === -1 ? chunk.length : end);
      if (this.#length + part.length > this.#limits.lineBytesMax) {
        this.#append(part.subarray(0, EVIDENCE_BYTES));
        throw new FrameError(
          "too_long",
          `A line is longer than ${this.#limits.lineBytesMax} bytes.`,
          this.#buffer.subarray(0, this.#length),
        );
      }
      if (end === -1) {
        this.#append(part);
        return;
      }
      start = end + 1;
      let line = part;
      if (this.#length > 0) {
        this.#append(part);
        line = this.#buffer.subarray(0, this.#length);
        this.#length = 0;
      }
      const frame = parseLine(line, this.#limits);
      if (this.#buffer.length > BUFFER_KEPT) this.#buffer = new Uint8Array(1024);
      if (frame) yield frame;
    }
  }

  #append(bytes: Uint8Array): void {
    const needed = this.#length + bytes.length;
    if (needed > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(needed, this.#buffer.length * 2));
      grown.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = grown;
    }
    this.#buffer.set(bytes, this.#length);
    this.#length = needed;
  }
}

/** A message as the bytes of its line. */
export function encodeFrame(message: object): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(message)}\n`);
}

/** The message that a text is, held to the same limits as a line; undefined when it is none. */
export function messageIn(text: string): Record<string, unknown> | undefined {
  // A line's end cannot stand inside a JSON string, so nothing is changed by this.
  const line = new TextEncoder().encode(`${text.replaceAll(/[\r\n]/g, " ")}\n`);
  try {
    const [frame] = new FrameReader().read(line);
    return frame?.kind === "message" ? frame.value : undefined;
  } catch (error) {
    // Text that begins with a brace and is something else, or only half of it.
    if (error instanceof FrameError) return undefined;
    throw error;
  }
}

/** Bytes as printable ASCII, everything else as `\xNN`; at most `bytesMax` of them, with a mark when cut. */
function escapeBytes(bytes: Uint8Array, bytesMax: number): string {
  let text = "";
  for (const byte of bytes.subarray(0, bytesMax)) {
    const printable = byte >= 0x20 && byte < 0x7f && byte !== 0x5c;
    text += printable ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return bytes.length > bytesMax ? `${text}…` : text;
}

function parseLine(line: Uint8Array, limits: FrameLimits): Frame | undefined {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(line);
  } catch {
    // The decoder's only failure is the one we ask it to find.
    throw new FrameError("not_utf8", "A line is not valid UTF-8.", line);
  }
  const first = line.find((byte) => byte !== 0x20 && byte !== 0x09 && byte !== 0x0d);
  if (first === undefined) return undefined;
  if (first !== 0x7b) return { kind: "noise", text, bytes: line.length };
  checkShape(line, limits);
  let value: Record<string, unknown>;
  try {
    // The line starts with a brace, so whatever parses is an object.
    value = JSON.parse(text) as Record<string, unknown>;
  } catch {
    // The parser's message quotes the text raw; the evidence holds it escaped.
    throw new FrameError("not_json", "A line is not valid JSON.", line);
  }
  // A forbidden key is either written out or hidden behind an escape; without both there is nothing to walk for.
  if (/__proto__|constructor|prototype|\\u/.test(text)) dropForbiddenKeys(value);
  return { kind: "message", value, bytes: line.length };
}

/** Counts depth, keys and items in one pass over the bytes, so that the parser never sees a hostile shape. */
function checkShape(line: Uint8Array, limits: FrameLimits): void {
  const inArray = new Uint8Array(limits.depthMax + 1);
  let depth = 0;
  let keys = 0;
  let items = 0;
  let inString = false;
  for (let at = 0; at < line.length; at++) {
    const byte = line[at];
    if (inString) {
      if (byte === 0x5c) at++;
      else if (byte === 0x22) inString = false;
      continue;
    }
    switch (byte) {
      case 0x22:
        inString = true;
        break;
      case 0x7b:
      case 0x5b:
        depth++;
        if (depth > limits.depthMax) {
          throw new FrameError("too_deep", `A message is nested deeper than ${limits.depthMax}.`, line);
        }
        inArray[depth] = byte === 0x5b ? 1 : 0;
        if (byte === 0x5b) items++;
        break;
      case 0x7d:
      case 0x5d:
        // More closed than opened is for the parser to refuse.
        if (depth > 0) depth--;
        break;
      case 0x3a:
        keys++;
        break;
      case 0x2c:
        if (inArray[depth] === 1) items++;
        break;
      default:
    }
    if (keys > limits.keysMax) {
      throw new FrameError("too_many_keys", `A message has more than ${limits.keysMax} keys.`, line);
    }
    if (items > limits.itemsMax) {
      throw new FrameError("too_many_items", `A message has more than ${limits.itemsMax} array items.`, line);
    }
  }
}

/** Recursion is safe here: the depth was checked. */
function dropForbiddenKeys(value: unknown): void {
  if (Array.isArray(value)) {
    for (const item of value) dropForbiddenKeys(item);
    return;
  }
  if (typeof value !== "object" || value === null) return;
  const record = value as Record<string, unknown>;
  for (const key of Object.keys(record)) {
    if (key === "__proto__" || key === "constructor" || key === "prototype") delete record[key];
    else dropForbiddenKeys(record[key]);
  }
}
