/**
 * The files through which a worker is spoken to: `inbox.jsonl` (work for it), `outbox.jsonl` (what came of it) and
 * `heartbeat.json` (that it lives). One writer each; a line is whole or it is not read. They are the protocol that other
 * programs see: what counts is in the log, so none of them is synced.
 */
import { dirname, join } from "node:path";

import { OmkError } from "../errors.ts";
import type { Assignment, Heartbeat } from "../format/agent-run.ts";
import { renderDocument, renderLine } from "../format/json.ts";
import type { Report } from "../format/agent-run.ts";
import type { Disk } from "../ports.ts";
import { ensureFolder, ioFailure, replaceFile, writeAll, type FilePorts } from "../store/files.ts";
import { LineTail, type NewLines } from "../store/line-tail.ts";

/** A worker's folder and the files in it. */
export class Mailbox {
  readonly folder: string;
  readonly #ports: FilePorts;
  readonly #inbox: LineTail;
  readonly #outbox: LineTail;

  private constructor(folder: string, ports: FilePorts) {
    this.folder = folder;
    this.#ports = ports;
    // Work that an earlier controller gave is not this worker's: what is still to be done is given again.
    this.#inbox = new LineTail(this.path("inbox.jsonl"), "end", ports);
    // What an earlier worker reported may not have been heard.
    this.#outbox = new LineTail(this.path("outbox.jsonl"), 0, ports);
  }

  /** Makes the folder when it is missing. */
  static async open(folder: string, ports: FilePorts): Promise<Mailbox> {
    await ensureFolder(folder, ports);
    return new Mailbox(folder, ports);
  }

  path(name: "inbox.jsonl" | "outbox.jsonl" | "heartbeat.json" | "worker-spec.json" | "late"): string {
    return join(this.folder, name);
  }

  /** Work for the worker; gives the line that was written. */
  assign(assignment: Assignment): string {
    const line = renderLine(assignment);
    appendLine(this.path("inbox.jsonl"), line, this.#ports);
    return line;
  }

  /** Assignments given since the last look. */
  assignments(): NewLines {
    return this.#inbox.read();
  }

  /** What came of an assignment; gives the line that was written. */
  report(report: Report): string {
    const line = renderLine(report);
    appendLine(this.path("outbox.jsonl"), line, this.#ports);
    return line;
  }

  /** Lines of the outbox since the last look. */
  reports(): NewLines {
    return this.#outbox.read();
  }

  /** Says that the worker lives, and since when its agent has been silent. */
  async beat(heartbeat: Heartbeat): Promise<void> {
    await this.#ports.disk.writeDerived(this.path("heartbeat.json"), renderLine(heartbeat));
  }

  /** Writes a file of the worker's folder whole. */
  async keep(name: string, record: unknown): Promise<void> {
    await replaceFile(join(this.folder, name), renderDocument(record), this.#ports);
  }
}

/** Appends one line in one write. What a killed writer left unfinished is ended first, so that it spoils only itself. */
function appendLine(path: string, line: string, { disk }: { disk: Disk }): void {
  // A link in its place would lead what is written somewhere else.
  if (disk.stat(dirname(path))?.kind !== "folder") {
    throw new OmkError("state.damaged", `${dirname(path)} is not the folder that omk made.`, {
      hint: "Something other than omk wrote there. Put it back, or start the work anew under another name.",
    });
  }
  try {
    const file = disk.open(path, "append");
    try {
      const bytes = Buffer.from(`${isTorn(path, file.size(), disk) ? "\n" : ""}${line}\n`);
      writeAll(file, bytes);
    } finally {
      file.close();
    }
  } catch (error) {
    throw ioFailure("append to", path, error);
  }
}

function isTorn(path: string, size: number, disk: Disk): boolean {
  if (size === 0) return false;
  const file = disk.open(path, "read");
  try {
    const last = new Uint8Array(1);
    return file.read(last, size - 1) === 1 && last[0] !== 10;
  } finally {
    file.close();
  }
}
