import path from "node:path";
import { builtinModules } from "node:module";
import { asNode, placeOf, walk, type Node, type Source } from "./sources.ts";

/** From the top to the bottom: a room imports only from itself and from rooms below it. */
const ROOMS = [
  "index",
  "main",
  "library",
  "cli",
  "goal",
  "team",
  "approval",
  "budget",
  "scheduler",
  "engine",
  "gate",
  "delivery",
  "git",
  "config",
  "store",
  "format",
  "world",
  "ports",
  "errors",
];

/** Node's modules that only compute. All others reach disk, network, processes or clocks. */
const PURE_BUILTINS = new Set([
  "node:assert",
  "node:buffer",
  "node:crypto",
  "node:events",
  "node:path",
  "node:stream",
  "node:stream/promises",
  "node:string_decoder",
  "node:url",
  "node:util",
]);

/** Packages that reach the world, or chance. */
const WORLDLY_PACKAGES = new Set(["execa", "nanoid", "pino", "proper-lockfile", "write-file-atomic"]);

/** What `node:crypto` and `node:events` offer beyond computing. */
const WORLDLY_NAMES = /^(random|getRandom|generateKey|webcrypto)/;

const WORLDLY_GLOBALS = new Set([
  "process",
  "console",
  "performance",
  "crypto",
  "fetch",
  "WebSocket",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "require",
  "eval",
  "globalThis",
]);

const WORLDLY_MEMBERS = new Set(["Date.now", "Math.random", "AbortSignal.timeout"]);

/** The room of a path like `src/goal/run.ts` or `src/ports.ts`. */
function roomOf(file: string): string {
  return (file.split("/")[1] ?? "").replace(/\.ts$/, "");
}

function isAmongTheOutermost(source: Source): boolean {
  return ["src/world.ts", "src/main.ts", "src/library.ts"].includes(source.path);
}

/** Imports that point upwards, sideways into the unknown, or at the real world from anywhere but main. */
export function wrongDirections(source: Source): string[] {
  const wrong: string[] = [];
  const from = roomOf(source.path);
  if (!ROOMS.includes(from)) return [`${source.path}: the room "${from}" is not in the list of rooms`];
  for (const { request, start } of source.imports) {
    if (!request.startsWith(".")) continue;
    const target = path.posix.join(path.posix.dirname(source.path), request);
    const to = roomOf(target);
    const place = placeOf(source, start);
    if (!target.startsWith("src/")) wrong.push(`${place}: ${request} leaves src/`);
    else if (!request.endsWith(".ts")) wrong.push(`${place}: ${request} does not name the .ts file`);
    else if (to === "world" && from !== "main" && from !== "library")
      wrong.push(`${place}: only main.ts and library.ts import world.ts`);
    else if (!ROOMS.includes(to)) wrong.push(`${place}: ${request} is in no known room`);
    else if (ROOMS.indexOf(to) < ROOMS.indexOf(from)) wrong.push(`${place}: ${from} imports ${to}, above it`);
  }
  return wrong;
}

/** Imports of what reaches the world, outside world.ts. */
export function worldlyImports(source: Source): string[] {
  if (source.path === "src/world.ts") return [];
  const wrong: string[] = [];
  for (const { request, start } of source.imports) {
    if (request.startsWith(".")) continue;
    const builtin = request.startsWith("node:") || builtinModules.includes(request);
    const name = request.startsWith("@") ? request.split("/").slice(0, 2).join("/") : request.split("/")[0];
    // pino is the log for investigation, a file of its own; main.ts alone opens it.
    const isMain = source.path === "src/main.ts" || source.path === "src/library.ts";
    const excused = isMain && (request === "node:process" || name === "pino");
    const bad = builtin
      ? !PURE_BUILTINS.has(request)
      : request === "(computed)" || WORLDLY_PACKAGES.has(name ?? "");
    if (bad && !excused) wrong.push(`${placeOf(source, start)}: imports ${request}`);
  }
  for (const node of walk(source.program)) {
    if (node.type !== "ImportSpecifier") continue;
    const name = String(asNode(node["imported"])?.["name"]);
    if (WORLDLY_NAMES.test(name)) wrong.push(`${placeOf(source, node.start)}: imports ${name}`);
  }
  return wrong;
}

/** Uses of clocks, chance, timers and the process, outside world.ts and main.ts. */
export function worldlyUses(source: Source): string[] {
  if (isAmongTheOutermost(source)) return [];
  const wrong: string[] = [];
  const note = (node: Node, what: string) => wrong.push(`${placeOf(source, node.start)}: uses ${what}`);
  // An identifier that only names something (a property, a key, a type's member) is no use of a global.
  const names = new Set<Node>();
  const declared = new Set<string>();
  for (const node of walk(source.program)) {
    const key = asNode(node["key"]);
    if (key && node["computed"] !== true) names.add(key);
    const property = asNode(node["property"]);
    if (property && node["computed"] !== true) names.add(property);
    // `process` as a parameter or a variable is that module's own.
    for (const bound of boundNames(node)) {
      names.add(bound);
      declared.add(String(bound["name"]));
    }
  }
  for (const node of walk(source.program)) {
    if (node.type === "Identifier" && !names.has(node)) {
      const name = String(node["name"]);
      if (WORLDLY_GLOBALS.has(name) && !declared.has(name)) note(node, name);
    }
    if (node.type === "MemberExpression") {
      const object = asNode(node["object"]);
      const property = asNode(node["property"]);
      const name = `${String(object?.["name"])}.${String(property?.["name"] ?? property?.["value"])}`;
      if (WORLDLY_MEMBERS.has(name)) note(node, name);
    }
    const callee = asNode(node["callee"]);
    if (callee?.type !== "Identifier" || callee["name"] !== "Date") continue;
    const given = node["arguments"] as unknown[];
    if (node.type === "CallExpression" || given.length === 0) note(node, "the current time by Date()");
  }
  return wrong;
}

/** The identifiers that a declaration or a parameter list binds. */
function boundNames(node: Node): Node[] {
  const patterns: unknown[] = [];
  if (node.type === "VariableDeclarator") patterns.push(node["id"]);
  if (/^Import(Default|Namespace)?Specifier$/.test(node.type)) patterns.push(node["local"], node["imported"]);
  const parameters = node["params"];
  if (Array.isArray(parameters)) patterns.push(...(parameters as unknown[]));
  return patterns.flatMap((pattern) => namesIn(asNode(pattern)));
}

function namesIn(pattern: Node | undefined): Node[] {
  switch (pattern?.type) {
    case "Identifier":
      return [pattern];
    case "AssignmentPattern":
      return namesIn(asNode(pattern["left"]));
    case "RestElement":
      return namesIn(asNode(pattern["argument"]));
    case "ArrayPattern":
      return (pattern["elements"] as unknown[]).flatMap((element) => namesIn(asNode(element)));
    case "ObjectPattern":
      return (pattern["properties"] as unknown[]).flatMap((element) => {
        const property = asNode(element);
        return namesIn(property?.type === "RestElement" ? property : asNode(property?.["value"]));
      });
    default:
      return [];
  }
}

/** Default exports, and modules that do nothing but hand on what others export. */
export function defaultExportsAndBarrels(source: Source): string[] {
  const wrong: string[] = [];
  const body = (source.program["body"] as unknown[]).map(asNode).filter((node) => node !== undefined);
  for (const node of walk(source.program)) {
    const exported = node.type === "ExportSpecifier" && asNode(node["exported"])?.["name"] === "default";
    if (node.type === "ExportDefaultDeclaration" || exported) {
      wrong.push(`${placeOf(source, node.start)}: a default export`);
    }
  }
  if (source.path === "src/index.ts") return wrong; // The one public entry is a barrel by design.
  const handsOn = body.filter((node) => asNode(node["source"]) && node.type.startsWith("Export"));
  if (body.some((node) => node.type === "ExportAllDeclaration")) wrong.push(`${source.path}: export *`);
  if (body.length > 0 && handsOn.length === body.length) wrong.push(`${source.path}: a barrel`);
  return wrong;
}

/**
 * Catches that swallow the error without a word about why: those whose body neither throws nor looks at the error, and
 * that have no comment inside, on the line before, or behind their last brace.
 */
export function silentCatches(source: Source): string[] {
  const wrong: string[] = [];
  for (const node of walk(source.program)) {
    if (node.type !== "CatchClause") continue;
    const body = asNode(node["body"]);
    if (!body) continue;
    const error = asNode(node["param"])?.["name"];
    let speaks = false;
    for (const inner of walk(body)) {
      if (inner.type === "ThrowStatement") speaks = true;
      if (error !== undefined && inner.type === "Identifier" && inner["name"] === error) speaks = true;
    }
    const lineEnd = source.text.indexOf("\n", node.end);
    const until = lineEnd === -1 ? source.text.length : lineEnd;
    const explained = source.comments.some(({ start, end }) => {
      if (start >= node.start && start < until) return true;
      return end <= node.start && /^\s*(\}\s*)?$/.test(source.text.slice(end, node.start));
    });
    if (!speaks && !explained) wrong.push(`${placeOf(source, node.start)}: a catch without a reason`);
  }
  return wrong;
}
