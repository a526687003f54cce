/** What the oracle judges beside the documents: only the trees, and running the old program's commands again, can say it. */
import type { TreeChange } from "../git/work-tree.ts";
import { brokenLinks, isDocumentation } from "./docs-links.ts";
import { compareGolden } from "./golden.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";
import type { OracleFacts } from "./oracle.ts";
import type { Workspace } from "./workspace.ts";

/** A larger report is none that anybody reads. */
const REPORT_BYTES_MAX = 4 * 1024 * 1024;

/**
 * Gathers what `judgeOracle` needs of the present result. Recorded observations of the old program are compared at most
 * once per tree; that comparison is an event of its own.
 */
export async function oracleFacts(
  open: OpenGoal,
  space: Workspace,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<OracleFacts> {
  const { goal, work } = open;
  const base = work.base?.tree ?? "";
  const tree = work.result?.tree ?? base;
  const changes = base === "" ? [] : await space.tree.changes(base, tree, signal);
  const docs = changes.filter(({ path, kind }) => kind !== "deleted" && isDocumentation(path));
  const paths = docs.map(({ path }) => path);
  const links = async () => ({ broken: await brokenLinks(space.tree, tree, paths, signal) });
  const golden = base === "" ? undefined : await compareGolden(open, space, ports, signal);
  return {
    goal,
    gates: open.work.gates,
    docsLinks: paths.length === 0 ? undefined : await links(),
    reportAdded: await hasCleanReport(space, tree, docs, ports, signal),
    golden,
  };
}

/** A report counts when it is new and holds no secret. */
async function hasCleanReport(
  space: Workspace,
  tree: string,
  docs: readonly TreeChange[],
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<boolean> {
  const added = docs.filter(({ kind }) => kind === "added");
  for (const { path } of added) {
    const bytes = await space.tree.read(tree, path, REPORT_BYTES_MAX, signal);
    const text = Buffer.from(bytes ?? "").toString("utf8");
    if (bytes === undefined || ports.redactor.text(text) !== text) return false;
  }
  return added.length > 0;
}
