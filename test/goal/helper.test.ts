/** Turns of the engine beside a goal's tasks, on a simulated machine: they only read, are bounded, and cost what they cost. */
import { describe, expect, test } from "vitest";

import type {
  Engine,
  EngineEvent,
  PermissionAnswer,
  PermissionRequest,
  Turn,
} from "../../src/engine/engine.ts";
import { spent } from "../../src/goal/budget.ts";
import { checkRequest, createGoal } from "../../src/goal/create.ts";
import { recoverGoal } from "../../src/goal/drive.ts";
import { takeHelperTurn } from "../../src/goal/helper.ts";
import { OpenGoal } from "../../src/goal/open.ts";
import { ASKING } from "../support/fakes.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;
const EXACT = { input_tokens: 100, output_tokens: 50, quality: "exact" as const };
const ASK = { role: "review", task: "goal-review-code", text: "Look.", turnMs: 1_000 } as const;

interface Play {
  tell: (event: object) => void;
  ask: (request: Partial<PermissionRequest>) => Promise<PermissionAnswer>;
  signal: AbortSignal;
}

/** An agent whose one turn is played. */
function played(play: (given: Play) => Promise<Partial<Turn>> | Partial<Turn>): Engine {
  return {
    name: "played",
    capabilities: ASKING,
    start: (options: {
      onEvent: (event: EngineEvent) => void;
      decidePermission: (request: PermissionRequest, signal: AbortSignal) => Promise<PermissionAnswer>;
    }) =>
      Promise.resolve({
        id: "s",
        run: async (_prompt: unknown, signal: AbortSignal) => {
          const asked = {
            id: "1",
            toolCallId: "1",
            title: "",
            name: null,
            command: null,
            locations: [],
            rawInput: {},
            content: [],
            options: [],
          };
          const turn = await play({
            tell: (event) => options.onEvent(event as EngineEvent),
            ask: (request) => options.decidePermission({ ...asked, kind: "other", ...request }, signal),
            signal,
          });
          const whole = { status: "finished", text: "", toolCalls: 0, usage: EXACT, proposals: [], ...turn };
          return signal.aborted ? { ...whole, status: "cancelled" } : whole;
        },
        stop: () => Promise.resolve(),
      }),
  } as unknown as Engine;
}

async function open(more: object = {}) {
  const project = new SimulatedProject(1);
  const ports = simulatedPorts(new SimulatedDisk(GROUND), project, 1);
  const request = { text: "Fix the failing test", projectDir: PROJECT, engine: "simulated", ...more };
  const goal = await createGoal(checkRequest(request, ports), ports, never);
  const tree = await ports.openWorkTree({ projectDir: PROJECT, goalDir: goal.folder, goalId: goal.id });
  return { goal, ports, space: { tree }, project };
}

describe("a helper turn", () => {
  test("may read, and nothing else, whoever else would allow it", async () => {
    const rig = await open({ approvals: { policy: "yolo" } });
    const decisions: string[] = [];
    const engine = played(async ({ ask }) => {
      for (const kind of ["read", "search", "edit", "execute", "other"]) {
        const path = `${PROJECT}/sum.js`;
        const { decision } = await ask({
          id: kind,
          toolCallId: kind,
          kind,
          locations: [path],
          rawInput: { path },
        });
        decisions.push(`${kind}: ${decision}`);
      }
      return {};
    });
    await takeHelperTurn(rig.goal, rig.space, engine, ASK, rig.ports, never);
    expect(decisions).toEqual([
      "read: allow",
      "search: allow",
      "edit: reject",
      "execute: reject",
      "other: reject",
    ]);
    await rig.goal.close();
  });

  test("is stopped at the goal's budget, and its time counts", async () => {
    const rig = await open({ budgetTokens: 40 });
    const engine = played(({ tell, signal }) => {
      tell({ kind: "usage", context_tokens: 10, spent: EXACT });
      expect(signal.aborted).toBe(true);
      return {};
    });
    const { turn, isTooLong } = await takeHelperTurn(rig.goal, rig.space, engine, ASK, rig.ports, never);
    expect([turn.status, isTooLong]).toEqual(["over_budget", false]);
    expect(rig.goal.work.helper_turns).toMatchObject([{ status: "ended", outcome: "over_budget" }]);
    await rig.goal.close();
  });

  test("names what changed in the project meanwhile", async () => {
    const rig = await open();
    const engine = played(() => {
      rig.project.turn++;
      return {};
    });
    const { changed } = await takeHelperTurn(rig.goal, rig.space, engine, ASK, rig.ports, never);
    expect(changed).toMatchObject([{ path: "sum.js" }]);
    await rig.goal.close();
  });

  test("that a dead controller left is charged with what its transcript tells, once", async () => {
    const rig = await open();
    const bug = new TypeError("omk dies here");
    const engine = played(({ tell }) => {
      tell({ kind: "usage", context_tokens: 10, spent: EXACT });
      throw bug;
    });
    await expect(takeHelperTurn(rig.goal, rig.space, engine, ASK, rig.ports, never)).rejects.toBe(bug);
    expect(rig.goal.work.helper_turns).toMatchObject([{ role: "review", status: "running" }]);
    await rig.goal.close();
    const again = await OpenGoal.open(rig.goal.id, rig.goal.folder, "goal resume", rig.ports, never);
    await recoverGoal(again, rig.ports);
    await recoverGoal(again, rig.ports);
    expect(again.work.helper_turns).toMatchObject([
      { status: "interrupted", usage: { input_tokens: 100, output_tokens: 50 } },
    ]);
    expect(spent(again.work).tokens).toBe(150);
    await again.close();
  });
});
