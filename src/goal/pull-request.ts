/** A goal's own pull request: rendered from what is recorded, and opened or brought up to date when asked. */
import { dirname, join } from "node:path";

import { deliveryRecords, parseDelivery } from "../delivery/metadata.ts";
import { integratorBranch } from "../delivery/names.ts";
import type { GitHub } from "../delivery/github.ts";
import { GhApi } from "../delivery/gh-api.ts";
import { ensurePullRequest } from "../delivery/pull-steps.ts";
import {
  draftPullRequest,
  hasEvidence,
  integratorTitle,
  type Cleaning,
  type ProvenGoal,
  type PullRequestDraft,
} from "../delivery/pull-request.ts";
import { findRemote } from "../delivery/push.ts";
import { OmkError } from "../errors.ts";
import { DeliveryWork } from "../format/delivery.ts";
import { Goal, type DeliveryPolicy } from "../format/goal.ts";
import { problemsOf } from "../format/problems.ts";
import { Proof } from "../format/proof.ts";
import { instantOf } from "../format/stamp.ts";
import { TaskGraph } from "../format/task-graph.ts";
import type { Disk } from "../ports.ts";
import { foldFolder, readDocument } from "../store/journal.ts";
import type { Redactor } from "../store/redact.ts";
import { deliveryOf, nextStep, recordPull } from "./delivery-state.ts";
import { readGoalDocuments, type GoalSummary } from "./find.ts";
import { OpenGoal, type GoalPorts } from "./open.ts";
import { isSliced } from "./sliced.ts";

/** How a pull request is asked for. */
export interface PullRequestRequest {
  policy: DeliveryPolicy;
  dryRun: boolean;
  draft: boolean;
  baseBranch?: string;
}

/** What opening a pull request came to. */
export interface PullRequestOutcome {
  policy: DeliveryPolicy;
  dry_run: boolean;
  mutated: boolean;
  operation?: "create" | "update";
  pr_url?: string;
  reason: string;
}

/** Renders a goal's pull request; reaches nothing but the goal's folder. */
export function renderPullRequest(
  goal: GoalSummary,
  request: PullRequestRequest,
  surroundings: { home: string | undefined; redactor: Pick<Redactor, "text"> },
  ports: { disk: Disk },
): PullRequestDraft {
  const proven = provenGoal(goal, ports);
  const next = { hint: `Next: omk goal execute ${goal.id}` };
  if (!hasEvidence(proven)) {
    throw new OmkError(
      "proof.missing",
      `Goal ${goal.id}: proof evidence is missing, so there is nothing to show.`,
      next,
    );
  }
  const mutates = request.policy !== "local";
  const asked = { dryRun: request.dryRun, draft: request.draft || request.policy === "draft-pr", mutates };
  const cleaning = cleaningOf(goal.folder, goal.record, surroundings, ports);
  const rendered = draftPullRequest(proven, asked, cleaning);
  return { ...rendered, ...mergedHead(goal, proven, cleaning, ports) };
}

/** Of a goal whose slices were delivered: the branch in which they come together, and its pull request as delivery calls it. */
function mergedHead(
  goal: GoalSummary,
  proven: ProvenGoal,
  cleaning: Cleaning,
  ports: { disk: Disk },
): Partial<PullRequestDraft> {
  const [work] = readGoalDocuments(goal, ["work.json"], ports).values();
  const read = DeliveryWork.safeParse(work?.["delivery"]);
  if (!read.success) return {};
  const { pulls, result } = read.data;
  const integrator = pulls.find(({ branch }) => branch === integratorBranch(goal.id));
  if (integrator) {
    const title = integratorTitle(proven.goal.normalized_goal, cleaning);
    return { title, head_branch: integrator.branch, existing_pr_url: integrator.url };
  }
  return result ? { head_branch: result.ref.replace(/^refs\/heads\//, "") } : {};
}

/** What must not show in texts that are sent: secrets, and the folders of this machine. */
export function cleaningOf(
  folder: string,
  record: { readonly project_dir?: unknown },
  { home, redactor }: { home: string | undefined; redactor: Pick<Redactor, "text"> },
  { disk }: { disk: Disk },
): Cleaning {
  const project = typeof record.project_dir === "string" ? record.project_dir : "";
  return {
    redact: (text) => redactor.text(text),
    folders: [
      { path: folder, name: "" },
      { path: project, name: "" },
      { path: disk.realPath(project) ?? project, name: "" },
      { path: dirname(dirname(folder)), name: "<state>" },
      { path: home ?? "", name: "~" },
    ],
  };
}

/** The newest record of a goal, by its log or, for a goal of 0.5.0, by its files. */
function provenGoal(goal: GoalSummary, ports: { disk: Disk }): ProvenGoal {
  const { documents } = foldFolder(goal.folder, ports);
  const record = (name: string): unknown => {
    const folded = documents.get(name);
    if (folded) return folded;
    const found = readDocument(join(goal.folder, name), ports);
    if (found.state === "found") return found.record;
    if (found.state === "unreadable") throw unreadable(goal, name, found.because);
    throw new OmkError("proof.missing", `Goal ${goal.id} has no ${name}.`, {
      hint: `Next: omk goal execute ${goal.id}`,
    });
  };
  const proof = Proof.safeParse(record("proof.json"));
  if (!proof.success) throw unreadable(goal, "proof.json", problemsOf(proof.error).join("; "));
  const graph = TaskGraph.safeParse(record("task-graph.json"));
  if (!graph.success) throw unreadable(goal, "task-graph.json", problemsOf(graph.error).join("; "));
  const read = Goal.safeParse(goal.record);
  if (!read.success) throw unreadable(goal, "goal.json", problemsOf(read.error).join("; "));
  return {
    goal: read.data,
    proof: proof.data,
    graph: graph.data,
    proofPath: join(goal.folder, "proof.json"),
  };
}

function unreadable(goal: GoalSummary, name: string, because: string): OmkError {
  return new OmkError("state.damaged", `${join(goal.folder, name)} has an invalid format: ${because}.`, {
    hint: `Restore the file from a copy, or start the goal anew. See what is left: omk goal proof ${goal.id}`,
  });
}

/**
 * Opens the pull request of a goal, or brings the one that its branch has up to date: intent, act, result, and looked up
 * before it is made. The branch must be on GitHub.
 */
export async function openPullRequest(
  goal: GoalSummary,
  rendered: PullRequestDraft,
  request: PullRequestRequest,
  surroundings: { environment: Readonly<Record<string, string | undefined>>; command: string },
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<PullRequestOutcome> {
  const { policy } = request;
  const head = rendered.head_branch;
  if (head === null) {
    throw new OmkError(
      "delivery.refused",
      `Goal ${goal.id} has no head branch to open a pull request from.`,
      {
        hint: "Run the goal in a repository, on a branch of its own.",
      },
    );
  }
  const { environment, command } = surroundings;
  const projectDir = goal.record["project_dir"];
  if (typeof projectDir !== "string") {
    throw new OmkError("delivery.refused", `Goal ${goal.id} does not say which project it is about.`, {
      hint: "It was made by an earlier omk: `omk goal open-pr --dry-run` prints the text for a pull request by hand.",
    });
  }
  const open = await OpenGoal.open(goal.id, goal.folder, command, ports, signal);
  try {
    refuseUndelivered(open);
    const remote = await findRemote({ projectDir, environment }, ports, signal);
    const github = new GhApi({ remote, emptyFolder: join(open.folder, "gh"), environment }, ports);
    const delivered = head === integratorBranch(goal.id) ? deliveryOf(open).target?.base_branch : undefined;
    const base = request.baseBranch ?? delivered ?? (await github.repository(signal)).defaultBranch;
    const commit = await headOn(github, { head, base }, goal.id, signal);
    const { title, body, draft } = rendered;
    const payload = {
      repository: `${remote.host}/${remote.owner}/${remote.name}`,
      head,
      base,
      commit,
      draft,
    };
    await open.record({ kind: "pull_request_intended", actor: "omk-cli", payload });
    const { outcome, pull } = await ensurePullRequest(
      github,
      { title, body, head, base, draft, commit },
      signal,
    );
    const { number, url, state } = pull;
    const at = instantOf(ports.clock.now());
    await recordPull(
      open,
      { kind: "pull_request_opened", actor: "omk-cli", payload: { ...payload, outcome, url, number } },
      { slice_id: sliceOf(open, head), branch: head, number, url, commit, state, at },
    );
    const operation = outcome === "created" ? "create" : outcome === "updated" ? "update" : undefined;
    return {
      policy,
      dry_run: false,
      mutated: operation !== undefined,
      ...(operation && { operation }),
      pr_url: pull.url,
      reason: `pull request ${outcome}`,
    };
  } finally {
    await open.close();
  }
}

/** The slice whose branch it is. */
function sliceOf({ graph }: OpenGoal, branch: string): string | null {
  const found = deliveryRecords(graph).find((record) => parseDelivery(record).fields.branch === branch);
  return found ? (parseDelivery(found).fields.slice_id ?? String(found["task_id"])) : null;
}

/** Until delivery, branches of slices are in omk's own git alone, where nobody but omk can push them from. */
function refuseUndelivered(open: OpenGoal): void {
  const { id, goal, work } = open;
  if (!isSliced(goal) || !work.slices) return;
  const { pulls, result } = deliveryOf(open);
  if (result || pulls.some(({ branch }) => branch === integratorBranch(id))) return;
  const what =
    goal.delivery_policy === "local"
      ? `The result of goal ${id} is no branch of your repository yet.`
      : `Goal ${id} is not delivered yet, which opens its pull requests.`;
  throw new OmkError("delivery.refused", what, { hint: nextStep(open) });
}

/** The commit of the head branch on GitHub, which must be another branch than the base. */
async function headOn(
  github: GitHub,
  { head, base }: { head: string; base: string },
  id: string,
  signal: AbortSignal,
): Promise<string> {
  if (head === base) {
    throw new OmkError("delivery.refused", `The head branch of goal ${id} is ${base}, the base itself.`, {
      hint: "Commit the result on a branch of its own, or name another base with --base-branch.",
    });
  }
  const commit = await github.branchHead(head, signal);
  if (commit !== undefined) return commit;
  throw new OmkError("delivery.refused", `The head branch ${head} of goal ${id} is not on GitHub.`, {
    hint: `Push it first: git push origin ${head}`,
  });
}
