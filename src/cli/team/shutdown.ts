/** `omk team shutdown`: stops a run that another process works on. */
import { join } from "node:path";

import { findTeam } from "../../team/find.ts";
import { shutdownRun, type ShutdownAnswer } from "../../team/shutdown.ts";
import type { App } from "../app.ts";
import { goalPorts } from "../runtime.ts";
import { shellQuoted } from "../../format/shell.ts";

/** Stops a run, and says so when its processes are gone. */
export async function teamShutdownCommand(
  app: App,
  wanted: string,
  flags: { force: boolean; json: boolean },
): Promise<void> {
  app.listen();
  const ports = await goalPorts(app);
  const { name, controller } = findTeam(ports.root, wanted, ports);
  if (!flags.force && controller === "alive")
    app.output.story(`asking team run ${name} to stop; its agents get a few seconds to end their turn`);
  const answer = await shutdownRun(name, { force: flags.force }, ports, app.signal);
  app.output.result(
    { name, ...answer },
    () => render(name, join(ports.root, "team", name), answer),
    flags.json,
  );
}

function render(name: string, folder: string, answer: ShutdownAnswer): string {
  switch (answer.outcome) {
    case "finished":
      return `Team '${name}' is not running (${answer.phase}): nothing was changed`;
    case "recorded":
      return `The request to stop team '${name}' is recorded and has not been answered yet: look again with omk team status ${shellQuoted(name)}`;
    case "stopped":
      return [
        `✓ Team '${name}' shut down: no process of it can be found any more`,
        `  State: ${folder}`,
        `  Cost:  ${costLine(answer)}`,
        ...(answer.phase === "Shutdown"
          ? [`Go on with it: omk team run --resume --name ${shellQuoted(name)}`]
          : []),
      ].join("\n");
  }
}

function costLine({
  workers,
  seconds,
  tokens,
  usd,
}: Extract<ShutdownAnswer, { outcome: "stopped" }>): string {
  return `~$${usd.toFixed(4)} (${workers} workers, ~${seconds}s, ~${(tokens / 1_000).toFixed(1)}K tokens)`;
}
