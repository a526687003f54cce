/** Pause, cancel and signals while the controller waits for something: it ends at once, keeps all, and goes on from there. */
import { once } from "node:events";
import { readdirSync, readFileSync, rmSync, watch } from "node:fs";
import { join } from "node:path";

import { describe, expect, test } from "vitest";

import { BROKEN_SUM, Place, REPAIR, type Running } from "../support/cli.ts";
import { sampled } from "../support/sampled.ts";

const GOAL = "Fix the failing test in sum.test.js";
const DRIVE = ["--until-ready", "--auto-accept"];

/** A gate that hangs for ten minutes where `hang` lies beside the project, and is the tests otherwise. */
const HANGING_GATE = ["--gate", "tests=if [ -e ../hang ]; then sleep 600; fi; node --test"];
/** Like it, but only on what the agent made. */
const HANGING_LATER = [
  "--gate",
  'tests=if [ -e ../hang ] && grep -q "a + b" sum.js; then sleep 600; fi; node --test',
];

interface Wait {
  what: string;
  /** What the story says when the controller waits. */
  says: string;
  script: object;
  flags?: string[];
  /** Attempts there are at the end, by how they ended. */
  attempts: (string | null)[];
}

const AWAY = { error: { code: -32_603, message: "503 Service Unavailable", data: {} } };
const WAITS: Wait[] = [
  {
    what: "the planner",
    says: "using llm planner",
    script: { turns: [{ match: { role: "plan" }, steps: [{ hang: true }] }], default: REPAIR },
    attempts: ["finished"],
  },
  {
    what: "a gate on the base",
    says: "gate tests (",
    script: { default: REPAIR },
    flags: HANGING_GATE,
    attempts: ["finished"],
  },
  {
    what: "the agent",
    says: "attempt 1",
    script: { turns: [{ match: { attempt: 1 }, steps: [{ wait_for: "../go" }, ...REPAIR] }] },
    attempts: ["cancelled", "finished"],
  },
  {
    what: "a gate on the result",
    says: "attempt 1 finished",
    script: { default: REPAIR },
    flags: HANGING_LATER,
    attempts: ["finished"],
  },
  {
    what: "the rest after an outage",
    says: "it is tried again in",
    script: { default: [AWAY] },
    attempts: ["failed", "finished"],
  },
  {
    what: "an answer to what the agent asks",
    says: "waits for a person",
    script: { default: [{ run: "true", ask_first: true }, ...REPAIR] },
    flags: ["--approval-policy", "never", "--approval-timeout", "5m"],
    attempts: ["cancelled", "finished"],
  },
];

/** A goal at work that has come to that wait. */
async function waitingAt(place: Place, wait: Wait, text = GOAL): Promise<Running> {
  place.write({ "../hang": "" });
  const engine = place.script(wait.script);
  const running = place.start("goal", "run", text, ...DRIVE, "--engine", engine, ...(wait.flags ?? []));
  await running.says(wait.says);
  return running;
}

async function brokenSum(): Promise<Place> {
  const place = new Place(BROKEN_SUM);
  await place.commitAll();
  return place;
}

/** Resolves when a request lies in the goal's folder. */
async function requested(place: Place): Promise<void> {
  const commands = join(place.goalFolder(), "commands");
  const made = () => readdirSync(commands).some((name) => name.endsWith(".json"));
  const watcher = watch(commands);
  try {
    while (!made()) await once(watcher, "change");
  } finally {
    watcher.close();
  }
}

/** The documents are what the log says, and the log is whole. */
async function expectWhole(place: Place): Promise<void> {
  expect(await place.run("proof", "verify")).toMatchObject({ status: 0 });
  const commands = join(place.goalFolder(), "commands");
  expect(readdirSync(commands).filter((name) => name.endsWith(".json"))).toEqual([]);
}

describe("while omk waits for", { timeout: 60_000 }, () => {
  test.each(sampled(WAITS))(
    "$what, a pause ends it at once and resume goes on at the same step",
    async (wait) => {
      using place = await brokenSum();
      const running = await waitingAt(place, wait);
      const paused = await place.run("goal", "pause");
      expect(paused).toMatchObject({ status: 0 });
      expect(paused.stdout).toMatch(/^Goal goal-\S+ paused\nStatus: paused\nPhase: \w+\nUpdated: /);
      expect(await running.ended).toMatchObject({ status: 6 });
      expect(place.json("goal.json")).toMatchObject({
        status: "paused",
        reason_code: "paused",
        phase: "proof",
      });
      expect(place.json("goal.json")["completed_at"]).toBeUndefined();
      await expectWhole(place);

      await place.shell("rm ../hang; touch ../go");
      const engine = place.script({ default: REPAIR });
      const resumed = await place.run("goal", "resume", "--engine", engine, "--approval-policy", "yolo");
      expect(resumed.status, resumed.stderr).toBe(0);
      const attempts = place.json("work.json")["attempts"] as { outcome: string | null; counted: boolean }[];
      expect(attempts.map(({ outcome }) => outcome)).toEqual(wait.attempts);
      const kinds = place.events().map(({ kind }) => kind);
      for (const once of ["base_recorded", "baseline_recorded", "goal_paused", "goal_resumed"])
        expect(
          kinds.filter((kind) => kind === once),
          once,
        ).toHaveLength(1);
      await expectWhole(place);
    },
  );

  test.each(sampled(WAITS))("$what, a cancel ends it at once and for good", async (wait) => {
    using place = await brokenSum();
    const running = await waitingAt(place, wait);
    const cancelled = await place.run("goal", "cancel");
    expect(cancelled).toMatchObject({ status: 0 });
    expect(cancelled.stdout).toMatch(
      /^Goal goal-\S+ cancelled\nStatus: cancelled\nFailure artifact: \S+failure\.json\n(?:What was done, .*\n)?$/,
    );
    expect(await running.ended).toMatchObject({ status: 6 });
    expect(place.json("goal.json")).toMatchObject({
      status: "cancelled",
      completed_at: expect.any(String) as string,
      failure: { reason: "cancelled by user" },
    });
    expect(place.json("proof.json")).toMatchObject({ status: "cancelled" });
    for (const again of [["resume"], ["execute"], ["verify", "--again"], ["pause"]]) {
      expect((await place.run("goal", ...again)).status, again.join(" ")).toBe(1);
    }
    expect(JSON.parse((await place.run("approvals", "list", "--json")).stdout)).toMatchObject({
      approvals: [],
    });
    await expectWhole(place);
  });
});

describe("a signal", () => {
  const WAIT = WAITS.find(({ what }) => what === "the agent") as Wait;

  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 143],
  ] as const)("%s pauses, says how to go on, and ends with %i", async (signal, status) => {
    using place = await brokenSum();
    const running = await waitingAt(place, WAIT);
    running.child.kill(signal);
    const ended = await running.ended;
    expect(ended).toMatchObject({ status, signal: null });
    const id = String(place.json("goal.json")["goal_id"]);
    const stopping = ended.stderr.split("\n").find((line) => line.startsWith("stopping:"));
    expect(stopping).toContain(`omk goal resume ${id}`);
    expect(stopping?.includes("Ctrl-C")).toBe(signal === "SIGINT");
    expect(place.json("goal.json")["status"]).toBe("paused");
  });

  test("given twice ends at once, says how to go on, and leaves an orphan that does", async () => {
    using place = await brokenSum();
    // Deaf to everything: the first signal alone would wait for it.
    const engine = place.script({ turns: [{ match: { attempt: 1 }, steps: [{ hang: "deaf" }] }] });
    const running = place.start("goal", "run", GOAL, ...DRIVE, "--engine", engine);
    await running.says("attempt 1");
    running.child.kill("SIGINT");
    await running.says("stopping:");
    // A terminal that closes says so twice, which is not this.
    running.child.kill("SIGHUP");
    running.child.kill("SIGINT");
    const ended = await running.ended;
    expect(ended.status).toBe(130);
    const id = String(place.json("goal.json")["goal_id"]);
    const last = ended.stderr.split("\n").find((line) => line.startsWith("ended at once:"));
    expect(last).toContain(`omk goal resume ${id}`);
    expect(place.json("goal.json")["status"]).toBe("running");
    const found = await place.run("goal", "resume", "--auto", "--engine", place.script({ default: REPAIR }));
    expect(found.stdout).toContain(`Resumed: ${id} → status=ready`);
    expect(found.status).toBe(0);
  });

  test("to whoever waits for an answer keeps the request", async () => {
    using place = await brokenSum();
    const running = await waitingAt(place, WAIT);
    // It lives and does not look.
    running.child.kill("SIGSTOP");
    const asking = place.start("goal", "budget-add", "--tokens", "5");
    await requested(place);
    asking.child.kill("SIGINT");
    const asked = await asking.ended;
    expect(asked.status).toBe(130);
    expect(asked.stderr).toContain("the request is recorded");
    running.child.kill("SIGCONT");
    await place.run("goal", "cancel");
    await running.ended;
    const kinds = place.events().map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === "goal_budget_extended")).toHaveLength(1);
  });
});

test("a step that cannot begin leaves the goal as it was", async () => {
  using place = await brokenSum();
  expect(await place.run("goal", "create", GOAL)).toMatchObject({ status: 0 });
  const before = readFileSync(join(place.goalFolder(), "goal.json"), "utf8");
  const { status, updated_at } = JSON.parse(before) as Record<string, unknown>;
  for (const [args, ends] of [
    [["execute", "--engine", "acp:no-such-agent-anywhere"], 4],
    [["execute"], 4],
    [["resume", "--until-ready", "--engine", "scripted:/nowhere.json"], 78],
  ] as const) {
    const ran = await place.run("goal", ...args);
    expect(ran.status, `${args.join(" ")}: ${ran.stderr}`).toBe(ends);
    expect(place.json("goal.json")["status"], args.join(" ")).not.toBe("running");
  }
  expect([status, updated_at]).toBeDefined();
  // A goal whose reviewers are gone.
  const script = place.script({ default: REPAIR });
  const made = await place.run(
    "goal",
    "create",
    GOAL,
    "--agent-review",
    "--no-llm-planner",
    "--engine",
    script,
  );
  expect(made, made.stderr).toMatchObject({ status: 0 });
  rmSync(script.replace("scripted:", ""));
  const reviewed = await place.run("goal", "review");
  expect(reviewed.status, reviewed.stderr).toBe(78);
  expect(place.json("goal.json")["status"]).not.toBe("running");
});
