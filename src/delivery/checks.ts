/** Whether the checks of a commit let it pass. Pure: which of them count, and what they say together. */

/** One thing that judges a commit: a check run, or a status in the older way. */
export interface Check {
  name: string;
  /** Where it lies: two kinds may bear the same name. */
  kind: "run" | "status";
  /** `completed` when it has ended; every other word means that it has not. */
  status: string;
  /** What came of it; null while it has not ended. */
  conclusion: string | null;
  url: string | null;
}

/** How one check stands. */
export type CheckState = "passed" | "pending" | "failed";

/** How the checks of a commit stand together. `none`: nothing judges this commit, and nothing is demanded. */
export interface ChecksVerdict {
  state: "green" | "pending" | "red" | "none";
  /** Those that count and failed, and those that count and have not ended or not begun; in byte order. */
  failed: string[];
  pending: string[];
  /** How many counted. */
  counted: number;
}

/** Conclusions with which a check is done and in nobody's way. */
const DONE = new Set(["success", "neutral", "skipped"]);

/** How one check stands. A conclusion that is not known yet to this program is no success. */
export function stateOfCheck(check: Check): CheckState {
  if (check.status !== "completed" || check.conclusion === null) return "pending";
  return DONE.has(check.conclusion) ? "passed" : "failed";
}

/**
 * The verdict. Where a branch demands checks, those alone count, and one that has not begun is waited for; where it demands
 * none, all that there are count. Several of one name (the same job of two workflows) must all pass.
 */
export function decideChecks(checks: readonly Check[], required: readonly string[]): ChecksVerdict {
  const wanted = new Set(required);
  const counted = wanted.size === 0 ? checks : checks.filter(({ name }) => wanted.has(name));
  const named = (state: CheckState) =>
    counted.filter((check) => stateOfCheck(check) === state).map(({ name }) => name);
  const begun = new Set(counted.map(({ name }) => name));
  const failed = sorted(named("failed"));
  const pending = sorted([...named("pending"), ...[...wanted].filter((name) => !begun.has(name))]);
  const state =
    failed.length > 0 ? "red" : pending.length > 0 ? "pending" : counted.length > 0 ? "green" : "none";
  return { state, failed, pending, counted: counted.length };
}

function sorted(names: readonly string[]): string[] {
  return [...new Set(names)].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}
