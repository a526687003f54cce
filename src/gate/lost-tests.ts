/** Tests that ran before a change and are not told of after it, though nothing that defines tests was touched. Pure. */
import type { GateResult } from "../format/gate.ts";

/**
 * The results, where a green gate that told of fewer tests than the base had is no longer green: a source that ends the
 * runner in time, or keeps it from what it would fail, has repaired nothing.
 */
export function withoutLostTests(
  results: readonly GateResult[],
  baseline: readonly GateResult[],
): GateResult[] {
  return results.map((result) => {
    const before = baseline.find(({ name }) => name === result.name);
    if (result.verdict !== "passed" || !before || !result.counts) return result;
    return result.counts.passed >= testsOf(before)
      ? result
      : { ...result, passed: false, verdict: "ran_nothing" };
  });
}

/** How many tests must have passed for none to be lost. */
function testsOf({ counts, stdout, stderr }: GateResult): number {
  if (!counts) return 0;
  const said = `${stdout}\n${stderr}`;
  // What fails around a test is counted as one more.
  if (SAYS_ERRORS.test(said)) return counts.passed;
  // A file that fails before its first test is counted as one; repaired, a helper has none.
  const files = new Set([...said.matchAll(FAILED_FILE)].map(([, file]) => file));
  return counts.passed + Math.max(0, counts.failed - files.size);
}

const SAYS_ERRORS = /\b[1-9]\d{0,8} errors?\b|\berrors=[1-9]|\bErrors: [1-9]/;
const FAILED_FILE = /^\s*(?:✖|not ok \d+ -) (\S+\.[cm]?[jt]sx?)(?: |$)/gm;
