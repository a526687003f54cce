/** `omk scripted-agent`: the built-in agent that follows a script, started by `--engine scripted:<file>`. */
import { scriptedAgentMain } from "../engine/scripted/agent.ts";
import type { App } from "./app.ts";

/** Speaks ACP on stdin and stdout until stdin closes, then ends the process: a script may end it in mid-turn. */
export async function scriptedAgentCommand(app: App, file: string): Promise<void> {
  const { io } = app;
  const environment = Object.fromEntries(
    Object.entries(io.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  const status = await scriptedAgentMain(file, app.world, {
    stdin: io.stdin,
    write: (bytes) =>
      new Promise((resolve, reject) => {
        io.stdout.write(bytes, (error) => (error ? reject(error) : resolve()));
      }),
    writeError: (text) => void io.stderr.write(text),
    environment,
  });
  io.exit(status);
}
