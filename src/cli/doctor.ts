/** `omk doctor`: whether everything is there that a goal needs, each problem with its cure. */
import { dirname, join } from "node:path";

import { configPlaces } from "../config/settings.ts";
import { checkEngine, type Checkup } from "../engine/checkup.ts";
import type { Engine } from "../engine/engine.ts";
import { isTestedMajor, presetNamed, PRESETS } from "../engine/presets.ts";
import { programsInPath } from "../engine/program-path.ts";
import { OmkError, systemCode } from "../errors.ts";
import type { DoctorCheck, DoctorEngine, DoctorReport } from "../format/doctor.ts";
import { instantOf } from "../format/stamp.ts";
import { loadGates } from "../gate/definitions.ts";
import { GIT_FOR_SLICES, GIT_MIN, isAtLeast } from "../git/version.ts";
import type { Disk, RunResult } from "../ports.ts";
import { ensureFolder } from "../store/files.ts";
import { createRedactor } from "../store/redact.ts";
import type { RunPorts } from "../team/open.ts";
import type { App } from "./app.ts";
import { goalPorts } from "./runtime.ts";

/** What `omk doctor` takes. */
export interface DoctorFlags {
  json: boolean;
  /** False: no agent is started. */
  handshake: boolean;
  /** How many agents at once there should be memory for. */
  workers: number;
}

const COMMAND_MS = 10_000;
const HANDSHAKE_MS = 20_000;
/** All of it; agents that were not reached by then are told as such. */
const TOTAL_MS = 120_000;
/** Agents started at once: each takes hundreds of MiB and one processor for seconds. */
const HANDSHAKES_AT_ONCE = 2;
/** The oldest Node that omk runs on. */
const NODE_MIN = [20, 19] as const;
const MIB = 1024 * 1024;
/** Under this goals pause. */
const DISK_MIN = 64 * MIB;
const DISK_SCARCE = 1024 * MIB;

/** Looks at everything and prints what it found; exit status 1 when something has to be done. */
export async function doctorCommand(app: App, flags: DoctorFlags): Promise<void> {
  if (!Number.isSafeInteger(flags.workers) || flags.workers < 1) {
    throw new OmkError("usage.invalid", "--workers must be a whole number above 0.", {
      hint: "It is the number of agents that should be able to work at once.",
    });
  }
  app.listen();
  const over = new AbortController();
  const timer = app.world.clock.sleep(TOTAL_MS, over.signal).then(
    () => over.abort(new OmkError("interrupted", `omk doctor took longer than ${TOTAL_MS / 1000} s.`)),
    // Rejected by our own abort, when everything was looked at in time.
    () => undefined,
  );
  const signal = AbortSignal.any([app.signal, over.signal]);
  try {
    const redactor = createRedactor({ environment: app.io.env });
    const report = redactor.value(await examine(app, flags, signal)) as DoctorReport;
    app.exitStatus = report.passed ? 0 : 1;
    app.output.result(report, renderReport, flags.json);
  } finally {
    over.abort();
    await timer;
    app.stopListening();
  }
}

async function examine(app: App, flags: DoctorFlags, signal: AbortSignal): Promise<DoctorReport> {
  const state = await openState(app);
  const ports = "ports" in state ? state.ports : undefined;
  const agents = ports ? findAgents(app, ports) : undefined;
  const [node, git, gh, found] = await Promise.all([
    checkNode(app, signal),
    checkGit(app, signal),
    checkGh(app, signal),
    agents && ports ? examineAgents(agents, { app, ports, flags, signal }) : [],
  ]);
  const checks = [
    node,
    git,
    gh,
    ...checkOtherOmk(app),
    state.check,
    checkConfigFolder(app),
    ...(ports
      ? [...checkConfiguration(app, ports), checkDisk(app, ports), ...checkMemory(app, found, flags)]
      : []),
    checkGates(app),
    ...(agents ? agents.checks : []),
    ...found.map(({ check }) => check),
  ];
  const issues = checks.filter(({ result }) => result === "issue").length;
  return {
    version: 1,
    checked_at: instantOf(app.world.clock.now()),
    passed: issues === 0,
    issues,
    checks,
    engines: found.map(({ engine }) => engine),
  };
}

function ok(id: string, label: string, detail: string): DoctorCheck {
  return { id, label, result: "ok", detail, cure: null };
}

function warning(id: string, label: string, detail: string, cure: string): DoctorCheck {
  return { id, label, result: "warning", detail, cure };
}

function issue(id: string, label: string, detail: string, cure: string): DoctorCheck {
  return { id, label, result: "issue", detail, cure };
}

/** What a failure says, as a check. */
function issueOf(id: string, label: string, error: unknown): DoctorCheck {
  if (error instanceof OmkError) return issue(id, label, error.message, error.hint ?? "See the message.");
  if (systemCode(error) === undefined) throw error;
  return issue(id, label, (error as Error).message, "Look at the permissions of this path.");
}

// ---- Programs

function runShort(app: App, argv: readonly [string, ...string[]], signal: AbortSignal): Promise<RunResult> {
  const env: Record<string, string> = {};
  // git and gh find their own configuration and login by the user's variables; nothing of a project runs here.
  for (const [name, value] of Object.entries(app.io.env)) if (value !== undefined) env[name] = value;
  return app.world.processes.run(
    { argv, cwd: "/", env, timeoutMs: COMMAND_MS, outputBytesMax: 64 * 1024 },
    signal,
  );
}

function hasWorked({ exit, timedOut }: RunResult): boolean {
  return exit.kind === "exited" && exit.code === 0 && !timedOut;
}

/** The version in the first line of what a program said, and whether it is new enough. */
function versionIn(run: RunResult, min: readonly [number, number]): { text: string; isEnough: boolean } {
  const text = new TextDecoder().decode(run.stdout).split("\n")[0]?.trim() ?? "";
  return { text, isEnough: isAtLeast(text, min) };
}

async function checkNode(app: App, signal: AbortSignal): Promise<DoctorCheck> {
  const run = await runShort(app, [app.io.execPath, "--version"], signal);
  const { text, isEnough } = versionIn(run, NODE_MIN);
  if (hasWorked(run) && isEnough) return ok("node", "Node", text);
  return issue("node", "Node", `${text} is too old`, `Install Node ${NODE_MIN.join(".")} or newer.`);
}

async function checkGit(app: App, signal: AbortSignal): Promise<DoctorCheck> {
  const run = await runShort(app, ["git", "--version"], signal);
  if (!hasWorked(run))
    return issue("git", "git", "not found", "Install git: omk keeps what agents change with it.");
  const { text, isEnough } = versionIn(run, GIT_MIN);
  if (!isEnough)
    return issue("git", "git", `${text} is too old`, `Install git ${GIT_MIN.join(".")} or newer.`);
  if (versionIn(run, GIT_FOR_SLICES).isEnough) return ok("git", "git", text);
  const detail = `${text} is too old for work in slices: --slice-execution, several agents, pull requests`;
  return warning("git", "git", detail, `Install git ${GIT_FOR_SLICES.join(".")} or newer for that.`);
}

async function checkGh(app: App, signal: AbortSignal): Promise<DoctorCheck> {
  const version = await runShort(app, ["gh", "--version"], signal);
  if (!hasWorked(version)) {
    return warning("gh", "gh", "not found", "Only pull requests need it: https://cli.github.com.");
  }
  const { text } = versionIn(version, [0, 0]);
  const login = await runShort(app, ["gh", "auth", "status"], signal);
  if (hasWorked(login)) return ok("gh", "gh", `${text}, logged in`);
  return warning("gh", "gh", `${text}, not logged in`, "Only pull requests need it: run `gh auth login`.");
}

/** Another installation that answers to `omk`, now or when this one is gone. */
function checkOtherOmk({ io, world }: App): DoctorCheck[] {
  const own = world.disk.realPath(io.argv[1] ?? "");
  const found = programsInPath("omk", io.env, world.disk);
  const places = found.map((path) => ({ path, real: world.disk.realPath(path) ?? path }));
  const at = places.findIndex(({ real }) => real === own);
  const others = places.filter(({ real }) => real !== own);
  const [first] = others;
  if (!first) return [ok("path", "omk", own ?? "")];
  const isEarlier = at === -1 || places.indexOf(first) < at;
  return [
    warning(
      "path",
      "omk",
      isEarlier
        ? `the shell starts another omk: ${first.path}; this one is ${own}`
        : `another omk comes later in PATH: ${others.map(({ path }) => path).join(", ")}`,
      "Remove one of them, or put the folder of the one you want first in PATH.",
    ),
  ];
}

// ---- Folders, configuration, gates

/** Opens the state folder as every command does, and writes a file there. */
async function openState(
  app: App,
): Promise<{ check: DoctorCheck; ports: RunPorts } | { check: DoctorCheck }> {
  const label = "State folder";
  try {
    const root = app.root();
    await ensureFolder(root, app.world);
    tryWriting(root, app);
    return { check: ok("state", label, root), ports: await goalPorts(app, root) };
  } catch (error) {
    return { check: issueOf("state", label, error) };
  }
}

/** Writes a file and removes it. Throws the system's error. */
function tryWriting(folder: string, { world }: App): void {
  const path = join(folder, `.omk-write-test-${world.random.name(8)}`);
  const file = world.disk.open(path, "create");
  try {
    file.write(new TextEncoder().encode("omk doctor\n"));
  } finally {
    file.close();
    world.disk.remove(path);
  }
}

function checkConfigFolder(app: App): DoctorCheck {
  const label = "Config folder";
  const places = configPlaces(app.io.env);
  if (!places) {
    return issue("config", label, "neither HOME nor XDG_CONFIG_HOME is set", "Set HOME to your home folder.");
  }
  const folder = dirname(places.configFile);
  try {
    // Made when there is something to keep in it; what would hold it then must allow that.
    let there = folder;
    while (app.world.disk.realPath(there) === undefined && there !== dirname(there)) there = dirname(there);
    tryWriting(there, app);
    return ok("config", label, there === folder ? folder : `${folder} (not there yet)`);
  } catch (error) {
    return issueOf("config", label, error);
  }
}

function checkConfiguration(app: App, ports: RunPorts): DoctorCheck[] {
  const label = "Configuration";
  try {
    const { notices } = ports.settings(app.io.cwd());
    if (notices.length === 0) return [ok("trust", label, "valid")];
    return notices.map((notice) => warning("trust", label, notice, "See `omk config show`."));
  } catch (error) {
    return [issueOf("trust", label, error)];
  }
}

function checkGates(app: App): DoctorCheck {
  const label = "Gates";
  try {
    const { definitions } = loadGates({ projectDir: app.io.cwd(), flags: [] }, app.world);
    if (definitions.length > 0) return ok("gates", label, definitions.map(({ name }) => name).join(", "));
    return warning(
      "gates",
      label,
      "this folder has none, so nothing could be proven here",
      "Write .omk/gates.toml, or give --gate 'name=command' with a goal.",
    );
  } catch (error) {
    return issueOf("gates", label, error);
  }
}

// ---- Disk and memory

function checkDisk({ world }: App, { root }: RunPorts): DoctorCheck {
  const free = world.disk.freeBytes(root);
  const text = `${size(free)} free for ${root}`;
  const cure = "Free some space, or name a folder on another disk in OMK_STATE_DIR.";
  if (free < DISK_MIN) return issue("disk", "Disk", text, cure);
  return free < DISK_SCARCE ? warning("disk", "Disk", text, cure) : ok("disk", "Disk", text);
}

/** How many agents fit, by what the heaviest of those in use was measured to take. */
function checkMemory({ world }: App, found: readonly Examined[], { workers }: DoctorFlags): DoctorCheck[] {
  const available = availableMemory(world.disk);
  if (available === undefined) return [];
  const used = found.filter(({ engine }) => engine.in_use && engine.memory_mib !== null);
  const heaviest = used.toSorted((a, b) => (b.engine.memory_mib ?? 0) - (a.engine.memory_mib ?? 0))[0]
    ?.engine;
  if (!heaviest?.memory_mib) return [ok("memory", "Memory", `${size(available)} available`)];
  const fits = Math.floor(available / (heaviest.memory_mib * MIB));
  const text = `${size(available)} available: ${fits === 1 ? "1 agent" : `${fits} agents`} at once (${heaviest.name} takes about ${heaviest.memory_mib} MiB)`;
  if (fits >= workers) return [ok("memory", "Memory", text)];
  const cure = `Too little for ${workers}: close other programs, or let fewer agents work at once.`;
  return [warning("memory", "Memory", text, cure)];
}

/** What the system, and the container around us, still give; undefined where that cannot be asked. */
function availableMemory(disk: Pick<Disk, "readFile">): number | undefined {
  const text = (path: string) => {
    try {
      return new TextDecoder().decode(disk.readFile(path, 64 * 1024));
    } catch (error) {
      // Another system, or no such limit.
      if (systemCode(error) === undefined) throw error;
      return "";
    }
  };
  const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(text("/proc/meminfo"))?.[1];
  if (kib === undefined) return undefined;
  const limit = /^\d+$/.exec(text("/sys/fs/cgroup/memory.max").trim())?.[0];
  const used = Number(text("/sys/fs/cgroup/memory.current").trim());
  const inside = limit === undefined ? Infinity : Math.max(0, Number(limit) - used);
  return Math.min(Number(kib) * 1024, inside);
}

function size(bytes: number): string {
  return bytes < 1024 * MIB ? `${Math.floor(bytes / MIB)} MiB` : `${(bytes / MIB / 1024).toFixed(1)} GiB`;
}

// ---- Agents

/** Agents to look at: those in PATH, and what the configuration names besides. */
interface Agents {
  engines: { name: string; engine: Engine; isUsed: boolean }[];
  /** What can be said without looking at any. */
  checks: DoctorCheck[];
}

interface Examined {
  engine: DoctorEngine;
  check: DoctorCheck;
}

function findAgents(app: App, ports: RunPorts): Agents {
  const cwd = app.io.cwd();
  const checks: DoctorCheck[] = [];
  const engines = new Map<string, Agents["engines"][number]>();
  const add = (id: string, label: string, name: string, isUsed: boolean) => {
    try {
      const engine = ports.engineNamed(name, cwd);
      const known = engine.recordedAs ?? name;
      engines.set(known, { name: known, engine, isUsed: isUsed || engines.get(known)?.isUsed === true });
    } catch (error) {
      checks.push(issueOf(id, label, error));
    }
  };
  for (const { name } of wantedNames(app, ports))
    add(`engine:${name}`, name === "auto" ? "Agents" : name, name, true);
  const programs = new Set<string>();
  for (const { name, program } of PRESETS) {
    // Two presets of one program: the first tells them apart.
    if (programs.has(program)) continue;
    programs.add(program);
    if (programsInPath(program, ports.environment, app.world.disk).length > 0)
      add(`engine:${name}`, name, name, false);
  }
  return { engines: [...engines.values()], checks };
}

/** The engines that would be used here: `auto`, and those of roles. */
function wantedNames(app: App, ports: RunPorts): { name: string }[] {
  try {
    const { roles } = ports.settings(app.io.cwd());
    const own = Object.values(roles).flatMap(({ engine }) => (engine === undefined ? [] : [engine]));
    return [...new Set(["auto", ...own])].map((name) => ({ name }));
  } catch (error) {
    // A configuration that cannot be read has a check of its own.
    if (!(error instanceof OmkError)) throw error;
    return [];
  }
}

interface Examination {
  app: App;
  ports: RunPorts;
  flags: DoctorFlags;
  signal: AbortSignal;
}

/** Looks at the agents, a few at a time; those that are used come first. */
async function examineAgents(agents: Agents, given: Examination): Promise<Examined[]> {
  const waiting = agents.engines.map((one, at) => ({ ...one, at }));
  const done: Examined[] = [];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift())
      done[next.at] = await examineAgent(next, given);
  };
  await Promise.all(Array.from({ length: HANDSHAKES_AT_ONCE }, work));
  return done;
}

async function examineAgent(
  agent: Agents["engines"][number],
  { app, ports, flags, signal }: Examination,
): Promise<Examined> {
  const { disk, random } = app.world;
  const folder = join(ports.root, `doctor-${random.name(8)}`);
  if (flags.handshake) {
    app.output.story(`looking at ${agent.name}`);
    disk.makeFolder(folder);
  }
  try {
    const how = {
      folder: flags.handshake ? folder : null,
      environment: { ...ports.environment },
      spawnId: `omk-${random.name(20)}`,
      handshakeMs: HANDSHAKE_MS,
    };
    return tell(agent, await checkEngine(agent.engine, how, app.world, signal));
  } catch (error) {
    if (app.signal.aborted || !signal.aborted) throw error;
    // Our own time is up; what is known is told.
    return tell(agent, undefined);
  } finally {
    disk.removeTree(folder);
  }
}

/** What was found out about an agent, as a record and as a check. What nobody uses may be broken. */
function tell(agent: Agents["engines"][number], checkup: Checkup | undefined): Examined {
  const named = presetNamed(agent.name.replace(/:headless$/, ""));
  // Two programs share a name; only the one that speaks Wire tells its protocol's version as text.
  const isTwin = typeof checkup?.protocolVersion === "string" && named?.protocol !== "wire";
  const preset = isTwin && named?.twin ? presetNamed(named.twin.preset) : named;
  const version = checkup?.probe.version ?? checkup?.agentVersion ?? null;
  const tested = preset ? isTestedMajor(preset, version) : undefined;
  const needsLogin = checkup?.failure?.class === "auth";
  const isLoggedIn = checkup?.handshake === "ok" && preset?.loginShowsAt === "session";
  const engine: DoctorEngine = {
    name: agent.name,
    title: checkup?.agent ?? preset?.title ?? agent.name,
    program: checkup?.probe.program ?? null,
    version,
    tested: tested ?? null,
    in_use: agent.isUsed,
    handshake: checkup?.handshake ?? "failed",
    handshake_ms: checkup?.handshakeMs ?? null,
    protocol_version: checkup?.protocolVersion ?? null,
    login: needsLogin ? "needed" : isLoggedIn ? "ok" : "unknown",
    memory_mib: preset?.memoryMiB ?? null,
  };
  const bad = agent.isUsed ? issue : warning;
  const id = `engine:${agent.name}`;
  const label = agent.name;
  const install = preset
    ? `Install it again: ${preset.install}.`
    : "Check the command that the configuration names.";
  if (!checkup) {
    const cure = "Run `omk doctor` again; `--no-handshake` leaves the start out.";
    return { engine, check: bad(id, label, "there was no time left to look at it", cure) };
  }
  const { probe, failure, handshake } = checkup;
  if (!probe.found) return { engine, check: bad(id, label, "the program cannot be started", install) };
  if (probe.retired !== undefined) return { engine, check: bad(id, label, probe.retired, install) };
  if (needsLogin) {
    const cure = `Log in: ${preset?.login ?? "see the agent's own documentation"}.`;
    return { engine, check: bad(id, label, `${shown(version)}not logged in`, cure) };
  }
  if (handshake === "failed") {
    const why = failure?.message ?? "it did not start a session";
    const cure =
      failure?.class === "timeout" ? `Start it by hand once to see what it waits for. ${install}` : install;
    return { engine, check: bad(id, label, `${shown(version)}${why}`, cure) };
  }
  const took =
    checkup.handshakeMs === null ? "" : `, session started in ${(checkup.handshakeMs / 1000).toFixed(1)} s`;
  const detail = `${version ?? "version unknown"}${took}${agent.isUsed ? "" : " (not in use)"}`;
  if (tested === false) {
    const cure = `Tried with ${preset?.tested.join(", ")}: see docs/engines.md; tell us what goes wrong.`;
    return { engine, check: warning(id, label, `${detail}; this major version was not tried`, cure) };
  }
  return { engine, check: ok(id, label, detail) };
}

function shown(version: string | null): string {
  return version === null ? "" : `${version}, `;
}

// ---- Printing

const MARKS = { ok: "✓", warning: "⚠", issue: "✗" } as const;

function renderReport({ checks, issues }: DoctorReport): string {
  const width = Math.max(...checks.map(({ label }) => label.length)) + 3;
  const lines = checks.flatMap(({ label, result, detail, cure }) => [
    `${`${label} `.padEnd(width, ".")} ${MARKS[result]} ${detail.replace(/\s+/g, " ").trim()}`,
    ...(cure === null ? [] : [`${" ".repeat(width + 3)}${cure}`]),
  ]);
  const end = issues === 0 ? "All checks passed." : `Found ${issues} issue(s).`;
  return ["🔍 omk doctor", "", ...lines, "", end].join("\n");
}
