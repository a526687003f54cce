/** The plan to roll a rejected result back: what left omk's folder, a command for each, and the evidence of conflicts. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

import { describe, expect, test } from "vitest";

import type { DeliveryWork } from "../../src/format/delivery.ts";
import type { GoalTask } from "../../src/format/task-graph.ts";
import type { Work } from "../../src/format/work.ts";
import { acceptByHand, rejectByHand } from "../../src/goal/decisions-by-hand.ts";
import { changeTask } from "../../src/goal/open.ts";
import { ROLLBACK_PLAN } from "../../src/goal/reader-files.ts";
import { rollbackPlan, type EvidenceText } from "../../src/goal/rollback-plan.ts";
import { scaffoldWork } from "../../src/goal/scaffold.ts";
import { MadeSlices } from "../support/made-slices.ts";

const AT = "2026-01-02T03:04:05Z";
const SLICED: Work = {
  ...scaffoldWork(),
  slices: { base: "b0", head: "h0", order: [], overlap_serializations: [], slices: [], set_aside: [] },
};

function plan(
  work: Partial<Work> = {},
  tasks: readonly Pick<GoalTask, "id" | "delivery">[] = [],
  evidence: Record<string, EvidenceText> = {},
): string {
  return rollbackPlan({
    id: "goal-1",
    reason: "too slow",
    work: { ...SLICED, ...work },
    graph: { tasks: tasks as GoalTask[] },
    evidence: new Map(Object.entries(evidence)),
  });
}

function commandsIn(text: string): string[] {
  const lines = text.split("\n").filter((line) => /^ {7}\S/.test(line));
  return lines.map((line) => line.trim());
}

/** Runs a line as a user would paste it. */
function shell(place: MadeSlices, line: string): string {
  const who = {
    GIT_AUTHOR_NAME: "u",
    GIT_AUTHOR_EMAIL: "u@x",
    GIT_COMMITTER_NAME: "u",
    GIT_COMMITTER_EMAIL: "u@x",
  };
  const env = { PATH: process.env["PATH"] ?? "", HOME: place.home, GIT_CONFIG_NOSYSTEM: "1", ...who };
  return execFileSync("sh", ["-c", line], { cwd: place.project, env, encoding: "utf8", stdio: "pipe" });
}

test("a merged result is taken back by the commands as they stand, wherever it was merged", () => {
  using place = new MadeSlices({ "a.txt": "a\n" });
  const remote = path.join(place.folder, "remote.git");
  const elsewhere = path.join(place.folder, "elsewhere");
  place.git("clone", "--quiet", "--bare", place.project, remote);
  place.git("clone", "--quiet", remote, elsewhere);
  place.gitIn(elsewhere, "switch", "--quiet", "-c", "work");
  fs.writeFileSync(path.join(elsewhere, "a.txt"), "a word\n");
  place.gitIn(elsewhere, "commit", "--quiet", "-a", "-m", "the result");
  place.gitIn(elsewhere, "switch", "--quiet", "main");
  place.gitIn(elsewhere, "merge", "--quiet", "--no-ff", "--no-edit", "work");
  place.gitIn(elsewhere, "push", "--quiet", "origin", "main");
  const commit = place.gitIn(elsewhere, "rev-parse", "HEAD").trim();
  const delivery: DeliveryWork = {
    tree: "t",
    target: { host: "github.com", owner: "o", name: "n", url: remote, base_branch: "main" },
    pushed: [],
    pulls: [],
    merge: { commit, landed: "parent", slices: [], at: AT },
  };
  for (const line of commandsIn(plan({ delivery }))) if (!line.startsWith("gh ")) shell(place, line);
  expect(place.gitIn(remote, "show", "omk/rollback/goal-1:a.txt")).toBe("a\n");
  expect(place.gitIn(remote, "rev-parse", "omk/rollback/goal-1^").trim()).toBe(commit);
});

test("in a folder without git the branch of the result goes from omk's own directory", async () => {
  using place = new MadeSlices();
  place.write(place.project, { "a.txt": "a\n" });
  const id = "goal-agent-implement-a";
  await place.begin();
  await place.has([{ id, files: { "a.txt": "a word\n" }, landed: true }]);
  const attested = { acceptance: "seen", smoke: "seen", demo: "seen" };
  await acceptByHand(place.id, { summary: "fine", attested, slices: [id] }, place.ports, place.signal);
  const { open } = await rejectByHand(place.id, "no", place.ports, place.signal);
  const lines = commandsIn(fs.readFileSync(path.join(open.folder, ROLLBACK_PLAN), "utf8"));
  expect(lines).toHaveLength(1);
  for (const line of lines) expect(shell(place, line)).toContain("Deleted branch omk/result/");
});

describe("of a sliced goal", () => {
  test("there is nothing to take back where nothing has left omk's folder", () => {
    const text = plan();
    expect(text).toContain("1. Nothing has left omk's own folder");
    expect(text).toContain("omk goal resume goal-1 --until-ready");
    expect(text).toContain("--slice <task>");
    expect(text).not.toContain("Conflict evidence");
  });

  test("everything that was delivered has a step with its command", () => {
    const delivery: DeliveryWork = {
      tree: "t",
      result: { ref: "refs/heads/omk/result/goal-1", commit: "c0" },
      applied: { tree: "t", written: 1, removed: 0, at: AT },
      target: {
        host: "github.com",
        owner: "o",
        name: "n",
        url: "https://github.com/o/n.git",
        base_branch: "main",
      },
      pushed: [{ branch: "omk/goal/a", commit: "c1", at: AT }],
      pulls: [
        {
          slice_id: "a",
          branch: "omk/goal/a",
          number: 7,
          url: "https://github.com/o/n/pull/7",
          commit: "c1",
          state: "open",
        },
        {
          slice_id: "b",
          branch: "omk/goal/b",
          number: 8,
          url: "https://github.com/o/n/pull/8",
          commit: "c2",
          state: "closed",
        },
      ],
      merge: { commit: "m0", landed: "parent", slices: [], at: AT },
    };
    const text = plan({ delivery, undo: "git diff x y | git apply" });
    expect(text).not.toContain("--slice");
    expect(commandsIn(text)).toEqual([
      "git diff x y | git apply --check",
      "git diff x y | git apply",
      "gh pr close 7 --repo 'github.com/o/n'",
      "git fetch 'https://github.com/o/n.git' 'main'",
      "git switch --no-track -c 'omk/rollback/goal-1' FETCH_HEAD",
      "git revert --no-edit -m 1 m0",
      "git push 'https://github.com/o/n.git' 'omk/rollback/goal-1'",
      "gh pr create --fill --head 'omk/rollback/goal-1' --repo 'github.com/o/n' --base 'main'",
      "git push 'https://github.com/o/n.git' --delete 'omk/goal/a'",
      "git branch -D 'omk/result/goal-1'",
    ]);
  });

  test("evidence of conflicts stands by slice, in a fence that nothing in it closes", () => {
    const tasks = [
      { id: "z", delivery: { slice_id: "z", conflict_evidence_path: "artifacts/z.json" } },
      { id: "b", delivery: { conflict_blocking_reason: "both\n# changed\u001b[1m it" } },
      { id: "x", delivery: { slice_id: "a", conflict_evidence_path: "/etc/passwd" } },
      { id: "c", delivery: { slice_id: "c", branch: "fine" } },
    ];
    const text = plan({}, tasks, {
      "artifacts/z.json": { text: "a\n````\n# no heading\n", truncated: true },
      "/etc/passwd": { unreadable: "it lies outside the goal's folder" },
    });
    expect(text).toBe(
      plan({}, tasks, {
        "artifacts/z.json": { text: "a\n````\n# no heading\n", truncated: true },
        "/etc/passwd": { unreadable: "it lies outside the goal's folder" },
      }),
    );
    expect(text.slice(text.indexOf("## Conflict"))).toBe(
      [
        "## Conflict evidence — slice `a`",
        "",
        "**Evidence artifact:** `/etc/passwd`",
        "",
        "_(unreadable: it lies outside the goal's folder)_",
        "",
        "## Conflict evidence — slice `b`",
        "",
        String.raw`**Blocking reason:** both\u{a}# changed\u{1b}[1m it`,
        "",
        "## Conflict evidence — slice `z`",
        "",
        "**Evidence artifact:** `artifacts/z.json`",
        "",
        "`````",
        "a",
        "````",
        "# no heading",
        "...(truncated after 65536 bytes)",
        "`````",
        "",
      ].join("\n"),
    );
  });
});

test("a rejected result of slices is kept, what records name outside the folder is not read, and a branch can go", async () => {
  using place = new MadeSlices({ "a.txt": "a\n" });
  const id = "goal-agent-implement-a";
  await place.begin();
  await place.has([{ id, files: { "a.txt": "a word\n" }, landed: true }]);
  fs.writeFileSync(path.join(place.folder, "secret"), "nobody's business");
  fs.mkdirSync(path.join(place.goalFolder, "artifacts", "integration"), { recursive: true });
  fs.symlinkSync(path.join(place.folder, "secret"), path.join(place.goalFolder, "artifacts", "link"));
  fs.writeFileSync(path.join(place.goalFolder, "artifacts", "large"), Buffer.alloc(70_000, 120));
  await place.opened((open) =>
    open.record({
      kind: "made_up",
      actor: "test",
      changes: [
        changeTask(id, { delivery: { slice_id: "a", conflict_evidence_path: "artifacts/large" } }),
        changeTask("goal-plan", { delivery: { slice_id: "b", conflict_evidence_path: "artifacts/link" } }),
        changeTask("goal-intake", { delivery: { slice_id: "c", conflict_evidence_path: "../../../secret" } }),
      ],
    }),
  );
  const attested = { acceptance: "seen", smoke: "seen", demo: "seen" };
  const request = { summary: "fine", attested, slices: [id] };
  const accepted = await acceptByHand(place.id, request, place.ports, place.signal);
  expect(accepted.ending.status).toBe("ready");
  const { ending, open } = await rejectByHand(place.id, "on second thoughts", place.ports, place.signal);
  expect(ending).toMatchObject({ status: "not_ready", reasonCode: "rejected" });
  const text = fs.readFileSync(path.join(open.folder, ROLLBACK_PLAN), "utf8");
  expect(text).not.toContain("nobody's business");
  expect(text.match(/_\(unreadable: it lies outside the goal's folder\)_/g)).toHaveLength(2);
  expect(text).toContain(`${"x".repeat(65_536)}\n...(truncated`);
  const [drop = ""] = /git branch -D .*/.exec(text) ?? [];
  place.gitIn(place.project, ...drop.replaceAll("'", "").split(" ").slice(1));
  expect(place.git("for-each-ref", "refs/heads/omk")).toBe("");
  // And yet nothing is lost.
  expect(place.git("show", `refs/omk/rescue/${place.id}/result:a.txt`)).toBe("a word\n");
});
