import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

import { GhApi } from "../../src/delivery/gh-api.ts";
import { GitHubError, type NewPullRequest } from "../../src/delivery/github.ts";
import {
  awaitChecks,
  closeOnce,
  ensurePullRequest,
  mergeOnce,
  protectBranch,
} from "../../src/delivery/pull-steps.ts";
import { createWorld } from "../../src/world.ts";
import { ManualClock } from "../support/fakes.ts";
import { FakeGh, GitHubStandIn, hasRealGh, type GhFault, type StandInRepository } from "./github-stand-in.ts";

const world = createWorld();
const { signal } = new AbortController();
const isInstalled = hasRealGh();

let standIn: GitHubStandIn;
let fake: FakeGh;
let repository: StandInRepository;
let count = 0;

beforeAll(async () => {
  standIn = await GitHubStandIn.start();
  fake = new FakeGh(path.join(standIn.folder, "fake"));
});
afterAll(() => standIn[Symbol.asyncDispose]());

/** A new repository for each test, with one commit on main and one more on the branch `work`. */
beforeEach(() => {
  repository = standIn.addRepository("acme", `widget-${++count}`);
  addCommit("main", { "a.txt": "a\n" });
  addCommit("work", { "a.txt": "a\n", "b.txt": "b\n" }, "main");
  standIn.calls.length = 0;
});

function addCommit(branch: string, files: Record<string, string>, parent?: string): string {
  const tree = execFileSync("git", [`--git-dir=${repository.bare}`, "mktree"], {
    encoding: "utf8",
    input: Object.entries(files)
      .map(([name, text]) => `100644 blob ${blob(text)}\t${name}\n`)
      .join(""),
  }).trim();
  const parents = parent === undefined ? [] : ["-p", repository.branch(parent) ?? parent];
  const commit = repository.git("commit-tree", tree, ...parents, "-m", `to ${branch}`);
  repository.git("update-ref", `refs/heads/${branch}`, commit);
  return commit;
}

function blob(text: string): string {
  return execFileSync("git", [`--git-dir=${repository.bare}`, "hash-object", "-w", "--stdin"], {
    encoding: "utf8",
    input: text,
  }).trim();
}

function oidOf(branch: string): string {
  const oid = repository.branch(branch);
  if (oid === undefined) throw new Error(`no branch ${branch}`);
  return oid;
}

function client(environment = standIn.environment, deadlineMs = 20_000): GhApi {
  const remote = { host: "github.com", owner: repository.owner, name: repository.name };
  const emptyFolder = path.join(standIn.folder, `empty-${count}`);
  return new GhApi({ remote, emptyFolder, environment, deadlineMs }, world);
}

function wanted(more: Partial<NewPullRequest> = {}): NewPullRequest & { commit: string } {
  return {
    title: "Do it",
    body: "what `was` done\n",
    head: "work",
    base: "main",
    draft: false,
    commit: oidOf("work"),
    ...more,
  };
}

async function failureOf(promise: Promise<unknown>): Promise<GitHubError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof GitHubError) return error;
  throw new Error(`not a GitHubError: ${String(error)}`);
}

/** The real one where it is installed; the other one is used for faults anyway. */
const environment = () => (isInstalled ? standIn.environment : fake.before(standIn.environment));

describe("with the real gh where it is installed", () => {
  test("a pull request is made once, brought up to date, and found again", async () => {
    const github = client(environment());
    const first = await ensurePullRequest(github, wanted({ draft: true }), signal);
    expect(first.outcome).toBe("created");
    expect(first.pull).toMatchObject({
      number: 1,
      state: "open",
      draft: true,
      title: "Do it",
      mergeCommit: null,
    });
    expect((await ensurePullRequest(github, wanted({ draft: true }), signal)).outcome).toBe("unchanged");
    expect(standIn.mutations).toHaveLength(1);

    const second = await ensurePullRequest(github, wanted({ title: "Done", body: "all\n" }), signal);
    expect(second.outcome).toBe("updated");
    expect(repository.pulls).toMatchObject([{ title: "Done", body: "all\n", draft: false }]);
    const third = await ensurePullRequest(
      github,
      wanted({ title: "Done", body: "all\r\n", draft: true }),
      signal,
    );
    expect(third.outcome).toBe("updated");
    expect(repository.pulls).toMatchObject([{ draft: true }]);
  });

  test("a stranger's pull request from a branch of the same name is not ours", async () => {
    repository.addForkPull("work", "acme");
    repository.addForkPull("work", "stranger");
    const { outcome, pull } = await ensurePullRequest(client(environment()), wanted(), signal);
    expect([outcome, pull.number]).toEqual(["created", 3]);
  });

  test("a merge happens at the expected head, and once", async () => {
    const github = client(environment());
    const { pull } = await ensurePullRequest(github, wanted({ draft: true }), signal);
    const head = oidOf("work");
    const stale = await mergeOnce(
      github,
      { number: pull.number, base: "main", head: oidOf("main"), title: "t" },
      signal,
    );
    expect(stale).toEqual({ outcome: "moved", head });
    const done = await mergeOnce(
      github,
      { number: pull.number, base: "main", head, title: "Bring it in" },
      signal,
    );
    expect(done).toEqual({ outcome: "merged", commit: oidOf("main"), landed: "parent", again: false });
    expect(repository.git("log", "-1", "--format=%s", "main")).toBe("Bring it in");
    const again = await mergeOnce(github, { number: pull.number, base: "main", head, title: "t" }, signal);
    expect(again).toEqual({ ...done, again: true });
    expect(standIn.mutations.filter(({ path: one }) => one.endsWith("/merge"))).toHaveLength(1);
    expect((await ensurePullRequest(github, wanted(), signal)).outcome).toBe("merged");
  });

  test("where only squashing is allowed, equal files show that it landed", async () => {
    repository.allowMergeCommit = false;
    const github = client(environment());
    const { pull } = await ensurePullRequest(github, wanted(), signal);
    const head = oidOf("work");
    const done = await mergeOnce(github, { number: pull.number, base: "main", head, title: "t" }, signal);
    expect(done).toMatchObject({ outcome: "merged", landed: "tree" });
    expect(repository.git("rev-list", "--count", "main")).toBe("2");
  });

  test("a squash on a base that went on does not show that it landed", async () => {
    repository.allowMergeCommit = false;
    const github = client(environment());
    const { pull } = await ensurePullRequest(github, wanted(), signal);
    addCommit("main", { "a.txt": "a\n", "c.txt": "c\n" }, "main");
    const done = await mergeOnce(
      github,
      { number: pull.number, base: "main", head: oidOf("work"), title: "t" },
      signal,
    );
    expect(done).toMatchObject({ outcome: "merged", landed: undefined });
  });

  test("a merge that GitHub refuses is told with its reason", async () => {
    const github = client(environment());
    const { pull } = await ensurePullRequest(github, wanted(), signal);
    addCommit("main", { "a.txt": "a\n", "b.txt": "other\n" }, "main");
    const request = { number: pull.number, head: oidOf("work"), base: "main", title: "t" };
    expect(await mergeOnce(github, request, signal)).toEqual({
      outcome: "refused",
      because: "Pull Request is not mergeable",
    });
    repository.allowMergeCommit = false;
    repository.allowSquashMerge = false;
    expect(await mergeOnce(github, request, signal)).toMatchObject({ outcome: "refused" });
    await closeOnce(github, { number: pull.number, reference: "Landed by #9." }, signal);
    await closeOnce(github, { number: pull.number, reference: "Landed by #9." }, signal);
    expect(repository.pulls).toMatchObject([{ state: "closed", body: "Landed by #9.\n\nwhat `was` done\n" }]);
    expect(await mergeOnce(github, request, signal)).toMatchObject({ outcome: "refused" });
  });

  test("checks of both kinds are read over all pages, and those that a branch demands", async () => {
    const head = oidOf("work");
    repository.setCheck(head, { name: "old", kind: "status", conclusion: "success" });
    repository.setCheck(head, { name: "slow", kind: "status", conclusion: null });
    for (let at = 0; at < 120; at++) {
      repository.setCheck(head, { name: `job ${at}`, kind: "run", conclusion: "success" });
    }
    const github = client(environment());
    const checks = await github.checks(head, signal);
    expect(checks).toHaveLength(122);
    expect(checks).toContainEqual({
      name: "slow",
      kind: "status",
      status: "pending",
      conclusion: null,
      url: null,
    });
    expect(await github.requiredChecks("main", signal)).toEqual([]);
    repository.rules.set("main", [
      { type: "required_status_checks", parameters: { required_status_checks: [{ context: "job 1" }] } },
      { type: "deletion" },
    ]);
    await protectBranch(github, "main", { checks: ["build / test"], approvals: 1 }, signal);
    expect(await github.requiredChecks("main", signal)).toEqual(["build / test", "job 1"]);
  });

  test("protection is only added to", async () => {
    const github = client(environment());
    expect(await protectBranch(github, "main", { checks: ["test"], approvals: 1 }, signal)).toBe(true);
    expect(await protectBranch(github, "main", { checks: ["test"], approvals: 1 }, signal)).toBe(false);
    const [put] = standIn.mutations;
    expect(put?.body).toMatchObject({ required_status_checks: { strict: true }, allow_force_pushes: false });
    const told = repository.protections.get("main");
    repository.protections.set("main", { ...told, required_linear_history: { enabled: true } });
    expect(await protectBranch(github, "main", { checks: ["lint", "test"], approvals: 0 }, signal)).toBe(
      true,
    );
    expect(standIn.mutations.at(-1)).toMatchObject({ method: "POST", body: { contexts: ["lint"] } });
    expect(repository.protections.get("main")).toMatchObject({ required_linear_history: { enabled: true } });
    repository.protections.set("main", { ...told, some_new_rule: { enabled: true } });
    await expect(protectBranch(github, "main", { checks: [], approvals: 2 }, signal)).rejects.toThrow(
      "some_new_rule",
    );
  });

  test("branches are found by their whole name", async () => {
    addCommit("omk/goal/x/ü-1", { "a.txt": "u\n" }, "main");
    const github = client(environment());
    expect(await github.branchHead("omk/goal/x/ü-1", signal)).toBe(oidOf("omk/goal/x/ü-1"));
    expect(await github.branchHead("omk/goal/x", signal)).toBeUndefined();
    expect((await github.requiredChecks("omk/goal/x/ü-1", signal)).length).toBe(0);
    expect(await github.repository(signal)).toEqual({
      defaultBranch: "main",
      mergeMethods: ["merge", "squash"],
      archived: false,
    });
  });

  test("every refusal gets its class", async () => {
    const github = client(environment());
    const answers = [
      [401, "Bad credentials", {}, "auth"],
      [403, "Resource not accessible by integration", {}, "forbidden"],
      [
        403,
        "API rate limit exceeded",
        { "x-ratelimit-remaining": "0", "x-ratelimit-reset": "4102444800" },
        "rate_limit",
      ],
      [403, "You have exceeded a secondary rate limit", { "retry-after": "60" }, "rate_limit"],
      [429, "slow down", {}, "rate_limit"],
      [404, "Not Found", {}, "not_found"],
      [422, "Validation Failed", {}, "validation"],
      [500, "Server Error", {}, "server"],
      [503, "Unavailable", {}, "server"],
    ] as const;
    for (const [status, message, headers, failure] of answers) {
      standIn.fail("POST", { kind: "answer", status, message, headers });
      const error = await failureOf(github.createPullRequest(wanted(), signal));
      expect([error.failure, error.status, error.mayHaveActed]).toEqual([
        failure,
        status,
        failure === "server",
      ]);
      expect(error.message).toContain(message);
      expect(error.exitStatus).toBe(4);
    }
    expect(repository.pulls).toEqual([]);
    standIn.fail("GET", { kind: "answer", status: 429, message: "wait", headers: { "retry-after": "60" } });
    const limited = await failureOf(github.repository(signal));
    const inMs = (limited.resetsAt?.getTime() ?? 0) - world.clock.now().getTime();
    expect(inMs).toBeGreaterThan(30_000);
    expect(inMs).toBeLessThanOrEqual(60_000);
    standIn.fail("GET", { kind: "dropped" });
    expect((await failureOf(github.repository(signal))).failure).toBe("network");
    const { GH_TOKEN: _token, ...loggedOut } = environment();
    expect((await failureOf(client(loggedOut).repository(signal))).failure).toBe("auth");
    expect((await failureOf(client({ ...loggedOut, GH_TOKEN: "wrong" }).repository(signal))).failure).toBe(
      "auth",
    );
  });

  test("after a lost answer, what was made is found and nothing is made twice", async () => {
    const github = client(environment());
    standIn.fail("POST", { kind: "lost" });
    const { outcome, pull } = await ensurePullRequest(github, wanted(), signal);
    expect([outcome, pull.number, repository.pulls.length]).toEqual(["created", 1, 1]);
    standIn.fail("PUT", { kind: "lost" });
    const request = { number: 1, head: oidOf("work"), base: "main", title: "t" };
    expect(await mergeOnce(github, request, signal)).toMatchObject({ outcome: "merged", landed: "parent" });
    expect(repository.git("rev-list", "--count", "--merges", "main")).toBe("1");
    // Lost before it acted: the failure is told, and the next try makes it.
    addCommit("next", { "n.txt": "n\n" }, "main");
    const next = wanted({ head: "next" });
    standIn.fail("POST", { kind: "dropped" });
    expect((await failureOf(ensurePullRequest(github, next, signal))).mayHaveActed).toBe(true);
    expect((await ensurePullRequest(github, next, signal)).outcome).toBe("created");
    expect(repository.pulls).toHaveLength(2);
  });
});

test.each<[GhFault, string]>([
  ["dies_after", "died"],
  ["dies_before", "died"],
  ["bad_gateway", "server"],
  ["other_pull", "nonsense"],
  ["flood", "nonsense"],
  ["garbage", "nonsense"],
  ["silent", "nonsense"],
])("a gh that %s when it should create is classed, and nothing is made twice", async (fault, failure) => {
  const github = client(fake.before(standIn.environment));
  fake.fail("POST", fault);
  const error = await failureOf(github.createPullRequest(wanted(), signal));
  expect([error.failure, error.mayHaveActed]).toEqual([failure, true]);
  expect((await ensurePullRequest(github, wanted(), signal)).pull.number).toBe(1);
  repository.update(repository.pulls[0]!, { state: "closed" });
  addCommit("work", { "a.txt": "a\n", "b.txt": "more\n" }, "work");

  const acts = !["dies_before", "flood"].includes(fault);
  fake.fail("POST", fault);
  const again = ensurePullRequest(github, wanted(), signal);
  if (acts) expect(await again).toMatchObject({ outcome: "created", pull: { number: 2 } });
  else expect((await failureOf(again)).failure).toBe(failure);
  expect(repository.pulls).toHaveLength(acts ? 2 : 1);

  if (!acts) await ensurePullRequest(github, wanted(), signal);
  fake.fail("PUT", fault);
  const merge = () => mergeOnce(github, { number: 2, head: oidOf("work"), base: "main", title: "t" }, signal);
  if (acts) expect(await merge()).toMatchObject({ outcome: "merged", again: false });
  else expect((await failureOf(merge())).failure).toBe(failure);
  expect(await merge()).toMatchObject({ outcome: "merged", again: acts });
  expect(repository.git("rev-list", "--count", "--merges", "main")).toBe("1");
});

test("an answer about other pull requests leads to the one there is", async () => {
  const github = client(fake.before(standIn.environment));
  await ensurePullRequest(github, wanted(), signal);
  fake.fail("GET", "other_pull");
  const { pull } = await ensurePullRequest(github, wanted({ title: "Again" }), signal);
  expect([pull.number, repository.pulls.length]).toEqual([1, 1]);
});

test("a gh that hangs is ended with everything it started", async () => {
  const github = client(fake.before(standIn.environment), 1_500);
  fake.fail("POST", "hangs");
  const begun = performance.now();
  const error = await failureOf(github.createPullRequest(wanted(), signal));
  expect([error.failure, error.mayHaveActed]).toEqual(["timeout", true]);
  expect(performance.now() - begun).toBeLessThan(10_000);
  const pids = fs.readFileSync(path.join(fake.folder, "hanging"), "utf8").split(" ").map(Number);
  expect(pids).toHaveLength(2);
  expect(pids.filter(isRunning)).toEqual([]);
});

/** One that has ended may wait for its parent to ask how. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false; // it is gone
  }
}

test("without gh, or with something in its folder, the user is told what to do", async () => {
  const none = await failureOf(client({ ...standIn.environment, PATH: standIn.home }).repository(signal));
  expect([none.failure, none.hint]).toEqual(["missing", expect.stringContaining("https://cli.github.com")]);
  fs.writeFileSync(path.join(standIn.folder, `empty-${count}`, "x"), "");
  expect(() => client()).toThrow("must be empty");
});

test("what a gh is told of the environment is the login, and no more", async () => {
  const seen: Record<string, string>[] = [];
  const processes = {
    run: (request: Parameters<typeof world.processes.run>[0], stop?: AbortSignal) => {
      seen.push({ ...request.env });
      expect(request.endsAll).toBe(true);
      expect(request.argv.slice(0, 5)).toEqual(["gh", "api", "--include", "--hostname", "github.com"]);
      return world.processes.run(request, stop);
    },
  };
  const remote = { host: "github.com", owner: repository.owner, name: repository.name };
  const caller = {
    ...fake.before(standIn.environment),
    GH_REPO: "a/b",
    GH_HOST: "evil",
    AWS_KEY: "k",
    GH_DEBUG: "1",
  };
  const emptyFolder = path.join(standIn.folder, `empty-${count}`);
  await new GhApi({ remote, emptyFolder, environment: caller }, { ...world, processes }).repository(signal);
  expect(Object.keys(seen[0] ?? {}).sort()).toEqual([
    "GH_CONFIG_DIR",
    "GH_NO_UPDATE_NOTIFIER",
    "GH_PAGER",
    "GH_PROMPT_DISABLED",
    "GH_TOKEN",
    "GIT_CEILING_DIRECTORIES",
    "HOME",
    "LC_ALL",
    "NO_COLOR",
    "PATH",
  ]);
});

test("waiting for checks ends when they are done, when there are none, and when time is up", async () => {
  const github = client(fake.before(standIn.environment));
  const head = oidOf("work");
  const asked = { commit: head, base: "main" };
  const wait = { timeoutMs: 60_000, everyMs: 10_000, beginMs: 20_000 };
  /** Each sleep takes no time, and something may happen in it. */
  const during = (...steps: (() => void)[]) => {
    const clock = new ManualClock();
    let elapsed = 0;
    return {
      clock: {
        monotonicMs: () => elapsed,
        sleep: async (ms: number) => {
          elapsed += ms;
          steps.shift()?.();
          await clock.advance(0);
        },
      },
      waited: () => elapsed,
    };
  };
  const set = (name: string, conclusion: string | null) => () =>
    repository.setCheck(head, { name, kind: "run", conclusion });

  const nothing = during();
  expect(await awaitChecks(github, asked, wait, nothing, signal)).toMatchObject({ state: "none" });
  expect(nothing.waited()).toBe(20_000);

  // The first is done before the second has shown up.
  const late = during(set("fast", "success"), set("slow", null), set("slow", "skipped"));
  expect(await awaitChecks(github, asked, wait, late, signal)).toMatchObject({ state: "green", counted: 2 });

  await protectBranch(github, "main", { checks: ["slow", "never"], approvals: 0 }, signal);
  const stuck = during();
  expect(await awaitChecks(github, asked, wait, stuck, signal)).toMatchObject({
    state: "pending",
    pending: ["never"],
  });
  expect(stuck.waited()).toBe(60_000);
  const red = during(set("never", "failure"));
  expect(await awaitChecks(github, asked, wait, red, signal)).toMatchObject({
    state: "red",
    failed: ["never"],
  });
});
