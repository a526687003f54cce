/** Goals whose result goes to GitHub, through the command line: from a plan of slices to a merged base branch. */
import path from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

import { FakeGh, GitHubStandIn, hasRealGh, type StandInRepository } from "../delivery/github-stand-in.ts";
import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";
import { fixing, GOAL, partPlan, THREE_PARTS } from "../support/three-parts.ts";

/** The real `gh` where there is one. */
const isInstalled = hasRealGh();
const ROAD = ["--until-ready", "--auto-accept", "--approval-policy", "yolo"];

let standIn: GitHubStandIn;
let repository: StandInRepository;
let place: Place;

beforeEach(async () => {
  standIn = await GitHubStandIn.start();
  repository = standIn.addRepository();
});
afterEach(async () => {
  place[Symbol.dispose]();
  await standIn[Symbol.asyncDispose]();
});

/** A clone of the repository with these files; `gh` and `git` find their way to the stand-in. */
async function clone(files: Readonly<Record<string, string>>): Promise<void> {
  place = new Place(files);
  const environment = isInstalled
    ? standIn.environment
    : new FakeGh(path.join(standIn.folder, "fake")).before(standIn.environment);
  Object.assign(place.environment, environment);
  await place.commitAll();
  await place.git("remote", "add", "origin", repository.url);
  await place.git("push", "--quiet", repository.bare, "HEAD:refs/heads/main");
  // A check that is demanded is waited for, and no other.
  const required_status_checks = [{ context: "build" }];
  repository.rules.set("main", [{ type: "required_status_checks", parameters: { required_status_checks } }]);
  repository.ci = () => [{ name: "build", kind: "run", conclusion: "success" }];
}

test("three slices become pull requests, an integrator and one merge, whenever omk is killed on the way", async () => {
  await clone(THREE_PARTS);
  const base = repository.branch("main");
  const engine = place.script({ turns: [partPlan(), ...(["sum", "mul", "neg"] as const).map(fixing)] });
  const flags = ["--policy", "auto-pr", "--merge-policy", "gated", "--max-agents", "3"];
  let running = place.start("goal", "run", GOAL, "--engine", engine, ...ROAD, ...flags);
  const killedAt = async (said: string): Promise<void> => {
    await running.says(said);
    running.child.kill("SIGKILL");
    await running.ended;
    running = place.start("goal", "resume");
  };
  repository.ci = () => [{ name: "build", kind: "run", conclusion: null }];
  await killedAt("/pull/2");
  await killedAt("pushed: integrator/");
  await running.says("waiting for the checks");
  expect(await place.run("goal", "pause")).toMatchObject({ status: 0 });
  expect(await running.ended).toMatchObject({ status: 6 });
  repository.ci = () => [{ name: "build", kind: "run", conclusion: "success" }];
  running = place.start("goal", "resume");
  await killedAt("merged: ");
  const ended = await running.ended;
  expect(ended, ended.stderr).toMatchObject({ status: 0 });
  expect(place.json("goal.json")).toMatchObject({ status: "ready" });
  const { pulls } = repository;
  expect(pulls).toHaveLength(4);
  expect(pulls.filter(({ mergedAt }) => mergedAt !== null)).toMatchObject([
    { title: `[Integrator] ${GOAL}`, base: "main" },
  ]);
  expect(pulls.every(({ state }) => state === "closed")).toBe(true);
  const main = repository.branch("main") ?? "";
  expect(repository.git("rev-list", "--first-parent", `${base}..${main}`)).toBe(main);
  for (const { headOid } of pulls) repository.git("merge-base", "--is-ancestor", headOid ?? "", main);
  expect(repository.git("show", `${main}:neg.js`)).toContain("return -a");
  expect(await place.git("status", "--porcelain")).toBe("");
  expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  expect((await place.run("goal", "merge")).stdout).toContain("was merged before");
}, 180_000);

test("under manual the pull request waits for omk goal merge", async () => {
  await clone(BROKEN_SUM);
  const engine = place.script({ turns: [{ steps: REPAIR }] });
  const text = "Fix the failing test in sum.test.js";
  const flags = ["--policy", "draft-pr", "--merge-policy", "manual", "--no-llm-planner"];
  const ran = await place.run("goal", "run", text, "--engine", engine, ...ROAD, ...flags);
  expect(ran, ran.stderr).toMatchObject({ status: 0 });
  const id = String(place.json("goal.json")["goal_id"]);
  expect(ran.stderr).toContain(`omk goal merge ${id}`);
  expect(repository.pulls).toMatchObject([{ head: `integrator/${id}`, draft: true, state: "open" }]);
  const merged = await place.run("goal", "merge", "--json");
  expect(merged, merged.stderr).toMatchObject({ status: 0 });
  expect(JSON.parse(merged.stdout)).toMatchObject({ goal_id: id, landed: "parent", again: false });
  expect(repository.git("show", "main:sum.js")).toContain("a + b");
  expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
}, 120_000);

test("a goal that could not be delivered is not made", async () => {
  await clone(BROKEN_SUM);
  await place.git("remote", "remove", "origin");
  const refused = await place.run("goal", "create", "Fix the failing test", "--policy", "auto-pr");
  expect(refused).toMatchObject({ status: 1 });
  expect(refused.stderr).toContain("no remote called origin");
  await place.git("remote", "add", "origin", repository.url);
  await place.git("update-ref", "refs/remotes/origin/main", "HEAD");
  await place.git("commit", "--quiet", "--allow-empty", "--message", "mine alone");
  const unpushed = await place.run("goal", "create", "Fix the failing test", "--policy", "auto-pr");
  expect(unpushed).toMatchObject({ status: 1 });
  expect(unpushed.stderr).toMatch(/1 commit of yours \([0-9a-f]+ mine alone\)/);
  await place.git("update-ref", "refs/remotes/origin/main", "HEAD");
  delete place.environment["GH_TOKEN"];
  const loggedOut = await place.run("goal", "create", "Fix the failing test", "--policy", "auto-pr");
  expect(loggedOut).toMatchObject({ status: 1 });
  expect(loggedOut.stderr).toContain("gh auth login --hostname github.com");
  expect((await place.run("goal", "list")).stdout).not.toContain("goal-");
});
