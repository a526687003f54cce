import { z } from "zod";
import type { Disk } from "../../ports.ts";
import { OmkError, systemCode } from "../../errors.ts";

/** The file a scripted agent follows. `docs/scripted-engine.md` explains it to users. */

const SCRIPT_BYTES_MAX = 8 * 1024 * 1024;
const WAIT_MS_MAX = 3_600_000;

const Milliseconds = z.number().int().min(0).max(WAIT_MS_MAX);
const Path = z.string().min(1);
const Tokens = z.number().int().nonnegative();
/** Steps hold steps. An interface, since only that may refer to itself through the types made from its schemas. */
export interface StepList extends ReadonlyArray<Step> {}
const Steps: z.ZodType<StepList> = z.lazy(() => z.array(Step));

/** Ask for permission before the step; when refused, do these steps instead and go on. */
const Asking = { ask_first: z.boolean().optional(), on_reject: Steps.optional() };
/** Hear no cancel while waiting, and go on afterwards as if there had been none. */
const Deaf = { deaf: z.literal(true).optional() };

/** Every kind of step, by the key that names it. */
const STEP_SCHEMAS = {
  say: z.strictObject({ say: z.string() }),
  think: z.strictObject({ think: z.string() }),
  write: z.strictObject({ write: Path, text: z.string(), ...Asking }),
  edit: z.strictObject({ edit: Path, replace: z.string().min(1), with: z.string(), ...Asking }),
  delete: z.strictObject({ delete: Path, ...Asking }),
  run: z.strictObject({
    run: z.union([z.string().min(1), z.tuple([z.string().min(1)], z.string())]),
    timeout_ms: Milliseconds.optional(),
    ...Asking,
  }),
  daemon: z.strictObject({ daemon: z.tuple([z.string().min(1)], z.string()), ...Asking }),
  ask: z.strictObject({
    ask: z.string().min(1),
    kind: z.string().optional(),
    path: Path.optional(),
    input: z.unknown().optional(),
    on_allow: Steps.optional(),
    on_reject: Steps.optional(),
  }),
  usage: z.strictObject({
    usage: z.strictObject({
      input_tokens: Tokens,
      output_tokens: Tokens,
      cache_read_tokens: Tokens.optional(),
      cache_write_tokens: Tokens.optional(),
      cost_usd: z.number().nonnegative().optional(),
    }),
  }),
  propose: z.strictObject({ propose: z.record(z.string(), z.unknown()) }),
  update: z.strictObject({ update: z.record(z.string(), z.unknown()) }),
  stderr: z.strictObject({ stderr: z.string() }),
  wait_ms: z.strictObject({ wait_ms: Milliseconds, ...Deaf }),
  wait_for: z.strictObject({ wait_for: Path, timeout_ms: Milliseconds.optional(), ...Deaf }),
  hang: z.strictObject({ hang: z.union([z.literal(true), z.literal("deaf")]) }),
  crash: z.strictObject({
    crash: z.union([
      z.number().int().min(0).max(255),
      z.string().regex(/^SIG[A-Z0-9]+$/, "not a signal's name, like SIGKILL"),
    ]),
  }),
  raw: z.strictObject({
    raw: z.union([z.string(), z.strictObject({ base64: z.base64() })]),
    times: z.number().int().min(1).max(1_000_000).optional(),
  }),
  stop: z.strictObject({ stop: z.string().min(1) }),
  error: z.strictObject({
    error: z.strictObject({ code: z.number().int(), message: z.string(), data: z.unknown().optional() }),
  }),
} as const;

type StepKind = keyof typeof STEP_SCHEMAS;
const STEP_KINDS = Object.keys(STEP_SCHEMAS) as StepKind[];

/** One thing the agent does. Exactly one key names its kind. */
export type Step = { [Kind in StepKind]: z.infer<(typeof STEP_SCHEMAS)[Kind]> }[StepKind];

/** A union's own error would list every kind; the key that names the kind says which schema is meant. */
const Step: z.ZodType<Step> = z.unknown().transform((value, context): Step => {
  const keys =
    typeof value === "object" && value !== null && !Array.isArray(value) ? Object.keys(value) : undefined;
  const kinds = STEP_KINDS.filter((kind) => keys?.includes(kind));
  const [kind] = kinds;
  if (kind === undefined || kinds.length > 1) {
    const message = kind === undefined ? "no known step" : `${kinds.join(" and ")} cannot be one step`;
    context.issues.push({
      code: "custom",
      message: `${message}; steps are: ${STEP_KINDS.join(", ")}`,
      input: value,
    });
    return z.NEVER;
  }
  const read = STEP_SCHEMAS[kind].safeParse(value);
  if (read.success) return read.data;
  for (const issue of read.error.issues) {
    context.issues.push({ code: "custom", message: issue.message, path: issue.path, input: value });
  }
  return z.NEVER;
});

const Match = z.strictObject({
  role: z.enum(["plan", "work", "review", "decompose", "synthesize"]).optional(),
  /** The task's id; `*` stands for any run of characters. */
  task: z.string().min(1).optional(),
  attempt: z.number().int().min(1).optional(),
  /** Text that the prompt contains. */
  prompt: z.string().min(1).optional(),
});

const ScriptTurn = z.strictObject({ match: Match.optional(), steps: Steps });

/** A whole script. */
export const Script = z.strictObject({
  version: z.literal(1),
  turns: z.array(ScriptTurn),
  default: Steps.optional(),
});
export type Script = z.infer<typeof Script>;

/** Reads and checks a script. Throws `engine.script`, naming the file, the place in it and what is wrong there. */
export function loadScript(path: string, disk: Pick<Disk, "readFile">): Script {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(disk.readFile(path, SCRIPT_BYTES_MAX));
  } catch (error) {
    const code = systemCode(error);
    const what =
      code === "ENOENT"
        ? "there is no such file"
        : code === undefined
          ? "it is not valid UTF-8"
          : `it cannot be read (${code})`;
    throw scriptError(path, what, error);
  }
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw scriptError(
      path,
      `it is not JSON: ${error instanceof Error ? error.message : "no reason given"}`,
      error,
    );
  }
  const read = Script.safeParse(document);
  if (read.success) return read.data;
  const [first, ...others] = read.error.issues;
  const more = others.length > 0 ? ` (and ${others.length} more)` : "";
  const where = first ? placeOf(first.path) : "";
  throw scriptError(path, `${where}${first?.message ?? "it is not a script"}${more}`, undefined);
}

/** What was asked, as far as a script can tell prompts apart. */
export interface ScriptQuestion {
  role: string;
  task: string;
  attempt: number;
  prompt: string;
}

/**
 * The steps for a prompt, or undefined when the script has none. Nothing is remembered between prompts, so a process
 * that was killed and started again answers the same:
 * 1. the first entry with a `match` that fits;
 * 2. for role `work`: of the entries without `match`, the one with the attempt's number, or the last one;
 * 3. `default`.
 */
export function stepsFor(script: Script, question: ScriptQuestion): StepList | undefined {
  const matched = script.turns.find((turn) => turn.match !== undefined && fits(turn.match, question));
  if (matched) return matched.steps;
  const unmatched = question.role === "work" ? script.turns.filter((turn) => turn.match === undefined) : [];
  const byAttempt = unmatched[Math.min(question.attempt, unmatched.length) - 1];
  return byAttempt?.steps ?? script.default;
}

function fits(match: z.infer<typeof Match>, question: ScriptQuestion): boolean {
  return (
    (match.role === undefined || match.role === question.role) &&
    (match.task === undefined || fitsPattern(match.task, question.task)) &&
    (match.attempt === undefined || match.attempt === question.attempt) &&
    (match.prompt === undefined || question.prompt.includes(match.prompt))
  );
}

/** Literal pieces between stars, found from left to right: no backtracking, whatever the pattern. */
function fitsPattern(pattern: string, text: string): boolean {
  const [first = "", ...rest] = pattern.split("*");
  const last = rest.pop();
  if (last === undefined) return text === pattern;
  if (!text.startsWith(first)) return false;
  let at = first.length;
  for (const piece of rest) {
    const found = text.indexOf(piece, at);
    if (found === -1) return false;
    at = found + piece.length;
  }
  return text.length - last.length >= at && text.endsWith(last);
}

function placeOf(path: readonly PropertyKey[]): string {
  if (path.length === 0) return "";
  let place = "";
  for (const part of path)
    place += typeof part === "number" ? `[${part}]` : `${place === "" ? "" : "."}${String(part)}`;
  return `${place}: `;
}

function scriptError(path: string, what: string, cause: unknown): OmkError {
  return new OmkError("engine.script", `The agent script ${path} cannot be used: ${what}.`, {
    cause,
    hint: "Its format is described in docs/scripted-engine.md.",
  });
}
