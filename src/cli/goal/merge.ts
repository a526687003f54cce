/** `omk goal merge`: merges a goal's pull request. */
import { findGoalFolder } from "../../goal/find.ts";
import { mergeGoal, type MergeOutcome } from "../../goal/merge.ts";
import type { App } from "../app.ts";
import { goalPorts } from "../runtime.ts";
import { oneLine } from "../text.ts";

/** Merges the integrator's pull request of a goal when its checks are green. */
export async function mergeCommand(app: App, id: string, flags: { json: boolean }): Promise<void> {
  app.listen();
  const { id: found } = findGoalFolder(app.root(), id, app.world);
  app.resumeWith = `omk goal merge ${found}`;
  const outcome = await mergeGoal(found, await goalPorts(app), app.signal);
  app.output.result(outcome, () => render(outcome), flags.json);
}

function render(outcome: MergeOutcome): string {
  const { goal_id: id, pr_url: url, commit, again, slices, status } = outcome;
  const landed = slices.filter((slice) => slice.landed).length;
  return [
    `Goal ${id} ${again ? "was merged before" : "merged"}: ${oneLine(url)}`,
    `Merge commit: ${commit}`,
    `Slices landed: ${landed} of ${slices.length}`,
    status === "ready" ? `Inspect: omk goal show ${id}` : `Finish it: omk goal resume ${id}`,
  ].join("\n");
}
