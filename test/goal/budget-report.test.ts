/** What a goal has spent, moment by moment: in its log, in the files made from it, and in the report. */
import { describe, expect, test } from "vitest";

import { BudgetCheckpoint, CostFile } from "../../src/format/budget.ts";
import { budgetReport, isCheckpoint } from "../../src/goal/budget-report.ts";
import { checkRequest, createGoal } from "../../src/goal/create.ts";
import { findGoal } from "../../src/goal/find.ts";
import { change, OpenGoal } from "../../src/goal/open.ts";
import { foldFolder } from "../../src/store/journal.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, ROOT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;
const REQUEST = { text: "Fix the failing test", projectDir: PROJECT, budgetTokens: 100, budgetTime: "1h" };

async function created(disk = new SimulatedDisk(GROUND)) {
  const ports = simulatedPorts(disk, new SimulatedProject(1), 1);
  const open = await createGoal(checkRequest(REQUEST, ports), ports, never);
  return { disk, ports, open };
}

const usage = (tokens: number) => ({ input_tokens: tokens, output_tokens: 0, quality: "exact" as const });

function attempt(fence: number, tokens: number, status: "ended" | "running" = "ended") {
  return {
    task_id: "goal-agent-execute",
    number: 1,
    fence,
    run_key: "k",
    spawn_id: "s",
    status,
    outcome: "finished",
    outcome_code: null,
    start_tree: "t",
    result_tree: "t",
    started_at: "2026-01-01T00:00:00Z",
    ended_at: status === "ended" ? "2026-01-01T00:01:00Z" : null,
    summary: null,
    usage: usage(tokens),
    counted: true,
  };
}

const done = (fence: number, tokens: number) => ({
  kind: "task_completed",
  actor: "goal-agent-worker-0",
  payload: { task_id: "goal-agent-execute", fence },
  changes: [change("work.json", { attempts: [attempt(fence, tokens)], active_ms: 61_500 })],
});

function textOf(disk: SimulatedDisk, path: string): string {
  return Buffer.from(disk.readFile(path)).toString("utf8");
}

describe("a checkpoint of the budget", () => {
  test("is recorded with the event that marks the moment, and says how things stand after it", async () => {
    const { open, disk } = await created();
    const seqs = await open.record(done(5, 40));
    expect(seqs).toHaveLength(1);
    const recorded: [string, BudgetCheckpoint][] = [];
    foldFolder(open.folder, { disk }, ({ kind, payload }) => {
      if (kind === "budget_checkpoint") recorded.push([kind, BudgetCheckpoint.parse(payload)]);
    });
    await open.close();
    expect(recorded.map(([, { label }]) => label)).toEqual(["goal_created", "execute_completed"]);
    expect(recorded[1]?.[1]).toMatchObject({
      used_tokens: 40,
      remaining_budget_tokens: 60,
      total_budget_secs: 3_600,
      remaining_budget_secs: 3_538,
      active_secs: 61,
    });
  });

  test("names the budget that was used up, with an event of its own", async () => {
    const { open, disk } = await created();
    const status = "needs_more_budget";
    const changes = [change("goal.json", { status, reason_code: "budget_tokens" })];
    await open.record(done(5, 140));
    await open.record({ kind: "proof_written", actor: null, payload: { status }, changes });
    const seen: unknown[] = [];
    foldFolder(open.folder, { disk }, ({ kind, payload }) => {
      if (kind === "goal_budget_exhausted") seen.push(payload);
    });
    await open.close();
    expect(seen).toEqual([
      expect.objectContaining({
        budget_source: "tokens",
        used_tokens: 140,
        remaining_budget_tokens: 0,
        status,
      }),
    ]);
  });
});

describe("the files about the budget", () => {
  test("are made from the log when the goal is handed on, and made again when they are gone", async () => {
    const { open, disk, ports } = await created();
    await open.record(done(5, 40));
    await open.close();
    const paths = ["budget-checkpoints.jsonl", "cost.jsonl"].map((name) => `${open.folder}/${name}`);
    const [checkpoints = "", costs = ""] = paths.map((path) => textOf(disk, path));
    const lines = checkpoints.trimEnd().split("\n");
    expect(lines.map((line) => BudgetCheckpoint.parse(JSON.parse(line)).label)).toEqual([
      "goal_created",
      "execute_completed",
    ]);
    expect(CostFile.parse(JSON.parse(costs))).toMatchObject([
      { session_type: "execute", estimate: { input_tokens: 40, duration_secs: 60, tier: "Standard" } },
    ]);
    for (const path of paths) disk.remove(path);
    await (await OpenGoal.open(open.id, open.folder, "test", ports, never)).close();
    expect(paths.map((path) => textOf(disk, path))).toEqual([checkpoints, costs]);
  });

  test("keep what 0.5.0 had put there, and count no turn twice", async () => {
    const { open, disk, ports } = await created();
    await open.close();
    const old = `{"goal_id":"${open.id}","label":"old"}\nhalf a li`;
    const legacy = { session_type: "budget_check", name: "goal verify", started_at: "2026-01-01T00:00:00Z" };
    await disk.writeDerived(`${open.folder}/budget-checkpoints.jsonl`, old);
    await disk.writeDerived(`${open.folder}/cost.jsonl`, JSON.stringify([legacy]));
    for (let round = 0; round < 2; round++) {
      const again = await OpenGoal.open(open.id, open.folder, "test", ports, never);
      await again.record(done(5 + round, 40));
      await again.close();
    }
    expect(textOf(disk, `${open.folder}/budget-checkpoints.jsonl`).startsWith(`${old}\n{`)).toBe(true);
    const entries = JSON.parse(textOf(disk, `${open.folder}/cost.jsonl`)) as object[];
    expect(entries).toHaveLength(2);
    expect(entries[0]).toEqual(legacy);
    expect(entries[1]).toMatchObject({ fence: 6 });
  });
});

describe("the report", () => {
  test("says what was spent now, also while a turn runs, and all checkpoints", async () => {
    const { open, disk, ports } = await created();
    await open.record(done(5, 40));
    const attempts = [attempt(5, 40), attempt(9, 7, "running")];
    await open.record({ kind: "usage_reported", actor: "w", changes: [change("work.json", { attempts })] });
    const goal = findGoal(ROOT, "latest", ports);
    const { report, malformed } = budgetReport(goal, "2026-01-01T01:00:00Z", { disk });
    await open.close();
    expect(malformed).toBe(0);
    expect(report).toMatchObject({
      goal_id: open.id,
      generated_at: "2026-01-01T01:00:00Z",
      budget_time: "1h",
      budget_tokens: 100,
      used_tokens: 47,
      remaining_budget_tokens: 53,
      spent_tokens: 47,
      spent_seconds: 61,
      latest: { label: "execute_completed" },
    });
    expect(report.checkpoints).toHaveLength(2);
    expect(report).not.toHaveProperty("budget_usd");
  });

  test("leaves malformed lines of a file of 0.5.0 out and counts them, and sums without its budget checks", async () => {
    const folder = `${ROOT}/goals/goal-old`;
    const checkpoint = {
      version: 1,
      goal_id: "goal-old",
      label: "verify_completed",
      status: "not_ready",
      phase: "proof",
      recorded_at: "2026-01-01T00:00:00Z",
      elapsed_since_created_secs: 5,
      used_tokens: 12,
    };
    const cost = (session_type: string, tokens: number) => ({
      session_type,
      estimate: { input_tokens: tokens, output_tokens: 1, duration_secs: 2, estimated_usd: 0.5 },
      actual_usd: null,
    });
    const goal = { version: 1, goal_id: "goal-old", original_goal: "x", status: "not_ready" };
    const times = { created_at: "2026-01-01T00:00:00Z", updated_at: "2026-01-01T00:00:00Z" };
    const disk = new SimulatedDisk({
      folders: [ROOT, `${ROOT}/goals`, folder],
      files: {
        [`${folder}/goal.json`]: JSON.stringify({ ...goal, ...times }),
        [`${folder}/budget-checkpoints.jsonl`]: `${JSON.stringify(checkpoint)}\nnonsense\n\n`,
        [`${folder}/cost.jsonl`]: JSON.stringify([cost("verify", 3), cost("budget_check", 1_000)]),
      },
    });
    const found = findGoal(ROOT, "goal-old", { disk });
    const { report, malformed } = budgetReport(found, "2026-01-02T00:00:00Z", { disk });
    expect(malformed).toBe(1);
    expect(report).toMatchObject({ used_tokens: 12, spent_tokens: 4, spent_usd: 0.5, spent_seconds: 2 });
    expect(report.latest?.label).toBe("verify_completed");
  });

  test("takes for a checkpoint what the schema takes for one", () => {
    const whole = {
      goal_id: "g",
      label: "l",
      status: "ready",
      phase: "proof",
      recorded_at: "2026-01-01T00:00:00Z",
      elapsed_since_created_secs: 1,
    };
    for (const key of ["", ...Object.keys(whole)]) {
      const one = Object.fromEntries(Object.entries(whole).filter(([name]) => name !== key));
      expect(isCheckpoint(one)).toBe(BudgetCheckpoint.safeParse(one).success);
    }
    for (const one of [null, 1, "x", []]) expect(isCheckpoint(one)).toBe(false);
  });
});
