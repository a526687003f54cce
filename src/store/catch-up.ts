/** Bringing snapshots up to date from the few events behind them: how a run stands is known without its whole log. */
import type { Disk } from "../ports.ts";
import { isChained, readLine } from "./event-line.ts";
import { applyChanges, logPath, wholeEvent, type Documents } from "./journal.ts";
import { anyOf, forEachLine } from "./log-reader.ts";

/**
 * Applies the events behind `from` to the documents given, and to no others; the documents may be newer than that place
 * and include the events up to `from.included`. Gives undefined when the events do not continue it (the log was
 * replaced): then the whole log has to be folded.
 */
export function catchUp(
  folder: string,
  documents: Documents,
  from: { seq: number; bytes: number; included?: number },
  ports: { disk: Disk },
): Documents | undefined {
  const path = logPath(folder, ports);
  const size = ports.disk.stat(path)?.size ?? 0;
  if (size < from.bytes) return undefined;
  const included = from.included ?? from.seq;
  // The usual case of a goal at rest; a list of many goals is mostly made of those.
  if (size === from.bytes) return included > from.seq ? undefined : documents;
  const marks = anyOf(['"blob"', ...Array.from(documents.keys(), (name) => JSON.stringify(name))]);
  let expected = from.seq + 1;
  let continues = true;
  forEachLine(path, from.bytes, ports, (line) => {
    if (!continues) return;
    const text = line.toString("latin1");
    // What changes nothing here is only counted: whether it was damaged is the business of those who read the log.
    if (isChained(text) && !marks.test(text)) {
      expected++;
      return;
    }
    const read = readLine(line);
    // A torn end was never acknowledged; a bad line in the middle shows by the number of the next one that is read.
    if (read.kind === "bad") return;
    if (read.kind === "legacy" || read.event.seq !== expected) {
      continues = false;
      return;
    }
    if (expected++ <= included) return;
    const { changes = [] } = wholeEvent(folder, read.event, ports);
    applyChanges(
      documents,
      changes.filter(({ file }) => documents.has(file)),
    );
  });
  return continues && expected > included ? documents : undefined;
}
