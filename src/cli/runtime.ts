/** The ports of the runtime for one command: the command line is the host, and the story goes to stderr and the log. */
import { dirname, join } from "node:path";

import { portsOf } from "../team/host.ts";
import type { RunPorts } from "../team/open.ts";
import type { App } from "./app.ts";
import { askerOf } from "./ask-person.ts";

/** The ports of the runtime, of goals and of teams, for one command; everything it keeps lies below `root`. */
export async function goalPorts(app: App, root = app.root()): Promise<RunPorts> {
  const { world, io, uid } = app;
  const log = await world.openLog(
    join(root, "logs", `omk.log.${world.clock.now().toISOString().slice(0, 10)}`),
  );
  const ports = portsOf({
    world,
    root,
    uid,
    environment: io.env,
    launcher: [io.execPath, entryOf(app)],
    tell(line) {
      app.output.story(line);
      app.log?.write("info", line);
    },
    askPerson: askerOf(app),
  });
  app.log = { write: (level, message) => log.write(level, ports.redactor.text(message)) };
  return ports;
}

/** Our own entry, whichever of its names this process was started by: the scripted agent is started through it. */
function entryOf({ io, world }: App): string {
  const started = io.argv[1] ?? "";
  return join(dirname(world.disk.realPath(started) ?? started), "omk.cjs");
}
