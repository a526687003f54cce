/** What a person does about a goal with one bad slice: accepts the others, rejects the result, and has it mended. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { expect, test } from "vitest";

import { Place } from "../support/cli.ts";

const GATE = "words=grep -q right one.txt";
const PARTS = ["one", "two", "bad"] as const;
const [ONE, TWO, BAD] = ["goal-agent-implement-0", "goal-agent-implement-1", "goal-agent-implement-2"];

function turns(): object[] {
  const slices = PARTS.map((part) => ({
    id: part,
    title: `Mend ${part}`,
    description: `The word in ${part}.txt is wrong.`,
    write_set: [`${part}.txt`],
    acceptance: ["The word is right."],
  }));
  const writing = (task: string, file: string) => ({
    match: { role: "work", task },
    steps: [{ write: file, text: "right\n" }, { say: "done" }],
  });
  return [
    { match: { role: "plan" }, steps: [{ say: JSON.stringify({ kind: "repair", slices }) }] },
    writing(ONE, "one.txt"),
    writing(TWO, "two.txt"),
    writing(BAD, "one.txt"),
    {
      match: { role: "work", task: "goal-agent-repair", prompt: "two is needed after all" },
      steps: [{ write: "two.txt", text: "right\n" }, { say: "mended" }],
    },
  ];
}

test("one bad slice is left out, the rest delivered; rejected after all, it is mended with the reason", async () => {
  using place = new Place({ "one.txt": "wrong\n", "two.txt": "wrong\n", "bad.txt": "wrong\n" });
  await place.commitAll();
  const limits = ["--max-agents", "3", "--max-attempts", "1", "--approval-policy", "yolo"];
  const engine = place.script({ turns: turns() });
  const flags = ["--engine", engine, "--gate", GATE, "--until-ready", ...limits];
  const ran = await place.run("goal", "run", "Fix the wrong words", ...flags);
  expect(ran, ran.stderr).toMatchObject({ status: 1 });
  const id = String(place.json("goal.json")["goal_id"]);
  const slicesNow = async (): Promise<string[]> => {
    const status = JSON.parse((await place.run("goal", "status", "--json")).stdout) as {
      slices: { status: string }[];
    };
    return status.slices.map((slice) => slice.status);
  };
  expect(await slicesNow()).toEqual(["landed", "landed", "open"]);
  const show = (await place.run("goal", "show")).stdout;
  expect(show).toContain(`  ${BAD}: Mend bad; writes bad.txt\n`);
  expect(show).toContain(
    `  ${BAD}: open: attempt 1 was not taken (write_set_violated); attempts 1; branch omk/goal/`,
  );

  const accepted = await place.run("goal", "accept", "--summary", "one will do", "--slice", ONE);
  expect(accepted, accepted.stderr).toMatchObject({ status: 0 });
  expect(accepted.stdout).toContain(`--again --summary "<why>" --slice '${ONE}' --slice '${TWO}'`);
  expect(await place.git("diff", "--name-only", "main", `omk/result/${id}`)).toBe("one.txt\n");
  expect(await slicesNow()).toEqual(["landed", "left_out", "left_out"]);
  const markdown = readFileSync(join(place.goalFolder(), "proof.md"), "utf8");
  expect(markdown).toContain(`- \`${TWO}\`: left out: one will do, commit \``);
  expect(markdown).toContain(`- result: omk/result/${id} is `);
  expect((await place.run("goal", "proof")).stdout).toContain(`  - ${BAD}: left out: one will do`);
  expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });

  await place.run("goal", "reject", "--reason", "two is needed after all");
  expect((await place.run("goal", "status")).stdout).toContain("a person has rejected this result since");
  const plan = join(place.goalFolder(), "artifacts/integration/rollback-rejected-slice.md");
  expect(readFileSync(plan, "utf8")).toContain(`git branch -D 'omk/result/${id}'`);
  const resumed = await place.run("goal", "resume");
  expect(resumed, resumed.stderr).toMatchObject({ status: 3 });
  expect(resumed.stderr).toContain("task added: goal-agent-repair, since a person rejected the result");
  const look = await place.run("rescue", "show", `${id}/result`, "--patch");
  expect([resumed.stdout.includes(`omk rescue show ${id}/result --patch`), look.status]).toEqual([true, 0]);
  const { changed_files, reason_code } = place.json("proof.json");
  expect([changed_files, reason_code]).toEqual([["one.txt", "two.txt"], "acceptance_needed"]);
  expect(await place.git("diff", "--name-only", "main", `omk/result/${id}`)).toBe("one.txt\n");
  expect(await place.run("goal", "accept", "--summary", "now it is")).toMatchObject({ status: 0 });
  expect(await place.git("diff", "--name-only", "main", `omk/result/${id}`)).toBe("one.txt\ntwo.txt\n");
}, 120_000);

test("an agent that could not work is asked again at a person's word, and what is complete is not worked on any more", async () => {
  using place = new Place({ "one.txt": "wrong\n" });
  await place.commitAll();
  const turn = (...steps: object[]): object => ({ turns: [{ match: { role: "work" }, steps }] });
  const bad = place.script(turn({ error: { code: -32000, message: "401 Unauthorized" } }), "bad.json");
  const good = place.script(turn({ write: "one.txt", text: "right\n" }, { say: "done" }), "good.json");
  const flags = ["--slice-execution", "--no-llm-planner", "--gate", GATE];
  const made = await place.run("goal", "create", "Fix the wrong word", "--engine", bad, ...flags);
  expect(made, made.stderr).toMatchObject({ status: 0 });
  expect(await place.run("goal", "execute")).toMatchObject({ status: 4 });
  expect(place.json("goal.json")["reason_code"]).toBe("agent_auth");
  expect(await place.run("goal", "execute")).toMatchObject({ status: 4 });
  const mended = await place.run("goal", "execute", "--engine", good);
  expect(mended, mended.stdout + mended.stderr).toMatchObject({ status: 0 });
  await place.run("goal", "review");
  expect(place.json("goal.json")["reason_code"]).toBe("acceptance_needed");
  const more = await place.run("goal", "execute");
  expect(more).toMatchObject({ status: 1 });
  expect(more.stderr).toContain("nothing is open in goal");
  expect(await place.run("goal", "accept", "--summary", "fine")).toMatchObject({ status: 0 });
  const cancelled = await place.run("goal", "cancel");
  expect(cancelled).toMatchObject({ status: 1 });
  expect(cancelled.stderr).toContain("omk goal reject");
  expect(place.json("goal.json")["status"]).toBe("ready");
}, 120_000);
