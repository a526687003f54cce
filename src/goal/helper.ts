/** Turns of the engine beside a goal's tasks: planning, and reviewing. They only read, and cost what they cost. */
import type { Engine, EngineEvent, Turn } from "../engine/engine.ts";
import type { TurnStop } from "../engine/turn.ts";
import { instantOf } from "../format/stamp.ts";
import type { HelperTurn } from "../format/work.ts";
import type { TreeChange } from "../git/work-tree.ts";
import type { EvidenceFile } from "../store/evidence.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import { helperTranscript, helperTurn } from "../team/helper-turn.ts";
import { approvalsOf } from "./approvals.ts";
import { remainingMs } from "./budget.ts";
import { lostUsage, meterHelper } from "./metering.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import type { Workspace } from "./workspace.ts";

/** What is asked. */
export interface HelperAsk {
  role: HelperTurn["role"];
  /** What it is about; also a part of the transcript's name. */
  task: string;
  text: string;
  turnMs: number;
  /** More of an answer than this stops the turn. */
  outputTokensMax?: number;
}

/** What came of it. */
export interface HelperResult {
  turn: Turn;
  /** Its transcript. */
  evidence: EvidenceFile;
  /** The project before the turn. */
  tree: string;
  /** What it changed although it was only to read, or what somebody else changed meanwhile. */
  changed: TreeChange[];
  /** Its answer was longer than `outputTokensMax`, which is why it was stopped. */
  isTooLong: boolean;
}

/**
 * Takes one such turn to its end, whatever that is, and records it. The goal must have budget left, and one turn is taken at
 * a time. The signal ends it early: then it is `cancelled`.
 */
export async function takeHelperTurn(
  open: OpenGoal,
  space: Pick<Workspace, "tree">,
  engine: Engine,
  ask: HelperAsk,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<HelperResult> {
  const startedMs = ports.clock.monotonicMs();
  const tree = await space.tree.snapshot(signal);
  const { role, task, text } = ask;
  const [fence = 0] = await open.record({
    kind: "helper_claimed",
    actor: "goal-controller",
    payload: { task_id: task, role },
  });
  const helper: HelperTurn = {
    role,
    task,
    fence,
    spawn_id: "",
    status: "running",
    outcome: null,
    started_at: instantOf(ports.clock.now()),
    ended_at: null,
    usage: null,
  };
  const meter = meterHelper(open, helper, ports);
  const answer = new AnswerLimit(ask.outputTokensMax ?? Infinity);
  const watching = {
    over: meter.over,
    take: (event: EngineEvent) => {
      answer.take(event);
      meter.take(event);
    },
  };
  const begin = async (spawn_id: string): Promise<number> => {
    helper.spawn_id = spawn_id;
    await open.record({
      kind: "helper_started",
      actor: "goal-controller",
      payload: { task_id: task, role, fence, spawn_id },
      changes: [change("work.json", { helper_turns: [...open.work.helper_turns, { ...helper }] })],
    });
    return fence;
  };
  const turnMs = Math.min(ask.turnMs, remainingMs(open.goal, open.work));
  let taken: Awaited<ReturnType<typeof helperTurn>>;
  try {
    const approvals = approvalsOf(open, ports);
    const given = { role, task, text, turnMs, engine, cwd: space.tree.root, meter: watching };
    const request = { ...given, stops: [answer.over], open, approvals, begin };
    taken = await helperTurn(request, ports, signal);
  } finally {
    meter.end();
  }
  const { turn, evidence } = taken;
  // Everything that is in the log about the turn's cost is there before its end.
  const usage = await meter.settle(turn.usage);
  const after = await space.tree.snapshot(UNHURRIED);
  const ended: HelperTurn = {
    ...helper,
    status: signal.aborted ? "interrupted" : "ended",
    outcome: turn.status,
    ended_at: instantOf(ports.clock.now()),
    usage,
  };
  await open.record({
    kind: "helper_ended",
    actor: "goal-controller",
    payload: { task_id: task, role, fence, spawn_id: helper.spawn_id, outcome: turn.status },
    changes: [
      change("work.json", {
        helper_turns: open.work.helper_turns.map((one) => (one.fence === fence ? ended : one)),
        evidence: [...open.work.evidence, evidence.file],
        active_ms: open.work.active_ms + ports.clock.monotonicMs() - startedMs,
      }),
    ],
  });
  return {
    turn,
    evidence: evidence.file,
    tree,
    changed: after === tree ? [] : await space.tree.changes(tree, after, UNHURRIED),
    isTooLong: answer.isOver || turn.usage.output_tokens > (ask.outputTokensMax ?? Infinity),
  };
}

/** More characters than a token has: an agent that reports no usage is stopped late, not early. */
const TOKEN_CHARACTERS = 6;

/** Stops a turn whose answer has grown too long, as far as the agent reports it, or else by its length. */
class AnswerLimit {
  readonly #tokensMax: number;
  readonly #over = new AbortController();
  readonly over: TurnStop = { signal: this.#over.signal, status: "over_budget" };
  #characters = 0;

  constructor(tokensMax: number) {
    this.#tokensMax = tokensMax;
  }

  get isOver(): boolean {
    return this.#over.signal.aborted;
  }

  take(event: EngineEvent): void {
    if (event.kind === "text") this.#characters += event.text.length;
    const told = event.kind === "usage" ? (event.spent?.output_tokens ?? 0) : 0;
    if (Math.max(told, this.#characters / TOKEN_CHARACTERS) > this.#tokensMax) this.#over.abort();
  }
}

/** Ends what a dead controller left running: charged with what its transcript tells. Its processes are ended elsewhere. */
export async function recoverHelperTurns(open: OpenGoal, ports: GoalPorts): Promise<void> {
  const { work } = open;
  const lost = work.helper_turns.filter(({ status }) => status === "running");
  if (lost.length === 0) return;
  let workedMs = 0;
  const helper_turns = work.helper_turns.map((one): HelperTurn => {
    if (one.status !== "running") return one;
    const transcript = helperTranscript(open.folder, one.fence, one.task);
    const { modifiedMs = 0 } = ports.disk.stat(transcript) ?? {};
    // Wall time, which may have been set, or have gone on while the machine slept.
    const most = Math.min(HELPER_MS_MAX, remainingMs(open.goal, work));
    workedMs += Math.min(most, Math.max(0, modifiedMs - Date.parse(one.started_at)));
    return { ...one, status: "interrupted", usage: lostUsage(open, one, transcript, ports) };
  });
  const active_ms = work.active_ms + workedMs;
  await open.record({
    kind: "helper_lost",
    actor: "goal-controller",
    payload: { reason: "the controller died", fence: lost.map(({ fence }) => fence) },
    changes: [change("work.json", { helper_turns, active_ms })],
  });
}

/** The longest such turn, whoever asks. */
export const HELPER_MS_MAX = 10 * 60_000;
