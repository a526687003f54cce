/** Following what a goal's turn costs while it runs: it is stopped at the goal's limits, and what it used is in the log. */
import { Ledger, type Reservation, type TurnMeter } from "../budget/ledger.ts";
import { usageInTranscript } from "../budget/lost-usage.ts";
import type { Pricing } from "../budget/prices.ts";
import { loggedMeter, UsageLog } from "../budget/usage-log.ts";
import { costOf } from "../budget/usage.ts";
import type { DocumentChange } from "../format/event.ts";
import type { Usage } from "../format/proof.ts";
import type { Attempt, HelperTurn } from "../format/work.ts";
import { workerOf } from "./agent-tasks.ts";
import { budgetLimits, spent } from "./budget.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import { projectDirOf } from "./workspace.ts";

/** The meter of one turn. */
export interface GoalTurnMeter extends TurnMeter {
  /** The turn is over: its clock stops. Harmless when called again. */
  end(): void;
  /** Charges the turn with the report at its end; resolves with what it cost when everything before is in the log. */
  settle(usage: Usage): Promise<Usage | null>;
}

/** What a turn takes from an account that it shares with others. */
export interface SharedBudget {
  ledger: Ledger;
  /** What was set aside for this turn. */
  turn: Reservation;
}

/**
 * The account of a goal from now on. Its clock runs until nobody looks at it any more: time at which several attempts work
 * counts once.
 */
export function goalLedger(open: OpenGoal, ports: GoalPorts): Ledger {
  // The goal's limits are looked at anew each time: somebody may add to them while turns run.
  return new Ledger(() => budgetLimits(open.goal), spent(open.work), pricingOf(open, ports), ports);
}

/** The meter of one attempt. Without a shared account its ceiling is all that the goal has left. */
export function meterAttempt(
  open: OpenGoal,
  attempt: Attempt,
  ports: GoalPorts,
  shared?: SharedBudget,
): GoalTurnMeter {
  const turn = {
    name: shared ? `${attempt.task_id}, attempt ${attempt.number}` : `attempt ${attempt.number}`,
    payload: { task_id: attempt.task_id, worker_id: workerOf(attempt), fence: attempt.fence },
    actor: workerOf(attempt),
    charged: (usage: Usage) =>
      change("work.json", { attempts: charged(open.work.attempts, attempt.fence, usage) }),
  };
  return meterTurn(open, turn, ports, shared ?? ownBudget(open, turn.name, ports));
}

/** The meter of a turn beside the tasks. */
export function meterHelper(open: OpenGoal, helper: HelperTurn, ports: GoalPorts): GoalTurnMeter {
  const turn = {
    name: `the ${helper.role} turn`,
    payload: { task_id: helper.task, role: helper.role, fence: helper.fence },
    actor: "goal-controller",
    charged: (usage: Usage) =>
      change("work.json", { helper_turns: charged(open.work.helper_turns, helper.fence, usage) }),
  };
  return meterTurn(open, turn, ports, ownBudget(open, turn.name, ports));
}

/** All that the goal has left, for one turn. */
function ownBudget(open: OpenGoal, name: string, ports: GoalPorts): SharedBudget {
  const ledger = goalLedger(open, ports);
  const turn = ledger.reserve(1);
  if (!turn) throw new Error(`It was begun without a budget: ${name}.`);
  return { ledger, turn };
}

function charged<T extends { fence: number }>(turns: readonly T[], fence: number, usage: Usage): T[] {
  return turns.map((one) => (one.fence === fence ? { ...one, usage } : one));
}

/** A turn as its meter sees it. */
interface Metered {
  name: string;
  actor: string;
  /** What the event of its usage says of it. */
  payload: Record<string, unknown>;
  /** Charges it with what it has used by now, whoever lives to see its end. */
  charged(usage: Usage): DocumentChange;
}

function meterTurn(
  open: OpenGoal,
  metered: Metered,
  ports: GoalPorts,
  { ledger, turn }: SharedBudget,
): GoalTurnMeter {
  const { clock } = ports;
  const log = new UsageLog((usage) => {
    const { tokens, usd } = costOf(usage);
    return open.update(() => [
      {
        kind: "usage_reported",
        actor: metered.actor,
        payload: { ...metered.payload, tokens, usd, usage },
        changes: [metered.charged(usage)],
      },
    ]);
  }, ports);
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
        ports.tell(`${metered.name}: told only at its end what it used: ${passed.reason}`);
      return usage;
    },
  };
}

/** What a turn had cost that was cut off with its controller, as far as its transcript tells. */
export function lostUsage(
  open: OpenGoal,
  turn: { usage: Usage | null },
  transcript: string,
  ports: GoalPorts,
): Usage | null {
  return usageInTranscript(transcript, turn.usage, pricingOf(open, ports), ports);
}

function pricingOf(open: OpenGoal, ports: GoalPorts): Pricing {
  const { prices } = ports.settings(projectDirOf(open.id, open.goal));
  return { own: prices, engine: open.goal.engine ?? null };
}

/** Clocks take no longer waits than some weeks. */
const LOOK_MS_MAX = 3_600_000;
