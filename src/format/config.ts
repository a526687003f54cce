/** `config.toml` of the user, and `.omk/config.toml` of a project. */
import { z } from "zod";

import { AllowedSecret } from "./allow-list.ts";
import { ApprovalPolicy } from "./approval.ts";
import { Count } from "./number.ts";

/** When hooks run: names of Kimi's own configuration, so that its scripts can be taken over. */
export const HOOK_EVENTS = [
  "PreToolUse",
  "PostToolUse",
  "PostToolUseFailure",
  "UserPromptSubmit",
  "Stop",
  "StopFailure",
  "SessionStart",
  "SessionEnd",
  "SubagentStart",
  "SubagentStop",
  "PreCompact",
  "PostCompact",
  "Notification",
] as const;
export type HookEvent = (typeof HOOK_EVENTS)[number];

/** A command that runs at an event of an agent and may forbid what it was asked about. */
export const Hook = z.looseObject({
  event: z.enum(HOOK_EVENTS),
  /** Relative to the folder that the configuration belongs to; no arguments, no shell. */
  command: z.string().min(1),
  /** A regular expression for a linear-time engine, searched in the event's target; absent matches everything. */
  matcher: z.string().optional(),
  /** Seconds. */
  timeout: Count.optional(),
});
export type Hook = z.infer<typeof Hook>;

/** US dollars for a million tokens. */
export const Price = z.looseObject({
  input: z.number().min(0),
  output: z.number().min(0),
  cache_read: z.number().min(0).optional(),
  cache_write: z.number().min(0).optional(),
});
export type Price = z.infer<typeof Price>;

/** A server of tools that agents are told to connect to: a command, or an address. */
const McpServerEntry = z
  .looseObject({
    command: z.string().min(1).optional(),
    args: z.array(z.string()).default([]),
    env: z.record(z.string(), z.string()).default({}),
    url: z.string().min(1).optional(),
    type: z.enum(["http", "sse"]).optional(),
    headers: z.record(z.string(), z.string()).default({}),
  })
  .refine(
    ({ command, url }) => (command === undefined) !== (url === undefined),
    "Expected either a command or a url",
  );

/** A count above zero. */
const Positive = Count.refine((value) => Number(value) > 0, "Expected a whole number above 0");

/** One configuration file. */
export const Config = z.looseObject({
  /** The engine for `auto`, as `--engine` takes it. */
  engine: z.string().min(1).optional(),
  approval_policy: ApprovalPolicy.optional(),
  approval_timeout_secs: Positive.optional(),
  /** What an unanswered request becomes: a no, or a stop of the goal until somebody answers. */
  approval_on_timeout: z.enum(["reject", "block"]).optional(),
  /** What the review of a result demands, and what it lets pass. */
  review: z
    .looseObject({
      /** The performance section also holds for goals that are not about performance. */
      require_performance: z.boolean().optional(),
      allowed_secrets: z.array(AllowedSecret).max(1_000).optional(),
    })
    .optional(),
  /** By the id of a role (`reviewer`, `decompose`, …). */
  roles: z.record(z.string(), z.looseObject({ engine: z.string().min(1).optional() })).default({}),
  hooks: z.array(Hook).default([]),
  /** By model; `default` for those that have none. */
  prices: z.record(z.string(), Price).default({}),
  /** Names of more variables that agents may see. */
  env: z.array(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "Expected the name of a variable")).default([]),
  mcp_servers: z.record(z.string(), McpServerEntry).default({}),
  // Keys of 0.5.0, in which they had no effect but to be shown; they are checked and kept.
  default_team_size: z
    .int()
    .min(1, "Expected a number from 1 to 16")
    .max(16, "Expected a number from 1 to 16")
    .optional(),
  default_yolo: z.boolean().optional(),
  kimi_binary: z.string().optional(),
  extra_skill_dirs: z.array(z.string()).optional(),
  enable_metrics: z.boolean().optional(),
  registries: z.array(z.string()).optional(),
  webhooks: z
    .looseObject({
      discord: z.string().optional(),
      slack: z.string().optional(),
      telegram: z.string().optional(),
    })
    .optional(),
});
export type Config = z.infer<typeof Config>;
