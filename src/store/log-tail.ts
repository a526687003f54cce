/** The end of a log, however long the log is: what happened last. */
import type { Event } from "../format/event.ts";
import type { Disk } from "../ports.ts";
import { eventIn } from "./event-line.ts";
import { logPath } from "./journal.ts";
import { lineBatches } from "./log-reader.ts";

/** How far back is looked; the second only where the first holds no whole event. */
const LOOKS_BYTES = [64 * 1024, 1024 * 1024];

/**
 * The last events of a folder's log, oldest first, at most so many; nothing where there is no log. A torn one is left out,
 * and no digest is looked at: this is for showing what goes on, and whether a log is as it was written others say.
 */
export function lastEvents(folder: string, countMax: number, ports: { disk: Disk }): Event[] {
  const path = logPath(folder, ports);
  const size = ports.disk.stat(path)?.size ?? 0;
  for (const bytes of LOOKS_BYTES) {
    const from = Math.max(0, size - bytes);
    let last: Event[] = [];
    for (const batch of lineBatches(path, from, { bytes: 0, unfinished: 0 }, ports)) {
      // The first one may be the end of a line, which says nothing by itself.
      const events = batch.slice(-countMax).flatMap(({ line }) => eventIn(line) ?? []);
      last = [...last, ...events].slice(-countMax);
    }
    if (last.length > 0 || from === 0) return last;
  }
  return [];
}
