/** Puts the ports of goals and teams together from the real world: git, gates, engines, the redactor, and what children may see. */
import type { AskPerson } from "../approval/approvals.ts";
import { configPlaces, loadSettings, type Settings } from "../config/settings.ts";
import { equipped } from "../engine/equipped.ts";
import { engineNamed } from "../engine/select.ts";
import { OmkError } from "../errors.ts";
import { observeCommand } from "../gate/observe.ts";
import { runGates } from "../gate/run.ts";
import { openPrivateGit } from "../git/private-git.ts";
import { openWorkTree } from "../git/work-tree.ts";
import type { World } from "../ports.ts";
import { createRedactor, type Redactor } from "../store/redact.ts";
import type { RunPorts } from "./open.ts";

/** Where omk runs: what a command line, or a program that uses the library, brings with it. */
export interface Host {
  world: World;
  /** The root of all state. */
  root: string;
  uid: number | undefined;
  /** The caller's whole environment. */
  environment: Readonly<Record<string, string | undefined>>;
  /** Node and omk's own entry: the scripted agent is started through it. */
  launcher: readonly [string, string];
  /** Takes one line of the story, free of secrets. */
  tell(line: string): void;
  askPerson?: AskPerson | undefined;
}

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

/** The ports of the runtime, of goals and of teams. */
export function portsOf(host: Host): RunPorts {
  const { world, root, uid, launcher, askPerson } = host;
  const redactor = new GrowingRedactor(host.environment);
  const environment = childEnvironment(host.environment);
  const callerEnvironment = host.environment;
  const tell = (line: string) => host.tell(redactor.text(line));
  const settings = settingsReader(host, redactor, tell);
  return {
    ...world,
    redactor,
    root,
    uid,
    environment,
    openWorkTree: (request) => openWorkTree({ ...request, environment }, { ...world, tell }),
    openGit: (request) => openPrivateGit({ ...request, environment }, { ...world, tell }),
    callerEnvironment,
    runGates: (run, signal) =>
      runGates({ ...run, callerEnvironment }, world, (text) => redactor.text(text), signal),
    observe: (run, signal) => observeCommand({ ...run, callerEnvironment }, world, signal),
    settings,
    engineNamed: (name, baseDir) => {
      const held = settings(baseDir);
      if (held.guardGone !== undefined) {
        throw new OmkError("config.invalid", `No agent may work here: ${held.guardGone}`, {
          hint: "Its hooks were trusted as a guard. If they are to be no more: omk trust --revoke.",
        });
      }
      const { engine: configured } = held;
      const options = { launcher, baseDir, environment, callerEnvironment, configured, ...VERSION };
      return equipped(engineNamed(name, options, world), held, callerEnvironment);
    },
    tell,
    spawnChain: (callerEnvironment["OMK_SPAWN_ID"] ?? "").split(",").filter((id) => id !== ""),
    ...(askPerson && { askPerson }),
  };
}

/** Reads the configuration of each project once, and tells what there is to say about it once. */
function settingsReader(
  { world, root, environment }: Host,
  redactor: GrowingRedactor,
  tell: (line: string) => void,
): (projectDir: string) => Settings {
  const places = configPlaces(environment);
  const read = new Map<string, Settings>();
  const told = new Set<string>();
  return (projectDir) => {
    const known = read.get(projectDir);
    if (known) return known;
    const settings = loadSettings({ projectDir, root, places }, world);
    read.set(projectDir, settings);
    redactor.learn(settings);
    for (const notice of settings.notices) {
      if (!told.has(notice)) tell(notice);
      told.add(notice);
    }
    return settings;
  };
}

/** Headers whose values let one in. */
const SECRET_HEADER = /auth|cookie|key|token|secret/i;

/** A redactor that learns the secrets of a configuration when that is read. */
class GrowingRedactor implements Redactor {
  readonly #environment: Record<string, string | undefined>;
  readonly #registered: string[] = [];
  #redactor: Redactor;

  constructor(environment: Readonly<Record<string, string | undefined>>) {
    this.#environment = { ...environment };
    this.#redactor = createRedactor({ environment });
  }

  learn({ mcp_servers, webhooks }: Pick<Settings, "mcp_servers" | "webhooks">): void {
    for (const [server, { env, headers }] of Object.entries(mcp_servers)) {
      // Names tell secrets from other values; those of a server must not take the place of the caller's.
      for (const [name, value] of Object.entries(env)) this.#environment[`${server}_${name}`] = value;
      for (const [name, value] of Object.entries(headers))
        if (SECRET_HEADER.test(name)) this.#registered.push(value, value.replace(/^\w+\s+/, ""));
    }
    // Who knows the address may post to it.
    for (const value of Object.values(webhooks ?? {}))
      if (typeof value === "string") this.#registered.push(value);
    this.#redactor = createRedactor({ environment: this.#environment, registered: this.#registered });
  }

  readonly text = (text: string): string => this.#redactor.text(text);
  readonly value = (value: unknown): unknown => this.#redactor.value(value);
  readonly stream = (): ReturnType<Redactor["stream"]> => this.#redactor.stream();
}

/** The allow list applied: no other variable of the caller reaches an agent or a gate. */
function childEnvironment(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value !== undefined && (ALLOWED.has(name) || ALLOWED_FAMILY.test(name))) kept[name] = value;
  }
  return kept;
}
