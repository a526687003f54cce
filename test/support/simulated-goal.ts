/**
 * A whole goal on the simulated disk: git, agent and gates are scripted ports, so nothing is left of the machine but
 * the files omk writes. The project itself (what the agent repaired) stands beside the disk and survives every crash.
 */
import { OmkError } from "../../src/errors.ts";
import { defaultSettings } from "../../src/config/settings.ts";
import { createHash } from "node:crypto";

import type { Engine, Turn } from "../../src/engine/engine.ts";
import type { GateResult } from "../../src/format/gate.ts";
import type { TreeChange, WorkTree } from "../../src/git/work-tree.ts";
import type { GoalPorts } from "../../src/goal/open.ts";
import { createRedactor } from "../../src/store/redact.ts";
import { ASKING, ManualClock, CountingRandom, NoProcesses } from "./fakes.ts";
import { readAllBy } from "./read-all.ts";
import type { SimulatedDisk } from "./simulated-disk.ts";

export const PROJECT = "/project";
export const ROOT = "/state";

/** The files a new simulated machine has. */
export const GROUND = {
  folders: [PROJECT],
  files: { [`${PROJECT}/.omk/gates.toml`]: '[[gates]]\nname = "tests"\ncommand = "npm"\nargs = ["test"]\n' },
};

/** What the agent makes of the project: each turn leaves the next state; the last one passes the gates. */
export class SimulatedProject {
  /** The disk operation after which each turn's work was done, so that a crash knows what the project looks like. */
  readonly doneAt: number[] = [];
  readonly turnsNeeded: number;
  turn: number;

  constructor(turnsNeeded: number, turn = 0) {
    this.turnsNeeded = turnsNeeded;
    this.turn = turn;
  }

  get tree(): string {
    return treeId(this.turn);
  }

  isGreen(tree: string): boolean {
    return tree === treeId(this.turnsNeeded);
  }

  /** The project as it stood when the disk had done so many operations. */
  at(operations: number): SimulatedProject {
    const done = this.doneAt.filter((count) => count <= operations).length;
    return new SimulatedProject(this.turnsNeeded, this.turn - this.doneAt.length + done);
  }
}

function treeId(turn: number): string {
  return createHash("sha1").update(`turn ${turn}`).digest("hex");
}

/** The ports of the goal runtime over a simulated disk. */
export function simulatedPorts(
  disk: SimulatedDisk,
  project: SimulatedProject,
  stream: number,
): GoalPorts & { disk: SimulatedDisk; stories: string[] } {
  const clock = new ManualClock();
  const stories: string[] = [];
  return {
    disk,
    clock,
    random: new CountingRandom(stream),
    processes: new NoProcesses({ self: { pid: 4242 + stream } }),
    redactor: createRedactor({ environment: {} }),
    root: ROOT,
    uid: undefined,
    environment: {},
    openWorkTree: () => Promise.resolve(simulatedTree(project)),
    openGit: () => Promise.reject(new Error("the simulated project has no git of its own")),
    callerEnvironment: {},
    runGates: async (run) => {
      const results: GateResult[] = [];
      for (const [at, gate] of run.definitions.entries()) {
        const spawnId = `gate-${stream}-${at}`;
        await run.onStart(gate, spawnId);
        const passed = project.isGreen(run.tree);
        const base = run.base?.get(gate.name);
        const result: GateResult = {
          name: gate.name,
          passed,
          stdout: passed ? "# tests 1\n# pass 1\n" : "not ok 1\n",
          stderr: "",
          duration_ms: 5,
          required: gate.required,
          command_line: "npm test",
          exit_code: passed ? 0 : 1,
          timed_out: false,
          timeout_secs: 0,
          verdict: passed ? "passed" : base && base.verdict !== "passed" ? "failed_on_base_too" : "failed",
          counts: { tests: 1, passed: passed ? 1 : 0, failed: passed ? 0 : 1, skipped: 0 },
          tree: run.tree,
          base: base?.verdict ?? null,
          where: run.where,
          source: gate.source,
          kind: gate.kind,
        };
        results.push(result);
        await run.onEnd(result, spawnId);
      }
      return results;
    },
    observe: () => Promise.reject(new Error("the simulated project has no program to observe")),
    settings: () => defaultSettings(),
    engineNamed: () => simulatedEngine(disk, project),
    tell: (line) => void stories.push(line),
    stories,
  };
}

function simulatedTree(project: SimulatedProject): WorkTree {
  const change: TreeChange = { path: "sum.js", kind: "modified", old_mode: "100644", new_mode: "100644" };
  return {
    root: PROJECT,
    kind: "repository",
    evidence: () => Promise.resolve({ branch: "main", head: "a".repeat(40), dirty: false }),
    head: () => Promise.resolve("a".repeat(40)),
    position: () => Promise.resolve("position"),
    snapshot: () => Promise.resolve(project.tree),
    changes: (from, to) => Promise.resolve(from === to ? [] : [change]),
    files: () => Promise.resolve(["sum.js"]),
    read: (_tree, path) => Promise.resolve(contentOf(path)),
    readAll: readAllBy((_tree, path) => contentOf(path)),
    patch: () => Promise.resolve({ text: "", truncated: false }),
    // Copies beside the project can be made; a folder without anything of it is nothing that this machine has.
    checkout: (_tree, _folder, { withIgnored }) =>
      withIgnored === true
        ? Promise.resolve(undefined)
        : Promise.reject(new OmkError("git.unsupported", "Nothing can be checked out here.")),
    copyFolder: () => Promise.resolve(),
    ignored: () => Promise.resolve([]),
    keep: (_tree, { name }) => Promise.resolve(`refs/omk/rescue/simulated/${name}`),
    undo: (from, to) => `git diff ${from} ${to}`,
    pinBase: () => Promise.resolve(),
  };
}

function simulatedEngine(disk: SimulatedDisk, project: SimulatedProject): Engine {
  const turn: Turn = {
    status: "finished",
    text: "done",
    toolCalls: 1,
    usage: { input_tokens: 10, output_tokens: 5, quality: "exact" },
    proposals: [],
  };
  return {
    name: "simulated",
    capabilities: ASKING,
    start: (options: { onEvent: (event: never) => void }) =>
      Promise.resolve({
        id: "session",
        run: () => {
          if (project.turn < project.turnsNeeded) {
            project.turn++;
            project.doneAt.push(disk.operationCount);
          }
          options.onEvent({ kind: "text", text: "done" } as never);
          return Promise.resolve(turn);
        },
        stop: () => Promise.resolve(),
      }),
  } as unknown as Engine;
}

function contentOf(path: string): Uint8Array | undefined {
  return path.endsWith(".js") ? Buffer.from("export const sum = (a, b) => a + b;\n") : undefined;
}
