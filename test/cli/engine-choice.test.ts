import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";
import { runJson, threeRepaired, THREE_BROKEN } from "../support/teams.ts";

const ENTRY = fileURLToPath(new URL("../../bin/omk.cjs", import.meta.url));

/** Puts omk's scripted agent into PATH under the name of another. */
function installAs(name: string, at: Place, script: object): void {
  const bin = join(at.folder, "bin");
  mkdirSync(bin, { recursive: true });
  const file = at.script(script, `${name}.json`).replace("scripted:", "");
  const text = `#!/bin/sh\ntest "$1" = --version && { echo 1.0.0; exit; }\nexec '${process.execPath}' '${ENTRY}' scripted-agent '${file}'\n`;
  writeFileSync(join(bin, name), text, { mode: 0o755, flag: "wx" });
  at.environment["PATH"] = `${bin}:${process.env["PATH"]}`;
}

function configure(at: Place, text: string): void {
  const path = join(at.environment["HOME"] ?? "", ".config", "omk", "config.toml");
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

describe("without --engine", () => {
  test("a goal is worked on by the agent that was found, and its record names that one", async () => {
    using at = new Place(BROKEN_SUM);
    await at.commitAll();
    installAs("gemini", at, { turns: [{ match: { role: "work" }, steps: REPAIR }] });
    configure(at, 'engine = "gemini"\n');
    const ran = await at.run(
      "goal",
      "run",
      "Fix the failing test in sum.test.js",
      "--until-ready",
      "--auto-accept",
    );
    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect(at.json("goal.json")).toMatchObject({ status: "ready", engine: "gemini" });
  });

  test("a goal that was only created keeps the agent that was found for its first turn", async () => {
    using at = new Place(BROKEN_SUM);
    await at.commitAll();
    installAs("gemini", at, { turns: [{ match: { role: "work" }, steps: REPAIR }] });
    configure(at, 'engine = "gemini"\n');
    expect((await at.run("goal", "create", "Fix the failing test in sum.test.js")).status).toBe(0);
    expect(at.json("goal.json")).not.toHaveProperty("engine");
    const ran = await at.run("goal", "execute");
    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect(at.json("goal.json")).toMatchObject({ engine: "gemini" });
    expect(at.events().find(({ kind }) => kind === "engine_chosen")?.payload).toEqual({ source: "gemini" });
  });

  test("a team's task is split by the engine that is configured for that, and worked on by the role's", async () => {
    using at = new Place(THREE_BROKEN);
    await at.commitAll();
    const { turns } = threeRepaired() as { turns: { match: { role?: string } }[] };
    const splits = ({ match }: { match: { role?: string } }) => match.role === "decompose";
    const work = at.script({ turns: turns.filter((turn) => !splits(turn)) }, "work.json");
    const split = at.script({ turns: turns.filter(splits) }, "split.json");
    configure(
      at,
      `engine = "scripted:/not/there.json"\n[roles.executor]\nengine = "${work}"\n[roles.decompose]\nengine = "${split}"\n`,
    );
    const ran = await at.run("team", "run", "3:executor", "Make all tests pass", "--name", "t");
    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect(runJson(at, "t", "team-work.json")).toMatchObject({
      engine: work,
      role_engines: { decompose: split },
      decomposition: { source: "engine" },
    });
  });
});
