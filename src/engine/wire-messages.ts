/** What we read of the messages of an agent that speaks Kimi's Wire protocol, and what we make of them. */
import { isAbsolute, relative, sep } from "node:path";
import { z } from "zod";

import { messageIn } from "./frames.ts";
import { asRecord } from "./rpc.ts";

// Loose, since servers of ten protocol versions are about; what is optional comes as null as often as it is left out.

const Text = z.string().nullish();
const Id = z.string().min(1).max(1024);
/** Whole, and no more than any budget is about: a sum of them stays a number. */
const Count = z.int().min(0).max(1e12);

/** An event or a request: `TurnBegin` and what belongs to it. */
export const Envelope = z.looseObject({
  type: z.string(),
  payload: z.looseObject({}).nullish(),
});

export const InitializeResult = z.looseObject({
  protocol_version: z.union([z.string(), z.number()]),
  server: z.looseObject({ name: z.string(), version: Text }).nullish(),
  hooks: z.looseObject({ supported_events: z.array(z.string()).nullish() }).nullish(),
});

export const PromptResult = z.looseObject({ status: z.string() });
export type PromptResult = z.infer<typeof PromptResult>;

export const ContentPart = z.looseObject({ type: Text, text: Text, think: Text, chunk: Text });
export const ToolCall = z.looseObject({
  id: Id,
  function: z.looseObject({ name: z.string(), arguments: Text }),
});
export const ToolCallPart = z.looseObject({ arguments_part: Text });
export const ToolResult = z.looseObject({
  tool_call_id: Id,
  return_value: z.looseObject({ is_error: z.boolean(), display: z.array(z.unknown()).nullish() }),
});
const TodoBlock = z.looseObject({
  type: z.literal("todo"),
  items: z.array(z.looseObject({ title: z.string(), status: z.string() })),
});
export const StepRetry = z.looseObject({
  n: z.number().nullish(),
  next_attempt: z.number().nullish(),
  max_attempts: z.number().nullish(),
  wait_s: z.number().nullish(),
  error_type: Text,
  status_code: z.number().nullish(),
});
export const StatusUpdate = z.looseObject({
  context_tokens: Count.nullish(),
  max_context_tokens: Count.nullish(),
  // A plain number is what an old test double sends: nobody knows of which kind those tokens are.
  token_usage: z
    .union([
      Count,
      z.looseObject({
        input_other: Count,
        output: Count,
        input_cache_read: Count.nullish(),
        input_cache_creation: Count.nullish(),
      }),
    ])
    .nullish()
    // A broken usage must not hide the rest of the update.
    .catch(undefined),
  message_id: Text,
  plan_mode: z.boolean().nullish(),
});
export type StatusUpdate = z.infer<typeof StatusUpdate>;
export const SubagentEvent = z.looseObject({
  agent_id: Text,
  parent_tool_call_id: Text,
  // Its name before protocol 1.6.
  task_tool_call_id: Text,
  event: Envelope,
});
export const PlanDisplay = z.looseObject({ content: z.string() });

export const ApprovalRequest = z.looseObject({
  id: Id,
  tool_call_id: Id,
  sender: Text,
  action: Text,
  description: Text,
  display: z.array(z.unknown()).nullish(),
  source_kind: Text,
  agent_id: Text,
});
export type ApprovalRequest = z.infer<typeof ApprovalRequest>;
export const HookRequest = z.looseObject({
  id: Text,
  subscription_id: Text,
  event: z.string(),
  target: Text,
  input_data: z.unknown().optional(),
});

/** Names come as `ToolCall`, `tool-call` or `tool call`, by age and kind of the server: all are `tool_call`. */
export function wireName(type: string): string {
  return type
    .slice(0, 200)
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replace(/([A-Z])([A-Z][a-z])/g, "$1_$2")
    .replace(/[\s_-]+/g, "_")
    .toLowerCase();
}

/**
 * The arguments of a tool call, which the model writes as JSON text. Undefined when they are no acceptable object: they
 * come from the same stranger as the lines they are in, so they are held to the same limits.
 */
export function parseArguments(text: string): unknown {
  if (text.trim() === "") return {};
  return messageIn(text);
}

/** Kinds of the built-in tools, as ACP calls them. */
const KINDS: ReadonlyMap<string, string> = new Map([
  ["Shell", "execute"],
  ["WriteFile", "edit"],
  ["StrReplaceFile", "edit"],
  ["ReadFile", "read"],
  ["ReadMediaFile", "read"],
  ["Glob", "search"],
  ["Grep", "search"],
  ["FetchURL", "fetch"],
  ["SearchWeb", "fetch"],
  ["SetTodoList", "think"],
  ["Think", "think"],
]);

/** What kind of tool has this name. */
export function kindOfTool(name: string): string {
  return KINDS.get(name) ?? "other";
}

/** Paths that the arguments of a built-in tool name. */
export function pathsOf(input: unknown): string[] {
  const { path, file_path } = asRecord(input);
  return [path, file_path].filter((one): one is string => typeof one === "string" && one !== "");
}

/** The entries of a todo list that a tool shows, if it shows one. */
export function todoOf(display: readonly unknown[]): { content: string; status: string }[] | undefined {
  for (const block of display) {
    const todo = TodoBlock.safeParse(block);
    if (todo.success) return todo.data.items.map(({ title, status }) => ({ content: title, status }));
  }
  return undefined;
}

/** What a request for an approval is about, whatever the tool call before it said. */
export interface Asked {
  name: string | null;
  kind: string;
  /** What the request shows as the command that is run, or null. */
  command: string | null;
  paths: string[];
  /** Its display blocks, diffs spelled as in ACP. */
  content: unknown[];
}

/**
 * Reads a request for an approval together with its tool call. The name is the tool's, as `action` holds a phrase; a tool of an
 * added server or plugin is marked as such, for its name is that server's own choice and may be `ReadFile`. What is shown
 * counts more than a name: what shows a command runs one.
 */
export function readApproval(
  request: ApprovalRequest,
  call: { name: string | null; input: unknown },
  cwd: string,
): Asked {
  const blocks = (request.display ?? []).map(asRecord);
  const sender = request.sender ? request.sender : null;
  const plain = call.name ?? sender;
  const [, family] = /^(mcp|plugin):/.exec(request.action ?? "") ?? [];
  const name = family === undefined ? plain : `${family}__${plain ?? "tool"}`;
  const shells = blocks.filter((block) => block["type"] === "shell").map((block) => block["command"]);
  const commands = shells.filter((one): one is string => typeof one === "string");
  const { command } = asRecord(call.input);
  const diffs = blocks.filter((block) => block["type"] === "diff");
  const known = name === null ? "other" : kindOfTool(name);
  const isCommand =
    commands.length > 0 || known === "execute" || /^run .*command$/.test(request.action ?? "");
  const isEdit = diffs.length > 0 || request.action?.startsWith("edit file") === true;
  return {
    name,
    kind: isCommand ? "execute" : isEdit ? "edit" : known,
    command:
      commands.length > 0 ? commands.join("\n") : isCommand && typeof command === "string" ? command : null,
    paths: [
      ...new Set([
        ...pathsOf(call.input),
        ...diffs.map((diff) => diff["path"]).filter((path): path is string => typeof path === "string"),
      ]),
    ],
    content: blocks.map((block) => (block["type"] === "diff" ? readDiff(block, cwd) : block)),
  };
}

/** A diff, spelled as in ACP; a path in the project is told from there, so that it is the same in every work tree. */
function readDiff(block: Record<string, unknown>, cwd: string): Record<string, unknown> {
  const { path, old_text: oldText, new_text: newText, ...rest } = block;
  if (typeof path !== "string" || !isAbsolute(path)) return { ...rest, path, oldText, newText };
  const inside = relative(cwd, path);
  const isInside = inside !== "" && inside !== ".." && !inside.startsWith(`..${sep}`);
  return { ...rest, path: isInside ? inside : path, oldText, newText };
}
