/** Making a goal and, when it asks for that, driving it to its end. */
import { join } from "node:path";

import type { Engine } from "../engine/engine.ts";
import { chainHolder } from "../store/claim-chain.ts";
import { holdProject } from "../store/project-claim.ts";
import { engineOf } from "./chosen.ts";
import { checkRequest, createGoal, type CheckedRequest, type GoalRequest } from "./create.ts";
import { driveGoal } from "./drive.ts";
import { listGoals, type GoalSummary } from "./find.ts";
import type { OpenGoal } from "./open.ts";
import { type GoalPorts } from "./open.ts";
import { planCreated } from "./plan-created.ts";
import { concludeGoal } from "./proof.ts";
import type { Outcome } from "./with-goal.ts";
import { openWorkspace, type Workspace } from "./workspace.ts";

/** Makes a goal and, when it asks for that, drives it to an ending. Calls `created` as soon as the goal exists. */
export async function runGoal(
  request: GoalRequest,
  ports: GoalPorts,
  signal: AbortSignal,
  created: (open: OpenGoal) => void,
): Promise<Outcome> {
  const checked = checkRequest(request, ports);
  const twin = interruptedTwin(checked, ports);
  // Before the goal is made: one that cannot be worked on because the directory is taken would only lie about.
  const held =
    request.untilReady === true
      ? await holdProject(checked.projectDir, "goal run", ports, signal)
      : undefined;
  try {
    const open = await createGoal(checked, ports, signal);
    try {
      created(open);
      if (twin) ports.tell(`an interrupted goal with the same text exists: omk goal resume ${twin.id}`);
      const { status, reason_code } = open.goal;
      if (status === "blocked_on_human")
        return { open, ending: { status, reasonCode: reason_code ?? "" }, achieved: false };
      if (!held) {
        const ending = await planCreated(open, checked, ports, signal);
        return { open, ending, achieved: ending.status !== "blocked_on_human" };
      }
      let engine: Engine;
      let space: Workspace;
      try {
        engine = engineOf(open, {}, ports);
        space = await openWorkspace(open, { command: "goal run", held }, ports, signal);
      } catch (error) {
        // Nobody works on it: it is not `running` any more.
        await concludeGoal(open, undefined, undefined, ports);
        throw error;
      }
      try {
        const ending = await driveGoal(open, { space, engine }, ports, signal);
        return { open, ending, achieved: ending.status === "ready" };
      } finally {
        await space.release();
      }
    } finally {
      await open.close();
    }
  } finally {
    await held?.release(true);
  }
}

/** A goal of the same text and directory whose controller died. */
function interruptedTwin(request: CheckedRequest, ports: GoalPorts): GoalSummary | undefined {
  const { text, projectDir } = request;
  return listGoals(ports.root, ports).goals.find(
    (goal) =>
      goal.status === "running" &&
      goal.originalGoal === text &&
      goal.record["project_dir"] === projectDir &&
      chainHolder(join(goal.folder, "controller"), ports)?.liveness !== "alive",
  );
}
