/** Following a file of lines that others append to: new whole lines only, by bytes, whatever the last one looks like. */
import { systemCode } from "../errors.ts";
import type { Disk } from "../ports.ts";

const CHUNK_BYTES = 64 * 1024;
/** A longer line is skipped and counted: no line of ours comes near it. */
const LINE_BYTES_MAX = 8 * 1024 * 1024;
/** How much one look takes in; the rest is for the next one, so that nobody's flood has to fit into memory. */
const LOOK_BYTES_MAX = 16 * 1024 * 1024;
const NEWLINE = 10;

/** What one look found. */
export interface NewLines {
  /** Without their newlines; blank ones are left out. Bytes that are no UTF-8 are shown as U+FFFD. */
  lines: string[];
  /** Lines that were too long to be taken. */
  skipped: number;
  /** There is more than one look takes in: look again. */
  more: boolean;
}

/** A reader with a place in the file. A file that has become shorter was rewritten, and is read from its start. */
export class LineTail {
  readonly #path: string;
  readonly #disk: Disk;
  /** Behind the last newline that was taken. */
  #offset: number;
  /** The line at `#offset` is too long: everything up to its newline goes. */
  #skipping = false;

  /** Begins at `offset` bytes; the end of what is there now with `"end"`. */
  constructor(path: string, offset: number | "end", ports: { disk: Disk }) {
    this.#path = path;
    this.#disk = ports.disk;
    this.#offset = offset === "end" ? (ports.disk.stat(path)?.size ?? 0) : offset;
  }

  /** Everything that was finished with a newline since the last look; nothing where there is no file. */
  read(): NewLines {
    const found: NewLines = { lines: [], skipped: 0, more: false };
    let file: ReturnType<Disk["open"]>;
    try {
      file = this.#disk.open(this.#path, "read");
    } catch (error) {
      // Not there yet, or a link where a file should be: either way there is nothing to take.
      if (systemCode(error) === "ENOENT" || systemCode(error) === "ELOOP") return found;
      throw error;
    }
    try {
      const size = file.size();
      if (size < this.#offset) {
        this.#offset = 0;
        this.#skipping = false;
      }
      const end = Math.min(size, this.#offset + LOOK_BYTES_MAX);
      this.#take(file, end, found);
      found.more = end < size;
    } finally {
      file.close();
    }
    return found;
  }

  #take(file: ReturnType<Disk["open"]>, size: number, found: NewLines): void {
    let pieces: Buffer[] = [];
    let held = 0;
    let at = this.#offset;
    while (at < size) {
      const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, size - at));
      const got = file.read(chunk, at);
      if (got === 0) return;
      let rest = chunk.subarray(0, got);
      at += got;
      for (let end = rest.indexOf(NEWLINE); end !== -1; end = rest.indexOf(NEWLINE)) {
        pieces.push(rest.subarray(0, end));
        rest = rest.subarray(end + 1);
        if (this.#skipping) found.skipped++;
        else {
          const line = Buffer.concat(pieces).toString("utf8").trim();
          if (line !== "") found.lines.push(line);
        }
        this.#skipping = false;
        this.#offset = at - rest.length;
        pieces = [];
        held = 0;
      }
      held += rest.length;
      if (held > LINE_BYTES_MAX || this.#skipping) {
        this.#skipping = true;
        this.#offset = at;
        pieces = [];
        held = 0;
      } else if (rest.length > 0) pieces.push(rest);
    }
  }
}
