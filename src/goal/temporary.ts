/** Temporary folders of commands that hold no goal: below the state root, so nobody else can look in or lay traps. */
import { join } from "node:path";

import { systemCode } from "../errors.ts";
import type { Disk, ProcessIdentity } from "../ports.ts";
import { ensureFolder } from "../store/files.ts";
import { stateFolder } from "../store/state-root.ts";
import type { GoalPorts } from "./open.ts";

const OWNER = "owner.json";
/** A folder without a word of its owner is one that is being made, or one that was left half-made. */
const NAMELESS_MS = 60 * 60 * 1000;

type TemporaryPorts = Pick<GoalPorts, "root" | "uid" | "disk" | "processes" | "random" | "clock">;

/** Gives a folder of its own to an action, takes it away at the end, and those of dead commands at the start. */
export async function withTemporary<T>(
  purpose: string,
  ports: TemporaryPorts,
  act: (folder: string) => Promise<T>,
): Promise<T> {
  const all = await stateFolder(ports.root, "temporary", ports);
  sweep(all, ports);
  const own = join(all, `${purpose}-${ports.random.name(16)}`);
  const folder = join(own, "files");
  try {
    await ensureFolder(own, ports);
    await ports.disk.writeDerived(join(own, OWNER), JSON.stringify(ports.processes.self));
    await ensureFolder(folder, ports);
    return await act(folder);
  } finally {
    ports.disk.removeTree(own);
  }
}

function sweep(all: string, ports: TemporaryPorts): void {
  const { disk, processes, clock } = ports;
  for (const name of disk.list(all)) {
    const path = join(all, name);
    const found = disk.stat(path);
    if (!found) continue;
    const owner = ownerOf(path, disk);
    const isLeft = owner
      ? processes.liveness(owner) === "dead"
      : clock.now().getTime() - found.modifiedMs > NAMELESS_MS;
    if (isLeft) disk.removeTree(path);
  }
}

function ownerOf(path: string, disk: Disk): ProcessIdentity | undefined {
  try {
    const text = Buffer.from(disk.readFile(join(path, OWNER), 64 * 1024)).toString("utf8");
    return JSON.parse(text) as ProcessIdentity;
  } catch (error) {
    // Not written yet, or half: its age decides.
    if (error instanceof SyntaxError || systemCode(error) !== undefined) return undefined;
    throw error;
  }
}
