/** What agents do to omk's own git directory: recorded, and an end where something is lost by it. */
import { OmkError } from "../errors.ts";
import type { OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";
import type { Workspace } from "./workspace.ts";

/** The code of a goal whose own git directory was taken away under it. */
const PRIVATE_GIT_LOST = "private_git_lost";

/** Records each time that something was put back, once. */
export async function recordRestored(open: OpenGoal, { sliced }: Workspace): Promise<void> {
  const actor = "goal-controller";
  const times = sliced?.git.takeRestored() ?? [];
  if (times.length > 0)
    await open.record(...times.map((paths) => ({ kind: "private_git_restored", actor, payload: { paths } })));
}

/** The ending where git misses what was lost; undefined for any other failure. */
export function lostGitEnding(open: OpenGoal, { sliced }: Workspace, error: unknown): Ending | undefined {
  if (!sliced?.git.hasLost || !(error instanceof OmkError) || error.code !== "git.failed") return undefined;
  return {
    status: "failed_infra",
    reasonCode: PRIVATE_GIT_LOST,
    reason:
      `omk's own git directory ${sliced.git.gitDir} was removed while agents worked, and results that only it had are lost ` +
      `(${error.message.split("\n", 1)[0]}); what was rescued of the attempts is in \`omk rescue list --goal ${open.id}\`, ` +
      "and no file of yours was changed",
  };
}
