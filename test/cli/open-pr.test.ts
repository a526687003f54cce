import path from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

import { FakeGh, GitHubStandIn, type StandInRepository } from "../delivery/github-stand-in.ts";
import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

let standIn: GitHubStandIn;
let gh: FakeGh;
let repository: StandInRepository;
let place: Place;

/** A goal that is ready on the branch `work` of a clone, its result not committed yet. */
beforeEach(async () => {
  standIn = await GitHubStandIn.start();
  gh = new FakeGh(path.join(standIn.folder, "fake"));
  repository = standIn.addRepository();
  place = new Place(BROKEN_SUM);
  Object.assign(place.environment, gh.before(standIn.environment));
  await place.commitAll();
  await place.git("remote", "add", "origin", repository.url);
  await place.git("push", "--quiet", repository.bare, "HEAD:refs/heads/main");
  await place.git("checkout", "--quiet", "-b", "work");
  const engine = place.script({ turns: [{ steps: REPAIR }] });
  const goal = "Fix the failing test in sum.test.js";
  const ran = await place.run("goal", "run", goal, "--until-ready", "--auto-accept", "--engine", engine);
  expect(ran).toMatchObject({ status: 0 });
});
afterEach(async () => {
  place[Symbol.dispose]();
  await standIn[Symbol.asyncDispose]();
});

async function pushWork(): Promise<void> {
  await place.git("commit", "--quiet", "--all", "-m", "the repair");
  await place.git("push", "--quiet", repository.bare, "HEAD:refs/heads/work");
}

test("a pull request is shown in three forms without any call", async () => {
  const shown = await place.run("goal", "open-pr");
  expect(shown).toMatchObject({ status: 0, stderr: "" });
  expect(shown.stdout).toMatch(
    /^Title: Goal proof: Fix the failing test in sum.test.js\nDry-run: false\nDraft: false\n\n## Goal\n/,
  );
  expect(shown.stdout).toContain("- `sum.js`\n");
  expect(shown.stdout).toContain("- merge recommendation: ready for a person's review and merge");
  expect(shown.stdout).not.toContain(place.folder);

  const text = await place.run("goal", "open-pr", "--dry-run", "--policy", "auto-pr", "-f", "text");
  expect(text.stdout).toMatch(/^PR title: .*\nDry-run: true\nDraft: false\nPR body:\n## Goal\n/);
  const json = await place.run("goal", "open-pr", "latest", "--dry-run", "--draft", "--json");
  expect(JSON.parse(json.stdout)).toMatchObject({
    dry_run: true,
    draft: true,
    head_branch: "work",
    existing_pr_url: null,
  });
  expect(standIn.calls).toEqual([]);
});

test("a pull request is opened, recorded, brought up to date, and opened once", async () => {
  const missing = await place.run("goal", "open-pr", "--policy", "draft-pr");
  expect(missing).toMatchObject({ status: 1 });
  expect(missing.stderr).toContain("head branch work");
  expect(missing.stderr).toContain("git push origin work");

  await pushWork();
  const opened = await place.run("goal", "open-pr", "--policy", "draft-pr");
  expect(opened).toMatchObject({ status: 0 });
  expect(opened.stdout).toBe(
    "Policy: draft-pr\nMutated: true\nPR URL: https://github.com/acme/widget/pull/1\nReason: pull request created\n",
  );
  expect(repository.pulls).toMatchObject([{ head: "work", base: "main", draft: true }]);
  expect(repository.pulls[0]?.body).toContain("omk makes or updates this pull request");
  expect(place.events().map(({ kind }) => kind)).toEqual(
    expect.arrayContaining(["pull_request_intended", "pull_request_opened"]),
  );
  expect(place.json("goal.json")["artifacts"]).toContainEqual(
    expect.objectContaining({ kind: "pull_request", path: "https://github.com/acme/widget/pull/1" }),
  );
  expect(place.json("work.json")["delivery"]).toMatchObject({
    pulls: [{ slice_id: null, branch: "work", number: 1, state: "open" }],
  });
  expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });

  const ready = await place.run("goal", "open-pr", "--policy", "auto-pr", "--json");
  expect(JSON.parse(ready.stdout)).toEqual({
    policy: "auto-pr",
    dry_run: false,
    mutated: true,
    operation: "update",
    pr_url: "https://github.com/acme/widget/pull/1",
    reason: "pull request updated",
  });
  const again = await place.run("goal", "open-pr", "--policy", "auto-pr");
  expect(again.stdout).toContain("Mutated: false");
  expect(repository.pulls).toMatchObject([{ draft: false }]);
});

test("a gh that dies after it has acted leaves one pull request, and the next call finds it", async () => {
  await pushWork();
  gh.fail("POST", "dies_after");
  const opened = await place.run("goal", "open-pr", "--policy", "auto-pr");
  expect(opened).toMatchObject({ status: 0 });
  expect(opened.stdout).toContain("pull/1");
  standIn.fail("GET", { kind: "answer", status: 401, message: "Bad credentials" });
  const loggedOut = await place.run("goal", "open-pr", "--policy", "auto-pr");
  expect(loggedOut).toMatchObject({ status: 4 });
  expect(loggedOut.stderr).toContain("gh auth login");
  expect(repository.pulls).toHaveLength(1);
});

test("what cannot have a pull request is told so", async () => {
  await pushWork();
  const same = await place.run("goal", "open-pr", "--policy", "auto-pr", "--base-branch", "work");
  expect(same).toMatchObject({ status: 1 });
  expect(same.stderr).toContain("the base itself");
  await place.git("remote", "set-url", "origin", "https://gitlab.com/acme/widget.git");
  const elsewhere = await place.run("goal", "open-pr", "--policy", "auto-pr");
  expect(elsewhere).toMatchObject({ status: 1 });
  expect(elsewhere.stderr).toContain("no repository on GitHub");
  await place.run("goal", "create", "Fix the failing test in sum.test.js again");
  const scaffold = await place.run("goal", "open-pr");
  expect(scaffold).toMatchObject({ status: 1 });
  expect(scaffold.stderr).toMatch(/proof evidence is missing[^]*omk goal execute goal-/);
});
