/** `omk goal list` and `omk goal status`: light commands, which load no schema library. */
import { join } from "node:path";

import { findGoal, listGoals, type GoalSummary } from "../../goal/find.ts";
import { chainHolder } from "../../store/claim-chain.ts";
import { createRedactor } from "../../store/redact.ts";
import type { App } from "../app.ts";
import { oneLine, textTime } from "../text.ts";
import { nextSteps } from "./next.ts";

/** Lists all goals, newest first; what cannot be read is named on stderr and hides nothing. */
export function listCommand(app: App, json: boolean): void {
  const { goals, unreadable } = listGoals(app.root(), app.world);
  // What 0.5.0 wrote was not redacted everywhere.
  const redactor = createRedactor({ environment: app.io.env });
  for (const { id, because } of unreadable) app.output.story(`goal ${id} cannot be read: ${because}`);
  if (json) {
    const records = goals.map((goal) => redactor.value(goal.record));
    app.output.result(records, () => "", true);
    return;
  }
  if (goals.length === 0) {
    app.output.text('No goals found.\n\nMake one: omk goal run "Fix the failing test in sum.test.js"');
    return;
  }
  const rows = goals.map(
    (goal) => `  [${goal.status}] ${goal.id}  ${redactor.text(oneLine(goal.originalGoal))}`,
  );
  app.output.text(`Goals (${goals.length}):\n${rows.join("\n")}`);
}

/** Says how one goal stands, and when it needs somebody, what to do. */
export function statusCommand(app: App, id: string, json: boolean): void {
  const goal = findGoal(app.root(), id, app.world);
  const controller = controllerOf(goal, app);
  const redactor = createRedactor({ environment: app.io.env });
  const record = redactor.value({ ...goal.record, controller });
  const waiting = waitingRequests(goal, app);
  app.output.result(record, () => redactor.text(renderStatus(goal, controller, waiting)), json);
}

/** More files than this are not looked at: a hundred requests may wait at once. */
const REQUEST_FILES_MAX = 1_000;
const REQUEST_BYTES_MAX = 1024 * 1024;

/** How many requests of its agent wait for a person, by the files that other programs read, too. */
function waitingRequests({ folder }: GoalSummary, { world: { disk } }: App): number {
  const approvals = join(folder, "approvals");
  if (disk.stat(approvals)?.kind !== "folder") return 0;
  const names = disk.list(approvals).filter((name) => name.endsWith(".json"));
  return names.slice(-REQUEST_FILES_MAX).filter((name) => {
    try {
      const text = Buffer.from(disk.readFile(join(approvals, name), REQUEST_BYTES_MAX)).toString("utf8");
      return (JSON.parse(text) as { status?: unknown }).status === "open";
    } catch {
      // Being replaced, or none of ours: `omk approvals list` reads the log itself.
      return false;
    }
  }).length;
}

function renderStatus(goal: GoalSummary, controller: string, waiting: number): string {
  const lines = [
    `Goal status -- ${goal.id}`,
    `  Status:  ${goal.status}`,
    `  Phase:   ${goal.phase}`,
    `  Goal:    ${oneLine(goal.originalGoal)}`,
    `  Updated: ${textTime(goal.updatedAt)}`,
  ];
  if (waiting > 0) {
    const count = waiting === 1 ? "1 request waits" : `${waiting} requests wait`;
    lines.push(`  Waits:   ${count} for you: omk approvals list --goal ${goal.id}`);
  }
  const reason = (goal.record["failure"] as { reason?: string } | undefined)?.reason;
  if (reason) lines.push(`  Reason:  ${oneLine(reason)}`);
  if (goal.status === "running" && controller !== "alive") {
    lines.push(`  Next:    it was interrupted; go on with: omk goal resume ${goal.id}`);
  }
  const code = goal.record["reason_code"];
  if (!reason && goal.status === "not_ready" && typeof code === "string") lines.push(`  Reason:  ${code}`);
  if (goal.status !== "running") lines.push(...nextOf(goal, code));
  return lines.join("\n");
}

function nextOf({ id, status, record }: GoalSummary, code: unknown): string[] {
  const { engine, until_ready } = record;
  const standing = {
    id,
    status,
    code: typeof code === "string" ? code : undefined,
    untilReady: until_ready === true,
    engine: typeof engine === "string" ? engine : undefined,
  };
  return nextSteps(standing).map((line) => `  ${line.replace(/^(Next|Then): /, "$1:    ")}`);
}

function controllerOf(goal: GoalSummary, app: App): string {
  return chainHolder(join(goal.folder, "controller"), app.world)?.liveness ?? "none";
}
