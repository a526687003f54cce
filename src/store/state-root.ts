/** Where state lies, and whether it may be trusted with it. */
import { isAbsolute, join } from "node:path";

import { OmkError } from "../errors.ts";
import type { Disk } from "../ports.ts";
import { ensureFolder } from "./files.ts";

/** The variables that decide where state lies. */
export type StateEnvironment = Readonly<Record<string, string | undefined>>;

/**
 * The state root: `$OMK_STATE_DIR`, else `~/.omk/state` if it exists already, else `$XDG_STATE_HOME/omk`, else
 * `~/.local/state/omk`. Relative and empty variables count as unset, as the XDG base directory rules say.
 */
export function stateRoot(environment: StateEnvironment, ports: { disk: Disk }): string {
  const named = environment["OMK_STATE_DIR"];
  if (named) {
    if (isAbsolute(named)) return named;
    throw new OmkError("usage.invalid", `OMK_STATE_DIR must be an absolute path, not ${named}.`, {
      hint: "Write it out, for example OMK_STATE_DIR=$HOME/omk-state.",
    });
  }
  const home = environment["HOME"];
  if (home && isAbsolute(home)) {
    const legacy = join(home, ".omk", "state");
    if (ports.disk.stat(legacy)) return legacy;
  }
  const xdg = environment["XDG_STATE_HOME"];
  if (xdg && isAbsolute(xdg)) return join(xdg, "omk");
  if (home && isAbsolute(home)) return join(home, ".local", "state", "omk");
  throw new OmkError("usage.invalid", "There is no place for state: neither HOME nor OMK_STATE_DIR is set.", {
    hint: "Set OMK_STATE_DIR to an absolute path.",
  });
}

/** Refuses a state folder that belongs to another user, may be written by others, or is a link (`state.permissions`). */
export function checkStateFolder(path: string, ports: { disk: Disk; uid: number | undefined }): void {
  const found = ports.disk.stat(path);
  if (!found) return;
  if (found.kind !== "folder") {
    throw new OmkError("state.permissions", `${path} is a ${found.kind}, not a folder.`, {
      hint: "Links inside the state folder are refused. Name a real folder in OMK_STATE_DIR.",
    });
  }
  if (ports.uid !== undefined && found.uid !== ports.uid) {
    throw new OmkError("state.permissions", `${path} belongs to another user.`, {
      hint: "Name a folder of your own in OMK_STATE_DIR.",
    });
  }
  if ((found.mode & 0o022) !== 0) {
    throw new OmkError("state.permissions", `${path} can be written by other users.`, {
      hint: `Run \`chmod go-w ${path}\`.`,
    });
  }
}

/** Makes the folder `goals/` (or another) of a state root, checked. */
export async function stateFolder(
  root: string,
  name: string,
  ports: { disk: Disk; uid: number | undefined },
): Promise<string> {
  checkStateFolder(root, ports);
  const folder = join(root, name);
  checkStateFolder(folder, ports);
  await ensureFolder(folder, ports);
  return folder;
}
