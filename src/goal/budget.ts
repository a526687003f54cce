/** What a goal may still spend. Time counts while the goal works, not while it rests. */
import { OmkError } from "../errors.ts";
import type { Goal } from "../format/goal.ts";
import type { Work } from "../format/work.ts";

const UNIT_SECONDS = { s: 1, m: 60, h: 3_600, d: 86_400 } as const;

/** Seconds of a duration such as `90m`, `8h`, `45` (seconds); `usage.invalid` otherwise. */
export function parseDuration(text: string, flag: string): number {
  const match = /^(\d+)\s*([smhd]?)$/i.exec(text.trim());
  const unit = (match?.[2] || "s").toLowerCase() as keyof typeof UNIT_SECONDS;
  const seconds = Number(match?.[1]) * UNIT_SECONDS[unit];
  if (match && Number.isSafeInteger(seconds)) return seconds;
  throw new OmkError("usage.invalid", `invalid ${flag}: invalid duration '${text}'`, {
    hint: "Write a whole number with the suffix s/m/h/d, for example 90m or 8h.",
  });
}

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

/** What is left; Infinity where no limit was set. */
export interface Remaining {
  ms: number;
  tokens: number;
  usd: number;
}

/** Tokens and dollars that the attempts reported, interrupted ones included. */
export function spent(work: Work): { tokens: number; usd: number; activeMs: number } {
  let tokens = 0;
  let usd = 0;
  for (const { usage } of work.attempts) {
    tokens += (usage?.input_tokens ?? 0) + (usage?.output_tokens ?? 0);
    usd += usage?.cost_usd ?? 0;
  }
  return { tokens, usd, activeMs: work.active_ms };
}

/** What a goal may still spend. */
export function remainingBudget(goal: Goal, work: Work): Remaining {
  const used = spent(work);
  const seconds =
    goal.budget_time === undefined ? Infinity : parseDuration(goal.budget_time, "--budget-time");
  return {
    ms: Math.max(0, seconds * 1_000 - used.activeMs),
    tokens: Math.max(0, Number(goal.budget_tokens ?? Infinity) - used.tokens),
    usd: Math.max(0, Number(goal.budget_usd ?? Infinity) - used.usd),
  };
}

/** Which budget is used up, in the order in which it is reported; undefined when work may go on. */
export function exhaustedBudget(goal: Goal, work: Work): "time" | "tokens" | "cost" | undefined {
  const left = remainingBudget(goal, work);
  if (left.ms <= 0) return "time";
  if (left.tokens <= 0) return "tokens";
  return left.usd <= 0 ? "cost" : undefined;
}
