/** An engine whose agents are given what the configuration adds: variables they may see, and servers of tools. */
import type { Settings } from "../config/settings.ts";
import type { Engine, McpServer } from "./engine.ts";

/** The same engine, equipped. Of the caller's variables agents see those that the configuration names. */
export function equipped(
  engine: Engine,
  settings: Pick<Settings, "env" | "mcp_servers">,
  callerEnvironment: Readonly<Record<string, string | undefined>>,
): Engine {
  const variables = namedVariables(settings.env, callerEnvironment);
  const servers = mcpServersOf(settings);
  if (Object.keys(variables).length === 0 && servers.length === 0) return engine;
  return {
    name: engine.name,
    ...(engine.recordedAs !== undefined && { recordedAs: engine.recordedAs }),
    // What it can do may not be known before it was probed.
    get capabilities() {
      return engine.capabilities;
    },
    probe: (signal) => engine.probe(signal),
    start: (options, signal) => {
      // Nobody knows what a server's tools change, so an agent that may only read gets none.
      const mcpServers = options.mode === "read_only" ? [] : [...(options.mcpServers ?? []), ...servers];
      const environment = { ...options.environment, ...variables };
      return engine.start({ ...options, environment, ...(mcpServers.length > 0 && { mcpServers }) }, signal);
    },
  };
}

function namedVariables(
  names: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const name of names) {
    const value = environment[name];
    if (value !== undefined) kept[name] = value;
  }
  return kept;
}

function mcpServersOf({ mcp_servers }: Pick<Settings, "mcp_servers">): McpServer[] {
  return Object.entries(mcp_servers).map(([name, { command, args, env, url, type, headers }]) =>
    command === undefined
      ? { name, type: type ?? "http", url: url ?? "", headers }
      : { name, command, args, env },
  );
}
