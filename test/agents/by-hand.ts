/** The model for a person who tries omk with a real agent: what `serve.mjs` starts. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { ModelServer, type Logged, type Step } from "./model-server.ts";
import { FAILURES, hello, WRITE_HELLO } from "./scenarios.ts";
import { writeSettings } from "./settings.ts";

/** Starts the model, writes a home folder with settings for the agents, and says how to use both. */
export async function serveByHand(
  folder: string,
  { port, fail }: { port?: string; fail?: string },
): Promise<ModelServer> {
  const server = await ModelServer.start(hello(firstStep(fail)), {
    port: Number(port ?? 0),
    onLogged: (entry) => process.stdout.write(`${told(entry)}\n`),
  });
  const home = join(folder, "home");
  mkdirSync(home);
  for (const name of ["opencode", "kimiCode", "kimiCli"] as const) writeSettings(name, home, server.url);
  const lines = [
    `A scripted model answers at ${server.url}`,
    "It makes the file hello.txt for every prompt that names it, and has nothing to say to others.",
    "",
    "In another terminal, in an empty git repository with an agent on PATH:",
    `  export HOME=${home} OMK_STATE_DIR=${join(folder, "state")}`,
    "  unset XDG_CONFIG_HOME XDG_DATA_HOME XDG_CACHE_HOME XDG_STATE_HOME    # your own settings, models and keys",
    "  omk goal run 'Create hello.txt that says hello' --until-ready --auto-accept \\",
    "    --engine opencode --gate 'hello=grep -q hello hello.txt'     # or --engine kimi",
    "",
    "Ctrl-C ends it and removes that folder.",
    "",
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
  return server;
}

function firstStep(fail: string | undefined): Step {
  if (fail === undefined) return { write: WRITE_HELLO };
  const found = Object.values(FAILURES).find(({ status }) => String(status) === fail);
  if (!found)
    throw new Error(
      `--fail takes ${Object.values(FAILURES)
        .map(({ status }) => status)
        .join(", ")}.`,
    );
  return { fail: found };
}

function told({ scenario, step, status, calls, said, ended }: Logged): string {
  const what = calls.map(({ name, arguments: given }) => `${name} ${JSON.stringify(given)}`).join(", ");
  const answer = status === 200 ? what || JSON.stringify(said) : `HTTP ${status}`;
  return `${scenario ?? "-"} ${step}: ${answer}${ended === "abandoned" ? " (the agent went away)" : ""}`;
}
