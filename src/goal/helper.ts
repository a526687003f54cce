/** Turns of the engine beside a goal's tasks: planning, and reviewing. They only read, and cost what they cost. */
import type { Engine, EngineEvent, Turn } from "../engine/engine.ts";
import type { TurnStop } from "../engine/turn.ts";
import { instantOf } from "../format/stamp.ts";
import type { HelperTurn, Work } from "../format/work.ts";
import type { TreeChange } from "../git/work-tree.ts";
import type { EvidenceFile } from "../store/evidence.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import { helperTranscript, helperTurn } from "../team/helper-turn.ts";
import { approvalsOf } from "./approvals.ts";
import { remainingMs } from "./budget.ts";
import { lostUsage, meterHelper } from "./metering.ts";
import { named } from "../format/named.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";
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
  /** By which it is known among the goal's turns. */
  fence: number;
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
  space: Pick<Workspace, "tree" | "sliced">,
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
    start_tree: tree,
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
  const wrote = await changesSince(space, tree);
  const changed = space.sliced ? [] : wrote;
  const ended: HelperTurn = {
    ...helper,
    status: signal.aborted ? "interrupted" : "ended",
    outcome: turn.status,
    ended_at: instantOf(ports.clock.now()),
    usage,
    changed: changed.map(({ path }) => path),
    ...(space.sliced && wrote.length > 0 && { discarded: wrote.map(({ path }) => path) }),
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
  if (space.sliced && wrote.length > 0) {
    ports.tell(
      `${role} turns only read: what this one wrote is thrown away (${named(ended.discarded ?? [])})`,
    );
    // Nobody waits for a set-up after a stop.
    if (signal.aborted) space.sliced.stage.forget();
    else await space.sliced.tidy(signal);
  }
  return {
    turn,
    evidence: evidence.file,
    fence,
    changed,
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

async function changesSince({ tree }: Pick<Workspace, "tree">, before: string): Promise<TreeChange[]> {
  const now = await tree.snapshot(UNHURRIED);
  return now === before ? [] : tree.changes(before, now, UNHURRIED);
}

/**
 * The ending of a goal in which files changed while a turn was only to read, until a person has looked: however that turn
 * ended, what it wrote must not pass for what the work started from, or for the work. Turns that a dead controller left are
 * looked at now.
 */
export async function helperChanges(
  open: OpenGoal,
  space: Pick<Workspace, "tree" | "sliced">,
): Promise<Ending | undefined> {
  const looked = new Map<number, string[]>();
  for (const { fence, status, start_tree: before, changed } of open.work.helper_turns) {
    if (status === "running" || before === undefined || changed !== undefined) continue;
    // The folder in which it read is gone with the omk that had made it.
    const changes = space.sliced ? [] : await changesSince(space, before);
    looked.set(
      fence,
      changes.map(({ path }) => path),
    );
  }
  if (looked.size > 0) {
    const helper_turns = open.work.helper_turns.map((one) => {
      const changed = looked.get(one.fence);
      return changed ? { ...one, changed } : one;
    });
    await open.record({
      kind: "helper_looked_after",
      actor: "goal-controller",
      payload: { fence: [...looked.keys()], paths: [...new Set([...looked.values()].flat())] },
      changes: [change("work.json", { helper_turns })],
    });
  }
  return wroteEnding(open);
}

/** The same of what is in the log by now. */
export function wroteEnding({ id, work }: Pick<OpenGoal, "id" | "work">): Ending | undefined {
  const unseen = work.helper_turns.filter(
    ({ fence, changed = [] }) => changed.length > 0 && fence > (work.changes_seen ?? -1),
  );
  const role = unseen.at(-1)?.role;
  if (role === undefined) return undefined;
  const [first = "", ...more] = new Set(unseen.flatMap(({ changed = [] }) => changed));
  const files = more.length === 0 ? first : `${first} and ${more.length} more`;
  const meanwhile =
    role === "plan"
      ? "while the work was planned, although planning only reads"
      : "while the result was reviewed, although reviewing only reads";
  return {
    status: "blocked_on_human",
    reasonCode: WROTE[role],
    reason: `${files} changed ${meanwhile}; look at it, then \`omk goal resume ${id}\` goes on from here`,
  };
}

/** A person looks before the work goes on. */
const WROTE = { plan: "planner_wrote", review: "reviewer_wrote" } as const;

/** What a person says by resuming a goal that waited for that: the changes of work.json. */
export function answeredChanges({ goal, work }: Pick<OpenGoal, "goal" | "work">): Partial<Work> {
  const last = work.helper_turns.at(-1);
  const asked = goal.status === "blocked_on_human" && goal.reason_code;
  return last && (asked === WROTE.plan || asked === WROTE.review) ? { changes_seen: last.fence } : {};
}

/** Paths that such turns changed: they belong to what a result differs in from its base. */
export function helperPaths({ helper_turns }: Pick<Work, "helper_turns">): string[] {
  return helper_turns.flatMap(({ changed = [] }) => changed);
}

/** The longest such turn, whoever asks. */
export const HELPER_MS_MAX = 10 * 60_000;
