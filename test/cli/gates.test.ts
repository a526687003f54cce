/** What a person decides about gates, with real repositories and scripted agents. */
import { describe, expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

const GOAL = "Fix the failing test in sum.test.js";
const DRIVE = ["--until-ready", "--no-llm-planner"];
const EDIT_TEST = [{ edit: "sum.test.js", replace: "5)", with: "-1)" }, { say: "the test was wrong" }];
const RED_LINT =
  '[[gates]]\nname = "tests"\ncommand = "npm"\nargs = ["test"]\n[[gates]]\nname = "lint"\ncommand = "false"\n';

async function project(files: Record<string, string> = {}): Promise<Place> {
  const place = new Place({ ...BROKEN_SUM, ...files });
  await place.commitAll();
  return place;
}

function gateRuns(place: Place): number {
  return place
    .events()
    .filter(({ kind, payload }) => kind === "command_started" && payload?.["gate_id"] !== "setup").length;
}

describe("a protected file", () => {
  test("may be changed when the goal was made with --may-change, and the proof says so", async () => {
    using place = await project();
    const engine = place.script({ turns: [{ steps: EDIT_TEST }] });
    const flags = ["--auto-accept", "--may-change", "*.test.js", "--engine", engine];
    expect(await place.run("goal", "run", GOAL, ...DRIVE, ...flags)).toMatchObject({ status: 0 });
    expect(place.json("proof.json")).toMatchObject({
      status: "ready",
      protected_inputs: [{ path: "sum.test.js", class: "test", change: "modified", status: "allowed" }],
    });
  });

  test("may be changed when a person allows it afterwards, with a reason", async () => {
    using place = await project();
    const engine = place.script({ turns: [{ steps: EDIT_TEST }] });
    const flags = ["--auto-accept", "--max-attempts", "1", "--engine", engine];
    expect(await place.run("goal", "run", GOAL, ...DRIVE, ...flags)).toMatchObject({ status: 1 });
    expect(place.json("proof.json")).toMatchObject({ readiness_code: "protected_input_changed" });
    const allow = ["--allow-change", "sum.test.js", "--reason", "sum subtracts by contract"];
    expect(await place.run("goal", "accept", "--summary", "fine", ...allow)).toMatchObject({ status: 0 });
    expect(place.json("proof.json")).toMatchObject({
      status: "ready",
      protected_inputs: [{ path: "sum.test.js", status: "allowed" }],
    });
  });
});

describe("--allow-red", () => {
  test("makes a gate optional that the base did not pass either", async () => {
    using place = await project({ ".omk/gates.toml": RED_LINT });
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    const flags = ["--auto-accept", "--allow-red", "lint", "--engine", engine];
    expect(await place.run("goal", "run", GOAL, ...DRIVE, ...flags)).toMatchObject({ status: 0 });
    expect(place.json("proof.json")["gates"]).toMatchObject([
      { name: "tests", required: true, verdict: "passed" },
      { name: "lint", required: false, verdict: "failed_on_base_too", optional_reason: "allowed_red" },
    ]);
  });

  test("does not excuse a gate that the change turned red", async () => {
    using place = await project({
      ".omk/gates.toml": RED_LINT.replace('"false"', '"sh"\nargs = ["-c", "! grep -q plus sum.js"]'),
    });
    const steps = [{ edit: "sum.js", replace: "a - b", with: "a + b /* plus */" }];
    const engine = place.script({ turns: [{ steps }] });
    const flags = ["--auto-accept", "--max-attempts", "1", "--allow-red", "lint", "--engine", engine];
    expect(await place.run("goal", "run", GOAL, ...DRIVE, ...flags)).toMatchObject({ status: 1 });
    expect(place.json("proof.json")).toMatchObject({ readiness_code: "gates_red" });
  });

  test("refuses a name that no gate has", async () => {
    using place = await project({ ".omk/gates.toml": RED_LINT });
    const ran = await place.run("goal", "run", GOAL, "--allow-red", "lnit");
    expect(ran.status).toBe(2);
    expect(ran.stderr).toContain("The gates are: tests, lint.");
  });
});

describe("gates that are only in the result", () => {
  const GREENFIELD = "Create a function sum in sum.js that adds two numbers, with a test";
  const made = Object.entries(BROKEN_SUM).map(([path, text]) => ({
    write: path,
    text: text.replace("a - b", "a + b"),
  }));

  test("judge it, and count when a person approves them", async () => {
    using place = new Place({ "README.md": "nothing yet\n" });
    await place.commitAll();
    const engine = place.script({ turns: [{ steps: [...made, { say: "made" }] }] });
    const ran = await place.run("goal", "run", GREENFIELD, ...DRIVE, "--auto-accept", "--engine", engine);
    expect(ran).toMatchObject({ status: 3 });
    expect(place.json("proof.json")).toMatchObject({
      readiness_code: "gates_unapproved",
      gates: [{ name: "tests", verdict: "passed", source: "candidate" }],
    });
    const accepted = await place.run(
      "goal",
      "accept",
      "--summary",
      "fine",
      "--approve-gates",
      "--reason",
      "npm test it is",
    );
    expect(accepted).toMatchObject({ status: 0 });
    expect(place.json("proof.json")).toMatchObject({ status: "ready" });
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });

  test("are sought again when the agent mends what they found", async () => {
    using place = new Place({ "README.md": "nothing yet\n" });
    await place.commitAll();
    const wrong = made.map((step) => ({ ...step, text: step.text.replace("a + b", "a * b") }));
    const engine = place.script({
      turns: [
        { match: { prompt: "Gate tests" }, steps: [{ edit: "sum.js", replace: "a * b", with: "a + b" }] },
        { match: { role: "work" }, steps: wrong },
      ],
    });
    const ran = await place.run("goal", "run", GREENFIELD, ...DRIVE, "--auto-accept", "--engine", engine);
    expect(ran).toMatchObject({ status: 3 });
    expect(place.json("proof.json")).toMatchObject({ readiness_code: "gates_unapproved" });
  });
});

test("definitions that the change makes count after approval, from the next verify on", async () => {
  using place = await project({ ".omk/gates.toml": RED_LINT.split('[[gates]]\nname = "lint"')[0] ?? "" });
  const more = { write: ".omk/gates.toml", text: RED_LINT.replace('"false"', '"true"') };
  const engine = place.script({ turns: [{ steps: [more, ...REPAIR] }] });
  const ran = await place.run("goal", "run", GOAL, ...DRIVE, "--auto-accept", "--engine", engine);
  expect(ran).toMatchObject({ status: 0 });
  expect(place.json("proof.json")).toMatchObject({
    gates: [{ name: "tests" }],
    changed_definitions: [{ name: "lint", how: "added" }],
    protected_inputs: [{ path: ".omk/gates.toml", class: "gate_configuration", status: "passed" }],
  });
  const approve = ["--summary", "fine", "--approve-gates", "--reason", "lint is wanted"];
  await place.run("goal", "accept", ...approve);
  expect(place.json("proof.json")).toMatchObject({ status: "not_ready", readiness_code: "gates_not_run" });
  await place.run("goal", "verify");
  expect(place.json("proof.json")["gates"]).toMatchObject([
    { name: "tests" },
    { name: "lint", verdict: "passed" },
  ]);
});

test("a result that comes back is not judged again, unless a person asks", async () => {
  using place = await project();
  // Each turn takes back what the one before did.
  place.write({
    "../swap.sh": "if grep -q two sum.js; then echo '// one' > sum.js; else echo '// two' > sum.js; fi\n",
  });
  const engine = place.script({ default: [{ run: ["sh", "../swap.sh"] }, { say: "done" }] });
  await place.run("goal", "run", GOAL, ...DRIVE, "--max-attempts", "4", "--engine", engine);
  expect(place.events().filter(({ kind }) => kind === "task_claimed").length).toBeGreaterThanOrEqual(4);
  // The base in the project and on a fresh checkout, and two results.
  expect(gateRuns(place)).toBe(4);
  await place.run("goal", "verify");
  expect(gateRuns(place)).toBe(5);
});
