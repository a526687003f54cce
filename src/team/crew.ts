/**
 * The workers of a run at work: each asks the scheduler for the next task, and what came of it is written down before
 * the next one. Nothing polls: workers are woken when something changed, and one timer waits for the next lease,
 * backoff or budget to end.
 */
import { createHash } from "node:crypto";
import { basename, join } from "node:path";

import type { Assignment } from "../format/agent-run.ts";
import { OutboxLine, type Report } from "../format/agent-run.ts";
import { instantOf } from "../format/stamp.ts";
import type { Usage } from "../format/proof.ts";
import type { Task } from "../format/run.ts";
import type { RunAttempt } from "../format/team-work.ts";
import { nowOf, type Claimed, type Now, type Scheduler, type TaskChange } from "../scheduler/scheduler.ts";
import { evidenceOf, keepEvidence } from "../store/evidence.ts";
import { renderDocument, tryJson } from "../format/json.ts";
import type { NewEvent } from "../store/event-log.ts";
import { outsideStop, turnResult, type Breaker, type Ticket, type TurnResult } from "../budget/breaker.ts";
import type { Ledger, Reservation } from "../budget/ledger.ts";
import type { Exhausted } from "../budget/limits.ts";
import { loggedMeter, UsageLog } from "../budget/usage-log.ts";
import { costOf } from "../budget/usage.ts";
import type { Stop } from "./budget.ts";
import { change, changeAttempt, changeTask, type OpenRun, type RunPorts } from "./open.ts";
import { Worker } from "./worker.ts";
import type { Site, Taken, Sites } from "./sites.ts";

/** What limits the work of a crew. */
export interface CrewLimits {
  idleMs: number;
  /** How long a silent worker keeps its task; null follows from `idleMs`. */
  leaseMs: number | null;
  /** The longest turn. */
  turnMs: number;
}

/** How much later than the agent's own limits a lease ends: the engine's word comes first when it still has one. */
const LEASE_MARGIN_MS = 60_000;
/** How often heartbeats are written. */
const BEAT_MS = 10_000;
/** How often the log says that a busy worker lives. */
const BEAT_EVENT_MS = 60_000;
/** How often an outbox is looked at for one answer: a gigabyte of lines, of which only one can be ours. */
const OUTBOX_LOOKS_MAX = 64;
/** Lines that change nothing are kept, so many of each worker and so much of each. */
const LATE_MAX = 100;
const LATE_CHARACTERS_MAX = 64 * 1024;
/** The longest that the timer sleeps. */
const WAIT_MS_MAX = 60 * 60_000;
/** Executions in a row that were interrupted before the agent said anything: something here does not work at all. */
const UNHEARD_MAX = 5;

/** A task that may be begun: it was given out, and its turn's part of the budget is set aside. */
interface Launchable {
  claimed: Claimed;
  reservation: Reservation;
  ticket: Ticket;
}

/** An execution under way. */
interface Running extends Launchable {
  worker: Worker;
  log: UsageLog;
  taskId: string;
  fence: number;
  attempt: RunAttempt;
  startedMs: number;
  turnMs: number;
  leaseEndMs: number;
  abort: AbortController;
  /** Its lease is over: whatever comes of it changes nothing. */
  isLost: boolean;
  isAnswered: boolean;
  /** What its worker said after its lease was over: it changes nothing, and is charged. */
  late?: Report;
}

/** All workers of a run. */
export class Crew {
  readonly #open: OpenRun;
  readonly #workers: readonly Worker[];
  readonly #scheduler: Scheduler;
  readonly #sites: Sites;
  readonly #ledger: Ledger;
  readonly #breaker: Breaker;
  readonly #limits: CrewLimits;
  readonly #ports: RunPorts;
  readonly #running = new Map<Worker, Running>();
  readonly #changed = new Bell();
  /** By fence: attempts that the log knew when this controller began. */
  readonly #earlier: ReadonlyMap<string, RunAttempt>;
  /** By task: how many of its latest executions were cut off before the agent had said anything. */
  readonly #unheard = new Map<string, number>();
  /** How many lines of each worker's outbox changed nothing. */
  readonly #late = new Map<Worker, number>();
  /** Ends the timers. */
  readonly #over = new AbortController();
  #stop: Stop | undefined;
  /** The limit that stopped the work: how far it was passed is known when the last turn has ended. */
  #spentUp: Exhausted["source"] | undefined;
  #failure: { error: unknown } | undefined;

  constructor(
    open: OpenRun,
    workers: readonly Worker[],
    scheduler: Scheduler,
    work: { sites: Sites; ledger: Ledger; breaker: Breaker; limits: CrewLimits },
    ports: RunPorts,
  ) {
    this.#open = open;
    this.#workers = workers;
    this.#scheduler = scheduler;
    this.#sites = work.sites;
    this.#ledger = work.ledger;
    this.#breaker = work.breaker;
    this.#limits = work.limits;
    this.#ports = ports;
    this.#earlier = new Map(open.attempts.map((one) => [one.id, one]));
  }

  /**
   * Works until every task has ended, or until something stops the work: then what runs is ended and stays to be done.
   * Rejects with what made going on impossible; nothing runs any more then, either.
   */
  async work(signal: AbortSignal): Promise<Stop | undefined> {
    // Only now: what an earlier controller left has been judged.
    for (const { task_id, status, summary } of this.#open.attempts) {
      const isUnheard = status === "interrupted" && summary === null;
      this.#unheard.set(task_id, isUnheard ? (this.#unheard.get(task_id) ?? 0) + 1 : 0);
    }
    const onAbort = () => this.#endAll({ code: "interrupted", reason: "stopped by the user" });
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    const timers = [this.#keepTime(), this.#beat()].map((timer) => timer.catch(this.#fail));
    try {
      await Promise.all(this.#workers.map((worker) => this.#serve(worker).catch(this.#fail)));
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#over.abort();
      this.#changed.ring();
      await Promise.all(timers);
    }
    if (this.#failure) throw this.#failure.error;
    if (!this.#spentUp) return this.#stop;
    const { code, reason } = this.#ledger.reached(this.#spentUp);
    return { code, reason };
  }

  /** Hears what workers of an earlier controller reported and nobody had taken down: their work is not done again. */
  async hearEarlier(): Promise<void> {
    const heard = new Set<string>();
    for (const worker of this.#workers) {
      for (const { report, line } of this.#reportsOf(worker)) {
        const attempt = this.#earlier.get(String(report?.fence));
        const isTheirs = attempt?.worker_id === worker.name && attempt.task_id === report?.task_id;
        if (report && attempt && isTheirs && attempt.status === "running" && !heard.has(attempt.id)) {
          heard.add(attempt.id);
          // Only its controller cancels a turn: it had been told to stop, and died before it wrote that down.
          if (report.outcome === "cancelled") await this.#interrupt(attempt, report);
          else await this.#settle(attempt, report);
        } else if (!isTheirs || heard.has(attempt.id)) await this.#keepLate(worker, line, report);
      }
    }
  }

  readonly #fail = (error: unknown): void => {
    // The first one is why; what follows from it says less.
    this.#failure ??= { error };
    this.#endAll({ code: "failed", reason: "omk could not go on" });
  };

  #endAll(stop: Stop): void {
    this.#stop ??= stop;
    for (const { abort } of this.#running.values()) abort.abort(new Error(stop.reason));
    this.#changed.ring();
  }

  /** One worker's life: claim, work, report, until nothing is left or the work is stopped. */
  async #serve(worker: Worker): Promise<void> {
    await worker.beat("ready");
    for (let claimed = await this.#nextClaim(worker); claimed; claimed = await this.#nextClaim(worker)) {
      await this.#execute(worker, claimed);
      this.#changed.ring();
    }
    this.#changed.ring();
  }

  async #nextClaim(worker: Worker): Promise<Launchable | undefined> {
    while (!this.#stop && !this.#scheduler.isDone) {
      // Running work ends as its own meter says; nothing new is begun.
      if (this.#scheduler.counts().pending > 0 && this.#stopWhenSpent(this.#ledger.exhausted())) break;
      if (this.#stopWhenOpen()) break;
      const launchable = this.#claim(worker);
      if (launchable) return launchable;
      await this.#changed.wait();
    }
    return undefined;
  }

  /** Sets a part of the budget aside and claims a task with it; undefined when there is no task, no part, or an outage. */
  #claim(worker: Worker): Launchable | undefined {
    const now = this.#now();
    if (this.#breaker.waitMs(now.monotonicMs) > 0) return undefined;
    const reservation = this.#ledger.reserve(this.#workers.length - this.#ledger.running);
    if (!reservation) return undefined;
    const othersIdle = this.#running.size + 1 < this.#workers.length;
    const claimed = this.#scheduler.claimNext(worker.name, this.#leaseMs(false), now, { othersIdle });
    if (claimed) return { claimed, reservation, ticket: this.#breaker.begin() };
    reservation.release();
    return undefined;
  }

  /** Lets nothing new begin once a limit is reached; true when it is. */
  #stopWhenSpent(reached: Exhausted | undefined): boolean {
    if (!reached) return false;
    if (!this.#stop) this.#spentUp = reached.source;
    this.#stop ??= reached;
    return true;
  }

  async #execute(worker: Worker, launchable: Launchable): Promise<void> {
    try {
      await this.#launch(worker, launchable);
    } finally {
      // Both do nothing where the turn was settled.
      launchable.reservation.release();
      this.#breaker.end(launchable.ticket, { kind: "unknown" }, this.#breakerTime());
    }
  }

  async #launch(worker: Worker, launchable: Launchable): Promise<void> {
    const { task, change: claim } = launchable.claimed;
    const { clock, random } = this.#ports;
    if ((this.#unheard.get(task.id) ?? 0) >= UNHEARD_MAX) {
      this.#scheduler.release(task.id, undefined);
      this.#stop ??= {
        code: "attempts_lost",
        reason: `${UNHEARD_MAX} executions of ${task.id} in a row ended without a word from the agent`,
      };
      return;
    }
    const number = task.retry_count + 1;
    const [fence = 0] = await this.#open.record({
      kind: "task_claimed",
      actor: worker.name,
      payload: {
        task_id: task.id,
        worker_id: worker.name,
        lease_deadline: task.lease_expires,
        attempt: number,
      },
      changes: [taskChange(claim)],
    });
    const attempt: RunAttempt = {
      id: String(fence),
      task_id: task.id,
      number,
      worker_id: worker.name,
      spawn_id: `omk-${random.name(20)}`,
      status: "running",
      outcome: null,
      outcome_code: null,
      summary: null,
      usage: null,
      counted: false,
      started_at: instantOf(clock.now()),
      ended_at: null,
      evidence: [],
    };
    const turnMs = Math.max(1, Math.min(this.#limits.turnMs, this.#ledger.leftMs()));
    const started = this.#scheduler.start(task.id, { fence, attempt: number }, this.#now());
    if (!started) throw new Error(`The claim ${fence} of task ${task.id} was gone before it began.`);
    const budget_secs = Math.ceil(turnMs / 1_000);
    await this.#open.record({
      kind: "task_started",
      actor: worker.name,
      payload: {
        task_id: task.id,
        worker_id: worker.name,
        budget_secs,
        attempt: number,
        fence,
        spawn_id: attempt.spawn_id,
      },
      changes: [taskChange(started), changeAttempt(fence, attempt)],
    });
    const running: Running = {
      ...launchable,
      worker,
      log: new UsageLog((usage) => this.#recordUsage(attempt, usage), this.#ports),
      taskId: task.id,
      fence,
      attempt,
      startedMs: clock.monotonicMs(),
      turnMs,
      leaseEndMs: Number.POSITIVE_INFINITY,
      abort: new AbortController(),
      isLost: false,
      isAnswered: false,
    };
    this.#running.set(worker, running);
    if (this.#stop) running.abort.abort(new Error(this.#stop.reason));
    this.#changed.ring();
    try {
      const site = await this.#enter(task, running);
      if (!site) return;
      const line = worker.mailbox.assign(assignmentOf(task, { fence, budget_secs, notes: site.notes }));
      this.#ports.tell(`${worker.name}: ${task.id}${number > 1 ? `, attempt ${number}` : ""}`);
      const said = await worker.workNext(
        {
          line,
          fence,
          spawnId: attempt.spawn_id,
          attempt: number,
          turnMs,
          cwd: site.cwd,
          ...(site.writeSet && { writeSet: site.writeSet }),
          meter: loggedMeter(running.reservation, running.log),
          onSign: (isBusy) => this.#renew(running, isBusy),
        },
        running.abort.signal,
      );
      await running.log.flush();
      await this.#hear(running, said);
    } finally {
      running.log.close();
      this.#running.delete(worker);
    }
  }

  /** Makes the place where a task is worked on; undefined when the attempt was ended meanwhile, which is in the log then. */
  async #enter(task: Task, running: Running): Promise<Site | undefined> {
    const { signal } = running.abort;
    // Set-up may take long, and no agent is there yet who could fall silent.
    this.#renew(running, true);
    try {
      const site = await this.#sites.enter(task, running.attempt, signal);
      this.#renew(running, false);
      return site;
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    if (running.isLost) await this.#lose(running);
    else await this.#interrupt(running.attempt, cutOffReport(running.taskId), running);
    return undefined;
  }

  /** A turn is charged with what it has used by now, whoever lives to see its end. */
  async #recordUsage({ id, task_id, worker_id }: RunAttempt, usage: Usage): Promise<void> {
    const { tokens, usd } = costOf(usage);
    await this.#open.record({
      kind: "usage_reported",
      actor: worker_id,
      payload: { task_id, worker_id, fence: Number(id), tokens, usd, usage },
      changes: [changeAttempt(Number(id), { usage })],
    });
  }

  /** A sign of life: the lease runs anew. */
  #renew(running: Running, isBusy: boolean): void {
    const now = this.#now();
    const leaseMs = this.#leaseMs(isBusy, running);
    const endMs = now.monotonicMs + leaseMs;
    // The timer sleeps until the end it knew; one that comes earlier has to wake it.
    const isEarlier = endMs < running.leaseEndMs;
    running.leaseEndMs = endMs;
    if (this.#scheduler.signOfLife(running.taskId, running.fence, leaseMs, now) && isEarlier)
      this.#changed.ring();
  }

  /**
   * Takes what lies in the worker's outbox: the line that the worker wrote is the result, everything else is evidence,
   * also a line that only looks like it: agents can write there, too.
   */
  async #hear(running: Running, said: string | undefined): Promise<void> {
    const { worker } = running;
    for (const { report, line } of this.#reportsOf(worker)) {
      const isAnswer = report !== undefined && line === said && !running.isAnswered;
      if (isAnswer && running.isLost) {
        running.late = report;
        // A turn that said nothing before it was ended is no late answer.
        if (report.outcome !== "cancelled" || report.summary !== "")
          await this.#keepLate(worker, line, report);
      } else if (!isAnswer) await this.#keepLate(worker, line, report);
      else {
        running.isAnswered = true;
        // Work that was done when the run was told to stop is done.
        const isCutOff = running.abort.signal.aborted && report.status !== "success";
        if (isCutOff) await this.#interrupt(running.attempt, report, running);
        else await this.#settle(running.attempt, report, running);
      }
    }
    if (running.isLost) await this.#lose(running);
    else if (!running.isAnswered) {
      running.isAnswered = true;
      const lost = {
        task_id: running.taskId,
        status: "failed" as const,
        summary: "nothing was found in the worker's outbox",
        artifacts: [],
        elapsed_secs: 0,
        outcome: "failed",
      };
      await this.#settle(running.attempt, lost, running);
    }
  }

  /** Lines of an outbox that nobody has taken yet; of a flood, the first ones. */
  *#reportsOf(worker: Worker): Generator<{ line: string; report: Report | undefined }> {
    for (let looks = 0; looks < OUTBOX_LOOKS_MAX; looks++) {
      const { lines, skipped, more } = worker.mailbox.reports();
      if (skipped > 0)
        this.#ports.tell(`${worker.name}: ${skipped} lines of its outbox are too long and were left out`);
      for (const line of lines) {
        const parsed = OutboxLine.safeParse(tryJson(line));
        const report = parsed.success && "task_id" in parsed.data ? (parsed.data as Report) : undefined;
        yield { line, report };
      }
      if (!more) return;
    }
  }

  /** What a turn cost in all: the rest of it is charged, and what it did not use is given back. */
  #charge(attempt: RunAttempt, report: Report | undefined, running: Running | undefined): Usage | null {
    const usage = report?.usage ?? null;
    if (!running) return this.#ledger.charge(usage, attempt.usage);
    const wasSpent = this.#ledger.exhausted() !== undefined;
    const charged = running.reservation.settle(usage);
    const passed = this.#ledger.exhausted();
    if (passed && passed.source !== "time" && !wasSpent)
      this.#ports.tell(`${attempt.worker_id}: told only at its end what it used: ${passed.reason}`);
    return charged;
  }

  /** A result that counts; `running` is missing for one that an earlier controller had begun. */
  async #settle(attempt: RunAttempt, report: Report, running?: Running): Promise<void> {
    const usage = this.#charge(attempt, report, running);
    if (running) this.#breaker.end(running.ticket, resultOf(report), this.#breakerTime());
    const left = { ...attempt, ...(await this.#sites.leave(attempt)) };
    const task = this.#scheduler.get(attempt.task_id);
    const end = (taken: Taken) => this.#end(taken, { attempt: left, report, usage }, running);
    if (task && report.status === "success") await this.#sites.take(task, left, end);
    else await end({ outcome: "taken", attempt: {}, changes: [] });
    await this.#sites.clear(left);
  }

  /** Writes down how an attempt has ended, and what follows from it. */
  async #end(
    taken: Taken,
    ended: { attempt: RunAttempt; report: Report; usage: Usage | null },
    running: Running | undefined,
  ): Promise<void> {
    const attempt = { ...ended.attempt, ...taken.attempt };
    const { usage } = ended;
    const report = taken.outcome === "taken" ? ended.report : rejectedReport(ended.report, taken);
    const more = taken.outcome === "taken" ? taken.changes : [];
    const fence = Number(attempt.id);
    const isHeld = report.outcome === "over_budget" || report.outcome === "blocked";
    const isOutside = report.outside === true || isHeld;
    const isDone = report.status === "success";
    const changed = isDone
      ? this.#scheduler.complete(attempt.task_id, fence, this.#now())
      : isOutside
        ? this.#scheduler.release(attempt.task_id, fence)
        : this.#scheduler.fail(
            attempt.task_id,
            fence,
            { retryable: report.outcome !== "denied" },
            this.#now(),
          );
    if (changed.length === 0)
      return this.#keepLate(this.#workerNamed(attempt.worker_id), JSON.stringify(report), report);
    const record = this.#endOf(attempt, report, { counted: !isOutside, usage });
    const payload = {
      task_id: attempt.task_id,
      worker_id: attempt.worker_id,
      fence,
      attempt: attempt.number,
      spawn_id: attempt.spawn_id,
      outcome: report.outcome ?? report.status,
      ...(isDone ? { output_summary: report.summary } : { error: report.summary }),
    };
    await this.#open.record(
      {
        kind: isDone ? "task_completed" : "task_failed",
        actor: attempt.worker_id,
        payload,
        changes: [
          ...changed.map(taskChange),
          changeAttempt(fence, record),
          ...more,
          change("team-work.json", { active_ms: this.#ledger.activeMs }),
        ],
      },
      ...this.#followUps(attempt, changed, report),
    );
    this.#tellEnd(attempt, report, changed);
    if (report.outcome === "blocked")
      this.#stop ??= { code: "approval_needed", reason: `${attempt.task_id}: ${report.summary}` };
    else if (report.outcome === "over_budget")
      this.#stopWhenSpent(this.#ledger.reached(running?.reservation.stoppedBy ?? "tokens"));
    else if (isOutside) this.#afterOutage(attempt);
  }

  /** The agent could not work: it is tried again after a rest, or the run stops. */
  #afterOutage(attempt: RunAttempt): void {
    if (this.#stopWhenOpen()) return;
    const waitMs = this.#breaker.waitMs(this.#now().monotonicMs);
    if (waitMs > 0 && waitMs < Infinity)
      this.#ports.tell(`${attempt.task_id}: the agent is tried again in ${Math.ceil(waitMs / 1_000)} s`);
  }

  /** Lets nothing new begin once the breaker is open; true when it is. */
  #stopWhenOpen(): boolean {
    const { state, cause, outages } = this.#breaker;
    if (state !== "open" || !cause) return false;
    this.#stop ??= outsideStop(cause, `omk team run --resume --name ${this.#open.id}`, outages);
    return true;
  }

  #breakerTime(): { wall: Date; ms: number } {
    const { wall, monotonicMs } = this.#now();
    return { wall, ms: monotonicMs };
  }

  /** What a failed attempt brings about beside itself: a retry, or the end of tasks that waited for it. */
  #followUps(attempt: RunAttempt, changed: readonly TaskChange[], report: Report): NewEvent[] {
    const [own, ...others] = changed;
    const retried = own?.set.state === "pending" && report.outside !== true;
    return [
      ...(retried ? [retryEvent(attempt, report.summary)] : []),
      ...others.map((one) => cancelledEvent(one, attempt.task_id)),
    ];
  }

  /** An execution that was ended because the run stops: it is not counted, and the task stays to be done. */
  async #interrupt(attempt: RunAttempt, report: Report, running?: Running): Promise<void> {
    const fence = Number(attempt.id);
    const left = { ...attempt, ...(await this.#sites.leave(attempt)) };
    const changed = this.#scheduler.release(attempt.task_id, fence);
    const usage = this.#charge(attempt, report, running);
    const ended = {
      ...this.#endOf(left, report, { counted: false, usage }),
      status: "interrupted" as const,
    };
    await this.#open.record({
      kind: "retry_scheduled",
      actor: "scheduler",
      payload: { ...retryEvent(attempt, this.#stop?.reason ?? "the run was stopped").payload },
      changes: [...changed.map(taskChange), changeAttempt(fence, ended)],
    });
    await this.#sites.clear(left);
  }

  /** A lease is over and the worker's agent has been ended: only now may the task be done again. */
  async #lose(running: Running): Promise<void> {
    const { worker, fence } = running;
    const attempt = { ...running.attempt, ...(await this.#sites.leave(running.attempt)) };
    const reason = "stale lease recovered";
    const marker = `workers/${worker.name}/stale-worker-cleanup.json`;
    const cleaned_at = instantOf(this.#ports.clock.now());
    const dead = { worker_id: worker.name, task_id: attempt.task_id, reason, action: "quarantined" };
    await worker.mailbox.keep("stale-worker-cleanup.json", { ...dead, cleaned_at });
    const changed = this.#scheduler.recoverLease(attempt.task_id, fence, this.#now());
    const usage = this.#charge(attempt, running.late, running);
    const lost: RunAttempt = {
      ...attempt,
      status: "lost",
      outcome: "lost",
      summary: "its worker gave no sign of life for a whole lease",
      usage,
      counted: true,
      ended_at: cleaned_at,
      evidence: transcriptEvidence(this.#open, attempt, this.#ports),
    };
    const others = changed.slice(1).map((one) => cancelledEvent(one, attempt.task_id));
    const own = changed[0];
    await this.#open.record(
      { kind: "worker_dead", actor: "scheduler", payload: { ...dead, cleanup_marker: marker, fence } },
      {
        ...(own?.set.state === "pending"
          ? retryEvent(attempt, reason)
          : {
              kind: "task_failed",
              actor: "scheduler",
              payload: { task_id: attempt.task_id, worker_id: worker.name, error: reason, fence },
            }),
        changes: [...changed.map(taskChange), changeAttempt(fence, lost)],
      },
      ...others,
      // Its agent is gone, its files are its own: the next assignment gets a fresh process.
      { kind: "worker_recovered", actor: worker.name, payload: { worker_id: worker.name } },
    );
    await this.#sites.clear(attempt);
    this.#ports.tell(`${worker.name}: no sign of life on ${attempt.task_id}; its agent was ended`);
  }

  /** Keeps a line that changes nothing: an answer that came too late or twice, or that nobody asked for. */
  async #keepLate(worker: Worker, line: string, report: Report | undefined): Promise<void> {
    const shown = this.#ports.redactor.text(line).slice(0, LATE_CHARACTERS_MAX);
    const text = renderDocument({ line: shown, characters: line.length });
    const name = `${report?.fence ?? "unknown"}-${createHash("sha256").update(text).digest("hex").slice(0, 16)}.json`;
    const path = join(worker.mailbox.path("late"), name);
    if (this.#ports.disk.stat(path)) return;
    const kept = (this.#late.get(worker) ?? 0) + 1;
    this.#late.set(worker, kept);
    if (kept === LATE_MAX + 1) this.#ports.tell(`${worker.name}: more such lines in its outbox are left out`);
    if (kept > LATE_MAX) return;
    const file = await keepEvidence(this.#open, path, text, this.#ports);
    const current = report && this.#scheduler.get(report.task_id)?.["fence"];
    await this.#open.update(() => ({
      kind: "late_result",
      actor: "scheduler",
      payload: {
        task_id: report?.task_id ?? null,
        worker_id: worker.name,
        fence: report?.fence ?? null,
        current_fence: current ?? null,
        kept_as: `workers/${worker.name}/late/${basename(path)}`,
      },
      changes: [change("team-work.json", { evidence: [...this.#open.work.evidence, file] })],
    }));
    this.#ports.tell(`${worker.name}: an answer that nobody waits for was kept and changes nothing`);
  }

  #endOf(attempt: RunAttempt, report: Report, how: { counted: boolean; usage: Usage | null }): RunAttempt {
    return {
      ...attempt,
      status: "ended",
      outcome: report.outcome ?? report.status,
      outcome_code: report.outcome_code ?? null,
      ...(report.resets_at !== undefined && { resets_at: report.resets_at }),
      summary: report.summary,
      usage: how.usage,
      counted: how.counted,
      ended_at: instantOf(this.#ports.clock.now()),
      evidence: [...transcriptEvidence(this.#open, attempt, this.#ports), ...attempt.evidence],
    };
  }

  #workerNamed(name: string): Worker {
    const worker = this.#workers.find((one) => one.name === name) ?? this.#workers[0];
    if (!worker) throw new Error("A run has at least one worker.");
    return worker;
  }

  #tellEnd(attempt: RunAttempt, report: Report, changed: readonly TaskChange[]): void {
    const said = report.summary.split("\n", 1)[0] ?? "";
    const next =
      changed[0]?.set.state === "pending" && report.outside !== true ? " (will be tried again)" : "";
    const what = report.status === "success" ? "done" : (report.outcome ?? "failed");
    this.#ports.tell(
      `${attempt.worker_id}: ${attempt.task_id} ${what}${next}${said === "" ? "" : `: ${said}`}`,
    );
  }

  /** How long the lease of an execution runs from now. */
  #leaseMs(isBusy: boolean, running?: Running): number {
    const { leaseMs, idleMs, turnMs } = this.#limits;
    const passedMs = running ? this.#ports.clock.monotonicMs() - running.startedMs : 0;
    const restMs = Math.max(0, (running?.turnMs ?? turnMs) - passedMs);
    // While a tool runs, silence means work: only the ceiling of the whole turn applies.
    if (isBusy) return restMs + LEASE_MARGIN_MS;
    return leaseMs ?? Math.min(idleMs, restMs) + LEASE_MARGIN_MS;
  }

  #now(): Now {
    return nowOf(this.#ports.clock);
  }

  /** Waits for the next moment that matters: a lease or a backoff that ends, or the budget's last second. */
  async #keepTime(): Promise<void> {
    while (!this.#over.signal.aborted) {
      const next = this.#scheduler.nextWakeMs(this.#now());
      // A run that stops only waits for leases: its budget has nothing more to say.
      const budgetMs = this.#stop ? WAIT_MS_MAX : this.#ledger.leftMs();
      // Where it is over already, nobody has a task to try the agent with.
      const restMs = this.#breaker.waitMs(this.#now().monotonicMs) || WAIT_MS_MAX;
      const waitMs = Math.min(next ?? WAIT_MS_MAX, budgetMs, restMs, WAIT_MS_MAX);
      const isTime = await this.#changed.waitAtMost(waitMs, this.#ports.clock);
      if (this.#over.signal.aborted) return;
      if (!isTime) continue;
      for (const { fence } of this.#scheduler.expired(this.#now())) {
        const running = [...this.#running.values()].find((one) => one.fence === fence);
        // What has answered is being written down, however long that takes.
        if (!running || running.isLost || running.isAnswered) continue;
        running.isLost = true;
        running.abort.abort(new Error("its lease is over"));
      }
      const spentUp = this.#ledger.leftMs() <= 0 ? this.#ledger.exhausted() : undefined;
      if (spentUp && !this.#stop) {
        this.#stopWhenSpent(spentUp);
        this.#endAll(spentUp);
      }
      this.#changed.ring();
    }
  }

  async #beat(): Promise<void> {
    const { clock } = this.#ports;
    let toldMs = clock.monotonicMs();
    while (!this.#over.signal.aborted) {
      // Ends early only when the work is over.
      await clock.sleep(BEAT_MS, this.#over.signal).catch(() => undefined);
      if (this.#over.signal.aborted) return;
      for (const worker of this.#workers) await worker.beat(this.#running.has(worker) ? "alive" : "ready");
      if (clock.monotonicMs() - toldMs < BEAT_EVENT_MS) continue;
      toldMs = clock.monotonicMs();
      const busy = this.#workers.filter((worker) => worker.lastSign !== undefined);
      const timestamp = instantOf(clock.now());
      await this.#open.record(
        ...busy.map(({ name }) => ({
          kind: "worker_heartbeat",
          actor: name,
          payload: { worker_id: name, timestamp },
        })),
      );
      await this.#open.saveLiveViews();
    }
  }
}

/** What a report says about the agent's provider. */
function resultOf({ outcome, outcome_code: code, outside, summary: message, resets_at }: Report): TurnResult {
  return turnResult({ outcome, code, isOutside: outside === true, message, resets_at });
}

/** An attempt's transcript as evidence; none when the attempt did not come that far. */
export function transcriptEvidence(
  open: Pick<OpenRun, "folder">,
  attempt: Pick<RunAttempt, "id" | "task_id">,
  ports: Pick<RunPorts, "disk">,
): RunAttempt["evidence"] {
  const path = Worker.transcriptPath(open.folder, attempt.task_id, Number(attempt.id));
  return ports.disk.stat(path) ? [{ ...evidenceOf(open, path, ports) }] : [];
}

function taskChange({ id, set }: TaskChange): ReturnType<typeof changeTask> {
  return changeTask(id, set);
}

/** What stands for the report of an attempt that was ended before its agent was there. */
function cutOffReport(task_id: string): Report {
  return { task_id, status: "failed", summary: "", artifacts: [], elapsed_secs: 0, outcome: "cancelled" };
}

/** The report of a finished attempt whose result is not taken. */
function rejectedReport(report: Report, { code, because }: Extract<Taken, { outcome: "rejected" }>): Report {
  return { ...report, status: "failed", summary: because, outcome: "rejected", outcome_code: code };
}

/** A task that was cancelled because it needs one that has failed. */
function cancelledEvent({ id, because }: TaskChange, failed: string): NewEvent {
  const error = `${because?.task ?? failed}, which it needs, has failed`;
  return { kind: "task_failed", actor: "scheduler", payload: { task_id: id, worker_id: null, error } };
}

/** Says that a task will be done again, and why. */
export function retryEvent(
  attempt: RunAttempt,
  reason: string,
): NewEvent & { payload: Record<string, unknown> } {
  return {
    kind: "retry_scheduled",
    actor: "scheduler",
    payload: {
      task_id: attempt.task_id,
      reason,
      stale_worker_id: attempt.worker_id,
      attempt: attempt.number,
      fence: Number(attempt.id),
      spawn_id: attempt.spawn_id,
    },
  };
}

function assignmentOf(
  task: Task,
  { fence, budget_secs, notes }: { fence: number; budget_secs: number; notes: readonly string[] },
): Assignment {
  const context = [
    `Budget: ${budget_secs} seconds`,
    ...(task.read_set.length > 0 ? [`Read set: ${task.read_set.join(", ")}`] : []),
    ...(task.write_set.length > 0 ? [`Write set: ${task.write_set.join(", ")}`] : []),
    ...notes,
  ];
  return {
    id: task.id,
    task: task.description,
    acceptance_criteria: task.acceptance ?? [],
    context: context.join("\n"),
    budget_secs,
    fence,
  };
}

/** Wakes everybody who waits for something to change. */
class Bell {
  #waiting: (() => void)[] = [];

  ring(): void {
    const woken = this.#waiting;
    this.#waiting = [];
    for (const wake of woken) wake();
  }

  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  /** True when the time was over before it rang. */
  async waitAtMost(ms: number, clock: RunPorts["clock"]): Promise<boolean> {
    const rung = new AbortController();
    void this.wait().then(() => rung.abort());
    try {
      await clock.sleep(Math.max(0, ms), rung.signal);
      return true;
    } catch (error) {
      if (!rung.signal.aborted) throw error;
      return false;
    }
  }
}
