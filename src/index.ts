/** The library entry; `docs/library.md` shows how it is used. */
export { OmkError, type ErrorCode } from "./errors.ts";
export {
  cancelGoal,
  createGoal,
  executeGoal,
  FileSystemGoalStateStore,
  listGoals,
  openOmk,
  pauseGoal,
  planGoal,
  resolveGoal,
  resolveGoalProof,
  resumeGoal,
  reviewGoal,
  TeamRunner,
  verifyGoal,
  type Approvals,
  type Asked,
  type GoalRequest,
  type GoalResult,
  type Omk,
  type OmkOptions,
  type StepRequest,
  type TeamBudget,
  type TeamRequest,
  type TeamResult,
  type TeamSummary,
} from "./library.ts";
export {
  GoalStateError,
  InMemoryGoalStateStore,
  type GoalStateProblem,
  type GoalStateStore,
  type StoredGoal,
  type UnreadableState,
} from "./goal/state-store.ts";
export {
  footprintOf,
  normalizedPath,
  OwnershipMap,
  type Conflict,
  type Footprint,
} from "./scheduler/ownership.ts";
export { ChangedFiles, TaskPolicy, TaskProposal } from "./format/agent-run.ts";
export { BudgetCheckpoint } from "./format/budget.ts";
export { Decision } from "./format/decision.ts";
export { Event } from "./format/event.ts";
export { GateResult, GatesFile } from "./format/gate.ts";
export { Goal, GoalPhase, GoalStatus } from "./format/goal.ts";
export { NumberText } from "./format/json.ts";
export { Plan, PlannedTask } from "./format/plan.ts";
export { Proof, RunProof } from "./format/proof.ts";
export { RunManifest, Task } from "./format/run.ts";
export { jsonSchema, schemaNames } from "./format/schemas.ts";
export { checkTaskGraph, GoalTask, TaskGraph } from "./format/task-graph.ts";
export { TeamState } from "./format/team.ts";
export { Attempt, Work } from "./format/work.ts";
