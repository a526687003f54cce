import { describe, expect, test } from "vitest";

import { drives } from "./drive.ts";
import { AgentPlace, costOf, tokensOf } from "./rig.ts";
import { hello, WRITE_HELLO } from "./scenarios.ts";
import type { AgentName } from "./settings.ts";

const failures = { auth: "agent_auth", quota: "agent_quota", rate_limit: "agent_rate_limit" };

describe("opencode run", () => {
  drives({
    agent: "opencode",
    engine: "command:opencode run --auto --format json {prompt}",
    asksFor: null,
    usageOf: (calls) => ({ ...tokensOf(calls), cost_usd: costOf(calls), quality: "exact" }),
    failures,
  });
});

describe("kimi -p", () => {
  drives({
    agent: "kimiCode",
    engine: "command:kimi -p {prompt} --output-format stream-json",
    asksFor: null,
    // It prints no usage; its session log has it.
    usageOf: (calls) => ({ ...tokensOf(calls), quality: "exact" }),
    failures,
  });
});

describe("The one-turn mode of a known agent", () => {
  const known: readonly (readonly [AgentName, string])[] = [
    ["opencode", "opencode:headless"],
    ["kimiCode", "kimi:headless"],
  ];
  test.for(known)("of %s is asked for as %s", async ([agent, engine], context) => {
    await using place = await AgentPlace.open(agent, context, hello({ write: WRITE_HELLO }));

    const ran = await place.goal(engine);

    expect(ran, ran.stderr).toMatchObject({ status: 0 });
    expect(place.file("hello.txt")).toBe("hello\n");
    expect(place.left).toEqual([]);
  });

  test.for(known)(
    "of %s (%s) is refused where a person has to be asked",
    async ([agent, engine], context) => {
      await using place = await AgentPlace.open(agent, context, hello({ write: WRITE_HELLO }));

      const ran = await place.goal(engine, "--approval-policy", "never");

      expect(ran, ran.stderr).toMatchObject({ status: 2 });
      expect(place.server.log).toEqual([]);
    },
  );
});

describe("A budget of tokens", () => {
  test("ends an agent that tells its usage as it goes, and more of it lets the goal go on", async (context) => {
    const calls = [{ shell: "true" }, { shell: "true" }, { write: WRITE_HELLO }];
    await using place = await AgentPlace.open("opencode", context, hello(...calls));

    const ran = await place.goal("opencode:headless", "--budget-tokens", "2000");

    expect(ran, ran.stderr).toMatchObject({ status: 5 });
    expect(place.goalState).toMatchObject({
      status: "needs_more_budget",
      reason_code: "budget_tokens",
    });
    expect(place.file("hello.txt")).toBeNull();
    expect(place.left).toEqual([]);
    expect(await place.run("goal", "budget-add", "latest", "--tokens", "100000")).toMatchObject({
      status: 0,
    });
    const resumed = await place.run("goal", "resume", "latest");
    expect(resumed, resumed.stderr).toMatchObject({ status: 0 });
  });
});
