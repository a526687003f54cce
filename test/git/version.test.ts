/** Git as old as it may be: what needs a newer one says so before anything is done. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

import { expect, test } from "vitest";

import { openPrivateGit } from "../../src/git/private-git.ts";
import { isAtLeast, requireGit } from "../../src/git/version.ts";
import { workTreeOf } from "../../src/git/work-tree.ts";
import { createWorld } from "../../src/world.ts";
import { GitPlace } from "../support/git-place.ts";

/** A place with a git before the real one that says it is of a version, and lacks what came later. */
async function openWith(place: GitPlace, says: string) {
  const bin = path.join(place.folder, "bin");
  const real = execFileSync("sh", ["-c", "command -v git"], { encoding: "utf8" }).trim();
  fs.mkdirSync(bin);
  const script = `#!/bin/sh
for word in "$@"; do
  case $word in
    version) ${says}; exit ;;
    --write-tree) echo "error: unknown option" >&2; exit 129 ;;
  esac
done
exec '${real}' "$@"
`;
  fs.writeFileSync(path.join(bin, "git"), script, { mode: 0o755 });
  const environment = { PATH: `${bin}:${process.env["PATH"] ?? ""}`, HOME: place.home };
  const request = { projectDir: place.project, goalDir: place.goalDir, goalId: "goal-1", environment };
  return openPrivateGit(request, createWorld(), place.signal);
}

test.each([
  ["echo git version 2.34.1", "This is git version 2.34.1; work in slices needs git 2.38 or newer."],
  ["echo git version 2.37.7.windows.1", "git version 2.37.7.windows.1"],
  ["echo git version 1.8.3", "needs git 2.38 or newer"],
  ["echo something else", "something else"],
  ["exit 1", "git does not say which version it is"],
])(
  "a git that answers by `%s` is refused for slices, with what it is and what is needed",
  async (says, words) => {
    using place = new GitPlace({ "a.txt": "a\n" });
    const git = await openWith(place, says);
    const refused = requireGit(git, place.signal);
    await expect(refused).rejects.toMatchObject({ code: "git.unsupported", exitStatus: 78 });
    await expect(refused).rejects.toThrow(words);
    // Work in place needs nothing of that.
    expect(await workTreeOf(git).files(await workTreeOf(git).snapshot(place.signal), place.signal)).toEqual([
      "a.txt",
    ]);
  },
);

test("the git that is here, and newer ones however they write it, will do", async () => {
  using place = new GitPlace({ "a.txt": "a\n" });
  await requireGit(await place.open(), place.signal);
  for (const text of ["git version 2.39.5 (Apple Git-154)", "git version 2.38.GIT", "git version 3.0.rc1"])
    expect(isAtLeast(text, [2, 38]), text).toBe(true);
});
