import { z } from "zod";

import { messageIn } from "./frames.ts";
import { Fields, pathsOf, Text, titleOf, toolKind } from "./command-fields.ts";
import type { LineReader, OutputEnd, OutputStory } from "./command-output.ts";

const Line = z.object({ role: z.string(), type: Text });
const Content = z.union([z.string(), z.array(z.object({ type: z.string(), text: Text, think: Text }))]);
const Said = z.object({
  content: Content.nullish(),
  reasoning_content: Text,
  tool_calls: z
    .array(
      z.object({
        id: z.string(),
        function: z.object({ name: z.string(), arguments: z.unknown().optional() }),
      }),
    )
    .nullish(),
});
const ToolEnd = z.object({ tool_call_id: z.string(), content: z.unknown().optional() });
const Meta = z.object({ session_id: Text, version: Text, error_message: Text });

/** `kimi -p --output-format stream-json`: the messages of the conversation. What a turn costs is not in it. */
export class KimiOutput implements LineReader {
  readonly #open = new Set<string>();
  #version: string | undefined;

  take(message: Record<string, unknown>, story: OutputStory): boolean {
    const line = Line.safeParse(message);
    if (!line.success) return false;
    switch (line.data.role) {
      case "assistant":
        return this.#takeSaid(message, story);
      case "tool": {
        const end = ToolEnd.safeParse(message);
        if (!end.success) return false;
        this.#open.delete(end.data.tool_call_id);
        story.tool({
          id: end.data.tool_call_id,
          status: hasFailed(end.data.content) ? "failed" : "completed",
        });
        return true;
      }
      case "meta":
        return this.#takeMeta(line.data.type ?? "", message, story);
      default:
        return false;
    }
  }

  #takeSaid(message: Record<string, unknown>, story: OutputStory): boolean {
    const said = Said.safeParse(message);
    if (!said.success) return false;
    const { content, reasoning_content, tool_calls } = said.data;
    if (reasoning_content) story.message(reasoning_content, true);
    const parts = typeof content === "string" ? [{ type: "text", text: content }] : (content ?? []);
    for (const part of parts) {
      if (part.type === "text" && part.text) story.message(part.text);
      else if ("think" in part && part.think) story.message(part.think, true);
    }
    for (const { id, function: call } of tool_calls ?? []) {
      const input = typeof call.arguments === "string" ? (messageIn(call.arguments) ?? {}) : {};
      this.#open.add(id);
      story.tool({
        id,
        name: call.name,
        kind: toolKind(call.name),
        title: titleOf(call.name, input),
        status: "in_progress",
        paths: pathsOf(input),
        input,
      });
    }
    return true;
  }

  #takeMeta(type: string, message: Record<string, unknown>, story: OutputStory): boolean {
    const meta = Meta.safeParse(message);
    if (!meta.success) return false;
    const { session_id, version, error_message } = meta.data;
    switch (type) {
      case "system.version":
        this.#version = version;
        return true;
      case "session.resume_hint":
        if (session_id !== undefined) story.session(session_id, this.#version);
        return true;
      case "turn.step.retrying":
        story.retrying(error_message ?? "The model is asked again.");
        return true;
      default:
        return false;
    }
  }

  end(): OutputEnd {
    // It answers every tool call before it goes on; without the answer it did not get that far.
    return { status: this.#open.size > 0 ? "cut" : "finished" };
  }
}

/** Neither program has a field for it. */
function hasFailed(content: unknown): boolean {
  const [first] = Array.isArray(content) ? (content as unknown[]) : [content];
  const text = typeof first === "string" ? first : Fields.parse(first)["text"];
  return typeof text === "string" && text.startsWith("<system>ERROR");
}
