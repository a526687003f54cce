/** `omk team list`, `status` and `health`: light commands, which load no schema library and write nothing. */
import { findTeam, isInterrupted, isResumable, listTeams, type Team } from "../../team/find.ts";
import { healthReport, workersOf, type HealthReport, type WorkerView } from "../../team/health.ts";
import { createRedactor, type Redactor } from "../../store/redact.ts";
import type { App } from "../app.ts";
import { shellQuoted } from "../../format/shell.ts";
import { oneLine, textTime } from "../text.ts";

/** Lists all teams, newest first; what cannot be read is named on stderr and hides nothing. */
export function teamListCommand(app: App, flags: { json: boolean }): void {
  const { teams, unreadable } = listTeams(app.root(), app.world);
  // What 0.5.0 wrote was not redacted everywhere.
  const redactor = createRedactor({ environment: app.io.env });
  for (const { name, because } of unreadable) app.output.story(`team ${name} cannot be read: ${because}`);
  const records = teams.map((team) => redactor.value(recordOf(team)));
  app.output.result(records, () => listText(teams, redactor), flags.json);
}

function listText(teams: readonly Team[], redactor: Redactor): string {
  if (teams.length === 0)
    return 'No teams found.\n\nMake one: omk team run 3:executor "Fix the failing tests"';
  const row = (name: string, phase: string, task: string) =>
    `${name.padEnd(20)} ${phase.padEnd(20)} ${task}`.trimEnd();
  return [
    "Active teams:",
    row("Name", "Phase", "Task"),
    "─".repeat(82),
    ...teams.map(({ name, phase, task }) => row(oneLine(name), phase, cut(redactor.text(oneLine(task)), 40))),
    "",
    ...teams
      .filter(isInterrupted)
      .map((team) => `${oneLine(team.name)} was interrupted; go on with: ${resumeLine(team)}`),
    "Look at one with: omk team status <name>",
  ].join("\n");
}

/** Says how one team stands. */
export function teamStatusCommand(app: App, name: string, flags: { json: boolean }): void {
  const team = findTeam(app.root(), name, app.world);
  const workers = lookAtWorkers(app, team);
  const redactor = createRedactor({ environment: app.io.env });
  const record = { ...recordOf(team), workers };
  app.output.result(redactor.value(record), () => redactor.text(statusText(team, workers)), flags.json);
}

function statusText(team: Team, workers: readonly WorkerView[]): string {
  const label = (name: string, value: string) => `${name.padEnd(12)} ${value}`;
  return [
    label("Team:", oneLine(team.name)),
    label("Task:", oneLine(team.task)),
    label("Phase:", team.phase),
    label("Created:", textTime(team.createdAt)),
    ...(team.isImported ? [label("Imported:", "it can be looked at, not resumed")] : []),
    label("Workers:", String(Number(team.record["worker_count"] ?? workers.length))),
    ...workers.map(
      ({ worker_id, role, heartbeat, inbox_count, outbox_count }) =>
        `  ${oneLine(worker_id).padEnd(12)} role=${oneLine(role).padEnd(10)} hb=${oneLine(heartbeat).padEnd(8)} ` +
        `inbox=${String(inbox_count).padEnd(2)} outbox=${outbox_count}`,
    ),
    label("Tasks:", `${team.tasks.length} total`),
    ...team.tasks.map(({ status, description }) => `  [${oneLine(status)}] ${oneLine(description)}`),
    ...(isInterrupted(team) ? [label("Next:", `it was interrupted; go on with: ${resumeLine(team)}`)] : []),
    ...(team.phase === "Shutdown" && isResumable(team) ? [label("Next:", resumeLine(team))] : []),
  ].join("\n");
}

/** Says how a team's workers are. Found problems are an answer, not a failure of the command. */
export function teamHealthCommand(app: App, name: string, flags: { json: boolean }): void {
  const team = findTeam(app.root(), name, app.world);
  const workers = lookAtWorkers(app, team);
  const report = healthReport(team, workers, app.world.clock.now().toISOString());
  const redactor = createRedactor({ environment: app.io.env });
  app.output.result(redactor.value(report), () => redactor.text(healthText(team, report)), flags.json);
}

const ICONS = { healthy: "✅", stalled: "⚠️", dead: "❌", unknown: "❓" } as const;

function healthText(team: Team, report: HealthReport): string {
  return [
    `🩺 Health check — ${oneLine(report.run_id)}`,
    `Checked at: ${textTime(report.checked_at)}`,
    `Workers: ${report.workers.length}`,
    ...report.workers.flatMap(({ worker_id, status, inbox_count, outbox_count, message }) => [
      `  ${ICONS[status]} ${oneLine(worker_id).padEnd(12)} inbox=${inbox_count} outbox=${outbox_count}`,
      `     → ${oneLine(message)}`,
    ]),
    "",
    report.issues_found === 0 ? "All workers are healthy." : `${report.issues_found} issue(s) found`,
    ...(isInterrupted(team) ? [`It was interrupted; go on with: ${resumeLine(team)}`] : []),
  ].join("\n");
}

function lookAtWorkers(app: App, team: Team): WorkerView[] {
  const { workers, skipped } = workersOf(team, app.world);
  for (const line of skipped) app.output.story(`left out: ${line}`);
  return workers;
}

function recordOf(team: Team): Record<string, unknown> {
  const { controller } = team;
  return { ...team.record, controller, interrupted: isInterrupted(team), imported: team.isImported };
}

function resumeLine({ name }: Team): string {
  return `omk team run --resume --name ${shellQuoted(name)}`;
}

/** By characters: half an emoji is none. */
function cut(text: string, length: number): string {
  return Array.from(text).slice(0, length).join("");
}
