/** The documents of a goal's planning that people read. Each can be made again from the goal, its graph and its work. Pure. */
import type { Decision } from "../format/decision.ts";
import type { GateDefinition } from "../format/gate.ts";
import type { Goal } from "../format/goal.ts";
import { renderLine } from "../format/json.ts";
import type { Plan, PlannedTask } from "../format/plan.ts";
import { shellQuoted } from "../format/shell.ts";
import type { TaskGraph } from "../format/task-graph.ts";
import type { RecordedPlan, Work } from "../format/work.ts";
import { featuresOf } from "./features.ts";
import { kindOf, REQUIRED_CHECKS } from "./intake.ts";
import { FILES } from "./scaffold.ts";
import { TASK } from "./task-ids.ts";
import { compatibilityPlan } from "./surface.ts";

/** What the documents are made of. */
interface PlanningFacts {
  goal: Goal;
  graph: Pick<TaskGraph, "tasks">;
  work: Pick<Work, "plan">;
}

/** Notes of a plan that its decision repeats. */
const NOTES_MAX = 20;

/** Every document, by its path in the goal's folder. */
export function planDocuments(facts: PlanningFacts): Map<string, string> {
  const kind = kindOf(facts.goal);
  const texts = new Map([
    [FILES.prd, brief(facts)],
    [FILES.technical_plan, technicalPlan(facts)],
    [FILES.test_spec, testSpec(facts)],
    [
      FILES.decisions,
      decisionsOf(facts)
        .map((one) => `${renderLine(one)}\n`)
        .join(""),
    ],
  ]);
  if (kind === "greenfield") greenfieldTexts(facts, texts);
  return texts;
}

/** What was decided by now, as `decisions.jsonl` keeps it. */
function decisionsOf({ goal, graph, work }: PlanningFacts): Decision[] {
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
      decision: `The graph starts with ${graph.tasks.length} tasks.`,
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
    ...(work.plan ? [plannerDecision(common, work.plan, plannedAt(graph) ?? goal.created_at)] : []),
  ];
}

function plannedAt({ tasks }: Pick<TaskGraph, "tasks">): string | undefined {
  return tasks.find(({ id }) => id === TASK.plan)?.completed_at;
}

function plannerDecision(
  common: Pick<Decision, "version" | "goal_id" | "actor" | "constraints">,
  { source, engine, fallback, plan, notes = [] }: RecordedPlan,
  created_at: string,
): Decision {
  const count = plan?.slices.length ?? 1;
  const parts = count === 1 ? "in one part" : `in ${count} parts`;
  const why =
    source === "engine"
      ? "Its answer is a sound plan: its parts depend on each other in no circle and stay inside the project."
      : fallback === undefined
        ? "It was asked for with --no-llm-planner."
        : `No engine planned: ${fallback}.`;
  return {
    ...common,
    created_at,
    phase: "planning",
    kind: "planner",
    decision:
      source === "engine"
        ? `${engine ?? "The engine"} planned the work ${parts}.`
        : "omk's own rules planned the work: one task that may change the whole project.",
    rationale: [why, ...notes.slice(0, NOTES_MAX).map((note) => `${note}.`)].join(" "),
    artifacts: [FILES.task_graph, FILES.technical_plan],
  };
}

function brief({ goal, work }: PlanningFacts): string {
  const { plan } = work.plan ?? {};
  const scope = plan
    ? [
        ...(plan.summary === "" ? [] : [quoted(plan.summary), ""]),
        `Planned in ${plan.slices.length === 1 ? "one part" : `${plan.slices.length} parts`}; nothing has been changed yet when this was written.`,
      ]
    : ["This is the scaffold: nothing has been changed yet when this was written."];
  return lines(
    "# Goal Brief",
    "",
    `Generated: ${goal.created_at}`,
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
    ...scope,
    "`omk goal execute` lets an agent work, `omk goal review` looks at what it did.",
  );
}

function technicalPlan({ goal, work }: PlanningFacts): string {
  const { plan, relevant_files: about = [] } = work.plan ?? {};
  return lines(
    "# Technical Plan",
    "",
    `Generated: ${goal.created_at}`,
    "",
    "## Controller Phases",
    "",
    "1. Intake: keep the goal as given.",
    "2. Planning: decide what is done and how it will be shown.",
    "3. Decomposition: parts that an agent can do in one turn each.",
    "4. Verification design: the gates, and what they say before the work.",
    "5. Local execution: agent turns, followed by the gates on their result.",
    "6. Review: the six sections of the wall.",
    "7. Proof: one file that names all evidence by digest.",
    "",
    ...(plan ? planSections(plan, work.plan?.notes ?? []) : featureSection(goal)),
    "## Execution Boundary",
    "",
    "omk records the files before and after each turn, the gates' output and every decision. Readiness still needs",
    "review and acceptance.",
    "",
    ...(about.length > 0
      ? ["## Semantically Relevant Files", "", ...about.map((path) => `- ${code(path)}`), ""]
      : []),
    `Goal ID: \`${goal.goal_id}\``,
  );
}

/** Without an engine's plan one agent does everything; what the sentence names is at least told apart. */
function featureSection(goal: Goal): string[] {
  const features = featuresOf(goal.normalized_goal);
  if (features.length < 2) return [];
  return ["## Features", "", ...features.map(({ text, slug }) => `- ${inline(text)} (${code(slug)})`), ""];
}

function planSections(plan: Plan, notes: readonly string[]): string[] {
  const estimate = [
    plan.complexity_score !== undefined && `complexity ${plan.complexity_score} of 10`,
    plan.estimated_hours !== undefined && `${plan.estimated_hours} hours`,
    plan.estimated_tokens !== undefined && `${plan.estimated_tokens} tokens`,
  ].filter((part) => part !== false);
  return [
    "## Slices",
    "",
    ...plan.slices.flatMap(sliceLines),
    "## Order",
    "",
    ...orderOf(plan.slices).map((id, at) => `${at + 1}. ${code(id)}`),
    "",
    ...(notes.length > 0 ? ["Decided by omk:", "", ...notes.map((note) => `- ${inline(note)}`), ""] : []),
    ...(estimate.length > 0 ? ["## Estimate", "", `The planner's guess: ${estimate.join(", ")}.`, ""] : []),
  ];
}

function sliceLines(slice: PlannedTask): string[] {
  const { id, title, description, dependencies, write_set, risk, estimated_difficulty } = slice;
  return [
    `### ${code(id)}: ${inline(title)}`,
    "",
    quoted(description),
    "",
    `- risk: ${risk}; difficulty: ${estimated_difficulty}`,
    `- waits for: ${dependencies.length === 0 ? "nothing" : dependencies.map(code).join(", ")}`,
    `- may write: ${write_set.map(code).join(", ")}`,
    "",
  ];
}

/** The ids so that each comes after what it waits for, else in the order of the plan. */
function orderOf(slices: readonly PlannedTask[]): string[] {
  const order = new Set<string>();
  // Each round finds one at least: nothing waits in a circle.
  for (let round = 0; round < slices.length; round++) {
    const next = slices.find(
      ({ id, dependencies }) => !order.has(id) && dependencies.every((one) => order.has(one)),
    );
    if (!next) break;
    order.add(next.id);
  }
  return [...order];
}

function testSpec({ goal, graph, work }: PlanningFacts): string {
  const kind = kindOf(goal);
  const criteria = work.plan?.plan?.acceptance_criteria ?? [];
  return lines(
    "# Test Spec",
    "",
    `Generated: ${goal.created_at}`,
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
    ...compatibilityPlan(kind, goal.goal_id, goal.surface),
    ...(criteria.length > 0
      ? ["## Acceptance Criteria", "", ...criteria.map((one) => `- ${inline(one)}`), ""]
      : []),
    "## Readiness Levels",
    "",
    "- Engineering-ready: gates and reviews pass.",
    "- Product-ready: the oracle's checks are shown and the result is accepted.",
    "",
    ...compatibilitySection(goal),
    "## Scaffold Task Acceptance",
    "",
    ...graph.tasks.map((task) => `- \`${task.id}\`: ${task.acceptance.map(inline).join("; ")}`),
    "",
    "## Current Status",
    "",
    `\`${goal.status}\` when this was written; \`omk goal status ${goal.goal_id}\` says how it is now.`,
    "",
    `Goal ID: \`${goal.goal_id}\``,
  );
}

/** What a goal that must keep the project's behaviour is compared by. */
function compatibilitySection({ surface }: Goal): string[] {
  if (!surface) return [];
  const { commands, api_files } = surface;
  return [
    "## Compatibility Test Plan",
    "",
    ...(commands.length > 0
      ? commands.map((one) => `- command: ${code(one)}`)
      : ["- no commands were detected"]),
    ...(api_files.length > 0
      ? api_files.map((one) => `- API: ${code(one)}`)
      : ["- no files of an API were detected"]),
    "",
  ];
}

function greenfieldTexts({ goal, work }: PlanningFacts, texts: Map<string, string>): void {
  const criteria = work.plan?.plan?.acceptance_criteria ?? [];
  const gates = (goal.gates?.definitions ?? []).filter(({ skip }) => !skip);
  const demos = gates.filter(({ name, covers }) => name === "demo" || covers.includes("demo"));
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
      ...(criteria.length > 0 ? ["", "What is wanted in particular:", ""] : []),
      ...criteria.map((one) => `- ${inline(one)}`),
    ),
  );
  texts.set(FILES.greenfield_demo, demoScript(goal, demos.length > 0 ? demos : gates));
  texts.set(
    FILES.greenfield_usage_examples,
    lines(
      "# Usage Examples",
      "",
      goal.normalized_goal,
      "",
      `- First run: \`sh ${FILES.greenfield_demo}\` in this folder, once the work is done.`,
      demos.length > 0
        ? "- Expected output: what the project's own demonstration prints, and status 0."
        : "- Expected output: that of the gates, and status 0. No gate shows the new behaviour itself: one with " +
            '`covers = ["demo"]` in `.omk/gates.toml` would.',
      `- Recovery: \`omk goal show ${goal.goal_id}\` says what is missing when it fails.`,
    ),
  );
}

/** Runs what shows the goal: the project's demonstration, or else its gates. */
function demoScript(goal: Goal, gates: readonly GateDefinition[]): string {
  const commands = gates.map(({ command, args }) => [command, ...args].map(shellQuoted).join(" "));
  return lines(
    "#!/bin/sh",
    "# What shows that the goal is reached, run by hand in the project.",
    "set -e",
    `cd ${shellQuoted(goal.project_dir ?? ".")}`,
    ...(commands.length > 0
      ? commands
      : ['echo "This project had no gates when the goal was made: there is nothing to run." >&2', "exit 1"]),
  );
}

function lines(...text: string[]): string {
  return `${text.join("\n")}\n`;
}

/** A foreign text as one line of Markdown. */
function inline(text: string): string {
  return text.split(/\s+/u).filter(Boolean).join(" ");
}

/** A foreign text as a quotation, so that no line of it begins something of ours. */
function quoted(text: string): string {
  return text
    .split(/\r?\n/)
    .map((line) => `> ${line}`.trimEnd())
    .join("\n");
}

function code(text: string): string {
  return `\`${inline(text).replaceAll("`", "'")}\``;
}
