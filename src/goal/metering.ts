/** Following what a goal's turn costs while it runs: it is stopped at the goal's limits, and what it used is in the log. */
import { Ledger, type TurnMeter } from "../budget/ledger.ts";
import { usageInTranscript } from "../budget/lost-usage.ts";
import type { Pricing } from "../budget/prices.ts";
import { loggedMeter, UsageLog } from "../budget/usage-log.ts";
import { costOf } from "../budget/usage.ts";
import type { Usage } from "../format/proof.ts";
import type { Attempt } from "../format/work.ts";
import { budgetLimits, spent } from "./budget.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import { projectDirOf } from "./workspace.ts";

/** Who does the work, in events. */
const WORKER = "goal-agent-worker-0";

/** The meter of one attempt. */
export interface AttemptMeter extends TurnMeter {
  /** The turn is over: its clock stops. Harmless when called again. */
  end(): void;
  /** Charges the turn with the report at its end; resolves with what it cost when everything before is in the log. */
  settle(usage: Usage): Promise<Usage | null>;
}

/** The meter of one attempt, whose ceiling is all that the goal has left. */
export function meterAttempt(open: OpenGoal, attempt: Attempt, ports: GoalPorts): AttemptMeter {
  const { clock } = ports;
  // The goal's limits are looked at anew each time: somebody may add to them while the turn runs.
  const ledger = new Ledger(() => budgetLimits(open.goal), spent(open.work), pricingOf(open, ports), ports);
  const turn = ledger.reserve(1);
  if (!turn) throw new Error(`The attempt ${attempt.fence} was begun without a budget.`);
  const log = new UsageLog((usage) => recordUsage(open, attempt, usage), ports);
  const ended = new AbortController();
  const keepTime = async (): Promise<void> => {
    for (let leftMs = ledger.leftMs(); leftMs > 0; leftMs = ledger.leftMs()) {
      // After each wait it looks again: the limit may have been raised.
      await clock.sleep(Math.min(Math.ceil(leftMs) + 1, LOOK_MS_MAX), ended.signal);
    }
    turn.stop("time");
  };
  // Ends early only when the turn is over.
  if (ledger.leftMs() < Infinity) void keepTime().catch(() => undefined);
  return {
    ...loggedMeter(turn, log),
    end: () => {
      ended.abort();
      log.close();
    },
    async settle(reported) {
      ended.abort();
      await log.flush();
      const before = turn.stoppedBy ?? ledger.exhausted()?.source;
      const usage = turn.settle(reported);
      const passed = ledger.exhausted();
      if (passed && passed.source !== "time" && before === undefined)
        ports.tell(`attempt ${attempt.number}: told only at its end what it used: ${passed.reason}`);
      return usage;
    },
  };
}

/** What a turn had cost that was cut off with its controller, as far as its transcript tells. */
export function lostUsage(
  open: OpenGoal,
  attempt: Attempt,
  transcript: string,
  ports: GoalPorts,
): Usage | null {
  return usageInTranscript(transcript, attempt.usage, pricingOf(open, ports), ports);
}

function pricingOf(open: OpenGoal, ports: GoalPorts): Pricing {
  const { prices } = ports.settings(projectDirOf(open.id, open.goal));
  return { own: prices, engine: open.goal.engine ?? null };
}

/** Clocks take no longer waits than some weeks. */
const LOOK_MS_MAX = 3_600_000;

/** The turn is charged with what it has used by now, whoever lives to see its end. */
async function recordUsage(open: OpenGoal, attempt: Attempt, usage: Usage): Promise<void> {
  const attempts = open.work.attempts.map((one) => (one.fence === attempt.fence ? { ...one, usage } : one));
  const { tokens, usd } = costOf(usage);
  await open.record({
    kind: "usage_reported",
    actor: WORKER,
    payload: { task_id: attempt.task_id, worker_id: WORKER, fence: attempt.fence, tokens, usd, usage },
    changes: [change("work.json", { attempts })],
  });
}
