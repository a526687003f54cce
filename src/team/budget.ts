/** What a run may spend, and what its turns have cost. */
import { Ledger } from "../budget/ledger.ts";
import { costOf, type Cost } from "../budget/usage.ts";
import type { Usage } from "../format/proof.ts";
import type { TeamWork } from "../format/team-work.ts";
import type { RunPorts } from "./open.ts";

/** Why workers stopped before all tasks had ended. */
export type Stop = {
  code: string;
  reason: string;
};

/** The account of a run that has worked for so long. */
export function runLedger(
  work: TeamWork,
  attempts: readonly { usage: Usage | null }[],
  activeMs: number,
  ports: RunPorts,
): Ledger {
  const limits = {
    ms: work.budget_ms ?? Infinity,
    tokens: work.budget_tokens ?? Infinity,
    usd: work.budget_usd ?? Infinity,
  };
  const pricing = { own: ports.settings(work.project_dir).prices, engine: work.engine };
  return new Ledger(() => limits, { activeMs, ...costSoFar(work, attempts) }, pricing, ports);
}

/** What the turns of a run have cost so far, interrupted ones included. */
export function costSoFar(work: TeamWork, attempts: readonly { usage: Usage | null }[]): Cost {
  const sum = { ...work.helper_usage };
  for (const { usage } of attempts) {
    const { tokens, usd } = costOf(usage);
    sum.tokens += tokens;
    sum.usd += usd;
  }
  return sum;
}
