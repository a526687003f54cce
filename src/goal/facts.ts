/** Reads the facts of the decision table from a goal's documents, for the proof and for whoever checks it later. */
import type { Goal } from "../format/goal.ts";
import { agentTasks, newestAttempt, openTasks } from "./agent-tasks.ts";
import type { TaskGraph } from "../format/task-graph.ts";
import type { ReviewArtifact } from "../format/proof.ts";
import type { Waiver, Work } from "../format/work.ts";
import { inBaseCopies } from "../gate/inputs.ts";
import { redGates } from "../gate/state.ts";
import { areUnapproved, gateSet } from "./candidates.ts";
import { gatesState, isReviewed } from "./gate-state.ts";
import { isNamed } from "../scheduler/ownership.ts";
import { kindOf } from "./intake.ts";
import { standingSections } from "./review-findings.ts";
import { isSliced } from "./sliced.ts";
import { strandedSlices } from "./slices.ts";
import type { Facts } from "./verdict.ts";

/** The facts of a goal; pure, so a stranger computes the same from the same files. */
export function factsOf(goal: Goal, work: Work, graph: Pick<TaskGraph, "tasks">): Facts {
  const last = newestAttempt(graph, work);
  const tree = work.result?.tree ?? work.base?.tree;
  const reviewed = isReviewed(work);
  const open = openTasks(graph, work).map(({ id }) => id);
  const { definitions, digest } = gateSet(goal, work);
  const clean = work.gates?.tree === tree ? work.gates?.clean_checkout?.status : undefined;
  const copies = work.gates?.tree === tree ? work.gates?.base_copies : null;
  // What gates say without them matters no more where a person let all of them pass.
  const protectedFiles = (copies?.files ?? []).filter((path) => !isWaived(work, "change", path));
  const checks = reviewed ? (work.review?.oracle.checks ?? []) : [];
  const blocked = reviewed ? standingSections(work).filter(({ status }) => status === "blocked") : [];
  return {
    lastOutcome: last ? outcomeText(last) : null,
    executed: open.length === 0 && last?.status === "ended" && last.outcome === "finished",
    // With one task the last attempt says more than its name.
    openTasks: agentTasks(graph).length > 1 ? open : [],
    outsideWriteSets: unwaivedOutside(work),
    gatesUnapproved: areUnapproved(goal, work),
    cleanCheckout: clean ?? "not_run",
    cleanCheckoutLost:
      clean === "unusable" && work.clean_baseline?.status === "passed" && work.acceptance?.by !== "omk-cli",
    // What other gates said, before a person approved these, is not what these say.
    gates: !definitions.some((gate) => !gate.skip)
      ? "none"
      : (work.gates?.digest ?? digest) === digest
        ? gatesState(work)
        : "not_run",
    redGates: redGates(work.gates?.results ?? []).map((gate) => `${gate.name} (${gate.verdict ?? "failed"})`),
    ranOnResult: work.result !== null && work.gates?.tree === work.result.tree,
    changedFiles: work.result?.changed_files.length ?? 0,
    reviewed,
    foundFaults: blocked.filter(isOfFindings).map(gapOf),
    blockedSections: blocked.filter((section) => !isOfFindings(section)).map(gapOf),
    baseCopies: protectedFiles.length === 0 ? "not_needed" : (copies?.status ?? "not_needed"),
    protectedFiles,
    inCopies: inBaseCopies(protectedFiles, work.gates?.protected_inputs),
    drifted: work.drift !== undefined && work.drift.tree === tree ? work.drift.paths : [],
    nestedRepositories: (work.result?.changed_files ?? [])
      .filter((one) => one.new_mode === "160000")
      .map(({ path }) => path),
    missingChecks: checks
      .filter((check) => check.status === "blocked" && work.acceptance?.attested?.[check.name] === undefined)
      .map((check) => (check.reason === undefined ? check.name : `${check.name} (${check.reason})`)),
    strandedSlices: strandedSlices(graph, work),
    undelivered: isSliced(goal) && !isDelivered(work, tree),
    ...surroundingsOf(work, tree, clean),
    unchangedParts: work.acceptance?.by === "omk-cli" ? [] : unchangedParts(work, graph),
    kind: kindOf(goal),
    // Before any work there is no tree, and a decision is about that.
    acceptance: acceptanceOf(work, tree ?? ""),
  };
}

/** Something was found, and not merely something is missing. */
function isOfFindings(section: ReviewArtifact): boolean {
  return section.blocked_by === "findings";
}

function gapOf({ known_gaps, pass }: ReviewArtifact): string {
  return known_gaps[0] ?? `${pass} is blocked`;
}

/** What the gates may owe to the user's own files. A fresh checkout that passed shows the same without them; a person may know. */
function surroundingsOf(
  { surroundings, acceptance }: Work,
  tree: string | undefined,
  clean: Facts["cleanCheckout"] | undefined,
): Pick<Facts, "linkedChanged" | "pointsBack"> {
  const isAccepted = acceptance?.by === "omk-cli" && acceptance.tree === tree;
  if (!surroundings || clean === "passed" || isAccepted) return { linkedChanged: [], pointsBack: [] };
  return { linkedChanged: surroundings.changed, pointsBack: surroundings.points_back };
}

/** Whether the present result is where the goal's policy wants it. */
function isDelivered({ delivery }: Work, tree: string | undefined): boolean {
  return delivery?.done_at !== undefined && delivery.tree === tree;
}

/** Planned parts that are done although no file that was theirs to change has changed. */
function unchangedParts({ result }: Work, graph: Pick<TaskGraph, "tasks">): string[] {
  const changes = result?.changed_files ?? [];
  return agentTasks(graph)
    .filter(({ id, status }) => id.startsWith("goal-agent-implement-") && status === "done")
    .filter(({ write_set }) => write_set.length > 0 && !changes.some((one) => isNamed(one.path, write_set)))
    .map(({ id }) => id);
}

/** Whether a person let this pass; a change that was let pass in one result may be another one in the next. */
export function isWaived(
  { waivers, result }: Pick<Work, "waivers"> & Partial<Pick<Work, "result">>,
  kind: Waiver["kind"],
  what: string,
): boolean {
  return waivers.some(
    (one) => one.kind === kind && one.what === what && (one.tree === undefined || one.tree === result?.tree),
  );
}

/** Paths outside the write sets that no person has let pass. */
export function unwaivedOutside(
  work: Pick<Work, "outside_write_sets" | "waivers"> & Partial<Pick<Work, "result">>,
): string[] {
  return work.outside_write_sets.filter((path) => !isWaived(work, "change", path));
}

const OUTCOME_CHARACTERS_MAX = 300;

function outcomeText({ status, outcome, summary }: Work["attempts"][number]): string {
  const said = summary?.split("\n", 1)[0]?.slice(0, OUTCOME_CHARACTERS_MAX) ?? "";
  return `${outcome ?? status}${said === "" ? "" : ` (${said})`}`;
}

/** An acceptance holds for the tree it was given for, a rejection until the result changes. */
function acceptanceOf(work: Work, tree: string): Facts["acceptance"] {
  const { acceptance } = work;
  if (!acceptance || acceptance.tree !== tree) return "open";
  return acceptance.decision === "accepted" ? "accepted" : { rejected: acceptance.summary };
}
