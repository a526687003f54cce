/** What goes between the zoo's test and the process that runs the animals. */
import type { EngineLimits, Failure, Turn, TurnUsage } from "../../../src/engine/engine.ts";

/** The protocols that animals speak. */
export type Protocol = "acp" | "wire" | "command";

/** An animal, ready to be run. */
export interface Caged {
  name: string;
  protocol: Protocol;
  /** What plays it. */
  script: string;
  /** Its own: the work folder, and where its transcript comes. */
  folder: string;
  limits: EngineLimits;
  /** Cancelled at its first text. */
  cancelled: boolean;
  decides: "allow" | "never";
  clockFactor: number;
}

/** What became of one. */
export interface Watched {
  name: string;
  status: Turn["status"];
  failure: Failure | null;
  /** The start of its text. */
  text: string;
  textBytes: number;
  toolCalls: number;
  /** Outcomes of its first tool calls. */
  tools: string[];
  usage: TurnUsage;
  /** How many events of each kind there were. */
  kinds: Record<string, number>;
  /** How many requests for leave came to be decided. */
  decisions: number;
  elapsedMs: number;
  /** How many of its processes were still there after its turn. */
  left: number;
  transcriptBytes: number;
  holdsSecret: boolean;
  isPolluted: boolean;
}
