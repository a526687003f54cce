/** `omk goal run`, `create`, `plan` and `resume`. */
import { join } from "node:path";

import { isEstimated, spent } from "../../goal/budget.ts";
import { resumeGoal } from "../../goal/resume.ts";
import { runGoal } from "../../goal/run-goal.ts";
import type { Outcome } from "../../goal/with-goal.ts";
import type { GoalRequest } from "../../goal/create.ts";
import { findGoalFolder } from "../../goal/find.ts";
import { agentTasks } from "../../goal/agent-tasks.ts";
import { isSliced } from "../../goal/sliced.ts";
import type { OpenGoal } from "../../goal/open.ts";
import type { App } from "../app.ts";
import { parseApprovalFlags, type GivenApprovalFlags } from "../approval-flags.ts";
import { exitStatusOf } from "../exit-status.ts";
import { goalPorts } from "../runtime.ts";
import { named } from "../../format/named.ts";
import { shellQuoted } from "../../format/shell.ts";
import { oneLine, textTime } from "../text.ts";
import { idleFlags } from "./idle-flags.ts";
import { engineFlag, nextSteps, slicesStanding, type Standing } from "./next.ts";

/** Makes a goal and, for `run --until-ready`, drives it to an ending. */
export async function createCommand(
  app: App,
  name: "run" | "create" | "plan",
  text: string,
  flags: Record<string, unknown>,
): Promise<void> {
  const approvals = parseApprovalFlags(flags);
  app.listen();
  const untilReady = flags["untilReady"] === true;
  const json = flags["json"] === true;
  for (const line of idleFlags(flags)) app.output.story(line);
  const created = (open: OpenGoal) => {
    app.resumeWith = `omk goal resume ${open.id}`;
    // The id comes first, so that whatever happens next the user can name the goal.
    if (untilReady) app.output.story(`goal ${open.id}`);
  };
  const request = {
    ...flags,
    text,
    projectDir: app.io.cwd(),
    untilReady,
    approvals,
    gates: flags["gate"],
  } as GoalRequest;
  if (flags["llmPlanner"] === false) request.noLlmPlanner = true;
  const outcome = await runGoal(request, await goalPorts(app), app.signal, created);
  const blocked = outcome.open.goal.status === "blocked_on_human";
  app.exitStatus = untilReady ? exitStatusOf(outcome.ending) : blocked ? 3 : 0;
  app.output.result(
    outcome.open.goal,
    () => (untilReady ? renderRun(outcome) : renderCreated(name, outcome)),
    json,
  );
}

/** The goal that a command is about: `latest` is looked up once, and an interrupted user is told how to go on with it. */
export function underWay(app: App, wanted: string): string {
  const { id } = findGoalFolder(app.root(), wanted, app.world);
  app.resumeWith = `omk goal resume ${id}`;
  return id;
}

/** What commander gives for `resume`. */
export interface ResumeFlags extends GivenApprovalFlags {
  engine?: string;
  untilReady: boolean;
  json: boolean;
}

/** Goes on with a goal. */
export async function resumeCommand(app: App, id: string, flags: ResumeFlags): Promise<void> {
  const approvals = parseApprovalFlags(flags);
  app.listen();
  const { engine, untilReady } = flags;
  const wanted = underWay(app, id);
  const request = { wanted, untilReady, approvals, ...(engine !== undefined && { engine }) };
  const outcome = await resumeGoal(request, await goalPorts(app), app.signal);
  const { goal } = outcome.open;
  app.exitStatus = goal.until_ready ? exitStatusOf(outcome.ending) : 0;
  app.output.result(goal, () => (goal.until_ready ? renderRun(outcome) : renderResumed(outcome)), flags.json);
}

function head(title: string, open: OpenGoal): string[] {
  return [
    `${title}: ${open.id}`,
    `  Status: ${open.goal.status}`,
    `  Phase:  ${open.goal.phase}`,
    `  State:  ${open.folder}`,
    `  Proof:  ${join(open.folder, "proof.json")}`,
  ];
}

function renderCreated(name: "run" | "create" | "plan", { open }: Outcome): string {
  const { goal } = open;
  const title = name === "plan" ? "Goal plan created" : "Goal scaffold created";
  if (goal.status === "blocked_on_human") {
    const next =
      goal.reason_code === "not_testable"
        ? [
            "Next: refine the goal: say how a command or a test can tell when it is reached:",
            `  omk goal answer ${open.id} --decision "<text>"`,
          ]
        : ["Next:", `  omk goal resume ${open.id}`];
    return [
      ...head(title, open),
      "",
      `Decision needed: ${oneLine(goal.failure?.reason ?? "")}`,
      "",
      ...next,
    ].join("\n");
  }
  const who = goal.engine ? "" : " --engine <engine>";
  const steps =
    name === "plan"
      ? [
          "  omk goal show latest",
          `  omk goal run ${shellQuoted(goal.original_goal)} --until-ready${engineFlag(goal.engine)}`,
        ]
      : [
          "  1. omk goal show latest      what was planned",
          "  2. omk goal verify latest    run the gates on the project as it is",
          `  3. omk goal execute latest${who}   let the agent work`,
          "  4. omk goal review latest    go through the review wall",
          '  5. omk goal accept latest --summary "<why>"',
        ];
  const verdict = `Or to a verdict in one go: omk goal resume ${open.id} --until-ready${who}`;
  return [...head(title, open), "", "Next steps:", ...steps, verdict].join("\n");
}

const ICONS: Readonly<Record<string, string>> = {
  plan: "📋",
  verify: "🔍",
  execute: "⚡",
  review: "👁",
  deliver: "🚀",
  blocked: "🚧",
};

/** How a run can end, in words. */
const ENDINGS: Readonly<Record<string, string>> = {
  ready: "the goal is reached, and the proof shows it",
  not_ready: "what there is does not show that the goal is reached",
  blocked_on_human: "it waits for a person; nothing is lost",
  blocked_on_external: "it waits for something outside omk; nothing is lost",
  needs_more_budget: "its budget is used up; nothing is lost",
  failed_infra: "the machine or the agent's program failed, not the work",
  paused: "it was stopped on the way; nothing is lost",
  cancelled: "it was cancelled for good; nothing of what was done is thrown away",
};

function renderRun({ open, ending }: Outcome): string {
  const next = nextSteps(standingOf(open, ending.status, ending.reasonCode));
  const { tokens, usd } = spent(open.work);
  const cost = `  Spent:  ${tokens} tokens, $${usd.toFixed(4)}${isEstimated(open.work) ? " (estimated)" : ""}`;
  const lines = [
    // The first words are those that scripts look for, whatever the ending is; the last line of the head says which.
    ...head("Goal run completed", open),
    `  Ended:  ${ENDINGS[ending.status] ?? ending.status}`,
    ...(tokens > 0 || usd > 0 ? [cost] : []),
    "",
    "Narrative:",
  ];
  narrative(open).forEach(([kind, summary], at) =>
    lines.push(`  ${at}. ${ICONS[kind] ?? "-"} ${kind} — ${summary}`),
  );
  if (ending.status === "ready") return [...lines, "", ...next].join("\n");
  const readiness = open.proof?.readiness ?? ending.reason ?? ending.reasonCode;
  const why =
    ending.status === "blocked_on_human"
      ? [`Decision needed: ${oneLine(ending.reason ?? readiness)}`]
      : [`Blocked: ${oneLine(readiness)}`, `Reason code: ${ending.reasonCode}`];
  return [...lines, "", ...why, ...next].join("\n");
}

/** How a goal that this process controls stands. */
export function standingOf(open: OpenGoal, status: string, code: string): Standing {
  const checks = open.proof?.oracle_evidence?.checks ?? [];
  return {
    id: open.id,
    status,
    code,
    untilReady: open.goal.until_ready,
    engine: open.goal.engine ?? undefined,
    missingChecks: checks.filter((check) => check.status === "blocked").map(({ name }) => name),
    isObserved: (open.work.golden ?? []).length > 0,
    undo: open.work.undo,
    hasWorked: open.work.attempts.length > 0,
    ...slicesOf(open),
  };
}

function slicesOf({ graph, work }: OpenGoal): Pick<Standing, "slices"> {
  const slices = slicesStanding({ graph, work });
  return slices ? { slices } : {};
}

/** The steps that were taken, from what the goal's documents say. */
function narrative(open: OpenGoal): [string, string][] {
  const { work } = open;
  const steps: [string, string][] = [
    [
      "plan",
      `${open.graph.tasks.length} tasks, gates: ${(open.goal.gates?.definitions ?? []).map(({ name }) => name).join(", ") || "none"}`,
    ],
  ];
  if (work.baseline)
    steps.push([
      "verify",
      `base: ${work.baseline.gates.map((gate) => `${gate.name} ${gate.verdict}`).join(", ")}`,
    ]);
  const several = agentTasks(open.graph).length > 1;
  for (const attempt of work.attempts) {
    const outcome = attempt.status === "ended" ? (attempt.outcome ?? "ended") : attempt.status;
    const name = several ? `${attempt.task_id}, attempt ${attempt.number}` : `attempt ${attempt.number}`;
    steps.push(["execute", `${name}: ${outcome}`]);
  }
  if (work.gates) {
    const counts = work.gates.results.map((gate) => `${gate.name} ${gate.verdict}`).join(", ");
    steps.push(["verify", `result: ${counts || "no gates"}`]);
  }
  if (work.review) {
    const blocked = work.review.sections
      .filter((section) => section.status === "blocked")
      .map(({ pass }) => pass);
    steps.push(["review", blocked.length === 0 ? "no section is blocked" : `blocked: ${blocked.join(", ")}`]);
  }
  if (open.goal.status === "ready") {
    steps.push(["deliver", whereText(open)]);
  } else steps.push(["blocked", open.goal.reason_code ?? open.goal.status]);
  return steps;
}

/** Where the result is, in words. */
function whereText({ goal, work }: OpenGoal): string {
  const { delivery, result } = work;
  const count = result?.changed_files.length ?? 0;
  const files = count === 1 ? "1 changed file" : `${count} changed files`;
  if (!isSliced(goal)) return `${files} ${count === 1 ? "stays" : "stay"} in the project directory`;
  const branch = delivery?.result?.ref.replace(/^refs\/heads\//, "");
  const { merge, pulls = [], applied } = delivery ?? {};
  const open = pulls.filter(({ state }) => state === "open").map(({ url }) => url);
  const merged = pulls.find(({ slice_id }) => slice_id === null)?.url;
  return [
    ...(branch === undefined ? [files] : [`${files} on the branch ${branch}`]),
    ...(applied ? ["laid over your files, uncommitted"] : []),
    ...(open.length > 0 ? [`pull requests: ${named(open, { max: 20 })}`] : []),
    ...(merge ? [`merged as ${merge.commit}${merged === undefined ? "" : ` by ${oneLine(merged)}`}`] : []),
  ].join("; ");
}

function renderResumed({ open }: Outcome): string {
  const { goal } = open;
  return [
    `Goal ${open.id} resumed`,
    `Status: ${goal.status}`,
    `Phase: ${goal.phase}`,
    `Updated: ${textTime(goal.updated_at)}`,
    ...nextSteps(standingOf(open, goal.status, goal.reason_code ?? "")),
  ].join("\n");
}
