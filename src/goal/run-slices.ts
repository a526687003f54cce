/**
 * The pool of attempts: slices that are ready are worked on side by side, each in a folder of its own, and what is taken
 * lands one by one. Every decision is the rule's over what the log says, so a killed pool goes on where it stood.
 */
import type { Approvals } from "../approval/approvals.ts";
import type { Engine } from "../engine/engine.ts";
import { instantOf } from "../format/stamp.ts";
import type { AttemptTree } from "../git/attempt-tree.ts";
import { workerName } from "./agent-tasks.ts";
import { approvalEnding } from "./approvals.ts";
import { budgetEnding, outsideEnding, restAfterOutage } from "./endings.ts";
import { avoidConflict, beginSlice, landSlice, planGoalSlices, probeLive } from "./land.ts";
import { goalLedger } from "./metering.ts";
import type { LoopLimits, NextAttempt } from "./next-step.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";
import { runSliceAttempt } from "./slice-attempt.ts";
import { requireSlices, sliceMoves, unplannedSlices } from "./slices.ts";
import type { SlicedSpace } from "./sliced-space.ts";
import type { Workspace } from "./workspace.ts";

/** What the pool works with. */
export interface SlicePool {
  open: OpenGoal;
  space: Workspace & { sliced: SlicedSpace };
  engine: Engine;
  approvals: Approvals;
  limits: Pick<LoopLimits, "maxAttempts" | "width">;
  /** At most one attempt at each slice: a person asked for one step. */
  once?: true;
  ports: GoalPorts;
}

/** An attempt under way. */
interface Live {
  worker: string;
  /** Settles when it has ended, whatever came of it. */
  ended: Promise<void>;
}

/** Works until nothing is ready and nothing runs; an ending where something outside the evidence stops it. */
export async function runSlices(pool: SlicePool, stop: AbortSignal): Promise<Ending | undefined> {
  const { open, space, limits, ports } = pool;
  const ledger = goalLedger(open, ports);
  const live = new Map<string, Live>();
  const folders = new Map<string, AttemptTree>();
  const tried = new Set<string>();
  const time = new WorkingTime(pool);
  const failures: unknown[] = [];
  let ending: Ending | undefined;
  try {
    for (;;) {
      if (unplannedSlices(open.graph, open.work).length > 0) await planGoalSlices(open, ports);
      const moves = sliceMoves(open.work, open.graph, limits, new Set(live.keys()));
      if (moves.land !== undefined) {
        await landSlice(open, space, moves.land, ports);
        await probeLive(open, space.sliced.git, folders, ports);
        continue;
      }
      ending ??= approvalEnding(open) ?? outsideEnding(open, { mayRetry: true }) ?? budgetEnding(open);
      const mayStart = ending === undefined && failures.length === 0 && !stop.aborted;
      const wanted = mayStart ? moves.start.filter(({ task }) => pool.once !== true || !tried.has(task)) : [];
      if (wanted.length > 0) await restAfterOutage(open, ports, stop);
      for (const next of wanted) {
        const reservation = ledger.reserve(limits.width - live.size);
        // What running attempts have set aside is not there for others: when one has ended, it is looked at again.
        if (!reservation) break;
        tried.add(next.task);
        await begin(pool, next, stop);
        const worker = freeWorker(live);
        const given = {
          ...next,
          engine: pool.engine,
          approvals: pool.approvals,
          worker,
          ledger,
          reservation,
          live: folders,
        };
        const ended = runSliceAttempt(open, space, given, ports, stop)
          .catch((error: unknown) => void failures.push(error))
          .finally(() => live.delete(next.task));
        live.set(next.task, { worker, ended });
      }
      if (live.size === 0) break;
      await Promise.race([...live.values()].map((one) => one.ended));
      await time.count();
      await open.journal.save();
    }
  } finally {
    // Nothing is left behind that still writes, whatever else went wrong.
    await Promise.all([...live.values()].map((one) => one.ended));
  }
  if (failures.length > 0) throw failures[0];
  return ending;
}

async function begin(
  { open, space, ports }: SlicePool,
  { task: id }: NextAttempt,
  stop: AbortSignal,
): Promise<void> {
  const task = open.graph.tasks.find((one) => one.id === id);
  if (!task) throw new Error(`The goal ${open.id} has no task ${id}.`);
  const { git } = space.sliced;
  await avoidConflict(open, git, id, ports);
  await beginSlice(open, git, task, stop);
}

function freeWorker(live: ReadonlyMap<string, Live>): string {
  const taken = new Set([...live.values()].map(({ worker }) => worker));
  let slot = 0;
  while (taken.has(workerName(slot))) slot++;
  return workerName(slot);
}

/** Time at work, counted once however many work at a time. */
class WorkingTime {
  readonly #pool: SlicePool;
  #countedMs: number;

  constructor(pool: SlicePool) {
    this.#pool = pool;
    this.#countedMs = pool.ports.clock.monotonicMs();
  }

  /** Adds what has passed since the last time. */
  async count(): Promise<void> {
    const { open, ports } = this.#pool;
    const now = ports.clock.monotonicMs();
    const passedMs = now - this.#countedMs;
    this.#countedMs = now;
    await open.update(() => {
      const active_ms = open.work.active_ms + passedMs;
      const counted_at = instantOf(ports.clock.now());
      const slices = { ...requireSlices(open.work), counted_at };
      return [
        {
          kind: "time_counted",
          actor: "goal-controller",
          payload: { active_ms },
          changes: [change("work.json", { active_ms, slices })],
        },
      ];
    });
  }
}
