/** What a program wrote into a file: read at both ends by position, so that a gigabyte costs no more than ten megabytes. */
import { systemCode } from "../errors.ts";
import type { Disk, OpenFile } from "../ports.ts";

/** How much is kept of each end of a stream. */
const HEAD_BYTES_MAX = 2 * 1024 * 1024;
const TAIL_BYTES_MAX = 8 * 1024 * 1024;
/** How far a cut moves to fall between two lines; it drops this much of a line that is longer. */
const LINE_BYTES_MAX = 64 * 1024;

/** One stream of a program. */
export interface Captured {
  /** Decoded as UTF-8 with replacement; where the middle is missing a line says so. */
  text: string;
  /** How much the program wrote. */
  bytes: number;
  /** How much of that `text` lacks. */
  leftOut: number;
}

/** Reads what a program wrote; a file that is not there is an empty stream. */
export function captureOutput(path: string, disk: Disk): Captured {
  let file: OpenFile;
  try {
    file = disk.open(path, "read");
  } catch (error) {
    // A program that could not be started wrote nothing.
    if (systemCode(error) === "ENOENT") return { text: "", bytes: 0, leftOut: 0 };
    throw error;
  }
  try {
    const bytes = file.size();
    if (bytes <= HEAD_BYTES_MAX + TAIL_BYTES_MAX) {
      return { text: new TextDecoder().decode(readAt(file, 0, bytes)), bytes, leftOut: 0 };
    }
    const head = endAtLine(readAt(file, 0, HEAD_BYTES_MAX));
    const tail = startAtLine(readAt(file, bytes - TAIL_BYTES_MAX, TAIL_BYTES_MAX));
    const leftOut = bytes - head.length - tail.length;
    const text = [new TextDecoder().decode(head), leftOutLine(leftOut), new TextDecoder().decode(tail)].join(
      "",
    );
    return { text, bytes, leftOut };
  } finally {
    file.close();
  }
}

/** The end of a stream, at most that many bytes of UTF-8, led by a line that says how much is missing. */
export function tailOf({ text, leftOut }: Captured, bytesMax: number): string {
  // The text's own line about its missing middle is part of what is cut here: a stream with one is longer than any field.
  const size = Buffer.byteLength(text);
  if (size <= bytesMax) return text;
  const marker = leftOutLine(size + leftOut);
  let kept = Buffer.from(text.slice(-bytesMax)).subarray(-(bytesMax - marker.length));
  // Not in the middle of a character.
  while (((kept[0] ?? 0) & 0b1100_0000) === 0b1000_0000) kept = kept.subarray(1);
  return leftOutLine(size + leftOut - kept.length) + kept.toString();
}

/** The first three lines that say something, shortened, and `...` when the text has more than three lines. */
export function summaryOf(text: string): string | undefined {
  const kept: string[] = [];
  let seen = 0;
  for (let at = 0; at < text.length && (kept.length < SUMMARY_LINES || seen <= SUMMARY_LINES); seen++) {
    const found = text.indexOf("\n", at);
    const end = found === -1 ? text.length : found;
    const line = text.slice(at, end).trim();
    if (line !== "" && kept.length < SUMMARY_LINES) kept.push(shorten(line));
    at = end + 1;
  }
  if (kept.length === 0) return undefined;
  return (seen > SUMMARY_LINES ? [...kept, "..."] : kept).join("\n");
}

const SUMMARY_LINES = 3;
const SUMMARY_CHARACTERS = 240;

function shorten(line: string): string {
  // Twice as many code units hold enough characters, whichever they are.
  const characters = Array.from(line.slice(0, 2 * (SUMMARY_CHARACTERS + 1)));
  return characters.length <= SUMMARY_CHARACTERS
    ? line
    : `${characters.slice(0, SUMMARY_CHARACTERS).join("")}...`;
}

function leftOutLine(bytes: number): string {
  return `[... ${bytes} bytes left out ...]\n`;
}

function readAt(file: OpenFile, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let at = 0;
  while (at < length) {
    const got = file.read(bytes.subarray(at), position + at);
    // Shorter than it was a moment ago: somebody cut it.
    if (got === 0) break;
    at += got;
  }
  return bytes.subarray(0, at);
}

/** A secret cut in two is not recognised by its shape any more, so cuts fall between lines and never inside a key. */
function endAtLine(bytes: Buffer): Buffer {
  const newline = bytes.lastIndexOf("\n");
  const end = newline >= bytes.length - LINE_BYTES_MAX ? newline + 1 : bytes.length - LINE_BYTES_MAX;
  const head = bytes.subarray(0, end);
  const key = head.lastIndexOf("-----BEGIN ");
  return key === -1 || head.indexOf("-----END ", key) !== -1 ? head : head.subarray(0, key);
}

function startAtLine(bytes: Buffer): Buffer {
  const newline = bytes.indexOf("\n");
  const start = newline !== -1 && newline < LINE_BYTES_MAX ? newline + 1 : LINE_BYTES_MAX;
  const tail = bytes.subarray(start);
  const end = tail.indexOf("-----END ");
  if (end === -1 || end > LINE_BYTES_MAX) return tail;
  const begin = tail.indexOf("-----BEGIN ");
  if (begin !== -1 && begin < end) return tail;
  const after = tail.indexOf("\n", end);
  return after === -1 ? tail.subarray(tail.length) : tail.subarray(after + 1);
}
