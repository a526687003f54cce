/** What the loop does next: a pure rule over what the log says was done, so a killed run goes on where it stood. */
import type { Attempt, Work } from "../format/work.ts";
import { gatesState, isReviewed } from "./gate-state.ts";

/** The steps of the loop. `finish` ends it; everything else is followed by another look. */
export type Step =
  | { kind: "record_base" }
  | { kind: "run_baseline" }
  | { kind: "run_attempt"; number: number }
  | { kind: "run_gates" }
  | { kind: "review" }
  | { kind: "finish"; because: "complete" | "attempts_used_up" };

/** What the rule looks at beside `work.json`. */
export interface LoopLimits {
  hasGates: boolean;
  maxAttempts: number;
}

/** Where nobody said otherwise. */
const ATTEMPTS_DEFAULT = 3;

/** How often the goal's task may be executed. */
export function attemptsAllowed(goal: { max_attempts?: number | undefined }): number {
  return goal.max_attempts ?? ATTEMPTS_DEFAULT;
}

/** Decides the next step of driving a goal to a verdict. */
export function nextStep(work: Work, limits: LoopLimits): Step {
  if (!work.base) return { kind: "record_base" };
  if (limits.hasGates && !work.baseline) return { kind: "run_baseline" };
  // Nothing could ever show that the work is done: better no turn is paid for.
  if (!limits.hasGates) return { kind: "finish", because: "complete" };
  const last = work.attempts.at(-1);
  const counted = currentAttempts(work).filter((attempt) => attempt.counted).length;
  const again: Step =
    counted < limits.maxAttempts
      ? { kind: "run_attempt", number: counted + 1 }
      : { kind: "finish", because: "attempts_used_up" };
  if (!last || last.status !== "ended" || last.outcome !== "finished") return again;
  const tree = work.result?.tree;
  if (!work.gates || work.gates.tree !== tree || work.drift?.tree === tree) return { kind: "run_gates" };
  if (gatesState(work) !== "green") return again;
  if (!isReviewed(work)) return { kind: "review" };
  if (isFixable(work)) return again;
  return { kind: "finish", because: "complete" };
}

/** Attempts since the last time a person gave the goal fresh ones. */
export function currentAttempts(work: Work): Attempt[] {
  return work.attempts.slice(work.attempts_from);
}

/** Blocked for a reason that another turn of the agent can mend. */
function isFixable(work: Work): boolean {
  if (work.gates?.base_copies?.status === "failed") return true;
  if (work.result?.changed_files.length === 0) return true;
  if (work.acceptance?.decision === "rejected" && work.acceptance.tree === work.result?.tree) return true;
  return (work.review?.sections ?? []).some(
    (section) => section.status === "blocked" && section["fixable"] === true,
  );
}
