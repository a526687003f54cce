/** What a log leaves open: processes that were started and whose end it does not know, and requests it has applied. */
import type { Processes } from "../ports.ts";

/** Kinds of events that say that a process was started; every other event with its spawn id says that it ended. */
const SPAWN_STARTS: ReadonlySet<string> = new Set(["command_started", "task_started", "helper_started"]);

/** What the lines of events hold that leave something open or end it. */
export const OPEN_ENDS_MARKS: readonly string[] = ['"spawn_id"', '"request_id"'];

/** Gathered while a log is folded: pass `visit` every event, or those whose lines hold one of the marks. */
export class OpenEnds {
  readonly #spawns = new Set<string>();
  /** Requests of other processes that were applied, so that a file left behind is not applied again. */
  readonly appliedRequests = new Set<string>();

  visit(event: { kind: string; payload?: Record<string, unknown> | undefined }): void {
    const spawn = event.payload?.["spawn_id"];
    if (typeof spawn === "string") {
      if (SPAWN_STARTS.has(event.kind)) this.#spawns.add(spawn);
      else this.#spawns.delete(spawn);
    }
    const asked = event.payload?.["request_id"];
    if (typeof asked === "string") this.appliedRequests.add(asked);
  }

  /** Spawn ids over which an earlier controller died. */
  get spawns(): readonly string[] {
    return [...this.#spawns];
  }
}

/** Ends what still runs of an earlier controller, and says so. */
export async function endLeftovers(
  spawns: readonly string[],
  ports: { processes: Pick<Processes, "sweep">; tell(line: string): void },
): Promise<void> {
  if (spawns.length === 0) return;
  const ended = await ports.processes.sweep(spawns);
  if (ended > 0)
    ports.tell(`ended ${ended} leftover process${ended === 1 ? "" : "es"} of an interrupted run`);
}
