/** How freely an agent may act: the mode it is put into before its first turn. */
import type { NewSessionResult } from "./acp-messages.ts";
import type { StartOptions } from "./engine.ts";
import type { AgentPreset } from "./presets.ts";

type Mode = NonNullable<StartOptions["mode"]>;

/** Ids that mean this in every agent that has them. */
const KNOWN: Readonly<Record<Mode, readonly string[]>> = {
  ask: ["default", "ask", "workspace-write"],
  read_only: ["plan", "read-only"],
};

/** What to call so that the agent is in the mode: nothing when it is already, or when it has none that is known. */
export type ModeStep =
  | { do: "nothing" }
  | { do: "call"; id: string; method: string; params: Record<string, string> }
  /** It should have this mode, and does not name it. */
  | { do: "missing"; id: string };

/** Chooses the mode, from what is known of the agent and what it said when the session was made. */
export function modeStep(
  mode: Mode,
  modes: AgentPreset["modes"] | undefined,
  made: Pick<NewSessionResult, "modes" | "configOptions">,
): ModeStep {
  const offered = made.modes?.availableModes.map(({ id }) => id) ?? [];
  const option = made.configOptions?.find(({ id, category }) => (category ?? id) === "mode");
  // They may be in groups.
  const choices = option?.options?.flatMap((one) => [one, ...(one.options ?? [])]) ?? [];
  const values = choices.flatMap(({ value }) => value ?? []);
  const known = (id: string): boolean => offered.includes(id) || values.includes(id);
  const id = modes ? (mode === "ask" ? modes.ask : modes.readOnly) : KNOWN[mode].find(known);
  if (id === undefined || id === null) return { do: "nothing" };
  if (offered.includes(id)) {
    if (made.modes?.currentModeId === id) return { do: "nothing" };
    return { do: "call", id, method: "session/set_mode", params: { modeId: id } };
  }
  if (option && values.includes(id)) {
    if (option.currentValue === id) return { do: "nothing" };
    const params = { configId: option.id, value: id };
    return { do: "call", id, method: "session/set_config_option", params };
  }
  return { do: "missing", id };
}
