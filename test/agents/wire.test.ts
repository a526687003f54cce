import { describe } from "vitest";

import { drives } from "./drive.ts";
import { tokensOf } from "./rig.ts";
import { WRITE_HELLO } from "./scenarios.ts";

describe("kimi-cli over Wire", () => {
  drives({
    agent: "kimiCli",
    engine: "kimi-cli",
    asksFor: { write: WRITE_HELLO },
    usageOf: (calls) => ({ ...tokensOf(calls), quality: "exact" }),
    failures: { auth: "agent_auth", quota: "agent_quota", rate_limit: "agent_rate_limit" },
  });
});
