/**
 * A whole team run on the simulated disk: three tasks by three workers whose turns overlap. Git, agents and gates are
 * scripted ports; what the agents repaired stands beside the disk and survives every crash.
 */
import { defaultSettings } from "../../src/config/settings.ts";
import { createHash } from "node:crypto";
import { join } from "node:path";

import type { Engine, Prompt, StartOptions, Turn } from "../../src/engine/engine.ts";
import type { WorkTree } from "../../src/git/work-tree.ts";
import { keepEvidence } from "../../src/store/evidence.ts";
import type { RunPorts } from "../../src/team/open.ts";
import type { RunRequest } from "../../src/team/run.ts";
import { ASKING, AutoClock, NoProcesses } from "./fakes.ts";
import type { SimulatedDisk } from "./simulated-disk.ts";
import { PROJECT, ROOT, simulatedPorts, SimulatedProject } from "./simulated-goal.ts";

/** The run's name. */
export const TEAM = "three";
/** Its folder. */
export const TEAM_FOLDER = join(ROOT, "team", TEAM);

/** Its tasks; the first two are ready at once, the third needs the first. */
export const TEAM_TASKS = ["one", "two", "three"] as const;
type TaskName = (typeof TEAM_TASKS)[number];

/** What the first attempt at task `two` comes to: a crash of its agent, or silence until its lease is over. */
export type FirstTry = "crashes" | "hangs";

const LEASE_MS = 500;

/** What is asked for. */
export const TEAM_REQUEST: RunRequest = {
  name: TEAM,
  text: "Fix the failing tests",
  projectDir: PROJECT,
  workers: 3,
  role: {
    id: "executor",
    name: "executor",
    description: "",
    systemPrompt: "",
    tools: ["read", "write", "shell"],
    defaultSkills: [],
    suggestedWorkerCount: 1,
  },
  engine: "simulated",
  gates: {
    source: "config",
    digest: "0".repeat(64),
    definitions: [
      {
        name: "tests",
        command: "npm",
        args: ["test"],
        required: true,
        timeout_secs: 60,
        skip: false,
        covers: [],
        env: [],
        kind: "test",
        source: "config",
      },
    ],
  },
  maxAttempts: 3,
  budget: {},
  idleMs: 600_000,
  leaseMs: LEASE_MS,
};

const SUBTASKS = TEAM_TASKS.map((id) => ({
  id,
  description: `Repair ${id}.js.`,
  write_set: [`${id}.js`],
  dependencies: id === "three" ? ["one"] : [],
}));

/** The project: which files are repaired. A repair that is made again changes nothing. */
export class TeamProject {
  readonly firstTry: FirstTry;
  /** The disk operation after which each file was repaired, so that a crash knows what the project looks like. */
  readonly repaired: ReadonlyMap<TaskName, number>;

  constructor(firstTry: FirstTry, repaired: Iterable<readonly [TaskName, number]> = []) {
    this.firstTry = firstTry;
    this.repaired = new Map(repaired);
  }

  get tree(): string {
    return treeOf([...this.repaired.keys()]);
  }

  repair(task: TaskName, disk: SimulatedDisk): void {
    if (!this.repaired.has(task)) (this.repaired as Map<TaskName, number>).set(task, disk.operationCount);
  }

  /** The project as it stood when the disk had done so many operations. What it knew before that disk it knows for good. */
  at(operations: number): TeamProject {
    return new TeamProject(
      this.firstTry,
      [...this.repaired].filter(([, count]) => count <= operations),
    );
  }

  /** The same as the start of another disk, whose operations count from 0 again. */
  onNewDisk(): TeamProject {
    return new TeamProject(
      this.firstTry,
      [...this.repaired.keys()].map((task) => [task, 0] as const),
    );
  }
}

function treeOf(repaired: readonly string[]): string {
  return createHash("sha1").update(repaired.toSorted().join(" ")).digest("hex");
}

/** Every tree the project may be in, with the files that differ from the base. */
const TREES: ReadonlyMap<string, readonly string[]> = new Map(
  Array.from({ length: 2 ** TEAM_TASKS.length }, (_, bits) =>
    TEAM_TASKS.filter((_task, at) => bits & (1 << at)),
  ).map((repaired) => [treeOf(repaired), repaired]),
);

/** The ports of the team runtime over a simulated disk. */
export function simulatedTeam(disk: SimulatedDisk, project: TeamProject, stream: number): RunPorts {
  const given = simulatedPorts(disk, new SimulatedProject(0), stream);
  const clock = new AutoClock();
  const ports: RunPorts = {
    ...given,
    clock,
    processes: new NoProcesses({ self: { pid: 4242 + stream } }),
    settings: () => defaultSettings(),
    engineNamed: () => simulatedEngine(disk, project, clock),
    openWorkTree: async (request) => simulatedTree(await given.openWorkTree(request), project),
    runGates: async (run, signal) => {
      const results = await given.runGates(run, signal);
      const isGreen = run.tree === treeOf(TEAM_TASKS);
      const kept: typeof results = [];
      for (const [at, one] of results.entries()) {
        const path = join(run.logFolder, `gate-${at}.log`);
        await keepEvidence(
          { folder: TEAM_FOLDER },
          path,
          `${isGreen ? "ok" : "not ok"} 1 on ${run.tree}\n`,
          ports,
        );
        const base = run.base?.get(one.name)?.verdict;
        const verdict = isGreen
          ? "passed"
          : base !== undefined && base !== "passed"
            ? "failed_on_base_too"
            : "failed";
        const counts = { tests: 1, passed: isGreen ? 1 : 0, failed: isGreen ? 0 : 1, skipped: 0 };
        kept.push({
          ...one,
          passed: isGreen,
          verdict,
          counts,
          exit_code: isGreen ? 0 : 1,
          output_path: path,
        });
      }
      return kept;
    },
  };
  return ports;
}

function simulatedTree(given: WorkTree, project: TeamProject): WorkTree {
  return {
    ...given,
    snapshot: () => Promise.resolve(project.tree),
    changes: (from, to) => {
      const [before = [], after = []] = [TREES.get(from), TREES.get(to)];
      return Promise.resolve(
        TEAM_TASKS.filter((task) => before.includes(task) !== after.includes(task)).map((task) => ({
          path: `${task}.js`,
          kind: "modified" as const,
          old_mode: "100644",
          new_mode: "100644",
        })),
      );
    },
    files: () => Promise.resolve(TEAM_TASKS.map((task) => `${task}.js`)),
  };
}

const FINISHED: Turn = {
  status: "finished",
  text: "done",
  toolCalls: 1,
  usage: { input_tokens: 10, output_tokens: 5, quality: "exact" },
  proposals: [],
};

/** Turns of different lengths, so that workers overlap and end one by one. */
const TURN_MS: Readonly<Record<TaskName, number>> = { one: 30, two: 50, three: 20 };

function simulatedEngine(disk: SimulatedDisk, project: TeamProject, clock: AutoClock): Engine {
  const turn = async ({ meta }: Prompt, signal: AbortSignal): Promise<Turn> => {
    if (meta.role === "decompose") return { ...FINISHED, text: JSON.stringify(SUBTASKS) };
    const task = TEAM_TASKS.find((name) => name === meta.task);
    if (!task) return { ...FINISHED, text: "All three are repaired." };
    const fails = task === "two" && meta.attempt === 1;
    await clock.sleep(fails && project.firstTry === "hangs" ? 3_600_000 : TURN_MS[task], signal);
    if (fails) {
      const failure = { class: "crashed" as const, message: "it crashed", retryable: true };
      return { ...FINISHED, status: "failed", text: "", failure };
    }
    project.repair(task, disk);
    return { ...FINISHED, text: `${task} is repaired` };
  };
  return {
    name: "simulated",
    capabilities: ASKING,
    probe: () => Promise.resolve({ found: true, program: "simulated", version: "1.0", warnings: [] }),
    start: (options: StartOptions) =>
      Promise.resolve({
        id: "session",
        run: async (prompt: Prompt, signal: AbortSignal) => {
          const done = await turn(prompt, signal);
          options.onEvent({ kind: "text", text: done.text, thinking: false } as never);
          return done;
        },
        stop: () => Promise.resolve(),
      }),
  };
}
