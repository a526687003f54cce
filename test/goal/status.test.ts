/** What a goal is doing now, and how far it has come, from its documents and its last events. */
import { describe, expect, test } from "vitest";

import type { Event } from "../../src/format/event.ts";
import { activityOf, progressOf, tasksDone, type GoalPicture } from "../../src/goal/progress.ts";

const AT = "2026-01-01T00:00:00Z";
const LATER = "2026-01-01T00:01:00Z";

function event(kind: string, payload: Record<string, unknown>, ts = AT): Event {
  return { id: "i", run_id: "g", ts, schema_version: 1, kind, actor: null, payload };
}

function picture(given: Record<string, unknown>, last: Event[] = [], waiting = 0): GoalPicture {
  const { goal, work = {}, graph = {} } = given;
  return { goal: { status: "running", ...(goal as object) }, work, graph, last, waiting } as GoalPicture;
}

const TURN = { number: 2, task_id: "goal-agent-execute", status: "running", started_at: AT };

describe("what a goal is doing", () => {
  test("is the agent's turn while one runs", () => {
    expect(activityOf(picture({ work: { attempts: [TURN] } }))).toEqual({
      kind: "turn",
      what: "attempt 2 at goal-agent-execute",
      waits_for: "the agent",
      since: AT,
    });
  });

  test("is all the turns that run side by side, since the first of them began", () => {
    const turns = [
      { ...TURN, number: 1, status: "ended" },
      { ...TURN, task_id: "a" },
      { ...TURN, task_id: "b", number: 1, started_at: LATER },
    ];
    expect(activityOf(picture({ work: { attempts: turns } }))).toMatchObject({
      what: "attempt 2 at a, attempt 1 at b",
      waits_for: "the agents",
      since: AT,
    });
  });

  test("is waiting for a person when the agent has asked", () => {
    const asked = [event("approval_requested", { approval_id: "a" }, LATER)];
    expect(activityOf(picture({ work: { attempts: [TURN] } }, asked, 1))).toMatchObject({
      kind: "approval",
      waits_for: "your answer",
      since: LATER,
    });
  });

  test("is a turn beside the tasks, when the engine plans or reviews", () => {
    const helper = { role: "plan", task: "the goal", status: "running", started_at: AT };
    expect(activityOf(picture({ work: { helper_turns: [helper] } }))).toMatchObject({
      kind: "helper",
      what: "planning: the goal",
    });
  });

  test("is a gate from its start to its end", () => {
    const started = event("command_started", { name: "tests", spawn_id: "s1" });
    const ended = event("command_finished", { name: "tests", spawn_id: "s1" }, LATER);
    expect(activityOf(picture({}, [started]))).toMatchObject({ kind: "gate", what: "gate tests", since: AT });
    expect(activityOf(picture({}, [started, ended]))).toMatchObject({
      kind: "step",
      what: "after command_finished",
    });
  });

  test("is nothing when the goal rests, or nothing is known", () => {
    const paused = picture({ goal: { status: "paused" }, work: { attempts: [TURN] } });
    expect(activityOf(paused)).toBeUndefined();
    expect(activityOf(picture({}))).toBeUndefined();
  });
});

describe("how far a goal has come", () => {
  const graph = {
    tasks: [
      { id: "a", title: " Plan ", status: "done" },
      { id: "b", title: "Plan", status: "done" },
      { id: "c", title: "Work", status: "pending" },
    ],
  };

  test("has every list once, and a line of the story for each entry", () => {
    const gates = { results: [{ name: "tests", passed: false, verdict: "failed" }] };
    const review = { sections: [{ pass: "security", status: "blocked", known_gaps: ["a key was found"] }] };
    const one = picture({ goal: { phase: "planning" }, graph, work: { gates, review } });
    expect(progressOf(one, "/state/g")).toEqual({
      phase: "planning",
      current_task: "goal-planning",
      done: ["Plan"],
      next: ["write PRD, technical plan, and test spec"],
      blockers: ["a key was found"],
      gates: ["tests: failed"],
      reviews: ["a key was found"],
      proof_path: "/state/g/proof.json",
      narrative: [
        { kind: "implemented", text: "Plan" },
        { kind: "implemented", text: "Plan" },
        { kind: "running_verification", text: "tests: failed" },
        { kind: "review_blocker", text: "a key was found" },
        { kind: "next", text: "write PRD, technical plan, and test spec" },
      ],
    });
    expect(tasksDone(one)).toEqual({ done: 2, total: 3 });
  });

  test("ends with one line that says why it rests, or that it is ready", () => {
    const failure = { reason: "the quota is used up", recorded_at: AT };
    const blocked = progressOf(picture({ goal: { status: "blocked_on_external", failure } }), "/g");
    expect(blocked.blockers).toEqual(["the quota is used up"]);
    const ready = progressOf(picture({ goal: { status: "ready", original_goal: "Fix it" } }), "/g");
    expect(ready.narrative).toEqual([{ kind: "ready", text: "Fix it" }]);
    expect(ready.blockers).toEqual([]);
  });
});
