/** The rules of slices, driven through made-up histories: everything lands in an order that the plan allows, and it ends. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { planChanges } from "../../src/delivery/metadata.ts";
import { planSlices } from "../../src/delivery/slice-plan.ts";
import type { SliceState } from "../../src/format/slices.ts";
import type { GoalTask, TaskGraph } from "../../src/format/task-graph.ts";
import type { Attempt, Work } from "../../src/format/work.ts";
import { openTasks } from "../../src/goal/agent-tasks.ts";
import { scaffoldWork } from "../../src/goal/scaffold.ts";
import {
  hasLanded,
  resolverId,
  sliceGraph,
  sliceMoves,
  sliceState,
  startOf,
  strandedSlices,
  unplannedSlices,
  waitsFor,
  withSlice,
} from "../../src/goal/slices.ts";
import { applyChanges } from "../../src/store/journal.ts";

const AT = "2026-01-01T00:00:00Z";

function task(id: string, dependencies: string[], write_set: string[]): GoalTask {
  const common = { status: "pending" as const, owner_role: "executor", retry_count: 0, max_retries: 2 };
  return {
    ...common,
    evidence: [],
    id,
    title: id,
    description: id,
    lease_expires_at: null,
    dependencies,
    read_set: [],
    write_set,
    risk: "low",
    acceptance: ["It holds."],
  };
}

/** Tasks that may wait for earlier ones and share a few paths. */
const graphs = fc
  .array(
    fc.record({
      waits: fc.array(fc.nat(6), { maxLength: 2 }),
      writes: fc.subarray(["a", "b", "c", "d"], { minLength: 1 }),
    }),
    {
      minLength: 1,
      maxLength: 6,
    },
  )
  .map((parts): TaskGraph => {
    const tasks = parts.map(({ waits, writes }, at) =>
      task(
        `goal-agent-implement-${at}`,
        [...new Set(waits.filter((one) => one < at))].map((one) => `goal-agent-implement-${one}`),
        writes,
      ),
    );
    return { version: 1, goal_id: "goal-1", generated_at: AT, tasks };
  });

/** A pool in a made-up world: how attempts and merges end is drawn. */
class Pool {
  graph: TaskGraph;
  work: Work = {
    ...scaffoldWork(),
    slices: { base: "base", head: "base", order: [], overlap_serializations: [], slices: [], set_aside: [] },
  };
  readonly live = new Set<string>();
  mostLive = 0;
  #commits = 0;
  #fence = 0;

  constructor(graph: TaskGraph) {
    this.graph = graph;
  }

  get slices() {
    const { slices } = this.work;
    if (!slices) throw new Error("there are none");
    return slices;
  }

  plan(): void {
    const wanted = new Set(unplannedSlices(this.graph, this.work).map(({ id }) => id));
    const plan = planSlices("/w", sliceGraph(this.graph));
    const fresh = { ...plan, slices: plan.slices.filter((one) => wanted.has(one.task_id)) };
    const documents = new Map<string, Record<string, unknown>>([
      ["task-graph.json", structuredClone(this.graph)],
    ]);
    applyChanges(documents, planChanges(this.graph, fresh));
    this.graph = documents.get("task-graph.json") as unknown as TaskGraph;
  }

  start(id: string): void {
    const found = this.graph.tasks.find((one) => one.id === id);
    if (!found) throw new Error(`no task ${id}`);
    for (const other of waitsFor(found, this.graph, this.work))
      expect(hasLanded(this.work, other)).toBe(true);
    if (!sliceState(this.work, id)) {
      const start = startOf(found, this.graph, this.work);
      if (start.from === "merge") expect(start.commits.length).toBeGreaterThan(1);
      const parents = start.from === "conflict" ? [start.onto, start.commit] : ["start"];
      this.#set({
        task_id: id,
        branch: id,
        start: "start",
        parents,
        attempts_from: 0,
        rounds: [],
        commit: null,
        landed: null,
      });
    }
    this.live.add(id);
    this.mostLive = Math.max(this.mostLive, this.live.size);
  }

  end(id: string, outcome: "finished" | "rejected"): void {
    this.live.delete(id);
    const attempt: Attempt = {
      task_id: id,
      number: 1,
      fence: ++this.#fence,
      run_key: id,
      spawn_id: id,
      status: "ended",
      outcome,
      outcome_code: null,
      start_tree: "t",
      result_tree: "t",
      started_at: AT,
      ended_at: AT,
      summary: null,
      usage: null,
      counted: true,
    };
    this.work = { ...this.work, attempts: [...this.work.attempts, attempt] };
    if (outcome === "rejected") return;
    this.#setTask(id, { status: "done" });
    this.#change(id, { commit: `c${++this.#commits}` });
  }

  land(id: string, fits: boolean): void {
    const state = sliceState(this.work, id);
    if (!state?.commit) throw new Error(`${id} has nothing that could land`);
    if (fits) {
      this.#change(id, { landed: `h${state.commit}` });
      this.work = {
        ...this.work,
        slices: { ...this.slices, head: `h${state.commit}`, order: [...this.slices.order, id] },
      };
      return;
    }
    const resolver = resolverId(id, this.graph);
    const conflict = {
      commit: state.commit,
      onto: this.slices.head,
      files: ["a"],
      kinds: [],
      evidence: "e",
      resolved_by: resolver,
    };
    this.#change(id, { conflict });
    if (resolver === null) return;
    const solving = task(resolver, [id], this.graph.tasks.find((one) => one.id === id)?.write_set ?? []);
    this.graph = { ...this.graph, tasks: [...this.graph.tasks, solving] };
  }

  #setTask(id: string, set: Partial<GoalTask>): void {
    this.graph = {
      ...this.graph,
      tasks: this.graph.tasks.map((one) => (one.id === id ? { ...one, ...set } : one)),
    };
  }

  #change(id: string, set: Partial<SliceState>): void {
    const state = sliceState(this.work, id);
    if (state) this.#set({ ...state, ...set });
  }

  #set(state: SliceState): void {
    this.work = { ...this.work, slices: { ...this.slices, slices: withSlice(this.slices, state) } };
  }
}

/** Lets the pool come to its end; the draws say how attempts and merges end, and who of those at work ends first. */
function runPool(pool: Pool, width: number, maxAttempts: number, draws: Iterator<number>): void {
  const draw = (): number => Number(draws.next().value ?? 0);
  for (let step = 0; step < 2_000; step++) {
    if (unplannedSlices(pool.graph, pool.work).length > 0) pool.plan();
    const moves = sliceMoves(pool.work, pool.graph, { width, maxAttempts }, pool.live);
    if (moves.land !== undefined) {
      pool.land(moves.land, draw() % 4 !== 0);
      continue;
    }
    for (const next of moves.start) pool.start(next.task);
    const [first, ...others] = [...pool.live];
    if (first === undefined) return;
    const ending = [first, ...others][draw() % pool.live.size] ?? first;
    pool.end(ending, draw() % 5 === 0 ? "rejected" : "finished");
  }
  throw new Error("it does not end");
}

describe("slices", () => {
  test("are worked on only after what they wait for has landed, no more at once than allowed, until nothing is left", () => {
    fc.assert(
      fc.property(
        graphs,
        fc.integer({ min: 1, max: 4 }),
        fc.infiniteStream(fc.nat(1_000)),
        (graph, width, draws) => {
          const pool = new Pool(graph);
          runPool(pool, width, 20, draws);
          expect(pool.mostLive).toBeLessThanOrEqual(width);
          const isStuck = strandedSlices(pool.graph, pool.work).length > 0;
          if (isStuck) return;
          expect(openTasks(pool.graph, pool.work)).toEqual([]);
          for (const { id } of pool.graph.tasks) expect(hasLanded(pool.work, id)).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("that never pass their checks end with their attempts, and no further turn is paid for", () => {
    const pool = new Pool({
      version: 1,
      goal_id: "goal-1",
      generated_at: AT,
      tasks: [
        task("goal-agent-implement-0", [], ["a"]),
        task("goal-agent-implement-1", ["goal-agent-implement-0"], ["b"]),
      ],
    });
    pool.plan();
    const limits = { width: 2, maxAttempts: 2 };
    for (let attempt = 0; attempt < 2; attempt++) {
      expect(sliceMoves(pool.work, pool.graph, limits).start).toHaveLength(1);
      pool.start("goal-agent-implement-0");
      pool.end("goal-agent-implement-0", "rejected");
    }
    expect(sliceMoves(pool.work, pool.graph, limits)).toEqual({ start: [] });
  });

  test("a conflict is handed on three times at most", () => {
    const pool = new Pool({ version: 1, goal_id: "goal-1", generated_at: AT, tasks: [task("x", [], ["a"])] });
    pool.plan();
    let id = "x";
    const tried: string[] = [];
    for (let round = 0; round < 4; round++) {
      pool.start(id);
      pool.end(id, "finished");
      pool.land(id, false);
      tried.push(id);
      if (strandedSlices(pool.graph, pool.work).length > 0) break;
      pool.plan();
      id = sliceMoves(pool.work, pool.graph, { width: 1, maxAttempts: 3 }).start[0]?.task ?? "";
    }
    expect(tried).toEqual([
      "x",
      "goal-agent-resolve-x",
      "goal-agent-resolve-x-again-2",
      "goal-agent-resolve-x-again-3",
    ]);
    expect(strandedSlices(pool.graph, pool.work)).toEqual(["goal-agent-resolve-x-again-3"]);
  });

  test("one that waits for some of those that have landed starts from exactly these", () => {
    const ids = ["goal-agent-implement-0", "goal-agent-implement-1", "goal-agent-implement-2"] as const;
    const last = task("goal-agent-implement-3", [ids[0], ids[2]], ["d"]);
    const tasks = [...ids.map((id, at) => task(id, [], [`${at}`])), last];
    const pool = new Pool({ version: 1, goal_id: "goal-1", generated_at: AT, tasks });
    pool.plan();
    for (const id of ids) {
      pool.start(id);
      pool.end(id, "finished");
      pool.land(id, true);
    }
    expect(startOf(last, pool.graph, pool.work)).toEqual({ from: "merge", commits: ["c1", "c3"] });
    const one = task("goal-agent-implement-4", [ids[1]], ["e"]);
    expect(startOf(one, pool.graph, pool.work)).toEqual({ from: "commit", commit: "c2" });
    const all = task("goal-agent-implement-5", [...ids], ["f"]);
    expect(startOf(all, pool.graph, pool.work)).toEqual({ from: "commit", commit: "hc3" });
    expect(startOf(task("goal-agent-implement-6", [], ["g"]), pool.graph, pool.work)).toEqual({
      from: "commit",
      commit: "base",
    });
  });
});
