/**
 * What a headless program prints, read as the story of a turn. Programs that print lines of JSON have a reader each;
 * whatever any other one prints is its text. All of it is untrusted: what a reader does not know is kept, not believed.
 */
import { basename } from "node:path";

import { ClaudeOutput } from "./command-claude.ts";
import { CodexOutput } from "./command-codex.ts";
import { messageIn } from "./frames.ts";
import { GeminiOutput } from "./command-gemini.ts";
import { KimiOutput } from "./command-kimi.ts";
import { OpencodeOutput } from "./command-opencode.ts";
import type { EngineCapabilities, Failure, TurnUsage } from "./engine.ts";
import { FrameReader } from "./frames.ts";
import type { OutputReaderId } from "./presets.ts";
import type { ToolReport } from "./turn-record.ts";

/** How a program's output is read; `auto` finds out by its name and arguments, else by its first lines. */
export type OutputKind = "auto" | OutputReaderId;

/** What has been spent, as a reader counts it. */
export type Spent = Omit<TurnUsage, "quality">;

/** Where a reader tells what it read. */
export interface OutputStory {
  /** The program's own name for its session, and its version where it says it. */
  session(id: string, version?: string): void;
  /** A piece of text, joined to the one before as it is. */
  text(text: string, thinking?: boolean): void;
  /** A whole message, which starts on a line of its own. */
  message(text: string, thinking?: boolean): void;
  /** What is known of a tool call; `denied`: it did not happen since it was not allowed. */
  tool(report: ToolReport, denied?: boolean): void;
  plan(entries: { content: string; status: string }[]): void;
  /** All that the turn has cost so far. `exact`: nothing is missing in it. */
  spent(usage: Spent, exact: boolean): void;
  retrying(message: string): void;
  notice(message: string): void;
  /** A failure out of what a provider was heard to say. */
  failure(told: ToldFailure): Failure;
}

/** What a program says of a failure. */
export interface ToldFailure {
  message: string;
  /** The HTTP status. */
  status?: number | undefined;
  /** What else it says, where the status and the moment to try again may be found. */
  details?: unknown;
}

/** What the output says of how the turn ended. `cut`: it ends in the middle of a turn. */
export type OutputEnd =
  | { status: "finished" | "limit" | "refused" | "denied" | "cut" }
  | { status: "failed"; failure: Failure };

/** Reads the lines of one program. */
export interface LineReader {
  /** Takes in one message; false when it is of no known kind or not shaped like it. */
  take(message: Record<string, unknown>, story: OutputStory): boolean;
  end(): OutputEnd;
}

/** Reads the bytes of one program's output. */
export interface OutputReader {
  /** Throws `FrameError` when it is no acceptable output. */
  take(chunk: Uint8Array): void;
  /** After the last byte; throws as `take` does. */
  end(): OutputEnd;
  /** Whether the output is plain text, as far as was seen. */
  readonly isText: boolean;
}

/** Where bytes that are read go to: the story, with the line that is being read beside it. */
export interface OutputSink extends OutputStory {
  /** The line that what follows is about. */
  line(raw: Record<string, unknown> | undefined, bytes: number): void;
  unknown(message: Record<string, unknown>, bytes: number): void;
}

const LINE_READERS: Record<Exclude<OutputReaderId, "text">, () => LineReader> = {
  opencode: () => new OpencodeOutput(),
  kimi: () => new KimiOutput(),
  gemini: () => new GeminiOutput(),
  claude: () => new ClaudeOutput(),
  codex: () => new CodexOutput(),
};

/** What the output of each kind tells about what a turn costs. */
export const TOLD_COST: Record<OutputKind, Pick<EngineCapabilities, "usage" | "cost">> = {
  auto: { usage: "none", cost: false },
  text: { usage: "none", cost: false },
  opencode: { usage: "exact", cost: true },
  kimi: { usage: "session_log", cost: false },
  gemini: { usage: "exact", cost: false },
  claude: { usage: "exact", cost: true },
  codex: { usage: "exact", cost: false },
};

/** The kind of output that a known command line asks its program for; `auto` when that cannot be told. */
export function outputOf(argv: readonly string[]): OutputKind {
  const [program = "", ...args] = argv;
  const words = new Set(args.flatMap((word) => word.split("=")));
  switch (basename(program)) {
    case "opencode":
      return words.has("--format") && words.has("json") ? "opencode" : "auto";
    case "kimi":
      return words.has("stream-json") ? "kimi" : "auto";
    case "gemini":
      return words.has("stream-json") ? "gemini" : "auto";
    case "claude":
      return words.has("stream-json") ? "claude" : "auto";
    case "codex":
      return words.has("exec") && words.has("--json") ? "codex" : "auto";
    default:
      return "auto";
  }
}

/** The reader of an output. */
export function outputReader(kind: OutputKind, sink: OutputSink): OutputReader {
  if (kind === "auto") return new UnknownOutput(sink);
  if (kind === "text") return new TextOutput(sink);
  return new LinesOutput(LINE_READERS[kind](), sink);
}

/** Programs print warnings of all kinds beside their messages; nobody needs all of them. */
const NOISE_LINES_MAX = 1000;
const LINE_END = new Uint8Array([0x0a]);

/** Output that is lines of JSON. */
class LinesOutput implements OutputReader {
  readonly isText = false;
  readonly #frames = new FrameReader();
  readonly #reader: LineReader;
  readonly #sink: OutputSink;
  #noiseLines = 0;

  constructor(reader: LineReader, sink: OutputSink) {
    this.#reader = reader;
    this.#sink = sink;
  }

  take(chunk: Uint8Array): void {
    for (const frame of this.#frames.read(chunk)) {
      if (frame.kind === "noise") {
        this.#sink.line(undefined, 0);
        this.#noiseLines++;
        if (this.#noiseLines <= NOISE_LINES_MAX) this.#sink.notice(`not a message: ${frame.text}`);
        continue;
      }
      this.#sink.line(frame.value, frame.bytes);
      if (!this.#reader.take(frame.value, this.#sink)) this.#sink.unknown(frame.value, frame.bytes);
    }
    this.#sink.line(undefined, 0);
  }

  end(): OutputEnd {
    // Some programs leave the end of their last line out; half a message shows as one that cannot be parsed.
    if (this.#frames.unfinishedBytes > 0) this.take(LINE_END);
    const more = this.#noiseLines - NOISE_LINES_MAX;
    if (more > 0) this.#sink.notice(`${more} more lines were no messages`);
    return this.#reader.end();
  }
}

/** Output that is what the agent has to say. */
class TextOutput implements OutputReader {
  readonly isText = true;
  readonly #decoder = new TextDecoder();
  readonly #sink: OutputSink;

  constructor(sink: OutputSink) {
    this.#sink = sink;
  }

  take(chunk: Uint8Array): void {
    this.#tell(this.#decoder.decode(chunk, { stream: true }));
  }

  end(): OutputEnd {
    this.#tell(this.#decoder.decode());
    return { status: "finished" };
  }

  #tell(text: string): void {
    if (text !== "") this.#sink.text(text);
  }
}

/** How many lines are looked at, and how many bytes are held back meanwhile. */
const LOOKED_AT_LINES = 5;
const LOOKED_AT_BYTES = 1024 * 1024;

/** Output of a program that nobody knows: held back until its first lines say whose it is like. */
class UnknownOutput implements OutputReader {
  readonly #sink: OutputSink;
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #line = "";
  #lines = 0;
  readonly #decoder = new TextDecoder();
  #known: OutputReader | undefined;

  constructor(sink: OutputSink) {
    this.#sink = sink;
  }

  get isText(): boolean {
    return this.#known?.isText ?? true;
  }

  take(chunk: Uint8Array): void {
    if (this.#known) return this.#known.take(chunk);
    this.#held.push(chunk);
    this.#heldBytes += chunk.length;
    const kind = this.#look(this.#decoder.decode(chunk, { stream: true }));
    if (kind) this.#settle(kind);
  }

  end(): OutputEnd {
    const known = this.#known ?? this.#settle(kindOfLine(this.#line) ?? "text");
    return known.end();
  }

  #look(text: string): OutputReaderId | undefined {
    const [first = "", ...rest] = text.split("\n");
    this.#line += first;
    for (const next of rest) {
      const kind = kindOfLine(this.#line);
      if (kind) return kind;
      if (this.#line.trim() !== "") this.#lines++;
      this.#line = next;
    }
    // Only whole lines decide, so that it does not matter in which pieces they come.
    return this.#lines >= LOOKED_AT_LINES || this.#heldBytes > LOOKED_AT_BYTES ? "text" : undefined;
  }

  #settle(kind: OutputReaderId): OutputReader {
    const known = outputReader(kind, this.#sink);
    this.#known = known;
    for (const chunk of this.#held.splice(0)) known.take(chunk);
    return known;
  }
}

/** Whose line that is, if it is like those of a known program. */
function kindOfLine(line: string): Exclude<OutputReaderId, "text"> | undefined {
  const message = line.trimStart().startsWith("{") ? messageIn(line) : undefined;
  if (!message) return undefined;
  const { type, role, subtype } = message;
  const has = (...keys: string[]): boolean => keys.every((key) => Object.hasOwn(message, key));
  if (has("sessionID") && (has("part") || type === "error")) return "opencode";
  if (role === "meta" || (role === "tool" && has("tool_call_id"))) return "kimi";
  if (role === "assistant" && !has("type")) return "kimi";
  if (typeof type !== "string") return undefined;
  if (/^(?:thread|turn|item)\.[a-z]+$/.test(type)) return "codex";
  if (type === "init" && has("session_id")) return "gemini";
  if (typeof subtype === "string" && has("session_id")) return "claude";
  if ((type === "assistant" || type === "user") && has("message", "session_id")) return "claude";
  return undefined;
}
