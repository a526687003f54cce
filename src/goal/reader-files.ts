/** Files that are made from a goal's log for readers: the documents of planning, and what a decision left beside it. */
import { dirname, join } from "node:path";

import { ensureFolder } from "../store/files.ts";
import { isPlanned } from "./agent-tasks.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";
import { planDocuments } from "./plan-documents.ts";
import { rollbackPlan } from "./rollback-plan.ts";

/** Where the plan to roll a rejected result back lies in a goal's folder. */
export const ROLLBACK_PLAN = "artifacts/integration/rollback-rejected-slice.md";

/** Under the names of 0.5.0, which scripts know: a copy of the newest decision's evidence. */
const DECISION_COPY = {
  accepted: "artifacts/integration/integrator-accept.json",
  rejected: "artifacts/integration/integrator-reject.json",
} as const;

/**
 * Writes those that are missing or say something else than the log: after the event they come from, and again when a
 * controller died between the two.
 */
export async function writeReaderFiles(
  open: Pick<OpenGoal, "id" | "goal" | "graph" | "work" | "folder">,
  ports: Pick<GoalPorts, "disk" | "redactor">,
): Promise<void> {
  for (const [name, text] of readerFiles(open, ports)) {
    const path = join(open.folder, name);
    if (textAt(path, ports) === text) continue;
    await ensureFolder(dirname(path), ports);
    await ports.disk.writeDerived(path, text);
  }
}

function readerFiles(
  open: Pick<OpenGoal, "id" | "goal" | "graph" | "work" | "folder">,
  { disk, redactor }: Pick<GoalPorts, "disk" | "redactor">,
): Map<string, string> {
  const { work, graph } = open;
  // The documents of goals that another version planned are its own.
  const files = work.plan || !isPlanned(graph) ? planDocuments(open) : new Map<string, string>();
  const { acceptance } = work;
  if (!acceptance) return files;
  const decision = textAt(join(open.folder, acceptance.artifact_path), { disk });
  if (decision !== undefined) files.set(DECISION_COPY[acceptance.decision], decision);
  // A plan is about the result that was rejected, and no other.
  if (acceptance.decision === "rejected" && acceptance.tree === (work.result?.tree ?? work.base?.tree ?? ""))
    files.set(ROLLBACK_PLAN, redactor.text(rollbackPlan(open.id, acceptance.summary, work)));
  return files;
}

function textAt(path: string, { disk }: Pick<GoalPorts, "disk">): string | undefined {
  return disk.stat(path)?.kind === "file" ? new TextDecoder().decode(disk.readFile(path)) : undefined;
}
