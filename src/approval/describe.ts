/** What a request of an agent really is: its tool, its targets and its commands, whatever it calls itself. */
import { createHash } from "node:crypto";
import { join, sep } from "node:path";

import type { PermissionRequest } from "../engine/engine.ts";
import { PATHS_MAX } from "../engine/turn-record.ts";
import { printable } from "../format/printable.ts";
import type { Disk } from "../ports.ts";
import { closedKind, isRecord, readInput, whyUnclear, type ToolInput } from "./input.ts";
import { withoutFolder } from "./own-folder.ts";
import { targetOf, type Target, type TargetPlace } from "./targets.ts";

/** A request as policies and people see it. */
export interface Described {
  /** The tool's own name, where the protocol tells it. */
  name: string | null;
  /** One of the protocol's kinds, or `other`. */
  kind: string;
  /** What a person must see first comes first. */
  targets: Target[];
  /** Every command line that it names, where two differ in anything both. */
  commands: string[];
  /** It shows a change of a file. */
  hasDiff: boolean;
  /** A tool of a server that somebody added: its name and kind are that server's own words. */
  isForeign: boolean;
  /** Why no rule can know what it does; null when everything that it says is understood. */
  unclear: string | null;
  /** Its input says nothing. */
  isBare: boolean;
  /** Everything else that it says, for the digest. */
  content: unknown;
  /** The folder in which its agent works, in each way of spelling it. */
  folders: readonly string[];
  /** What a person is shown: all that decides, from parsed fields only. */
  shown: { label: string; text: string }[];
}

const TARGETS_MAX = 500;
const SHOWN_CHARACTERS_MAX = 2_000;
/** Commands are shown whole for longer: what is left out in the middle may be what counts. */
const SHOWN_COMMAND_CHARACTERS_MAX = 16_000;

/** Reads a request. Links are followed as the system would, so that a path through one is where it leads. */
export function describeRequest(
  request: PermissionRequest,
  where: { cwd: string; stateFolder?: string },
  { disk }: { disk: Disk },
): Described {
  const { name } = request;
  const kind = closedKind(request.kind);
  const input = readInput(request.rawInput);
  const diffs = request.content.filter(isRecord).filter((one) => one["type"] === "diff");
  const root = disk.realPath(where.cwd) ?? where.cwd;
  const { stateFolder } = where;
  const place: TargetPlace = {
    root,
    stateFolder: stateFolder === undefined ? undefined : (disk.realPath(stateFolder) ?? stateFolder),
    disk,
  };
  const { targets, isTooMuch } = targetsOf(
    kind,
    [...request.locations, ...input.paths, ...pathsOf(diffs)],
    input,
    place,
  );
  const commands = commandsOf(request, input);
  const isCut = isTooMuch || request.isCut === true || request.locations.length >= PATHS_MAX;
  const described = {
    name,
    kind,
    targets,
    commands,
    hasDiff: diffs.length > 0,
    isForeign: isForeignTool(name),
    unclear: (isCut ? CUT : whyNotKnown(kind, name, { input, commands, diffs })) ?? null,
    isBare: input.fields.size === 0,
    content: contentOf(request, commands, targets.length),
    folders: [...new Set([where.cwd, root])],
  };
  return { ...described, shown: shownOf(described, request, diffs) };
}

const CUT = "it is about more than can be looked through";

function whyNotKnown(
  kind: string,
  name: string | null,
  {
    input,
    commands,
    diffs,
  }: { input: ToolInput; commands: readonly string[]; diffs: readonly Record<string, unknown>[] },
): string | undefined {
  if (diffs.some(({ path }) => typeof path !== "string" || path === ""))
    return "it shows a change of which nobody knows the file";
  if (commands.length > 1) return `it names ${commands.length} different commands`;
  if (kind === "execute" && diffs.length > 0) return "it runs a command and changes a file";
  if (kind !== "execute" && commands.length > 0) return `it is called ${kind} and names a command`;
  return whyUnclear(kind, name, input, commands[0]);
}

/**
 * What an answer is to: neither an identifier of the protocol nor the name of the attempt's folder is in it, so the same
 * request of a later attempt has the same.
 */
export function digestOf(described: Described, scope: { run: string; task: string }): string {
  const { name, kind, targets, commands, unclear, content, folders } = described;
  const paths = targets.map(({ path }) => path).toSorted();
  const what = {
    run: scope.run,
    task: scope.task,
    tool: name,
    kind,
    targets: paths,
    commands,
    unclear,
    content,
  };
  return createHash("sha256")
    .update(canonical(what, (text) => withoutFolder(text, folders)))
    .digest("hex");
}

/** JSON with sorted keys, and every text as `said` has it: equal values give equal text. */
function canonical(value: unknown, said: (text: string) => string): string {
  if (Array.isArray(value)) return `[${value.map((one) => canonical(one, said)).join(",")}]`;
  if (typeof value === "string") return JSON.stringify(said(value));
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value).flatMap(([key, one]): [string, unknown][] =>
    one === undefined ? [] : [[said(key), one]],
  );
  const sorted = entries.toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return `{${sorted.map(([key, one]) => `${JSON.stringify(key)}:${canonical(one, said)}`).join(",")}}`;
}

/** Names that agents give to tools of added servers: `mcp__db__query`, `mcp_db_query`, `mcp:db.query`. */
function isForeignTool(name: string | null): boolean {
  return name !== null && (/^mcp[^a-z0-9]/i.test(name) || name.includes("__"));
}

/** The commands of the input, and that of the engine where it is not one of those in other words. */
function commandsOf({ command }: PermissionRequest, { commands }: ToolInput): string[] {
  const isNamed = commands.some(({ line, spelling }) => command === line || command === spelling);
  return [
    ...new Set([...(command === null || isNamed ? [] : [command]), ...commands.map(({ line }) => line)]),
  ];
}

/** Where all paths lead, from each folder that they may start in; those that need a look come first. */
function targetsOf(
  kind: string,
  paths: readonly string[],
  { folders }: ToolInput,
  place: TargetPlace,
): { targets: Target[]; isTooMuch: boolean } {
  const written = [...new Set(paths)];
  const found = new Map<string, Target>();
  const take = (target: Target) => void found.set(`${target.isUnknown} ${target.path}`, target);
  let left = TARGETS_MAX;
  const starts = [...new Set(folders)];
  for (const folder of starts) {
    if (left-- <= 0) break;
    const start = targetOf(folder, place.root, place);
    // A command runs there. For other tools it is only where their paths start, unless nobody knows where that is.
    if (kind === "execute" || start.isUnknown) take(start);
  }
  for (const path of written) {
    for (const base of [place.root, ...starts.map((folder) => startIn(folder, place.root))]) {
      if (left-- <= 0) break;
      take(targetOf(path, base, place));
    }
  }
  const targets = [...found.values()];
  return { targets: targets.toSorted((a, b) => rank(a) - rank(b)), isTooMuch: left < 0 };
}

function startIn(folder: string, root: string): string {
  return folder.startsWith(sep) ? folder : join(root, folder);
}

function rank({ isInside, isProtected, isUnknown }: Target): number {
  return isUnknown ? 0 : !isInside ? 1 : isProtected ? 2 : 3;
}

function pathsOf(diffs: readonly Record<string, unknown>[]): string[] {
  return diffs.flatMap(({ path }) => (typeof path === "string" ? [path] : []));
}

/** What the request says beside its targets and command. */
function contentOf(request: PermissionRequest, commands: readonly string[], targets: number): unknown {
  const { rawInput } = request;
  const rest = isRecord(rawInput) ? { ...rawInput } : {};
  // A model words anew each time what a command is for; the command is what counts.
  if (commands.length > 0) delete rest["description"];
  const says = Object.keys(rest).length > 0 || commands.length > 0 || targets > 0;
  return {
    input: isRecord(rawInput) ? rest : (rawInput ?? null),
    content: saidContent(request),
    // Where nothing else tells two requests apart, their titles may.
    ...(!says && request.name === null && { title: request.title }),
  };
}

/** A terminal is one of this session, whose name says nothing. */
function saidContent({ content }: PermissionRequest): unknown[] {
  return content.filter((one) => !isRecord(one) || one["type"] !== "terminal");
}

function shownOf(
  { name, kind, targets, commands, unclear }: Omit<Described, "shown" | "content">,
  request: PermissionRequest,
  diffs: readonly Record<string, unknown>[],
): Described["shown"] {
  const shown = [
    { label: "tool", text: name === null ? kind : `${printable(name, { oneLine: true })} (${kind})` },
  ];
  if (unclear !== null) shown.push({ label: "not understood", text: unclear });
  const paths = (label: string, wanted: readonly Target[]) => {
    const text = wanted.map(({ path }) => printable(path, { oneLine: true })).join("\n");
    if (wanted.length > 0) shown.push({ label, text });
  };
  paths(
    "nobody knows where",
    targets.filter(({ isUnknown }) => isUnknown),
  );
  paths(
    "outside the project",
    targets.filter(({ isInside, isUnknown }) => !isInside && !isUnknown),
  );
  paths(
    "steers git or omk",
    targets.filter(({ isInside, isProtected }) => isInside && isProtected),
  );
  paths(
    "in the project",
    targets.filter(({ isInside, isProtected }) => isInside && !isProtected),
  );
  for (const text of commands) shown.push({ label: "command", text });
  const known = new Map(commands.map((command) => [command, "(the command above)"]));
  for (const { path, oldText, newText } of diffs) {
    shown.push({ label: "changes", text: typeof path === "string" ? path : JSON.stringify(path ?? null) });
    const texts = [
      ["old text", oldText],
      ["new text", newText],
    ] as const;
    for (const [label, text] of texts) {
      if (text === undefined || text === null || text === "") continue;
      shown.push({ label, text: typeof text === "string" ? text : JSON.stringify(text) });
      if (typeof text === "string") known.set(text, `(the ${label} above)`);
    }
  }
  const { rawInput } = request;
  const isSaid =
    rawInput === undefined ||
    rawInput === null ||
    (isRecord(rawInput) &&
      Object.entries(rawInput).every(
        ([key, one]) => /^(?:command|cmd)$/.test(key) && known.has(one as string),
      ));
  // What the tool gets is the input, so it is shown whatever else the agent shows.
  if (!isSaid) shown.push({ label: "input", text: inputText(rawInput, known) });
  const more = saidContent(request).filter((one) => !isShown(one, commands));
  if (more.length > 0) shown.push({ label: "the agent shows", text: JSON.stringify(more) });
  // The agent's own words, only where there is nothing else to see.
  if (shown.length === 1) shown.push({ label: "the agent calls it", text: request.title });
  return shown.map(({ label, text }) => ({ label, text: printable(text) }));
}

/** Diffs are shown field by field, a command as what it is. */
function isShown(one: unknown, commands: readonly string[]): boolean {
  if (!isRecord(one)) return false;
  const { type, command } = one;
  if (type === "diff")
    return Object.keys(one).every((key) => ["type", "path", "oldText", "newText"].includes(key));
  return type === "shell" && typeof command === "string" && commands.includes(command);
}

/** An input, with what is shown already named instead of repeated. */
function inputText(input: unknown, known: ReadonlyMap<string, string>): string {
  if (typeof input === "string") return input;
  return JSON.stringify(input, (_key, value: unknown) =>
    typeof value === "string" ? (known.get(value) ?? value) : value,
  );
}

/** The same fields for a screen: long ones with their middle left out, which is said. */
export function shortened(shown: Described["shown"], id: string): Described["shown"] {
  const cut = shown.map(({ label, text }) => {
    const max = label === "command" ? SHOWN_COMMAND_CHARACTERS_MAX : SHOWN_CHARACTERS_MAX;
    return { label, text: text.length > max ? shownText(text, max) : text };
  });
  const isCut = cut.some(({ text }, at) => text !== shown[at]?.text);
  return isCut
    ? [...cut, { label: "left out", text: `see all of it: omk approvals show ${id} --full` }]
    : cut;
}

/** Text that cannot steer a terminal, long ones with their middle left out and their length named. */
export function shownText(text: string, max = SHOWN_CHARACTERS_MAX): string {
  if (text.length <= max) return printable(text);
  const half = Math.floor(max / 2);
  const left = `${text.slice(0, half)} […] ${text.slice(-half)}`;
  return `${printable(left)} (${text.length} characters)`;
}
