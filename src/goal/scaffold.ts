/** What a new goal starts with: its task graph, its decisions, and the documents a person reads. */
import type { Decision } from "../format/decision.ts";
import type { ArtifactRef, Goal } from "../format/goal.ts";
import type { GoalTask, TaskGraph } from "../format/task-graph.ts";
import type { Work } from "../format/work.ts";
import { goalKind, REQUIRED_CHECKS } from "./intake.ts";

/** Files every goal folder has, by artifact kind. */
const FILES = {
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

/** Well-known task ids. */
export const TASK = {
  intake: "goal-intake",
  plan: "goal-plan",
  execute: "goal-agent-execute",
  verify: "goal-local-verify",
  review: "goal-review",
  securityReview: "goal-security-review",
} as const;

/** The artifacts a new goal lists, in 0.5.0's order. */
export function scaffoldArtifacts(normalized: string, createdAt: string): ArtifactRef[] {
  const greenfield = goalKind(normalized) === "greenfield";
  return Object.entries(FILES)
    .filter(([kind]) => greenfield || !kind.startsWith("greenfield_"))
    .map(([kind, path]) => ({ kind, path, created_at: createdAt }));
}

/** The graph of a goal with one agent task: implementation, then the gates on its result, then the reviews. */
export function scaffoldGraph(goalId: string, createdAt: string): TaskGraph {
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
      status: "done",
      owner_role: "goal-controller",
      completed_at: createdAt,
      evidence: [FILES.technical_plan, FILES.task_graph, FILES.test_spec].map((path) => ({
        kind: "artifact",
        path,
        summary: "written with the plan",
      })),
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
      write_set: ["project files"],
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

/** The three decisions that creation takes, as `decisions.jsonl` keeps them. */
export function scaffoldDecisions(goal: Goal, taskCount: number): Decision[] {
  const common = {
    version: 1,
    goal_id: goal.goal_id,
    created_at: goal.created_at,
    actor: "goal-controller",
    constraints: [
      "Changes leave this machine only by the delivery policy of the goal.",
      "A goal is ready only when recorded evidence says so.",
    ],
  };
  return [
    {
      ...common,
      phase: "planning",
      kind: "planning_boundary",
      decision: "The plan is written down before any agent starts.",
      rationale: "Work that was interrupted can go on from files alone.",
      artifacts: [FILES.prd, FILES.technical_plan, FILES.test_spec],
    },
    {
      ...common,
      phase: "decomposition",
      kind: "task_graph_shape",
      decision: `The graph starts with ${taskCount} tasks.`,
      rationale: "Each task has its own state, dependencies and evidence.",
      artifacts: [FILES.task_graph],
    },
    {
      ...common,
      phase: "execution",
      kind: "execution_boundary",
      decision: "The goal stays not ready until gates, execution and review have left evidence.",
      rationale: "An agent's word is not evidence.",
      artifacts: [FILES.task_graph, FILES.proof],
    },
  ];
}

/** The documents of a goal that people read, by path; each can be made again from the goal and its graph. */
export function scaffoldTexts(goal: Goal, graph: TaskGraph): Map<string, string> {
  const kind = goalKind(goal.normalized_goal);
  const generated = `Generated: ${goal.created_at}`;
  const idLine = `Goal ID: \`${goal.goal_id}\``;
  const texts = new Map<string, string>();
  texts.set(
    FILES.prd,
    lines(
      "# Goal Brief",
      "",
      generated,
      "",
      "## Original Goal",
      "",
      goal.original_goal,
      "",
      "## Normalized Goal",
      "",
      goal.normalized_goal,
      "",
      "## Current Scope",
      "",
      "This is the scaffold: nothing has been changed yet. `omk goal execute` lets an agent work, `omk goal review`",
      "looks at what it did.",
    ),
  );
  texts.set(
    FILES.technical_plan,
    lines(
      "# Technical Plan",
      "",
      generated,
      "",
      "## Controller Phases",
      "",
      "1. Intake: keep the goal as given.",
      "2. Planning: decide what is done and how it will be shown.",
      "3. Decomposition: one task an agent can do in one turn.",
      "4. Verification design: the gates, and what they say before the work.",
      "5. Local execution: agent turns, each followed by the gates on its result.",
      "6. Review: the six sections of the wall.",
      "7. Proof: one file that names all evidence by digest.",
      "",
      "## Execution Boundary",
      "",
      "omk records the files before and after each turn, the gates' output and every decision. Readiness still needs",
      "review and acceptance.",
      "",
      idLine,
    ),
  );
  texts.set(
    FILES.test_spec,
    lines(
      "# Test Spec",
      "",
      generated,
      "",
      "## Required Proof Before Ready",
      "",
      "- Every required gate passes on the result.",
      "- The proof cites each gate's output by digest.",
      "- No known gap is left, or a person has accepted it.",
      "",
      "## Oracle Criteria",
      "",
      `Oracle kind: \`${kind}\``,
      "",
      ...REQUIRED_CHECKS[kind].map((check) => `- \`${check}\``),
      "",
      "## Readiness Levels",
      "",
      "- Engineering-ready: gates and reviews pass.",
      "- Product-ready: the oracle's checks are shown and the result is accepted.",
      "",
      "## Scaffold Task Acceptance",
      "",
      ...graph.tasks.map((task) => `- \`${task.id}\`: ${task.acceptance.join("; ")}`),
      "",
      "## Current Status",
      "",
      `\`${goal.status}\` when this was written; \`omk goal status ${goal.goal_id}\` says how it is now.`,
      "",
      idLine,
    ),
  );
  if (kind === "greenfield") greenfieldTexts(goal, texts);
  return texts;
}

function greenfieldTexts(goal: Goal, texts: Map<string, string>): void {
  texts.set(
    FILES.greenfield_acceptance,
    lines(
      "# Greenfield Acceptance",
      "",
      goal.normalized_goal,
      "",
      "- acceptance: a test added with the change fails without it and passes with it.",
      "- smoke: every required gate passes and at least one test ran.",
      "- demo: a gate that covers `demo`, where the project has one.",
    ),
  );
  texts.set(
    FILES.greenfield_demo,
    lines(
      "#!/bin/sh",
      "# Replace this with a command that shows the new behaviour, and make it a gate.",
      "exit 0",
    ),
  );
  texts.set(
    FILES.greenfield_usage_examples,
    lines(
      "# Usage Examples",
      "",
      goal.normalized_goal,
      "",
      "- First run: write the command a new user types first.",
      "- Expected output: write what it prints when all is well.",
      "- Recovery: write what the user does when it fails.",
    ),
  );
}

function lines(...text: string[]): string {
  return `${text.join("\n")}\n`;
}
