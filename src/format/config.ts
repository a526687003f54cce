/** `config.toml` of the user, and `.omk/config.toml` of a project. */
import { z } from "zod";

import { ApprovalPolicy } from "./approval.ts";
import { Count } from "./number.ts";

/** A command that runs at an event of an agent and may forbid what it was asked about. */
export const Hook = z.looseObject({
  event: z.string(),
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
export const McpServerEntry = z.looseObject({
  command: z.string().optional(),
  args: z.array(z.string()).default([]),
  env: z.record(z.string(), z.string()).default({}),
  url: z.string().optional(),
  type: z.enum(["http", "sse"]).optional(),
  headers: z.record(z.string(), z.string()).default({}),
});

/** One configuration file. */
export const Config = z.looseObject({
  /** The engine for `auto`, as `--engine` takes it. */
  engine: z.string().optional(),
  approval_policy: ApprovalPolicy.optional(),
  approval_timeout_secs: Count.optional(),
  /** What an unanswered request becomes: a no, or a stop of the goal until somebody answers. */
  approval_on_timeout: z.enum(["reject", "block"]).optional(),
  /** By the id of a role (`reviewer`, `decompose`, …). */
  roles: z.record(z.string(), z.looseObject({ engine: z.string().optional() })).default({}),
  hooks: z.array(Hook).default([]),
  /** By model; `default` for those that have none. */
  prices: z.record(z.string(), Price).default({}),
  /** Names of more variables that agents may see. */
  env: z.array(z.string()).default([]),
  mcp_servers: z.record(z.string(), McpServerEntry).default({}),
});
export type Config = z.infer<typeof Config>;
