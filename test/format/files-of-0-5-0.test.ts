/** Files as 0.5.0 wrote them: each is read by its schema and comes back byte for byte. */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { z } from "zod";

import {
  Assignment,
  ChangedFiles,
  Heartbeat,
  OutboxLine,
  StaleWorkerCleanup,
  TaskPolicy,
  WireEvent,
  WorkerSpec,
} from "../../src/format/agent-run.ts";
import { BudgetCheckpoint, CostFile } from "../../src/format/budget.ts";
import { Decision } from "../../src/format/decision.ts";
import { Event, EVENT_KINDS } from "../../src/format/event.ts";
import { Failure } from "../../src/format/failure.ts";
import { Goal } from "../../src/format/goal.ts";
import {
  IntegrationEvidence,
  IntegratorMetadata,
  MergeConflict,
  PolicyBlocker,
} from "../../src/format/integration.ts";
import { NumberText, parseJson, renderDocument, renderLine } from "../../src/format/json.ts";
import { Proof, RunProof } from "../../src/format/proof.ts";
import { RunManifest, Task } from "../../src/format/run.ts";
import { checkTaskGraph, TaskGraph } from "../../src/format/task-graph.ts";
import { TeamState } from "../../src/format/team.ts";

const ROOT = join(import.meta.dirname, "../fixtures/v0.5.0");

/** What each file holds; `lines` are JSON Lines, `line` is one compact record, `open` ends without a newline. */
const FILES: [name: RegExp, schema: z.ZodType, form?: "lines" | "open-lines" | "line"][] = [
  [/^goal\/goal\.json$/, Goal],
  [/^(goal|team)\/failure\.json$/, Failure],
  [/^goal\/task-graph\.json$/, TaskGraph],
  [/^goal\/proof\.json$/, Proof],
  [/^team\/proof\.json$/, RunProof],
  [/\/decisions\.jsonl$/, Decision, "lines"],
  [/\/events\.jsonl$/, Event, "lines"],
  [/\/budget-checkpoints\.jsonl$/, BudgetCheckpoint, "lines"],
  [/\/cost\.jsonl$/, CostFile],
  [/\/integrator-metadata\.json$/, IntegratorMetadata],
  [/\/integrator-accept\.json$/, IntegrationEvidence],
  [/\/merge-conflict-[^/]*\.json$/, MergeConflict],
  [/\/until-ready-blocker\.json$/, PolicyBlocker],
  [/\/(task-policy|agent-task-proposals)\.json$/, TaskPolicy],
  [/\/changed-files\.json$/, ChangedFiles],
  [/\/worker-spec\.json$/, WorkerSpec],
  [/\/inbox\.jsonl$/, Assignment, "lines"],
  [/\/outbox\.jsonl$/, OutboxLine, "lines"],
  [/\/heartbeat\.json$/, Heartbeat, "line"],
  [/\/wire-events\.jsonl$/, WireEvent, "lines"],
  [/\/stale-worker-cleanup\.json$/, StaleWorkerCleanup],
  [/\/team-state\.json$/, TeamState],
  [/\/manifest\.json$/, RunManifest],
  [/\/tasks\.jsonl$/, Task, "open-lines"],
];

const fixtures = readdirSync(ROOT, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.jsonl?$/.test(entry.name))
  .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
  .sort();

function formatOf(name: string) {
  const found = FILES.find(([pattern]) => pattern.test(name));
  if (!found) throw new Error(`no schema is known for ${name}`);
  return { schema: found[1], form: found[2] };
}

/** Reads a file's records, lets `each` look at them, and writes the file again. */
function rewrite(name: string, each: (record: unknown) => unknown): { before: string; after: string } {
  const bytes = readFileSync(join(ROOT, name));
  const before = bytes.toString("utf8");
  const { form } = formatOf(name);
  if (form === undefined) return { before, after: renderDocument(each(parseJson(bytes))) };
  if (form === "line") return { before, after: renderLine(each(parseJson(bytes))) };
  const lines = before.split("\n").filter((line) => line !== "");
  const after = lines.map((line) => renderLine(each(parseJson(line)))).join("\n");
  return { before, after: form === "lines" && after !== "" ? `${after}\n` : after };
}

describe("a file of 0.5.0", () => {
  test.each(fixtures)("%s comes back byte for byte", (name) => {
    const { before, after } = rewrite(name, (record) => record);
    expect(after).toBe(before);
  });

  test.each(fixtures)("%s is accepted by its schema, which changes nothing in it", (name) => {
    const { schema } = formatOf(name);
    const { before, after } = rewrite(name, (record) => schema.parse(record));
    expect(after).toBe(before);
  });

  test.each(fixtures)("%s keeps keys of other versions, null and false ones included", (name) => {
    const { schema } = formatOf(name);
    rewrite(name, (record) => {
      const targets = Array.isArray(record) ? record : [record];
      if (targets.some((target) => typeof target !== "object")) return record;
      for (const target of targets)
        Object.assign(target, { from_later: { deep: [null, 1.5, ""] }, nothing: null, no: false });
      expect(schema.parse(record)).toEqual(record);
      expect(parseJson(renderDocument(schema.parse(record)))).toEqual(record);
      return record;
    });
  });

  test("with unknown keys in the middle keeps their place when it is rewritten as read", () => {
    const text = '{\n  "zeta": 1,\n  "version": 1,\n  "alpha": [\n    {}\n  ]\n}';
    expect(renderDocument(parseJson(text))).toBe(text);
  });
});

describe("numbers that JavaScript would print differently", () => {
  const goal = () => Goal.parse(parseJson(readFileSync(join(ROOT, "goal/goal.json"))));

  test("are read as their text and calculated with by Number", () => {
    const { budget_usd, budget_tokens } = goal();
    expect(budget_usd).toBeInstanceOf(NumberText);
    expect(Number(budget_usd)).toBe(5);
    expect(String(budget_tokens)).toBe("18446744073709551615");
  });

  test("survive a spread, an assignment and a change beside them", () => {
    const changed = { ...goal() };
    Object.assign(changed, { status: "running" });
    expect(renderDocument(changed)).toContain('"budget_usd": 5.0,');
    expect(renderLine(changed)).toContain('"budget_tokens":18446744073709551615,');
  });

  test("are refused where they make no sense", () => {
    const record = parseJson(readFileSync(join(ROOT, "goal/goal.json"))) as Record<string, unknown>;
    for (const bad of [new NumberText("1.5"), -1, "5", null]) {
      expect(Goal.safeParse({ ...record, budget_tokens: bad }).success).toBe(false);
    }
    expect(Goal.safeParse({ ...record, budget_usd: "5" }).success).toBe(false);
  });
});

describe("a goal", () => {
  const record = () => parseJson(readFileSync(join(ROOT, "goal/goal.json"))) as Record<string, unknown>;

  test("with only the required keys gets 0.5.0's defaults", () => {
    const { goal_id, original_goal, normalized_goal, status, created_at, updated_at } = record();
    const parsed = Goal.parse({ goal_id, original_goal, normalized_goal, status, created_at, updated_at });
    expect(parsed).toMatchObject({
      version: 1,
      phase: "intake",
      until_ready: false,
      terminal_criteria: { proof_required: true, gates_required: true, human_blockers_stop: true },
      delivery_policy: "local",
      merge_policy: "disabled",
      slice_execution: false,
      artifacts: [],
      state_dir: "",
    });
    expect("budget_usd" in parsed).toBe(false);
    expect("completed_at" in parsed).toBe(false);
  });

  test("is refused without a required key, with an unknown status and with a time that is none", () => {
    for (const key of ["goal_id", "original_goal", "normalized_goal", "status", "created_at", "updated_at"]) {
      const { [key]: _, ...rest } = record();
      expect(Goal.safeParse(rest).success).toBe(false);
    }
    expect(Goal.safeParse({ ...record(), status: "done" }).success).toBe(false);
    expect(Goal.safeParse({ ...record(), created_at: "yesterday" }).success).toBe(false);
    expect(Goal.safeParse({ ...record(), created_at: "2026-13-01T00:00:00Z" }).success).toBe(false);
    expect(Goal.safeParse({ ...record(), created_at: "2026-05-14T10:54:16+02:00" }).success).toBe(true);
  });
});

describe("a task graph", () => {
  const graph = () => TaskGraph.parse(parseJson(readFileSync(join(ROOT, "goal/task-graph.json"))));
  const task = (id: string, dependencies: string[] = []) =>
    ({ ...graph().tasks[0], id, dependencies }) as TaskGraph["tasks"][number];

  test("of 0.5.0 is sound", () => {
    expect(checkTaskGraph(graph())).toEqual([]);
  });

  test("names every problem", () => {
    const tasks = [
      task("a", ["b", "gone"]),
      task("b", ["a"]),
      { ...task("b"), title: " ", acceptance: [] },
      { ...task("c", ["c"]), description: "" },
      task(" "),
    ];
    expect(checkTaskGraph({ ...graph(), version: 0, goal_id: " ", tasks })).toEqual([
      "task graph has version 0",
      "task graph has no goal id",
      "duplicate task id: b",
      "task b has no title",
      "task b has no acceptance criteria",
      "task c has no description",
      "task graph has a task without an id",
      "task a depends on missing task gone",
      "task c depends on itself",
      "task graph contains a dependency cycle",
    ]);
    expect(checkTaskGraph({ ...graph(), tasks: [] })).toEqual(["task graph has no tasks"]);
  });

  test("that is a chain of 10,000 tasks is checked without running out of stack, and closing it is a cycle", () => {
    const first = task("t0");
    const chain = Array.from({ length: 10_000 }, (_, at) => ({
      ...first,
      id: `t${at}`,
      dependencies: at === 0 ? [] : [`t${at - 1}`],
    }));
    expect(checkTaskGraph({ ...graph(), tasks: chain })).toEqual([]);
    const [head, ...rest] = chain;
    const closed = [{ ...head, dependencies: ["t9999"] } as (typeof chain)[number], ...rest];
    expect(checkTaskGraph({ ...graph(), tasks: closed })).toEqual(["task graph contains a dependency cycle"]);
  });

  test("whose edges all lead to earlier tasks never has a cycle, and has one when an edge leads back", () => {
    const edges = fc.array(fc.tuple(fc.nat(19), fc.nat(19)), { maxLength: 60 });
    fc.assert(
      fc.property(edges, (pairs) => {
        const tasks = Array.from({ length: 20 }, (_, at) => task(`t${at}`));
        for (const [a, b] of pairs) if (a > b) tasks[a]?.dependencies.push(`t${b}`);
        expect(checkTaskGraph({ ...graph(), tasks })).toEqual([]);
        const back = pairs.find(([a, b]) => a > b);
        if (!back) return;
        tasks[back[1]]?.dependencies.push(`t${back[0]}`);
        expect(checkTaskGraph({ ...graph(), tasks })).toContain("task graph contains a dependency cycle");
      }),
      { numRuns: 200 },
    );
  });
});

test("an event of a kind that 0.5.0 does not know is an event, and one without a kind is none", () => {
  const line = readFileSync(join(ROOT, "goal/events.jsonl"), "utf8").split("\n", 1)[0] ?? "";
  const event = Event.parse(parseJson(line));
  expect(EVENT_KINDS).toContain(event.kind);
  expect(Event.safeParse({ ...event, kind: "goal_created" }).success).toBe(true);
  expect(Event.safeParse({ ...event, kind: undefined }).success).toBe(false);
  expect(Event.parse({ ...event, actor: undefined }).actor).toBeNull();
});
