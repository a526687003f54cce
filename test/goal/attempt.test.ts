/** Attempts side by side, on a simulated machine: what each records stands beside what the other does. */
import { expect, test } from "vitest";

import type { Engine, EngineEvent, Prompt, Turn } from "../../src/engine/engine.ts";
import { approvalsOf } from "../../src/goal/approvals.ts";
import { runAttempt } from "../../src/goal/attempt.ts";
import { checkRequest, createGoal } from "../../src/goal/create.ts";
import { recordBase } from "../../src/goal/gate-steps.ts";
import { runPlanner } from "../../src/goal/planner.ts";
import type { Workspace } from "../../src/goal/workspace.ts";
import { ASKING } from "../support/fakes.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;
const usage = { input_tokens: 100, output_tokens: 50, quality: "exact" as const };

function slice(id: string): object {
  return { id, title: id, description: `All of ${id}.`, acceptance: ["It works."], write_set: ["sum.js"] };
}

/** Plans two parts; the turns at them wait for each other, and end together. */
function pair(): Engine {
  let working = 0;
  let meet = (): void => undefined;
  const both = new Promise<void>((resolve) => (meet = resolve));
  return {
    name: "pair",
    capabilities: { ...ASKING, plans: true },
    start: (options: { onEvent: (event: EngineEvent) => void }) =>
      Promise.resolve({
        id: "s",
        run: async ({ meta }: Prompt): Promise<Turn> => {
          const turn = { status: "finished" as const, toolCalls: 0, usage, proposals: [] };
          if (meta.role === "plan")
            return { ...turn, text: JSON.stringify({ slices: [slice("a"), slice("b")] }) };
          options.onEvent({ kind: "usage", context_tokens: 10, spent: usage } as EngineEvent);
          if (++working === 2) meet();
          await both;
          return { ...turn, text: "done" };
        },
        stop: () => Promise.resolve(),
      }),
  } as unknown as Engine;
}

test("two attempts at once lose nothing of each other, and each has a name of its own", async () => {
  const ports = simulatedPorts(new SimulatedDisk(GROUND), new SimulatedProject(1), 1);
  const request = { text: "Fix the failing test", projectDir: PROJECT, untilReady: true };
  const open = await createGoal(checkRequest(request, ports), ports, never);
  const tree = await ports.openWorkTree({ projectDir: PROJECT, goalDir: open.folder, goalId: open.id });
  const space = { tree } as Workspace;
  const engine = pair();
  await recordBase({ open, space, ports, signal: never });
  await runPlanner(open, space, engine, ports, never);
  const given = { engine, approvals: approvalsOf(open, ports), number: 1 };
  const tasks = ["goal-agent-implement-0", "goal-agent-implement-1"];
  await Promise.all(
    tasks.map((task, slot) =>
      runAttempt(open, space, { ...given, task, worker: `goal-agent-worker-${slot}` }, ports, never),
    ),
  );
  const { attempts, evidence } = open.work;
  expect(attempts.map(({ task_id, status, worker }) => [task_id, status, worker])).toEqual([
    [tasks[0], "ended", "goal-agent-worker-0"],
    [tasks[1], "ended", "goal-agent-worker-1"],
  ]);
  expect(attempts.map((one) => one.usage?.input_tokens)).toEqual([100, 100]);
  for (const { task_id, fence } of attempts)
    expect(evidence.map(({ path }) => path)).toContain(
      `artifacts/agent-runs/${task_id}/${fence}/changed-files.json`,
    );
  await open.close();
});
