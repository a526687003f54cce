/**
 * The requests of one goal or run that wait, or waited, for a person. The log has them; a file each is made from it, for
 * other programs to look at. Whoever controls the goal or run writes them; a request that its controller did not survive
 * stays open, and an answer to it grants nothing by itself.
 */
import { join } from "node:path";

import { ApprovalRecord } from "../format/approval.ts";
import type { DocumentChange } from "../format/event.ts";
import { renderDocument } from "../format/json.ts";
import { instantOf } from "../format/stamp.ts";
import type { Clock, Disk } from "../ports.ts";
import type { NewEvent } from "../store/event-log.ts";
import { ensureFolder, replaceFile, type FilePorts } from "../store/files.ts";
import { foldFolder, type Documents } from "../store/journal.ts";

/** The document of the log that holds them, and the folder with a file each. */
const DOCUMENT = "approvals.jsonl";
const FOLDER = "approvals";

/** Whose requests these are. */
export interface BookOwner {
  id: string;
  kind: "goal" | "team";
  folder: string;
  record(...events: NewEvent[]): Promise<number[]>;
  documents: Documents;
}

/** A person's answer. */
export interface Answer {
  decision: "approve" | "reject";
  note: string | null;
  /** Who gave it, for the audit trail: `omk approvals answer`, `the terminal`. */
  by: string;
}

/** What became of an answer: a request that has one already takes no second. */
export type Answered = { outcome: "taken"; isLate: boolean } | { outcome: "refused"; because: string };

/** An agent that waits: one of these is called, once. */
export interface Waiter {
  answered(answer: Answer): void;
  /** There will be no answer: somebody else ended the request. */
  ended(): void;
  failed(error: unknown): void;
}

/** What keeping requests needs of the world. */
export type BookPorts = FilePorts & { clock: Clock };

/** What another process asked for as `approval_answer`; undefined when it is no such thing. */
export function answerIn(
  payload: Readonly<Record<string, unknown>>,
): { id: string; answer: Answer } | undefined {
  const { approval_id: id, decision, note } = payload;
  if (typeof id !== "string" || (decision !== "approve" && decision !== "reject")) return undefined;
  const text = typeof note === "string" ? note.slice(0, NOTE_CHARACTERS_MAX) : null;
  return { id, answer: { decision, note: text, by: "omk approvals answer" } };
}

/** It goes to the agent as it is. */
const NOTE_CHARACTERS_MAX = 4_000;

/** The requests of one goal or run under this process's control. */
export class ApprovalBook {
  readonly owner: BookOwner;
  readonly #ports: BookPorts;
  /** Requests that an agent of this process waits for. */
  readonly #waiting = new Map<string, Waiter>();
  /** Requests whose change is on its way to the disk: a second change would not see the first. */
  readonly #changing = new Set<string>();
  /** Requests whose file does not say yet what the log says. */
  readonly #stale = new Set<string>();

  constructor(owner: BookOwner, ports: BookPorts) {
    this.owner = owner;
    this.#ports = ports;
  }

  /** Every request, in the order they were asked in. */
  get records(): readonly ApprovalRecord[] {
    // Our own events, and the log of an earlier controller, which is sealed: nothing is parsed anew at each request.
    return listedIn(this.owner.documents) as ApprovalRecord[];
  }

  /** Those that nobody has answered. */
  get open(): readonly ApprovalRecord[] {
    return this.records.filter(({ status }) => status === "open");
  }

  /** Records a request that waits, with the event that says so. */
  async ask(record: ApprovalRecord, event: NewEvent, waiter: Waiter): Promise<void> {
    // Before the log has the first one: readers look into the log only where the folder is.
    await ensureFolder(join(this.owner.folder, FOLDER), this.#ports);
    this.#waiting.set(record.id, waiter);
    await this.owner.record({ ...event, changes: [set(record.id, record)] });
    await this.#render(record.id);
  }

  /** Nobody waits for the answer any more; false when one is on its way already. */
  stopWaiting(id: string): boolean {
    return this.#waiting.delete(id);
  }

  /** A person's answer: whoever waits for it gets it at once; otherwise it is kept for the same request, asked again. */
  async answer(id: string, answer: Answer, requestId: string | null): Promise<Answered> {
    const record = this.records.find((one) => one.id === id);
    if (!record) return { outcome: "refused", because: `there is no request ${id}` };
    if (this.#changing.has(id)) return { outcome: "refused", because: "it was answered a moment ago" };
    if (record.status !== "open") return { outcome: "refused", because: `it is ${record.status} already` };
    const waiter = this.#waiting.get(id);
    this.#waiting.delete(id);
    const status = answer.decision === "approve" ? "approved" : "rejected";
    const now = instantOf(this.#ports.clock.now());
    const isLive = waiter !== undefined;
    const changed = this.#change(
      record,
      {
        status,
        decided_at: now,
        decided_by: answer.by,
        note: answer.note,
        ...(isLive && { used_at: now, used_fence: record.fence }),
      },
      {
        kind: "approval_answered",
        actor: "omk-cli",
        payload: {
          ...(requestId !== null && { request_id: requestId }),
          approval_id: id,
          task_id: record.task_id,
          digest: record.digest,
          decision: answer.decision,
          by: answer.by,
          ...(answer.note !== null && { note: answer.note }),
          late: !isLive,
        },
      },
    );
    try {
      await changed;
    } catch (error) {
      waiter?.failed(error);
      throw error;
    }
    // Only now: what the log does not have must not be granted.
    waiter?.answered(answer);
    return { outcome: "taken", isLate: !isLive };
  }

  /** The answer to the same request of the same task that nothing has used yet. From now on it is used. */
  async useLate(
    asked: { digest: string; task: string; fence: number },
    events: (record: ApprovalRecord) => NewEvent[],
  ): Promise<ApprovalRecord | undefined> {
    const record = this.records.find(
      ({ id, digest, task_id, status, used_at }) =>
        digest === asked.digest &&
        task_id === asked.task &&
        (status === "approved" || status === "rejected") &&
        used_at === null &&
        !this.#changing.has(id),
    );
    if (!record) return undefined;
    const used = { used_at: instantOf(this.#ports.clock.now()), used_fence: asked.fence };
    await this.#change(record, used, ...events(record));
    return record;
  }

  /** Ends an open request that nobody answered; false when an answer was quicker. */
  async end(id: string, status: "expired" | "withdrawn", event: NewEvent): Promise<boolean> {
    const record = this.open.find((one) => one.id === id);
    if (!record || this.#changing.has(id)) return false;
    const waiter = this.#waiting.get(id);
    this.#waiting.delete(id);
    const decided = { status, decided_at: instantOf(this.#ports.clock.now()) };
    try {
      await this.#change(record, decided, event);
    } catch (error) {
      waiter?.failed(error);
      throw error;
    }
    waiter?.ended();
    return true;
  }

  /** Ends every request that is still open, because nobody wants an answer any more. */
  async withdrawAll(reason: string): Promise<void> {
    for (const { id, task_id } of this.open) {
      const payload = { approval_id: id, task_id, reason };
      await this.end(id, "withdrawn", { kind: "approval_withdrawn", actor: "omk-cli", payload });
    }
  }

  /** Ends the open requests of a dead controller whose time is over, where silence is a no. */
  async expireOld(): Promise<void> {
    const now = this.#ports.clock.now().getTime();
    for (const { id, task_id, expires_at, on_timeout } of this.open) {
      if (on_timeout !== "reject" || Date.parse(expires_at) > now) continue;
      const payload = { approval_id: id, task_id, reason: "nobody answered in time" };
      await this.end(id, "expired", { kind: "approval_expired", actor: "omk-cli", payload });
    }
  }

  /** Files that a crash has kept from being written. */
  async renderMissing(): Promise<void> {
    for (const { id } of this.records) {
      if (!this.#ports.disk.stat(this.#path(id))) await this.#render(id);
    }
  }

  /** One write: the first of the events carries the change. */
  async #change(
    { id }: ApprovalRecord,
    changes: Partial<ApprovalRecord>,
    ...[first, ...rest]: NewEvent[]
  ): Promise<void> {
    if (!first) throw new Error("A change of a request needs an event that says so.");
    this.#changing.add(id);
    try {
      await this.owner.record({ ...first, changes: [set(id, changes)] }, ...rest);
    } finally {
      this.#changing.delete(id);
    }
    await this.#render(id);
  }

  async #render(id: string): Promise<void> {
    this.#stale.add(id);
    for (const one of this.#stale) {
      const record = this.records.find((known) => known.id === one);
      try {
        await ensureFolder(join(this.owner.folder, FOLDER), this.#ports);
        if (record) await replaceFile(this.#path(one), renderDocument(record), this.#ports);
        this.#stale.delete(one);
      } catch {
        // The log has it, and that is what counts: a decision must not fail over its copy. It is made up for at the next one.
        return;
      }
    }
  }

  #path(id: string): string {
    return join(this.owner.folder, FOLDER, `${id}.json`);
  }
}

function set(id: string, values: Record<string, unknown>): DocumentChange {
  return { file: DOCUMENT, id, set: values };
}

function listedIn(documents: Documents): unknown[] {
  const { tasks } = (documents.get(DOCUMENT) ?? {}) as { tasks?: unknown[] };
  return tasks ?? [];
}

/** The requests in the fold of a log. What is none of ours is left out: it could not be answered either. */
function recordsIn(documents: Documents): ApprovalRecord[] {
  return listedIn(documents).flatMap((one) => {
    const parsed = ApprovalRecord.safeParse(one);
    return parsed.success ? [parsed.data] : [];
  });
}

/** The requests of a goal or run that another process may control. */
export function readApprovals(folder: string, ports: { disk: Disk }): ApprovalRecord[] {
  // Made before the first request: without it there is none, and the log need not be read.
  if (ports.disk.stat(join(folder, FOLDER))?.kind !== "folder") return [];
  return recordsIn(foldFolder(folder, ports).documents);
}
