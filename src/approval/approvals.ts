/**
 * What agents ask before they use a tool, and who answers: the role, the hooks, an answer given earlier, the policy, a
 * person. One of these serves a goal or a team run for as long as this process controls it. Every request and what became
 * of it is in the log before the agent hears of it, so nothing that a crash cuts off was ever allowed.
 */
import { dirname } from "node:path";

import type { Settings, TrustedHook } from "../config/settings.ts";
import type { PermissionAnswer, PermissionRequest } from "../engine/engine.ts";
import type { TurnStop } from "../engine/turn.ts";
import type { ApprovalRecord } from "../format/approval.ts";
import { printable } from "../format/printable.ts";
import { instantOf } from "../format/stamp.ts";
import type { Processes } from "../ports.ts";
import type { NewEvent } from "../store/event-log.ts";
import type { Answer, ApprovalBook, BookPorts, Waiter } from "./book.ts";
import { describeRequest, digestOf, shortened, shownText, type Described } from "./describe.ts";
import { hooksOf, type AttemptHooks, type HookPorts } from "./hooks.ts";
import { possibleKinds } from "./input.ts";
import { compilePolicy, decideByPolicy } from "./policy.ts";
import { approvalSettings, type ApprovalSettings, type RecordedApprovals } from "./settings.ts";

/** Whose requests these are. */
export interface AttemptScope {
  task: string;
  fence: number;
  worker: string;
  /** Where the agent works. */
  cwd: string;
  /** When the turn's time is over, on the monotonic clock: what waits for a person must be heard before that. */
  endsAtMs?: number;
  /** Why the worker's role does not allow a kind of tool; undefined when it does. */
  roleRefuses?(kind: string): string | undefined;
  /** What only reads is granted, everything else refused, and nobody is asked. */
  readsOnly?: boolean;
  /** The agent calls hooks by itself, so they need not be asked once more. */
  callsHooks?(): boolean;
}

/** What one attempt needs to have its requests answered. */
export interface AttemptPermissions {
  decide(request: PermissionRequest, signal: AbortSignal): Promise<PermissionAnswer>;
  /** Fires when a request waits for a person and nobody answered in time. */
  blocked: TurnStop;
  hooks?: AttemptHooks;
  /** What was refused last, for an attempt that ended over it. */
  readonly refused: string | undefined;
  /** What nobody answered in time, for an attempt that ended over it. */
  readonly unanswered: string | undefined;
  /** Resolves when everything about its requests is written down. */
  settled(): Promise<void>;
}

/** What a person at a terminal is asked. */
export interface Question {
  id: string;
  worker: string;
  task: string;
  shown: ApprovalRecord["shown"];
  because: string;
  timeoutMs: number;
}

/** Asks whoever sits at the terminal; undefined when nothing came before the signal. */
export type AskPerson = (question: Question, signal: AbortSignal) => Promise<Answer["decision"] | undefined>;

/** What deciding needs of the world. */
export type ApprovalPorts = BookPorts &
  Omit<HookPorts, "record" | "disk" | "clock" | "processes"> & {
    processes: Pick<Processes, "self" | "run">;
    /** Absent without a terminal. */
    askPerson?: AskPerson;
  };

/** What holds for one goal or run, as it was recorded and as the project's configuration says now. */
export function approvalsFor(
  book: ApprovalBook,
  recorded: RecordedApprovals,
  projectDir: string,
  ports: ApprovalPorts & { settings(projectDir: string): Settings },
): Approvals {
  const settings = approvalSettings(recorded, ports.askPerson !== undefined);
  return new Approvals(book, settings, () => ports.settings(projectDir).hooks, ports);
}

/** Requests that may wait for a person at once. */
const OPEN_MAX = 100;
const ID_TRIES_MAX = 20;
/** A request is kept and shown whole, or refused. */
const SHOWN_CHARACTERS_MAX = 128 * 1024;
/** So much before the end of a turn's time nobody is waited for any more. */
const LAST_WORD_MS = 1_000;
const TARGETS_KEPT_MAX = 50;
const COMMAND_CHARACTERS_MAX = 4_000;

/** One request on its way. */
interface Asked {
  scope: AttemptScope;
  request: PermissionRequest;
  described: Described;
  digest: string;
  /** That it was asked, until the log has it. */
  requested: NewEvent | undefined;
  blocked: AbortController;
  told(unanswered: string): void;
}

/** Who decided, as the log says it. */
type DecidedBy = "role" | "hook" | "earlier_answer" | "policy" | "person" | "limit" | "timeout" | "turn_over";

/** Decides the requests of all attempts of one goal or run. */
export class Approvals {
  readonly #book: ApprovalBook;
  readonly #settings: ApprovalSettings;
  readonly #hooks: () => readonly TrustedHook[];
  readonly #ports: ApprovalPorts;
  /** Requests that are about to be opened. */
  readonly #opening = new Set<string>();

  constructor(
    book: ApprovalBook,
    settings: ApprovalSettings,
    hooks: () => readonly TrustedHook[],
    ports: ApprovalPorts,
  ) {
    this.#book = book;
    this.#settings = settings;
    this.#hooks = hooks;
    this.#ports = ports;
  }

  /** The permissions of one attempt. */
  attempt(scope: AttemptScope): AttemptPermissions {
    const blocked = new AbortController();
    const running = new Set<Promise<unknown>>();
    const record = (...events: NewEvent[]) => this.#book.owner.record(...events);
    const hooks = hooksOf(this.#hooks(), scope, { ...this.#ports, record });
    let refused: string | undefined;
    let unanswered: string | undefined;
    const decide = async (request: PermissionRequest, signal: AbortSignal): Promise<PermissionAnswer> => {
      const described = describeRequest(
        request,
        { cwd: scope.cwd, stateFolder: dirname(dirname(this.#book.owner.folder)) },
        this.#ports,
      );
      const digest = digestOf(described, { run: this.#book.owner.id, task: scope.task });
      const asked: Asked = {
        scope,
        request,
        described,
        digest,
        requested: requestedEvent(scope, request, described, digest),
        blocked,
        told: (what) => (unanswered ??= what),
      };
      const answer = await this.#decide(asked, hooks, signal);
      if (answer.decision === "reject") refused = `${answer.rule}: ${titleOf(request)}`;
      return answer;
    };
    return {
      decide(request, signal) {
        const deciding = decide(request, signal);
        running.add(deciding);
        const forget = () => running.delete(deciding);
        deciding.then(forget, forget);
        return deciding;
      },
      blocked: { signal: blocked.signal, status: "blocked" },
      ...(hooks && { hooks }),
      get refused() {
        return refused;
      },
      get unanswered() {
        return unanswered;
      },
      async settled() {
        // What fails here has failed for whoever asked, too, but perhaps after he had gone.
        while (running.size > 0) await Promise.all(running);
      },
    };
  }

  async #decide(
    asked: Asked,
    hooks: AttemptHooks | undefined,
    signal: AbortSignal,
  ): Promise<PermissionAnswer> {
    const { scope, request, described } = asked;
    const because = possibleKinds(request)
      .map((kind) => scope.roleRefuses?.(kind))
      .find((one) => one !== undefined);
    if (because !== undefined) return this.#answer(asked, "role", { decision: "reject", rule: because });
    if (hooks && scope.callsHooks?.() !== true) {
      const said = await hooks.beforeTool(request, signal);
      if (said.action === "block") {
        const feedback = said.reason;
        return this.#answer(asked, "hook", { decision: "reject", rule: "a hook forbids it", feedback });
      }
    }
    if (scope.readsOnly === true) return this.#answer(asked, "role", readingAnswer(scope, described));
    const earlier = await this.#earlierAnswer(asked);
    if (earlier) return earlier;
    const said = decideByPolicy(this.#settings.policy, described);
    if (said.outcome === "allow")
      return this.#answer(asked, "policy", { decision: "allow", rule: said.rule });
    const characters = described.shown.reduce((sum, { text }) => sum + text.length, 0);
    if (characters > SHOWN_CHARACTERS_MAX) {
      // Half of it would be shown, and all of it allowed.
      const rule = `limit.request_characters: it says ${characters}, and no more than ${SHOWN_CHARACTERS_MAX} are shown to a person`;
      const feedback = "This is too long for a person to read: ask for less at once.";
      return this.#answer(asked, "limit", { decision: "reject", rule, feedback });
    }
    const opened = this.#book.open.filter(({ id }) => !this.#opening.has(id)).length;
    if (opened + this.#opening.size >= OPEN_MAX) {
      const rule = `limit.open_approvals: ${OPEN_MAX} requests wait for a person already`;
      return this.#answer(asked, "limit", { decision: "reject", rule });
    }
    return this.#askPerson(asked, said.because, signal);
  }

  /** An answer that was given when nobody waited for it any more serves this request, and then no other. */
  async #earlierAnswer(asked: Asked): Promise<PermissionAnswer | undefined> {
    const { scope, digest } = asked;
    let answer: PermissionAnswer | undefined;
    await this.#book.useLate({ digest, task: scope.task, fence: scope.fence }, (record) => {
      answer = personsAnswer(record.status === "approved" ? "approve" : "reject", record.id, record.note);
      return [...untold(asked), decidedEvent(asked, "earlier_answer", answer, record.id)];
    });
    return answer;
  }

  async #askPerson(asked: Asked, because: string, signal: AbortSignal): Promise<PermissionAnswer> {
    const { clock, redactor, tell } = this.#ports;
    const { scope } = asked;
    // A turn that ran out of time over an open question would look like the agent's failure.
    const leftMs = (scope.endsAtMs ?? Infinity) - clock.monotonicMs() - LAST_WORD_MS;
    const timeoutMs = Math.max(0, Math.min(this.#settings.timeoutMs, leftMs));
    const settings = { ...this.#settings, timeoutMs };
    const id = this.#newId();
    const record = redactor.value(
      recordOf(asked, { id, because, at: clock.now(), settings }),
    ) as ApprovalRecord;
    const { waiter, answered } = newWaiter();
    const event = asked.requested ?? requestedEvent(scope, asked.request, asked.described, asked.digest);
    asked.requested = undefined;
    this.#opening.add(id);
    try {
      await this.#book.ask(record, withId(event, id), waiter);
    } finally {
      this.#opening.delete(id);
    }
    tell(`${scope.worker} waits for a person: ${summaryOf(record)} (${because})`);
    tell(`  omk approvals show ${id}; omk approvals answer ${id} approve|reject`);
    const over = new AbortController();
    const until = AbortSignal.any([signal, over.signal]);
    const person = this.#ports.askPerson?.(
      { id, worker: scope.worker, task: scope.task, shown: shortened(record.shown, id), because, timeoutMs },
      until,
    );
    const atTerminal = person?.then(async (decision) => {
      if (decision && !until.aborted)
        await this.#book.answer(id, { decision, note: null, by: "terminal" }, null);
    });
    // A terminal that fails is no answer; the others still may come.
    atTerminal?.catch((error: unknown) => tell(`the terminal cannot be asked: ${String(error)}`));
    try {
      const said = await Promise.race([answered, timeOf(clock.sleep(timeoutMs, until))]);
      if (said !== "late" && said !== "gone") return await this.#givenBy(asked, id, said);
      if (said === "gone") return await this.#withdraw(asked, id, answered);
      return await this.#unanswered(asked, record, answered);
    } finally {
      over.abort();
      this.#book.stopWaiting(id);
    }
  }

  #newId(): string {
    for (let tries = 0; tries < ID_TRIES_MAX; tries++) {
      const id = `ap-${this.#ports.random.name(8)}`;
      if (!this.#opening.has(id) && !this.#book.records.some((one) => one.id === id)) return id;
    }
    throw new Error("No new id could be made for a request.");
  }

  #givenBy(asked: Asked, id: string, answer: Answer): Promise<PermissionAnswer> {
    return this.#answer(asked, "person", personsAnswer(answer.decision, id, answer.note), id);
  }

  /** What came in the very moment in which nobody wanted to wait any longer. */
  async #lastWord(asked: Asked, id: string, answered: Promise<Answer | "gone">): Promise<PermissionAnswer> {
    const said = await answered;
    return said === "gone" ? this.#withdraw(asked, id, answered) : this.#givenBy(asked, id, said);
  }

  /** The agent's turn has ended: where it ended over another request this one waits, too, and otherwise for nobody. */
  async #withdraw(asked: Asked, id: string, answered: Promise<Answer | "gone">): Promise<PermissionAnswer> {
    const rule = "the turn has ended";
    const answer: PermissionAnswer = { decision: "reject", rule };
    const event = decidedEvent(asked, "turn_over", answer, id, "cancelled");
    if (asked.blocked.signal.aborted && this.#book.stopWaiting(id)) {
      await this.#book.owner.record(event);
      return answer;
    }
    if (await this.#book.end(id, "withdrawn", event)) return answer;
    const said = await answered;
    if (said !== "gone") return this.#givenBy(asked, id, said);
    // The request was withdrawn before the turn was told to end.
    await this.#book.owner.record(event);
    return answer;
  }

  async #unanswered(
    asked: Asked,
    record: ApprovalRecord,
    answered: Promise<Answer | "gone">,
  ): Promise<PermissionAnswer> {
    const { id } = record;
    const rule = "nobody answered in time";
    const answer: PermissionAnswer = {
      decision: "reject",
      rule,
      feedback: `A person was asked and ${rule}.`,
    };
    if (this.#settings.onTimeout === "reject") {
      if (await this.#book.end(id, "expired", decidedEvent(asked, "timeout", answer, id))) {
        this.#ports.tell(`${id}: ${rule}, so it is a no`);
        return answer;
      }
      return this.#lastWord(asked, id, answered);
    }
    // From here on an answer is kept for later; one that is on its way is not.
    if (!this.#book.stopWaiting(id)) return this.#lastWord(asked, id, answered);
    asked.told(`${id} waits for a person: ${summaryOf(record)}`);
    // The agent is told nothing but that its turn is over: the request itself stays open.
    await this.#book.owner.record(decidedEvent(asked, "timeout", answer, id, "cancelled"));
    asked.blocked.abort(new Error(rule));
    return answer;
  }

  /** Writes a decision down, then gives it. */
  async #answer(
    asked: Asked,
    by: DecidedBy,
    answer: PermissionAnswer,
    id: string | null = null,
  ): Promise<PermissionAnswer> {
    await this.#book.owner.record(...untold(asked), decidedEvent(asked, by, answer, id));
    return answer;
  }
}

function newWaiter(): { waiter: Waiter; answered: Promise<Answer | "gone"> } {
  let waiter: Waiter | undefined;
  const answered = new Promise<Answer | "gone">((resolve, reject) => {
    waiter = { answered: resolve, ended: () => resolve("gone"), failed: reject };
  });
  // Whoever looks at it later hears of it then.
  answered.catch(() => undefined);
  return { waiter: waiter as unknown as Waiter, answered };
}

/** What came of waiting: the time is over, or nobody waits any more. */
function timeOf(sleeping: Promise<void>): Promise<"late" | "gone"> {
  return sleeping.then(
    () => "late",
    // It rejects only when it is aborted.
    () => "gone",
  );
}

const READS_ONLY = compilePolicy("safe", "");

function readingAnswer({ worker }: AttemptScope, described: Described): PermissionAnswer {
  return decideByPolicy(READS_ONLY, described).outcome === "allow"
    ? { decision: "allow", rule: `${worker} may read` }
    : { decision: "reject", rule: `${worker} changes nothing` };
}

function personsAnswer(decision: Answer["decision"], id: string, note: string | null): PermissionAnswer {
  if (decision === "approve") return { decision: "allow", rule: `a person approved ${id}` };
  const feedback = note === null ? "A person said no." : `A person said no: ${note}`;
  return { decision: "reject", rule: `a person rejected ${id}`, feedback };
}

function titleOf({ title }: PermissionRequest): string {
  return printable(title.slice(0, 500), { oneLine: true });
}

function requestedEvent(
  scope: AttemptScope,
  request: PermissionRequest,
  described: Described,
  digest: string,
): NewEvent {
  return {
    kind: "approval_requested",
    actor: scope.worker,
    payload: {
      task_id: scope.task,
      worker_id: scope.worker,
      fence: scope.fence,
      request_id: request.id,
      approval_request_id: request.id,
      tool_call_id: request.toolCallId,
      sender: described.name,
      action: described.kind,
      description: titleOf(request),
      source_kind: null,
      agent_id: null,
      subagent_type: null,
      digest,
      targets: keptTargets(described),
      command: keptCommand(described),
    },
  };
}

/** The event that it was asked, when the log does not have it yet; from now on it counts as told. */
function untold(asked: Asked): NewEvent[] {
  const { requested } = asked;
  asked.requested = undefined;
  return requested ? [requested] : [];
}

/** The event of a request that waits names what can be answered. */
function withId(event: NewEvent, id: string): NewEvent {
  return { ...event, payload: { ...event.payload, approval_id: id } };
}

function decidedEvent(
  { scope, request, digest }: Pick<Asked, "scope" | "request" | "digest">,
  by: DecidedBy,
  answer: PermissionAnswer,
  approvalId: string | null,
  decision: "approve" | "reject" | "cancelled" = answer.decision === "allow" ? "approve" : "reject",
): NewEvent {
  return {
    kind: "approval_decided",
    actor: scope.worker,
    payload: {
      task_id: scope.task,
      worker_id: scope.worker,
      fence: scope.fence,
      request_id: request.id,
      approval_request_id: request.id,
      ...(approvalId !== null && { approval_id: approvalId }),
      decision,
      feedback: answer.feedback ?? "",
      by,
      rule: answer.rule,
      digest,
    },
  };
}

function keptTargets({ targets }: Described): string[] {
  const kept = targets.slice(0, TARGETS_KEPT_MAX).map(({ path }) => printable(path, { oneLine: true }));
  return targets.length > kept.length ? [...kept, `… ${targets.length - kept.length} more`] : kept;
}

function keptCommand({ commands }: Described): string | null {
  return commands.length === 0 ? null : shownText(commands.join("\n"), COMMAND_CHARACTERS_MAX);
}

function recordOf(
  { scope, described, digest }: Asked,
  more: { id: string; because: string; at: Date; settings: ApprovalSettings },
): ApprovalRecord {
  return {
    version: 1,
    id: more.id,
    digest,
    task_id: scope.task,
    fence: scope.fence,
    worker_id: scope.worker,
    tool: described.name === null ? null : printable(described.name, { oneLine: true }),
    kind: described.kind,
    targets: keptTargets(described),
    command: keptCommand(described),
    shown: described.shown,
    because: more.because,
    asked_at: instantOf(more.at),
    expires_at: instantOf(new Date(more.at.getTime() + more.settings.timeoutMs)),
    on_timeout: more.settings.onTimeout,
    status: "open",
    decided_at: null,
    decided_by: null,
    note: null,
    used_at: null,
    used_fence: null,
  };
}

const SUMMARY_CHARACTERS_MAX = 120;

/** A request on one line. */
export function summaryOf({ tool, kind, command, targets, shown }: ApprovalRecord): string {
  const what = command ?? (targets.join(", ") || (shown.at(-1)?.text ?? ""));
  const line = `${tool ?? kind} ${what}`.replaceAll(/\s+/g, " ");
  const characters = Array.from(line);
  if (characters.length <= SUMMARY_CHARACTERS_MAX) return line;
  return `${characters.slice(0, SUMMARY_CHARACTERS_MAX - 1).join("")}…`;
}
