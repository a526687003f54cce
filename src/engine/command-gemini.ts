import { z } from "zod";

import { Fields, HttpStatus, pathsOf, Text, titleOf, Tokens, toolKind } from "./command-fields.ts";
import type { LineReader, OutputEnd, OutputStory } from "./command-output.ts";

const Init = z.object({ session_id: z.string() });
const Message = z.object({ role: z.string(), content: z.string(), delta: z.boolean().optional() });
const ToolUse = z.object({ tool_name: z.string(), tool_id: z.string(), parameters: Fields });
const ToolEnd = z.object({
  tool_id: z.string(),
  status: z.string(),
  error: z.object({ type: Text, message: Text }).optional().catch(undefined),
});
const Notice = z.object({ severity: Text, message: z.string() });
const Result = z.object({
  status: z.string(),
  error: z.object({ type: Text, message: Text, code: HttpStatus }).optional().catch(undefined),
  stats: z
    .object({
      total_tokens: Tokens,
      input_tokens: Tokens,
      output_tokens: Tokens,
      cached: Tokens.optional(),
    })
    .optional()
    .catch(undefined),
});

/** `gemini -p -o stream-json`. */
export class GeminiOutput implements LineReader {
  #end: OutputEnd = { status: "cut" };
  #lastError: string | undefined;

  take(message: Record<string, unknown>, story: OutputStory): boolean {
    switch (message["type"]) {
      case "init": {
        const init = Init.safeParse(message);
        if (!init.success) return false;
        story.session(init.data.session_id);
        return true;
      }
      case "message": {
        const said = Message.safeParse(message);
        if (!said.success) return false;
        const { role, content, delta } = said.data;
        // The prompt comes back as the first one.
        if (role !== "assistant") return true;
        if (delta) story.text(content);
        else story.message(content);
        return true;
      }
      case "tool_use": {
        const use = ToolUse.safeParse(message);
        if (!use.success) return false;
        const { tool_name: name, tool_id: id, parameters: input } = use.data;
        const about = { kind: toolKind(name), title: titleOf(name, input), paths: pathsOf(input) };
        story.tool({ id, name, ...about, status: "in_progress", input });
        return true;
      }
      case "tool_result": {
        const end = ToolEnd.safeParse(message);
        if (!end.success) return false;
        const { tool_id: id, status, error } = end.data;
        const denied = /denied|policy_violation|not_allowed/i.test(error?.type ?? "");
        story.tool({ id, status: status === "success" ? "completed" : "failed" }, denied);
        return true;
      }
      case "error": {
        const notice = Notice.safeParse(message);
        if (!notice.success) return false;
        // Only the result says whether it was the end: some of these are warnings, some are tried again.
        if (notice.data.severity === "error") this.#lastError = notice.data.message;
        story.notice(notice.data.message);
        return true;
      }
      case "result":
        return this.#takeResult(message, story);
      default:
        return false;
    }
  }

  #takeResult(message: Record<string, unknown>, story: OutputStory): boolean {
    const read = Result.safeParse(message);
    if (!read.success) return false;
    const { status, error, stats } = read.data;
    if (stats) {
      const { total_tokens, input_tokens, output_tokens, cached = 0 } = stats;
      // What it thought is in the total only, and is paid as output.
      const thought = Math.max(0, total_tokens - input_tokens - output_tokens);
      const usage = {
        input_tokens: Math.max(0, input_tokens - cached),
        output_tokens: output_tokens + thought,
      };
      story.spent({ ...usage, ...(cached > 0 && { cache_read_tokens: cached }) }, true);
    }
    if (status === "success") {
      this.#end = { status: "finished" };
    } else if (/turn.?limit|max.?(?:session.?)?turns/i.test(`${error?.type ?? ""} ${error?.message ?? ""}`)) {
      this.#end = { status: "limit" };
    } else {
      const said = error?.message ?? this.#lastError ?? "It reported an error without saying which.";
      this.#end = { status: "failed", failure: story.failure({ message: said, status: error?.code }) };
    }
    return true;
  }

  end(): OutputEnd {
    return this.#end;
  }
}
