/**
 * The accepted result brought together with what the remote's base branch has become since: nothing to do where it still
 * continues that branch, else a merge in the private directory, and the gates on what comes of it.
 */
import type { Integration } from "../format/delivery.ts";
import { instantOf } from "../format/stamp.ts";
import type { GateResult } from "../format/gate.ts";
import { redGates } from "../gate/state.ts";
import { runGateSet } from "../gate/steps.ts";
import { isContained, mergeCommits } from "../git/integrate.ts";
import { UNHURRIED } from "../store/project-claim.ts";
import { deliveryOf, recordStep } from "./delivery-state.ts";
import { gateSubject } from "./gate-steps.ts";
import { remoteBase } from "./github-base.ts";
import type { GitHubSteps } from "./github-target.ts";
import { change } from "./open.ts";
import type { Ending } from "./proof.ts";
import type { SlicedWorkspace } from "./sliced-space.ts";

/** Finds the commit that is to be merged, and records it; an ending where there is none. */
export async function integrate(
  steps: GitHubSteps,
  space: SlicedWorkspace,
): Promise<Ending | { commit: string; base: string }> {
  const { open, git, signal } = steps;
  const found = await remoteBase(steps);
  if ("ending" in found) return found.ending;
  const { base } = found;
  const { integration: known } = deliveryOf(open);
  const ours = known?.commit ?? open.work.slices?.head ?? "";
  if (known?.base === base) return { commit: known.commit, base };
  if (await isContained(git, base, ours, signal)) {
    const tree = known?.tree ?? open.work.result?.tree ?? "";
    return settled(steps, { base, commit: ours, tree, gates: known?.gates ?? null });
  }
  return mergeBase(steps, space, { base, ours });
}

async function settled(
  { open, ports }: GitHubSteps,
  found: Pick<Integration, "base" | "commit" | "tree" | "gates">,
): Promise<{ commit: string; base: string }> {
  const integration = { ...found, at: instantOf(ports.clock.now()) };
  const { base, commit, tree } = integration;
  await recordStep(open, { kind: "integration_settled", payload: { base, commit, tree } }, { integration });
  return { commit, base };
}

async function mergeBase(
  steps: GitHubSteps,
  space: SlicedWorkspace,
  { base, ours }: { base: string; ours: string },
): Promise<Ending | { commit: string; base: string }> {
  const { open, git, target, ports, signal } = steps;
  const { base_branch: branch } = target;
  ports.tell(`${branch} has moved on to ${base}: the result is merged with it`);
  const merged = await mergeCommits(
    git,
    {
      onto: ours,
      commit: base,
      message: `Merge ${branch} into the result of ${open.id}`,
      // Recorded, so that whoever repeats this gets the same commit.
      at: new Date(open.work.acceptance?.decided_at ?? open.goal.created_at),
    },
    signal,
  );
  if (merged.outcome === "conflict") {
    const { files, kinds } = merged;
    await recordStep(open, { kind: "integration_conflicted", payload: { base, onto: ours, files, kinds } });
    const reason =
      `${branch} has changed on the remote in the same places as the result: ${shown(files)}; ` +
      `\`omk goal run\` on the newest ${branch} starts anew, or, once ${branch} no longer has these changes, \`omk goal resume ${open.id}\``;
    return { status: "blocked_on_human", reasonCode: "integration_conflict", reason };
  }
  const tree = await git.projectIn(merged.tree, signal);
  const undone = await undoneIn(steps, tree);
  if (undone.length > 0) {
    await recordStep(open, { kind: "integration_undone", payload: { base, onto: ours, files: undone } });
    const reason =
      `${branch} has taken back what the result changes, and a merge would not bring it again: ${shown(undone)}; ` +
      `\`omk goal run\` on the newest ${branch} starts anew, or, once ${branch} has it again, \`omk goal resume ${open.id}\``;
    return { status: "blocked_on_human", reasonCode: "integration_undone", reason };
  }
  const known = deliveryOf(open).integration;
  const isJudged = tree === open.work.result?.tree || tree === known?.tree;
  const gates = isJudged ? (known?.gates ?? null) : await judge(steps, space, { ...merged, tree });
  const red = redGates(gates ?? []).map(({ name }) => name);
  if (red.length === 0) return settled(steps, { base, commit: merged.commit, tree, gates });
  const reason =
    `together with ${branch} as it is on the remote now, these gates are red: ${shown(red)}; ` +
    `\`omk goal run\` on the newest ${branch} starts anew, or, once ${branch} is mended, \`omk goal resume ${open.id}\``;
  return { status: "blocked_on_human", reasonCode: "integration_gates_red", reason };
}

/**
 * Changes of the result that are not in the merged files: an earlier result was merged and then reverted, which git takes
 * for the newer word.
 */
async function undoneIn({ open, git, signal }: GitHubSteps, tree: string): Promise<string[]> {
  const { base, result } = open.work;
  if (!base || !result) return [];
  const kept = new Set((await git.changes(base.tree, tree, signal)).map(({ path }) => path));
  return result.changed_files.map(({ path }) => path).filter((path) => !kept.has(path));
}

function shown(names: readonly string[]): string {
  const more = names.length > 10 ? `, and ${names.length - 10} more` : "";
  return `${names.slice(0, 10).join(", ")}${more}`;
}

/** The goal's gates on the merged files. Afterwards the stage shows the accepted result again, which all else is about. */
async function judge(
  { open, ports, signal }: GitHubSteps,
  space: SlicedWorkspace,
  { commit, tree }: { commit: string; tree: string },
): Promise<GateResult[]> {
  const started = ports.clock.monotonicMs();
  try {
    await space.sliced.show(commit, signal);
    const where = { tree, where: "worktree", cwd: space.tree.root, name: "integrator" } as const;
    const run = await runGateSet(gateSubject({ open, space, ports, signal }), where, ports, signal);
    ports.tell(
      `gates on the merged files: ${run.results.map((gate) => `${gate.name} ${gate.verdict}`).join(", ")}`,
    );
    const { work } = open;
    await open.record({
      kind: "integration_judged",
      actor: "goal-controller",
      payload: {
        commit,
        tree,
        run: run.id,
        gates: run.results.map(({ name, verdict, passed, required }) => ({
          name,
          verdict,
          passed,
          required,
        })),
      },
      changes: [
        change("work.json", {
          evidence: [...work.evidence, ...run.evidence],
          active_ms: work.active_ms + ports.clock.monotonicMs() - started,
        }),
      ],
    });
    return run.results;
  } finally {
    await space.sliced.show(open.work.slices?.head ?? commit, UNHURRIED);
  }
}
