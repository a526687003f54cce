/** What a goal may still spend. Time counts while the goal works, not while it rests. */
import { parseDuration } from "../budget/duration.ts";
import { exhausted, type BudgetLimits, type Exhausted, type Spent } from "../budget/limits.ts";
import { costOf } from "../budget/usage.ts";
import { OmkError } from "../errors.ts";
import type { Goal } from "../format/goal.ts";
import type { Work } from "../format/work.ts";

/** `usage.invalid` unless the value is absent or a positive number of the right kind. */
export function checkPositive(
  flag: string,
  value: number | undefined,
  rule: string,
  isRight: (value: number) => boolean,
): void {
  if (value === undefined || (isRight(value) && value > 0)) return;
  throw new OmkError("usage.invalid", `${flag} must ${rule}.`, {
    hint: `Write a number above zero, or leave ${flag} out.`,
  });
}

/** What the turns have cost, interrupted ones and those beside the tasks included. */
export function spent(
  work: Pick<Work, "attempts" | "active_ms"> & Partial<Pick<Work, "helper_turns">>,
): Spent {
  const sum = { tokens: 0, usd: 0, activeMs: work.active_ms };
  for (const { usage } of [...work.attempts, ...(work.helper_turns ?? [])]) {
    const { tokens, usd } = costOf(usage);
    sum.tokens += tokens;
    sum.usd += usd;
  }
  return sum;
}

/** Whether dollars among what was spent were not told by an agent but worked out by the price table. */
export function isEstimated(work: Pick<Work, "attempts"> & Partial<Pick<Work, "helper_turns">>): boolean {
  return [...work.attempts, ...(work.helper_turns ?? [])].some(
    ({ usage }) => usage !== null && usage.cost_source !== "reported" && costOf(usage).usd > 0,
  );
}

/** What a goal may spend in all; Infinity where no limit was set. */
export function budgetLimits(goal: Pick<Goal, "budget_time" | "budget_tokens" | "budget_usd">): BudgetLimits {
  const seconds =
    goal.budget_time === undefined ? Infinity : parseDuration(goal.budget_time, "--budget-time");
  return {
    ms: seconds * 1_000,
    tokens: Number(goal.budget_tokens ?? Infinity),
    usd: Number(goal.budget_usd ?? Infinity),
  };
}

/** Time that a goal has left for its work; Infinity without a limit. */
export function remainingMs(goal: Goal, work: Work): number {
  return Math.max(0, budgetLimits(goal).ms - work.active_ms);
}

/** The code of the ending of a goal that has used a budget up. */
export const BUDGET_CODES = {
  time: "budget_time",
  tokens: "budget_tokens",
  cost: "budget_cost",
} as const satisfies Record<Exhausted["source"], string>;

/** Which budget is used up, in the order in which it is reported; undefined when work may go on. */
export function exhaustedBudget(goal: Goal, work: Work): Exhausted["source"] | undefined {
  return exhausted(budgetLimits(goal), spent(work))?.source;
}

/**
 * How many turns at once what is left may pay for, by what turns have cost so far: several that are all stopped in their
 * middle are worth less than one that comes to its end. At least one; Infinity where nothing limits them.
 */
export function affordableTurns(goal: Goal, work: Work): number {
  const costs = work.attempts.map(({ usage }) => costOf(usage)).filter(({ tokens, usd }) => tokens + usd > 0);
  const [limits, used] = [budgetLimits(goal), spent(work)];
  const turns = (["tokens", "usd"] as const).map((what) => {
    const mean = costs.reduce((sum, cost) => sum + cost[what], 0) / costs.length;
    return mean > 0 ? (limits[what] - used[what]) / mean : Infinity;
  });
  return Math.max(1, Math.floor(Math.min(...turns)));
}
