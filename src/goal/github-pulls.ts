/** Branches and pull requests of a goal's slices, and of the integrator: each pushed, opened and recorded once. */
import { join } from "node:path";

import { deliveryChange, parseDelivery, type DeliveryFields } from "../delivery/metadata.ts";
import { integratorBranch } from "../delivery/names.ts";
import { integratorPullRequest, slicePullRequest } from "../delivery/pull-request.ts";
import { closeOnce, ensurePullRequest } from "../delivery/pull-steps.ts";
import { pushBranch } from "../delivery/push.ts";
import type { DeliveredPull } from "../format/delivery.ts";
import { renderDocument } from "../format/json.ts";
import type { Proof } from "../format/proof.ts";
import type { SliceState } from "../format/slices.ts";
import { instantOf } from "../format/stamp.ts";
import { isContained } from "../git/integrate.ts";
import { buildProof } from "./build-proof.ts";
import { deliveryOf, recordPull, recordStep, withArtifact } from "./delivery-state.ts";
import { factsOf } from "./facts.ts";
import type { GitHubSteps } from "./github-target.ts";
import type { GoalPorts, OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";
import { cleaningOf } from "./pull-request.ts";
import { standingSections } from "./review-findings.ts";
import { decideVerdict } from "./verdict.ts";

/** A slice that is part of the accepted result. */
export interface DeliveredSlice {
  taskId: string;
  sliceId: string;
  /** Of its task. */
  title: string;
  branch: string;
  commit: string;
  fields: DeliveryFields;
}

/** A branch, and what its pull request is to say. */
interface WantedPull {
  /** Null for the integrator. */
  sliceId: string | null;
  /** The slices whose delivery records name it. */
  slices: readonly DeliveredSlice[];
  branch: string;
  commit: string;
  title: string;
  body: string;
}

/** The slices that the accepted result contains, in the order in which they landed. */
export async function deliveredSlices({
  open,
  git,
  signal,
}: Pick<GitHubSteps, "open" | "git" | "signal">): Promise<DeliveredSlice[]> {
  const { slices } = open.work;
  if (!slices) return [];
  const place = ({ task_id }: SliceState): number => {
    const at = slices.order.indexOf(task_id);
    return at === -1 ? slices.order.length : at;
  };
  const found: DeliveredSlice[] = [];
  for (const state of slices.slices.toSorted((a, b) => place(a) - place(b))) {
    const { task_id: taskId, branch, commit } = state;
    // One that conflicted is contained by the task that solved it; one that was given up is not.
    if (commit === null || !(await isContained(git, commit, slices.head, signal))) continue;
    const task = open.graph.tasks.find(({ id }) => id === taskId);
    const { fields } = parseDelivery(task?.delivery ?? {});
    const sliceId = fields.slice_id ?? taskId;
    found.push({ taskId, sliceId, title: task?.title ?? sliceId, branch, commit, fields });
  }
  return found;
}

/**
 * Delivers each slice as a pull request of its own against the base branch, which names `base`. A single one has none: the
 * integrator's would say and hold the same.
 */
export async function deliverSlices(
  steps: GitHubSteps,
  slices: readonly DeliveredSlice[],
  base: string,
): Promise<Ending | undefined> {
  if (slices.length === 1) return undefined;
  const { open, ports } = steps;
  for (const slice of slices) {
    const { sliceId, title, branch, commit, fields } = slice;
    if (await hasLandedAlready(steps, slice, base)) continue;
    const text = slicePullRequest(
      {
        sliceId,
        goalId: open.id,
        normalizedGoal: open.goal.normalized_goal,
        title,
        owner: fields.owner ?? "executor",
        writeScope: fields.write_scope ?? [],
        commit,
        dependencies: fields.dependencies ?? [],
        review: reviewRows(open),
      },
      cleaning(open, ports),
    );
    const halted = await deliverPull(steps, { sliceId, slices: [slice], branch, commit, ...text });
    if (halted) return halted;
  }
  return undefined;
}

/** Whether a slice without a pull request is part of the base branch by another way: there is nothing to open one for. */
async function hasLandedAlready(steps: GitHubSteps, slice: DeliveredSlice, base: string): Promise<boolean> {
  const { open, git, target, ports, signal } = steps;
  const { taskId, sliceId, branch, commit, fields } = slice;
  if (deliveryOf(open).pulls.some((one) => one.branch === branch)) return false;
  if (!(await isContained(git, commit, base, signal))) return false;
  if (fields.status === "merged") return true;
  const changed = deliveryChange(open.graph, taskId, { set: { commit_sha: commit, status: "merged" } });
  const payload = { slice_id: sliceId, commit, base };
  await recordStep(open, { kind: "slice_landed_already", payload }, {}, [changed]);
  ports.tell(`${sliceId} is part of ${target.base_branch} already`);
  return true;
}

/** Delivers the commit in which all slices are together. */
export async function deliverIntegrator(
  steps: GitHubSteps,
  slices: readonly DeliveredSlice[],
  commit: string,
): Promise<Ending | undefined> {
  const { open, ports } = steps;
  const branches = slices.map((slice) => slice.branch);
  const text = integratorPullRequest(
    {
      goalId: open.id,
      normalizedGoal: open.goal.normalized_goal,
      branches,
      proof: presentProof(open, ports),
    },
    cleaning(open, ports),
  );
  const named = slices.length === 1 ? slices : [];
  const branch = integratorBranch(open.id);
  const halted = await deliverPull(steps, { sliceId: null, slices: named, branch, commit, ...text });
  if (!halted) await writeMetadata(open, branches, ports);
  return halted;
}

/** The integrator's pull request as recorded. */
export function integratorPull(open: Pick<OpenGoal, "id" | "work">): DeliveredPull | undefined {
  const own = integratorBranch(open.id);
  return deliveryOf(open).pulls.find(({ branch }) => branch === own);
}

async function deliverPull(steps: GitHubSteps, wanted: WantedPull): Promise<Ending | undefined> {
  const known = deliveryOf(steps.open).pulls.find(({ branch }) => branch === wanted.branch);
  if (known?.commit === wanted.commit && known.left_out !== true) return undefined;
  const halted = await pushOnce(steps, wanted);
  if (halted) return halted;
  await openPull(steps, wanted);
  return undefined;
}

// ---- The branch

/** Looked up before it is pushed, and moved only from where omk itself left it. */
async function pushOnce(
  steps: GitHubSteps,
  { branch, commit }: Pick<WantedPull, "branch" | "commit">,
): Promise<Ending | undefined> {
  const { open, git, target, ports, signal } = steps;
  const expected = deliveryOf(open).pushed.find((one) => one.branch === branch)?.commit ?? null;
  await recordStep(open, { kind: "branch_push_intended", payload: { branch, commit, expected } });
  const { callerEnvironment: environment } = ports;
  const request = { gitDir: await git.steered(), remote: target, branch, commit, expected, environment };
  let done = await pushBranch(request, ports, signal);
  // Somebody took our own branch away (GitHub does, after a merge): making it again overwrites nothing.
  if (done.outcome === "moved" && done.found === null)
    done = await pushBranch({ ...request, expected: null }, ports, signal);
  if (done.outcome === "moved") return branchTaken(open.id, branch, done.found);
  if (done.outcome === "rejected") {
    const reason = `the remote does not take the branch ${branch}: ${done.because}; once it does, \`omk goal resume ${open.id}\``;
    return { status: "blocked_on_external", reasonCode: "push_rejected", reason };
  }
  const at = instantOf(ports.clock.now());
  const others = deliveryOf(open).pushed.filter((one) => one.branch !== branch);
  const payload = { branch, commit, outcome: done.outcome };
  await recordStep(open, { kind: "branch_pushed", payload }, { pushed: [...others, { branch, commit, at }] });
  ports.tell(`pushed: ${branch}`);
  return undefined;
}

function branchTaken(id: string, branch: string, found: string | null): Ending {
  const reason =
    `the branch ${branch} of the remote holds a commit that is not omk's (${found ?? "none"}), and stays as it is; ` +
    `keep that work under another name, delete the branch, then \`omk goal resume ${id}\``;
  return { status: "blocked_on_human", reasonCode: "branch_taken", reason };
}

// ---- The pull request

async function openPull(steps: GitHubSteps, wanted: WantedPull): Promise<void> {
  const { open, github, target, ports, signal } = steps;
  const { sliceId, branch, commit, title, body } = wanted;
  const draft = open.goal.delivery_policy === "draft-pr";
  const { base_branch: base } = target;
  const payload = { slice_id: sliceId, head: branch, base, commit, draft };
  await recordStep(open, { kind: "pull_request_intended", payload });
  const asked = { title, body, head: branch, base, draft, commit };
  const { outcome, pull } = await ensurePullRequest(github, asked, signal);
  const at = instantOf(ports.clock.now());
  const { number, url, state } = pull;
  await recordPull(
    open,
    { kind: "pull_request_opened", payload: { ...payload, outcome, url, number } },
    { slice_id: sliceId, branch, number, url, commit, state, at },
    wanted.slices,
  );
  ports.tell(`pull request ${outcome}: ${url}`);
}

/** Closes what earlier deliveries opened for slices that a person has left out of the result since. */
export async function closeLeftOut(steps: GitHubSteps, slices: readonly DeliveredSlice[]): Promise<void> {
  const { open } = steps;
  const wanted = new Set(slices.map(({ branch }) => branch));
  const reference = `Left out of the result that ${integratorPull(open)?.url ?? "the integrator's pull request"} holds.`;
  for (const pull of deliveryOf(open).pulls) {
    if (pull.slice_id === null || pull.state !== "open" || wanted.has(pull.branch)) continue;
    await closePull(steps, { ...pull, left_out: true }, reference);
  }
}

/** Closes a pull request with a sentence that says why, and records it as it then is. */
export async function closePull(
  { open, github, ports, signal }: GitHubSteps,
  pull: DeliveredPull,
  reference: string,
): Promise<void> {
  const { number, url } = pull;
  await recordStep(open, { kind: "pull_request_close_intended", payload: { number, url } });
  const { state } = await closeOnce(github, { number, reference }, signal);
  const pulls = deliveryOf(open).pulls.map((one) => (one.number === number ? { ...pull, state } : one));
  const payload = { number, url, state, reference };
  await recordStep(open, { kind: "pull_request_closed", payload }, { pulls });
  ports.tell(`pull request ${state}: ${url}`);
}

// ---- What they say

function cleaning(open: OpenGoal, ports: GoalPorts) {
  const surroundings = { home: ports.callerEnvironment["HOME"], redactor: ports.redactor };
  return cleaningOf(open.folder, open.goal, surroundings, ports);
}

/** The sections of the review wall, each with the worst that was found. */
function reviewRows({ work }: Pick<OpenGoal, "work">) {
  return standingSections(work).map(({ pass, status, summary, findings = [] }) => ({
    kind: pass,
    passed: status !== "blocked",
    severity:
      (["critical", "high", "medium", "low"] as const).find((one) =>
        findings.some(({ severity }) => severity === one),
      ) ?? "none",
    feedback: summary,
  }));
}

/** The proof as it would be written now. */
function presentProof(open: OpenGoal, ports: GoalPorts): Proof {
  const { id, goal, graph, work, proof, approvals, journal } = open;
  const proven = { id, goal, graph, work, proof, approvals: approvals.records, position: journal.position };
  const verdict = decideVerdict(factsOf(goal, work, graph));
  const ending = { status: verdict.status, reasonCode: verdict.readinessCode };
  return buildProof({ ...proven, git: undefined }, verdict, ending, instantOf(ports.clock.now()));
}

/** `integrator-metadata.json`, made from what is recorded: for readers that know 0.5.0. */
async function writeMetadata(open: OpenGoal, branches: readonly string[], ports: GoalPorts): Promise<void> {
  const pull = integratorPull(open);
  const recorded_at = pull?.at ?? open.goal.updated_at;
  const text = renderDocument({
    integrator_branch: integratorBranch(open.id),
    pr_url: pull?.url ?? null,
    slice_branches: branches,
    recorded_at,
  });
  const artifact = { kind: "integrator_metadata", path: METADATA, created_at: recorded_at };
  const named = withArtifact(open, artifact);
  await ports.disk.writeDerived(join(open.folder, METADATA), text);
  if (named)
    await recordStep(open, { kind: "integrator_recorded", payload: { path: METADATA } }, {}, [named]);
}

const METADATA = "integrator-metadata.json";
