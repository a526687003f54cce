/**
 * Which files a gate is made of: a program that its command starts, by itself or through a script of the manifest, what a
 * shell script or makefile of that kind starts in turn, and what the configuration of its runner names. Such a file is a
 * gate's input like a test is. Pure.
 */
import { posix } from "node:path";

import picomatch from "picomatch";
import { parse } from "shell-quote";

import type { GateDefinition } from "../format/gate.ts";
import { isRunnerConfiguration } from "./protected.ts";

/** What the search looks into. */
export interface ProgramFiles {
  /** Whether there is such a file. */
  has(path: string): boolean;
  /** Its text, or undefined for one that is too large or no text. */
  read(path: string): Promise<string | undefined>;
  /** All paths, where they can be listed: without them globs and folders name nothing. */
  paths?: readonly string[];
  /**
   * Whether a change adds the file. Such a one counts only where the gate does without it when it is not there: included,
   * tried before, or one more of many. What a gate cannot start without is what was to be made.
   */
  isNew?(path: string): boolean;
}

/** Scripts may call each other in a circle; no honest one goes deeper. */
const SCRIPTS_MAX = 50;
/** So many configurations of runners are looked into. */
const CONFIGURATIONS_MAX = 20;

/** The files, in the order in which they are found. In `installed` folders a program is found by its bare name. */
export async function gatePrograms(
  definitions: readonly Pick<GateDefinition, "command" | "args" | "skip">[],
  files: ProgramFiles,
  { installed = [] }: { installed?: readonly string[] } = {},
): Promise<string[]> {
  const scripts = await manifestScripts(files);
  const search: Search = {
    files,
    scripts,
    installed,
    seen: new Set(),
    found: new Map(),
    tried: new Set(),
    loops: new Map(),
  };
  for (const { command, args, skip } of definitions) if (!skip) findIn([command, ...args], "", search);
  const makes = [...definitions.flatMap(({ command, args }) => [command, ...args]), ...scripts.values()];
  if (makes.some((word) => /\bmake\b/.test(word))) {
    const name = ["GNUmakefile", "makefile", "Makefile"].find((one) => files.has(one));
    if (name !== undefined) await findInMakefile(name, search);
  }
  // What a shell script of a gate plainly starts. A program's own imports are what is under test.
  let left = SCRIPTS_MAX;
  for (const [path, cwd] of search.found) {
    if (left === 0) break;
    const text = SHELL_SCRIPT.test(path) || !/\.[a-z]+$/i.test(path) ? await files.read(path) : undefined;
    if (text === undefined || (!SHELL_SCRIPT.test(path) && !/^#!.*\b(?:ba|da|z|k)?sh\b/.test(text))) continue;
    left--;
    const folder = posix.dirname(path) === "." ? "" : posix.dirname(path);
    findInShell(text.replace(OWN_FOLDER, folder === "" ? "." : folder), cwd, search);
  }
  await findConfigured(search);
  return [...search.found.keys()];
}

/** The recipes of a makefile and of what it includes, with its own variables. */
async function findInMakefile(name: string, search: Search): Promise<void> {
  const makefiles = [name];
  const variables = new Map<string, string>();
  const recipes: string[] = [];
  for (const one of makefiles) {
    const text = ((await search.files.read(one)) ?? "").replace(/\\\r?\n/g, " ");
    for (const line of text.split("\n")) {
      const [, variable, value = ""] = /^(?:export\s+)?(\w+)\s*(?:[:?+]{0,2}=)\s*(.*)$/.exec(line) ?? [];
      const [, included] = /^[-s]?include\s+(.*)$/.exec(line) ?? [];
      if (line.startsWith("\t")) recipes.push(line.replace(/^\t[@+-]*/, ""));
      else if (variable !== undefined) variables.set(variable, value.trim());
      else if (included !== undefined && makefiles.length < SCRIPTS_MAX) {
        const names = withValues(included, variables).split(/\s+/);
        makefiles.push(
          ...names.filter((word) => take(word, "", search, line.startsWith("-") || line.startsWith("s"))),
        );
      }
    }
  }
  for (const line of recipes) findInShell(withValues(line, variables), "", search);
}

function withValues(text: string, variables: ReadonlyMap<string, string>): string {
  let filled = text;
  // Variables name variables; no honest makefile goes deeper.
  for (let depth = 0; depth < 3; depth++)
    filled = filled.replace(
      /\$[({](\w+)[)}]/g,
      (all, name: string) => variables.get(name)?.slice(0, 1_000) ?? (name === "MAKE" ? "make" : all),
    );
  return filled.slice(0, 10_000);
}

/** What configurations of runners name: files that are run before or around every test. */
async function findConfigured(search: Search): Promise<void> {
  const { files } = search;
  const isOne = (path: string): boolean =>
    (isRunnerConfiguration(path) || /(?:^|\/)(?:package\.json|pyproject\.toml|setup\.cfg)$/.test(path)) &&
    !path.includes("node_modules/") &&
    files.isNew?.(path) !== true;
  for (const path of (files.paths ?? []).filter(isOne).slice(0, CONFIGURATIONS_MAX)) {
    const whole = await files.read(path);
    if (whole === undefined) continue;
    const folder = posix.dirname(path) === "." ? "" : posix.dirname(path);
    const isManifest = path.endsWith("package.json");
    const text = isManifest ? runnersOf(whole) : whole;
    const isMocha = isManifest || /(?:^|\/)\.mocharc/.test(path);
    for (const [, value = ""] of text.matchAll(isMocha ? REQUIRED : CONFIGURED))
      for (const [, word = ""] of value.matchAll(/["'`]([^"'`\n]{1,300})["'`]/g))
        takeModule(word.replace(/^<rootDir>\/?/, "./"), folder, search);
    if (isMocha)
      for (const [, word = ""] of text.matchAll(/^\s*(?:-|[\w-]+:)\s+["']?(\.{1,2}\/[^\s"']{1,300})/gm))
        takeModule(word, folder, search);
    for (const [, module = ""] of text.matchAll(/(?:^|[\s"'])-p[\s"',]+([\w.]{1,200})/g))
      takePython(module, folder, search);
    for (const [, value = ""] of text.matchAll(/\bpytest_plugins\s*=\s*([[(]?[^\])\n]{1,2000})/g))
      for (const [, module = ""] of value.matchAll(/["']([\w.]{1,200})["']/g))
        takePython(module, folder, search);
  }
}

const VALUE = `["']?\\s*[:=]\\s*(\\[[^\\]]{0,2000}\\]|\\{[^}]{0,2000}\\}|["'\`][^"'\`\\n]{1,300}["'\`])`;
const KEYS =
  "setupFiles|setupFilesAfterEnv|globalSetup|globalTeardown|testEnvironment|snapshotSerializers|reporters?|runner|testRunner|transform|resolver|preload";
const CONFIGURED = new RegExp(`\\b(?:${KEYS})${VALUE}`, "g");
/** Elsewhere these words name what a package gives out. */
const REQUIRED = new RegExp(`\\b(?:${KEYS}|require|import|file|loader)${VALUE}`, "g");

/** What a manifest says to runners, as text. */
function runnersOf(manifest: string): string {
  try {
    const table = JSON.parse(manifest.replace(/^\uFEFF/, "")) as Record<string, unknown>;
    const { jest, vitest, mocha, ava, tap } = table;
    return JSON.stringify({ jest, vitest, mocha, ava, tap });
  } catch {
    // A manifest that is no JSON tells no runner anything.
    return "";
  }
}

/** A module by a path that may go without its ending. */
function takeModule(word: string, folder: string, search: Search): void {
  const endings = word.startsWith(".") ? ["", ".js", ".ts", ".mjs", ".cjs", ".mts", ".cts", ".tsx"] : [""];
  for (const ending of endings) if (take(word + ending, folder, search)) return;
}

/** A module of Python by its name, from where it is run. */
function takePython(module: string, folder: string, search: Search): void {
  const path = module.replaceAll(".", "/");
  for (const place of ["", "src/"])
    for (const ending of [".py", "/__main__.py", "/__init__.py"]) take(place + path + ending, folder, search);
}

const SHELL_SCRIPT = /\.(?:sh|bash|zsh)$/;
/** How a script names the folder it lies in. */
const OWN_FOLDER =
  /"?\$\(\s*(?:cd\s+)?"?\$?\(?\s*dirname\s+(?:--\s+)?"?\$(?:0|\{0\}|\{?BASH_SOURCE(?:\[0\])?\}?)"?\s*\)"?(?:\s*&&\s*pwd\s*\))?"?/g;

interface Search {
  files: ProgramFiles;
  scripts: ReadonlyMap<string, string>;
  installed: readonly string[];
  /** Scripts of the manifest that were looked at. */
  seen: Set<string>;
  /** With where each is run. */
  found: Map<string, string>;
  /** What a script asks for before it uses it. */
  tried: Set<string>;
  /** What the variables of loops stand for. */
  loops: Map<string, readonly string[]>;
}

async function manifestScripts(files: ProgramFiles): Promise<ReadonlyMap<string, string>> {
  const text = files.has("package.json") ? await files.read("package.json") : undefined;
  if (text === undefined) return new Map();
  try {
    const { scripts } = JSON.parse(text.replace(/^\uFEFF/, "")) as { scripts?: Record<string, unknown> };
    const entries = Object.entries(scripts ?? {});
    return new Map(entries.flatMap(([name, script]) => (typeof script === "string" ? [[name, script]] : [])));
  } catch {
    // A manifest that is no JSON starts nothing.
    return new Map();
  }
}

/** Looks at a text for `sh`, command by command. */
function findInShell(text: string, folder: string, search: Search): void {
  let at = folder;
  for (const words of commandsOf(text)) {
    if (words[0] === "cd" && words[1] !== undefined) at = posix.join(at, words[1]);
    else if (words[0] === "for" && words[2] === "in") search.loops.set(`$${words[1]}`, words.slice(3));
    else findIn(words, at, search);
  }
}

/** The commands of a shell text whose status counts: one whose output is piped on or taken is what is under test. */
function commandsOf(text: string): string[][] {
  const commands: string[][] = [];
  for (const line of text.replace(/\\\r?\n/g, " ").split(/\r?\n/)) {
    // What is substituted is data.
    const entries = parse(line.replace(/\$\([^()]*\)|`[^`]*`/g, UNKNOWN), (name) => `$${name}`);
    let words: string[] = [];
    let isData = false;
    const end = (counts: boolean): void => {
      if (counts && !isData && words.length > 0) commands.push(words);
      words = [];
      isData = false;
    };
    for (const entry of entries) {
      if (typeof entry === "string") words.push(entry);
      else if ("comment" in entry) break;
      else if (entry.op === "glob") words.push(entry.pattern);
      else if (entry.op === "|" || entry.op === "|&") end(false);
      else if (entry.op === ">" || entry.op === ">>" || entry.op === ">&") isData ||= entry.op !== ">&";
      else if (entry.op !== "<") end(true);
    }
    end(true);
  }
  return commands;
}

/** Words before a command that are none. */
const PREFIXES: ReadonlySet<string> = new Set(
  "! { } if then elif else do while until exec time env command nice npx cross-env c8 nyc set eval nohup sudo --".split(
    " ",
  ),
);
const INTERPRETERS =
  /^(?:(?:ba|da|z|k)?sh|node|nodejs|bun|deno|tsx|ts-node|python[\d.]*|ruby|perl|php|lua|pwsh|Rscript|source|\.)$/;
/** What stands for a word that only running would tell. */
const UNKNOWN = "SUBSTITUTED";
/** Options by which an interpreter runs nothing; elsewhere `-c`. */
const SYNTAX_ONLY: Readonly<Record<string, string>> = {
  sh: "-n",
  bash: "-n",
  dash: "-n",
  zsh: "-n",
  php: "-l",
};
/** Runners that take every file they are given for a test. */
const FILE_RUNNERS = /^(?:mocha|_mocha|bats|prove|tape|uvu|jasmine|tap|ava|zora|pta|brittle|borp)$/;
const MANAGERS = /^(?:npm|pnpm|yarn|bun)$/;

/** Looks at one command. */
function findIn(argv: readonly string[], folder: string, search: Search): void {
  let words = [...argv];
  while (words[0] !== undefined && isPrefix(words[0])) words = words.slice(1);
  if (words[0] === "timeout") words = words.slice(1).filter((word, at) => at > 0 || !/^\d/.test(word));
  while (words[0] !== undefined && isPrefix(words[0])) words = words.slice(1);
  const [program = "", ...args] = words;
  const name = posix.basename(program);
  if (/^(?:\[|\[\[|test)$/.test(name)) {
    for (const word of args) search.tried.add(posix.normalize(posix.join(folder, word)));
    return;
  }
  if (/^(?:ba|da|z|k)?sh$/.test(name)) {
    const at = args.findIndex((word) => /^-[a-z]*c$/.test(word));
    if (at !== -1) return findInShell(args[at + 1] ?? "", folder, search);
  }
  if (MANAGERS.test(name) && runScript(args, folder, search)) return;
  if (/^(?:run-[sp]|npm-run-all)$/.test(name)) {
    for (const script of args) followScript(script, folder, search);
    return;
  }
  const isUnknown = (name === UNKNOWN || name.includes("$")) && !search.loops.has(name);
  if (isUnknown || INTERPRETERS.test(name)) return findInterpreted(name, args, folder, search);
  if (name === "uv" && args[0] === "run") return findIn(args.slice(1), folder, search);
  if (FILE_RUNNERS.test(name)) return takeFiles(args, folder, search);
  if (/^g?make$/.test(name)) return;
  if (takeAll(program, folder, search).length > 0 || program.includes("/")) return;
  for (const place of search.installed) take(posix.join(place, program), "", search);
}

function isPrefix(word: string): boolean {
  return PREFIXES.has(word) || /^[A-Za-z_]\w*=/.test(word);
}

/** The file that an interpreter is given, and files that its options name before that. */
function findInterpreted(name: string, args: readonly string[], folder: string, search: Search): void {
  // A module's arguments are what it looks at.
  const module = args.indexOf("-m");
  if (name.startsWith("python") && module !== -1) return takePython(args[module + 1] ?? "", folder, search);
  // It is only looked at whether it can be read.
  if (args.some((word) => word === "--check" || word === (SYNTAX_ONLY[name] ?? "-c"))) return;
  const areAllTests = args.includes("--test");
  if (areAllTests) return takeFiles(args, folder, search);
  for (const [at, word] of args.entries()) {
    if (word.startsWith("-")) {
      const [, value] = word.split(/=(.*)/s);
      if (value !== undefined) take(value, folder, search);
      continue;
    }
    const isOfOption = args[at - 1]?.startsWith("-") ?? false;
    const isFile = takeAll(word, folder, search).length > 0;
    if (isFile ? !isOfOption : !isOfOption && word !== "run") return;
  }
}

/** `npm test`, `npm run lint`, `yarn lint`: true when it was a script of the manifest. */
function runScript(args: readonly string[], folder: string, search: Search): boolean {
  if (folder !== "" && folder !== ".") return false;
  const named = args.filter((word) => !word.startsWith("-"));
  const script =
    named[0] === "run" || named[0] === "run-script" ? named[1] : named[0] === "t" ? "test" : named[0];
  return script !== undefined && followScript(script, folder, search);
}

function followScript(name: string, folder: string, search: Search): boolean {
  const { scripts, seen } = search;
  if (!scripts.has(name)) return false;
  for (const one of [`pre${name}`, name, `post${name}`]) {
    const text = scripts.get(one);
    if (text === undefined || seen.has(one) || seen.size >= SCRIPTS_MAX) continue;
    seen.add(one);
    findInShell(text, folder, search);
  }
  return true;
}

/** The files among the words; globs and folders of a project's own sources say nothing about tests. */
function takeFiles(args: readonly string[], folder: string, search: Search): void {
  for (const word of args) {
    const value = word.startsWith("-") ? (word.split(/=(.*)/s)[1] ?? "") : word;
    if (takeAll(value, folder, search).length > 0 || value === "" || word.startsWith("-")) continue;
    const path = posix.normalize(posix.join(folder, value)).replace(/\/$/, "");
    if (SOURCES.test(path)) continue;
    const inside = (one: string): boolean => one.startsWith(`${path}/`) && TEST_SCRIPT.test(one);
    takeMany((search.files.paths ?? []).filter(inside), search);
  }
}

const TEST_SCRIPT = /\.(?:[cm]?[jt]sx?|bats|t|sh|py|rb)$/;
/** Where sources lie: a glob there names what is tested as well. */
const SOURCES = /^(?:\.|src|lib|app|packages|apps|source)?(?:\/|$)/;

/** Takes what a word stands for: a file, the files of a glob, or what a loop goes through; the paths. */
function takeAll(word: string, folder: string, search: Search): string[] {
  const looped = search.loops.get(word.replace(/^\.\/(?=\$)/, ""));
  if (looped) return looped.flatMap((one) => takeAll(one, folder, search));
  const { files } = search;
  const path = posix.normalize(posix.join(folder, word));
  if (take(word, folder, search)) return [path];
  if (!/[*?[{]/.test(word) || word.length > GLOB_CHARACTERS_MAX || /^\/|\$/.test(word)) return [];
  const fixed = posix.dirname(`${path.slice(0, path.search(/[*?[{]/))}x`);
  if (SOURCES.test(fixed) || fixed.startsWith("..")) return [];
  const isNamed = picomatch(path, { dot: true });
  return takeMany(
    (files.paths ?? []).filter((one) => one.startsWith(`${fixed}/`) && isNamed(one)),
    search,
  );
}

const GLOB_CHARACTERS_MAX = 1_000;

/** One more of many may be new: where all are, they are what was to be made. */
function takeMany(paths: readonly string[], search: Search): string[] {
  const isOneMore = paths.some((one) => search.files.isNew?.(one) !== true);
  return paths.filter((one) => take(one, "", search, isOneMore));
}

/** Takes a word as a file, when it is one. */
function take(word: string, folder: string, { files, found, tried }: Search, isOptional = false): boolean {
  if (word === "" || word.startsWith("/") || word.includes("$")) return false;
  const path = posix.normalize(posix.join(folder, word));
  if (path.startsWith("../") || !files.has(path)) return false;
  if (!isOptional && !tried.has(path) && files.isNew?.(path) === true) return false;
  if (!found.has(path)) found.set(path, folder);
  return true;
}
