/** The policies: which requests are granted without asking anybody. Rules over what a request is, never over its title. */
import { RE2JS } from "re2js";

import { OmkError } from "../errors.ts";
import type { ApprovalPolicy } from "../format/approval.ts";
import { printable } from "../format/printable.ts";
import type { Described } from "./describe.ts";
import { commandParts } from "./shell-parts.ts";

/** What a policy says of a request: `rule` and `because` are for the audit trail. */
export type PolicyDecision = { outcome: "allow"; rule: string } | { outcome: "ask"; because: string };

/** A policy whose patterns are compiled. */
export interface CompiledPolicy {
  readonly name: "never" | "safe" | "workspace" | "yolo" | "pattern";
  readonly patterns: readonly { text: string; expression: RE2JS }[];
}

const PATTERNS_MAX = 100;
const PATTERN_CHARACTERS_MAX = 1_000;
/** What is matched is no longer than this; longer than a person reads, too. */
const SUBJECT_CHARACTERS_MAX = 64 * 1024;

/** Checks and compiles a policy; `where` names the flag or file for the error (`usage.invalid`). */
export function compilePolicy(policy: ApprovalPolicy, where: string): CompiledPolicy {
  if (typeof policy === "string") return { name: policy, patterns: [] };
  const { patterns } = policy.pattern;
  if (patterns.length === 0 || patterns.length > PATTERNS_MAX)
    throw invalid(where, `has ${patterns.length} patterns: 1 to ${PATTERNS_MAX} are possible`);
  return { name: "pattern", patterns: patterns.map((text) => ({ text, expression: compile(text, where) })) };
}

function compile(text: string, where: string): RE2JS {
  if (text === "" || text.length > PATTERN_CHARACTERS_MAX)
    throw invalid(
      where,
      `has a pattern of ${text.length} characters: 1 to ${PATTERN_CHARACTERS_MAX} are possible`,
    );
  try {
    return RE2JS.compile(text);
  } catch (error) {
    // What the library throws says what is wrong with the expression.
    const because = error instanceof Error ? error.message : String(error);
    throw invalid(
      where,
      `has the pattern ${JSON.stringify(text.slice(0, 100))}, which is no regular expression: ${because}`,
    );
  }
}

function invalid(where: string, because: string): OmkError {
  return new OmkError("usage.invalid", `${where} ${because}.`, {
    hint: "For example pattern:^execute npm (test|ci)( |$). Neither look-around nor back-references exist.",
  });
}

/** A policy as a flag gives it: a name, or `pattern:` and a regular expression. */
export function parsePolicy(text: string, flag: string): ApprovalPolicy {
  if (text === "never" || text === "safe" || text === "workspace" || text === "yolo") return text;
  if (!text.startsWith("pattern:")) {
    throw new OmkError("usage.invalid", `${flag} ${JSON.stringify(text.slice(0, 100))} is no policy.`, {
      hint: "It is never, safe, workspace, yolo or pattern:<regex>.",
    });
  }
  const policy = { pattern: { patterns: [text.slice("pattern:".length)] } };
  compilePolicy(policy, flag);
  return policy;
}

/** Decides a request by a policy alone. */
export function decideByPolicy(policy: CompiledPolicy, asked: Described): PolicyDecision {
  switch (policy.name) {
    case "yolo":
      return { outcome: "allow", rule: "policy yolo" };
    case "never":
      return ask("policy never leaves every request to a person");
    case "safe":
      return onlyReads(asked)
        ? { outcome: "allow", rule: "policy safe: it only reads" }
        : ask("policy safe grants only what reads");
    case "workspace":
      return decideInWorkspace(asked);
    case "pattern":
      return decideByPatterns(policy, asked);
  }
}

function ask(because: string): PolicyDecision {
  return { outcome: "ask", because };
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
  ].flatMap((names) => names.split(" ")),
);

/** Kinds that only read. `fetch` goes out of this machine, so it takes a name that is known. */
const READING_KINDS: ReadonlySet<string> = new Set(["read", "search", "think"]);

function onlyReads({ name, kind, command, hasDiff, isForeign }: Described): boolean {
  if (isForeign || command !== null || hasDiff) return false;
  if (name === null) return READING_KINDS.has(kind);
  return READING_TOOLS.has(name) && (READING_KINDS.has(kind) || kind === "fetch");
}

function decideInWorkspace(asked: Described): PolicyDecision {
  const { kind, targets, command } = asked;
  if (onlyReads(asked)) return { outcome: "allow", rule: "policy workspace: it only reads" };
  if (asked.isForeign) return ask("it is a tool of an added server");
  const outside = targets.find(({ isInside }) => !isInside);
  if (outside) return ask(`it is about ${outside.path}, outside the project`);
  const guarded = targets.find((target) => target.isProtected);
  if (guarded && kind !== "execute") return ask(`it changes ${guarded.path}, which steers git or omk`);
  if (kind === "execute") {
    return command === null
      ? ask("it runs a command that it does not tell")
      : { outcome: "allow", rule: "policy workspace: a command in the project" };
  }
  const isChange = kind === "edit" || kind === "delete" || kind === "move";
  if (!isChange || command !== null)
    return ask(`policy workspace does not know what a tool of kind ${kind} does`);
  const needed = kind === "move" ? 2 : 1;
  if (targets.length < needed) return ask("it does not tell what it changes");
  return { outcome: "allow", rule: `policy workspace: ${kind} in the project` };
}

/** What patterns are matched against: each must match one. Undefined where the request cannot be told apart so far. */
export function patternSubjects(asked: Described): string[] | undefined {
  const { name, kind, targets, command } = asked;
  if (command !== null) {
    if (targets.some(({ isInside }) => !isInside)) return undefined;
    return commandParts(command)?.map((part) => `${kind} ${part}`);
  }
  if (targets.length > 0) return targets.map(({ path }) => `${kind} ${printable(path, { oneLine: true })}`);
  return name === null ? undefined : [`${kind} ${printable(name, { oneLine: true })}`];
}

function decideByPatterns({ patterns }: CompiledPolicy, asked: Described): PolicyDecision {
  const subjects = patternSubjects(asked);
  if (!subjects || subjects.length === 0) return ask("it cannot be told in a way that patterns match");
  const used = new Set<string>();
  for (const subject of subjects) {
    const matching =
      subject.length > SUBJECT_CHARACTERS_MAX
        ? undefined
        : patterns.find(({ expression }) => expression.matcher(subject).find());
    if (!matching) return ask(`no pattern matches ${JSON.stringify(subject.slice(0, 200))}`);
    used.add(matching.text);
  }
  return { outcome: "allow", rule: `policy pattern: ${[...used].join(", ")}` };
}
