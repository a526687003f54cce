/**
 * JSON as it lies on disk. Files of 0.5.0 come back byte for byte: two-space indent, no newline at the end, keys in the
 * order they came in, and numbers as they were written (`5.0`, `2e-6`, 18446744073709551615), which `JSON.parse` alone
 * would turn into others.
 */
import { isUtf8 } from "node:buffer";

/** How deep documents may nest: what 0.5.0's parser accepts. */
const DEPTH_MAX = 128;

/** Set while rendering when a `NumberText` was met: only then the slow writer runs. */
let metNumberText = false;

/** A number that a JavaScript number would print differently. Calculate with `Number(it)`; write it as it is. */
export class NumberText {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
  valueOf(): number {
    return Number(this.text);
  }
  toString(): string {
    return this.text;
  }
  /** Plain `JSON.stringify` gives the nearest number; `renderDocument` and `renderLine` give the text. */
  toJSON(): number {
    metNumberText = true;
    return Number(this.text);
  }
}

/**
 * Reads one JSON text. Drops nothing; numbers that would change when written again become `NumberText`. Throws a
 * `SyntaxError` that quotes nothing of the text, for invalid UTF-8, too deep nesting and invalid JSON.
 */
export function parseJson(source: Uint8Array | string, options: { depthMax?: number } = {}): unknown {
  if (typeof source !== "string" && !isUtf8(source)) throw new SyntaxError("it is not valid UTF-8");
  const text = typeof source === "string" ? source : bufferOf(source).toString("utf8");
  const depthMax = options.depthMax ?? DEPTH_MAX;
  if (nestsDeeper(text, depthMax)) throw new SyntaxError(`it nests deeper than ${depthMax} levels`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // V8's message quotes the text, which may hold secrets: only the position is kept.
    const position = /at position (\d+)/.exec(error instanceof Error ? error.message : "")?.[1];
    const where = position === undefined ? "" : ` at character ${position}`;
    throw new SyntaxError(`it is not valid JSON${where}`);
  }
  return MAY_CHANGE.test(text) ? new NumberKeeper(text).read() : value;
}

/** What a text says, or undefined when it is torn or no JSON at all, for readers who leave such lines out. */
export function tryJson(text: string): unknown {
  try {
    return parseJson(Buffer.from(text));
  } catch {
    // Nobody is told: whoever asks this way has something else to do with such a line.
    return undefined;
  }
}

/** A document as its file's text: two-space indent, no newline at the end. */
export function renderDocument(record: unknown): string {
  return render(record, 2);
}

/** A record as one line of a JSONL file, without its newline. */
export function renderLine(record: unknown): string {
  return render(record, 0);
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * A number behind a key, a comma or a bracket that may not survive: it has a point, an exponent, a sign before zero, or
 * more digits than are exact. May also hit text inside strings, which costs time and nothing else.
 */
const MAY_CHANGE = /(?:":|[[,]|^)\s*(?:-0|-?\d+[.eE]|-?\d{16})/;

function nestsDeeper(text: string, depthMax: number): boolean {
  if (!hasMoreThan(depthMax, text)) return false;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at) - 1;
    else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      if (++depth > depthMax) return true;
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) depth--;
  }
  return false;
}

/** Whether a text holds more opening brackets than that; few texts do, and searching is much faster than scanning. */
function hasMoreThan(max: number, text: string): boolean {
  let count = 0;
  for (const bracket of ["{", "["]) {
    for (let at = text.indexOf(bracket); at !== -1; at = text.indexOf(bracket, at + 1)) {
      if (++count > max) return true;
    }
  }
  return false;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/** Where the string that starts at a quote ends: the position behind its last quote. */
function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let slashes = quote;
    while (text.charCodeAt(slashes - 1) === BACKSLASH) slashes--;
    if ((quote - slashes) % 2 === 0) return quote + 1;
  }
  return text.length;
}

/** Reads a text that `JSON.parse` has accepted once more, keeping the text of numbers that would change. */
class NumberKeeper {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): unknown {
    switch (this.#skipSpace()) {
      case QUOTE:
        return this.#string();
      case OPEN_BRACE:
        return this.#object();
      case OPEN_BRACKET:
        return this.#array();
      default:
        return this.#scalar();
    }
  }

  #skipSpace(): number {
    while (this.#text.charCodeAt(this.#at) <= 0x20) this.#at++;
    return this.#text.charCodeAt(this.#at);
  }

  #string(): string {
    const start = this.#at;
    this.#at = endOfString(this.#text, start);
    const raw = this.#text.slice(start, this.#at);
    return raw.includes("\\") ? (JSON.parse(raw) as string) : raw.slice(1, -1);
  }

  #object(): Record<string, unknown> {
    const record: Record<string, unknown> = {};
    while (this.#nextItem(CLOSE_BRACE)) {
      const key = this.#string();
      this.#skipSpace();
      this.#at++; // the colon
      const value = this.read();
      if (key === "__proto__") {
        // An assignment would change the record's prototype; `JSON.parse` makes an ordinary key of it.
        Object.defineProperty(record, key, { value, enumerable: true, configurable: true, writable: true });
      } else record[key] = value;
    }
    return record;
  }

  #array(): unknown[] {
    const items: unknown[] = [];
    while (this.#nextItem(CLOSE_BRACKET)) items.push(this.read());
    return items;
  }

  /** Steps over the opening bracket or a comma to the next item; false, and behind the bracket, at the end. */
  #nextItem(close: number): boolean {
    if (this.#skipSpace() !== close) {
      this.#at++; // the opening bracket or a comma
      if (this.#skipSpace() !== close) return true;
    }
    this.#at++;
    return false;
  }

  #scalar(): unknown {
    const start = this.#at;
    while (IN_SCALAR.test(this.#text.charAt(this.#at))) this.#at++;
    const raw = this.#text.slice(start, this.#at);
    const number = Number(raw);
    if (Number.isNaN(number)) return JSON.parse(raw);
    return String(number) === raw ? number : new NumberText(raw);
  }
}

const IN_SCALAR = /[\w.+-]/;

function render(value: unknown, indent: number): string {
  metNumberText = false;
  const text = JSON.stringify(value, null, indent) as string | undefined;
  if (!metNumberText) return text ?? "null";
  return write(value, indent, "\n");
}

/** `JSON.stringify` for plain records, but numbers that were kept as text are written as they are. */
function write(value: unknown, indent: number, margin: string): string {
  if (value instanceof NumberText) return value.text;
  if (value === undefined) return "null"; // only in lists; in records such keys are left out
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if ("toJSON" in value && typeof value.toJSON === "function") return JSON.stringify(value);
  const inner = indent === 0 ? "" : margin + " ".repeat(indent);
  const outer = indent === 0 ? "" : margin;
  if (Array.isArray(value)) {
    const items = value.map((item) => inner + write(item, indent, inner));
    return items.length === 0 ? "[]" : `[${items.join(",")}${outer}]`;
  }
  const colon = indent === 0 ? ":" : ": ";
  const fields = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .map(([key, field]) => inner + JSON.stringify(key) + colon + write(field, indent, inner));
  return fields.length === 0 ? "{}" : `{${fields.join(",")}${outer}}`;
}
