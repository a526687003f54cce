/** `omk goal show`: everything recorded about a goal. */
import { join } from "node:path";

import type { Goal } from "../../format/goal.ts";
import type { ProvenSlice } from "../../format/proof.ts";
import type { TaskGraph } from "../../format/task-graph.ts";
import type { Work } from "../../format/work.ts";
import { findGoal, readGoalDocuments, type GoalSummary } from "../../goal/find.ts";
import { deliverySteps, sliceText, sliceViews } from "../../goal/slice-view.ts";
import { isSliced } from "../../goal/sliced.ts";
import type { App } from "../app.ts";
import { printFormatted, type FormatFlags } from "../formatted.ts";
import { oneLine, textUsd } from "../text.ts";

/** Prints a goal as text, Markdown or its record; of a sliced goal also its slices and its delivery. */
export function showCommand(app: App, id: string, flags: FormatFlags): void {
  const goal = findGoal(app.root(), id, app.world);
  const { slices, delivery, set_aside } = partsOf(goal, app);
  const lists: [string, string[]][] = [
    ["Slices", slices.map((slice) => oneLine(sliceLine(slice)))],
    ["Delivery", deliverySteps(delivery).map((step) => oneLine(step))],
    ["Folders set aside", set_aside.map(({ path, because }) => oneLine(`${path}: ${because}`))],
  ];
  const shown = lists.filter(([, rows]) => rows.length > 0);
  const record = {
    ...goal.record,
    ...(slices.length > 0 && { slices, set_aside }),
    ...(delivery && { delivery }),
  };
  const render = { text: () => text(goal, shown), md: () => markdown(goal, shown) };
  printFormatted(app, record, render, flags);
}

/** What a sliced goal has besides; the documents of others are not even read. */
function partsOf(goal: GoalSummary, app: App) {
  const nothing = { slices: [], delivery: undefined, set_aside: [] };
  if (!isSliced(goal.record as unknown as Goal)) return nothing;
  const documents = readGoalDocuments(goal, ["work.json", "task-graph.json"], app.world);
  const work: Partial<Work> = documents.get("work.json") ?? {};
  const graph: Partial<TaskGraph> = documents.get("task-graph.json") ?? {};
  const set_aside = work.slices?.set_aside ?? [];
  return { slices: sliceViews({ graph, work }), delivery: work.delivery, set_aside };
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

function text(goal: GoalSummary, lists: Lists): string {
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
    ...optional("Project", record["project_dir"]),
    ...optional("Failure", failure?.reason),
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
