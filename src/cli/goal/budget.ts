/** `omk goal budget`: what a goal may spend, what it has spent, and when. */
import { budgetReport, type BudgetReport } from "../../goal/budget-report.ts";
import { findGoal } from "../../goal/find.ts";
import { instantOf } from "../../format/stamp.ts";
import type { App } from "../app.ts";
import { printFormatted, type FormatFlags } from "../formatted.ts";
import { oneLine, textTime, textUsd } from "../text.ts";

/** Prints a goal's budget as text, Markdown or JSON. */
export function budgetCommand(app: App, id: string, flags: FormatFlags): void {
  const goal = findGoal(app.root(), id, app.world);
  const { report, malformed } = budgetReport(goal, instantOf(app.world.clock.now()), app.world);
  if (malformed > 0)
    app.output.story(`${malformed} malformed lines of budget-checkpoints.jsonl were left out`);
  printFormatted(app, report, { text, md }, flags);
}

const UNBOUNDED = "unbounded";

function secs(value: unknown): string {
  return value === undefined ? UNBOUNDED : `${Number(value)}s`;
}

function usd(value: unknown): string {
  return value === undefined ? UNBOUNDED : `$${textUsd(value)}`;
}

function amount(value: unknown): string {
  return value === undefined ? UNBOUNDED : String(Number(value));
}

/** Labels and values, in the order in which both formats show them. */
function rows(report: BudgetReport): [label: string, value: string][] {
  const { latest } = report;
  const total = report.total_budget_secs;
  return [
    ["Budget time", report.budget_time === undefined ? UNBOUNDED : oneLine(report.budget_time)],
    ["Total", secs(total)],
    [
      "Tokens",
      `used=${report.used_tokens} budget=${amount(report.budget_tokens)} remaining=${amount(report.remaining_budget_tokens)}`,
    ],
    [
      "Cost",
      `estimated=$${textUsd(report.estimated_cost_usd)} budget=${usd(report.budget_usd)} remaining=${usd(report.remaining_budget_usd)}`,
    ],
    ["Elapsed", latest ? `${Number(latest.elapsed_since_created_secs)}s` : "unknown"],
    ["At work", `${report.spent_seconds}s`],
    ["Remaining", latest || total === undefined ? secs(report.remaining_budget_secs) : "unknown"],
    ["Checkpoints", String(report.checkpoints.length)],
  ];
}

function lines({ checkpoints }: BudgetReport): string[] {
  return checkpoints.map((one) => {
    const left = secs(one.remaining_budget_secs);
    const label = oneLine(one.label).padEnd(18);
    return `${textTime(one.recorded_at)}  ${label} status=${one.status} phase=${one.phase} remaining=${left}`;
  });
}

function text(report: BudgetReport): string {
  return [
    `Goal budget ${report.goal_id}`,
    ...rows(report).map(([label, value]) => `${label}: ${value}`),
    ...lines(report).map((line) => `  ${line}`),
  ].join("\n");
}

function md(report: BudgetReport): string {
  return [
    `# Goal Budget ${report.goal_id}`,
    "",
    ...rows(report).map(([label, value]) => `- ${label}: \`${value}\``),
    "",
    "## Checkpoints",
    "",
    ...lines(report).map((line) => `- ${line}`),
  ].join("\n");
}
