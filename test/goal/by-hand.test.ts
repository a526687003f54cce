/** The steps of the loop by hand, on a simulated machine: what they record, refuse, and bring a goal to. */
import { describe, expect, test } from "vitest";

import type { Engine, EngineEvent, Turn } from "../../src/engine/engine.ts";
import { OmkError } from "../../src/errors.ts";
import { rejectByHand } from "../../src/goal/decisions-by-hand.ts";
import { resumeGoal } from "../../src/goal/resume.ts";
import { runGoal } from "../../src/goal/run-goal.ts";
import { executeGoal, reviewGoal, verifyGoal } from "../../src/goal/steps-by-hand.ts";
import { findGoal, listGoals } from "../../src/goal/find.ts";
import { change, changeTask, OpenGoal, type GoalPorts } from "../../src/goal/open.ts";
import { foldFolder } from "../../src/store/journal.ts";
import { holdProject } from "../../src/store/project-claim.ts";
import { ASKING, NoProcesses } from "../support/fakes.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, ROOT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;
const REQUEST = { text: "Fix the failing test", projectDir: PROJECT };
const LATEST = { wanted: "latest" };
const TOKEN = `ghp_${"a1B2c3D4e5".repeat(4)}`;

type Ports = ReturnType<typeof simulatedPorts>;

/** An agent whose one turn is played. */
function played(play: (tell: (event: object) => void, signal: AbortSignal) => Partial<Turn>): Engine {
  const usage = { input_tokens: 10, output_tokens: 5, quality: "exact" as const };
  const turn: Turn = { status: "finished", text: "done", toolCalls: 1, usage, proposals: [] };
  return {
    name: "played",
    capabilities: ASKING,
    start: (options: { onEvent: (event: EngineEvent) => void }) =>
      Promise.resolve({
        id: "s",
        run: async (_prompt: unknown, signal: AbortSignal) => {
          await Promise.resolve();
          return { ...turn, ...play((event) => options.onEvent(event as EngineEvent), signal) };
        },
        stop: () => Promise.resolve(),
      }),
  } as unknown as Engine;
}

async function created(
  more: object = {},
  engine?: Engine,
): Promise<{ ports: Ports; project: SimulatedProject }> {
  const project = new SimulatedProject(1);
  const ports = simulatedPorts(new SimulatedDisk(GROUND), project, 1);
  if (engine) ports.engineNamed = () => engine;
  await runGoal({ ...REQUEST, engine: "simulated", ...more }, ports, never, () => undefined);
  return { ports, project };
}

function recordOf(ports: GoalPorts): Record<string, unknown> {
  return findGoal(ROOT, "latest", ports).record;
}

function kindsOf(ports: GoalPorts): string[] {
  const kinds: string[] = [];
  foldFolder(findGoal(ROOT, "latest", ports).folder, ports, ({ kind }) => void kinds.push(kind));
  return kinds;
}

async function failureOf(promise: Promise<unknown>): Promise<OmkError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(OmkError);
  return error as OmkError;
}

describe("review", () => {
  test("without the engine that the goal's reviewers need changes nothing", async () => {
    const { ports } = await created({ agentReview: true });
    const before = recordOf(ports);
    ports.engineNamed = () => {
      throw new OmkError("engine.missing", "No coding agent is configured.");
    };
    expect((await failureOf(reviewGoal(LATEST, ports, never))).code).toBe("engine.missing");
    expect(recordOf(ports)).toMatchObject({ status: before["status"], updated_at: before["updated_at"] });
  });
});

describe("execute", () => {
  test("without an engine that can be used changes nothing, and takes one by name", async () => {
    const { ports, project } = await created({ engine: undefined });
    const engine = ports.engineNamed("simulated", PROJECT);
    ports.engineNamed = (name) => {
      if (name === "auto") throw new OmkError("engine.missing", "No coding agent is configured.");
      return engine;
    };
    const before = recordOf(ports);
    for (const attempt of [
      () => executeGoal(LATEST, ports, never),
      () => resumeGoal({ ...LATEST, untilReady: true }, ports, never),
    ]) {
      expect((await failureOf(attempt())).code).toBe("engine.missing");
    }
    expect(recordOf(ports)).toMatchObject({ status: before["status"], updated_at: before["updated_at"] });
    expect(kindsOf(ports)).not.toContain("task_claimed");
    const { open, achieved } = await executeGoal({ ...LATEST, engine: "simulated" }, ports, never);
    expect([achieved, project.turn, open.goal.engine]).toEqual([true, 1, "simulated"]);
    expect(kindsOf(ports)).toContain("engine_chosen");
  });

  test.each([
    ["auth", false],
    ["rate_limit", true],
    ["provider", true],
  ] as const)(
    "whose agent meets %s waits for something outside, and nobody is charged",
    async (kind, retryable) => {
      const failure = { class: kind, message: "not now", retryable };
      const { ports } = await created(
        {},
        played(() => ({ status: "failed", failure })),
      );
      const { open, ending } = await executeGoal(LATEST, ports, never);
      expect(ending).toMatchObject({ status: "blocked_on_external", reasonCode: `agent_${kind}` });
      expect(open.goal).toMatchObject({
        status: "blocked_on_external",
        failure: { reason: expect.stringContaining("not now") as string },
      });
      expect(open.work.attempts).toMatchObject([{ counted: false }]);
    },
  );

  test("that uses up the budget without getting there needs more of it", async () => {
    const failure = { class: "timeout" as const, message: "too long", retryable: true };
    const { ports } = await created(
      { budgetTokens: 5 },
      played(() => ({ status: "failed", failure })),
    );
    const { open, ending } = await executeGoal(LATEST, ports, never);
    expect(ending).toMatchObject({ status: "needs_more_budget", reasonCode: "budget_tokens" });
    expect(open.work.attempts).toMatchObject([{ counted: true }]);
    expect((await failureOf(executeGoal(LATEST, ports, never))).code).toBe("goal.needs_budget");
  });

  test("adds no work to a result that only waits for a person, unless it is asked again", async () => {
    const { ports, project } = await created();
    await executeGoal(LATEST, ports, never);
    await reviewGoal(LATEST, ports, never);
    expect(recordOf(ports)["reason_code"]).toBe("acceptance_needed");
    const error = await failureOf(executeGoal(LATEST, ports, never));
    expect([error.code, error.message]).toEqual([
      "goal.refused",
      expect.stringContaining("nothing is open in goal") as string,
    ]);
    expect(error.hint).toContain("omk goal reject");
    expect(recordOf(ports)["status"]).toBe("not_ready");
    project.turn = 0;
    await executeGoal({ ...LATEST, again: true }, ports, never);
    expect(project.turn).toBe(1);
  });

  test("that meets a defect of ours is no attempt of anybody's, and the goal goes on afterwards", async () => {
    const bug = new TypeError("x is undefined");
    let turns = 0;
    const engine = played(() => {
      if (turns++ === 0) throw bug;
      return {};
    });
    const { ports, project } = await created({}, engine);
    await expect(executeGoal(LATEST, ports, never)).rejects.toBe(bug);
    project.turn = 1;
    const { open } = await resumeGoal({ ...LATEST, untilReady: true }, ports, never);
    expect(open.work.attempts).toMatchObject([
      { number: 1, status: "interrupted", counted: false },
      { number: 1, status: "ended", counted: true },
    ]);
  });

  test("that meets one after a Ctrl-C is no pause", async () => {
    const stop = new AbortController();
    const bug = new TypeError("x is undefined");
    const { ports } = await created(
      {},
      played(() => {
        stop.abort(new OmkError("interrupted", "Stopped by a signal."));
        throw bug;
      }),
    );
    await expect(executeGoal(LATEST, ports, stop.signal)).rejects.toBe(bug);
    expect(recordOf(ports)["status"]).not.toBe("paused");
  });

  test("puts the agent's version and the commit it started from into the records", async () => {
    const engine = played((tell) => {
      tell({ kind: "session-started", agent: "helper", agent_version: "4.2.0", protocol_version: 1 });
      return {};
    });
    const { ports } = await created({}, engine);
    const { open } = await executeGoal(LATEST, ports, never);
    expect(open.proof?.engine).toMatchObject({ name: "simulated", agent: "helper", version: "4.2.0" });
    expect(open.goal.base_commit).toBe("a".repeat(40));
  });
});

describe("a gate given to verify", () => {
  test("counts from then on, with a baseline of its own, and is in the log", async () => {
    const { ports, project } = await created();
    await verifyGoal(LATEST, ports, never);
    const gates = ["lint=npm run lint"];
    const { open, achieved } = await verifyGoal({ ...LATEST, gates }, ports, never);
    expect(achieved).toBe(false);
    expect(open.goal.gates?.definitions.map(({ name, source }) => [name, source])).toEqual([
      ["tests", "config"],
      ["lint", "flag"],
    ]);
    expect(open.work.baseline?.gates.map(({ name }) => name)).toEqual(["tests", "lint"]);
    expect(kindsOf(ports)).toContain("gates_defined");
    const driven = await resumeGoal({ ...LATEST, untilReady: true }, ports, never);
    expect(driven.open.work.gates?.results.map(({ name, verdict }) => [name, verdict])).toEqual([
      ["tests", "passed"],
      ["lint", "passed"],
    ]);
    expect(project.turn).toBe(1);
  });

  test("after the work has begun has no baseline: the files are no longer those of the base", async () => {
    const project = new SimulatedProject(1);
    const disk = new SimulatedDisk({ folders: [PROJECT] });
    const ports = simulatedPorts(disk, project, 1);
    await runGoal({ ...REQUEST, engine: "simulated" }, ports, never, () => undefined);
    await executeGoal(LATEST, ports, never);
    const { open, achieved } = await verifyGoal({ ...LATEST, gates: ["tests=npm test"] }, ports, never);
    expect(achieved).toBe(true);
    expect(open.work.baseline?.gates).toEqual([]);
    expect(open.work.gates?.results).toMatchObject([{ name: "tests", verdict: "passed", base: null }]);
  });

  test("that holds a secret is refused, and so is an engine that does; nothing is kept of either", async () => {
    const { ports } = await created();
    const gate = [`deploy=curl -H ${TOKEN}`];
    const key = `acp:agent --key ${TOKEN}`;
    const tries = [
      () => verifyGoal({ ...LATEST, gates: gate }, ports, never),
      () => executeGoal({ ...LATEST, engine: key }, ports, never),
      () => runGoal({ ...REQUEST, gates: gate }, ports, never, () => undefined),
      () => runGoal({ ...REQUEST, engine: key }, ports, never, () => undefined),
    ];
    for (const one of tries) {
      const error = await failureOf(one());
      expect(error.code).toBe("usage.invalid");
      expect(error.message).not.toContain(TOKEN);
      expect(error.hint).toContain("environment variable");
    }
    expect(listGoals(ROOT, ports).goals).toHaveLength(1);
    expect(kindsOf(ports)).not.toContain("goal_running");
  });
});

test("a goal that was only created is driven to its verdict by resume", async () => {
  const { ports } = await created({ autoAccept: true });
  expect((await resumeGoal("latest", ports, never)).ending.status).toBe("not_ready");
  const { open, ending } = await resumeGoal({ ...LATEST, untilReady: true }, ports, never);
  expect(ending.status).toBe("ready");
  expect(open.goal.until_ready).toBe(true);
});

test("a rejected goal says why in its record, until there is another result", async () => {
  const { ports, project } = await created();
  await executeGoal(LATEST, ports, never);
  const { open } = await rejectByHand("latest", "not what I meant", ports, never);
  expect(open.goal).toMatchObject({ reason_code: "rejected", failure: { reason: "not what I meant" } });
  project.turn = 0;
  await executeGoal(LATEST, ports, never);
  await rejectByHand("latest", "still not", ports, never);
  expect(recordOf(ports)).toMatchObject({ failure: { reason: "still not" } });
});

test("files for readers that a controller died over are made again, and are those of the log", async () => {
  const { ports, project } = await created();
  project.turn = 1;
  await verifyGoal(LATEST, ports, never);
  await rejectByHand("latest", "not what I meant", ports, never);
  const { folder } = findGoal(ROOT, "latest", ports);
  const paths = [
    "prd.md",
    "technical-plan.md",
    "decisions.jsonl",
    "artifacts/integration/integrator-reject.json",
    "artifacts/integration/rollback-rejected-slice.md",
  ].map((name) => `${folder}/${name}`);
  const texts = () => paths.map((path) => Buffer.from(ports.disk.readFile(path)).toString("utf8"));
  const whole = texts();
  for (const [at, path] of paths.entries()) {
    if (at % 2 === 0) ports.disk.remove(path);
    else await ports.disk.writeDerived(path, "of an earlier event");
  }
  await resumeGoal(LATEST, ports, never);
  expect(texts()).toEqual(whole);
});

describe("a goal that is to be driven", () => {
  const request = { ...REQUEST, engine: "simulated", untilReady: true };

  test("is running from its first record on, so that its controller's death is seen whenever it comes", async () => {
    const ports = simulatedPorts(new SimulatedDisk(GROUND), new SimulatedProject(1), 1);
    const seen: unknown[] = [];
    await runGoal(request, ports, never, ({ goal }) => seen.push(goal.status));
    const { folder } = findGoal(ROOT, "latest", ports);
    const changed: unknown[] = [];
    foldFolder(folder, ports, ({ changes = [] }) => {
      for (const { file, set } of changes)
        if (file === "goal.json" && "status" in set) changed.push(set["status"]);
    });
    expect([seen, changed]).toEqual([["running"], ["running", "running", "running", "not_ready"]]);
  });

  test("and cannot be begun is not", async () => {
    const ports = simulatedPorts(new SimulatedDisk(GROUND), new SimulatedProject(1), 1);
    ports.openWorkTree = () => Promise.reject(new OmkError("git.unsupported", "Git is too old."));
    expect((await failureOf(runGoal(request, ports, never, () => undefined))).code).toBe("git.unsupported");
    expect(recordOf(ports)).toMatchObject({ status: "not_ready" });
  });
});

test("a run in a directory where another works leaves no goal behind", async () => {
  const disk = new SimulatedDisk(GROUND);
  const mine = simulatedPorts(disk, new SimulatedProject(1), 1);
  const other = simulatedPorts(disk, new SimulatedProject(1), 2);
  other.processes = new NoProcesses({ self: { pid: 4244 }, liveness: new Map([[4243, "alive"]]) });
  const held = await holdProject(PROJECT, "goal run", mine, never);
  const request = { ...REQUEST, engine: "simulated", untilReady: true };
  expect((await failureOf(runGoal(request, other, never, () => undefined))).code).toBe("state.busy");
  expect(listGoals(ROOT, other).goals).toEqual([]);
  await held.release(true);
  expect((await runGoal(request, other, never, () => undefined)).ending.status).toBe("not_ready");
});

describe("a task graph that is not sound", () => {
  test.each([
    ["a cycle", changeTask("goal-plan", { dependencies: ["goal-agent-execute"] }), "cycle"],
    ["an unknown dependency", changeTask("goal-plan", { dependencies: ["nowhere"] }), "nowhere"],
    ["a task of which nothing is known", changeTask("made-up", { status: "done" }), "tasks[6]"],
    ["no tasks", change("task-graph.json", { tasks: [] }), "no tasks"],
  ])("because of %s is not recorded", async (_name, bad, said) => {
    const { ports } = await created();
    const { id, folder } = findGoal(ROOT, "latest", ports);
    const open = await OpenGoal.open(id, folder, "test", ports, never);
    const before = structuredClone(open.graph);
    const error = await failureOf(open.record({ kind: "test", actor: null, changes: [bad] }));
    expect(error.message).toContain(said);
    expect(open.graph).toEqual(before);
    await open.close();
    const text = Buffer.from(ports.disk.readFile(`${folder}/task-graph.json`)).toString("utf8");
    expect(JSON.parse(text)).toMatchObject({ tasks: before.tasks });
  });
});
