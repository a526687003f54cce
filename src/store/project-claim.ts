/** The claim of a project directory: one goal or run at a time works in one real directory. */
import { join } from "node:path";

import { claimChain, type ChainPorts, type HeldChain } from "./claim-chain.ts";
import { sha256 } from "./event-line.ts";
import { stateFolder } from "./state-root.ts";

/** What holding a project directory needs of the world. */
export interface ProjectPorts extends ChainPorts {
  /** The root of all state. */
  root: string;
  /** The caller's user id, where the system has such a thing. */
  uid: number | undefined;
}

/** Takes a project directory, given by its real path; `state.busy` while another goal or run works in it. */
export async function holdProject(
  real: string,
  command: string,
  ports: ProjectPorts,
  signal: AbortSignal,
): Promise<HeldChain> {
  const folder = join(await stateFolder(ports.root, "projects", ports), sha256(real), "controller");
  return claimChain(folder, { command, what: `The directory ${real}` }, ports, signal);
}

/** Gives a project directory back, whatever comes of that. */
export async function letGo(held: HeldChain): Promise<void> {
  // Why the work failed must be heard, and a claim that stays is taken over when its process is gone.
  await held.release(true).catch(() => undefined);
}

/** A signal that never fires, for recording what happened: that must not be cut short, and git has its own deadlines. */
export const UNHURRIED: AbortSignal = new AbortController().signal;
