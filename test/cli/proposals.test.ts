/** What agents propose, through the built command line and the scripted agent. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

const GOAL = "Fix the failing test in sum.test.js";
const DRIVE = ["--until-ready", "--auto-accept", "--no-llm-planner"];

test("a task that an agent proposed is done by another turn before the goal ends, and its proof holds", async () => {
  using place = new Place(BROKEN_SUM);
  await place.commitAll();
  const proposal = {
    id: "write-notes",
    title: "Write notes",
    description: "Say in notes.md what sum does.",
    write_set: ["notes.md"],
    acceptance: ["notes.md is there."],
  };
  const forbidden = { ...proposal, id: "hook", write_set: [".git/hooks/pre-commit"] };
  const engine = place.script({
    turns: [
      {
        match: { task: "write-notes" },
        steps: [{ write: "notes.md", text: "It adds.\n" }, { say: "written" }],
      },
      { steps: [{ propose: proposal }, { propose: forbidden }, ...REPAIR] },
    ],
  });
  const ran = await place.run("goal", "run", GOAL, ...DRIVE, "--engine", engine);
  expect(ran, ran.stderr).toMatchObject({ status: 0 });
  expect(ran.stderr).toContain("proposed tasks: 1 accepted (write-notes), 1 refused (hook unsafe_path)");
  expect(place.json("proof.json")).toMatchObject({ status: "ready", changed_files: ["notes.md", "sum.js"] });
  expect(existsSync(join(place.project, ".git/hooks/pre-commit"))).toBe(false);
  const claimed = place.events().filter(({ kind }) => kind === "task_claimed");
  expect(claimed.map(({ payload }) => payload?.["task_id"])).toEqual(["goal-agent-execute", "write-notes"]);
  expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
});
