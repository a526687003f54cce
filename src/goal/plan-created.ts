/** Planning a goal that was only created: by the engine that would work on it, or by the rules where there is none. */
import { approvalKeys, refuseUnasking } from "../approval/settings.ts";
import type { Engine } from "../engine/engine.ts";
import { engineForRole, refuseSecretEngine } from "../engine/select.ts";
import { OmkError } from "../errors.ts";
import { GOAL_ROLE, type CheckedRequest } from "./create.ts";
import { isStop, requestedEnding, stopEnding } from "./endings.ts";
import { recordBase, type GateSteps } from "./gate-steps.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import { NOT_WANTED, planByRules, runPlanner, whyNoPlanner } from "./planner.ts";
import { concludeGoal, type Ending } from "./proof.ts";
import { serveRequests } from "./requests.ts";
import { openWorkspace, type Workspace } from "./workspace.ts";

/** Takes the planning step right after the creation, and writes down how the goal stands then. */
export async function planCreated(
  open: OpenGoal,
  request: CheckedRequest,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Ending> {
  const engine = planningEngine(request, ports);
  const ending =
    typeof engine === "string"
      ? await planWithout(open, engine, ports, signal)
      : await planWith(open, engine, ports, signal);
  return concludeGoal(open, undefined, ending, ports);
}

/** The engine to ask, or why there is none. */
function planningEngine(request: CheckedRequest, ports: GoalPorts): Engine | string {
  if (request.noLlmPlanner === true) return NOT_WANTED;
  const { projectDir } = request;
  try {
    const settings = ports.settings(projectDir);
    const wanted = engineForRole(GOAL_ROLE, request.engine, settings);
    refuseSecretEngine(wanted, ports.redactor);
    const engine = ports.engineNamed(wanted, projectDir);
    refuseUnasking(engine, approvalKeys(request.approvals ?? {}, settings));
    return whyNoPlanner(engine) ?? engine;
  } catch (error) {
    return reasonIn(error);
  }
}

/** Why something that would be nice to have cannot be had; a defect of ours is thrown on, and so is a stop. */
function reasonIn(error: unknown): string {
  if (!(error instanceof OmkError) || error.code === "interrupted") throw error;
  return error.message.replace(/\.$/, "");
}

async function planWithout(
  open: OpenGoal,
  because: string,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<undefined> {
  const { project_dir: projectDir = "" } = open.goal;
  const tree = await ports
    .openWorkTree({ projectDir, goalDir: open.folder, goalId: open.id })
    // Only the list of relevant files needs it.
    .catch((error: unknown) => void reasonIn(error));
  await planByRules(open, tree && { tree }, because, ports, signal);
}

async function planWith(
  open: OpenGoal,
  engine: Engine,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Ending | undefined> {
  let space: Workspace;
  try {
    space = await openWorkspace(open, { command: "goal create" }, ports, signal);
  } catch (error) {
    // Somebody else's agents are at work there, or git cannot look at it.
    return planWithout(open, reasonIn(error), ports, signal);
  }
  try {
    await open.record({
      kind: "goal_running",
      actor: "omk-cli",
      payload: { action: "goal plan" },
      changes: [change("goal.json", { status: "running", phase: "planning" }, ["completed_at", "failure"])],
    });
    await open.journal.save();
    let stopped = signal;
    const reached = await serveRequests(open, ports, signal, async (stop) => {
      stopped = stop;
      try {
        await layGround({ open, space, ports, signal: stop });
        return await runPlanner(open, space, engine, ports, stop);
      } catch (error) {
        // A stop ends the step early; the goal is planned when its work begins.
        if (isStop(error, stop)) return undefined;
        throw error;
      }
    });
    return requestedEnding(open) ?? (stopped.aborted ? stopEnding(stopped) : reached);
  } finally {
    await space.release();
  }
}

/** What a sliced goal starts from is known from here on; whoever only reads needs no set-up. */
async function layGround(steps: GateSteps): Promise<void> {
  const { open, space, signal } = steps;
  if (!space.sliced) return;
  if (!open.work.slices) await recordBase(steps);
  const { slices } = open.work;
  if (slices) await space.sliced.stage.show(slices.base, signal);
}
