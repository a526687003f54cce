/** `omk goal show`: everything recorded about a goal. */
import { join } from "node:path";

import { findGoal, type GoalSummary } from "../../goal/find.ts";
import type { App } from "../app.ts";
import { printFormatted, type FormatFlags } from "../formatted.ts";
import { oneLine, textUsd } from "../text.ts";

/** Prints a goal as text, Markdown or its record. */
export function showCommand(app: App, id: string, flags: FormatFlags): void {
  const goal = findGoal(app.root(), id, app.world);
  printFormatted(app, goal.record, { text: () => text(goal), md: () => markdown(goal) }, flags);
}

interface Artifact {
  kind: string;
  path: string;
}

function text(goal: GoalSummary): string {
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
    "Artifacts:",
    ...artifactsOf(goal).map(({ kind, path }) => `  ${oneLine(kind)}: ${oneLine(path)}`),
    `Proof: ${join(goal.folder, "proof.json")}`,
    `State: ${goal.folder}`,
  ].join("\n");
}

function policyText(policy: unknown): string {
  return typeof policy === "string" ? oneLine(policy) : oneLine(JSON.stringify(policy));
}

function markdown(goal: GoalSummary): string {
  return [
    `# Goal ${goal.id}`,
    "",
    `- Status: \`${goal.status}\``,
    `- Phase: \`${goal.phase}\``,
    `- Goal: ${oneLine(goal.originalGoal)}`,
    `- State: \`${goal.folder}\``,
    `- Proof: \`${join(goal.folder, "proof.json")}\``,
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
