/** What to do next with a goal, as commands to copy, from how it stands. */
import { named } from "../../format/named.ts";
import type { ProvenSlice } from "../../format/proof.ts";
import { shellQuoted } from "../../format/shell.ts";
import type { TaskGraph } from "../../format/task-graph.ts";
import type { Work } from "../../format/work.ts";
import { moreBudget } from "../../goal/more-budget.ts";
import { sliceViews } from "../../goal/slice-view.ts";

/** What the next step depends on; read from the goal's record, so that light commands can ask, too. */
export interface Standing {
  id: string;
  status: string;
  /** Why it has that status. */
  code: string | undefined;
  untilReady: boolean;
  engine: string | undefined;
  /** Checks of the oracle that nothing shows. */
  missingChecks?: readonly string[];
  /** Whether there are golden observations, which a gate can compare. */
  isObserved?: boolean;
  /** The command that takes the work back. */
  undo?: string | undefined;
  /** Whether any agent was at work. */
  hasWorked?: boolean;
  slices?: SlicesStanding;
}

/** Slices, as far as a next step depends on them. */
interface SlicesStanding {
  /** Part of the merged result. */
  landed: readonly string[];
  /** Neither part of it nor left out. */
  open: readonly string[];
  /** Left out by a person: those with a result, and those that never came to one. */
  leftOut: readonly string[];
  neverDone: readonly string[];
}

/** How the slices of a goal stand, by its documents; undefined where it is worked on in place. */
export function slicesStanding(pictured: {
  graph: Partial<TaskGraph>;
  work: Partial<Work>;
}): SlicesStanding | undefined {
  const views = sliceViews(pictured);
  // What has been merged is not chosen anew.
  if (views.length === 0 || pictured.work.delivery?.merge) return undefined;
  const idsOf = (of: (view: ProvenSlice) => boolean): string[] => views.filter(of).map(({ id }) => id);
  const isIn = ({ status }: ProvenSlice): boolean => status === "landed" || status === "conflict_solved";
  return {
    landed: idsOf(isIn),
    open: idsOf((view) => !isIn(view) && view.status !== "left_out"),
    leftOut: idsOf(({ status, commit }) => status === "left_out" && commit !== null),
    neverDone: idsOf(({ status, commit }) => status === "left_out" && commit === null),
  };
}

/** Lines that name the next command; none where nothing is left to do. */
export function nextSteps(standing: Standing): string[] {
  const { id, status, code = "" } = standing;
  switch (status) {
    case "ready":
      return [`Check it: omk proof verify ${id}`, ...leftOutSteps(standing)];
    case "cancelled":
      return standing.hasWorked === false
        ? []
        : [`What was done, whole or half, is kept: omk rescue list --goal ${id}`];
    case "paused":
      return [`Next: omk goal resume ${id}`];
    case "blocked_on_human":
      if (code === "approval_needed")
        return [`Next: answer what waits (omk approvals list --goal ${id}), then: omk goal resume ${id}`];
      return code === "not_testable"
        ? [`Next: answer it: omk goal answer ${id} --decision "<how one can tell that it is reached>"`]
        : [`Next: omk goal resume ${id}`];
    case "blocked_on_external":
      return code === "agent_rate_limit" || code === "agent_provider"
        ? [`Next, when the provider answers again: ${onwards(standing)}`]
        : [`Next: mend what is named above, then: ${onwards(standing)}`];
    case "needs_more_budget":
      return [
        `Next: omk goal budget-add ${id} ${moreBudget(code.replace("budget_", ""))}`,
        `Then: ${onwards(standing)}`,
      ];
    case "not_ready":
      return notReady(standing);
    default:
      return [`Next: ${onwards(standing)}`];
  }
}

function notReady(standing: Standing): string[] {
  const { id, code = "", missingChecks = [], undo } = standing;
  switch (code) {
    case "acceptance_needed":
    case "clean_checkout_lost":
    case "linked_changed":
    case "environment_points_back":
    case "part_unchanged":
      return [`Next: look at the change: ${lookAt(id)}`, `Then: omk goal accept ${id} --summary "<why>"`];
    case "oracle_missing": {
      if (missingChecks.includes("golden") && missingChecks.length === 1)
        return [
          `Next: what the old program does: omk goal golden record ${id} --at-base --name <name> --cmd '<command>'`,
        ];
      const vouched = missingChecks.map((name) => ` --attest ${name}="<how you know>"`).join("");
      return [
        `Next: another try: ${onwards(standing)}`,
        `Or add a test, or vouch for it: omk goal accept ${id} --summary "<why>"${vouched}`,
      ];
    }
    case "gates_unapproved":
      return [`Next: look at the gates, then: omk goal accept ${id} --summary "<why>" --approve-gates`];
    case "write_set_violated":
    case "protected_input_changed":
    case "base_copies_unusable":
      return [
        `Next: look at these files (${lookAt(id)}); to let one pass: omk goal accept ${id} --summary "<why>" --allow-change <path> --reason "<why>"`,
        `Or another try: ${onwards(standing)}`,
      ];
    case "review_blocked":
      return [
        `Next: what was found: omk goal proof ${id}; to let it pass: omk goal accept ${id} --summary "<why>" --waive <finding> --reason "<why>"`,
        `Or another try: ${onwards(standing)}`,
      ];
    case "no_gates":
      return [
        `Next: omk goal verify ${id} --gate 'tests=<your test command>'`,
        // Named like the check that it then shows: there may be no test to show it.
        ...(standing.isObserved === true
          ? [
              `Or, what was recorded as a gate: omk goal verify ${id} --gate 'compatibility=omk goal golden compare ${id}'`,
            ]
          : []),
      ];
    case "gates_not_run":
    case "gates_not_rerun":
    case "result_changed":
      return [`Next: omk goal verify ${id}`];
    case "review_missing":
    case "security_review_missing":
      return [`Next: omk goal review ${id}`];
    case "rejected":
      return [
        ...(undo === undefined ? [] : [`Undo the change: ${undo}`]),
        `Next: another try: ${onwards(standing)}`,
      ];
    case "agent_not_executed":
    case "tasks_open":
    case "slice_conflict":
      return [`Next: ${onwards(standing)}`, ...landedSteps(standing)];
    default:
      return [`Next: what was found: omk goal proof ${id}; another try: ${onwards(standing)}`];
  }
}

/** Slices that a command names one by one. */
const NAMED_MAX = 8;

/** ` --slice …` for each of these, or one to be filled in where they are too many for a line. */
function sliceFlags(ids: readonly string[]): string {
  return ids.length > NAMED_MAX
    ? " --slice <task> …"
    : ids.map((one) => ` --slice ${shellQuoted(one)}`).join("");
}

/** Where some slices cannot be done, the others may do. */
function landedSteps({ id, slices }: Standing): string[] {
  if (!slices || slices.landed.length === 0 || slices.open.length === 0) return [];
  return [`Or without the rest: omk goal accept ${id} --summary "<why>"${sliceFlags(slices.landed)}`];
}

/** How slices come back that a person has left out. */
function leftOutSteps({ id, slices }: Standing): string[] {
  const { landed = [], leftOut = [], neverDone = [] } = slices ?? {};
  return [
    ...(leftOut.length === 0
      ? []
      : [
          `With what was left out: omk goal accept ${id} --again --summary "<why>"${sliceFlags([...landed, ...leftOut])}`,
        ]),
    ...(neverDone.length === 0
      ? []
      : [
          `To have ${named(neverDone)} done after all: omk goal reject ${id} --reason "<what is missing>", then: omk goal resume ${id}`,
        ]),
  ];
}

/** The command that shows a goal's result as it was judged. */
function lookAt(id: string): string {
  return `omk rescue show ${id}/result --patch`;
}

/** The command that has the agent work again: to a verdict where that was asked for, else one turn. */
function onwards({ id, untilReady, engine }: Standing): string {
  const who = engine === undefined ? " --engine <engine>" : "";
  return untilReady
    ? `omk goal resume ${id}${who}`
    : `omk goal execute ${id}${who} (to a verdict: omk goal resume ${id} --until-ready${who})`;
}

/** ` --engine …` as it was given, or nothing. */
export function engineFlag(engine: string | null | undefined): string {
  return engine ? ` --engine ${shellQuoted(engine)}` : "";
}
