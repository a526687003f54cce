/** Goals whose plan has several tasks: one after another, each with its own attempts and its own files. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { Place } from "../support/cli.ts";
import { failingTwice, fixing, GOAL, partPlan, PARTS, THREE_PARTS } from "../support/three-parts.ts";

const RUN = ["goal", "run", GOAL, "--until-ready", "--auto-accept", "--engine"];

interface Listed {
  task_id: string;
  number: number;
  outcome: string;
  outcome_code: string | null;
}

function attemptsIn(proof: Record<string, unknown>): string[] {
  return (proof["attempts"] as Listed[]).map(
    ({ task_id, number, outcome, outcome_code }) =>
      `${task_id.replace("goal-agent-implement-", "")}.${number} ${outcome_code ?? outcome}`,
  );
}

describe("a goal whose plan has three tasks", () => {
  test("does them in their order, one of them at its third attempt, and lists the attempts in its proof", async () => {
    using place = new Place(THREE_PARTS);
    await place.commitAll();
    const engine = place.script({ turns: failingTwice() });
    const ran = await place.run(...RUN, engine);
    expect(ran).toMatchObject({ status: 0 });
    const proof = place.json("proof.json");
    expect(proof["status"]).toBe("ready");
    expect(attemptsIn(proof)).toEqual([
      "0.1 finished",
      "1.1 crashed",
      "1.2 crashed",
      "1.3 finished",
      "2.1 finished",
    ]);
    expect(ran.stdout).toContain("goal-agent-implement-1, attempt 3: finished");
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });

  test("tells each agent its part, what others have done, and where it may write", async () => {
    using place = new Place(THREE_PARTS);
    await place.commitAll();
    const engine = place.script({ turns: [partPlan(), ...PARTS.map(fixing)] });
    expect(await place.run(...RUN, engine)).toMatchObject({ status: 0 });
    const attempts = place.json("work.json")["attempts"] as { run_key: string }[];
    const prompt = readFileSync(
      join(place.goalFolder(), "artifacts", "agent-runs", attempts[1]?.run_key ?? "", "prompt.md"),
      "utf8",
    );
    expect(prompt).toContain("Your part: Mend mul");
    expect(prompt).toContain("- `mul.js`");
    expect(prompt).toMatch(/Done before, by others:\n\n- Mend sum/);
    expect(prompt).toMatch(/others do it:\n\n- Mend neg/);
  });

  test("sends back a turn that changed a file outside its write set, and is ready when that is undone", async () => {
    using place = new Place(THREE_PARTS);
    await place.commitAll();
    const engine = place.script({
      turns: [
        partPlan(),
        {
          match: { role: "work", task: "*-0", attempt: 1 },
          steps: [...fixing("sum").steps, { write: "README.md", text: "mine\n" }],
        },
        {
          match: { role: "work", task: "*-0", attempt: 2, prompt: "README.md" },
          steps: [{ delete: "README.md" }],
        },
        fixing("mul"),
        fixing("neg"),
      ],
    });
    const ran = await place.run(...RUN, engine);
    expect(ran.stderr).toContain("changed files outside its write set: README.md");
    expect(ran).toMatchObject({ status: 0 });
    expect(attemptsIn(place.json("proof.json")).slice(0, 2)).toEqual(["0.1 finished", "0.2 finished"]);
  });

  test("is not ready while a file outside the write sets is changed, until a person allows it", async () => {
    using place = new Place(THREE_PARTS);
    await place.commitAll();
    const stray = {
      match: { role: "work", task: "*-2" },
      steps: [...fixing("neg").steps, { write: "NEWS", text: "!\n" }],
    };
    const engine = place.script({ turns: [partPlan(), fixing("sum"), fixing("mul"), stray] });
    expect(await place.run(...RUN, engine)).toMatchObject({ status: 1 });
    expect(place.json("proof.json")).toMatchObject({
      status: "not_ready",
      readiness_code: "write_set_violated",
      outside_write_sets: ["NEWS"],
    });
    const accept = ["goal", "accept", "latest", "--summary", "looked at it"];
    expect(await place.run(...accept)).toMatchObject({ status: 1 });
    const allowed = await place.run(...accept, "--allow-change", "NEWS", "--reason", "news are welcome");
    expect(allowed).toMatchObject({ status: 0 });
    expect(place.json("proof.json")).toMatchObject({
      status: "ready",
      waivers: [{ kind: "change", what: "NEWS", reason: "news are welcome" }],
    });
  });

  test("mends red gates by a task that may write what the parts might", async () => {
    using place = new Place(THREE_PARTS);
    await place.commitAll();
    const engine = place.script({
      turns: [
        partPlan(),
        fixing("sum"),
        {
          match: { role: "work", task: "*-1" },
          steps: [{ edit: "mul.js", replace: "a + b", with: "a / b" }, { say: "ok" }],
        },
        fixing("neg"),
        {
          match: { role: "work", task: "goal-agent-repair" },
          steps: [{ edit: "mul.js", replace: "a / b", with: "a * b" }, { say: "mended" }],
        },
      ],
    });
    expect(await place.run(...RUN, engine)).toMatchObject({ status: 0 });
    expect(attemptsIn(place.json("proof.json")).at(-1)).toBe("goal-agent-repair.1 finished");
    const { tasks } = place.json("task-graph.json") as { tasks: { id: string; status: string }[] };
    expect(tasks.every(({ status }) => status === "done")).toBe(true);
  });

  test("takes its turns by hand: execute does all parts, and a further one mends", async () => {
    using place = new Place(THREE_PARTS);
    await place.commitAll();
    const engine = place.script({ turns: [partPlan(), ...PARTS.map(fixing)] });
    expect(await place.run("goal", "create", GOAL, "--engine", engine)).toMatchObject({ status: 0 });
    expect(await place.run("goal", "execute")).toMatchObject({ status: 0 });
    expect(await place.run("goal", "review")).toMatchObject({ status: 0 });
    expect(await place.run("goal", "accept", "--summary", "fine")).toMatchObject({ status: 0 });
    expect(attemptsIn(place.json("proof.json"))).toEqual(["0.1 finished", "1.1 finished", "2.1 finished"]);
  });

  test("sees what a turn changed outside its write set when omk was killed in the middle of it", async () => {
    using place = new Place(THREE_PARTS);
    await place.commitAll();
    const kill = [
      { write: "README.md", text: "mine\n" },
      { wait_for: "../omk.pid" },
      { run: "kill -9 $(cat ../omk.pid); rm ../omk.pid" },
      { hang: true },
    ];
    const engine = place.script({
      turns: [
        partPlan(),
        {
          match: { role: "work", task: "*-0", prompt: "An earlier turn was interrupted" },
          ...withSteps("sum"),
        },
        { match: { role: "work", task: "*-0", prompt: "README.md" }, steps: [{ say: "it stays" }] },
        { match: { role: "work", task: "*-0" }, steps: kill },
        fixing("mul"),
        fixing("neg"),
      ],
    });
    const running = place.start(...RUN, engine, "--max-attempts", "1");
    writeFileSync(join(place.folder, "omk.pid"), String(running.child.pid));
    expect(await running.ended).toMatchObject({ signal: "SIGKILL" });
    expect(await place.run("goal", "resume")).toMatchObject({ status: 1 });
    expect(place.json("work.json")["outside_write_sets"]).toEqual(["README.md"]);
    expect(place.json("proof.json")["status"]).toBe("not_ready");
  });

  test("is not ready by itself where a part changed nothing that was its to change", async () => {
    using place = new Place(THREE_PARTS);
    await place.commitAll();
    const idle = { match: { role: "work", task: "*-2" }, steps: [{ say: "done already" }] };
    const slices = [
      { id: "sum", title: "Mend sum", description: "sum", write_set: ["sum.js"], acceptance: ["sum"] },
      { id: "mul", title: "Mend mul", description: "mul", write_set: ["mul.js"], acceptance: ["mul"] },
      { id: "docs", title: "Write notes", description: "notes", write_set: ["NOTES"], acceptance: ["notes"] },
    ];
    place.write({ "neg.js": "export function neg(a) {\n  return -a;\n}\n" });
    const plan = { match: { role: "plan" }, steps: [{ say: JSON.stringify({ kind: "repair", slices }) }] };
    const turns = [plan, fixing("sum"), fixing("mul"), idle];
    expect(await place.run(...RUN, place.script({ turns }))).toMatchObject({ status: 3 });
    expect(place.json("proof.json")).toMatchObject({
      status: "not_ready",
      readiness_code: "part_unchanged",
      readiness: expect.stringContaining("goal-agent-implement-2") as string,
    });
    const accepted = await place.run("goal", "accept", "--summary", "no notes were needed");
    expect(accepted).toMatchObject({ status: 0 });
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });
});

function withSteps(part: Parameters<typeof fixing>[0]): { steps: object[] } {
  return { steps: fixing(part).steps };
}
