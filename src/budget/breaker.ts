/**
 * When an agent cannot work for a reason outside the work, nothing is gained by asking again at once, or by asking often.
 *
 *     closed     turns begin as they like
 *     resting    the provider was busy or away; after a pause one turn tries it, and a few failures in a row open it
 *     half_open  a person said to go on after it had opened: one turn tries it, and a failure opens it again
 *     open       nothing begins: a person has to act, or the provider needs longer than anybody should wait
 *
 * Login, quota and configuration open it at once, whatever its state. The rule has no clock: times are given.
 */
import type { FailureClass } from "../engine/engine.ts";

/** Failures that are nobody's failed attempt. */
export type OutsideClass = Extract<FailureClass, "auth" | "quota" | "rate_limit" | "provider" | "config">;

/** What the agent failed for. */
export interface Cause {
  class: OutsideClass;
  /** What was said about it. */
  message: string;
  /** When the provider takes requests again, RFC 3339, if it said so. */
  resets_at?: string | undefined;
}

/** How a turn ended, as far as the breaker cares. `unknown`: it says nothing about the provider. */
export type TurnResult = { kind: "worked" } | { kind: "unknown" } | { kind: "outside"; cause: Cause };

/** What is recorded of a turn that has ended. */
export interface EndedTurn {
  outcome: string | null | undefined;
  code: string | null | undefined;
  /** Something outside kept the agent from working. */
  isOutside: boolean;
  message: string;
  resets_at?: string | undefined;
}

/** What a turn that has ended says about the agent's provider. */
export function turnResult({ outcome, code, isOutside, message, resets_at }: EndedTurn): TurnResult {
  const kind = isOutside ? outsideClass(code) : undefined;
  if (kind) return { kind: "outside", cause: { class: kind, message, resets_at } };
  return {
    kind: outcome === "failed" || outcome === "empty" || outcome === "cancelled" ? "unknown" : "worked",
  };
}

/** The time twice: `wall` compares with what a provider said, `ms` with what the breaker was given before. */
export interface BreakerTime {
  wall: Date;
  ms: number;
}

/** A turn that was begun. */
export interface Ticket {
  readonly incident: number;
  readonly isProbe: boolean;
}

/** After so many outages in a row it opens: the first, and three more tries. */
const OUTAGES_MAX = 4;
const REST_MS = 1_000;
/** A reset that is further away is nothing to wait for: a person decides. */
const RESET_WAIT_MS_MAX = 60_000;
/** Clocks of provider and machine differ a little. */
const RESET_MARGIN_MS = 500;

const TRANSIENT: ReadonlySet<OutsideClass> = new Set(["rate_limit", "provider"]);

/** One goal's or run's breaker. */
export class Breaker {
  #state: "closed" | "resting" | "half_open" | "open";
  /** Outages in a row. */
  #outages = 0;
  /** Counts what turns were begun before: one that was says nothing new about it. */
  #incident = 0;
  #restUntilMs = Number.NEGATIVE_INFINITY;
  #probe: Ticket | undefined;
  #cause: Cause | undefined;

  constructor(state: "closed" | "half_open" = "closed") {
    this.#state = state;
  }

  get state(): "closed" | "resting" | "half_open" | "open" {
    return this.#state;
  }

  /** Why it is not closed; undefined when it is, or when that was before this breaker's time. */
  get cause(): Cause | undefined {
    return this.#cause;
  }

  /** How often in a row the agent could not work. */
  get outages(): number {
    return this.#outages;
  }

  /** How long nothing may begin: 0 for now, Infinity until something ends or, when it is open, for good. */
  waitMs(nowMs: number): number {
    if (this.#state === "closed") return 0;
    if (this.#state === "open" || this.#probe) return Infinity;
    return Math.max(0, this.#restUntilMs - nowMs);
  }

  /** Begins a turn, which must be allowed now. */
  begin(): Ticket {
    const ticket = { incident: this.#incident, isProbe: this.#state !== "closed" };
    if (ticket.isProbe) this.#probe = ticket;
    return ticket;
  }

  /** Takes in how a turn ended. */
  end(ticket: Ticket, result: TurnResult, now: BreakerTime): void {
    if (this.#probe === ticket) this.#probe = undefined;
    if (result.kind === "unknown") return;
    if (result.kind === "worked") {
      // What a turn achieved that was begun before the trouble says nothing about it.
      if (ticket.incident !== this.#incident || this.#state === "open") return;
      this.#state = "closed";
      this.#outages = 0;
      this.#cause = undefined;
      return;
    }
    this.#outside(ticket, result.cause, now);
  }

  /** A person says to go on. */
  resume(): void {
    if (this.#state !== "open") return;
    this.#state = "half_open";
    this.#outages = 0;
    this.#restUntilMs = Number.NEGATIVE_INFINITY;
  }

  #outside(ticket: Ticket, cause: Cause, now: BreakerTime): void {
    if (this.#state === "open") return;
    const isNews = ticket.incident === this.#incident;
    const resetMs = resetsIn(cause, now.wall);
    const isHopeless = !TRANSIENT.has(cause.class) || (resetMs !== undefined && resetMs > RESET_WAIT_MS_MAX);
    // Turns that ran side by side met the same outage: it counts once.
    if (!isHopeless && !isNews) return;
    this.#incident++;
    this.#outages++;
    this.#cause = cause;
    if (isHopeless || this.#state === "half_open" || this.#outages >= OUTAGES_MAX) {
      this.#state = "open";
      return;
    }
    this.#state = "resting";
    const restMs = resetMs === undefined ? REST_MS * 2 ** (this.#outages - 1) : resetMs + RESET_MARGIN_MS;
    this.#restUntilMs = now.ms + restMs;
  }
}

function resetsIn({ resets_at }: Cause, now: Date): number | undefined {
  const at = resets_at === undefined ? Number.NaN : Date.parse(resets_at);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now.getTime());
}

const OUTSIDE: ReadonlySet<string> = new Set(["auth", "quota", "rate_limit", "provider", "config"]);

/** What a record's `outcome_code` says, if it is one of these. */
export function outsideClass(code: string | null | undefined): OutsideClass | undefined {
  return typeof code === "string" && OUTSIDE.has(code) ? (code as OutsideClass) : undefined;
}

/** Why the work stopped, as a code and a sentence. */
export interface OutsideStop {
  code: `agent_${OutsideClass}`;
  reason: string;
}

/** A cause as the reason to stop; `goOn` is the command that goes on. */
export function outsideStop(cause: Cause, goOn: string, outages = 1): OutsideStop {
  const said = cause.message.split("\n", 1)[0]?.trim().replace(/[.;]$/, "") ?? "";
  const what = said === "" ? "" : `: ${said}`;
  // To the second: nobody waits more exactly.
  const reset = cause.resets_at?.replace(/\.\d+(?=Z|[+-])/, "");
  const again = outages > 1 ? `, ${outages} times in a row` : "";
  const sentences: Record<OutsideClass, string> = {
    auth: `the agent is not logged in${what}; log in with the agent's own program or mend its key, then \`${goOn}\``,
    quota:
      `the quota of the agent's provider is used up${what}; ` +
      (reset === undefined
        ? `add to it or choose another engine, then \`${goOn}\``
        : `it comes back at ${reset}: wait until then, then \`${goOn}\``),
    rate_limit:
      `the agent's provider takes no more requests for now${again}${what}; ` +
      (reset === undefined
        ? `wait some minutes, then \`${goOn}\``
        : `it takes them again at ${reset}: wait until then, then \`${goOn}\``),
    provider:
      `the agent's provider could not be reached or failed${again}${what}; ` +
      (reset === undefined
        ? `check the network and the provider's status, then \`${goOn}\``
        : `it is expected back at ${reset}: wait until then, then \`${goOn}\``),
    config: `the agent cannot run as it is set up${what}; \`omk doctor\` shows what is wrong; mend it, or name another agent: \`${goOn} --engine <name>\``,
  };
  return { code: `agent_${cause.class}`, reason: sentences[cause.class] };
}
