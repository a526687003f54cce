/**
 * Running the gates around a change: on its base, on its result, with the base's copies of tests that were changed, and
 * on the base with tests that were added. Goals and team runs differ in where they write that down, so both bring a
 * subject.
 */
import { join } from "node:path";

import type { GateDefinition, GateResult } from "../format/gate.ts";
import type { ProtectedInput } from "../format/proof.ts";
import type { GateWork } from "../format/work.ts";
import type { CheckoutOptions, TreeChange, WorkTree } from "../git/work-tree.ts";
import type { Clock } from "../ports.ts";
import type { NewEvent } from "../store/event-log.ts";
import { evidenceOf, type EvidenceFile } from "../store/evidence.ts";
import { ensureFolder, type FilePorts } from "../store/files.ts";
import { concernsTestsOnly, findTouchedInputs, type TouchedInputs } from "./inputs.ts";
import { withoutLostTests } from "./lost-tests.ts";
import { isTestFile } from "./protected.ts";
import type { GateRun } from "./run.ts";
import { allowedRed, areGreen, mendedGates } from "./state.ts";
import { testsRun } from "./verdict.ts";

/** What running gates needs of the world. */
export interface GateStepPorts extends FilePorts {
  /** Variables that gates may see. */
  environment: Readonly<Record<string, string>>;
  runGates(run: GateRun, signal: AbortSignal): Promise<GateResult[]>;
  /** One line of the story for whoever watches. */
  tell(line: string): void;
  clock: Pick<Clock, "monotonicMs">;
}

/** What the gates are about: a goal or a team run, as far as gates know it. */
export interface GateSubject {
  /** Where logs, raw output and temporary copies lie. */
  folder: string;
  definitions: readonly GateDefinition[];
  /** What the change starts from. */
  base: { tree: string } | undefined;
  /** What the gates said of the base. */
  baseline: readonly GateResult[];
  /** The `seq` of the next event: it makes names of runs unique. */
  nextSeq(): number;
  record(...events: NewEvent[]): Promise<number[]>;
  tree: WorkTree;
  /** The user's own project, where `tree` shows it in another folder. */
  project?: string;
  /** Whether a person let the change of this protected file pass. */
  isAllowed?(path: string): boolean;
  /** Gates that may be red where the base is. */
  allowRed?: readonly string[];
}

/** A run of gates that is wanted. */
interface GateSetRequest {
  tree: string;
  where: "worktree" | "base_copies" | "clean_checkout";
  /** Where they run. */
  cwd: string;
  name: string;
  only?: "tests";
  /** Commands that are no gates, in place of the subject's: they judge nothing. */
  commands?: readonly GateDefinition[];
  /** What they are run for, as whoever watches is told; what the name says where this is absent. */
  purpose?: string;
}

/** One run of gates: its name, its results in the order of the definitions, and their logs. */
export interface GateSetRun {
  id: string;
  results: GateResult[];
  evidence: EvidenceFile[];
}

/** Runs every gate once, each start and end an event, and names their logs as evidence. */
export async function runGateSet(
  subject: GateSubject,
  request: GateSetRequest,
  ports: GateStepPorts,
  signal: AbortSignal,
): Promise<GateSetRun> {
  const gates = request.only === "tests" ? testingGates(subject.definitions) : subject.definitions;
  const definitions = request.commands ?? gates;
  const id = `${subject.nextSeq()}-${request.name}`;
  const rawFolder = join(subject.folder, "raw");
  await ensureFolder(rawFolder, ports);
  const ran = await ports.runGates(
    {
      definitions,
      cwd: request.cwd,
      logFolder: join(subject.folder, "artifacts", "gates", id),
      rawFolder,
      environment: ports.environment,
      tree: request.tree,
      where: request.where,
      base: new Map(subject.baseline.map((gate) => [gate.name, gate])),
      onStart: async (gate, spawnId) => {
        const what = `${request.commands ? "" : "gate "}${gate.name} (${request.purpose ?? purposeOf(request.name)})`;
        ports.tell(`${what}: ${[gate.command, ...gate.args].join(" ")}`);
        const { name } = gate;
        const payload = { gate_id: name, name, run: id, tree: request.tree, spawn_id: spawnId };
        await subject.record({ kind: "command_started", actor: null, payload });
      },
      onEnd: async (gate, spawnId) => {
        const payload = gatePayload(gate, spawnId);
        const kind = gate.passed ? "gate_passed" : "gate_failed";
        const finished = { kind: "command_finished", actor: null, payload };
        if (request.commands) await subject.record(finished);
        else await subject.record(finished, { kind, actor: null, payload: { ...payload, run: id } });
      },
    },
    signal,
  );
  const evidence = ran.flatMap((gate) =>
    gate.output_path === undefined ? [] : [evidenceOf(subject, gate.output_path, ports)],
  );
  const results = ran.map((gate) => (subject.allowRed?.includes(gate.name) ? allowedRed(gate) : gate));
  return { id, results, evidence };
}

/** What a run of gates is for, as whoever watches is told. */
const PURPOSES: Readonly<Record<string, string>> = {
  base: "baseline",
  "base-copies": "with the base's files",
  "copy-check": "the same copy, without the base's files",
  "base-check": "the base in a copy",
  "added-tests": "added tests on the base",
  "added-control": "the result in a copy",
  "clean-base": "fresh checkout of the base",
  "clean-base-again": "fresh checkout of the base, once more",
  clean: "fresh checkout",
};

function purposeOf(name: string): string {
  const run = name.replace(/-setup$/, "");
  return PURPOSES[run] ?? run.replaceAll("-", " ");
}

/** What the gates say of a result: the record of it, the logs, and whether they passed in every form. */
export interface ResultJudgement {
  gates: GateWork;
  evidence: EvidenceFile[];
  passed: boolean;
}

/**
 * Runs the gates on a result, which is what lies in the work tree, and, where they are green, with base copies of touched
 * tests and with added tests on the base. `reusable` is what the same gates said of the same tree before.
 */
export async function judgeResult(
  subject: GateSubject,
  tree: string,
  { reusable }: { reusable?: readonly GateResult[] },
  ports: GateStepPorts,
  signal: AbortSignal,
): Promise<ResultJudgement> {
  const run = reusable
    ? { id: "baseline", results: [...reusable], evidence: [] }
    : await runGateSet(
        subject,
        { tree, where: "worktree", cwd: subject.tree.root, name: "result" },
        ports,
        signal,
      );
  const written = new Set(await writtenSince(subject.tree, tree, signal));
  const evidence = [...run.evidence];
  const steps = { subject, tree, evidence, written, ports, signal };
  // Also where the gates are red: what the change touches is to be seen in any case.
  const touched = await touchedInputs(steps);
  const protected_inputs = touched.inputs.map((input): ProtectedInput =>
    subject.isAllowed?.(input.path) === true ? { ...input, status: "allowed" } : input,
  );
  // Where tests were touched, the run with the base's own tests tells whether any was lost.
  const isUntouched = touched.inputs.length === 0 && !reusable;
  const results = isUntouched ? withoutLostTests(run.results, subject.baseline) : run.results;
  const green = areGreen(results);
  let base_copies: GateWork["base_copies"] = null;
  let added_tests: GateWork["added_tests"] = null;
  if (green && !reusable) {
    base_copies = await runBaseCopies(steps, { ...touched, inputs: protected_inputs });
    if (base_copies?.status !== "failed") added_tests = await runAddedTests(steps, results);
  }
  const passed = green && base_copies?.status !== "failed" && base_copies?.status !== "unusable";
  const found = { base_copies, added_tests, protected_inputs, side_effects: [...written] };
  return { gates: { tree, run: run.id, results, ...found }, evidence, passed };
}

/** Verdicts of gates that judged something. */
const RAN: ReadonlySet<string> = new Set(["passed", "failed", "failed_on_base_too", "timed_out"]);

/** What of the gates' inputs the change touches. */
async function touchedInputs({ subject, tree, signal }: Judging): Promise<TouchedInputs> {
  if (!subject.base) return { inputs: [], texts: new Map() };
  const base = subject.base.tree;
  const { tree: workTree, definitions } = subject;
  const changes = await workTree.changes(base, tree, signal);
  // Where tests ran on the base, they must also pass without the company of what the change adds to them: a source that
  // ends the runner early would otherwise hide behind one added test.
  const counted = subject.baseline.some((gate) => testsRun(gate.counts) > 0);
  const ran = subject.baseline.some(({ verdict }) => RAN.has(verdict ?? ""));
  return findTouchedInputs({ workTree, base, tree, changes, definitions, counted, ran }, signal);
}

/** Paths that differ in the work tree from what it was: where gates ran in between, what they wrote. */
export async function writtenSince(tree: WorkTree, since: string, signal: AbortSignal): Promise<string[]> {
  const after = await tree.snapshot(signal);
  return (await tree.changes(since, after, signal)).map(({ path }) => path);
}

/** After a controller's death: nothing of its gates' raw output or temporary copies is kept. */
export function sweepGateRemains(folder: string, ports: Pick<GateStepPorts, "disk">): void {
  for (const name of ["raw", "checkout"]) ports.disk.removeTree(join(folder, name));
}

/**
 * The gates that can tell whether tests hold: those known to run tests or, when none of them is required, all. A script
 * may run tests without saying so, and running nothing must not look like passing.
 */
function testingGates(all: readonly GateDefinition[]): readonly GateDefinition[] {
  const tests = all.filter((gate) => gate.kind === "test");
  return tests.some((gate) => gate.required && !gate.skip) ? tests : all;
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

/** A result that is judged, and where logs are gathered. */
interface Judging {
  subject: GateSubject;
  tree: string;
  evidence: EvidenceFile[];
  /** Files of the project that gates changed through a copy. */
  written: Set<string>;
  ports: GateStepPorts;
  signal: AbortSignal;
}

/** The gates with the base's copies of protected files that the change touched. */
async function runBaseCopies(
  steps: Judging,
  { inputs, texts }: TouchedInputs,
): Promise<GateWork["base_copies"]> {
  const { subject, tree } = steps;
  const tried = inputs.filter(({ status }) => status !== "allowed");
  const files = tried.map(({ path }) => path);
  if (!subject.base || files.length === 0) return null;
  const overlay = {
    tree: subject.base.tree,
    paths: files.filter((path) => !texts.has(path)),
    texts: new Map([...texts].filter(([path]) => files.includes(path))),
  };
  // A linter's settings, or a program that is a gate, concern gates that run no tests.
  const only = tried.every(concernsTestsOnly) ? ({ only: "tests" } as const) : {};
  const run = await runInCopy(steps, { tree, overlay, name: "base-copies", ...only });
  // Where a person let tests change, there may be fewer.
  const isWhole = tried.length === inputs.length;
  const results = isWhole ? withoutLostTests(run.results, subject.baseline) : run.results;
  if (areGreen(results)) return { status: "passed", files, results };
  // Red in a copy may be the copy's fault: without the base's files the same gates are green where they should be.
  const calibration = await runInCopy(steps, { tree, name: "copy-check", ...only });
  const usable = areGreen(calibration.results);
  return { status: usable ? "failed" : "unusable", files, results };
}

/** Tests that the change adds, laid over the base: red there and green now shows that they test the change. */
async function runAddedTests(
  steps: Judging,
  results: readonly GateResult[],
): Promise<GateWork["added_tests"]> {
  const { subject, tree, signal } = steps;
  // A gate that turned from red to green shows as much, and costs nothing.
  if (!subject.base || mendedGates(results).length > 0) return null;
  const base = subject.base.tree;
  const changes = await subject.tree.changes(base, tree, signal);
  const files = addedTests(changes);
  const tests = subject.definitions.some((gate) => gate.kind === "test" && !gate.skip);
  if (files.length === 0 || !tests) return null;
  // With nothing but tests the base and those are the result: red there and green here shows only that a run can differ.
  if (changes.every(({ path }) => files.includes(path))) return null;
  const calibration = await runInCopy(steps, { tree: base, name: "base-check", only: "tests" });
  const wasGreen = subject.baseline.filter((gate) => gate.verdict === "passed");
  const usable = wasGreen.every(
    (gate) => calibration.results.find((one) => one.name === gate.name)?.passed ?? true,
  );
  if (!usable) return { status: "unusable", files, results: calibration.results };
  const overlay = { tree, paths: files };
  const run = await runInCopy(steps, { tree: base, overlay, name: "added-tests", only: "tests" });
  const red = run.results.some((gate) => gate.verdict === "failed" || gate.verdict === "failed_on_base_too");
  if (!red) return { status: "green_on_base", files, results: run.results };
  // A test that is red in every copy tells nothing of the base.
  const control = await runInCopy(steps, { tree, name: "added-control", only: "tests" });
  return { status: areGreen(control.results) ? "red_on_base" : "unusable", files, results: run.results };
}

function addedTests(changes: readonly TreeChange[]): string[] {
  return changes.filter(({ path, kind }) => kind === "added" && isTestFile(path)).map(({ path }) => path);
}

/** Runs gates in a temporary copy of a tree, with some files from another. */
async function runInCopy(
  { subject, evidence, written, ports, signal }: Judging,
  request: { tree: string; overlay?: NonNullable<CheckoutOptions["overlay"]>; name: string; only?: "tests" },
): Promise<GateSetRun> {
  const { tree, overlay, name, only } = request;
  // What it is for is not to be read from its path.
  const folder = join(subject.folder, "checkout", ports.random.name(12));
  await ensureFolder(folder, ports);
  try {
    const options = { withIgnored: true, ...(overlay && { overlay }) };
    const linked = await subject.tree.checkout(tree, folder, options, signal);
    if (linked)
      ports.tell(
        `the gates' copy shares with the project what is too large to copy: ${linked.paths.join(", ")}`,
      );
    const set = { tree, where: "base_copies", cwd: folder, name, ...(only && { only }) } as const;
    const run = await runGateSet(subject, set, ports, signal);
    evidence.push(...run.evidence);
    for (const path of linked?.changed() ?? []) written.add(path);
    return run;
  } finally {
    ports.disk.removeTree(folder);
  }
}
