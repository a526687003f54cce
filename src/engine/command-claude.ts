import { z } from "zod";

import { Dollars, Fields, HttpStatus, pathsOf, Text, titleOf, Tokens, toolKind } from "./command-fields.ts";
import type { LineReader, OutputEnd, OutputStory, Spent } from "./command-output.ts";

const Usage = z.object({
  input_tokens: Tokens,
  output_tokens: Tokens,
  cache_read_input_tokens: Tokens.nullish(),
  cache_creation_input_tokens: Tokens.nullish(),
});
type Usage = z.infer<typeof Usage>;
const System = z.object({
  subtype: z.string(),
  session_id: Text,
  claude_code_version: Text,
  error: z.unknown().optional(),
  error_status: HttpStatus.nullish(),
});
const Block = z.looseObject({ type: z.string() });
const Said = z.object({
  parent_tool_use_id: z.string().nullish(),
  message: z.object({ id: Text, content: z.array(Block), usage: Usage.optional().catch(undefined) }),
});
const TextBlock = z.object({ text: z.string() });
const ThoughtBlock = z.object({ thinking: z.string() });
const ToolBlock = z.object({ id: z.string(), name: z.string(), input: Fields });
const Answers = z.object({ message: z.object({ content: z.array(Block) }) });
const ToolEnd = z.object({
  tool_use_id: z.string(),
  is_error: z.boolean().nullish(),
  content: z.unknown().optional(),
});
const Limit = z.object({
  rate_limit_info: z.object({ status: z.string(), resetsAt: z.number().optional().catch(undefined) }),
});
const Result = z.object({
  subtype: z.string(),
  is_error: z.boolean(),
  result: Text,
  errors: z.array(z.string()).optional().catch(undefined),
  total_cost_usd: Dollars.optional(),
  usage: Usage.optional().catch(undefined),
  api_error_status: HttpStatus.nullish(),
  permission_denials: z.array(z.object({ tool_use_id: z.string() })).catch([]),
});

const MESSAGES_KEPT = 1000;
/** What it tells the model about a tool call that nobody allowed. Only the result has a field for it. */
const NOT_ALLOWED = /requested permissions? to|permission to use .{0,200} has been denied/;

/** `claude -p --output-format stream-json --verbose`. */
export class ClaudeOutput implements LineReader {
  /** What each message has cost as far as it said, by its id: it comes again with each of its blocks. */
  readonly #usages = new Map<string, Usage>();
  #spent: Spent = { input_tokens: 0, output_tokens: 0, cache_read_tokens: 0, cache_write_tokens: 0 };
  #hasSpoken = false;
  #resetsAtSeconds: number | undefined;
  /** Tool calls in the order of their ends, since the last one that worked. */
  #failedSince = new Set<string>();
  #end: OutputEnd = { status: "cut" };

  take(message: Record<string, unknown>, story: OutputStory): boolean {
    switch (message["type"]) {
      case "system":
        return takeSystem(message, story);
      case "assistant":
        return this.#takeSaid(message, story);
      case "user":
        return this.#takeAnswers(message, story);
      case "rate_limit_event": {
        const limit = Limit.safeParse(message);
        if (!limit.success) return false;
        const { status, resetsAt } = limit.data.rate_limit_info;
        if (status === "rejected") this.#resetsAtSeconds = resetsAt;
        story.notice(`rate limit: ${status}`);
        return true;
      }
      // Pieces of what comes whole, too.
      case "stream_event":
      case "tool_progress":
        return true;
      case "result":
        return this.#takeResult(message, story);
      default:
        return false;
    }
  }

  #takeSaid(message: Record<string, unknown>, story: OutputStory): boolean {
    const said = Said.safeParse(message);
    if (!said.success) return false;
    const { parent_tool_use_id: parent, message: body } = said.data;
    for (const block of body.content) {
      const text = block.type === "text" ? TextBlock.safeParse(block) : undefined;
      const thought = block.type === "thinking" ? ThoughtBlock.safeParse(block) : undefined;
      const tool = block.type === "tool_use" ? ToolBlock.safeParse(block) : undefined;
      if (text?.success) {
        // What a helper of its own says to it is not what it says to us.
        const isOwn = parent === undefined || parent === null;
        if (isOwn) this.#hasSpoken = true;
        story.message(text.data.text, !isOwn);
      } else if (thought?.success) {
        story.message(thought.data.thinking, true);
      } else if (tool?.success) {
        const { id, name, input } = tool.data;
        const about = { kind: toolKind(name), title: titleOf(name, input), paths: pathsOf(input) };
        story.tool({ id, name, ...about, status: "in_progress", input });
      }
    }
    if (body.id !== undefined && body.usage) this.#count(body.id, body.usage, story);
    return true;
  }

  #count(id: string, usage: Usage, story: OutputStory): void {
    const before = this.#usages.get(id);
    this.#usages.delete(id);
    this.#usages.set(id, usage);
    const [oldest] = this.#usages.keys();
    if (this.#usages.size > MESSAGES_KEPT && oldest !== undefined) this.#usages.delete(oldest);
    const now = spentOf(usage);
    const then = before ? spentOf(before) : undefined;
    const grown = (key: keyof Spent): number =>
      (this.#spent[key] ?? 0) + Math.max(0, (now[key] ?? 0) - (then?.[key] ?? 0));
    this.#spent = {
      input_tokens: grown("input_tokens"),
      output_tokens: grown("output_tokens"),
      cache_read_tokens: grown("cache_read_tokens"),
      cache_write_tokens: grown("cache_write_tokens"),
    };
    // What a message put out is counted before it is whole; the result corrects it.
    story.spent(this.#spent, false);
  }

  #takeAnswers(message: Record<string, unknown>, story: OutputStory): boolean {
    const answers = Answers.safeParse(message);
    if (!answers.success) return false;
    for (const block of answers.data.message.content) {
      const end = block.type === "tool_result" ? ToolEnd.safeParse(block) : undefined;
      if (!end?.success) continue;
      const { tool_use_id: id, is_error, content } = end.data;
      if (is_error) this.#failedSince.add(id);
      else this.#failedSince.clear();
      const denied = is_error === true && NOT_ALLOWED.test(wordsOf(content));
      story.tool({ id, status: is_error ? "failed" : "completed" }, denied);
    }
    return true;
  }

  #takeResult(message: Record<string, unknown>, story: OutputStory): boolean {
    const read = Result.safeParse(message);
    if (!read.success) return false;
    const { subtype, is_error, result, errors, usage, total_cost_usd: cost } = read.data;
    const { permission_denials, api_error_status } = read.data;
    // Printed alone (`--output-format json`) it is all that is said.
    if (!this.#hasSpoken && !is_error && result) story.message(result);
    if (usage || cost !== undefined) {
      const spent = usage ? spentOf(usage) : this.#spent;
      story.spent({ ...spent, ...(cost !== undefined && { cost_usd: cost }) }, usage !== undefined);
    }
    if (/^error_max_(?:turns|budget_usd)$/.test(subtype)) {
      this.#end = { status: "limit" };
    } else if (is_error || subtype !== "success") {
      const said = errors?.[0] ?? result;
      const failure = story.failure({
        message: said === undefined || said === "" ? `It ended its turn with ${subtype}.` : said,
        status: api_error_status ?? undefined,
        details: { resetsAt: this.#resetsAtSeconds },
      });
      this.#end = { status: "failed", failure };
    } else {
      // One that got its work done another way after a refusal is not stopped by it.
      const isDenied = permission_denials.some(({ tool_use_id: id }) => this.#failedSince.has(id));
      const unseen = permission_denials.length > 0 && !this.#hasSpoken;
      this.#end = { status: isDenied || unseen ? "denied" : "finished" };
    }
    return true;
  }

  end(): OutputEnd {
    return this.#end;
  }
}

function takeSystem(message: Record<string, unknown>, story: OutputStory): boolean {
  const system = System.safeParse(message);
  if (!system.success) return false;
  const { subtype, session_id, claude_code_version, error, error_status } = system.data;
  if (subtype === "init") {
    if (session_id === undefined) return false;
    story.session(session_id, claude_code_version);
  } else if (subtype === "api_retry") {
    const status = error_status === null || error_status === undefined ? "" : ` (${error_status})`;
    story.retrying(`${typeof error === "string" ? error : "The model is asked again."}${status}`);
  } else {
    story.notice(subtype);
  }
  return true;
}

function spentOf(usage: Usage): Spent {
  return {
    input_tokens: usage.input_tokens,
    output_tokens: usage.output_tokens,
    cache_read_tokens: usage.cache_read_input_tokens ?? 0,
    cache_write_tokens: usage.cache_creation_input_tokens ?? 0,
  };
}

function wordsOf(content: unknown): string {
  if (typeof content === "string") return content.slice(0, 4096);
  const [first] = Array.isArray(content) ? (content as unknown[]) : [];
  const { text } = Fields.parse(first);
  return typeof text === "string" ? text.slice(0, 4096) : "";
}
