import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

const SECRET = `ghp_${"a1B2c3D4e5".repeat(4)}`;
const answer = (decision: string, ...flags: string[]) => [
  "goal",
  "answer",
  "latest",
  "--decision",
  decision,
  ...flags,
];

async function vague(): Promise<Place> {
  const place = new Place(BROKEN_SUM);
  await place.commitAll();
  const made = await place.run("goal", "run", "Make it better", "--no-llm-planner");
  expect(made).toMatchObject({ status: 3 });
  expect(made.stdout).toContain("omk goal answer");
  return place;
}

describe("omk goal answer", () => {
  test("unblocks a goal that nobody could test, and the agent reads the answer", async () => {
    using place = await vague();
    expect(place.json("goal.json")).toMatchObject({
      status: "blocked_on_human",
      reason_code: "not_testable",
    });
    const engine = place.script({
      turns: [{ match: { prompt: "fix sum so that npm test passes" }, steps: REPAIR }],
    });
    for (const command of ["verify", "execute", "review"]) {
      const refused = await place.run("goal", command);
      expect(refused).toMatchObject({ status: 1 });
      expect(refused.stderr).toContain("omk goal answer");
    }
    expect((await place.run("goal", "resume", "--until-ready", "--engine", engine)).stderr).toContain(
      "omk goal answer",
    );
    const answered = await place.run(...answer("fix sum so that npm test passes"));
    expect(answered).toMatchObject({ status: 0 });
    expect(answered.stdout).toContain("Status: not_ready");
    expect(place.json("goal.json")).toMatchObject({
      status: "not_ready",
      reason_code: "agent_not_executed",
      answers: [{ answer: "fix sum so that npm test passes" }],
    });
    expect(existsSync(join(place.goalFolder(), "failure.json"))).toBe(false);
    expect(place.json("proof.json")).toMatchObject({ status: "not_ready", human_decisions_required: [] });
    const ran = await place.run("goal", "resume", "--until-ready", "--engine", engine);
    expect(ran).toMatchObject({ status: 3 });
    expect(await place.run("goal", "accept", "--summary", "fine")).toMatchObject({ status: 0 });
    expect(place.json("proof.json")["oracle_evidence"]).toMatchObject({ kind: "bugfix" });
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });

  test("asks again, with status 3, when the answer says no more than the goal", async () => {
    using place = await vague();
    const again = await place.run(...answer("just improve it"));
    expect(again).toMatchObject({ status: 3 });
    expect(again.stdout).toContain("Decision needed:");
    expect(place.json("goal.json")).toMatchObject({
      status: "blocked_on_human",
      reason_code: "not_testable",
    });
    expect(place.json("proof.json")).toMatchObject({ status: "blocked_on_human" });
    expect(await place.run(...answer("npm test passes", "--json"))).toMatchObject({ status: 0 });
    expect(place.json("goal.json")["answers"]).toHaveLength(2);
  });

  test("works on a goal that was paused in between, which stays paused", async () => {
    using place = await vague();
    expect(await place.run("goal", "pause")).toMatchObject({ status: 0 });
    expect(await place.run(...answer("fix sum so that npm test passes"))).toMatchObject({ status: 0 });
    expect(place.json("goal.json")).toMatchObject({ status: "paused" });
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    expect(await place.run("goal", "resume", "--until-ready", "--engine", engine)).toMatchObject({
      status: 3,
    });
    expect(place.json("goal.json")).toMatchObject({ reason_code: "acceptance_needed" });
  });

  test("is refused where nothing was asked, and for an answer that says nothing", async () => {
    using place = await vague();
    expect(await place.run(...answer("  "))).toMatchObject({ status: 2 });
    expect(await place.run(...answer("npm test passes"))).toMatchObject({ status: 0 });
    const twice = await place.run(...answer("npm test passes"));
    expect(twice).toMatchObject({ status: 1 });
    expect(twice.stderr).toContain("has asked nothing");
    expect(await place.run("goal", "cancel")).toMatchObject({ status: 0 });
    expect(await place.run(...answer("npm test passes"))).toMatchObject({ status: 1 });
    expect(await place.run("goal", "answer", "goal-none", "--decision", "x")).toMatchObject({ status: 1 });
  });

  test("is one event for each request that was acknowledged, however many ask at once", async () => {
    using place = await vague();
    const ran = await Promise.all([1, 2, 3].map((n) => place.run(...answer(`npm test passes ${n}`))));
    const taken = ran.filter(({ status }) => status === 0);
    expect(taken.length).toBeGreaterThan(0);
    expect(place.json("goal.json")["answers"]).toHaveLength(1);
    expect(place.events().filter(({ kind }) => kind === "goal_answered")).toHaveLength(1);
    expect(readdirSync(join(place.goalFolder(), "commands"))).toEqual([]);
  });
});

describe("a secret in what a person says", () => {
  test("is kept nowhere: goal, answer, gate, reason, summary, attestation, observation", async () => {
    using place = new Place(BROKEN_SUM);
    await place.commitAll();
    const quiet = async (...args: string[]) => {
      const { stdout, stderr } = await place.run(...args);
      expect(`${stdout}\n${stderr}`).not.toContain(SECRET);
    };
    await quiet("goal", "create", `Improve it with ${SECRET}`, "--no-llm-planner");
    await quiet(...answer(`npm test passes with ${SECRET}`));
    await quiet("goal", "create", "Fix the sum of all", "--gate", `tests=TOKEN=${SECRET} npm test`);
    const record = ["goal", "golden", "record", "latest", "--name", "sum", "--cmd"];
    await quiet(...record, `echo ${SECRET}`);
    await quiet(...record, "cat secret.txt", "--ignore", SECRET);
    const engine = place.script({ turns: [{ steps: REPAIR }] });
    await quiet(
      "goal",
      "run",
      "Fix the failing test",
      "--until-ready",
      "--engine",
      engine,
      "--no-llm-planner",
    );
    await quiet(...record, "node -e 1", "--at-base");
    await quiet("goal", "golden", "compare", "latest", "--intentional", `sum/stdout=because of ${SECRET}`);
    await quiet("goal", "reject", "--reason", `it holds ${SECRET}`);
    await quiet("goal", "accept", "--summary", `with ${SECRET}`, "--attest", `regression=seen ${SECRET}`);
    let files = 0;
    for (const name of readdirSync(place.state, { recursive: true, encoding: "utf8" })) {
      expect(name).not.toContain(SECRET);
      if (!statSync(join(place.state, name)).isFile()) continue;
      files++;
      expect(readFileSync(join(place.state, name), "latin1").includes(SECRET), name).toBe(false);
    }
    expect(files).toBeGreaterThan(20);
  });
});
