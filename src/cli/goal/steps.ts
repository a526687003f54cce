/** `omk goal verify`, `execute`, `review`, `accept` and `reject`: the loop's steps by hand. */
import { join } from "node:path";

import { OmkError } from "../../errors.ts";
import { acceptByHand, rejectByHand } from "../../goal/decisions-by-hand.ts";
import { executeGoal, reviewGoal, verifyGoal } from "../../goal/steps-by-hand.ts";
import type { Outcome } from "../../goal/with-goal.ts";
import { ROLLBACK_PLAN } from "../../goal/reader-files.ts";
import { TASK } from "../../goal/task-ids.ts";
import type { App } from "../app.ts";
import { parseApprovalFlags, type GivenApprovalFlags } from "../approval-flags.ts";
import { exitStatusOf } from "../exit-status.ts";
import { goalPorts } from "../runtime.ts";
import { oneLine } from "../text.ts";
import { nextSteps } from "./next.ts";
import { standingOf, underWay } from "./run.ts";

/** What commander gives for a step; those about engine and approvals only `execute` has. */
export interface StepFlags extends GivenApprovalFlags {
  again: boolean;
  json: boolean;
  gate?: string[];
  engine?: string;
}

/** Takes one step of the loop. */
export async function stepCommand(
  app: App,
  name: "verify" | "execute" | "review",
  id: string,
  flags: StepFlags,
): Promise<void> {
  const approvals = parseApprovalFlags(flags);
  app.listen();
  const take = { verify: verifyGoal, execute: executeGoal, review: reviewGoal }[name];
  const render = { verify: renderVerify, execute: renderExecute, review: renderReview }[name];
  const { again, gate: gates = [], engine } = flags;
  const request = {
    wanted: underWay(app, id),
    again,
    gates,
    approvals,
    ...(engine !== undefined && { engine }),
  };
  const outcome = await take(request, await goalPorts(app), app.signal);
  app.exitStatus = outcome.achieved
    ? 0
    : outcome.ending.status === "not_ready"
      ? 1
      : exitStatusOf(outcome.ending);
  app.output.result(outcome.open.proof, () => render(outcome), flags.json);
}

/** What commander gives for `accept`. */
export interface AcceptFlags {
  summary: string;
  attest: string[];
  allowChange: string[];
  waive: string[];
  approveGates: boolean;
  slice: string[];
  again: boolean;
  /** False with `--no-apply`. */
  apply: boolean;
  reason?: string;
  json: boolean;
}

/** Accepts a result, with attestations `check=statement`, and with what a person lets pass. */
export async function acceptCommand(app: App, id: string, flags: AcceptFlags): Promise<void> {
  const summary = notEmpty("--summary", flags.summary);
  const attested = Object.fromEntries(flags.attest.map(parseAttestation));
  const { allowChange: changes, waive: findings, approveGates: gates, slice: slices, reason } = flags;
  const pass = { changes, findings, gates, ...(reason !== undefined && { reason }) };
  const isNamed = changes.length + findings.length + slices.length > 0 || gates;
  if (reason !== undefined && !isNamed) {
    throw new OmkError("usage.invalid", "--reason says why something may pass, and nothing was named.", {
      hint: "Name it with --allow-change <path>, --waive <finding>, --approve-gates or --slice <task>.",
    });
  }
  app.listen();
  const accepted = { summary, attested, pass, slices, again: flags.again, noApply: !flags.apply };
  const outcome = await acceptByHand(id, accepted, await goalPorts(app), app.signal);
  app.exitStatus = exitStatusOf(outcome.ending);
  app.output.result(outcome.open.proof, () => renderDecision(outcome, keptText(outcome)), flags.json);
}

/** An acceptance is for one result, whatever is still missing for it. */
function keptText({ ending }: Outcome): string[] {
  if (ending.status === "ready") return [];
  return [
    "The acceptance is kept: when the rest is there for the same files, the goal becomes ready without another one.",
  ];
}

/** Rejects a result, with the reason. */
export async function rejectCommand(
  app: App,
  id: string,
  flags: { reason: string; json: boolean },
): Promise<void> {
  const reason = notEmpty("--reason", flags.reason);
  const outcome = await rejectByHand(id, reason, await goalPorts(app), app.signal);
  const plan = join(outcome.open.folder, ROLLBACK_PLAN);
  app.output.result(
    outcome.open.proof,
    () => renderDecision(outcome, [`Rollback plan: ${plan}`]),
    flags.json,
  );
}

function notEmpty(flag: string, text: string): string {
  const trimmed = text.trim();
  if (trimmed !== "") return trimmed;
  throw new OmkError("usage.invalid", `${flag} cannot be empty.`, { hint: `Write ${flag} "<why>".` });
}

function parseAttestation(text: string): [string, string] {
  const at = text.indexOf("=");
  const statement = text.slice(at + 1).trim();
  if (at > 0 && statement !== "") return [text.slice(0, at).trim(), statement];
  throw new OmkError("usage.invalid", `--attest ${text} is not of the form check=statement.`, {
    hint: 'For example: --attest regression="tried the reported case by hand".',
  });
}

function renderVerify({ open, ending }: Outcome): string {
  const gates = open.proof?.gates ?? [];
  return [
    `Verification: ${ending.status}`,
    `Readiness: ${oneLine(open.proof?.readiness ?? "")}`,
    ...(gates.length === 0 ? ["Gates: none"] : ["Gates:"]),
    ...gates.map((gate) => `  ${gate.name}: ${gate.passed ? "passed" : "failed"}${detail(gate)}`),
    ...closing({ open, ending }),
  ].join("\n");
}

/** Where the proof is, and what comes next. */
function closing({ open, ending }: Pick<Outcome, "open" | "ending">): string[] {
  const next = nextSteps(standingOf(open, ending.status, ending.reasonCode));
  return ["Proof: proof.json", ...next];
}

function detail(gate: { verdict?: string | undefined; output_path?: string | undefined }): string {
  if (gate.verdict === "passed" || gate.verdict === undefined) return "";
  return gate.output_path === undefined ? ` (${gate.verdict})` : ` (${gate.verdict}; ${gate.output_path})`;
}

function renderExecute(outcome: Outcome): string {
  return renderTasks("Execution", outcome, [TASK.verify, TASK.execute, TASK.review, TASK.securityReview]);
}

function renderReview(outcome: Outcome): string {
  return renderTasks("Review", outcome, [TASK.review, TASK.securityReview]);
}

function renderTasks(title: string, { open, ending }: Outcome, ids: readonly string[]): string {
  const { tasks } = open.graph;
  return [
    `${title}: ${ending.status}`,
    `Readiness: ${oneLine(open.proof?.readiness ?? "")}`,
    `Done tasks: ${tasks.filter((task) => task.status === "done").length}/${tasks.length}`,
    ...ids.flatMap((id) => tasks.filter((task) => task.id === id).map((task) => `${id}: ${task.status}`)),
    ...closing({ open, ending }),
  ].join("\n");
}

function renderDecision({ open, ending }: Outcome, more: readonly string[]): string {
  const readiness = open.proof?.readiness ?? "";
  const all = open.proof?.known_gaps ?? [];
  // Where the goal waits for something, the line above has the whole of it.
  const gaps = ending.status === "not_ready" ? all : all.filter((gap) => !readiness.endsWith(gap));
  const { undo } = open.work;
  return [
    `Acceptance: ${ending.status}`,
    `Readiness: ${oneLine(readiness)}`,
    ...(gaps.length > 0 ? ["Known gaps:", ...gaps.map((gap) => `  - ${oneLine(gap)}`)] : []),
    ...more,
    ...(ending.status === "ready" && undo !== undefined ? [`Undo: ${undo}`] : []),
    ...nextSteps(standingOf(open, ending.status, ending.reasonCode)),
  ].join("\n");
}
