/**
 * A team run from the first word to the proof: the base, the tasks, the workers, the gates, the verdict. Every step is
 * decided from what the log says was done, so a run that was killed anywhere goes on at the same step.
 */
import { join } from "node:path";

import type { Engine, Turn } from "../engine/engine.ts";
import { refuseSecretEngine } from "../engine/select.ts";
import { isOutside, summaryOf, TURN_MS_MAX } from "../engine/turn.ts";
import { OmkError } from "../errors.ts";
import type { GateSet } from "../format/gate.ts";
import type { RunAttempt, TeamWork } from "../format/team-work.ts";
import { instantOf } from "../format/stamp.ts";
import { refuseSecrets } from "../gate/definitions.ts";
import { judgeResult, runGateSet, type GateSubject } from "../gate/steps.ts";
import { changedFiles } from "../git/changed-files.ts";
import type { WorkTree } from "../git/work-tree.ts";
import { nowOf, Scheduler } from "../scheduler/scheduler.ts";
import { holdProject, UNHURRIED } from "../store/project-claim.ts";
import { ensureFolder, writeOnce } from "../store/files.ts";
import { foldFolder } from "../store/journal.ts";
import { LineTail } from "../store/line-tail.ts";
import { RunBudget, costOf, costSoFar } from "./budget.ts";
import { Crew, transcriptEvidence, type Stop } from "./crew.ts";
import {
  decomposePrompt,
  fallbackSubtasks,
  parseDecomposition,
  tasksOf,
  type Decomposition,
} from "./decompose.ts";
import { isFinished, resumableTeam } from "./find.ts";
import { helperTurn } from "./helper-turn.ts";
import { Mailbox } from "./mailbox.ts";
import { concludeRun } from "./conclude.ts";
import { change, OpenRun, type RunPorts } from "./open.ts";
import { OPERATIONS, verdictOf, writeProofFiles, writeRunProof, type RunVerdict } from "./proof.ts";
import { recoverRun } from "./recover.ts";
import { roleOf, type RolePack } from "./roles.ts";
import { serveShutdown, ShutdownRequest } from "./shutdown.ts";
import { reportLines, SYNTHESIS_MS, synthesisPrompt } from "./synthesize.ts";
import { Worker } from "./worker.ts";

/** What a new run is asked for; checked by the caller but for what is said at `startRun`. */
export interface RunRequest {
  name: string;
  text: string;
  projectDir: string;
  workers: number;
  role: RolePack;
  engine: string;
  gates: GateSet;
  maxAttempts: number;
  budget: { ms?: number; tokens?: number; usd?: number };
  idleMs: number;
  /** How long a silent worker keeps its task; null follows from `idleMs`. */
  leaseMs: number | null;
}

/** How a run ended. */
export interface RunOutcome {
  open: OpenRun;
  verdict: RunVerdict;
}

const DECOMPOSE_MS = 5 * 60_000;

/** A run begins with its first whole event; a folder in which there is none was left by an omk that was killed before that. */
function isStarted(folder: string, ports: RunPorts): boolean {
  if ((ports.disk.stat(join(folder, "team-state.json"))?.size ?? 0) > 0) return true;
  const { validBytes, damage } = foldFolder(folder, ports).log;
  return validBytes > 0 || damage.length > 0;
}

/**
 * Makes a run and works on it to its end. Refuses a name that exists (`team.exists`), a directory somebody works in
 * (`state.busy`) and an engine that is not there, before anything is written.
 */
export async function startRun(
  request: RunRequest,
  ports: RunPorts,
  signal: AbortSignal,
  created: (open: OpenRun) => void,
): Promise<RunOutcome> {
  const folder = join(ports.root, "team", request.name);
  if (isStarted(folder, ports)) {
    throw new OmkError("team.exists", `A team run called ${request.name} exists already.`, {
      hint: `Go on with it: omk team run --resume --name ${request.name}. Or choose another name.`,
    });
  }
  refuseSecretEngine(request.engine, ports.redactor);
  refuseSecrets(request.gates, ports.redactor);
  const engine = ports.engineNamed(request.engine, request.projectDir);
  const held = await holdProject(request.projectDir, "team run", ports, signal);
  try {
    const open = await OpenRun.open(request.name, "team run", ports, signal);
    try {
      if (open.journal.position.seq > 0) {
        throw new OmkError("team.exists", `A team run called ${request.name} has just been started.`, {
          hint: "Choose another name.",
        });
      }
      await recordStart(open, request, engine, ports, signal);
      created(open);
      return { open, verdict: await driveRun(open, engine, ports, signal) };
    } finally {
      await open.close();
    }
  } finally {
    await held.release(true);
  }
}

/** Goes on with a run that was interrupted. A finished one is left as it is, and its verdict given. */
export async function resumeRun(
  wanted: string,
  more: { engine?: string; budget: RunRequest["budget"] },
  ports: RunPorts,
  signal: AbortSignal,
): Promise<RunOutcome> {
  // Before anything is written: runs of 0.5.0 and imported ones are only looked at.
  const { name } = resumableTeam(ports.root, wanted, ports);
  const open = await OpenRun.open(name, "team run --resume", ports, signal);
  try {
    if (isFinished(open.state)) {
      // Its end is in the log; what is made from it may still be missing.
      const verdict = verdictOf(open);
      if (open.proof && open.wasProven) await writeProofFiles(open, open.proof, ports);
      else await writeRunProof(open, verdict, ports);
      return { open, verdict };
    }
    const { project_dir: projectDir } = open.work;
    const real = ports.disk.realPath(projectDir);
    if (real === undefined || ports.disk.stat(real)?.kind !== "folder") {
      throw new OmkError(
        "state.io",
        `The project directory ${projectDir} of team run ${name} is not there any more.`,
        {
          hint: "Put it back, then resume again.",
        },
      );
    }
    const engine = ports.engineNamed(more.engine ?? open.work.engine, real);
    const held = await holdProject(real, "team run --resume", ports, signal);
    try {
      await recordResume(open, more);
      return { open, verdict: await driveRun(open, engine, ports, signal) };
    } finally {
      await held.release(true);
    }
  } finally {
    await open.close();
  }
}

/** One write: whatever part of it survives a crash is a run that says what it is. */
async function recordStart(
  open: OpenRun,
  request: RunRequest,
  engine: Engine,
  ports: RunPorts,
  signal: AbortSignal,
): Promise<void> {
  const created_at = instantOf(ports.clock.now());
  const version = (await engine.probe(signal)).version;
  const { budget } = request;
  const work: TeamWork = {
    version: 1,
    project_dir: request.projectDir,
    engine: request.engine,
    engine_version: version,
    max_attempts: request.maxAttempts,
    role: { id: request.role.id, system_prompt: request.role.systemPrompt, tools: [...request.role.tools] },
    ...(budget.ms !== undefined && { budget_ms: budget.ms }),
    ...(budget.tokens !== undefined && { budget_tokens: budget.tokens }),
    ...(budget.usd !== undefined && { budget_usd: budget.usd }),
    idle_ms: request.idleMs,
    lease_ms: request.leaseMs,
    gates: request.gates,
    base: null,
    baseline: null,
    decomposition: null,
    result: null,
    verification: null,
    synthesis: null,
    stopped: null,
    helper_usage: { tokens: 0, usd: 0 },
    side_effects: [],
    evidence: [],
    active_ms: 0,
  };
  await open.record({
    kind: "run_started",
    actor: null,
    payload: {
      mode: "team",
      project_dir: request.projectDir,
      description: request.text,
      engine: request.engine,
      ...(version !== null && { engine_version: version }),
    },
    changes: [
      change("team-state.json", {
        version: 1,
        name: open.id,
        task: request.text,
        created_at,
        worker_count: request.workers,
        worker_role: request.role.id,
        phase: "Planning",
        state_dir: open.folder,
      }),
      change("manifest.json", {
        run_id: open.id,
        mode: "team",
        created_at,
        project_dir: request.projectDir,
        description: request.text,
      }),
      change("team-work.json", work),
    ],
  });
  await open.saveViews();
}

async function recordResume(
  open: OpenRun,
  more: { engine?: string; budget: RunRequest["budget"] },
): Promise<void> {
  const { budget } = more;
  await open.record({
    kind: "run_resumed",
    actor: "omk-cli",
    payload: { phase: open.state.phase, ...(open.work.stopped && { stopped: open.work.stopped.code }) },
    changes: [
      change("team-work.json", {
        stopped: null,
        ...(more.engine !== undefined && { engine: more.engine }),
        ...(budget.ms !== undefined && { budget_ms: budget.ms }),
        ...(budget.tokens !== undefined && { budget_tokens: budget.tokens }),
        ...(budget.usd !== undefined && { budget_usd: budget.usd }),
      }),
      change("team-state.json", { phase: open.tasks.length === 0 ? "Planning" : "Executing" }),
    ],
  });
}

/** What every step is given. */
interface Steps {
  open: OpenRun;
  tree: WorkTree;
  engine: Engine;
  budget: RunBudget;
  ports: RunPorts;
}

/** Takes the run from where it stands to its end, and writes that down. */
async function driveRun(
  open: OpenRun,
  engine: Engine,
  ports: RunPorts,
  signal: AbortSignal,
): Promise<RunVerdict> {
  const { work } = open;
  const tree = await ports.openWorkTree({
    projectDir: work.project_dir,
    goalDir: open.folder,
    goalId: open.id,
  });
  if (tree.kind === "folder")
    ports.tell(`no git repository in ${work.project_dir}: the proof will have no git evidence`);
  await recoverRun(open, ports);
  const budget = new RunBudget(
    {
      ms: work.budget_ms ?? Infinity,
      tokens: work.budget_tokens ?? Infinity,
      usd: work.budget_usd ?? Infinity,
    },
    { activeMs: work.active_ms, ...costSoFar(work, open.attempts) },
    ports.clock,
  );
  const steps: Steps = { open, tree, engine, budget, ports };
  const stopped = await serveShutdown(open, ports, signal, (stop) => workThrough(steps, stop));
  return conclude(steps, stopped);
}

/** Step after step; the reason when something stopped the run before its end. */
async function workThrough(steps: Steps, signal: AbortSignal): Promise<Stop | undefined> {
  const { open, budget } = steps;
  try {
    if (!open.work.base) await layGround(steps, signal);
    const unplanned = open.work.decomposition
      ? undefined
      : (budget.exhausted() ?? (await plan(steps, signal)));
    if (unplanned) return unplanned;
    const stopped = await execute(steps, signal);
    if (stopped) return stopped;
    signal.throwIfAborted();
    await settleResult(steps, signal);
    if (open.tasks.every(({ state }) => state === "completed")) {
      if (!open.work.synthesis) await synthesize(steps, signal);
      await verify(steps, signal);
    }
    return undefined;
  } catch (error) {
    if (signal.aborted && error === signal.reason) return stopOf(signal);
    throw error;
  }
}

/** Why a signal stops the run. */
function stopOf(signal: AbortSignal): Stop {
  return signal.reason instanceof ShutdownRequest
    ? { code: "shutdown", reason: "stopped by omk team shutdown" }
    : { code: "interrupted", reason: "interrupted by the user" };
}

/** The files as found, and what the gates say of them. */
async function layGround({ open, tree, ports }: Steps, signal: AbortSignal): Promise<void> {
  const base = await tree.snapshot(signal);
  const commit = (await tree.head(signal)) ?? null;
  if (commit !== null) await tree.pinBase(commit, signal);
  const subject = gateSubject(open, tree);
  const run = await runGateSet(
    subject,
    { tree: base, where: "worktree", cwd: tree.root, name: "base" },
    ports,
    signal,
  );
  const after = await tree.snapshot(signal);
  const side_effects = (await tree.changes(base, after, signal)).map(({ path }) => path);
  if (run.results.length > 0)
    ports.tell(`baseline: ${run.results.map(({ name, verdict }) => `${name} ${verdict}`).join(", ")}`);
  await open.record({
    kind: "baseline_recorded",
    actor: "scheduler",
    payload: { tree: base, commit, run: run.id },
    changes: [
      change("team-work.json", {
        base: { tree: base, start: after, commit },
        baseline: { tree: base, gates: run.results },
        side_effects,
        evidence: [...open.work.evidence, ...run.evidence],
      }),
    ],
  });
}

function gateSubject(open: OpenRun, tree: WorkTree): GateSubject {
  const { work } = open;
  return {
    folder: open.folder,
    definitions: work.gates.definitions,
    base: work.base ? { tree: work.base.tree } : undefined,
    baseline: work.baseline?.gates ?? [],
    nextSeq: () => open.journal.nextSeq,
    record: (...events) => open.record(...events),
    tree,
  };
}

/** Splits the task, by the engine's answer or, when that is no use, by rule. */
async function plan(steps: Steps, signal: AbortSignal): Promise<Stop | undefined> {
  const { open, ports } = steps;
  const { state, work } = open;
  const { worker_count: count, task: text } = state;
  let source: "engine" | "fallback" | "given" = "given";
  let reason: string | null = null;
  let subtasks = [
    {
      id: "task-1",
      description: text,
      dependencies: [] as string[],
      read_set: [] as string[],
      write_set: [] as string[],
    },
  ];
  if (count > 1) {
    ports.tell(`${steps.engine.name} splits the task for ${count} workers`);
    const turn = await helper(
      steps,
      {
        role: "decompose",
        task: "decompose",
        text: decomposePrompt(text, count, work.role.system_prompt),
        turnMs: DECOMPOSE_MS,
      },
      signal,
    );
    signal.throwIfAborted();
    if (isOutside(turn)) return outsideStop(turn, ports);
    const answer: Decomposition =
      turn.status === "finished"
        ? parseDecomposition(turn.text, count)
        : { ok: false, because: summaryOf(turn, ports.redactor) };
    source = answer.ok ? "engine" : "fallback";
    subtasks = answer.ok ? answer.subtasks : fallbackSubtasks(text, count);
    if (!answer.ok) {
      reason = answer.because;
      ports.tell(`the task could not be split (${answer.because}): every worker gets all of it`);
    }
  }
  const tasks = tasksOf(subtasks, work.max_attempts, ports.clock.now());
  await open.record({
    kind: "decomposition_recorded",
    actor: "scheduler",
    payload: { source, tasks: tasks.length, ...(reason !== null && { reason }) },
    changes: [
      change("team-work.json", { decomposition: { source, reason } }),
      change("team-state.json", { phase: "Executing" }),
      { file: "tasks.jsonl", set: { tasks } },
    ],
  });
  await open.saveViews();
  for (const { id, description } of tasks) ports.tell(`task ${id}: ${description.split("\n", 1)[0]}`);
  return undefined;
}

function outsideStop(turn: Turn, ports: RunPorts): Stop {
  return { code: `agent_${turn.failure?.class ?? "provider"}`, reason: summaryOf(turn, ports.redactor) };
}

/** A turn that belongs to no task, charged to the run and kept as evidence. */
async function helper(
  steps: Steps,
  ask: { role: "decompose" | "synthesize"; task: string; text: string; turnMs: number },
  signal: AbortSignal,
): Promise<Turn> {
  const { open, budget, ports } = steps;
  const { turn, evidence } = await helperTurn(
    {
      ...ask,
      engine: steps.engine,
      cwd: steps.tree.root,
      turnMs: Math.min(ask.turnMs, budget.leftMs()),
      open,
    },
    ports,
    signal,
  );
  const used = costOf(turn.usage);
  budget.settle(turn.usage);
  const { helper_usage: before } = open.work;
  await open.record({
    kind: "helper_ended",
    actor: "omk-cli",
    payload: { role: ask.role, spawn_id: evidence.spawnId, outcome: turn.status },
    changes: [
      change("team-work.json", {
        helper_usage: { tokens: before.tokens + used.tokens, usd: before.usd + used.usd },
        evidence: [...open.work.evidence, evidence.file],
      }),
    ],
  });
  return turn;
}

/** Lets the workers work until every task has ended. */
async function execute(steps: Steps, signal: AbortSignal): Promise<Stop | undefined> {
  const { open, budget, ports } = steps;
  const { work } = open;
  const scheduler = new Scheduler(open.tasks);
  const workers = await openWorkers(steps, Math.min(open.state.worker_count, Math.max(1, open.tasks.length)));
  const limits = { idleMs: work.idle_ms, leaseMs: work.lease_ms, turnMs: TURN_MS_MAX };
  const crew = new Crew(open, workers, scheduler, { budget, limits }, ports);
  await crew.hearEarlier();
  await recordRecovery(open, scheduler, ports);
  const before = open.attempts.length;
  let stopped: Stop | undefined;
  try {
    stopped = await crew.work(signal);
  } finally {
    for (const worker of workers) await worker.beat("stopped");
  }
  if (open.attempts.length > before || stopped) await open.saveViews();
  return stopped?.code === "interrupted" ? stopOf(signal) : stopped;
}

/** Attempts of a controller that died, which nobody reported: they are not counted, and their tasks are to be done. */
async function recordRecovery(open: OpenRun, scheduler: Scheduler, ports: RunPorts): Promise<void> {
  const now = nowOf(ports.clock);
  const changed = scheduler.recover(now);
  const lost = open.attempts.filter(({ status }) => status === "running");
  if (changed.length === 0 && lost.length === 0) return;
  await open.record({
    kind: "retry_scheduled",
    actor: "scheduler",
    payload: {
      task_id: lost[0]?.task_id ?? changed[0]?.id ?? "",
      reason: "the controller died",
      stale_worker_id: lost[0]?.worker_id ?? null,
    },
    changes: [
      ...changed.map(({ id, set }) => ({ file: "tasks.jsonl", id, set })),
      ...lost.map((attempt) => ({
        file: "attempts.jsonl",
        id: attempt.id,
        set: {
          status: "interrupted",
          ended_at: instantOf(now.wall),
          // Whether the agent had said anything: five executions without a word in a row end the run.
          summary: hasSpoken(open, attempt, ports) ? "cut off when omk ended" : null,
          evidence: transcriptEvidence(open, attempt, ports),
        },
      })),
    ],
  });
}

function hasSpoken(open: OpenRun, attempt: RunAttempt, ports: RunPorts): boolean {
  // The first line of a transcript is the prompt, which is ours.
  const path = Worker.transcriptPath(open.folder, attempt.task_id, Number(attempt.id));
  const lines = new LineTail(path, 0, ports).read();
  return lines.lines.length + lines.skipped > 1;
}

async function openWorkers({ open, engine, tree, ports }: Steps, count: number): Promise<Worker[]> {
  const { work, state } = open;
  const role = roleOf(work);
  const place = { runFolder: open.folder, projectDir: tree.root, engine, role, idleMs: work.idle_ms };
  const workers: Worker[] = [];
  await ensureFolder(join(open.folder, "artifacts", "agent-runs"), ports);
  for (let at = 0; at < count; at++) {
    const name = `worker-${at}`;
    const folder = join(open.folder, "workers", name);
    const mailbox = await Mailbox.open(folder, ports);
    if (!ports.disk.stat(mailbox.path("worker-spec.json"))) {
      await mailbox.keep("worker-spec.json", {
        name,
        role: state.worker_role,
        inbox: mailbox.path("inbox.jsonl"),
        outbox: mailbox.path("outbox.jsonl"),
        heartbeat: mailbox.path("heartbeat.json"),
        project_dir: tree.root,
        approval_policy: "yolo",
        approval_timeout_secs: 300,
        tools: work.role.tools,
      });
    }
    workers.push(new Worker(name, mailbox, place, ports));
  }
  await open.record(
    ...workers.map(({ name }) => ({
      kind: "worker_started",
      actor: name,
      payload: { worker_id: name, role: state.worker_role },
    })),
  );
  return workers;
}

/**
 * What the work has left, and how it differs from the base. What only gates wrote is no change: neither what the baseline
 * did before the work began, nor what the gates on the result did to it.
 */
async function settleResult({ open, tree }: Steps, signal: AbortSignal): Promise<void> {
  const { base, side_effects, result, verification } = open.work;
  if (!base) return;
  const now = await tree.snapshot(signal);
  const known = verification?.tree ?? result?.tree;
  if (known !== undefined) {
    const ours = new Set(side_effects);
    const changes = await tree.changes(known, now, signal);
    if (changes.every(({ path }) => ours.has(path))) return;
  }
  const by = { attempts: [{ start_tree: base.start, result_tree: now }], outside: [] };
  const changed = await changedFiles(tree, base.tree, now, signal, by);
  await open.record(
    {
      kind: "result_recorded",
      actor: "scheduler",
      payload: { tree: now, changed_files: changed.length },
      changes: [
        change("team-work.json", {
          result: { tree: now, changed_files: changed.map((one) => ({ ...one })) },
        }),
      ],
    },
    ...changed.slice(0, FILE_EVENTS_MAX).map(({ path, kind }) => ({
      kind: "file_changed",
      actor: null,
      payload: { path, operation: OPERATIONS[kind] },
    })),
  );
}

/** Beyond this many files the list in `team-work.json` is enough. */
const FILE_EVENTS_MAX = 1_000;

/** Asks for two or three sentences about what was done; a run is no worse without them. */
async function synthesize(steps: Steps, signal: AbortSignal): Promise<void> {
  const { open, ports } = steps;
  const lines = reportLines(open);
  let text: string | null = null;
  // One worker's own words need no summary.
  if (lines.length > 1 && !steps.budget.exhausted()) {
    const turn = await helper(
      steps,
      {
        role: "synthesize",
        task: "synthesis",
        text: synthesisPrompt(open.state.task, lines),
        turnMs: SYNTHESIS_MS,
      },
      signal,
    );
    signal.throwIfAborted();
    if (turn.status === "finished") text = summaryOf(turn, ports.redactor);
    else ports.tell(`no summary of the run: ${summaryOf(turn, ports.redactor)}`);
  }
  if (text !== null) await writeOnce(join(open.folder, "synthesis.txt"), text, ports);
  await open.record({
    kind: text === null ? "synthesis_left_out" : "task_completed",
    actor: "synthesis-agent",
    payload: text === null ? { task_id: "synthesis" } : { task_id: "synthesis", summary: text },
    changes: [change("team-work.json", { synthesis: { text } })],
  });
}

/** The gates on what is there now. */
async function verify(steps: Steps, signal: AbortSignal): Promise<void> {
  const { open, tree, ports } = steps;
  await settleResult(steps, signal);
  const { work } = open;
  const now = work.result?.tree;
  if (now === undefined || work.gates.definitions.length === 0 || work.verification?.tree === now) return;
  await open.record({
    kind: "verification_started",
    actor: "scheduler",
    payload: { tree: now },
    changes: [change("team-state.json", { phase: "Verifying" })],
  });
  await open.saveViews();
  const reusable = work.baseline?.tree === now ? { reusable: work.baseline.gates } : {};
  const judged = await judgeResult(gateSubject(open, tree), now, reusable, ports, signal);
  ports.tell(`gates: ${judged.gates.results.map(({ name, verdict }) => `${name} ${verdict}`).join(", ")}`);
  await open.record({
    kind: "verification_recorded",
    actor: "scheduler",
    payload: { tree: now, run: judged.gates.run, passed: judged.passed },
    changes: [
      change("team-work.json", {
        verification: judged.gates,
        side_effects: [...new Set([...work.side_effects, ...judged.gates.side_effects])],
        evidence: [...open.work.evidence, ...judged.evidence],
      }),
    ],
  });
}

/** What the work has left is kept, then the run's end is written down. */
async function conclude(steps: Steps, stopped: Stop | undefined): Promise<RunVerdict> {
  const { open, budget, ports } = steps;
  await settleResult(steps, UNHURRIED);
  const undo = await keepTrees(steps);
  await open.record({
    kind: "trees_kept",
    actor: "scheduler",
    payload: { active_ms: Math.round(budget.activeMs) },
    changes: [
      change("team-work.json", {
        active_ms: budget.activeMs,
        ...(undo !== undefined && { undo }),
      }),
    ],
  });
  return concludeRun(open, stopped, ports);
}

/** Keeps both trees in git and gives the command that takes the work back, if there is any. */
async function keepTrees({ open, tree }: Steps): Promise<string | undefined> {
  const { base, result } = open.work;
  if (!base || !result || base.tree === result.tree) return undefined;
  const from = await tree.keep(result.tree, "result", UNHURRIED);
  const to = await tree.keep(base.tree, "base", UNHURRIED);
  return from && to ? tree.undo(from, to) : undefined;
}
