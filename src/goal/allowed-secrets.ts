/** The list of what looks like a secret and is none: of the base, or the user's own. What an agent writes there means nothing. */
import { createHash } from "node:crypto";
import { join } from "node:path";

import { parse, TomlError } from "smol-toml";

import { OmkError, systemCode } from "../errors.ts";
import { AllowList, type AllowedSecret } from "../format/allow-list.ts";
import { problemsOf } from "../format/problems.ts";
import { matchesGlobs } from "../gate/globs.ts";
import type { WorkTree } from "../git/work-tree.ts";
import type { Disk } from "../ports.ts";

/** Where a project keeps its list. */
const ALLOW_LIST = ".omk/allowed-secrets.toml";

const BYTES_MAX = 1024 * 1024;
const DEPTH_MAX = 4;

/** Whether these values, found together in one line of a file, are known to be no secrets. Without a line only the path tells. */
export type IsAllowed = (path: string, line: string | undefined, values: readonly string[]) => boolean;

/** Allows nothing. */
export const NONE_ALLOWED: IsAllowed = () => false;

/** Reads the list of the base tree. A broken one is `config.invalid`: nothing falls back to an empty list. */
export async function readAllowList(
  tree: Pick<WorkTree, "read" | "files" | "root">,
  base: string,
  ports: { disk: Pick<Disk, "stat">; tell(line: string): void },
  signal: AbortSignal,
): Promise<AllowedSecret[]> {
  const bytes = await tree.read(base, ALLOW_LIST, BYTES_MAX, signal);
  if (bytes) return parseAllowList(bytes);
  if ((await tree.files(base, signal)).includes(ALLOW_LIST))
    throw invalid(`it is no regular file of at most ${BYTES_MAX} bytes`);
  if (ports.disk.stat(join(tree.root, ALLOW_LIST)) !== undefined)
    ports.tell(`${ALLOW_LIST} is left out: it was not there when the goal began, or git ignores it`);
  return [];
}

/** Refuses a broken list before a goal is made: the goal would keep to it to its end. */
export function checkAllowList(projectDir: string, { disk }: { disk: Pick<Disk, "readFile"> }): void {
  let bytes: Uint8Array;
  try {
    bytes = disk.readFile(join(projectDir, ALLOW_LIST), BYTES_MAX);
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return;
    if (code === undefined) throw error;
    throw invalid(
      code === "EFBIG" ? `it is larger than ${BYTES_MAX} bytes` : `it cannot be read (${code})`,
      error,
    );
  }
  parseAllowList(bytes);
}

/** What the file says, understood whole or not at all. */
export function parseAllowList(bytes: Uint8Array): AllowedSecret[] {
  let table: unknown;
  try {
    table = parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes), { maxDepth: DEPTH_MAX });
  } catch (error) {
    if (error instanceof TomlError) {
      // The first line is the reason; what follows quotes the file.
      const why = (error.message.split("\n")[0] ?? "").replace(/^Invalid TOML document: /, "").trim();
      throw invalid(`line ${error.line}: ${why}`, error);
    }
    if (error instanceof TypeError) throw invalid("it is not valid UTF-8", error);
    throw error;
  }
  const read = AllowList.safeParse(table);
  if (!read.success) throw invalid(problemsOf(read.error).join("; "));
  return read.data.allow;
}

/** The rule of several lists together. */
export function allowedBy(entries: readonly AllowedSecret[]): IsAllowed {
  if (entries.length === 0) return NONE_ALLOWED;
  const rules = entries.map(({ path, sha256 }) => ({
    fits: (given: string) => path === undefined || matchesGlobs(given, [path]),
    digest: sha256?.toLowerCase(),
  }));
  return (path, line, values) => {
    const here = rules.filter(({ fits }) => fits(path));
    if (here.some(({ digest }) => digest === undefined)) return true;
    const digests = new Set(here.map(({ digest }) => digest));
    if (digests.size === 0 || line === undefined) return false;
    return (
      digests.has(digestOf(line.trim())) ||
      (values.length > 0 && values.every((one) => digests.has(digestOf(one))))
    );
  };
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function invalid(why: string, cause?: unknown): OmkError {
  return new OmkError("config.invalid", `${ALLOW_LIST}: ${why}.`, {
    cause,
    hint: "Correct the file in the project, then start the goal anew: a goal keeps to the list of its beginning.",
  });
}
