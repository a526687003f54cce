/** What an agent proposes in a turn: read, admitted or refused, kept as evidence, and added to the graph. */
import { join, relative } from "node:path";

import type { Turn } from "../engine/engine.ts";
import { TURN_MS_MAX } from "../engine/turn.ts";
import { TaskProposal, type TaskPolicy } from "../format/agent-run.ts";
import type { DocumentChange } from "../format/event.ts";
import type { Goal } from "../format/goal.ts";
import { renderDocument, tryJson } from "../format/json.ts";
import { endOfBrackets } from "../format/json-in-text.ts";
import { problemsOf } from "../format/problems.ts";
import type { GoalTask } from "../format/task-graph.ts";
import type { Attempt, Work } from "../format/work.ts";
import type { NewEvent } from "../store/event-log.ts";
import { keepEvidence, type EvidenceFile } from "../store/evidence.ts";
import { admit, tasksToAdd, type Admission, type BudgetSnapshot } from "./admission.ts";
import { workerOf } from "./agent-tasks.ts";
import { budgetLimits, remainingMs, spent } from "./budget.ts";
import { attemptsAllowed } from "./next-step.ts";
import { changeTask, type GoalPorts, type OpenGoal } from "./open.ts";
import { TASK } from "./task-ids.ts";

/** What stands before a proposal in an agent's own text. */
const MARKER = "OMK_TASK_PROPOSAL:";

/** What an agent is told about proposing, as one of the rules of its turn. */
export const PROPOSAL_RULE =
  `- Do your own work yourself. Work that turned out to be needed beyond it may be proposed at the end: \`${MARKER}\` and a ` +
  "JSON object with `id` (short, of lower-case letters and dashes), `title`, `description`, `write_set` (paths), " +
  "`acceptance` (a list) and `dependencies` (ids).";

/** How many proposals of one turn are looked at, and how long one may be. */
const READ_MAX = 100;
const PROPOSAL_CHARACTERS_MAX = 256 * 1024;
/** Of something that is no proposal, so much is told. */
const SHOWN_MAX = 1_000;

const FILE = "agent-task-proposals.json";
const CONTROLLER = "goal-controller";

/** Something that was meant to be a proposal and is none. */
export interface Malformed {
  reason: string;
  /** Its beginning. */
  text: string;
}

/** What is read of a turn. */
export interface ReadProposals {
  proposals: TaskProposal[];
  malformed: Malformed[];
}

/**
 * Takes what the agent proposed in its turn: the file with all of it, the events, and the accepted tasks in the graph. To be
 * called before the attempt's end is recorded: an attempt that is repeated after a crash proposes again, and what is in the
 * graph by then is refused as known; nothing is lost.
 */
export async function takeProposals(
  open: OpenGoal,
  attempt: Pick<Attempt, "task_id" | "number" | "fence">,
  turn: Pick<Turn, "text" | "proposals">,
  folder: string,
  ports: GoalPorts,
): Promise<EvidenceFile[]> {
  const read = readProposals(turn, ports.redactor);
  if (read.proposals.length + read.malformed.length === 0) return [];
  // Attempts side by side may propose the same: the second is judged by what the first has added.
  return open.inTurn(() => decideProposals(open, attempt, read, folder, ports));
}

async function decideProposals(
  open: OpenGoal,
  attempt: Pick<Attempt, "task_id" | "number" | "fence">,
  read: ReadProposals,
  folder: string,
  ports: GoalPorts,
): Promise<EvidenceFile[]> {
  const { proposals, malformed } = read;
  const { goal, graph, work } = open;
  const budget = budgetSnapshot(goal, work);
  const admission = admit(proposals, { tasks: graph.tasks, proposer: attempt.task_id, budget });
  const path = join(folder, FILE);
  const policy: TaskPolicy = {
    goal_id: open.id,
    run_id: `${open.id}-${attempt.task_id}`,
    max_agents: Math.max(1, goal.max_agents ?? 1),
    proposed_tasks: proposals,
    accepted_tasks: admission.accepted,
    rejected_tasks: admission.rejected.map((one) => ({ ...one })),
    ...(malformed.length > 0 && { malformed_proposals: malformed.map((one) => ({ ...one })) }),
  };
  const file = await keepEvidence(open, path, renderDocument(policy), ports);
  const events = [
    ...decisionEvents(read, admission, { ...attempt, budget }),
    ...additions(open, admission.accepted, attempt.task_id, relative(open.folder, path)),
  ];
  await open.record(...events);
  const { accepted, rejected } = admission;
  ports.tell(
    `proposed tasks: ${accepted.length} accepted${listed(accepted.map(({ id }) => id))}, ` +
      `${rejected.length + malformed.length} refused${listed([
        ...rejected.map(({ task, code }) => `${task.id === "" ? "?" : task.id.slice(0, 80)} ${code}`),
        ...malformed.map(() => "malformed"),
      ])}`,
  );
  return [file];
}

/** Writes what is dispatched, for whoever reads the attempt's folder: one task, accepted. */
export function writeTaskPolicy(
  open: OpenGoal,
  task: GoalTask,
  folder: string,
  ports: GoalPorts,
): Promise<EvidenceFile> {
  const { goal, work } = open;
  const seconds = Math.max(1, Math.floor(taskTurnMs(goal, work, task) / 1_000));
  const proposal: TaskProposal = {
    id: task.id,
    title: task.title,
    description: task.description,
    dependencies: task.dependencies,
    read_set: task.read_set,
    write_set: task.write_set,
    acceptance: task.acceptance,
    risk: task.risk,
    budget_secs: seconds,
    priority: task.id === TASK.execute || task.id.startsWith("goal-agent-implement-") ? 20 : 0,
  };
  const policy: TaskPolicy = {
    goal_id: open.id,
    run_id: `${open.id}-${task.id}`,
    max_agents: Math.max(1, goal.max_agents ?? 1),
    proposed_tasks: [proposal],
    accepted_tasks: [proposal],
    rejected_tasks: [],
  };
  return keepEvidence(open, join(folder, "task-policy.json"), renderDocument(policy), ports);
}

/** The longest that a turn at a task may take: what was planned for it, at most what the goal has left. */
export function taskTurnMs(goal: Goal, work: Work, task: Pick<GoalTask, "budget_secs">): number {
  return Math.min(TURN_MS_MAX, remainingMs(goal, work), (task.budget_secs ?? Infinity) * 1_000);
}

/** Reads what the agent sent as proposals, and what it marked as such in its own text. Nothing a tool printed is read. */
export function readProposals(
  turn: Pick<Turn, "text" | "proposals">,
  redactor: Pick<GoalPorts["redactor"], "value">,
): ReadProposals {
  const read: ReadProposals = { proposals: [], malformed: [] };
  const take = (value: unknown): void => {
    const parsed = TaskProposal.safeParse(redactor.value(value));
    if (parsed.success) read.proposals.push(known(parsed.data));
    else refuse(problemsOf(parsed.error).join("; "), value);
  };
  const refuse = (reason: string, value: unknown): void => {
    const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
    read.malformed.push({ reason, text: String(redactor.value(text)).slice(0, SHOWN_MAX) });
  };
  const isFull = (): boolean => read.proposals.length + read.malformed.length >= READ_MAX;

  const refuseRest = (): void =>
    refuse(`more than ${READ_MAX} proposals in one turn: the rest is not read`, "");

  for (const proposal of turn.proposals) {
    if (isFull()) {
      refuseRest();
      return read;
    }
    take(proposal);
  }
  for (const text of markedObjects(turn.text)) {
    if (isFull()) {
      refuseRest();
      break;
    }
    if (text.length > PROPOSAL_CHARACTERS_MAX) {
      refuse(`longer than ${PROPOSAL_CHARACTERS_MAX} characters`, text.slice(0, SHOWN_MAX));
      continue;
    }
    const value = tryJson(text);
    if (value === undefined) refuse("not a JSON object", text.slice(0, SHOWN_MAX));
    else take(value);
  }
  return read;
}

/** After each marker the text from the first brace to the one that closes it; to the end where none does. */
function* markedObjects(text: string): Generator<string> {
  let from = text.indexOf(MARKER);
  while (from !== -1) {
    const start = text.indexOf("{", from + MARKER.length);
    if (start === -1) return;
    const end = endOfBrackets(text, start);
    yield text.slice(start, end);
    from = end === undefined ? -1 : text.indexOf(MARKER, end);
  }
}

/** Without keys that no proposal has: what an agent adds is nothing that omk ever reads back as its own. */
function known(one: TaskProposal): TaskProposal {
  const {
    id,
    title,
    description,
    dependencies,
    read_set,
    write_set,
    acceptance,
    risk,
    budget_secs,
    priority,
  } = one;
  return {
    id,
    title,
    description,
    dependencies: [...new Set(dependencies)],
    read_set,
    write_set,
    acceptance,
    risk,
    budget_secs,
    priority,
  };
}

/** Every proposal and every decision as events. */
function decisionEvents(
  { proposals, malformed }: ReadProposals,
  { accepted, rejected }: Admission,
  {
    task_id: from,
    number,
    fence,
    worker,
    budget,
  }: Pick<Attempt, "task_id" | "number" | "fence" | "worker"> & { budget: BudgetSnapshot },
): NewEvent[] {
  const proposer = { proposed_by: from, attempt: number, fence };
  return [
    ...proposals.map((task) => ({
      kind: "task_proposed",
      actor: workerOf({ worker }),
      payload: { ...described(task), reason: null, ...proposer },
    })),
    ...malformed.map(({ reason, text }) => ({
      kind: "task_rejected",
      actor: CONTROLLER,
      payload: { task_id: null, reason: `no proposal: ${reason}`, code: "malformed", text, ...proposer },
    })),
    ...rejected.map(({ task, code, reason }) => ({
      kind: "task_rejected",
      actor: CONTROLLER,
      payload: { ...described(task), reason, code },
    })),
    ...accepted.map((task) => ({
      kind: "task_accepted",
      actor: CONTROLLER,
      payload: {
        ...described(task),
        reason: "nothing is against it",
        code: "accepted",
        budget_snapshot: { ...budget, task_budget_secs: Number(task.budget_secs) },
      },
    })),
  ];
}

/** What events tell of a proposal; the file has the rest. */
function described({ id, title, risk, budget_secs, dependencies, read_set, write_set }: TaskProposal) {
  return { task_id: id, title, risk, budget_secs, dependencies, read_set, write_set };
}

/** One event per task that is added, each leaving a graph that is sound. */
function additions(
  open: OpenGoal,
  accepted: readonly TaskProposal[],
  proposer: string,
  proposalPath: string,
): NewEvent[] {
  const { graph, goal } = open;
  const how = { proposer, evidencePath: proposalPath, maxRetries: attemptsAllowed(goal) - 1 };
  const { tasks, verifyDependencies } = tasksToAdd(accepted, graph, how);
  return tasks.map((task, at) => {
    const changes: DocumentChange[] = [changeTask(task.id, task)];
    if (verifyDependencies) {
      const later = new Set(tasks.slice(at + 1).map(({ id }) => id));
      const dependencies = verifyDependencies.filter((id) => !later.has(id));
      changes.push(changeTask(TASK.verify, { dependencies }));
    }
    return {
      kind: "task_graph_mutated",
      actor: CONTROLLER,
      payload: {
        action: "task_added",
        source: "agent_proposal",
        task_id: task.id,
        task_graph_path: "task-graph.json",
        proposal_path: proposalPath,
        total_tasks_after: graph.tasks.length + at + 1,
      },
      changes,
    };
  });
}

function budgetSnapshot(goal: Goal, work: Work): BudgetSnapshot {
  const limits = budgetLimits(goal);
  const { tokens, usd, activeMs } = spent(work);
  const total = Number.isFinite(limits.ms) ? Math.floor(limits.ms / 1_000) : null;
  const elapsed = Math.floor(activeMs / 1_000);
  return {
    budget_time: goal.budget_time ?? null,
    total_budget_secs: total,
    elapsed_since_created_secs: elapsed,
    remaining_budget_secs: total === null ? null : Math.max(0, total - elapsed),
    budget_tokens: finite(limits.tokens),
    used_tokens: tokens,
    remaining_budget_tokens: finite(Math.max(0, limits.tokens - tokens)),
    budget_usd: finite(limits.usd),
    estimated_cost_usd: usd,
    remaining_budget_usd: finite(Math.max(0, limits.usd - usd)),
  };
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? "" : ` (${names.join(", ")})`;
}
