/** One turn of an agent on a goal: claimed, started, watched, ended, and kept as evidence whatever came of it. */
import { join } from "node:path";

import type { Approvals } from "../approval/approvals.ts";
import { tellUnasking } from "../approval/settings.ts";
import { takeGuardedTurn } from "../approval/turn.ts";
import type { Engine, Turn } from "../engine/engine.ts";
import {
  HANDSHAKE_MS,
  IDLE_MS,
  isHeld,
  isOutside,
  summaryOf,
  Transcript,
  TURN_MS_MAX,
} from "../engine/turn.ts";
import { instantOf } from "../format/stamp.ts";
import { renderDocument } from "../format/json.ts";
import type { Attempt } from "../format/work.ts";
import { changedFiles } from "../git/changed-files.ts";
import { ensureFolder } from "../store/files.ts";
import { keepEvidence, evidenceOf, type EvidenceFile } from "../store/evidence.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import { remainingMs } from "./budget.ts";
import { meterAttempt } from "./metering.ts";
import { TaskClaim } from "./claim.ts";
import { change, changeTask, type GoalPorts, type OpenGoal } from "./open.ts";
import { workPrompt } from "./prompt.ts";
import { TASK } from "./scaffold.ts";
import type { Workspace } from "./workspace.ts";

/** Who does the work, in events. */
const WORKER = "goal-agent-worker-0";
const PATCH_BYTES_MAX = 4 * 1024 * 1024;

/** Runs one attempt to its end and records it. The signal ends it early: then it is not counted. */
export async function runAttempt(
  open: OpenGoal,
  space: Workspace,
  { engine, approvals, number }: { engine: Engine; approvals: Approvals; number: number },
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<void> {
  const { goal, work } = open;
  // Before the attempt is recorded: the documents are live, and this one is not among the earlier ones.
  const prompt = workPrompt(goal, goal.gates?.definitions ?? [], work, number);
  const started = ports.clock.now();
  const startedMs = ports.clock.monotonicMs();
  const turnMs = Math.min(TURN_MS_MAX, remainingMs(open.goal, open.work));
  const start = await space.tree.snapshot(signal);
  const claim = new TaskClaim(open, WORKER, turnMs, ports);
  const [fence = 0] = await open.record({
    kind: "task_claimed",
    actor: WORKER,
    payload: {
      task_id: TASK.execute,
      worker_id: WORKER,
      lease_deadline: claim.deadline,
      attempt: number,
    },
    changes: [changeTask(TASK.execute, { lease_expires_at: claim.deadline })],
  });
  claim.start(fence, number);
  const attempt: Attempt = {
    task_id: TASK.execute,
    number,
    fence,
    run_key: `${TASK.execute}/${fence}`,
    spawn_id: `omk-${ports.random.name(20)}`,
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
  await open.record({
    kind: "task_started",
    actor: WORKER,
    payload: { task_id: TASK.execute, worker_id: WORKER, attempt: number, fence, spawn_id: attempt.spawn_id },
    changes: [change("work.json", { attempts: [...work.attempts, attempt] })],
  });

  const folder = join(open.folder, "artifacts", "agent-runs", TASK.execute, String(fence));
  await ensureFolder(folder, ports);
  const files: EvidenceFile[] = [await keepEvidence(open, join(folder, "prompt.md"), prompt, ports)];
  const transcript = new Transcript(join(folder, "engine-events.jsonl"), ports);
  let turn: Turn;
  let agent: Attempt["agent"];
  const callsHooks = () => engine.capabilities.hooks;
  const permissions = approvals.attempt({
    task: attempt.task_id,
    fence,
    worker: WORKER,
    cwd: space.tree.root,
    endsAtMs: startedMs + turnMs,
    callsHooks,
  });
  const meter = meterAttempt(open, attempt, ports);
  try {
    ports.tell(`attempt ${number}: ${engine.name} works in ${space.tree.root}`);
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
  const outside = isOutside(turn);
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
    counted: !interrupted && !outside && !isHeld(turn),
  };
  const isDone = ended.status === "ended" && ended.outcome === "finished";
  const failures = claim.end(isDone ? "completed" : ended.counted ? "failed" : "not_counted");
  const elapsedMs = ports.clock.monotonicMs() - startedMs;
  await recordEnd(open, space, ended, { files, failures, elapsedMs });
  await refuseProposals(open, turn.proposals);
  ports.tell(describe(ended));
}

/** Everything the end of an attempt changes, in one event. */
async function recordEnd(
  open: OpenGoal,
  space: Workspace,
  ended: Attempt,
  { files, failures, elapsedMs }: { files: readonly EvidenceFile[]; failures: number; elapsedMs: number },
): Promise<void> {
  const { work } = open;
  const ok = ended.status === "ended" && ended.outcome === "finished";
  const tree = ended.result_tree ?? ended.start_tree;
  const attempts = [...work.attempts.slice(0, -1), ended];
  const by = { attempts, outside: [] };
  const changed = work.base ? await changedFiles(space.tree, work.base.tree, tree, UNHURRIED, by) : [];
  const payload = {
    task_id: TASK.execute,
    worker_id: WORKER,
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
  await open.record({
    kind: ok ? "task_completed" : "task_failed",
    actor: WORKER,
    payload,
    changes: [
      change("work.json", {
        attempts,
        result: { tree, changed_files: changed },
        base: work.base && { ...work.base, position: await space.tree.position(UNHURRIED) },
        evidence: [...work.evidence, ...files],
        active_ms: work.active_ms + elapsedMs,
      }),
      changeTask(
        TASK.execute,
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
  });
}

const PROPOSALS_MAX = 50;

/** Agents may propose tasks; this version takes none, and says so in the log. */
async function refuseProposals(open: OpenGoal, proposals: readonly unknown[]): Promise<void> {
  const reason = "this omk does not take proposals";
  const events = proposals
    .slice(0, PROPOSALS_MAX)
    .map((proposal) => ({ kind: "task_rejected", actor: "goal-controller", payload: { reason, proposal } }));
  if (events.length > 0) await open.record(...events);
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

function describe(attempt: Attempt): string {
  const what = attempt.status === "interrupted" ? "interrupted" : (attempt.outcome ?? "ended");
  const said = attempt.summary ? `: ${attempt.summary.split("\n", 1)[0]}` : "";
  return `attempt ${attempt.number} ${what}${said}`;
}

function evidenceKind(path: string): string {
  const kinds: Record<string, string> = {
    "prompt.md": "prompt",
    "engine-events.jsonl": "engine_events",
    "mutation.diff": "mutation_diff",
    "changed-files.json": "changed_files",
  };
  return kinds[path.split("/").at(-1) ?? ""] ?? "agent_run";
}
