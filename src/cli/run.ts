/** `omk run list` and `omk run show`: which runs there are, and what happened in one, event by event. */
import type { Event } from "../format/event.ts";
import { renderDocument } from "../format/json.ts";
import { createRedactor } from "../store/redact.ts";
import { findRun, listRuns } from "../team/find.ts";
import { readTimeline, timelineRow, type TimelineFilter } from "../team/timeline.ts";
import type { App } from "./app.ts";
import { oneLine } from "./text.ts";

/** Rows are printed in pieces of about this size: a log of a million events is never held whole. */
const PIECE_CHARACTERS = 64 * 1024;

/** Lists all runs. */
export function runListCommand(app: App, flags: { json: boolean }): void {
  const { runs, unreadable } = listRuns(app.root(), app.world);
  for (const { name, because } of unreadable) app.output.story(`run ${name} cannot be read: ${because}`);
  const rows = runs.map(({ id, mode }) => `  [${mode.padEnd(10)}] ${oneLine(id)}`);
  app.output.result(
    runs.map(({ id, mode, folder }) => ({ name: id, mode, state_dir: folder })),
    () => (runs.length === 0 ? "No runs found." : [`📋 Runs (${runs.length}):`, ...rows].join("\n")),
    flags.json,
  );
}

/** What commander gives. */
export interface RunShowFlags {
  format?: "text" | "json";
  json: boolean;
  kind?: string;
  worker?: string;
  task?: string;
}

/** Prints the events of a run that pass the filters. */
export function runShowCommand(app: App, wanted: string, flags: RunShowFlags): void {
  const run = findRun(app.root(), wanted, app.world);
  const filter: TimelineFilter = {
    ...(flags.kind !== undefined && { kind: flags.kind }),
    ...(flags.worker !== undefined && { worker: flags.worker }),
    ...(flags.task !== undefined && { task: flags.task }),
  };
  const redactor = createRedactor({ environment: app.io.env });
  const read = (visit: (event: Event) => void) => readTimeline(run.folder, filter, app.world, visit);
  const pieces = new Pieces(app);
  if (flags.json || flags.format === "json") {
    let isFirst = true;
    const end = read((event) => {
      pieces.add(`${isFirst ? "[" : ","}\n${jsonItem(redactor.value(event))}`);
      isFirst = false;
    });
    pieces.add(isFirst ? "[]\n" : "\n]\n");
    pieces.flush();
    return tellLosses(app, end);
  }
  let count = 0;
  const end = read(() => count++);
  app.output.text(
    `📋 Run timeline — ${oneLine(run.id)} (${count} events)\n  Source: ${oneLine(end.source)}\n\n`,
  );
  // The log may have grown since they were counted.
  let left = count;
  read((event) => {
    if (left-- > 0) pieces.add(`${redactor.text(timelineRow(event))}\n`);
  });
  pieces.flush();
  tellLosses(app, end);
}

function tellLosses(app: App, { source, malformed, voided }: ReturnType<typeof readTimeline>): void {
  if (malformed > 0) app.output.story(`${malformed} lines of ${source} cannot be read and were left out`);
  if (voided > 0) app.output.story(`${voided} lines of a controller that had been overtaken were left out`);
}

/** One item of a list, indented as the whole would be, with what could steer a terminal written as escapes. */
function jsonItem(value: unknown): string {
  return renderDocument(value)
    .replaceAll(/^/gm, "  ")
    .replaceAll(/(?!\n)[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu, (character) =>
      [...Array(character.length).keys()]
        .map((at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, "0")}`)
        .join(""),
    );
}

/** Collects text and prints it when enough has come together. */
class Pieces {
  readonly #app: App;
  #parts: string[] = [];
  #length = 0;

  constructor(app: App) {
    this.#app = app;
  }

  add(text: string): void {
    this.#parts.push(text);
    this.#length += text.length;
    if (this.#length < PIECE_CHARACTERS) return;
    // Up to the last newline: whatever is printed ends with one.
    const whole = this.#parts.join("");
    const end = whole.lastIndexOf("\n") + 1;
    if (end > 0) this.#app.output.text(whole.slice(0, end));
    this.#parts = [whole.slice(end)];
    this.#length = whole.length - end;
  }

  flush(): void {
    const rest = this.#parts.join("");
    if (rest !== "") this.#app.output.text(rest);
    this.#parts = [];
    this.#length = 0;
  }
}
