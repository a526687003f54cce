import { basename, resolve } from "node:path";
import { acpEngine } from "./acp.ts";
import type { AgentProcesses } from "./agent-process.ts";
import { commandEngine } from "./command.ts";
import type { Engine, EngineCapabilities, StartOptions } from "./engine.ts";
import { PRESETS, presetEnvironment, presetNamed, type AgentPreset, type OutputReaderId } from "./presets.ts";
import { answersTwin } from "./probe.ts";
import { programsInPath } from "./program-path.ts";
import { loadScript } from "./scripted/script.ts";
import { scriptWithPrompt } from "./prompt-argument.ts";
import { wireEngine } from "./wire.ts";
import type { Clock, Disk } from "../ports.ts";
import type { Redactor } from "../store/redact.ts";
import { OmkError } from "../errors.ts";

const NAMES = PRESETS.map(({ name }) => name).join(", ");
const KNOWN =
  `Known are ${NAMES}, each also as \`<name>:headless\`, \`acp:<command line>\`, \`wire:<command line>\`, ` +
  "`command:<command line with {prompt}>`, `scripted:<file>` and `auto`.";

/** What choosing an engine needs besides its name. */
export interface EngineOptions {
  /** How omk itself is started, as program and first arguments: the scripted agent is one of its commands. */
  launcher: readonly [string, ...string[]];
  /** What a script's relative path is relative to. */
  baseDir: string;
  /** What every child may see; its PATH is where programs are looked for. */
  environment?: Readonly<Record<string, string>>;
  /** The caller's whole environment, of which a preset lets its agent see more. */
  callerEnvironment?: Readonly<Record<string, string | undefined>>;
  /** The configured engine, which `auto` stands for. */
  configured?: string | undefined;
  clientVersion?: string;
}

/** What engines are made with. */
export interface EnginePorts {
  disk: Disk;
  processes: AgentProcesses;
  clock: Clock;
}

/** The same engine, named so that it means the same from every folder: a script's path becomes an absolute one. */
export function absoluteEngine(text: string, baseDir: string): string {
  const [, path] = /^scripted:\s*(.+)$/s.exec(text) ?? [];
  return path === undefined ? text : `scripted:${resolve(baseDir, path.trim())}`;
}

/** What is asked for in a role: the flag, else what is configured for the role, else for all, else `auto`. */
export function engineForRole(
  role: string,
  flag: string | undefined,
  settings: {
    engine?: string | undefined;
    roles: Readonly<Record<string, { engine?: string | undefined }>>;
  },
): string {
  const forRole = Object.hasOwn(settings.roles, role) ? settings.roles[role]?.engine : undefined;
  return [flag, forRole, settings.engine].find((text) => !isAuto(text)) ?? "auto";
}

function isAuto(text: string | undefined): boolean {
  return text === undefined || text.trim() === "" || text.trim() === "auto";
}

/**
 * The engine a user named: a preset, `<preset>:headless`, `acp:`, `wire:` or `command:` with a command line,
 * `scripted:<file>`, or `auto` (also empty) for the configured one or the first agent found. A script is read and a preset's
 * program looked for here, so that a broken or a missing one is an error (`engine.script`, `engine.missing`) before anything
 * starts. The engine's `recordedAs` means the same agent in a later omk.
 */
export function engineNamed(text: string, options: EngineOptions, ports: EnginePorts): Engine {
  const wanted = resolveEngine(text, options, ports);
  return changed(engineOf(wanted, options, ports), { recordedAs: wanted });
}

/** The same engine with something else about it. What it can do is asked anew each time: it may not be known yet. */
function changed(
  engine: Engine,
  { plans, ...change }: Partial<Pick<Engine, "recordedAs" | "start">> & { plans?: boolean },
): Engine {
  return {
    name: engine.name,
    get capabilities(): EngineCapabilities {
      return plans === undefined ? engine.capabilities : { ...engine.capabilities, plans };
    },
    probe: (signal) => engine.probe(signal),
    start: (given, signal) => engine.start(given, signal),
    ...change,
  };
}

/** The name to record: never `auto`, and no path that is relative. */
function resolveEngine(text: string, options: EngineOptions, ports: EnginePorts): string {
  if (!isAuto(text)) return absoluteEngine(text.trim(), options.baseDir);
  const { configured } = options;
  if (!isAuto(configured)) return absoluteEngine(configured?.trim() ?? "", options.baseDir);
  if (mockOf(options) !== undefined) return "kimi-cli";
  const { environment = {} } = options;
  const found = PRESETS.find(({ program }) => programsInPath(program, environment, ports.disk).length > 0);
  if (found) return found.name;
  throw new OmkError("engine.missing", "No coding agent was found.", {
    hint: `${lookedFor(environment, ports)} Or name the command of another with --engine 'acp:<command line>'.`,
  });
}

/** What `auto` looked for, and what is nearly there. */
function lookedFor(environment: Readonly<Record<string, string>>, ports: EnginePorts): string {
  const programs = [...new Set(PRESETS.map(({ program }) => program))];
  // The program itself may be there, and only the adapter by which others talk to it is not.
  const near = PRESETS.find(
    ({ headless, program }) =>
      headless !== null &&
      headless.program !== program &&
      programsInPath(headless.program, environment, ports.disk).length > 0,
  );
  const looked = `Looked in PATH for ${programs.join(", ")}.`;
  const [first] = PRESETS;
  return near
    ? `${looked} ${near.title} is there, but not ${near.program}: ${near.install}.`
    : `${looked} Install one of them, for example: ${first?.install ?? ""}.`;
}

/** The engine of a name that is not `auto`. */
function engineOf(text: string, options: EngineOptions, ports: EnginePorts): Engine {
  const preset = presetNamed(text);
  if (preset) return presetEngine(preset, options, ports);
  const colon = text.indexOf(":");
  const kind = colon === -1 ? text : text.slice(0, colon);
  const rest = colon === -1 ? "" : text.slice(colon + 1).trim();
  const quiet = presetNamed(kind);
  if (quiet && rest === "headless") return headlessEngine(quiet, options, ports);
  if (kind === "scripted" && rest !== "") {
    const path = resolve(options.baseDir, rest);
    const script = loadScript(path, ports.disk);
    const argv = [...options.launcher, "scripted-agent", path] as Argv;
    const versionArgv = [...options.launcher, "--version"] as Argv;
    const engine = acpEngine({ name: "scripted", argv, versionArgv, ...common(options) }, ports);
    // A script that says nothing of planning is one for workers: its `default` would change files.
    const plans = script.turns.some(({ match }) => match?.role === "plan");
    return plans ? engine : changed(engine, { plans });
  }
  if (kind === "acp" && rest !== "") {
    const argv = commandWords(rest);
    return startable({ name: "acp", argv, protocol: "acp" }, presetOf("acp", argv), options, ports);
  }
  if (kind === "wire" && rest !== "") {
    const argv = commandWords(rest);
    return startable({ name: "wire", argv, protocol: "wire" }, presetOf("wire", argv), options, ports);
  }
  if (kind === "command" && rest !== "") {
    const template = commandWords(rest);
    refuseScript(template);
    const known = PRESETS.find(({ headless }) => headless?.program === basename(template[0]));
    return headless({ name: "command", template, preset: known, output: "auto" }, options, ports);
  }
  throw new OmkError("usage.invalid", `${JSON.stringify(text)} names no engine.`, { hint: KNOWN });
}

/** Throws `usage.invalid` where a prompt would be read as a script. */
function refuseScript(template: Argv): void {
  const word = scriptWithPrompt(template);
  if (word === undefined) return;
  throw new OmkError("usage.invalid", `The prompt may not stand inside a script: ${JSON.stringify(word)}.`, {
    hint: `Whatever a prompt says would be run. Pass it behind the script, as in 'command:sh -c "agent \\"$1\\"" sh {prompt}', or by {prompt_file}, or on stdin.`,
  });
}

type Argv = readonly [string, ...string[]];

function common(options: EngineOptions): { environment?: Record<string, string>; clientVersion?: string } {
  return {
    ...(options.environment ? { environment: options.environment } : {}),
    ...(options.clientVersion === undefined ? {} : { clientVersion: options.clientVersion }),
  };
}

/** The binary that stands in for Kimi, under tests only. */
function mockOf({ callerEnvironment = {} }: EngineOptions): string | undefined {
  const mock = callerEnvironment["MOCK_KIMI"];
  return callerEnvironment["OMK_TEST"] === "1" && mock ? mock : undefined;
}

/** The known agent that a command line starts, so that it may see and is offered what that one needs. */
function presetOf(protocol: "acp" | "wire", [program, ...args]: Argv): AgentPreset | undefined {
  return PRESETS.find(
    (preset) =>
      preset.protocol === protocol &&
      preset.program === basename(program) &&
      preset.args.every((word) => args.includes(word)),
  );
}

/** The agent of a preset, by the protocol it speaks. */
function presetEngine(preset: AgentPreset, options: EngineOptions, ports: EnginePorts): Engine {
  const mock = preset.program === "kimi" ? mockOf(options) : undefined;
  if (mock !== undefined) {
    const argv = [mock, "--wire"] as const;
    return startable({ name: "kimi-cli", argv, protocol: "wire" }, presetNamed("kimi-cli"), options, ports);
  }
  const path = programOf(preset.program, preset, options, ports);
  const { protocol } = preset;
  const usual = startable(
    { name: preset.name, argv: [path, ...preset.args], protocol },
    preset,
    options,
    ports,
  );
  const other = preset.twin && presetNamed(preset.twin.preset);
  if (!preset.twin || !other) return usual;
  const { args, protocol: otherwise } = other;
  const twin = () =>
    startable({ name: preset.name, argv: [path, ...args], protocol: otherwise }, other, options, ports);
  const call = { argv: [path, ...preset.twin.args] as const, key: preset.twin.key };
  const environment = { ...options.environment, ...seen(preset, options, false) };
  return eitherEngine(usual, twin, (signal) =>
    answersTwin({ ...call, environment }, ports.processes, signal),
  );
}

/** What the agent of a preset may see besides what every child does. */
function seen(preset: AgentPreset, options: EngineOptions, isAsked: boolean): Record<string, string> {
  const caller = options.callerEnvironment ?? options.environment ?? {};
  const mocking = mockOf(options) === undefined ? [] : Object.entries(caller);
  const forMock = mocking.filter(([name]) => name.startsWith("MOCK_KIMI_")) as [string, string][];
  return { ...Object.fromEntries(forMock), ...presetEnvironment(preset, caller, isAsked) };
}

/** A program in PATH, or `engine.missing` with how to get it. */
function programOf(
  program: string,
  preset: AgentPreset,
  { environment = {} }: EngineOptions,
  ports: EnginePorts,
): string {
  const [path] = programsInPath(program, environment, ports.disk);
  if (path !== undefined) return path;
  throw new OmkError("engine.missing", `${preset.title} cannot be found: there is no ${program} in PATH.`, {
    hint: `To install it: ${preset.install}. \`omk doctor\` says which agents are there.`,
  });
}

/** The engine of a program that speaks a protocol, known or not. */
function startable(
  program: { name: string; argv: Argv; protocol: "acp" | "wire" },
  preset: AgentPreset | undefined,
  options: EngineOptions,
  ports: EnginePorts,
): Engine {
  const { protocol, ...named } = program;
  const more = preset ? seen(preset, options, true) : {};
  const given = {
    ...named,
    ...common(options),
    environment: { ...options.environment, ...more },
    ...(preset && {
      preset,
      retired: preset.retired,
      versionArgv: [named.argv[0], ...preset.versionArgs] as Argv,
    }),
  };
  const engine = protocol === "acp" ? acpEngine(given, ports) : wireEngine(given, ports);
  return seeingMore(engine, more);
}

/** The same engine, whose agents see more variables than all children do. */
function seeingMore(engine: Engine, more: Readonly<Record<string, string>>): Engine {
  const seen = (given: StartOptions): StartOptions => ({
    ...given,
    environment: { ...given.environment, ...more },
  });
  return changed(engine, { start: (given, signal) => engine.start(seen(given), signal) });
}

/** A preset's agent for one turn at a time, with nobody to ask. */
function headlessEngine(preset: AgentPreset, options: EngineOptions, ports: EnginePorts): Engine {
  const start = preset.headless;
  if (!start) {
    throw new OmkError("usage.invalid", `No headless command of ${preset.title} is known.`, {
      hint: `Choose --engine ${preset.name}, or write its command line: --engine 'command:<command line with {prompt}>'.`,
    });
  }
  const path = programOf(start.program, preset, options, ports);
  const name = `${preset.name}:headless`;
  const { output, args, readOnlyArgs } = start;
  const usual = headless({ name, template: [path, ...args], preset, output }, options, ports);
  if (!readOnlyArgs) return usual;
  const reading = headless({ name, template: [path, ...readOnlyArgs], preset, output }, options, ports);
  return changed(usual, {
    start: (given, signal) => (given.mode === "read_only" ? reading : usual).start(given, signal),
  });
}

/** The engine of a command line that takes the prompt and ends when the turn does. */
function headless(
  program: { name: string; template: Argv; preset: AgentPreset | undefined; output: OutputReaderId | "auto" },
  options: EngineOptions,
  ports: EnginePorts,
): Engine {
  const { template, preset } = program;
  const more = preset ? seen(preset, options, false) : {};
  const given = {
    ...program,
    argv: template,
    ...common(options),
    environment: { ...options.environment, ...more },
    ...(preset && {
      retired: preset.retired,
      versionArgv: [template[0], ...preset.versionArgs] as Argv,
    }),
  };
  return seeingMore(commandEngine(given, ports), more);
}

/** One of two engines, found out when it is first needed. Until then it promises what both do. */
function eitherEngine(
  usual: Engine,
  twin: () => Engine,
  isTwin: (signal: AbortSignal) => Promise<boolean>,
): Engine {
  let chosen: Engine | undefined;
  const choose = async (signal: AbortSignal): Promise<Engine> =>
    (chosen ??= (await isTwin(signal)) ? twin() : usual);
  return {
    name: usual.name,
    get capabilities(): EngineCapabilities {
      return (chosen ?? usual).capabilities;
    },
    probe: async (signal) => (await choose(signal)).probe(signal),
    start: async (given, signal) => (await choose(signal)).start(given, signal),
  };
}

/**
 * Refuses an engine whose text holds what looks like a secret: what is kept is redacted, so another command would be run
 * than was asked for, and every user of the machine sees a command line.
 */
export function refuseSecretEngine(text: string, redactor: Pick<Redactor, "text">): void {
  const shown = redactor.text(text);
  if (shown === text) return;
  throw new OmkError("usage.invalid", `--engine ${shown} holds what looks like a secret.`, {
    hint:
      "Keep it out of the command line: let the agent read it from an environment variable or its own configuration, " +
      "for example with a small script that sets the variable and starts the agent.",
  });
}

/**
 * The words of a command line: split at white space, with quotes, and without anything else a shell does. Inside
 * double quotes `\"` and `\\` are escapes; elsewhere a backslash is itself. Throws `usage.invalid`.
 */
export function commandWords(line: string): [string, ...string[]] {
  const words: string[] = [];
  let word: string | undefined;
  let quote: string | undefined;
  for (let at = 0; at < line.length; at++) {
    const character = line.charAt(at);
    if (quote !== undefined) {
      const next = line.charAt(at + 1);
      if (character === quote) quote = undefined;
      else if (quote === '"' && character === "\\" && (next === '"' || next === "\\")) {
        word = (word ?? "") + next;
        at++;
      } else word = (word ?? "") + character;
    } else if (character === '"' || character === "'") {
      quote = character;
      // Two quotes with nothing between them are a word, too.
      word ??= "";
    } else if (/\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? "") + character;
  }
  if (quote !== undefined) {
    throw new OmkError(
      "usage.invalid",
      `A quote in the command line ${JSON.stringify(line)} is not closed.`,
      { hint: KNOWN },
    );
  }
  if (word !== undefined) words.push(word);
  const [program, ...rest] = words;
  if (program === undefined || program === "") {
    throw new OmkError("usage.invalid", `The command line ${JSON.stringify(line)} names no program.`, {
      hint: KNOWN,
    });
  }
  return [program, ...rest];
}
