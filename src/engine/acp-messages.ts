/**
 * What we read of the messages of an agent that speaks the Agent Client Protocol. Loose, since agents add fields; narrow,
 * since only this is used.
 */
import { z } from "zod";

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
  used: z.int().min(0).max(1e12),
  size: z.int().min(0).max(1e12),
  cost: z.looseObject({ amount: z.number().min(0).max(1e6), currency: z.string() }).nullish(),
});
export const ModeUpdate = z.looseObject({ currentModeId: z.string() });
export const NoticeUpdate = z.looseObject({ title: z.string(), description: z.string().nullish() });

export const PermissionParams = z.looseObject({
  sessionId: z.string(),
  toolCall: ToolCallFields,
  options: z.array(z.looseObject({ optionId: z.string(), name: z.string(), kind: z.string() })).max(100),
});
export type PermissionParams = z.infer<typeof PermissionParams>;

// Parts that are only nice to have are dropped when they are broken: `catch`.
export const InitializeResult = z.looseObject({
  protocolVersion: z.number(),
  agentInfo: z.looseObject({ name: z.string(), version: z.string() }).nullish(),
  agentCapabilities: z
    .looseObject({
      mcpCapabilities: z
        .looseObject({ http: z.boolean().nullish(), sse: z.boolean().nullish() })
        .nullish()
        .catch(undefined),
    })
    .nullish()
    .catch(undefined),
  authMethods: z
    .array(z.looseObject({ id: z.string(), name: z.string().nullish() }))
    .nullish()
    .catch(undefined),
});
export type InitializeResult = z.infer<typeof InitializeResult>;

const Choice = z.looseObject({ value: z.string() });
export const NewSessionResult = z.looseObject({
  sessionId: z.string().min(1).max(1024),
  modes: z
    .looseObject({
      currentModeId: z.string(),
      availableModes: z.array(z.looseObject({ id: z.string() })).max(1000),
    })
    .nullish()
    .catch(undefined),
  configOptions: z
    .array(
      z.looseObject({
        id: z.string(),
        category: z.string().nullish(),
        currentValue: z.unknown(),
        options: z
          .array(z.looseObject({ value: z.string().optional(), options: z.array(Choice).optional() }))
          .nullish()
          .catch(undefined),
      }),
    )
    .max(1000)
    .nullish()
    .catch(undefined),
});
export type NewSessionResult = z.infer<typeof NewSessionResult>;

export const ReadFileParams = z.looseObject({
  sessionId: z.string(),
  path: z.string(),
  line: z.number().int().nonnegative().nullish(),
  limit: z.number().int().nonnegative().nullish(),
});
export type ReadFileParams = z.infer<typeof ReadFileParams>;
export const WriteFileParams = z.looseObject({
  sessionId: z.string(),
  path: z.string(),
  content: z.string(),
});
export type WriteFileParams = z.infer<typeof WriteFileParams>;
export const CreateTerminalParams = z.looseObject({
  sessionId: z.string(),
  command: z.string().min(1),
  args: z.array(z.string()).nullish(),
  env: z.array(z.looseObject({ name: z.string().min(1), value: z.string() })).nullish(),
  cwd: z.string().nullish(),
  outputByteLimit: z.number().int().nonnegative().nullish(),
});
export type CreateTerminalParams = z.infer<typeof CreateTerminalParams>;
export const TerminalParams = z.looseObject({ sessionId: z.string(), terminalId: z.string() });

/** Whole, and no more than any budget is about: a sum of them stays a number. */
const Count = z.int().min(0).max(1e12);
const Dollars = z.number().min(0).max(1e6);
/** Running totals of a turn, as an agent of ours tells them with its usage updates. */
export const TurnUsageReport = z.looseObject({
  input_tokens: Count,
  output_tokens: Count,
  cache_read_tokens: Count.nullish(),
  cache_write_tokens: Count.nullish(),
  cost_usd: Dollars.nullish(),
});
export type TurnUsageReport = z.infer<typeof TurnUsageReport>;
export const TurnUsageMeta = z
  .looseObject({ omk: z.looseObject({ turn_usage: TurnUsageReport.nullish() }).nullish() })
  .nullish()
  .catch(undefined);
/** Gemini tells the tokens of a turn here. */
const QuotaMeta = z
  .looseObject({
    quota: z
      .looseObject({
        token_count: z
          .looseObject({
            input_tokens: Count,
            output_tokens: Count,
            cached_tokens: Count.nullish(),
          })
          .nullish(),
      })
      .nullish(),
  })
  .nullish()
  .catch(undefined);

export const PromptResult = z.looseObject({
  stopReason: z.string(),
  _meta: QuotaMeta,
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
