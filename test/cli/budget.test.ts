/** Budgets that hold and outages told apart, seen from the command line with an agent that reports as it goes. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { createWorld } from "../../src/world.ts";
import { BROKEN_SUM, Place } from "../support/cli.ts";
import { repair, runFolder, runJson, THREE_BROKEN, THREE_SUBTASKS } from "../support/teams.ts";

const { clock } = createWorld();
const GOAL = "Fix the failing test in sum.test.js";
const REPAIRED = BROKEN_SUM["sum.js"].replace("a - b", "a + b");

/** One call of a model. */
const call = (input_tokens: number, more: object = {}): object => ({
  usage: { input_tokens, output_tokens: 20, ...more },
});

/** Nothing holds a turn back any more. */
function open(place: Place): void {
  writeFileSync(join(place.folder, "open"), "");
}

/** Work that reports three calls; before the third it waits until nothing holds it back. */
function slowly(place: Place, more: object = {}): object {
  const steps = [
    call(280, more),
    { write: "notes.txt", text: "on the way\n" },
    call(280, more),
    { wait_for: join(place.folder, "open") },
    call(280, more),
    { write: "sum.js", text: REPAIRED },
    { delete: "notes.txt" },
    { say: "Repaired." },
  ];
  return { turns: [{ steps }] };
}

const drive = (engine: string, ...flags: string[]): string[] => [
  "goal",
  "run",
  GOAL,
  "--until-ready",
  "--auto-accept",
  "--engine",
  engine,
  ...flags,
];

const team = (engine: string): string[] => [
  "team",
  "run",
  "3:executor",
  "fix all three",
  "--name",
  "t",
  "--engine",
  engine,
];

/** Resolves when that many reports of usage stand in the transcripts of all turns; the test's own deadline bounds it. */
async function reported(place: Place, count: number): Promise<void> {
  const reports = (): number => {
    const names = existsSync(place.state) ? readdirSync(place.state, { recursive: true }).map(String) : [];
    const texts = names
      .filter((name) => name.includes("agent-runs") && name.endsWith(".jsonl"))
      .map((name) => readFileSync(join(place.state, name), "utf8"));
    return texts.join("").split('"kind":"usage"').length - 1;
  };
  while (reports() < count) await clock.sleep(10);
}

const attempts = (place: Place): Record<string, unknown>[] =>
  place.json("work.json")["attempts"] as Record<string, unknown>[];

describe("a goal's budget", () => {
  test("of tokens stops the agent within one report, keeps everything, and more of it ends ready", async () => {
    using place = new Place(BROKEN_SUM);
    await place.commitAll();
    const stopped = await place.run(...drive(place.script(slowly(place)), "--budget-tokens", "500"));
    expect(stopped.status, stopped.stderr).toBe(5);
    expect(stopped.stdout).toContain("tokens: 600 of 500 tokens used");
    expect(stopped.stdout).toContain("1 changed file is kept");
    expect(attempts(place)).toMatchObject([
      {
        status: "ended",
        outcome: "over_budget",
        counted: false,
        usage: { input_tokens: 560, output_tokens: 40 },
      },
    ]);
    expect(readFileSync(join(place.project, "notes.txt"), "utf8")).toBe("on the way\n");
    expect(place.json("goal.json")).toMatchObject({
      status: "needs_more_budget",
      reason_code: "budget_tokens",
    });
    expect(place.json("proof.json")["budget_spent"]).toMatchObject({ tokens: 600 });

    open(place);
    expect((await place.run("goal", "budget-add", "latest", "--tokens", "2000")).status).toBe(0);
    const resumed = await place.run("goal", "resume");
    expect(resumed.status, resumed.stdout + resumed.stderr).toBe(0);
    expect(place.json("proof.json")["budget_spent"]).toMatchObject({ tokens: 1_500 });
    expect((await place.run("proof", "verify")).status).toBe(0);
  });

  test("of dollars holds for an agent that only counts tokens, by the price table", async () => {
    using place = new Place(BROKEN_SUM);
    await place.commitAll();
    const stopped = await place.run(...drive(place.script(slowly(place)), "--budget-usd", "0.001"));
    expect(stopped.status, stopped.stderr).toBe(5);
    expect(place.json("goal.json")["reason_code"]).toBe("budget_cost");
    // 560 tokens in at 2 dollars a million, 40 out at 8.
    expect(attempts(place)[0]?.["usage"]).toMatchObject({ cost_usd: 0.00144, cost_source: "priced" });
  });

  test("counts what the agent itself says that it cost", async () => {
    using place = new Place(BROKEN_SUM);
    await place.commitAll();
    const engine = place.script(slowly(place, { cost_usd: 0.25 }));
    const stopped = await place.run(...drive(engine, "--budget-usd", "0.4"));
    expect(stopped.status, stopped.stderr).toBe(5);
    expect(attempts(place)[0]?.["usage"]).toMatchObject({ cost_usd: 0.5, cost_source: "reported" });
  });

  test("of time stops the turn, and not as the agent's failure", async () => {
    using place = new Place(BROKEN_SUM);
    await place.commitAll();
    const stopped = await place.run(...drive(place.script(slowly(place)), "--budget-time", "2s"));
    expect(stopped.status, stopped.stderr).toBe(5);
    expect(place.json("goal.json")["reason_code"]).toBe("budget_time");
    expect(attempts(place)).toMatchObject([{ outcome: "over_budget", counted: false }]);
  });

  test("stays charged with what a turn had reported when omk is killed in the middle of it", async () => {
    using place = new Place(BROKEN_SUM);
    await place.commitAll();
    const running = place.start(...drive(place.script(slowly(place)), "--budget-tokens", "5000"));
    // The agent waits behind its second report; how much of that is in the log is a matter of milliseconds.
    await Promise.race([reported(place, 2), running.ended]);
    running.child.kill("SIGKILL");
    await running.ended;
    const { active_ms: beforeTurn } = place.json("work.json") as { active_ms: number };
    open(place);
    expect((await place.run("goal", "pause")).status).toBe(0);
    // Whoever took the goal up charged the time of the turn that was cut off.
    expect(place.json("work.json")["active_ms"]).toBeGreaterThan(beforeTurn);
    const resumed = await place.run("goal", "resume");
    expect(resumed.status, resumed.stdout + resumed.stderr).toBe(0);
    expect(resumed.stdout).toMatch(/^ {2}Spent: {2}\d+ tokens, \$0\.\d{4} \(estimated\)$/m);
    const [killed, whole] = attempts(place);
    expect(killed).toMatchObject({ status: "interrupted", usage: { quality: "exact" } });
    const { tokens: all } = place.json("proof.json")["budget_spent"] as { tokens: number };
    expect(all).toBe(600 + 900);
    expect(whole).toMatchObject({ usage: { input_tokens: 840, output_tokens: 60 } });
  });
});

describe("a team's budget", () => {
  test("is shared by its workers: all are stopped when it is spent, and a larger one goes on", async () => {
    using place = new Place(THREE_BROKEN);
    await place.commitAll();
    const names = ["one", "two", "three"] as const;
    const engine = place.script({
      turns: [
        { match: { role: "decompose" }, steps: [{ say: JSON.stringify(THREE_SUBTASKS) }] },
        { match: { role: "synthesize" }, steps: [{ say: "All are right." }] },
        ...names.map((name) => ({
          match: { task: `fix-${name}` },
          steps: [call(280), { wait_for: join(place.folder, "open") }, ...repair(name)],
        })),
      ],
    });
    const stopped = await place.run(...team(engine), "--budget-tokens", "550");
    expect(stopped.status, stopped.stderr).toBe(5);
    expect(runJson(place, "t", "proof.json")).toMatchObject({ reason_code: "budget_tokens" });
    const { tokens } = runJson(place, "t", "proof.json")["budget_spent"] as { tokens: number };
    expect([600, 900]).toContain(tokens);
    expect(runJson(place, "t", "team-work.json")["stopped"]).toEqual({
      code: "budget_tokens",
      reason: `${tokens} of 550 tokens used`,
    });
    expect(readFileSync(join(runFolder(place, "t"), "events.jsonl"), "utf8")).toContain("usage_reported");

    open(place);
    const resumed = await place.run("team", "run", "--resume", "--name", "t", "--budget-tokens", "5000");
    expect(resumed.status, resumed.stdout + resumed.stderr).toBe(0);
    const { attempts: all } = runJson(place, "t", "proof.json") as { attempts: Record<string, unknown>[] };
    const held = all.filter(({ outcome }) => outcome === "over_budget");
    expect(held.length).toBeGreaterThan(0);
    expect(held.every(({ counted }) => counted === false)).toBe(true);
  });

  test("stays charged with what its turns had reported when omk is killed in the middle of them", async () => {
    using place = new Place(THREE_BROKEN);
    await place.commitAll();
    const names = ["one", "two", "three"] as const;
    const engine = place.script({
      turns: [
        { match: { role: "decompose" }, steps: [{ say: JSON.stringify(THREE_SUBTASKS) }] },
        { match: { role: "synthesize" }, steps: [{ say: "All are right." }] },
        ...names.map((name) => ({
          match: { task: `fix-${name}` },
          steps: [call(280), call(180), { wait_for: join(place.folder, "open") }, ...repair(name)],
        })),
      ],
    });
    const running = place.start(...team(engine), "--budget-tokens", "50000");
    await Promise.race([reported(place, 6), running.ended]);
    running.child.kill("SIGKILL");
    await running.ended;
    open(place);
    const resumed = await place.run("team", "run", "--resume", "--name", "t");
    expect(resumed.status, resumed.stdout + resumed.stderr).toBe(0);
    const { tokens } = runJson(place, "t", "proof.json")["budget_spent"] as { tokens: number };
    expect(tokens).toBe(2 * 3 * 500);
  });

  test("that ends while the task is split leaves the splitting to be done", async () => {
    using place = new Place(THREE_BROKEN);
    await place.commitAll();
    const split = { say: JSON.stringify(THREE_SUBTASKS) };
    const waits = { wait_for: join(place.folder, "open") };
    const names = ["one", "two", "three"] as const;
    const engine = place.script({
      turns: [
        { match: { role: "decompose" }, steps: [call(600), waits, split] },
        { match: { role: "synthesize" }, steps: [{ say: "All are right." }] },
        ...names.map((name) => ({ match: { task: `fix-${name}` }, steps: repair(name) })),
      ],
    });
    const stopped = await place.run(...team(engine), "--budget-tokens", "500");
    expect(stopped.status, stopped.stderr).toBe(5);
    expect(runJson(place, "t", "team-work.json")["decomposition"]).toBeNull();
    open(place);
    const resumed = await place.run("team", "run", "--resume", "--name", "t", "--budget-tokens", "50000");
    expect(resumed.status, resumed.stdout + resumed.stderr).toBe(0);
    expect(runJson(place, "t", "team-work.json")["decomposition"]).toMatchObject({ source: "engine" });
  });
});

describe("an agent that cannot work", () => {
  const failing = (message: string, data: object = {}): object => ({
    default: [{ error: { code: -32_603, message, data } }],
  });
  /** Too far away to wait for. */
  const RESET = `${new Date(Date.now() + 3 * 3_600_000).toISOString().slice(0, 19)}Z`;

  test.each([
    [
      "is too fast for its provider",
      failing("429 Too Many Requests", { resets_at: RESET }),
      "agent_rate_limit",
      RESET,
    ],
    ["has no quota left", failing("403 insufficient_quota", { resets_at: RESET }), "agent_quota", RESET],
    ["is not logged in", failing("401 Unauthorized"), "agent_auth", "log in"],
  ])(
    "because it %s stops the goal with a code and a sentence of its own",
    async (_what, script, code, said) => {
      using place = new Place(BROKEN_SUM);
      await place.commitAll();
      const ran = await place.run(...drive(place.script(script)));
      expect(ran.status, ran.stderr).toBe(4);
      expect(place.json("goal.json")).toMatchObject({ status: "blocked_on_external", reason_code: code });
      expect(ran.stdout).toContain(said);
      expect(ran.stdout).toContain("omk goal resume");
      expect(attempts(place)).toMatchObject([{ counted: false }]);
    },
  );

  test("because its provider is away is tried three times more, and nobody's attempt is counted", async () => {
    using place = new Place(BROKEN_SUM);
    await place.commitAll();
    const engine = place.script(failing("503 Service Unavailable"));
    const ran = await place.run(...drive(engine, "--max-attempts", "1"));
    expect(ran.status, ran.stderr).toBe(4);
    expect(place.json("goal.json")).toMatchObject({ reason_code: "agent_provider" });
    expect(attempts(place).map(({ counted, number }) => [counted, number])).toEqual(
      Array.from({ length: 4 }, () => [false, 1]),
    );
    expect(ran.stdout).toContain("4 times in a row");
  });

  test("stops a team at once, whose tasks stay to be done", async () => {
    using place = new Place(THREE_BROKEN);
    await place.commitAll();
    const engine = place.script({
      turns: [
        { match: { role: "decompose" }, steps: [{ say: JSON.stringify(THREE_SUBTASKS) }] },
        {
          match: { role: "work" },
          steps: [
            { error: { code: -32_603, message: "403 insufficient_quota", data: { resets_at: RESET } } },
          ],
        },
      ],
    });
    const ran = await place.run(...team(engine));
    expect(ran.status, ran.stderr).toBe(4);
    const { stopped } = runJson(place, "t", "team-work.json") as {
      stopped: { code: string; reason: string };
    };
    expect(stopped.code).toBe("agent_quota");
    expect(stopped.reason).toContain(RESET);
  });
});
