/**
 * Which files a gate is made of: a program that its command starts, by itself or through a script of the manifest, and
 * what a shell script of that kind starts in turn. Such a file is a gate's input like a test is. Pure.
 */
import { posix } from "node:path";

import { parse } from "shell-quote";

import type { GateDefinition } from "../format/gate.ts";

/** What the search looks into. */
export interface ProgramFiles {
  /** Whether there is such a file. */
  has(path: string): boolean;
  /** Its text, or undefined for one that is too large or no text. */
  read(path: string): Promise<string | undefined>;
}

/** Scripts may call each other in a circle; no honest one goes deeper. */
const SCRIPTS_MAX = 50;

/** The files, in the order in which they are found. In `installed` folders a program is found by its bare name. */
export async function gatePrograms(
  definitions: readonly Pick<GateDefinition, "command" | "args" | "skip">[],
  files: ProgramFiles,
  { installed = [] }: { installed?: readonly string[] } = {},
): Promise<string[]> {
  const scripts = await manifestScripts(files);
  const search = { files, scripts, installed, seen: new Set<string>(), found: new Set<string>() };
  for (const { command, args, skip } of definitions) if (!skip) findIn([command, ...args], "", search);
  for (const name of ["GNUmakefile", "makefile", "Makefile"]) {
    const usesMake = definitions.some(({ command, args }) =>
      [command, ...args].some((word) => /\bmake\b/.test(word)),
    );
    if (!usesMake || !files.has(name)) continue;
    const recipes = ((await files.read(name)) ?? "").split("\n").filter((line) => line.startsWith("\t"));
    for (const line of recipes) findInShell(line.replace(/^\t[@+-]*/, ""), "", search);
    break;
  }
  // One step deep: what a shell script of a gate plainly starts. A program's own imports are what is under test.
  const started = [...search.found];
  for (const path of started) {
    const text = SHELL_SCRIPT.test(path) || !/\.[a-z]+$/i.test(path) ? await files.read(path) : undefined;
    if (text === undefined || (!SHELL_SCRIPT.test(path) && !/^#!.*\b(?:ba|da|z|k)?sh\b/.test(text))) continue;
    const folder = posix.dirname(path) === "." ? "" : posix.dirname(path);
    findInShell(text.replace(OWN_FOLDER, folder === "" ? "." : folder), "", search);
  }
  return [...search.found];
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
  found: Set<string>;
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
    else findIn(words, at, search);
  }
}

/** The commands of a shell text whose status counts: one whose output is piped on or taken is what is under test. */
function commandsOf(text: string): string[][] {
  const commands: string[][] = [];
  for (const line of text.replace(/\\\r?\n/g, " ").split(/\r?\n/)) {
    // What is substituted is data.
    const entries = parse(line.replace(/\$\([^()]*\)|`[^`]*`/g, "SUBSTITUTED"), (name) => `$${name}`);
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
const MANAGERS = /^(?:npm|pnpm|yarn|bun)$/;

/** Looks at one command. */
function findIn(argv: readonly string[], folder: string, search: Search): void {
  let words = [...argv];
  while (words[0] !== undefined && isPrefix(words[0])) words = words.slice(1);
  if (words[0] === "timeout") words = words.slice(1).filter((word, at) => at > 0 || !/^\d/.test(word));
  while (words[0] !== undefined && isPrefix(words[0])) words = words.slice(1);
  const [program = "", ...args] = words;
  const name = posix.basename(program);
  if (/^(?:ba|da|z|k)?sh$/.test(name)) {
    const at = args.findIndex((word) => /^-[a-z]*c$/.test(word));
    if (at !== -1) return findInShell(args[at + 1] ?? "", folder, search);
  }
  if (MANAGERS.test(name) && runScript(args, folder, search)) return;
  if (/^(?:run-[sp]|npm-run-all)$/.test(name)) {
    for (const script of args) followScript(script, folder, search);
    return;
  }
  if (INTERPRETERS.test(name)) return findInterpreted(name, args, folder, search);
  if (name === "uv" && args[0] === "run") return findIn(args.slice(1), folder, search);
  if (take(program, folder, search) || program.includes("/")) return;
  for (const place of search.installed) take(posix.join(place, program), "", search);
}

function isPrefix(word: string): boolean {
  return PREFIXES.has(word) || /^[A-Za-z_]\w*=/.test(word);
}

/** The file that an interpreter is given, and files that its options name before that. */
function findInterpreted(name: string, args: readonly string[], folder: string, search: Search): void {
  // A module's arguments are what it looks at.
  if (name.startsWith("python") && args.includes("-m")) return;
  const areAllTests = args.includes("--test");
  for (const [at, word] of args.entries()) {
    if (word.startsWith("-")) {
      const [, value] = word.split(/=(.*)/s);
      if (value !== undefined) take(value, folder, search);
      continue;
    }
    const isOfOption = args[at - 1]?.startsWith("-") ?? false;
    const isFile = take(word, folder, search);
    if (!areAllTests && (isFile ? !isOfOption : !isOfOption && word !== "run")) return;
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

/** Takes a word as a file, when it is one. */
function take(word: string, folder: string, { files, found }: Search): boolean {
  if (word === "" || word.startsWith("/") || word.includes("$")) return false;
  const path = posix.normalize(posix.join(folder, word));
  if (path.startsWith("../") || !files.has(path)) return false;
  found.add(path);
  return true;
}
