/**
 * The gates on a fresh checkout: what lies in the project beside its tree (ignored files, above all) is not there, so
 * nothing can be shown by it. Whether a project can be judged that way is found out on its base.
 */
import { join } from "node:path";

import { OmkError } from "../errors.ts";
import type { GateResult, SetupCommand } from "../format/gate.ts";
import type { CleanCheckout } from "../format/proof.ts";
import type { CheckoutOptions } from "../git/work-tree.ts";
import { ensureFolder } from "../store/files.ts";
import type { EvidenceFile } from "../store/evidence.ts";
import { setupCommands } from "./setup.ts";
import { areGreen, redGates } from "./state.ts";
import { runGateSet, type GateStepPorts, type GateSubject } from "./steps.ts";

/** A base on which set-up and gates took longer is judged in the work tree alone. */
const COST_MS_MAX = 600_000;
/** How many ignored paths are named. */
const IGNORED_MAX = 50;

/** What a fresh checkout showed, with the logs. */
export interface CleanJudgement {
  clean: CleanCheckout;
  evidence: EvidenceFile[];
}

/** What is known of the subject besides. */
interface CleanSteps {
  subject: GateSubject;
  /** What `[setup]` says; undefined where the lock file decides. */
  setup: readonly SetupCommand[] | undefined;
  /** What of the set-up the change touches, as the base has it. */
  overlay?: NonNullable<CheckoutOptions["overlay"]>;
  ports: GateStepPorts;
  signal: AbortSignal;
}

/** Tries the base: usable (`passed`) when set-up works and no gate is worse there than `results`, which the project gave. */
export async function tryCleanBase(
  steps: CleanSteps,
  tree: string,
  results: readonly GateResult[],
): Promise<CleanJudgement> {
  const { subject, ports } = steps;
  const { root } = subject.tree;
  if ([root, subject.project ?? root].some((one) => `${subject.folder}/`.startsWith(`${one}/`))) {
    return unusable(
      steps,
      "omk keeps its state inside the project, so a checkout there would see what lies around it",
    );
  }
  const gatesMs = results.reduce((sum, { duration_ms }) => sum + duration_ms, 0);
  if (gatesMs > COST_MS_MAX) return unusable(steps, tooLong(gatesMs));
  const started = ports.clock.monotonicMs();
  const run = await runClean(steps, tree, "clean-base");
  if (typeof run === "string") return unusable(steps, run);
  const tookMs = ports.clock.monotonicMs() - started;
  const evidence = run.evidence;
  const all = [...run.setup, ...run.results];
  const failed = run.setup.find(({ passed }) => !passed);
  if (failed) return unusable(steps, `its set-up failed: ${failed.command_line}; ${REMEDY}`, all, evidence);
  if (tookMs > COST_MS_MAX) return unusable(steps, tooLong(tookMs), all, evidence);
  for (const [at, clean] of run.results.entries()) {
    const own = results[at];
    const worse = own && whatIsWorse(clean, own, [run.folder, root]);
    if (worse === undefined && own) continue;
    // What shows the base of slices is a folder of omk's own.
    const place = subject.project === undefined ? "the project directory" : "the folder that shows the base";
    const why = `gate ${clean.name} does not do there what it does in ${place}: ${worse ?? "it did not run here"}`;
    return unusable(steps, `${why}; ${REMEDY}`, all, evidence);
  }
  return { clean: { status: "passed", results: all }, evidence };
}

/**
 * The gates on a fresh checkout of a result whose base could be judged that way. Where set-up fails there and by now on the
 * base as well (the network is gone, say) it says nothing.
 */
export async function judgeClean(steps: CleanSteps, tree: string): Promise<CleanJudgement> {
  const run = await runClean(steps, tree, "clean");
  if (typeof run === "string") return unusable(steps, run);
  const results = [...run.setup, ...run.results];
  const files = [...(steps.overlay?.paths ?? []), ...(steps.overlay?.texts?.keys() ?? [])];
  const laid = files.length > 0 ? { files } : {};
  const failed = run.setup.find(({ passed }) => !passed);
  const base = steps.subject.base?.tree;
  if (failed && base !== undefined) {
    const again = await runClean(steps, base, "clean-base-again", { onlySetup: true });
    if (typeof again === "string" || again.setup.some(({ passed }) => !passed)) {
      const why = `its set-up fails, on the base as well by now: ${failed.command_line}`;
      return unusable(steps, why, results, run.evidence);
    }
  }
  if (failed) {
    const reason = `the set-up of a fresh checkout fails, and worked on the base: ${failed.command_line}`;
    return { clean: { status: "failed", reason, results, ...laid }, evidence: run.evidence };
  }
  if (areGreen(run.results)) return { clean: { status: "passed", results, ...laid }, evidence: run.evidence };
  const red = redGates(run.results).map(({ name, verdict }) => `${name} ${verdict ?? "failed"}`);
  const reason = `on a fresh checkout, where ignored files are not there: ${red.join(", ")}`;
  return { clean: { status: "failed", reason, results, ...laid }, evidence: run.evidence };
}

interface CleanRun {
  setup: GateResult[];
  results: GateResult[];
  evidence: EvidenceFile[];
  folder: string;
}

/** Checks out, sets up and, where that worked, runs the gates; words when nothing can be checked out. */
async function runClean(
  { subject, setup, overlay, ports, signal }: CleanSteps,
  tree: string,
  name: string,
  { onlySetup = false }: { onlySetup?: boolean } = {},
): Promise<CleanRun | string> {
  const folder = join(subject.folder, "checkout", ports.random.name(12));
  await ensureFolder(folder, ports);
  try {
    try {
      await subject.tree.checkout(tree, folder, overlay ? { overlay } : {}, signal);
    } catch (error) {
      if (!(error instanceof OmkError) || !error.code.startsWith("git.")) throw error;
      return `it cannot be checked out: ${error.message}`;
    }
    const commands = setupCommands(setup, await subject.tree.files(tree, signal));
    const set = { tree, where: "clean_checkout", cwd: folder } as const;
    const evidence: EvidenceFile[] = [];
    const ran: GateResult[] = [];
    if (commands.length > 0) {
      const prepared = await runGateSet(subject, { ...set, name: `${name}-setup`, commands }, ports, signal);
      ran.push(...prepared.results);
      evidence.push(...prepared.evidence);
    }
    const isReady = ran.every(({ passed }) => passed);
    if (!isReady || onlySetup) return { setup: ran, results: [], evidence, folder };
    const run = await runGateSet(subject, { ...set, name }, ports, signal);
    return { setup: ran, results: run.results, evidence: [...evidence, ...run.evidence], folder };
  } finally {
    ports.disk.removeTree(folder);
  }
}

/** Ignored files are named, since gates see them and nobody else does. */
async function unusable(
  { subject, signal }: CleanSteps,
  reason: string,
  results: GateResult[] = [],
  evidence: EvidenceFile[] = [],
): Promise<CleanJudgement> {
  const ignored = await subject.tree.ignored(signal);
  const named = { ignored: ignored.slice(0, IGNORED_MAX), ignored_total: ignored.length };
  return {
    clean: { status: "unusable", code: "clean_checkout_unusable", reason, results, ...named },
    evidence,
  };
}

function tooLong(ms: number): string {
  return `set-up and gates took ${Math.round(ms / 60_000)} minutes on the base, and more than ${COST_MS_MAX / 60_000} are not spent twice`;
}

/** What can be done about a place in which gates cannot judge. */
const REMEDY = "what is missing there may be set up by `[setup]` in .omk/gates.toml";

/**
 * What is worse in the other place, in words; undefined where nothing is: green is as good as anything. A gate that is red in
 * both places must be red for the same reason, or its red later would be the place's fault: the same status, and the same
 * counts or the same words.
 */
function whatIsWorse(clean: GateResult, own: GateResult, places: readonly string[]): string | undefined {
  if (clean.verdict === "passed" || clean.verdict === "skipped") return undefined;
  const verdict = clean.verdict ?? "unknown";
  if (clean.verdict !== own.verdict) return `${verdict} there, ${own.verdict ?? "unknown"} here`;
  if (clean.exit_code !== own.exit_code)
    return `${verdict} in both, with exit status ${clean.exit_code ?? "none"} there and ${own.exit_code ?? "none"} here`;
  if (clean.counts && own.counts) {
    const isSame = clean.counts.passed === own.counts.passed && clean.counts.failed === own.counts.failed;
    return isSame ? undefined : `${countsOf(clean.counts)} there, ${countsOf(own.counts)} here`;
  }
  return saidBy(clean, places) === saidBy(own, places) ? undefined : `${verdict} in both, with other words`;
}

function countsOf({ passed, failed }: NonNullable<GateResult["counts"]>): string {
  return `${passed} passed and ${failed} failed`;
}

/** What a gate said, without what differs between two runs or two places. */
function saidBy({ stdout, stderr }: GateResult, places: readonly string[]): string {
  return places
    .reduce((text, place) => text.replaceAll(place, "<here>"), `${stdout}\n${stderr}`)
    .replace(/\d+/g, "0");
}
