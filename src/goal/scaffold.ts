/** What a new goal starts with: its task graph, and what a plan makes of that. */
import type { ArtifactRef } from "../format/goal.ts";
import type { Plan, PlannedTask } from "../format/plan.ts";
import type { GoalTask, TaskGraph } from "../format/task-graph.ts";
import type { Work } from "../format/work.ts";
import { kindOf, type Wanted } from "./intake.ts";
import { TASK } from "./task-ids.ts";
import { ANYWHERE } from "./write-sets.ts";

/** Files every goal folder has, by artifact kind. */
export const FILES = {
  prd: "prd.md",
  technical_plan: "technical-plan.md",
  task_graph: "task-graph.json",
  test_spec: "test-spec.md",
  greenfield_acceptance: "artifacts/oracles/greenfield-acceptance.md",
  greenfield_demo: "artifacts/oracles/greenfield-demo.sh",
  greenfield_usage_examples: "artifacts/oracles/usage-examples.md",
  proof: "proof.json",
  decisions: "decisions.jsonl",
} as const;

const PLANNING_FILES = [FILES.prd, FILES.technical_plan, FILES.test_spec, FILES.task_graph];

/** The artifacts a new goal lists, in 0.5.0's order. */
export function scaffoldArtifacts(goal: Wanted, createdAt: string): ArtifactRef[] {
  const greenfield = kindOf(goal) === "greenfield";
  return Object.entries(FILES)
    .filter(([kind]) => greenfield || !kind.startsWith("greenfield_"))
    .map(([kind, path]) => ({ kind, path, created_at: createdAt }));
}

/**
 * The graph of a goal with one agent task: implementation, then the gates on its result, then the reviews. The planning is
 * `pending` where an engine will do it.
 */
export function scaffoldGraph(
  goalId: string,
  createdAt: string,
  planning: "done" | "pending" = "done",
): TaskGraph {
  const base = { retry_count: 0, max_retries: 0, lease_expires_at: null, evidence: [] };
  const tasks: GoalTask[] = [
    {
      ...base,
      id: TASK.intake,
      title: "Record what is wanted",
      description: "Keep the goal as it was given and in its normal form.",
      status: "done",
      owner_role: "goal-controller",
      completed_at: createdAt,
      evidence: [{ kind: "artifact", path: FILES.prd, summary: "the goal brief" }],
      dependencies: [],
      read_set: ["goal.json"],
      write_set: [FILES.prd],
      risk: "low",
      acceptance: ["The goal brief exists.", "The original and the normalised goal are recorded."],
    },
    {
      ...base,
      id: TASK.plan,
      title: "Plan the work and its proof",
      description: "Write down how the goal is reached and what has to be shown at its end.",
      status: planning,
      ...(planning === "done" && planned(createdAt)),
      dependencies: [TASK.intake],
      read_set: [FILES.prd],
      write_set: [FILES.technical_plan, FILES.test_spec],
      risk: "medium",
      acceptance: ["The plan exists.", "The test specification lists what readiness needs."],
    },
    {
      ...base,
      id: TASK.execute,
      title: "Let an agent do the work",
      description: "One agent changes the project until the gates pass on its result.",
      status: "pending",
      dependencies: [TASK.plan],
      read_set: PLANNING_FILES,
      write_set: [ANYWHERE],
      risk: "high",
      acceptance: [
        "The agent's turn and the files it changed are recorded.",
        "Readiness is claimed only on evidence.",
      ],
    },
    {
      ...base,
      id: TASK.verify,
      title: "Run the gates on the result",
      description: "Every required gate passes on exactly the files that the work left.",
      status: "pending",
      dependencies: [TASK.execute],
      read_set: [FILES.prd, FILES.technical_plan, FILES.test_spec, ".omk/gates.toml"],
      write_set: ["artifacts/gates"],
      risk: "medium",
      acceptance: ["All required gates pass.", "The proof names each gate with its output."],
    },
    {
      ...base,
      id: TASK.review,
      title: "Review the evidence",
      description: "Go through what was done, section by section of the review wall.",
      status: "pending",
      dependencies: [TASK.verify, TASK.execute],
      read_set: [...PLANNING_FILES, FILES.proof, "artifacts/agent-runs"],
      write_set: ["artifacts/reviews/goal-review.md"],
      risk: "medium",
      acceptance: ["The review cites tasks and gates.", "It stays blocked without evidence of execution."],
    },
    {
      ...base,
      id: TASK.securityReview,
      title: "Look for secrets in the change",
      description: "Scan every line the change adds.",
      status: "pending",
      dependencies: [TASK.verify, TASK.execute],
      read_set: [FILES.proof, FILES.task_graph, "changed files"],
      write_set: ["artifacts/reviews/goal-security-review.md"],
      risk: "high",
      acceptance: ["The security review exists.", "A secret found with confidence blocks."],
    },
  ];
  return { version: 1, goal_id: goalId, generated_at: createdAt, tasks };
}

/** What the loop has done for a goal that was just made: nothing. */
export function scaffoldWork(): Work {
  return {
    version: 1,
    base: null,
    baseline: null,
    attempts: [],
    helper_turns: [],
    outside_write_sets: [],
    waivers: [],
    attempts_from: 0,
    result: null,
    gates: null,
    side_effects: [],
    review: null,
    acceptance: null,
    evidence: [],
    active_ms: 0,
  };
}

/** What a planned goal says of its planning. */
function planned(at: string): Partial<GoalTask> {
  return {
    status: "done",
    owner_role: "goal-controller",
    completed_at: at,
    evidence: [FILES.technical_plan, FILES.task_graph, FILES.test_spec].map((path) => ({
      kind: "artifact",
      path,
      summary: "written with the plan",
    })),
  };
}

/**
 * The tasks of a graph once the goal is planned. A plan of several slices gets one task for each, in the order of the plan;
 * one slice is the goal's one task. Without a plan of an engine that stays as it is.
 */
export function graphOfPlan(
  { tasks }: Pick<TaskGraph, "tasks">,
  plan: Plan | undefined,
  at: string,
): GoalTask[] {
  const done = tasks.map((task) => (task.id === TASK.plan ? { ...task, ...planned(at) } : task));
  const execute = done.find(({ id }) => id === TASK.execute);
  if (!plan || !execute) return done;
  const { slices } = plan;
  const ids = new Map(
    slices.map(({ id }, at) => [id, slices.length === 1 ? TASK.execute : `${IMPLEMENT}${at}`]),
  );
  const work = slices.map((slice) => sliceTask(execute, slice, ids));
  return done.flatMap((task) => {
    if (task.id === TASK.execute) return work;
    if (!task.dependencies.includes(TASK.execute)) return [task];
    const others = task.dependencies.filter((id) => id !== TASK.execute);
    return [{ ...task, dependencies: [...others, ...work.map(({ id }) => id)] }];
  });
}

/** What the ids of planned tasks begin with. */
const IMPLEMENT = "goal-agent-implement-";

function sliceTask(execute: GoalTask, slice: PlannedTask, ids: ReadonlyMap<string, string>): GoalTask {
  const { title, description, read_set, write_set, acceptance, risk } = slice;
  const before = slice.dependencies.map((id) => ids.get(id)).filter((id) => id !== undefined);
  return {
    ...execute,
    id: ids.get(slice.id) ?? slice.id,
    title,
    description,
    owner_role: "executor",
    dependencies: [TASK.plan, ...before],
    read_set: read_set.length > 0 ? read_set : PLANNING_FILES,
    write_set,
    acceptance,
    risk,
  };
}
