/** Whether a project's configuration may be used: only the very bytes that the user has trusted. */
import { dirname, isAbsolute, join, normalize, relative, sep } from "node:path";

import { OmkError, systemCode } from "../errors.ts";
import type { Hook } from "../format/config.ts";
import { parseJson, renderDocument } from "../format/json.ts";
import { instantOf } from "../format/stamp.ts";
import { TrustRecord } from "../format/trust.ts";
import type { Clock, Disk } from "../ports.ts";
import { sha256 } from "../store/event-line.ts";
import { ioFailure, replaceFile, type FilePorts } from "../store/files.ts";
import { stateFolder } from "../store/state-root.ts";
import { invalid, parseConfig, readConfigBytes, type ConfigFile } from "./file.ts";

const COMMAND_BYTES_MAX = 16 * 1024 * 1024;
const RECORD_BYTES_MAX = 1024 * 1024;
/** Projects that are listed. */
const RECORDS_MAX = 10_000;

/** A hook whose command may run. */
export interface TrustedHook extends Hook {
  /** The folder that its command is relative to. */
  folder: string;
  /** The command's file, without links. */
  path: string;
  /** SHA-256 (hex) of the file that is trusted; null where there was none, so that the hook blocks. */
  sha256: string | null;
}

/** The bytes that trust is about. */
export interface TrustedBytes {
  /** The project's path without links. */
  project: string;
  config_sha256: string;
  commands: { command: string; sha256: string }[];
}

/** How a project's configuration stands. */
export type ProjectConfig =
  | { state: "none"; path: string }
  /** It is there and must not be used; `because` is a sentence's end. */
  | { state: "untrusted"; path: string; because: string }
  /** It was trusted, and is not what it was; with hooks it was a guard, which whoever is guarded could take away. */
  | { state: "changed"; path: string; because: string; hadHooks: boolean }
  | { state: "trusted"; path: string; file: ConfigFile; hooks: TrustedHook[]; trusted_at: string };

/** Reads a project's configuration as far as it is trusted: other bytes are not even parsed. */
export function projectConfig(
  { projectDir, root }: { projectDir: string; root: string },
  ports: { disk: Disk },
): ProjectConfig {
  const { disk } = ports;
  const project = disk.realPath(projectDir) ?? projectDir;
  const path = projectFile(project);
  const link = linkOnTheWay(path, project, disk);
  if (link !== undefined)
    return { state: "untrusted", path, because: `${link} is a link, which is not followed there` };
  const found = disk.stat(path);
  const kept = readRecord(recordPath(root, project), disk);
  const record = kept?.project === project ? kept : undefined;
  const hadHooks = (record?.commands.length ?? 0) > 0;
  const changed = (because: string) => ({ state: "changed" as const, path, because, hadHooks });
  if (!found) return hadHooks ? changed("it is gone, and was trusted with hooks") : { state: "none", path };
  if (found.kind !== "file") return { state: "untrusted", path, because: `it is a ${found.kind}` };
  if (!record) return { state: "untrusted", path, because: "nobody has trusted it" };
  let bytes: Uint8Array | undefined;
  try {
    bytes = readConfigBytes(path, disk);
  } catch (error) {
    if (!(error instanceof OmkError)) throw error;
    // It was small and readable when it was trusted, so it is another one.
    return changed("it has changed since it was trusted, and cannot be read");
  }
  if (!bytes) return { state: "none", path };
  if (sha256(bytes) !== record.config_sha256) return changed("it has changed since it was trusted");
  const file = parseConfig(bytes, path);
  const trusted = new Map(record.commands.map(({ command, sha256: digest }) => [command, digest]));
  const hooks: TrustedHook[] = [];
  for (const hook of file.config.hooks) {
    const here = commandFile(hook.command, project, disk);
    if (here.because !== undefined || here.sha256 !== trusted.get(hook.command))
      return changed(`${hook.command} has changed since it was trusted`);
    hooks.push({ ...hook, folder: project, path: here.path, sha256: here.sha256 });
  }
  return { state: "trusted", path, file, hooks, trusted_at: record.trusted_at };
}

/** What trusting a project would mean. Throws `trust.refused` where there is nothing to trust, `config.invalid`. */
export function readForTrust(
  projectDir: string,
  ports: { disk: Disk },
): { project: string; path: string; file: ConfigFile; bytes: TrustedBytes } {
  const { disk } = ports;
  const project = disk.realPath(projectDir);
  if (project === undefined) throw new OmkError("trust.refused", `There is no folder ${projectDir}.`);
  const path = projectFile(project);
  const link = linkOnTheWay(path, project, disk);
  if (link !== undefined) {
    throw new OmkError("trust.refused", `${link} is a link.`, {
      hint: "Links lead to files that change without their digest: put the file itself there.",
    });
  }
  const bytes = disk.stat(path)?.kind === "file" ? readConfigBytes(path, disk) : undefined;
  if (!bytes) {
    throw new OmkError("trust.refused", `${project} has no configuration to trust.`, {
      hint: `A project's own configuration is ${join(".omk", "config.toml")}.`,
    });
  }
  const file = parseConfig(bytes, path);
  const commands = new Map<string, string>();
  for (const [at, { command }] of file.config.hooks.entries()) {
    const found = commandFile(command, project, disk);
    if (found.because !== undefined)
      throw invalid(path, undefined, `hooks[${at}].command: ${command} ${found.because}`);
    commands.set(command, found.sha256);
  }
  return {
    project,
    path,
    file,
    bytes: {
      project,
      config_sha256: sha256(bytes),
      commands: [...commands].map(([command, digest]) => ({ command, sha256: digest })),
    },
  };
}

/** What keeping trust needs of the world. */
export interface TrustPorts extends FilePorts {
  clock: Pick<Clock, "now">;
  root: string;
  uid: number | undefined;
}

/** Records what was read as trusted. */
export async function recordTrust(bytes: TrustedBytes, ports: TrustPorts): Promise<TrustRecord> {
  await stateFolder(ports.root, "trust", ports);
  const record: TrustRecord = { version: 1, ...bytes, trusted_at: instantOf(ports.clock.now()) };
  await replaceFile(recordPath(ports.root, bytes.project), renderDocument(record), ports);
  return record;
}

/** Forgets a project; false when it was not trusted. A folder that is gone is named by its old path. */
export async function revokeTrust(
  projectDir: string,
  ports: { disk: Disk; root: string },
): Promise<{ project: string; wasTrusted: boolean }> {
  const project = ports.disk.realPath(projectDir) ?? normalize(projectDir);
  const path = recordPath(ports.root, project);
  if (!ports.disk.stat(path)) return { project, wasTrusted: false };
  try {
    ports.disk.remove(path);
    await ports.disk.syncFolder(dirname(path));
  } catch (error) {
    throw ioFailure("remove", path, error);
  }
  return { project, wasTrusted: true };
}

/** Everything that is trusted, by path. */
export function listTrust(root: string, ports: { disk: Disk }): TrustRecord[] {
  const folder = join(root, "trust");
  if (!ports.disk.stat(folder)) return [];
  const names = ports.disk.list(folder).filter((name) => /^[0-9a-f]{64}\.json$/.test(name));
  return names
    .slice(0, RECORDS_MAX)
    .flatMap((name) => readRecord(join(folder, name), ports.disk) ?? [])
    .sort((a, b) => (a.project < b.project ? -1 : 1));
}

/**
 * The file of a hook's command. A project's hooks are files of the project, reached without links, so that what was
 * digested is what runs.
 */
function commandFile(
  command: string,
  project: string,
  disk: Disk,
):
  | { because: string; path?: undefined; sha256?: undefined }
  | { because?: undefined; path: string; sha256: string } {
  const path = join(project, command);
  const inside = relative(project, path);
  if (isAbsolute(command) || inside === "" || inside === ".." || inside.startsWith(`..${sep}`))
    return { because: "is not inside the project" };
  const digest = digestOfCommand(path, disk);
  if (typeof digest !== "string") return digest;
  return disk.realPath(path) === path ? { path, sha256: digest } : { because: "is reached through a link" };
}

/** The digest of a file that can be run, or why it cannot. */
export function digestOfCommand(path: string, disk: Disk): string | { because: string } {
  const found = disk.stat(path);
  if (!found) return { because: "is not there" };
  if (found.kind !== "file") return { because: `is a ${found.kind}, not a file` };
  if ((found.mode & 0o111) === 0) return { because: "is not executable: run chmod +x on it" };
  try {
    return sha256(disk.readFile(path, COMMAND_BYTES_MAX));
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined) throw error;
    return { because: `cannot be read (${code})` };
  }
}

function projectFile(project: string): string {
  return join(project, ".omk", "config.toml");
}

/** The first link between the project and one of its files. */
function linkOnTheWay(path: string, project: string, disk: Disk): string | undefined {
  let here = project;
  for (const part of relative(project, path).split(sep)) {
    here = join(here, part);
    if (disk.stat(here)?.kind === "link") return here;
  }
  return undefined;
}

/** One file a project: two commands that trust two projects at once cannot lose each other's record. */
function recordPath(root: string, project: string): string {
  return join(root, "trust", `${sha256(project)}.json`);
}

function readRecord(path: string, disk: Disk): TrustRecord | undefined {
  let bytes: Uint8Array;
  try {
    bytes = disk.readFile(path, RECORD_BYTES_MAX);
  } catch (error) {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return undefined;
    throw ioFailure("read", path, error);
  }
  try {
    return TrustRecord.parse(parseJson(bytes));
  } catch (error) {
    throw new OmkError("state.damaged", `${path} is not what omk wrote.`, {
      cause: error,
      hint: "Remove it, and trust the project again with `omk trust`.",
    });
  }
}
