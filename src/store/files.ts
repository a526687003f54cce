/** How files are kept: made once, replaced whole, or set aside; never half-written, never overwritten in place. */
import { basename, dirname, join } from "node:path";

import { OmkError, systemCode } from "../errors.ts";
import type { Disk, OpenFile, Processes, Random } from "../ports.ts";

/** What the functions of this file need of the world. */
export interface FilePorts {
  disk: Disk;
  random: Random;
  processes: Pick<Processes, "self">;
}

const TEMPORARY = ".tmp";
const COPY_BYTES = 1024 * 1024;
const STALE_TEMPORARY_MS = 60 * 60 * 1000;

/** Folders whose names this process has synced, by disk: once is enough. */
const settled = new WeakMap<Disk, Set<string>>();
/** How far up the names of existing folders are synced: from the deepest evidence folder to the state root. */
const LEVELS_MAX = 8;

/**
 * Makes a folder and whatever is missing above it, mode 0700. When this resolves their names survive a power cut, also
 * those that an earlier process made and died before it could sync.
 */
export async function ensureFolder(path: string, ports: Pick<FilePorts, "disk">): Promise<void> {
  const { disk } = ports;
  const done = settled.get(disk) ?? new Set();
  settled.set(disk, done);
  const levels: { folder: string; exists: boolean }[] = [];
  for (let folder = path; levels.length < LEVELS_MAX || !levels.at(-1)?.exists; folder = dirname(folder)) {
    const found = disk.stat(folder);
    const exists = found?.kind === "folder" || (found?.kind === "link" && isFolderBehindLink(folder, ports));
    if (found && !exists) throw new OmkError("state.io", `${folder} is in the way: it is not a folder.`);
    if ((exists && done.has(folder)) || folder === dirname(folder)) break;
    levels.push({ folder, exists });
  }
  for (const { folder, exists } of levels.reverse()) {
    const made = !exists && makeFolder(folder, ports);
    try {
      await disk.syncFolder(dirname(folder));
    } catch (error) {
      const code = systemCode(error);
      // Where we may not even look, the name was not made by us.
      if (!(exists && (code === "EACCES" || code === "EPERM"))) {
        if (made) removeFolderQuietly(folder, ports);
        throw ioFailure("make", folder, error);
      }
    }
    done.add(folder);
  }
}

/** True when it was made here, false when another process was first. */
function makeFolder(folder: string, ports: Pick<FilePorts, "disk">): boolean {
  try {
    ports.disk.makeFolder(folder);
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw ioFailure("make the folder", folder, error);
  }
}

function removeFolderQuietly(folder: string, ports: Pick<FilePorts, "disk">): void {
  try {
    ports.disk.removeFolder(folder);
  } catch {
    // An empty folder is harmless; the failure that led here is what the user must hear.
  }
}

/** Parents above the state folder may be links (a home on another disk); inside it links are refused elsewhere. */
function isFolderBehindLink(path: string, ports: Pick<FilePorts, "disk">): boolean {
  const real = ports.disk.realPath(path);
  return real !== undefined && ports.disk.stat(real)?.kind === "folder";
}

/** Replaces a file atomically. When this resolves, the new content survives kill -9 and power loss. */
export async function replaceFile(
  path: string,
  content: string | Uint8Array,
  ports: FilePorts,
): Promise<void> {
  const temporary = await writeTemporary(path, content, ports);
  try {
    ports.disk.rename(temporary, path);
  } catch (error) {
    removeQuietly(temporary, ports);
    throw ioFailure("replace", path, error);
  }
  await syncFolderOf(path, ports);
}

/** Makes a file that must be new, whole and durable: `taken` when somebody has made that name before. */
export async function linkNew(
  path: string,
  content: string | Uint8Array,
  ports: FilePorts,
): Promise<"made" | "taken"> {
  const temporary = await writeTemporary(path, content, ports);
  try {
    ports.disk.link(temporary, path);
  } catch (error) {
    if (systemCode(error) === "EEXIST") return "taken";
    throw ioFailure("link", path, error);
  } finally {
    removeQuietly(temporary, ports);
  }
  await syncFolderOf(path, ports);
  return "made";
}

/** Writes a write-once file (evidence, a blob) durably; the same content under the same name is fine. */
export async function writeOnce(path: string, content: string | Uint8Array, ports: FilePorts): Promise<void> {
  await ensureFolder(dirname(path), ports);
  if ((await linkNew(path, content, ports)) === "made") return;
  const present = ports.disk.readFile(path);
  if (Buffer.compare(present, Buffer.from(content)) !== 0) {
    throw new OmkError("state.io", `${path} exists already with another content.`);
  }
  // An earlier try may have died before its sync.
  await ports.disk.syncFolder(dirname(path));
}

/**
 * Replaces a file by a new one with its first bytes. For a file whose last writes cannot be trusted: after a failed sync
 * the system may have forgotten that they were never written, so no later sync of the same file saves them.
 */
export async function rewritePrefix(path: string, length: number, ports: FilePorts): Promise<void> {
  const temporary = join(
    dirname(path),
    `.${basename(path)}.${ports.processes.self.pid}.${ports.random.name(20)}${TEMPORARY}`,
  );
  let from: OpenFile | undefined;
  let to: OpenFile | undefined;
  try {
    from = ports.disk.open(path, "read");
    to = ports.disk.open(temporary, "create");
    const chunk = Buffer.allocUnsafe(COPY_BYTES);
    for (let at = 0; at < length;) {
      const got = from.read(chunk.subarray(0, Math.min(chunk.length, length - at)), at);
      if (got === 0) throw shortWrite(temporary);
      writeAll(to, chunk.subarray(0, got));
      at += got;
    }
    await to.sync();
    ports.disk.rename(temporary, path);
  } catch (error) {
    if (to) removeQuietly(temporary, ports);
    throw ioFailure("rewrite", path, error);
  } finally {
    from?.close();
    to?.close();
  }
  await syncFolderOf(path, ports);
}

/** Moves an unreadable file into `quarantine/` of its goal, never deleting it; returns its new path. */
export async function quarantine(root: string, path: string, ports: FilePorts): Promise<string> {
  const folder = join(root, "quarantine");
  await ensureFolder(folder, ports);
  const kept = join(folder, `${basename(path)}.${ports.random.name(12)}`);
  ports.disk.rename(path, kept);
  await ports.disk.syncFolder(folder);
  await ports.disk.syncFolder(dirname(path));
  return kept;
}

/** Keeps bytes cut from a damaged file as a file of their own in `quarantine/`; returns its path. */
export async function quarantineBytes(
  root: string,
  name: string,
  bytes: Uint8Array,
  ports: FilePorts,
): Promise<string> {
  const kept = join(root, "quarantine", `${name}.${ports.random.name(12)}`);
  await writeOnce(kept, bytes, ports);
  return kept;
}

/** Removes temporary files that a dead process left in a folder: all of them, or only those over an hour old. */
export function sweepTemporaries(
  folder: string,
  nowMs: number,
  which: "all" | "stale",
  ports: FilePorts,
): void {
  for (const name of ports.disk.list(folder)) {
    if (!name.endsWith(TEMPORARY)) continue;
    const path = join(folder, name);
    const found = ports.disk.stat(path);
    if (found?.kind !== "file") continue;
    if (which === "all" || nowMs - found.modifiedMs > STALE_TEMPORARY_MS) removeQuietly(path, ports);
  }
}

/** A system error that nobody translated, as the failure the user hears about; undefined for any other error. */
export function untoldFailure(error: unknown): OmkError | undefined {
  if (systemCode(error) === undefined || !(error instanceof Error)) return undefined;
  const { syscall, path } = error as NodeJS.ErrnoException;
  return ioFailure(syscall ?? "use", path ?? "a file", error);
}

/** A failed call on a state file, told to the user: what was tried, where, and what to do. */
export function ioFailure(action: string, path: string, cause: unknown): OmkError {
  if (cause instanceof OmkError) return cause;
  const code = systemCode(cause);
  if (code === undefined) throw cause;
  const reason: Partial<Record<string, string>> = {
    ENOSPC: "no space is left on the disk",
    EDQUOT: "the disk quota is used up",
    EROFS: "the file system is read-only",
    EACCES: "permission is denied",
    EPERM: "permission is denied",
    EMFILE: "too many files are open",
    EIO: "the disk reported an error",
  };
  const why = reason[code] ?? code;
  const denied = code === "EACCES" || code === "EPERM" || code === "EROFS";
  return new OmkError(
    denied ? "state.permissions" : "state.io",
    `Cannot ${action} ${path}: ${why} (${code}).`,
    {
      cause,
      hint: denied
        ? "Make the state folder writable, or name another one in OMK_STATE_DIR."
        : "Nothing that was acknowledged is lost. Mend the cause, then run the command again.",
    },
  );
}

async function syncFolderOf(path: string, ports: Pick<FilePorts, "disk">): Promise<void> {
  await ports.disk.syncFolder(dirname(path)).catch((error: unknown) => {
    throw ioFailure("sync the folder of", path, error);
  });
}

async function writeTemporary(
  target: string,
  content: string | Uint8Array,
  ports: FilePorts,
): Promise<string> {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  const name = `.${basename(target)}.${ports.processes.self.pid}.${ports.random.name(20)}${TEMPORARY}`;
  const path = join(dirname(target), name);
  let file: OpenFile | undefined;
  try {
    file = ports.disk.open(path, "create");
    writeAll(file, bytes);
    if (file.size() !== bytes.length) throw shortWrite(path);
    await file.sync();
    return path;
  } catch (error) {
    if (file) removeQuietly(path, ports);
    throw ioFailure("write", target, error);
  } finally {
    file?.close();
  }
}

/** Writes every byte, however few the system takes at a time. */
export function writeAll(file: OpenFile, bytes: Uint8Array): void {
  let at = 0;
  while (at < bytes.length) {
    const taken = file.write(at === 0 ? bytes : bytes.subarray(at));
    if (taken <= 0) throw shortWrite("the file");
    at += taken;
  }
}

function shortWrite(path: string): OmkError {
  return new OmkError("state.io", `Cannot write ${path}: the system took fewer bytes than it was given.`);
}

function removeQuietly(path: string, ports: Pick<FilePorts, "disk">): void {
  try {
    ports.disk.remove(path);
  } catch {
    // The leftover is harmless and the next start sweeps it; the failure that led here is what the user must hear.
  }
}
