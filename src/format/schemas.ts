/** Every format by name, for `omk schema`. Names are those of the files, without their ending. */
import { z } from "zod";

import {
  Assignment,
  ChangedFiles,
  Heartbeat,
  OutboxLine,
  StaleWorkerCleanup,
  TaskPolicy,
  WireEvent,
  WorkerSpec,
} from "./agent-run.ts";
import { ApprovalAnswer, ApprovalList, ApprovalView } from "./approval.ts";
import { BudgetCheckpoint, CostFile } from "./budget.ts";
import { ClaimRecord } from "./claim.ts";
import { CommandRequest } from "./command.ts";
import { Config } from "./config.ts";
import { Decision } from "./decision.ts";
import { DoctorReport } from "./doctor.ts";
import { Event } from "./event.ts";
import { Failure } from "./failure.ts";
import { GatesFile } from "./gate.ts";
import { Goal } from "./goal.ts";
import { ResumedGoals } from "./resumed.ts";
import { IntegrationEvidence, IntegratorMetadata, MergeConflict, PolicyBlocker } from "./integration.ts";
import { Proof, RunProof } from "./proof.ts";
import { RescueList, RescuePruned, RescueRestored, RescueView } from "./rescue.ts";
import { RunManifest, Task } from "./run.ts";
import { Statement } from "./statement.ts";
import { TaskGraph } from "./task-graph.ts";
import { RoleFrontMatter } from "./role.ts";
import { SlicePlan } from "./slice-plan.ts";
import { ImportMark, TeamExport } from "./team-export.ts";
import { TeamWork } from "./team-work.ts";
import { TeamState } from "./team.ts";
import { TrustRecord } from "./trust.ts";
import { Work } from "./work.ts";

interface Format {
  schema: z.ZodType;
  /** What it describes, in one sentence. */
  describes: string;
}

const FORMATS: ReadonlyMap<string, Format> = new Map([
  ["goal", { schema: Goal, describes: "goal.json: what is wanted and how it stands" }],
  ["resumed-goals", { schema: ResumedGoals, describes: "what omk goal resume --auto --json prints" }],
  ["task-graph", { schema: TaskGraph, describes: "task-graph.json: the goal's tasks" }],
  [
    "slice-plan",
    { schema: SlicePlan, describes: "which tasks of a goal become slices, and what waits for what" },
  ],
  ["work", { schema: Work, describes: "work.json: what was done for the goal so far" }],
  ["proof", { schema: Proof, describes: "proof.json of a goal" }],
  ["event", { schema: Event, describes: "one line of events.jsonl" }],
  ["gates", { schema: GatesFile, describes: ".omk/gates.toml, as the JSON it stands for" }],
  [
    "config",
    { schema: Config, describes: "config.toml of the user and of a project, as the JSON it stands for" },
  ],
  ["trust", { schema: TrustRecord, describes: "trust/<digest>.json: what is trusted of one project" }],
  ["decision", { schema: Decision, describes: "one line of decisions.jsonl" }],
  ["budget-checkpoint", { schema: BudgetCheckpoint, describes: "one line of budget-checkpoints.jsonl" }],
  ["cost", { schema: CostFile, describes: "cost.jsonl of a goal and costs.json of the state folder" }],
  ["failure", { schema: Failure, describes: "failure.json of a goal or of a run" }],
  ["claim", { schema: ClaimRecord, describes: "controller/<n>.json" }],
  ["command", { schema: CommandRequest, describes: "commands/<id>.json" }],
  ["task-policy", { schema: TaskPolicy, describes: "task-policy.json and agent-task-proposals.json" }],
  ["changed-files", { schema: ChangedFiles, describes: "changed-files.json of an agent's run" }],
  ["worker-spec", { schema: WorkerSpec, describes: "worker-spec.json" }],
  ["inbox", { schema: Assignment, describes: "one line of inbox.jsonl" }],
  ["outbox", { schema: OutboxLine, describes: "one line of outbox.jsonl" }],
  ["heartbeat", { schema: Heartbeat, describes: "heartbeat.json" }],
  ["wire-event", { schema: WireEvent, describes: "one line of wire-events.jsonl" }],
  ["stale-worker-cleanup", { schema: StaleWorkerCleanup, describes: "stale-worker-cleanup.json" }],
  [
    "integration",
    { schema: IntegrationEvidence, describes: "integrator-accept.json and integrator-reject.json" },
  ],
  ["integrator-metadata", { schema: IntegratorMetadata, describes: "integrator-metadata.json" }],
  [
    "until-ready-blocker",
    { schema: PolicyBlocker, describes: "until-ready-blocker.json and manual-integration-blocker.json" },
  ],
  ["merge-conflict", { schema: MergeConflict, describes: "merge-conflict-<task>.json" }],
  ["team-state", { schema: TeamState, describes: "team-state.json" }],
  ["team-work", { schema: TeamWork, describes: "team-work.json: what was done for a team run so far" }],
  ["team-export", { schema: TeamExport, describes: "the file omk team export writes" }],
  ["import", { schema: ImportMark, describes: "import.json of an imported run" }],
  ["role", { schema: RoleFrontMatter, describes: "what stands between the --- lines of .omk/roles/<id>.md" }],
  ["manifest", { schema: RunManifest, describes: "manifest.json of a run" }],
  ["tasks", { schema: Task, describes: "one line of tasks.jsonl of a run" }],
  ["doctor", { schema: DoctorReport, describes: "what omk doctor --json prints" }],
  ["approval", { schema: ApprovalView, describes: "approvals/<id>.json, with whose request it is" }],
  ["approvals", { schema: ApprovalList, describes: "what omk approvals list --json prints" }],
  ["approval-answer", { schema: ApprovalAnswer, describes: "what omk approvals answer --json prints" }],
  ["rescues", { schema: RescueList, describes: "what omk rescue list --json prints" }],
  ["rescue", { schema: RescueView, describes: "what omk rescue show --json prints" }],
  ["rescue-restored", { schema: RescueRestored, describes: "what omk rescue restore --json prints" }],
  ["rescue-pruned", { schema: RescuePruned, describes: "what omk rescue prune --json prints" }],
  ["statement", { schema: Statement, describes: "statement.json of an exported proof" }],
  ["run-proof", { schema: RunProof, describes: "proof.json of a team run" }],
]);

/** The names `jsonSchema` knows. */
export function schemaNames(): string[] {
  return [...FORMATS.keys()];
}

/** JSON Schema (draft 2020-12) of what omk accepts under this name; undefined for a name it does not know. */
export function jsonSchema(name: string): Record<string, unknown> | undefined {
  const format = FORMATS.get(name);
  if (!format) return undefined;
  // What is read, not what reading gives: keys with a default may be missing in a file. Numbers that are kept as text
  // are plain numbers in JSON; their schemas say so themselves.
  const schema = z.toJSONSchema(format.schema, { io: "input", unrepresentable: "any" });
  return { title: name, description: format.describes, ...schema };
}
