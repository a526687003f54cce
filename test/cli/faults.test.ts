/** What may happen to a goal's surroundings while it is at work or at rest: message, status, nothing lost. */
import { existsSync, renameSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

const GOAL = "Fix the failing test in sum.test.js";
const DRIVE = ["--until-ready", "--auto-accept"];
/** A gate that waits in the project, once the agent has done its work, until `go` lies beside it. */
const WAITING_GATE = [
  "--gate",
  'tests=node --test; s=$?; if [ -e ../state ] && grep -q "a + b" sum.js; then i=0; while [ ! -e ../go ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done; fi; exit $s',
];

async function brokenSum(): Promise<Place> {
  const place = new Place(BROKEN_SUM);
  await place.commitAll();
  return place;
}

/** A goal whose agent is stopped in its first turn by a pause. */
async function paused(place: Place): Promise<string> {
  const engine = place.script({
    turns: [{ match: { attempt: 1 }, steps: [{ wait_for: "../go" }, ...REPAIR] }],
  });
  const running = place.start("goal", "run", GOAL, ...DRIVE, "--engine", engine);
  await running.says("attempt 1");
  expect(await place.run("goal", "pause")).toMatchObject({ status: 0 });
  expect(await running.ended).toMatchObject({ status: 6 });
  return String(place.json("goal.json")["goal_id"]);
}

describe("a repository in which another hand", () => {
  test("commits while omk works is a question for a person, and goes on when he says so", async () => {
    using place = await brokenSum();
    const engine = place.script({ default: REPAIR });
    const running = place.start("goal", "run", GOAL, ...DRIVE, "--engine", engine, ...WAITING_GATE);
    await running.says("attempt 1 finished");
    place.write({ "notes.txt": "mine\n" });
    await place.git("add", "notes.txt");
    await place.git("commit", "-qm", "meanwhile");
    place.write({ "../go": "" });
    const ran = await running.ended;
    expect(ran.status, ran.stderr).toBe(3);
    expect(place.json("goal.json")).toMatchObject({
      status: "blocked_on_human",
      reason_code: "repository_moved",
    });
    const id = String(place.json("goal.json")["goal_id"]);
    expect(ran.stdout).toContain(`omk goal resume ${id}`);
    expect(await place.git("log", "--format=%s")).toBe("meanwhile\nas it is\n");
    const resumed = await place.run("goal", "resume");
    expect(resumed.status, resumed.stderr).toBe(0);
    expect(await place.git("status", "--porcelain")).toBe(" M sum.js\n");
  });

  test("rewrites the commit it started from, and collects the garbage, takes nothing away", async () => {
    using place = await brokenSum();
    await paused(place);
    const base = String(place.json("goal.json")["base_commit"]);
    await place.git("commit", "-q", "--amend", "-m", "another");
    await place.git("reflog", "expire", "--expire=now", "--all");
    await place.git("gc", "-q", "--prune=now");
    expect(await place.git("cat-file", "-t", base)).toBe("commit\n");
    place.write({ "../go": "" });
    const resumed = await place.run("goal", "resume");
    expect(resumed.status, resumed.stderr).toBe(0);
  });

  test("takes away what it started from is said before another turn is paid for", async () => {
    using place = await brokenSum();
    const id = await paused(place);
    const { attempts } = place.json("work.json") as { attempts: unknown[] };
    renameSync(join(place.project, ".git"), join(place.folder, "git-elsewhere"));
    // The same files would be the same trees, and nothing would be missing.
    place.write({ "sum.test.js": `${BROKEN_SUM["sum.test.js"]}// anew\n` });
    await place.commitAll("anew");
    place.write({ "../go": "" });
    const base = String(place.json("goal.json")["base_commit"]);
    for (const command of ["resume", "resume"]) {
      const ran = await place.run("goal", command);
      expect(ran.status).toBe(74);
      expect(ran.stderr).toContain(`What goal ${id} started from (commit ${base}) is not in`);
      expect(ran.stderr).toContain("omk goal run");
    }
    expect(place.json("work.json")["attempts"]).toEqual(attempts);
    expect(place.json("goal.json")["status"]).toBe("paused");
    await place.shell("rm -rf .git && mv ../git-elsewhere .git && git checkout -q sum.test.js");
    expect(await place.run("goal", "resume")).toMatchObject({ status: 0 });
  });
});

test("a project directory that is gone is named; everything that needs none of its files still works", async () => {
  using place = await brokenSum();
  const id = await paused(place);
  renameSync(place.project, `${place.project}-elsewhere`);
  place.work = place.folder;
  for (const args of [["resume"], ["resume", "--until-ready"]]) {
    const ran = await place.run("goal", ...args);
    expect(ran.status, args.join(" ")).toBe(74);
    expect(ran.stderr).toContain(
      `The project directory ${place.project} of goal ${id} is not there any more.`,
    );
    expect(ran.stderr).toContain("omk goal cancel");
  }
  for (const args of [["status"], ["show"], ["proof"], ["replay"], ["budget-add", "--time", "1m"], ["pause"]])
    expect(await place.run("goal", ...args), args.join(" ")).toMatchObject({ status: 0 });
  expect(place.json("goal.json")["status"]).toBe("paused");
  renameSync(`${place.project}-elsewhere`, place.project);
  place.write({ "../go": "" });
  expect(await place.run("goal", "resume")).toMatchObject({ status: 0 });
});

test("latest is looked up once: a goal that is made meanwhile does not get what was meant for another", async () => {
  using place = await brokenSum();
  expect(await place.run("goal", "create", GOAL)).toMatchObject({ status: 0 });
  const id = String(place.json("goal.json")["goal_id"]);
  const engine = place.script({ default: [{ wait_for: "../go" }, ...REPAIR] });
  const step = place.start("goal", "execute", "latest", "--engine", engine);
  await step.says("attempt 1");
  const made = await place.run("goal", "create", "Add a test for sum", "--json");
  expect(made.status).toBe(0);
  place.write({ "../go": "" });
  const ran = await step.ended;
  expect(ran.status, ran.stderr).toBe(0);
  expect(ran.stderr + ran.stdout).not.toContain((JSON.parse(made.stdout) as { goal_id: string }).goal_id);
  expect(await place.run("goal", "show", id, "--json")).toMatchObject({
    stdout: expect.stringContaining(`"goal_id": "${id}"`) as string,
  });
  expect(JSON.parse((await place.run("goal", "show", "latest", "--json")).stdout)).toMatchObject({
    reason_code: "agent_not_executed",
  });
});

test("flags that do nothing beside the others are named, and the goal is made", async () => {
  using place = await brokenSum();
  const planner = ["--no-llm-planner", "--planner-token-budget", "100"];
  const asks = ["--approval-policy", "yolo", "--approval-timeout", "5m", "--approval-on-timeout", "block"];
  const ran = await place.run("goal", "run", GOAL, ...planner, "--auto-accept", ...asks);
  expect(ran.status, ran.stderr).toBe(0);
  for (const flag of [
    "--planner-token-budget has no effect beside --no-llm-planner",
    "--auto-accept counts once the goal is driven",
    "--approval-timeout has no effect beside --approval-policy yolo",
    "--approval-on-timeout has no effect beside --approval-policy yolo",
  ])
    expect(ran.stderr).toContain(flag);
  expect(existsSync(place.goalFolder())).toBe(true);
});
