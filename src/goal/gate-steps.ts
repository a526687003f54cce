/** Running a goal's gates: on the base, on the result, and with the base's copies of tests that were changed. */
import type { GateDefinition, GateResult } from "../format/gate.ts";
import type { CleanCheckout } from "../format/proof.ts";
import { instantOf } from "../format/stamp.ts";
import type { GateWork, Work } from "../format/work.ts";
import { judgeClean, tryCleanBase } from "../gate/clean-checkout.ts";
import { addDurations, withNotes } from "../gate/durations.ts";
import { matchesGlobs } from "../gate/globs.ts";
import { changedPrograms, ignoredPrograms, inBaseCopies, setupOverlay } from "../gate/inputs.ts";
import { judgeResult, runGateSet, writtenSince, type GateSubject } from "../gate/steps.ts";
import { areGreen } from "../gate/state.ts";
import { changedFiles } from "../git/changed-files.ts";
import { agentTasks } from "./agent-tasks.ts";
import { changedGates, gateSet } from "./candidates.ts";
import { isWaived } from "./facts.ts";
import { helperPaths } from "./helper.ts";
import { change, changeTask, type GoalPorts, type OpenGoal } from "./open.ts";
import type { Ending } from "./proof.ts";
import { TASK } from "./task-ids.ts";
import { recordSlicedBase } from "./sliced-base.ts";
import { showResult } from "./sliced-space.ts";
import { outsideOfAll, strayedBy } from "./write-sets.ts";
import type { Workspace } from "./workspace.ts";

/** What every step with gates is given. */
export type GateSteps = { open: OpenGoal; space: Workspace; ports: GoalPorts; signal: AbortSignal };

/** A goal as the gates see it. */
export function gateSubject({ open, space }: GateSteps): GateSubject {
  const { goal, work } = open;
  return {
    folder: open.folder,
    definitions: gateSet(goal, work).definitions,
    base: work.base ?? undefined,
    baseline: work.baseline?.gates ?? [],
    nextSeq: () => open.journal.nextSeq,
    record: (...events) => open.record(...events),
    tree: space.tree,
    ...(space.sliced && { project: space.sliced.git.root }),
    isAllowed: (path) => matchesGlobs(path, goal.may_change ?? []) || isWaived(open.work, "change", path),
    allowRed: goal.allow_red ?? [],
  };
}

/** Records what the project looked like before any agent: the tree, the commit, and where HEAD and index stood. */
export async function recordBase(steps: GateSteps): Promise<void> {
  const { open, space, signal } = steps;
  if (space.sliced) return recordSlicedBase(open, space.sliced, steps.ports, signal);
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

/**
 * Runs the gates before the work: red is information, what is red later is judged against it. An ending when the files are
 * no longer those of the base and an agent was here since: then only a person can say which of them the work starts from.
 */
export async function runBaseline(steps: GateSteps): Promise<Ending | undefined> {
  const { open, space, ports, signal } = steps;
  const started = ports.clock.monotonicMs();
  const moved = await standOnBase(steps);
  if (moved !== "ready") return moved;
  const { work } = open;
  const tree = work.base?.tree ?? "";
  const where = { tree, where: "worktree", cwd: space.tree.root, name: "base" } as const;
  const run = await runGateSet(gateSubject(steps), where, ports, signal);
  const sideEffects = await writtenSince(steps.space.tree, tree, signal);
  const verdicts = run.results.map((gate) => `${gate.name} ${gate.verdict}`).join(", ");
  ports.tell(`baseline: ${verdicts}`);
  const { definitions, setup } = gateSet(open.goal, work);
  const { clean, evidence } = await tryCleanBase(
    { subject: gateSubject(steps), setup, ports, signal },
    tree,
    run.results,
  );
  const place = space.sliced ? "a folder that shows the result" : "the project directory";
  if (clean.status === "unusable")
    ports.tell(`gates run in ${place} only, and not on a fresh checkout: ${clean.reason}`);
  const gate_programs = await ignoredPrograms(space.tree, tree, definitions, ports.disk, signal);
  await open.record({
    kind: "baseline_recorded",
    actor: "goal-controller",
    payload: { tree, run: run.id, gates: summaryOf(run.results) },
    changes: [
      change("work.json", {
        baseline: { tree, gates: run.results },
        clean_baseline: { ...clean, tree },
        gate_programs,
        gate_durations: addDurations(work.gate_durations, run.results),
        side_effects: sideEffects,
        evidence: [...work.evidence, ...run.evidence, ...evidence],
        active_ms: work.active_ms + ports.clock.monotonicMs() - started,
      }),
    ],
  });
  return undefined;
}

/** Sees to it that the files are those of the base; else there is no baseline, or an ending says why. */
async function standOnBase(steps: GateSteps): Promise<Ending | "ready" | undefined> {
  const { open, space, signal } = steps;
  if (space.sliced) {
    // A commit stays as it is, whatever was done since.
    if (open.work.slices) await space.sliced.show(open.work.slices.base, signal);
    await space.sliced.tidy(signal);
    return "ready";
  }
  const now = await space.tree.snapshot(signal);
  if (now === open.work.base?.tree) return "ready";
  // Gates that came late, or files that changed since the base was recorded.
  if (open.work.attempts.length > 0) {
    await recordNoBaseline(steps);
    return undefined;
  }
  if (open.work.helper_turns.length > 0) return groundMoved(steps, now);
  await recordBase(steps);
  return "ready";
}

/** A planner left something that still wrote, or another hand did: nobody can tell which. */
async function groundMoved({ open, space, signal }: GateSteps, now: string): Promise<Ending | undefined> {
  const changes = await space.tree.changes(open.work.base?.tree ?? "", now, signal);
  const [first, ...more] = changes.map(({ path }) => path);
  const files = more.length === 0 ? first : `${first} and ${more.length} more`;
  return {
    status: "blocked_on_human",
    reasonCode: "repository_moved",
    reason:
      `${files} changed since the goal's base was recorded, and not by its work; ` +
      `look at it, then \`omk goal resume ${open.id}\` takes the present files for its base`,
  };
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
 * Runs the gates on the present result, with the base's copies of protected files it touches, and on a fresh checkout of
 * it. What was found of the same tree before holds, unless a person asks for another run.
 */
export async function runResultGates(steps: GateSteps, mayReuse = true): Promise<void> {
  const { open, ports } = steps;
  const started = ports.clock.monotonicMs();
  const tree = await settleResult(steps);
  const changed_gates = changedGates(steps, tree);
  const { digest } = gateSet(open.goal, open.work);
  const known = mayReuse ? knownGates(open.work, tree, digest) : undefined;
  if (known) ports.tell("gates: these files were judged before, and that holds");
  const judged = known ?? (await judge(steps, tree, mayReuse));
  const { gates, evidence, passed } = judged;
  const { results, base_copies, clean_checkout } = gates;
  const { work } = open;
  const earlier = (work.earlier_gates ?? []).filter((one) => one.tree !== tree);
  if (work.gates && work.gates.tree !== tree) earlier.push(work.gates);
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
          gates: { ...gates, digest },
          earlier_gates: earlier.slice(-EARLIER_MAX),
          ...(changed_gates && { changed_gates }),
          ...(known ? {} : { gate_durations: addDurations(work.gate_durations, results) }),
          side_effects: [...new Set([...work.side_effects, ...gates.side_effects])],
          evidence: [...work.evidence, ...evidence],
          active_ms: work.active_ms + ports.clock.monotonicMs() - started,
        },
        ["drift", ...(changed_gates ? [] : ["changed_gates"])],
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
    ports.tell(`gates ${inBaseCopies(base_copies.files, gates.protected_inputs)}: ${base_copies.status}`);
  if (clean_checkout && clean_checkout.status !== "unusable")
    ports.tell(`gates on a fresh checkout of the result: ${clean_checkout.status}`);
  for (const { name, note } of results)
    if (note === "suspiciously_fast") ports.tell(`gate ${name} passed suspiciously fast`);
  if (changed_gates) {
    const named = changed_gates.changes.map(({ name, how }) => `${name} (${how})`).join(", ");
    ports.tell(
      `the change defines gates in another way, which does not count unless a person approves: ${named}`,
    );
  }
}

/** How many results are remembered beside the present one. */
const EARLIER_MAX = 3;

interface Judged {
  gates: GateWork;
  evidence: Work["evidence"];
  passed: boolean;
}

/** What was found of the same files by the same gates; nothing where they turned out to have been changed since. */
function knownGates(work: Work, tree: string, digest: string): Judged | undefined {
  if (work.drift?.tree === tree) return undefined;
  const gates = work.earlier_gates?.findLast((one) => one.tree === tree && one.digest === digest);
  return gates && { gates, evidence: [], passed: isPassed(gates) };
}

function isPassed({ results, base_copies, clean_checkout }: GateWork): boolean {
  if (base_copies?.status === "failed" || base_copies?.status === "unusable") return false;
  return areGreen(results) && clean_checkout?.status !== "failed";
}

/** Runs everything that is to be run on a result. */
async function judge(steps: GateSteps, tree: string, mayReuse: boolean): Promise<Judged> {
  const { open, space, ports, signal } = steps;
  const { baseline, gate_durations, gate_programs = {} } = open.work;
  const isBase = mayReuse && baseline?.tree === tree && baseline.gates.length > 0;
  if (isBase) ports.tell("gates: the files are those of the base, whose gates have run");
  const reused = isBase ? { reusable: baseline.gates } : {};
  const subject = gateSubject(steps);
  const { gates, evidence } = await judgeResult(subject, tree, reused, ports, signal);
  const results = withNotes(gates.results, gate_durations);
  const programs = changedPrograms(space.tree.root, gate_programs, ports.disk);
  const judged = isPassed(gates)
    ? await cleanOf(steps, tree, isBase)
    : { clean: null, evidence: [] as Work["evidence"] };
  const { clean } = judged;
  // Nobody can put an ignored program back, but where none of them was there the gates have shown the same without.
  const status = clean?.status === "passed" ? ("passed" as const) : ("unusable" as const);
  const replaced = programs.map((one) => ({
    ...one,
    status: subject.isAllowed?.(one.path) === true ? ("allowed" as const) : status,
  }));
  const untried = replaced.filter((one) => one.status === "unusable").map(({ path }) => path);
  const found: GateWork = {
    ...gates,
    results,
    clean_checkout: clean,
    protected_inputs: [...(gates.protected_inputs ?? []), ...replaced],
    ...(untried.length > 0 &&
      areGreen(results) && {
        base_copies: {
          status: gates.base_copies?.status === "failed" ? "failed" : "unusable",
          files: [...(gates.base_copies?.files ?? []), ...untried],
          results: gates.base_copies?.results ?? [],
        },
      }),
  };
  return { gates: found, evidence: [...evidence, ...judged.evidence], passed: isPassed(found) };
}

/** The gates on a fresh checkout, where the base could be judged that way. */
async function cleanOf(
  steps: GateSteps,
  tree: string,
  isBase: boolean,
): Promise<{ clean: CleanCheckout | null; evidence: Work["evidence"] }> {
  const { open, space, ports, signal } = steps;
  const base = open.work.clean_baseline;
  if (base && (base.status !== "passed" || isBase)) {
    const { tree: _tree, ...clean } = base;
    return { clean: { ...clean, results: isBase ? clean.results : [] }, evidence: [] };
  }
  // Without gates on the base nothing tells whether a fresh checkout can be judged at all.
  if (!base) return { clean: null, evidence: [] };
  const { setup } = gateSet(open.goal, open.work);
  const subject = gateSubject(steps);
  const isAllowed = (path: string): boolean => subject.isAllowed?.(path) === true;
  const given = { workTree: space.tree, base: base.tree, tree, setup, isAllowed };
  const overlay = await setupOverlay(given, signal);
  return judgeClean({ subject, setup, overlay, ports, signal }, tree);
}

/**
 * The tree the gates are about is what is there now. Where other hands changed files since the last step, that is the
 * result, and the files are named.
 */
async function settleResult(steps: GateSteps): Promise<string> {
  const { open, space, ports, signal } = steps;
  const { work } = open;
  if (space.sliced) {
    // The result is a commit, which no other hand changes; what earlier gates left beside it goes.
    await showResult(open, space, signal);
    await space.sliced.tidy(signal);
    return work.result?.tree ?? work.base?.tree ?? space.tree.snapshot(signal);
  }
  const now = await space.tree.snapshot(signal);
  const recorded = work.result?.tree ?? work.base?.tree;
  if (recorded === undefined || recorded === now) return now;
  const ours = new Set(work.side_effects);
  const meanwhile = (await space.tree.changes(recorded, now, signal)).filter(({ path }) => !ours.has(path));
  const outside = meanwhile.map(({ path }) => path);
  if (outside.length > 0) ports.tell(`files were changed since the last step: ${outside.join(", ")}`);
  const before = (work.result?.changed_files ?? []).map(({ path }) => path);
  const by = { attempts: work.attempts, outside: [...before, ...outside, ...helperPaths(work)] };
  const changed_files = work.base ? await changedFiles(space.tree, work.base.tree, now, signal, by) : [];
  // Whoever it was: what no task was to change is for a person to decide.
  const worked = work.attempts.length > 0;
  const tasks = agentTasks(open.graph);
  const outside_write_sets = worked
    ? outsideOfAll(work.outside_write_sets, tasks, { meanwhile, sinceBase: changed_files })
    : work.outside_write_sets;
  await open.record({
    kind: "file_changed",
    actor: "goal-controller",
    payload: { tree: now, paths: outside },
    changes: [
      change("work.json", {
        result: { tree: now, changed_files },
        outside_write_sets,
        ...(work.strayed_by && { strayed_by: strayedBy(work, outside_write_sets) }),
      }),
    ],
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
