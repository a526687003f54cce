/** A person's answer to what a goal asked: kept with the goal, and the end of the waiting when it says enough. */
import { join } from "node:path";

import type { CommandRequest } from "../format/command.ts";
import type { Goal } from "../format/goal.ts";
import { instantOf } from "../format/stamp.ts";
import { APPROVAL_NEEDED } from "./approvals.ts";
import { normalizeGoal, testabilityOf } from "./intake.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import { concludeGoal } from "./proof.ts";
import { writeReaderFiles } from "./reader-files.ts";

const NOT_TESTABLE = "not_testable";
/** Longer answers belong into a file of the repository. */
export const ANSWER_CHARACTERS_MAX = 64 * 1024;

/** What a goal has asked and a decision would answer, or why there is nothing of that kind. */
export function questionOf(
  goal: Pick<Goal, "goal_id" | "status" | "reason_code" | "normalized_goal" | "answers">,
): { question: string } | { because: string } {
  const { goal_id: id, status, reason_code: code } = goal;
  const asks = testabilityOf(goal);
  // A pause in between changes status and code, and not what was asked for.
  if (!asks.testable && ((status === "blocked_on_human" && code === NOT_TESTABLE) || status === "paused"))
    return { question: asks.question };
  if (status !== "blocked_on_human") return { because: `it is ${status} and has asked nothing` };
  if (code === APPROVAL_NEEDED)
    return {
      because: `an agent waits for an approval: see \`omk approvals list --goal ${id}\`, answer with \`omk approvals answer\``,
    };
  return { because: `no words answer that: look at the project, then \`omk goal resume ${id}\` goes on` };
}

/** Applies a decision. The request was checked when it was asked; by now the goal may stand otherwise. */
export async function applyDecision(
  open: OpenGoal,
  request: CommandRequest,
  ports: GoalPorts,
): Promise<void> {
  const { goal } = open;
  const asked = questionOf(goal);
  const { decision } = request.payload;
  const answer = typeof decision === "string" ? ports.redactor.text(decision.trim()) : "";
  const because = "because" in asked ? asked.because : answer === "" ? "the decision is empty" : undefined;
  if ("because" in asked || because !== undefined) {
    const payload = { request_id: request.id, action: request.kind, reason: because };
    await open.record({ kind: "request_refused", actor: "omk-cli", payload });
    return;
  }
  const at = instantOf(ports.clock.now());
  const answers = [...(goal.answers ?? []), { question: asked.question, answer, at }];
  const now = testabilityOf({ ...goal, answers });
  const isPaused = goal.status === "paused";
  const enough = now.testable && !isPaused;
  await open.record({
    kind: "goal_answered",
    actor: "omk-cli",
    payload: { request_id: request.id, question: asked.question, answer, testable: now.testable },
    changes: [
      change(
        "goal.json",
        {
          answers,
          ...(enough && { status: "not_ready", reason_code: "agent_not_executed" }),
          ...(!now.testable && { failure: { reason: now.question, recorded_at: at } }),
        },
        enough ? ["failure"] : [],
      ),
    ],
  });
  // The answer may tell another kind of goal, and so what has to be shown at its end.
  await writeReaderFiles(open, ports);
  if (isPaused) return;
  const again = { status: "blocked_on_human", reasonCode: NOT_TESTABLE } as const;
  await concludeGoal(open, undefined, now.testable ? undefined : { ...again, reason: now.question }, ports);
  // It said what kept the goal from going on, which is answered.
  const failure = join(open.folder, "failure.json");
  if (now.testable && ports.disk.stat(failure)?.kind === "file") ports.disk.remove(failure);
}

/** The decision as it may be stored: on its own, without secrets; undefined when it is empty or too long. */
export function storedDecision(text: string, { redactor }: Pick<GoalPorts, "redactor">): string | undefined {
  const decision = redactor.text(text.trim());
  return normalizeGoal(decision) === "" || decision.length > ANSWER_CHARACTERS_MAX ? undefined : decision;
}
