/**
 * Repeats the gates of a proof: on a clean checkout of the recorded result, outside the goal and the project, and compares
 * what they say with what was recorded. Writes nothing into the goal.
 */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import type { GateDefinition, GateResult } from "../format/gate.ts";
import { Goal } from "../format/goal.ts";
import type { Proof } from "../format/proof.ts";
import { Work } from "../format/work.ts";
import { setupCommands } from "../gate/setup.ts";
import { countedResults } from "../gate/state.ts";
import { KeptTrees } from "../git/kept-trees.ts";
import { ensureFolder } from "../store/files.ts";
import { checkLog } from "../store/verify.ts";
import { gateSet } from "./candidates.ts";
import type { GoalPorts } from "./open.ts";
import { withTemporary } from "./temporary.ts";
import { projectDirOf } from "./workspace.ts";

/** One gate, once more. */
interface RepeatedGate {
  name: string;
  /** As the proof has it; null for a gate that the proof does not know. */
  recorded: string | null;
  now: string;
  /** Whether both say the same. */
  same: boolean;
  required: boolean;
  /** `with_ignored`: what git ignores in the project was copied into the checkout. */
  where: "clean" | "with_ignored";
}

/** What repeating the gates showed. */
export interface Rerun {
  tree: string;
  gates: RepeatedGate[];
  /** Every gate says what was recorded. */
  valid: boolean;
  /** What was done otherwise than on a clean checkout, and why. */
  notes: string[];
}

/** Repeats the gates of a goal's proof. Its digests must have been checked before. */
export async function rerunGates(
  { folder, id }: { folder: string; id: string },
  proof: Proof,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<Rerun> {
  const tree = proof.result?.tree ?? proof.base?.tree;
  // As the goal stood at its proof: what was done to it since is none of the proof's business.
  const { history, folded, written } = checkLog(folder, ports, () => undefined);
  const then = (name: string) => history.documentAt(name, written?.seq ?? 0, folded?.documents ?? new Map());
  const goal = Goal.safeParse(then("goal.json"));
  const work = Work.safeParse(then("work.json"));
  if (!tree || !goal.success || !work.success) {
    throw new OmkError("proof.missing", `Goal ${id} has no result on which gates could run.`, {
      hint: `Let an agent work on it: omk goal resume ${id} --until-ready`,
    });
  }
  const { definitions, setup } = gateSet(goal.data, work.data);
  const rerun: Rerun = { tree, gates: [], valid: true, notes: [] };
  if (proof.gates.length === 0) {
    return { ...rerun, notes: ["the proof names no gate, so there is nothing to repeat"] };
  }
  await withTemporary("rerun", ports, async (temporary) => {
    const projectDir = projectDirOf(id, goal.data);
    const places = { goalId: id, goalDir: folder, projectDir, temporary, environment: ports.environment };
    const kept = await KeptTrees.open(places, ports, signal);
    const commands = setupCommands(setup, await kept.files(tree, signal));
    const run = { tree, definitions, commands, baseline: proof.baseline ?? [], temporary, kept };
    if (`${temporary}/`.startsWith(`${projectDir}/`))
      rerun.notes.push("omk keeps its state inside the project, so the checkout sees what lies around it");
    const { results: clean, notes } = await runClean(run, ports, signal);
    rerun.notes.push(...notes);
    rerun.gates = compare(proof, clean, "clean");
    if (rerun.gates.some(({ same }) => !same) && proof.clean_checkout?.status !== "passed") {
      await repeatWithIgnored(rerun, run, proof, ports, signal);
    }
  });
  rerun.valid = rerun.gates.every(({ same }) => same);
  return rerun;
}

/** Everything one run of the gates needs. */
interface RunOn {
  tree: string;
  definitions: readonly GateDefinition[];
  /** What sets a fresh checkout up. */
  commands: readonly GateDefinition[];
  baseline: readonly GateResult[];
  temporary: string;
  kept: KeptTrees;
}

/**
 * What was recorded came from the project directory, where installed dependencies may lie that no tree has. Beside a copy of
 * them the gates get a second chance; both is said.
 */
async function repeatWithIgnored(
  rerun: Rerun,
  run: RunOn,
  proof: Proof,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<void> {
  const ignored = await run.kept.ignored(signal);
  const differing = rerun.gates.filter(({ same }) => !same).map(({ name, now }) => `${name} ${now}`);
  const unusable = proof.clean_checkout?.reason;
  const why = `the clean checkout says otherwise (${differing.join(", ")})${unusable === undefined ? "" : `; the proof calls it unusable: ${unusable}`}`;
  if (ignored.length === 0) {
    rerun.notes.push(`${why}; the project has no ignored files that could be copied in`);
    return;
  }
  rerun.notes.push(`${why}: repeated with ${ignored.length} ignored paths of the project copied in`);
  ports.tell(
    "rerun: the clean checkout says otherwise; once more with the project's ignored files copied in",
  );
  const cwd = await checkedOut(run, "with-ignored", ports, signal);
  const linked = await run.kept.bringIgnored(ignored, cwd, signal);
  if (linked) rerun.notes.push(`too large to be copied, so linked in: ${linked.paths.join(", ")}`);
  const results = await runIn(
    cwd,
    run,
    { definitions: run.definitions, name: "with-ignored" },
    ports,
    signal,
  );
  const changed = linked?.changed() ?? [];
  if (changed.length > 0) rerun.notes.push(`the gates changed files of the project: ${changed.join(", ")}`);
  const again = compare(proof, results, "with_ignored");
  rerun.gates = rerun.gates.map((gate) =>
    gate.same ? gate : (again.find(({ name }) => name === gate.name) ?? gate),
  );
}

/** Checks the tree out, sets it up, and runs the gates; where set-up fails they run all the same, and that is said. */
async function runClean(
  run: RunOn,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<{ results: GateResult[]; notes: string[] }> {
  const cwd = await checkedOut(run, "clean", ports, signal);
  const prepared = await runIn(cwd, run, { definitions: run.commands, name: "setup" }, ports, signal);
  const failed = prepared.find(({ passed }) => !passed);
  const notes = failed ? [`the set-up of the clean checkout failed: ${failed.command_line}`] : [];
  return {
    results: await runIn(cwd, run, { definitions: run.definitions, name: "clean" }, ports, signal),
    notes,
  };
}

async function checkedOut(
  { tree, temporary, kept }: RunOn,
  name: string,
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<string> {
  const cwd = join(temporary, name);
  await ensureFolder(cwd, ports);
  await kept.checkout(tree, cwd, signal);
  return cwd;
}

async function runIn(
  cwd: string,
  { tree, baseline, temporary }: RunOn,
  { definitions, name }: { definitions: readonly GateDefinition[]; name: string },
  ports: GoalPorts,
  signal: AbortSignal,
): Promise<GateResult[]> {
  if (definitions.length === 0) return [];
  return ports.runGates(
    {
      definitions,
      cwd,
      logFolder: join(temporary, `${name}-logs`),
      rawFolder: join(temporary, `${name}-raw`),
      environment: ports.environment,
      tree,
      where: "clean_checkout",
      base: new Map(baseline.map((gate) => [gate.name, gate])),
      onStart: (gate) => {
        ports.tell(`rerun: ${name}: ${gate.name}: ${[gate.command, ...gate.args].join(" ")}`);
        return Promise.resolve();
      },
      onEnd: () => Promise.resolve(),
    },
    signal,
  );
}

function compare(proof: Proof, now: readonly GateResult[], where: RepeatedGate["where"]): RepeatedGate[] {
  const repeated = countedResults(now).map((gate) => {
    const recorded = proof.gates.find(({ name }) => name === gate.name);
    const verdict = verdictOf(gate);
    const before = recorded === undefined ? null : verdictOf(recorded);
    const { name, required } = gate;
    return { name, recorded: before, now: verdict, same: before === verdict, required, where };
  });
  const missing = proof.gates
    .filter(({ name }) => !now.some((gate) => gate.name === name))
    .map((gate) => ({
      name: gate.name,
      recorded: verdictOf(gate),
      now: "not_defined",
      same: false,
      required: gate.required,
      where,
    }));
  return [...repeated, ...missing];
}

function verdictOf(gate: GateResult): string {
  return gate.verdict ?? (gate.passed ? "passed" : "failed");
}
