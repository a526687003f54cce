import { EVENT_TEXT_MAX, RAW_BYTES_MAX, clip } from "./agent-process.ts";
import type { AgentProcess } from "./agent-process.ts";
import { pathsOf } from "./command-fields.ts";
import { abortOf, sleepUnlessOver } from "./deadline.ts";
import { TOOL_KINDS } from "./engine.ts";
import type {
  EngineLimits,
  Failure,
  PermissionAnswer,
  PermissionRequest,
  StartOptions,
  ToolFields,
  ToolOutcome,
  Turn,
} from "./engine.ts";
import { asRecord } from "./rpc.ts";
import { commandOf } from "./shell-words.ts";
import type { Clock } from "../ports.ts";

/** What is gathered while a turn runs, the same for all protocols. */

const TEXT_BYTES_MAX = 1024 * 1024;
const TOOLS_MAX = 10_000;
/** What the open tool calls of a turn told us, kept to judge a later permission request that tells less. */
const KEPT_INPUT_BYTES_MAX = 8 * 1024 * 1024;
const OPEN_APPROVALS_MAX = 100;
const PROPOSALS_MAX = 50;
const PROPOSAL_BYTES_MAX = 256 * 1024;
export const TITLE_MAX = 1000;
export const PATHS_MAX = 200;
const PATH_MAX = 4096;
const NAME_MAX = 200;

/** What an agent says about a tool call; what it leaves out stays as it was said before. */
export interface ToolReport {
  id: string;
  title?: string | null | undefined;
  name?: string | null | undefined;
  kind?: string | null | undefined;
  /** `completed` and `failed` end the call. */
  status?: string | null | undefined;
  content?: unknown[] | null | undefined;
  paths?: string[] | undefined;
  input?: unknown;
  /** Its input was too much, or is nothing that can be read: `input` is not there because of that. */
  isCut?: boolean;
}

/** A tool call as far as it is known. */
export interface Tool {
  readonly id: string;
  name: string | null;
  kind: string;
  title: string;
  paths: string[];
  input: unknown;
  content: unknown[];
  keptBytes: number;
  /** Every path that was told of it, also those that later reports leave out. */
  everyPath: Set<string>;
  /** Not all that was told of it is here, and never will be again, or it was told to be two different things. */
  isCut: boolean;
  denied: boolean;
  /** What was allowed of it, until it is used up: an agent may ask first and then have us do the same. */
  allowed: PermissionRequest | undefined;
  outcome: ToolOutcome | undefined;
}

/** What belongs to a request besides what is decided on. */
export interface Asking {
  /** The message it came in. */
  raw: unknown;
  bytes: number;
  tool: Tool;
  /** What an answer will be to the agent, for the story; undefined when it cannot be said, and is then a cancelled one. */
  optionKind(decision: PermissionAnswer["decision"]): string | undefined;
  /** The answer where leave is given for what may not be: whoever decides is asked all the same, to have it on record. */
  insteadOfLeave?: PermissionAnswer | undefined;
}

/** How a decision about a request came out; `cancelled`: nobody waits for it any more. */
export interface Decided extends Omit<PermissionAnswer, "decision"> {
  decision: PermissionAnswer["decision"] | "cancelled";
}

/** The answer to whatever would change something in a turn that is to read only, whatever the policy. */
export const READS_ONLY: PermissionAnswer = {
  decision: "reject",
  rule: "mode.read_only",
  feedback: "nothing may be changed in this turn",
};

/** One turn while it runs. */
export class TurnRecord {
  readonly tools = new Map<string, Tool>();
  readonly proposals: unknown[] = [];
  /** The tool that was refused last, until something else follows. */
  denied: string | undefined;
  /** The turn was asked to end. */
  isCancelling = false;
  /** It has ended: whatever was asked for it comes too late. */
  isOver = false;
  /** Aborted when the session is stopped in mid-turn. */
  readonly stop = new AbortController();
  readonly #process: AgentProcess;
  readonly #options: Pick<StartOptions, "decidePermission">;
  readonly #clock: Clock;
  readonly #text = new TextTail(TEXT_BYTES_MAX);
  /** Of open requests. Not by their ids: those are the agent's own, and two may have the same. */
  readonly #approvals = new Set<AbortController>();
  readonly #answering = new Set<Promise<unknown>>();
  #openTools = 0;
  #keptBytes = 0;
  #proposalsDropped = 0;
  #lastSignMs: number;

  constructor(process: AgentProcess, options: Pick<StartOptions, "decidePermission">, clock: Clock) {
    this.#process = process;
    this.#options = options;
    this.#clock = clock;
    this.#lastSignMs = clock.monotonicMs();
  }

  /** A sign of life. */
  sign(): void {
    this.#lastSignMs = this.#clock.monotonicMs();
  }

  /** The agent's text so far, its end when it is long. */
  text(): string {
    return this.#text.read();
  }

  /** From here on text may be taken back, until this is called again. */
  markText(): void {
    this.#text.mark();
  }

  /** Forgets the text since the mark: the agent says it anew. */
  dropText(): void {
    this.#text.cutToMark();
  }

  /** Takes a piece of text in. */
  takeText(text: string, thinking: boolean): void {
    if (!thinking) this.#text.add(text);
    if (text.trim() !== "") this.denied = undefined;
    emitText(this.#process, text, thinking);
  }

  /**
   * Takes in what was said about a tool call, which may be seen first as a call, as an update of an unknown id, or in a
   * permission request. Undefined when there are too many: the agent is then refused.
   */
  takeTool(report: ToolReport, raw: unknown, bytes: number): Tool | undefined {
    let tool = this.tools.get(report.id);
    const isNew = tool === undefined;
    if (!tool) {
      if (this.tools.size >= TOOLS_MAX) return undefined;
      tool = newTool(report.id);
      this.tools.set(tool.id, tool);
      this.#openTools++;
    }
    // What comes late of another refused call is no sign that the agent went on.
    if (!tool.denied) this.denied = undefined;
    if (typeof report.name === "string") tool.name = clip(report.name, NAME_MAX);
    if (typeof report.title === "string") tool.title = clip(report.title, TITLE_MAX);
    if (report.paths) tool.paths = report.paths.slice(0, PATHS_MAX).map((path) => clip(path, PATH_MAX));
    if (isTooMuch(report) || isAnother(report, tool)) tool.isCut = true;
    // A word of the agent's own would be taken for what rules and people know.
    if (typeof report.kind === "string") tool.kind = TOOL_KINDS.has(report.kind) ? report.kind : "other";
    for (const path of [...tool.paths, ...pathsOf(asRecord(report.input))])
      if (tool.everyPath.size < PATHS_MAX) tool.everyPath.add(path);
      else if (!tool.everyPath.has(path)) tool.isCut = true;
    if (!tool.outcome) this.#keepInput(tool, report, bytes);

    const status = report.status ?? "pending";
    const said = { status: clip(status, 100), ...inputOf(report.input, bytes), ...toolFields(tool) };
    if (isNew) this.#process.emit({ kind: "tool-started", ...said }, raw, bytes);
    if (!tool.outcome && (status === "completed" || status === "failed")) {
      const outcome = status === "completed" ? "ok" : tool.denied ? "denied" : "failed";
      this.finishTool(tool, outcome, raw, bytes);
    } else if (!isNew) {
      this.#process.emit({ kind: "tool-updated", ...said }, raw, bytes);
    }
    return tool;
  }

  /** The first tool call that has not ended and is like that. */
  openTool(isWanted: (tool: Tool) => boolean): Tool | undefined {
    for (const tool of this.tools.values()) if (!tool.outcome && isWanted(tool)) return tool;
    return undefined;
  }

  /** Ends a tool call. */
  finishTool(tool: Tool, outcome: ToolOutcome, raw?: unknown, bytes = 0): void {
    tool.outcome = outcome;
    this.#openTools--;
    this.#keptBytes -= tool.keptBytes;
    tool.keptBytes = 0;
    tool.input = undefined;
    tool.content = [];
    tool.allowed = undefined;
    this.#process.emit({ kind: "tool-finished", outcome, ...toolFields(tool) }, raw, bytes);
  }

  #keepInput(tool: Tool, report: ToolReport, bytes: number): void {
    if (report.input === undefined && !report.content) return;
    const kept = this.#keptBytes - tool.keptBytes;
    if (kept + bytes > KEPT_INPUT_BYTES_MAX) {
      // Dropped rather than cut: half an input must not be judged.
      tool.isCut = true;
      tool.input = undefined;
      tool.content = [];
      tool.keptBytes = 0;
    } else {
      if (report.input !== undefined) tool.input = report.input;
      if (report.content) tool.content = report.content;
      tool.keptBytes += bytes;
    }
    this.#keptBytes = kept + tool.keptBytes;
  }

  /** Keeps a task the agent proposed, up to a bound. */
  takeProposal(proposal: unknown, bytes: number): void {
    if (this.proposals.length >= PROPOSALS_MAX || bytes > PROPOSAL_BYTES_MAX) {
      this.#proposalsDropped++;
      return;
    }
    this.proposals.push(proposal);
    this.#process.emit({ kind: "notice", message: "proposed a task" }, proposal, bytes);
  }

  /** Has a request decided and tells both sides of it. */
  ask(asked: PermissionRequest, how: Asking): Promise<Decided> {
    const answering = this.#ask(asked, how);
    this.#answering.add(answering);
    return answering.finally(() => this.#answering.delete(answering));
  }

  async #ask(asked: PermissionRequest, how: Asking): Promise<Decided> {
    const { raw, bytes, tool } = how;
    this.sign();
    this.#process.emit(
      {
        kind: "approval-asked",
        request_id: asked.id,
        option_kinds: asked.options.map((option) => clip(option.kind, 100)),
        ...inputOf(asked.rawInput, bytes),
        ...toolFields(tool),
      },
      raw,
      bytes,
    );
    const said = await this.#decide(asked);
    const answer = (said.decision === "allow" ? how.insteadOfLeave : undefined) ?? said;
    this.sign();
    const chosen = answer.decision === "cancelled" ? undefined : how.optionKind(answer.decision);
    const decision = chosen === undefined ? "cancelled" : answer.decision;
    if (answer.decision === "reject") {
      tool.denied = true;
      this.denied = tool.id;
    } else if (decision === "allow" && !tool.outcome) tool.allowed = asked;
    this.#process.emit({
      kind: "approval-answered",
      request_id: asked.id,
      tool_id: tool.id,
      decision,
      rule: answer.rule,
      option_kind: chosen ?? null,
    });
    return { ...answer, decision };
  }

  async #decide(asked: PermissionRequest): Promise<Decided> {
    if (this.isCancelling) return TURN_OVER;
    if (this.#approvals.size >= OPEN_APPROVALS_MAX)
      return { decision: "reject", rule: "limit.open_approvals" };
    const gone = new AbortController();
    const answered = new AbortController();
    const cancelled = abortOf(gone.signal, answered.signal).then(() => TURN_OVER);
    this.#approvals.add(gone);
    try {
      return await Promise.race([cancelled, this.#options.decidePermission(asked, gone.signal)]);
    } catch (error) {
      // A decider may reject because we told it that nobody waits any more.
      if (gone.signal.aborted) return TURN_OVER;
      throw error;
    } finally {
      answered.abort();
      this.#approvals.delete(gone);
    }
  }

  /** Tells everybody who decides about a request that nobody waits for it any more. */
  cancelApprovals(): void {
    for (const gone of this.#approvals) gone.abort();
  }

  /** Waits for the turn's answer, but not longer than its limits allow. */
  async outcome<T>(
    answer: Promise<T>,
    limits: EngineLimits,
    signal: AbortSignal,
  ): Promise<{ by: "answer"; answer: T } | { by: Interruption }> {
    const over = new AbortController();
    try {
      return await Promise.race([
        answer.then((value) => ({ by: "answer", answer: value }) as const),
        sleepUnlessOver(this.#clock, limits.turnMs, over.signal).then(() => ({ by: "time" }) as const),
        this.#watchSilence(limits.idleMs, over.signal),
        abortOf(signal, over.signal).then(() => ({ by: "cancel" }) as const),
        abortOf(this.stop.signal, over.signal).then(() => ({ by: "cancel" }) as const),
      ]);
    } finally {
      over.abort();
    }
  }

  async #watchSilence(idleMs: number, signal: AbortSignal): Promise<{ by: "idle" }> {
    while (!signal.aborted) {
      // While a tool or a request is open the agent waits, too; its end is a sign, so silence is counted from there.
      const busy = this.#openTools > 0 || this.#approvals.size > 0;
      const silentMs = busy ? 0 : this.#clock.monotonicMs() - this.#lastSignMs;
      if (silentMs >= idleMs) break;
      await sleepUnlessOver(this.#clock, idleMs - silentMs, signal);
    }
    return { by: "idle" };
  }

  /** Resolves when every open request has its answer in the story. */
  async answersTold(): Promise<void> {
    this.cancelApprovals();
    await Promise.allSettled(this.#answering);
  }

  /** Ends what is still open at the turn's end, and says what was dropped. */
  close(): Pick<Turn, "text" | "toolCalls" | "proposals"> {
    this.isOver = true;
    for (const tool of this.tools.values()) {
      if (!tool.outcome)
        this.finishTool(tool, tool.denied ? "denied" : this.isCancelling ? "cancelled" : "unknown");
    }
    if (this.#proposalsDropped > 0) {
      const message = `${this.#proposalsDropped} proposed tasks were dropped: too many or too large`;
      this.#process.emit({ kind: "notice", message });
    }
    return { text: this.text(), toolCalls: this.tools.size, proposals: this.proposals };
  }

  /** What a turn is that its agent ended in its own good time: the words and tools decide, not the agent's word. */
  endedByAgent(): Pick<Turn, "status" | "failure"> {
    if (this.denied !== undefined) return { status: "denied" };
    if (this.text().trim() === "" && this.tools.size === 0) {
      // One agent ends like this when its model cannot be reached.
      const message = "The agent ended its turn without a word and without using a tool.";
      return { status: "empty", failure: { class: "provider", message, retryable: true } };
    }
    return { status: "finished" };
  }
}

/** What ends the waiting for a turn before its agent does. */
export type Interruption = "cancel" | "idle" | "time";

/** A piece of text as an event, cut when it is large. */
export function emitText(process: AgentProcess, text: string, thinking: boolean): void {
  const omitted = text.length - EVENT_TEXT_MAX;
  process.emit({
    kind: "text",
    text: text.slice(0, EVENT_TEXT_MAX),
    thinking,
    ...(omitted > 0 ? { omitted_characters: omitted } : {}),
  });
}

/** Why a turn that was silent or long was ended. */
export function timeoutFailure(process: AgentProcess, by: "idle" | "time", limits: EngineLimits): Failure {
  const { idleMs, turnMs } = limits;
  const what = by === "idle" ? `gave no sign of life for ${idleMs} ms` : `took longer than ${turnMs} ms`;
  const message = `The turn of ${process.name} ${what}.${process.lastWords()}`;
  return { class: "timeout", message, retryable: true };
}

/** A turn in which nothing happened. */
export function emptyTurn(status: "failed" | "cancelled", failure?: Failure): Turn {
  return {
    status,
    ...(failure ? { failure } : {}),
    text: "",
    toolCalls: 0,
    usage: { input_tokens: 0, output_tokens: 0, quality: "missing" },
    proposals: [],
  };
}

const TURN_OVER: Decided = { decision: "cancelled", rule: "turn.over" };

function newTool(id: string): Tool {
  return {
    id,
    name: null,
    kind: "other",
    title: "",
    paths: [],
    input: undefined,
    content: [],
    keptBytes: 0,
    everyPath: new Set(),
    isCut: false,
    denied: false,
    allowed: undefined,
    outcome: undefined,
  };
}

/** Whether a tool call is now told to be something else than before, which nobody may take for the whole of it. */
function isAnother({ kind, input }: ToolReport, tool: Tool): boolean {
  const isOtherKind = (kind ?? "other") !== "other" && tool.kind !== "other" && tool.kind !== kind;
  const [before, now] = [commandOf(tool.input), commandOf(input)];
  return isOtherKind || (before !== null && now !== null && before !== now);
}

/** Whether not all of what is said about a tool call is kept. */
function isTooMuch({ name, paths = [], isCut = false }: ToolReport): boolean {
  const isLong = paths.length > PATHS_MAX || paths.some((path) => path.length > PATH_MAX);
  return isCut || isLong || (name?.length ?? 0) > NAME_MAX;
}

function toolFields(tool: Tool): ToolFields {
  return { tool_id: tool.id, name: tool.name, tool_kind: tool.kind, title: tool.title, paths: tool.paths };
}

function inputOf(input: unknown, bytes: number): { input?: unknown } {
  if (input === undefined) return {};
  return { input: bytes <= RAW_BYTES_MAX ? input : { omitted_bytes: bytes } };
}

/** The end of a text that may be much longer. */
class TextTail {
  readonly #bytesMax: number;
  #text = "";
  #mark = 0;
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  add(part: string): void {
    this.#text += part;
    // A character is at least one byte, so this many characters always hold what is kept in the end.
    if (this.#text.length <= this.#bytesMax * 2) return;
    const cut = this.#text.length - this.#bytesMax;
    this.#text = this.#text.slice(cut);
    this.#mark = Math.max(0, this.#mark - cut);
  }

  mark(): void {
    this.#mark = this.#text.length;
  }

  cutToMark(): void {
    this.#text = this.#text.slice(0, this.#mark);
  }

  read(): string {
    const bytes = new TextEncoder().encode(this.#text);
    if (bytes.length <= this.#bytesMax) return this.#text;
    let start = bytes.length - this.#bytesMax;
    // Not in the middle of a character.
    while (start < bytes.length && ((bytes[start] ?? 0) & 0xc0) === 0x80) start++;
    return new TextDecoder().decode(bytes.subarray(start));
  }
}
