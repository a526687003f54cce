/** Asking about what an agent has its client do: write a file, run a command. */
import type { PermissionRequest } from "./engine.ts";
import { RPC_CODES, RpcError } from "./rpc.ts";
import { READS_ONLY, type Tool, type TurnRecord } from "./turn-record.ts";

/** Something that the agent has us do. */
export interface ClientAct {
  /** The method by which it asked. */
  method: string;
  kind: "read" | "edit" | "execute";
  title: string;
  command: string | null;
  locations: string[];
  rawInput: Record<string, unknown>;
  content: unknown[];
  /** The message, for the story. */
  raw: unknown;
  bytes: number;
  /** Whether a tool call of the agent's is this act, as far as what it tells of itself goes: for the story alone. */
  isShownBy(tool: Pick<Tool, "kind" | "paths" | "input" | "content">): boolean;
  /** Whether what was allowed is this act and nothing else, to the letter. */
  isCoveredBy(allowed: PermissionRequest): boolean;
}

/** An act that is allowed; `finish` is called once, when it is over. */
export interface AllowedAct {
  finish(outcome: "ok" | "failed" | "cancelled"): void;
}

const OPTIONS = [
  { id: "allow", name: "Allow", kind: "allow_once" },
  { id: "reject", name: "Reject", kind: "reject_once" },
];

/** Counts the acts of a session, for names that no agent gives. */
export class ClientActs {
  #count = 0;
  /** Tool calls that only we have told of. */
  readonly #own = new WeakSet<Tool>();
  /** A mode in which nothing may be changed: no answer of anybody lets a write pass. */
  readonly #readOnly: boolean;

  constructor({ readOnly }: { readOnly: boolean }) {
    this.#readOnly = readOnly;
  }

  /**
   * Has an act decided, unless the agent asked for the same itself and was allowed. Throws the error that the agent gets
   * when it may not. The story shows an act once: as the agent's own tool call where there is one.
   */
  async ask(turn: TurnRecord | undefined, act: ClientAct): Promise<AllowedAct> {
    if (!turn || turn.isCancelling || turn.isOver)
      throw new RpcError(RPC_CODES.internal, "No turn is running that this could belong to");
    const asked = turn.openTool(
      ({ allowed }) => allowed !== undefined && !allowed.isCut && act.isCoveredBy(allowed),
    );
    if (asked) {
      // Before anything is awaited: one answer is for one act.
      asked.allowed = undefined;
      return { finish: () => undefined };
    }
    this.#count++;
    const theirs = turn.openTool((tool) => !this.#own.has(tool) && act.isShownBy(tool));
    const tool = theirs ?? this.#show(turn, act);
    if (!tool) throw new RpcError(RPC_CODES.internal, "Too many tool calls in one turn");
    const finish: AllowedAct["finish"] = (outcome) => {
      if (!theirs && !tool.outcome) turn.finishTool(tool, outcome);
    };
    const answer = await turn.ask(
      {
        id: `omk-client-${this.#count}`,
        toolCallId: tool.id,
        title: act.title,
        name: tool.name,
        kind: act.kind,
        command: act.command,
        locations: act.locations,
        rawInput: act.rawInput,
        content: act.content,
        options: OPTIONS,
      },
      {
        raw: act.raw,
        bytes: act.bytes,
        tool,
        optionKind: (decision) => (decision === "allow" ? "allow_once" : "reject_once"),
        insteadOfLeave: this.#readOnly && act.kind === "edit" ? READS_ONLY : undefined,
      },
    );
    // It was for this act, which happens now.
    tool.allowed = undefined;
    if (answer.decision === "allow") return { finish };
    if (!theirs && !tool.outcome)
      turn.finishTool(tool, answer.decision === "reject" ? "denied" : "cancelled");
    const because = answer.feedback ?? (answer.decision === "reject" ? "it was refused" : "the turn is over");
    throw new RpcError(RPC_CODES.internal, `Not allowed: ${because}`);
  }

  #show(turn: TurnRecord, act: ClientAct): Tool | undefined {
    const { method, kind, title, locations, rawInput, content } = act;
    const report = { id: `omk-client-${this.#count}`, name: method, kind, title, status: "in_progress" };
    const tool = turn.takeTool({ ...report, paths: locations, input: rawInput, content }, act.raw, act.bytes);
    if (tool) this.#own.add(tool);
    return tool;
  }
}
