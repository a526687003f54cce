import { describe, expect, test } from "vitest";

import { drives } from "./drive.ts";
import { AgentPlace, tokensOf } from "./rig.ts";
import { hello, SHELL_HELLO, WRITE_HELLO } from "./scenarios.ts";

describe("kimi-code over ACP", () => {
  drives({
    agent: "kimiCode",
    engine: "kimi",
    asksFor: { shell: SHELL_HELLO },
    usageOf: (calls) => ({ ...tokensOf(calls), quality: "exact" }),
    failures: { auth: "agent_auth", quota: "agent_quota", rate_limit: "agent_rate_limit" },
    tellsReset: true,
  });

  test("writes no file that a person has not allowed, though it asks for none of them itself", async (context) => {
    await using place = await AgentPlace.open("kimiCode", context, hello({ write: WRITE_HELLO }));
    const policy = [
      "--approval-policy",
      "never",
      "--approval-on-timeout",
      "reject",
      "--approval-timeout",
      "1s",
    ];

    const ran = await place.goal("kimi", ...policy, "--max-attempts", "1");

    expect(ran, ran.stderr).toMatchObject({ status: 1 });
    expect(place.file("hello.txt")).toBeNull();
    expect(place.left).toEqual([]);
  });
});
