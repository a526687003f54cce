/** Pause, cancel and budget-add from another process: applied once, in order, whoever has the goal and whoever dies. */
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import type { Engine, Turn } from "../../src/engine/engine.ts";
import { OmkError } from "../../src/errors.ts";
import { askGoal } from "../../src/goal/ask.ts";
import { rejectByHand } from "../../src/goal/decisions-by-hand.ts";
import { resumeGoal } from "../../src/goal/resume.ts";
import { runGoal } from "../../src/goal/run-goal.ts";
import { executeGoal } from "../../src/goal/steps-by-hand.ts";
import type { Outcome } from "../../src/goal/with-goal.ts";
import { findGoal } from "../../src/goal/find.ts";
import { OpenGoal, type GoalPorts } from "../../src/goal/open.ts";
import { applyRequests } from "../../src/goal/requests.ts";
import { foldFolder } from "../../src/store/journal.ts";
import { postRequest } from "../../src/store/requests.ts";
import { ASKING, NoProcesses, type ManualClock } from "../support/fakes.ts";
import { crashStates, SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, ROOT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;
const REQUEST = {
  text: "Fix the failing test",
  projectDir: PROJECT,
  engine: "simulated",
  budgetTokens: 100,
  budgetTime: "1h",
};
const DRIVEN = { ...REQUEST, untilReady: true, autoAccept: true };

type Ports = GoalPorts & { disk: SimulatedDisk; clock: ManualClock; stories: string[] };

/** Who lives, as every process of a test sees it. */
type Living = Map<number, "alive" | "dead" | "unknown">;

function portsOf(
  disk: SimulatedDisk,
  stream: number,
  living: Living = new Map(),
  project = new SimulatedProject(1),
): Ports {
  const ports = simulatedPorts(disk, project, stream);
  const processes = new NoProcesses({ self: { pid: 4242 + stream }, liveness: living });
  return { ...ports, processes, clock: ports.clock as ManualClock };
}

/** An agent that works until it is told to finish, or stopped. */
class Agent {
  readonly project = new SimulatedProject(1);
  #started: () => void = () => undefined;
  #finish: () => void = () => undefined;
  readonly works = new Promise<void>((resolve) => (this.#started = resolve));

  finish(): void {
    this.project.turn = 1;
    this.#finish();
  }

  get engine(): Engine {
    const usage = { input_tokens: 1, output_tokens: 1, quality: "exact" as const };
    const turn: Turn = { status: "finished", text: "done", toolCalls: 1, usage, proposals: [] };
    const run = (_prompt: unknown, signal: AbortSignal) =>
      new Promise<Turn>((resolve) => {
        this.#finish = () => resolve(turn);
        signal.addEventListener("abort", () => resolve({ ...turn, status: "cancelled" }), { once: true });
        this.#started();
      });
    return {
      name: "waiting",
      capabilities: ASKING,
      start: () => Promise.resolve({ id: "s", run, stop: () => Promise.resolve() }),
    } as unknown as Engine;
  }
}

/** A goal at work in one process, and the ports of another that wants something of it. */
async function atWork(): Promise<{
  agent: Agent;
  mine: Ports;
  other: Ports;
  living: Living;
  outcome: Promise<Outcome>;
}> {
  const disk = new SimulatedDisk(GROUND);
  const agent = new Agent();
  const living: Living = new Map([[4243, "alive"]]);
  const mine = { ...portsOf(disk, 1, living, agent.project), engineNamed: () => agent.engine };
  const outcome = runGoal(DRIVEN, mine, never, () => undefined);
  await agent.works;
  return { agent, mine, other: portsOf(disk, 2, living, agent.project), living, outcome };
}

/** A goal that rests. */
async function atRest(
  stream = 1,
): Promise<{ disk: SimulatedDisk; ports: Ports; id: string; folder: string }> {
  const disk = new SimulatedDisk(GROUND);
  const ports = portsOf(disk, stream);
  const { open } = await runGoal(REQUEST, ports, never, () => undefined);
  return { disk, ports, id: open.id, folder: open.folder };
}

function eventsOf(folder: string, disk: SimulatedDisk) {
  const events: { kind: string; request: unknown }[] = [];
  foldFolder(folder, { disk }, ({ kind, payload }) => {
    if (payload?.["request_id"] !== undefined) events.push({ kind, request: payload["request_id"] });
  });
  return events;
}

function pending(folder: string, disk: SimulatedDisk): string[] {
  const commands = join(folder, "commands");
  return disk.stat(commands) ? disk.list(commands) : [];
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof OmkError) return error.code;
    throw error;
  }
  return "none";
}

describe("while a goal works, another process", () => {
  test.each([
    ["pause", "paused"],
    ["cancel", "cancelled"],
  ] as const)("can %s it: the agent is stopped and the caller told", async (kind, status) => {
    const { mine, other, outcome } = await atWork();
    const asked = askGoal("latest", { kind }, other, never);
    await other.clock.someoneSleeps();
    await mine.clock.advance(2_000);
    const { open, ending } = await outcome;
    await other.clock.advance(1_000);

    expect((await asked).outcome).toBe("applied");
    expect(ending.status).toBe(status);
    expect(findGoal(ROOT, "latest", other)).toMatchObject({ status });
    expect(eventsOf(open.folder, mine.disk)).toHaveLength(1);
    expect(pending(open.folder, mine.disk)).toEqual([]);
    expect(open.work.attempts).toMatchObject([{ status: "interrupted", counted: false }]);
    expect(open.proof?.status).toBe(status);
    if (kind === "cancel") expect(mine.disk.stat(join(open.folder, "failure.json"))?.kind).toBe("file");
  });

  test("can add to its budget, and it goes on", async () => {
    const { agent, mine, other, outcome } = await atWork();
    const asked = askGoal(
      "latest",
      { kind: "budget_add", payload: { tokens: 50, seconds: 1_800 } },
      other,
      never,
    );
    await other.clock.someoneSleeps();
    await mine.clock.advance(2_000);
    await other.clock.advance(1_000);
    expect((await asked).outcome).toBe("applied");
    agent.finish();
    const { open, ending } = await outcome;
    expect(ending.status).toBe("ready");
    expect(open.goal).toMatchObject({ budget_tokens: 150, budget_time: "90m" });
    expect(eventsOf(open.folder, mine.disk).map(({ kind }) => kind)).toEqual(["goal_budget_extended"]);
  });

  test("has everything it asks applied once and in order", async () => {
    const { agent, mine, other, outcome } = await atWork();
    const { folder } = findGoal(ROOT, "latest", other);
    const posted: string[] = [];
    for (let tokens = 1; tokens <= 20; tokens++) {
      posted.push(await postRequest(folder, { kind: "budget_add", payload: { tokens } }, other));
      if (tokens % 7 === 0) await mine.clock.advance(2_000);
    }
    await mine.clock.advance(2_000);
    agent.finish();
    const { open } = await outcome;
    expect(eventsOf(folder, mine.disk).map(({ request }) => request)).toEqual(posted);
    expect(open.goal.budget_tokens).toBe(100 + (20 * 21) / 2);
  });

  test("is told that its request waits when the controller lives and does not look, and it is applied later", async () => {
    const { agent, mine, other, outcome } = await atWork();
    const asked = askGoal("latest", { kind: "budget_add", payload: { tokens: 50 } }, other, never);
    await other.clock.someoneSleeps();
    await other.clock.advance(12_000);
    const { outcome: became, id } = await asked;
    expect(became).toBe("recorded");
    const { folder } = findGoal(ROOT, id, other);
    expect(pending(folder, mine.disk)).toHaveLength(1);
    await mine.clock.advance(2_000);
    expect(pending(folder, mine.disk)).toEqual([]);
    agent.finish();
    expect((await outcome).open.goal.budget_tokens).toBe(150);
  });

  test("applies its request itself when the controller dies while it waits", async () => {
    const { other, living } = await atWork();
    const asked = askGoal("latest", { kind: "cancel" }, other, never);
    await other.clock.someoneSleeps();
    living.set(4243, "dead");
    await other.clock.advance(1_000);
    expect((await asked).outcome).toBe("applied");
    const goal = findGoal(ROOT, "latest", other);
    expect(goal.status).toBe("cancelled");
    expect(eventsOf(goal.folder, other.disk)).toHaveLength(1);
    // What the dead one had started is ended, and its attempt no longer runs.
    expect((other.processes as NoProcesses).swept).toHaveLength(1);
    expect(goal.record["completed_at"]).toBeDefined();
  });

  test("is refused when the goal has become ready before anybody looked", async () => {
    const { agent, other, outcome } = await atWork();
    const asked = codeOf(askGoal("latest", { kind: "pause" }, other, never));
    await other.clock.someoneSleeps();
    agent.finish();
    expect((await outcome).ending.status).toBe("ready");
    await other.clock.advance(1_000);
    expect(await asked).toBe("goal.refused");
    const goal = findGoal(ROOT, "latest", other);
    expect(goal.status).toBe("ready");
    expect(eventsOf(goal.folder, other.disk).map(({ kind }) => kind)).toEqual(["request_refused"]);
  });
});

describe("while a goal rests", () => {
  test("the caller applies its request itself", async () => {
    const { disk, ports, folder } = await atRest();
    expect((await askGoal("latest", { kind: "pause" }, ports, never)).outcome).toBe("applied");
    expect(findGoal(ROOT, "latest", ports).status).toBe("paused");
    expect(
      (await askGoal("latest", { kind: "budget_add", payload: { usd: 5, tokens: 1 } }, ports, never)).outcome,
    ).toBe("applied");
    // A limit that was never set stays absent.
    expect(findGoal(ROOT, "latest", ports).record).toMatchObject({ budget_tokens: 101 });
    expect(findGoal(ROOT, "latest", ports).record["budget_usd"]).toBeUndefined();
    expect((await askGoal("latest", { kind: "cancel" }, ports, never)).outcome).toBe("applied");
    const { record } = findGoal(ROOT, "latest", ports);
    expect(record).toMatchObject({ status: "cancelled", failure: { reason: "cancelled by user" } });
    expect(eventsOf(folder, disk).map(({ kind }) => kind)).toEqual([
      "goal_paused",
      "goal_budget_extended",
      "manual_interrupt",
    ]);
    const failure = JSON.parse(
      Buffer.from(disk.readFile(join(folder, "failure.json"))).toString("utf8"),
    ) as object;
    expect(failure).toMatchObject({ status: "cancelled", failure: { reason: "cancelled by user" } });
  });

  test("an added budget is there to be spent, even when the old one was overrun", async () => {
    const disk = new SimulatedDisk(GROUND);
    const ports = portsOf(disk, 1, new Map(), new SimulatedProject(2));
    const { ending } = await runGoal({ ...DRIVEN, budgetTokens: 10 }, ports, never, () => undefined);
    expect(ending.status).toBe("needs_more_budget");
    expect(await codeOf(resumeGoal("latest", ports, never))).toBe("goal.refused");
    await askGoal("latest", { kind: "budget_add", payload: { tokens: 5 } }, ports, never);
    expect(findGoal(ROOT, "latest", ports)).toMatchObject({
      status: "not_ready",
      record: { budget_tokens: 20 },
    });
    expect((await resumeGoal("latest", ports, never)).ending.status).toBe("ready");
  });

  test("more of one thing does not free a goal that lacks another, and the reason is the one that is left", async () => {
    const disk = new SimulatedDisk(GROUND);
    const ports = portsOf(disk, 1, new Map(), new SimulatedProject(2));
    const engine = ports.engineNamed("simulated", PROJECT);
    ports.engineNamed = () => ({
      ...engine,
      start: async (options, signal) => {
        await ports.clock.advance(2_000);
        return engine.start(options, signal);
      },
    });
    const request = { ...DRIVEN, budgetTokens: 10, budgetTime: "1s" };
    const { ending } = await runGoal(request, ports, never, () => undefined);
    expect(ending).toMatchObject({ status: "needs_more_budget", reasonCode: "budget_time" });
    await askGoal("latest", { kind: "budget_add", payload: { seconds: 60 } }, ports, never);
    expect(findGoal(ROOT, "latest", ports)).toMatchObject({
      status: "needs_more_budget",
      record: {
        reason_code: "budget_tokens",
        failure: { reason: expect.stringContaining("15 of 10 tokens") as string },
      },
    });
    await askGoal("latest", { kind: "budget_add", payload: { tokens: 50 } }, ports, never);
    const { status, record } = findGoal(ROOT, "latest", ports);
    expect([status, record["reason_code"], record["failure"]]).toEqual(["not_ready", "gates_red", undefined]);
  });

  test("whose holder cannot be judged, a request is recorded within ten seconds", async () => {
    const { disk, ports, id, folder } = await atRest();
    await OpenGoal.open(id, folder, "goal run", portsOf(disk, 1), never);
    const other = portsOf(disk, 2, new Map([[4243, "unknown"]]));
    const started = other.clock.monotonicMs();
    const asked = askGoal("latest", { kind: "pause" }, other, never);
    await other.clock.someoneSleeps();
    await other.clock.advance(11_000);
    expect((await asked).outcome).toBe("recorded");
    expect(other.clock.monotonicMs() - started).toBe(11_000);
    expect(pending(folder, ports.disk)).toHaveLength(1);
  });

  test("what is no request lies there undisturbed and disturbs nothing", async () => {
    const { disk, ports, folder } = await atRest();
    await askGoal("latest", { kind: "pause" }, ports, never);
    const foreign = {
      "notes.txt": "mine",
      "broken.json": "{half",
      "other-name.json": '{"version":1,"id":"x","kind":"pause"}',
    };
    for (const [name, text] of Object.entries(foreign))
      await ports.disk.writeDerived(join(folder, "commands", name), text);
    await askGoal("latest", { kind: "budget_add", payload: { tokens: 1 } }, ports, never);
    expect(pending(folder, disk)).toEqual(Object.keys(foreign).sort());
    expect(eventsOf(folder, disk)).toHaveLength(2);
    // And whoever wrote it is told, once a run.
    const before = ports.stories.length;
    await resumeGoal({ wanted: "latest", untilReady: true }, ports, never);
    const told = ports.stories.slice(before).filter((line) => line.includes("no request"));
    expect(told).toEqual([
      expect.stringContaining("commands/broken.json"),
      expect.stringContaining("commands/other-name.json"),
    ]);
  });

  test("a request of a kind this omk does not serve is refused in the log and not left to wait", async () => {
    const { disk, ports, folder } = await atRest();
    expect(await codeOf(askGoal("latest", { kind: "approval_answer" }, ports, never))).toBe("goal.refused");
    expect(eventsOf(folder, disk).map(({ kind }) => kind)).toEqual(["request_refused"]);
    expect(pending(folder, disk)).toEqual([]);
  });
});

describe("a goal that is", () => {
  test("cancelled takes nothing more", async () => {
    const { disk, ports, folder } = await atRest();
    await askGoal("latest", { kind: "cancel" }, ports, never);
    const before = eventsOf(folder, disk).length;
    for (const kind of ["pause", "cancel", "budget_add"] as const) {
      expect(await codeOf(askGoal("latest", { kind, payload: { tokens: 1 } }, ports, never)), kind).toBe(
        "goal.refused",
      );
    }
    expect(eventsOf(folder, disk)).toHaveLength(before);
    expect(pending(folder, disk)).toEqual([]);
  });

  test("ready is so for good: it takes no pause, no budget and no cancel", async () => {
    const ports = portsOf(new SimulatedDisk(GROUND), 1);
    expect((await runGoal(DRIVEN, ports, never, () => undefined)).ending.status).toBe("ready");
    for (const kind of ["pause", "budget_add", "cancel"] as const) {
      expect(await codeOf(askGoal("latest", { kind, payload: { tokens: 1 } }, ports, never)), kind).toBe(
        "goal.refused",
      );
    }
    expect(findGoal(ROOT, "latest", ports).status).toBe("ready");
    // Its result may be unwanted all the same.
    await rejectByHand("latest", "not this", ports, never);
    expect((await askGoal("latest", { kind: "cancel" }, ports, never)).outcome).toBe("applied");
  });

  test("not testable is not unblocked by a pause and a resume", async () => {
    const ports = portsOf(new SimulatedDisk(GROUND), 1);
    await runGoal({ ...REQUEST, text: "Fix it" }, ports, never, () => undefined);
    await askGoal("latest", { kind: "pause" }, ports, never);
    expect(await codeOf(resumeGoal("latest", ports, never))).toBe("goal.refused");
    expect(await codeOf(executeGoal({ wanted: "latest" }, ports, never))).toBe("goal.refused");
  });
});

describe("a request survives", () => {
  /** Opens the goal as the next omk does and applies what waits. */
  async function recover(disk: SimulatedDisk, id: string, folder: string, stream = 8): Promise<void> {
    const ports = portsOf(disk, stream);
    const open = await OpenGoal.open(id, folder, "test", ports, never);
    await applyRequests(open, ports);
    await open.close();
  }

  test(
    "the death of whoever applies it, at every operation: each is applied once and in order",
    { timeout: 60_000 },
    async () => {
      const { ports, id, folder } = await atRest();
      const posted: string[] = [];
      for (const tokens of [10, 20, 30])
        posted.push(await postRequest(folder, { kind: "budget_add", payload: { tokens } }, ports));
      posted.push(await postRequest(folder, { kind: "pause" }, ports));
      const disk = ports.disk.survivor();
      await recover(disk, id, folder, 7);

      let tried = 0;
      let between = 0;
      for (const state of crashStates(disk, { seed: 1, perPointMax: 6 })) {
        tried++;
        const left = pending(folder, state.disk).length;
        const applied = eventsOf(folder, state.disk).length;
        if (applied + left > posted.length) between++; // an event is there and its file still is, too
        await recover(state.disk, id, folder);
        const where = `${state.cause} after operation ${state.at}: ${state.story()}`;
        expect(
          eventsOf(folder, state.disk).map(({ request }) => request),
          where,
        ).toEqual(posted);
        expect(findGoal(ROOT, id, state), where).toMatchObject({
          status: "paused",
          record: { budget_tokens: 160 },
        });
        expect(pending(folder, state.disk), where).toEqual([]);
      }
      expect(tried).toBeGreaterThan(50);
      expect(between).toBeGreaterThan(0);
    },
  );

  test(
    "the death of whoever asks, at every operation: it is applied once, or was never asked",
    { timeout: 60_000 },
    async () => {
      const { ports, id, folder } = await atRest();
      const disk = ports.disk.survivor();
      await askGoal(id, { kind: "budget_add", payload: { tokens: 10 } }, portsOf(disk, 3), never);
      const totals = new Set<unknown>();
      for (const state of crashStates(disk, { seed: 1, perPointMax: 6 })) {
        const where = `${state.cause} after operation ${state.at}: ${state.story()}`;
        await recover(state.disk, id, folder);
        const total = findGoal(ROOT, id, state).record["budget_tokens"];
        expect([100, 110], where).toContain(total);
        expect(eventsOf(folder, state.disk), where).toHaveLength(total === 110 ? 1 : 0);
        if (state.at === disk.operationCount) expect(total, where).toBe(110);
        totals.add(total);
      }
      expect(totals).toEqual(new Set([100, 110]));
    },
  );
});
