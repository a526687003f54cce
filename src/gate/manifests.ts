/**
 * Manifests: files in which a project lists its dependencies beside what decides how it is tested. The second is
 * protected, the first is not, so a base copy of one is the result's file with the base's deciding parts. Pure.
 */
import { isDeepStrictEqual } from "node:util";

import { parse, stringify } from "smol-toml";

/** How a file's text is taken apart. */
interface Kind {
  names: RegExp;
  /** What of the text decides; comparable. Throws when the text cannot be read. */
  deciding(text: string): unknown;
  /** The result's text with the base's deciding parts. */
  merge(base: string, result: string): string;
}

/**
 * What a manifest must be for the gates to run as before: undefined when the change leaves that alone, or the path is
 * no manifest. Texts that cannot be read as what they should be count as changed, and the base's is taken whole.
 */
export function restoredManifest(path: string, base: string, result: string | undefined): string | undefined {
  const kind = kindOf(path);
  if (!kind) return undefined;
  if (result === undefined) return base;
  try {
    return isDeepStrictEqual(kind.deciding(base), kind.deciding(result))
      ? undefined
      : kind.merge(base, result);
  } catch {
    // Not to be understood, by us or by its reader: then nothing but the base's own bytes is known to be right.
    return base;
  }
}

/** Whether a path is a manifest. */
export function isManifest(path: string): boolean {
  return kindOf(path) !== undefined;
}

function kindOf(path: string): Kind | undefined {
  const name = path.split("/").pop() ?? "";
  return KINDS.find(({ names }) => names.test(name));
}

type Table = Record<string, unknown>;

/** A document that is a tree of keys, of which some paths decide. */
function keyed(
  names: RegExp,
  keys: readonly string[],
  read: (text: string) => Table,
  write: (table: Table) => string,
): Kind {
  const paths = keys.map((key) => key.split("."));
  return {
    names,
    deciding: (text) => {
      const table = read(text);
      return paths.map((path) => valueAt(table, path) ?? null);
    },
    merge: (base, result) => {
      const [from, into] = [read(base), read(result)];
      for (const path of paths) setAt(into, path, valueAt(from, path));
      return write(into);
    },
  };
}

function json(text: string): Table {
  const value: unknown = JSON.parse(text.replace(/^\uFEFF/, ""));
  if (!isTable(value)) throw new TypeError("no object");
  return value;
}

function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function valueAt(table: Table, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (isTable(value) && Object.hasOwn(value, key) ? value[key] : undefined),
    table,
  );
}

function setAt(table: Table, path: readonly string[], value: unknown): void {
  const [key = "", ...rest] = path;
  if (rest.length === 0) {
    if (value === undefined) delete table[key];
    else Object.defineProperty(table, key, { value, enumerable: true, configurable: true, writable: true });
    return;
  }
  const below = Object.hasOwn(table, key) ? table[key] : undefined;
  if (isTable(below)) setAt(below, rest, value);
  else if (value !== undefined) {
    const made: Table = {};
    setAt(made, rest, value);
    table[key] = made;
  }
}

/** A file of sections, each begun by `[name]`; those whose name matches decide. */
function sectioned(names: RegExp, section: RegExp): Kind {
  const split = (text: string) => {
    const parts = text.split(/^(?=\[)/m);
    const decides = (part: string) => section.test(/^\[([^\]]*)\]/.exec(part)?.[1]?.trim() ?? "");
    return { deciding: parts.filter(decides), rest: parts.filter((part) => !decides(part)) };
  };
  return {
    names,
    deciding: (text) => split(text).deciding.map((part) => part.trim()),
    merge: (base, result) =>
      [...split(result).rest, ...split(base).deciding].map((part) => `${part.trimEnd()}\n`).join(""),
  };
}

/** A build script: everything but the blocks of dependencies decides, and only a whole one is a valid one. */
function script(names: RegExp, withoutDependencies: (text: string) => string): Kind {
  return {
    names,
    deciding: (text) => withoutDependencies(text).replace(/\s+/g, " "),
    merge: (base) => base,
  };
}

/** A text without what begins with one mark and ends with another; one pass, whatever the text. */
function without(text: string, begin: string, end: (text: string, from: number) => number): string {
  const kept: string[] = [];
  let from = 0;
  for (let at = text.indexOf(begin); at !== -1; at = text.indexOf(begin, from)) {
    kept.push(text.slice(from, at));
    from = end(text, at + begin.length);
  }
  return kept.join("") + text.slice(from);
}

/** Behind the brace that closes the next one to open. */
function behindBlock(text: string, from: number): number {
  let depth = 0;
  for (let at = text.indexOf("{", from); at !== -1 && at < text.length; at++) {
    if (text[at] === "{") depth++;
    if (text[at] === "}" && --depth === 0) return at + 1;
  }
  return text.length;
}

function behindDependencies(text: string, from: number): number {
  const end = "</dependencies>";
  const at = text.indexOf(end, from);
  return at === -1 ? text.length : at + end.length;
}

const KINDS: readonly Kind[] = [
  keyed(
    /^package\.json$/,
    [
      "scripts",
      "type",
      "imports",
      "workspaces",
      "jest",
      "mocha",
      "ava",
      "tap",
      "nyc",
      "c8",
      "vitest",
      "qunit",
      "wireit",
      "eslintConfig",
      "xo",
    ],
    json,
    (table) => `${JSON.stringify(table, null, 2)}\n`,
  ),
  keyed(/^composer\.json$/, ["scripts"], json, (table) => JSON.stringify(table, null, 2)),
  keyed(/^deno\.jsonc?$/, ["tasks", "test", "lint", "imports"], json, (table) =>
    JSON.stringify(table, null, 2),
  ),
  keyed(
    /^pyproject\.toml$/,
    [
      "pytest",
      "tox",
      "nox",
      "coverage",
      "ruff",
      "flake8",
      "mypy",
      "pylint",
      "poe",
      "hatch",
      "pdm.scripts",
    ].map((tool) => `tool.${tool}`),
    (text) => parse(text, { maxDepth: 32 }),
    stringify,
  ),
  keyed(
    /^Cargo\.toml$/,
    [
      "test",
      "bench",
      "lints",
      "package.autotests",
      "lib.test",
      "lib.doctest",
      "lib.harness",
      "profile.test",
      "workspace.lints",
    ],
    (text) => parse(text, { maxDepth: 32 }),
    stringify,
  ),
  sectioned(
    /^setup\.cfg$/,
    /^(?:tool:pytest|pytest|flake8|pycodestyle|pylint|mypy(?:-.*)?|coverage:.*|tox.*|testenv.*|aliases|nosetests)$/,
  ),
  script(/^build\.gradle(?:\.kts)?$/, (text) => without(text, "dependencies", behindBlock)),
  script(/^pom\.xml$/, (text) => without(text, "<dependencies>", behindDependencies)),
];
