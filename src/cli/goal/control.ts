/** `omk goal pause`, `cancel` and `budget-add`: asked of whoever drives the goal, or applied here when nobody does. */
import { join } from "node:path";

import { OmkError } from "../../errors.ts";
import { askGoal } from "../../goal/ask.ts";
import { parseDuration } from "../../budget/duration.ts";
import { checkPositive } from "../../goal/budget.ts";
import { findGoal } from "../../goal/find.ts";
import type { App } from "../app.ts";
import { goalPorts } from "../runtime.ts";
import { oneLine, textTime, textUsd } from "../text.ts";

/** Pauses or cancels a goal. */
export async function controlCommand(
  app: App,
  kind: "pause" | "cancel",
  id: string,
  flags: { json: boolean },
): Promise<void> {
  const asked = await askGoal(id, { kind }, await goalPorts(app), app.signal);
  const goal = findGoal(app.root(), asked.id, app.world);
  const recorded = asked.outcome === "recorded";
  if (recorded) app.output.story("the request is recorded; the running omk has not applied it yet");
  const lines = recorded
    ? [`Goal ${goal.id}: ${kind} recorded, not yet applied`, `Status: ${goal.status}`]
    : kind === "pause"
      ? [
          `Goal ${goal.id} paused`,
          `Status: ${goal.status}`,
          `Phase: ${goal.phase}`,
          `Updated: ${textTime(goal.updatedAt)}`,
          "",
          `Resume with: omk goal resume ${goal.id}`,
        ]
      : [
          `Goal ${goal.id} cancelled`,
          `Status: ${goal.status}`,
          `Failure artifact: ${join(goal.folder, "failure.json")}`,
        ];
  app.output.result(goal.record, () => lines.join("\n"), flags.json);
}

/** Adds to the limits of a goal; a limit it does not have stays absent. */
export async function budgetAddCommand(
  app: App,
  id: string,
  flags: { time?: string; tokens?: number; usd?: number; json: boolean },
): Promise<void> {
  if (flags.time === undefined && flags.tokens === undefined && flags.usd === undefined) {
    throw new OmkError("usage.invalid", "Provide at least one budget extension: --time, --tokens or --usd.", {
      hint: "For example: omk goal budget-add latest --time 30m",
    });
  }
  const seconds = flags.time === undefined ? undefined : parseDuration(flags.time, "--time");
  checkPositive("--time", seconds, "be greater than zero", Number.isSafeInteger);
  checkPositive("--tokens", flags.tokens, "be a whole number above zero", Number.isSafeInteger);
  checkPositive("--usd", flags.usd, "be a positive, finite number", Number.isFinite);
  const payload = {
    ...(seconds !== undefined && { seconds }),
    ...(flags.tokens !== undefined && { tokens: flags.tokens }),
    ...(flags.usd !== undefined && { usd: flags.usd }),
  };
  const asked = await askGoal(id, { kind: "budget_add", payload }, await goalPorts(app), app.signal);
  const { record, status } = findGoal(app.root(), asked.id, app.world);
  const limit = (key: string) =>
    record[key] === undefined ? "unbounded" : JSON.stringify(record[key]).replaceAll('"', "");
  const usd = record["budget_usd"];
  const lines = [
    `Budget added: ${asked.id}`,
    `Status: ${status}`,
    `Budget time: ${limit("budget_time")}`,
    `Budget tokens: ${limit("budget_tokens")}`,
    `Budget USD: ${usd === undefined ? "unbounded" : textUsd(Number(usd))}`,
    ...(flags.time === undefined ? [] : [`Time added: ${flags.time.trim()}`]),
    ...(flags.tokens === undefined ? [] : [`Tokens added: ${flags.tokens}`]),
    ...(flags.usd === undefined ? [] : [`USD added: ${textUsd(flags.usd)}`]),
    ...(status === "needs_more_budget" ? stillNeeded(record) : []),
  ];
  app.output.result(record, () => lines.join("\n"), flags.json);
}

/** More of one thing helps nobody while another is used up. */
function stillNeeded(record: Readonly<Record<string, unknown>>): string[] {
  const failure = record["failure"] as { reason?: string } | undefined;
  return failure?.reason ? [`Still needed: ${oneLine(failure.reason)}`] : [];
}
