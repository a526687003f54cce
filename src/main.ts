/** One command line in, one exit status out. Never ends the process by itself, so that tests can call it. */
import { dirname, join } from "node:path";
import process from "node:process";

import { createApp, type App, type MainIo } from "./cli/app.ts";
import { guard } from "./cli/guardian.ts";
import { buildProgram } from "./cli/program.ts";
import { createEnder, createWorld, directOutput } from "./world.ts";

export type { MainIo } from "./cli/app.ts";

/** Runs one command line (without node and script) and gives the status the process should end with. */
export async function main(argv: readonly string[], io: MainIo): Promise<number> {
  const app: App = createApp(
    createWorld({
      spawnChain: io.env["OMK_SPAWN_ID"],
      guardian: {
        argv: () => [io.execPath, guardianOf(app)],
        tell(line) {
          app.output.story(line);
          app.log?.write("error", line);
        },
      },
    }),
    io === process ? directOutput(process) : io,
  );
  try {
    await buildProgram(app).parseAsync([...argv], { from: "user" });
    return app.endStatus();
  } catch (error) {
    return app.endStatus(error);
  } finally {
    app.stopListening();
  }
}

/**
 * The guardian's own process. It is built into a file of its own, `dist/guardian.cjs`, with nothing else inside: it is
 * started when work starts, and a light command must not pay for it either.
 */
export async function guardianMain(io: Pick<MainIo, "stdin" | "on">): Promise<void> {
  // Whoever ends omk this way wants its guardian to do its work, and nothing else ends it but the pipe.
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) io.on(name, () => undefined);
  await guard(io.stdin, createEnder());
}

/** Beside the entry that was started, whichever of its names that was. */
function guardianOf({ io, world }: App): string {
  const started = io.argv[1] ?? "";
  return join(dirname(world.disk.realPath(started) ?? started), "..", "dist", "guardian.cjs");
}
