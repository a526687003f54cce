/** A disk on which some files have other bytes than they have: what a check must find out. */
import { join, relative } from "node:path";

import type { Disk, OpenFile } from "../../src/ports.ts";

/** Other bytes by the names of files in a folder; `null` for a missing one. */
export type OtherBytes = Readonly<Record<string, Uint8Array | null>>;

/** What a check of a proof says, as far as bending needs it. */
interface Checked {
  valid: boolean;
  faults: readonly { file: string }[];
}

/** The disk with other bytes in some files below a folder. */
export function withFiles(disk: Disk, folder: string, files: OtherBytes): Disk {
  const at = (path: string) => files[relative(folder, path)];
  return new Proxy<Disk>(disk, {
    get: (_target, key: keyof Disk) => {
      const own = {
        stat: (path: string) => (at(path) === null ? undefined : disk.stat(path)),
        readFile: (path: string, max?: number) => at(path) ?? disk.readFile(path, max),
        open: (path: string, how: "read") => {
          const bytes = at(path);
          return bytes ? openBytes(bytes) : disk.open(path, how);
        },
      };
      if (key in own) return own[key as keyof typeof own];
      const method: (...args: never[]) => unknown = disk[key];
      return method.bind(disk);
    },
  });
}

function openBytes(bytes: Uint8Array): OpenFile {
  return {
    size: () => bytes.length,
    read: (into: Uint8Array, position: number) => {
      const part = bytes.subarray(position, position + into.length);
      into.set(part);
      return part.length;
    },
    close: () => undefined,
  } as unknown as OpenFile;
}

/** Files of a folder, bent in every way a check must see. */
export class Bender {
  readonly #disk: Disk;
  readonly #folder: string;
  readonly #check: (disk: Disk) => Checked;
  /** How the check names a file. */
  readonly #nameOf: (name: string) => string;

  constructor(
    disk: Disk,
    folder: string,
    check: (disk: Disk) => Checked,
    nameOf: (name: string) => string = (name) => name,
  ) {
    this.#disk = disk;
    this.#folder = folder;
    this.#check = check;
    this.#nameOf = nameOf;
  }

  bytesOf(name: string): Uint8Array {
    return this.#disk.readFile(join(this.#folder, name));
  }

  /** The file with another bit at one place. */
  bent(name: string, at: number): Uint8Array {
    const bytes = Uint8Array.from(this.bytesOf(name));
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    return bytes;
  }

  check(files: OtherBytes): Checked {
    return this.#check(withFiles(this.#disk, this.#folder, files));
  }

  /**
   * Bends one byte of all files at once, then the next and so on: each time every file that was bent must be named. With a
   * stride only every so many bytes one is tried, from the first on.
   */
  bendTogether(names: readonly string[], { first = 0, stride = 1 } = {}): number {
    const sizes = names.map((name) => this.bytesOf(name).length);
    let bends = 0;
    for (let at = first; at < Math.max(...sizes); at += stride) {
      const chosen = names.filter((_, index) => at < (sizes[index] ?? 0));
      const { valid, faults } = this.check(
        Object.fromEntries(chosen.map((name) => [name, this.bent(name, at)])),
      );
      const named = new Set(faults.map(({ file }) => file));
      const missed = chosen.filter((name) => !named.has(this.#nameOf(name)));
      if (valid || missed.length > 0) throw new Error(`byte ${at} of ${missed.join(", ")} was bent unseen`);
      bends += chosen.length;
    }
    return bends;
  }

  /** The log with other lines. */
  checkLines(log: string, lines: readonly string[]): Checked {
    return this.check({ [log]: Buffer.from(lines.map((line) => `${line}\n`).join("")) });
  }
}
