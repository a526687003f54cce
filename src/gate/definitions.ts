/** Which gates a project has: what `.omk/gates.toml` says, else what its files suggest, and what the user adds. */
import { join } from "node:path";

import { parse, TomlError } from "smol-toml";
import type { z } from "zod";

import { OmkError, systemCode } from "../errors.ts";
import {
  GatesFile,
  type GateDefinition,
  type GateSet,
  type GateSource,
  type SetupCommand,
} from "../format/gate.ts";
import type { ChangedDefinition } from "../format/proof.ts";
import type { Disk } from "../ports.ts";
import { sha256 } from "../store/event-line.ts";
import type { Redactor } from "../store/redact.ts";

/** Larger files of this kind are a mistake. */
const FILE_BYTES_MAX = 1024 * 1024;

/**
 * The gates of a project. `.omk/gates.toml` decides when it is there; one that cannot be read or understood is
 * `gates.invalid`, never a reason to look elsewhere. `flags` are values of `--gate`: they come last, or replace the gate
 * of the same name; a bad one is `usage.invalid`.
 */
export function loadGates(
  request: { projectDir: string; flags: readonly string[] },
  ports: { disk: Disk },
): GateSet {
  const configured = readGatesFile(join(request.projectDir, ".omk", "gates.toml"), ports.disk);
  const found = configured?.definitions ?? detectGates(request.projectDir, ports.disk);
  const source = configured ? "config" : found.length > 0 ? "detected" : "none";
  const setup = configured?.setup;
  const set = { source, definitions: found, ...(setup && { setup }) } as const;
  return withGateFlags({ ...set, digest: digestOf(set) }, request.flags);
}

/** A project without gates. */
export const NO_GATES: GateSet = { source: "none", digest: sha256(canonical([])), definitions: [] };

/** Gates that were found in a result: they are marked as such, and nothing else of them differs. */
export function candidateSet(set: GateSet): GateSet {
  if (set.definitions.length === 0) return NO_GATES;
  const definitions = set.definitions.map((one) => ({ ...one, source: "candidate" as const }));
  const found = { ...set, source: "candidate" as const, definitions };
  return { ...found, digest: digestOf(found) };
}

/** Gates as they are without those that came by `--gate`. */
export function withoutFlags(set: GateSet): GateSet {
  return withDefinitions(
    set,
    set.definitions.filter(({ source }) => source !== "flag"),
  );
}

/** The same set with other definitions. */
export function withDefinitions(set: GateSet, definitions: GateDefinition[]): GateSet {
  const changed = { ...set, definitions };
  return { ...changed, digest: digestOf(changed) };
}

/** How the gates of one set differ from those of another, by name; what sets them up counts like a gate. */
export function changedDefinitions(before: GateSet, after: GateSet): ChangedDefinition[] {
  const listed = (set: GateSet) =>
    new Map<string, string>([
      ...set.definitions.map((one): [string, string] => [one.name, canonical({ ...one, source: null })]),
      ...(set.setup ? [["[setup]", canonical(set.setup)] as [string, string]] : []),
    ]);
  const [old, now] = [listed(before), listed(after)];
  return [...new Set([...old.keys(), ...now.keys()])].flatMap((name) => {
    if (old.get(name) === now.get(name)) return [];
    return [{ name, how: !old.has(name) ? "added" : !now.has(name) ? "removed" : "changed" }];
  });
}

/** Gates with those of `--gate` among them: each replaces the one of its name, or comes last. Throws `usage.invalid`. */
export function withGateFlags(set: GateSet, flags: readonly string[]): GateSet {
  if (flags.length === 0) return set;
  const definitions = [...set.definitions];
  for (const flag of parseGateFlags(flags)) {
    const at = definitions.findIndex(({ name }) => name === flag.name);
    if (at === -1) definitions.push(flag);
    else definitions[at] = flag;
  }
  const source = set.source === "none" ? "flag" : set.source;
  return withDefinitions({ ...set, source }, definitions);
}

/**
 * Refuses gates that hold what looks like a secret: what is kept is redacted, so another command would be run than was
 * asked for.
 */
export function refuseSecrets(set: GateSet, redactor: Pick<Redactor, "text">): void {
  const setup = (set.setup ?? []).map((one) => ({ ...one, name: "[setup]", source: "config" as const }));
  for (const { name, command, args, source } of [...set.definitions, ...setup]) {
    const words = [name, command, ...args];
    if (words.every((word) => redactor.text(word) === word)) continue;
    const shown = redactor.text(name);
    if (source === "flag") {
      throw new OmkError("usage.invalid", `--gate ${JSON.stringify(shown)} holds what looks like a secret.`, {
        hint: `Put it into an environment variable and write $NAME in the command; a gate sees the variables that its table in .omk/gates.toml lists as env = ["NAME"].`,
      });
    }
    throw new OmkError("gates.invalid", `Gate ${JSON.stringify(shown)} holds what looks like a secret.`, {
      hint: `Put it into an environment variable, list that as env = ["NAME"] in .omk/gates.toml, and use it in the command.`,
    });
  }
}

/** Refuses names that no gate has: whoever allows `lnit` to be red has allowed nothing. Throws `usage.invalid`. */
export function refuseUnknownGates(set: GateSet, names: readonly string[], flag: string): void {
  const known = set.definitions.map(({ name }) => name);
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new OmkError("usage.invalid", `${flag} ${JSON.stringify(unknown)}: there is no such gate.`, {
    hint:
      known.length === 0
        ? "The project has no gates: add .omk/gates.toml, or give one with --gate 'name=command'."
        : `The gates are: ${known.join(", ")}.`,
  });
}

/** What a project's files suggest, by the first marker that gives a gate; a folder without any has none. */
function detectGates(projectDir: string, disk: Disk): GateDefinition[] {
  const project = new Project(projectDir, disk);
  for (const detect of DETECTORS) {
    const commands = detect(project);
    if (commands.length === 0) continue;
    return commands.map(([name, ...argv]) => definitionOf(name, argv, "detected"));
  }
  return [];
}

/** One value of `--gate`: `name=command`, where the command is for `sh`. Throws `usage.invalid`. */
export function parseGateFlag(text: string): GateDefinition {
  const at = text.indexOf("=");
  const name = text.slice(0, at).trim();
  const command = text.slice(at + 1).trim();
  if (/\p{Cc}/u.test(name) || command.includes("\0")) {
    throw new OmkError("usage.invalid", `--gate ${JSON.stringify(text)} holds control characters.`, {
      hint: "The name is plain text on one line, and no argument of a command can hold a NUL.",
    });
  }
  if (at === -1 || name === "" || command === "") {
    throw new OmkError(
      "usage.invalid",
      `--gate ${JSON.stringify(text)} is no gate: it is a name, "=" and a command.`,
      {
        hint: "For example: --gate 'tests=npm test'",
      },
    );
  }
  return definitionOf(name, ["sh", "-c", command], "flag");
}

/** SHA-256 (hex) of the definitions and of what sets them up, whatever the order of their keys. */
function digestOf({ definitions, setup }: Pick<GateSet, "definitions" | "setup">): string {
  return sha256(canonical(setup ? { definitions, setup } : definitions));
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => {
    if (typeof part !== "object" || part === null || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

function parseGateFlags(flags: readonly string[]): GateDefinition[] {
  const definitions = flags.map(parseGateFlag);
  const names = definitions.map(({ name }) => name);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) {
    throw new OmkError("usage.invalid", `Two --gate flags define ${JSON.stringify(twice)}.`, {
      hint: "Give each gate a name of its own.",
    });
  }
  return definitions;
}

function definitionOf(name: string, argv: readonly string[], source: GateSource): GateDefinition {
  const [command = "", ...args] = argv;
  return {
    name,
    command,
    args,
    required: true,
    timeout_secs: 0,
    skip: false,
    covers: [],
    env: [],
    kind: kindOf(name, argv),
    source,
  };
}

/** Whether a gate runs tests, by the words of its name and command: then running none is no success. */
function kindOf(name: string, argv: readonly string[]): "test" | "other" {
  const words = name.toLowerCase().split(/[^a-z0-9]+/);
  if (words.some((word) => TEST_WORDS.has(word))) return "test";
  const [program, option, script] = argv;
  const command = program === "sh" && option === "-c" && script !== undefined ? script : argv.join(" ");
  return TEST_COMMAND.test(command) ? "test" : "other";
}

const TEST_WORDS: ReadonlySet<string> = new Set([
  "test",
  "tests",
  "testing",
  "unit",
  "unittest",
  "unittests",
  "e2e",
  "spec",
  "specs",
  "vitest",
  "jest",
  "mocha",
  "pytest",
  "nextest",
]);

/** A runner by its own name, or `test` as a word of another program: `npm test`, `node --test`, not the shell's `; test -z`. */
const TEST_COMMAND = new RegExp(
  String.raw`(?:^|[\s/;&|('"])(?:vitest|jest|mocha|ava|pytest|unittest|nextest|ctest|rspec|phpunit|tox|nox)(?=$|[\s;&|)'"])` +
    String.raw`|(?<=[\w./-] {1,8})(?:--)?test(?=$|[\s:;&|)'"])`,
);

/* --- .omk/gates.toml --- */

/** What the file says, or undefined when there is none. */
function readGatesFile(path: string, disk: Disk): Pick<GateSet, "definitions" | "setup"> | undefined {
  const text = readText(path, disk);
  if (text === undefined) return undefined;
  const table = parseToml(text, path);
  const read = GatesFile.safeParse(table);
  if (!read.success) throw invalidEntry(read.error, text, path);
  const setup = setupOf(read.data.setup);
  const definitions = read.data.gates.map((entry) => {
    const { name, command, args, report, min_tests, network } = entry;
    const skip = entry.skip ?? entry.skipped ?? false;
    const mayFail = entry.allow_fail ?? entry["allow-fail"] ?? false;
    const definition = definitionOf(name, [command, ...(args ?? [])], "config");
    return {
      ...definition,
      required: !skip && !mayFail && (entry.required ?? true),
      timeout_secs: entry.timeout_secs ?? 0,
      skip,
      covers: entry.covers ?? [],
      ...(report !== undefined && { report }),
      ...(min_tests !== undefined && { min_tests }),
      ...(network !== undefined && { network }),
      env: entry.env ?? [],
      // Whoever promises a report or a number of tests says that this is a gate of tests.
      kind: report !== undefined || (min_tests ?? 0) > 0 ? ("test" as const) : definition.kind,
    };
  });
  return { definitions, ...(setup && { setup }) };
}

function setupOf(entries: GatesFile["setup"]): SetupCommand[] | undefined {
  if (entries === undefined || Array.isArray(entries)) {
    return entries?.map(({ command, args = [], timeout_secs = 0 }) => ({ command, args, timeout_secs }));
  }
  const { commands, timeout_secs = 0 } = entries;
  return commands.map(([command, ...args]) => ({ command, args, timeout_secs }));
}

function readText(path: string, disk: Disk): string | undefined {
  if (disk.stat(path) === undefined) return undefined;
  // A link is followed once: some people keep this file elsewhere. One that leads nowhere must not count as "no file".
  const real = disk.realPath(path);
  if (real === undefined) throw invalid(path, undefined, "it is a link that leads nowhere");
  let bytes: Uint8Array;
  try {
    bytes = disk.readFile(real, FILE_BYTES_MAX);
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined) throw error;
    const why =
      code === "EFBIG" ? `it is larger than ${FILE_BYTES_MAX} bytes` : `it cannot be read (${code})`;
    throw invalid(path, undefined, why, error);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw invalid(path, undefined, "it is not valid UTF-8", error);
  }
}

function parseToml(text: string, path: string): unknown {
  try {
    return parse(text, { maxDepth: 32 });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The first line is the reason; what follows quotes the file.
    const why = (error.message.split("\n")[0] ?? "").replace(/^Invalid TOML document: /, "").trim();
    throw invalid(path, error.line, why, error);
  }
}

/** The first thing that is wrong, with the line on which it stands as far as that can be known. */
function invalidEntry(error: z.ZodError, text: string, path: string): OmkError {
  const [issue, ...others] = error.issues;
  const [top, index, key, item] = issue?.path ?? [];
  const more = others.length > 0 ? ` (and ${others.length} more)` : "";
  const why = `${issue?.message ?? "it is not understood"}${more}`;
  if (top !== "gates" || typeof index !== "number") {
    return invalid(path, undefined, `"${top === "setup" ? "setup" : "gates"}" ${why}`);
  }
  const gate = `gate ${index + 1}`;
  const place =
    typeof key === "string" ? `${key}${typeof item === "number" ? ` ${item + 1}` : ""} ${why}` : why;
  return invalid(path, lineOf(text, index, typeof key === "string" ? key : undefined), `${gate}: ${place}`);
}

function invalid(path: string, line: number | undefined, why: string, cause?: unknown): OmkError {
  const where = line === undefined ? path : `${path}:${line}`;
  return new OmkError("gates.invalid", `${where}: ${why}.`, {
    cause,
    hint: "Correct the file, or remove it to let omk detect the project's gates.",
  });
}

/** The line of a key of the n-th `[[gates]]` table, or of the table's own head; undefined for lists written in one piece. */
function lineOf(text: string, index: number, key: string | undefined): number | undefined {
  const lines = text.split("\n");
  let seen = -1;
  let head: number | undefined;
  for (const [at, line] of lines.entries()) {
    if (/^\s*\[\[\s*["']?gates["']?\s*\]\]/.test(line)) {
      if (seen === index) break;
      if (++seen === index) head = at + 1;
    } else if (seen === index && key !== undefined) {
      const found = /^\s*["']?([\w-]+)["']?\s*=/.exec(line)?.[1];
      if (found === key) return at + 1;
    }
  }
  return head;
}

/* --- Detection --- */

/** A gate's name and its command. */
type Command = [name: string, ...argv: string[]];

class Project {
  readonly #folder: string;
  readonly #disk: Disk;
  constructor(folder: string, disk: Disk) {
    this.#folder = folder;
    this.#disk = disk;
  }

  has(...names: readonly string[]): boolean {
    return names.some((name) => {
      const kind = this.#disk.stat(join(this.#folder, name))?.kind;
      return kind === "file" || kind === "link";
    });
  }

  /** The text of a file, or undefined when it is not there or cannot be read. */
  read(name: string): string | undefined {
    try {
      const bytes = this.#disk.readFile(join(this.#folder, name), FILE_BYTES_MAX);
      return new TextDecoder().decode(bytes);
    } catch (error) {
      // Detection only guesses: a file that cannot be read tells nothing.
      if (systemCode(error) === undefined) throw error;
      return undefined;
    }
  }
}

const DETECTORS: readonly ((project: Project) => Command[])[] = [
  cargo,
  node,
  go,
  python,
  gradle,
  maven,
  make,
];

function cargo(project: Project): Command[] {
  if (!project.has("Cargo.toml")) return [];
  return [
    ["format", "cargo", "fmt", "--check"],
    ["check", "cargo", "check", "--all-targets"],
    ["lint", "cargo", "clippy", "--", "-D", "warnings"],
    ["tests", "cargo", "test"],
  ];
}

function node(project: Project): Command[] {
  if (!project.has("package.json")) return [];
  const manager = packageManager(project);
  // `bun test` would start bun's own runner whatever the script says.
  const tests: Command = manager === "bun" ? ["tests", "bun", "run", "test"] : ["tests", manager, "test"];
  const scripts = scriptsOf(project.read("package.json"));
  // A manifest that cannot be understood must not mean "no tests": the package manager will say what is wrong with it.
  if (!scripts) return [tests];
  const found: Command[] = [];
  if (isRealTest(scripts["test"])) found.push(tests);
  if (isScript(scripts["lint"])) found.push(["lint", manager, "run", "lint"]);
  return found;
}

function packageManager(project: Project): string {
  if (project.has("pnpm-lock.yaml")) return "pnpm";
  if (project.has("yarn.lock")) return "yarn";
  if (project.has("bun.lock", "bun.lockb")) return "bun";
  return "npm";
}

/** The scripts of a manifest, or undefined when it cannot be understood. */
function scriptsOf(text: string | undefined): Record<string, unknown> | undefined {
  if (text === undefined) return undefined;
  let manifest: unknown;
  try {
    manifest = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch {
    // Not JSON; the caller decides what that means.
    return undefined;
  }
  if (typeof manifest !== "object" || manifest === null) return undefined;
  const scripts: unknown = "scripts" in manifest ? manifest.scripts : {};
  return typeof scripts === "object" && scripts !== null ? (scripts as Record<string, unknown>) : undefined;
}

function isScript(script: unknown): boolean {
  return typeof script === "string" && script.trim() !== "";
}

/** npm puts a script into new packages that says there are no tests and fails. */
function isRealTest(script: unknown): boolean {
  return isScript(script) && !/no test specified.*exit 1\s*$/.test(String(script));
}

function go(project: Project): Command[] {
  if (!project.has("go.mod")) return [];
  // `gofmt -l` ends with 0 whatever it finds; a missing gofmt must not look like "nothing found".
  const unformatted = 'files=$(gofmt -l .) || exit $?; test -z "$files" || { echo "$files"; exit 1; }';
  return [
    ["format", "sh", "-c", unformatted],
    ["vet", "go", "vet", "./..."],
    // Without -v a package whose program ends before its first test looks like one that passed.
    ["tests", "go", "test", "-v", "./..."],
  ];
}

function python(project: Project): Command[] {
  if (!project.has("pyproject.toml", "setup.py", "requirements.txt")) return [];
  const run = project.has("uv.lock") ? ["uv", "run"] : [];
  return [
    ["tests", ...run, "python", "-m", "pytest"],
    ["lint", ...run, "python", "-m", "flake8", "."],
  ];
}

function gradle(project: Project): Command[] {
  if (!project.has("build.gradle", "build.gradle.kts")) return [];
  const program = project.has("gradlew") ? "./gradlew" : "gradle";
  // A daemon would be ended with the gate's other processes anyway.
  return [["tests", program, "--no-daemon", "test"]];
}

function maven(project: Project): Command[] {
  if (!project.has("pom.xml")) return [];
  return [["tests", project.has("mvnw") ? "./mvnw" : "mvn", "--batch-mode", "test"]];
}

function make(project: Project): Command[] {
  // In the order in which make looks for them.
  const file = ["GNUmakefile", "makefile", "Makefile"].find((name) => project.has(name));
  const lines = (file === undefined ? undefined : project.read(file))?.split("\n") ?? [];
  // Targets before a colon that is part of no assignment.
  const targets = lines.map((line) => /^([^\t:#=][^:#=]*)::?(?![:=])/.exec(line)?.[1] ?? "");
  return targets.some((names) => names.trim().split(/\s+/).includes("test"))
    ? [["tests", "make", "test"]]
    : [];
}
