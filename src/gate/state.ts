/** What results of gates say together: which of them count, and which the base excuses. Pure. */
import type { GateResult } from "../format/gate.ts";

/**
 * Results as they count: a *detected* gate that runs no tests and was not green on the base either (red,
 * or its tool is missing) is optional, and says so. Configured gates and test gates stay as they are.
 */
export function countedResults(results: readonly GateResult[]): GateResult[] {
  return results.map((result) => {
    const excusable = result.source === "detected" && result.kind !== "test" && result.required;
    if (!excusable || result.passed || !wasRed(result)) return result;
    return { ...result, required: false, optional_reason: "red_on_base" };
  });
}

/** A result of a gate that a person allowed to be red: where the base is red too, it is optional. */
export function allowedRed(result: GateResult): GateResult {
  if (!result.required || result.passed || !wasRed(result)) return result;
  return { ...result, required: false, optional_reason: "allowed_red" };
}

function wasRed({ base }: GateResult): boolean {
  return base !== undefined && base !== null && base !== "passed" && base !== "skipped";
}

/** Gates that are required and have not passed. */
export function redGates(results: readonly GateResult[]): GateResult[] {
  return countedResults(results).filter((result) => result.required && result.verdict !== "passed");
}

/** Whether every required gate passed and there was one: optional gates alone show nothing. */
export function areGreen(results: readonly GateResult[]): boolean {
  const required = countedResults(results).filter((result) => result.required);
  return required.length > 0 && required.every((result) => result.verdict === "passed");
}

/** A gate that was red on the base and is green on the result: the sign of a mended defect. */
export function mendedGates(results: readonly GateResult[]): GateResult[] {
  return results.filter(
    (result) =>
      result.verdict === "passed" && result.base !== undefined && RED_VERDICTS.has(result.base ?? ""),
  );
}

/** Gates that the base passed and the result does not. */
export function worsenedGates(results: readonly GateResult[]): GateResult[] {
  return results.filter((result) => result.base === "passed" && result.verdict !== "passed");
}

const RED_VERDICTS: ReadonlySet<string> = new Set(["failed", "timed_out"]);
