/** What a person may name anew each time an agent is to work: the engine, and who decides about its requests. */
import { approvalKeys, refuseUnasking, type ApprovalFlags } from "../approval/settings.ts";
import type { Engine } from "../engine/engine.ts";
import { refuseSecretEngine } from "../engine/select.ts";
import type { NewEvent } from "../store/event-log.ts";
import type { OpenGoal } from "./open.ts";
import { change, type GoalPorts } from "./open.ts";
import { projectDirOf } from "./workspace.ts";

/** What a person may say anew each time an agent is to work. */
export interface Chosen {
  engine?: string;
  approvals?: ApprovalFlags;
}

/** The engine that works on a goal, by the name a person gives now or the recorded one. Throws when it cannot be used. */
export function engineOf(
  open: OpenGoal,
  { engine: wanted, approvals = {} }: Chosen,
  ports: GoalPorts,
): Engine {
  if (wanted !== undefined) refuseSecretEngine(wanted, ports.redactor);
  const projectDir = projectDirOf(open.id, open.goal);
  const engine = ports.engineNamed(
    wanted ?? open.goal.engine ?? "auto",
    ports.disk.realPath(projectDir) ?? projectDir,
  );
  refuseUnasking(engine, approvalKeys(approvals, open.goal));
  return engine;
}

/** The event of a person's choice of who decides about requests, from now on. */
export function approvalsChosen(flags: ApprovalFlags): NewEvent[] {
  const keys = approvalKeys(flags, {});
  if (Object.keys(keys).length === 0) return [];
  return [
    {
      kind: "approvals_chosen",
      actor: "omk-cli",
      payload: { ...keys },
      changes: [change("goal.json", { ...keys })],
    },
  ];
}

/**
 * The event of a person's choice of another engine, from now on. What `auto` first found for a goal is kept, too: a later
 * resume means the same agent.
 */
export function engineChosen(open: OpenGoal, wanted: string | undefined, engine: Engine): NewEvent[] {
  const recorded = engine.recordedAs ?? wanted;
  if (recorded === undefined || (wanted === undefined && recorded === open.goal.engine)) return [];
  const changes = [change("goal.json", { engine: recorded })];
  return [{ kind: "engine_chosen", actor: "omk-cli", payload: { source: recorded }, changes }];
}

/** Why requests are withdrawn when a person names another policy. */
export const DECIDED_ANEW = "another policy decides anew";
