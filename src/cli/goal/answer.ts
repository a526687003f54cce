/** `omk goal answer`: a person's answer to what a goal asked. */
import { OmkError } from "../../errors.ts";
import { ANSWER_CHARACTERS_MAX, questionOf, storedDecision } from "../../goal/answer.ts";
import { askGoal } from "../../goal/ask.ts";
import { findGoal } from "../../goal/find.ts";
import type { Goal } from "../../format/goal.ts";
import type { App } from "../app.ts";
import { goalPorts } from "../runtime.ts";
import { oneLine } from "../text.ts";
import { nextSteps } from "./next.ts";

/** Answers a goal's question; ends with 3 when the goal has to ask again. */
export async function answerCommand(
  app: App,
  id: string,
  flags: { decision: string; json: boolean },
): Promise<void> {
  app.listen();
  const ports = await goalPorts(app);
  const found = findGoal(app.root(), id, app.world);
  const decision = storedDecision(flags.decision, ports);
  if (decision === undefined)
    throw new OmkError(
      "usage.invalid",
      flags.decision.trim() === ""
        ? "--decision cannot be empty."
        : `--decision needs a text of at most ${ANSWER_CHARACTERS_MAX} characters.`,
      { hint: `For example: omk goal answer ${found.id} --decision "npm test passes"` },
    );
  const asked = questionOf(standing(found.id, found.record));
  if ("because" in asked)
    throw new OmkError("goal.refused", `Goal ${found.id} cannot take an answer: ${asked.because}.`, {
      hint: `Run \`omk goal show ${found.id}\` to see how it stands.`,
    });
  const { outcome } = await askGoal(found.id, { kind: "answer", payload: { decision } }, ports, app.signal);
  const goal = findGoal(app.root(), found.id, app.world);
  const again = questionOf(standing(goal.id, goal.record));
  const isOpen = outcome === "applied" && "question" in again;
  if (isOpen) app.exitStatus = 3;
  const { engine, reason_code: code } = goal.record;
  const steps = nextSteps({
    id: goal.id,
    status: goal.status,
    code: typeof code === "string" ? code : undefined,
    untilReady: goal.record["until_ready"] === true,
    engine: typeof engine === "string" ? engine : undefined,
  });
  const lines =
    outcome === "recorded"
      ? [`Goal ${goal.id}: answer recorded, not yet applied`, `Status: ${goal.status}`]
      : [
          `Goal ${goal.id} answered`,
          `Status: ${goal.status}`,
          ...(isOpen ? [`Decision needed: ${oneLine(again.question)}`] : []),
          ...steps,
        ];
  app.output.result(goal.record, () => lines.join("\n"), flags.json);
}

/** What of a goal's record says whether it asks something. */
function standing(id: string, record: Readonly<Record<string, unknown>>): Parameters<typeof questionOf>[0] {
  const { status, reason_code, normalized_goal, answers } = record as Pick<
    Goal,
    "status" | "reason_code" | "normalized_goal" | "answers"
  >;
  return {
    goal_id: id,
    status,
    normalized_goal: normalized_goal ?? "",
    ...(reason_code !== undefined && { reason_code }),
    ...(answers !== undefined && { answers }),
  };
}
