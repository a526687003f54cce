/** Making a goal: everything is checked before anything is written, and the first event carries the whole goal. */
import { join } from "node:path";

import {
  approvalKeys,
  refuseUnasking,
  type ApprovalFlags,
  type RecordedApprovals,
} from "../approval/settings.ts";
import { parseDuration } from "../budget/duration.ts";
import { OmkError } from "../errors.ts";
import type { GateSet } from "../format/gate.ts";
import type { DeliveryPolicy, Goal, GoalKind, MergePolicy } from "../format/goal.ts";
import { instantOf } from "../format/stamp.ts";
import { engineForRole, refuseSecretEngine } from "../engine/select.ts";
import { loadGates, refuseSecrets, refuseUnknownGates } from "../gate/definitions.ts";
import { stateFolder } from "../store/state-root.ts";
import { checkPositive } from "./budget.ts";
import { withAgentVerify } from "./agent-verify.ts";
import { checkAllowList } from "./allowed-secrets.ts";
import { checkDeliveryTarget } from "./github-target.ts";
import { checkGoalText, checkKind, goalKind, normalizeGoal, testability } from "./intake.ts";
import { attemptsAllowed } from "./next-step.ts";
import { change, OpenGoal, type GoalPorts } from "./open.ts";
import { writeReaderFiles } from "./reader-files.ts";
import { concludeGoal } from "./proof.ts";
import { isSliced } from "./sliced.ts";
import { checkLocalTarget } from "./sliced-base.ts";
import { detectSurface, keepsBehaviour, surfacePaths, type Surface } from "./surface.ts";
import { scaffoldArtifacts, scaffoldGraph, scaffoldWork } from "./scaffold.ts";
import { TASK } from "./task-ids.ts";

/** What `goal create`, `plan` and `run` ask for. */
export interface GoalRequest {
  text: string;
  projectDir: string;
  untilReady?: boolean;
  autoAccept?: boolean;
  engine?: string;
  gates?: readonly string[];
  maxAttempts?: number;
  budgetTime?: string;
  budgetTokens?: number;
  budgetUsd?: number;
  maxAgents?: number;
  policy?: DeliveryPolicy;
  mergePolicy?: MergePolicy;
  sliceExecution?: boolean;
  enforceProtection?: boolean;
  /** Lays an accepted result over the files of the project directory, where attempts work in folders of their own. */
  apply?: boolean;
  noLlmPlanner?: boolean;
  plannerTokenBudget?: number;
  /** What kind of goal it is, where its words would tell another. */
  kind?: string;
  mayChange?: readonly string[];
  allowRed?: readonly string[];
  agentReview?: boolean;
  approvals?: ApprovalFlags;
}

const MAX_ATTEMPTS_LIMIT = 20;
const MAX_AGENTS_LIMIT = 64;
/** In the configuration, who does the work of a goal. */
export const GOAL_ROLE = "executor";

/** A request that can be made a goal. */
export interface CheckedRequest extends GoalRequest {
  /** Without secrets. */
  text: string;
  normalized: string;
  /** Its real path. */
  projectDir: string;
  gateSet: GateSet;
  /** Of a goal that must keep what the project does. */
  surface?: Surface;
  /** As the goal records it. */
  approvalKeys: RecordedApprovals;
}

/** Checks everything about a request; bad input is refused before anything exists. */
export function checkRequest(request: GoalRequest, ports: GoalPorts): CheckedRequest {
  const text = ports.redactor.text(checkGoalText(request.text));
  const normalized = normalizeGoal(text);
  checkLimits(request);
  const projectDir = ports.disk.realPath(request.projectDir);
  if (projectDir === undefined) {
    throw new OmkError("usage.invalid", `${request.projectDir} is not there.`, {
      hint: "Run omk in the folder of the project.",
    });
  }
  const gateSet = loadGates({ projectDir, flags: [...(request.gates ?? [])] }, ports);
  refuseSecrets(gateSet, ports.redactor);
  checkAllowList(projectDir, ports);
  refuseUnknownGates(gateSet, request.allowRed ?? [], "--allow-red");
  const kind = request.kind === undefined ? goalKind(normalized) : checkKind(request.kind);
  const surface = keepsBehaviour(kind) ? detectSurface(surfacePaths(projectDir, ports)) : undefined;
  const settings = ports.settings(projectDir);
  const keys = approvalKeys(request.approvals ?? {}, settings);
  // Looks at the engine's name and files now: a goal that cannot be worked on is better refused than made.
  const chosen: { engine?: string } = {};
  if (request.engine !== undefined || request.untilReady === true) {
    const wanted = engineForRole(GOAL_ROLE, request.engine, settings);
    refuseSecretEngine(wanted, ports.redactor);
    const engine = ports.engineNamed(wanted, projectDir);
    refuseUnasking(engine, keys);
    chosen.engine = engine.recordedAs ?? wanted;
  }
  const checked = { ...request, ...chosen, text, normalized, projectDir, gateSet, approvalKeys: keys };
  return surface === undefined ? checked : { ...checked, surface };
}

/** Makes a goal and returns it under this process's control. */
export async function createGoal(
  request: CheckedRequest,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<OpenGoal> {
  // Nobody is to be paid for a result that cannot be delivered.
  const policy = request.policy ?? "local";
  await checkDeliveryTarget(request.projectDir, policy, ports, signal);
  const { sliceExecution: slice_execution = false, maxAgents: max_agents } = request;
  if (policy === "local" && isSliced({ slice_execution, max_agents, delivery_policy: policy }))
    await checkLocalTarget(request.projectDir, ports, signal);
  const folder = await stateFolder(ports.root, "goals", ports);
  const now = ports.clock.now();
  const id = goalId(now, ports.random.uuid());
  const open = await OpenGoal.open(
    id,
    join(folder, id),
    request.untilReady === true ? "goal run" : "goal create",
    ports,
    signal,
  );
  try {
    const { goal, question } = newGoal(id, request, now, open.folder);
    await recordCreation(open, goal, question, ports);
    return open;
  } catch (error) {
    await open.journal.abandon();
    throw error;
  }
}

function checkLimits(request: GoalRequest): void {
  if (request.budgetTime !== undefined) parseDuration(request.budgetTime, "--budget-time");
  checkPositive("--budget-tokens", request.budgetTokens, "be greater than zero", Number.isSafeInteger);
  checkPositive("--budget-usd", request.budgetUsd, "be a positive, finite number", Number.isFinite);
  checkPositive("--max-agents", request.maxAgents, "be greater than zero", Number.isSafeInteger);
  checkPositive(
    "--planner-token-budget",
    request.plannerTokenBudget,
    "be greater than zero",
    Number.isSafeInteger,
  );
  checkPositive("--max-attempts", request.maxAttempts, "be greater than zero", Number.isSafeInteger);
  if ((request.maxAttempts ?? 1) > MAX_ATTEMPTS_LIMIT) {
    throw new OmkError("usage.invalid", `--max-attempts must be at most ${MAX_ATTEMPTS_LIMIT}.`, {
      hint: "More attempts rarely help; a clearer goal or a smaller one does.",
    });
  }
  if ((request.maxAgents ?? 1) > MAX_AGENTS_LIMIT) {
    throw new OmkError("usage.invalid", `--max-agents must be at most ${MAX_AGENTS_LIMIT}.`, {
      hint: "Each agent is a process of its own, with a folder of its own to work in.",
    });
  }
  const policy = request.policy ?? "local";
  if (request.apply === true && policy !== "local") {
    throw new OmkError("usage.invalid", `--apply does not go with --policy ${policy}.`, {
      hint: "The result goes to pull requests then; `--policy local` puts it on a branch, and with --apply into your files.",
    });
  }
  if (request.enforceProtection === true && request.mergePolicy !== "gated") {
    throw new OmkError("usage.invalid", "--enforce-protection needs --merge-policy gated.", {
      hint: "The protection of the base branch is added to before omk merges; without a merge nothing would read it.",
    });
  }
}

/** `goal-YYYYMMDD-HHMMSS-mmm-xxxxxxxx`, as 0.5.0 made them. */
function goalId(now: Date, uuid: string): string {
  const [date = "", time = ""] = now.toISOString().split("T");
  const clock = time.replace("Z", "").replaceAll(":", "").replace(".", "-");
  return `goal-${date.replaceAll("-", "")}-${clock}-${uuid.slice(0, 8)}`;
}

function newGoal(
  id: string,
  request: CheckedRequest,
  now: Date,
  folder: string,
): { goal: Goal; question: string | undefined } {
  const { text, normalized } = request;
  const created_at = instantOf(now);
  const verdict = testability(normalized);
  const question = verdict.testable ? undefined : verdict.question;
  const kind: { kind?: GoalKind } = request.kind === undefined ? {} : { kind: checkKind(request.kind) };
  const goal: Goal = {
    version: 1,
    goal_id: id,
    original_goal: text,
    normalized_goal: normalized,
    status:
      question !== undefined ? "blocked_on_human" : request.untilReady === true ? "running" : "not_ready",
    phase: "proof",
    created_at,
    updated_at: created_at,
    until_ready: request.untilReady ?? false,
    ...(request.budgetTime !== undefined && { budget_time: request.budgetTime.trim() }),
    ...(request.budgetTokens !== undefined && { budget_tokens: request.budgetTokens }),
    ...(request.budgetUsd !== undefined && { budget_usd: request.budgetUsd }),
    ...(request.maxAgents !== undefined && { max_agents: request.maxAgents }),
    cost_tracker_path: join(folder, "cost.jsonl"),
    terminal_criteria: { proof_required: true, gates_required: true, human_blockers_stop: true },
    delivery_policy: request.policy ?? "local",
    merge_policy: request.mergePolicy ?? "disabled",
    slice_execution: request.sliceExecution ?? false,
    artifacts: scaffoldArtifacts({ normalized_goal: normalized, ...kind }, created_at),
    ...(question !== undefined && { failure: { reason: question, recorded_at: created_at } }),
    ...(request.apply === true && { apply: true }),
    ...(request.enforceProtection === true && { enforce_protection: true }),
    state_dir: folder,
    project_dir: request.projectDir,
    gates: request.gateSet,
    ...(request.engine !== undefined && { engine: request.engine }),
    max_attempts: attemptsAllowed({ max_attempts: request.maxAttempts }),
    auto_accept: request.autoAccept ?? false,
    ...request.approvalKeys,
    no_llm_planner: request.noLlmPlanner ?? false,
    ...kind,
    ...(request.surface && { surface: request.surface }),
    ...(request.plannerTokenBudget !== undefined && { planner_token_budget: request.plannerTokenBudget }),
    ...(request.mayChange?.length && { may_change: [...request.mayChange] }),
    ...(request.allowRed?.length && { allow_red: [...request.allowRed] }),
    ...(request.agentReview === true && { agent_review: true }),
    reason_code: question === undefined ? "agent_not_executed" : "not_testable",
  };
  return { goal, question };
}

/** One write: the first event carries the whole goal, so whatever part of the write survives a crash is a goal. */
async function recordCreation(
  open: OpenGoal,
  goal: Goal,
  question: string | undefined,
  ports: GoalPorts,
): Promise<void> {
  const plain = scaffoldGraph(open.id, goal.created_at, "pending");
  const graph = goal.agent_review === true ? withAgentVerify(plain) : plain;
  for (const task of graph.tasks) {
    if (task.id === TASK.execute) task.max_retries = attemptsAllowed(goal) - 1;
  }
  const task = (task_id: string, title: string) => {
    const payload = { task_id, worker_id: "goal-controller" };
    return [
      { kind: "task_started", actor: "goal-controller", payload: { ...payload, title } },
      { kind: "task_completed", actor: "goal-controller", payload: { ...payload, output_summary: title } },
    ];
  };
  await open.record(
    {
      kind: "run_started",
      actor: null,
      payload: { mode: "goal", project_dir: goal.project_dir, description: goal.original_goal },
      changes: [
        { file: "goal.json", set: goal },
        change("task-graph.json", graph),
        change("work.json", scaffoldWork()),
      ],
    },
    ...graph.tasks.filter(({ status }) => status === "done").flatMap(({ id, title }) => task(id, title)),
    {
      kind: "goal_created",
      actor: "goal-controller",
      payload: { status: goal.status, phase: goal.phase, gates: goal.gates?.source ?? "none" },
    },
  );
  await writeReaderFiles(open, ports);
  const ending =
    question === undefined
      ? undefined
      : { status: goal.status, reasonCode: "not_testable", reason: question };
  const goesOn = goal.until_ready && question === undefined;
  await concludeGoal(open, undefined, ending, ports, { goesOn });
}
