/** Runs one command as a gate is run, and says what it did: both streams whole, its exit status, files it wrote. */
import { join } from "node:path";

import { systemCode } from "../errors.ts";
import { ensureFolder } from "../store/files.ts";
import { environmentFor, waitForEnd, type GatePorts } from "./run.ts";

/** A command to observe. */
export interface ObservedRun {
  /** A line for `sh`. */
  command: string;
  /** Where it runs; absolute. */
  cwd: string;
  /** A file that it reads as its stdin; without one it reads nothing. */
  stdin?: string;
  timeoutSecs: number;
  /** Paths of files it writes, relative to `cwd`. */
  files: readonly string[];
  /** Where output lies while it runs; nothing is left in it. */
  rawFolder: string;
  spawnId: string;
  /** What every child may see, and the names of variables that this one gets besides, where the caller has them. */
  environment: Readonly<Record<string, string>>;
  env: readonly string[];
  callerEnvironment?: Readonly<Record<string, string | undefined>>;
}

/** What a command did. */
export interface Observed {
  stdout: Buffer;
  stderr: Buffer;
  /** -1 when a signal ended it. */
  exitCode: number;
  /** By path; files that are not there, or no files, or outside `cwd` by a link, are missing. */
  files: Map<string, Buffer>;
  /** Why this says nothing about the program: it did not end, wrote too much, or never ran. */
  unusable?: string;
}

/** The most that one stream or one file may hold to be kept and compared. */
export const OBSERVED_BYTES_MAX = 4 * 1024 * 1024;

/** Runs the command to its end, leaves nothing of its processes, and rejects when the signal is aborted. */
export async function observeCommand(
  run: ObservedRun,
  ports: GatePorts,
  signal: AbortSignal,
): Promise<Observed> {
  signal.throwIfAborted();
  await ensureFolder(run.rawFolder, ports);
  const raw = {
    stdout: join(run.rawFolder, `${run.spawnId}.out`),
    stderr: join(run.rawFolder, `${run.spawnId}.err`),
  };
  // The shell opens stdin itself: no pipe of ours can stay open, or break.
  const argv =
    run.stdin === undefined
      ? (["sh", "-c", run.command] as const)
      : (["sh", "-c", 'exec sh -c "$1" <"$2"', "sh", run.command, run.stdin] as const);
  try {
    const child = ports.processes.spawn({
      argv: [...argv],
      cwd: run.cwd,
      env: environmentFor({ env: [...run.env] }, run.callerEnvironment ?? {}, run.environment),
      spawnId: run.spawnId,
      stdin: "none",
      stdout: { file: raw.stdout },
      stderr: { file: raw.stderr },
    });
    const definition = { timeout_secs: run.timeoutSecs };
    const { ending, exit } = await waitForEnd(child, { definition, raw }, ports, signal);
    const said = (path: string) => readBounded(path, ports);
    const [stdout, stderr] = [said(raw.stdout), said(raw.stderr)];
    const files = new Map<string, Buffer>();
    let tooLarge = stdout === "too_large" || stderr === "too_large" || ending === "overflowed";
    for (const path of run.files) {
      const bytes = readInside(run.cwd, path, ports);
      if (bytes === "too_large") tooLarge = true;
      else if (bytes !== undefined) files.set(path, bytes);
    }
    const unusable =
      exit.kind === "not_started"
        ? `it could not be started: ${exit.message || exit.code}`
        : ending === "timed_out"
          ? `it did not end within ${run.timeoutSecs}s`
          : tooLarge
            ? `it wrote more than ${OBSERVED_BYTES_MAX} bytes into one stream or file`
            : undefined;
    return {
      stdout: bytesOf(stdout),
      stderr: bytesOf(stderr),
      exitCode: exit.kind === "exited" ? exit.code : -1,
      files,
      ...(unusable !== undefined && { unusable }),
    };
  } finally {
    // Raw output may hold secrets: it goes, whatever happened.
    for (const path of [raw.stdout, raw.stderr]) {
      if (ports.disk.stat(path) !== undefined) ports.disk.remove(path);
    }
  }
}

function bytesOf(read: Buffer | "too_large" | undefined): Buffer {
  return Buffer.isBuffer(read) ? read : Buffer.alloc(0);
}

/** A file that a link leads out of the folder is not what the command wrote there. */
function readInside(
  folder: string,
  path: string,
  ports: Pick<GatePorts, "disk">,
): Buffer | "too_large" | undefined {
  const root = ports.disk.realPath(folder);
  const real = ports.disk.realPath(join(folder, path));
  if (root === undefined || real === undefined || !real.startsWith(`${root}/`)) return undefined;
  return ports.disk.stat(real)?.kind === "file" ? readBounded(real, ports) : undefined;
}

function readBounded(path: string, { disk }: Pick<GatePorts, "disk">): Buffer | "too_large" | undefined {
  try {
    return Buffer.from(disk.readFile(path, OBSERVED_BYTES_MAX));
  } catch (error) {
    if (systemCode(error) === "EFBIG") return "too_large";
    // A program that could not be started wrote nothing.
    if (systemCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
