/** What all attempts have in common, wherever they work: the claim, the watched turn, and what is kept of it. */
import { join } from "node:path";

import type { Approvals } from "../approval/approvals.ts";
import { tellUnasking } from "../approval/settings.ts";
import { takeGuardedTurn } from "../approval/turn.ts";
import type { Engine, Turn } from "../engine/engine.ts";
import { HANDSHAKE_MS, IDLE_MS, isHeld, isOutside, summaryOf, Transcript } from "../engine/turn.ts";
import { renderDocument } from "../format/json.ts";
import type { Usage } from "../format/proof.ts";
import { instantOf } from "../format/stamp.ts";
import type { GoalTask, TaskGraph } from "../format/task-graph.ts";
import type { Attempt } from "../format/work.ts";
import type { WorkTree } from "../git/work-tree.ts";
import { evidenceOf, keepEvidence, type EvidenceFile } from "../store/evidence.ts";
import { ensureFolder } from "../store/files.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import { agentTasks, workerOf } from "./agent-tasks.ts";
import { TaskClaim } from "./claim.ts";
import type { GoalTurnMeter } from "./metering.ts";
import type { NextAttempt } from "./next-step.ts";
import { change, changeTask, type GoalPorts, type OpenGoal } from "./open.ts";
import { writeTaskPolicy } from "./proposals.ts";

const PATCH_BYTES_MAX = 4 * 1024 * 1024;

/** An attempt that is to be made. */
export interface AttemptOrder extends NextAttempt {
  engine: Engine;
  approvals: Approvals;
  worker: string;
}

/** An attempt that has its task, and is in the log. */
export interface ClaimedAttempt {
  attempt: Attempt;
  claim: TaskClaim;
}

/** The task of an order. */
export function orderedTask(open: OpenGoal, { task: id }: NextAttempt): GoalTask {
  const task = open.graph.tasks.find((one) => one.id === id);
  if (!task) throw new Error(`The goal ${open.id} has no task ${id}.`);
  return task;
}

/** Claims the task and records that the attempt has begun. */
export async function claimAttempt(
  open: OpenGoal,
  { task: id, number, worker }: AttemptOrder,
  given: { turnMs: number; start: Pick<Attempt, "start_tree" | "start_commit"> },
  ports: GoalPorts,
): Promise<ClaimedAttempt> {
  const started = ports.clock.now();
  const claim = new TaskClaim(open, id, worker, given.turnMs, ports);
  const [fence = 0] = await open.record({
    kind: "task_claimed",
    actor: worker,
    payload: { task_id: id, worker_id: worker, lease_deadline: claim.deadline, attempt: number },
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
    result_tree: null,
    started_at: instantOf(started),
    ended_at: null,
    summary: null,
    usage: null,
    counted: false,
    ...given.start,
  };
  await open.update(() => [
    {
      kind: "task_started",
      actor: worker,
      payload: { task_id: id, worker_id: worker, attempt: number, fence, spawn_id: attempt.spawn_id },
      changes: [change("work.json", { attempts: [...open.work.attempts, attempt] })],
    },
  ]);
  return { attempt, claim };
}

/** What a turn is taken with. */
export interface WorkTurnRequest {
  attempt: Attempt;
  task: GoalTask;
  cwd: string;
  prompt: string;
  /** The turn's longest time, and the instant on the monotonic clock from which it counts. */
  turnMs: number;
  startedMs: number;
  meter(): GoalTurnMeter;
}

/** A turn that is over, whatever came of it. */
export interface WorkTurn {
  turn: Turn;
  agent: Attempt["agent"];
  usage: Usage | null;
  /** What was refused last. */
  refused: string | undefined;
  files: EvidenceFile[];
}

/** Where an attempt's evidence lies. */
export function evidenceFolder(open: OpenGoal, { task_id, fence }: Attempt): string {
  return join(open.folder, "artifacts", "agent-runs", task_id, String(fence));
}

/** Takes the turn, with everything about it written down. */
export async function takeWorkTurn(
  open: OpenGoal,
  { engine, approvals }: AttemptOrder,
  request: WorkTurnRequest,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<WorkTurn> {
  const { attempt, task, cwd, prompt, turnMs, startedMs } = request;
  const folder = evidenceFolder(open, attempt);
  await ensureFolder(folder, ports);
  const files: EvidenceFile[] = [
    await keepEvidence(open, join(folder, "prompt.md"), prompt, ports),
    await writeTaskPolicy(open, task, folder, ports),
  ];
  const transcript = new Transcript(join(folder, "engine-events.jsonl"), ports);
  let turn: Turn;
  let agent: Attempt["agent"];
  const permissions = approvals.attempt({
    task: attempt.task_id,
    fence: attempt.fence,
    worker: workerOf(attempt),
    cwd,
    endsAtMs: startedMs + turnMs,
    callsHooks: () => engine.capabilities.hooks,
  });
  const meter = request.meter();
  try {
    ports.tell(`${nameOf(open.graph, attempt)}: ${engine.name} works in ${cwd}`);
    tellUnasking(engine, ports);
    turn = await takeGuardedTurn(
      {
        engine,
        cwd,
        environment: ports.environment,
        spawnId: attempt.spawn_id,
        limits: { handshakeMs: HANDSHAKE_MS, idleMs: IDLE_MS, turnMs },
        prompt: { text: prompt, meta: { role: "work", task: attempt.task_id, attempt: attempt.number } },
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
  return { turn, agent, usage, refused: permissions.refused, files };
}

/** An attempt after its turn, as far as the turn decides what it is. */
export function afterTurn(
  attempt: Attempt,
  { turn, agent, usage, refused }: WorkTurn,
  { interrupted, result_tree }: { interrupted: boolean; result_tree: string | null },
  ports: Pick<GoalPorts, "clock" | "redactor">,
): Attempt {
  return {
    ...attempt,
    status: interrupted ? "interrupted" : "ended",
    outcome: turn.status,
    outcome_code: turn.failure?.class ?? (turn.status === "finished" ? null : turn.status),
    result_tree,
    ended_at: instantOf(ports.clock.now()),
    // Why it was refused says more than what the agent made of it, and the next attempt is told.
    // What the account knows of its usage is more than a turn that was cut off could say.
    summary: (turn.status === "denied" && refused) || summaryOf(turn, ports.redactor, usage ?? turn.usage),
    usage,
    ...(turn.failure?.resets_at !== undefined && { resets_at: turn.failure.resets_at }),
    ...(agent && { agent }),
    counted: !interrupted && !isOutside(turn) && !isHeld(turn),
  };
}

/** Whether an attempt left its task done, as far as its agent is concerned. */
export function isDone({ status, outcome }: Attempt): boolean {
  return status === "ended" && outcome === "finished";
}

/** What the event of an attempt's end says. */
export function endPayload(ended: Attempt): Record<string, unknown> {
  return {
    task_id: ended.task_id,
    worker_id: workerOf(ended),
    attempt: ended.number,
    fence: ended.fence,
    spawn_id: ended.spawn_id,
    outcome: ended.outcome,
    ...(isDone(ended) ? { output_summary: ended.summary } : { error: ended.summary }),
  };
}

/** What the end of an attempt makes of its task. */
export function taskAfter(
  ended: Attempt,
  { files, failures }: { files: readonly EvidenceFile[]; failures: number },
): ReturnType<typeof changeTask> {
  const ok = isDone(ended);
  return changeTask(
    ended.task_id,
    {
      status: ok ? "done" : "blocked",
      owner_role: "executor",
      evidence: files.map(({ path }) => ({
        kind: evidenceKind(path),
        path,
        summary: `attempt ${ended.number}`,
      })),
      retry_count: failures,
      lease_expires_at: null,
      ...(ok && { completed_at: ended.ended_at }),
    },
    ok ? undefined : ["completed_at"],
  );
}

/** How an attempt ended, as far as its claim is concerned. */
export function claimEnd(ended: Attempt): "completed" | "failed" | "not_counted" {
  if (isDone(ended)) return "completed";
  return ended.counted ? "failed" : "not_counted";
}

/** Keeps what the turn changed: the patch, and the list of files. */
export async function keepChanges(
  open: OpenGoal,
  tree: Pick<WorkTree, "changes" | "patch">,
  { folder, start, result }: { folder: string; start: string; result: string },
  ports: GoalPorts,
): Promise<EvidenceFile[]> {
  const changes = await tree.changes(start, result, UNHURRIED);
  const patch = await tree.patch(start, result, PATCH_BYTES_MAX, UNHURRIED);
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
export function nameOf(graph: TaskGraph, { task_id, number }: Pick<Attempt, "task_id" | "number">): string {
  return agentTasks(graph).length > 1 ? `${task_id}, attempt ${number}` : `attempt ${number}`;
}

/** The end of an attempt in a line of the story. */
export function describeEnd(graph: TaskGraph, attempt: Attempt): string {
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
