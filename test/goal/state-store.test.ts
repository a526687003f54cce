/** Goals as records to be read: from a state root, and from memory. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";

import { OmkError } from "../../src/errors.ts";
import { Goal } from "../../src/format/goal.ts";
import { runGoal } from "../../src/goal/run-goal.ts";
import {
  DiskGoalStateStore,
  GoalStateError,
  InMemoryGoalStateStore,
  type GoalStateStore,
} from "../../src/goal/state-store.ts";
import { createWorld } from "../../src/world.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { GROUND, PROJECT, ROOT, simulatedPorts, SimulatedProject } from "../support/simulated-goal.ts";

const never = new AbortController().signal;
const FIXTURE = path.resolve(import.meta.dirname, "../fixtures/v0.5.0/goal");

function folder(): string {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), "omk-store-"));
  onTestFinished(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

/** A state root with the goal that 0.5.0 wrote, and what else is given. */
function root(files: Readonly<Record<string, string>> = {}): { store: DiskGoalStateStore; id: string } {
  const made = folder();
  const { goal_id: id } = JSON.parse(fs.readFileSync(path.join(FIXTURE, "goal.json"), "utf8")) as {
    goal_id: string;
  };
  fs.cpSync(FIXTURE, path.join(made, "goals", id), { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(made, "goals", name)), { recursive: true });
    fs.writeFileSync(path.join(made, "goals", name), text);
  }
  return { store: new DiskGoalStateStore(made, createWorld()), id };
}

function kindOf(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(OmkError);
    return error instanceof GoalStateError ? error.kind : (error as OmkError).code;
  }
  return "nothing";
}

describe("goals on disk", () => {
  test("are read with their graph and proof, also those of 0.5.0, and nothing is written", () => {
    const { store, id } = root();
    expect(store.load(id).goal_id).toBe(id);
    expect(store.resolve("latest").goal_id).toBe(id);
    expect(store.loadTaskGraph(id).tasks.length).toBeGreaterThan(0);
    expect(store.loadProof(id).goal_id).toBe(id);
  });

  test("are what their log says, even where no snapshot was written since", async () => {
    const ports = simulatedPorts(new SimulatedDisk(GROUND), new SimulatedProject(1), 1);
    const request = { text: "Fix the failing test", projectDir: PROJECT, noLlmPlanner: true };
    const { open } = await runGoal(request, ports, never, () => undefined);
    for (const name of ["goal.json", "task-graph.json", "proof.json"])
      ports.disk.remove(path.join(open.folder, name));
    const store = new DiskGoalStateStore(ROOT, ports);
    expect(store.load(open.id).status).toBe(open.goal.status);
    expect(store.loadTaskGraph(open.id).tasks).toEqual(open.graph.tasks);
  });

  test("tells what is missing from what cannot be read and from what is no goal", () => {
    const { store, id } = root({
      "goal-broken/goal.json": "{ this is no JSON",
      "goal-odd/goal.json": '{"version":1,"goal_id":"goal-odd"}',
      "goal-new/goal.json": '{"version":99}',
    });
    expect(kindOf(() => store.load("goal-none"))).toBe("MissingFile");
    expect(kindOf(() => store.loadProof("goal-none"))).toBe("MissingFile");
    expect(kindOf(() => store.load("goal-broken"))).toBe("InvalidFormat");
    expect(kindOf(() => store.load("goal-odd"))).toBe("InvalidFormat");
    expect(kindOf(() => store.load("goal-new"))).toBe("InvalidFormat");
    expect(kindOf(() => store.load("../elsewhere"))).toBe("usage.invalid");
    expect(store.list()).toMatchObject({ goals: [{ goal_id: id }] });
    expect(store.list().unreadable.map((one) => one.id)).toEqual(["goal-broken", "goal-new", "goal-odd"]);
  });

  test("says that the disk refuses, which is neither", () => {
    const { store, id } = root();
    const world = createWorld();
    const refusing = Object.create(world.disk) as typeof world.disk;
    refusing.stat = () => {
      throw Object.assign(new Error("EIO: i/o error, stat"), { code: "EIO", syscall: "stat", path: "x" });
    };
    expect(kindOf(() => new DiskGoalStateStore("/nowhere", { disk: refusing }).load(id))).toBe("IoError");
    expect(kindOf(() => store.load(id))).toBe("nothing");
  });
});

test("goals in memory answer as those on disk do", () => {
  const { store, id } = root();
  const goal = store.load(id);
  const later = Goal.parse({ ...goal, goal_id: "goal-later", created_at: "2099-01-01T00:00:00Z" });
  const stored = { goal, taskGraph: store.loadTaskGraph(id), proof: store.loadProof(id) };
  const memory: GoalStateStore = new InMemoryGoalStateStore([stored, { goal: later }]);
  expect(memory.load(id)).toEqual(goal);
  expect(memory.loadProof(id)).toEqual(store.loadProof(id));
  expect(memory.resolve("latest").goal_id).toBe("goal-later");
  expect(memory.list().goals.map((one) => one.goal_id)).toEqual(["goal-later", id]);
  expect(kindOf(() => memory.loadProof("goal-later"))).toBe("MissingFile");
  expect(kindOf(() => memory.load("goal-none"))).toBe("MissingFile");
  expect(kindOf(() => memory.load("a/b"))).toBe("usage.invalid");
  memory.load(id).status = "cancelled";
  expect(memory.load(id).status).toBe(goal.status);
});
