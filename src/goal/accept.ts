/** Acceptance and rejection: a decision about one result tree, kept as evidence and as an event. */
import { join } from "node:path";

import { instantOf } from "../format/stamp.ts";
import type { DocumentChange } from "../format/event.ts";
import { renderDocument } from "../format/json.ts";
import { keepEvidence } from "../store/evidence.ts";
import type { NewEvent } from "../store/event-log.ts";
import { factsOf } from "./facts.ts";
import { change, changeTask, type GoalPorts, type OpenGoal } from "./open.ts";
import { ROLLBACK_PLAN, writeReaderFiles } from "./reader-files.ts";
import { TASK } from "./task-ids.ts";
import { decideVerdict } from "./verdict.ts";
import type { WantedWaiver } from "./waivers.ts";

/** A person's yes (or `--auto-accept`, given in advance). */
export interface Acceptance {
  summary: string;
  /** Checks a person vouches for, by name, with what they say. */
  attested: Readonly<Record<string, string>>;
  /** What a person lets pass with it, as `wantedWaivers` gives it. `--auto-accept` never does. */
  waivers?: readonly WantedWaiver[];
  by: "omk" | "omk-cli";
}

/** Records an acceptance of the present result. Whether the goal becomes ready is for the evidence to say. */
export async function acceptGoal(open: OpenGoal, acceptance: Acceptance, ports: GoalPorts): Promise<void> {
  const decision = given(open, acceptance, ports);
  // Who lets several things pass at once need not say the same twice.
  const waivers = (acceptance.waivers ?? []).map((one) => ({
    ...one,
    reason: one.reason === "" ? acceptance.summary : one.reason,
    at: decision.decided_at,
  }));
  const all = [...open.work.waivers, ...waivers];
  const work = {
    ...open.work,
    waivers: all,
    acceptance: { ...decision, artifact_path: "", missing_evidence: [] },
  };
  const facts = factsOf(open.goal, work, open.graph);
  // Delivery comes after the yes, which does not lack it.
  const missing = decideVerdict(facts)
    .gaps.filter(({ code }) => code !== "not_delivered")
    .map(({ text }) => text);
  const events = waivers.map((one, at) => ({
    kind: "waiver_given",
    actor: acceptance.by,
    payload: { ...one },
    // Each event brings the log to where it stands after it.
    changes: [change("work.json", { waivers: all.slice(0, all.length - waivers.length + at + 1) })],
  }));
  // What was let pass blocks its task no longer.
  const settled =
    missing.length > 0 ? [] : [TASK.review, TASK.securityReview].filter((id) => isBlocked(open, id));
  const changes = settled.map((id) =>
    changeTask(id, { status: "done", completed_at: decision.decided_at, owner_role: "goal-controller" }),
  );
  await decide(
    open,
    { ...decision, missing_evidence: missing },
    { events, changes, actor: acceptance.by },
    ports,
  );
}

function isBlocked({ graph }: OpenGoal, taskId: string): boolean {
  return graph.tasks.some(({ id, status }) => id === taskId && status === "blocked");
}

/** Records a rejection of the present result, with its reason. */
export async function rejectGoal(open: OpenGoal, reason: string, ports: GoalPorts): Promise<void> {
  const decision = {
    ...given(open, { summary: reason, attested: {}, by: "omk-cli" }, ports),
    missing_evidence: [reason],
  };
  const rejected = { ...decision, decision: "rejected" as const };
  await decide(open, rejected, { events: [], changes: [], actor: "omk-cli" }, ports);
}

function given(open: OpenGoal, acceptance: Acceptance, ports: GoalPorts) {
  return {
    decision: "accepted" as "accepted" | "rejected",
    summary: acceptance.summary,
    decided_at: instantOf(ports.clock.now()),
    tree: open.work.result?.tree ?? open.work.base?.tree ?? "",
    attested: { ...acceptance.attested },
    by: acceptance.by,
  };
}

async function decide(
  open: OpenGoal,
  decision: ReturnType<typeof given> & { missing_evidence: string[] },
  {
    events,
    changes,
    actor,
  }: { events: readonly NewEvent[]; changes: readonly DocumentChange[]; actor: string },
  ports: GoalPorts,
): Promise<void> {
  const yes = decision.decision === "accepted";
  const file = yes ? "integrator-accept.json" : "integrator-reject.json";
  // A crash before the event leaves the file: the next try must not meet its name.
  const name = `${open.journal.nextSeq}-${ports.random.name(6)}-${file}`;
  const artifact_path = `artifacts/integration/${name}`;
  const { decided_at, summary, missing_evidence } = decision;
  const content = renderDocument(
    ports.redactor.value({
      status: decision.decision,
      summary,
      decided_at,
      artifact_path,
      missing_evidence,
      ...(events.length > 0 && { waivers: events.map(({ payload }) => payload) }),
    }),
  );
  const evidence = await keepEvidence(open, join(open.folder, artifact_path), content, ports);
  const kind = yes ? "integration_acceptance" : "integration_rejection";
  const artifacts = [...open.goal.artifacts];
  const wanted: [string, string][] = [[kind, `artifacts/integration/${file}`]];
  if (!yes) wanted.push(["integration_rollback_plan", ROLLBACK_PLAN]);
  for (const [one, path] of wanted) {
    if (!artifacts.some((artifact) => artifact.kind === one))
      artifacts.push({ kind: one, path, created_at: decided_at });
  }
  // One write: what was let pass and the decision it was let pass for.
  await open.record(...events, {
    kind: yes ? "goal_accepted" : "goal_rejected",
    actor,
    payload: { summary, tree: decision.tree, artifact_path },
    changes: [
      change("goal.json", { artifacts }),
      change("work.json", {
        acceptance: { ...decision, artifact_path },
        evidence: [...open.work.evidence, evidence],
      }),
      ...changes,
    ],
  });
  await writeReaderFiles(open, ports);
}
