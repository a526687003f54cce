/**
 * The pool of attempts: slices that are ready are worked on side by side, each in a folder of its own, and what is taken
 * lands one by one. Every decision is the rule's over what the log says, so a killed pool goes on where it stood.
 */
import type { Approvals } from "../approval/approvals.ts";
import type { Ledger } from "../budget/ledger.ts";
import type { Engine } from "../engine/engine.ts";
import { instantOf } from "../format/stamp.ts";
import type { AttemptTree } from "../git/attempt-tree.ts";
import { workerName } from "./agent-tasks.ts";
import { approvalEnding } from "./approvals.ts";
import { affordableTurns } from "./budget.ts";
import { budgetEnding, isTryingAgent, outsideEnding, restAfterOutage } from "./endings.ts";
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
export function runSlices(pool: SlicePool, stop: AbortSignal): Promise<Ending | undefined> {
  return new Pool(pool, stop).run();
}

class Pool {
  readonly #pool: SlicePool;
  readonly #stop: AbortSignal;
  readonly #ledger: Ledger;
  readonly #time: WorkingTime;
  readonly #live = new Map<string, Live>();
  /** By task: the folders in which agents are at work. */
  readonly #folders = new Map<string, AttemptTree>();
  readonly #tried = new Set<string>();
  readonly #failures: unknown[] = [];
  readonly #attemptsBefore: number;
  #ending: Ending | undefined;

  constructor(pool: SlicePool, stop: AbortSignal) {
    this.#pool = pool;
    this.#stop = stop;
    this.#ledger = goalLedger(pool.open, pool.ports);
    this.#time = new WorkingTime(pool);
    this.#attemptsBefore = pool.open.work.attempts.length;
  }

  async run(): Promise<Ending | undefined> {
    try {
      while (await this.#next());
    } finally {
      // Nothing is left behind that still writes, whatever else went wrong.
      await Promise.all(this.#running());
    }
    if (this.#failures.length > 0) throw this.#failures[0];
    return this.#ending;
  }

  #running(): Promise<void>[] {
    return [...this.#live.values()].map((one) => one.ended);
  }

  /** Takes one step; false when there is nothing left to do. */
  async #next(): Promise<boolean> {
    const { open, space, limits, ports } = this.#pool;
    if (unplannedSlices(open.graph, open.work).length > 0) await planGoalSlices(open, ports);
    const { land, start } = sliceMoves(open.work, open.graph, limits, new Set(this.#live.keys()));
    if (land !== undefined) {
      await landSlice(open, space, land, ports);
      await probeLive(open, space.sliced.git, this.#folders, ports);
      return true;
    }
    this.#ending ??= this.#whatStops();
    await this.#startAll(start);
    if (this.#live.size === 0) return false;
    await Promise.race(this.#running());
    await this.#time.count();
    await open.journal.save();
    return true;
  }

  /** Who asks for one step by hand has answered what was before it. */
  #isAnswered(): boolean {
    const { open, once } = this.#pool;
    return once === true && open.work.attempts.length === this.#attemptsBefore;
  }

  /** What keeps further attempts from beginning. */
  #whatStops(): Ending | undefined {
    const { open } = this.#pool;
    const outside = this.#isAnswered()
      ? undefined
      : (approvalEnding(open) ?? outsideEnding(open, { mayRetry: true }));
    return outside ?? budgetEnding(open);
  }

  async #startAll(ready: readonly NextAttempt[]): Promise<void> {
    const { open, once, ports } = this.#pool;
    if (this.#ending || this.#failures.length > 0 || this.#stop.aborted) return;
    const wanted = ready.filter(({ task }) => once !== true || !this.#tried.has(task));
    if (wanted.length === 0) return;
    if (isTryingAgent(open)) {
      // What runs will tell whether the agent works again; else one turn is to find out.
      if (this.#live.size > 0) return;
      if (!this.#isAnswered()) await restAfterOutage(open, ports, this.#stop);
      wanted.length = 1;
    }
    const places = affordableTurns(open.goal, open.work) - this.#live.size;
    for (const next of wanted.slice(0, Math.max(0, places))) if (!(await this.#start(next))) return;
  }

  /** Starts an attempt; false when running ones have set aside what it would need: it is looked at again when one has ended. */
  async #start(next: NextAttempt): Promise<boolean> {
    const { open, space, engine, approvals, limits, ports } = this.#pool;
    const { task } = next;
    const reservation = this.#ledger.reserve(limits.width - this.#live.size);
    if (!reservation) return false;
    this.#tried.add(task);
    await this.#begin(task);
    const worker = freeWorker(this.#live);
    const shared = { ledger: this.#ledger, reservation, live: this.#folders };
    const order = { ...next, engine, approvals, worker, ...shared };
    const ended = runSliceAttempt(open, space, order, ports, this.#stop)
      .catch((error: unknown) => void this.#failures.push(error))
      .finally(() => this.#live.delete(task));
    this.#live.set(task, { worker, ended });
    return true;
  }

  async #begin(id: string): Promise<void> {
    const { open, space, ports } = this.#pool;
    const task = open.graph.tasks.find((one) => one.id === id);
    if (!task) throw new Error(`The goal ${open.id} has no task ${id}.`);
    const { git } = space.sliced;
    await avoidConflict(open, git, id, ports);
    await beginSlice(open, git, task, this.#stop);
  }
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
