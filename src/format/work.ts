/** `work.json`: what the loop has done for a goal so far, so that a killed run goes on where it stood. */
import { z } from "zod";

import { GateResult, GateSet, GateVerdict } from "./gate.ts";
import { Instant } from "./instant.ts";
import { OracleEvidence } from "./integration.ts";
import { DeliveryWork } from "./delivery.ts";
import { Plan } from "./plan.ts";
import {
  AddedTests,
  BaseCopies,
  ChangedDefinition,
  CleanCheckout,
  EvidenceFile,
  ProtectedInput,
  ReviewArtifact,
  ReviewFinding,
  Usage,
} from "./proof.ts";
import { SliceWork } from "./slices.ts";
import { SteeringWork } from "./steering.ts";

/** How one path differs between two trees. */
export const TreeChange = z.looseObject({
  path: z.string(),
  kind: z.enum(["added", "modified", "deleted", "type_changed"]),
  old_mode: z.string().nullable(),
  new_mode: z.string().nullable(),
});

/** One turn of an agent on a task. */
export const Attempt = z.looseObject({
  task_id: z.string(),
  /** Counts from 1; an interrupted attempt keeps its number. */
  number: z.int().min(1),
  /** The `seq` of the event that claimed the task. */
  fence: z.int().min(0),
  run_key: z.string(),
  spawn_id: z.string(),
  /** Who does it, in events; the attempts of one goal side by side have different ones. */
  worker: z.string().optional(),
  status: z.enum(["running", "ended", "interrupted"]),
  /** How the turn ended, and the class of its failure. */
  outcome: z.string().nullable(),
  outcome_code: z.string().nullable(),
  /** When the provider takes requests again, if it said so. */
  resets_at: z.string().optional(),
  start_tree: z.string(),
  result_tree: z.string().nullable(),
  started_at: Instant,
  ended_at: Instant.nullable(),
  summary: z.string().nullable(),
  usage: Usage.nullable(),
  /** What the agent said it is; absent when it never came to that. */
  agent: z.looseObject({ name: z.string().nullable(), version: z.string().nullable() }).optional(),
  /** Whether it used up one of the attempts that the goal allows. */
  counted: z.boolean(),
  /** In a folder of its own: the commit that the folder held at first. Trees are of the project, also where it is a part of a repository. */
  start_commit: z.string().optional(),
  /** The project once its set-up had run in the folder: absent while no agent was there. */
  prepared_tree: z.string().optional(),
  /** When its turn was over, and its folder was about to be saved. */
  left_at: Instant.optional(),
  /** The gates that ran on its result before that was taken; what they said in full is in the logs of the run. */
  gates: z
    .looseObject({
      run: z.string(),
      results: z.array(
        z.looseObject({ name: z.string(), verdict: GateVerdict.optional(), duration_ms: z.int().min(0) }),
      ),
    })
    .optional(),
  /**
   * What the folder held at the end of the turn, under `refs/omk/rescue/`; absent until it was saved. What lies there later
   * was written by gates, and is nobody's work. `unsaved`: what no commit could hold.
   */
  rescue: z
    .looseObject({ ref: z.string(), commit: z.string(), unsaved: z.array(z.string()).optional() })
    .optional(),
});
export type Attempt = z.infer<typeof Attempt>;

/** A turn of the engine that belongs to no task: planning, or reviewing. It only reads. */
export const HelperTurn = z.looseObject({
  role: z.enum(["plan", "review"]),
  /** What it was about, e.g. the section that a reviewer looks at. */
  task: z.string(),
  /** The `seq` of the event that began it. */
  fence: z.int().min(0),
  spawn_id: z.string(),
  status: z.enum(["running", "ended", "interrupted"]),
  outcome: z.string().nullable(),
  started_at: Instant,
  ended_at: Instant.nullable(),
  usage: Usage.nullable(),
  /** The project as it was before the turn; turns of earlier versions have none. */
  start_tree: z.string().optional(),
  /** Paths that changed while it was only to read; absent until somebody looked. */
  changed: z.array(z.string()).optional(),
  /** Paths that it wrote in a folder of omk's own, where nothing of it stays. */
  discarded: z.array(z.string()).optional(),
});
export type HelperTurn = z.infer<typeof HelperTurn>;

/** Something that would keep a goal from being ready and that a person let pass, with the reason. */
export const Waiver = z.looseObject({
  /**
   * `change`: a path outside the write sets, or a protected one. `finding`: a finding of the review, by its id.
   * `gates`: the gates that were found in the result.
   */
  kind: z.enum(["change", "finding", "gates"]),
  /** The path, the finding's id, or the digest of the gates. */
  what: z.string(),
  /** The result it was given for: what an agent makes of it later was not looked at. */
  tree: z.string().optional(),
  reason: z.string(),
  at: Instant,
});
export type Waiver = z.infer<typeof Waiver>;

/** How the work was planned. */
export const RecordedPlan = z.looseObject({
  /** Who planned: the engine, or omk's own rules. */
  source: z.enum(["engine", "rules"]),
  /** Why the rules planned although an engine was wanted. */
  fallback: z.string().optional(),
  engine: z.string().optional(),
  /** What the engine planned, as `format/plan.ts` types it. */
  plan: Plan.optional(),
  /** Files that the goal is likely about, best first. */
  relevant_files: z.array(z.string()).optional(),
  /** What was decided about the plan before it was taken. */
  notes: z.array(z.string()).optional(),
});
export type RecordedPlan = z.infer<typeof RecordedPlan>;

/** What a command of the old program did, recorded on the base: what the result must do, too. */
export const GoldenObservation = z.looseObject({
  name: z.string(),
  /** A line for `sh`. */
  command: z.string(),
  /** Names of variables that the command gets besides those that every child gets. */
  env: z.array(z.string()),
  timeout_secs: z.int().min(1),
  /** Paths that the command writes, relative to the project directory. */
  files: z.array(z.string()),
  /** Regular expressions; what they match is taken for equal. */
  ignore: z.array(z.string()),
  /** Where `stdout.txt`, `stderr.txt`, `exit_code.txt`, `files/` and, if there was one, `stdin.txt` lie. */
  folder: z.string(),
  has_stdin: z.boolean(),
  /** The tree it was recorded on. */
  tree: z.string(),
  /** Whether it runs on the files of the tree alone, or beside a copy of what git ignores in the project. */
  ran_in: z.enum(["clean", "with_ignored"]).optional(),
  at: Instant,
  /** The files of the folder, by digest. */
  evidence: z.array(EvidenceFile),
  /** Differences that are wanted, each by the field that differs. */
  intentional: z.array(z.looseObject({ field: z.string(), reason: z.string() })).default([]),
});
export type GoldenObservation = z.infer<typeof GoldenObservation>;

/** A field in which a result differs from an observation; `<missing>` stands for a file that one side lacks. */
export const GoldenMismatch = z.looseObject({
  /** `stdout`, `stderr`, `exit_code`, or `files/<path>`. */
  field: z.string(),
  expected: z.string(),
  actual: z.string(),
  /** Why the difference is wanted, if it is. */
  intentional: z.string().optional(),
});
export type GoldenMismatch = z.infer<typeof GoldenMismatch>;

/** All observations compared with one tree. */
export const GoldenComparison = z.looseObject({
  tree: z.string(),
  /** Digest of the observations, with what of them is ignored or wanted. */
  observations: z.string(),
  results: z.array(z.looseObject({ name: z.string(), mismatches: z.array(GoldenMismatch) })),
});
export type GoldenComparison = z.infer<typeof GoldenComparison>;

/** What one role of reviewer said of the result. */
export const RoleReview = z.looseObject({
  role: z.enum(["architect", "code", "test", "security"]),
  /** `unusable`: it was asked, and no answer could be understood. */
  answer: z.enum(["usable", "unusable"]),
  /** Why there is none. */
  because: z.string().optional(),
  summary: z.string().optional(),
  findings: z.array(ReviewFinding),
  /** The turn that said it. */
  fence: z.int().min(0),
  at: Instant,
});
export type RoleReview = z.infer<typeof RoleReview>;

/** What the engine, reading only, said of one result. */
export const AgentReview = z.looseObject({
  tree: z.string(),
  /** Counts the results that were reviewed. */
  round: z.int().min(1),
  roles: z.array(RoleReview),
});
export type AgentReview = z.infer<typeof AgentReview>;

/** The gates on one tree, and what followed from them. */
export const GateWork = z.looseObject({
  tree: z.string(),
  /** Names the folder of the run's logs. */
  run: z.string(),
  results: z.array(GateResult),
  /** Null when no protected files were touched. */
  base_copies: BaseCopies.nullable().default(null),
  /** Null when the change adds no tests, or a gate that turned green says enough. */
  added_tests: AddedTests.nullable().default(null),
  /** The gates on a fresh checkout of the tree; null or absent when that was not tried. */
  clean_checkout: CleanCheckout.nullable().optional(),
  /** What the change touches of that which decides how gates judge. */
  protected_inputs: z.array(ProtectedInput).optional(),
  /** Of the definitions that ran. */
  digest: z.string().optional(),
  /** Paths that the gates changed. */
  side_effects: z.array(z.string()),
});
export type GateWork = z.infer<typeof GateWork>;

/** How the user's own project reaches into folders that have what git ignores there. */
export const Surroundings = z.looseObject({
  /** Files that lead to the project, and folders too large to be watched. */
  points_back: z.array(z.string()),
  /** Why not everything was searched for such files. */
  incomplete: z.string().optional(),
  /** What the folders share with the project, and what tells whether it has changed. */
  shared: z.array(z.object({ path: z.string(), digest: z.string() })),
  /** Shared files that were changed since. */
  changed: z.array(z.string()),
});
export type Surroundings = z.infer<typeof Surroundings>;

/** `work.json`. */
export const Work = z.looseObject({
  version: z.int().min(1),
  seq: z.int().min(0).optional(),
  /** What the work starts from; `position` changes when another hand moves HEAD or the index. */
  base: z.looseObject({ tree: z.string(), position: z.string(), commit: z.string().nullable() }).nullable(),
  baseline: z.looseObject({ tree: z.string(), gates: z.array(GateResult) }).nullable(),
  attempts: z.array(Attempt),
  /** Turns of the engine beside its tasks. */
  helper_turns: z.array(HelperTurn).default([]),
  /** Absent until the goal is planned; goals of earlier versions have none. */
  plan: RecordedPlan.optional(),
  /** Paths that the work changed outside its tasks' write sets. */
  outside_write_sets: z.array(z.string()).default([]),
  /** The task of whose attempt each of them was changed; one without was changed by nobody's. Absent in earlier versions. */
  strayed_by: z.record(z.string(), z.string()).optional(),
  waivers: z.array(Waiver).default([]),
  /** How many attempts were made before a person last gave the goal fresh ones. */
  attempts_from: z.int().min(0).default(0),
  /** The fence of the attempt whose failure outside a person has answered by resuming. */
  resumed_fence: z.int().min(0).optional(),
  /** The fence of the last turn that was only to read and whose changes a person has answered by resuming. */
  changes_seen: z.int().min(0).optional(),
  /** What the work has left so far, and how it differs from the base. */
  result: z.looseObject({ tree: z.string(), changed_files: z.array(TreeChange) }).nullable(),
  gates: GateWork.nullable(),
  /** Gates of earlier results, newest last: a result that comes back is not judged again. */
  earlier_gates: z.array(GateWork).optional(),
  /** Where there were none before the work: the gates that the result at `tree` suggests. */
  candidate_gates: GateSet.extend({ tree: z.string() }).optional(),
  /** The gates that the result would give, where the change makes them others than the goal's. */
  changed_gates: GateSet.extend({ tree: z.string(), changes: z.array(ChangedDefinition) }).optional(),
  /** What a fresh checkout of the base showed: whether one can be used to judge. */
  clean_baseline: CleanCheckout.extend({ tree: z.string() }).optional(),
  /** Digests of files that gates run and that no tree holds, as they were before the work. */
  gate_programs: z.record(z.string(), z.string()).optional(),
  /** How long each gate took in its last runs, in milliseconds, oldest first. */
  gate_durations: z.record(z.string(), z.array(z.number().min(0))).optional(),
  /** Files of the result that were not as they were checked when the goal was to be concluded. */
  drift: z.looseObject({ tree: z.string(), paths: z.array(z.string()) }).optional(),
  /** Every path that gates ever wrote into the project. */
  side_effects: z.array(z.string()).default([]),
  review: z
    .looseObject({
      tree: z.string(),
      /** The gate run it judged: after another one it says nothing. */
      gates_run: z.string().nullable().optional(),
      sections: z.array(ReviewArtifact),
      oracle: OracleEvidence,
      at: Instant,
    })
    .nullable(),
  /** With `agent_review`: the newest; the sections of the review take it up. */
  agent_review: AgentReview.optional(),
  acceptance: z
    .looseObject({
      decision: z.enum(["accepted", "rejected"]),
      summary: z.string(),
      decided_at: Instant,
      /** `omk` where it was given in advance, `omk-cli` where a person gave it. */
      by: z.string().optional(),
      /** What was accepted: for another tree the decision says nothing. */
      tree: z.string(),
      /** Checks a person vouches for, each with the statement. */
      attested: z.record(z.string(), z.string()).default({}),
      artifact_path: z.string(),
      missing_evidence: z.array(z.string()),
    })
    .nullable(),
  /** What was recorded of the old program, in the order of recording. */
  golden: z.array(GoldenObservation).optional(),
  /** Of the newest tree that was reviewed. */
  golden_comparison: GoldenComparison.optional(),
  /** The command that takes the work back, to be run in the project directory. */
  undo: z.string().optional(),
  /** Where attempts work in folders of their own. */
  slices: SliceWork.optional(),
  /** What of the user's project reaches into the folders of attempts, and into the one where the merged result is judged. */
  surroundings: Surroundings.optional(),
  /** What of the user's repository steers git there, as the work began. */
  steering: SteeringWork.optional(),
  /** How far the accepted result has come on its way to where the goal's policy wants it. */
  delivery: DeliveryWork.optional(),
  /** Every evidence file so far. */
  evidence: z.array(EvidenceFile).default([]),
  /** How long the goal has worked; it does not count while it rests. */
  active_ms: z.number().min(0).default(0),
});
export type Work = z.infer<typeof Work>;
