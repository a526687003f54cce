import { describe, expect, test } from "vitest";

import { Instant } from "../../src/format/instant.ts";
import { instantOf } from "../../src/format/stamp.ts";
import { jsonSchema, schemaNames } from "../../src/format/schemas.ts";
import { Attempt, Work } from "../../src/format/work.ts";

describe("omk schema", () => {
  test("knows every format by the name of its file", () => {
    expect(schemaNames()).toEqual(
      expect.arrayContaining(["goal", "task-graph", "proof", "event", "gates", "work"]),
    );
    for (const name of schemaNames()) {
      const schema = jsonSchema(name);
      expect(schema).toMatchObject({ $schema: expect.stringContaining("2020-12"), title: name });
      expect(JSON.parse(JSON.stringify(schema))).toEqual(schema);
    }
    expect(jsonSchema("nonsense")).toBeUndefined();
    expect(jsonSchema("toString")).toBeUndefined();
  });

  test("describes numbers kept as text as numbers, times as times, and forgives missing keys that have defaults", () => {
    const schema = jsonSchema("goal") as { properties: Record<string, unknown>; required: string[] };
    expect(schema.properties["budget_usd"]).toEqual({ type: "number" });
    expect(schema.properties["budget_tokens"]).toEqual({ type: "integer", minimum: 0 });
    expect(schema.properties["created_at"]).toMatchObject({ type: "string", format: "date-time" });
    expect(schema.required).toEqual([
      "goal_id",
      "original_goal",
      "normalized_goal",
      "status",
      "created_at",
      "updated_at",
    ]);
    expect(schema).toMatchObject({ additionalProperties: {} });
  });
});

describe("an instant", () => {
  test("is RFC 3339 text with any offset and fraction", () => {
    for (const text of [
      "2026-05-25T10:00:00Z",
      "2026-05-25T10:00:00.123456789+02:00",
      "2026-05-25T10:00:05.120+00:00",
    ]) {
      expect(Instant.parse(text)).toBe(text);
    }
    for (const text of [
      "",
      "2026-05-25",
      "2026-05-25T10:00:00",
      "2026-05-25T24:00:00Z",
      "2026-00-25T10:00:00Z",
      "now",
    ]) {
      expect(Instant.safeParse(text).success).toBe(false);
    }
    expect(instantOf(new Date(1_748_167_200_120))).toBe("2025-05-25T10:00:00.120Z");
  });
});

describe("work.json", () => {
  const attempt = {
    task_id: "goal-agent-execute",
    number: 1,
    fence: 7,
    run_key: "goal-agent-execute/7",
    spawn_id: "omk-1",
    status: "ended",
    outcome: "finished",
    outcome_code: null,
    start_tree: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    result_tree: null,
    started_at: "2026-05-25T10:00:00.000Z",
    ended_at: null,
    summary: null,
    usage: { input_tokens: 1, output_tokens: 2, quality: "exact", cost_usd: 0.5, later: true },
    counted: true,
    later: "kept",
  };

  test("keeps what it does not know, also in an attempt's usage", () => {
    expect(Attempt.parse(attempt)).toEqual(attempt);
  });

  test("of an older omk gets what it lacks", () => {
    const empty = { base: null, baseline: null, result: null, gates: null, review: null, acceptance: null };
    const work = Work.parse({ version: 1, attempts: [attempt], ...empty });
    expect(work).toMatchObject({ attempts_from: 0, side_effects: [], evidence: [], active_ms: 0 });
  });
});
