/** `omk goal open-pr`: a goal's pull request, shown or opened. */
import type { DeliveryPolicy } from "../../format/goal.ts";
import { findGoal } from "../../goal/find.ts";
import {
  openPullRequest,
  renderPullRequest,
  type PullRequestOutcome,
  type PullRequestRequest,
} from "../../goal/pull-request.ts";
import type { PullRequestDraft } from "../../delivery/pull-request.ts";
import { createRedactor } from "../../store/redact.ts";
import type { App } from "../app.ts";
import { goalPorts } from "../runtime.ts";
import { oneLine } from "../text.ts";

/** What commander gives. */
export interface OpenPrFlags {
  dryRun: boolean;
  draft: boolean;
  policy: DeliveryPolicy;
  baseBranch?: string;
  format: "text" | "json" | "markdown" | "md";
  json: boolean;
}

/** Prints the text of a pull request; under `draft-pr` and `auto-pr`, and without `--dry-run`, opens or updates it. */
export async function openPrCommand(app: App, id: string, flags: OpenPrFlags): Promise<void> {
  const { dryRun, draft, policy, baseBranch } = flags;
  const format = flags.json ? "json" : flags.format;
  const request: PullRequestRequest = {
    dryRun,
    draft,
    policy,
    ...(baseBranch !== undefined && { baseBranch }),
  };
  const goal = findGoal(app.root(), id, app.world);
  const redactor = createRedactor({ environment: app.io.env });
  const rendered = renderPullRequest(goal, request, { home: app.io.env["HOME"], redactor }, app.world);
  if (dryRun || policy === "local") {
    const render = format === "text" ? text : markdown;
    app.output.result(rendered, () => render(rendered), format === "json");
    return;
  }
  app.listen();
  const surroundings = { environment: app.io.env, command: "goal open-pr" };
  const ports = await goalPorts(app);
  const outcome = await openPullRequest(goal, rendered, request, surroundings, ports, app.signal);
  app.output.result(outcome, () => outcomeText(outcome), format === "json");
}

function text(draft: PullRequestDraft): string {
  return [
    `PR title: ${draft.title}`,
    `Dry-run: ${draft.dry_run}`,
    `Draft: ${draft.draft}`,
    "PR body:",
    draft.body,
  ].join("\n");
}

function markdown(draft: PullRequestDraft): string {
  return [`Title: ${draft.title}`, `Dry-run: ${draft.dry_run}`, `Draft: ${draft.draft}`, "", draft.body].join(
    "\n",
  );
}

function outcomeText(outcome: PullRequestOutcome): string {
  return [
    `Policy: ${outcome.policy}`,
    `Mutated: ${outcome.mutated}`,
    ...(outcome.pr_url === undefined ? [] : [`PR URL: ${oneLine(outcome.pr_url)}`]),
    `Reason: ${oneLine(outcome.reason)}`,
  ].join("\n");
}
