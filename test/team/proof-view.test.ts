import { appendFileSync, cpSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { RunProof } from "../../src/format/proof.ts";
import { proofMarkdown, proofText, proofToShow } from "../../src/team/proof-view.ts";
import { imageOf, Runs } from "./rig.ts";

let number = 0;
const event = (kind: string, actor: string | null = null, payload?: object, ts = "2026-05-25T10:01:00Z") => {
  const id = `00000000-0000-4000-8000-${String(++number).padStart(12, "0")}`;
  return `${JSON.stringify({ id, run_id: "demo", ts, schema_version: 1, kind, actor, ...(payload && { payload }) })}\n`;
};
const task = (kind: string, id: string, more: object = {}) =>
  event(kind, "worker-0", { task_id: id, worker_id: "worker-0", ...more });
const gate = (kind: string, name: string, required = true) =>
  event(kind, null, { gate_id: name, name, required, timed_out: false });
const START = event("run_started", null, {}, "2026-05-25T10:00:00Z");
const END = event("run_completed", null, undefined, "2026-05-25T10:00:41.9Z");

/** The proof made from these lines. */
async function proofOf(lines: readonly string[]): Promise<RunProof> {
  await using runs = new Runs();
  const folder = runs.old("demo");
  writeFileSync(join(folder, "events.jsonl"), lines.join(""));
  const proof = proofToShow({ id: "demo", folder }, { regenerate: true }, runs.ports);
  expect(RunProof.safeParse(proof).success).toBe(true);
  return proof;
}

describe("a proof made from the log of 0.5.0", () => {
  test("is ready when every required gate passed, and failed with the gate that did not", async () => {
    const ready = await proofOf([START, task("task_completed", "a"), gate("gate_passed", "test"), END]);
    expect(ready).toMatchObject({ status: "ready", failures: [], known_gaps: [], elapsed_secs: 41 });
    const failed = await proofOf([START, gate("gate_passed", "fmt"), gate("gate_failed", "test"), END]);
    expect(failed).toMatchObject({
      status: "failed",
      known_gaps: ["gate test failed"],
      failures: [{ description: "gate test failed" }],
    });
    const optional = await proofOf([
      START,
      gate("gate_passed", "test"),
      gate("gate_failed", "lint", false),
      END,
    ]);
    expect(optional).toMatchObject({ status: "ready", known_gaps: ["gate lint failed"], failures: [] });
    expect(await proofOf([START, END])).toMatchObject({ status: "not_ready", gates: [], changed_files: [] });
    expect(await proofOf([START, gate("gate_passed", "test")])).toMatchObject({
      status: "not_ready",
      known_gaps: ["the run has not ended"],
    });
  });

  test("does not hold a failure that was made good against the run", async () => {
    const proof = await proofOf([
      START,
      task("task_started", "a"),
      task("task_failed", "a", { error: "crashed" }),
      event("retry_scheduled", "scheduler", { task_id: "a", reason: "crashed" }),
      task("task_completed", "a"),
      gate("gate_failed", "test"),
      gate("gate_passed", "test"),
      END,
    ]);
    expect(proof).toMatchObject({
      status: "ready",
      failures: [],
      retries: [{ task_id: "a", attempt: 1, reason: "crashed" }],
    });
  });

  test("counts a failure once, with its reason, also that of a task nobody had claimed", async () => {
    const proof = await proofOf([
      START,
      task("task_failed", "a", { error: "no such file" }),
      task("task_failed", "a", { error: "" }),
      event("task_failed", "scheduler", { task_id: "b", worker_id: null, error: "no live workers" }),
      END,
    ]);
    expect(proof.failures).toMatchObject([
      { task_id: "a", worker_id: "worker-0", description: "no such file" },
      { task_id: "b", worker_id: null, description: "no live workers" },
    ]);
  });

  test("is not spoiled by what a look or a shutdown wrote after the end", async () => {
    const before = [START, gate("gate_passed", "test"), END];
    const after = [
      event("worker_stalled", "worker-0", { message: "x" }),
      event("manual_interrupt", "omk-cli"),
    ];
    expect(await proofOf([...before, ...after])).toMatchObject({ status: "ready", failures: [] });
    const stalled = await proofOf([START, ...after.slice(0, 1), gate("gate_passed", "test"), END]);
    expect(stalled).toMatchObject({
      status: "failed",
      failures: [{ worker_id: "worker-0", description: "worker stalled" }],
    });
    const heard = [
      START,
      ...after.slice(0, 1),
      task("task_completed", "a"),
      gate("gate_passed", "test"),
      END,
    ];
    expect(await proofOf(heard)).toMatchObject({ status: "ready" });
    expect(await proofOf([START, ...after.slice(1)])).toMatchObject({
      status: "failed",
      failures: [{ description: "manual interrupt" }],
    });
  });

  test("carries evidence of gates and wires, changed files, and lines that cannot be read", async () => {
    const proof = await proofOf([
      START,
      event("file_changed", null, { path: "a.ts", operation: "created" }),
      event("file_changed", null, { path: "a.ts", operation: "deleted" }),
      event("command_started", null, {
        gate_id: "g",
        name: "test",
        command_line: "npm test",
        timeout_secs: 60,
      }),
      event("command_finished", null, {
        gate_id: "g",
        name: "test",
        exit_code: 0,
        output_path: "x.log",
        stdout_summary: null,
      }),
      event("gate_passed", null, { gate_id: "g", name: "test", required: true, timed_out: false }),
      event("task_output", "worker-0", {
        type: "wire_request",
        request_type: "ApprovalRequest",
        method: "request",
        message: "?",
      }),
      event("task_output", "worker-0", { type: { 0: "wire_request" } }),
      task("task_completed", "a", { output_summary: "done" }),
      "not json\n",
      END,
    ]);
    expect(proof.changed_files).toEqual([{ path: "a.ts", operation: "deleted" }]);
    expect(proof.gates[0]?.evidence).toEqual({
      command_line: "npm test",
      timeout_secs: 60,
      exit_code: 0,
      output_path: "x.log",
      timed_out: false,
    });
    expect(proof.wire_evidence).toEqual({
      event_count: 2,
      request_count: 1,
      output_count: 1,
      prompt_like_messages: 1,
      unique_methods: ["request"],
      unique_events: ["wire_request"],
      unique_requests: ["ApprovalRequest"],
    });
    expect(proof.known_gaps).toEqual(["event log parse failures: 1 malformed line(s) skipped"]);
  });
});

describe("the proof that is shown", () => {
  test("is the file, without writing anything, and what the log says when the file cannot be read", async () => {
    await using runs = new Runs();
    const folder = runs.old("demo");
    const before = imageOf(runs.root);
    const run = { id: "demo", folder };
    expect(proofToShow(run, { regenerate: false }, runs.ports)).toMatchObject({ summary: "demo failed" });
    expect(proofToShow(run, { regenerate: true }, runs.ports)).toMatchObject({
      failures: [{ task_id: "task-1", description: "no live workers" }],
    });
    expect(imageOf(runs.root)).toEqual(before);
    writeFileSync(join(folder, "proof.json"), "{");
    const shown = proofToShow(run, { regenerate: false }, runs.ports);
    expect(shown.known_gaps.at(-1)).toContain("proof.json cannot be read");
    rmSync(join(folder, "proof.json"));
    renameSync(join(folder, "events.jsonl"), join(folder, "event-log.jsonl"));
    expect(proofToShow(run, { regenerate: false }, runs.ports).status).toBe("failed");
    rmSync(join(folder, "event-log.jsonl"));
    expect(() => proofToShow(run, { regenerate: false }, runs.ports)).toThrow(
      expect.objectContaining({ code: "proof.missing" }) as Error,
    );
  });

  test("of a run of ours is the one its log recorded", async () => {
    await using runs = new Runs();
    const recorded = JSON.parse(
      readFileSync(join(import.meta.dirname, "../fixtures/v0.5.0/team/proof.json"), "utf8"),
    ) as object;
    const folder = await runs.ours("fix", {
      events: [
        {
          kind: "proof_written",
          actor: null,
          payload: { status: "failed" },
          changes: [{ file: "proof.json", set: { ...recorded } }],
        },
      ],
    });
    writeFileSync(join(folder, "proof.json"), JSON.stringify({ ...recorded, status: "ready" }));
    appendFileSync(join(folder, "events.jsonl"), "torn");
    expect(proofToShow({ id: "fix", folder }, { regenerate: true }, runs.ports).status).toBe("failed");
  });
});

describe("the renderings of a proof", () => {
  const proof = RunProof.parse(
    JSON.parse(readFileSync(join(import.meta.dirname, "../fixtures/v0.5.0/team/proof.json"), "utf8")),
  );

  test("text has the labels of 0.5.0", () => {
    expect(proofText(proof).split("\n")).toEqual([
      "Proof Report for demo",
      "=".repeat(60),
      "Status:      failed",
      "Readiness:   blocked",
      expect.stringMatching(/^Readiness\+: {2}\S/),
      "Generated:   2026-05-25T10:07:00Z",
      "Duration:    401s",
      "Verdict:",
      "  status:          failed",
      "  readiness:       blocked",
      "  changed_files:   1",
      "  gates_total:     2",
      "  gates:           passed=1, failed=1, skipped=0",
      "  failures:        1",
      "  retries:         1",
      "  known_gaps:      1",
      "Wire evidence:",
      "  events=1, requests=0, outputs=0, prompt_like_messages=0",
      "  methods: none",
      "  wire_events: wire_turn_timeout",
      "  wire_requests: none",
      "Changed files (1):",
      "  created    src/parse.ts",
      "Gates (2):",
      "  failed   fmt                  required",
      "  passed   check                required",
      "Failures (1):",
      "  - ?: gate fmt failed",
      "Retries (1):",
      "  - task-1 (attempt 1): stale lease recovered",
      "Known gaps (1):",
      "  - gate fmt failed",
      "Summary: demo failed",
      "=".repeat(60),
      expect.stringMatching(/^Readiness verdict: \S/),
    ]);
  });

  test("Markdown has its headings in order, and says none for what is empty", () => {
    const headings = (text: string) => text.split("\n").filter((line) => line.startsWith("#"));
    expect(headings(proofMarkdown(proof))).toEqual([
      "# Proof Report for demo",
      ...[
        "Verdict",
        "Wire Evidence",
        "Changed Files",
        "Gates",
        "Failures",
        "Retries",
        "Known Gaps",
        "Summary",
      ].map((title) => `## ${title}`),
    ]);
    const markdown = proofMarkdown(proof);
    expect(markdown).toContain("| fmt | failed | Yes |");
    expect(markdown).toContain("Readiness verdict: `blocked`.");
    const empty = proofMarkdown({
      ...proof,
      changed_files: [],
      gates: [],
      failures: [],
      retries: [],
      known_gaps: [],
      wire_evidence: undefined,
    });
    expect(empty.match(/_none_/g)).toHaveLength(6);
  });

  test("text from outside stays text on its line", () => {
    const hostile = {
      ...proof,
      changed_files: [{ path: "a|b\n# Forged\n![x](http://x)", operation: "created" }],
      failures: [
        {
          task_id: null,
          worker_id: null,
          description: "<img src=x>\nStatus: ready",
          timestamp: "2026-05-25T10:07:00Z",
        },
      ],
    };
    const markdown = proofMarkdown(hostile);
    expect(markdown).not.toMatch(/^# Forged/m);
    expect(markdown).toContain("a\\|b");
    expect(markdown).toContain("\\<img src=x\\>");
    expect(
      proofText(hostile)
        .split("\n")
        .filter((line) => line.startsWith("Status:")),
    ).toHaveLength(1);
  });

  test("fits the fixture it came from", async () => {
    await using runs = new Runs();
    cpSync(join(import.meta.dirname, "../fixtures/v0.5.0/team"), runs.team("x"), { recursive: true });
    expect(proofToShow({ id: "x", folder: runs.team("x") }, { regenerate: false }, runs.ports)).toEqual(
      proof,
    );
  });
});
