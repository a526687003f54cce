/**
 * What the input of a tool says, field by field. An input is whatever an agent likes to send, so only fields that are known
 * count as understood: what is left over is named, and no rule grants a request that has it.
 */
import { TOOL_KINDS, type PermissionRequest } from "../engine/engine.ts";
import { patchPaths } from "./patch.ts";

/** What a field is, as far as rules tell fields apart. */
type Field =
  /** Names a file or an address. */
  | "path"
  /** Where relative paths, or a command, start. */
  | "folder"
  | "command"
  /** Variables of a command that the command does not show. */
  | "variables"
  /** Text that is written, or replaced. */
  | "write"
  /** What a reading tool looks for. */
  | "read"
  /** One word that chooses among ways of doing it. */
  | "choice"
  /** Words for people. */
  | "words"
  /** A number, or yes. */
  | "flag"
  /** Nobody knows what it is: text, or something with parts. */
  | "text"
  | "part"
  /** Not read: too deep, or too much. */
  | "rest";

/** A command that an input names; an engine may spell a list of words in another way. */
export interface NamedCommand {
  line: string;
  spelling: string;
}

/** An input as rules see it. */
export interface ToolInput {
  paths: string[];
  folders: string[];
  commands: NamedCommand[];
  /** The first key of each sort of field. */
  fields: ReadonlyMap<Field, string>;
  /** Fields of no known name which sound as if they write or run something. */
  smell: string | undefined;
  /** Variables as a shell would take them before a command. */
  prefix: string;
}

const DEPTH_MAX = 12;
const VALUES_MAX = 5_000;

/** Keys are compared in lower case, without what joins their words. */
function setOf(keys: string): ReadonlySet<string> {
  return new Set(keys.split(" "));
}

const PATHS = setOf(
  "path paths abspath absolutepath filepath filepaths filename filenames file files notebookpath dir directory " +
    "directorypath dirpath directories folder oldpath newpath source sourcepath src dest destination destinationpath dst " +
    "target targetpath targetfile parentdir movepath moveto relativepath uri uris url urls",
);
const FOLDERS = setOf("cwd workdir workingdir workingdirectory basedir");
const COMMANDS = setOf("command cmd argv script");
const ARGUMENTS = setOf("args arguments");
const VARIABLES = setOf("env environment environmentvariables envvars");
const WRITES = setOf(
  "content contents text newcontent oldcontent oldstring newstring oldtext newtext oldstr newstr old new filetext " +
    "inserttext newsource search replace replacement patch patchtext input diff unifieddiff codeedit before after",
);
const PATCHES = setOf("patch patchtext input diff unifieddiff");
const READS = setOf(
  "pattern patterns regex query queries glob globs include includes exclude excludes line lines limit offset startline " +
    "endline lineoffset nlines maxlines viewrange pages ignorecase casesensitive a b c i n headlimit multiline recursive " +
    "depth maxdepth maxresults numresults count includecontent includeignored includedirs hidden respectgitignore timeout",
);
const LOOKED_FOR = setOf("pattern patterns glob globs include includes");
const CHOICES = setOf("type mode format outputmode editmode celltype cellid encoding filetype sort");
const WORDS = setOf(
  "description explanation justification instruction instructions reason purpose prompt thought thoughts thinking",
);
/** Fields that hold others. */
const CONTAINERS = setOf(
  "edit edits changes files file add update delete multiedits operations replacements args arguments params parameters " +
    "input",
);
/** Lists of what an agent means to do. */
const TODOS = setOf("todos plan entries");
const TODO_FIELDS = setOf("title content status priority activeform step id description");
const SMELL =
  /command|cmd|script|shell|exec|run|eval|writ|content|text|replac|edit|patch|diff|delet|remov|creat|output|save|insert|append|arg|code|program|env|server|tool|new|old|dest|body|data|method|header/;

/** Reads an input. Every record and list in it is looked through, up to a bound that is told as a field. */
export function readInput(raw: unknown): ToolInput {
  const reading = new Reading();
  if (typeof raw === "string") reading.takeText(raw);
  else if (isRecord(raw)) reading.takeRecord(raw, 0);
  // No tool known takes a list, or a number: whatever is in it is looked at, and it stays unknown.
  else if (raw !== undefined && raw !== null) reading.takeField("", [{ "": raw }], 0);
  return reading;
}

class Reading implements ToolInput {
  readonly paths: string[] = [];
  readonly folders: string[] = [];
  readonly commands: NamedCommand[] = [];
  readonly fields = new Map<Field, string>();
  smell: string | undefined;
  prefix = "";
  #values = 0;

  /** An input that is one text: a patch, or nothing that anybody knows. */
  takeText(text: string): void {
    if (text.trim() === "") return;
    if (!/^\s*(?:\*\*\* Begin Patch|diff --git |--- )/.test(text)) return this.#note("part", "its text");
    this.#takePatch("its text", text);
    this.#note("write", "its text");
  }

  takeRecord(record: Record<string, unknown>, depth: number): void {
    const words = argumentsIn(record);
    const isProgram = words !== undefined && Object.keys(record).some((key) => COMMANDS.has(plain(key)));
    for (const [key, value] of Object.entries(record)) {
      if (isProgram && ARGUMENTS.has(plain(key))) continue;
      if (COMMANDS.has(plain(key))) this.#takeCommand(key, value, words ?? [], depth);
      else this.takeField(key, value, depth);
    }
  }

  takeField(key: string, value: unknown, depth: number): void {
    if (isNothing(value)) return;
    if (depth > DEPTH_MAX || ++this.#values > VALUES_MAX) return this.#note("rest", key);
    const name = plain(key);
    if (typeof value === "string") return this.#takeString(key, name, value);
    if (typeof value !== "object" || value === null) {
      if (value === true && SMELL.test(name) && !isKnown(name)) this.smell ??= key;
      return this.#note(READS.has(name) ? "read" : "flag", key);
    }
    if (VARIABLES.has(name)) return this.#takeVariables(key, value);
    if (TODOS.has(name) && isTodoList(value)) return this.#note("words", key);
    if (Array.isArray(value)) {
      for (const one of value) this.#takeItem(key, one, depth);
      return;
    }
    if (!CONTAINERS.has(name)) this.#note("part", key);
    // Codex: what is changed, by path.
    if (name === "changes") {
      for (const [path, change] of Object.entries(value)) {
        this.paths.push(path);
        this.#note("path", key);
        this.#takeItem("edit", change, depth);
      }
      return;
    }
    this.takeRecord(value as Record<string, unknown>, depth + 1);
  }

  #takeItem(key: string, value: unknown, depth: number): void {
    if (!isRecord(value)) return this.takeField(key, value, depth + 1);
    const name = plain(key);
    if (!CONTAINERS.has(name) && !PATHS.has(name)) this.#note("part", key);
    if (++this.#values > VALUES_MAX || depth > DEPTH_MAX) return this.#note("rest", key);
    this.takeRecord(value, depth + 1);
  }

  #takeString(key: string, name: string, value: string): void {
    if (PATHS.has(name)) {
      this.paths.push(value);
      return this.#note("path", key);
    }
    if (FOLDERS.has(name)) {
      this.folders.push(value);
      return this.#note("folder", key);
    }
    if (WRITES.has(name)) {
      if (PATCHES.has(name)) this.#takePatch(key, value);
      return this.#note("write", key);
    }
    if (LOOKED_FOR.has(name) && /^[/~$]|(?:^|\/)\.\.(?:\/|$)/.test(value)) this.paths.push(value);
    if (READS.has(name)) return this.#note("read", key);
    if (CHOICES.has(name) && /^[\w.-]{1,40}$/.test(value)) return this.#note("choice", key);
    if (WORDS.has(name)) return this.#note("words", key);
    // Whatever it is, where it may lead belongs to what is judged and shown.
    if (isPathLike(value)) this.paths.push(value);
    if (SMELL.test(name)) this.smell ??= key;
    this.#note("text", key);
  }

  #takePatch(key: string, text: string): void {
    const { paths, isClear } = patchPaths(text);
    this.paths.push(...paths);
    if (!isClear) this.#note("part", key);
  }

  #takeCommand(key: string, value: unknown, words: readonly string[], depth: number): void {
    if (isNothing(value)) return;
    const given = typeof value === "string" ? [value] : wordsOf(value);
    if (given === undefined) {
      this.#note("part", key);
      return this.takeField(key, value, depth);
    }
    const [first = ""] = given;
    // A whole line as the program is a line; its arguments come behind it as they would in a shell.
    const isLine = typeof value === "string" && (words.length === 0 || /\s/.test(first));
    const all = [...given, ...words];
    const spelling = isLine ? [first, ...words.map(quoted)].join(" ") : all.map(quoted).join(" ");
    this.commands.push({ line: (isLine ? undefined : innerScript(all)) ?? spelling, spelling });
    this.#note("command", key);
  }

  #takeVariables(key: string, value: object): void {
    const pairs = (Array.isArray(value) ? value : Object.entries(value)).map((one: unknown) => {
      if (Array.isArray(one)) return one as unknown[];
      return isRecord(one) ? [one["name"], one["value"]] : [];
    });
    this.#note("variables", key);
    for (const [name, text] of pairs) {
      if (typeof name === "string" && typeof text === "string") this.prefix += `${name}=${quoted(text)} `;
      else this.#note("part", key);
    }
  }

  #note(field: Field, key: string): void {
    if (!this.fields.has(field)) this.fields.set(field, key);
  }
}

function plain(key: string): string {
  return key.toLowerCase().replaceAll(/[\s_-]/g, "");
}

function isKnown(name: string): boolean {
  return READS.has(name) || CHOICES.has(name) || WORDS.has(name);
}

/** A record that is one: no list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Says nothing, whatever its key is. */
function isNothing(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === "") return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

function argumentsIn(record: Record<string, unknown>): string[] | undefined {
  const lists = Object.entries(record).filter(([key]) => ARGUMENTS.has(plain(key)));
  const [only] = lists.map(([, value]) => wordsOf(value));
  return lists.length === 1 ? only : undefined;
}

function wordsOf(value: unknown): string[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const isPlain = value.every((one) => typeof one === "string" || typeof one === "number");
  return isPlain ? value.map(String) : undefined;
}

function isTodoList(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.every(
      (one) =>
        isRecord(one) &&
        Object.entries(one).every(([key, part]) => TODO_FIELDS.has(plain(key)) && typeof part !== "object"),
    )
  );
}

function isPathLike(text: string): boolean {
  if (/^(?:[/~$]|\.\.)/.test(text) || /(?:^|\/)\.\.(?:\/|$)/.test(text)) return true;
  return text.includes("/") && !/\s/.test(text);
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The script of `sh -c <script>`, which says the same and is easier to read. */
function innerScript(words: readonly string[]): string | undefined {
  const [program = "", flag = "", script] = words;
  const isShell =
    words.length === 3 &&
    /^(?:(?:\/usr(?:\/local)?)?\/bin\/)?(?:ba|z|da)?sh$/.test(program) &&
    /^-l?c$/.test(flag);
  return isShell ? script : undefined;
}

/** Tools of the known agents that only read, by their own names. */
const READING_TOOLS: ReadonlySet<string> = new Set(
  [
    // Kimi over Wire, and Kimi Code
    "ReadFile Glob Grep SearchWeb FetchURL ReadMediaFile SetTodoList Think WebSearch WebFetch TodoList",
    // Claude Code
    "Read LS NotebookRead TodoRead TodoWrite",
    // opencode
    "read glob grep list webfetch websearch codesearch todoread todowrite",
    // Gemini
    "read_file read_many_files list_directory search_file_content grep_search google_web_search web_fetch",
    // Codex
    "view_image web_search update_plan",
    // Ours: an agent reads through its client.
    "fs/read_text_file",
  ].flatMap((names) => names.split(" ")),
);

/** Whether a tool of this name is known to read only. */
export function isReadingTool(name: string | null): boolean {
  return name !== null && READING_TOOLS.has(name);
}

/** The kind as one of the protocol's words; every other word is `other`. */
export function closedKind(kind: string): string {
  return TOOL_KINDS.has(kind) ? kind : "other";
}

const CHANGES: ReadonlySet<string> = new Set(["edit", "delete", "move"]);
const READING: ReadonlySet<string> = new Set(["read", "search", "think", "fetch"]);

/** Why the input of a tool of that kind is not what such tools take; undefined when every field of it is known. */
export function whyUnclear(
  kind: string,
  name: string | null,
  { fields, commands, smell, prefix }: ToolInput,
  command: string | undefined,
): string | undefined {
  const known: Field[] = READING.has(kind)
    ? [
        "path",
        "folder",
        "read",
        "choice",
        "words",
        ...(isReadingTool(name) ? (["flag", "text"] as const) : []),
      ]
    : CHANGES.has(kind)
      ? ["path", "folder", "write", "choice", "words", "flag", "read"]
      : kind === "execute"
        ? ["path", "folder", "command", "variables", "words", "flag", "read"]
        : [];
  for (const [field, key] of fields) {
    if (!known.includes(field))
      return field === "rest"
        ? "its input is too large to be looked through"
        : `nobody knows what ${quotedKey(key)} in its input does`;
  }
  if (READING.has(kind) && smell !== undefined)
    return `${quotedKey(smell)} in its input may change something`;
  const isShown = prefix === "" || command?.startsWith(prefix) === true;
  if (fields.has("variables") && (!isShown || commands.length === 0))
    return "it sets variables that its command does not show";
  return undefined;
}

function quotedKey(key: string): string {
  return JSON.stringify(key.slice(0, 100));
}

/**
 * Every kind that a tool may be of, for rules that forbid: what brings a command along runs it, what has text to write
 * writes it, and what nobody understands may do both.
 */
export function possibleKinds(
  request: Pick<PermissionRequest, "name" | "kind" | "command" | "rawInput" | "content" | "isCut">,
): string[] {
  const kind = closedKind(request.kind);
  const input = readInput(request.rawInput);
  const hasDiff = request.content.some((one) => isRecord(one) && one["type"] === "diff");
  const hasCommand = request.command !== null || input.fields.has("command");
  const command = request.command ?? input.commands[0]?.line;
  const isReading = kind === "other" && isReadingTool(request.name);
  const isUnclear =
    (kind === "other" && !isReading) ||
    request.isCut === true ||
    whyUnclear(isReading ? "read" : kind, request.name, input, command) !== undefined;
  return [
    ...new Set([
      kind,
      ...(hasCommand || isUnclear ? ["execute"] : []),
      ...(hasDiff || input.fields.has("write") || isUnclear ? ["edit"] : []),
      ...(isUnclear ? ["delete", "move"] : []),
    ]),
  ];
}
