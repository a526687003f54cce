/** Puts the goal runtime together from the real world: git, gates, engines, the redactor, and what children may see. */
import { dirname, join } from "node:path";

import { defaultSettings } from "../config/settings.ts";
import { engineNamed } from "../engine/select.ts";
import { runGates } from "../gate/run.ts";
import { openWorkTree } from "../git/work-tree.ts";
import { createRedactor } from "../store/redact.ts";
import type { RunPorts } from "../team/open.ts";
import type { App } from "./app.ts";

/** Variables that children see besides those of the locale, XDG and proxy families. */
const ALLOWED = new Set(
  (
    "PATH HOME USER LOGNAME SHELL LANG TZ TMPDIR CI JAVA_HOME GOPATH CARGO_HOME RUSTUP_HOME NVM_DIR VIRTUAL_ENV " +
    "HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy"
  ).split(" "),
);
const ALLOWED_FAMILY = /^(?:LC_|XDG_)/;

/** Version of omk, which agents are told; the bundle replaces it. */
declare const OMK_VERSION: string;
const VERSION = typeof OMK_VERSION === "string" ? { clientVersion: OMK_VERSION } : {};

/** The ports of the runtime, of goals and of teams, for one command; everything it keeps lies below `root`. */
export async function goalPorts(app: App, root = app.root()): Promise<RunPorts> {
  const { world, io } = app;
  const redactor = createRedactor({ environment: io.env });
  const environment = childEnvironment(io.env);
  const launcher = [io.execPath, entryOf(app)] as const;
  const log = await world.openLog(
    join(root, "logs", `omk.log.${world.clock.now().toISOString().slice(0, 10)}`),
  );
  app.log = { write: (level, message) => log.write(level, redactor.text(message)) };
  return {
    ...world,
    redactor,
    root,
    uid: app.uid,
    environment,
    openWorkTree: (request) => openWorkTree({ ...request, environment }, world),
    runGates: (run, signal) =>
      runGates({ ...run, callerEnvironment: io.env }, world, (text) => redactor.text(text), signal),
    settings: () => defaultSettings(),
    engineNamed: (name, baseDir) => engineNamed(name, { launcher, baseDir, environment, ...VERSION }, world),
    tell: (line) => {
      app.output.story(redactor.text(line));
      app.log?.write("info", line);
    },
  };
}

/** Our own entry, whichever of its names this process was started by: the scripted agent is started through it. */
function entryOf({ io, world }: App): string {
  const started = io.argv[1] ?? "";
  return join(dirname(world.disk.realPath(started) ?? started), "omk.cjs");
}

/** The allow list applied: no other variable of the caller reaches an agent or a gate. */
function childEnvironment(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value !== undefined && (ALLOWED.has(name) || ALLOWED_FAMILY.test(name))) kept[name] = value;
  }
  return kept;
}
