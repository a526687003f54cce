import { describe } from "vitest";

import { drives } from "./drive.ts";
import { costOf } from "./rig.ts";
import { WRITE_HELLO } from "./scenarios.ts";

describe("opencode over ACP", () => {
  drives({
    agent: "opencode",
    engine: "opencode",
    asksFor: { write: WRITE_HELLO },
    // Its tokens are those of the last model call, its cost is that of all.
    usageOf: (calls) => ({
      input_tokens: calls.at(-1)?.input ?? 0,
      output_tokens: calls.at(-1)?.output ?? 0,
      cost_usd: costOf(calls),
      quality: "last_call_only",
    }),
    failures: { auth: "agent_auth", quota: "agent_quota", rate_limit: "agent_rate_limit" },
  });
});
