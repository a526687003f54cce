/** A configuration file: read with bounds, understood whole or not at all, its mistakes told by key and line. */
import { RE2JS, RE2JSException } from "re2js";
import { parse, TomlError } from "smol-toml";

import { OmkError, systemCode } from "../errors.ts";
import { Config } from "../format/config.ts";
import { problemsOf } from "../format/problems.ts";
import type { Disk } from "../ports.ts";

/** Larger files of this kind are a mistake. */
const FILE_BYTES_MAX = 1024 * 1024;
const DEPTH_MAX = 32;
const PATTERN_CHARACTERS_MAX = 4_096;

/** A configuration file that can be understood. */
export interface ConfigFile {
  text: string;
  config: Config;
  /** Top-level keys that mean nothing to this version: perhaps another one's, perhaps misspelt. */
  unknownKeys: string[];
}

/** The bytes of a configuration file, or undefined when there is none. `path` is followed no further. */
export function readConfigBytes(path: string, disk: Disk): Uint8Array | undefined {
  try {
    return disk.readFile(path, FILE_BYTES_MAX);
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined) throw error;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    const why =
      code === "EFBIG" ? `it is larger than ${FILE_BYTES_MAX} bytes` : `it cannot be read (${code})`;
    throw invalid(path, undefined, why, error);
  }
}

/** Understands a configuration file. Throws `config.invalid`, which names the file, the key and, where known, the line. */
export function parseConfig(bytes: Uint8Array, path: string): ConfigFile {
  const text = decode(bytes, path);
  const table = parseTable(text, path);
  const read = Config.safeParse(table);
  if (!read.success) {
    const keyPath = read.error.issues[0]?.path ?? [];
    throw invalid(path, lineOf(text, keyPath), problemsOf(read.error).join("; "));
  }
  const config = read.data;
  for (const [at, { matcher }] of config.hooks.entries()) {
    if (matcher !== undefined) checkPattern(matcher, ["hooks", at, "matcher"], text, path);
  }
  const policy = config.approval_policy;
  for (const pattern of typeof policy === "object" ? policy.pattern.patterns : []) {
    checkPattern(pattern, ["approval_policy", "pattern", "patterns"], text, path);
  }
  const known = new Set(Object.keys(Config.shape));
  return { text, config, unknownKeys: Object.keys(config).filter((key) => !known.has(key)) };
}

/** `config.invalid` for something in a configuration file. */
export function invalid(path: string, line: number | undefined, why: string, cause?: unknown): OmkError {
  const where = line === undefined ? path : `${path}:${line}`;
  return new OmkError("config.invalid", `${where}: ${why}.`, {
    cause,
    hint: "Correct the file; `omk config validate` checks it.",
  });
}

/**
 * The line (from 1) on which a key stands, or the nearest table around it; undefined where neither can be told, e.g. in a
 * table that is written in one line elsewhere. It reads lines, not TOML: good enough to point at.
 */
function lineOf(text: string, keyPath: readonly PropertyKey[]): number | undefined {
  const wanted = keyPath.map(String);
  const counts = new Map<string, number>();
  let table: string[] = [];
  let best: { line: number; depth: number } | undefined;
  for (const [at, line] of text.split("\n").entries()) {
    const header = /^\s*(\[\[?)\s*([^\]]+?)\s*\]/.exec(line);
    const key = /^\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[\w-]+))*)\s*=/.exec(line)?.[1];
    if (header) {
      table = keysOf(header[2] ?? "");
      if (header[1] === "[[") {
        const name = table.join(".");
        const index = counts.get(name) ?? 0;
        counts.set(name, index + 1);
        table = [...table, String(index)];
      }
    }
    if (!header && key === undefined) continue;
    const here = header ? table : [...table, ...keysOf(key ?? "")];
    if (here.length > (best?.depth ?? 0) && here.every((part, depth) => part === wanted[depth]))
      best = { line: at + 1, depth: here.length };
  }
  return best?.line;
}

function keysOf(dotted: string): string[] {
  return [...dotted.matchAll(/"([^"]*)"|'([^']*)'|([\w-]+)/g)].map(
    ([, double, single, bare]) => double ?? single ?? bare ?? "",
  );
}

function decode(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw invalid(path, undefined, "it is not valid UTF-8", error);
  }
}

function parseTable(text: string, path: string): unknown {
  let table: unknown;
  try {
    table = parse(text, { maxDepth: DEPTH_MAX });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The first line is the reason; what follows quotes the file.
    const why = (error.message.split("\n")[0] ?? "").replace(/^Invalid TOML document: /, "").trim();
    throw invalid(path, error.line, why);
  }
  // The parser does not count the parts of a dotted key.
  if (isDeeper(table, DEPTH_MAX)) throw invalid(path, undefined, `it is nested deeper than ${DEPTH_MAX}`);
  return table;
}

/** Whether a value holds others to more than that depth. */
function isDeeper(value: unknown, depthMax: number): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > depthMax) return true;
    level = level.flatMap((one) => (typeof one === "object" && one !== null ? Object.values(one) : []));
  }
  return false;
}

function checkPattern(pattern: string, keyPath: readonly PropertyKey[], text: string, path: string): void {
  const where = keyPath.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("");
  const refuse = (why: string) => invalid(path, lineOf(text, keyPath), `${where.slice(1)}: ${why}`);
  if (pattern.length > PATTERN_CHARACTERS_MAX)
    throw refuse(`a regular expression may have ${PATTERN_CHARACTERS_MAX} characters`);
  try {
    RE2JS.compile(pattern);
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    throw refuse(error.message);
  }
}
