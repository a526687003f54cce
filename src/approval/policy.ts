/** The policies: which requests are granted without asking anybody. Rules over what a request is, never over its title. */
import { RE2JS } from "re2js";

import { OmkError } from "../errors.ts";
import type { ApprovalPolicy } from "../format/approval.ts";
import { printable } from "../format/printable.ts";
import type { Described } from "./describe.ts";
import { isReadingTool } from "./input.ts";
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
      return decideReading(asked);
    case "workspace":
      return decideInWorkspace(asked);
    case "pattern":
      return decideByPatterns(policy, asked);
  }
}

function ask(because: string): PolicyDecision {
  return { outcome: "ask", because };
}

function decideReading(asked: Described): PolicyDecision {
  const because = whyNotReading(asked);
  return because === undefined
    ? { outcome: "allow", rule: "policy safe: it only reads" }
    : ask(`policy safe grants only what reads: ${because}`);
}

/** Kinds that only read. `fetch` goes out of this machine, so it takes a name that is known. */
const READING_KINDS: ReadonlySet<string> = new Set(["read", "search", "think", "fetch"]);
const CHANGING_KINDS: ReadonlySet<string> = new Set(["edit", "delete", "move"]);

/** Why a request may do more than read; undefined when it only reads, and what anybody may. */
function whyNotReading({ name, kind, targets, commands, hasDiff, isForeign, unclear, isBare }: Described) {
  if (!READING_KINDS.has(kind)) return `it is of kind ${kind}`;
  if (isForeign) return "it is a tool of an added server";
  if (unclear !== null) return unclear;
  if (commands.length > 0) return "it names a command";
  if (hasDiff) return "it shows a change";
  const isKnown = isReadingTool(name);
  if (!isKnown && (name !== null || kind === "fetch")) return "nobody knows its tool as one that only reads";
  if (!isKnown && kind !== "think" && isBare && targets.length === 0) return "it does not tell what it reads";
  const secret = targets.find(({ isPrivate }) => isPrivate);
  return secret && `it reads ${secret.path}, where secrets may be`;
}

function decideInWorkspace(asked: Described): PolicyDecision {
  const { kind, targets, commands, unclear } = asked;
  const because = whyNotReading(asked);
  if (because === undefined) return { outcome: "allow", rule: "policy workspace: it only reads" };
  if (asked.isForeign || READING_KINDS.has(kind)) return ask(because);
  const isChange = CHANGING_KINDS.has(kind);
  if (!isChange && kind !== "execute")
    return ask(`policy workspace does not know what a tool of kind ${kind} does`);
  if (unclear !== null) return ask(unclear);
  const place = whyGuarded(asked);
  if (place !== undefined) return ask(place);
  if (kind === "execute") {
    return commands.length === 1
      ? { outcome: "allow", rule: "policy workspace: a command in the project" }
      : ask("it runs a command that it does not tell");
  }
  const needed = kind === "move" ? 2 : 1;
  if (targets.length < needed) return ask("it does not tell what it changes");
  return { outcome: "allow", rule: `policy workspace: ${kind} in the project` };
}

/** Why what it is about is not for every change or command. */
function whyGuarded({ kind, targets }: Described): string | undefined {
  const outside = targets.find(({ isInside }) => !isInside);
  if (outside) return `it is about ${outside.path}, outside the project`;
  // A command runs in the project as a whole; nothing else is about all of it.
  const guarded = targets.find((one) => one.isProtected && !(kind === "execute" && one.path === "."));
  return guarded && `it is about ${guarded.path}, which steers git or omk`;
}

/**
 * What patterns are matched against: each must match one. `execute` stands before a part of the command and nothing else,
 * the other kinds before a path, `tool` before a name. Undefined where the request cannot be told in that way.
 */
export function patternSubjects(asked: Described): string[] | undefined {
  const { name, kind, targets, commands, isForeign, unclear } = asked;
  // Kind, paths and input of such a tool are its server's own words.
  if (isForeign) return toolSubject(name);
  if (kind === "execute") {
    const [command] = commands;
    if (unclear !== null || command === undefined || whyGuarded(asked) !== undefined) return undefined;
    return commandParts(command)?.map((part) => `execute ${part}`);
  }
  if (CHANGING_KINDS.has(kind) || READING_KINDS.has(kind)) {
    const isGuarded = CHANGING_KINDS.has(kind) && targets.some(({ isProtected }) => isProtected);
    if (unclear !== null || isGuarded || targets.some(({ isUnknown }) => isUnknown)) return undefined;
    if (targets.length > 0) return targets.map(({ path }) => `${kind} ${printable(path, { oneLine: true })}`);
    return CHANGING_KINDS.has(kind) ? undefined : toolSubject(name);
  }
  return commands.length > 0 || asked.hasDiff ? undefined : toolSubject(name);
}

function toolSubject(name: string | null): string[] | undefined {
  return name !== null && /^[\w.:/-]+$/.test(name) ? [`tool ${name}`] : undefined;
}

function decideByPatterns({ patterns }: CompiledPolicy, asked: Described): PolicyDecision {
  const subjects = patternSubjects(asked);
  if (!subjects || subjects.length === 0)
    return ask(asked.unclear ?? whyGuarded(asked) ?? "it cannot be told in a way that patterns match");
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
