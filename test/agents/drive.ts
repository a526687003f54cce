/** What every agent must do under omk. A file names the agent and what is particular to it. */
import { expect, test, type TestContext } from "vitest";

import type { Step, Usage } from "./model-server.ts";
import { AgentPlace, type AttemptUsage } from "./rig.ts";
import type { AgentName } from "./settings.ts";
import { FAILURES, hello, twoParts, WRITE_HELLO } from "./scenarios.ts";
import { runEvents } from "../support/teams.ts";

/** One agent, started in one way. */
export interface Driven {
  agent: AgentName;
  /** What `--engine` is told. */
  engine: string;
  /** What it asks leave for; null where nobody can be asked: its one-turn mode. */
  asksFor: Step | null;
  /** The usage of a turn of several calls, as this agent lets it be known. */
  usageOf(calls: readonly Usage[]): Partial<AttemptUsage>;
  /** Reason code of a goal that this failure of the model stops. */
  failures: Readonly<Record<keyof typeof FAILURES, string>>;
  /** Whether it passes on when the provider takes requests again. */
  tellsReset?: boolean;
}

/** Declares the tests of one agent, inside a `describe` that names it. */
export function drives(driven: Driven): void {
  const open = (context: TestContext, ...steps: Step[]) =>
    AgentPlace.open(driven.agent, context, hello(...steps));

  test("brings a goal to ready, and what it cost is known", async (context) => {
    await using place = await open(context, { write: WRITE_HELLO });

    const ran = await place.goal(driven.engine);

    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect(place.goalState).toMatchObject({ status: "ready" });
    expect(place.file("hello.txt")).toBe("hello\n");
    // The model was asked twice, no more: nothing was tried again behind omk's back.
    expect(place.server.log.filter(({ scenario }) => scenario === "hello")).toMatchObject([
      { step: 0, ended: "answered", calls: [{ arguments: { content: "hello\n" } }] },
      { step: 1, ended: "answered", said: "It says hello." },
    ]);
    const calls = place.server.log.flatMap(({ scenario, usage }) => (scenario && usage ? [usage] : []));
    expect(place.usages).toMatchObject([driven.usageOf(calls)]);
    expect(place.engineEvents.at(-1)).toMatchObject({ kind: "session-ended" });
    expect(place.left).toEqual([]);
    expect(await place.run("proof", "verify", "latest")).toMatchObject({ status: 0 });
  });

  test("plans a goal before it works on it, and only reads while it does", async (context) => {
    const slice = {
      id: "hello",
      title: "Say hello",
      description: "Create hello.txt that says hello.",
      write_set: ["hello.txt"],
      acceptance: ["hello.txt says hello"],
    };
    const plan = { classification: { kind: "greenfield" }, summary: "One file.", slices: [slice] };
    await using place = await AgentPlace.open(driven.agent, context, [
      { name: "plan", when: /You plan work that coding agents/, steps: [{ say: JSON.stringify(plan) }] },
      ...hello({ write: WRITE_HELLO }),
    ]);

    const ran = await place.run(
      ...place.goalArguments(driven.engine).filter((one) => one !== "--no-llm-planner"),
    );

    expect(ran.stderr).toContain("goal: using llm planner");
    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect(place.json("work.json")["plan"]).toMatchObject({
      source: "engine",
      plan: { slices: [{ id: "hello" }] },
    });
    expect(place.json("work.json")["helper_turns"]).toMatchObject([
      { role: "plan", outcome: "finished", changed: [] },
    ]);
    expect(place.left).toEqual([]);
  });

  test("works on two slices of a goal at the same time, each in a worktree of its own", async (context) => {
    const slices = ["one", "two"].map((name) => ({
      id: name,
      title: `Make ${name}`,
      description: `Part ${name}: the file ${name}.txt must contain the word ${name}.`,
      write_set: [`${name}.txt`],
      acceptance: ["The file is there."],
    }));
    const plan = { classification: { kind: "greenfield" }, summary: "Two files.", slices };
    await using place = await AgentPlace.open(driven.agent, context, [
      { name: "plan", when: /You plan work that coding agents/, steps: [{ say: JSON.stringify(plan) }] },
      ...twoParts((name) => ({ write: { path: `${name}.txt`, content: `${name}\n` } })),
    ]);
    const { server } = place;

    const goal = ["Make one.txt and two.txt", "--until-ready", "--auto-accept", "--max-agents", "2"];
    const gates = ["--gate", "one=grep -qx one one.txt", "--gate", "two=grep -qx two two.txt"];
    const running = place.start("goal", "run", ...goal, "--engine", driven.engine, ...gates);
    await Promise.race([Promise.all([server.paused("one"), server.paused("two")]), running.ended]);
    server.release("one");
    server.release("two");
    const ran = await running.ended;

    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect([place.file("one.txt"), place.file("two.txt")]).toEqual([null, null]);
    const branch = `omk/result/${String(place.json("goal.json")["goal_id"])}`;
    for (const name of ["one", "two"])
      expect(await place.git("show", `${branch}:${name}.txt`)).toBe(`${name}\n`);
    expect(place.left).toEqual([]);
  });

  test("works on two parts of a team's task at the same time", async (context) => {
    await using place = await AgentPlace.open(
      driven.agent,
      context,
      twoParts((name) => ({ write: { path: `${name}.txt`, content: `${name}\n` } })),
    );
    const { server } = place;

    const team = ["2:executor", "Make one.txt and two.txt", "--name", "pair", "--engine", driven.engine];
    const gates = ["--gate", "one=grep -qx one one.txt", "--gate", "two=grep -qx two two.txt"];
    const running = place.start("team", "run", ...team, ...gates);
    await Promise.race([Promise.all([server.paused("one"), server.paused("two")]), running.ended]);
    server.release("one");
    server.release("two");
    const ran = await running.ended;

    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect([place.file("one.txt"), place.file("two.txt")]).toEqual(["one\n", "two\n"]);
    const completed = runEvents(place, "pair").flatMap(({ kind, payload }) =>
      kind === "task_completed" ? [payload?.["task_id"]] : [],
    );
    expect(completed).toEqual(expect.arrayContaining(["make-one", "make-two"]));
    expect(place.left).toEqual([]);
  });

  test("is stopped by Ctrl-C in the middle of an answer, and goes on later", async (context) => {
    await using place = await open(context, { write: WRITE_HELLO, pause: "thinking" });
    const { server } = place;

    const running = place.start(...place.goalArguments(driven.engine));
    await Promise.race([server.paused("thinking"), running.ended]);
    running.child.kill("SIGINT");
    const ran = await running.ended;

    expect(ran, ran.stderr).toMatchObject({ status: 130 });
    expect(place.left).toEqual([]);
    await server.abandoned("thinking");
    expect(place.goalState.status).toBe("paused");
    server.release("thinking");
    const resumed = await place.run("goal", "resume", "latest");
    expect(resumed, resumed.stderr).toMatchObject({ status: 0 });
    expect(place.file("hello.txt")).toBe("hello\n");
  });

  test("is stopped by another process while it runs a command, which ends too", async (context) => {
    await using place = await open(context);
    const { server } = place;
    server.scenarios = hello({ shell: server.holding("command") });

    const running = place.start(...place.goalArguments(driven.engine, "--approval-policy", "yolo"));
    await Promise.race([server.paused("command"), running.ended]);
    const paused = await place.run("goal", "pause", "latest");
    const ran = await running.ended;

    expect(paused, paused.stderr).toMatchObject({ status: 0 });
    expect(ran, ran.stderr).toMatchObject({ status: 6 });
    await server.abandoned("command");
    expect(place.left).toEqual([]);
  });

  test("is started anew when it dies in the middle of a turn", async (context) => {
    await using place = await open(context, { write: WRITE_HELLO, pause: "thinking" });
    const { server } = place;

    const running = place.start(...place.goalArguments(driven.engine));
    await Promise.race([server.paused("thinking"), running.ended]);
    for (const pid of place.left) endNow(pid);
    server.release("thinking");
    const ran = await running.ended;

    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect(place.attempts).toMatchObject([
      { outcome: "failed", outcome_code: "crashed", counted: true },
      { outcome: "finished" },
    ]);
    expect(place.left).toEqual([]);
  });

  for (const [failure, fail] of Object.entries(FAILURES) as [keyof typeof FAILURES, Step["fail"] & {}][]) {
    test(`stops the goal when the model answers ${fail.status}, and goes on when that is over`, async (context) => {
      await using place = await open(context, { fail });

      const ran = await place.goal(driven.engine);

      expect(place.goalState, ran.stderr).toMatchObject({
        status: "blocked_on_external",
        reason_code: driven.failures[failure],
      });
      expect(ran).toMatchObject({ status: 4 });
      if (driven.tellsReset && failure === "rate_limit")
        expect(ran.stderr).toMatch(/takes them again at \d{4}-\d\d-/);
      expect(place.left).toEqual([]);
      place.server.scenarios = hello({ write: WRITE_HELLO });
      const resumed = await place.run("goal", "resume", "latest");
      expect(resumed, resumed.stderr).toMatchObject({ status: 0 });
    });
  }

  if (driven.asksFor !== null) asks(driven, driven.asksFor);
}

/** The tests of an agent that asks before it acts. */
function asks(driven: Driven, asksFor: Step): void {
  const waiting = ["--approval-policy", "never", "--approval-on-timeout", "block", "--approval-timeout"];
  const open = (context: TestContext) => AgentPlace.open(driven.agent, context, hello(asksFor));

  test("asks a person, who says yes from another terminal", async (context) => {
    await using place = await open(context);

    const running = place.start(...place.goalArguments(driven.engine, ...waiting, "3m"));
    const asked = await place.approval();
    expect(place.file("hello.txt")).toBeNull();
    const answered = await place.run("approvals", "answer", asked.id, "approve");
    const ran = await running.ended;

    expect(answered, answered.stderr).toMatchObject({ status: 0 });
    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect(place.file("hello.txt")).toBe("hello\n");
    expect(place.left).toEqual([]);
  });

  test("takes no for an answer", async (context) => {
    await using place = await open(context);

    const running = place.start(
      ...place.goalArguments(driven.engine, ...waiting, "3m", "--max-attempts", "1"),
    );
    const asked = await place.approval();
    const answered = await place.run("approvals", "answer", asked.id, "reject");
    const ran = await running.ended;

    expect(answered, answered.stderr).toMatchObject({ status: 0 });
    expect(ran, ran.stderr).toMatchObject({ status: 1 });
    expect(place.goalState.status).toBe("not_ready");
    expect(place.file("hello.txt")).toBeNull();
    expect(place.left).toEqual([]);
  });

  test("waits for nobody for ever: the goal stops, and a later yes lets it go on", async (context) => {
    await using place = await open(context);

    const ran = await place.goal(driven.engine, ...waiting, "1s");

    expect(ran, ran.stderr).toMatchObject({ status: 3 });
    expect(place.goalState).toMatchObject({ status: "blocked_on_human", reason_code: "approval_needed" });
    expect(place.file("hello.txt")).toBeNull();
    expect(place.left).toEqual([]);
    const asked = await place.approval();
    const answered = await place.run("approvals", "answer", asked.id, "approve");
    expect(answered, answered.stderr).toMatchObject({ status: 0 });
    const resumed = await place.run("goal", "resume", "latest");
    expect(resumed, resumed.stderr).toMatchObject({ status: 0 });
    expect(place.file("hello.txt")).toBe("hello\n");
  });

  test("is not asked about what the policy refuses to leave to nobody", async (context) => {
    await using place = await open(context);
    const policy = [
      "--approval-policy",
      "safe",
      "--approval-timeout",
      "1s",
      "--approval-on-timeout",
      "reject",
    ];

    const ran = await place.goal(driven.engine, ...policy, "--max-attempts", "1");

    expect(ran, ran.stderr).toMatchObject({ status: 1 });
    expect(place.file("hello.txt")).toBeNull();
    expect(place.engineEvents).toContainEqual(
      expect.objectContaining({ kind: "approval-answered", decision: "reject" }),
    );
  });
}

function endNow(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended with its parent, which was first in the list.
  }
}
