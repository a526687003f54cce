/**
 * `omk goal pause`, `cancel` and `budget-add`: asked of whoever drives the goal, or applied here when nobody does; and
 * `omk goal resume --auto`, which goes on with the goals that nobody drives any more.
 */
import { join } from "node:path";

import { OmkError } from "../../errors.ts";
import { askGoal } from "../../goal/ask.ts";
import { parseDuration } from "../../budget/duration.ts";
import { checkPositive } from "../../goal/budget.ts";
import { findGoal, readGoalDocuments, type GoalSummary } from "../../goal/find.ts";
import { findOrphans, resumeOrphans, type Continued, type Orphan } from "../../goal/orphans.ts";
import type { ResumedGoals } from "../../format/resumed.ts";
import type { Work } from "../../format/work.ts";
import type { App } from "../app.ts";
import { parseApprovalFlags } from "../approval-flags.ts";
import { exitStatusOf, mostTelling } from "../exit-status.ts";
import { goalPorts } from "../runtime.ts";
import { oneLine, textTime, textUsd } from "../text.ts";
import { nextSteps } from "./next.ts";
import type { ResumeFlags } from "./run.ts";

const RECORDED = "the request is recorded; the running omk has not applied it yet";

/** Pauses or cancels a goal. */
export async function controlCommand(
  app: App,
  kind: "pause" | "cancel",
  id: string,
  flags: { json: boolean },
): Promise<void> {
  app.listen();
  const asked = await askGoal(id, { kind }, await goalPorts(app), app.signal);
  const goal = findGoal(app.root(), asked.id, app.world);
  const recorded = asked.outcome === "recorded";
  if (recorded) app.output.story(RECORDED);
  const cancelled = {
    id: goal.id,
    status: "cancelled",
    code: undefined,
    untilReady: false,
    engine: undefined,
  };
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
          ...nextSteps({ ...cancelled, hasWorked: hasWorked(goal, app) }),
        ];
  app.output.result(goal.record, () => lines.join("\n"), flags.json);
}

function hasWorked(goal: GoalSummary, { world }: App): boolean {
  const { attempts = [] }: Partial<Work> =
    readGoalDocuments(goal, ["work.json"], world).get("work.json") ?? {};
  return attempts.length > 0;
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
  app.listen();
  const asked = await askGoal(id, { kind: "budget_add", payload }, await goalPorts(app), app.signal);
  if (asked.outcome === "recorded") app.output.story(RECORDED);
  const { record, status } = findGoal(app.root(), asked.id, app.world);
  const limit = (key: string) =>
    record[key] === undefined ? "unbounded" : JSON.stringify(record[key]).replaceAll('"', "");
  const usd = record["budget_usd"];
  const lines = [
    asked.outcome === "recorded"
      ? `Budget recorded, not yet added: ${asked.id}`
      : `Budget added: ${asked.id}`,
    `Status: ${status}`,
    `Budget time: ${limit("budget_time")}`,
    `Budget tokens: ${limit("budget_tokens")}`,
    `Budget USD: ${usd === undefined ? "unbounded" : textUsd(Number(usd))}`,
    ...(flags.time === undefined ? [] : [`Time added: ${flags.time.trim()}`]),
    ...(flags.tokens === undefined ? [] : [`Tokens added: ${flags.tokens}`]),
    ...(flags.usd === undefined ? [] : [`USD added: ${textUsd(flags.usd)}`]),
    ...withoutLimit(record, payload),
    ...(status === "needs_more_budget" ? stillNeeded(record) : []),
  ];
  app.output.result(record, () => lines.join("\n"), flags.json);
}

/** What has no limit cannot get more; the lines above have the words that scripts look for. */
function withoutLimit(
  record: Readonly<Record<string, unknown>>,
  { seconds, tokens, usd }: { seconds?: number; tokens?: number; usd?: number },
): string[] {
  const given: [name: string, amount: number | undefined, key: string][] = [
    ["time", seconds, "budget_time"],
    ["tokens", tokens, "budget_tokens"],
    ["dollars", usd, "budget_usd"],
  ];
  const names = given.filter(([, amount, key]) => amount !== undefined && record[key] === undefined);
  if (names.length === 0) return [];
  return [`Nothing changes for ${names.map(([name]) => name).join(", ")}: the goal has no limit there.`];
}

/** More of one thing helps nobody while another is used up. */
function stillNeeded(record: Readonly<Record<string, unknown>>): string[] {
  const failure = record["failure"] as { reason?: string } | undefined;
  return failure?.reason ? [`Still needed: ${oneLine(failure.reason)}`] : [];
}

/** Finds the goals whose controller is gone and goes on with one after another. */
export async function resumeAutoCommand(app: App, id: string, flags: ResumeFlags): Promise<void> {
  const approvals = parseApprovalFlags(flags);
  if (id !== "latest") app.output.story(`--auto goes on with every orphaned goal: ${id} is not looked at`);
  const { orphans, unjudged } = findOrphans(app.root(), app.world);
  for (const one of unjudged) app.output.story(`goal ${one.id} was left alone: ${oneLine(one.because)}`);
  const record: ResumedGoals = {
    orphans: orphans.map(({ id: goal, pid, updatedAt }) => ({
      id: goal,
      pid,
      last_update: updatedAt,
      status: null,
      reason_code: null,
      error: null,
    })),
    unjudged,
  };
  if (orphans.length === 0) return app.output.result(record, () => "No orphaned goals found.", flags.json);
  if (!flags.json) app.output.text(foundText(orphans));
  app.listen();
  const { engine, untilReady } = flags;
  const request = { untilReady, approvals, ...(engine !== undefined && { engine }) };
  const told = {
    begun: (goal: string) => {
      app.resumeWith = orphans.length === 1 ? `omk goal resume ${goal}` : "omk goal resume --auto";
      app.output.story(`goal ${goal}`);
    },
    ended: (one: Continued) => {
      if (one.kind === "failed") {
        app.output.story(`${one.id} was not resumed: ${oneLine(one.error.message)}`);
        if (one.error.hint !== undefined) app.output.story(`  ${oneLine(one.error.hint)}`);
      } else if (one.kind === "moved_on") {
        app.output.story(`${one.id} was left alone: it is ${one.ending.status} by now`);
      } else if (!flags.json) app.output.text(`Resumed: ${one.id} → status=${one.ending.status}`);
    },
  };
  const all = await resumeOrphans(orphans, request, await goalPorts(app), app.signal, told);
  const left = orphans.length - all.length;
  if (left > 0) app.output.story(`not resumed yet: ${left}; go on with: omk goal resume --auto`);
  app.exitStatus = mostTelling(all.map(statusOf));
  for (const one of all)
    Object.assign(record.orphans.find((other) => other.id === one.id) ?? {}, keysOf(one));
  if (flags.json) app.output.result(record, () => "", true);
}

function foundText(orphans: readonly Orphan[]): string {
  const lines = orphans.map(
    ({ id, pid, updatedAt }) => `  ${id} (pid=${pid ?? "none"}, last_update=${updatedAt})`,
  );
  return [`Found ${orphans.length} orphaned goal(s):`, ...lines].join("\n");
}

function statusOf(one: Continued): number {
  if (one.kind === "failed") return one.error.exitStatus;
  return one.kind === "resumed" && one.achieved ? 0 : exitStatusOf(one.ending);
}

function keysOf(one: Continued): Partial<ResumedGoals["orphans"][number]> {
  if (one.kind === "failed") return { error: { code: one.error.code, message: one.error.message } };
  return { status: one.ending.status, reason_code: one.ending.reasonCode };
}
