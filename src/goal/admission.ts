/**
 * Which proposed tasks a goal takes. Text from an agent is data: it adds work, but never paths, time, money or effects
 * beyond what the goal has. One stage, pure, near linear; every refusal has a code, and words for people.
 */
import type { TaskProposal } from "../format/agent-run.ts";
import { parseTaskId, whyProtected } from "../format/names.ts";
import type { GoalTask } from "../format/task-graph.ts";
import { footprintOf, normalizedPath, OwnershipMap, type Conflict } from "../scheduler/ownership.ts";
import { agentTasks } from "./agent-tasks.ts";
import { TASK } from "./task-ids.ts";
import { ANYWHERE } from "./write-sets.ts";

/** Why a proposed task is refused. */
export type RejectionCode =
  | "malformed"
  | "blank_id"
  | "blank_title"
  | "blank_description"
  | "no_acceptance"
  | "unsafe_id"
  | "too_large"
  | "duplicate_id"
  | "id_in_graph"
  | "zero_budget"
  | "publishing"
  | "unsafe_path"
  | "outside_plan"
  | "time_budget"
  | "token_budget"
  | "cost_budget"
  | "unknown_dependency"
  | "dependency_refused"
  | "dependency_cycle"
  | "too_many_proposals"
  | "too_many_tasks"
  | "access_conflict";

/** A proposed task that the goal does not take. */
export interface Rejection {
  task: TaskProposal;
  code: RejectionCode;
  reason: string;
}

/** What became of a batch of proposals. */
export interface Admission {
  /** Each after those it depends on, else as they were proposed. */
  accepted: TaskProposal[];
  /** As they were proposed. */
  rejected: Rejection[];
}

/** What a goal has spent and may spend, as events carry it: nulls where nothing limits it. */
export interface BudgetSnapshot {
  budget_time: string | null;
  total_budget_secs: number | null;
  /** Time at work: what a goal rests does not count. */
  elapsed_since_created_secs: number;
  remaining_budget_secs: number | null;
  budget_tokens: number | null;
  used_tokens: number;
  remaining_budget_tokens: number | null;
  budget_usd: number | null;
  estimated_cost_usd: number;
  remaining_budget_usd: number | null;
}

/** What proposals are measured against. */
export interface AdmissionContext {
  /** The graph as it is. */
  tasks: readonly GoalTask[];
  /** The task whose agent proposes: what it proposes comes after it. */
  proposer: string;
  budget: BudgetSnapshot;
  limits?: AdmissionLimits;
}

/** How much agents may propose. */
export interface AdmissionLimits {
  /** Tasks in a goal that agents proposed. */
  proposals: number;
  /** Tasks in a goal. */
  tasks: number;
}

/** More is no plan but a flood. */
export const ADMISSION_LIMITS: AdmissionLimits = { proposals: 50, tasks: 200 };

/** Marks, on a task of the graph, that an agent proposed it. */
const PROPOSED = "agent_proposal";

const TITLE_MAX = 500;
const TEXT_MAX = 20_000;
const CRITERION_MAX = 2_000;
const LIST_MAX = 100;
const PATH_MAX = 1_024;
/** A day: no turn is as long, and it fits every counter. */
const BUDGET_SECS_MAX = 86_400;

/** Decides about a batch of proposals. */
export function admit(proposals: readonly TaskProposal[], context: AdmissionContext): Admission {
  return new Batch(proposals, context).decide();
}

/** Accepted proposals as tasks of the graph, and what the gates wait for then. */
export function tasksToAdd(
  accepted: readonly TaskProposal[],
  graph: { readonly tasks: readonly GoalTask[] },
  { proposer, evidencePath, maxRetries }: { proposer: string; evidencePath: string; maxRetries: number },
): { tasks: GoalTask[]; verifyDependencies: string[] | undefined } {
  const tasks = accepted.map((one): GoalTask => ({
    id: one.id,
    title: one.title,
    description: one.description,
    status: "pending",
    owner_role: "executor",
    evidence: [{ kind: PROPOSED, path: evidencePath, summary: `proposed by the agent of ${proposer}` }],
    retry_count: 0,
    max_retries: maxRetries,
    lease_expires_at: null,
    dependencies: [...new Set([proposer, ...one.dependencies])],
    read_set: one.read_set,
    write_set: one.write_set,
    risk: one.risk,
    acceptance: one.acceptance,
    budget_secs: Number(one.budget_secs),
    priority: one.priority,
  }));
  const verify = graph.tasks.find(({ id }) => id === TASK.verify);
  // In a graph of 0.5.0 the agent's task waits for the gates: then they cannot wait for what it proposes.
  const isCircle = tasksBehindGates(graph.tasks).has(proposer);
  return {
    tasks,
    verifyDependencies:
      verify && !isCircle && tasks.length > 0
        ? [...new Set([...verify.dependencies, ...tasks.map(({ id }) => id)])]
        : undefined,
  };
}

/** A batch while it is decided. */
class Batch {
  readonly #proposals: readonly TaskProposal[];
  readonly #context: AdmissionContext;
  readonly #limits: AdmissionLimits;
  readonly #graph: ReadonlyMap<string, GoalTask>;
  /** Ids of the graph as file systems may see them that know no case. */
  readonly #taken: ReadonlySet<string>;
  readonly #behindGates: ReadonlySet<string>;
  /** What tasks of agents may write, as far as they were planned; undefined for anything. */
  readonly #mayWrite: readonly string[] | undefined;
  readonly #paths = new OwnershipMap();
  /** The first proposal of each id. */
  readonly #byId = new Map<string, number>();
  readonly #refused = new Map<number, Omit<Rejection, "task">>();
  readonly #accepted = new Set<number>();
  /** Tasks of the graph that agents proposed. */
  readonly #earlier: number;

  constructor(proposals: readonly TaskProposal[], context: AdmissionContext) {
    this.#proposals = proposals;
    this.#context = context;
    this.#limits = context.limits ?? ADMISSION_LIMITS;
    const { tasks, proposer } = context;
    this.#graph = new Map(tasks.map((task) => [task.id, task]));
    this.#taken = new Set(tasks.map(({ id }) => id.toLowerCase()));
    const behind = tasksBehindGates(tasks);
    this.#behindGates = behind.has(proposer) ? new Set() : behind;
    const agents = agentTasks({ tasks: [...tasks] });
    const planned = agents.filter((task) => !isProposed(task)).flatMap(({ write_set }) => write_set);
    this.#mayWrite = planned.some((path) => normalizedPath(path) === ".")
      ? undefined
      : planned.map(normalizedPath).filter((path) => path !== undefined);
    this.#earlier = agents.filter(isProposed).length;
    for (const task of agents) if (task.status !== "done") this.#paths.hold(task.id, footprintOf(task));
  }

  decide(): Admission {
    for (const at of this.#proposals.keys()) this.#checkAlone(at);
    this.#checkTogether();
    const rejected = this.#proposals.flatMap((task, at): Rejection[] => {
      const refusal = this.#refused.get(at);
      return refusal ? [{ task, ...refusal }] : [];
    });
    return { accepted: [...this.#accepted].map((at) => this.#at(at)), rejected };
  }

  /** What does not depend on what becomes of the others. */
  #checkAlone(at: number): void {
    const task = this.#at(at);
    const refusal =
      textProblem(task) ?? this.#idProblem(task, at) ?? effectProblem(task) ?? this.#limitProblem(task);
    if (refusal) this.#refused.set(at, refusal);
  }

  #idProblem({ id }: TaskProposal, at: number): Omit<Rejection, "task"> | undefined {
    const named = parseTaskId(id);
    if (!named.ok) return { code: "unsafe_id", reason: `the id cannot name a folder: ${named.because}` };
    if (id.startsWith("goal-agent-")) {
      return { code: "unsafe_id", reason: "ids that start with goal-agent- are omk's own" };
    }
    if (this.#byId.has(id))
      return { code: "duplicate_id", reason: `duplicate id: ${id} was proposed before` };
    // Whatever becomes of the first: whoever depends on the id means that one.
    this.#byId.set(id, at);
    if (this.#taken.has(id)) return { code: "id_in_graph", reason: `id already in the task graph: ${id}` };
    return undefined;
  }

  #limitProblem(task: TaskProposal): Omit<Rejection, "task"> | undefined {
    const allowed = this.#mayWrite;
    if (allowed) {
      const outside = task.write_set.find((path) => !allowed.some((folder) => isWithin(path, folder)));
      if (outside !== undefined) {
        return { code: "outside_plan", reason: `outside the write sets of the plan: ${shown(outside)}` };
      }
    }
    return this.#budgetProblem(task);
  }

  #budgetProblem({ budget_secs }: TaskProposal): Omit<Rejection, "task"> | undefined {
    const { budget } = this.#context;
    const { total_budget_secs: total, elapsed_since_created_secs: elapsed } = budget;
    if (total !== null && elapsed + Number(budget_secs) > total) {
      return {
        code: "time_budget",
        reason: `would exceed goal time budget: ${elapsed}s used and ${Number(budget_secs)}s asked for, of ${total}s`,
      };
    }
    if (budget.budget_tokens !== null && budget.used_tokens >= budget.budget_tokens) {
      return {
        code: "token_budget",
        reason: `the goal's tokens are used up: ${budget.used_tokens} of ${budget.budget_tokens}`,
      };
    }
    if (budget.budget_usd !== null && budget.estimated_cost_usd >= budget.budget_usd) {
      return {
        code: "cost_budget",
        reason: `the goal's money is used up: $${budget.estimated_cost_usd.toFixed(2)} of $${budget.budget_usd}`,
      };
    }
    return undefined;
  }

  /**
   * Dependencies before what depends on them, else as they were proposed: so the order in a batch decides only between
   * tasks that get in each other's way or go over a limit.
   */
  #checkTogether(): void {
    const state = new Map<number, "open" | "decided">();
    for (const start of this.#proposals.keys()) {
      const stack = [start];
      for (let at = stack.at(-1); at !== undefined; at = stack.at(-1)) {
        if (state.get(at) === "decided" || this.#refused.has(at)) {
          state.set(at, "decided");
          stack.pop();
          continue;
        }
        const waiting = this.#batchDependencies(at).filter((one) => state.get(one) !== "decided");
        if (state.get(at) === "open") {
          const [circle] = waiting;
          if (circle === undefined) this.#decideOne(at);
          else {
            // It was looked at already and is open still: it waits for this one.
            const reason = `waits in a circle with ${this.#at(circle).id}`;
            this.#refused.set(at, { code: "dependency_cycle", reason });
          }
          state.set(at, "decided");
          stack.pop();
          continue;
        }
        state.set(at, "open");
        stack.push(...waiting.toReversed());
      }
    }
  }

  /** Proposals of this batch that it depends on. */
  #batchDependencies(at: number): number[] {
    return this.#at(at)
      .dependencies.filter((id) => !this.#graph.has(id))
      .map((id) => this.#byId.get(id))
      .filter((one) => one !== undefined);
  }

  /** All it depends on is decided. */
  #decideOne(at: number): void {
    const task = this.#at(at);
    const refusal = this.#dependencyProblem(task) ?? this.#countProblem() ?? this.#conflictProblem(task);
    if (refusal) {
      this.#refused.set(at, refusal);
      return;
    }
    this.#accepted.add(at);
    this.#paths.hold(task.id, footprintOf(task));
  }

  #dependencyProblem(task: TaskProposal): Omit<Rejection, "task"> | undefined {
    for (const id of task.dependencies) {
      if (this.#behindGates.has(id)) {
        return { code: "dependency_cycle", reason: `depends on ${id}, which waits for all work of agents` };
      }
      if (this.#graph.has(id)) continue;
      const other = this.#byId.get(id);
      if (other === undefined) {
        return {
          code: "unknown_dependency",
          reason: `dependency neither accepted nor in the task graph: ${shown(id)}`,
        };
      }
      if (!this.#accepted.has(other)) {
        return { code: "dependency_refused", reason: `depends on ${id}, which was refused` };
      }
    }
    return undefined;
  }

  #countProblem(): Omit<Rejection, "task"> | undefined {
    const { proposals, tasks } = this.#limits;
    if (this.#earlier + this.#accepted.size >= proposals) {
      return {
        code: "too_many_proposals",
        reason: `a goal takes at most ${proposals} tasks that agents propose`,
      };
    }
    if (this.#graph.size + this.#accepted.size >= tasks) {
      return { code: "too_many_tasks", reason: `a goal has at most ${tasks} tasks` };
    }
    return undefined;
  }

  /** Whoever works on the same paths has to be finished before: nothing else orders the two. */
  #conflictProblem(task: TaskProposal): Omit<Rejection, "task"> | undefined {
    let before: ReadonlySet<string> | undefined;
    for (const conflict of this.#paths.conflicts(footprintOf(task))) {
      before ??= this.#before(task);
      if (!before.has(conflict.task)) return { code: "access_conflict", reason: conflictText(conflict) };
    }
    return undefined;
  }

  /** Everything that is done before it. */
  #before(task: TaskProposal): ReadonlySet<string> {
    const before = new Set<string>();
    const open = [this.#context.proposer, ...task.dependencies];
    for (let id = open.pop(); id !== undefined; id = open.pop()) {
      if (before.has(id)) continue;
      before.add(id);
      const known = this.#graph.get(id);
      if (known) open.push(...known.dependencies);
      else {
        const other = this.#byId.get(id);
        if (other !== undefined) open.push(...this.#at(other).dependencies);
      }
    }
    return before;
  }

  #at(at: number): TaskProposal {
    return this.#proposals[at] as TaskProposal;
  }
}

/** What is missing in a proposal, or too large. */
function textProblem(task: TaskProposal): Omit<Rejection, "task"> | undefined {
  if (task.id.trim() === "") return { code: "blank_id", reason: "empty id" };
  if (task.title.trim() === "") return { code: "blank_title", reason: "empty title" };
  if (task.description.trim() === "") return { code: "blank_description", reason: "empty description" };
  if (task.acceptance.every((one) => one.trim() === "")) {
    return { code: "no_acceptance", reason: "no acceptance criteria: nothing would show that it is done" };
  }
  const large =
    (task.title.length > TITLE_MAX && `the title has more than ${TITLE_MAX} characters`) ||
    (task.description.length > TEXT_MAX && `the description has more than ${TEXT_MAX} characters`) ||
    (task.acceptance.some((one) => one.length > CRITERION_MAX) &&
      `an acceptance criterion has more than ${CRITERION_MAX} characters`) ||
    ([task.dependencies, task.read_set, task.write_set, task.acceptance].some(
      (list) => list.length > LIST_MAX,
    ) &&
      `a list has more than ${LIST_MAX} entries`) ||
    (Number(task.budget_secs) > BUDGET_SECS_MAX && `the budget is more than ${BUDGET_SECS_MAX} seconds`);
  return large === false ? undefined : { code: "too_large", reason: large };
}

/** What it would do outside the project. */
function effectProblem(task: TaskProposal): Omit<Rejection, "task"> | undefined {
  if (Number(task.budget_secs) === 0) return { code: "zero_budget", reason: "the budget must be positive" };
  const registry = task.write_set.find(isOutsideTarget);
  if (registry !== undefined || /^external[-_ ]side[-_ ]effect$/i.test(task.risk.trim())) {
    const what = registry === undefined ? `risk ${task.risk.trim()}` : `writes to ${shown(registry)}`;
    return { code: "publishing", reason: `publishing is disabled: ${what}` };
  }
  for (const path of [...task.read_set, ...task.write_set]) {
    const because = whyUnsafe(path);
    if (because !== undefined) {
      return {
        code: "unsafe_path",
        reason: `outside the allowed goal policy roots: ${shown(path)} (${because})`,
      };
    }
  }
  return undefined;
}

/** Where packages are published to, as plans name it. */
const REGISTRIES: ReadonlySet<string> = new Set([
  "crates.io",
  "npmjs.com",
  "npmjs.org",
  "pypi.org",
  "rubygems.org",
  "hex.pm",
  "pkg.go.dev",
  "nuget.org",
  "docker.io",
  "ghcr.io",
]);

/** Whether an entry of a write set is no path but a place in the world. */
function isOutsideTarget(entry: string): boolean {
  const text = entry.trim().toLowerCase();
  if (text.includes("://")) return true;
  const host = text.split("/", 1)[0] ?? "";
  return REGISTRIES.has(host) || REGISTRIES.has(host.split(".").slice(-2).join("."));
}

/** Why a path of a plan or a proposal is none that an agent may have, fit to follow "because"; undefined for a safe one. */
export function whyUnsafe(text: string): string | undefined {
  const path = text.trim();
  if (path === "") return "it is empty";
  if (path === ANYWHERE) return undefined;
  if (path.length > PATH_MAX) return `it is longer than ${PATH_MAX} characters`;
  if (/[\p{Cc}\p{Cs}]/u.test(path)) return "it holds a control character or half of one";
  if (path.startsWith("~")) return "it starts in a home folder";
  if (/^[/\\]|^[A-Za-z]:/.test(path)) return "it is absolute";
  if (path.split(/[/\\]/).includes("..")) return "it leads upwards";
  return whyProtected(path);
}

/** Whether a path lies in a folder, or is that; both lie in the project. */
function isWithin(text: string, folder: string): boolean {
  const path = normalizedPath(text);
  return path !== undefined && (path === folder || path.startsWith(`${folder}/`));
}

function isProposed({ evidence }: GoalTask): boolean {
  return evidence.some(({ kind }) => kind === PROPOSED);
}

/** The task that runs the gates, and all that waits for it. */
function tasksBehindGates(tasks: readonly GoalTask[]): ReadonlySet<string> {
  const waiting = new Map<string, string[]>();
  for (const { id, dependencies } of tasks) {
    for (const dependency of dependencies) {
      const list = waiting.get(dependency);
      if (list) list.push(id);
      else waiting.set(dependency, [id]);
    }
  }
  const behind = new Set<string>();
  const open: string[] = [TASK.verify];
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    if (behind.has(id)) continue;
    behind.add(id);
    open.push(...(waiting.get(id) ?? []));
  }
  return behind;
}

function conflictText({ kind, task, path }: Conflict): string {
  return `${kind} with accepted task ${task}: ${path}`;
}

/** As it can be shown, however long or odd it is. */
function shown(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
