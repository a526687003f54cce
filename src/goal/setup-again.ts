/** A person's own `[setup]`, taken once more where the one that a goal was made with has failed. */
import { isDeepStrictEqual } from "node:util";

import { loadGates, NO_GATES, refuseSecrets, withDefinitions } from "../gate/definitions.ts";
import type { NewEvent } from "../store/event-log.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import { SETUP_FAILED } from "./sliced-space.ts";
import { projectDirOf } from "./workspace.ts";

/**
 * The event that takes `[setup]` as the project's gates.toml has it now, for a goal that ended since its own one failed; none
 * where it says the same. The gates stay those that the goal was made with: a set-up judges nothing.
 */
export function setupTakenAgain(
  { id, goal }: Pick<OpenGoal, "id" | "goal">,
  ports: Pick<GoalPorts, "disk" | "redactor" | "tell">,
): NewEvent[] {
  const own = goal.gates ?? NO_GATES;
  if (goal.reason_code !== SETUP_FAILED || own.source !== "config") return [];
  const found = loadGates({ projectDir: projectDirOf(id, goal), flags: [] }, ports);
  if (found.source !== "config" || isDeepStrictEqual(found.setup, own.setup)) return [];
  const { setup: _, ...others } = own;
  const taken = { ...others, ...(found.setup && { setup: found.setup }) };
  const gates = withDefinitions(taken, taken.definitions);
  refuseSecrets(gates, ports.redactor);
  ports.tell("set-up: as .omk/gates.toml has it now");
  return [
    {
      kind: "gates_defined",
      actor: "omk-cli",
      payload: { name: ["[setup]"], digest: gates.digest },
      changes: [change("goal.json", { gates })],
    },
  ];
}
