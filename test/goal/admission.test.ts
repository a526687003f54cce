/** Which proposed tasks a goal takes: every reason to refuse one, and what holds for whatever is taken. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { TaskProposal } from "../../src/format/agent-run.ts";
import { checkTaskGraph, type GoalTask, type TaskGraph } from "../../src/format/task-graph.ts";
import {
  admit,
  ADMISSION_LIMITS,
  tasksToAdd,
  whyUnsafe,
  type AdmissionContext,
  type BudgetSnapshot,
  type RejectionCode,
} from "../../src/goal/admission.ts";
import { scaffoldGraph } from "../../src/goal/scaffold.ts";
import { TASK } from "../../src/goal/task-ids.ts";
import { footprintOf, OwnershipMap } from "../../src/scheduler/ownership.ts";

const NOW = "2026-01-02T03:04:05Z";

const UNLIMITED: BudgetSnapshot = {
  budget_time: null,
  total_budget_secs: null,
  elapsed_since_created_secs: 0,
  remaining_budget_secs: null,
  budget_tokens: null,
  used_tokens: 0,
  remaining_budget_tokens: null,
  budget_usd: null,
  estimated_cost_usd: 0,
  remaining_budget_usd: null,
};

function proposal(id: string, more: Partial<TaskProposal> = {}): TaskProposal {
  return {
    id,
    title: `Do ${id}`,
    description: `What ${id} is about.`,
    dependencies: [],
    read_set: [],
    write_set: [`${id.trim() || "x"}.txt`],
    acceptance: ["It is done."],
    risk: "moderate",
    budget_secs: 300,
    priority: 0,
    ...more,
  };
}

/** The graph of a goal whose plan has these parts. */
function graphOf(parts: Readonly<Record<string, Partial<GoalTask>>> = {}): TaskGraph {
  const graph = scaffoldGraph("goal-x", NOW);
  const execute = graph.tasks.find(({ id }) => id === TASK.execute);
  const verify = graph.tasks.find(({ id }) => id === TASK.verify);
  if (!execute || !verify) throw new Error("the scaffold has both");
  for (const [id, more] of Object.entries(parts)) {
    graph.tasks.push({ ...execute, owner_role: "executor", id, ...more });
    verify.dependencies.push(id);
  }
  return graph;
}

function contextOf(graph = graphOf(), more: Partial<AdmissionContext> = {}): AdmissionContext {
  return { tasks: graph.tasks, proposer: TASK.execute, budget: UNLIMITED, ...more };
}

function codes(proposals: readonly TaskProposal[], context = contextOf()): Record<string, RejectionCode> {
  const { rejected } = admit(proposals, context);
  return Object.fromEntries(rejected.map(({ task, code }) => [task.id, code]));
}

/** The graph with what was accepted. */
function appended(accepted: readonly TaskProposal[], graph: TaskGraph, proposer: string): TaskGraph {
  const how = { proposer, evidencePath: "artifacts/x.json", maxRetries: 2 };
  const { tasks, verifyDependencies } = tasksToAdd(accepted, graph, how);
  const before = graph.tasks.map((task) =>
    task.id === TASK.verify && verifyDependencies ? { ...task, dependencies: verifyDependencies } : task,
  );
  return { ...graph, tasks: [...before, ...tasks] };
}

describe("a proposal is refused", () => {
  test.each<[RejectionCode, string, Partial<TaskProposal> & { id?: string }]>([
    ["blank_id", "without an id", { id: "  " }],
    ["blank_title", "without a title", { title: " " }],
    ["blank_description", "without a description", { description: "\n" }],
    ["no_acceptance", "without anything that shows that it is done", { acceptance: [" "] }],
    ["unsafe_id", "with an id that would be a path", { id: "../../x" }],
    ["unsafe_id", "with an id that is omk's own to give", { id: "goal-agent-repair" }],
    ["id_in_graph", "with the id of a task that there is", { id: TASK.plan }],
    ["too_large", "with a title as long as a book", { title: "x".repeat(10_000) }],
    ["too_large", "with a thousand paths", { write_set: Array.from({ length: 1_000 }, (_, at) => `f${at}`) }],
    ["zero_budget", "with no time to be done in", { budget_secs: 0 }],
    ["publishing", "when it has effects outside", { risk: "external-side-effect" }],
    ["publishing", "when it writes to a registry", { write_set: ["crates.io"] }],
    ["publishing", "when it writes to an address", { write_set: ["https://registry.npmjs.org/x"] }],
    ["unsafe_path", "when it writes above the project", { write_set: ["../other"] }],
    ["unsafe_path", "when it writes an absolute path", { write_set: ["/etc/passwd"] }],
    ["unsafe_path", "when it writes to a home folder", { write_set: ["~/.ssh/config"] }],
    ["unsafe_path", "when it reads git's own files", { read_set: ["a/.GIT/config"] }],
    ["unsafe_path", "when it writes the list of submodules", { write_set: [".gitmodules"] }],
    ["unsafe_path", "when it writes omk's own configuration", { write_set: [".omk/gates.toml"] }],
    ["unknown_dependency", "when it waits for what there is not", { dependencies: ["nowhere"] }],
    ["dependency_cycle", "when it waits for itself", { id: "self", dependencies: ["self"] }],
    ["dependency_cycle", "when it waits for the gates, which wait for it", { dependencies: [TASK.verify] }],
    ["dependency_cycle", "when it waits for the review", { dependencies: [TASK.review] }],
  ])("%s: %s", (code, _when, more) => {
    const { accepted, rejected } = admit([proposal("t", more)], contextOf());
    expect(accepted).toEqual([]);
    expect(rejected).toMatchObject([{ code }]);
    expect(rejected[0]?.reason).not.toBe("");
  });

  test("when an earlier one has its id; the first counts, whatever becomes of it", () => {
    const twins = [proposal("a", { title: "first" }), proposal("a", { title: "second" })];
    const { accepted, rejected } = admit(twins, contextOf());
    expect(accepted).toMatchObject([{ title: "first" }]);
    expect(rejected).toMatchObject([{ code: "duplicate_id", task: { title: "second" } }]);
    expect(codes([proposal("a", { budget_secs: 0 }), proposal("a")])).toEqual({ a: "duplicate_id" });
  });

  test("when what it waits for is refused, and so on", () => {
    const chain = [
      proposal("c", { dependencies: ["b"] }),
      proposal("b", { dependencies: ["a"] }),
      proposal("a", { write_set: [".git/config"] }),
    ];
    expect(codes(chain)).toEqual({ a: "unsafe_path", b: "dependency_refused", c: "dependency_refused" });
  });

  test("when tasks wait for each other in a circle, and whatever waits for those", () => {
    const circle = [
      proposal("a", { dependencies: ["b"] }),
      proposal("b", { dependencies: ["a"] }),
      proposal("c", { dependencies: ["a"] }),
      proposal("d"),
    ];
    expect(codes(circle)).toEqual({
      a: "dependency_cycle",
      b: "dependency_refused",
      c: "dependency_refused",
    });
  });

  test.each([
    ["write-set conflict with accepted task a: src/x.ts", ["src/x.ts"], [], ["./src//x.ts"], []],
    ["write-set conflict with accepted task a: src", ["src/x.ts"], [], ["src/"], []],
    ["read/write conflict with accepted task a: docs/y.md", ["docs"], [], [], ["docs/y.md"]],
    ["write/read conflict with accepted task a: src", [], ["src/x.ts"], ["src"], []],
    ["write-set conflict with accepted task a: project files", ["src/x.ts"], [], ["project files"], []],
  ])("when nothing orders it and a task on its paths: %s", (reason, write, read, myWrites, myReads) => {
    const first = proposal("a", { write_set: write, read_set: read });
    const mine = proposal("b", { write_set: myWrites, read_set: myReads });
    expect(admit([first, mine], contextOf()).rejected).toMatchObject([{ code: "access_conflict", reason }]);
    expect(codes([first, { ...mine, dependencies: ["a"] }])).toEqual({});
  });

  test("when a part of the plan that is still open is on its paths, unless it waits for that", () => {
    const graph = graphOf({
      "goal-agent-implement-0": { write_set: ["a"], status: "done" },
      "goal-agent-implement-1": { write_set: ["b"] },
    });
    graph.tasks = graph.tasks.filter(({ id }) => id !== TASK.execute);
    const context = contextOf(graph, { proposer: "goal-agent-implement-0" });
    expect(codes([proposal("t", { write_set: ["a/x"] })], context)).toEqual({});
    expect(codes([proposal("t", { write_set: ["b/x"] })], context)).toEqual({ t: "access_conflict" });
    const ordered = proposal("t", { write_set: ["b/x"], dependencies: ["goal-agent-implement-1"] });
    expect(codes([ordered], context)).toEqual({});
    expect(codes([proposal("t", { write_set: ["c"] })], context)).toEqual({ t: "outside_plan" });
    expect(codes([proposal("t", { write_set: ["project files"] })], context)).toEqual({ t: "outside_plan" });
  });

  test("when the goal's time, tokens or money do not reach", () => {
    const budget = {
      ...UNLIMITED,
      budget_time: "10m",
      total_budget_secs: 600,
      elapsed_since_created_secs: 400,
    };
    const { rejected } = admit([proposal("t")], contextOf(graphOf(), { budget }));
    expect(rejected).toMatchObject([{ code: "time_budget" }]);
    expect(rejected[0]?.reason).toContain("would exceed goal time budget");
    expect(codes([proposal("t", { budget_secs: 200 })], contextOf(graphOf(), { budget }))).toEqual({});
    const tokens = { ...UNLIMITED, budget_tokens: 10, used_tokens: 10 };
    expect(codes([proposal("t")], contextOf(graphOf(), { budget: tokens }))).toEqual({ t: "token_budget" });
    const money = { ...UNLIMITED, budget_usd: 1, estimated_cost_usd: 1 };
    expect(codes([proposal("t")], contextOf(graphOf(), { budget: money }))).toEqual({ t: "cost_budget" });
  });

  test("when there would be more tasks than a goal takes, in all or from agents", () => {
    const many = Array.from({ length: 60 }, (_, at) => proposal(`t${at}`));
    const { accepted, rejected } = admit(many, contextOf());
    expect(accepted).toHaveLength(ADMISSION_LIMITS.proposals);
    expect(new Set(rejected.map(({ code }) => code))).toEqual(new Set(["too_many_proposals"]));
    const full = appended(accepted, graphOf(), TASK.execute);
    expect(codes([proposal("one-more")], contextOf(full))).toEqual({ "one-more": "too_many_proposals" });
    const limits = { proposals: 50, tasks: full.tasks.length };
    const plain = graphOf(Object.fromEntries(accepted.map(({ id, write_set }) => [id, { write_set }])));
    expect(codes([proposal("z")], contextOf(plain, { limits }))).toEqual({ z: "too_many_tasks" });
  });
});

describe("a proposal is taken", () => {
  test("whatever words it uses: what counts is what it does", () => {
    const words = proposal("pubsub", {
      title: "Publish/subscribe for crates.io names",
      description: "Publish events to subscribers; mentions crates.io and npm publish.",
      write_set: ["src/publish.ts", "src/crates.io.md"],
    });
    expect(codes([words])).toEqual({});
  });

  test("when it changes ordinary files that only look like git's", () => {
    for (const path of [".gitignore", ".gitattributes", ".github/workflows/ci.yml", "docs/.gitkeep", "a/omk"])
      expect(whyUnsafe(path)).toBeUndefined();
  });

  test("with its dependencies before it, in whatever order they are proposed", () => {
    const { accepted } = admit(
      [proposal("b", { dependencies: ["a"] }), proposal("a"), proposal("c", { dependencies: [TASK.plan] })],
      contextOf(),
    );
    expect(accepted.map(({ id }) => id)).toEqual(["a", "b", "c"]);
  });

  test("in a graph of 0.5.0, whose agent waits for the gates, without a circle", () => {
    const graph = graphOf();
    for (const task of graph.tasks) {
      if (task.id === TASK.execute) task.dependencies = [TASK.verify];
      if (task.id === TASK.verify) task.dependencies = [TASK.plan];
    }
    const { accepted } = admit([proposal("t")], contextOf(graph));
    expect(accepted).toHaveLength(1);
    expect(checkTaskGraph(appended(accepted, graph, TASK.execute))).toEqual([]);
  });
});

/** Ids, paths and texts of which many meet, repeat or break a rule. */
const ids = fc.constantFrom(
  "a",
  "b",
  "c",
  "d",
  "e",
  "f",
  "g",
  TASK.plan,
  TASK.verify,
  TASK.execute,
  "",
  "A",
  "..",
);
const paths = fc.constantFrom(
  "src",
  "src/x.ts",
  "src/y.ts",
  "docs",
  "docs/a.md",
  "project files",
  "../x",
  ".git/x",
);
const proposals = fc.array(
  fc.record({
    id: ids,
    title: fc.constantFrom("t", " "),
    description: fc.constantFrom("d", "publish it"),
    dependencies: fc.array(ids, { maxLength: 3 }),
    read_set: fc.array(paths, { maxLength: 2 }),
    write_set: fc.array(paths, { maxLength: 2 }),
    acceptance: fc.constantFrom(["done"], [] as string[], ["done", "really"]),
    risk: fc.constantFrom("low", "moderate", "external-side-effect"),
    budget_secs: fc.constantFrom(300, 300, 300, 0),
    priority: fc.constant(0),
  }),
  { maxLength: 14 },
);
const parts = fc.constantFrom<Readonly<Record<string, Partial<GoalTask>>>>(
  {},
  { "goal-agent-implement-0": { write_set: ["src"], status: "done" } },
  { "goal-agent-implement-0": { write_set: ["docs/a.md"] } },
);

describe("whatever is proposed", () => {
  test("what is taken leaves a sound graph, at every step of its recording", () => {
    fc.assert(
      fc.property(proposals, parts, (batch, planned) => {
        const graph = graphOf(planned);
        const { accepted } = admit(batch, contextOf(graph));
        for (const upTo of accepted.keys()) {
          const some = accepted.slice(0, upTo + 1);
          expect(checkTaskGraph(appended(some, graph, TASK.execute))).toEqual([]);
        }
      }),
    );
  });

  test("each proposal is taken or refused once, with a code and a sentence", () => {
    fc.assert(
      fc.property(proposals, (batch) => {
        const { accepted, rejected } = admit(batch, contextOf());
        expect(accepted.length + rejected.length).toBe(batch.length);
        for (const task of batch)
          expect(accepted.includes(task)).toBe(!rejected.some((one) => one.task === task));
        for (const { code, reason } of rejected) {
          expect(code).toMatch(/^[a-z_]+$/);
          expect(reason.trim()).not.toBe("");
        }
      }),
    );
  });

  test("no two open tasks that touch the same paths are left without an order", () => {
    fc.assert(
      fc.property(proposals, parts, (batch, planned) => {
        const graph = graphOf(planned);
        const { accepted } = admit(batch, contextOf(graph));
        const { tasks } = appended(accepted, graph, TASK.execute);
        const byId = new Map(tasks.map((task) => [task.id, task]));
        const waitsFor = (id: string, other: string): boolean =>
          (byId.get(id)?.dependencies ?? []).some((one) => one === other || waitsFor(one, other));
        const open = tasks.filter(({ id }) => accepted.some((one) => one.id === id));
        for (const one of open) {
          for (const other of open) {
            if (one.id >= other.id) continue;
            const map = new OwnershipMap();
            map.hold(other.id, footprintOf(other));
            if (map.blocker(footprintOf(one)) === undefined) continue;
            expect(waitsFor(one.id, other.id) || waitsFor(other.id, one.id)).toBe(true);
          }
        }
      }),
    );
  });

  test("the order of a batch decides only between twins and between tasks on the same paths", () => {
    const apart = proposals.map((batch) => {
      const first = new Map(batch.toReversed().map((task) => [task.id, task]));
      return [...first.values()].map((task, at) => ({ ...task, read_set: [], write_set: [`own/${at}`] }));
    });
    const shuffled = apart.chain((batch) =>
      fc.tuple(fc.constant(batch), fc.shuffledSubarray(batch, { minLength: batch.length })),
    );
    fc.assert(
      fc.property(shuffled, ([batch, other]) => {
        const taken = (list: readonly TaskProposal[]) => new Set(admit(list, contextOf()).accepted);
        expect(taken(other)).toEqual(taken(batch));
      }),
    );
  });

  test("a flood is answered at once", () => {
    const flood = Array.from({ length: 20_000 }, (_, at) =>
      proposal(`t${at}`, { dependencies: at % 3 === 0 ? [`t${at + 1}`] : [], write_set: [`src/${at % 40}`] }),
    );
    const { accepted, rejected } = admit(flood, contextOf());
    expect(accepted).toHaveLength(40);
    expect(rejected).toHaveLength(flood.length - 40);
  });
});
