/** One turn of an agent on a goal: claimed, started, watched, ended, and kept as evidence whatever came of it. */
import { join } from "node:path";

import type { EngineEvent, Session, Turn } from "../engine/engine.ts";
import { OmkError } from "../errors.ts";
import { instantOf } from "../format/stamp.ts";
import { renderDocument, renderLine } from "../format/json.ts";
import type { Attempt } from "../format/work.ts";
import type { OpenFile } from "../ports.ts";
import { ensureFolder, ioFailure, writeAll } from "../store/files.ts";
import type { RedactingStream, Redactor } from "../store/redact.ts";
import { remainingBudget } from "./budget.ts";
import { changedFiles } from "./changes.ts";
import { keepEvidence, evidenceOf, type EvidenceFile } from "./evidence.ts";
import { change, changeTask, type GoalPorts, type OpenGoal } from "./open.ts";
import { workPrompt } from "./prompt.ts";
import { TASK } from "./scaffold.ts";
import { UNHURRIED, type Workspace } from "./workspace.ts";

/** Who does the work, in events. */
const WORKER = "goal-agent-worker-0";
const HANDSHAKE_MS = 20_000;
/** Without any sign of life, and with no tool call open, an attempt is given up after this long. */
const IDLE_MS = 10 * 60_000;
/** The longest turn, whatever the budget. */
const TURN_MS_MAX = 60 * 60_000;
const PATCH_BYTES_MAX = 4 * 1024 * 1024;
const EVENT_LOG_BYTES_MAX = 256 * 1024 * 1024;

/** Runs one attempt to its end and records it. The signal ends it early: then it is not counted. */
export async function runAttempt(
  open: OpenGoal,
  space: Workspace,
  number: number,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<void> {
  const { goal, work } = open;
  // Before the attempt is recorded: the documents are live, and this one is not among the earlier ones.
  const prompt = workPrompt(goal, goal.gates?.definitions ?? [], work, number);
  const started = ports.clock.now();
  const startedMs = ports.clock.monotonicMs();
  const turnMs = Math.min(TURN_MS_MAX, remainingBudget(open.goal, open.work).ms);
  const start = await space.tree.snapshot(signal);
  const deadline = instantOf(new Date(started.getTime() + turnMs));
  const claim = { task_id: TASK.execute, worker_id: WORKER, lease_deadline: deadline, attempt: number };
  const [fence = 0] = await open.record({ kind: "task_claimed", actor: WORKER, payload: claim });
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
  try {
    turn = await takeTurn(open, space, { attempt, prompt, turnMs, transcript }, ports, signal);
  } finally {
    await transcript.close();
  }
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
    summary: summaryOf(turn, ports.redactor),
    usage: turn.usage,
    counted: !interrupted && !outside,
  };
  await recordEnd(open, space, ended, files, ports.clock.monotonicMs() - startedMs);
  await refuseProposals(open, turn.proposals);
  ports.tell(describe(ended));
}

/** Everything the end of an attempt changes, in one event. */
async function recordEnd(
  open: OpenGoal,
  space: Workspace,
  ended: Attempt,
  files: readonly EvidenceFile[],
  elapsedMs: number,
): Promise<void> {
  const { work } = open;
  const ok = ended.status === "ended" && ended.outcome === "finished";
  const tree = ended.result_tree ?? ended.start_tree;
  const attempts = [...work.attempts.slice(0, -1), ended];
  const changed = await changedFiles(space.tree, { base: work.base, attempts }, tree, [], UNHURRIED);
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
          retry_count:
            work.attempts.filter((one) => one.counted).length - (ok ? 1 : 0) + (ended.counted ? 1 : 0),
          ...(ok && { completed_at: ended.ended_at }),
        },
        ok ? undefined : ["completed_at"],
      ),
    ],
  });
}

async function takeTurn(
  open: OpenGoal,
  space: Workspace,
  run: { attempt: Attempt; prompt: string; turnMs: number; transcript: Transcript },
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Turn> {
  const engine = ports.engineNamed(open.goal.engine ?? "auto", space.tree.root);
  const { attempt } = run;
  ports.tell(`attempt ${attempt.number}: ${engine.name} works in ${space.tree.root}`);
  let session: Session | undefined;
  try {
    session = await engine.start(
      {
        cwd: space.tree.root,
        environment: ports.environment,
        spawnId: attempt.spawn_id,
        limits: { handshakeMs: HANDSHAKE_MS, idleMs: IDLE_MS, turnMs: run.turnMs },
        onEvent: (event) => run.transcript.add(event),
        // Work in the project directory is what the user asked for; policies for single requests come with approvals.
        decidePermission: () => Promise.resolve({ decision: "allow", rule: "work in the project directory" }),
      },
      signal,
    );
    const meta = { role: "work" as const, task: attempt.task_id, attempt: attempt.number };
    return await session.run({ text: run.prompt, meta }, signal);
  } catch (error) {
    // What the user must mend ends the run; a start that failed is a failed attempt like any other.
    if (signal.aborted) return noTurn("cancelled", "it was stopped before it began");
    if (error instanceof OmkError && error.code !== "state.io") throw error;
    return noTurn("failed", error instanceof Error ? error.message : String(error));
  } finally {
    await session?.stop();
  }
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

/**
 * Login, quota and outage, and a program that is not there: the agent could not work, so nobody is charged for it. An
 * empty turn is a failed one.
 */
function isOutside({ status, failure }: Turn): boolean {
  if (status !== "failed" || failure === undefined) return false;
  if (failure.class === "provider") return failure.retryable;
  return failure.class === "auth" || failure.class === "rate_limit" || failure.class === "config";
}

function noTurn(status: "failed" | "cancelled", message: string): Turn {
  const usage = { input_tokens: 0, output_tokens: 0, quality: "missing" as const };
  const failure = { class: "crashed" as const, message, retryable: true };
  return { status, text: "", toolCalls: 0, usage, proposals: [], ...(status === "failed" && { failure }) };
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

/** Text comes in pieces of any size, so a secret may lie across two of them. */
type TextEvent = Extract<EngineEvent, { text: string }>;

/** Events after which nothing continues the text before them. */
const ENDS_TEXT: ReadonlySet<EngineEvent["kind"]> = new Set([
  "tool-started",
  "tool-finished",
  "approval-asked",
  "turn-ended",
  "session-ended",
]);

/** The agent's events as they come, redacted, one line each, up to a bound. Pieces of text are joined. */
class Transcript {
  readonly path: string;
  readonly #file: OpenFile;
  readonly #ports: GoalPorts;
  readonly #texts = new Map<string, { stream: RedactingStream; last: TextEvent }>();
  #bytes = 0;
  #failure: unknown;

  constructor(path: string, ports: GoalPorts) {
    this.path = path;
    this.#ports = ports;
    this.#file = ports.disk.open(path, "create");
  }

  add(event: EngineEvent): void {
    if (event.kind === "text" || event.kind === "stderr") return this.#addText(event);
    if (ENDS_TEXT.has(event.kind)) this.#endTexts();
    this.#write(event);
  }

  #addText(event: TextEvent): void {
    const name = event.kind === "text" && event.thinking ? "thinking" : event.kind;
    const stream = this.#texts.get(name)?.stream ?? this.#ports.redactor.stream();
    this.#texts.set(name, { stream, last: event });
    const text = stream.push(event.text);
    if (text !== "") this.#write({ ...event, text });
  }

  #endTexts(): void {
    for (const { stream, last } of this.#texts.values()) {
      const text = stream.end();
      if (text !== "") this.#write({ ...last, text });
    }
    this.#texts.clear();
  }

  #write(event: EngineEvent): void {
    if (this.#bytes > EVENT_LOG_BYTES_MAX || this.#failure !== undefined) return;
    const ts = instantOf(this.#ports.clock.now());
    const redacted = this.#ports.redactor.value(event) as Record<string, unknown>;
    const line = Buffer.from(`${renderLine({ ts, ...redacted })}\n`);
    this.#bytes += line.length;
    try {
      writeAll(this.#file, line);
    } catch (error) {
      // Told at the close: a handler of the agent's messages is no place to end the run from.
      this.#failure = error;
    }
  }

  async close(): Promise<void> {
    this.#endTexts();
    try {
      if (this.#failure !== undefined) throw ioFailure("write", this.path, this.#failure);
      await this.#file.sync().catch((error: unknown) => {
        throw ioFailure("sync", this.path, error);
      });
    } finally {
      this.#file.close();
    }
  }
}

/** Redacted before it is cut: half a secret would not be known as one. */
function summaryOf(turn: Turn, redactor: Pick<Redactor, "text">): string {
  if (turn.failure) return redactor.text(turn.failure.message);
  const said = redactor.text(turn.text.trim());
  return said.length <= 2_000 ? said : `${said.slice(0, 1_000)} […] ${said.slice(-900)}`;
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
