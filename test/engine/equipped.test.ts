import { expect, test } from "vitest";

import { defaultSettings } from "../../src/config/settings.ts";
import type { Engine, Session, StartOptions } from "../../src/engine/engine.ts";
import { equipped } from "../../src/engine/equipped.ts";
import { Config } from "../../src/format/config.ts";

const NEVER = new AbortController().signal;

/** An engine that only remembers how it was started. */
function remembering(): { engine: Engine; started: Partial<StartOptions>[] } {
  const started: Partial<StartOptions>[] = [];
  const engine = {
    name: "scripted",
    recordedAs: "scripted:/a",
    capabilities: {},
    start: (options: StartOptions) => {
      started.push(options);
      return Promise.resolve({} as Session);
    },
  } as unknown as Engine;
  return { engine, started };
}

const SETTINGS = Config.parse({
  env: ["API_BASE", "NOT_SET"],
  mcp_servers: {
    db: { command: "db-server", args: ["--port", "1"], env: { A: "1" } },
    web: { url: "https://example.invalid/mcp", headers: { Authorization: "Bearer x" } },
    old: { url: "https://example.invalid/sse", type: "sse" },
  },
});
const CALLER = { API_BASE: "http://base", OTHER: "no" };
const OPTIONS = { environment: { PATH: "/bin" } } as unknown as StartOptions;

test("agents see the variables that are named and set, and are told of the servers", async () => {
  const { engine, started } = remembering();
  const more = equipped(engine, SETTINGS, CALLER);
  expect(more).toMatchObject({ name: "scripted", recordedAs: "scripted:/a" });
  await more.start(OPTIONS, NEVER);
  expect(started).toEqual([
    {
      environment: { PATH: "/bin", API_BASE: "http://base" },
      mcpServers: [
        { name: "db", command: "db-server", args: ["--port", "1"], env: { A: "1" } },
        {
          name: "web",
          type: "http",
          url: "https://example.invalid/mcp",
          headers: { Authorization: "Bearer x" },
        },
        { name: "old", type: "sse", url: "https://example.invalid/sse", headers: {} },
      ],
    },
  ]);
});

test("an agent that may only read is told of no servers", async () => {
  const { engine, started } = remembering();
  await equipped(engine, SETTINGS, CALLER).start({ ...OPTIONS, mode: "read_only" }, NEVER);
  expect(started[0]).not.toHaveProperty("mcpServers");
});

test("without anything configured it is the engine itself", () => {
  const { engine } = remembering();
  expect(equipped(engine, defaultSettings(), CALLER)).toBe(engine);
});
