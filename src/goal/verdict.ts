/** The one decision table: from the facts of a goal to its status, codes and gaps. Pure, so that all cases are tried. */
import type { GoalStatus } from "../format/goal.ts";
import { named as listed } from "../format/named.ts";

/** A thing that keeps a goal from being ready. Codes decide, words inform. */
export interface Gap {
  code: GapCode;
  text: string;
}

/** Codes of gaps, in the order in which they are reported. */
export type GapCode =
  | "agent_not_executed"
  | "tasks_open"
  | "no_claim_without_evidence"
  | "review_missing"
  | "security_review_missing"
  | "review_blocked"
  | "gates_not_rerun"
  | "nothing_changed"
  | "no_gates"
  | "gates_not_run"
  | "gates_red"
  | "gates_unapproved"
  | "clean_checkout_red"
  | "clean_checkout_lost"
  | "linked_changed"
  | "environment_points_back"
  | "part_unchanged"
  | "write_set_violated"
  | "protected_input_changed"
  | "base_copies_unusable"
  | "result_changed"
  | "nested_repository"
  | "oracle_missing"
  | "slice_conflict"
  | "acceptance_needed"
  | "not_delivered"
  | "rejected";

/** What the table looks at; each is read from the goal's documents. */
export interface Facts {
  /** How the last attempt ended, with why; null where there was none. Words only: nothing depends on it. */
  lastOutcome: string | null;
  /** The agent's last turn ended by itself and left something to check. */
  executed: boolean;
  /** Required gates on exactly the result: `green` needs at least one gate that counts. */
  gates: "none" | "not_run" | "red" | "green";
  /** The gates were found in the result, and no person has approved them. */
  gatesUnapproved: boolean;
  /** The required gates on a fresh checkout of the result. */
  cleanCheckout: "passed" | "failed" | "unusable" | "not_run";
  /** A fresh checkout of the base could be judged, one of the result could not: a person has to accept that. */
  cleanCheckoutLost: boolean;
  /** Files of the user's project that folders of attempts share and that were changed; none where nothing depends on them. */
  linkedChanged: readonly string[];
  /** Files beside the result that lead to the user's project, so that gates may have judged that; none where nothing depends on them. */
  pointsBack: readonly string[];
  /** Tasks of an agent that are not done. */
  openTasks: readonly string[];
  /** Changed paths that lie in no write set and that nobody has allowed. */
  outsideWriteSets: readonly string[];
  /** For `red`: the names with what was wrong, e.g. `tests (ran_nothing)`. */
  redGates: readonly string[];
  /** Gates ran on the result and not only before it. */
  ranOnResult: boolean;
  changedFiles: number;
  reviewed: boolean;
  /** What the review found, by section, that may not stay: it is in the result, whatever an agent did or did not do since. */
  foundFaults: readonly string[];
  /** What each section of the review wall says that is blocked for want of evidence. */
  blockedSections: readonly string[];
  /** Gates with the base's copies of changed test files. */
  baseCopies: "not_needed" | "passed" | "failed" | "unusable" | "not_run";
  protectedFiles: readonly string[];
  /** How those gates ran, in words. */
  inCopies?: string;
  /** Files that differ from what the gates saw, by a gate, a process left behind or another hand. */
  drifted: readonly string[];
  /** Repositories inside the project that the change adds or moves: their content is in no tree. */
  nestedRepositories: readonly string[];
  missingChecks: readonly string[];
  /** Slices whose results could not be merged, and nobody is left who solves that. */
  strandedSlices: readonly string[];
  /** The result is not yet where the goal's policy wants it; in place it always is. */
  undelivered: boolean;
  /** Planned parts that changed none of their files, and that no person has accepted so. */
  unchangedParts: readonly string[];
  kind: string;
  acceptance: "open" | "accepted" | { rejected: string };
}

/** What the table answers. */
export interface Verdict {
  status: "ready" | "not_ready";
  /** Why, as a code: the first gap's, or `ready`. */
  readinessCode: GapCode | "ready";
  readiness: string;
  gaps: Gap[];
}

/** Decides whether the evidence makes a goal ready, and names everything that is missing. */
export function decideVerdict(facts: Facts): Verdict {
  const gaps = findGaps(facts);
  const first = gaps[0];
  if (!first) {
    const readiness = "ready: integration and oracle evidence passed";
    return { status: "ready", readinessCode: "ready", readiness, gaps };
  }
  const hasFaults = facts.reviewed && facts.foundFaults.length > 0;
  const decisive = gaps.find(({ code }) => code === "rejected") ?? mostTelling(gaps, hasFaults) ?? first;
  return {
    status: "not_ready",
    readinessCode: decisive.code,
    readiness: `not ready: ${decisive.text}`,
    gaps,
  };
}

/** True when everything is there but the acceptance itself. */
export function onlyAcceptanceMissing(facts: Facts): boolean {
  return findGaps(facts).every(({ code }) => code === "acceptance_needed" || code === "not_delivered");
}

/** True when everything is there but the way to where the goal's policy wants the result. */
export function onlyDeliveryMissing(facts: Facts): boolean {
  return facts.undelivered && findGaps(facts).every(({ code }) => code === "not_delivered");
}

function findGaps(facts: Facts): Gap[] {
  const gaps: Gap[] = [];
  const add = (code: GapCode, text: string) => void gaps.push({ code, text });
  const { executed } = facts;
  if (!executed) {
    const how = facts.lastOutcome === null ? "" : `: the last attempt ended ${facts.lastOutcome}`;
    add("agent_not_executed", `agent execution has not run to an end that can be checked${how}`);
    add("no_claim_without_evidence", "readiness cannot be claimed without evidence of an agent's work");
  }
  if (facts.openTasks.length > 0) add("tasks_open", `tasks are not done: ${facts.openTasks.join(", ")}`);
  if (executed && !facts.reviewed) {
    // One review has both parts; readers of 0.5.0's proofs look for two gaps.
    add("review_missing", "review evidence is missing");
    add("security_review_missing", "security review evidence is missing");
  }
  if (facts.reviewed) {
    for (const gap of [...facts.foundFaults, ...facts.blockedSections]) add("review_blocked", gap);
  }
  if (facts.gates === "none") add("no_gates", "no verification gates were detected or configured");
  if (facts.gates === "not_run") add("gates_not_run", "verification gates have not run");
  if (facts.gates === "red") {
    const claimed = executed ? " after the agent had said it was done" : "";
    // Optional gates may be all there is, or the base may excuse the rest: then nothing was shown.
    const named =
      facts.redGates.length > 0 ? facts.redGates.join(", ") : "no gate that is required has passed";
    add("gates_red", `required verification gates failed${claimed}: ${named}`);
  }
  if (facts.gatesUnapproved) {
    add("gates_unapproved", "the gates were found in the result, and no person has approved them");
  }
  if (facts.cleanCheckout === "failed") {
    add(
      "clean_checkout_red",
      "required gates that pass in the project directory fail on a fresh checkout of the result",
    );
  }
  if (facts.unchangedParts.length > 0) {
    add(
      "part_unchanged",
      `parts of the plan changed none of their files: ${facts.unchangedParts.join(", ")}`,
    );
  }
  if (facts.cleanCheckoutLost) {
    add(
      "clean_checkout_lost",
      "a fresh checkout of the base could be judged, one of the result cannot, so files that are not part of it may decide",
    );
  }
  if (facts.linkedChanged.length > 0) {
    add(
      "linked_changed",
      `files of the project that git ignores were changed, which no result contains and the gates see: ${listed(facts.linkedChanged)}`,
    );
  }
  if (facts.pointsBack.length > 0) {
    add(
      "environment_points_back",
      `the gates may have looked at the project directory instead of the result, to which ignored files lead: ${listed(facts.pointsBack)}`,
    );
  }
  if (facts.outsideWriteSets.length > 0) {
    add(
      "write_set_violated",
      `files outside the tasks' write sets were changed: ${facts.outsideWriteSets.join(", ")}`,
    );
  }
  if (executed && facts.changedFiles > 0 && facts.gates === "green" && !facts.ranOnResult) {
    add("gates_not_rerun", "verification gates have not rerun after agent execution changes");
  }
  if (executed && facts.changedFiles === 0) {
    add("nothing_changed", "the project mutation and integration loop saw no changed file");
  }
  if (facts.baseCopies === "failed") {
    add(
      "protected_input_changed",
      `gates fail ${facts.inCopies ?? `with the base's copies of ${facts.protectedFiles.join(", ")}`}`,
    );
  }
  if (facts.baseCopies === "unusable" || facts.baseCopies === "not_run") {
    add(
      "base_copies_unusable",
      `test files of the base were changed and their base copies could not be tried: ${facts.protectedFiles.join(", ")}`,
    );
  }
  if (facts.drifted.length > 0) {
    add("result_changed", `files were changed after they had been checked: ${facts.drifted.join(", ")}`);
  }
  if (facts.nestedRepositories.length > 0) {
    add("nested_repository", `the change adds or moves repositories: ${facts.nestedRepositories.join(", ")}`);
  }
  if (facts.missingChecks.length > 0) {
    add(
      "oracle_missing",
      `oracle evidence for a ${facts.kind} goal is missing: ${facts.missingChecks.join(", ")}`,
    );
  }
  if (facts.strandedSlices.length > 0) {
    add("slice_conflict", `results of slices are in each other's way: ${facts.strandedSlices.join(", ")}`);
  }
  if (facts.undelivered)
    add("not_delivered", "the result has not been delivered as the goal's policy wants it");
  if (typeof facts.acceptance === "object") add("rejected", facts.acceptance.rejected);
  else if (facts.acceptance === "open") {
    add("acceptance_needed", "integration acceptance has not been given");
  }
  return gaps;
}

/** The order in which causes explain a result best: what failed comes before what is merely missing because of it. */
const TELLING: readonly GapCode[] = [
  "gates_red",
  "write_set_violated",
  "protected_input_changed",
  "clean_checkout_red",
  "base_copies_unusable",
  "result_changed",
  "nested_repository",
  "no_gates",
  "slice_conflict",
  "agent_not_executed",
  "tasks_open",
  "gates_not_run",
  "gates_not_rerun",
  "nothing_changed",
  "review_blocked",
  "review_missing",
  "security_review_missing",
  "oracle_missing",
  "part_unchanged",
  "clean_checkout_lost",
  "linked_changed",
  "environment_points_back",
  "gates_unapproved",
  "acceptance_needed",
  "not_delivered",
];

/** What an agent was to mend after a review, and did not: that it was not mended explains less than what it is. */
const UNMENDED: ReadonlySet<GapCode> = new Set(["slice_conflict", "agent_not_executed", "tasks_open"]);

function mostTelling(gaps: readonly Gap[], hasFaults: boolean): Gap | undefined {
  for (const code of TELLING) {
    if (hasFaults && UNMENDED.has(code)) continue;
    const gap = gaps.find((one) => one.code === code);
    if (gap) return gap;
  }
  return undefined;
}

/** Statuses in which the goal itself, and not its evidence, says how it stands. */
export const STATE_CONTROLLED: Readonly<Partial<Record<GoalStatus, { prefix: string; reason: string }>>> = {
  blocked_on_human: { prefix: "blocked on human: ", reason: "a person has to decide" },
  blocked_on_external: {
    prefix: "blocked on external dependency: ",
    reason: "something outside is not available",
  },
  needs_more_budget: { prefix: "needs more budget: ", reason: "the budget is used up" },
  failed_infra: { prefix: "failed infra: ", reason: "the machinery failed" },
  paused: { prefix: "paused: ", reason: "it can be resumed" },
  cancelled: { prefix: "cancelled: ", reason: "cancelled by user" },
};
