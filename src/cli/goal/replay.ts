/** `omk goal replay`: what happened, event by event, however many there are. */
import { OmkError } from "../../errors.ts";
import { renderDocument } from "../../format/json.ts";
import { findGoal } from "../../goal/find.ts";
import { readReplay, type Replay, type TimelineEntry } from "../../goal/replay.ts";
import { createRedactor, type Redactor } from "../../store/redact.ts";
import type { App } from "../app.ts";
import type { FormatFlags } from "../formatted.ts";
import { oneLine, textTime } from "../text.ts";

/** Prints a goal's history as text, Markdown or JSON, with what could not be read. */
export async function replayCommand(
  app: App,
  id: string,
  flags: FormatFlags & { tail?: number },
): Promise<void> {
  const { tail } = flags;
  if (tail !== undefined && !(Number.isSafeInteger(tail) && tail >= 0)) {
    throw new OmkError("usage.invalid", "--tail must be a whole number of events.", {
      hint: "For example: omk goal replay --tail 20",
    });
  }
  if (tail !== undefined && tail > TAIL_MAX) {
    throw new OmkError("usage.invalid", `--tail must be at most ${TAIL_MAX}.`, {
      hint: "Leave it out to see every event.",
    });
  }
  const format = flags.json ? "json" : (flags.format ?? "text");
  const goal = findGoal(app.root(), id, app.world);
  const replay = readReplay(goal, tail === undefined ? {} : { tail }, app.world);
  // What 0.5.0 wrote was not redacted everywhere.
  const redactor = remembering(createRedactor({ environment: app.io.env }));
  const isJson = format === "json";
  let piece = "";
  for (const part of parts(replay, format, redactor)) {
    piece += part;
    if (piece.length < PIECE_CHARACTERS) continue;
    if (!(await app.output.piece(piece, isJson))) return;
    piece = "";
  }
  await app.output.piece(piece, isJson);
}

/** The places of so many events are kept in memory. */
const TAIL_MAX = 100_000;
const PIECE_CHARACTERS = 64 * 1024;

/** Looking for secrets costs more than everything else, and most events say what others have said. */
function remembering(redactor: Redactor): Cleaning {
  const seen = new Map<string, string>();
  return {
    value: (value) => redactor.value(value),
    text: (source) => {
      let clean = seen.get(source);
      if (clean === undefined) {
        clean = redactor.text(source);
        if (seen.size >= REMEMBERED_MAX) seen.clear();
        if (source.length <= REMEMBERED_CHARACTERS_MAX) seen.set(source, clean);
      }
      return clean;
    },
  };
}

const REMEMBERED_MAX = 4_096;
const REMEMBERED_CHARACTERS_MAX = 1_024;

type Cleaning = Pick<Redactor, "text" | "value">;

function* parts(replay: Replay, format: "text" | "json" | "md", redactor: Cleaning): Generator<string> {
  const [before, after] = { text, md, json }[format](replay, redactor);
  yield before;
  let isFirst = true;
  for (const entries of replay.entries()) {
    let part = "";
    for (const entry of entries) {
      part += renderEntry(entry, format, redactor, isFirst);
      isFirst = false;
    }
    yield part;
  }
  yield isFirst && format === "json" ? after.replace(/^\n */, "") : after;
}

function renderEntry(
  entry: TimelineEntry,
  format: "text" | "json" | "md",
  redactor: Cleaning,
  isFirst: boolean,
): string {
  const { index, ts, kind, actor, summary } = entry;
  const clean = {
    index,
    ts: /^[\dT:.Z+-]*$/.test(ts) ? ts : redactor.text(ts),
    kind: redactor.text(kind),
    ...(actor !== undefined && { actor: redactor.text(actor) }),
    ...(summary !== undefined && { summary: redactor.text(summary) }),
  };
  if (format === "json")
    return `${isFirst ? "" : ","}\n    ${renderDocument(clean).replaceAll("\n", "\n    ")}`;
  const head = `${format === "md" ? "-" : " "} ${textTime(clean.ts)}  `;
  if (clean.summary === undefined) return `${head}${clean.kind}\n`;
  return `${head}${clean.kind.padEnd(22)} ${oneLine(clean.summary)}\n`;
}

function gapsOf({ summary }: Replay): string[] {
  return summary.known_gaps ?? [];
}

function tasks({ summary }: Replay): string {
  const { done_tasks, total_tasks } = summary.task_graph_summary;
  return `${done_tasks}/${total_tasks} done`;
}

/** Two parts of the answer: what stands before the timeline, and what stands behind it. */
type Frame = (replay: Replay, redactor: Cleaning) => [before: string, after: string];

const text: Frame = (replay) => {
  const { summary, omitted } = replay;
  const gaps = gapsOf(replay);
  return [
    lines(
      `Goal replay ${summary.goal_id}`,
      `Status: ${summary.status}`,
      `Phase: ${summary.phase}`,
      `Events: ${summary.event_count}`,
      `Tasks: ${tasks(replay)}`,
      // Said at both ends: a long timeline hides one of them.
      ...(gaps.length > 0 ? [`Recovery: ${summary.recovery_status}`] : []),
      "Timeline:",
      ...(omitted > 0 ? [`  (${omitted} earlier events left out)`] : []),
    ),
    gaps.length > 0
      ? lines("Known gaps:", ...gaps.map((gap) => `  - ${gap}`), `Recovery: ${summary.recovery_status}`)
      : "",
  ];
};

const md: Frame = (replay) => {
  const { summary, omitted } = replay;
  const gaps = gapsOf(replay);
  return [
    lines(
      `# Goal Replay ${summary.goal_id}`,
      "",
      `- Status: \`${summary.status}\``,
      `- Phase: \`${summary.phase}\``,
      `- Events: ${summary.event_count}`,
      `- Tasks: ${tasks(replay)}`,
      ...(gaps.length > 0 ? [`- Recovery: ${summary.recovery_status}`] : []),
      "",
      "## Timeline",
      "",
      ...(omitted > 0 ? [`(${omitted} earlier events left out)`, ""] : []),
    ),
    gaps.length > 0 ? lines("", "## Known Gaps", "", ...gaps.map((gap) => `- ${gap}`)) : "",
  ];
};

/** The record's own rendering, cut open where its timeline stands. */
const json: Frame = ({ summary, omitted }, redactor) => {
  const { recovery_status, known_gaps, duplicate_events, parse_failures, ...before } = summary;
  const record = {
    ...before,
    ...(omitted > 0 && { omitted_events: omitted }),
    timeline: [],
    ...(known_gaps && { recovery_status, known_gaps }),
    duplicate_events,
    parse_failures,
  };
  const whole = renderDocument(redactor.value(record));
  const at = whole.indexOf(OPEN) + OPEN.length;
  return [whole.slice(0, at), `\n  ${whole.slice(at)}\n`];
};

const OPEN = '"timeline": [';

function lines(...all: readonly string[]): string {
  return all.map((line) => `${line}\n`).join("");
}
