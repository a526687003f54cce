/** `omk hud`: how a team is doing right now. */
import { OmkError } from "../errors.ts";
import { createRedactor } from "../store/redact.ts";
import { Hud } from "../team/hud.ts";
import type { App } from "./app.ts";

/** What commander gives. */
export interface HudFlags {
  once: boolean;
  json: boolean;
  tui: boolean;
  web: boolean;
  port?: number;
}

const REDRAW_MS = 2_000;
/** Clears the screen and goes to its first line. */
const CLEAR = "\u001b[2J\u001b[H";

/** Prints a snapshot, or on a terminal one after the other until the run ends. */
export async function hudCommand(app: App, team: string, flags: HudFlags): Promise<void> {
  if (flags.tui) throw notThere("--tui", "omk hud <team> redraws itself on a terminal.");
  if (flags.web || flags.port !== undefined)
    throw notThere("--web", "omk hud <team> --json is for other programs.");
  const hud = Hud.open(app.root(), team, app.world);
  const redactor = createRedactor({ environment: app.io.env });
  const text = () => redactor.text(hud.text());
  if (flags.json) return app.output.result(redactor.value(hud.snapshot()), text, true);
  // A terminal has a width, anything else has none.
  if (flags.once || app.io.stdout.columns === undefined) return app.output.text(text());
  // Ctrl-C ends the process as it is: nothing is kept here that could be lost.
  for (;;) {
    app.io.stdout.write(CLEAR);
    app.output.text(text());
    if (hud.hasEnded) return;
    await app.world.clock.sleep(REDRAW_MS, app.signal);
    hud.refresh();
  }
}

function notThere(flag: string, hint: string): OmkError {
  return new OmkError("usage.invalid", `omk hud ${flag} is not there yet.`, { hint });
}
