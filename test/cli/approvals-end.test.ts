/** What becomes of requests and budgets where one ends before the other. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { expect, test } from "vitest";

import type { ApprovalList } from "../../src/format/approval.ts";
import { Place } from "../support/cli.ts";

const SCRIPT = {
  turns: [
    {
      match: { role: "work" },
      steps: [{ write: "hello.txt", text: "hello\n", ask_first: true }, { say: "made" }],
    },
  ],
};
const TEXT = "Create hello.txt that says hello";
const GATE = ["--gate", "hello=grep -q hello hello.txt"];
const DRIVE = ["--until-ready", "--auto-accept", ...GATE];

async function place(): Promise<Place> {
  const made = new Place({ "README.md": "hello\n" });
  await made.commitAll();
  return made;
}

async function listed(at: Place): Promise<ApprovalList["approvals"]> {
  return (JSON.parse((await at.run("approvals", "list", "--json")).stdout) as ApprovalList).approvals;
}

test("a request that waits longer than the budget of time stops the goal as a question, not as a spent budget", async () => {
  using at = await place();
  const engine = ["--engine", at.script(SCRIPT), "--approval-policy", "never", "--approval-timeout", "5m"];
  const ran = await at.run("goal", "run", TEXT, ...DRIVE, ...engine, "--budget-time", "6s");
  expect(ran.stdout).toContain("approval_needed");
  expect(ran.status).toBe(3);
  expect(await listed(at)).toMatchObject([{ status: "open" }]);
});

test("what a killed omk had asked is answered or decided anew before another turn, and is over when the goal is", async () => {
  using at = await place();
  const engine = ["--engine", at.script(SCRIPT)];
  const running = at.start("goal", "run", TEXT, ...DRIVE, ...engine, "--approval-policy", "never");
  await running.says("waits for a person");
  running.child.kill("SIGKILL");
  await running.ended;
  expect(await listed(at)).toMatchObject([{ status: "open" }]);

  const refused = await at.run("goal", "execute");
  expect(refused.status).toBe(3);
  expect(refused.stderr).toContain("a request waits for a person");
  expect((await at.run("goal", "execute", "--approval-policy", "yolo")).status).toBe(0);
  expect(await listed(at)).toEqual([]);
});

test("a baseline that uses up the budget leaves nothing for a turn, and says so", async () => {
  using at = await place();
  const slow = ["--gate", "slow=sleep 2; false", "--budget-time", "1s"];
  const made = await at.run("goal", "create", TEXT, "--engine", at.script(SCRIPT), ...slow);
  expect(made.status, made.stderr).toBe(0);
  const ran = await at.run("goal", "execute");
  expect(ran.stdout + ran.stderr).toContain("needs more budget");
  expect(ran.status).toBe(5);
});

test("a goal is worked on by the engine that is configured for its role", async () => {
  using at = await place();
  const path = join(at.environment["HOME"] ?? "", ".config", "omk", "config.toml");
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `[roles.executor]\nengine = ${JSON.stringify(at.script(SCRIPT))}\n`);
  const ran = await at.run("goal", "run", TEXT, ...DRIVE);
  expect(ran.status, ran.stderr).toBe(0);
});

test("an agent cannot answer what it asks", async () => {
  using at = await place();
  const omk = JSON.stringify(join(import.meta.dirname, "../../bin/omk.cjs"));
  const node = JSON.stringify(process.execPath);
  // The agent asks for leave, and something that it had started before says yes.
  at.write({
    "yes.sh": [
      "i=0",
      `while [ $i -lt 100 ]; do`,
      `  id=$(${node} ${omk} approvals list --json | grep -o 'ap-[a-z0-9]*' | head -n 1)`,
      `  if [ -n "$id" ]; then OMK_STATE_DIR=${JSON.stringify(at.state)} ${node} ${omk} approvals answer "$id" approve > said.txt 2>&1; exit; fi`,
      "  i=$((i+1))",
      "done",
    ].join("\n"),
  });
  await at.commitAll("yes");
  const steps = [
    { daemon: ["sh", "-c", `OMK_STATE_DIR=${at.state} sh yes.sh`] },
    { write: "hello.txt", text: "hello\n", ask_first: true },
    { say: "made" },
  ];
  const engine = at.script({ turns: [{ match: { role: "work" }, steps }] });
  const policy = ["--approval-policy", "never", "--approval-timeout", "8s"];
  const ran = await at.run("goal", "run", TEXT, ...DRIVE, "--engine", engine, ...policy);
  expect(ran.status, ran.stderr).toBe(3);
  expect(readFileSync(join(at.project, "said.txt"), "utf8")).toContain(
    "comes from an agent that works on this",
  );
  expect(await listed(at)).toMatchObject([{ status: "open" }]);
});

test("a request that a hook lets through and a person has to decide is asked once, in the log as well", async () => {
  using at = await place();
  const folder = join(at.environment["HOME"] ?? "", ".config", "omk");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "yes.sh"), "#!/bin/sh\nexit 0\n", { mode: 0o755 });
  writeFileSync(join(folder, "config.toml"), '[[hooks]]\nevent = "PreToolUse"\ncommand = "yes.sh"\n');
  const policy = ["--approval-policy", "never", "--approval-timeout", "1s"];
  const ran = await at.run("goal", "run", TEXT, ...DRIVE, "--engine", at.script(SCRIPT), ...policy);
  expect(ran.status, ran.stderr).toBe(3);
  const kinds = at.events().map(({ kind }) => kind);
  expect(kinds.filter((kind) => kind === "approval_requested")).toHaveLength(1);
  expect(kinds.filter((kind) => kind === "hook_resolved")).toHaveLength(1);
});
