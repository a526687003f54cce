/** What stands in a goal's proof, from its documents. Pure but for what it is given. */
import { deliveryRecords } from "../delivery/metadata.ts";
import { costOf } from "../budget/usage.ts";
import type { ApprovalRecord } from "../format/approval.ts";
import type { Goal, GoalStatus } from "../format/goal.ts";
import type { OracleEvidence } from "../format/integration.ts";
import type { ProtectedInput, Proof, Usage } from "../format/proof.ts";
import type { TaskGraph } from "../format/task-graph.ts";
import type { Work } from "../format/work.ts";
import { countedResults } from "../gate/state.ts";
import { budgetLimits, spent } from "./budget.ts";
import { isWaived } from "./facts.ts";
import { sliceViews } from "./slice-view.ts";
import { countTasks } from "./task-counts.ts";
import { standingSections } from "./review-findings.ts";
import { STATE_CONTROLLED, type Verdict } from "./verdict.ts";

/** Version of omk that wrote a proof; the bundle replaces it. */
declare const OMK_VERSION: string;

/** The end a command brings a goal to, written with the proof in one event. */
export interface Ending {
  status: GoalStatus;
  /** Why, as a code. */
  reasonCode: string;
  /** For statuses that the goal itself controls: the sentence. */
  reason?: string;
}

/** What a proof is made from. */
interface Proven {
  id: string;
  goal: Goal;
  graph: TaskGraph;
  work: Work;
  /** The proof before this one. */
  proof: Proof | undefined;
  approvals: readonly ApprovalRecord[];
  /** The last event of the log. */
  position: { seq: number; digest: string };
  git: { branch: string; head: string; dirty: boolean } | undefined;
}

/** The proof's record. */
export function buildProof(proven: Proven, verdict: Verdict, ending: Ending, generatedAt: string): Proof {
  const { goal, work, graph, git } = proven;
  const controlled = STATE_CONTROLLED[ending.status];
  const reason = ending.reason ?? controlled?.reason ?? "";
  const gaps: { code: string; text: string }[] = verdict.gaps.map(({ code, text }) => ({ code, text }));
  if (controlled) gaps.push({ code: ending.reasonCode, text: stateGap(ending, reason) });
  const integration = work.acceptance && {
    status: work.acceptance.decision,
    summary: work.acceptance.summary,
    decided_at: work.acceptance.decided_at,
    artifact_path: work.acceptance.artifact_path,
    missing_evidence: work.acceptance.missing_evidence,
  };
  const used = spent(work);
  const last = work.attempts.at(-1);
  return {
    version: 1,
    goal_id: proven.id,
    status: ending.status,
    readiness: controlled ? `${controlled.prefix}${reason}` : verdict.readiness,
    summary: summaryOf(proven, ending),
    generated_at: generatedAt,
    artifacts: goal.artifacts,
    task_graph_summary: countTasks(graph.tasks),
    ...metadataOf(proven),
    ...(work.review && { review_artifacts: standingSections(work) }),
    ...(integration && { integration_evidence: integration }),
    ...(work.review && { oracle_evidence: attested(work, work.review.oracle) }),
    changed_files: (work.result?.changed_files ?? []).map(({ path }) => path),
    commits: work.slices ? [work.slices.head] : git ? [git.head] : [],
    ...(git && { git }),
    gates: countedResults(work.gates?.results ?? []),
    post_mutation_gates_ran: work.result !== null && work.gates?.tree === work.result.tree,
    known_gaps: gaps.map(({ text }) => text),
    human_decisions_required: ending.status === "blocked_on_human" ? [reason] : [],
    reason_code: ending.reasonCode,
    readiness_code: verdict.readinessCode,
    gaps,
    base: { commit: work.base?.commit ?? null, tree: work.base?.tree ?? null },
    result: { tree: work.result?.tree ?? null, ...(work.slices && { commit: work.slices.head }) },
    ...slicesOf(proven),
    baseline: work.baseline?.gates ?? [],
    ...gateChecks(work),
    side_effects: work.side_effects,
    outside_write_sets: work.outside_write_sets,
    ...(work.plan && { plan: planOf(work.plan) }),
    tasks: graph.tasks.map(({ id, title, owner_role, status }) => ({
      id,
      title,
      ...(owner_role !== undefined && { owner_role }),
      status,
      attempts: work.attempts.filter(({ task_id }) => task_id === id).length,
    })),
    attempts: work.attempts.map((one) => ({
      task_id: one.task_id,
      number: one.number,
      fence: one.fence,
      status: one.status,
      outcome: one.outcome,
      outcome_code: one.outcome_code,
      summary: one.summary,
      usage: one.usage,
      counted: one.counted,
    })),
    helper_turns: work.helper_turns.map(({ role, task, outcome, usage }) => ({ role, task, outcome, usage })),
    engine: { name: goal.engine ?? null, ...agentOf(work), said: last?.summary ?? null },
    ...goldenOf(work),
    waivers: work.waivers.map(({ kind, what, reason: why, at }) => ({ kind, what, reason: why, at })),
    answers: goal.answers ?? [],
    approvals: proven.approvals.map(({ id, task_id, kind, status, decided_by }) => ({
      id,
      task_id,
      kind,
      status,
      decided_by,
    })),
    budget_limits: limitsOf(goal),
    budget_sources: spentBySource(work),
    budget_spent: { active_ms: Math.round(used.activeMs), tokens: used.tokens, usd: used.usd },
    gates_digest: work.gates?.digest ?? goal.gates?.digest ?? null,
    sandbox: "off",
    omk_version: typeof OMK_VERSION === "string" ? OMK_VERSION : "source",
    log: { seq: proven.position.seq, digest: proven.position.digest },
    evidence: work.evidence,
  };
}

/** The delivery records of slices; goals of 0.5.0 keep theirs. */
function metadataOf({ graph, proof }: Proven): Partial<Proof> {
  const records = deliveryRecords(graph);
  const delivery_metadata = records.length > 0 ? records : proof?.delivery_metadata;
  return delivery_metadata ? { delivery_metadata } : {};
}

function slicesOf({ graph, work }: Proven): Partial<Proof> {
  return {
    ...(work.slices && { slices: sliceViews({ graph, work }), set_aside: work.slices.set_aside }),
    ...(work.delivery && { delivery: work.delivery }),
  };
}

/** What the gates showed beside their verdicts, as far as it is about the present result. */
function gateChecks(work: Work): Partial<Proof> {
  const { gates, changed_gates } = work;
  const tree = work.result?.tree ?? work.base?.tree;
  return {
    ...(gates?.base_copies && { base_copies: gates.base_copies }),
    ...(gates?.added_tests && { added_tests: gates.added_tests }),
    protected_changes: gates?.base_copies?.files ?? [],
    ...(gates?.protected_inputs && {
      protected_inputs: gates.protected_inputs.map((one) => ({ ...one, status: inputStatus(work, one) })),
    }),
    ...(gates?.clean_checkout && { clean_checkout: gates.clean_checkout }),
    ...(changed_gates &&
      changed_gates.tree === tree &&
      changed_gates.changes.length > 0 && { changed_definitions: changed_gates.changes }),
  };
}

/** Whether the gates also pass without the change of a protected file, or a person let it pass. */
function inputStatus(work: Work, { path, status }: ProtectedInput): NonNullable<ProtectedInput["status"]> {
  if (isWaived(work, "change", path)) return "allowed";
  if (status !== undefined) return status;
  const copies = work.gates?.base_copies;
  return copies?.files.includes(path) === true ? copies.status : "not_tried";
}

function planOf({ source, engine, fallback }: NonNullable<Work["plan"]>): NonNullable<Proof["plan"]> {
  return { source, ...(engine !== undefined && { engine }), ...(fallback !== undefined && { fallback }) };
}

/** What the agent that worked last said it was. */
function agentOf({ attempts }: Work): { agent: string | null; version: string | null } {
  const known = attempts.findLast(({ agent }) => agent !== undefined)?.agent;
  return { agent: known?.name ?? null, version: known?.version ?? null };
}

function goldenOf({ golden = [], golden_comparison: comparison, result }: Work): Partial<Proof> {
  if (golden.length === 0) return {};
  // What was recorded since has not been compared, and with it the result as a whole has not.
  const compared =
    comparison !== undefined &&
    comparison.tree === result?.tree &&
    golden.every(({ name }) => comparison.results.some((one) => one.name === name));
  const found = compared
    ? comparison.results.flatMap(({ name, mismatches }) =>
        mismatches.map(({ field, intentional }) => ({ what: `${name}: ${field}`, intentional })),
      )
    : [];
  return {
    golden: {
      observations: golden.map(({ name }) => name),
      with_ignored: golden.filter(({ ran_in }) => ran_in !== "clean").map(({ name }) => name),
      compared,
      differences: found.filter((one) => one.intentional === undefined).map(({ what }) => what),
      intentional: found.filter((one) => one.intentional !== undefined).map(({ what }) => what),
    },
  };
}

function limitsOf(goal: Goal): NonNullable<Proof["budget_limits"]> {
  const { ms, tokens, usd } = budgetLimits(goal);
  const given = (limit: number): number | null => (Number.isFinite(limit) ? limit : null);
  return { active_ms: given(ms), tokens: given(tokens), usd: given(usd) };
}

/** What each kind of turn has cost; time is not told apart. */
function spentBySource(work: Work): NonNullable<Proof["budget_sources"]> {
  const sources: [string, readonly { usage: Usage | null }[]][] = [
    ["tasks", work.attempts],
    ["plan", work.helper_turns.filter(({ role }) => role === "plan")],
    ["review", work.helper_turns.filter(({ role }) => role === "review")],
  ];
  return sources.map(([source, turns]) => {
    const costs = turns.map(({ usage }) => costOf(usage));
    return {
      source,
      turns: turns.length,
      tokens: costs.reduce((sum, { tokens }) => sum + tokens, 0),
      usd: costs.reduce((sum, { usd }) => sum + usd, 0),
    };
  });
}

/** Checks that a person attested when accepting are shown as attested, never as passed. */
function attested(work: Work, oracle: OracleEvidence): OracleEvidence {
  const given = work.acceptance?.attested ?? {};
  const checks = oracle.checks.map((check) => {
    const statement = given[check.name];
    if (check.status !== "blocked" || statement === undefined) return check;
    return { ...check, status: "attested" as const, reason: statement };
  });
  const passed = checks.every((check) => check.status !== "blocked");
  return { ...oracle, status: passed ? ("passed" as const) : ("blocked" as const), checks };
}

function stateGap({ status, reasonCode }: Ending, reason: string): string {
  switch (status) {
    case "blocked_on_human":
      return reasonCode === "not_testable"
        ? `goal oracle is not testable without a person: ${reason}`
        : reason;
    case "needs_more_budget":
      return `the budget is exhausted: ${reason}`;
    case "paused":
      return "the goal was paused before it was ready";
    default:
      return reason;
  }
}

function summaryOf({ goal, work }: Pick<Proven, "goal" | "work">, ending: Ending): string {
  const count = work.gates?.results.length ?? 0;
  const gates = count === 1 ? "1 gate result" : `${count} gate results`;
  return `${goal.normalized_goal}: ${gates}, ${ending.status}`;
}
