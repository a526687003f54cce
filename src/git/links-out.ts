/** Links that lead out of a repository: whoever follows one reads or writes what is no part of it. */
import { posix } from "node:path";

import type { PrivateGit, TreeChange } from "./private-git.ts";
import type { RefusedChange } from "./refused-changes.ts";

/** The mode of a symbolic link. */
const LINK = "120000";

/** Those of a result's new and changed links that lead out of the repository, as a change that is not taken. `tree` is the result's. */
export async function linksOut(
  git: PrivateGit,
  { tree, changes }: { tree: string; changes: readonly TreeChange[] },
  signal: AbortSignal,
): Promise<RefusedChange[]> {
  const links = changes.filter(({ new_mode }) => new_mode === LINK).map(({ path }) => path);
  if (links.length === 0) return [];
  const entries = await git.entries(tree, signal);
  const oids = links.map((path) => entries.get(path)?.split(" ").at(-1) ?? "");
  const targets = await blobs(git, oids, signal);
  return links.flatMap((path, at) =>
    leadsOut(path, targets[at] ?? "")
      ? [{ path, because: "it is a link that leads out of the repository" }]
      : [],
  );
}

function leadsOut(path: string, target: string): boolean {
  if (target.startsWith("/")) return true;
  const place = posix.normalize(posix.join(posix.dirname(path), target));
  return place === ".." || place.startsWith("../");
}

/** The texts of objects, in one call. */
async function blobs(git: PrivateGit, oids: readonly string[], signal: AbortSignal): Promise<string[]> {
  const stdin = Buffer.from(oids.map((oid) => `${oid}\n`).join(""));
  const answer = await git.call(["cat-file", "--batch=%(objectsize)"], { stdin }, signal);
  const texts: string[] = [];
  for (let at = 0; at < answer.length;) {
    // A line with the size, then so many bytes and a line end.
    const from = answer.indexOf("\n", at) + 1;
    const to = from + Number(answer.toString("latin1", at, from - 1));
    texts.push(answer.toString("utf8", from, to));
    at = to + 1;
  }
  return texts;
}
