/**
 * Before anything is delivered: whether what steers the user's own git is still as it was when the goal's base was recorded.
 * New hooks, filters, helpers and their kind need a person's word, since the user's next git command would run them.
 */
import { shownText } from "../approval/describe.ts";
import type { Answer, Waiter } from "../approval/book.ts";
import type { ApprovalRecord } from "../format/approval.ts";
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
import { sha256 } from "../store/event-line.ts";
import { APPROVAL_NEEDED } from "./approvals.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";

/** Whose request it is: no agent's, but that of the step itself. */
const DELIVER = "goal-deliver";
const ACTOR = "goal-controller";
/** The code of the ending after a no. */
const STEERING_REFUSED = "steering_refused";

/** So many are shown with what they hold; of the others a person sees the names. */
const SHOWN_MAX = 50;
const NAMES_MAX = 5;
const ID_TRIES_MAX = 20;

type SteeringPorts = Pick<GoalPorts, "clock" | "random" | "redactor" | "tell">;

/** Records what steers git in the user's repository, as the work begins. */
export async function recordSteering(
  open: OpenGoal,
  git: PrivateGit,
  ports: Pick<SteeringPorts, "redactor">,
  signal: AbortSignal,
): Promise<void> {
  const { entries } = withoutSecrets(await readSteering(git, signal), ports);
  const steering: SteeringWork = {
    entries: entries.map(({ kind, name, digest }) => ({ kind, name, digest })),
  };
  await open.record({
    kind: "steering_recorded",
    actor: ACTOR,
    payload: { entries: entries.length },
    changes: [change("work.json", { steering })],
  });
}

/**
 * Undefined when nothing was planted since, or a person has let it pass; otherwise a person is asked, and the goal waits for
 * the answer. All other changes are told and recorded, and keep nothing from going on.
 */
export async function steeringEnding(
  open: OpenGoal,
  space: { sliced?: { git: PrivateGit } | undefined },
  ports: SteeringPorts,
  signal: AbortSignal,
): Promise<Ending | undefined> {
  const before = open.work.steering;
  if (!space.sliced || !before) return undefined;
  const now = withoutSecrets(await readSteering(space.sliced.git, signal), ports);
  const changes = compareSteering(before, now);
  const digest = digestOf(open, changes.stops);
  await recordChanges(open, before, changes, ports);
  await withdrawOthers(open, digest);
  if (changes.stops.length === 0 || before.allowed === digest) return undefined;
  const asked = { open, digest, stops: changes.stops };
  const answer = await answerGiven(asked);
  if (answer) return afterAnswer(asked, answer);
  const waiting = open.approvals.open.find((one) => one.digest === digest);
  if (waiting) return waitingEnding(asked, waiting.id);
  return ask(asked, now, ports);
}

/** What is to be decided. */
interface Asked {
  open: OpenGoal;
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

function digestOf({ id }: Pick<OpenGoal, "id">, stops: readonly SteeringChange[]): string {
  const what = stops.map(({ kind, name, how, digest }) => [kind, name, how, digest]);
  return sha256(JSON.stringify([id, DELIVER, what]));
}

async function recordChanges(
  open: OpenGoal,
  before: SteeringWork,
  { stops, others }: SteeringChanges,
  { tell }: SteeringPorts,
): Promise<void> {
  const changes = [...stops, ...others];
  const digest = digestOf(open, changes);
  if (digest === (before.told?.digest ?? digestOf(open, []))) return;
  if (others.length > 0)
    tell(`the repository's git settings changed since the goal began, which stops nothing: ${named(others)}`);
  await open.record({
    kind: "steering_changed",
    actor: ACTOR,
    payload: { stops: stops.map(lineOf), others: others.map(lineOf) },
    changes: [change("work.json", { steering: { ...before, told: { digest, changes } } })],
  });
}

/** Something else changed since it was asked: nobody wants the answer to that any more. */
async function withdrawOthers(open: OpenGoal, digest: string): Promise<void> {
  for (const { id, task_id, digest: old } of open.approvals.open) {
    if (task_id !== DELIVER || old === digest) continue;
    const payload = { approval_id: id, task_id, reason: "the repository has changed since" };
    await open.approvals.end(id, "withdrawn", { kind: "approval_withdrawn", actor: ACTOR, payload });
  }
}

/** An answer that came while the goal was at rest; from now on it is used. */
async function answerGiven(asked: Asked): Promise<Answer | undefined> {
  const { open, digest } = asked;
  const fence = fenceOf(open);
  let answer: Answer | undefined;
  await open.approvals.useLate({ digest, task: DELIVER, fence }, ({ id, status, note, decided_by: by }) => {
    const decision = status === "approved" ? "approve" : "reject";
    answer = { decision, note, by: by ?? "" };
    const payload = { task_id: DELIVER, worker_id: ACTOR, fence, request_id: id, approval_id: id };
    const decided = { decision, feedback: note ?? "", by: "earlier_answer", digest };
    return [
      { kind: "approval_decided", actor: ACTOR, payload: { ...payload, ...decided } },
      ...(decision === "approve" ? [allowedEvent(asked)] : []),
    ];
  });
  return answer;
}

function allowedEvent({ open, digest, stops }: Asked) {
  return {
    kind: "steering_allowed",
    actor: ACTOR,
    payload: { digest, changes: stops.map(lineOf) },
    changes: [change("work.json", { steering: { ...open.work.steering, allowed: digest } })],
  };
}

function afterAnswer({ open, stops }: Asked, { decision, note }: Answer): Ending | undefined {
  if (decision === "approve") return undefined;
  const words = note === null ? "" : ` ("${note}")`;
  return {
    status: "blocked_on_human",
    reasonCode: STEERING_REFUSED,
    reason:
      `a person said no${words} to what was planted in the repository: ${named(stops)}; ` +
      `take it away, then \`omk goal resume ${open.id}\` delivers, or asks again about what is left`,
  };
}

function waitingEnding({ open, stops }: Asked, id: string): Ending {
  return {
    status: "blocked_on_human",
    reasonCode: APPROVAL_NEEDED,
    reason:
      `nothing is delivered, since your git would now run what it did not when the goal began: ${named(stops)}; ` +
      `see it with \`omk approvals show ${id}\`, answer with \`omk approvals answer ${id} approve\`, ` +
      `then \`omk goal resume ${open.id}\``,
  };
}

async function ask(asked: Asked, now: Steering, ports: SteeringPorts): Promise<Ending | undefined> {
  const { open, digest } = asked;
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
  const payload = { approval_id: id, task_id, worker_id: ACTOR, fence, action: record.kind, digest, targets };
  await open.approvals.ask(record, { kind: "approval_requested", actor: ACTOR, payload }, waiter);
  const ending = waitingEnding(asked, id);
  ports.tell(ending.reason ?? "");
  // From here on an answer is kept for the next time; one that was given in the meantime counts now.
  if (open.approvals.stopWaiting(id)) return ending;
  const answer = await given;
  if (!answer || answer === "gone") return ending;
  if (answer.decision === "approve") await open.record(allowedEvent(asked));
  return afterAnswer(asked, answer);
}

function recordOf({ open, digest, stops }: Asked, now: Steering, ports: SteeringPorts): ApprovalRecord {
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
    id: newId(open, ports),
    digest,
    task_id: DELIVER,
    fence: fenceOf(open),
    worker_id: ACTOR,
    tool: null,
    kind: "git_steering",
    targets: stops.map(({ name }) => printable(name, { oneLine: true })).slice(0, SHOWN_MAX),
    command: null,
    shown,
    because: "it is new or changed since the goal began, and git would run it",
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

function newId({ approvals }: OpenGoal, { random }: SteeringPorts): string {
  for (let tries = 0; tries < ID_TRIES_MAX; tries++) {
    const id = `ap-${random.name(8)}`;
    if (!approvals.records.some((one) => one.id === id)) return id;
  }
  throw new Error("No new id could be made for a request.");
}

function fenceOf({ work }: Pick<OpenGoal, "work">): number {
  return work.attempts.at(-1)?.fence ?? 0;
}

function lineOf({ kind, name, how }: SteeringChange): string {
  return `${kind.replaceAll("_", " ")} ${printable(name, { oneLine: true })} (${how})`;
}

function named(changes: readonly SteeringChange[]): string {
  const lines = changes.slice(0, NAMES_MAX).map(lineOf);
  if (changes.length > NAMES_MAX) lines.push(`${changes.length - NAMES_MAX} more`);
  return lines.join(", ");
}
