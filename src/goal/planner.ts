/** Planning a goal: the engine is asked for a typed plan; where it gives none that is sound, omk's own rules plan. */
import { Breaker, turnResult, type Cause } from "../budget/breaker.ts";
import type { Engine } from "../engine/engine.ts";
import { isOutside, summaryOf } from "../engine/turn.ts";
import type { Plan } from "../format/plan.ts";
import { instantOf } from "../format/stamp.ts";
import type { RecordedPlan } from "../format/work.ts";
import { isPlanned } from "./agent-tasks.ts";
import { gateDefinitions } from "./candidates.ts";
import { budgetEnding, endTurn, stopEnding } from "./endings.ts";
import { HELPER_MS_MAX, takeHelperTurn, wroteEnding, type HelperResult } from "./helper.ts";
import { kindOf, wantedText } from "./intake.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import { parsePlan } from "./plan-answer.ts";
import { planPrompt, reaskPrompt } from "./plan-prompt.ts";
import { preparePlan, type PreparedPlan } from "./plan-sets.ts";
import type { Ending } from "./proof.ts";
import { writeReaderFiles } from "./reader-files.ts";
import { repoContext, type RepoContext } from "./repo-context.ts";
import { graphOfPlan } from "./scaffold.ts";
import { TASK } from "./task-ids.ts";
import type { Workspace } from "./workspace.ts";

/** Tokens that an answer may have where nobody said. */
const ANSWER_TOKENS_DEFAULT = 8_000;
/** An unsound answer is sent back once. */
const ASKED_MAX = 2;
const BECAUSE_CHARACTERS_MAX = 300;

/** Takes the step: afterwards the goal is planned, unless the answer says why it ends here. */
export async function runPlanner(
  open: OpenGoal,
  space: Pick<Workspace, "tree" | "sliced">,
  engine: Engine | undefined,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Ending | undefined> {
  if (isPlanned(open.graph)) return undefined;
  const because = open.goal.no_llm_planner === true ? NOT_WANTED : whyNoPlanner(engine);
  if (!engine || because !== undefined) {
    await planByRules(open, space, because ?? NOT_WANTED, ports, signal);
    return undefined;
  }
  const context = await contextOf(open, space, ports, signal);
  ports.tell(`goal: using llm planner (${engine.name})`);
  const asked = await askEngine(open, space, { engine, context }, ports, signal);
  if (asked.kind === "ended") return asked.ending;
  const { relevantFiles: relevant_files } = context;
  if (asked.kind === "none") {
    tellRules(asked.because, ports);
    await recordPlan(open, { source: "rules", fallback: asked.because, relevant_files }, ports);
  } else {
    const { plan, notes } = asked.prepared;
    await recordPlan(open, { source: "engine", engine: engine.name, plan, notes, relevant_files }, ports);
    const count = plan.slices.length;
    ports.tell(`planned in ${count === 1 ? "one part" : `${count} parts`}`);
  }
  return wroteEnding(open);
}

/** The user said so. */
export const NOT_WANTED = "--no-llm-planner";

/** Why an engine is not asked for a plan; undefined when it is. */
export function whyNoPlanner(engine: Engine | undefined): string | undefined {
  if (!engine) return "no coding agent is known";
  return engine.capabilities.plans === false ? `${engine.name} makes no plans` : undefined;
}

/** Says why the rules plan, in the words that scripts of 0.5.0 look for. */
function tellRules(because: string, ports: Pick<GoalPorts, "tell">): void {
  ports.tell(
    because === NOT_WANTED
      ? `goal: using stub planner (${because})`
      : `goal: llm planner unavailable (${because}); falling back to stub planner`,
  );
}

/** The rules' plan: one task that may change everything, and the files it is likely about, where they can be seen. */
export async function planByRules(
  open: OpenGoal,
  space: Pick<Workspace, "tree"> | undefined,
  because: string,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<void> {
  tellRules(because, ports);
  const context = space && (await contextOf(open, space, ports, signal));
  await recordPlan(
    open,
    {
      source: "rules",
      ...(because !== NOT_WANTED && { fallback: because }),
      relevant_files: context?.relevantFiles ?? [],
    },
    ports,
  );
}

async function contextOf(
  { goal, work }: OpenGoal,
  { tree }: Pick<Workspace, "tree">,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<RepoContext> {
  const snapshot = await tree.snapshot(signal);
  const gates = gateDefinitions(goal, work);
  return repoContext({ tree, snapshot, goal: wantedText(goal), gates }, ports, signal);
}

/** One event makes the goal planned: its graph, and what the plan is. */
async function recordPlan(open: OpenGoal, plan: RecordedPlan, ports: GoalPorts): Promise<void> {
  const tasks = graphOfPlan(open.graph, plan.plan, instantOf(ports.clock.now()));
  const { source, engine, fallback } = plan;
  const payload = { task_id: TASK.plan, worker_id: "goal-controller" };
  const title = tasks.find(({ id }) => id === TASK.plan)?.title ?? TASK.plan;
  await open.record(
    {
      kind: "plan_recorded",
      actor: "goal-controller",
      payload: {
        source,
        ...(engine !== undefined && { name: engine }),
        ...(fallback !== undefined && { reason: fallback }),
        slices: plan.plan?.slices.length ?? 0,
        total_tasks: tasks.length,
      },
      changes: [change("task-graph.json", { tasks }), change("work.json", { plan })],
    },
    { kind: "task_started", actor: "goal-controller", payload: { ...payload, title } },
    { kind: "task_completed", actor: "goal-controller", payload: { ...payload, output_summary: title } },
  );
  await writeReaderFiles(open, ports);
}

/** What asking came to. */
type Asked =
  | { kind: "planned"; prepared: PreparedPlan }
  | { kind: "none"; because: string }
  | { kind: "ended"; ending: Ending };

/** Asks until there is a sound plan, a reason to go without, or a reason to stop. */
async function askEngine(
  open: OpenGoal,
  space: Pick<Workspace, "tree" | "sliced">,
  { engine, context }: { engine: Engine; context: RepoContext },
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Asked> {
  const { goal, work } = open;
  const outputTokensMax = goal.planner_token_budget ?? ANSWER_TOKENS_DEFAULT;
  const prompt = planPrompt(goal, gateDefinitions(goal, work), context, outputTokensMax);
  const ask = { role: "plan", task: TASK.plan, turnMs: HELPER_MS_MAX, outputTokensMax } as const;
  const breaker = new Breaker();
  let text = prompt;
  for (let asked = 1; ;) {
    const spentUp = budgetEnding(open);
    if (spentUp) return { kind: "ended", ending: spentUp };
    const taken = await takeHelperTurn(open, space, engine, { ...ask, text }, ports, signal);
    if (signal.aborted) return { kind: "ended", ending: stopEnding(signal) };
    const cause = causeOf(taken, ports);
    if (cause) {
      const reason = oneLine(cause.message);
      if (!goal.until_ready) return { kind: "none", because: `${cause.class}: ${reason}` };
      // What it wrote is to be looked at before anything else is waited for.
      const wrote = wroteEnding(open);
      if (wrote) return { kind: "ended", ending: wrote };
      const ending = await endTurn(open, breaker, { kind: "outside", cause }, ports, signal);
      if (ending) return { kind: "ended", ending };
      continue;
    }
    const spent = taken.turn.status === "over_budget" && !taken.isTooLong ? budgetEnding(open) : undefined;
    if (spent) return { kind: "ended", ending: spent };
    const read = readAnswer(taken, kindOf(goal), { outputTokensMax, redactor: ports.redactor });
    if (read.ok) return { kind: "planned", prepared: preparePlan(read.plan, context.files) };
    if (!read.mayReask || asked >= ASKED_MAX) return { kind: "none", because: read.because };
    asked++;
    ports.tell(`the plan cannot be used (${read.because}); asking once more`);
    text = reaskPrompt(prompt, taken.turn.text, read.because);
  }
}

/** The plan in an answer, or why there is none, and whether it could be mended. */
function readAnswer(
  { turn, isTooLong }: HelperResult,
  kind: string,
  { outputTokensMax, redactor }: { outputTokensMax: number; redactor: GoalPorts["redactor"] },
): { ok: true; plan: Plan } | { ok: false; because: string; mayReask: boolean } {
  const refused = (because: string, mayReask = false) => ({ ok: false as const, because, mayReask });
  if (isTooLong) return refused(`the answer passed ${outputTokensMax} tokens (--planner-token-budget)`);
  if (turn.status === "empty") return refused("the agent answered nothing");
  if (turn.status !== "finished")
    return refused(oneLine(`the turn ended ${turn.status}: ${summaryOf(turn, redactor)}`));
  const answer = parsePlan(turn.text, kind);
  // A reason quotes what was answered.
  return answer.ok ? answer : refused(oneLine(redactor.text(answer.because)), true);
}

function causeOf({ turn }: HelperResult, { redactor }: GoalPorts): Cause | undefined {
  const { failure } = turn;
  const result = turnResult({
    outcome: turn.status,
    code: failure?.class,
    isOutside: isOutside(turn),
    message: failure ? redactor.text(failure.message) : "",
    resets_at: failure?.resets_at,
  });
  // An agent that cannot be held to reading, or is not there: the rules can plan, and its first task says the rest.
  return result.kind === "outside" && result.cause.class !== "config" ? result.cause : undefined;
}

function oneLine(text: string): string {
  const line = text.split(/\s+/u).filter(Boolean).join(" ");
  return line.length > BECAUSE_CHARACTERS_MAX ? `${line.slice(0, BECAUSE_CHARACTERS_MAX)}…` : line;
}
