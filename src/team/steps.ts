/**
 * The steps of a team run: the base, the tasks, the workers, the gates, the verdict. Each is decided from what the log says
 * was done, so a run that was killed anywhere goes on at the same step.
 */
import { join } from "node:path";

import { approvalsFor, type Approvals } from "../approval/approvals.ts";
import { Breaker, outsideClass, outsideStop, turnResult, type TurnResult } from "../budget/breaker.ts";
import type { Ledger, Reservation } from "../budget/ledger.ts";
import { loggedMeter, UsageLog } from "../budget/usage-log.ts";
import { costOf } from "../budget/usage.ts";
import type { Engine, Turn } from "../engine/engine.ts";
import { isOutside, summaryOf, TURN_MS_MAX } from "../engine/turn.ts";
import { instantOf } from "../format/stamp.ts";
import type { Usage } from "../format/proof.ts";
import type { RunAttempt } from "../format/team-work.ts";
import { judgeResult, runGateSet, type GateSubject } from "../gate/steps.ts";
import { requireGit } from "../git/version.ts";
import type { WorkTree } from "../git/work-tree.ts";
import { nowOf, Scheduler } from "../scheduler/scheduler.ts";
import { ensureFolder } from "../store/files.ts";
import { LineTail } from "../store/line-tail.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import { assureWhole } from "../store/verify.ts";
import { runLedger, type Stop } from "./budget.ts";
import { concludeRun } from "./conclude.ts";
import { Crew, retryEvent, transcriptEvidence } from "./crew.ts";
import {
  decomposePrompt,
  fallbackSubtasks,
  parseDecomposition,
  tasksOf,
  type Decomposition,
} from "./decompose.ts";
import { helperTurn } from "./helper-turn.ts";
import { Mailbox } from "./mailbox.ts";
import { change, changeAttempt, changeTask, type OpenRun, type RunPorts } from "./open.ts";
import { OPERATIONS, type RunVerdict } from "./proof.ts";
import { recoverRun } from "./recover.ts";
import { serveShutdown, ShutdownRequest } from "./requests.ts";
import { roleOf } from "./roles.ts";
import { SharedTree } from "./shared-tree.ts";
import { reportLines, SYNTHESIS_MS, synthesisPrompt } from "./synthesize.ts";
import { Worker } from "./worker.ts";
import type { Sites } from "./sites.ts";
import { Worktrees } from "./worktrees.ts";

const DECOMPOSE_MS = 5 * 60_000;

/** What every step is given. */
interface Steps {
  open: OpenRun;
  sites: Sites;
  /** Named when it is needed: ending a run needs none. */
  engine: () => Engine;
  ledger: Ledger;
  breaker: Breaker;
  approvals: Approvals;
  ports: RunPorts;
}

/** Takes the run from where it stands to its end, and writes that down. The caller holds the project directory. */
export async function driveRun(
  open: OpenRun,
  engine: Engine,
  ports: RunPorts,
  signal: AbortSignal,
): Promise<RunVerdict> {
  const steps = await takeUp(open, () => engine, ports);
  const stopped = await serveShutdown(open, ports, signal, (stop) => workThrough(steps, stop));
  return conclude(steps, stopped);
}

/** Ends a run that its controller left, as its controller would have: what was done is named, what was not stays to be done. */
export async function endOrphan(open: OpenRun, stopped: Stop, ports: RunPorts): Promise<RunVerdict> {
  const engine = (): Engine => ports.engineNamed(open.work.engine, open.work.project_dir);
  const steps = await takeUp(open, engine, ports);
  if (open.work.decomposition) await prepareCrew(steps);
  return conclude(steps, stopped);
}

/** Ends what an earlier controller left, and opens what every step needs. */
async function takeUp(open: OpenRun, engine: () => Engine, ports: RunPorts): Promise<Steps> {
  const { work } = open;
  const sites = await openSites(open, ports);
  if (sites.tree.kind === "folder")
    ports.tell(`no git repository in ${work.project_dir}: the proof will have no git evidence`);
  await recoverRun(open, ports);
  await sites.tidy();
  const ledger = runLedger(work, open.attempts, work.active_ms + unrecordedMs(open, ports), ports);
  // After an outage one turn tries the agent before the others.
  const breaker = new Breaker(endedOutside(open.attempts) ? "half_open" : "closed");
  const approvals = approvalsFor(open.approvals, work, work.project_dir, ports);
  return { open, sites, engine, ledger, breaker, approvals, ports };
}

/** The way of working that the run was made with. */
async function openSites(open: OpenRun, ports: RunPorts): Promise<Sites> {
  const { project_dir: projectDir, isolation } = open.work;
  const request = { projectDir, goalDir: open.folder, goalId: open.id };
  if (isolation !== "worktree") return new SharedTree(open, await ports.openWorkTree(request), ports);
  const git = await ports.openGit(request);
  await requireGit(git, UNHURRIED);
  return new Worktrees(open, git, ports);
}

/** Whether the turn that ended last could not work for a reason outside. */
function endedOutside(attempts: readonly RunAttempt[]): boolean {
  const [last] = attempts
    .filter(({ status }) => status === "ended")
    .toSorted((a, b) => Date.parse(b.ended_at ?? "") - Date.parse(a.ended_at ?? ""));
  return last?.outcome === "failed" && !last.counted && outsideClass(last.outcome_code) !== undefined;
}

/** How long the attempts that a dead controller left had worked, as far as their transcripts tell. */
function unrecordedMs(open: OpenRun, ports: RunPorts): number {
  const running = open.attempts.filter(({ status }) => status === "running");
  const begun = Math.min(...running.map(({ started_at }) => Date.parse(started_at)));
  const spoken = running.map(
    (one) =>
      ports.disk.stat(Worker.transcriptPath(open.folder, one.task_id, Number(one.id)))?.modifiedMs ?? 0,
  );
  // Of what is before the latest end, the log knows.
  const known = Math.max(
    begun,
    ...open.attempts.map(({ ended_at }) => (ended_at === null ? 0 : Date.parse(ended_at))),
  );
  return running.length === 0 ? 0 : Math.max(0, Math.max(...spoken) - known);
}

/** Step after step; the reason when something stopped the run before its end. */
async function workThrough(steps: Steps, signal: AbortSignal): Promise<Stop | undefined> {
  const { open, ledger } = steps;
  try {
    if (!open.work.base) await layGround(steps, signal);
    const unplanned = open.work.decomposition ? undefined : (spentUp(ledger) ?? (await plan(steps, signal)));
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
async function layGround({ open, sites, ports }: Steps, signal: AbortSignal): Promise<void> {
  const { tree } = sites;
  const { tree: base, commit } = await sites.base(signal);
  await sites.show(signal);
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
  await open.update(() => ({
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
  }));
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

/** The engine of a turn that belongs to no task: the run's, unless the role has one of its own. */
function engineFor(role: "decompose" | "synthesize", { open, engine, ports }: Steps): Engine {
  const { role_engines: own = {}, project_dir: projectDir } = open.work;
  const name = Object.hasOwn(own, role) ? own[role] : undefined;
  return name === undefined ? engine() : ports.engineNamed(name, projectDir);
}

/** Splits the task, by the engine's answer or, when that is no use, by rule. */
async function plan(steps: Steps, signal: AbortSignal): Promise<Stop | undefined> {
  const { open, ports } = steps;
  const { state, work } = open;
  const { isShared } = steps.sites;
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
    ports.tell(`${engineFor("decompose", steps).name} splits the task for ${count} workers`);
    const asked = await helper(
      steps,
      {
        role: "decompose",
        task: "decompose",
        text: decomposePrompt(text, { count, isShared }, work.role.system_prompt),
        turnMs: DECOMPOSE_MS,
      },
      signal,
    );
    if ("stop" in asked) return asked.stop;
    const { turn } = asked;
    // Stopped by the budget it said nothing of the task: with more of it, the splitting is done anew.
    const over = turn.status === "finished" ? undefined : spentUp(steps.ledger);
    if (over) return over;
    const answer: Decomposition =
      turn.status === "finished"
        ? parseDecomposition(turn.text, count)
        : { ok: false, because: summaryOf(turn, ports.redactor) };
    source = answer.ok ? "engine" : "fallback";
    // In folders of their own several workers on all of it would do everything several times over.
    if (answer.ok) subtasks = answer.subtasks;
    else if (isShared) subtasks = fallbackSubtasks(text, count);
    if (!answer.ok) {
      const who = isShared ? "every worker gets" : "one worker does";
      reason = answer.because;
      ports.tell(`the task could not be split (${answer.because}): ${who} all of it`);
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

/** What a turn that belongs to no task is asked. */
interface HelperAsk {
  role: "decompose" | "synthesize";
  task: string;
  text: string;
  turnMs: number;
}

/** A turn that belongs to no task; after an outage it is tried again, until the breaker opens. */
async function helper(
  steps: Steps,
  ask: HelperAsk,
  signal: AbortSignal,
): Promise<{ turn: Turn } | { stop: Stop }> {
  const { open, ledger, breaker, ports } = steps;
  const { clock } = ports;
  for (;;) {
    const reservation = ledger.reserve(1);
    if (!reservation)
      return { stop: spentUp(ledger) ?? { code: "budget_tokens", reason: "nothing is left" } };
    const ticket = breaker.begin();
    const turn = await helperOnce(steps, ask, reservation, signal);
    signal.throwIfAborted();
    breaker.end(ticket, resultOf(turn, ports), { wall: clock.now(), ms: clock.monotonicMs() });
    if (turn.status === "over_budget") {
      const { code, reason } = ledger.reached(reservation.stoppedBy ?? "tokens");
      return { stop: { code, reason } };
    }
    if (!isOutside(turn)) return { turn };
    const { cause } = breaker;
    if (breaker.state === "open" && cause)
      return { stop: outsideStop(cause, `omk team run --resume --name ${open.id}`, breaker.outages) };
    const waitMs = breaker.waitMs(clock.monotonicMs());
    ports.tell(
      `the agent could not work (${summaryOf(turn, ports.redactor)}); again in ${Math.ceil(waitMs / 1_000)} s`,
    );
    await clock.sleep(waitMs, signal);
  }
}

function resultOf(turn: Turn, ports: RunPorts): TurnResult {
  return turnResult({
    outcome: turn.status,
    code: turn.failure?.class,
    isOutside: isOutside(turn),
    message: summaryOf(turn, ports.redactor),
    resets_at: turn.failure?.resets_at,
  });
}

/** A turn that belongs to no task, charged to the run and kept as evidence. */
async function helperOnce(
  steps: Steps,
  ask: HelperAsk,
  reservation: Reservation,
  signal: AbortSignal,
): Promise<Turn> {
  const { open, sites, ledger, ports } = steps;
  await sites.show(signal);
  const { helper_usage: before } = open.work;
  const withUsage = (usage: Usage | null) => {
    const { tokens, usd } = costOf(usage);
    return { helper_usage: { tokens: before.tokens + tokens, usd: before.usd + usd } };
  };
  const log = new UsageLog(
    (usage) =>
      open.record({
        kind: "usage_reported",
        actor: "omk-cli",
        payload: { task_id: ask.task, role: ask.role, ...costOf(usage), usage },
        changes: [change("team-work.json", withUsage(usage))],
      }),
    ports,
  );
  try {
    const { turn, evidence } = await helperTurn(
      {
        ...ask,
        engine: engineFor(ask.role, steps),
        cwd: sites.tree.root,
        turnMs: Math.min(ask.turnMs, ledger.leftMs()),
        meter: loggedMeter(reservation, log),
        open,
        approvals: steps.approvals,
        begin: async (spawn_id) => {
          const payload = { role: ask.role, spawn_id };
          const [seq = 0] = await open.record({ kind: "helper_started", actor: "omk-cli", payload });
          return seq;
        },
      },
      ports,
      signal,
    );
    await log.flush();
    const usage = reservation.settle(turn.usage);
    await open.update(() => ({
      kind: "helper_ended",
      actor: "omk-cli",
      payload: { role: ask.role, spawn_id: evidence.spawnId, outcome: turn.status },
      changes: [
        change("team-work.json", {
          ...withUsage(usage),
          evidence: [...open.work.evidence, evidence.file],
        }),
      ],
    }));
    return turn;
  } finally {
    log.close();
    reservation.release();
  }
}

/** The limit that is reached, as a reason to stop. */
function spentUp(ledger: Ledger): Stop | undefined {
  const reached = ledger.exhausted();
  return reached && { code: reached.code, reason: reached.reason };
}

/** Lets the workers work until every task has ended. */
async function execute(steps: Steps, signal: AbortSignal): Promise<Stop | undefined> {
  const { open } = steps;
  const { crew, workers } = await prepareCrew(steps);
  await open.record(
    ...workers.map(({ name }) => ({
      kind: "worker_started",
      actor: name,
      payload: { worker_id: name, role: open.state.worker_role },
    })),
  );
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

/** The workers of the run, with everything known of what an earlier controller had given out. */
async function prepareCrew(steps: Steps): Promise<{ crew: Crew; workers: readonly Worker[] }> {
  const { open, sites, ledger, breaker, ports } = steps;
  const { work } = open;
  const scheduler = new Scheduler(open.tasks);
  const count = Math.min(open.state.worker_count, Math.max(1, open.tasks.length));
  const workers = await openWorkers(steps, count);
  const limits = { idleMs: work.idle_ms, leaseMs: work.lease_ms, turnMs: TURN_MS_MAX };
  const crew = new Crew(open, workers, scheduler, { sites, ledger, breaker, limits }, ports);
  await crew.hearEarlier();
  await recordRecovery(steps, scheduler);
  return { crew, workers };
}

/** Attempts of a controller that died, which nobody reported: they are not counted, and their tasks are to be done. */
async function recordRecovery({ open, sites, ledger, ports }: Steps, scheduler: Scheduler): Promise<void> {
  const now = nowOf(ports.clock);
  const changed = scheduler.recover(now);
  const lost = open.attempts.filter(({ status }) => status === "running");
  if (changed.length === 0 && lost.length === 0) return;
  const left = new Map<RunAttempt, Partial<RunAttempt>>();
  for (const attempt of lost) left.set(attempt, await sites.leave(attempt));
  await open.record(
    {
      kind: "run_recovered",
      actor: "scheduler",
      payload: { tasks: changed.length, attempts: lost.length },
      changes: [
        ...changed.map(({ id, set }) => changeTask(id, set)),
        change("team-work.json", { active_ms: ledger.activeMs }),
      ],
    },
    ...lost.map((attempt) => ({
      ...retryEvent(attempt, "the controller died"),
      changes: [
        changeAttempt(Number(attempt.id), {
          ...left.get(attempt),
          status: "interrupted",
          ended_at: instantOf(now.wall),
          // Whether the agent had said anything: five executions without a word in a row end the run.
          summary: hasSpoken(open, attempt, ports) ? "cut off when omk ended" : null,
          usage: ledger.chargeLost(transcriptOf(open, attempt), attempt.usage, ports),
          evidence: transcriptEvidence(open, attempt, ports),
        }),
      ],
    })),
  );
  for (const [attempt, found] of left) await sites.clear({ ...attempt, ...found });
}

function hasSpoken(open: OpenRun, attempt: RunAttempt, ports: RunPorts): boolean {
  // The first line of a transcript is the prompt, which is ours.
  const lines = new LineTail(transcriptOf(open, attempt), 0, ports).read();
  return lines.lines.length + lines.skipped > 1;
}

function transcriptOf(open: OpenRun, { id, task_id }: RunAttempt): string {
  return Worker.transcriptPath(open.folder, task_id, Number(id));
}

async function openWorkers(
  { open, engine, sites, approvals, ports }: Steps,
  count: number,
): Promise<Worker[]> {
  const { work, state } = open;
  const role = roleOf(work);
  const place = {
    runFolder: open.folder,
    isShared: sites.isShared,
    engine,
    role,
    approvals,
    idleMs: work.idle_ms,
  };
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
        project_dir: work.project_dir,
        tools: work.role.tools,
      });
    }
    workers.push(new Worker(name, mailbox, place, ports));
  }
  return workers;
}

/** What the work has left, and how it differs from the base. */
async function settleResult({ open, sites }: Steps, signal: AbortSignal): Promise<void> {
  const result = await sites.result(signal);
  if (!result) return;
  const { tree, changed_files: changed } = result;
  await open.record(
    {
      kind: "result_recorded",
      actor: "scheduler",
      payload: { tree, changed_files: changed.length },
      changes: [change("team-work.json", { result })],
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
  if (lines.length > 1 && !steps.ledger.exhausted()) {
    const asked = await helper(
      steps,
      {
        role: "synthesize",
        task: "synthesis",
        text: synthesisPrompt(open.state.task, lines),
        turnMs: SYNTHESIS_MS,
      },
      signal,
    );
    if ("stop" in asked) ports.tell(`no summary of the run: ${asked.stop.reason}`);
    else if (asked.turn.status === "finished") text = summaryOf(asked.turn, ports.redactor);
    else ports.tell(`no summary of the run: ${summaryOf(asked.turn, ports.redactor)}`);
  }
  await open.record({
    kind: text === null ? "synthesis_left_out" : "task_completed",
    actor: "synthesis-agent",
    payload: text === null ? { task_id: "synthesis" } : { task_id: "synthesis", summary: text },
    changes: [change("team-work.json", { synthesis: { text } })],
  });
}

/** The gates on what is there now. */
async function verify(steps: Steps, signal: AbortSignal): Promise<void> {
  const { open, sites, ports } = steps;
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
  await sites.show(signal);
  const reusable = work.baseline?.tree === now ? { reusable: work.baseline.gates } : {};
  const judged = await judgeResult(gateSubject(open, sites.tree), now, reusable, ports, signal);
  ports.tell(`gates: ${judged.gates.results.map(({ name, verdict }) => `${name} ${verdict}`).join(", ")}`);
  await open.update(() => ({
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
  }));
}

/** What the work has left is kept, then the run's end is written down. */
async function conclude(steps: Steps, stop: Stop | undefined): Promise<RunVerdict> {
  const { open, sites, ledger, ports } = steps;
  const passed = stop ? undefined : ledger.exhausted();
  if (passed) ports.tell(`the budget was passed by turns that were under way: ${passed.reason}`);
  await settleResult(steps, UNHURRIED);
  const stopped = stop ?? (await sites.heldBack());
  const kept = await sites.keep(!stopped);
  await open.record({
    kind: "trees_kept",
    actor: "scheduler",
    payload: { active_ms: Math.round(ledger.activeMs) },
    changes: [
      change("team-work.json", {
        active_ms: ledger.activeMs,
        ...kept,
      }),
    ],
  });
  await sites.release();
  if (!stopped) {
    const evidence = [...open.work.evidence, ...open.attempts.flatMap((one) => one.evidence)];
    assureWhole({ id: open.id, folder: open.folder, position: open.journal.position, evidence }, ports);
  }
  return concludeRun(open, stopped, ports);
}
