import { z } from "zod";

import { Dollars, Fields, pathsOf, Text, titleOf, Tokens, toolKind } from "./command-fields.ts";
import type { LineReader, OutputEnd, OutputStory, Spent } from "./command-output.ts";
import type { Failure } from "./engine.ts";

const Line = z.object({ type: z.string(), sessionID: Text, part: Fields, error: z.unknown().optional() });
const TextPart = z.object({ text: z.string() });
const ToolPart = z.object({
  callID: z.string(),
  tool: z.string(),
  state: z.object({ status: z.string(), input: Fields, title: Text, error: Text }),
});
const StepEnd = z.object({
  reason: z.string(),
  cost: Dollars.optional(),
  tokens: z
    .object({
      total: Tokens.optional(),
      input: Tokens,
      output: Tokens,
      reasoning: Tokens.optional(),
      cache: z.object({ read: Tokens, write: Tokens }).catch({ read: 0, write: 0 }),
    })
    .optional()
    .catch(undefined),
});
const ErrorField = z
  .object({ name: Text, data: z.looseObject({ message: Text }).optional().catch(undefined) })
  .catch({ name: undefined });

/** What it tells the model about a tool call that nobody allowed; there is no field for it. */
const NOT_ALLOWED = /rejected permission to use this|prevents you from using this/;

/** `opencode run --format json`: each part of the conversation, once it is whole. */
export class OpencodeOutput implements LineReader {
  #spent: Spent = { input_tokens: 0, output_tokens: 0 };
  #failure: Failure | undefined;
  #inStep = false;
  #reason: string | undefined;
  /** The last tool was not allowed: it then ends its turn without another word. */
  #denied = false;

  take(message: Record<string, unknown>, story: OutputStory): boolean {
    const line = Line.safeParse(message);
    if (!line.success) return false;
    const { type, sessionID, part, error } = line.data;
    if (sessionID !== undefined) story.session(sessionID);
    switch (type) {
      case "step_start":
        this.#inStep = true;
        return true;
      case "text":
      case "reasoning": {
        const text = TextPart.safeParse(part);
        if (!text.success) return false;
        if (type === "text") this.#denied = false;
        story.message(text.data.text, type === "reasoning");
        return true;
      }
      case "tool_use":
        return this.#takeTool(part, story);
      case "step_finish":
        return this.#takeStep(part, story);
      case "error": {
        const { name, data } = ErrorField.parse(error);
        this.#failure = story.failure({
          message: data?.message ?? name ?? "It reported an error without saying which.",
          details: data,
        });
        return true;
      }
      default:
        return false;
    }
  }

  #takeTool(part: Record<string, unknown>, story: OutputStory): boolean {
    const tool = ToolPart.safeParse(part);
    if (!tool.success) return false;
    const { callID, tool: name, state } = tool.data;
    const failed = state.status === "error";
    this.#denied = failed && NOT_ALLOWED.test(state.error ?? "");
    const { input, title } = state;
    story.tool(
      {
        id: callID,
        name,
        kind: toolKind(name),
        title: title === undefined || title === "" ? titleOf(name, input) : title,
        status: failed ? "failed" : state.status,
        paths: pathsOf(input),
        input,
      },
      this.#denied,
    );
    return true;
  }

  #takeStep(part: Record<string, unknown>, story: OutputStory): boolean {
    const step = StepEnd.safeParse(part);
    if (!step.success) return false;
    const { reason, cost, tokens } = step.data;
    this.#inStep = false;
    this.#reason = reason;
    const before = this.#spent;
    const { input = 0, output = 0, reasoning = 0, total, cache = { read: 0, write: 0 } } = tokens ?? {};
    // Its output leaves the reasoning out in the versions that also tell a total with it.
    const thought = total === input + output + reasoning + cache.read + cache.write ? reasoning : 0;
    this.#spent = {
      input_tokens: before.input_tokens + input,
      output_tokens: before.output_tokens + output + thought,
      cache_read_tokens: (before.cache_read_tokens ?? 0) + cache.read,
      cache_write_tokens: (before.cache_write_tokens ?? 0) + cache.write,
      cost_usd: (before.cost_usd ?? 0) + (cost ?? 0),
    };
    story.spent(this.#spent, true);
    return true;
  }

  end(): OutputEnd {
    if (this.#failure) return { status: "failed", failure: this.#failure };
    if (this.#denied) return { status: "denied" };
    if (this.#inStep) return { status: "cut" };
    switch (this.#reason) {
      case "length":
        return { status: "limit" };
      case "content-filter":
        return { status: "refused" };
      // The model wanted to go on.
      case "tool-calls":
        return { status: "cut" };
      default:
        return { status: "finished" };
    }
  }
}
