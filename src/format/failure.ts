/** `failure.json`: for a goal a copy of its state, for a team run what kept it from being ready. */
import { z } from "zod";

import { Goal } from "./goal.ts";
import { RunStatus } from "./proof.ts";

/** `failure.json` of a team run, there as long as its proof is not ready. */
const RunFailure = z.looseObject({
  run_id: z.string(),
  status: RunStatus,
  readiness: z.enum(["ready_for_handoff", "needs_follow_up", "blocked"]),
  proof_path: z.string(),
  summary: z.string(),
  failures: z.array(z.string()),
  known_gaps: z.array(z.string()),
});

/** `failure.json` of a goal or of a run. */
export const Failure = z.union([RunFailure, Goal]);
export type Failure = z.infer<typeof Failure>;
