/**
 * How other processes ask the controller of a goal for something: one file each in `commands/`, made by link, applied
 * once, in the order of the log. Without a living controller the caller becomes it and applies its own request.
 */
import { join } from "node:path";

import { OmkError, systemCode } from "../errors.ts";
import { CommandRequest } from "../format/command.ts";
import { instantOf } from "../format/stamp.ts";
import { renderDocument } from "../format/json.ts";
import type { Clock, Disk } from "../ports.ts";
import { ensureFolder, linkNew, type FilePorts } from "./files.ts";

/** The folder of a goal or run in which other processes leave what they ask. */
export const COMMANDS = "commands";
const REQUEST_BYTES_MAX = 1024 * 1024;
/** How often a caller looks for its answer; it looks for at most ten seconds. */
const LOOK_MS = 50;

/** Records a request; when this resolves it survives everything and will be applied once. Returns its id. */
export async function postRequest(
  goalFolder: string,
  request: { kind: CommandRequest["kind"]; payload?: Record<string, unknown> },
  ports: FilePorts & { clock: Clock },
): Promise<string> {
  const folder = join(goalFolder, COMMANDS);
  await ensureFolder(folder, ports);
  const now = ports.clock.now();
  const id = `${String(now.getTime()).padStart(15, "0")}-${ports.random.name(12)}`;
  const record: CommandRequest = {
    version: 1,
    id,
    kind: request.kind,
    payload: request.payload ?? {},
    ts: instantOf(now),
    from: { pid: ports.processes.self.pid, host: ports.processes.self.host },
  };
  if ((await linkNew(join(folder, `${id}.json`), renderDocument(record), ports)) === "taken") {
    throw new OmkError("state.io", `A request called ${id} exists already.`, {
      hint: "Run the command again.",
    });
  }
  return id;
}

/** The requests that wait, oldest first. A file that is no request is left alone and reported by name. */
export function pendingRequests(
  goalFolder: string,
  ports: { disk: Disk },
): { requests: CommandRequest[]; foreign: string[] } {
  const folder = join(goalFolder, COMMANDS);
  const requests: CommandRequest[] = [];
  const foreign: string[] = [];
  if (!ports.disk.stat(folder)) return { requests, foreign };
  for (const name of ports.disk.list(folder)) {
    if (!name.endsWith(".json")) continue;
    const parsed = readRequest(join(folder, name), ports);
    if (parsed?.id === name.slice(0, -".json".length)) requests.push(parsed);
    else foreign.push(name);
  }
  return { requests, foreign };
}

/** Takes a request away after the log says what became of it. */
export function removeRequest(goalFolder: string, id: string, ports: { disk: Disk }): void {
  try {
    ports.disk.remove(join(goalFolder, COMMANDS, `${id}.json`));
  } catch (error) {
    // Already gone: an earlier controller removed it after the same event.
    if (systemCode(error) !== "ENOENT") throw error;
  }
}

/** Waits until a request is no longer pending; false when it still is after `waitMs`. */
export async function requestTaken(
  goalFolder: string,
  id: string,
  waitMs: number,
  ports: { disk: Disk; clock: Clock },
  signal: AbortSignal,
): Promise<boolean> {
  const path = join(goalFolder, COMMANDS, `${id}.json`);
  const until = ports.clock.monotonicMs() + waitMs;
  while (ports.disk.stat(path)) {
    if (ports.clock.monotonicMs() >= until) return false;
    await ports.clock.sleep(LOOK_MS, signal);
  }
  return true;
}

function readRequest(path: string, ports: { disk: Disk }): CommandRequest | undefined {
  try {
    const text = Buffer.from(ports.disk.readFile(path, REQUEST_BYTES_MAX)).toString("utf8");
    return CommandRequest.safeParse(JSON.parse(text)).data;
  } catch {
    // Not JSON, or taken away a moment ago: either way there is nothing to apply.
    return undefined;
  }
}
