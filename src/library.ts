/**
 * omk for programs: the same runtime as the command line, with the same state and the same rules. Every function takes the
 * `Omk` that says where state lies and which environment agents and gates see.
 */
import { resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

import { absoluteEngine, engineForRole } from "./engine/select.ts";
import { IDLE_MS } from "./engine/turn.ts";
import { OmkError } from "./errors.ts";
import type { ApprovalPolicy, OnTimeout } from "./format/approval.ts";
import type { Goal, GoalStatus } from "./format/goal.ts";
import { Proof, type RunProof, type RunStatus } from "./format/proof.ts";
import type { TeamState } from "./format/team.ts";
import { loadGates } from "./gate/definitions.ts";
import { resumeGoal as resumeGoalNow } from "./goal/resume.ts";
import { runGoal as runGoalNow } from "./goal/run-goal.ts";
import {
  executeGoal as executeGoalNow,
  reviewGoal as reviewGoalNow,
  verifyGoal as verifyGoalNow,
} from "./goal/steps-by-hand.ts";
import type { Outcome } from "./goal/with-goal.ts";
import { askGoal } from "./goal/ask.ts";
import { findGoal } from "./goal/find.ts";
import { proofToShow } from "./goal/show-proof.ts";
import { DiskGoalStateStore, typedRecord, type UnreadableState } from "./goal/state-store.ts";
import { checkStateFolder, stateRoot } from "./store/state-root.ts";
import { findTeam, listTeams, type Team } from "./team/find.ts";
import { portsOf } from "./team/host.ts";
import type { RunPorts } from "./team/open.ts";
import { roleNamed, rolesOf } from "./team/roles.ts";
import { resumeRun, startRun, type RunOutcome } from "./team/run.ts";
import { shutdownRun } from "./team/shutdown.ts";
import { defaultTeamName, newTeamName, parseTeamSpec } from "./team/spec.ts";
import { createWorld } from "./world.ts";

/** Where omk runs for a program; everything has the command line's default. */
export interface OmkOptions {
  /** The root of all state; otherwise as `OMK_STATE_DIR` and its kind say. */
  stateDir?: string;
  /** The caller's environment, of which agents and gates see what the command line would give them. */
  environment?: Readonly<Record<string, string | undefined>>;
  /** Takes the story: one line for each thing that happens, free of secrets. */
  tell?: (line: string) => void;
  /** Stops what runs: it is paused, and kept. */
  signal?: AbortSignal;
}

interface Inside {
  ports: RunPorts;
  signal: AbortSignal;
}

let insideOf: (omk: Omk) => Inside;
let newOmk: (stateDir: string, inside: Inside) => Omk;

/** What every function needs of its surroundings. Nothing has to be closed. */
export class Omk {
  readonly stateDir: string;
  readonly #inside: Inside;

  private constructor(stateDir: string, inside: Inside) {
    this.stateDir = stateDir;
    this.#inside = inside;
  }

  static {
    insideOf = (omk) => omk.#inside;
    newOmk = (stateDir, inside) => new Omk(stateDir, inside);
  }
}

/** Puts omk together for this process. Throws where the state cannot be trusted. */
export function openOmk(options: OmkOptions = {}): Omk {
  const { environment = process.env, tell = () => undefined } = options;
  const { signal = new AbortController().signal } = options;
  const world = createWorld({
    spawnChain: environment["OMK_SPAWN_ID"],
    // Both lie beside this module: in the package `dist/`, in the sources `src/`.
    guardian: { argv: () => [process.execPath, besideUs("../dist/guardian.cjs")], tell },
  });
  const root = options.stateDir === undefined ? stateRoot(environment, world) : resolve(options.stateDir);
  const uid = process.getuid?.();
  checkStateFolder(root, { disk: world.disk, uid });
  const launcher = [process.execPath, besideUs("../bin/omk.cjs")] as const;
  return newOmk(root, { ports: portsOf({ world, root, uid, environment, launcher, tell }), signal });
}

function besideUs(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url));
}

/** Who decides about what agents ask; what is left out follows from the configuration. */
export interface Approvals {
  policy?: ApprovalPolicy;
  /** How long a request waits for a person. */
  timeoutSecs?: number;
  /** What becomes of one that nobody answered. */
  onTimeout?: OnTimeout;
}

/** What a new goal is asked for: what the flags of `omk goal run` say. */
export interface GoalRequest {
  /** The outcome that is wanted, in one sentence. */
  text: string;
  /** Otherwise the current folder. */
  projectDir?: string;
  /** Drives the goal to a verdict, and later resumes too. */
  untilReady?: boolean;
  /** Accepts in advance a result for which all evidence holds. */
  autoAccept?: boolean;
  /** A preset's name, a command line or `scripted:<file>`; otherwise the configured one. */
  engine?: string;
  /** `name=command`, beside those of the project. */
  gates?: readonly string[];
  /** What kind of goal it is, where its words would tell another. */
  kind?: string;
  maxAttempts?: number;
  /** E.g. `90m`. */
  budgetTime?: string;
  budgetTokens?: number;
  budgetUsd?: number;
  /** Plans by rules, without asking the engine. */
  noLlmPlanner?: boolean;
  plannerTokenBudget?: number;
  /** Protected files that the change may touch, as globs. */
  mayChange?: readonly string[];
  /** Gates that may stay red where the base is red, too. */
  allowRed?: readonly string[];
  /** Has the engine review the result, reading only. */
  agentReview?: boolean;
  approvals?: Approvals;
}

/** How a goal stands after something was done with it. */
export interface GoalResult {
  id: string;
  folder: string;
  goal: Goal;
  status: GoalStatus;
  /** Why it has that status, as a code. */
  reasonCode: string;
  reason: string | undefined;
  /** Whether what was asked for is so: the gates passed, the goal is ready, the wall has nothing against it. */
  achieved: boolean;
}

/** A goal that somebody works on: by its id, or `latest`. */
export interface StepRequest {
  goal: string;
  /** Reopens a goal that is ready. */
  again?: boolean;
}

/** Makes a goal; with `untilReady` it is driven to a verdict, which takes as long as the work does. */
export async function createGoal(request: GoalRequest, omk: Omk): Promise<GoalResult> {
  const { ports, signal } = insideOf(omk);
  const whole = { ...request, projectDir: resolve(request.projectDir ?? process.cwd()) };
  return resultOf(await runGoalNow(whole, ports, signal, () => undefined));
}

/** Makes a goal with its plan, and starts no work on it. */
export function planGoal(request: Omit<GoalRequest, "untilReady">, omk: Omk): Promise<GoalResult> {
  return createGoal({ ...request, untilReady: false }, omk);
}

/** All goals, newest first, and those that cannot be read. */
export function listGoals(omk: Omk): { goals: Goal[]; unreadable: UnreadableState[] } {
  return storeOf(omk).list();
}

/** The goal with this id, or the newest one for `latest`. */
export function resolveGoal(wanted: string, omk: Omk): Goal {
  return storeOf(omk).resolve(wanted);
}

/** A goal's proof, or what can be said where it cannot be read; `recovery_status` tells the two apart. */
export function resolveGoalProof(wanted: string, omk: Omk): Proof {
  const { ports } = insideOf(omk);
  const goal = findGoal(omk.stateDir, wanted, ports);
  return typedRecord(Proof, proofToShow(goal, ports), goal.id, "proof.json");
}

/** Lets the agent work: a turn at each task that is open, and the gates on what they left. */
export async function executeGoal(
  request: StepRequest & { engine?: string; approvals?: Approvals },
  omk: Omk,
): Promise<GoalResult> {
  const { ports, signal } = insideOf(omk);
  return resultOf(await executeGoalNow(wantedOf(request), ports, signal));
}

/** Runs the gates on the project as it is; `gates` (`name=command`) are further ones that count from now on. */
export async function verifyGoal(
  request: StepRequest & { gates?: readonly string[] },
  omk: Omk,
): Promise<GoalResult> {
  const { ports, signal } = insideOf(omk);
  return resultOf(await verifyGoalNow(wantedOf(request), ports, signal));
}

/** Goes through the review wall. */
export async function reviewGoal(request: StepRequest, omk: Omk): Promise<GoalResult> {
  const { ports, signal } = insideOf(omk);
  return resultOf(await reviewGoalNow(wantedOf(request), ports, signal));
}

/** Continues a goal; one made with `untilReady`, or asked for that now, is driven to a verdict. */
export async function resumeGoal(
  request: { goal: string; engine?: string; untilReady?: boolean; approvals?: Approvals },
  omk: Omk,
): Promise<GoalResult> {
  const { ports, signal } = insideOf(omk);
  return resultOf(await resumeGoalNow(wantedOf(request), ports, signal));
}

/** What became of a request to whoever works on a goal. `recorded`: it will be applied, and is not yet. */
export interface Asked {
  outcome: "applied" | "recorded";
  id: string;
}

/** Pauses a goal, whoever works on it. */
export function pauseGoal(wanted: string, omk: Omk): Promise<Asked> {
  const { ports, signal } = insideOf(omk);
  return askGoal(wanted, { kind: "pause" }, ports, signal);
}

/** Cancels a goal for good, whoever works on it. */
export function cancelGoal(wanted: string, omk: Omk): Promise<Asked> {
  const { ports, signal } = insideOf(omk);
  return askGoal(wanted, { kind: "cancel" }, ports, signal);
}

/** The goals of a state root, to be read; nothing is written. */
export class FileSystemGoalStateStore extends DiskGoalStateStore {
  /** Without a folder: where the command line keeps its state. */
  constructor(stateDir?: string) {
    const world = createWorld();
    super(stateDir === undefined ? stateRoot(process.env, world) : resolve(stateDir), world);
  }
}

/** What a team is asked for: what the flags of `omk team run` say. */
export interface TeamRequest {
  /** How many workers of which role: `3:executor`. */
  team: string;
  text: string;
  projectDir?: string;
  /** The run's name; otherwise one is made. */
  name?: string;
  engine?: string;
  /** `name=command`, beside those of the project. */
  gates?: readonly string[];
  maxAttempts?: number;
  budget?: TeamBudget;
  approvals?: Approvals;
}

/** What a team may spend in all. */
export interface TeamBudget {
  ms?: number;
  tokens?: number;
  usd?: number;
}

/** How a team's run ended. */
export interface TeamResult {
  name: string;
  folder: string;
  status: RunStatus;
  /** Why, as a code. */
  reasonCode: string;
  proof: RunProof | undefined;
}

/** How a team's run stands. */
export interface TeamSummary {
  name: string;
  folder: string;
  phase: TeamState["phase"];
  task: string;
  createdAt: string;
  /** Whether somebody works on it. */
  controller: "alive" | "dead" | "unknown" | "released" | "none";
}

function summaryOf({ name, folder, phase, task, createdAt, controller }: Team): TeamSummary {
  return { name, folder, phase, task, createdAt, controller };
}

const TEAM_ATTEMPTS = 3;

/** Runs teams, as `omk team` does. */
export class TeamRunner {
  readonly #omk: Omk;

  constructor(omk: Omk) {
    this.#omk = omk;
  }

  /** Starts a team and works to its end. */
  async run(request: TeamRequest): Promise<TeamResult> {
    const { ports, signal } = insideOf(this.#omk);
    const given = resolve(request.projectDir ?? process.cwd());
    const projectDir = ports.disk.realPath(given);
    if (projectDir === undefined || ports.disk.stat(projectDir)?.kind !== "folder") {
      throw new OmkError("usage.invalid", `${given} is no folder.`, { hint: "Name the project's folder." });
    }
    const { roles, warnings } = rolesOf(projectDir, ports);
    for (const warning of warnings) ports.tell(warning);
    const spec = parseTeamSpec(
      request.team,
      roles.map(({ pack }) => pack),
    );
    const { pack } = roleNamed(spec.role, projectDir, ports);
    const settings = ports.settings(projectDir);
    const engine = absoluteEngine(engineForRole(pack.id, request.engine, settings), process.cwd());
    const outcome = await startRun(
      {
        name:
          request.name === undefined ? defaultTeamName(spec.role, ports.random) : newTeamName(request.name),
        text: request.text,
        projectDir,
        workers: spec.count,
        role: pack,
        engine,
        gates: loadGates({ projectDir, flags: request.gates ?? [] }, ports),
        maxAttempts: request.maxAttempts ?? TEAM_ATTEMPTS,
        budget: request.budget ?? {},
        idleMs: IDLE_MS,
        leaseMs: null,
        approvals: request.approvals ?? {},
      },
      ports,
      signal,
      () => undefined,
    );
    return teamResultOf(outcome);
  }

  /** Goes on with a run that was interrupted. */
  async resume(name: string, more: { engine?: string; budget?: TeamBudget } = {}): Promise<TeamResult> {
    const { ports, signal } = insideOf(this.#omk);
    const engine = more.engine === undefined ? {} : { engine: absoluteEngine(more.engine, process.cwd()) };
    return teamResultOf(await resumeRun(name, { budget: more.budget ?? {}, ...engine }, ports, signal));
  }

  /** Stops a run and what runs for it. `finished`: it had ended before; `recorded`: it will be, and is not yet. */
  async shutdown(name: string, how: { force?: boolean } = {}): Promise<"stopped" | "finished" | "recorded"> {
    const { ports, signal } = insideOf(this.#omk);
    return (await shutdownRun(name, { force: how.force ?? false }, ports, signal)).outcome;
  }

  /** All runs, newest first, and those that cannot be read. */
  list(): { teams: TeamSummary[]; unreadable: { name: string; because: string }[] } {
    const { teams, unreadable } = listTeams(this.#omk.stateDir, insideOf(this.#omk).ports);
    return { teams: teams.map(summaryOf), unreadable };
  }

  /** The run with this name, or the newest one for `latest`. */
  resolve(wanted: string): TeamSummary {
    return summaryOf(findTeam(this.#omk.stateDir, wanted, insideOf(this.#omk).ports));
  }
}

function storeOf(omk: Omk): DiskGoalStateStore {
  return new DiskGoalStateStore(omk.stateDir, insideOf(omk).ports);
}

function wantedOf<T extends { goal: string }>({ goal, ...rest }: T): Omit<T, "goal"> & { wanted: string } {
  return { ...rest, wanted: goal };
}

function resultOf({ open, ending, achieved }: Outcome): GoalResult {
  return {
    id: open.id,
    folder: open.folder,
    goal: open.goal,
    status: ending.status,
    reasonCode: ending.reasonCode,
    reason: ending.reason,
    achieved,
  };
}

function teamResultOf({ open, verdict }: RunOutcome): TeamResult {
  return {
    name: open.id,
    folder: open.folder,
    status: verdict.status,
    reasonCode: verdict.code,
    proof: open.proof,
  };
}
