/**
 * A team run as one file, and back. What comes in is a stranger's: it is validated whole, lands in a fresh folder under a
 * checked name, and is marked, so that nothing it says to run is ever run.
 */
import { isUtf8 } from "node:buffer";
import { join } from "node:path";

import { OmkError, systemCode } from "../errors.ts";
import { Event } from "../format/event.ts";
import { parseJson, renderDocument, renderLine, tryJson } from "../format/json.ts";
import { parseRelPath } from "../format/names.ts";
import { problemsOf } from "../format/problems.ts";
import { RunProof } from "../format/proof.ts";
import { RunManifest, Task } from "../format/run.ts";
import { instantOf } from "../format/stamp.ts";
import { TeamExport, type ImportMark } from "../format/team-export.ts";
import { TeamState } from "../format/team.ts";
import type { Clock, Disk } from "../ports.ts";
import { readLine, sha256 } from "../store/event-line.ts";
import { ensureFolder, ioFailure, linkNew, replaceFile, type FilePorts } from "../store/files.ts";
import { foldFolder, logPath, readDocument } from "../store/journal.ts";
import { stateFolder } from "../store/state-root.ts";
import { findTeam, IMPORT_MARK, readTeam, stateSection, type FindPorts, type Team } from "./find.ts";
import { UNFINISHED } from "./housekeeping.ts";
import { newTeamName } from "./spec.ts";

/** The largest file: JSON is read whole, and no larger text can be held. */
const BYTES_MAX = 256 * 1024 * 1024;
/** Tasks, blobs and evidence. */
const ENTRIES_MAX = 100_000;
const EVENTS_MAX = 1_000_000;

/** What archives need of the world. */
export interface ArchivePorts extends FindPorts, Pick<FilePorts, "random"> {
  clock: Pick<Clock, "now">;
}

/** A team as the record that is exported. Throws `team.not_found`, and `team.refused` for what no file can hold. */
export function exportTeam(
  root: string,
  wanted: string,
  ports: FindPorts & { clock: Pick<Clock, "now"> },
): TeamExport {
  const team = findTeam(root, wanted, ports);
  const budget = new Budget(team.name);
  const events = readEvents(team.folder, budget, ports);
  const blobs = readBlobs(team.folder, budget, ports);
  const runs = join(stateSection(root, "runs", ports), team.name);
  const manifest = documentOf(join(runs, "manifest.json"), RunManifest, ports);
  const proof = documentOf(join(team.folder, "proof.json"), RunProof, ports);
  const tasks = readTasks(join(runs, "tasks.jsonl"), budget, ports);
  const state = TeamState.safeParse(team.record);
  if (!state.success) {
    throw refused(
      `Team ${team.name} cannot be exported: ${problemsOf(state.error).join("; ")}.`,
      "Mend the file first.",
    );
  }
  const parts = {
    team: state.data,
    ...(manifest && { manifest }),
    ...(tasks && { tasks }),
    ...(proof && { proof }),
    ...(events !== undefined && { events }),
    ...(Object.keys(blobs).length > 0 && { blobs }),
  };
  return { version: "1.0", exported_at: instantOf(ports.clock.now()), ...parts, digests: digestsOf(parts) };
}

/** Writes an export. A file that is there already is only replaced with `force` (`team.refused`). */
export async function writeExport(
  path: string,
  record: TeamExport,
  options: { force: boolean },
  ports: FilePorts,
): Promise<void> {
  const text = renderDocument(record);
  if (options.force) return replaceFile(path, text, ports);
  if (ports.disk.stat(path) === undefined && (await linkNew(path, text, ports)) === "made") return;
  throw refused(
    `${path} exists already and was left as it is.`,
    "Name another file, or replace it with --force.",
  );
}

/**
 * Makes a team run from a file. Everything is checked before the run appears under its name; `name` wins over the one in
 * the file. Throws `team.refused` for a file that is not right, and `team.exists`.
 */
export async function importTeam(
  root: string,
  path: string,
  options: { name?: string },
  ports: ArchivePorts & { uid: number | undefined },
): Promise<Team> {
  const bytes = readArchive(path, ports);
  const archive = parseArchive(bytes, path);
  const name = nameOf(archive, options.name, path);
  checkContent(archive, path);
  const section = await stateFolder(root, "team", ports);
  const runs = await stateFolder(root, "runs", ports);
  if (ports.disk.stat(join(section, name)) || ports.disk.stat(join(runs, name))) {
    throw new OmkError("team.exists", `A run called ${name} exists already.`, {
      hint: "Import it under another name with --name.",
    });
  }
  const unfinished = `${UNFINISHED.made}${ports.random.name(20)}`;
  const made = { team: join(section, unfinished), runs: join(runs, unfinished) };
  const leftovers = [made.team, made.runs];
  try {
    const mark: ImportMark = {
      version: 1,
      imported_at: instantOf(ports.clock.now()),
      exported_at: archive.exported_at ?? null,
      name: archive.team.name,
      sha256: sha256(bytes),
    };
    await writeTeam(made.team, { archive, name, mark, finalFolder: join(section, name) }, ports);
    checkLog(made.team, path, ports);
    if (archive.manifest) {
      await writeManifest(made.runs, archive, archive.manifest, name, ports);
      await moveIntoPlace(made.runs, join(runs, name), ports);
      leftovers.push(join(runs, name));
    }
    await moveIntoPlace(made.team, join(section, name), ports);
  } catch (error) {
    for (const folder of leftovers) ports.disk.removeTree(folder);
    throw ioFailure("import into", join(section, name), error);
  }
  const team = readTeam(join(section, name), name, ports);
  if (!team) throw refused(`${path} holds no team that can be read back.`, "Export it anew.");
  return team;
}

// ---- Out

/** Counts what an export would hold; nothing larger is begun. */
class Budget {
  readonly #name: string;
  #left = BYTES_MAX;

  constructor(name: string) {
    this.#name = name;
  }

  take(bytes: number): void {
    this.#left -= bytes;
    if (this.#left >= 0) return;
    throw refused(
      `Team ${this.#name} is too large to be exported: a file holds at most ${BYTES_MAX} bytes.`,
      "Copy its folder instead.",
    );
  }
}

/** The log up to its last whole line; undefined where there is none. */
function readEvents(folder: string, budget: Budget, ports: FindPorts): string | undefined {
  const path = logPath(folder, ports);
  const found = ports.disk.stat(path);
  if (!found) return undefined;
  budget.take(found.size);
  const { validBytes } = foldFolder(folder, ports).log;
  const bytes = ports.disk.readFile(path, BYTES_MAX).subarray(0, validBytes);
  if (!isUtf8(bytes))
    throw refused(`${path} holds bytes that are no text.`, "Copy the team's folder instead.");
  return Buffer.from(bytes).toString("utf8");
}

function readBlobs(folder: string, budget: Budget, ports: FindPorts): Record<string, string> {
  const place = join(folder, "blobs");
  const blobs: Record<string, string> = {};
  if (ports.disk.stat(place)?.kind !== "folder") return blobs;
  for (const name of ports.disk.list(place)) {
    const found = ports.disk.stat(join(place, name));
    if (!/^[0-9a-f]{64}$/.test(name) || found?.kind !== "file") continue;
    budget.take(found.size);
    blobs[name] = Buffer.from(ports.disk.readFile(join(place, name), BYTES_MAX)).toString("utf8");
  }
  return blobs;
}

function readTasks(path: string, budget: Budget, ports: FindPorts): Task[] | undefined {
  const found = ports.disk.stat(path);
  if (found?.kind !== "file") return undefined;
  budget.take(found.size);
  const lines = Buffer.from(ports.disk.readFile(path, BYTES_MAX)).toString("utf8").split("\n");
  const tasks = lines.filter((line) => line.trim() !== "").map((line) => Task.safeParse(tryJson(line)));
  return tasks.every(({ success }) => success)
    ? tasks.flatMap(({ data }) => (data ? [data] : []))
    : undefined;
}

/** A document that is as it should be; anything else is left out of the export. */
function documentOf<T>(
  path: string,
  schema: { safeParse(value: unknown): { success: true; data: T } | { success: false } },
  ports: { disk: Disk },
): T | undefined {
  const found = readDocument(path, ports);
  if (found.state !== "found") return undefined;
  const parsed = schema.safeParse(found.record);
  return parsed.success ? parsed.data : undefined;
}

type Parts = Pick<TeamExport, "team" | "manifest" | "tasks" | "proof" | "events" | "blobs">;

function digestsOf({ team, manifest, tasks, proof, events }: Parts): Record<string, string> {
  return {
    team: sha256(renderDocument(team)),
    ...(manifest && { manifest: sha256(renderDocument(manifest)) }),
    ...(tasks && { tasks: sha256(tasks.map((task) => renderLine(task)).join("\n")) }),
    ...(proof && { proof: sha256(renderDocument(proof)) }),
    ...(events !== undefined && { events: sha256(events) }),
  };
}

// ---- In

function readArchive(path: string, { disk }: { disk: Disk }): Uint8Array {
  const real = disk.realPath(path);
  const found = real === undefined ? undefined : disk.stat(real);
  if (!found) throw refused(`There is no file ${path}.`, "Name a file that `omk team export` wrote.");
  if (found.kind !== "file") throw refused(`${path} is a ${found.kind}, not a file.`, "Name a file.");
  try {
    return disk.readFile(path, BYTES_MAX);
  } catch (error) {
    if (systemCode(error) !== "EFBIG") throw ioFailure("read", path, error);
    throw refused(`${path} is larger than ${BYTES_MAX} bytes.`, "Nothing was imported.");
  }
}

function parseArchive(bytes: Uint8Array, path: string): TeamExport {
  let value: unknown;
  try {
    value = parseJson(bytes);
  } catch (cause) {
    // Not JSON, or nested without end: the position is all that is said of a stranger's text.
    const why = cause instanceof Error ? cause.message : String(cause);
    throw refused(`${path} is no exported team: ${why}.`, "Nothing was imported.");
  }
  // 0.5.0 asks for `team` alone.
  const isVersioned = typeof value === "object" && value !== null && "version" in value;
  const parsed = TeamExport.safeParse(isVersioned ? value : { version: "1.0", ...(value as object) });
  if (parsed.success) return parsed.data;
  throw refused(
    `${path} is no exported team: ${problemsOf(parsed.error).join("; ")}.`,
    "Nothing was imported. Export it anew.",
  );
}

function nameOf(archive: TeamExport, wanted: string | undefined, path: string): string {
  if (wanted !== undefined) return newTeamName(wanted);
  try {
    return newTeamName(archive.team.name);
  } catch (cause) {
    const why = cause instanceof OmkError ? cause.message : String(cause);
    throw refused(
      `${path} names its team in a way that cannot be used here. ${why}`,
      "Give it a name with --name.",
    );
  }
}

/** What the schema cannot say: sizes, digests, names of files, and each line of the log. */
function checkContent(archive: TeamExport, path: string): void {
  const refuse = (because: string) =>
    refused(`${path} was not imported: ${because}.`, "Nothing was changed.");
  const evidence: unknown = archive.proof?.["evidence"] ?? [];
  if (!Array.isArray(evidence)) throw refuse("the evidence of its proof is no list");
  const lists: (readonly unknown[])[] = [
    archive.team.tasks,
    archive.tasks ?? [],
    archive.manifest?.tasks ?? [],
    evidence,
  ];
  const entries = lists.reduce((sum, list) => sum + list.length, Object.keys(archive.blobs ?? {}).length);
  if (entries > ENTRIES_MAX) throw refuse(`it has ${entries} entries, and at most ${ENTRIES_MAX} are taken`);
  const digests = digestsOf(archive);
  for (const [key, digest] of Object.entries(archive.digests ?? {})) {
    if (digests[key] !== digest)
      throw refuse(`"${key.slice(0, 40)}" does not have the digest that is given for it`);
  }
  for (const [name, text] of Object.entries(archive.blobs ?? {})) {
    if (sha256(text) !== name) throw refuse(`the blob ${name} has another content`);
  }
  for (const one of evidence as ({ path?: unknown } | null)[]) {
    const named = typeof one?.path === "string" ? parseRelPath(one.path) : undefined;
    if (named?.ok !== true) {
      throw refuse(
        `its proof names a path that leads outside: ${JSON.stringify(one?.path ?? null).slice(0, 200)}`,
      );
    }
  }
  checkLines(archive.events ?? "", refuse);
}

function checkLines(events: string, refuse: (because: string) => OmkError): void {
  let number = 0;
  for (let start = 0; start < events.length;) {
    const newline = events.indexOf("\n", start);
    if (newline === -1) throw refuse("its log ends in the middle of a line");
    const line = Buffer.from(events.slice(start, newline));
    start = newline + 1;
    number++;
    if (number > EVENTS_MAX) throw refuse(`its log has more than ${EVENTS_MAX} lines`);
    if (line.every((byte) => byte <= 0x20)) continue;
    const read = readLine(line);
    const parsed = read.kind === "bad" ? undefined : Event.safeParse(read.event);
    if (read.kind === "bad") throw refuse(`line ${number} of its log is no event: ${read.because}`);
    if (parsed?.success !== true) throw refuse(`line ${number} of its log is no event`);
  }
}

/** The chain of events as it would be read: whole, in order, and with every blob there. */
function checkLog(folder: string, path: string, ports: { disk: Disk }): void {
  const { log } = foldFolder(folder, ports);
  const first = log.damage[0];
  if (!first && !log.torn) return;
  throw refused(
    `${path} was not imported: its log is damaged${first ? ` at line ${first.line}: ${first.because}` : " at its end"}.`,
    "Nothing was changed.",
  );
}

async function writeTeam(
  folder: string,
  run: { archive: TeamExport; name: string; mark: ImportMark; finalFolder: string },
  ports: ArchivePorts,
): Promise<void> {
  const { archive, name, mark, finalFolder } = run;
  await ensureFolder(folder, ports);
  // The mark first: a run without it could be gone on with.
  await linkNew(join(folder, IMPORT_MARK), renderDocument(mark), ports);
  // Where the file says the run lies means nothing here, and its place in the log is not trusted.
  const { seq: _seq, ...state } = archive.team;
  const record = { ...state, name, state_dir: finalFolder };
  await linkNew(join(folder, "team-state.json"), renderDocument(record), ports);
  if (archive.events !== undefined) await linkNew(join(folder, "events.jsonl"), archive.events, ports);
  if (archive.proof) await linkNew(join(folder, "proof.json"), renderDocument(archive.proof), ports);
  const blobs = Object.entries(archive.blobs ?? {});
  if (blobs.length > 0) await ensureFolder(join(folder, "blobs"), ports);
  for (const [digest, text] of blobs) await linkNew(join(folder, "blobs", digest), text, ports);
}

async function writeManifest(
  folder: string,
  archive: TeamExport,
  manifest: RunManifest,
  run_id: string,
  ports: ArchivePorts,
): Promise<void> {
  await ensureFolder(folder, ports);
  await linkNew(join(folder, "manifest.json"), renderDocument({ ...manifest, run_id }), ports);
  const tasks = archive.tasks ?? manifest.tasks;
  await linkNew(join(folder, "tasks.jsonl"), tasks.map((task) => renderLine(task)).join("\n"), ports);
}

async function moveIntoPlace(from: string, to: string, { disk }: { disk: Disk }): Promise<void> {
  disk.rename(from, to);
  await disk.syncFolder(join(to, ".."));
}

function refused(message: string, hint: string): OmkError {
  return new OmkError("team.refused", message, { hint });
}
