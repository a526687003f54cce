// The slice planner: against a plain transcription of its rules as far as that one gets, then against itself with fewer
// tasks. Where slices overlap without an order of their own, the overlaps are the output, and it grows with them.
import { interleave, result, timed } from "./measure.mjs";

const ROOT = "/goal/worktrees";
const SHAPES = ["sparse", "disjoint", "chain", "hot", "wild"];
const SMALL = [100, 1_000];
const [MANY, MOST] = [10_000, 50_000];

export const names = [
  ...SHAPES.flatMap((shape) => [
    ...SMALL.map((count) => `plan/${shape}-${count}`),
    `plan/${shape}-${MANY}`,
    `plan/${shape}-${MOST}`,
  ]),
  "plan/one-file-3000",
];

export async function* run(wanted, { measured, quick }) {
  const { planSlices, planByTheRules } = measured;
  const rounds = quick ? 3 : 10;
  // The transcription takes seconds for 1,000 tasks; checking that the plans agree has warmed both up.
  const slowRounds = quick ? 2 : 5;
  const cold = { warmups: 0 };
  for (const shape of SHAPES) {
    for (const count of SMALL) {
      const name = `plan/${shape}-${count}`;
      if (!wanted.has(name)) continue;
      const graph = graphOf(shape, count);
      requireSame(name, planSlices(ROOT, graph), planByTheRules(ROOT, graph));
      const contestants = {
        ours: () => timedAlone(() => planSlices(ROOT, graph)),
        rules: () => timedAlone(() => planByTheRules(ROOT, graph)),
      };
      const times =
        count < 1_000
          ? await interleave(rounds, contestants)
          : await interleave(slowRounds, contestants, cold);
      yield result(name, times.ours, times.rules, { note: noteOf(planSlices(ROOT, graph)) });
    }
    if (wanted.has(`plan/${shape}-${MANY}`)) {
      const [few, many] = [graphOf(shape, 1_000), graphOf(shape, MANY)];
      const contestants = {
        ours: () => timedAlone(() => planSlices(ROOT, many)),
        rules: () => timedAlone(() => planByTheRules(ROOT, few)),
      };
      planSlices(ROOT, many);
      const times = await interleave(slowRounds, contestants, cold);
      const note = `the transcription has 1000 tasks; ${noteOf(planSlices(ROOT, many))}`;
      const target = shape === "sparse" ? 0.05 : undefined;
      yield result(`plan/${shape}-${MANY}`, times.ours, times.rules, { target, note });
    }
    if (wanted.has(`plan/${shape}-${MOST}`)) {
      const target = shape === "sparse" ? 9 : undefined;
      yield await growth(`plan/${shape}-${MOST}`, graphOf(shape, MOST), graphOf(shape, MANY), target);
    }
  }
  if (wanted.has("plan/one-file-3000")) {
    // Nine times as many overlaps.
    yield await growth("plan/one-file-3000", graphOf("one-file", 3_000), graphOf("one-file", 1_000));
  }

  async function growth(name, large, small, target) {
    const times = await interleave(rounds, {
      large: () => timedAlone(() => planSlices(ROOT, large)),
      small: () => timedAlone(() => planSlices(ROOT, small)),
    });
    const note = `${small.tasks.length} tasks; ${noteOf(planSlices(ROOT, large))}`;
    return result(name, times.large, times.small, { target, note });
  }
}

/** Lets signals in before each turn: planning itself never waits, so Ctrl-C would have to. */
async function timedAlone(call) {
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
  return timed(call);
}

function requireSame(name, ours, rules) {
  if (JSON.stringify(ours) !== JSON.stringify(rules)) throw new Error(`${name}: the plans differ`);
}

function noteOf({ slices, overlap_serializations }) {
  return `${slices.length} slices, ${overlap_serializations.length} overlaps`;
}

// ---- The graphs

/**
 * `sparse`: up to two dependencies on any earlier task, files in modules, of which few meet; `disjoint`: no dependencies
 * and a file each; `chain`: each after the one before, and each may touch anything; `hot`: a hundred at a time write the
 * same file; `one-file`: all do; `wild`: paths in every spelling, folders and files, many dependencies.
 */
function graphOf(shape, count) {
  const random = randomFrom(count);
  const make = { sparse, disjoint, chain, hot, "one-file": oneFile, wild }[shape];
  const tasks = Array.from({ length: count }, (_, at) => ({
    title: "a part",
    description: "a part of the work",
    status: "pending",
    owner_role: "executor",
    evidence: [],
    retry_count: 0,
    max_retries: 0,
    lease_expires_at: null,
    risk: "medium",
    acceptance: ["it is done"],
    read_set: [],
    ...make(at, random, count),
    id: idOf(at),
  }));
  return {
    version: 1,
    goal_id: "goal-20260513-155000-deadbeef",
    generated_at: "2026-05-13T15:50:00Z",
    tasks,
  };
}

const idOf = (at) => `goal-agent-implement-${at}`;

function sparse(at, random, count) {
  const modules = count / 10;
  const anyFile = () => `src/module-${random(modules)}/part-${random(20)}/file-${random(20)}.ts`;
  return {
    dependencies: Array.from({ length: Math.min(at, random(3)) }, () => idOf(random(at))),
    read_set: ["prd.md", "technical-plan.md", anyFile()],
    write_set: [anyFile(), `test/module-${at}/`],
  };
}

function disjoint(at) {
  return {
    dependencies: [],
    read_set: ["prd.md", "technical-plan.md"],
    write_set: [`src/part-${at}/`, `test/part-${at}/`],
  };
}

function chain(at) {
  return {
    dependencies: at === 0 ? [] : [idOf(at - 1)],
    read_set: ["prd.md"],
    write_set: ["project files"],
  };
}

function hot(at) {
  const group = Math.floor(at / 100);
  return { dependencies: [], write_set: [`src/part-${at}.ts`, `src/hot-${group}.ts`] };
}

function oneFile() {
  return { dependencies: [], write_set: ["src/index.ts"] };
}

function wild(at, random, count) {
  const spell = [
    (path) => path,
    (path) => `./${path}/`,
    (path) => path.replaceAll("/", "//"),
    (path) => ` ${path} `,
    (path) => `${path}/../x`,
    (path) => `/${path}`,
  ];
  const part = () => `${["docs", "docs2", "src", "größe", "файлы"][random(5)]}-${random(count / 5)}`;
  const path = () => spell[random(6)](Array.from({ length: 1 + random(3) }, part).join("/"));
  const paths = (most) => Array.from({ length: random(most + 1) }, path);
  return {
    dependencies: Array.from({ length: Math.min(at, random(6)) }, () =>
      idOf(at - 1 - random(Math.min(at, 100))),
    ),
    status: random(10) === 0 ? "done" : "pending",
    read_set: paths(3),
    write_set: paths(3),
  };
}

/** Numbers below a bound, the same in every run. */
function randomFrom(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
