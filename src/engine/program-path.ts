import { isAbsolute, join } from "node:path";
import { systemCode } from "../errors.ts";
import type { Disk } from "../ports.ts";

/**
 * Every program of that name in PATH, first the one that would be run. Only absolute folders count: in others lies whatever
 * the directory of the project brings along.
 */
export function programsInPath(
  name: string,
  environment: Readonly<Record<string, string | undefined>>,
  disk: Pick<Disk, "stat" | "realPath">,
): string[] {
  const folders = (environment["PATH"] ?? "").split(":").filter((folder) => isAbsolute(folder));
  return [...new Set(folders)].map((folder) => join(folder, name)).filter((path) => isProgram(path, disk));
}

/** Whether an ordinary file lies there that somebody may run. */
function isProgram(path: string, disk: Pick<Disk, "stat" | "realPath">): boolean {
  try {
    const real = disk.realPath(path);
    const info = real === undefined ? undefined : disk.stat(real);
    return info?.kind === "file" && (info.mode & 0o111) !== 0;
  } catch (error) {
    // A folder of PATH that we may not look into holds no program for us.
    if (systemCode(error) === undefined) throw error;
    return false;
  }
}
