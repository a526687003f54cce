/** The planning step on a simulated machine: what it records, what it costs, and what it brings a goal to. */
import { describe, expect, test } from "vitest";

import type { Engine, EngineEvent, Turn } from "../../src/engine/engine.ts";
import { OmkError } from "../../src/errors.ts";
import { isPlanned } from "../../src/goal/agent-tasks.ts";
import { resumeGoal } from "../../src/goal/resume.ts";
import { runGoal } from "../../src/goal/run-goal.ts";
import { verifyGoal } from "../../src/goal/steps-by-hand.ts";
import { checkRequest, createGoal } from "../../src/goal/create.ts";
import { spent } from "../../src/goal/budget.ts";
import { findGoal } from "../../src/goal/find.ts";
import { recordBase, runBaseline } from "../../src/goal/gate-steps.ts";
import { runPlanner } from "../../src/goal/planner.ts";
import type { Workspace } from "../../src/goal/workspace.ts";
import { foldFolder } from "../../src/store/journal.ts";
import { ASKING, type ManualClock } from "../support/fakes.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, ROOT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

type Ports = ReturnType<typeof simulatedPorts>;

const never = new AbortController().signal;
const EXACT = { input_tokens: 100, output_tokens: 50, quality: "exact" as const };

interface Play {
  text: string;
  tell: (event: object) => void;
  signal: AbortSignal;
}

/** An agent whose turns are played one after another; the last one again and again. */
function planner(
  ...turns: ((play: Play) => Partial<Turn>)[]
): Engine & { prompts: string[]; modes: unknown[] } {
  const prompts: string[] = [];
  const modes: unknown[] = [];
  const engine = {
    name: "clever",
    prompts,
    modes,
    capabilities: { ...ASKING, plans: true },
    start: (options: { mode?: unknown; onEvent: (event: EngineEvent) => void }) => {
      modes.push(options.mode);
      return Promise.resolve({
        id: "s",
        run: async ({ text }: { text: string }, signal: AbortSignal) => {
          prompts.push(text);
          await Promise.resolve();
          const play = turns[Math.min(prompts.length, turns.length) - 1] ?? (() => ({}));
          const whole = { status: "finished", text: "", toolCalls: 0, usage: EXACT, proposals: [] };
          const tell = (event: object) => options.onEvent(event as EngineEvent);
          const turn = { ...whole, ...play({ text, tell, signal }) };
          return signal.aborted ? { ...turn, status: "cancelled" } : turn;
        },
        stop: () => Promise.resolve(),
      });
    },
  };
  return engine as unknown as Engine & { prompts: string[]; modes: unknown[] };
}

function slice(id: string, more: object = {}): object {
  return { id, title: `Do ${id}`, description: `All of ${id}.`, acceptance: ["It works."], ...more };
}

const TWO = JSON.stringify({
  summary: "First the base, then the rest.",
  slices: [
    slice("rest", { write_set: ["src/rest.ts"], dependencies: ["base"] }),
    slice("base", { write_set: ["src/base.ts"] }),
  ],
  acceptance_criteria: ["Both work."],
});

async function open(more: object = {}) {
  const project = new SimulatedProject(1);
  const ports = simulatedPorts(new SimulatedDisk(GROUND), project, 1);
  const request = {
    text: "Fix the failing test",
    projectDir: PROJECT,
    untilReady: true,
    engine: "simulated",
    ...more,
  };
  const goal = await createGoal(checkRequest(request, ports), ports, never);
  const tree = await ports.openWorkTree({ projectDir: PROJECT, goalDir: goal.folder, goalId: goal.id });
  return { goal, ports, space: { tree }, project };
}

function textAt({ goal, ports }: Awaited<ReturnType<typeof open>>, path: string): string {
  return new TextDecoder().decode(ports.disk.readFile(`${goal.folder}/${path}`));
}

describe("a plan of the engine", () => {
  test("becomes the graph in one event, is counted, and stands in the documents", async () => {
    const rig = await open();
    const engine = planner(() => ({ text: `Here it is:\n\`\`\`json\n${TWO}\n\`\`\`` }));
    expect(await runPlanner(rig.goal, rig.space, engine, rig.ports, never)).toBeUndefined();
    const { work, graph } = rig.goal;
    expect(isPlanned(graph)).toBe(true);
    expect(graph.tasks.map(({ id }) => id)).toContain("goal-agent-implement-1");
    expect(work.plan).toMatchObject({
      source: "engine",
      engine: "clever",
      plan: { summary: "First the base, then the rest." },
    });
    expect(work.helper_turns).toMatchObject([
      { role: "plan", task: "goal-plan", status: "ended", outcome: "finished", usage: { output_tokens: 50 } },
    ]);
    expect(spent(work).tokens).toBe(150);
    expect(work.evidence.map(({ path }) => path)).toEqual([
      `artifacts/agent-runs/${work.helper_turns[0]?.fence}-goal-plan.jsonl`,
    ]);
    expect(engine.modes).toEqual(["read_only"]);
    const kinds: string[] = [];
    foldFolder(rig.goal.folder, rig.ports, ({ kind }) => void kinds.push(kind));
    expect(kinds.filter((kind) => kind === "plan_recorded")).toHaveLength(1);
    expect(textAt(rig, "technical-plan.md")).toMatch(/### `rest`: Do rest[^]*1\. `base`\n2\. `rest`/);
    expect(textAt(rig, "test-spec.md")).toContain("- Both work.");
    const decisions = textAt(rig, "decisions.jsonl")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { kind: string; decision: string });
    expect(decisions.map(({ kind }) => kind)).toEqual([
      "planning_boundary",
      "task_graph_shape",
      "execution_boundary",
      "planner",
    ]);
    expect(decisions.at(-1)?.decision).toBe("clever planned the work in 2 parts.");
    expect(rig.ports.stories).toContain("goal: using llm planner (clever)");
    // Again it does nothing: the goal is planned.
    expect(await runPlanner(rig.goal, rig.space, engine, rig.ports, never)).toBeUndefined();
    expect(engine.prompts).toHaveLength(1);
    await rig.goal.close();
  });

  test("that is unsound is sent back once with the reason", async () => {
    const rig = await open();
    const engine = planner(
      () => ({ text: '{"slices": []}' }),
      () => ({ text: TWO }),
    );
    await runPlanner(rig.goal, rig.space, engine, rig.ports, never);
    expect(engine.prompts[1]).toContain("it has no slices");
    expect(rig.goal.work.plan?.source).toBe("engine");
    expect(spent(rig.goal.work).tokens).toBe(300);
    await rig.goal.close();
  });

  test("that stays unsound leaves the planning to the rules, with the reason", async () => {
    const rig = await open();
    await runPlanner(
      rig.goal,
      rig.space,
      planner(() => ({ text: "I would rather not." })),
      rig.ports,
      never,
    );
    expect(rig.goal.work.plan).toMatchObject({
      source: "rules",
      fallback: "it holds no JSON object with slices",
    });
    expect(rig.goal.work.helper_turns).toHaveLength(2);
    expect(rig.ports.stories.at(-1)).toBe(
      "goal: llm planner unavailable (it holds no JSON object with slices); falling back to stub planner",
    );
    expect(isPlanned(rig.goal.graph)).toBe(true);
    await rig.goal.close();
  });

  test.each([
    [
      "says nothing",
      { status: "empty", failure: { class: "protocol", message: "", retryable: true } },
      "the agent answered nothing",
    ],
    [
      "crashes",
      { status: "failed", failure: { class: "crashed", message: "it died", retryable: true } },
      "the turn ended failed: it died",
    ],
    ["is refused", { status: "refused" }, "the turn ended refused: the model refused the request"],
  ] as const)("whose agent %s leaves it to the rules at once", async (_what, turn, because) => {
    const rig = await open();
    await runPlanner(
      rig.goal,
      rig.space,
      planner(() => turn),
      rig.ports,
      never,
    );
    expect(rig.goal.work.plan).toMatchObject({ source: "rules", fallback: because });
    expect(rig.goal.work.helper_turns).toHaveLength(1);
    await rig.goal.close();
  });

  test.each([
    [
      "by its reports",
      (tell: Play["tell"]) =>
        tell({ kind: "usage", context_tokens: 10, spent: { ...EXACT, output_tokens: 11 } }),
    ],
    ["by its length", (tell: Play["tell"]) => tell({ kind: "text", text: "x".repeat(61), thinking: false })],
  ])("whose answer passes --planner-token-budget %s is stopped", async (_how, grow) => {
    const rig = await open({ plannerTokenBudget: 10 });
    const engine = planner(({ tell, signal }) => {
      grow(tell);
      expect(signal.aborted).toBe(true);
      return { text: TWO };
    });
    await runPlanner(rig.goal, rig.space, engine, rig.ports, never);
    expect(rig.goal.work.plan?.fallback).toBe("the answer passed 10 tokens (--planner-token-budget)");
    await rig.goal.close();
  });

  test("that comes while files change makes a person look before the work goes on", async () => {
    const rig = await open();
    const engine = planner(() => {
      rig.project.turn++;
      return { text: TWO };
    });
    const ending = await runPlanner(rig.goal, rig.space, engine, rig.ports, never);
    expect(ending).toMatchObject({ status: "blocked_on_human", reasonCode: "planner_wrote" });
    expect(ending?.reason).toContain("sum.js changed while the work was planned");
    expect(isPlanned(rig.goal.graph)).toBe(true);
    await rig.goal.close();
  });
});

describe("without a plan of the engine", () => {
  test("omk says why, in the words of 0.5.0", async () => {
    for (const [more, engine, line] of [
      [{ noLlmPlanner: true }, planner(() => ({ text: TWO })), "goal: using stub planner (--no-llm-planner)"],
      [
        {},
        undefined,
        "goal: llm planner unavailable (no coding agent is known); falling back to stub planner",
      ],
    ] as const) {
      const rig = await open(more);
      await runPlanner(rig.goal, rig.space, engine, rig.ports, never);
      expect(rig.ports.stories).toEqual([line]);
      expect(rig.goal.work).toMatchObject({ plan: { source: "rules" }, helper_turns: [] });
      await rig.goal.close();
    }
  });

  test("a goal that only was created is planned by the rules when there is no agent, or none can be asked", async () => {
    const project = new SimulatedProject(1);
    const ports = simulatedPorts(new SimulatedDisk(GROUND), project, 1);
    ports.engineNamed = () => {
      throw new OmkError("engine.missing", "No coding agent was found.");
    };
    const { open: goal } = await runGoal(
      { text: "Add parsing and logging of dates", projectDir: PROJECT },
      ports,
      never,
      () => undefined,
    );
    expect(ports.stories).toEqual([
      "goal: llm planner unavailable (No coding agent was found); falling back to stub planner",
    ]);
    expect(goal.goal).toMatchObject({ status: "not_ready", phase: "proof" });
    const text = new TextDecoder().decode(ports.disk.readFile(`${goal.folder}/technical-plan.md`));
    expect(text).toContain("- logging of dates (`logging_of_dates`)");
  });

  test("a goal that only was created takes the rules when the agent cannot work, and is not ended by that", async () => {
    const project = new SimulatedProject(1);
    const ports = simulatedPorts(new SimulatedDisk(GROUND), project, 1);
    const failure = { class: "auth" as const, message: "log in first", retryable: false };
    ports.engineNamed = () => planner(() => ({ status: "failed", failure }));
    const { open: goal } = await runGoal(
      { text: "Fix the failing test", projectDir: PROJECT },
      ports,
      never,
      () => undefined,
    );
    expect(goal.goal.status).toBe("not_ready");
    expect(goal.work.plan).toMatchObject({ source: "rules", fallback: "auth: log in first" });
  });
});

describe("a goal that is driven", () => {
  test("waits for what is outside, unplanned, and resume plans again", async () => {
    const rig = await open();
    const failure = { class: "auth" as const, message: "log in first", retryable: false };
    const engine = planner(
      () => ({ status: "failed", failure }),
      () => ({ text: TWO }),
    );
    const ending = await runPlanner(rig.goal, rig.space, engine, rig.ports, never);
    expect(ending).toMatchObject({ status: "blocked_on_external", reasonCode: "agent_auth" });
    expect(isPlanned(rig.goal.graph)).toBe(false);
    expect(await runPlanner(rig.goal, rig.space, engine, rig.ports, never)).toBeUndefined();
    expect(rig.goal.work.plan?.source).toBe("engine");
    await rig.goal.close();
  });

  test("tries again after an outage by itself", async () => {
    const rig = await open();
    const failure = { class: "rate_limit" as const, message: "slow down", retryable: true };
    const engine = planner(
      () => ({ status: "failed", failure }),
      () => ({ text: TWO }),
    );
    const planning = runPlanner(rig.goal, rig.space, engine, rig.ports, never);
    await (rig.ports.clock as ManualClock).advance(60_000);
    expect(await planning).toBeUndefined();
    expect(rig.goal.work.plan?.source).toBe("engine");
    await rig.goal.close();
  });

  test("needs more budget when planning used it up, and stays unplanned", async () => {
    const rig = await open({ budgetTokens: 40 });
    const engine = planner(({ tell }) => {
      tell({ kind: "usage", context_tokens: 60, spent: { ...EXACT, output_tokens: 1 } });
      return { text: "half a pl" };
    });
    const ending = await runPlanner(rig.goal, rig.space, engine, rig.ports, never);
    expect(ending).toMatchObject({ status: "needs_more_budget", reasonCode: "budget_tokens" });
    expect(isPlanned(rig.goal.graph)).toBe(false);
    await rig.goal.close();
  });

  test("is stopped in the middle and planned when it goes on", async () => {
    const rig = await open();
    const stop = new AbortController();
    const engine = planner(
      () => {
        stop.abort(new OmkError("interrupted", "Stopped by a signal."));
        return {};
      },
      () => ({ text: TWO }),
    );
    expect(await runPlanner(rig.goal, rig.space, engine, rig.ports, stop.signal)).toMatchObject({
      status: "paused",
    });
    expect(rig.goal.work.helper_turns).toMatchObject([{ status: "interrupted" }]);
    await rig.goal.close();
    rig.ports.engineNamed = () => engine;
    const { open: resumed } = await resumeGoal(rig.goal.id, rig.ports, never);
    expect(resumed.work.plan?.source).toBe("engine");
  });
});

describe("what a planner changed although it was only to read", () => {
  const outage = { class: "auth" as const, message: "log in first", retryable: false };

  /** A driven goal whose first planning turn writes and then ends in some way; every later turn works as it should. */
  async function wrote(
    how: (stop: AbortController) => Partial<Turn>,
    more: object = {},
  ): Promise<{ ports: Ports }> {
    const project = new SimulatedProject(2);
    const ports = simulatedPorts(new SimulatedDisk(GROUND), project, 1);
    const stop = new AbortController();
    const engine = planner(
      () => {
        project.turn++;
        return how(stop);
      },
      () => ({ text: TWO }),
      () => {
        project.turn = 2;
        return {};
      },
    );
    ports.engineNamed = () => engine;
    const request = { text: "Fix the failing test", projectDir: PROJECT, untilReady: true, ...more };
    // One of them dies, which is what its test is about.
    await runGoal(request, ports, stop.signal, () => undefined).catch(() => undefined);
    return { ports };
  }

  test.each([
    [
      "a stop",
      (stop: AbortController) => {
        stop.abort(new OmkError("interrupted", "Stopped by a signal."));
        return {};
      },
      "paused",
    ],
    [
      "a death of omk",
      () => {
        throw new TypeError("omk dies here");
      },
      "running",
    ],
    ["an outage", () => ({ status: "failed" as const, failure: outage }), "blocked_on_human"],
  ] as const)(
    "is asked about when %s cut the turn off, and nothing starts from it unseen",
    async (_what, how, status) => {
      const { ports } = await wrote(how);
      expect(findGoal(ROOT, "latest", ports).record).toMatchObject({ status });
      if (status !== "blocked_on_human") {
        const { open: asked } = await resumeGoal("latest", ports, never);
        expect(asked.work.attempts).toEqual([]);
      }
      expect(findGoal(ROOT, "latest", ports).record).toMatchObject({
        status: "blocked_on_human",
        reason_code: "planner_wrote",
        failure: { reason: expect.stringContaining("sum.js changed while the work was planned") as string },
      });
      // A person has looked: it goes on from here.
      const { open: after } = await resumeGoal("latest", ports, never);
      expect(after.goal.reason_code).not.toBe("planner_wrote");
      expect(after.work.helper_turns[0]).toMatchObject({ changed: ["sum.js"] });
      expect(after.work.attempts.length).toBeGreaterThan(0);
    },
  );

  test("is asked about before a step by hand, too", async () => {
    const { ports } = await wrote(
      (stop) => {
        stop.abort(new OmkError("interrupted", "Stopped by a signal."));
        return {};
      },
      { untilReady: false },
    );
    await resumeGoal("latest", ports, never);
    const { ending } = await verifyGoal({ wanted: "latest" }, ports, never);
    expect(ending).toMatchObject({ status: "blocked_on_human", reasonCode: "planner_wrote" });
  });

  test("after its turn, like what anybody else changed meanwhile, does not become the base unasked", async () => {
    const rig = await open();
    const steps = { open: rig.goal, space: rig.space as Workspace, ports: rig.ports, signal: never };
    await recordBase(steps);
    const base = rig.goal.work.base;
    const engine = planner(() => ({ text: TWO }));
    await runPlanner(rig.goal, rig.space, engine, rig.ports, never);
    rig.project.turn++;
    expect(await runBaseline(steps)).toMatchObject({
      status: "blocked_on_human",
      reasonCode: "repository_moved",
      reason: expect.stringContaining("sum.js") as string,
    });
    expect(rig.goal.work).toMatchObject({ base, baseline: null });
    await rig.goal.close();
  });
});
