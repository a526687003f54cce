/** `omk approvals`, and what waits for an answer: a goal, a team run, and one that runs meanwhile. */
import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import type { ApprovalAnswer, ApprovalList } from "../../src/format/approval.ts";
import { Place } from "../support/cli.ts";

const FIX = { "fix.js": `require("fs").writeFileSync("hello.txt", "hello\\n");\n` };
const SCRIPT = {
  turns: [{ match: { role: "work" }, steps: [{ run: "node fix.js", ask_first: true }, { say: "fixed" }] }],
};
const GATE = ["--gate", "hello=grep -q hello hello.txt"];
const NEVER = ["--approval-policy", "never", "--approval-timeout"];

function place(): Place {
  const made = new Place(FIX);
  const git = (...words: string[]) =>
    execFileSync("git", words, { cwd: made.project, env: made.environment });
  git("init", "-q");
  git("add", "-A");
  git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "start");
  return made;
}

async function listed(at: Place, ...flags: string[]): Promise<ApprovalList["approvals"]> {
  const { stdout } = await at.run("approvals", "list", "--json", ...flags);
  return (JSON.parse(stdout) as ApprovalList).approvals;
}

async function goalRun(at: Place, ...flags: string[]) {
  const engine = at.script(SCRIPT);
  const text = "Create hello.txt that says hello";
  return at.run("goal", "run", text, "--until-ready", "--auto-accept", "--engine", engine, ...GATE, ...flags);
}

test("a goal whose request nobody answers stops, and goes on after an answer given later", async () => {
  using at = place();
  const stopped = await goalRun(at, ...NEVER, "1s");
  expect(stopped.status).toBe(3);
  expect(stopped.stdout).toContain("approval_needed");
  const [open] = await listed(at);
  const id = open?.id ?? "none";
  expect(open).toMatchObject({ status: "open", command: "node fix.js", owner_kind: "goal", kind: "execute" });
  expect(stopped.stdout).toContain(`omk approvals answer ${id} approve`);
  expect(existsSync(join(at.state, "goals", open?.owner_id ?? "", "approvals", `${id}.json`))).toBe(true);

  const early = await at.run("goal", "resume");
  expect(early.status).toBe(3);
  expect(early.stderr).toContain(`omk approvals answer ${id} approve`);

  const shown = await at.run("approvals", "show", id.slice(0, 6));
  expect(shown.stdout).toMatch(/^Command: +node fix\.js$/m);

  const answered = await at.run("approvals", "answer", id, "approve", "--json");
  expect(answered.status).toBe(0);
  const answer = JSON.parse(answered.stdout) as ApprovalAnswer;
  expect(answer).toMatchObject({ outcome: "applied", approval: { status: "approved", used_at: null } });
  expect(answer.next).toBe(`omk goal resume ${open?.owner_id}`);
  expect(existsSync(join(at.project, "hello.txt"))).toBe(false);

  const resumed = await at.run("goal", "resume");
  expect(resumed.stdout).toContain("Status: ready");
  expect(resumed.status).toBe(0);
  expect(await listed(at)).toEqual([]);
  expect(await listed(at, "--all", "--goal", "latest")).toMatchObject([{ id, status: "approved" }]);
  expect((await at.run("proof", "verify")).status).toBe(0);

  const twice = await at.run("approvals", "answer", id, "approve");
  expect(twice.status).toBe(1);
  expect(twice.stderr).toContain(`Request ${id} is used already.`);
});

test("a late answer finds the request of the next attempt, which names another folder of its own", async () => {
  using at = place();
  const run = "cd @folder@ && node @folder@/fix.js";
  at.script({
    turns: [{ match: { role: "work" }, steps: [{ run, ask_first: true }, { say: "fixed" }] }],
  });
  // The scripted agent cannot name the folder in which it is started; this puts it into the script.
  const agent = join(at.folder, "agent.sh");
  const [script, own] = [join(at.folder, "script.json"), `${agent}.$$.json`];
  const omk = `exec "${process.execPath}" "${join(import.meta.dirname, "../../bin/omk.cjs")}"`;
  writeFileSync(agent, `sed "s|@folder@|$PWD|g" "${script}" > "${own}"\n${omk} scripted-agent "${own}"\n`);
  const flags = ["--until-ready", "--auto-accept", "--slice-execution", "--no-llm-planner", ...GATE];
  const engine = `acp:sh '${agent}'`;
  const text = "Create hello.txt that says hello";
  const stopped = await at.run("goal", "run", text, "--engine", engine, ...flags, ...NEVER, "1s");
  expect(stopped, stopped.stderr).toMatchObject({ status: 3 });
  const [open] = await listed(at);
  const worktrees = join(at.goalFolder(), "worktrees");
  expect(open).toMatchObject({ status: "open", command: expect.stringContaining(`cd ${worktrees}/`) });
  expect((await at.run("approvals", "answer", open?.id ?? "", "approve")).status).toBe(0);
  const resumed = await at.run("goal", "resume");
  expect(resumed, resumed.stderr).toMatchObject({ status: 0 });
  expect(await listed(at, "--all")).toMatchObject([
    { id: open?.id, status: "approved", used_fence: expect.any(Number) },
  ]);
  expect(await at.git("show", `omk/result/${open?.owner_id}:hello.txt`)).toBe("hello\n");
});

test("a long command is shown whole, in text and as JSON", async () => {
  using at = place();
  const run = `node fix.js ${"a".repeat(9_000)}SECRETMIDDLE${"b".repeat(9_000)}`;
  const turns = [{ match: { role: "work" }, steps: [{ run, ask_first: true }, { say: "fixed" }] }];
  const text = "Create hello.txt that says hello";
  const engine = at.script({ turns });
  const flags = ["--until-ready", "--auto-accept", "--engine", engine, ...GATE, ...NEVER, "1s"];
  expect((await at.run("goal", "run", text, ...flags)).status).toBe(3);
  const [open] = await listed(at);
  for (const more of [[], ["--full"], ["--json"]]) {
    const { stdout } = await at.run("approvals", "show", open?.id ?? "", ...more);
    expect(stdout).toContain(run);
  }
});

test("an answer from another process reaches the agent that waits", async () => {
  using at = place();
  const running = at.start(
    "goal",
    "run",
    "Create hello.txt that says hello",
    "--until-ready",
    "--auto-accept",
    "--engine",
    at.script(SCRIPT),
    ...GATE,
    ...NEVER,
    "5m",
  );
  await running.says("waits for a person");
  const [open] = await listed(at);
  const status = await at.run("goal", "status");
  expect(status.stdout).toMatch(/^ {2}Waits: {3}1 request waits for you: omk approvals list --goal goal-/m);
  const answered = await at.run("approvals", "answer", open?.id ?? "", "approve");
  expect(answered.stdout).toContain("The agent waited for it and goes on.");
  const ran = await running.ended;
  expect(ran.status).toBe(0);
});

test("where silence is a no, the agent hears it and nothing is changed", async () => {
  using at = place();
  const ran = await goalRun(at, ...NEVER, "1s", "--approval-on-timeout", "reject", "--max-attempts", "1");
  expect(ran.status).toBe(1);
  expect(await listed(at)).toEqual([]);
  expect(await listed(at, "--all")).toMatchObject([{ status: "expired" }]);
  expect(existsSync(join(at.project, "hello.txt"))).toBe(false);
});

test("resume with another policy decides anew about what waits", async () => {
  using at = place();
  expect((await goalRun(at, ...NEVER, "1s")).status).toBe(3);
  const resumed = await at.run("goal", "resume", "--approval-policy", "pattern:^execute node fix.js$");
  expect(resumed.status).toBe(0);
  expect(await listed(at, "--all")).toMatchObject([{ status: "withdrawn" }]);
});

test("a team run waits for its answer, and goes on with it", async () => {
  using at = place();
  const engine = at.script(SCRIPT);
  const stopped = await at.run(
    "team",
    "run",
    "1:executor",
    "Create hello.txt",
    "--name",
    "asks",
    "--engine",
    engine,
    ...GATE,
    ...NEVER,
    "1s",
  );
  expect(stopped.status).toBe(3);
  const [open] = await listed(at, "--run", "asks");
  const id = open?.id ?? "none";
  expect(open).toMatchObject({ owner_kind: "team", owner_id: "asks", command: "node fix.js" });
  expect(stopped.stdout).toContain(`omk approvals answer ${id} approve`);

  const early = await at.run("team", "run", "--resume", "--name", "asks");
  expect(early.status).toBe(3);
  expect(early.stderr).toContain(`omk approvals answer ${id} approve`);

  const answered = await at.run("approvals", "answer", id, "approve");
  expect(answered.stdout).toContain("Next: omk team run --resume --name 'asks'");
  const resumed = await at.run("team", "run", "--resume", "--name", "asks");
  expect(resumed.stderr + resumed.stdout).toContain("Team run 'asks' completed");
  expect(resumed.status).toBe(0);
  expect((await at.run("proof", "verify", "asks")).status).toBe(0);
});

test("a turn that splits the task may only read, whatever the policy, and what it asked is in the log", async () => {
  using at = place();
  const turns = [
    {
      match: { role: "decompose" },
      steps: [{ run: "touch stolen", ask_first: true, on_reject: [{ say: "[]" }] }],
    },
    ...SCRIPT.turns,
  ];
  await at.run(
    "team",
    "run",
    "2:executor",
    "Create hello.txt",
    "--name",
    "splits",
    "--engine",
    at.script({ turns }),
    ...GATE,
    "--approval-policy",
    "yolo",
  );
  expect(existsSync(join(at.project, "stolen"))).toBe(false);
  const { stdout } = await at.run("run", "show", "splits", "--kind", "approval_decided", "--json");
  expect(stdout).toContain("decompose changes nothing");
});

describe("is refused", () => {
  test("a request that is not there, and one that is named by too little", async () => {
    using at = place();
    const missing = await at.run("approvals", "answer", "ap-nothing", "approve");
    expect(missing.status).toBe(1);
    expect(missing.stderr).toContain("There is no request called ap-nothing.");
    expect((await at.run("approvals", "list")).stdout).toBe("No request waits for a person.\n");
  });

  test("a policy that is none, before anything is made", async () => {
    using at = place();
    const ran = await goalRun(at, "--approval-policy", "pattern:(");
    expect(ran.status).toBe(2);
    expect(ran.stderr).toContain("which is no regular expression");
    expect(existsSync(join(at.state, "goals"))).toBe(false);
  });

  test("an agent that never asks, where somebody is to be asked", async () => {
    using at = place();
    const ran = await at.run(
      "goal",
      "run",
      "Create hello.txt that says hello",
      "--until-ready",
      ...GATE,
      "--engine",
      "command:node fix.js {prompt}",
      "--approval-policy",
      "safe",
    );
    expect(ran.status).toBe(2);
    expect(ran.stderr).toContain("never asks before it uses a tool");
  });
});
