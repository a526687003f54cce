/** Files that are made from a goal's log for readers: the documents of planning, and what a decision left beside it. */
import { dirname, join, resolve } from "node:path";

import { OmkError } from "../errors.ts";
import { findRepository } from "../git/private-git.ts";
import { ensureFolder } from "../store/files.ts";
import { isPlanned } from "./agent-tasks.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";
import { planDocuments } from "./plan-documents.ts";
import { conflictsIn, rollbackPlan, SHOWN_BYTES_MAX, type EvidenceText } from "./rollback-plan.ts";

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
    files.set(
      ROLLBACK_PLAN,
      redactor.text(
        rollbackPlan({
          id: open.id,
          reason: acceptance.summary,
          work,
          graph,
          gitDir: ownGitDir(open, { disk }),
          evidence: conflictEvidence(open, { disk }),
        }),
      ),
    );
  return files;
}

/** Where the branch of a result lies that no repository of the user's could take. */
function ownGitDir(
  { goal, folder }: Pick<OpenGoal, "goal" | "folder">,
  ports: Pick<GoalPorts, "disk">,
): string | undefined {
  const root = goal.project_dir === undefined ? undefined : ports.disk.realPath(goal.project_dir);
  try {
    return root === undefined || findRepository(root, ports) ? undefined : join(folder, "git");
  } catch (error) {
    // One that cannot be read is a repository all the same.
    if (error instanceof OmkError && error.code === "git.failed") return undefined;
    throw error;
  }
}

/** What lies in the goal's folder of the evidence that records name; a path may be anybody's. */
function conflictEvidence(
  { folder, graph, work }: Pick<OpenGoal, "folder" | "graph" | "work">,
  ports: Pick<GoalPorts, "disk">,
): Map<string, EvidenceText> {
  const paths = conflictsIn(graph, work).flatMap(({ path }) => (path === undefined ? [] : [path]));
  return new Map(paths.map((path) => [path, evidenceText(folder, path, ports)]));
}

function evidenceText(folder: string, path: string, { disk }: Pick<GoalPorts, "disk">): EvidenceText {
  // 0.5.0 recorded whole paths.
  const wanted = resolve(folder, path);
  const real = disk.realPath(wanted);
  const within = disk.realPath(folder);
  if (real === undefined) return { unreadable: "it is not there" };
  if (within === undefined || !real.startsWith(`${within}/`))
    return { unreadable: "it lies outside the goal's folder" };
  if (disk.stat(real)?.kind !== "file") return { unreadable: "it is no file" };
  const file = disk.open(real, "read");
  try {
    const bytes = Buffer.alloc(Math.min(file.size(), SHOWN_BYTES_MAX));
    let at = 0;
    for (let read = -1; at < bytes.length && read !== 0; at += read) read = file.read(bytes.subarray(at), at);
    return { text: bytes.subarray(0, at).toString("utf8"), truncated: file.size() > SHOWN_BYTES_MAX };
  } finally {
    file.close();
  }
}

function textAt(path: string, { disk }: Pick<GoalPorts, "disk">): string | undefined {
  return disk.stat(path)?.kind === "file" ? new TextDecoder().decode(disk.readFile(path)) : undefined;
}
