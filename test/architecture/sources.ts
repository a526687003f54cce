import fs from "node:fs";
import path from "node:path";
import { parseSync } from "rolldown/utils";

/** A node of the syntax tree (ESTree with TypeScript's additions), as far as the rules look at it. */
export interface Node {
  type: string;
  start: number;
  end: number;
  [key: string]: unknown;
}

/** One module under `src/`. */
export interface Source {
  /** Relative to the repository, with slashes. */
  path: string;
  text: string;
  program: Node;
  comments: readonly { start: number; end: number }[];
  /** What it imports or re-exports, types and lazy imports included. */
  imports: readonly { request: string; start: number }[];
}

/** The repository's root. */
export const ROOT = path.resolve(import.meta.dirname, "../..");

/** Every TypeScript module under a folder of the repository. */
export function readSources(folder: string): Source[] {
  const names = fs.readdirSync(path.join(ROOT, folder), { recursive: true, encoding: "utf8" });
  return names
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${folder}/${name.replaceAll("\\", "/")}`)
    .sort()
    .map((name) => parseSource(name, fs.readFileSync(path.join(ROOT, name), "utf8")));
}

/** Parses one module; one that does not parse is an error here too. */
export function parseSource(name: string, text: string): Source {
  const parsed = parseSync(name, text);
  const broken = parsed.errors[0];
  if (broken) throw new Error(`${name}: ${broken.message}`);
  const program = parsed.program as unknown as Node;
  return { path: name, text, program, comments: parsed.comments, imports: importsOf(program) };
}

function importsOf(program: Node): { request: string; start: number }[] {
  const found: { request: string; start: number }[] = [];
  for (const node of walk(program)) {
    const names = ["ImportDeclaration", "ExportNamedDeclaration", "ExportAllDeclaration", "ImportExpression"];
    const type = node.type === "TSImportType";
    if (!type && !names.includes(node.type)) continue;
    const from = asNode(node["source"] ?? (type ? node["argument"] : undefined));
    const literal = asNode(from?.["literal"]) ?? from;
    if (!literal) continue; // `export const …` has no source.
    const value = literal["value"];
    // A computed request cannot be checked, so it is shown as what it is and no rule allows it.
    found.push({ request: typeof value === "string" ? value : "(computed)", start: node.start });
  }
  return found;
}

/** A node and everything below, with the way back up. */
export function* walk(root: Node): Generator<Node> {
  const open: Node[] = [root];
  for (let node = open.pop(); node; node = open.pop()) {
    yield node;
    for (const value of Object.values(node)) {
      for (const item of Array.isArray(value) ? value : [value]) {
        const child = asNode(item);
        if (child) open.push(child);
      }
    }
  }
}

/** The value as a node, or undefined when it is none. */
export function asNode(value: unknown): Node | undefined {
  return typeof value === "object" && value !== null && "type" in value && "start" in value
    ? (value as Node)
    : undefined;
}

/** `src/goal/run.ts:12`, as editors and people find it. */
export function placeOf(source: Source, start: number): string {
  return `${source.path}:${source.text.slice(0, start).split("\n").length}`;
}
