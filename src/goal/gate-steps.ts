/** Running a goal's gates: on the base, on the result, and with the base's copies of tests that were changed. */
import { join } from "node:path";

import type { GateDefinition, GateResult } from "../format/gate.ts";
import type { Work } from "../format/work.ts";
import { isRunnerConfiguration, protectedTestChanges } from "../gate/protected.ts";
import { testsRun } from "../gate/verdict.ts";
import { ensureFolder } from "../store/files.ts";
import { changedFiles } from "./changes.ts";
import { evidenceOf, type EvidenceFile } from "./evidence.ts";
import { areGreen, mendedGates } from "./gate-state.ts";
import { change, changeTask, type GoalPorts, type OpenGoal } from "./open.ts";
import { TASK } from "./scaffold.ts";
import type { Workspace } from "./workspace.ts";

/** What every step with gates is given. */
export type GateSteps = { open: OpenGoal; space: Workspace; ports: GoalPorts; signal: AbortSignal };

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
    changes: [change("work.json", { base: { tree, commit, position } })],
  });
}

/** Runs the gates before the work: red is information, what is red later is judged against it. */
export async function runBaseline(steps: GateSteps): Promise<void> {
  const { open, ports } = steps;
  const { work } = open;
  const tree = work.base?.tree ?? "";
  const started = ports.clock.monotonicMs();
  const run = await runAll(steps, { tree, where: "worktree", cwd: steps.space.tree.root, name: "base" });
  const sideEffects = await writtenSince(steps, tree);
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

/**
 * Runs the gates on the present result and, where the change touched tests of the base, with their base copies. Where the
 * result is the base, what the gates said of that holds, unless a person asks for another run.
 */
export async function runResultGates(steps: GateSteps, mayReuse = true): Promise<void> {
  const { open, space, ports } = steps;
  const started = ports.clock.monotonicMs();
  const tree = await settleResult(steps);
  const before = open.work;
  const reused = mayReuse && before.baseline?.tree === tree ? before.baseline.gates : undefined;
  if (reused) ports.tell("gates: the files are those of the base, whose gates have run");
  const run = reused
    ? { id: "baseline", results: reused, evidence: [] }
    : await runAll(steps, { tree, where: "worktree", cwd: space.tree.root, name: "result" });
  const written = await writtenSince(steps, tree);
  const evidence = [...run.evidence];
  const green = areGreen(run.results);
  let base_copies: NonNullable<Work["gates"]>["base_copies"] = null;
  let added_tests: NonNullable<Work["gates"]>["added_tests"] = null;
  if (green && !reused) {
    base_copies = await runBaseCopies(steps, tree, evidence);
    if (base_copies?.status !== "failed")
      added_tests = await runAddedTests(steps, tree, run.results, evidence);
  }
  const { work } = open;
  const gates: Work["gates"] = {
    tree,
    run: run.id,
    results: run.results,
    base_copies,
    added_tests,
    side_effects: written,
  };
  const passed = green && base_copies?.status !== "failed" && base_copies?.status !== "unusable";
  const now = ports.clock.now().toISOString();
  await open.record({
    kind: passed ? "task_completed" : "task_failed",
    actor: "goal-controller",
    payload: {
      task_id: TASK.verify,
      worker_id: "goal-controller",
      tree,
      run: run.id,
      gates: summaryOf(run.results),
    },
    changes: [
      change(
        "work.json",
        {
          gates,
          side_effects: [...new Set([...work.side_effects, ...written])],
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
            { kind: "gate_artifacts", path: "artifacts/gates", summary: passedOf(run.results) },
            { kind: "proof", path: "proof.json", summary: "the proof that names them" },
          ],
          ...(passed && { completed_at: now }),
        },
        passed ? undefined : ["completed_at"],
      ),
    ],
  });
  ports.tell(`gates: ${run.results.map((gate) => `${gate.name} ${gate.verdict}`).join(", ") || "none"}`);
  if (base_copies)
    ports.tell(`gates with the base's copies of ${base_copies.files.join(", ")}: ${base_copies.status}`);
}

/** Paths that gates wrote into the project while they ran on this tree. */
async function writtenSince({ space, signal }: GateSteps, tree: string): Promise<string[]> {
  const after = await space.tree.snapshot(signal);
  return (await space.tree.changes(tree, after, signal)).map(({ path }) => path);
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
  const changed_files = await changedFiles(space.tree, work, now, [...before, ...outside], signal);
  await open.record({
    kind: "file_changed",
    actor: "goal-controller",
    payload: { tree: now, paths: outside },
    changes: [change("work.json", { result: { tree: now, changed_files } })],
  });
  return now;
}

interface GateRunOutcome {
  id: string;
  results: GateResult[];
  evidence: EvidenceFile[];
}

/** Runs every gate of the goal once, each start and end an event, and names their logs as evidence. */
async function runAll(
  { open, ports, signal }: GateSteps,
  request: { tree: string; where: "worktree" | "base_copies"; cwd: string; name: string; only?: "tests" },
): Promise<GateRunOutcome> {
  const all = open.goal.gates?.definitions ?? [];
  const definitions = request.only === "tests" ? testingGates(all) : all;
  const id = `${open.journal.nextSeq}-${request.name}`;
  const logFolder = join(open.folder, "artifacts", "gates", id);
  const rawFolder = join(open.folder, "raw");
  await ensureFolder(rawFolder, ports);
  const base = new Map((open.work.baseline?.gates ?? []).map((gate) => [gate.name, gate]));
  const results = await ports.runGates(
    {
      definitions,
      cwd: request.cwd,
      logFolder,
      rawFolder,
      environment: ports.environment,
      tree: request.tree,
      where: request.where,
      base,
      onStart: async (gate, spawnId) => {
        ports.tell(`gate ${gate.name}: ${[gate.command, ...gate.args].join(" ")}`);
        const payload = {
          gate_id: gate.name,
          name: gate.name,
          run: id,
          tree: request.tree,
          spawn_id: spawnId,
        };
        await open.record({ kind: "command_started", actor: null, payload });
      },
      onEnd: async (gate, spawnId) => {
        const payload = gatePayload(gate, spawnId);
        await open.record(
          { kind: "command_finished", actor: null, payload },
          {
            kind: gate.passed ? "gate_passed" : "gate_failed",
            actor: null,
            payload: { ...payload, run: id },
          },
        );
      },
    },
    signal,
  );
  const evidence = results.flatMap((gate) =>
    gate.output_path === undefined ? [] : [evidenceOf(open, gate.output_path, ports)],
  );
  return { id, results, evidence };
}

/**
 * The gates that can tell whether tests hold: those known to run tests or, when none of them is required, all. A script
 * may run tests without saying so, and running nothing must not look like passing.
 */
function testingGates(all: readonly GateDefinition[]): GateDefinition[] {
  const tests = all.filter((gate) => gate.kind === "test");
  return tests.some((gate) => gate.required && !gate.skip) ? tests : [...all];
}

function gatePayload(gate: GateResult, spawnId: string | null): Record<string, unknown> {
  return {
    gate_id: gate.name,
    name: gate.name,
    required: gate.required,
    command_line: gate.command_line,
    ...(gate.exit_code !== undefined && { exit_code: gate.exit_code }),
    timed_out: gate.timed_out,
    verdict: gate.verdict,
    stdout_summary: gate.stdout_summary,
    stderr_summary: gate.stderr_summary,
    output_path: gate.output_path,
    timeout_secs: gate.timeout_secs,
    ...(spawnId !== null && { spawn_id: spawnId }),
  };
}

/** The gates with the base's copies of test files that the change touched. */
async function runBaseCopies(
  steps: GateSteps,
  tree: string,
  evidence: EvidenceFile[],
): Promise<NonNullable<Work["gates"]>["base_copies"]> {
  const { open, space, signal } = steps;
  const base = open.work.base?.tree;
  if (base === undefined) return null;
  const changes = await space.tree.changes(base, tree, signal);
  // Where tests ran on the base, they must also pass without the company of what the change adds to them: a source that
  // ends the runner early would otherwise hide behind one added test.
  const counted = (open.work.baseline?.gates ?? []).some((gate) => testsRun(gate.counts) > 0);
  const configuration = changes.map(({ path }) => path).filter(isRunnerConfiguration);
  const files = [
    ...new Set([
      ...protectedTestChanges(changes),
      ...(await changedScripts(space, base, tree, changes, signal)),
      ...(counted ? [...addedTests(changes), ...configuration] : []),
    ]),
  ];
  if (files.length === 0) return null;
  const overlay = { tree: base, paths: files };
  const run = await runInCopy(steps, { tree, overlay, name: "base-copies" }, evidence);
  if (areGreen(run.results)) return { status: "passed", files, results: run.results };
  // Red in a copy may be the copy's fault: without the base's files the same gates are green where they should be.
  const calibration = await runInCopy(steps, { tree, name: "copy-check" }, evidence);
  const usable = areGreen(calibration.results);
  return { status: usable ? "failed" : "unusable", files, results: run.results };
}

/** Tests that the change adds, laid over the base: red there and green now shows that they test the change. */
async function runAddedTests(
  steps: GateSteps,
  tree: string,
  results: readonly GateResult[],
  evidence: EvidenceFile[],
): Promise<NonNullable<Work["gates"]>["added_tests"]> {
  const { open, space, signal } = steps;
  const base = open.work.base?.tree;
  // A gate that turned from red to green shows as much, and costs nothing.
  if (base === undefined || mendedGates(results).length > 0) return null;
  const changes = await space.tree.changes(base, tree, signal);
  const files = addedTests(changes);
  const tests = (open.goal.gates?.definitions ?? []).some((gate) => gate.kind === "test" && !gate.skip);
  if (files.length === 0 || !tests) return null;
  const calibration = await runInCopy(steps, { tree: base, name: "base-check" }, evidence);
  const wasGreen = (open.work.baseline?.gates ?? []).filter((gate) => gate.verdict === "passed");
  const usable = wasGreen.every(
    (gate) => calibration.results.find((one) => one.name === gate.name)?.passed ?? true,
  );
  if (!usable) return { status: "unusable", files, results: calibration.results };
  const run = await runInCopy(
    steps,
    { tree: base, overlay: { tree, paths: files }, name: "added-tests" },
    evidence,
  );
  const red = run.results.some((gate) => gate.verdict === "failed" || gate.verdict === "failed_on_base_too");
  return { status: red ? "red_on_base" : "green_on_base", files, results: run.results };
}

function addedTests(changes: readonly { path: string; kind: string }[]): string[] {
  const asModified = changes
    .filter((one) => one.kind === "added")
    .map((one) => ({ path: one.path, kind: "modified" as const }));
  return protectedTestChanges(asModified);
}

/** Manifests whose scripts changed: what a gate reaches through them is a gate's input like a test is. */
async function changedScripts(
  space: Workspace,
  base: string,
  tree: string,
  changes: readonly { path: string; kind: string }[],
  signal: AbortSignal,
): Promise<string[]> {
  const touched = changes.some(({ path, kind }) => path === "package.json" && kind !== "added");
  if (!touched) return [];
  const scripts = async (from: string) => {
    const bytes = await space.tree.read(from, "package.json", 1024 * 1024, signal);
    try {
      const manifest = JSON.parse(Buffer.from(bytes ?? "").toString("utf8")) as { scripts?: unknown };
      return JSON.stringify(manifest.scripts ?? null);
    } catch {
      // A manifest that is no JSON counts as changed against any other.
      return `unreadable in ${from}`;
    }
  };
  return (await scripts(base)) === (await scripts(tree)) ? [] : ["package.json"];
}

/** Runs the gates that test in a temporary copy of a tree, with some files from another. */
async function runInCopy(
  steps: GateSteps,
  request: { tree: string; overlay?: { tree: string; paths: readonly string[] }; name: string },
  evidence: EvidenceFile[],
): Promise<GateRunOutcome> {
  const { open, space, ports, signal } = steps;
  const folder = join(open.folder, "checkout", `${open.journal.nextSeq}-${request.name}`);
  await ensureFolder(folder, ports);
  try {
    const options = { linkIgnored: true, ...(request.overlay && { overlay: request.overlay }) };
    await space.tree.checkout(request.tree, folder, options, signal);
    const run = await runAll(steps, {
      tree: request.tree,
      where: "base_copies",
      cwd: folder,
      name: request.name,
      only: "tests",
    });
    evidence.push(...run.evidence);
    return run;
  } finally {
    ports.disk.removeTree(folder);
  }
}

function summaryOf(results: readonly GateResult[]): Record<string, unknown>[] {
  return results.map(({ name, verdict, passed, required }) => ({ name, verdict, passed, required }));
}

function passedOf(results: readonly GateResult[]): string {
  if (results.length === 0) return "none configured";
  return `${results.filter((gate) => gate.passed).length}/${results.length}`;
}

/** After a controller's death: nothing of its gates' raw output or temporary copies is kept. */
export function sweepGateRemains(open: OpenGoal, ports: GoalPorts): void {
  for (const name of ["raw", "checkout"]) ports.disk.removeTree(join(open.folder, name));
}

/** For a definition list: whether anything could ever pass. */
export function hasGates(definitions: readonly GateDefinition[] | undefined): boolean {
  return (definitions ?? []).some((gate) => !gate.skip);
}
