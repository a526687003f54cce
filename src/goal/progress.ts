/** What a goal is doing and how far it has come, from its documents and the end of its log: pure, and without schemas. */
import type { Event } from "../format/event.ts";
import type { Goal } from "../format/goal.ts";
import { named } from "../format/named.ts";
import type { TaskGraph } from "../format/task-graph.ts";
import type { Work } from "../format/work.ts";
import { countTasks } from "./task-counts.ts";

/** Documents as they were read: any key may be missing. */
export interface GoalPicture {
  goal: Pick<Goal, "status"> & Partial<Goal>;
  graph: Partial<TaskGraph>;
  work: Partial<Work>;
  /** The last events of the log, oldest first. */
  last: readonly Event[];
  /** Requests of agents that wait for a person. */
  waiting: number;
}

/** What is being done at this moment. */
export interface Activity {
  kind: "turn" | "helper" | "gate" | "approval" | "step";
  /** In words, e.g. `attempt 2 at goal-agent-execute`; of several agents at work, all of that. */
  what: string;
  waits_for: string;
  since: string;
}

/** What the goal is doing now; undefined when it is not being worked on. */
export function activityOf({ goal, work, last, waiting }: GoalPicture): Activity | undefined {
  if (goal.status !== "running") return undefined;
  const turns = work.attempts?.filter(({ status }) => status === "running") ?? [];
  const newest = last.at(-1);
  const [turn] = turns;
  if (turn) {
    const what = named(turns.map(({ number, task_id }) => `attempt ${number} at ${task_id}`));
    const who = turns.length === 1 ? "the agent" : "the agents";
    if (waiting === 0) return { kind: "turn", what, waits_for: who, since: turn.started_at };
    const asked = last.findLast(({ kind }) => kind === "approval_requested");
    return { kind: "approval", what, waits_for: "your answer", since: asked?.ts ?? turn.started_at };
  }
  const helper = work.helper_turns?.findLast(({ status }) => status === "running");
  if (helper) {
    const what = `${helper.role === "plan" ? "planning" : "reviewing"}: ${helper.task}`;
    return { kind: "helper", what, waits_for: "the agent", since: helper.started_at };
  }
  const gate = runningGate(last);
  if (gate) return gate;
  return newest && { kind: "step", what: `after ${newest.kind}`, waits_for: "omk", since: newest.ts };
}

/** The command that was started last, unless its end follows. */
function runningGate(last: readonly Event[]): Activity | undefined {
  const at = last.findLastIndex(({ kind }) => kind === "command_started");
  const started = last[at];
  if (!started) return undefined;
  const spawn = started.payload?.["spawn_id"];
  const ended = last
    .slice(at + 1)
    .some(({ payload, kind }) => kind !== "approval_requested" && payload?.["spawn_id"] === spawn);
  if (ended) return undefined;
  const name = started.payload?.["name"] ?? started.payload?.["gate_id"];
  return {
    kind: "gate",
    what: typeof name === "string" ? `gate ${name}` : "a gate",
    waits_for: typeof name === "string" ? `gate ${name}` : "a gate",
    since: started.ts,
  };
}

/** The kinds of lines that a story of progress has. */
type NarrativeKind =
  | "implemented"
  | "running_verification"
  | "review_blocker"
  | "next"
  | "blocked"
  | "ready"
  | "decision";

/** How far a goal has come, with 0.5.0's keys. */
export interface ProgressSnapshot {
  phase: string;
  current_task?: string;
  done: string[];
  next: string[];
  blockers: string[];
  gates: string[];
  reviews: string[];
  proof_path?: string;
  narrative: { kind: NarrativeKind; text: string }[];
}

const LISTS: Record<NarrativeKind, readonly ("done" | "next" | "blockers" | "gates" | "reviews")[]> = {
  implemented: ["done"],
  running_verification: ["gates"],
  review_blocker: ["reviews", "blockers"],
  next: ["next"],
  blocked: ["blockers"],
  ready: [],
  decision: [],
};

/** What an earlier phase leads to, and the name 0.5.0 has for what is done in it. */
const PHASES: Partial<Record<string, { task: string; next: string }>> = {
  intake: { task: "goal-intake", next: "record what is wanted" },
  planning: { task: "goal-planning", next: "write PRD, technical plan, and test spec" },
  decomposition: { task: "goal-decomposition", next: "split the plan into tasks" },
  execution: { task: "goal-execution", next: "let the agent work on the tasks that are ready" },
  verification_design: { task: "goal-verification-design", next: "decide which gates show the result" },
  proof: { task: "goal-proof", next: "write the proof" },
};

/** Derives the snapshot from a goal's documents. */
export function progressOf({ goal, graph, work }: GoalPicture, folder: string): ProgressSnapshot {
  const phase = goal.phase ?? "intake";
  const proof = goal.artifacts?.findLast(({ kind }) => kind === "proof")?.path ?? "proof.json";
  const snapshot: ProgressSnapshot = {
    phase,
    ...(PHASES[phase] && { current_task: PHASES[phase].task }),
    done: [],
    next: [],
    blockers: [],
    gates: [],
    reviews: [],
    proof_path: proof.startsWith("/") ? proof : `${folder}/${proof}`,
    narrative: [],
  };
  const add = (kind: NarrativeKind, given: string) => {
    const text = given.trim();
    if (text === "") return;
    for (const list of LISTS[kind]) if (!snapshot[list].includes(text)) snapshot[list].push(text);
    snapshot.narrative.push({ kind, text });
  };
  for (const task of graph.tasks ?? []) if (task.status === "done") add("implemented", task.title);
  for (const gate of work.gates?.results ?? [])
    add("running_verification", `${gate.name}: ${gate.verdict ?? (gate.passed ? "passed" : "failed")}`);
  for (const section of work.review?.sections ?? [])
    if (section.status === "blocked") add("review_blocker", section.known_gaps[0] ?? section.pass);
  if (goal.status === "running") add("next", PHASES[phase]?.next ?? "");
  else if (goal.status === "ready") add("ready", goal.original_goal ?? goal.status);
  else add("blocked", goal.failure?.reason ?? goal.reason_code ?? goal.status);
  return snapshot;
}

/** How many of a goal's tasks are done; those that a person has left out are none. */
export function tasksDone({ graph }: Pick<GoalPicture, "graph">): { done: number; total: number } {
  const { done_tasks, total_tasks } = countTasks(
    (graph.tasks ?? []).filter(({ left_out }) => left_out === undefined),
  );
  return { done: done_tasks, total: total_tasks };
}
