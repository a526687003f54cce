/** Slices whose gates may look at the user's own project, through the command line. */
import { describe, expect, test } from "vitest";

import { Place } from "../support/cli.ts";
import { fixing, GOAL, PARTS, THREE_PARTS } from "../support/three-parts.ts";

const GATES =
  '[[gates]]\nname = "tests"\ncommand = "node"\nargs = ["--test"]\n' +
  '[[gates]]\nname = "installed"\ncommand = "test"\nargs = ["-f", "vendor/dep.txt"]\n';

describe("a goal whose ignored files name the project by its path", () => {
  test("waits for a person although acceptance was given in advance, and a person's word makes it ready", async () => {
    using place = new Place({ ...THREE_PARTS, ".omk/gates.toml": GATES, ".gitignore": "vendor/\n" });
    await place.commitAll();
    place.write({ "vendor/dep.txt": "here\n", "vendor/it.pth": `${place.project}\n` });
    const steps = PARTS.flatMap((part) => fixing(part).steps);
    const engine = place.script({ turns: [{ match: { role: "work" }, steps }] });
    const flags = ["--until-ready", "--auto-accept", "--approval-policy", "yolo", "--slice-execution"];
    const ran = await place.run("goal", "run", GOAL, "--engine", engine, ...flags, "--no-llm-planner");
    expect(ran, ran.stderr).toMatchObject({ status: 3 });
    expect(ran.stderr).toMatch(
      /the gates may look at .*: vendor\/it\.pth; a \[setup\] in \.omk\/gates\.toml/,
    );
    expect(place.json("proof.json")).toMatchObject({ readiness_code: "environment_points_back" });
    const accepted = await place.run("goal", "accept", "latest", "--summary", "they judge the stage");
    expect(accepted, accepted.stderr).toMatchObject({ status: 0 });
    expect(place.json("goal.json")).toMatchObject({ status: "ready" });
    const { goal_id: id } = place.json("goal.json");
    expect(await place.git("show", `omk/result/${String(id)}:neg.js`)).toContain("return -a");
    expect(await place.run("proof", "verify", "latest")).toMatchObject({ status: 0 });
  }, 120_000);
});
