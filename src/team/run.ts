/** Making a run and going on with one: whose it is, what it was asked for, and who may work on it. */
import { join } from "node:path";

import {
  approvalKeys,
  refuseUnasking,
  tellUnasking,
  type ApprovalFlags,
  type RecordedApprovals,
} from "../approval/settings.ts";
import { refuseWaiting } from "../approval/waiting.ts";
import type { Engine } from "../engine/engine.ts";
import { refuseSecretEngine } from "../engine/select.ts";
import { OmkError } from "../errors.ts";
import type { GateSet } from "../format/gate.ts";
import { instantOf } from "../format/stamp.ts";
import type { TeamWork } from "../format/team-work.ts";
import { refuseSecrets } from "../gate/definitions.ts";
import { foldFolder, readDocument } from "../store/journal.ts";
import { holdProject, letGo } from "../store/project-claim.ts";
import { interruptedRuns, isFinished, resumableTeam } from "./find.ts";
import { change, OpenRun, type RunPorts } from "./open.ts";
import { verdictOf, writeProofFiles, writeRunProof, type RunVerdict } from "./proof.ts";
import type { RolePack } from "./roles.ts";
import { driveRun } from "./steps.ts";

/** What a new run is asked for; checked by the caller but for what is said at `startRun`. */
export interface RunRequest {
  name: string;
  text: string;
  projectDir: string;
  workers: number;
  role: RolePack;
  engine: string;
  /** Engines of their own for splitting and summing up, where nobody has chosen one for the whole run. */
  roleEngines?: Readonly<Record<string, string>>;
  gates: GateSet;
  maxAttempts: number;
  budget: { ms?: number; tokens?: number; usd?: number };
  idleMs: number;
  /** How long a silent worker keeps its task; null follows from `idleMs`. */
  leaseMs: number | null;
  approvals?: ApprovalFlags;
  /** Whether all workers share the project directory, which is so when absent, or each attempt has a folder of its own. */
  isolation?: "none" | "worktree";
}

/** How a run ended. */
export interface RunOutcome {
  open: OpenRun;
  verdict: RunVerdict;
}

/** A run begins with its first whole event; a folder in which there is none was left by an omk that was killed before that. */
function isStarted(folder: string, ports: RunPorts): boolean {
  if ((ports.disk.stat(join(folder, "team-state.json"))?.size ?? 0) > 0) return true;
  const { validBytes, damage } = foldFolder(folder, ports).log;
  return validBytes > 0 || damage.length > 0;
}

/**
 * Makes a run and works on it to its end. Refuses a name that exists (`team.exists`), a directory somebody works in
 * (`state.busy`) and an engine that is not there, before anything is written.
 */
export async function startRun(
  request: RunRequest,
  ports: RunPorts,
  signal: AbortSignal,
  created: (open: OpenRun) => void,
): Promise<RunOutcome> {
  const folder = join(ports.root, "team", request.name);
  const manifest = join(ports.root, "runs", request.name, "manifest.json");
  if (isStarted(folder, ports) || ports.disk.stat(manifest)) {
    const waits = interruptedRuns(ports.root, ports).includes(request.name);
    throw new OmkError("team.exists", `A team run called ${request.name} exists already.`, {
      hint: waits
        ? `Go on with it: omk team run --resume --name ${request.name}. Or choose another name.`
        : "Choose another name.",
    });
  }
  refuseSecrets(request.gates, ports.redactor);
  const chosen = await chooseEngine(request.engine, request.projectDir, ports, signal);
  const approvals = approvalKeys(request.approvals ?? {}, ports.settings(request.projectDir));
  refuseUnasking(chosen.engine, approvals);
  const roleEngines: Record<string, string> = {};
  for (const [role, text] of Object.entries(request.roleEngines ?? {})) {
    const own = await chooseEngine(text, request.projectDir, ports, signal);
    refuseUnasking(own.engine, approvals);
    roleEngines[role] = own.name;
  }
  const held = await holdProject(request.projectDir, "team run", ports, signal);
  try {
    const open = await OpenRun.open(request.name, "team run", ports, signal);
    try {
      if (open.journal.position.seq > 0) {
        throw new OmkError("team.exists", `A team run called ${request.name} has just been started.`, {
          hint: "Choose another name.",
        });
      }
      await recordStart(
        open,
        { ...request, engine: chosen.name, roleEngines, approvals },
        chosen.version,
        ports,
      );
      created(open);
      tellUnasking(chosen.engine, ports);
      return { open, verdict: await driveRun(open, chosen.engine, ports, signal) };
    } finally {
      await open.close();
    }
  } finally {
    await letGo(held);
  }
}

/** What may be said anew when a run goes on. */
export interface ResumeRequest {
  engine?: string;
  budget: RunRequest["budget"];
  /** Another policy decides anew about requests that wait. */
  approvals?: ApprovalFlags;
}

/** Goes on with a run that was interrupted. A finished one is left as it is, and its verdict given. */
export async function resumeRun(
  wanted: string,
  more: ResumeRequest,
  ports: RunPorts,
  signal: AbortSignal,
): Promise<RunOutcome> {
  // Before anything is written: runs of 0.5.0 and imported ones are only looked at.
  const { name } = resumableTeam(ports.root, wanted, ports);
  const open = await OpenRun.open(name, "team run --resume", ports, signal);
  try {
    if (isFinished(open.state)) {
      // Its end is in the log; what is made from it may still be missing.
      const verdict = verdictOf(open);
      if (!open.proof || !open.wasProven) await writeRunProof(open, verdict, ports);
      else if (!isRendered(open, ports)) await writeProofFiles(open, open.proof, ports);
      return { open, verdict };
    }
    const { project_dir: projectDir } = open.work;
    const real = ports.disk.realPath(projectDir);
    if (real === undefined || ports.disk.stat(real)?.kind !== "folder") {
      throw new OmkError(
        "state.io",
        `The project directory ${projectDir} of team run ${name} is not there any more.`,
        {
          hint: "Put it back, then resume again.",
        },
      );
    }
    await open.approvals.renderMissing();
    await open.approvals.expireOld();
    // Whether what was planted in the repository is still there, is looked at anew where the result is given.
    const asked = open.approvals.open.filter(({ kind }) => kind !== "git_steering");
    if (more.approvals?.policy === undefined) refuseWaiting({ open: asked }, `resume of team run ${open.id}`);
    const chosen = await chooseEngine(more.engine ?? open.work.engine, real, ports, signal);
    const decided = approvalKeys(more.approvals ?? {}, open.work);
    refuseUnasking(chosen.engine, decided);
    for (const text of Object.values(open.work.role_engines ?? {}))
      refuseUnasking((await chooseEngine(text, real, ports, signal)).engine, decided);
    const held = await holdProject(real, "team run --resume", ports, signal);
    try {
      if (more.approvals?.policy !== undefined)
        await open.approvals.withdrawAll("another policy decides anew");
      await recordResume(open, { ...more, engine: chosen.name }, chosen.version, more.engine !== undefined);
      return { open, verdict: await driveRun(open, chosen.engine, ports, signal) };
    } finally {
      await letGo(held);
    }
  } finally {
    await open.close();
  }
}

/** The engine, checked before anything is written: its words hold no secret, and its program is there. */
async function chooseEngine(
  text: string,
  projectDir: string,
  ports: RunPorts,
  signal: AbortSignal,
): Promise<{ engine: Engine; name: string; version: string | null }> {
  refuseSecretEngine(text, ports.redactor);
  const engine = ports.engineNamed(text, projectDir);
  const { found, version } = await engine.probe(signal);
  if (found) return { engine, name: engine.recordedAs ?? text, version };
  throw new OmkError("engine.missing", `The agent of --engine ${text} cannot be found.`, {
    hint: "Install it, or write the path of its program; the variable PATH is looked through.",
  });
}

/** Whether what is made from the proof was written to its end. */
function isRendered(open: OpenRun, ports: RunPorts): boolean {
  const state = readDocument(join(open.folder, "team-state.json"), ports);
  return (
    state.state === "found" &&
    state.record["phase"] === open.state.phase &&
    ports.disk.stat(join(open.folder, "proof.md")) !== undefined
  );
}

/** One write: whatever part of it survives a crash is a run that says what it is. */
async function recordStart(
  open: OpenRun,
  request: Omit<RunRequest, "approvals"> & { approvals: RecordedApprovals },
  version: string | null,
  ports: RunPorts,
): Promise<void> {
  const created_at = instantOf(ports.clock.now());
  const { budget } = request;
  const work: TeamWork = {
    version: 1,
    project_dir: request.projectDir,
    engine: request.engine,
    ...(Object.keys(request.roleEngines ?? {}).length > 0 && { role_engines: { ...request.roleEngines } }),
    engine_version: version,
    max_attempts: request.maxAttempts,
    role: { id: request.role.id, system_prompt: request.role.systemPrompt, tools: [...request.role.tools] },
    ...(budget.ms !== undefined && { budget_ms: budget.ms }),
    ...(budget.tokens !== undefined && { budget_tokens: budget.tokens }),
    ...(budget.usd !== undefined && { budget_usd: budget.usd }),
    ...request.approvals,
    idle_ms: request.idleMs,
    lease_ms: request.leaseMs,
    ...(request.isolation === "worktree" && { isolation: "worktree" }),
    gates: request.gates,
    base: null,
    baseline: null,
    decomposition: null,
    result: null,
    verification: null,
    synthesis: null,
    stopped: null,
    helper_usage: { tokens: 0, usd: 0 },
    side_effects: [],
    evidence: [],
    active_ms: 0,
  };
  await open.record({
    kind: "run_started",
    actor: null,
    payload: {
      mode: "team",
      project_dir: request.projectDir,
      description: request.text,
      engine: request.engine,
      ...(version !== null && { engine_version: version }),
    },
    changes: [
      change("team-state.json", {
        version: 1,
        name: open.id,
        task: request.text,
        created_at,
        worker_count: request.workers,
        worker_role: request.role.id,
        phase: "Planning",
        state_dir: open.folder,
      }),
      change("manifest.json", {
        run_id: open.id,
        mode: "team",
        created_at,
        project_dir: request.projectDir,
        description: request.text,
      }),
      change("team-work.json", work),
    ],
  });
  await open.saveViews();
}

async function recordResume(
  open: OpenRun,
  more: ResumeRequest,
  version: string | null,
  isChosenAnew: boolean,
): Promise<void> {
  const { budget } = more;
  await open.record({
    kind: "run_resumed",
    actor: "omk-cli",
    payload: { phase: open.state.phase, ...(open.work.stopped && { stopped: open.work.stopped.code }) },
    changes: [
      change("team-work.json", {
        stopped: null,
        engine_version: version,
        ...(more.engine !== undefined && { engine: more.engine }),
        // Who names an engine means it for the whole run.
        ...(isChosenAnew && open.work.role_engines && { role_engines: {} }),
        ...approvalKeys(more.approvals ?? {}, {}),
        ...(budget.ms !== undefined && { budget_ms: budget.ms }),
        ...(budget.tokens !== undefined && { budget_tokens: budget.tokens }),
        ...(budget.usd !== undefined && { budget_usd: budget.usd }),
      }),
      change("team-state.json", { phase: open.tasks.length === 0 ? "Planning" : "Executing" }),
    ],
  });
}
