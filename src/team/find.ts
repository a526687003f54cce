/**
 * Finding teams and runs and reading how they stand, for commands that must answer at once: no schema library, and no
 * whole log where a snapshot is near. Nothing here writes.
 */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import { byIdBytes } from "../format/names.ts";
import type { TeamState } from "../format/team.ts";
import type { Disk, Processes } from "../ports.ts";
import { catchUp } from "../store/catch-up.ts";
import { chainHolder } from "../store/claim-chain.ts";
import { untoldFailure } from "../store/files.ts";
import { foldFolder, readDocument, type Documents } from "../store/journal.ts";

/** What reading needs of the world. */
export interface FindPorts {
  disk: Disk;
  processes: Pick<Processes, "self" | "liveness">;
}

/** How a team run stands. */
export interface Team {
  name: string;
  folder: string;
  phase: TeamState["phase"];
  task: string;
  createdAt: string;
  /** Whether somebody works on it; `none` for runs of 0.5.0 and imported ones, which nobody ever controlled here. */
  controller: "alive" | "dead" | "unknown" | "released" | "none";
  /** It came from a file: it can be looked at, and never be gone on with. */
  isImported: boolean;
  tasks: readonly Record<string, unknown>[];
  /** `team-state.json` as it would be if it were written now. */
  record: Record<string, unknown>;
}

/** A folder whose state cannot be read: named, and never in the way of the others. */
export interface UnreadableTeam {
  name: string;
  because: string;
}

/** A run: a team's, or one that only has a manifest. */
export interface Run {
  id: string;
  mode: "team" | "scheduler";
  folder: string;
}

/** The file whose presence says that a run was imported. */
export const IMPORT_MARK = "import.json";

const STATE = "team-state.json";
const TASKS = "tasks.jsonl";
const WORK = "team-work.json";

const PHASES: ReadonlySet<string> = new Set<TeamState["phase"]>([
  "Planning",
  "Executing",
  "Verifying",
  "Fixing",
  "Complete",
  "Failed",
  "Shutdown",
]);

/** Folder of all teams, or of all manifests. Throws `state.permissions` when something else is in its place. */
export function stateSection(root: string, section: "team" | "runs", ports: { disk: Disk }): string {
  const folder = join(root, section);
  const found = ports.disk.stat(folder);
  if (!found || found.kind === "folder") return folder;
  throw new OmkError("state.permissions", `${folder} is a ${found.kind}, not a folder.`, {
    hint: "Links inside the state folder are refused. Put a real folder there, or name another one in OMK_STATE_DIR.",
  });
}

/** The name of a team or run that may exist: 0.5.0 allowed more than we make. Throws `usage.invalid` for paths. */
export function existingTeamName(text: string): string {
  const name = text.trim();
  const because = whyNoTeamName(name);
  if (because === undefined) return name;
  throw new OmkError(
    "usage.invalid",
    `${JSON.stringify(name.slice(0, 100))} is no name of a run: ${because}.`,
    { hint: "Use `latest`, or a name that `omk run list` shows." },
  );
}

/** What 0.5.0 refuses in a name, and control characters; undefined for a name that may exist. */
function whyNoTeamName(name: string): string | undefined {
  if (name === "") return "it is empty";
  if (/[\p{Cc}\p{Cs}]/u.test(name)) return "it holds characters that are no text";
  if (/[/\\:]/.test(name)) return "it holds a character that is part of paths";
  if (name.startsWith(".") || name.includes("..")) return "it starts with a dot or has two in a row";
  if (Buffer.byteLength(name) > 64) return "it is longer than 64 bytes";
  return undefined;
}

/** All teams, newest first, and those that cannot be read. A folder that never became a team is left out. */
export function listTeams(root: string, ports: FindPorts): { teams: Team[]; unreadable: UnreadableTeam[] } {
  const teams: Team[] = [];
  const unreadable: UnreadableTeam[] = [];
  for (const { name, folder, because } of namedFolders(stateSection(root, "team", ports), ports)) {
    if (because !== undefined) {
      unreadable.push({ name, because });
      continue;
    }
    try {
      const team = readTeam(folder, name, ports);
      if (team) teams.push(team);
    } catch (error) {
      const told = error instanceof OmkError ? error : untoldFailure(error);
      if (!told) throw error;
      unreadable.push({ name, because: told.message });
    }
  }
  const age = (team: Team) => Date.parse(team.createdAt) || 0;
  return { teams: teams.toSorted((a, b) => age(b) - age(a) || (a.name < b.name ? 1 : -1)), unreadable };
}

/** The team of this name, or the newest for `latest`. Throws `team.not_found`, and `usage.invalid` for paths. */
export function findTeam(root: string, wanted: string, ports: FindPorts): Team {
  const section = stateSection(root, "team", ports);
  const name = wanted === "latest" ? newestFolder(section, ports) : existingTeamName(wanted);
  const folder = join(section, name ?? "");
  const isThere = name !== undefined && ports.disk.stat(folder)?.kind === "folder";
  const team = isThere ? readTeam(folder, name, ports) : undefined;
  if (team) return team;
  throw new OmkError(
    "team.not_found",
    name === undefined
      ? `No teams found in ${section}.`
      : `Team '${name}' not found: there is no team in ${folder}.`,
    { hint: "Run `omk team list` to see the teams there are." },
  );
}

/** The run with this id (a team's folder first), or the newest one for `latest`. Throws `team.not_found`. */
export function findRun(root: string, wanted: string, ports: { disk: Disk }): Run {
  const sections = { team: stateSection(root, "team", ports), scheduler: stateSection(root, "runs", ports) };
  const given = wanted === "latest" ? undefined : existingTeamName(wanted);
  for (const mode of ["team", "scheduler"] as const) {
    const id = given ?? newestFolder(sections[mode], ports);
    if (id === undefined) continue;
    const folder = join(sections[mode], id);
    if (ports.disk.stat(folder)?.kind === "folder") return { id, mode, folder };
  }
  throw new OmkError(
    "team.not_found",
    given === undefined
      ? `No runs found in ${sections.team} and ${sections.scheduler}.`
      : `Run '${given}' not found in ${sections.team} and ${sections.scheduler}.`,
    {
      hint:
        given !== undefined && ports.disk.stat(join(root, "goals", given))
          ? `It is a goal: see \`omk goal replay ${given}\` and \`omk goal proof ${given}\`.`
          : "Run `omk run list` to see the runs there are.",
    },
  );
}

/** All runs by name, last first; a team's run has a manifest as well and is listed once, as the team's. */
export function listRuns(root: string, ports: { disk: Disk }): { runs: Run[]; unreadable: UnreadableTeam[] } {
  const runs = new Map<string, Run>();
  const unreadable: UnreadableTeam[] = [];
  for (const [section, mode] of [
    ["team", "team"],
    ["runs", "scheduler"],
  ] as const) {
    for (const { name, folder, because } of namedFolders(stateSection(root, section, ports), ports)) {
      if (because !== undefined) unreadable.push({ name, because });
      else if (!runs.has(name)) runs.set(name, { id: name, mode, folder });
    }
  }
  return { runs: [...runs.values()].toSorted((a, b) => (a.id < b.id ? 1 : -1)), unreadable };
}

/** Names of the runs that wait for `omk team run --resume`, newest first. */
export function interruptedRuns(root: string, ports: FindPorts): string[] {
  return listTeams(root, ports)
    .teams.filter(isResumable)
    .map(({ name }) => name);
}

/** The team that is to be gone on with. Throws `team.refused` for those that nothing may go on with. */
export function resumableTeam(root: string, wanted: string, ports: FindPorts): Team {
  const team = findTeam(root, wanted, ports);
  if (team.isImported) {
    throw new OmkError(
      "team.refused",
      `Team run ${team.name} was imported: what its file says to run is not run here.`,
      {
        hint: "Look at it with `omk run show` and `omk proof show`, and start the work anew under another name.",
      },
    );
  }
  if (team.controller === "none") {
    throw new OmkError(
      "team.refused",
      `Team run ${team.name} was made by an older omk and cannot be gone on with.`,
      {
        hint: "Look at it with `omk run show`, and start the work anew under another name.",
      },
    );
  }
  return team;
}

/** Whether its end is final: nothing may write to it any more. */
export function isFinished({ phase }: Pick<Team, "phase">): boolean {
  return phase === "Complete" || phase === "Failed";
}

/** Whether it was cut off while it worked: its phase says that it works, and nobody does. */
export function isInterrupted(team: Pick<Team, "phase" | "controller">): boolean {
  const works = !isFinished(team) && team.phase !== "Shutdown";
  return works && (team.controller === "dead" || team.controller === "released");
}

/** Whether `omk team run --resume` goes on with it. */
export function isResumable(team: Pick<Team, "phase" | "controller" | "isImported">): boolean {
  const isStopped =
    team.phase === "Shutdown" && (team.controller === "dead" || team.controller === "released");
  return !team.isImported && (isStopped || isInterrupted(team));
}

/** How one team stands; undefined for a folder that never became one. Throws when its state cannot be read. */
export function readTeam(folder: string, name: string, ports: FindPorts): Team | undefined {
  const path = join(folder, STATE);
  const isImported = ports.disk.stat(join(folder, IMPORT_MARK)) !== undefined;
  const found = readDocument(path, ports);
  let record = found.state === "found" ? upToDate(folder, found.record, ports) : undefined;
  if (!record) {
    // Missing, damaged or old: the log has it all, when it is one of ours.
    record = stateOf(foldFolder(folder, ports).documents);
    if (!record && found.state === "missing") return undefined;
  }
  if (!record)
    throw damaged(path, found.state === "unreadable" ? found.because : "its log does not continue it");
  const tasks = record["tasks"] ?? [];
  if (!Array.isArray(tasks)) throw damaged(path, '"tasks" is no list');
  const phase = textOf(record, "phase", path);
  if (!PHASES.has(phase)) throw damaged(path, `${JSON.stringify(phase.slice(0, 40))} is no phase`);
  return {
    name,
    folder,
    phase: phase as Team["phase"],
    task: textOf(record, "task", path),
    createdAt: textOf(record, "created_at", path),
    controller: chainHolder(join(folder, "controller"), ports)?.liveness ?? "none",
    isImported,
    tasks: tasks.filter((task) => typeof task === "object" && task !== null) as Record<string, unknown>[],
    record: { ...record, state_dir: folder },
  };
}

function textOf(record: Record<string, unknown>, key: string, path: string): string {
  const value = record[key];
  if (typeof value === "string") return value;
  throw damaged(path, `"${key}" is missing`);
}

function damaged(path: string, because: string): OmkError {
  return new OmkError("state.damaged", `${path} has an invalid format: ${because}.`, {
    hint: "Other teams are not affected. Restore the file from a copy, or leave it.",
  });
}

/** Brings the snapshot up to date from the events behind it; undefined when the whole log has to be read. */
function upToDate(
  folder: string,
  record: Record<string, unknown>,
  ports: FindPorts,
): Record<string, unknown> | undefined {
  const { seq: included, tasks, phase } = record;
  // Of 0.5.0, or imported: there is no log that says more. After the end nothing changes any more.
  if (typeof included !== "number" || isFinished({ phase: phase as Team["phase"] })) return record;
  if (!Array.isArray(tasks)) return undefined;
  // It does not say its place in the log; the document that is saved right before it does.
  const work = readDocument(join(folder, WORK), ports);
  const { seq, log_bytes: bytes } = work.state === "found" ? work.record : {};
  if (typeof seq !== "number" || typeof bytes !== "number" || seq > included) return undefined;
  const listed = (tasks as Record<string, unknown>[]).map((task) => ({
    ...task,
    owner: task["assigned_to"],
    state: STATE_OF_SHOWN[String(task["status"])],
  }));
  const documents: Documents = new Map<string, Record<string, unknown>>([
    [STATE, { ...record }],
    [TASKS, { tasks: listed }],
  ]);
  return stateOf(catchUp(folder, documents, { seq, bytes, included }, ports));
}

/** `team-state.json` from the documents of a log. */
function stateOf(documents: Documents | undefined): Record<string, unknown> | undefined {
  const state = documents?.get(STATE);
  const { tasks } = (documents?.get(TASKS) ?? {}) as { tasks?: Record<string, unknown>[] };
  if (!state) return undefined;
  return { ...state, tasks: byIdBytes((tasks ?? []).map(shownTask), ({ id }) => id) };
}

/** The scheduler's state of a task, by what `team-state.json` shows of it. */
export const STATE_OF_SHOWN: Readonly<Record<string, string>> = {
  Pending: "pending",
  InProgress: "running",
  Done: "completed",
  Failed: "failed",
};

const SHOWN: Readonly<Record<string, TeamState["tasks"][number]["status"]>> = {
  pending: "Pending",
  claimed: "InProgress",
  running: "InProgress",
  completed: "Done",
  failed: "Failed",
  cancelled: "Failed",
};

/** A task of the scheduler as `team-state.json` shows it. */
export function shownTask(task: Readonly<Record<string, unknown>>): TeamState["tasks"][number] {
  const text = (key: string) => (typeof task[key] === "string" ? task[key] : null);
  return {
    id: text("id") ?? "",
    description: text("description") ?? "",
    assigned_to: text("owner"),
    status: SHOWN[text("state") ?? ""] ?? "Pending",
    created_at: text("created_at") ?? "",
    completed_at: text("completed_at"),
  };
}

/** The folders of a section whose names can be names of runs; with `because` those whose names cannot. */
function namedFolders(
  section: string,
  { disk }: { disk: Disk },
): { name: string; folder: string; because?: string }[] {
  if (!disk.stat(section)) return [];
  return disk.list(section).flatMap((name) => {
    const folder = join(section, name);
    // Dots are ours: what is being made or removed. Links lead elsewhere and are no runs.
    if (name.startsWith(".") || disk.stat(folder)?.kind !== "folder") return [];
    const because = whyNoTeamName(name);
    return [{ name, folder, ...(because !== undefined && { because }) }];
  });
}

/** By modification time, then by name, as 0.5.0 does. */
function newestFolder(section: string, ports: { disk: Disk }): string | undefined {
  let newest: { name: string; modifiedMs: number } | undefined;
  for (const { name, folder, because } of namedFolders(section, ports)) {
    if (because !== undefined) continue;
    const modifiedMs = ports.disk.stat(folder)?.modifiedMs ?? 0;
    const isNewer =
      !newest || modifiedMs > newest.modifiedMs || (modifiedMs === newest.modifiedMs && name > newest.name);
    if (isNewer) newest = { name, modifiedMs };
  }
  return newest?.name;
}
