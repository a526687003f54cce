/**
 * Before anything is delivered: whether what steers the user's own git is still as it was when the work began. New hooks,
 * filters, helpers and their kind need a person's word, since the user's next git command would run them.
 */
import type { ApprovalRecord } from "../format/approval.ts";
import type { DocumentChange } from "../format/event.ts";
import { printable } from "../format/printable.ts";
import { instantOf } from "../format/stamp.ts";
import type { SteeringChange, SteeringWork } from "../format/steering.ts";
import type { PrivateGit } from "../git/private-git.ts";
import {
  compareSteering,
  readSteering,
  type Steering,
  type SteeringChanges,
  type SteeringSeen,
} from "../git/steering.ts";
import type { Clock, Random } from "../ports.ts";
import { sha256 } from "../store/event-line.ts";
import type { NewEvent } from "../store/event-log.ts";
import type { Redactor } from "../store/redact.ts";
import type { Answer, ApprovalBook, Waiter } from "./book.ts";
import { shownText } from "./describe.ts";

/** Whose work is to be delivered. */
export interface SteeringOwner {
  id: string;
  approvals: Pick<ApprovalBook, "open" | "records" | "ask" | "end" | "useLate" | "stopWaiting">;
  /** Whose request it is: no agent's, but that of the step itself. */
  task: string;
  actor: string;
  /** Of the latest attempt. */
  fence: number;
  /** The command that delivers once a person has answered. */
  resume: string;
  /** What is recorded so far; undefined where nothing was when the work began. */
  steering(): SteeringWork | undefined;
  /** The change that records it. */
  change(steering: SteeringWork): DocumentChange;
  record(...events: NewEvent[]): Promise<number[]>;
}

/** Why nothing is delivered: a person has to answer, or has said no. */
export interface HeldBack {
  code: "approval_needed" | "steering_refused";
  reason: string;
}

/** So many are shown with what they hold; of the others a person sees the names. */
const SHOWN_MAX = 50;
const NAMES_MAX = 5;
const ID_TRIES_MAX = 20;

/** What it needs of the world. */
export interface SteeringPorts {
  clock: Pick<Clock, "now">;
  random: Pick<Random, "name">;
  redactor: Pick<Redactor, "text">;
  tell(line: string): void;
}

/** Records what steers git in the user's repository, as the work begins. */
export async function recordSteering(
  owner: SteeringOwner,
  git: PrivateGit,
  ports: Pick<SteeringPorts, "redactor">,
  signal: AbortSignal,
): Promise<void> {
  const { entries } = withoutSecrets(await readSteering(git, signal), ports);
  const steering: SteeringWork = {
    entries: entries.map(({ kind, name, digest }) => ({ kind, name, digest })),
  };
  await owner.record({
    kind: "steering_recorded",
    actor: owner.actor,
    payload: { entries: entries.length },
    changes: [owner.change(steering)],
  });
}

/**
 * Undefined when nothing was planted since, or a person has let it pass; otherwise a person is asked, and the work waits for
 * the answer. All other changes are told and recorded, and keep nothing from going on.
 */
export async function heldBackBySteering(
  owner: SteeringOwner,
  git: PrivateGit,
  ports: SteeringPorts,
  signal: AbortSignal,
): Promise<HeldBack | undefined> {
  const before = owner.steering();
  if (!before) return undefined;
  const now = withoutSecrets(await readSteering(git, signal), ports);
  const changes = compareSteering(before, now);
  const digest = digestOf(owner, changes.stops);
  await recordChanges(owner, before, changes, ports);
  await withdrawOthers(owner, digest);
  if (changes.stops.length === 0 || before.allowed === digest) return undefined;
  const asked = { owner, digest, stops: changes.stops };
  const answer = await answerGiven(asked);
  if (answer) return afterAnswer(asked, answer);
  const waiting = owner.approvals.open.find((one) => one.digest === digest);
  if (waiting) return waitingFor(asked, waiting.id);
  return ask(asked, now, ports);
}

/** What is to be decided. */
interface Asked {
  owner: SteeringOwner;
  digest: string;
  stops: readonly SteeringChange[];
}

/** Names and texts without secrets, as they will be recorded: an address may hold a password. */
function withoutSecrets(found: Steering, { redactor }: Pick<SteeringPorts, "redactor">): Steering {
  const entries = new Map<string, SteeringSeen>();
  for (const one of found.entries) {
    const entry = { ...one, name: redactor.text(one.name), text: redactor.text(one.text) };
    const key = `${entry.kind}\0${entry.name}`;
    const same = entries.get(key);
    // Two that differ in a secret alone are one by now: what either holds still counts.
    entries.set(key, same ? { ...entry, digest: sha256(`${same.digest} ${entry.digest}`) } : entry);
  }
  return { entries: [...entries.values()] };
}

function digestOf({ id, task }: SteeringOwner, stops: readonly SteeringChange[]): string {
  const what = stops.map(({ kind, name, how, digest }) => [kind, name, how, digest]);
  return sha256(JSON.stringify([id, task, what]));
}

async function recordChanges(
  owner: SteeringOwner,
  before: SteeringWork,
  { stops, others }: SteeringChanges,
  ports: SteeringPorts,
): Promise<void> {
  const changes = [...stops, ...others];
  const digest = digestOf(owner, changes);
  if (digest === (before.told?.digest ?? digestOf(owner, []))) return;
  if (others.length > 0)
    ports.tell(
      `the repository's git settings changed since the work began, which stops nothing: ${named(others)}`,
    );
  await owner.record({
    kind: "steering_changed",
    actor: owner.actor,
    payload: { stops: stops.map(lineOf), others: others.map(lineOf) },
    changes: [owner.change({ ...before, told: { digest, changes } })],
  });
}

/** Something else changed since it was asked: nobody wants the answer to that any more. */
async function withdrawOthers({ approvals, task, actor }: SteeringOwner, digest: string): Promise<void> {
  for (const { id, task_id, digest: old } of approvals.open) {
    if (task_id !== task || old === digest) continue;
    const payload = { approval_id: id, task_id, reason: "the repository has changed since" };
    await approvals.end(id, "withdrawn", { kind: "approval_withdrawn", actor, payload });
  }
}

/** An answer that came while the work was at rest; from now on it is used. */
async function answerGiven(asked: Asked): Promise<Answer | undefined> {
  const { owner, digest } = asked;
  const { approvals, task, actor, fence } = owner;
  let answer: Answer | undefined;
  await approvals.useLate({ digest, task, fence }, ({ id, status, note, decided_by: by }) => {
    const decision = status === "approved" ? "approve" : "reject";
    answer = { decision, note, by: by ?? "" };
    const payload = { task_id: task, worker_id: actor, fence, request_id: id, approval_id: id };
    const decided = { decision, feedback: note ?? "", by: "earlier_answer", digest };
    return [
      { kind: "approval_decided", actor, payload: { ...payload, ...decided } },
      ...(decision === "approve" ? [allowedEvent(asked)] : []),
    ];
  });
  return answer;
}

function allowedEvent({ owner, digest, stops }: Asked): NewEvent {
  const steering = { entries: [], ...owner.steering(), allowed: digest };
  return {
    kind: "steering_allowed",
    actor: owner.actor,
    payload: { digest, changes: stops.map(lineOf) },
    changes: [owner.change(steering)],
  };
}

function afterAnswer({ owner, stops }: Asked, { decision, note }: Answer): HeldBack | undefined {
  if (decision === "approve") return undefined;
  const words = note === null ? "" : ` ("${note}")`;
  return {
    code: "steering_refused",
    reason:
      `a person said no${words} to what was planted in the repository: ${named(stops)}; ` +
      `take it away, then \`${owner.resume}\` delivers, or asks again about what is left`,
  };
}

function waitingFor({ owner, stops }: Asked, id: string): HeldBack {
  return {
    code: "approval_needed",
    reason:
      `nothing is delivered, since your git would now run what it did not when the work began: ${named(stops)}; ` +
      `see it with \`omk approvals show ${id}\`, answer with \`omk approvals answer ${id} approve\`, ` +
      `then \`${owner.resume}\``,
  };
}

async function ask(asked: Asked, now: Steering, ports: SteeringPorts): Promise<HeldBack | undefined> {
  const { owner, digest } = asked;
  const { approvals, actor } = owner;
  const record = recordOf(asked, now, ports);
  let given: Promise<Answer | "gone"> | undefined;
  const waiter = await new Promise<Waiter>((ready) => {
    given = new Promise((resolve, reject) => {
      ready({ answered: resolve, ended: () => resolve("gone"), failed: reject });
    });
  });
  // Whoever looks at it below hears of it then.
  given?.catch(() => undefined);
  const { id, task_id, fence, targets } = record;
  const payload = { approval_id: id, task_id, worker_id: actor, fence, action: record.kind, digest, targets };
  await approvals.ask(record, { kind: "approval_requested", actor, payload }, waiter);
  const waiting = waitingFor(asked, id);
  ports.tell(waiting.reason);
  // From here on an answer is kept for the next time; one that was given in the meantime counts now.
  if (approvals.stopWaiting(id)) return waiting;
  const answer = await given;
  if (!answer || answer === "gone") return waiting;
  if (answer.decision === "approve") await owner.record(allowedEvent(asked));
  return afterAnswer(asked, answer);
}

function recordOf({ owner, digest, stops }: Asked, now: Steering, ports: SteeringPorts): ApprovalRecord {
  const at = instantOf(ports.clock.now());
  const texts = new Map(now.entries.map(({ kind, name, text }) => [`${kind}\0${name}`, text]));
  const shown = stops.map(({ kind, name, how }, place) => {
    const text = place < SHOWN_MAX ? texts.get(`${kind}\0${name}`) : undefined;
    const label = `${how} ${kind.replaceAll("_", " ")}`;
    return {
      label,
      text: [printable(name, { oneLine: true }), ...(text === undefined ? [] : [shownText(text)])].join("\n"),
    };
  });
  return {
    version: 1,
    id: newId(owner, ports),
    digest,
    task_id: owner.task,
    fence: owner.fence,
    worker_id: owner.actor,
    tool: null,
    kind: "git_steering",
    targets: stops.map(({ name }) => printable(name, { oneLine: true })).slice(0, SHOWN_MAX),
    command: null,
    shown,
    because: "it is new or changed since the work began, and git would run it",
    asked_at: at,
    expires_at: at,
    on_timeout: "block",
    status: "open",
    decided_at: null,
    decided_by: null,
    note: null,
    used_at: null,
    used_fence: null,
  };
}

function newId({ approvals }: SteeringOwner, { random }: SteeringPorts): string {
  for (let tries = 0; tries < ID_TRIES_MAX; tries++) {
    const id = `ap-${random.name(8)}`;
    if (!approvals.records.some((one) => one.id === id)) return id;
  }
  throw new Error("No new id could be made for a request.");
}

function lineOf({ kind, name, how }: SteeringChange): string {
  return `${kind.replaceAll("_", " ")} ${printable(name, { oneLine: true })} (${how})`;
}

function named(changes: readonly SteeringChange[]): string {
  const lines = changes.slice(0, NAMES_MAX).map(lineOf);
  if (changes.length > NAMES_MAX) lines.push(`${changes.length - NAMES_MAX} more`);
  return lines.join(", ");
}
