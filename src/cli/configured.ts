/** What a configuration makes omk do, in lines for people. Values that may be secrets are not among them. */
import type { Settings } from "../config/settings.ts";
import type { Config } from "../format/config.ts";

/** What is told about a configuration: as it stands in a file, or as it holds. */
export type Shown = Pick<
  Settings,
  | "engine"
  | "approval_policy"
  | "approval_timeout_secs"
  | "approval_on_timeout"
  | "roles"
  | "prices"
  | "env"
  | "mcp_servers"
> & { hooks: Config["hooks"] };

/** One line for each thing that is configured; none for what is not. */
export function configuredLines(config: Shown): string[] {
  const { engine, approval_policy, approval_timeout_secs, approval_on_timeout } = config;
  const lines: string[] = [];
  if (engine !== undefined) lines.push(`engine: ${engine}`);
  for (const [role, { engine: own }] of Object.entries(config.roles))
    if (own !== undefined) lines.push(`engine of ${role}: ${own}`);
  if (approval_policy !== undefined) lines.push(`approval policy: ${policyName(approval_policy)}`);
  if (approval_timeout_secs !== undefined) lines.push(`approval timeout: ${Number(approval_timeout_secs)} s`);
  if (approval_on_timeout !== undefined) lines.push(`unanswered approvals: ${approval_on_timeout}`);
  for (const { event, command, matcher, timeout } of config.hooks) {
    const what = matcher === undefined ? event : `${event} (${matcher})`;
    lines.push(`hook at ${what}: runs ${command}${timeout === undefined ? "" : `, ${Number(timeout)} s`}`);
  }
  for (const [name, { command, args, url, env, headers }] of Object.entries(config.mcp_servers)) {
    const how = command === undefined ? `connects to ${url}` : `runs ${[command, ...args].join(" ")}`;
    const given = [...Object.keys(env), ...Object.keys(headers)];
    lines.push(`MCP server ${name}: ${how}${given.length === 0 ? "" : ` with ${given.join(", ")}`}`);
  }
  if (config.env.length > 0) lines.push(`agents see the variables: ${config.env.join(", ")}`);
  const models = Object.keys(config.prices);
  if (models.length > 0) lines.push(`prices of: ${models.join(", ")}`);
  return lines;
}

/** A policy as 0.5.0 shows it. */
export function policyName(policy: NonNullable<Shown["approval_policy"]>): string {
  if (typeof policy === "string") return `${policy.charAt(0).toUpperCase()}${policy.slice(1)}`;
  return `Pattern { patterns: ${JSON.stringify(policy.pattern.patterns)} }`;
}

/** The same record without what servers are given and where messages go, which may be secrets. */
export function withoutSecrets<T extends Pick<Settings, "mcp_servers" | "webhooks">>(config: T): T {
  const hidden = (values: Readonly<Record<string, unknown>>) =>
    Object.fromEntries(Object.keys(values).map((name) => [name, "[REDACTED:key]"]));
  const servers = Object.entries(config.mcp_servers).map(([name, server]) => [
    name,
    { ...server, env: hidden(server.env), headers: hidden(server.headers) },
  ]);
  return {
    ...config,
    mcp_servers: Object.fromEntries(servers) as T["mcp_servers"],
    ...(config.webhooks && { webhooks: hidden(config.webhooks) }),
  };
}
