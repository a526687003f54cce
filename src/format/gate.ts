/** Gates: what is run to judge a change (`.omk/gates.toml`, `goal.json`), and what came of it (`proof.json`). */
import { z } from "zod";

import { parseRelPath } from "./names.ts";

/** How a gate ended. Only `passed` speaks for a change; the others say in which way it does not. */
export const GateVerdict = z.enum([
  "passed",
  "failed",
  /** Red, and just as red before the change. */
  "failed_on_base_too",
  "timed_out",
  /** Its program was not found, could not be started, or said so by status 126 or 127. */
  "did_not_run",
  /** A test runner that ran no test, or fewer than `min_tests`. */
  "ran_nothing",
  "skipped",
]);
export type GateVerdict = z.infer<typeof GateVerdict>;

/** Where a definition comes from: gates.toml, the project's files, `--gate`, or the files that the agent left. */
export const GateSource = z.enum(["config", "detected", "flag", "candidate"]);
export type GateSource = z.infer<typeof GateSource>;

/** What a test runner said it did. `tests` includes the skipped ones. */
export const TestCounts = z.looseObject({
  tests: z.int().min(0),
  passed: z.int().min(0),
  failed: z.int().min(0),
  skipped: z.int().min(0),
});
export type TestCounts = z.infer<typeof TestCounts>;

/** What is run, as recorded in `goal.json`. */
export const GateDefinition = z.looseObject({
  name: z.string(),
  command: z.string(),
  args: z.array(z.string()).default([]),
  required: z.boolean().default(true),
  /** 0 stands for omk's own limit. */
  timeout_secs: z.int().min(0).default(0),
  skip: z.boolean().default(false),
  /** Checks of the oracle that this gate shows when it passes. */
  covers: z.array(z.string()).default([]),
  /** A JUnit XML or TAP file that the gate writes, relative to the folder it runs in. */
  report: z.string().optional(),
  min_tests: z.int().min(0).optional(),
  network: z.boolean().optional(),
  /** Names of further variables that the gate may see. */
  env: z.array(z.string()).default([]),
  kind: z.enum(["test", "other"]).default("other"),
  source: GateSource,
});
export type GateDefinition = z.infer<typeof GateDefinition>;

/** A command that makes a fresh checkout ready for the gates. */
export const SetupCommand = z.looseObject({
  command: z.string(),
  args: z.array(z.string()).default([]),
  timeout_secs: z.int().min(0).default(0),
});
export type SetupCommand = z.infer<typeof SetupCommand>;

/** The gates of a goal, fixed when it was made. */
export const GateSet = z.looseObject({
  /** Where the list comes from; `none` when nothing was configured, found or given. */
  source: z.enum(["config", "detected", "flag", "candidate", "none"]),
  /** SHA-256 of the definitions as JSON with sorted keys and no white space. */
  digest: z.string(),
  definitions: z.array(GateDefinition),
  /** What `[setup]` says; absent where the lock file decides. */
  setup: z.array(SetupCommand).optional(),
});
export type GateSet = z.infer<typeof GateSet>;

/** What came of a gate. The keys of 0.5.0 come first, in its order; ours follow, and its files have none of them. */
export const GateResult = z.looseObject({
  name: z.string(),
  /** True for the verdict `passed`, and for `skipped`, which is never required. */
  passed: z.boolean(),
  stdout: z.string(),
  stderr: z.string(),
  duration_ms: z.int().min(0),
  required: z.boolean(),
  command_line: z.string().default(""),
  exit_code: z.int().optional(),
  timed_out: z.boolean().default(false),
  stdout_summary: z.string().optional(),
  stderr_summary: z.string().optional(),
  /** The kept log; absolute. */
  output_path: z.string().optional(),
  timeout_secs: z.int().min(0).default(0),

  verdict: GateVerdict.optional(),
  counts: TestCounts.optional(),
  /** The git tree it ran on. */
  tree: z.string().optional(),
  /** The verdict of the same gate before the change, or null when it did not run there. */
  base: GateVerdict.nullable().optional(),
  where: z.enum(["worktree", "clean_checkout", "base_copies"]).optional(),
  source: GateSource.optional(),
  kind: z.enum(["test", "other"]).optional(),
  /** The kept log's digest and size; `truncated` when the gate said more than was kept. */
  output: z.looseObject({ sha256: z.string(), bytes: z.int().min(0), truncated: z.boolean() }).optional(),
  covers: z.array(z.string()).optional(),
  /** Why a gate that was defined as required does not count as such. */
  optional_reason: z.string().optional(),
  /** What a reader should know; nothing depends on it. */
  note: z.enum(["suspiciously_fast"]).optional(),
});
export type GateResult = z.infer<typeof GateResult>;

/** The longest time a gate may be given: a day. */
const TIMEOUT_SECS_MAX = 86_400;

/** A value that must be there and of one kind, said in words instead of type names. */
const must = (be: string) => ({
  error: (issue: { input?: unknown }) => (issue.input === undefined ? "is missing" : `must be ${be}`),
});
const Text = z.string(must("text"));
const Flag = z.boolean(must("true or false"));
/** A NUL ends a string for the system, so no argument can hold one. */
const Argument = Text.refine((text) => !text.includes("\0"), { error: "must not hold a NUL character" });

const Program = Argument.refine((text) => text.trim() !== "", { error: "must not be blank" });
const TimeoutSecs = z
  .int(must("a whole number of seconds"))
  .min(0, { error: "must not be negative" })
  .max(TIMEOUT_SECS_MAX, { error: `must be at most ${TIMEOUT_SECS_MAX} seconds, a day` });

/** Programs with their arguments, in one list each; or a table for each, where the time matters. */
const SetupEntries = z.union(
  [
    z.looseObject({
      commands: z.array(z.tuple([Program], Argument)),
      timeout_secs: TimeoutSecs.optional(),
    }),
    z.array(
      z.looseObject({
        command: Program,
        args: z.array(Argument).optional(),
        timeout_secs: TimeoutSecs.optional(),
      }),
    ),
  ],
  {
    error:
      'must be a table with commands = [["npm", "ci"]], or tables [[setup]] with command, args and timeout_secs',
  },
);

const GateEntry = z
  .looseObject({
    name: Text.refine((text) => text.trim() !== "", { error: "must not be blank" }).refine(
      (text) => !/\p{Cc}/u.test(text),
      { error: "must not hold control characters" },
    ),
    command: Program,
    args: z.array(Argument, must("a list of text")).optional(),
    required: Flag.optional(),
    timeout_secs: TimeoutSecs.optional(),
    allow_fail: Flag.optional(),
    "allow-fail": Flag.optional(),
    skip: Flag.optional(),
    skipped: Flag.optional(),
    covers: z.array(Text.min(1, { error: "must not be empty" }), must("a list of text")).optional(),
    report: Text.refine((text) => parseRelPath(text).ok, {
      error: "must be a path inside the project, relative to its root",
    }).optional(),
    min_tests: z.int(must("a whole number")).min(0, { error: "must not be negative" }).optional(),
    network: Flag.optional(),
    env: z
      .array(
        Text.regex(/^[A-Za-z_][A-Za-z0-9_]*$/, { error: "must be the name of a variable" }),
        must("a list of names of variables"),
      )
      .optional(),
  })
  .superRefine((entry, context) => {
    for (const [key, alias] of [
      ["allow_fail", "allow-fail"],
      ["skip", "skipped"],
    ] as const) {
      if (entry[key] === undefined || entry[alias] === undefined) continue;
      context.addIssue({
        code: "custom",
        path: [alias],
        message: `means the same as ${key}: keep one of them`,
      });
    }
  });

/** `.omk/gates.toml`. Keys we do not know are left alone. */
export const GatesFile = z.looseObject({
  gates: z
    .array(GateEntry, must("a list of tables, each begun by [[gates]]"))
    .superRefine((gates, context) => {
      const seen = new Set<string>();
      for (const [at, { name }] of gates.entries()) {
        if (seen.has(name)) {
          context.addIssue({ code: "custom", path: [at, "name"], message: "is taken by an earlier gate" });
        }
        seen.add(name);
      }
    }),
  setup: SetupEntries.optional(),
});
export type GatesFile = z.infer<typeof GatesFile>;
