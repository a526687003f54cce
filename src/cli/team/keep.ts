/** `omk team cleanup`, `rename`, `export` and `import`: what is done with runs as a whole. */
import { resolve } from "node:path";

import { OmkError } from "../../errors.ts";
import { createRedactor } from "../../store/redact.ts";
import { cleanUpTeams, renameTeam, type CleanupEntry } from "../../team/housekeeping.ts";
import type { JournalPorts } from "../../store/journal.ts";
import type { App } from "../app.ts";
import { shellQuoted } from "../../format/shell.ts";
import { oneLine } from "../text.ts";

const DAYS_MAX = 1_000_000;

/** Removes old runs; what cannot be removed is named, and then the status is 74. */
export async function teamCleanupCommand(
  app: App,
  flags: { olderThan: number; dryRun: boolean; all: boolean; json: boolean },
): Promise<void> {
  const { olderThan } = flags;
  if (!Number.isSafeInteger(olderThan) || olderThan < 0 || olderThan > DAYS_MAX) {
    throw new OmkError(
      "usage.invalid",
      `--older-than must be a whole number of days from 0 to ${DAYS_MAX}.`,
      {
        hint: "For example: omk team cleanup --older-than 30 --dry-run",
      },
    );
  }
  app.listen();
  const request = { olderThanDays: flags.all ? null : olderThan, dryRun: flags.dryRun };
  const entries = await cleanUpTeams(app.root(), request, portsOf(app), app.signal);
  if (entries.some(({ outcome }) => outcome === "failed")) app.exitStatus = 74;
  const count = (outcome: CleanupEntry["outcome"]) =>
    entries.filter((entry) => entry.outcome === outcome).length;
  const record = {
    dry_run: flags.dryRun,
    entries,
    removed: count("removed"),
    would_remove: count("would_remove"),
    spared: count("spared"),
    failed: count("failed"),
    bytes: sum(entries),
  };
  app.output.result(record, () => cleanupText(entries, flags.dryRun), flags.json);
}

function cleanupText(entries: readonly CleanupEntry[], dryRun: boolean): string {
  const row = (entry: CleanupEntry) => {
    switch (entry.outcome) {
      case "removed":
        return `✓ Removed: ${oneLine(entry.path)} (${megabytes(entry.bytes)})`;
      case "would_remove":
        return `Would remove: ${oneLine(entry.path)} (${megabytes(entry.bytes)})`;
      case "spared":
        return `Spared: ${oneLine(entry.path)} (${oneLine(entry.because ?? "")})`;
      case "failed":
        return `✗ Not removed: ${oneLine(entry.path)} (${oneLine(entry.because ?? "")})`;
    }
  };
  const gone = entries.filter(({ outcome }) => outcome === "removed" || outcome === "would_remove");
  const size = megabytes(sum(entries));
  return [
    ...entries.map(row),
    dryRun
      ? `Would remove ${gone.length} team state directories (${size})`
      : `Removed ${gone.length} team state directories (${size} freed)`,
  ].join("\n");
}

function sum(entries: readonly CleanupEntry[]): number {
  return entries
    .filter(({ outcome }) => outcome === "removed" || outcome === "would_remove")
    .reduce((bytes, entry) => bytes + entry.bytes, 0);
}

function megabytes(bytes: number): string {
  return `${(bytes / (1024 * 1024)).toFixed(1)} MB`;
}

/** Gives a run another name. */
export async function teamRenameCommand(
  app: App,
  from: string,
  to: string,
  flags: { json: boolean },
): Promise<void> {
  app.listen();
  const team = await renameTeam(app.root(), from, to, portsOf(app), app.signal);
  app.output.result(
    { from, to: team.name, state_dir: team.folder },
    () => `✓ Renamed team '${from}' → '${to}'`,
    flags.json,
  );
}

/** Writes a run into one file. */
export async function teamExportCommand(
  app: App,
  wanted: string,
  flags: { output: string; force: boolean; json: boolean },
): Promise<void> {
  const { exportTeam, writeExport } = await import("../../team/archive.ts");
  const path = resolve(app.io.cwd(), flags.output);
  const record = exportTeam(app.root(), wanted, app.world);
  await writeExport(path, record, { force: flags.force }, app.world);
  const { name } = record.team;
  app.output.result(
    { name, file: path, digests: record.digests },
    () => `✓ Exported team '${oneLine(name)}' to ${flags.output}`,
    flags.json,
  );
}

/** Makes a run from a file, to be looked at. */
export async function teamImportCommand(
  app: App,
  file: string,
  flags: { name?: string; json: boolean },
): Promise<void> {
  const { importTeam } = await import("../../team/archive.ts");
  const path = resolve(app.io.cwd(), file);
  const options = flags.name === undefined ? {} : { name: flags.name };
  const team = await importTeam(app.root(), path, options, { ...app.world, uid: app.uid });
  app.output.result(
    { name: team.name, state_dir: team.folder, phase: team.phase, imported: true },
    () =>
      [
        `✓ Imported team '${team.name}'`,
        `State dir: ${team.folder}`,
        "",
        `Look at it: omk team status ${shellQuoted(team.name)}, omk run show ${shellQuoted(team.name)}. It cannot be resumed.`,
      ].join("\n"),
    flags.json,
  );
}

function portsOf(app: App): JournalPorts {
  return { ...app.world, redactor: createRedactor({ environment: app.io.env }) };
}
