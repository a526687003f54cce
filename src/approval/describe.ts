/** What a request of an agent really is: its tool, its targets and its command, whatever it calls itself. */
import { createHash } from "node:crypto";
import { dirname, isAbsolute, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

import type { PermissionRequest } from "../engine/engine.ts";
import { printable } from "../format/printable.ts";
import type { Disk } from "../ports.ts";

/** A path that the request is about. */
export interface Target {
  /** Relative inside the project, absolute outside, and as written where it cannot be told what it is. */
  path: string;
  isInside: boolean;
  /** In a folder that steers git or omk themselves. */
  isProtected: boolean;
}

/** A request as policies and people see it. */
export interface Described {
  /** The tool's own name, where the protocol tells it. */
  name: string | null;
  kind: string;
  targets: Target[];
  /** The command line, when the tool runs one. */
  command: string | null;
  /** It shows a change of a file. */
  hasDiff: boolean;
  /** A tool of a server that somebody added: its name and kind are that server's own words. */
  isForeign: boolean;
  /** Everything else that it says, for the digest. */
  content: unknown;
  /** What a person is shown, from parsed fields only. */
  shown: { label: string; text: string }[];
}

const TARGETS_MAX = 500;
const PATH_CHARACTERS_MAX = 4_096;
const SHOWN_CHARACTERS_MAX = 2_000;
const SHOWN_FIELDS_MAX = 12;

/** Reads a request. Links are followed as the system would, so that a path through one is where it leads. */
export function describeRequest(request: PermissionRequest, cwd: string, ports: { disk: Disk }): Described {
  const input = asRecord(request.rawInput);
  const command = commandOf(request, input);
  const diffs = request.content.map(asRecord).filter((one) => one["type"] === "diff");
  const named = pathsIn(input, request.kind === "execute");
  const written = new Set<string>([...request.locations, ...named, ...diffPaths(diffs)]);
  const all = [...written];
  const root = ports.disk.realPath(cwd) ?? cwd;
  const targets = new Map<string, Target>();
  for (const path of all.slice(0, TARGETS_MAX)) {
    const target = targetOf(path, root, ports);
    targets.set(target.path, target);
  }
  // What nobody can look through is nothing that a rule may grant.
  if (all.length > TARGETS_MAX) targets.set("…", { path: "…", isInside: false, isProtected: true });
  const { name, kind } = request;
  const described = {
    name,
    kind,
    targets: [...targets.values()],
    command,
    hasDiff: diffs.length > 0,
    isForeign: isForeignTool(name),
    content: contentOf(request, input, command, targets.size),
  };
  return { ...described, shown: shownOf(described, request, input, diffs) };
}

/** What an answer is to: no identifier of the protocol is in it, so the same request of a later attempt has the same. */
export function digestOf(described: Described, scope: { run: string; task: string }): string {
  const { name, kind, targets, command, content } = described;
  const paths = targets.map(({ path }) => path).toSorted();
  const what = { run: scope.run, task: scope.task, tool: name, kind, targets: paths, command, content };
  return createHash("sha256").update(canonical(what)).digest("hex");
}

/** JSON with sorted keys: equal values give equal text. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  const sorted = entries.toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return `{${sorted.map(([key, one]) => `${JSON.stringify(key)}:${canonical(one)}`).join(",")}}`;
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}

/** Names that agents give to tools of added servers: `mcp__db__query`, `mcp_db_query`, `mcp:db.query`. */
function isForeignTool(name: string | null): boolean {
  return name !== null && (/^mcp[^a-z0-9]/i.test(name) || name.includes("__"));
}

/** The command as the engine knows it, and as the input has it: where they differ it is both, and both must be allowed. */
function commandOf(request: PermissionRequest, input: Record<string, unknown>): string | null {
  const given = [input["command"], input["cmd"]].map(commandLine).filter((one) => one !== undefined);
  const all = [...(request.command === null ? [] : [request.command]), ...given];
  const distinct = new Map(all.map((one) => [one.replaceAll(/[\s'"\\]/g, ""), one]));
  // An engine shows an argument list as it likes; whichever is the inner script says more.
  const lines = [...distinct].filter(
    ([squeezed], at, every) => !every.some(([other], index) => index !== at && isWrapped(other, squeezed)),
  );
  return lines.length === 0 ? null : lines.map(([, line]) => line).join("\n");
}

/** `bash-lcX` is nothing but the wrapping of `X`. */
function isWrapped(inner: string, outer: string): boolean {
  return (
    outer.length > inner.length && outer.endsWith(inner) && SHELL_WRAP.test(outer.slice(0, -inner.length))
  );
}

const SHELL_WRAP = /^(?:\/(?:usr\/)?bin\/)?(?:ba|z|da)?sh-l?c$/;

function commandLine(value: unknown): string | undefined {
  if (typeof value === "string") return value.trim() === "" ? undefined : value;
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const words = value.map((one) => (typeof one === "string" ? one : JSON.stringify(one)));
  const [program = "", flag = "", script] = words;
  const isShell = /^(?:.*\/)?(?:ba|z|da)?sh$/.test(program) && /^-l?c$/.test(flag);
  if (isShell && script !== undefined && words.length === 3) return script;
  return words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`))
    .join(" ");
}

/** Keys under which the tools of known agents name paths. */
const PATH_KEY =
  /^(?:abs(?:olute)?_?path|paths?|file_?paths?|filename|files?|notebook_?path|dir(?:ectory)?(?:_?path)?|dir_?path|old_?path|new_?path|source(?:_?path)?|src|dest(?:ination)?(?:_?path)?|dst|target(?:_?path|_?file)?|parent_?dir|ur[il]s?)$/i;
/** Where a command runs. For other tools it is no path that they change. */
const FOLDER_KEY = /^(?:work_?dir|working_?directory|cwd)$/i;

/** Paths that an input names, and those in a patch. Only the top and lists of records below it: deeper is no tool known. */
function pathsIn(input: Record<string, unknown>, withFolder: boolean): string[] {
  const found: string[] = [];
  const take = (record: Record<string, unknown>, depth: number) => {
    for (const [key, value] of Object.entries(record)) {
      if (PATH_KEY.test(key) || (withFolder && FOLDER_KEY.test(key))) found.push(...textsIn(value));
      if (/^(?:patch|patch_?text|input|diff)$/i.test(key) && typeof value === "string")
        found.push(...patchPaths(value));
      // Codex: `changes` by path.
      if (key === "changes" && typeof value === "object" && value !== null && !Array.isArray(value))
        found.push(...Object.keys(value));
      if (depth < 2 && Array.isArray(value)) for (const one of value) take(asRecord(one), depth + 1);
    }
  };
  take(input, 0);
  return found;
}

function textsIn(value: unknown): string[] {
  const values: unknown[] = Array.isArray(value) ? value : [value];
  return values.filter((one): one is string => typeof one === "string" && one !== "");
}

function patchPaths(patch: string): string[] {
  const found: string[] = [];
  for (const line of patch.split("\n")) {
    const named =
      /^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+)$/.exec(line) ??
      /^(?:---|\+\+\+) (?:[ab]\/)?([^\t]+)/.exec(line);
    const path = named?.[1]?.trim();
    if (path !== undefined && path !== "/dev/null") found.push(path);
  }
  return found;
}

function diffPaths(diffs: readonly Record<string, unknown>[]): string[] {
  return diffs.flatMap(({ path }) => (typeof path === "string" ? [path] : []));
}

/** Where a path leads, from the project's real directory. */
function targetOf(written: string, root: string, ports: { disk: Disk }): Target {
  const outside = {
    path: printable(written.slice(0, PATH_CHARACTERS_MAX), { oneLine: true }),
    isInside: false,
    isProtected: false,
  };
  let path = written;
  if (/^file:\/\//i.test(path)) {
    try {
      path = fileURLToPath(path);
    } catch {
      // Of another host, or no address at all: nothing on this disk.
      return outside;
    }
  }
  const isElsewhere = /^[a-z][a-z0-9+.-]*:\/\//i.test(path) || path.startsWith("~");
  // oxlint-disable-next-line no-control-regex -- exactly those are meant
  if (isElsewhere || path.length > PATH_CHARACTERS_MAX || /[\u0000-\u001f]/.test(path)) return outside;
  const real = walk(isAbsolute(path) ? path : join(root, sep) + path, ports);
  if (real === undefined) return outside;
  const inside = relative(root, real);
  // The project as a whole, with everything that steers git in it.
  if (inside === "") return { path: ".", isInside: true, isProtected: true };
  if (inside === ".." || inside.startsWith(`..${sep}`) || isAbsolute(inside)) {
    return { path: real, isInside: false, isProtected: isProtected(real) };
  }
  return { path: inside, isInside: true, isProtected: isProtected(inside) };
}

/** As the system resolves it, component by component: `link/..` is the parent of where the link leads. */
function walk(path: string, { disk }: { disk: Disk }): string | undefined {
  let at: string = sep;
  for (const part of path.split(sep)) {
    if (part === "" || part === ".") continue;
    if (part === "..") {
      at = dirname(at);
      continue;
    }
    const next = join(at, part);
    try {
      const real = disk.realPath(next);
      // A link to nothing: what is written through it comes to be wherever it points.
      if (real === undefined && disk.stat(next)?.kind === "link") return undefined;
      at = real ?? next;
    } catch {
      // Where we may not look, or links in a circle: it cannot be told where that is.
      return undefined;
    }
  }
  return at;
}

/** `.git` and `.omk` as any file system may spell them: case, invisible characters, dots at the end, the short name. */
function isProtected(path: string): boolean {
  return path.split(sep).some((part) => {
    const plain = part
      .normalize("NFKC")
      .replaceAll(/\p{Cf}/gu, "")
      .toLowerCase()
      .replace(/[. ]+$/, "");
    return plain === ".git" || plain === ".omk" || /^git~\d$/.test(plain);
  });
}

/** What the request says beside its targets and command. */
function contentOf(
  request: PermissionRequest,
  input: Record<string, unknown>,
  command: string | null,
  targets: number,
): unknown {
  const rest = { ...input };
  // A model words anew each time what a command is for; the command is what counts.
  if (command !== null) delete rest["description"];
  // A terminal is one of this session.
  const content = request.content.filter((one) => asRecord(one)["type"] !== "terminal");
  const says = Object.keys(rest).length > 0 || command !== null || targets > 0;
  return {
    input: isRecord(request.rawInput) ? rest : (request.rawInput ?? null),
    content,
    // Where nothing else tells two requests apart, their titles may.
    ...(!says && request.name === null && { title: request.title }),
  };
}

function isRecord(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function shownOf(
  { name, kind, targets, command }: Pick<Described, "name" | "kind" | "targets" | "command">,
  request: PermissionRequest,
  input: Record<string, unknown>,
  diffs: readonly Record<string, unknown>[],
): Described["shown"] {
  const shown = [{ label: "tool", text: name === null ? kind : `${name} (${kind})` }];
  for (const { path, isInside } of targets.slice(0, SHOWN_FIELDS_MAX))
    shown.push({ label: isInside ? "in the project" : "outside the project", text: path });
  if (targets.length > SHOWN_FIELDS_MAX)
    shown.push({ label: "targets", text: `${targets.length - SHOWN_FIELDS_MAX} more` });
  if (command !== null) shown.push({ label: "command", text: command });
  for (const diff of diffs.slice(0, SHOWN_FIELDS_MAX)) {
    const { path, oldText, newText } = diff;
    shown.push({ label: "changes", text: String(path) });
    if (typeof oldText === "string" && oldText !== "") shown.push({ label: "old text", text: oldText });
    if (typeof newText === "string") shown.push({ label: "new text", text: newText });
  }
  const known = new Set(["command", "cmd"]);
  const rest = Object.fromEntries(Object.entries(input).filter(([key]) => !known.has(key)));
  if (diffs.length === 0 && Object.keys(rest).length > 0)
    shown.push({ label: "input", text: JSON.stringify(rest) });
  // The agent's own words, only where there is nothing else to see.
  if (shown.length === 1) shown.push({ label: "the agent calls it", text: request.title });
  return shown.map(({ label, text }) => ({ label, text: shownText(text) }));
}

/** Text that cannot steer a terminal, long ones with their middle left out and their length named. */
export function shownText(text: string, max = SHOWN_CHARACTERS_MAX): string {
  if (text.length <= max) return printable(text);
  const half = Math.floor(max / 2);
  const left = `${text.slice(0, half)} […] ${text.slice(-half)}`;
  return `${printable(left)} (${text.length} characters)`;
}
