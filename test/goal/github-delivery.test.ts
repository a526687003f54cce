/** Delivery of accepted slices as pull requests, against the stand-in for GitHub and a real bare repository. */
import { chmodSync, mkdirSync, symlinkSync } from "node:fs";

import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { integratorBranch } from "../../src/delivery/names.ts";
import { programsInPath } from "../../src/engine/program-path.ts";
import { checkDeliveryTarget } from "../../src/goal/github-target.ts";
import { findGoal } from "../../src/goal/find.ts";
import { openPullRequest, renderPullRequest, type PullRequestRequest } from "../../src/goal/pull-request.ts";
import { chooseSlices } from "../../src/goal/choose-slices.ts";
import { mergeGoal } from "../../src/goal/merge.ts";
import { rejectGoal } from "../../src/goal/accept.ts";
import { change, changeTask } from "../../src/goal/open.ts";
import { createWorld } from "../../src/world.ts";
import { FakeGh, GitHubStandIn, hasRealGh } from "../delivery/github-stand-in.ts";
import { DeliveredGoal, isMutation, Killed, killedEverywhere } from "../support/delivered-goal.ts";

let standIn: GitHubStandIn;
let goal: DeliveredGoal;

beforeEach(async () => {
  standIn = await GitHubStandIn.start();
  goal = new DeliveredGoal(standIn);
});
afterEach(async () => {
  goal[Symbol.dispose]();
  await standIn[Symbol.asyncDispose]();
});

function contains(commit: string, branch = "main"): boolean {
  try {
    goal.repository.git("merge-base", "--is-ancestor", commit, `refs/heads/${branch}`);
    return true;
  } catch {
    return false;
  }
}

/** The goal's own pull request as `goal open-pr` would show it. */
function rendered(request: PullRequestRequest = { policy: "local", dryRun: true, draft: false }) {
  const surroundings = { home: goal.home, redactor: goal.ports.redactor };
  return renderPullRequest(findGoal(goal.ports.root, goal.id, goal.ports), request, surroundings, goal.ports);
}

function openPr(request: PullRequestRequest) {
  const found = findGoal(goal.ports.root, goal.id, goal.ports);
  const { environment } = goal.standIn;
  const given = { environment, command: "goal open-pr" };
  return openPullRequest(found, rendered(request), request, given, goal.ports, goal.signal);
}

async function commits(): Promise<string[]> {
  return (await goal.delivery()).pulls.flatMap(({ slice_id, commit }) => (slice_id === null ? [] : [commit]));
}

/** Another hand brings a slice's commit to a branch of the remote. */
async function pushSlice(id: string, branch: string): Promise<void> {
  const commit = await goal.opened((open) =>
    Promise.resolve(open.work.slices?.slices.find(({ task_id }) => task_id === id)?.commit ?? ""),
  );
  const where = ["--git-dir", `${goal.goalFolder}/git`];
  goal.git(...where, "push", "--quiet", goal.repository.bare, `${commit}:refs/heads/${branch}`);
}

describe("pull requests", () => {
  test("three slices become three pull requests and the integrator's, and stay open", async () => {
    await goal.accepted();
    const main = goal.repository.branch("main");
    expect(await goal.deliver()).toBeUndefined();
    const { pulls } = goal.repository;
    expect(pulls.map(({ head, base, draft, state }) => [head, base, draft, state])).toEqual([
      ["omk/goal/test/one", "main", false, "open"],
      ["omk/goal/test/two", "main", false, "open"],
      ["omk/goal/test/three", "main", false, "open"],
      [integratorBranch(goal.id), "main", false, "open"],
    ]);
    expect(pulls.map(({ title }) => title)).toEqual([
      "[slice] one — Add words to the lists",
      "[slice] two — Add words to the lists",
      "[slice] three — Add words to the lists",
      "[Integrator] Add words to the lists",
    ]);
    for (const { body } of pulls) expect(body).not.toContain(goal.folder);
    expect(pulls[1]?.body).toContain(`Slice \`two\` for goal \`${goal.id}\`: two\n`);
    expect(pulls[3]?.body).not.toContain("has not been delivered");
    expect(goal.repository.branch("main")).toBe(main);
    for (const commit of await commits()) expect(contains(commit, integratorBranch(goal.id))).toBe(true);
    const calls = standIn.mutations.length;
    expect(await goal.deliver()).toBeUndefined();
    expect(standIn.mutations).toHaveLength(calls);
    await goal.opened((open) => {
      const records = open.graph.tasks.flatMap(({ delivery }) => (delivery?.["pr_url"] ? [delivery] : []));
      expect(records.map(({ status, pr_url }) => [status, pr_url])).toEqual(
        [1, 2, 3].map((number) => ["delivered", `https://github.com/acme/widget/pull/${number}`]),
      );
      expect(open.goal.artifacts.filter(({ kind }) => kind === "pull_request")).toHaveLength(4);
      return Promise.resolve();
    });
    expect(goal.users()).toMatchObject({ files: { "base.txt": "base\n" } });
    await expect(mergeGoal(goal.id, goal.ports, goal.signal)).rejects.toThrow("does not permit merge");
    const pr_url = "https://github.com/acme/widget/pull/4";
    const title = "[Integrator] Add words to the lists";
    expect(rendered()).toMatchObject({
      title,
      head_branch: integratorBranch(goal.id),
      existing_pr_url: pr_url,
    });
    const { pulls: before } = await goal.delivery();
    expect(await openPr({ policy: "auto-pr", dryRun: false, draft: false })).toMatchObject({ pr_url });
    expect(pulls[3]).toMatchObject({ title, base: "main" });
    expect((await goal.delivery()).pulls).toMatchObject(
      before.map(({ slice_id, branch, commit, state }) => ({ slice_id, branch, commit, state })),
    );
  });

  test("a goal with a single slice has one pull request", async () => {
    await goal.accepted({ slices: [{ id: "one", files: { "one.txt": "1\n" }, landed: true }] });
    expect(await goal.deliver()).toBeUndefined();
    expect(goal.repository.pulls.map(({ head }) => head)).toEqual([integratorBranch(goal.id)]);
    await goal.opened((open) => {
      expect(open.graph.tasks.find(({ id }) => id === "one")?.delivery).toMatchObject({
        pr_url: "https://github.com/acme/widget/pull/1",
        commit_sha: open.work.slices?.head,
        status: "delivered",
      });
      return Promise.resolve();
    });
  });

  test("a slice that is part of the base branch already has none", async () => {
    await goal.accepted();
    await pushSlice("one", "main");
    expect(await goal.deliver()).toBeUndefined();
    expect(goal.repository.pulls.map(({ head }) => head)).toEqual([
      "omk/goal/test/two",
      "omk/goal/test/three",
      integratorBranch(goal.id),
    ]);
    await goal.opened((open) => {
      const { delivery } = open.graph.tasks.find(({ id }) => id === "one") ?? {};
      expect(delivery).toMatchObject({ status: "merged" });
      return Promise.resolve();
    });
  });

  test("a pull request that somebody opened from a slice's branch is taken, and one from a fork is not", async () => {
    await goal.accepted();
    const head = "omk/goal/test/two";
    goal.repository.addForkPull(head, "mallory");
    await pushSlice("two", head);
    goal.repository.create({ title: "mine", head, base: "main", body: "" });
    expect(await goal.deliver()).toBeUndefined();
    expect(goal.repository.pulls.filter((pull) => pull.head === head)).toMatchObject([
      { title: "from a fork" },
      { title: "[slice] two — Add words to the lists" },
    ]);
  });
});

describe("commits of the user's that nobody has pushed", () => {
  const commitAlone = (files: Readonly<Record<string, string>>, message: string): void => {
    goal.write(goal.project, files);
    goal.git("add", "--all");
    goal.git("commit", "--quiet", "--message", message);
  };

  test("are not published by a goal that began on them", async () => {
    commitAlone({ "secrets.env": "TOKEN=1\n" }, "keep \u001b[31mthis");
    commitAlone({ "more.txt": "1\n" }, "half done");
    await goal.accepted({ mergePolicy: "gated" });
    const main = goal.repository.branch("main");
    const ending = await goal.deliver();
    expect(ending).toMatchObject({ status: "blocked_on_human", reasonCode: "unpushed_commits" });
    expect(ending?.reason).toContain("2 commits of yours");
    expect(ending?.reason).toContain("half done");
    expect(ending?.reason).toContain("keep \\u{1b}[31mthis");
    expect(ending?.reason).toContain(`omk goal resume ${goal.id}`);
    expect(goal.repository.git("for-each-ref", "--format=%(refname)")).toBe("refs/heads/main");
    expect(goal.repository.branch("main")).toBe(main);
    expect(standIn.mutations).toEqual([]);

    goal.git("push", "--quiet", goal.repository.bare, "HEAD:refs/heads/main");
    expect(await goal.deliver()).toBeUndefined();
    expect((await goal.delivery()).merge).toMatchObject({ landed: "parent" });
  });

  test("that are pushed to a branch of their own make that the base branch", async () => {
    goal.git("checkout", "--quiet", "-b", "release");
    commitAlone({ "release.txt": "1\n" }, "release");
    await goal.accepted();
    expect(await goal.deliver()).toMatchObject({ reasonCode: "unpushed_commits" });
    goal.git("push", "--quiet", goal.repository.bare, "HEAD:refs/heads/release");
    expect(await goal.deliver()).toBeUndefined();
    expect(new Set(goal.repository.pulls.map(({ base }) => base))).toEqual(new Set(["release"]));
  });

  test("come to light when somebody takes them out of the base branch", async () => {
    const before = goal.repository.branch("main") ?? "";
    commitAlone({ "later.txt": "1\n" }, "taken back");
    goal.git("push", "--quiet", goal.repository.bare, "HEAD:refs/heads/main");
    await goal.accepted({ mergePolicy: "gated" });
    goal.repository.ci = () => [{ name: "build", kind: "run", conclusion: "failure" }];
    expect(await goal.deliver()).toMatchObject({ reasonCode: "checks_red" });
    goal.repository.git("update-ref", "refs/heads/main", before);
    goal.repository.ci = () => [{ name: "build", kind: "run", conclusion: "success" }];
    expect(await goal.deliver()).toMatchObject({ reasonCode: "unpushed_commits" });
    expect(goal.repository.branch("main")).toBe(before);
  });
});

test("pull requests of slices that are left out of the result are closed, and opened anew when they are chosen again", async () => {
  const choose = (slices: readonly string[], mergePolicy: "disabled" | "gated" = "disabled") =>
    goal.opened(async (open, { sliced: { git } }) => {
      await chooseSlices(open, git, { wanted: slices, reason: "as wanted" }, goal.ports, goal.signal);
      const acceptance = { ...open.work.acceptance, tree: open.work.result?.tree };
      await open.record({
        kind: "made_up",
        actor: "test",
        changes: [change("goal.json", { merge_policy: mergePolicy }), change("work.json", { acceptance })],
      });
    });
  await goal.accepted();
  expect(await goal.deliver()).toBeUndefined();
  await choose(["one", "two"]);
  expect(await goal.deliver()).toBeUndefined();
  const third = () => goal.repository.pulls.filter(({ head }) => head === "omk/goal/test/three");
  expect(third()).toMatchObject([{ state: "closed" }]);
  expect(third()[0]?.body).toContain(
    "Left out of the result that https://github.com/acme/widget/pull/4 holds.",
  );
  expect((await goal.delivery()).pulls.map(({ state }) => state)).toEqual(["open", "open", "closed", "open"]);
  await choose(["one", "two", "three"], "gated");
  expect(await goal.deliver()).toBeUndefined();
  expect(third().map(({ body }) => body.includes("Landed by"))).toEqual([false, true]);
  expect((await goal.delivery()).merge?.slices).toHaveLength(3);

  // What was merged and then taken back does not come again by another merge.
  const clone = `${goal.folder}/reverting`;
  goal.gitIn(goal.folder, "clone", "--quiet", goal.repository.bare, clone);
  goal.gitIn(clone, "revert", "--no-edit", "-m", "1", "HEAD");
  goal.gitIn(clone, "push", "--quiet", "origin", "HEAD:refs/heads/main");
  await choose(["one", "two"], "gated");
  const ending = await goal.deliver();
  expect(ending).toMatchObject({ status: "blocked_on_human", reasonCode: "integration_undone" });
  expect(ending?.reason).toContain("one.txt, two.txt");
});

describe("merging", () => {
  test("gated waits for the checks, merges once and closes what landed by that", async () => {
    await goal.accepted({ mergePolicy: "gated" });
    const polls = { count: 0 };
    goal.repository.ci = () => [
      { name: "build", kind: "run", conclusion: ++polls.count > 4 ? "success" : null },
    ];
    expect(await goal.deliver()).toBeUndefined();
    expect(polls.count).toBeGreaterThan(4);
    const delivery = await goal.delivery();
    expect(delivery.merge).toMatchObject({
      landed: "parent",
      commit: goal.repository.branch("main"),
      slices: ["one", "two", "three"].map((slice_id) => ({ slice_id, landed: true })),
    });
    for (const commit of await commits()) expect(contains(commit)).toBe(true);
    expect(delivery.pulls.map(({ state }) => state)).toEqual(["closed", "closed", "closed", "merged"]);
    expect(goal.repository.pulls[0]?.body).toContain("Landed by https://github.com/acme/widget/pull/4.");
    await goal.opened((open) => {
      const states = open.graph.tasks.flatMap(({ delivery: one }) =>
        one?.["pr_url"] ? [one["status"]] : [],
      );
      expect(states).toEqual(["merged", "merged", "merged"]);
      return Promise.resolve();
    });
    const calls = standIn.mutations.length;
    expect(await goal.deliver()).toBeUndefined();
    expect(standIn.mutations).toHaveLength(calls);
  });

  test("a pull request that somebody has made go to another branch is neither merged there nor counted as landed", async () => {
    await goal.accepted({ mergePolicy: "gated" });
    const main = goal.repository.branch("main") ?? "";
    goal.repository.git("update-ref", "refs/heads/other", main);
    const integrator = () => goal.repository.pulls.find(({ title }) => title.startsWith("[Integrator]"));
    goal.repository.ci = () => {
      const pull = integrator();
      if (pull) pull.base = "other";
      return [{ name: "build", kind: "run", conclusion: "success" }];
    };
    expect(await goal.deliver()).toMatchObject({
      status: "blocked_on_human",
      reasonCode: "pull_request_moved",
      reason: expect.stringContaining("other") as string,
    });
    expect(goal.repository.branch("main")).toBe(main);
    expect((await goal.delivery()).merge).toBeUndefined();
    const pull = integrator();
    if (pull) pull.base = "main";
    goal.repository.ci = () => [{ name: "build", kind: "run", conclusion: "success" }];
    expect(await goal.deliver()).toBeUndefined();
    expect(goal.repository.branch("other")).toBe(main);
    expect((await goal.delivery()).merge).toMatchObject({ commit: goal.repository.branch("main") });
  });

  test("where only squash merges are allowed, landing is shown by the files", async () => {
    await goal.accepted({ policy: "draft-pr", mergePolicy: "gated" });
    goal.repository.allowMergeCommit = false;
    expect(await goal.deliver()).toBeUndefined();
    expect((await goal.delivery()).merge).toMatchObject({ landed: "tree" });
    expect(goal.repository.git("ls-tree", "--name-only", "main").split("\n")).toEqual([
      "base.txt",
      "one.txt",
      "three.txt",
      "two.txt",
    ]);
  });

  test("a red check is named with nothing merged, and looked at again", async () => {
    await goal.accepted({ mergePolicy: "gated" });
    const main = goal.repository.branch("main");
    goal.repository.ci = () => [{ name: "build", kind: "run", conclusion: "failure" }];
    expect(await goal.deliver()).toMatchObject({
      status: "blocked_on_external",
      reasonCode: "checks_red",
      reason: expect.stringContaining("build") as string,
    });
    expect(goal.repository.branch("main")).toBe(main);
    goal.repository.ci = () => [{ name: "build", kind: "run", conclusion: null }];
    expect(await goal.deliver()).toMatchObject({ reasonCode: "checks_pending" });
    goal.repository.ci = () => [{ name: "build", kind: "run", conclusion: "success" }];
    expect(await goal.deliver()).toBeUndefined();
    expect(goal.repository.pulls.filter(({ mergedAt }) => mergedAt !== null)).toHaveLength(1);
  });

  test("killed before and after everything that acts outside, it goes on, and does nothing twice", async () => {
    await goal.accepted({ mergePolicy: "gated", enforceProtection: true });
    goal.repository.ci = () => [{ name: "build", kind: "run", conclusion: "success" }];
    const { outside, kills } = killedEverywhere(isMutation);
    goal.outside = outside;
    let tries = 0;
    for (; tries < 100; tries++) {
      try {
        expect(await goal.deliver()).toBeUndefined();
        break;
      } catch (error) {
        if (!(error instanceof Killed)) throw error;
      }
    }
    // Four pushes, four pull requests, protection twice, the merge, three closed.
    expect(kills()).toBe(2 * 14);
    expect(tries).toBe(kills());
    expect(goal.repository.pulls).toHaveLength(4);
    const merges = goal.repository.git("rev-list", "--merges", "--first-parent", "main").split("\n");
    expect(merges).toEqual([goal.repository.branch("main")]);
    for (const commit of await commits()) expect(contains(commit)).toBe(true);
    const creations = standIn.mutations.filter(
      ({ method, path }) => method === "POST" && path.endsWith("/pulls"),
    );
    expect(creations).toHaveLength(4);
    expect(goal.repository.protections.get("main")).toMatchObject({
      required_status_checks: { strict: true, contexts: ["build"] },
      allow_force_pushes: { enabled: false },
    });
  });
});

describe("a base branch that moved on", () => {
  test("is merged with the result, on which the gates then run", async () => {
    const saw = "git status >/dev/null 2>&1; test ! -f later.txt || test -f one.txt";
    await goal.accepted({ mergePolicy: "gated", gate: saw });
    const later = goal.moveBase({ "later.txt": "later\n" });
    expect(await goal.deliver()).toBeUndefined();
    const { integration, merge } = await goal.delivery();
    expect(integration).toMatchObject({ base: later, gates: [{ name: "words", verdict: "passed" }] });
    expect(merge).toMatchObject({ landed: "parent" });
    expect(contains(later)).toBe(true);
    for (const commit of await commits()) expect(contains(commit)).toBe(true);
    await goal.opened(async (open, { tree }) => {
      const { result } = open.work;
      expect(result).not.toBeNull();
      expect((await tree.files(result?.tree ?? "", goal.signal)).includes("later.txt")).toBe(false);
    });
  });

  test("while checks ran is merged before the integrator is", async () => {
    await goal.accepted({ mergePolicy: "gated" });
    let later = "";
    goal.repository.ci = () => {
      if (later === "") later = goal.moveBase({ "later.txt": "later\n" });
      return [{ name: "build", kind: "run", conclusion: "success" }];
    };
    expect(await goal.deliver()).toBeUndefined();
    expect((await goal.delivery()).integration).toMatchObject({ base: later });
    expect(contains(later)).toBe(true);
  });

  test("in the same place is a person's affair, and the files are named", async () => {
    await goal.accepted({ mergePolicy: "gated" });
    goal.moveBase({ "one.txt": "another\n" });
    expect(await goal.deliver()).toMatchObject({
      status: "blocked_on_human",
      reasonCode: "integration_conflict",
      reason: expect.stringContaining("one.txt") as string,
    });
    expect(goal.repository.pulls).toHaveLength(3);
  });

  test("so that a gate is red is said, and nothing is merged", async () => {
    await goal.accepted({ mergePolicy: "gated", gate: "test ! -f later.txt" });
    const later = goal.moveBase({ "later.txt": "later\n" });
    expect(await goal.deliver()).toMatchObject({
      status: "blocked_on_human",
      reasonCode: "integration_gates_red",
      reason: expect.stringContaining("words") as string,
    });
    expect(goal.repository.branch("main")).toBe(later);
  });
});

describe("what is in the way outside", () => {
  test("a branch of that name with another commit stays as it is", async () => {
    await goal.accepted();
    const base = goal.repository.branch("main") ?? "";
    goal.repository.git("update-ref", "refs/heads/omk/goal/test/two", base);
    expect(await goal.deliver()).toMatchObject({ status: "blocked_on_human", reasonCode: "branch_taken" });
    expect(goal.repository.branch("omk/goal/test/two")).toBe(base);
    goal.repository.git("update-ref", "-d", "refs/heads/omk/goal/test/two");
    expect(await goal.deliver()).toBeUndefined();
    expect(goal.repository.pulls).toHaveLength(4);
  });

  test("a push that the remote rejects is told in its words", async () => {
    await goal.accepted();
    const hook = `${goal.repository.bare}/hooks/pre-receive`;
    goal.write(goal.repository.bare, {
      "hooks/pre-receive": "#!/bin/sh\necho no such names here >&2\nexit 1\n",
    });
    chmodSync(hook, 0o755);
    expect(await goal.deliver()).toMatchObject({
      status: "blocked_on_external",
      reasonCode: "push_rejected",
      reason: expect.stringContaining("no such names here") as string,
    });
  });

  test("each failure of GitHub has a code, and resuming goes on from there", async () => {
    await goal.accepted();
    const failures: [Parameters<GitHubStandIn["fail"]>[1], string][] = [
      [{ kind: "answer", status: 401, message: "Bad credentials" }, "github_auth"],
      [{ kind: "answer", status: 502, message: "Bad Gateway" }, "github_server"],
      [
        { kind: "answer", status: 403, message: "rate limit exceeded", headers: { "retry-after": "60" } },
        "github_rate_limit",
      ],
      [{ kind: "answer", status: 403, message: "Resource not accessible" }, "github_forbidden"],
    ];
    for (const [fault, code] of failures) {
      standIn.fail("POST /repos/acme/widget/pulls", fault);
      const ending = await goal.deliver();
      expect(ending).toMatchObject({ status: "blocked_on_external", reasonCode: code });
      expect(ending?.reason).toContain(`omk goal resume ${goal.id}`);
    }
    expect(goal.repository.pulls).toEqual([]);
    expect(await goal.deliver()).toBeUndefined();
    expect(goal.repository.pulls).toHaveLength(4);
  });

  test("a gh that is missing, a remote elsewhere and an archived repository are named", async () => {
    await goal.accepted();
    goal.repository.archived = true;
    expect(await goal.deliver()).toMatchObject({
      status: "blocked_on_human",
      reasonCode: "delivery_refused",
    });
    goal.outside = (request, act) =>
      request.argv[0] === "gh"
        ? Promise.resolve({
            exit: { kind: "not_started", code: "ENOENT", message: "not found" },
            stdout: Buffer.alloc(0),
            stderr: "",
            timedOut: false,
            truncated: false,
          })
        : act();
    expect(await goal.deliver()).toMatchObject({ reasonCode: "github_missing" });
    goal.git("remote", "set-url", "origin", "https://gitlab.com/acme/widget.git");
    expect(await goal.deliver()).toMatchObject({
      status: "blocked_on_human",
      reasonCode: "delivery_refused",
    });
  });
});

describe("merging at a person's word", () => {
  test("waits for green checks, merges once, and says so ever after", async () => {
    await goal.accepted({ policy: "draft-pr", mergePolicy: "manual" });
    expect(await goal.deliver()).toBeUndefined();
    expect(goal.repository.pulls.map(({ draft }) => draft)).toEqual([true, true, true, true]);
    expect(await goal.delivery()).toMatchObject({ merge_command: `omk goal merge ${goal.id}` });
    expect(goal.told).toContain(`merge it with: omk goal merge ${goal.id}`);
    const merge = () => mergeGoal(goal.id, goal.ports, goal.signal);
    await expect(merge()).rejects.toMatchObject({
      code: "goal.refused",
      hint: expect.stringContaining(`omk goal resume ${goal.id}`) as string,
    });
    await goal.opened(async (open) => {
      await open.record({
        kind: "made_up",
        actor: "test",
        changes: [change("goal.json", { status: "ready" })],
      });
    });
    goal.repository.ci = () => [{ name: "build", kind: "run", conclusion: "failure" }];
    const red = merge();
    await expect(red).rejects.toMatchObject({ code: "delivery.failed", exitStatus: 4 });
    await expect(red).rejects.toThrow(`\`omk goal merge ${goal.id}\` looks again`);
    await expect(red).rejects.not.toThrow("resume");
    goal.repository.ci = () => [{ name: "build", kind: "run", conclusion: "success" }];
    const pr_url = "https://github.com/acme/widget/pull/4";
    expect(await merge()).toMatchObject({ pr_url, landed: "parent", again: false, status: "ready" });
    const merged = goal.repository.branch("main");
    expect(await merge()).toMatchObject({ pr_url, commit: merged, again: true });
    expect(goal.repository.branch("main")).toBe(merged);
    await goal.opened((open) => {
      expect(open.goal.artifacts.filter(({ kind }) => kind === "pr_merge")).toMatchObject([{ path: pr_url }]);
      return Promise.resolve();
    });
    await goal.opened(async (open) => {
      await rejectGoal(open, "not like this", goal.ports);
      await open.record({
        kind: "made_up",
        actor: "test",
        changes: [change("goal.json", { status: "not_ready" })],
      });
    });
    await expect(merge()).rejects.toMatchObject({
      code: "goal.refused",
      message: expect.stringContaining(`merged as ${merged}, and then rejected`) as string,
      hint: expect.stringContaining(`git revert -m 1 ${merged}`) as string,
    });
  });

  test("is refused with what helps: not accepted, rejected, and a goal that stays here", async () => {
    await goal.accepted({ mergePolicy: "gated" });
    const merge = () => mergeGoal(goal.id, goal.ports, goal.signal);
    const set = (changed: ReturnType<typeof change>) =>
      goal.opened((open) => open.record({ kind: "made_up", actor: "test", changes: [changed] }));
    const acceptance = await goal.opened((open) => Promise.resolve(open.work.acceptance));
    await expect(merge()).rejects.toThrow("no pull request that could be merged yet");
    await goal.opened((open) => rejectGoal(open, "not like this", goal.ports));
    await expect(merge()).rejects.toThrow("is rejected");
    const pr = { policy: "auto-pr", dryRun: false, draft: false } as const;
    const record = { slice_id: "one", branch: "omk/goal/test/one" };
    await set(changeTask("one", { delivery: record }));
    await expect(openPr(pr)).rejects.toMatchObject({
      code: "delivery.refused",
      message: expect.stringContaining("not delivered yet") as string,
      hint: expect.stringContaining(`omk goal resume ${goal.id}`) as string,
    });
    expect(standIn.calls).toEqual([]);
    await set(change("work.json", { acceptance: { ...acceptance, tree: "of another result" } }));
    await expect(merge()).rejects.toThrow("not eligible for merge");
    await set(change("goal.json", { delivery_policy: "local" }));
    await expect(merge()).rejects.toThrow("made with --policy local");
  });
});

test("delivery runs through gh itself, and an answer that was lost is looked up", async () => {
  goal[Symbol.dispose]();
  await standIn[Symbol.asyncDispose]();
  standIn = await GitHubStandIn.start();
  const fake = new FakeGh(`${standIn.folder}/fake`);
  const isReal = hasRealGh();
  goal = new DeliveredGoal(standIn, isReal ? standIn.environment : fake.before(standIn.environment));
  await goal.accepted({ mergePolicy: "gated" });
  if (isReal) standIn.fail("PUT", { kind: "lost" });
  else fake.fail("PUT", "dies_after");
  expect(await goal.deliver()).toBeUndefined();
  expect((await goal.delivery()).merge).toMatchObject({ commit: goal.repository.branch("main") });
});

test("before a goal is made one looks whether it could be delivered", async () => {
  const { project, ports, signal } = goal;
  const check = (more: Partial<typeof ports> = {}, folder = project) =>
    checkDeliveryTarget(folder, "auto-pr", { ...ports, ...more }, signal);
  const bin = `${goal.folder}/bin`;
  mkdirSync(bin);
  symlinkSync(programsInPath("git", process.env, createWorld().disk)[0] ?? "", `${bin}/git`);
  goal.write(bin, { gh: "#!/bin/sh\n" });
  const without = { ...standIn.environment, PATH: bin };
  await expect(check({ callerEnvironment: without })).rejects.toThrow("gh");
  chmodSync(`${bin}/gh`, 0o755);
  await expect(check({ callerEnvironment: without })).resolves.toBeUndefined();
  goal.write(bin, { gh: "#!/bin/sh\necho no oauth token found for github.com >&2\nexit 1\n" });
  await expect(check({ callerEnvironment: without })).rejects.toMatchObject({
    message: expect.stringContaining("gh has none for github.com") as string,
    hint: expect.stringContaining("gh auth login --hostname github.com") as string,
  });
  goal.write(bin, { gh: "#!/bin/sh\necho 'unknown command \"token\"' >&2\nexit 1\n" });
  await expect(check({ callerEnvironment: without })).resolves.toBeUndefined();
  // Once it has been told what origin has, what only HEAD has is seen.
  goal.git("update-ref", "refs/remotes/origin/main", "HEAD");
  goal.git("commit", "--quiet", "--allow-empty", "--message", "mine alone");
  await expect(check({ callerEnvironment: without })).rejects.toMatchObject({
    code: "delivery.refused",
    message: expect.stringMatching(/1 commit of yours \([0-9a-f]+ mine alone\)/) as string,
  });
  goal.git("update-ref", "refs/remotes/origin/topic", "HEAD");
  await expect(check({ callerEnvironment: without })).resolves.toBeUndefined();
  const empty = `${goal.folder}/empty`;
  mkdirSync(empty);
  const withGh = { callerEnvironment: without };
  await expect(check(withGh, empty)).rejects.toThrow("no git repository");
  goal.gitIn(empty, "init", "--quiet");
  await expect(check(withGh, empty)).rejects.toThrow("no remote called origin");
  goal.gitIn(empty, "remote", "add", "origin", goal.repository.url);
  await expect(check(withGh, empty)).rejects.toThrow("no commit yet");
  goal.git("remote", "set-url", "origin", "https://gitlab.com/acme/widget.git");
  await expect(check(withGh)).rejects.toThrow("no repository on GitHub");
  await expect(checkDeliveryTarget(empty, "local", ports, signal)).resolves.toBeUndefined();
});
