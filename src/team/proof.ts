/** The proof of a team run, from how its tasks ended and what the gates said: nothing a worker said decides. */
import { join } from "node:path";

import type { Failure } from "../format/failure.ts";
import { renderDocument } from "../format/json.ts";
import type { EvidenceFile, RunProof, RunStatus } from "../format/proof.ts";
import type { Task } from "../format/run.ts";
import { instantOf } from "../format/stamp.ts";
import type { RunAttempt } from "../format/team-work.ts";
import { countedResults } from "../gate/state.ts";
import { sha256 } from "../store/event-line.ts";
import { costSoFar } from "./budget.ts";
import { change, type OpenRun, type RunPorts } from "./open.ts";
import { proofMarkdown, READINESS } from "./proof-view.ts";
import { mayChangeFiles } from "./roles.ts";

/** Version of omk that wrote a proof; the bundle replaces it. */
declare const OMK_VERSION: string;

/** What decides about a run. */
export interface RunFacts {
  /** Tasks that did not complete, with why. */
  unfinished: readonly { task_id: string; state: Task["state"]; why: string }[];
  tasks: number;
  /** The required gates that ran on the result, by name. */
  gates: readonly { name: string; passed: boolean; verdict: string }[];
  /** Gates with the base's copies of tests that were changed; null when no such file was touched. */
  baseCopies: "passed" | "failed" | "unusable" | null;
  /** The gates ran on what is there now. */
  isOfResult: boolean;
  changedFiles: number;
  /** The role may change files, so a run that changed none did nothing. */
  mayWrite: boolean;
  stopped: { code: string; reason: string } | null;
}

/** How a run stands, with everything that speaks against it. */
export interface RunVerdict {
  status: RunStatus;
  code: string;
  gaps: { code: string; text: string }[];
}

/** The one table that decides; pure. The first gap gives the code. */
export function decideRun(facts: RunFacts): RunVerdict {
  const gaps: RunVerdict["gaps"] = [];
  if (facts.stopped) gaps.push({ code: facts.stopped.code, text: facts.stopped.reason });
  for (const { task_id, state, why } of facts.unfinished) {
    gaps.push({
      code: "task_not_completed",
      text: `task ${task_id} is ${state}${why === "" ? "" : `: ${why}`}`,
    });
  }
  for (const { name, passed, verdict } of facts.gates) {
    if (!passed) gaps.push({ code: "gate_failed", text: `gate ${name} failed (${verdict})` });
  }
  const isDone = !facts.stopped && facts.unfinished.length === 0;
  const failed = gaps.length > 0;
  if (isDone && facts.baseCopies === "failed") {
    gaps.push({
      code: "protected_input_changed",
      text: "tests of the base were changed, and their base copies fail on the result",
    });
  }
  if (isDone && facts.baseCopies === "unusable") {
    gaps.push({
      code: "base_copies_unusable",
      text: "tests of the base were changed, and whether their base copies pass could not be found out",
    });
  }
  if (facts.tasks === 0 && !facts.stopped) gaps.push({ code: "no_tasks", text: "there was nothing to do" });
  if (isDone && facts.gates.length === 0)
    gaps.push({ code: "no_gates", text: "no required gate ran on the result" });
  if (isDone && facts.gates.length > 0 && !facts.isOfResult)
    gaps.push({ code: "result_changed", text: "files were changed after the gates had run" });
  if (isDone && !facts.mayWrite && facts.changedFiles > 0)
    gaps.push({
      code: "role_violated",
      text: "files were changed, which the role of the workers may not do",
    });
  if (isDone && facts.mayWrite && facts.changedFiles === 0)
    gaps.push({ code: "nothing_changed", text: "no file was changed" });
  const [first] = gaps;
  if (!first) return { status: "ready", code: "ready", gaps };
  return { status: failed || facts.baseCopies === "failed" ? "failed" : "not_ready", code: first.code, gaps };
}

/** How a run stands by what the log says. */
export function verdictOf(open: OpenRun): RunVerdict {
  return decideRun(runFacts(open, mayChangeFiles(open.work)));
}

/** Writes the proof with its event, then the files; `failure.json` is there exactly while the run is not ready. */
export async function writeRunProof(open: OpenRun, verdict: RunVerdict, ports: RunPorts): Promise<RunProof> {
  const proof = ports.redactor.value(buildProof(open, verdict, instantOf(ports.clock.now()))) as RunProof;
  await open.record({
    kind: "proof_written",
    actor: null,
    payload: {
      proof_path: join(open.folder, "proof.json"),
      status: proof.status,
      reason_code: verdict.code,
      sha256: sha256(renderDocument(proof)),
    },
    changes: [
      // Emptied first: the file's bytes are fixed by digest, so keys must stand in this proof's order.
      change("proof.json", {}, Object.keys(open.proof ?? {})),
      change("proof.json", proof),
    ],
  });
  await writeProofFiles(open, proof, ports);
  return proof;
}

/** Writes everything that is made from the proof and the log; also again, where a crash came between. */
export async function writeProofFiles(open: OpenRun, proof: RunProof, ports: RunPorts): Promise<void> {
  const { synthesis } = open.work;
  if (synthesis?.text) await ports.disk.writeDerived(join(open.folder, "synthesis.txt"), synthesis.text);
  await open.saveViews();
  await ports.disk.writeDerived(join(open.folder, "proof.md"), proofMarkdown(proof));
  const failure = join(open.folder, "failure.json");
  if (proof.status !== "ready")
    await ports.disk.writeDerived(failure, renderDocument(failureOf(open, proof)));
  else if (ports.disk.stat(failure)) ports.disk.remove(failure);
}

/** What the log says about the run. */
export function runFacts(open: Pick<OpenRun, "tasks" | "attempts" | "work">, mayWrite: boolean): RunFacts {
  const { work, tasks } = open;
  const last = lastWords(open.attempts);
  return {
    unfinished: tasks
      .filter(({ state }) => state !== "completed")
      // What a task that waits has said before is no reason for its waiting.
      .map(({ id, state }) => ({
        task_id: id,
        state,
        why: state === "failed" ? (last.get(id)?.summary ?? "") : "",
      })),
    tasks: tasks.length,
    gates: countedResults(work.verification?.results ?? [])
      .filter(({ required }) => required)
      .map(({ name, passed, verdict }) => ({
        name,
        passed,
        verdict: verdict ?? (passed ? "passed" : "failed"),
      })),
    isOfResult: work.verification !== null && work.verification.tree === work.result?.tree,
    baseCopies: work.verification?.base_copies?.status ?? null,
    changedFiles: work.result?.changed_files.length ?? 0,
    mayWrite,
    stopped: work.stopped,
  };
}

/** The latest attempt of each task. */
function lastWords(attempts: readonly RunAttempt[]): Map<string, RunAttempt> {
  return new Map(attempts.map((attempt) => [attempt.task_id, attempt]));
}

/** The proof's record, from what the log says and nothing else. */
export function buildProof(
  open: Pick<OpenRun, "id" | "work" | "tasks" | "attempts"> & {
    journal: { position: { seq: number; digest: string } };
  },
  verdict: RunVerdict,
  now: string,
): RunProof {
  const { work, tasks, attempts } = open;
  const cost = costSoFar(work, attempts);
  const gates = countedResults(work.verification?.results ?? []);
  const changed = work.result?.changed_files ?? [];
  const failures = failuresOf(open, verdict, now);
  const retries = retriesOf(attempts);
  const passed = gates.filter((gate) => gate.passed).length;
  const completed = tasks.filter(({ state }) => state === "completed").length;
  return {
    run_id: open.id,
    status: verdict.status,
    generated_at: now,
    changed_files: changed.map(({ path, kind }) => ({ path, operation: OPERATIONS[kind] })),
    gates: gates.map((gate) => ({
      name: gate.name,
      status: gate.verdict === "skipped" ? "skipped" : gate.passed ? "passed" : "failed",
      required: gate.required,
      evidence: {
        command_line: gate.command_line,
        ...(gate.exit_code !== undefined && { exit_code: gate.exit_code }),
        timed_out: gate.timed_out,
        ...(gate.stdout_summary !== undefined && { stdout_summary: gate.stdout_summary }),
        ...(gate.stderr_summary !== undefined && { stderr_summary: gate.stderr_summary }),
        ...(gate.output_path !== undefined && { output_path: gate.output_path }),
        ...(gate.timeout_secs !== undefined && { timeout_secs: gate.timeout_secs }),
        verdict: gate.verdict,
        base: gate.base ?? null,
      },
    })),
    failures,
    retries,
    known_gaps: verdict.gaps.map(({ text }) => text),
    summary:
      `${open.id} is ${verdict.status}: ${completed} of ${count(tasks.length, "task")} completed, ` +
      `${count(changed.length, "changed file")}, ${passed} of ${count(gates.length, "gate")} passed, ` +
      `${count(failures.length, "failure")}, ${count(retries.length, "retry", "retries")}`,
    elapsed_secs: Math.round(work.active_ms / 1_000),
    reason_code: verdict.code,
    gaps: verdict.gaps,
    base: { commit: work.base?.commit ?? null, tree: work.base?.tree ?? null },
    result: { tree: work.result?.tree ?? null },
    baseline: work.baseline?.gates ?? [],
    ...(work.verification?.base_copies && { base_copies: work.verification.base_copies }),
    ...(work.verification?.added_tests && { added_tests: work.verification.added_tests }),
    protected_changes: work.verification?.base_copies?.files ?? [],
    side_effects: work.side_effects,
    decomposition: work.decomposition,
    ...isolationOf(work),
    tasks: tasks.map(({ id, state, owner, retry_count, completed_at }) => ({
      id,
      state,
      owner,
      retry_count,
      completed_at,
      ...ownChanges(attempts, id),
    })),
    attempts: attempts.map((one) => ({
      task_id: one.task_id,
      number: one.number,
      worker_id: one.worker_id,
      fence: Number(one.id),
      status: one.status,
      outcome: one.outcome,
      outcome_code: one.outcome_code,
      summary: one.summary,
      usage: one.usage,
      counted: one.counted,
      ...(one.rescue !== undefined && { rescue: one.rescue }),
      ...(one.set_aside !== undefined && { set_aside: one.set_aside }),
    })),
    engine: { name: work.engine, version: work.engine_version },
    budget_spent: { active_ms: Math.round(work.active_ms), tokens: cost.tokens, usd: cost.usd },
    gates_digest: work.gates.digest,
    sandbox: "off",
    omk_version: typeof OMK_VERSION === "string" ? OMK_VERSION : "source",
    log: { seq: open.journal.position.seq, digest: open.journal.position.digest },
    evidence: evidenceFiles(open),
  };
}

/** Where attempts had folders of their own: what came of them. Other proofs have none of these keys. */
function isolationOf({ isolation, merged, branch }: OpenRun["work"]): Record<string, unknown> {
  if (isolation !== "worktree") return {};
  return {
    isolation,
    merged: merged ? { base: merged.base, head: merged.head, order: merged.order } : null,
    branch: branch?.name ?? null,
  };
}

/** What a task changed, where that can be told: what was taken of its attempts. */
function ownChanges(attempts: readonly RunAttempt[], taskId: string): Record<string, unknown> {
  const taken = attempts.find(
    ({ task_id, outcome, changed_files }) =>
      task_id === taskId && outcome === "finished" && changed_files !== undefined,
  );
  if (taken?.changed_files === undefined) return {};
  const changed_files = taken.changed_files.map(({ path, kind }) => ({ path, operation: OPERATIONS[kind] }));
  return { changed_files, commit: taken.commit ?? null };
}

/** The words of 0.5.0 for how a file changed. */
export const OPERATIONS = {
  added: "created",
  modified: "modified",
  deleted: "deleted",
  type_changed: "modified",
} as const;

/** Every evidence file of the run. */
function evidenceFiles({ work, attempts }: Pick<OpenRun, "work" | "attempts">): EvidenceFile[] {
  return [...work.evidence, ...attempts.flatMap(({ evidence }) => evidence)];
}

function failuresOf(
  open: Pick<OpenRun, "tasks" | "attempts">,
  verdict: RunVerdict,
  now: string,
): RunProof["failures"] {
  const last = lastWords(open.attempts);
  const tasks = open.tasks
    .filter(({ state }) => state === "failed" || state === "cancelled")
    .map((task) => {
      const attempt = last.get(task.id);
      return {
        task_id: task.id,
        worker_id: attempt?.worker_id ?? null,
        description: attempt?.summary ?? `task ${task.state}`,
        timestamp: attempt?.ended_at ?? task.completed_at ?? now,
      };
    });
  const others = verdict.gaps
    .filter(({ code }) => code !== "task_not_completed" && verdict.status === "failed")
    .map(({ code, text }) => ({
      task_id: null,
      worker_id: null,
      // Words that scripts of 0.5.0 look for.
      description: code === "interrupted" || code === "shutdown" ? "manual interrupt" : text,
      timestamp: now,
    }));
  return [...tasks, ...others];
}

/** Every execution that another one followed. */
function retriesOf(attempts: readonly RunAttempt[]): RunProof["retries"] {
  const last = lastWords(attempts);
  return attempts
    .filter((attempt) => last.get(attempt.task_id) !== attempt)
    .map(({ task_id, number, status, outcome, summary }) => ({
      task_id,
      attempt: number,
      reason: status === "lost" ? "stale lease recovered" : (summary ?? outcome ?? status),
    }));
}

function failureOf(open: OpenRun, proof: RunProof): Failure {
  return {
    run_id: open.id,
    status: proof.status,
    readiness: READINESS[proof.status].token,
    proof_path: join(open.folder, "proof.json"),
    summary: proof.summary,
    failures: proof.failures.map(({ description }) => description),
    known_gaps: proof.known_gaps,
  };
}

function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}
