/**
 * Who does which task next. The scheduler owns the records of a run in memory and decides; it writes nothing. Each
 * method changes the memory at once and answers what the caller must append to the log; the caller acts on it only when
 * that is durable, and stops the run when the append fails.
 *
 * Cost: claiming, ending or giving back a task takes a time logarithmic in the number of tasks, and one step per task that
 * depends on it; no event looks at all tasks. Ready tasks with the same read and write set lie in one group, ordered; a
 * group whose paths are in use is parked behind one task that uses them and is looked at again when that one ends. So
 * what an end costs beyond its own is one look-up per parked group (not per task): nothing where sets are empty, equal or
 * apart, and at worst, where every task has a set of its own and all of them overlap, one per ready task.
 */
import { byIdBytes } from "../format/names.ts";
import type { Task } from "../format/run.ts";
import type { Clock } from "../ports.ts";
import { requireSoundTasks, TASK_LIMITS_MAX, type TaskLimits } from "./check.ts";
import { Heap } from "./heap.ts";
import { footprintOf, OwnershipMap, type Footprint } from "./ownership.ts";
import {
  backoffMs,
  decideCancel,
  decideClaim,
  decideComplete,
  decideFail,
  decideRecover,
  decideRelease,
  decideStart,
  isHeld,
  retryRule,
  type TaskSet,
} from "./task.ts";

/** The time twice: `wall` is written down, `monotonicMs` measures. */
export interface Now {
  wall: Date;
  monotonicMs: number;
}

/** The time of a clock. */
export function nowOf(clock: Clock): Now {
  return { wall: clock.now(), monotonicMs: clock.monotonicMs() };
}

/** What the log must hold about a task from now on. */
export interface TaskChange {
  id: string;
  set: TaskSet;
  /** Why it was cancelled, when not by itself: `task` has failed or was cancelled, and this one needs it. */
  because?: { code: "dependency_failed" | "dependency_cancelled"; task: string };
}

/** A task that a worker was given. */
export interface Claimed {
  task: Task;
  change: TaskChange;
}

/** A task whose holder gave no sign of life for a whole lease. `fence` is missing when it had not started. */
export interface ExpiredLease {
  task: Task;
  worker: string;
  fence: number | undefined;
}

/** How many tasks stand how. */
export type TaskCounts = Record<Task["state"] | "total" | "done", number>;

interface Node {
  /** Replaced with every change, never changed: others may keep what they were given. */
  task: Task;
  /** Its place in the order of dispatch. */
  rank: number;
  /** Its place in the order of ids. */
  idRank: number;
  /** How many of its dependencies have not completed. */
  openDependencies: number;
  readonly dependents: Node[];
  readonly group: Group;
  /** Ready: in its group's heap. Resting: in the heap of backoffs. */
  place: number;
  /** Present while it rests. */
  notBeforeMs: number | undefined;
  /** When the lease of its holder ends. */
  leaseEndMs: number;
  /** The caller was told that its lease is over. */
  isLost: boolean;
  /** Who lost it last. */
  staleOwner: string | undefined;
  /** Groups that wait until this task lets its paths go. */
  readonly parked: Group[];
}

interface Group {
  readonly footprint: Footprint;
  readonly ready: Heap<Node>;
  isParked: boolean;
  /** In the queue: neither parked nor empty. */
  place: number;
}

/** The tasks of one run. */
export class Scheduler {
  readonly #nodes = new Map<string, Node>();
  /** In the order of ids. */
  readonly #sorted: readonly Node[];
  readonly #queue = new Heap<Group>((a, b) => headRank(a) < headRank(b));
  readonly #resting = new Heap<Node>(
    (a, b) =>
      (a.notBeforeMs ?? 0) < (b.notBeforeMs ?? 0) || (a.notBeforeMs === b.notBeforeMs && a.rank < b.rank),
  );
  /** Claimed or running, by this controller: never more than there are workers, so these may be looked through. */
  readonly #held = new Set<Node>();
  /** Claimed or running when they were loaded: their controller is dead. */
  readonly #orphans = new Set<Node>();
  /** Loaded while they rested: how long they still do is decided when the time is known. */
  readonly #loadedResting = new Set<Node>();
  /** How many tasks each worker holds. */
  readonly #busy = new Map<string, number>();
  readonly #paths = new OwnershipMap();
  readonly #counts: Record<Task["state"], number> = {
    pending: 0,
    claimed: 0,
    running: 0,
    completed: 0,
    failed: 0,
    cancelled: 0,
  };

  /**
   * Takes over tasks, new or loaded; the records given are not changed. Throws `tasks.invalid` for tasks that could never
   * all end. Loaded tasks need `recover` before the first claim.
   */
  constructor(tasks: Iterable<Task>, options: { limits?: TaskLimits } = {}) {
    const list = [...tasks];
    requireSoundTasks(list, "The list of tasks", options.limits ?? TASK_LIMITS_MAX);
    const groups = new Map<string, Group>();
    for (const task of list) this.#nodes.set(task.id, nodeOf(task, groups));
    this.#sorted = byIdBytes([...this.#nodes.values()], ({ task }) => task.id);
    for (const [idRank, node] of this.#sorted.entries()) node.idRank = idRank;
    const byRank = this.#sorted.toSorted((a, b) => b.task.priority - a.task.priority || a.idRank - b.idRank);
    for (const [rank, node] of byRank.entries()) node.rank = rank;
    for (const node of this.#sorted) this.#load(node);
    // Only now are all ranks and all counts of dependencies known.
    for (const node of this.#sorted) this.#offer(node);
  }

  /**
   * Puts right what an earlier controller left, all of whose processes the caller has ended: what it had claimed is to be
   * done again, uncounted, and what needs a task that failed or was cancelled is cancelled.
   */
  recover(now: Now): TaskChange[] {
    this.#settleLoaded(now);
    const changes = new Map<string, TaskChange>();
    for (const node of byId(this.#orphans)) {
      const { fence, state } = node.task;
      const decision = decideRelease(node.task, state === "running" ? fence : undefined);
      if (decision.outcome === "refused") continue;
      changes.set(node.task.id, this.#apply(node, decision.set));
      this.#offer(node);
    }
    for (const node of this.#sorted) {
      const { state } = node.task;
      if (state !== "failed" && state !== "cancelled") continue;
      for (const change of this.#cascade(node, now)) {
        changes.set(change.id, { ...change, set: { ...changes.get(change.id)?.set, ...change.set } });
      }
    }
    const order = ({ id }: TaskChange): number => this.#nodes.get(id)?.idRank ?? 0;
    return [...changes.values()].sort((a, b) => order(a) - order(b));
  }

  /**
   * The best ready task whose paths nobody uses, for a worker that has none; undefined when there is none now. With
   * `othersIdle` a task is kept from the worker that lost it, for another one to take.
   *
   * Nobody is told when a task becomes ready: idle workers ask again after every change, claims of others included, and
   * when `nextWakeMs` is over.
   */
  claimNext(
    worker: string,
    leaseMs: number,
    now: Now,
    options: { othersIdle?: boolean } = {},
  ): Claimed | undefined {
    this.#settleLoaded(now);
    this.#wakeRested(now);
    if (this.#busy.has(worker)) return undefined;
    const aside: Node[] = [];
    const node = this.#bestFor(options.othersIdle === true ? worker : undefined, aside);
    for (const kept of aside) this.#enqueue(kept);
    if (!node) return undefined;
    const decision = decideClaim(node.task, { worker, leaseMs }, now.wall);
    if (decision.outcome === "refused") {
      throw new Error(`The ready task ${node.task.id} cannot be claimed: ${decision.because}.`);
    }
    const change = this.#apply(node, decision.set);
    node.leaseEndMs = now.monotonicMs + leaseMs;
    node.isLost = false;
    node.staleOwner = undefined;
    this.#hold(node, worker);
    this.#held.add(node);
    return { task: node.task, change };
  }

  /** The claim is durable under the number `fence`. Undefined when it is gone: then the worker must not begin. */
  start(
    id: string,
    request: { fence: number; attempt: number; worker?: string },
    now: Now,
  ): TaskChange | undefined {
    const node = this.#nodes.get(id);
    const decision = node && decideStart(node.task, request, now.wall);
    if (!node || decision?.outcome !== "started") return undefined;
    return this.#apply(node, decision.set);
  }

  /**
   * The holder lives: its lease runs anew from now. Only in memory. False when it holds the task no more, or was already
   * named as expired: then it is being ended.
   */
  signOfLife(id: string, fence: number, leaseMs: number, now: Now): boolean {
    const node = this.#nodes.get(id);
    if (!node || !this.#held.has(node) || node.isLost) return false;
    if (node.task.state !== "running" || node.task.fence !== fence) return false;
    node.leaseEndMs = now.monotonicMs + leaseMs;
    return true;
  }

  /** A good result. Nothing comes back when it belongs to no current claim: then it changes nothing. */
  complete(id: string, fence: number, now: Now): TaskChange[] {
    const node = this.#nodes.get(id);
    const decision = node && decideComplete(node.task, fence, now.wall);
    if (!node || decision?.outcome !== "completed") return [];
    const change = this.#apply(node, decision.set);
    for (const dependent of node.dependents) {
      dependent.openDependencies--;
      this.#offer(dependent);
    }
    return [change];
  }

  /** A failed attempt, which counts. Its own change comes first, then those of tasks that can never be done now. */
  fail(id: string, fence: number, how: { retryable: boolean }, now: Now): TaskChange[] {
    const node = this.#nodes.get(id);
    const decision = node && decideFail(node.task, { fence, retryable: how.retryable }, now.wall);
    if (!node || !decision || decision.outcome === "refused") return [];
    const change = this.#apply(node, decision.set);
    if (decision.outcome === "failed") return [change, ...this.#cascade(node, now)];
    if (decision.restMs > 0) this.#rest(node, now.monotonicMs + decision.restMs);
    else this.#offer(node);
    return [change];
  }

  /** The attempt ended without fault of its own: it does not count. `fence` is undefined for a claim that never started. */
  release(id: string, fence: number | undefined): TaskChange[] {
    const node = this.#nodes.get(id);
    const decision = node && decideRelease(node.task, fence);
    if (!node || decision?.outcome !== "released") return [];
    const change = this.#apply(node, decision.set);
    this.#offer(node);
    return [change];
  }

  /**
   * The holder fell silent or died, and the caller has ended everything it had started: only then may the task be done
   * again. It counts as an attempt. The lease itself is not looked at: a worker proven dead is replaced at once.
   */
  recoverLease(id: string, fence: number | undefined, now: Now): TaskChange[] {
    const node = this.#nodes.get(id);
    const decision = node && decideRecover(node.task, fence, now.wall);
    if (!node || !decision || decision.outcome === "refused") return [];
    const staleOwner = node.task.owner;
    const change = this.#apply(node, decision.set);
    if (decision.outcome === "failed") return [change, ...this.#cascade(node, now)];
    node.staleOwner = staleOwner ?? undefined;
    this.#offer(node);
    return [change];
  }

  /**
   * A task will not be done, nor will those that need it. Its paths are free from here on, so whoever works on it is
   * ended before.
   */
  cancel(id: string, now: Now): TaskChange[] {
    const node = this.#nodes.get(id);
    const change = node && this.#cancel(node, now);
    return change ? [change, ...this.#cascade(node, now)] : [];
  }

  /** The tasks whose lease is over, until `recoverLease` or a result ends that. A sign of life comes too late for them. */
  expired(now: Now): ExpiredLease[] {
    const expired: ExpiredLease[] = [];
    for (const node of byId(this.#held)) {
      if (!node.isLost && node.leaseEndMs > now.monotonicMs) continue;
      node.isLost = true;
      const { task } = node;
      const fence = task.state === "running" ? task.fence : undefined;
      expired.push({ task, worker: task.owner ?? "", fence });
    }
    return expired;
  }

  /**
   * How long until a lease or a backoff ends that nobody knows of yet; undefined when there is none. 0 is said once for
   * backoffs that are over: their tasks are ready then, whether somebody asks for them or not.
   */
  nextWakeMs(now: Now): number | undefined {
    this.#settleLoaded(now);
    if (this.#wakeRested(now)) return 0;
    let next = this.#resting.first?.notBeforeMs ?? Number.POSITIVE_INFINITY;
    for (const { isLost, leaseEndMs } of this.#held) if (!isLost) next = Math.min(next, leaseEndMs);
    return Number.isFinite(next) ? Math.max(0, next - now.monotonicMs) : undefined;
  }

  counts(): TaskCounts {
    const { completed, failed, cancelled } = this.#counts;
    return { ...this.#counts, total: this.#nodes.size, done: completed + failed + cancelled };
  }

  /** Whether every task is at its end. */
  get isDone(): boolean {
    const { pending, claimed, running } = this.#counts;
    return pending + claimed + running === 0;
  }

  get(id: string): Task | undefined {
    return this.#nodes.get(id)?.task;
  }

  #load(node: Node): void {
    const { task } = node;
    this.#counts[task.state]++;
    for (const id of new Set(task.dependencies)) {
      const dependency = this.#nodes.get(id);
      if (dependency?.task.state === "completed") continue;
      node.openDependencies++;
      dependency?.dependents.push(node);
    }
    if (task.state === "pending" && task.lease_expires !== null) this.#loadedResting.add(node);
    if (!isHeld(task.state)) return;
    this.#orphans.add(node);
    this.#hold(node, task.owner ?? "");
  }

  /** A wall clock may have jumped since the rest was written down, so it is never longer than the policy itself says. */
  #settleLoaded(now: Now): void {
    for (const node of this.#loadedResting) {
      const { task } = node;
      const wholeMs = backoffMs(retryRule(task), task.retry_count);
      const leftMs = Date.parse(task.lease_expires ?? "") - now.wall.getTime();
      // A moment that JavaScript cannot read (a leap second) gives no number.
      const restMs = Number.isNaN(leftMs) ? wholeMs : Math.min(Math.max(leftMs, 0), wholeMs);
      this.#rest(node, now.monotonicMs + restMs);
    }
    this.#loadedResting.clear();
  }

  /** Moves tasks whose backoff is over to the ready ones; true when there were any. */
  #wakeRested(now: Now): boolean {
    let woken = false;
    for (let node = this.#resting.first; node; node = this.#resting.first) {
      if ((node.notBeforeMs ?? 0) > now.monotonicMs) break;
      this.#resting.remove(node);
      node.notBeforeMs = undefined;
      this.#offer(node);
      woken = true;
    }
    return woken;
  }

  /** Takes the first task that nobody is in the way of. Those that are only kept from one worker come into `aside`. */
  #bestFor(staleWorker: string | undefined, aside: Node[]): Node | undefined {
    for (let group = this.#queue.first; group; group = this.#queue.first) {
      const node = group.ready.first;
      if (!node) throw new Error("An empty group is in the queue.");
      const blocker = this.#paths.blocker(group.footprint);
      if (blocker !== undefined) {
        this.#queue.remove(group);
        group.isParked = true;
        this.#nodes.get(blocker)?.parked.push(group);
        continue;
      }
      if (staleWorker === undefined || node.staleOwner !== staleWorker) return node;
      // At most as many as this worker has lost, each of which took it a lease.
      this.#dequeue(node);
      aside.push(node);
    }
    return undefined;
  }

  /** Makes a task claimable if nothing keeps it back. */
  #offer(node: Node): void {
    const isKept = node.openDependencies > 0 || node.place !== -1 || this.#loadedResting.has(node);
    if (node.task.state === "pending" && !isKept) this.#enqueue(node);
  }

  #enqueue(node: Node): void {
    const { group } = node;
    group.ready.push(node);
    if (group.isParked) return;
    if (group.place === -1) this.#queue.push(group);
    else this.#queue.update(group);
  }

  #rest(node: Node, untilMs: number): void {
    node.notBeforeMs = untilMs;
    this.#resting.push(node);
  }

  /** Takes a pending task out of wherever it waits. */
  #dequeue(node: Node): void {
    this.#loadedResting.delete(node);
    if (node.place === -1) return;
    if (node.notBeforeMs !== undefined) {
      this.#resting.remove(node);
      node.notBeforeMs = undefined;
      return;
    }
    const { group } = node;
    group.ready.remove(node);
    if (group.place === -1) return;
    if (group.ready.size === 0) this.#queue.remove(group);
    else this.#queue.update(group);
  }

  #hold(node: Node, worker: string): void {
    this.#busy.set(worker, (this.#busy.get(worker) ?? 0) + 1);
    this.#paths.hold(node.task.id, node.group.footprint);
  }

  #letGo(node: Node, worker: string): void {
    this.#held.delete(node);
    this.#orphans.delete(node);
    const others = (this.#busy.get(worker) ?? 1) - 1;
    if (others > 0) this.#busy.set(worker, others);
    else this.#busy.delete(worker);
    this.#paths.release(node.task.id);
    for (const group of node.parked.splice(0)) {
      group.isParked = false;
      if (group.ready.size > 0) this.#queue.push(group);
    }
  }

  #cancel(node: Node, now: Now): TaskChange | undefined {
    const decision = decideCancel(node.task, now.wall);
    return decision.outcome === "cancelled" ? this.#apply(node, decision.set) : undefined;
  }

  /** Cancels everything that needs a task which will never complete. */
  #cascade(root: Node, now: Now): TaskChange[] {
    const code = root.task.state === "failed" ? "dependency_failed" : "dependency_cancelled";
    const because = { code, task: root.task.id } as const;
    const changes: { node: Node; change: TaskChange }[] = [];
    const open = [root];
    for (let above = open.pop(); above; above = open.pop()) {
      for (const node of above.dependents) {
        const change = this.#cancel(node, now);
        if (!change) continue;
        changes.push({ node, change: { ...change, because } });
        open.push(node);
      }
    }
    return changes.sort((a, b) => a.node.idRank - b.node.idRank).map(({ change }) => change);
  }

  #apply(node: Node, set: TaskSet): TaskChange {
    const { id, state, owner } = node.task;
    if (state === "pending") this.#dequeue(node);
    node.task = { ...node.task, ...set };
    this.#counts[state]--;
    this.#counts[node.task.state]++;
    if (isHeld(state) && !isHeld(node.task.state)) this.#letGo(node, owner ?? "");
    return { id, set };
  }
}

function nodeOf(task: Task, groups: Map<string, Group>): Node {
  const footprint = footprintOf(task);
  let group = groups.get(footprint.key);
  if (!group) {
    group = { footprint, ready: new Heap((a, b) => a.rank < b.rank), isParked: false, place: -1 };
    groups.set(footprint.key, group);
  }
  return {
    task,
    rank: 0,
    idRank: 0,
    openDependencies: 0,
    dependents: [],
    group,
    place: -1,
    notBeforeMs: undefined,
    leaseEndMs: Number.POSITIVE_INFINITY,
    isLost: false,
    staleOwner: undefined,
    parked: [],
  };
}

function headRank(group: Group): number {
  return group.ready.first?.rank ?? Number.POSITIVE_INFINITY;
}

function byId(nodes: ReadonlySet<Node>): Node[] {
  return [...nodes].sort((a, b) => a.idRank - b.idRank);
}
