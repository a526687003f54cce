/** The proof of a goal: everything a stranger needs to check the verdict, with every file named by its digest. */
import { join } from "node:path";

import type { GoalStatus } from "../format/goal.ts";
import { instantOf } from "../format/stamp.ts";
import { renderDocument } from "../format/json.ts";
import type { OracleEvidence } from "../format/integration.ts";
import type { Proof } from "../format/proof.ts";
import type { Work } from "../format/work.ts";
import { countedResults } from "../gate/state.ts";
import { sha256 } from "../store/event-line.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import { spent } from "./budget.ts";
import { factsOf } from "./facts.ts";
import { change, type GoalPorts, type OpenGoal } from "./open.ts";
import { countTasks } from "./replay.ts";
import { decideVerdict, STATE_CONTROLLED, type Verdict } from "./verdict.ts";
import type { Workspace } from "./workspace.ts";

/** Version of omk that wrote a proof; the bundle replaces it. */
declare const OMK_VERSION: string;

/** How a goal stands by its evidence, whatever its status says. */
function verdictOf(open: Pick<OpenGoal, "goal" | "work" | "graph">): Verdict {
  return decideVerdict(factsOf(open.goal, open.work, open.graph));
}

/** The end a command brings a goal to, written with the proof in one event. */
export interface Ending {
  status: GoalStatus;
  /** Why, as a code. */
  reasonCode: string;
  /** For statuses that the goal itself controls: the sentence. */
  reason?: string;
}

/**
 * Writes the proof and the goal's status in one event, then the files. The status is the given ending, or what the
 * evidence says. Trees stay in git under `refs/omk/rescue/`.
 */
export async function concludeGoal(
  open: OpenGoal,
  space: Workspace | undefined,
  ending: Ending | undefined,
  ports: GoalPorts,
): Promise<Ending> {
  const verdict = verdictOf(open);
  const final: Ending = ending ?? { status: verdict.status, reasonCode: verdict.readinessCode };
  const undo = space && (await keepTrees(open, space));
  const now = instantOf(ports.clock.now());
  const git = space && (await space.tree.evidence(UNHURRIED));
  const proof = ports.redactor.value(buildProof(open, verdict, final, now, git)) as Proof;
  const done = final.status === "ready" || final.status === "cancelled";
  // Nobody will ask again, so nobody need answer.
  if (done) await open.approvals.withdrawAll("the goal has ended");
  const failure = failureOf(open, final);
  await open.record({
    kind: "proof_written",
    actor: null,
    payload: {
      proof_path: join(open.folder, "proof.json"),
      status: final.status,
      reason_code: final.reasonCode,
      sha256: sha256(renderDocument(proof)),
    },
    changes: [
      ...(undo === undefined ? [] : [change("work.json", { undo })]),
      // Emptied first: the file's bytes are fixed by digest, so keys must stand in this proof's order.
      change("proof.json", {}, Object.keys(open.proof ?? {})),
      change("proof.json", proof),
      change(
        "goal.json",
        {
          status: final.status,
          phase: "proof",
          reason_code: final.reasonCode,
          ...(done && { completed_at: now }),
          ...(failure !== undefined && { failure: { reason: failure, recorded_at: now } }),
        },
        [...(done ? [] : ["completed_at"]), ...(failure !== undefined ? [] : ["failure"])],
      ),
    ],
  });
  await open.journal.save();
  await ports.disk.writeDerived(join(open.folder, "proof.md"), proofMarkdown(proof));
  if (final.status === "cancelled" || final.status === "blocked_on_human") {
    await ports.disk.writeDerived(join(open.folder, "failure.json"), renderDocument(open.goal));
  }
  return final;
}

/** What went wrong, for statuses that evidence does not explain, and for a result that a person rejected. */
function failureOf({ work }: Pick<OpenGoal, "work">, final: Ending): string | undefined {
  if (STATE_CONTROLLED[final.status] !== undefined) return final.reason ?? "";
  return final.reasonCode === "rejected" ? work.acceptance?.summary : undefined;
}

/** Keeps both trees in git and returns the command that takes the work back, if there is any. */
async function keepTrees(open: OpenGoal, space: Workspace): Promise<string | undefined> {
  const { base, result } = open.work;
  const from = result && (await space.tree.keep(result.tree, "result", UNHURRIED));
  const to = base && (await space.tree.keep(base.tree, "base", UNHURRIED));
  return from && to && base.tree !== result.tree ? space.tree.undo(from, to) : undefined;
}

/** The proof's record. Pure but for what it is given. */
function buildProof(
  open: Pick<OpenGoal, "id" | "goal" | "graph" | "work" | "proof"> & {
    journal: { position: { seq: number; digest: string } };
  },
  verdict: Verdict,
  ending: Ending,
  generatedAt: string,
  git: { branch: string; head: string; dirty: boolean } | undefined,
): Proof {
  const { goal, work, graph } = open;
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
    goal_id: open.id,
    status: ending.status,
    readiness: controlled ? `${controlled.prefix}${reason}` : verdict.readiness,
    summary: summaryOf(open, ending),
    generated_at: generatedAt,
    artifacts: goal.artifacts,
    task_graph_summary: countTasks(graph.tasks),
    ...(open.proof?.delivery_metadata && { delivery_metadata: open.proof.delivery_metadata }),
    ...(work.review && { review_artifacts: work.review.sections }),
    ...(integration && { integration_evidence: integration }),
    ...(work.review && { oracle_evidence: attested(work, work.review.oracle) }),
    changed_files: (work.result?.changed_files ?? []).map(({ path }) => path),
    commits: git ? [git.head] : [],
    ...(git && { git }),
    gates: countedResults(work.gates?.results ?? []),
    post_mutation_gates_ran: work.result !== null && work.gates?.tree === work.result.tree,
    known_gaps: gaps.map(({ text }) => text),
    human_decisions_required: ending.status === "blocked_on_human" ? [reason] : [],
    reason_code: ending.reasonCode,
    readiness_code: verdict.readinessCode,
    gaps,
    base: { commit: work.base?.commit ?? null, tree: work.base?.tree ?? null },
    result: { tree: work.result?.tree ?? null },
    baseline: work.baseline?.gates ?? [],
    ...(work.gates?.base_copies && { base_copies: work.gates.base_copies }),
    ...(work.gates?.added_tests && { added_tests: work.gates.added_tests }),
    protected_changes: work.gates?.base_copies?.files ?? [],
    side_effects: work.side_effects,
    attempts: work.attempts.map(
      ({ number, fence, status, outcome, outcome_code, summary, usage, counted }) => ({
        number,
        fence,
        status,
        outcome,
        outcome_code,
        summary,
        usage,
        counted,
      }),
    ),
    engine: { name: goal.engine ?? null, ...agentOf(work), said: last?.summary ?? null },
    budget_spent: { active_ms: Math.round(used.activeMs), tokens: used.tokens, usd: used.usd },
    gates_digest: goal.gates?.digest ?? null,
    sandbox: "off",
    omk_version: typeof OMK_VERSION === "string" ? OMK_VERSION : "source",
    log: { seq: open.journal.position.seq, digest: open.journal.position.digest },
    evidence: work.evidence,
  };
}

/** What the agent that worked last said it was. */
function agentOf({ attempts }: Work): { agent: string | null; version: string | null } {
  const known = attempts.findLast(({ agent }) => agent !== undefined)?.agent;
  return { agent: known?.name ?? null, version: known?.version ?? null };
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

function summaryOf(open: Pick<OpenGoal, "goal" | "work">, ending: Ending): string {
  const count = open.work.gates?.results.length ?? 0;
  const gates = count === 1 ? "1 gate result" : `${count} gate results`;
  return `${open.goal.normalized_goal}: ${gates}, ${ending.status}`;
}

/** The proof for people: the same facts, in the order in which one asks for them. */
function proofMarkdown(proof: Proof): string {
  const rows = (list: readonly string[]) => (list.length > 0 ? list.map((one) => `- ${one}`) : ["- none"]);
  return [
    `# Goal Proof ${proof.goal_id}`,
    "",
    `- Status: \`${proof.status}\``,
    `- Readiness: ${proof.readiness}`,
    `- Tasks: ${proof.task_graph_summary.done_tasks}/${proof.task_graph_summary.total_tasks} done`,
    `- Base: \`${proof.base?.tree ?? "not recorded"}\``,
    `- Result: \`${proof.result?.tree ?? "not recorded"}\``,
    "",
    "## Gates",
    "",
    ...rows(
      proof.gates.map(
        (gate) => `${gate.name}: base ${gate.base ?? "not run"}, now ${gate.verdict ?? "unknown"}`,
      ),
    ),
    "",
    "## Changed Files",
    "",
    ...rows(proof.changed_files.map((path) => `\`${path}\``)),
    "",
    "## Attempts",
    "",
    ...rows((proof.attempts ?? []).map((one) => `${one.number}: ${one.outcome ?? one.status}`)),
    "",
    "## Oracle",
    "",
    ...rows(
      (proof.oracle_evidence?.checks ?? []).map(
        (one) => `${one.name}: ${one.status} (${one.reason ?? one.gate})`,
      ),
    ),
    "",
    "## Known Gaps",
    "",
    ...rows(proof.known_gaps),
    "",
    `Check it: \`omk proof verify ${proof.goal_id}\``,
    "",
  ].join("\n");
}
