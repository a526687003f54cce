/**
 * The writer of `events.jsonl`. One process holds it (see `claim-chain.ts`); events given while a sync is under way
 * share the next one (group commit), so durability costs one sync per round and not one per event.
 */
import { dirname, join } from "node:path";

import { OmkError } from "../errors.ts";
import type { DocumentChange } from "../format/event.ts";
import { instantOf } from "../format/stamp.ts";
import { renderLine } from "../format/json.ts";
import type { Clock, OpenFile } from "../ports.ts";
import type { HeldChain } from "./claim-chain.ts";
import { sealLine, sha256, type SealedEvent } from "./event-line.ts";
import { ioFailure, writeAll, writeOnce, type FilePorts } from "./files.ts";
import type { Redactor } from "./redact.ts";

/** An event as the runtime gives it; the log adds the envelope. */
export interface NewEvent {
  kind: string;
  actor: string | null;
  payload?: Record<string, unknown>;
  changes?: DocumentChange[];
}

/** What the writer needs of the world. */
export interface LogPorts extends FilePorts {
  clock: Clock;
  redactor: Pick<Redactor, "value">;
}

/** Where the log stands after an event: what snapshots and proofs name. */
export interface LogPosition {
  seq: number;
  digest: string;
  bytes: number;
}

/** An event whose line is larger keeps payload and changes in `blobs/`. */
const EVENT_BYTES_MAX = 256 * 1024;
/** Events of one goal or run; the next one is refused with `state.io`, and so is what it was to record. */
const EVENTS_MAX = 1_000_000;

interface Waiting {
  events: readonly NewEvent[];
  resolve(written: SealedEvent[]): void;
  reject(error: unknown): void;
}

/** The open log of one goal or run. */
export class EventLog {
  readonly #path: string;
  readonly #runId: string;
  readonly #chain: HeldChain;
  readonly #ports: LogPorts;
  readonly #file: OpenFile;
  #position: LogPosition;
  #waiting: Waiting[] = [];
  #flushing: Promise<void> | undefined;
  #closed: OmkError | undefined;
  #failed = false;

  /** Opens the log for appending behind `position`; the caller has read it and cut a torn end off. */
  constructor(path: string, runId: string, chain: HeldChain, position: LogPosition, ports: LogPorts) {
    this.#path = path;
    this.#runId = runId;
    this.#chain = chain;
    this.#ports = ports;
    this.#position = position;
    this.#file = ports.disk.open(path, "append");
  }

  /** A write failed: what was written last may never reach the disk. */
  get hasFailed(): boolean {
    return this.#failed;
  }

  /** The last durable event. */
  get position(): LogPosition {
    return this.#position;
  }

  /** Appends events, in order and in one write; resolves when they are durable. */
  append(events: readonly NewEvent[]): Promise<SealedEvent[]> {
    if (this.#closed) return Promise.reject(this.#closed);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ events, resolve, reject });
      this.#flushing ??= this.#flush();
    });
  }

  /** Waits for what was given and closes the file. */
  async close(): Promise<void> {
    await this.#flushing;
    this.#closed ??= new OmkError("state.io", `${this.#path} is closed.`);
    this.#file.close();
  }

  async #flush(): Promise<void> {
    // Everything given in this turn of the loop goes into the same write.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const round = this.#waiting;
      this.#waiting = [];
      try {
        await this.#write(round);
      } catch (error) {
        this.#failed = true;
        this.#closed = error instanceof OmkError ? error : ioFailure("append to", this.#path, error);
        for (const waiting of [...round, ...this.#waiting]) waiting.reject(this.#closed);
        this.#waiting = [];
      }
    }
    this.#flushing = undefined;
  }

  async #write(round: readonly Waiting[]): Promise<void> {
    const count = round.reduce((sum, waiting) => sum + waiting.events.length, 0);
    let { seq, digest } = this.#position;
    if (seq + count > EVENTS_MAX) {
      throw new OmkError("state.io", `${this.#path} is full: it holds at most ${EVENTS_MAX} events.`, {
        hint: "Start the work anew; what it has done stays in the project and in the log.",
      });
    }
    const first = seq + 1;
    const lines: string[] = [];
    const written = round.map((waiting) =>
      waiting.events.map((given) => {
        seq++;
        const sealed = this.#seal(given, seq, digest, count > 1 ? first : undefined);
        digest = sha256(sealed.line);
        lines.push(sealed.line);
        return sealed;
      }),
    );
    for (const { blob } of written.flat()) {
      if (blob) await writeOnce(join(dirname(this.#path), "blobs", blob.name), blob.text, this.#ports);
    }
    const bytes = Buffer.from(`${lines.join("\n")}\n`);
    // The last look before the write: a controller that was overtaken writes nothing more.
    if (!this.#chain.isNewest()) {
      throw new OmkError("controller.overtaken", "Another omk process has taken over this goal.", {
        hint: "Nothing was lost; that process goes on with it.",
      });
    }
    writeAll(this.#file, bytes);
    await this.#file.sync();
    this.#position = { seq, digest, bytes: this.#file.size() };
    round.forEach((waiting, at) => {
      waiting.resolve((written[at] ?? []).map(({ event }) => event));
    });
  }

  #seal(
    given: NewEvent,
    seq: number,
    prev: string,
    batch: number | undefined,
  ): { line: string; event: SealedEvent; blob?: { name: string; text: string } } {
    const { value } = this.#ports.redactor;
    // One literal in the order of the line, whose missing keys are undefined and so not written: putting it together
    // from parts took half the time of an append.
    const event = {
      id: this.#ports.random.uuid(),
      run_id: this.#runId,
      ts: instantOf(this.#ports.clock.now()),
      schema_version: 1,
      kind: given.kind,
      actor: given.actor,
      payload: given.payload && (value(given.payload) as Record<string, unknown>),
      seq,
      epoch: this.#chain.epoch,
      batch,
      changes: given.changes && (value(given.changes) as DocumentChange[]),
      prev,
      check: undefined as string | undefined,
    };
    const line = sealLine(event);
    event.check = line.slice(-66, -2);
    if (line.length <= EVENT_BYTES_MAX / 4 || Buffer.byteLength(line) <= EVENT_BYTES_MAX)
      return { line, event: event as SealedEvent };
    const { payload, changes } = event;
    const text = renderLine({ payload, changes });
    const name = sha256(text);
    const reference = { blob: name, bytes: Buffer.byteLength(text) };
    const short = sealLine({ ...event, payload: reference, changes: undefined });
    return { line: short, event: event as SealedEvent, blob: { name, text } };
  }
}
