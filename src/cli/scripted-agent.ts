/** `omk scripted-agent`: the built-in agent that follows a script, started by `--engine scripted:<file>`. */
import { scriptedAgentMain } from "../engine/scripted/agent.ts";
import type { App } from "./app.ts";

/** Speaks ACP on stdin and stdout until stdin closes. */
export async function scriptedAgentCommand(app: App, file: string): Promise<void> {
  app.exitStatus = await scriptedAgentMain(file, app.world, { stdin: app.io.stdin, stdout: app.io.stdout });
}
