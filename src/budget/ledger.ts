/** What a goal or a run may still spend: set aside before a turn, followed while it runs, settled after it. */
import type { EngineEvent } from "../engine/engine.ts";
import type { TurnStop } from "../engine/turn.ts";

/** One turn's part of the budget. */
export interface TurnMeter {
  /** Called with each event of the turn, in order. */
  take(event: EngineEvent): void;
  /** Fires when the turn has reached its ceiling. */
  over: TurnStop;
}

/** A meter for turns that nothing limits. */
export function unlimitedMeter(): TurnMeter {
  return { take: () => undefined, over: { signal: new AbortController().signal, status: "over_budget" } };
}
