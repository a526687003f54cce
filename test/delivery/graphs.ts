/** Task graphs for the tests of delivery. */
import fc from "fast-check";

import type { GoalTask, TaskGraph } from "../../src/format/task-graph.ts";

/** A pending task of an executor. */
export function taskOf(id: string, set: Partial<GoalTask> = {}): GoalTask {
  return {
    id,
    title: "a part",
    description: "a part of the work",
    status: "pending",
    owner_role: "executor",
    evidence: [],
    retry_count: 0,
    max_retries: 0,
    lease_expires_at: null,
    dependencies: [],
    read_set: [],
    write_set: [`src/${id}.ts`],
    risk: "low",
    acceptance: ["it is done"],
    ...set,
  };
}

/** The graph of some tasks. */
export function graphOf(...tasks: GoalTask[]): TaskGraph {
  return { version: 1, goal_id: "goal-20260514-delivery", generated_at: "2026-05-14T08:54:16Z", tasks };
}

const part = fc.constantFrom(
  "docs",
  "docs2",
  "src",
  "Src",
  "a",
  "größe",
  "文",
  "🜁",
  "\ufeff",
  "project files",
  "bench",
);
const spelling = fc.constantFrom<((path: string) => string)[]>(
  (path) => path,
  (path) => path,
  (path) => path,
  (path) => `./${path}`,
  (path) => `${path}/`,
  (path) => path.replaceAll("/", "//"),
  (path) => path.replaceAll("/", "/./"),
  (path) => ` ${path}\t`,
  (path) => `\u0085${path}\u2003`,
  (path) => `/${path}`,
  (path) => `C:/${path}`,
  (path) => `../${path}`,
  (path) => `${path}/../a`,
);
const path = fc.oneof(
  {
    weight: 12,
    arbitrary: fc
      .tuple(fc.array(part, { minLength: 1, maxLength: 3 }), spelling)
      .map(([parts, spell]) => spell(parts.join("/"))),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom("project files", " project files ", "./project files", "project files/"),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom("", " ", ".", "./", "/", "..", "...", "performance.md", "a\\b", "__proto__"),
  },
);
const paths = fc.array(path, { maxLength: 4 });
/** Ids whose order by bytes is not that by UTF-16 are among them. */
const id = fc.oneof(
  fc.constantFrom("goal-agent-execute", "a", "A", "a-1", "a.1", "a\uffee", "a😀", "a\ue000", "10", "9"),
  fc.stringMatching(/^[a-zA-Z0-9][ -~]{0,6}$/),
);

/** Sound graphs with dependencies of every shape and paths in every spelling, small enough to overlap often. */
export const anyGraph: fc.Arbitrary<TaskGraph> = fc
  .tuple(
    fc.uniqueArray(
      fc.record({
        id,
        status: fc.constantFrom<GoalTask["status"][]>("pending", "pending", "pending", "blocked", "done"),
        owner: fc.option(fc.constantFrom("executor", "architect"), { nil: undefined, freq: 4 }),
        read_set: paths,
        write_set: paths,
        risk: fc.constantFrom("low", "medium", "high", "security-sensitive", "Security"),
      }),
      { selector: (task) => task.id, minLength: 1, maxLength: 14 },
    ),
    fc.constantFrom("free", "chain", "star", "some", "many"),
    fc.infiniteStream(fc.nat({ max: 99 })),
    fc.boolean(),
  )
  .map(([records, shape, chances, reversed]) => {
    const chance = (): number => chances.next().value ?? 0;
    const tasks = records.map(({ owner, ...record }, at) => {
      const earlier = records.slice(0, at).map((one) => one.id);
      const among = {
        free: [],
        chain: earlier.slice(-1),
        star: earlier.slice(0, 1),
        some: earlier.filter(() => chance() < 20),
        many: earlier.filter(() => chance() < 60),
      }[shape];
      // Naming a dependency twice is allowed.
      const dependencies = [...(among ?? []), ...(among ?? []).filter(() => chance() < 10)];
      const { owner_role: _, ...task } = taskOf(record.id, { ...record, dependencies });
      return owner === undefined ? task : { ...task, owner_role: owner };
    });
    return graphOf(...(reversed ? tasks.toReversed() : tasks));
  });
