/** The proof of a goal as it can be shown: the file, or what can be rebuilt when the file cannot be read. */
import { join } from "node:path";

import type { Disk } from "../ports.ts";
import { foldFolder, readDocument } from "../store/journal.ts";
import type { GoalSummary } from "./find.ts";
import { graphSummary } from "./replay.ts";
import { STATE_CONTROLLED } from "./verdict.ts";

/** The proof's record; never fails for a missing or damaged file, and says what it is then. Writes nothing. */
export function proofToShow(goal: GoalSummary, ports: { disk: Disk }): Record<string, unknown> {
  const found = readDocument(join(goal.folder, "proof.json"), ports);
  if (found.state === "found") return controlledBy(goal, found.record);
  const { documents } = foldFolder(goal.folder, ports);
  const folded = documents.get("proof.json");
  const because = found.state === "missing" ? "it is missing" : found.because;
  const gap = `Proof file could not be loaded: ${because}`;
  const graph = graphSummary(goal.folder, documents.get("task-graph.json"), ports);
  const record = folded ?? scaffoldProof(goal, graph.summary);
  const gaps = Array.isArray(record["known_gaps"]) ? record["known_gaps"] : [];
  return {
    ...controlledBy(goal, record),
    known_gaps: [...gaps, gap, ...(graph.readable ? [] : ["Task graph could not be loaded"])],
    recovery_status: `recovered: ${folded ? "from the log" : "from the goal's state"}, because ${because}`,
  };
}

/** A status that the goal itself controls wins over what the proof said before. */
function controlledBy(goal: GoalSummary, record: Record<string, unknown>): Record<string, unknown> {
  const controlled = STATE_CONTROLLED[goal.status];
  if (!controlled || record["status"] === goal.status) return record;
  const failure = goal.record["failure"] as { reason?: string } | undefined;
  const reason = failure?.reason?.trim() || controlled.reason;
  const gaps = Array.isArray(record["known_gaps"]) ? (record["known_gaps"] as string[]) : [];
  return {
    ...record,
    status: goal.status,
    readiness: `${controlled.prefix}${reason}`,
    known_gaps: gaps.includes(reason) ? gaps : [...gaps, reason],
    ...(goal.status === "blocked_on_human" && { human_decisions_required: [reason] }),
  };
}

function scaffoldProof(goal: GoalSummary, task_graph_summary: object): Record<string, unknown> {
  return {
    version: 1,
    goal_id: goal.id,
    status: "not_ready",
    readiness: "not ready: verification is incomplete",
    summary: `${goal.originalGoal}: rebuilt, not ready`,
    generated_at: goal.updatedAt,
    artifacts: goal.record["artifacts"] ?? [],
    task_graph_summary,
    changed_files: [],
    commits: [],
    gates: [],
    post_mutation_gates_ran: false,
    known_gaps: [
      "agent execution has not run",
      "verification gates have not run",
      "readiness cannot be claimed without evidence of an agent's work",
    ],
    human_decisions_required: [],
  };
}
