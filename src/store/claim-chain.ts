/**
 * Who controls a goal, a run or a project directory: the holder of the newest record of a chain of files
 * `1.json`, `2.json`, …, each made by link, so that one of several claimants wins and none needs a clock to be right.
 * The number of the claim is the epoch, written into every event.
 */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import type { ClaimRecord } from "../format/claim.ts";
import { renderDocument } from "../format/json.ts";
import { instantOf, RFC_3339 } from "../format/stamp.ts";
import type { Clock } from "../ports.ts";
import { ensureFolder, linkNew, replaceFile, sweepTemporaries, type FilePorts } from "./files.ts";
import type { Processes } from "../ports.ts";

/** What a chain needs of the world. */
export interface ChainPorts extends FilePorts {
  clock: Clock;
  processes: Pick<Processes, "self" | "liveness">;
}

/** How long a holder that cannot be proven dead keeps its claim without renewing it. */
const LEASE_MS = 60_000;
const RENEWAL = "renewal.json";
const TRIES_MAX = 100;

/** A held chain. Every write under it asks `isNewest` first. */
export interface HeldChain {
  readonly epoch: number;
  /** The holder before us released the chain after all its writes had been synced, or there was none. */
  readonly isClean: boolean;
  /** False once another process has taken over: then nothing more may be written. */
  isNewest(): boolean;
  /** Hands the chain on, and says whether all that was written is on the disk. Safe to call when it was overtaken. */
  release(clean: boolean): Promise<void>;
}

/** The newest record of a chain and whether its holder still works. */
export interface ChainHolder {
  record: ClaimRecord;
  liveness: "alive" | "dead" | "unknown" | "released";
}

/** Who holds the chain now; undefined when nobody ever did. */
export function chainHolder(
  folder: string,
  ports: Pick<ChainPorts, "disk" | "processes">,
): ChainHolder | undefined {
  const number = newestNumber(folder, ports);
  if (number === 0) return undefined;
  const record = readRecord(folder, number, ports);
  if (record.kind === "release") return { record, liveness: "released" };
  return { record, liveness: ports.processes.liveness(record.holder) };
}

/**
 * Takes the chain, or throws `state.busy` while a living process holds it. A holder on another host is given one whole
 * lease, seen on our own clock, to show that it lives.
 */
export async function claimChain(
  folder: string,
  request: { command: string; what: string },
  ports: ChainPorts,
  signal: AbortSignal,
): Promise<HeldChain> {
  await ensureFolder(folder, ports);
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const newest = chainHolder(folder, ports);
    if (newest?.liveness === "alive") throw busy(request.what, newest.record);
    if (newest?.liveness === "unknown" && (await renewedWithinLease(folder, ports, signal))) {
      throw busy(request.what, newest.record);
    }
    const epoch = (newest?.record.n ?? 0) + 1;
    const taken = newest !== undefined && newest.liveness !== "released";
    const record = claimRecord(epoch, taken ? "takeover" : "claim", request.command, ports);
    if ((await linkNew(recordPath(folder, epoch), renderDocument(record), ports)) === "taken") continue;
    sweepTemporaries(folder, ports.clock.now().getTime(), "stale", ports);
    const isClean = !newest || (newest.liveness === "released" && newest.record.clean !== false);
    return hold(folder, { epoch, isClean, command: request.command }, ports);
  }
  throw new OmkError("state.busy", `${request.what} changes hands too quickly to be claimed.`, {
    hint: "Run the command again in a moment.",
  });
}

function hold(
  folder: string,
  held: { epoch: number; isClean: boolean; command: string },
  ports: ChainPorts,
): HeldChain {
  const { epoch } = held;
  const renewing = new AbortController();
  const isNewest = () => ports.disk.stat(recordPath(folder, epoch + 1)) === undefined;
  const renew = async () => {
    while (!renewing.signal.aborted && isNewest()) {
      await ports.clock.sleep(LEASE_MS / 3, renewing.signal);
      const renewal = { version: 1, n: epoch, ts: instantOf(ports.clock.now()) };
      await replaceFile(join(folder, RENEWAL), renderDocument(renewal), ports);
    }
  };
  // Renewal serves liveness only: when it fails (or is stopped), at worst another process takes over, which is safe.
  const renewal = renew().catch(() => undefined);
  return {
    epoch,
    isClean: held.isClean,
    isNewest,
    async release(clean) {
      renewing.abort();
      await renewal;
      if (!isNewest()) return;
      const record = { ...claimRecord(epoch + 1, "release", held.command, ports), clean };
      await linkNew(recordPath(folder, epoch + 1), renderDocument(record), ports);
    },
  };
}

/** Watches for one lease whether a holder that we cannot see renews its claim. */
async function renewedWithinLease(folder: string, ports: ChainPorts, signal: AbortSignal): Promise<boolean> {
  const path = join(folder, RENEWAL);
  const seen = () => {
    const found = ports.disk.stat(path);
    return found && `${found.inode}:${found.modifiedMs}`;
  };
  const first = seen();
  const newest = newestNumber(folder, ports);
  const until = ports.clock.monotonicMs() + LEASE_MS;
  while (ports.clock.monotonicMs() < until) {
    await ports.clock.sleep(1_000, signal);
    if (seen() !== first || newestNumber(folder, ports) !== newest) return true;
  }
  return false;
}

function claimRecord(n: number, kind: ClaimRecord["kind"], command: string, ports: ChainPorts): ClaimRecord {
  const holder = { ...ports.processes.self, nonce: ports.random.name(16) };
  return { version: 1, n, kind, holder, ts: instantOf(ports.clock.now()), command };
}

function recordPath(folder: string, number: number): string {
  return join(folder, `${number}.json`);
}

function newestNumber(folder: string, ports: Pick<ChainPorts, "disk">): number {
  if (!ports.disk.stat(folder)) return 0;
  let newest = 0;
  for (const name of ports.disk.list(folder)) {
    const number = /^([1-9]\d{0,14})\.json$/.exec(name)?.[1];
    if (number !== undefined) newest = Math.max(newest, Number(number));
  }
  return newest;
}

function readRecord(folder: string, number: number, ports: Pick<ChainPorts, "disk">): ClaimRecord {
  const path = recordPath(folder, number);
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(ports.disk.readFile(path, 64 * 1024)).toString("utf8"));
  } catch (cause) {
    throw damaged(path, cause);
  }
  if (!isClaimRecord(value)) throw damaged(path, undefined);
  return value;
}

/** The full schema is `format/claim.ts`; this light check, for commands that must be quick, is tested to agree with it. */
export function isClaimRecord(value: unknown): value is ClaimRecord {
  if (!isRecord(value) || !isRecord(value["holder"])) return false;
  const { version, n, kind, ts, command } = value;
  const { pid, start_time, boot_id, pid_namespace, host, nonce } = value["holder"];
  return (
    [version, n, pid].every((one) => Number.isSafeInteger(one) && Number(one) >= 1) &&
    (kind === "claim" || kind === "takeover" || kind === "release") &&
    [start_time, boot_id, pid_namespace].every((one) => one === null || typeof one === "string") &&
    [host, nonce, command].every((one) => typeof one === "string") &&
    typeof ts === "string" &&
    RFC_3339.test(ts)
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function damaged(path: string, cause: unknown): OmkError {
  return new OmkError("state.damaged", `${path} cannot be read as a claim.`, {
    cause,
    hint: "Claims are written whole; something else wrote this file. Move it away if no omk is running here.",
  });
}

/** How whoever has the claim is stopped; from another terminal, too, where there is a command for that. */
function stopOf(command: string): string {
  const inItsTerminal = "Ctrl-C in its terminal";
  if (command.startsWith("goal ")) return `omk goal pause (or cancel) <goal>, or ${inItsTerminal}`;
  return command.startsWith("team ") ? `omk team shutdown <name>, or ${inItsTerminal}` : inItsTerminal;
}

function busy(what: string, record: ClaimRecord): OmkError {
  const { pid, host } = record.holder;
  return new OmkError(
    "state.busy",
    `${what} is being worked on by process ${pid} on ${host} (${record.command}).`,
    {
      hint: `Wait for it to end, or stop it: ${stopOf(record.command)}. Then run the command again.`,
    },
  );
}
