/** `omk goal replay`: what happened, event by event. */
import { findGoal } from "../../goal/find.ts";
import { replayGoal, type Replay } from "../../goal/replay.ts";
import type { App } from "../app.ts";
import { printFormatted, type FormatFlags } from "../formatted.ts";
import { textTime } from "../text.ts";

/** Prints a goal's history as text, Markdown or JSON, with what could not be read. */
export function replayCommand(app: App, id: string, flags: FormatFlags): void {
  const goal = findGoal(app.root(), id, app.world);
  printFormatted(app, replayGoal(goal, app.world), { text, md: markdown }, flags);
}

function timeline(replay: Replay): string[] {
  return replay.timeline.map((entry) =>
    entry.summary === undefined
      ? `${textTime(entry.ts)}  ${entry.kind}`
      : `${textTime(entry.ts)}  ${entry.kind.padEnd(22)} ${entry.summary.replace(/\s+/g, " ")}`,
  );
}

function tasks(replay: Replay): string {
  const { done_tasks, total_tasks } = replay.task_graph_summary;
  return `${done_tasks}/${total_tasks} done`;
}

function text(replay: Replay): string {
  const gaps = replay.known_gaps ?? [];
  return [
    `Goal replay ${replay.goal_id}`,
    `Status: ${replay.status}`,
    `Phase: ${replay.phase}`,
    `Events: ${replay.event_count}`,
    `Tasks: ${tasks(replay)}`,
    "Timeline:",
    ...timeline(replay).map((line) => `  ${line}`),
    ...(gaps.length > 0
      ? ["Known gaps:", ...gaps.map((gap) => `  - ${gap}`), `Recovery: ${replay.recovery_status}`]
      : []),
  ].join("\n");
}

function markdown(replay: Replay): string {
  return [
    `# Goal Replay ${replay.goal_id}`,
    "",
    `- Status: \`${replay.status}\``,
    `- Phase: \`${replay.phase}\``,
    `- Events: ${replay.event_count}`,
    `- Tasks: ${tasks(replay)}`,
    "",
    "## Timeline",
    "",
    ...timeline(replay).map((line) => `- ${line}`),
    ...(replay.known_gaps ? ["", "## Known Gaps", "", ...replay.known_gaps.map((gap) => `- ${gap}`)] : []),
  ].join("\n");
}
