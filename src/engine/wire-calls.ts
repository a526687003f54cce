/** What comes in pieces over Wire: tool calls whose arguments are streamed, and the tokens of each step. */
import type { TurnUsage } from "./engine.ts";
import { parseArguments, type StatusUpdate } from "./wire-messages.ts";

/** Agents that speak at once: the main one and those it started. */
const AGENTS_MAX = 1000;
/** Arguments that are still being written, of all agents together. */
const CHARACTERS_MAX = 8 * 1024 * 1024;
/** Tool calls of one step that are remembered. */
const STEP_TOOLS_MAX = 10_000;
const MESSAGE_IDS_MAX = 10_000;

/** A tool call whose arguments are all there; `input` is undefined when they are nothing to judge by. */
export interface JoinedCall {
  id: string;
  input: unknown;
  characters: number;
}

/** One agent's step while it runs. */
interface Step {
  open: { id: string; text: string; isTooLong: boolean } | undefined;
  /** Tool calls begun in this step. */
  tools: string[];
}

/** Joins the arguments of tool calls as they are streamed, for each agent on its own: they speak at once. */
export class StreamedCalls {
  readonly #steps = new Map<string, Step>();
  #characters = 0;

  /** A tool call begins; false when too many agents speak at once. */
  begin(agent: string, call: { id: string; text: string }): boolean {
    const step = this.#stepOf(agent);
    if (!step) return false;
    this.#characters -= step.open?.text.length ?? 0;
    step.open = { id: call.id, text: "", isTooLong: false };
    if (step.tools.length < STEP_TOOLS_MAX) step.tools.push(call.id);
    this.add(agent, call.text);
    return true;
  }

  /** More of the arguments of the agent's last call; false when none is open. */
  add(agent: string, text: string): boolean {
    const open = this.#steps.get(agent)?.open;
    if (!open) return false;
    if (open.isTooLong) return true;
    if (this.#characters + text.length > CHARACTERS_MAX) {
      this.#characters -= open.text.length;
      open.text = "";
      open.isTooLong = true;
    } else {
      open.text += text;
      this.#characters += text.length;
    }
    return true;
  }

  /** Whether the arguments of an open call are all there, as far as can be told: an empty text may be or not. */
  isWhole(id: string): boolean {
    for (const { open } of this.#steps.values()) {
      if (open?.id === id) return open.text.trim() !== "" && parseArguments(open.text) !== undefined;
    }
    return false;
  }

  /** The agent's open call, which is thereby complete. */
  finish(agent: string): JoinedCall | undefined {
    const step = this.#steps.get(agent);
    if (!step?.open) return undefined;
    const { id, text, isTooLong } = step.open;
    this.#characters -= text.length;
    step.open = undefined;
    return { id, input: isTooLong ? undefined : parseArguments(text), characters: text.length };
  }

  /** The open call with this id, whoever made it. */
  finishCall(id: string): JoinedCall | undefined {
    for (const [agent, { open }] of this.#steps) if (open?.id === id) return this.finish(agent);
    return undefined;
  }

  /** Everything that is still open. */
  finishAll(): JoinedCall[] {
    return [...this.#steps.keys()].map((agent) => this.finish(agent)).filter((call) => call !== undefined);
  }

  /** A new step of this agent begins. */
  step(agent: string): void {
    const step = this.#steps.get(agent);
    if (step) step.tools = [];
  }

  /** The agent's step is thrown away: its open call is forgotten. Gives the tool calls that were begun in it. */
  discard(agent: string): string[] {
    const step = this.#steps.get(agent);
    if (!step) return [];
    this.#characters -= step.open?.text.length ?? 0;
    step.open = undefined;
    const { tools } = step;
    step.tools = [];
    return tools;
  }

  #stepOf(agent: string): Step | undefined {
    const known = this.#steps.get(agent);
    if (known || this.#steps.size >= AGENTS_MAX) return known;
    const step: Step = { open: undefined, tools: [] };
    this.#steps.set(agent, step);
    return step;
  }
}

type Tokens = Required<
  Pick<TurnUsage, "input_tokens" | "output_tokens" | "cache_read_tokens" | "cache_write_tokens">
>;

/** Adds up the tokens that a turn's steps report, those of subagents included. */
export class StepUsage {
  readonly #sum: Tokens = noTokens();
  /** What a step reported under its message's id: reported again, only the larger one counts. */
  readonly #byMessage = new Map<string, Tokens>();
  #isReported = false;

  /** What the turn has cost so far, or undefined when nothing was said of it. */
  get spent(): TurnUsage | undefined {
    if (!this.#isReported) return undefined;
    const { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens } = this.#sum;
    return {
      input_tokens,
      output_tokens,
      ...(cache_read_tokens > 0 && { cache_read_tokens }),
      ...(cache_write_tokens > 0 && { cache_write_tokens }),
      quality: "exact",
    };
  }

  /** Takes one report in; false when it says nothing of tokens. */
  add({ token_usage: usage, message_id: messageId }: StatusUpdate): boolean {
    if (usage === undefined || usage === null) return false;
    this.#isReported = true;
    const tokens =
      typeof usage === "number"
        ? // Nobody knows of which kind they are: as output they are not taken for cheaper than they were.
          { ...noTokens(), output_tokens: usage }
        : {
            input_tokens: usage.input_other,
            output_tokens: usage.output,
            cache_read_tokens: usage.input_cache_read ?? 0,
            cache_write_tokens: usage.input_cache_creation ?? 0,
          };
    const earlier = messageId ? this.#byMessage.get(messageId) : undefined;
    if (earlier && total(earlier) >= total(tokens)) return true;
    if (messageId && messageId.length <= 1024 && this.#byMessage.size < MESSAGE_IDS_MAX)
      this.#byMessage.set(messageId, tokens);
    for (const kind of Object.keys(tokens) as (keyof Tokens)[])
      this.#sum[kind] += tokens[kind] - (earlier?.[kind] ?? 0);
    return true;
  }
}

function noTokens(): Tokens {
  return { input_tokens: 0, output_tokens: 0, cache_read_tokens: 0, cache_write_tokens: 0 };
}

function total(tokens: Tokens): number {
  return Object.values(tokens).reduce((sum, count) => sum + count, 0);
}
