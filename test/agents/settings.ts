/** What each agent must be told so that it talks to the test's model and calls nobody else. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import type { Programs } from "./install.ts";

/** Who gets such settings. */
export type AgentName = keyof Programs;

/** Prices per million tokens, as opencode counts them. */
export const PRICES = { input: 1, output: 5 };

/** Writes the agent's own configuration files into a home folder. */
export function writeSettings(name: AgentName, home: string, url: string): void {
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(home, path)), { recursive: true });
    writeFileSync(join(home, path), text);
  };
  const files: Readonly<Record<AgentName, () => void>> = {
    opencode: () => {
      write(".config/opencode/opencode.json", JSON.stringify(opencodeSettings(url)));
      // It fetches a package of its own into this folder unless that seems to have been done.
      const dependencies = { "@opencode-ai/plugin": "*" };
      write(".config/opencode/package-lock.json", JSON.stringify({ packages: { "": { dependencies } } }));
      write(".config/opencode/node_modules/.keep", "");
    },
    kimiCode: () => write(".kimi-code/config.toml", kimiSettings(url, "openai", "max_attempts_per_step")),
    kimiCli: () => write(".kimi/config.toml", kimiSettings(url, "openai_legacy", "max_retries_per_step")),
  };
  files[name]();
}

/** This model as the only one. Nothing of permissions: that it asks is the doing of omk. */
function opencodeSettings(url: string): object {
  return {
    autoupdate: false,
    share: "disabled",
    enabled_providers: ["scripted"],
    provider: {
      scripted: {
        npm: "@ai-sdk/openai-compatible",
        name: "Scripted",
        options: { baseURL: url, apiKey: "local" },
        models: {
          scripted: {
            name: "Scripted",
            tool_call: true,
            limit: { context: 128_000, output: 8_192 },
            cost: PRICES,
          },
        },
      },
    },
    model: "scripted/scripted",
    small_model: "scripted/scripted",
  };
}

/** Both programs of this name have the same file; few tries, since tests of failures wait for them. */
function kimiSettings(url: string, type: string, tries: string): string {
  return [
    'default_model = "scripted"',
    "telemetry = false",
    "[loop_control]",
    `${tries} = 2`,
    "[providers.scripted]",
    `type = "${type}"`,
    `base_url = "${url}"`,
    'api_key = "local"',
    "[models.scripted]",
    'provider = "scripted"',
    'model = "scripted"',
    "max_context_size = 128000",
    "",
  ].join("\n");
}
