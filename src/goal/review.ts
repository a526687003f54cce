/** Reviewing the present result: what was found is gathered, judged by the wall, written down and recorded. */
import { join } from "node:path";

import type { Settings } from "../config/settings.ts";
import { instantOf } from "../format/stamp.ts";
import type { ReviewArtifact, ReviewFinding } from "../format/proof.ts";
import type { TaskGraph } from "../format/task-graph.ts";
import type { TreeChange, WorkTree } from "../git/work-tree.ts";
import { replaceFile } from "../store/files.ts";
import { keepEvidence } from "../store/evidence.ts";
import { openTasks } from "./agent-tasks.ts";
import { allowedBy, readAllowList } from "./allowed-secrets.ts";
import { gatesState } from "./gate-state.ts";
import { kindOf } from "./intake.ts";
import { change, changeTask, type GoalPorts, type OpenGoal } from "./open.ts";
import { oracleFacts } from "./oracle-facts.ts";
import { judgeOracle } from "./oracle.ts";
import { holdingWaivers } from "./review-findings.ts";
import { generalReview, securityReview } from "./review-text.ts";
import { reviewWall } from "./review-wall.ts";
import { TASK } from "./task-ids.ts";
import { scanChange } from "./secret-scan.ts";
import { filesToMeasure, slopFindings, type FileLengths } from "./slop.ts";
import { projectDirOf, type Workspace } from "./workspace.ts";

const PATCH_BYTES_MAX = 16 * 1024 * 1024;
/** Files whose whole length is looked at, and the size up to which that is done. */
const MEASURED_FILES_MAX = 200;
const MEASURED_BYTES_MAX = 1024 * 1024;

const GENERAL = "goal-review.md";
const SECURITY = "goal-security-review.md";

/** Reviews the present result and records the wall, the findings and what the oracle's checks rest on. */
export async function runReview(
  open: OpenGoal,
  space: Workspace,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<void> {
  const { work } = open;
  const tree = work.result?.tree ?? work.base?.tree ?? "";
  const { review: wanted = {} } = ports.settings(projectDirOf(open.id, open.goal));
  const found = await gather(open, space, wanted, ports, signal);
  const sections = wallOf(open, wanted, found);
  const oracle = judgeOracle(await oracleFacts(open, space, ports, signal));
  const at = instantOf(ports.clock.now());
  const head = { goalId: open.id, at };
  const gates = open.work.gates?.results ?? [];
  const security = sections.find(({ pass }) => pass === "security");
  const reviewed = open.work.gates?.tree === tree && gatesState(open.work) === "green";
  const isClean = security?.status === "passed";
  const texts = [
    [GENERAL, ports.redactor.text(generalReview(head, sections, tasksAfter(open, reviewed, isClean), gates))],
    [SECURITY, ports.redactor.text(securityReview(head, security, found.changes, found.allowed))],
  ] as const;
  const folder = join(open.folder, "artifacts", "reviews", String(open.journal.nextSeq));
  const files = [];
  for (const [name, text] of texts) files.push(await keepEvidence(open, join(folder, name), text, ports));
  const general = taskEnd(TASK.review, { isDone: reviewed, kind: "review", name: GENERAL, tree, at });
  const secured = taskEnd(TASK.securityReview, {
    isDone: isClean,
    kind: "security_review",
    name: SECURITY,
    tree,
    at,
  });
  await open.record(
    {
      ...general.event,
      changes: [
        general.change,
        secured.change,
        change("goal.json", { artifacts: artifactsWith(open, at) }),
        change("work.json", {
          review: { tree, gates_run: open.work.gates?.run ?? null, sections, oracle, at },
          evidence: [...open.work.evidence, ...files],
        }),
      ],
    },
    secured.event,
  );
  // Under the names of 0.5.0, which scripts know: copies of the evidence, made when the log has it.
  for (const [name, text] of texts)
    await replaceFile(join(open.folder, "artifacts", "reviews", name), text, ports);
  const blocked = sections.filter((section) => section.status === "blocked").map((section) => section.pass);
  const advice = found.slop.length;
  ports.tell(blocked.length === 0 ? "review: all sections passed" : `review: blocked: ${blocked.join(", ")}`);
  if (advice > 0 && !blocked.includes("anti-slop"))
    ports.tell(`review: ${advice} ${advice === 1 ? "remark" : "remarks"} in artifacts/reviews/${GENERAL}`);
}

/** What the configuration says about reviews. */
type Wanted = NonNullable<Settings["review"]>;

/** What only the trees can say. */
interface Gathered {
  changes: TreeChange[];
  secrets: ReviewFinding[];
  slop: ReviewFinding[];
  /** How many entries the lists of allowed secrets have. */
  allowed: number;
}

async function gather(
  open: OpenGoal,
  { tree }: Workspace,
  { allowed_secrets: ownList = [] }: Wanted,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Gathered> {
  const { work } = open;
  const base = work.base?.tree ?? "";
  const result = work.result?.tree ?? base;
  if (base === "") return { changes: [], secrets: [], slop: [], allowed: 0 };
  const changes = await tree.changes(base, result, signal);
  const patch = await tree.patch(base, result, PATCH_BYTES_MAX, signal);
  const entries = [...(await readAllowList(tree, base, ports, signal)), ...ownList];
  const scanned = { tree, base, result, changes, patch };
  const secrets = await scanChange(scanned, ports.redactor, allowedBy(entries), signal);
  const lengths = await measure(tree, { base, result, patch: patch.text }, changes, signal);
  return { changes, secrets, slop: slopFindings(patch.text, lengths), allowed: entries.length };
}

/** How long the files are that the change adds much to. */
async function measure(
  tree: Pick<WorkTree, "readAll">,
  { base, result, patch }: { base: string; result: string; patch: string },
  changes: readonly TreeChange[],
  signal: AbortSignal,
): Promise<Map<string, FileLengths>> {
  const kinds = new Map(changes.map(({ path, kind }) => [path, kind]));
  const lengths = new Map<string, FileLengths>();
  const files = filesToMeasure(patch).slice(0, MEASURED_FILES_MAX);
  const isNew = (path: string): boolean => kinds.get(path) === "added";
  const known = files.filter(({ path }) => !isNew(path)).map(({ path }) => path);
  const befores = tree.readAll(base, known, MEASURED_BYTES_MAX, signal);
  const afters = tree.readAll(result, known, MEASURED_BYTES_MAX, signal);
  for (const { path, added } of files) {
    // Of a new file, the patch has every line.
    if (isNew(path)) lengths.set(path, { before: 0, after: added });
    else {
      const before = lineCount((await befores.next()).value?.bytes);
      lengths.set(path, { before, after: lineCount((await afters.next()).value?.bytes) });
    }
  }
  return lengths;
}

function lineCount(bytes: Uint8Array | undefined): number {
  return bytes ? Buffer.from(bytes).toString("latin1").split("\n").length - 1 : 0;
}

function wallOf(
  { work, goal, graph }: OpenGoal,
  wanted: Wanted,
  { secrets, slop }: Gathered,
): ReviewArtifact[] {
  const tree = work.result?.tree ?? work.base?.tree;
  return reviewWall({
    executed: work.attempts.some(({ status }) => status === "ended") && openTasks(graph, work).length === 0,
    changedFiles: (work.result?.changed_files ?? []).map(({ path }) => path),
    gates: work.gates?.tree === tree ? (work.gates?.results ?? []) : [],
    green: gatesState(work) === "green",
    performanceWanted: kindOf(goal) === "performance" || wanted.require_performance === true,
    secrets,
    slop,
    agentReview: work.agent_review?.tree === tree ? work.agent_review : undefined,
    waivers: holdingWaivers(work.waivers, tree),
  });
}

/** The tasks as they stand when this review is recorded. */
function tasksAfter({ graph }: OpenGoal, reviewed: boolean, isClean: boolean): Pick<TaskGraph, "tasks"> {
  const status = new Map([
    [TASK.review as string, reviewed],
    [TASK.securityReview, isClean],
  ]);
  return {
    tasks: graph.tasks.map((task) => {
      const isDone = status.get(task.id);
      return isDone === undefined ? task : { ...task, status: isDone ? "done" : "blocked" };
    }),
  };
}

/** What ends one of the two tasks. */
function taskEnd(
  id: string,
  { isDone, kind, name, tree, at }: { isDone: boolean; kind: string; name: string; tree: string; at: string },
) {
  const evidence = [{ kind, path: `artifacts/reviews/${name}`, summary: isDone ? "passed" : "blocked" }];
  const status = isDone ? "done" : "blocked";
  return {
    event: {
      kind: isDone ? "task_completed" : "task_failed",
      actor: "goal-controller",
      payload: { task_id: id, worker_id: "goal-controller", tree },
    },
    change: changeTask(
      id,
      { status, owner_role: "goal-controller", evidence, ...(isDone && { completed_at: at }) },
      isDone ? undefined : ["completed_at"],
    ),
  };
}

/** The goal's artifacts with the two files, each once. */
function artifactsWith({ goal }: OpenGoal, at: string) {
  const artifacts = [...goal.artifacts];
  for (const [kind, name] of [
    ["review", GENERAL],
    ["security_review", SECURITY],
  ] as const) {
    if (!artifacts.some((one) => one.kind === kind))
      artifacts.push({ kind, path: `artifacts/reviews/${name}`, created_at: at });
  }
  return artifacts;
}
