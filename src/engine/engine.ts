/**
 * One coding agent behind one interface. What an agent says about its own success is carried, never believed: gates
 * decide that. So every way a turn can end, a dead process included, is a `Turn`, and the caller has one place to look.
 */

/** Why a turn failed. `message` informs; only `class` and `retryable` decide. */
export interface Failure {
  class: FailureClass;
  message: string;
  /** Whether the same prompt to a fresh process may go better. */
  retryable: boolean;
  /** When the provider takes requests again, RFC 3339, if it said so. */
  resets_at?: string;
}

/**
 * Four of these are nobody's failed attempt: `auth` (login), `quota` (used up, will not come back by itself soon),
 * `rate_limit` (too fast) and a retryable `provider` (outage). `config`: the program or what it was told is not there.
 */
export type FailureClass =
  | "auth"
  | "quota"
  | "rate_limit"
  | "provider"
  | "protocol"
  | "crashed"
  | "timeout"
  | "config";

/** What one turn cost. Input tokens do not include those read from or written to a cache. */
export interface TurnUsage {
  input_tokens: number;
  output_tokens: number;
  cache_read_tokens?: number;
  cache_write_tokens?: number;
  cost_usd?: number;
  /** How far the numbers can be trusted; under `missing` the token counts are 0 and mean nothing. */
  quality: "exact" | "last_call_only" | "estimated" | "missing";
}

/**
 * How one turn ended. `finished` says only that the agent thinks so; `limit` is the agent's own limit. `over_budget` and
 * `blocked` are ours: the turn was cancelled at its ceiling, or because a person has to answer a request first.
 */
export interface Turn {
  status:
    | "finished"
    | "cancelled"
    | "limit"
    | "refused"
    | "denied"
    | "failed"
    | "empty"
    | "over_budget"
    | "blocked";
  /** Present exactly when the status is `failed` or `empty`. */
  failure?: Failure;
  /** The agent's text, its parts joined as they came; of more than 1 MiB, the end. */
  text: string;
  /** How many different tool calls were seen. */
  toolCalls: number;
  usage: TurnUsage;
  /** Tasks the agent proposed, as it sent them: untrusted and not validated. */
  proposals: unknown[];
}

/** What an agent asks before it uses a tool, joined with what it said about that tool call earlier. */
export interface PermissionRequest {
  id: string;
  toolCallId: string;
  /** What the agent shows to people: never a ground to decide on. */
  title: string;
  /** The tool's own name, where the protocol tells it: `Shell`, `mcp__db__query`. */
  name: string | null;
  /** One of `TOOL_KINDS`, whatever the agent said. */
  kind: string;
  /** The whole command line when the tool runs one, as far as the engine can tell. */
  command: string | null;
  /** Paths as the agent wrote them. */
  locations: string[];
  rawInput: unknown;
  /** Diffs and text the agent showed with the call. */
  content: unknown[];
  options: { id: string; name: string; kind: string }[];
  /** Something that the agent told of this call is missing here, because it was too much: no rule can judge it. */
  isCut?: true;
}

/** The kinds of tools that ACP knows. */
export const TOOL_KINDS: ReadonlySet<string> = new Set([
  "read",
  "edit",
  "delete",
  "move",
  "search",
  "execute",
  "think",
  "fetch",
  "switch_mode",
  "other",
]);

/** The answer to one request; `rule` names what decided, for the audit trail. */
export interface PermissionAnswer {
  decision: "allow" | "reject";
  rule: string;
  /** For the agent, where its protocol carries it: why, and what to do instead. */
  feedback?: string;
}

/** An event at which the agent asks by itself, where its protocol has that: always, as which hooks it is for is not its to say. */
export interface HookSubscription {
  id: string;
  event: string;
  timeoutSecs: number;
}

/** What runs the hooks of an attempt. It never rejects: what goes wrong with a hook is a block. */
export interface HookPort {
  subscriptions: readonly HookSubscription[];
  /** All hooks that match run; the answer comes before the engine's own deadline. */
  run(
    request: {
      event: string;
      target: string;
      /** At events of tools, which kind the target is of. */
      toolKind: string | null;
      subscriptionId: string | null;
      input: unknown;
    },
    signal: AbortSignal,
  ): Promise<{ action: "allow" | "block"; reason: string }>;
}

/** A server of tools that the agent is told to connect to. */
export type McpServer =
  | { name: string; command: string; args: readonly string[]; env: Readonly<Record<string, string>> }
  | { name: string; type: "http" | "sse"; url: string; headers: Readonly<Record<string, string>> };

/** What was asked of the agent and for which task; it travels with the prompt as `_meta.omk`. */
export interface Prompt {
  text: string;
  meta: {
    role: "plan" | "work" | "review" | "decompose" | "synthesize";
    task: string;
    /** Counts from 1; an interrupted attempt keeps its number. */
    attempt: number;
  };
}

/** A tool call as events show it. */
export interface ToolFields {
  tool_id: string;
  name: string | null;
  tool_kind: string;
  title: string;
  paths: string[];
}

/** How a tool call ended, as far as the agent says. One that was open when the turn ended is never `ok`. */
export type ToolOutcome = "ok" | "failed" | "denied" | "cancelled" | "unknown";

/** What every event carries. Snake case, since events are stored as JSON lines. */
export interface EventBase {
  /** RFC 3339, of the reader's clock. */
  at: string;
  session: string | null;
  /** Counts from 1 within a session. */
  sequence: number;
  /** The message it was made from, or `{omitted_bytes}` when that was too large. */
  raw?: unknown;
}

/** What happened, without the envelope. */
export type EventBody =
  | {
      kind: "session-started";
      agent: string | null;
      agent_version: string | null;
      /** As the protocol spells its versions; `legacy` is a Wire server from before there was a handshake. */
      protocol_version: number | string;
    }
  | { kind: "turn-started"; role: Prompt["meta"]["role"]; task: string; attempt: number }
  | { kind: "text"; text: string; thinking: boolean; omitted_characters?: number }
  | ({ kind: "tool-started" | "tool-updated"; status: string; input?: unknown } & ToolFields)
  | ({ kind: "tool-finished"; outcome: ToolOutcome; input?: unknown } & ToolFields)
  | ({ kind: "approval-asked"; request_id: string; option_kinds: string[]; input?: unknown } & ToolFields)
  | {
      kind: "approval-answered";
      request_id: string;
      tool_id: string;
      decision: "allow" | "reject" | "cancelled";
      rule: string;
      /** Kind of the option that was chosen; null when the answer was `cancelled`. */
      option_kind: string | null;
    }
  | { kind: "plan"; entries: { content: string; status: string }[] }
  | {
      kind: "usage";
      context_tokens: number;
      context_size: number;
      session_cost_usd?: number;
      /** What this turn has cost so far, in all; absent when the report says nothing of it. */
      spent?: TurnUsage;
    }
  | { kind: "mode"; mode: string }
  | { kind: "retrying" | "notice"; message: string }
  | { kind: "stderr"; text: string }
  | { kind: "unknown"; what: string; count: number }
  | { kind: "turn-ended"; status: Turn["status"]; failure?: Failure; tool_calls: number; usage: TurnUsage }
  | { kind: "session-ended"; exit: string };

/** One thing an agent did or said, the same for all engines. */
export type EngineEvent = EventBase & EventBody;

/** What an engine can promise. The scheduler and the proof must not promise more. */
export interface EngineCapabilities {
  /** `asks`: for what the agent's own configuration says; `asks_all`: before every change. */
  approvals: "none" | "asks" | "asks_all";
  cancel: "graceful" | "kill_only";
  steer: boolean;
  hooks: boolean;
  reload: boolean;
  sessionsPerProcess: "one" | "many";
  mcp: boolean;
  extraTools: boolean;
  interceptWrites: boolean;
  interceptShell: boolean;
  usage: "exact" | "last_call" | "session_log" | "none";
  cost: boolean;
  /** False: it is not to be asked for plans. */
  plans?: boolean;
}

export interface EngineLimits {
  /** From the start of the process to a usable session. */
  handshakeMs: number;
  /** Silence that ends a turn; it does not count while a tool call or a request is open. */
  idleMs: number;
  /** One whole turn. */
  turnMs: number;
}

export interface StartOptions {
  cwd: string;
  /** The agent's whole environment. */
  environment: Record<string, string>;
  spawnId: string;
  limits: EngineLimits;
  /** Called in order, at once. If it throws, the turn ends and `run` rejects with what it threw. */
  onEvent(event: EngineEvent): void;
  /** The signal is aborted when the answer is no longer wanted. */
  decidePermission(request: PermissionRequest, signal: AbortSignal): Promise<PermissionAnswer>;
  /**
   * How freely the agent may act: `ask` switches asking on where the agent can, so that policies decide; `read_only` also
   * takes its writing tools away where it can. Default `ask`.
   */
  mode?: "ask" | "read_only";
  /** Where client files may be written, absolute; absent means below `cwd`. */
  writeSet?: readonly string[];
  mcpServers?: readonly McpServer[];
  hooks?: HookPort;
  /** Whether somebody looks at the tasks that the agent proposes: where it has a tool for that, it is offered. */
  takesProposals?: boolean;
}

/** One conversation with one agent process. */
export interface Session {
  /** The agent's own name for it, or undefined when it never came to one. */
  readonly id: string | undefined;
  /** Runs one turn; one at a time. Abort the signal for a graceful cancel, then a forced one after 5 s. */
  run(prompt: Prompt, signal: AbortSignal): Promise<Turn>;
  /** Ends the worker; resolves when nothing of it is left. Calling it again is harmless. */
  stop(): Promise<void>;
}

/** What is known about an agent program without giving it work. */
export interface ProbeResult {
  found: boolean;
  program: string | null;
  version: string | null;
  warnings: string[];
  /** What the program says where it does nothing any more. */
  retired?: string;
}

export interface Engine {
  readonly name: string;
  /** The name by which a later omk means the same agent; absent where that is the name it was asked for by. */
  readonly recordedAs?: string;
  readonly capabilities: EngineCapabilities;
  probe(signal: AbortSignal): Promise<ProbeResult>;
  /**
   * Starts a worker. Rejects only when the signal is aborted: an agent that cannot be started or does not finish the
   * handshake gives a session whose turns say so, so that the caller meets failures in one place.
   */
  start(options: StartOptions, signal: AbortSignal): Promise<Session>;
}
