/** What the end of a gate means. Pure: the same end always means the same. */
import type { GateDefinition, GateVerdict, TestCounts } from "../format/gate.ts";
import type { Exit } from "../ports.ts";

/** How a gate ended, and what it is judged against. */
export interface GateEnd {
  /** Undefined only for a gate that was skipped. */
  exit: Exit | undefined;
  timedOut: boolean;
  skipped: boolean;
  /** It was ended because it wrote more than a gate may. */
  overflowed?: boolean;
  counts: TestCounts | undefined;
  definition: Pick<GateDefinition, "kind" | "min_tests">;
  /** The verdict of the same gate before the change. */
  base?: GateVerdict | undefined;
  /** The same gate was known to run tests before the change. */
  baseCounted?: boolean;
}

/** The verdict, and 0.5.0's flag: true for `passed` and `skipped` alone. */
export interface Judgement {
  verdict: GateVerdict;
  passed: boolean;
}

/** Judges a gate. Counts can only take a green status away: what a program prints never makes it green. */
export function decideVerdict(end: GateEnd): Judgement {
  const verdict = verdictOf(end);
  return { verdict, passed: verdict === "passed" || verdict === "skipped" };
}

function verdictOf(end: GateEnd): GateVerdict {
  if (end.skipped) return "skipped";
  if (end.timedOut) return "timed_out";
  if (end.overflowed === true) return failure(end);
  const { exit } = end;
  if (exit === undefined || exit.kind === "not_started") return "did_not_run";
  if (exit.kind === "signalled") return failure(end);
  if (exit.code === CANNOT_EXECUTE || exit.code === NOT_FOUND) return "did_not_run";
  if (ranTooFew(end)) return "ran_nothing";
  return exit.code === 0 ? "passed" : failure(end);
}

/** What shells, and npm after them, end with when the program cannot be executed or is not there. */
const CANNOT_EXECUTE = 126;
const NOT_FOUND = 127;

/** How many tests really ran. */
export function testsRun(counts: TestCounts | undefined): number {
  return counts === undefined ? 0 : Math.max(0, counts.tests - counts.skipped);
}

/**
 * A runner that found no test, or skipped all of them. A gate that was promised to run some number of tests must also
 * have said so, but only when it is green otherwise: red for another reason is the better answer.
 */
function ranTooFew({ exit, counts, definition, baseCounted }: GateEnd): boolean {
  if (definition.kind === "test" && counts !== undefined && testsRun(counts) === 0) return true;
  const least = definition.min_tests ?? 0;
  const green = exit?.kind === "exited" && exit.code === 0;
  // A runner that used to say how many tests it ran and is now green without a word has been taken out of the gate.
  if (green && baseCounted === true && counts === undefined) return true;
  return green && least > 0 && (counts === undefined || testsRun(counts) < least);
}

function failure({ base }: GateEnd): GateVerdict {
  return base !== undefined && RED.has(base) ? "failed_on_base_too" : "failed";
}

const RED: ReadonlySet<GateVerdict> = new Set(["failed", "failed_on_base_too", "timed_out"]);
