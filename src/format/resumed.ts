/** What `omk goal resume --auto --json` prints. */
import { z } from "zod";

import { GoalStatus } from "./goal.ts";

/** The goals that a controller had left behind, and what became of each. */
export const ResumedGoals = z.looseObject({
  orphans: z.array(
    z.looseObject({
      id: z.string(),
      /** The controller that is gone; null where none is known. */
      pid: z.int().nullable(),
      last_update: z.string(),
      /** How it stands now; null where it was not continued. */
      status: GoalStatus.nullable(),
      reason_code: z.string().nullable(),
      /** What kept it from being continued. */
      error: z.looseObject({ code: z.string(), message: z.string() }).nullable(),
    }),
  ),
  /** Goals that may be orphans and were left alone. */
  unjudged: z.array(z.looseObject({ id: z.string(), because: z.string() })),
});
export type ResumedGoals = z.infer<typeof ResumedGoals>;
