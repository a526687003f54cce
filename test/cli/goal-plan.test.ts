/** Planning through the command line: an engine's plan, its budget, and what happens when it is none. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR } from "../support/cli.ts";

const GOAL = "Fix the failing test in sum.test.js and say so in NOTES.md";
const USING = "goal: using llm planner (scripted)";

function slice(id: string, more: object = {}): object {
  return { id, title: `Do ${id}`, description: `All of ${id}.`, acceptance: ["The tests pass."], ...more };
}

const PLAN = {
  summary: "Repair it, then note it.",
  slices: [
    slice("note", { write_set: ["NOTES.md"], dependencies: ["repair"] }),
    slice("repair", { write_set: ["sum.js"] }),
  ],
  acceptance_criteria: ["The note names the repair."],
};

function planning(steps: object[], work: object[] = []): object {
  return { turns: [{ match: { role: "plan" }, steps }, ...work] };
}

const SAY_PLAN = [{ usage: { input_tokens: 40, output_tokens: 60 } }, { say: JSON.stringify(PLAN) }];
const WORK = [
  { match: { task: "goal-agent-implement-1" }, steps: REPAIR },
  { match: { role: "work" }, steps: [{ write: "NOTES.md", text: "repaired\n" }, { say: "noted" }] },
];

async function repository(): Promise<Place> {
  const place = new Place(BROKEN_SUM);
  await place.commitAll();
  return place;
}

function ids(place: Place): string[] {
  return (place.json("task-graph.json")["tasks"] as { id: string }[]).map(({ id }) => id);
}

function text(place: Place, name: string): string {
  return readFileSync(join(place.goalFolder(), name), "utf8");
}

describe("an engine's plan", () => {
  test("is made by goal plan, and stands in the graph and in the documents", async () => {
    using place = await repository();
    const ran = await place.run("goal", "plan", GOAL, "--engine", place.script(planning(SAY_PLAN)));
    expect(ran).toMatchObject({ status: 0 });
    expect(ran.stderr).toContain(USING);
    expect(ran.stderr.match(/goal: /g)).toHaveLength(1);
    expect(ids(place)).toContain("goal-agent-implement-1");
    expect(text(place, "technical-plan.md")).toMatch(/1\. `repair`\n2\. `note`/);
    expect(text(place, "technical-plan.md")).toContain("- may write: `sum.js`, `sum.test.js`\n");
    expect(text(place, "technical-plan.md")).toContain("## Semantically Relevant Files\n\n- `sum.js`");
    expect(place.json("goal.json")).toMatchObject({ status: "not_ready", phase: "proof" });
    expect(await place.git("status", "--porcelain")).toBe("");
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });

  test("is worked off part by part until the goal is ready, and is paid for", async () => {
    using place = await repository();
    const engine = place.script(planning(SAY_PLAN, WORK));
    const ran = await place.run("goal", "run", GOAL, "--until-ready", "--auto-accept", "--engine", engine);
    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    const claims = place.events().filter(({ kind }) => kind === "task_claimed");
    expect(claims.map(({ payload }) => payload?.["task_id"])).toEqual([
      "goal-agent-implement-1",
      "goal-agent-implement-0",
    ]);
    expect(place.json("proof.json")["changed_files"]).toEqual(["NOTES.md", "sum.js"]);
    expect(ran.stdout).toMatch(/Spent: {2}100 tokens/);
    expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  });

  test("may only be read for: what the planner wants to change is refused", async () => {
    using place = await repository();
    const steps = [{ write: "sum.js", text: "x", ask_first: true, on_reject: SAY_PLAN }];
    const ran = await place.run("goal", "create", GOAL, "--engine", place.script(planning(steps)));
    expect(ran).toMatchObject({ status: 0 });
    expect(await place.git("status", "--porcelain")).toBe("");
    expect(place.json("work.json")["plan"]).toMatchObject({ source: "engine" });
  });

  test("that changed files although it was only to read waits for a person", async () => {
    using place = await repository();
    const engine = place.script(planning([{ write: "sneaky.txt", text: "x" }, ...SAY_PLAN], WORK));
    const ran = await place.run("goal", "run", GOAL, "--until-ready", "--engine", engine);
    expect(ran).toMatchObject({ status: 3 });
    expect(place.json("goal.json")).toMatchObject({
      status: "blocked_on_human",
      reason_code: "planner_wrote",
    });
    expect(ran.stdout).toContain("sneaky.txt changed while the work was planned");
  });
});

describe("the rules plan", () => {
  test.each([
    ["answers in prose", [{ say: "Just fix it." }], "it holds no JSON object with slices"],
    [
      "plans in a circle",
      [
        {
          say: JSON.stringify({
            slices: [slice("a", { dependencies: ["b"] }), slice("b", { dependencies: ["a"] })],
          }),
        },
      ],
      "in a circle",
    ],
    [
      "plans outside the project",
      [{ say: JSON.stringify({ slices: [slice("a", { write_set: ["../other"] })] }) }],
      "not inside the project",
    ],
    [
      "plans far too much",
      [{ say: JSON.stringify({ slices: Array.from({ length: 60 }, (_, at) => slice(`s${at}`)) }) }],
      "60 slices",
    ],
    ["says nothing", [], "answered nothing"],
    ["crashes", [{ crash: 3 }], "the turn ended failed"],
    ["refuses", [{ stop: "refusal" }], "the turn ended refused"],
  ])("when the engine %s, with the reason", async (_what, steps, because) => {
    using place = await repository();
    const ran = await place.run("goal", "create", GOAL, "--engine", place.script(planning(steps)));
    expect(ran).toMatchObject({ status: 0 });
    expect(ran.stderr).toMatch(/goal: llm planner unavailable \(.+\); falling back to stub planner/);
    expect(ran.stderr).toContain(because);
    expect(ids(place)).toContain("goal-agent-execute");
    expect(text(place, "decisions.jsonl")).toContain(because);
  });

  test("when --no-llm-planner says so, without a turn", async () => {
    using place = await repository();
    const engine = place.script(planning(SAY_PLAN));
    const ran = await place.run("goal", "run", GOAL, "--no-llm-planner", "--engine", engine);
    expect(ran.stderr).toContain("goal: using stub planner (--no-llm-planner)\n");
    expect(place.events().map(({ kind }) => kind)).not.toContain("helper_started");
  });

  test("when the answer passes --planner-token-budget", async () => {
    using place = await repository();
    const engine = place.script(planning([{ usage: { input_tokens: 1, output_tokens: 51 } }, ...SAY_PLAN]));
    const ran = await place.run("goal", "create", GOAL, "--planner-token-budget", "50", "--engine", engine);
    expect(ran.stderr).toContain("the answer passed 50 tokens (--planner-token-budget)");
    expect(place.json("work.json")["helper_turns"]).toMatchObject([{ outcome: "over_budget" }]);
  });

  test("when the agent has to log in, and the goal is only made", async () => {
    using place = await repository();
    const engine = place.script(planning([{ error: { code: -32000, message: "Authentication required" } }]));
    const ran = await place.run("goal", "create", GOAL, "--engine", engine);
    expect(ran).toMatchObject({ status: 0 });
    expect(ran.stderr).toContain("goal: llm planner unavailable (auth: ");
  });

  test("when no agent is there, and for a script without a plan", async () => {
    using place = await repository();
    const ran = await place.run(
      "goal",
      "create",
      GOAL,
      "--engine",
      place.script({ turns: [{ steps: REPAIR }] }),
    );
    expect(ran.stderr).toContain("goal: llm planner unavailable (scripted makes no plans)");
    place.environment["PATH"] = `${place.folder}/bin`;
    const alone = await place.run("goal", "create", GOAL, "--gate", "tests=node --test");
    expect(alone).toMatchObject({ status: 0 });
    expect(alone.stderr).toContain("goal: llm planner unavailable (No coding agent was found)");
  });
});

describe("a driven goal whose planning", () => {
  test("meets a login waits for that, and resume plans it", async () => {
    using place = await repository();
    const name = "changing.json";
    const engine = place.script(
      planning([{ error: { code: -32000, message: "Authentication required" } }]),
      name,
    );
    const run = ["goal", "run", GOAL, "--until-ready", "--auto-accept", "--engine", engine];
    expect(await place.run(...run)).toMatchObject({ status: 4 });
    expect(place.json("goal.json")).toMatchObject({
      status: "blocked_on_external",
      reason_code: "agent_auth",
    });
    place.script(planning(SAY_PLAN, WORK), name);
    expect(await place.run("goal", "resume")).toMatchObject({ status: 0 });
    expect(place.json("work.json")["plan"]).toMatchObject({ source: "engine" });
  });

  test("uses the budget up needs more of it", async () => {
    using place = await repository();
    const steps = [{ usage: { input_tokens: 500, output_tokens: 1 } }, { wait_ms: 60_000 }];
    const engine = place.script(planning(steps), "changing.json");
    const run = ["goal", "run", GOAL, "--until-ready", "--budget-tokens", "100", "--engine", engine];
    expect(await place.run(...run)).toMatchObject({ status: 5 });
    expect(place.json("goal.json")).toMatchObject({
      status: "needs_more_budget",
      reason_code: "budget_tokens",
    });
  });

  test("is killed is charged for it and planned by resume, with nothing left running", async () => {
    using place = await repository();
    const steps = [{ usage: { input_tokens: 7, output_tokens: 5 } }, { hang: true }];
    const engine = place.script(planning(steps), "changing.json");
    const running = place.start("goal", "run", GOAL, "--until-ready", "--auto-accept", "--engine", engine);
    await running.says(USING);
    // What the agent reported has been heard when it is in the log.
    await until(() => place.events().some(({ kind }) => kind === "usage_reported"));
    running.child.kill("SIGKILL");
    await running.ended;
    place.script(planning(SAY_PLAN, WORK), "changing.json");
    const resumed = await place.run("goal", "resume");
    expect(resumed, resumed.stderr).toMatchObject({ status: 0 });
    expect(place.json("work.json")["helper_turns"]).toMatchObject([
      { status: "interrupted", usage: { input_tokens: 7, output_tokens: 5 } },
      { status: "ended", outcome: "finished" },
    ]);
    expect(resumed.stdout).toMatch(/Spent: {2}112 tokens/);
  });

  test.each([
    ["SIGKILL", "running"],
    ["SIGINT", "paused"],
  ] as const)(
    "has written files before a %s asks about them, and starts from none of them unseen",
    async (signal, left) => {
      using place = await repository();
      const steps = [
        { write: "sum.test.js", text: "" },
        { usage: { input_tokens: 7, output_tokens: 5 } },
        { hang: true },
      ];
      const engine = place.script(planning(steps), "changing.json");
      const running = place.start("goal", "run", GOAL, "--until-ready", "--auto-accept", "--engine", engine);
      await running.says(USING);
      // It wrote before it reported this.
      await until(() => place.events().some(({ kind }) => kind === "usage_reported"));
      running.child.kill(signal);
      await running.ended;
      expect(place.json("goal.json")).toMatchObject({ status: left });
      place.script(planning(SAY_PLAN, WORK), "changing.json");
      const resumed = await place.run("goal", "resume");
      expect(resumed, resumed.stderr).toMatchObject({ status: 3 });
      expect(resumed.stdout).toContain("sum.test.js changed while the work was planned");
      expect(place.events().some(({ kind }) => kind === "task_claimed")).toBe(false);
    },
  );

  test("is interrupted while it is only made pauses, and execute plans it", async () => {
    using place = await repository();
    const engine = place.script(planning([{ hang: true }]), "changing.json");
    const running = place.start("goal", "create", GOAL, "--engine", engine);
    await running.says(USING);
    running.child.kill("SIGINT");
    expect(await running.ended).toMatchObject({ status: 130 });
    expect(place.json("goal.json")).toMatchObject({ status: "paused" });
    place.script(planning(SAY_PLAN, WORK), "changing.json");
    expect(await place.run("goal", "resume")).toMatchObject({ status: 0 });
    expect(await place.run("goal", "execute")).toMatchObject({ status: 0 });
    expect(place.json("work.json")["plan"]).toMatchObject({ source: "engine" });
    expect(readdirSync(place.project)).toContain("NOTES.md");
  });
});

/** Looks until it is so; the suite's own time limit ends a wait for nothing. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}
