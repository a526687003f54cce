/** Removing and renaming team runs. Both leave alone what somebody works on, and follow no link. */
import { dirname, join, sep } from "node:path";

import { OmkError } from "../errors.ts";
import type { ClaimRecord } from "../format/claim.ts";
import { renderDocument } from "../format/json.ts";
import { instantOf } from "../format/stamp.ts";
import type { Disk } from "../ports.ts";
import { claimChain, chainHolder, type HeldChain } from "../store/claim-chain.ts";
import { ioFailure, linkNew, replaceFile, untoldFailure } from "../store/files.ts";
import { Journal, readDocument, type JournalPorts } from "../store/journal.ts";
import { findTeam, readTeam, stateSection, type Team } from "./find.ts";
import { workersOf } from "./health.ts";
import { renderViews, SNAPSHOTS } from "./open.ts";
import { newTeamName } from "./spec.ts";

const DAY_MS = 24 * 60 * 60 * 1_000;
/** What a command that died while it made or removed a run left: named so, and swept after an hour. */
export const UNFINISHED = { made: ".import-", removed: ".removed-" } as const;
const UNFINISHED_MS = 60 * 60 * 1_000;
/** A run of 0.5.0 says nothing about its process; a worker that was heard of this lately is a sign of it. */
const SIGN_OF_LIFE_SECS = 60;

/** What became of one run. */
export interface CleanupEntry {
  name: string;
  path: string;
  bytes: number;
  outcome: "removed" | "would_remove" | "spared" | "failed";
  /** Why it was spared, or what failed. */
  because?: string;
}

/**
 * Removes runs with their manifests: those whose folder nobody changed for that many days, or all with null. A run that
 * somebody works on is spared. Younger ones are not named.
 */
export async function cleanUpTeams(
  root: string,
  request: { olderThanDays: number | null; dryRun: boolean },
  ports: JournalPorts,
  signal: AbortSignal,
): Promise<CleanupEntry[]> {
  const section = stateSection(root, "team", ports);
  const now = ports.clock.now().getTime();
  if (!request.dryRun) {
    for (const place of [section, stateSection(root, "runs", ports)]) sweepUnfinished(place, now, ports);
  }
  const entries: CleanupEntry[] = [];
  if (!ports.disk.stat(section)) return entries;
  for (const name of ports.disk.list(section)) {
    signal.throwIfAborted();
    // Dots are ours: what is being made or removed.
    if (name.startsWith(".")) continue;
    const path = join(section, name);
    const found = ports.disk.stat(path);
    if (!found) continue;
    const ageMs = now - found.modifiedMs;
    if (found.kind === "link") {
      entries.push({
        name,
        path,
        bytes: 0,
        outcome: "spared",
        because: "it is a link, which omk does not follow",
      });
      continue;
    }
    const isOld = request.olderThanDays === null || Math.floor(ageMs / DAY_MS) >= request.olderThanDays;
    if (found.kind === "folder" && isOld)
      entries.push(await cleanUp(root, name, request.dryRun, ports, signal));
  }
  return entries;
}

/** Removes what a dead command left; what cannot be removed is left for the next time. */
function sweepUnfinished(section: string, now: number, { disk }: { disk: Disk }): void {
  if (!disk.stat(section)) return;
  for (const name of disk.list(section)) {
    if (!Object.values(UNFINISHED).some((prefix) => name.startsWith(prefix))) continue;
    const path = join(section, name);
    const found = disk.stat(path);
    if (found?.kind !== "folder" || now - found.modifiedMs <= UNFINISHED_MS) continue;
    try {
      disk.removeTree(path);
    } catch (error) {
      // It is in nobody's way, and the user asked for something else.
      if (!untoldFailure(error)) throw error;
    }
  }
}

async function cleanUp(
  root: string,
  name: string,
  dryRun: boolean,
  ports: JournalPorts,
  signal: AbortSignal,
): Promise<CleanupEntry> {
  const path = join(stateSection(root, "team", ports), name);
  const manifest = join(stateSection(root, "runs", ports), name);
  const hasManifest = ports.disk.stat(manifest)?.kind === "folder";
  const entry = { name, path, bytes: sizeOf(path, ports) + (hasManifest ? sizeOf(manifest, ports) : 0) };
  try {
    const because = whyBusy(path, ports) ?? whyUnsaved(path, name, ports);
    if (because !== undefined) return { ...entry, outcome: "spared", because };
    if (dryRun) return { ...entry, outcome: "would_remove" };
    // Held while it goes, so that nobody begins to go on with it.
    const held = await holdRun(path, ports, signal);
    try {
      // Before the run itself: what a crash between the two leaves is a run, which the next clean-up finds.
      if (hasManifest) await removeWhole(manifest, ports);
      await removeWhole(path, ports);
    } finally {
      await letGo(held);
    }
    return { ...entry, outcome: "removed" };
  } catch (error) {
    if (signal.aborted) throw error;
    const told = error instanceof OmkError ? error : untoldFailure(error);
    if (!told) throw error;
    return { ...entry, outcome: told.code === "state.busy" ? "spared" : "failed", because: told.message };
  }
}

/** Moved aside first: half a run never lies under its name. */
async function removeWhole(path: string, ports: JournalPorts): Promise<void> {
  const aside = join(dirname(path), `${UNFINISHED.removed}${ports.random.name(20)}`);
  try {
    ports.disk.rename(path, aside);
    await ports.disk.syncFolder(dirname(path));
    ports.disk.removeTree(aside);
  } catch (error) {
    throw ioFailure("remove", path, error);
  }
}

/** Why a run is left alone; undefined when nobody works on it. */
function whyBusy(folder: string, ports: JournalPorts): string | undefined {
  const holder = chainHolder(join(folder, "controller"), ports);
  if (holder?.liveness === "alive") return `process ${holder.record.holder.pid} works on it`;
  if (holder?.liveness === "unknown")
    return `whether ${holder.record.holder.host} still works on it is not known`;
  if (holder) return undefined;
  const { workers } = workersOf({ folder, phase: "Executing", controller: "none" }, ports);
  const latest = workers.find(({ age_secs: age }) => age !== null && age <= SIGN_OF_LIFE_SECS);
  return latest && `${latest.worker_id} was heard of ${latest.age_secs}s ago`;
}

/** Why a run is left alone that nobody works on: its omk died before it could save what its agents had done. */
function whyUnsaved(folder: string, name: string, { disk }: Pick<JournalPorts, "disk">): string | undefined {
  const worktrees = join(folder, "worktrees");
  if (disk.stat(worktrees)?.kind !== "folder" || disk.list(worktrees).length === 0) return undefined;
  return `what its agents did is not saved yet: omk team shutdown ${name} does that`;
}

/** The claim of a run that ever had one. */
async function holdRun(
  folder: string,
  ports: JournalPorts,
  signal: AbortSignal,
): Promise<HeldChain | undefined> {
  const chain = join(folder, "controller");
  if (chainHolder(chain, ports) === undefined) return undefined;
  return claimChain(chain, { command: "team cleanup", what: `Team run ${folder}` }, ports, signal);
}

async function letGo(held: HeldChain | undefined): Promise<void> {
  // Where the folder has gone, there is nothing to hand on; where it has not, the claim ends with this process.
  await held?.release(true).catch(() => undefined);
}

/** Bytes of all files below a folder; links count as themselves. */
function sizeOf(folder: string, { disk }: Pick<JournalPorts, "disk">): number {
  let bytes = 0;
  const waiting = [folder];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    let names: string[];
    try {
      names = disk.list(next);
    } catch (error) {
      // A number for whoever looks: what cannot be listed is left out of it.
      if (untoldFailure(error)) continue;
      throw error;
    }
    for (const name of names) {
      const path = join(next, name);
      const found = disk.stat(path);
      if (found?.kind === "folder") waiting.push(path);
      else bytes += found?.size ?? 0;
    }
  }
  return bytes;
}

/**
 * Gives a run another name, in both of its places and in the files that say where they lie. The log is not rewritten: it
 * gets an event that says so. A run that somebody works on is refused. Called again after a crash, it goes on.
 */
export async function renameTeam(
  root: string,
  wanted: string,
  newName: string,
  ports: JournalPorts,
  signal: AbortSignal,
): Promise<Team> {
  const to = newTeamName(newName);
  const team = findTeam(root, wanted, ports);
  const from = team.name;
  const busy = whyBusy(team.folder, ports);
  const because = busy === undefined ? whyUnsaved(team.folder, from, ports) : `it runs: ${busy}`;
  if (because !== undefined) {
    throw new OmkError("team.refused", `Team run ${from} cannot be renamed now: ${because}.`, {
      hint: `Wait for it, or stop it first: omk team shutdown ${from}`,
    });
  }
  const folder = join(stateSection(root, "team", ports), to);
  const runs = stateSection(root, "runs", ports);
  const manifest = { from: join(runs, from), to: join(runs, to) };
  // Cut off between its two moves, an earlier call left the manifest under the new name.
  const isHalfDone = team.record["name"] === to && !ports.disk.stat(manifest.from);
  if (ports.disk.stat(folder) || (ports.disk.stat(manifest.to) && !isHalfDone)) {
    throw new OmkError("team.exists", `A run called ${to} exists already.`, { hint: "Choose another name." });
  }
  // Without a log of ours (0.5.0, an import) the files are all there is.
  const hasLog = team.controller !== "none" && !team.isImported;
  const journal = hasLog ? await openJournal(team, ports, signal) : undefined;
  try {
    if (journal && team.record["name"] !== to) {
      await journal.append({
        kind: "team_renamed",
        actor: "omk-cli",
        payload: { from, to },
        changes: [
          { file: "team-state.json", set: { name: to, state_dir: folder } },
          { file: "manifest.json", set: { run_id: to } },
        ],
      });
    }
    await writeViews(team, { to, folder, manifest: manifest.from }, journal, ports);
    await moveWorkers(team.folder, folder, ports);
    if (ports.disk.stat(manifest.from)?.kind === "folder") {
      ports.disk.rename(manifest.from, manifest.to);
      await ports.disk.syncFolder(runs);
    }
    ports.disk.rename(team.folder, folder);
    await ports.disk.syncFolder(dirname(folder));
  } catch (error) {
    throw ioFailure("rename", team.folder, error);
  } finally {
    // Held until now, so that nobody goes on with a run that is being moved. In a folder that has moved the claim cannot
    // be handed on by its old path.
    await journal?.abandon().catch(() => undefined);
    if (journal && ports.disk.stat(folder)) await releaseMoved(folder, journal.epoch, ports);
  }
  return readTeam(folder, to, ports) ?? { ...team, name: to, folder };
}

function openJournal(team: Team, ports: JournalPorts, signal: AbortSignal): Promise<Journal> {
  return Journal.open(
    team.folder,
    { runId: team.name, command: "team rename", what: `Team run ${team.name}`, snapshots: SNAPSHOTS },
    ports,
    signal,
  );
}

/** Hands on the claim that came along with a folder. */
async function releaseMoved(folder: string, epoch: number, ports: JournalPorts): Promise<void> {
  const record: ClaimRecord = {
    version: 1,
    n: epoch + 1,
    kind: "release",
    holder: { ...ports.processes.self, nonce: ports.random.name(16) },
    ts: instantOf(ports.clock.now()),
    command: "team rename",
    clean: true,
  };
  await linkNew(join(folder, "controller", `${record.n}.json`), renderDocument(record), ports);
}

/** Writes the files that name the run: from its log, or, where that carries none, from themselves. */
async function writeViews(
  team: Team,
  place: { to: string; folder: string; manifest: string },
  journal: Journal | undefined,
  ports: JournalPorts,
): Promise<void> {
  const path = join(team.folder, "team-state.json");
  const hasManifest = ports.disk.stat(place.manifest)?.kind === "folder";
  if (journal) {
    await journal.save();
    const views = renderViews(journal.documents, journal.position.seq);
    await replaceFile(path, views.state, ports);
    if (!hasManifest) return;
    await replaceFile(join(place.manifest, "manifest.json"), views.manifest, ports);
    await replaceFile(join(place.manifest, "tasks.jsonl"), views.tasks, ports);
    return;
  }
  await replaceFile(path, renderDocument({ ...team.record, name: place.to, state_dir: place.folder }), ports);
  const manifest = join(place.manifest, "manifest.json");
  const found = hasManifest ? readDocument(manifest, ports) : undefined;
  if (found?.state === "found") {
    await replaceFile(manifest, renderDocument({ ...found.record, run_id: place.to }), ports);
  }
}

/** The paths in the workers' files, where they name the run's own folder. */
async function moveWorkers(from: string, to: string, ports: JournalPorts): Promise<void> {
  const workers = join(from, "workers");
  if (ports.disk.stat(workers)?.kind !== "folder") return;
  const moved = (value: unknown) =>
    typeof value === "string" && value.startsWith(from + sep) ? to + value.slice(from.length) : value;
  for (const name of ports.disk.list(workers)) {
    if (ports.disk.stat(join(workers, name))?.kind !== "folder") continue;
    const path = join(workers, name, "worker-spec.json");
    const found = readDocument(path, ports);
    if (found.state !== "found") continue;
    const { inbox, outbox, heartbeat } = found.record;
    const spec = { ...found.record, inbox: moved(inbox), outbox: moved(outbox), heartbeat: moved(heartbeat) };
    await replaceFile(path, renderDocument(spec), ports);
  }
}
