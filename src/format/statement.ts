/** `statement.json` of an export: what a goal's proof claims, as an in-toto Statement that others can check with git and ssh. */
import { z } from "zod";

import { GoalStatus } from "./goal.ts";
import { Instant } from "./instant.ts";

/** What kind of statement it is, by in-toto. */
export const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
/** What the predicate is. It changes with the meaning of a key, not with every new one. */
export const PREDICATE_TYPE = "urn:omk:goal-proof:v1";

const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const GitObject = z.string().regex(/^[0-9a-f]{40}([0-9a-f]{24})?$/);

/** A gate, as far as a stranger can use it. */
const StatedGate = z.looseObject({
  name: z.string(),
  command_line: z.string(),
  required: z.boolean(),
  verdict: z.string(),
  /** What it said before the change. */
  base: z.string().nullable(),
  /** SHA-256 of its log. */
  log_sha256: Sha256.nullable(),
});

/** What is claimed about the subject. */
const GoalProofPredicate = z.looseObject({
  goal_id: z.string(),
  /** The goal in words, and how it ended. */
  summary: z.string(),
  status: GoalStatus,
  readiness: z.string(),
  reason_code: z.string().nullable(),
  gaps: z.array(z.looseObject({ code: z.string(), text: z.string() })),
  generated_at: Instant,
  omk_version: z.string().nullable(),
  /** What the work started from. Not named as in the subject: nothing here is to be mistaken for the result. */
  base: z.looseObject({ commit: z.string().nullable(), tree: z.string().nullable() }),
  changed_files: z.array(z.string()),
  gates: z.array(StatedGate),
  /** The gates on a fresh checkout of the result. */
  clean_checkout: z.string(),
  oracle: z
    .looseObject({
      kind: z.string(),
      status: z.string(),
      checks: z.array(z.looseObject({ name: z.string(), status: z.string() })),
    })
    .nullable(),
  acceptance: z.looseObject({ status: z.string(), summary: z.string(), decided_at: Instant }).nullable(),
  /** What a person let pass, with the reason. */
  waivers: z.array(z.looseObject({ kind: z.string(), what: z.string(), reason: z.string() })),
  engine: z.looseObject({ name: z.string().nullable(), version: z.string().nullable() }),
  sandbox: z.string().nullable(),
  /** SHA-256 of the bytes of `proof.json`, which names every evidence file. */
  proof_sha256: Sha256,
  /** The last event before the proof. */
  log: z.looseObject({ seq: z.int().min(0), digest: z.string() }).nullable(),
});

/** `statement.json`. */
export const Statement = z.looseObject({
  _type: z.literal(STATEMENT_TYPE),
  /** The result: its tree, and the commit that keeps the tree for good. */
  subject: z.array(
    z.looseObject({
      name: z.string(),
      digest: z.union([z.strictObject({ gitTree: GitObject }), z.strictObject({ gitCommit: GitObject })]),
    }),
  ),
  predicateType: z.literal(PREDICATE_TYPE),
  predicate: GoalProofPredicate,
});
export type Statement = z.infer<typeof Statement>;
