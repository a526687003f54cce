/** Running a goal's gates: on the base, on the result, and with the base's copies of tests that were changed. */
import type { GateDefinition, GateResult } from "../format/gate.ts";
import { instantOf } from "../format/stamp.ts";
import { judgeResult, runGateSet, writtenSince, type GateSubject } from "../gate/steps.ts";
import { changedFiles } from "../git/changed-files.ts";
import { change, changeTask, type GoalPorts, type OpenGoal } from "./open.ts";
import { TASK } from "./scaffold.ts";
import type { Workspace } from "./workspace.ts";

/** What every step with gates is given. */
export type GateSteps = { open: OpenGoal; space: Workspace; ports: GoalPorts; signal: AbortSignal };

/** A goal as the gates see it. */
function gateSubject({ open, space }: GateSteps): GateSubject {
  const { goal, work } = open;
  return {
    folder: open.folder,
    definitions: goal.gates?.definitions ?? [],
    base: work.base ?? undefined,
    baseline: work.baseline?.gates ?? [],
    nextSeq: () => open.journal.nextSeq,
    record: (...events) => open.record(...events),
    tree: space.tree,
  };
}

/** Records what the project looked like before any agent: the tree, the commit, and where HEAD and index stood. */
export async function recordBase({ open, space, signal }: Omit<GateSteps, "ports">): Promise<void> {
  const tree = await space.tree.snapshot(signal);
  const commit = (await space.tree.head(signal)) ?? null;
  if (commit !== null) await space.tree.pinBase(commit, signal);
  const position = await space.tree.position(signal);
  await open.record({
    kind: "base_recorded",
    actor: "goal-controller",
    payload: { tree, commit },
    changes: [
      change("work.json", { base: { tree, commit, position } }),
      change("goal.json", { base_commit: commit }),
    ],
  });
}

/** Runs the gates before the work: red is information, what is red later is judged against it. */
export async function runBaseline(steps: GateSteps): Promise<void> {
  const { open, space, ports, signal } = steps;
  const started = ports.clock.monotonicMs();
  if ((await space.tree.snapshot(signal)) !== open.work.base?.tree) {
    // Gates that came late, or files that changed since the base was recorded.
    if (open.work.attempts.length > 0) return recordNoBaseline(steps);
    await recordBase(steps);
  }
  const { work } = open;
  const tree = work.base?.tree ?? "";
  const where = { tree, where: "worktree", cwd: space.tree.root, name: "base" } as const;
  const run = await runGateSet(gateSubject(steps), where, ports, signal);
  const sideEffects = await writtenSince(steps.space.tree, tree, signal);
  const verdicts = run.results.map((gate) => `${gate.name} ${gate.verdict}`).join(", ");
  ports.tell(`baseline: ${verdicts}`);
  await open.record({
    kind: "baseline_recorded",
    actor: "goal-controller",
    payload: { tree, run: run.id, gates: summaryOf(run.results) },
    changes: [
      change("work.json", {
        baseline: { tree, gates: run.results },
        side_effects: sideEffects,
        evidence: [...work.evidence, ...run.evidence],
        active_ms: work.active_ms + ports.clock.monotonicMs() - started,
      }),
    ],
  });
}

/** What the gates would have said of the base cannot be known any more: it is neither green nor red. */
async function recordNoBaseline({ open, ports }: GateSteps): Promise<void> {
  const tree = open.work.base?.tree ?? "";
  ports.tell("baseline: the files are no longer those of the base, so the gates have none");
  await open.record({
    kind: "baseline_recorded",
    actor: "goal-controller",
    payload: { tree, run: null, gates: [] },
    changes: [change("work.json", { baseline: { tree, gates: [] } })],
  });
}

/**
 * Runs the gates on the present result and, where the change touched tests of the base, with their base copies. Where the
 * result is the base, what the gates said of that holds, unless a person asks for another run.
 */
export async function runResultGates(steps: GateSteps, mayReuse = true): Promise<void> {
  const { open, ports, signal } = steps;
  const started = ports.clock.monotonicMs();
  const tree = await settleResult(steps);
  const { baseline } = open.work;
  const known = baseline?.tree === tree && baseline.gates.length > 0;
  const reused = mayReuse && known ? { reusable: baseline.gates } : {};
  if (reused.reusable) ports.tell("gates: the files are those of the base, whose gates have run");
  const { gates, evidence, passed } = await judgeResult(gateSubject(steps), tree, reused, ports, signal);
  const { results, base_copies } = gates;
  const { work } = open;
  await open.record({
    kind: passed ? "task_completed" : "task_failed",
    actor: "goal-controller",
    payload: {
      task_id: TASK.verify,
      worker_id: "goal-controller",
      tree,
      run: gates.run,
      gates: summaryOf(results),
    },
    changes: [
      change(
        "work.json",
        {
          gates,
          side_effects: [...new Set([...work.side_effects, ...gates.side_effects])],
          evidence: [...work.evidence, ...evidence],
          active_ms: work.active_ms + ports.clock.monotonicMs() - started,
        },
        ["drift"],
      ),
      changeTask(
        TASK.verify,
        {
          status: passed ? "done" : "blocked",
          owner_role: "goal-controller",
          evidence: [
            { kind: "gate_artifacts", path: "artifacts/gates", summary: passedOf(results) },
            { kind: "proof", path: "proof.json", summary: "the proof that names them" },
          ],
          ...(passed && { completed_at: instantOf(ports.clock.now()) }),
        },
        passed ? undefined : ["completed_at"],
      ),
    ],
  });
  ports.tell(`gates: ${results.map((gate) => `${gate.name} ${gate.verdict}`).join(", ") || "none"}`);
  if (base_copies)
    ports.tell(`gates with the base's copies of ${base_copies.files.join(", ")}: ${base_copies.status}`);
}

/**
 * The tree the gates are about is what is there now. Where other hands changed files since the last step, that is the
 * result, and the files are named.
 */
async function settleResult({ open, space, ports, signal }: GateSteps): Promise<string> {
  const now = await space.tree.snapshot(signal);
  const { work } = open;
  const recorded = work.result?.tree ?? work.base?.tree;
  if (recorded === undefined || recorded === now) return now;
  const ours = new Set(work.side_effects);
  const outside = (await space.tree.changes(recorded, now, signal))
    .map(({ path }) => path)
    .filter((path) => !ours.has(path));
  if (outside.length > 0) ports.tell(`files were changed since the last step: ${outside.join(", ")}`);
  const before = (work.result?.changed_files ?? []).map(({ path }) => path);
  const by = { attempts: work.attempts, outside: [...before, ...outside] };
  const changed_files = work.base ? await changedFiles(space.tree, work.base.tree, now, signal, by) : [];
  await open.record({
    kind: "file_changed",
    actor: "goal-controller",
    payload: { tree: now, paths: outside },
    changes: [change("work.json", { result: { tree: now, changed_files } })],
  });
  return now;
}

function summaryOf(results: readonly GateResult[]): Record<string, unknown>[] {
  return results.map(({ name, verdict, passed, required }) => ({ name, verdict, passed, required }));
}

function passedOf(results: readonly GateResult[]): string {
  if (results.length === 0) return "none configured";
  return `${results.filter((gate) => gate.passed).length}/${results.length}`;
}

/** For a definition list: whether anything could ever pass. */
export function hasGates(definitions: readonly GateDefinition[] | undefined): boolean {
  return (definitions ?? []).some((gate) => !gate.skip);
}
