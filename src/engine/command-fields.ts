/** What the readers of headless programs have in common about the lines they read. */
import { z } from "zod";

/** A count of tokens; what is none counts as 0. */
export const Tokens = z.int().min(0).max(1e12).catch(0);

/** A cost in dollars; what is none counts as 0. */
export const Dollars = z.number().min(0).max(1e6).catch(0);

/** A record, or an empty one. */
export const Fields = z.record(z.string(), z.unknown()).catch({});

/** A text, or nothing where something else stands. */
export const Text = z.string().optional().catch(undefined);

/** An HTTP status, or nothing. */
export const HttpStatus = z.int().min(400).max(599).optional().catch(undefined);

const KINDS: readonly (readonly [kind: string, name: RegExp])[] = [
  ["execute", /^(?:bash|shell|exec|run_?(?:shell_)?command|exec_command|terminal)/],
  ["edit", /^(?:write|edit|multi_?edit|notebook_?edit|replace|patch|apply_patch|str_?replace)/],
  ["read", /^(?:read|glob_?read|list|ls)/],
  ["search", /^(?:grep|glob|search|find)/],
  ["fetch", /^(?:web|fetch|url)/],
  ["think", /^(?:todo|think|set_?todo)/],
];

/** The kind of a tool by its name, in the words that all engines use. */
export function toolKind(name: string): string {
  const plain = name.toLowerCase();
  return KINDS.find(([, pattern]) => pattern.test(plain))?.[0] ?? "other";
}

const PATH_KEYS = ["file_path", "filePath", "absolute_path", "notebook_path", "path", "filename"];

/** The paths that a tool's input names. */
export function pathsOf(input: Record<string, unknown>): string[] {
  return PATH_KEYS.map((key) => input[key]).filter((value): value is string => typeof value === "string");
}

/** What a tool call is about, to show: its command, its paths, or its name. */
export function titleOf(name: string, input: Record<string, unknown>): string {
  const { command, cmd } = input;
  if (typeof command === "string") return command;
  if (typeof cmd === "string") return cmd;
  const [path] = pathsOf(input);
  return path === undefined ? name : `${name} ${path}`;
}
