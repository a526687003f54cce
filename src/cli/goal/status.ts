/** `omk goal list` and `omk goal status`: light commands, which load no schema library. */
import { join } from "node:path";

import type { Event } from "../../format/event.ts";
import type { Goal } from "../../format/goal.ts";
import { isEstimated } from "../../goal/budget.ts";
import { budgetStand } from "../../goal/checkpoints.ts";
import { findGoal, listGoals, readGoalDocuments, type GoalSummary } from "../../goal/find.ts";
import { activityOf, progressOf, tasksDone, type GoalPicture } from "../../goal/progress.ts";
import { entryOf } from "../../goal/replay.ts";
import { deliverySteps, presentResult, sliceText, sliceViews } from "../../goal/slice-view.ts";
import { chainHolder } from "../../store/claim-chain.ts";
import { logPath } from "../../store/journal.ts";
import { scanLog } from "../../store/log-reader.ts";
import { lastEvents } from "../../store/log-tail.ts";
import { createRedactor } from "../../store/redact.ts";
import type { App } from "../app.ts";
import { oneLine, textTime, textUsd } from "../text.ts";
import { nextSteps, slicesStanding } from "./next.ts";

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
    (goal) =>
      `  [${goal.status}] ${goal.id}  ${redactor.text(oneLine(goal.originalGoal))}${leftBehind(goal, app)}`,
  );
  app.output.text(`Goals (${goals.length}):\n${rows.join("\n")}`);
}

/** For a goal that seems to run: that nobody runs it, and where its log is damaged, so that nobody can. */
function leftBehind({ folder, status }: GoalSummary, { world }: App): string {
  if (status !== "running" || chainHolder(join(folder, "controller"), world)?.liveness === "alive") return "";
  const [damage] = scanLog(logPath(folder, world), world, () => undefined).damage;
  return damage === undefined
    ? "  (interrupted)"
    : `  (interrupted; its log is damaged at line ${damage.line})`;
}

/** Says how one goal stands, what is being done about it, and when it needs somebody, what to do. */
export function statusCommand(app: App, id: string, json: boolean): void {
  const goal = findGoal(app.root(), id, app.world);
  const redactor = createRedactor({ environment: app.io.env });
  const standing = standingOf(goal, app);
  const { controller, process, now, picture, budget, story, next } = standing;
  const record = {
    ...goal.record,
    controller,
    ...(process && { controller_process: process }),
    ...(now && { now }),
    tasks: tasksDone(picture),
    ...(picture.work.slices && { slices: sliceViews(picture) }),
    ...(picture.work.delivery && { delivery: picture.work.delivery }),
    budget,
    waiting_requests: picture.waiting,
    progress: progressOf(picture, goal.folder),
    story,
    next,
  };
  app.output.result(redactor.value(record), () => redactor.text(renderStatus(goal, standing)), json);
}

/** How much of the story is told. */
const STORY_EVENTS = 5;
/** How far back it is looked for, among the events that tell nothing; and the beginning of what is going on. */
const STORY_BACK = 20;
const ACTIVITY_BACK = 100;

/** Everything that a goal's status says beside its record. */
function standingOf(goal: GoalSummary, app: App) {
  const { world } = app;
  const holder = chainHolder(join(goal.folder, "controller"), world);
  const documents = readGoalDocuments(goal, ["work.json", "task-graph.json"], world);
  const controller = holder?.liveness ?? "none";
  const isAlive = controller === "alive";
  const last = lastEvents(goal.folder, isAlive ? ACTIVITY_BACK : STORY_BACK, world);
  const picture: GoalPicture = {
    goal: goal.record as GoalPicture["goal"],
    graph: documents.get("task-graph.json") ?? {},
    work: documents.get("work.json") ?? {},
    last,
    waiting: waitingRequests(goal, app),
  };
  const { attempts = [], helper_turns = [], active_ms = 0 } = picture.work;
  const activity = isAlive ? activityOf(picture) : undefined;
  const nowMs = world.clock.now().getTime();
  return {
    controller,
    process: holder && {
      pid: holder.record.holder.pid,
      host: holder.record.holder.host,
      command: holder.record.command,
      since: holder.record.ts,
    },
    now: activity && { ...activity, for_secs: secondsSince(activity.since, nowMs) },
    picture,
    budget: budgetStand(goal.record as unknown as Goal, { attempts, helper_turns, active_ms }),
    isEstimated: isEstimated({ attempts, helper_turns }),
    story: last
      .filter(({ kind }) => kind !== "budget_checkpoint")
      .slice(-STORY_EVENTS)
      .map(({ ts, kind, payload, actor }) => {
        const { index: _index, ...entry } = entryOf({ ts, kind, payload, actor } as Event, 0);
        return entry;
      }),
    next: howToGoOn(goal, controller, picture),
  };
}

type Status = ReturnType<typeof standingOf>;

function secondsSince(instant: string, nowMs: number): number {
  return Math.max(0, Math.floor((nowMs - Date.parse(instant)) / 1_000) || 0);
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

function renderStatus(goal: GoalSummary, standing: Status): string {
  const { now, picture, controller, process, story, next } = standing;
  const row = (label: string, text: string) => `  ${`${label}:`.padEnd(8)} ${text}`;
  const lines = [
    `Goal status -- ${goal.id}`,
    row("Status", goal.status),
    row("Phase", goal.phase),
    row("Goal", oneLine(goal.originalGoal)),
    row("Updated", textTime(goal.updatedAt)),
  ];
  const isRunning = goal.status === "running";
  if (now)
    lines.push(row("Now", oneLine(`${now.what}, for ${short(now.for_secs)}; waits for ${now.waits_for}`)));
  const { done, total } = tasksDone(picture);
  if (total > 0) lines.push(row("Tasks", `${done}/${total} done`));
  lines.push(...sliceRows(picture, goal.id).map((text) => row("Slice", text)));
  for (const step of deliverySteps(picture.work.delivery, presentResult(picture.work)))
    lines.push(row("Deliver", oneLine(step)));
  lines.push(row("Spent", spentText(standing.budget) + (standing.isEstimated ? " (estimated)" : "")));
  if (isRunning && process) {
    const what = oneLine(`${controller}: process ${process.pid} on ${process.host} (omk ${process.command})`);
    lines.push(row("Control", what));
  }
  if (picture.waiting > 0) {
    const count = picture.waiting === 1 ? "1 request waits" : `${picture.waiting} requests wait`;
    lines.push(row("Waits", `${count} for you: omk approvals list --goal ${goal.id}`));
  }
  const reason = (goal.record["failure"] as { reason?: string } | undefined)?.reason;
  const code = goal.record["reason_code"];
  if (reason) lines.push(row("Reason", oneLine(reason)));
  else if (goal.status === "not_ready" && typeof code === "string")
    lines.push(row("Reason", oneLine(reasonText(code, picture))));
  if (!isRunning && picture.work.undo !== undefined) lines.push(row("Undo", oneLine(picture.work.undo)));
  if (isRunning && story.length > 0) {
    lines.push("  Story:");
    for (const { ts, kind, summary = "" } of story)
      lines.push(`    ${textTime(ts)}  ${oneLine(`${kind} ${summary}`.trim()).slice(0, STORY_CHARACTERS)}`);
  }
  lines.push(...next.map((line) => `  ${line.replace(/^(Next|Then): /, "$1:    ")}`));
  return lines.join("\n");
}

/** Slices that a status lists; those that have landed are left out first. */
const SLICES_MAX = 20;

function sliceRows(picture: GoalPicture, id: string): string[] {
  const all = sliceViews(picture);
  const open = all.filter(({ status }) => status !== "landed");
  const listed = (all.length <= SLICES_MAX ? all : open).slice(0, SLICES_MAX);
  const rows = listed.map((slice) => oneLine(`${slice.id}: ${sliceText(slice)}`));
  if (listed.length === all.length) return rows;
  return [...rows, `and ${all.length - listed.length} more: omk goal show ${id}`];
}

const STORY_CHARACTERS = 160;

function reasonText(code: string, { work: { attempts = [] } }: GoalPicture): string {
  const last = attempts.at(-1);
  if (code !== "agent_not_executed" || !last) return REASONS[code] ?? code;
  const how = last.outcome_code ?? last.outcome ?? last.status;
  const count = attempts.length === 1 ? "one attempt was" : `${attempts.length} attempts were`;
  return `${count} made, and not all parts came to a result; the last, at ${last.task_id}, ended ${how}`;
}

/** Codes of goals whose record has no sentence of its own. */
const REASONS: Readonly<Record<string, string>> = {
  agent_not_executed: "no agent has worked on it yet",
  protected_input_changed:
    "the change touches what decides about it: tests, their settings, or a gate's program",
  write_set_violated: "files changed that no part of the plan was to change",
  gates_not_run: "the gates have not run on the result",
  gates_not_rerun: "files changed after the gates had run",
  gates_red: "required gates do not pass on the result",
  clean_checkout_red: "the gates do not pass on a fresh checkout of the result",
  clean_checkout_lost: "a fresh checkout of the result cannot be judged, and a person has to accept that",
  linked_changed: "installed files that the gates use were changed, and a person has to accept that",
  environment_points_back:
    "the gates may look at the project instead of the result, and a person has to accept that",
  oracle_missing: "nothing shows that the goal itself was reached",
  review_missing: "the result has not been reviewed",
  security_review_missing: "the result has not been searched for secrets",
  review_blocked: "the review found what has to be mended or let pass",
  acceptance_needed: "a person has to accept the result",
  gates_unapproved: "a person has to approve the gates that were found in the result",
  result_changed: "files changed after they had been checked",
  part_unchanged: "a part of the plan changed nothing, and a person has to accept that",
  slice_conflict: "results of slices are in each other's way, and nobody solves it",
  not_delivered: "the result is not yet where the goal's policy wants it",
  tasks_open: "not all parts of the plan are done",
  no_gates: "there is no gate that could show anything",
  nothing_changed: "no file was changed",
  nested_repository: "the change holds another git repository, whose files cannot be seen",
  base_copies_unusable: "the gates cannot be run with the base's files",
  rejected: "a person rejected the result",
};

/** What was spent, and of how much; only what has a limit or was used at all. */
function spentText(budget: Status["budget"]): string {
  const { active_secs, budget_time, used_tokens, budget_tokens, estimated_cost_usd, budget_usd } = budget;
  const of = (limit: unknown, text: string) => (limit === undefined ? "" : ` of ${text}`);
  return [
    `${short(active_secs)}${of(budget_time, oneLine(budget_time))} at work`,
    `${used_tokens}${of(budget_tokens, String(budget_tokens))} tokens`,
    `$${textUsd(estimated_cost_usd)}${of(budget_usd, `$${textUsd(budget_usd)}`)}`,
  ].join(", ");
}

/** `42s`, `3m12s`, `2h05m`. */
function short(seconds: number): string {
  const two = (part: number) => String(part).padStart(2, "0");
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`;
  return `${Math.floor(seconds / 3_600)}h${two(Math.floor((seconds % 3_600) / 60))}m`;
}

/** The next commands; none while the goal is being worked on. */
function howToGoOn({ id, status, record }: GoalSummary, controller: string, picture: GoalPicture): string[] {
  if (status === "running")
    return controller === "alive" ? [] : [`Next: it was interrupted; go on with: omk goal resume ${id}`];
  const { engine, until_ready, reason_code: code } = record;
  const slices = slicesStanding(picture);
  return nextSteps({
    id,
    status,
    code: typeof code === "string" ? code : undefined,
    untilReady: until_ready === true,
    engine: typeof engine === "string" ? engine : undefined,
    hasWorked: (picture.work.attempts ?? []).length > 0,
    ...(slices && { slices }),
  });
}
