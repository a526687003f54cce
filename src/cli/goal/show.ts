/** `omk goal show`: everything recorded about a goal. */
import { join } from "node:path";

import { named } from "../../format/named.ts";
import type { ProvenSlice } from "../../format/proof.ts";
import type { GoalTask, TaskGraph } from "../../format/task-graph.ts";
import type { Work } from "../../format/work.ts";
import { agentTasks } from "../../goal/agent-tasks.ts";
import { findGoal, readGoalDocuments, type GoalSummary } from "../../goal/find.ts";
import { TASK } from "../../goal/task-ids.ts";
import { deliverySteps, presentResult, sliceText, sliceViews } from "../../goal/slice-view.ts";
import type { App } from "../app.ts";
import { printFormatted, type FormatFlags } from "../formatted.ts";
import { oneLine, textUsd } from "../text.ts";

/** Prints a goal as text, Markdown or its record, with the parts of its plan; of a sliced goal also its slices and its delivery. */
export function showCommand(app: App, id: string, flags: FormatFlags): void {
  const goal = findGoal(app.root(), id, app.world);
  const { plan, slices, delivery, present, undo, set_aside } = partsOf(goal, app);
  const lists: [string, string[]][] = [
    ["Plan", plan.map((part) => oneLine(planLine(part)))],
    ["Slices", slices.map((slice) => oneLine(sliceLine(slice)))],
    ["Delivery", deliverySteps(delivery, present).map((step) => oneLine(step))],
    ["Folders set aside", set_aside.map(({ path, because }) => oneLine(`${path}: ${because}`))],
  ];
  const shown = lists.filter(([, rows]) => rows.length > 0);
  const record = {
    ...goal.record,
    ...(slices.length > 0 && { slices, set_aside }),
    ...(delivery && { delivery }),
  };
  const render = { text: () => text(goal, shown, undo), md: () => markdown(goal, shown) };
  printFormatted(app, record, render, flags);
}

/** What other documents say of a goal. */
function partsOf(goal: GoalSummary, app: App) {
  const documents = readGoalDocuments(goal, ["work.json", "task-graph.json"], app.world);
  const work: Partial<Work> = documents.get("work.json") ?? {};
  const graph: Partial<TaskGraph> = documents.get("task-graph.json") ?? {};
  return {
    plan: agentTasks({ tasks: graph.tasks ?? [] }),
    slices: sliceViews({ graph, work }),
    delivery: work.delivery,
    present: presentResult(work),
    undo: work.undo,
    set_aside: work.slices?.set_aside ?? [],
  };
}

/** A part of the plan: what it is, what it may write, and what has to be done before. */
function planLine({ id, title, write_set, dependencies }: GoalTask): string {
  const before = dependencies.filter((one) => one !== TASK.plan);
  const writes = write_set.length === 0 ? "" : `; writes ${named(write_set)}`;
  return `${id}: ${title}${writes}${before.length === 0 ? "" : `; after ${named(before)}`}`;
}

/** Everything about a slice that fits on one line. */
function sliceLine(slice: ProvenSlice): string {
  const { id, branch, attempts, commit } = slice;
  const named = branch === null ? "" : `; branch ${branch}`;
  const made = commit === null ? "" : `; commit ${commit}`;
  return `${id}: ${sliceText(slice)}; attempts ${attempts}${named}${made}`;
}

interface Artifact {
  kind: string;
  path: string;
}

/** Lists that only some goals have, with their titles. */
type Lists = readonly (readonly [title: string, rows: readonly string[]])[];

function text(goal: GoalSummary, lists: Lists, undo: string | undefined): string {
  const { record } = goal;
  const optional = (label: string, value: unknown, show: (value: unknown) => string = oneLine) =>
    value === undefined || value === null ? [] : [`${label}: ${show(value)}`];
  const failure = record["failure"] as { reason?: string } | undefined;
  return [
    `Goal ${goal.id}`,
    `Status: ${goal.status}`,
    `Phase: ${goal.phase}`,
    `Goal: ${oneLine(goal.originalGoal)}`,
    `Until ready: ${record["until_ready"] === true}`,
    ...optional("Budget time", record["budget_time"]),
    ...optional("Budget tokens", record["budget_tokens"]),
    ...optional("Budget USD", record["budget_usd"], textUsd),
    ...optional("Max agents", record["max_agents"]),
    ...optional("Max attempts", record["max_attempts"]),
    ...optional("Engine", record["engine"]),
    ...optional("Approval policy", record["approval_policy"], policyText),
    ...optional("Policy", record["delivery_policy"]),
    ...optional("Merge policy", record["merge_policy"]),
    ...optional("Slice execution", record["slice_execution"]),
    ...optional("Apply", record["apply"]),
    ...optional("Project", record["project_dir"]),
    ...optional("Failure", failure?.reason),
    ...optional("Undo", undo),
    ...lists.flatMap(([title, rows]) => [`${title}:`, ...rows.map((one) => `  ${one}`)]),
    "Artifacts:",
    ...artifactsOf(goal).map(({ kind, path }) => `  ${oneLine(kind)}: ${oneLine(path)}`),
    `Proof: ${join(goal.folder, "proof.json")}`,
    `State: ${goal.folder}`,
  ].join("\n");
}

function policyText(policy: unknown): string {
  return typeof policy === "string" ? oneLine(policy) : oneLine(JSON.stringify(policy));
}

function markdown(goal: GoalSummary, lists: Lists): string {
  return [
    `# Goal ${goal.id}`,
    "",
    `- Status: \`${goal.status}\``,
    `- Phase: \`${goal.phase}\``,
    `- Goal: ${oneLine(goal.originalGoal)}`,
    `- State: \`${goal.folder}\``,
    `- Proof: \`${join(goal.folder, "proof.json")}\``,
    ...lists.flatMap(([title, rows]) => ["", `## ${title}`, "", ...rows.map((one) => `- ${one}`)]),
    "",
    "## Artifacts",
    "",
    ...artifactsOf(goal).map(({ kind, path }) => `- \`${oneLine(kind)}\`: \`${oneLine(path)}\``),
  ].join("\n");
}

function artifactsOf(goal: GoalSummary): Artifact[] {
  const { artifacts } = goal.record;
  return Array.isArray(artifacts) ? (artifacts as Artifact[]) : [];
}
