import { z } from "zod";

import { Text, Tokens } from "./command-fields.ts";
import type { LineReader, OutputEnd, OutputStory } from "./command-output.ts";

const Thread = z.object({ thread_id: z.string() });
const ItemLine = z.object({ item: z.looseObject({ id: z.string(), type: z.string() }) });
const Words = z.object({ text: z.string() });
const Command = z.object({ command: z.string(), status: Text, exit_code: z.number().nullish().catch(null) });
const Changes = z.object({ changes: z.array(z.object({ path: z.string() })), status: Text });
const McpCall = z.object({
  server: z.string(),
  tool: z.string(),
  status: Text,
  arguments: z.unknown().optional(),
});
const Search = z.object({ query: z.string() });
const Todo = z.object({ items: z.array(z.object({ text: z.string(), completed: z.boolean() })) });
const Message = z.object({ message: z.string() });
const Failed = z.object({ error: Message });
const Done = z.object({
  usage: z
    .object({ input_tokens: Tokens, cached_input_tokens: Tokens.optional(), output_tokens: Tokens })
    .optional()
    .catch(undefined),
});

/** `codex exec --json`. A command that its sandbox stopped is not in it. */
export class CodexOutput implements LineReader {
  #end: OutputEnd = { status: "cut" };
  #lastError: string | undefined;

  take(message: Record<string, unknown>, story: OutputStory): boolean {
    const { type } = message;
    switch (type) {
      case "thread.started": {
        const thread = Thread.safeParse(message);
        if (!thread.success) return false;
        story.session(thread.data.thread_id);
        return true;
      }
      case "turn.started":
        return true;
      case "item.started":
      case "item.updated":
      case "item.completed": {
        const line = ItemLine.safeParse(message);
        return line.success && takeItem(line.data.item, type === "item.completed", story);
      }
      case "turn.completed": {
        const done = Done.safeParse(message);
        if (!done.success) return false;
        const { usage } = done.data;
        if (usage) {
          const cached = usage.cached_input_tokens ?? 0;
          story.spent(
            {
              input_tokens: Math.max(0, usage.input_tokens - cached),
              output_tokens: usage.output_tokens,
              ...(cached > 0 && { cache_read_tokens: cached }),
            },
            true,
          );
        }
        this.#end = { status: "finished" };
        return true;
      }
      case "turn.failed": {
        const failed = Failed.safeParse(message);
        const said = failed.success ? failed.data.error.message : this.#lastError;
        this.#end = { status: "failed", failure: story.failure({ message: said ?? "The turn failed." }) };
        return true;
      }
      case "error": {
        const error = Message.safeParse(message);
        if (!error.success) return false;
        // It says this while it connects again, too: only what comes after tells the two apart.
        this.#lastError = error.data.message;
        story.retrying(error.data.message);
        if (this.#end.status === "cut" || this.#end.status === "failed")
          this.#end = { status: "failed", failure: story.failure(error.data) };
        return true;
      }
      default:
        return false;
    }
  }

  end(): OutputEnd {
    return this.#end;
  }
}

function takeItem(item: { id: string; type: string }, completed: boolean, story: OutputStory): boolean {
  const { id, type } = item;
  switch (type) {
    case "agent_message":
    case "reasoning": {
      const words = Words.safeParse(item);
      if (!words.success) return false;
      if (completed) story.message(words.data.text, type === "reasoning");
      return true;
    }
    case "command_execution": {
      const run = Command.safeParse(item);
      if (!run.success) return false;
      const { command, status, exit_code } = run.data;
      const failed = status === "failed" || status === "declined" || (exit_code ?? 0) !== 0;
      story.tool(
        {
          id,
          name: "shell",
          kind: "execute",
          title: command,
          status: statusOf(completed, failed),
          input: { command },
        },
        status === "declined",
      );
      return true;
    }
    case "file_change": {
      const change = Changes.safeParse(item);
      if (!change.success) return false;
      const paths = change.data.changes.map(({ path }) => path);
      const { status } = change.data;
      const failed = status === "failed" || status === "declined";
      story.tool(
        {
          id,
          name: "file_change",
          kind: "edit",
          title: paths.join(", "),
          status: statusOf(completed, failed),
          paths,
        },
        status === "declined",
      );
      return true;
    }
    case "mcp_tool_call": {
      const call = McpCall.safeParse(item);
      if (!call.success) return false;
      const name = `mcp__${call.data.server}__${call.data.tool}`;
      const status = statusOf(completed, call.data.status === "failed");
      story.tool({ id, name, kind: "other", title: name, status, input: call.data.arguments });
      return true;
    }
    case "web_search": {
      const search = Search.safeParse(item);
      if (!search.success) return false;
      const { query } = search.data;
      story.tool({
        id,
        name: "web_search",
        kind: "fetch",
        title: query,
        status: statusOf(completed, false),
        input: { query },
      });
      return true;
    }
    case "todo_list": {
      const todo = Todo.safeParse(item);
      if (!todo.success) return false;
      story.plan(
        todo.data.items.map(({ text, completed: done }) => ({
          content: text,
          status: done ? "completed" : "pending",
        })),
      );
      return true;
    }
    case "error": {
      const error = Message.safeParse(item);
      if (!error.success) return false;
      story.notice(error.data.message);
      return true;
    }
    default:
      return false;
  }
}

function statusOf(completed: boolean, failed: boolean): string {
  if (!completed) return "in_progress";
  return failed ? "failed" : "completed";
}
