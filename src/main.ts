/** One command line in, one exit status out. Never ends the process by itself, so that tests can call it. */
import process from "node:process";

import { buildProgram } from "./cli/program.ts";
import { createApp, type MainIo } from "./cli/app.ts";
import { createWorld, directOutput } from "./world.ts";

export type { MainIo } from "./cli/app.ts";

/** Runs one command line (without node and script) and gives the status the process should end with. */
export async function main(argv: readonly string[], io: MainIo): Promise<number> {
  const app = createApp(createWorld(), io === process ? directOutput(process) : io);
  try {
    await buildProgram(app).parseAsync([...argv], { from: "user" });
    return app.endStatus();
  } catch (error) {
    return app.endStatus(error);
  } finally {
    app.stopListening();
  }
}
