/** The order in which the tasks of a graph are worked off one by one. Tasks are numbers here: the ranks of their ids. */
import { byIdBytes } from "../format/names.ts";
import type { GoalTask } from "../format/task-graph.ts";

/** A task of a sound graph, and the ranks of the tasks it waits for, each once. */
export interface RankedTask {
  task: GoalTask;
  waitsFor: readonly number[];
}

/** Tasks by rank, which is the place of their ids in the order of bytes. */
export function ranked(graph: readonly GoalTask[]): RankedTask[] {
  const ids = inByteOrder(graph.map(({ id }) => id));
  const rankOf = new Map(ids.map((id, rank) => [id, rank]));
  const tasks: RankedTask[] = [];
  for (const task of graph) {
    const waitsFor: number[] = [];
    for (const id of task.dependencies) {
      const rank = rankOf.get(id);
      if (rank !== undefined) waitsFor.push(rank);
    }
    const rank = rankOf.get(task.id) ?? 0;
    tasks[rank] = { task, waitsFor: waitsFor.length < 2 ? waitsFor : [...new Set(waitsFor)] };
  }
  return tasks;
}

/** How many tasks wait for each task, by rank. */
export function waitersOf(tasks: readonly RankedTask[]): Uint32Array {
  const waiters = new Uint32Array(tasks.length);
  for (const { waitsFor } of tasks) {
    for (const rank of waitsFor) waiters[rank] = (waiters[rank] ?? 0) + 1;
  }
  return waiters;
}

/** A copy in the order of the texts' bytes. */
export function inByteOrder(texts: readonly string[]): string[] {
  // Without surrogates and what comes after them that is the order of the characters, which sorts much faster.
  return texts.some((text) => /[\ud800-\uffff]/.test(text))
    ? byIdBytes(texts, (text) => text)
    : texts.toSorted();
}

/** Ranks such that each time the smallest follows whose dependencies have all come before. */
export function inWorkingOrder(tasks: readonly RankedTask[]): Uint32Array {
  const open = Uint32Array.from(tasks, ({ waitsFor }) => waitsFor.length);
  // Who waits for a task lies in one piece of `waiting`, which ends where that of the next task begins.
  const ends = waitersOf(tasks);
  for (let rank = 1; rank < ends.length; rank++) ends[rank] = (ends[rank] ?? 0) + (ends[rank - 1] ?? 0);
  const starts = ends.slice();
  const waiting = new Uint32Array(ends.at(-1) ?? 0);
  for (const [rank, { waitsFor }] of tasks.entries()) {
    for (const dependency of waitsFor) {
      const at = (starts[dependency] ?? 0) - 1;
      starts[dependency] = at;
      waiting[at] = rank;
    }
  }
  const free = new RankHeap();
  for (const [rank, count] of open.entries()) if (count === 0) free.push(rank);
  const order = new Uint32Array(tasks.length);
  let placed = 0;
  for (let rank = free.pop(); rank !== undefined; rank = free.pop()) {
    order[placed++] = rank;
    for (let at = starts[rank] ?? 0; at < (ends[rank] ?? 0); at++) {
      const waiter = waiting[at] ?? 0;
      const left = (open[waiter] ?? 0) - 1;
      open[waiter] = left;
      if (left === 0) free.push(waiter);
    }
  }
  return order.subarray(0, placed);
}

/** A binary heap of numbers, the smallest first. */
class RankHeap {
  readonly #ranks: number[] = [];

  push(rank: number): void {
    const ranks = this.#ranks;
    let place = ranks.push(rank) - 1;
    while (place > 0) {
      const above = (place - 1) >> 1;
      const other = ranks[above] ?? 0;
      if (other <= rank) break;
      ranks[place] = other;
      place = above;
    }
    ranks[place] = rank;
  }

  pop(): number | undefined {
    const ranks = this.#ranks;
    const first = ranks[0];
    const last = ranks.pop();
    if (last === undefined || ranks.length === 0) return first;
    let place = 0;
    for (;;) {
      const left = 2 * place + 1;
      if (left >= ranks.length) break;
      const right = left + 1;
      const below = right < ranks.length && (ranks[right] ?? 0) < (ranks[left] ?? 0) ? right : left;
      const other = ranks[below] ?? 0;
      if (other >= last) break;
      ranks[place] = other;
      place = below;
    }
    ranks[place] = last;
    return first;
  }
}
