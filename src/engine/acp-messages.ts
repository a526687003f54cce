/** What we read of the messages of an agent that speaks the Agent Client Protocol. */
import { z } from "zod";

// What we read of an agent's messages. Loose, since agents add fields; narrow, since only this is used.

export const ToolCallFields = z.looseObject({
  toolCallId: z.string().min(1).max(1024),
  title: z.string().nullish(),
  name: z.string().nullish(),
  kind: z.string().nullish(),
  status: z.string().nullish(),
  content: z.array(z.unknown()).nullish(),
  locations: z.array(z.looseObject({ path: z.string() })).nullish(),
  rawInput: z.unknown().optional(),
});
export type ToolCallFields = z.infer<typeof ToolCallFields>;

export const UpdateParams = z.looseObject({
  sessionId: z.string(),
  update: z.looseObject({ sessionUpdate: z.string() }),
});
export const Chunk = z.looseObject({
  content: z.looseObject({ type: z.string(), text: z.string().optional() }),
});
export const PlanUpdate = z.looseObject({
  entries: z.array(z.looseObject({ content: z.string(), status: z.string() })),
});
export const UsageUpdate = z.looseObject({
  used: z.number().nonnegative(),
  size: z.number().nonnegative(),
  cost: z.looseObject({ amount: z.number().nonnegative(), currency: z.string() }).nullish(),
});
export const ModeUpdate = z.looseObject({ currentModeId: z.string() });
export const NoticeUpdate = z.looseObject({ title: z.string(), description: z.string().nullish() });

export const PermissionParams = z.looseObject({
  sessionId: z.string(),
  toolCall: ToolCallFields,
  options: z.array(z.looseObject({ optionId: z.string(), name: z.string(), kind: z.string() })).max(100),
});
export type PermissionParams = z.infer<typeof PermissionParams>;

export const InitializeResult = z.looseObject({
  protocolVersion: z.number(),
  agentInfo: z.looseObject({ name: z.string(), version: z.string() }).nullish(),
});
export const NewSessionResult = z.looseObject({ sessionId: z.string().min(1).max(1024) });

const Count = z.number().nonnegative();
export const PromptResult = z.looseObject({
  stopReason: z.string(),
  // A broken usage must not spoil the result it came with.
  usage: z
    .looseObject({
      totalTokens: Count,
      inputTokens: Count,
      outputTokens: Count,
      thoughtTokens: Count.nullish(),
      cachedReadTokens: Count.nullish(),
      cachedWriteTokens: Count.nullish(),
    })
    .nullish()
    .catch(undefined),
});
export type PromptResult = z.infer<typeof PromptResult>;
