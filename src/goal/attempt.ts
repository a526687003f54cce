/** One turn of an agent on a goal: claimed, started, watched, ended, and kept as evidence whatever came of it. */
import { join } from "node:path";

import type { Approvals } from "../approval/approvals.ts";
import { tellUnasking } from "../approval/settings.ts";
import { takeGuardedTurn } from "../approval/turn.ts";
import type { Engine, Turn } from "../engine/engine.ts";
import { HANDSHAKE_MS, IDLE_MS, isHeld, isOutside, summaryOf, Transcript } from "../engine/turn.ts";
import { instantOf } from "../format/stamp.ts";
import { renderDocument } from "../format/json.ts";
import type { Attempt, Work } from "../format/work.ts";
import { changedFiles } from "../git/changed-files.ts";
import type { TreeChange } from "../git/work-tree.ts";
import { ensureFolder } from "../store/files.ts";
import { keepEvidence, evidenceOf, type EvidenceFile } from "../store/evidence.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import { helperPaths } from "./helper.ts";
import { meterAttempt } from "./metering.ts";
import { TaskClaim } from "./claim.ts";
import { change, changeTask, type GoalPorts, type OpenGoal } from "./open.ts";
import { workPrompt } from "./prompt.ts";
import type { NextAttempt } from "./next-step.ts";
import { takeProposals, taskTurnMs, writeTaskPolicy } from "./proposals.ts";
import { outsideAfter, outsideOfAll, strayedBy } from "./write-sets.ts";
import { agentTasks, workerName, workerOf } from "./agent-tasks.ts";
import type { TaskGraph } from "../format/task-graph.ts";
import type { Workspace } from "./workspace.ts";

const PATCH_BYTES_MAX = 4 * 1024 * 1024;

/** Runs one attempt to its end and records it. The signal ends it early: then it is not counted. */
export async function runAttempt(
  open: OpenGoal,
  space: Workspace,
  {
    engine,
    approvals,
    task: id,
    number,
    worker = workerName(0),
  }: { engine: Engine; approvals: Approvals; worker?: string } & NextAttempt,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<void> {
  const { goal, work } = open;
  // Before the attempt is recorded: the documents are live, and this one is not among the earlier ones.
  const task = open.graph.tasks.find((one) => one.id === id);
  if (!task) throw new Error(`The goal ${open.id} has no task ${id}.`);
  const prompt = workPrompt(goal, open.graph, task, work, number);
  const started = ports.clock.now();
  const startedMs = ports.clock.monotonicMs();
  const turnMs = taskTurnMs(goal, work, task);
  const start = await space.tree.snapshot(signal);
  const claim = new TaskClaim(open, id, worker, turnMs, ports);
  const [fence = 0] = await open.record({
    kind: "task_claimed",
    actor: worker,
    payload: {
      task_id: id,
      worker_id: worker,
      lease_deadline: claim.deadline,
      attempt: number,
    },
    changes: [changeTask(id, { status: "pending", lease_expires_at: claim.deadline }, ["completed_at"])],
  });
  claim.start(fence, number);
  const attempt: Attempt = {
    task_id: id,
    number,
    fence,
    run_key: `${id}/${fence}`,
    spawn_id: `omk-${ports.random.name(20)}`,
    worker,
    status: "running",
    outcome: null,
    outcome_code: null,
    start_tree: start,
    result_tree: null,
    started_at: instantOf(started),
    ended_at: null,
    summary: null,
    usage: null,
    counted: false,
  };
  await open.update(() => [
    {
      kind: "task_started",
      actor: worker,
      payload: { task_id: id, worker_id: worker, attempt: number, fence, spawn_id: attempt.spawn_id },
      changes: [change("work.json", { attempts: [...open.work.attempts, attempt] })],
    },
  ]);

  const folder = join(open.folder, "artifacts", "agent-runs", id, String(fence));
  await ensureFolder(folder, ports);
  const files: EvidenceFile[] = [
    await keepEvidence(open, join(folder, "prompt.md"), prompt, ports),
    await writeTaskPolicy(open, task, folder, ports),
  ];
  const transcript = new Transcript(join(folder, "engine-events.jsonl"), ports);
  let turn: Turn;
  let agent: Attempt["agent"];
  const callsHooks = () => engine.capabilities.hooks;
  const permissions = approvals.attempt({
    task: attempt.task_id,
    fence,
    worker,
    cwd: space.tree.root,
    endsAtMs: startedMs + turnMs,
    callsHooks,
  });
  const meter = meterAttempt(open, attempt, ports);
  try {
    ports.tell(`${nameOf(open.graph, attempt)}: ${engine.name} works in ${space.tree.root}`);
    tellUnasking(engine, ports);
    turn = await takeGuardedTurn(
      {
        engine,
        cwd: space.tree.root,
        environment: ports.environment,
        spawnId: attempt.spawn_id,
        limits: { handshakeMs: HANDSHAKE_MS, idleMs: IDLE_MS, turnMs },
        prompt: { text: prompt, meta: { role: "work", task: attempt.task_id, attempt: number } },
        transcript,
        takesProposals: true,
        onEvent: (event) => {
          if (event.kind === "session-started") agent = { name: event.agent, version: event.agent_version };
          meter.take(event);
        },
        stops: [meter.over],
      },
      permissions,
      signal,
    );
  } finally {
    meter.end();
    await transcript.close();
  }
  // Everything that is in the log about the turn's cost is there before its end.
  const usage = await meter.settle(turn.usage);
  files.push(evidenceOf(open, transcript.path, ports));

  const interrupted = signal.aborted;
  const result = await space.tree.snapshot(UNHURRIED);
  files.push(...(await keepChanges(open, space, start, result, folder, ports)));
  const isForeign = isOutside(turn);
  const ended: Attempt = {
    ...attempt,
    status: interrupted ? "interrupted" : "ended",
    outcome: turn.status,
    outcome_code: turn.failure?.class ?? (turn.status === "finished" ? null : turn.status),
    result_tree: result,
    ended_at: instantOf(ports.clock.now()),
    // Why it was refused says more than what the agent made of it, and the next attempt is told.
    summary: (turn.status === "denied" && permissions.refused) || summaryOf(turn, ports.redactor),
    usage,
    ...(turn.failure?.resets_at !== undefined && { resets_at: turn.failure.resets_at }),
    ...(agent && { agent }),
    counted: !interrupted && !isForeign && !isHeld(turn),
  };
  if (isDone(ended)) files.push(...(await takeProposals(open, ended, turn, folder, ports)));
  const failures = claim.end(isDone(ended) ? "completed" : ended.counted ? "failed" : "not_counted");
  const elapsedMs = ports.clock.monotonicMs() - startedMs;
  const outside = await recordEnd(open, space, ended, { files, failures, elapsedMs });
  ports.tell(describe(open.graph, ended));
  if (outside.length > 0)
    ports.tell(`${nameOf(open.graph, ended)} changed files outside its write set: ${outside.join(", ")}`);
}

/** Everything the end of an attempt changes, in one event. */
async function recordEnd(
  open: OpenGoal,
  space: Workspace,
  ended: Attempt,
  { files, failures, elapsedMs }: { files: readonly EvidenceFile[]; failures: number; elapsedMs: number },
): Promise<string[]> {
  const { work, graph } = open;
  const ok = isDone(ended);
  const id = ended.task_id;
  const worker = workerOf(ended);
  const tree = ended.result_tree ?? ended.start_tree;
  const withThis = (attempts: readonly Attempt[]): Attempt[] =>
    attempts.map((one) => (one.fence === ended.fence ? ended : one));
  // What other hands changed before stays a part of the result.
  const before = (work.result?.changed_files ?? []).map(({ path }) => path);
  const meanwhile = await changedBefore(space, work, ended.start_tree);
  const outsiders = meanwhile.map(({ path }) => path);
  const by = { attempts: withThis(work.attempts), outside: [...before, ...outsiders, ...helperPaths(work)] };
  const changed = work.base ? await changedFiles(space.tree, work.base.tree, tree, UNHURRIED, by) : [];
  const own = await space.tree.changes(ended.start_tree, tree, UNHURRIED);
  const isLate = isAfterLost(work, ended);
  const inAttempt = isLate ? [...meanwhile, ...own] : own;
  const isFirst = work.attempts[0]?.fence === ended.fence;
  const position = await space.tree.position(UNHURRIED);
  const write_set = graph.tasks.find((one) => one.id === id)?.write_set ?? [];
  let outside: string[] = [];
  const payload = {
    task_id: id,
    worker_id: worker,
    attempt: ended.number,
    fence: ended.fence,
    spawn_id: ended.spawn_id,
    outcome: ended.outcome,
    ...(ok ? { output_summary: ended.summary } : { error: ended.summary }),
  };
  const evidence = files.map(({ path }) => ({
    kind: evidenceKind(path),
    path,
    summary: `attempt ${ended.number}`,
  }));
  await open.update(() => {
    // As it stands now: others may have ended since this attempt did.
    const now = open.work;
    const others = { meanwhile, sinceBase: changed };
    const known =
      isLate || isFirst
        ? now.outside_write_sets
        : outsideOfAll(now.outside_write_sets, agentTasks(graph), others);
    const standing = { outside_write_sets: known, strayed_by: strayedBy(now, known) };
    outside = outsideAfter(known, { write_set }, { inAttempt, sinceBase: changed });
    return [
      {
        kind: ok ? "task_completed" : "task_failed",
        actor: worker,
        payload,
        changes: [
          change("work.json", {
            attempts: withThis(now.attempts),
            result: { tree, changed_files: changed },
            base: now.base && { ...now.base, position },
            evidence: [...now.evidence, ...files],
            active_ms: now.active_ms + elapsedMs,
            outside_write_sets: outside,
            strayed_by: strayedBy(standing, outside, id),
          }),
          changeTask(
            id,
            {
              status: ok ? "done" : "blocked",
              owner_role: "executor",
              evidence,
              retry_count: failures,
              lease_expires_at: null,
              ...(ok && { completed_at: ended.ended_at }),
            },
            ok ? undefined : ["completed_at"],
          ),
        ],
      },
    ];
  });
  return outside;
}

/** What changed between the last step that looked and the turn, less what gates wrote: nobody's work, but in the result. */
async function changedBefore(space: Workspace, work: Work, start: string): Promise<TreeChange[]> {
  const recorded = work.result?.tree ?? work.base?.tree ?? start;
  if (recorded === start) return [];
  const ours = new Set(work.side_effects);
  const changes = await space.tree.changes(recorded, start, UNHURRIED);
  return changes.filter(({ path }) => !ours.has(path));
}

/** Whether the attempt before this one was cut off with its controller: nobody saw what it had changed by then. */
function isAfterLost({ attempts }: Work, { fence, task_id }: Attempt): boolean {
  const before = attempts[attempts.findIndex((one) => one.fence === fence) - 1];
  return before?.status === "interrupted" && before.result_tree === null && before.task_id === task_id;
}

/** Whether an attempt left its task done, as far as its agent is concerned. */
function isDone({ status, outcome }: Attempt): boolean {
  return status === "ended" && outcome === "finished";
}

/** Keeps what the turn changed: the patch, and the list of files. */
async function keepChanges(
  open: OpenGoal,
  space: Workspace,
  start: string,
  result: string,
  folder: string,
  ports: GoalPorts,
): Promise<EvidenceFile[]> {
  const changes = await space.tree.changes(start, result, UNHURRIED);
  const patch = await space.tree.patch(start, result, PATCH_BYTES_MAX, UNHURRIED);
  const note = patch.truncated
    ? `\n# cut off after ${PATCH_BYTES_MAX} bytes; the trees are kept in git\n`
    : "";
  const listed = { goal_id: open.id, from: start, to: result, changed_files: changes };
  return [
    await keepEvidence(open, join(folder, "mutation.diff"), ports.redactor.text(patch.text) + note, ports),
    await keepEvidence(
      open,
      join(folder, "changed-files.json"),
      renderDocument(ports.redactor.value(listed)),
      ports,
    ),
  ];
}

/** An attempt as the story names it: in a goal with several tasks with its task. */
function nameOf(graph: TaskGraph, { task_id, number }: Pick<Attempt, "task_id" | "number">): string {
  return agentTasks(graph).length > 1 ? `${task_id}, attempt ${number}` : `attempt ${number}`;
}

function describe(graph: TaskGraph, attempt: Attempt): string {
  const what = attempt.status === "interrupted" ? "interrupted" : (attempt.outcome ?? "ended");
  const said = attempt.summary ? `: ${attempt.summary.split("\n", 1)[0]}` : "";
  return `${nameOf(graph, attempt)} ${what}${said}`;
}

function evidenceKind(path: string): string {
  const kinds: Record<string, string> = {
    "prompt.md": "prompt",
    "engine-events.jsonl": "engine_events",
    "mutation.diff": "mutation_diff",
    "changed-files.json": "changed_files",
    "task-policy.json": "task_policy",
    "agent-task-proposals.json": "agent_task_proposals",
  };
  return kinds[path.split("/").at(-1) ?? ""] ?? "agent_run";
}
