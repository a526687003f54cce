/** `omk team run`: several workers on one task, to a proof. */
import { join, resolve } from "node:path";

import type { Settings } from "../../config/settings.ts";
import { absoluteEngine, engineForRole } from "../../engine/select.ts";
import { IDLE_MS } from "../../engine/turn.ts";
import { OmkError } from "../../errors.ts";
import type { GateSet } from "../../format/gate.ts";
import { loadGates, parseGateFlag } from "../../gate/definitions.ts";
import { parseDuration } from "../../budget/duration.ts";
import { interruptedRuns } from "../../team/find.ts";
import type { OpenRun, RunPorts } from "../../team/open.ts";
import { READINESS } from "../../team/proof-view.ts";
import type { RunVerdict } from "../../team/proof.ts";
import { roleNamed, rolesOf } from "../../team/roles.ts";
import { resumeRun, startRun, type RunOutcome, type RunRequest } from "../../team/run.ts";
import { defaultTeamName, newTeamName, parseTeamSpec } from "../../team/spec.ts";
import type { App } from "../app.ts";
import { parseApprovalFlags, type GivenApprovalFlags } from "../approval-flags.ts";
import { goalPorts } from "../runtime.ts";
import { shellQuoted } from "../../format/shell.ts";

/** What commander gives. */
export interface TeamRunFlags extends GivenApprovalFlags {
  name?: string;
  dir?: string;
  gate: string[];
  engine?: string;
  maxAttempts?: number;
  budgetTime?: string;
  budgetTokens?: number;
  budgetUsd?: number;
  idleTimeout?: string;
  lease?: string;
  isolation?: "none" | "worktree";
  resume: boolean;
  json: boolean;
}

const ATTEMPTS_MAX = 20;
const ATTEMPTS_DEFAULT = 3;

/** Runs a team, or goes on with one. */
export async function teamRunCommand(
  app: App,
  spec: string | undefined,
  words: readonly string[],
  flags: TeamRunFlags,
): Promise<void> {
  const budget = budgetOf(flags);
  const { maxAttempts = ATTEMPTS_DEFAULT } = flags;
  if (!Number.isSafeInteger(maxAttempts) || maxAttempts < 1 || maxAttempts > ATTEMPTS_MAX) {
    throw new OmkError("usage.invalid", `--max-attempts must be a whole number from 1 to ${ATTEMPTS_MAX}.`, {
      hint: "More attempts rarely help; a clearer task or a smaller one does.",
    });
  }
  app.listen();
  const outcome = flags.resume
    ? await goOn(app, spec, words, flags, budget)
    : await start(app, spec, words, flags, budget);
  const { open, verdict } = outcome;
  app.exitStatus = exitStatusOf(verdict);
  app.output.result(
    { ...open.state, tasks: open.tasks, proof: open.proof, reason_code: verdict.code },
    () => render(outcome),
    flags.json,
  );
}

async function start(
  app: App,
  spec: string | undefined,
  words: readonly string[],
  flags: TeamRunFlags,
  budget: RunRequest["budget"],
): Promise<RunOutcome> {
  if (spec === undefined) {
    throw new OmkError("usage.invalid", "What team, and what for?", {
      hint: 'For example: omk team run 3:executor "Add a --json flag to every command"',
    });
  }
  const text = words.join(" ").trim();
  if (text === "") {
    throw new OmkError("usage.invalid", "The task is empty.", {
      hint: `Say what is to be done, for example: omk team run ${spec} "Add a --json flag to every command"`,
    });
  }
  const name = flags.name === undefined ? undefined : newTeamName(flags.name);
  const ports = await goalPorts(app);
  const projectDir = ports.disk.realPath(resolve(app.io.cwd(), flags.dir ?? "."));
  if (projectDir === undefined || ports.disk.stat(projectDir)?.kind !== "folder") {
    throw new OmkError("usage.invalid", `${flags.dir} is no folder.`, {
      hint: "Name the project's folder with --dir.",
    });
  }
  const { roles, warnings } = rolesOf(projectDir, ports);
  for (const warning of warnings) app.output.story(warning);
  const parsed = parseTeamSpec(
    spec,
    roles.map(({ pack }) => pack),
  );
  const { pack, source } = roleNamed(parsed.role, projectDir, ports);
  if (source === "project")
    app.output.story(`role ${parsed.role} is as .omk/roles/${parsed.role}.md of the project says`);
  if (source === "unknown")
    app.output.story(
      `role ${parsed.role} is not known: its workers get the task and no special instructions (known: ${roles.map(({ pack: { id } }) => id).join(", ")})`,
    );
  const settings = ports.settings(projectDir);
  const definitions = flags.gate.filter((one) => one.includes("="));
  const request: RunRequest = {
    name: name ?? defaultTeamName(parsed.role, ports.random),
    text,
    projectDir,
    workers: parsed.count,
    role: pack,
    engine: absoluteEngine(engineForRole(pack.id, flags.engine, settings), app.io.cwd()),
    roleEngines: flags.engine === undefined ? roleEngines(settings, app.io.cwd()) : {},
    gates: onlyNamed(loadGates({ projectDir, flags: definitions }, ports), flags.gate),
    maxAttempts: flags.maxAttempts ?? ATTEMPTS_DEFAULT,
    budget,
    idleMs: flags.idleTimeout === undefined ? IDLE_MS : durationMs(flags.idleTimeout, "--idle-timeout"),
    approvals: parseApprovalFlags(flags),
    leaseMs: flags.lease === undefined ? null : durationMs(flags.lease, "--lease"),
    ...(flags.isolation !== undefined && { isolation: flags.isolation }),
  };
  // First of all its name: a person who has to stop it must know what to resume.
  return startRun(request, ports, app.signal, (open) => app.output.story(`team ${open.id}`));
}

/** What is configured for the turns that belong to no worker. */
function roleEngines({ roles }: Settings, folder: string): Record<string, string> {
  const own: Record<string, string> = {};
  for (const role of ["decompose", "synthesize"]) {
    const engine = Object.hasOwn(roles, role) ? roles[role]?.engine : undefined;
    if (engine !== undefined) own[role] = absoluteEngine(engine, folder);
  }
  return own;
}

async function goOn(
  app: App,
  spec: string | undefined,
  words: readonly string[],
  flags: TeamRunFlags,
  budget: RunRequest["budget"],
): Promise<RunOutcome> {
  const { dir, maxAttempts, idleTimeout, lease, isolation } = flags;
  const fixed = [dir, maxAttempts, idleTimeout, lease, isolation, spec].some((one) => one !== undefined);
  if (fixed || words.length > 0 || flags.gate.length > 0) {
    throw new OmkError("usage.invalid", "--resume goes on with a run as it was made.", {
      hint: "It takes --name, --engine, the budgets and who decides about approvals: omk team run --resume --name <name>",
    });
  }
  const ports = await goalPorts(app);
  const name = flags.name ?? onlyInterrupted(ports);
  const more = {
    budget,
    approvals: parseApprovalFlags(flags),
    ...(flags.engine !== undefined && { engine: absoluteEngine(flags.engine, app.io.cwd()) }),
  };
  return resumeRun(name, more, ports, app.signal);
}

/** The one run that waits to be resumed; without or with several the user has to name it. */
function onlyInterrupted(ports: RunPorts): string {
  const waiting = interruptedRuns(ports.root, ports);
  const [only] = waiting;
  if (only !== undefined && waiting.length === 1) return only;
  throw new OmkError(
    "usage.invalid",
    waiting.length === 0
      ? "No team run waits to be resumed."
      : `${waiting.length} team runs wait to be resumed: ${waiting.join(", ")}.`,
    {
      hint:
        waiting.length === 0
          ? "See `omk team list`."
          : `Name one: omk team run --resume --name ${only ?? ""}`,
    },
  );
}

function budgetOf(flags: TeamRunFlags): RunRequest["budget"] {
  const positive = (flag: string, value: number | undefined, isRight: (one: number) => boolean) => {
    if (value === undefined || (isRight(value) && value > 0)) return;
    throw new OmkError("usage.invalid", `${flag} must be a number above zero.`, {
      hint: `Or leave ${flag} out.`,
    });
  };
  positive("--budget-tokens", flags.budgetTokens, Number.isSafeInteger);
  positive("--budget-usd", flags.budgetUsd, Number.isFinite);
  return {
    ...(flags.budgetTime !== undefined && { ms: durationMs(flags.budgetTime, "--budget-time") }),
    ...(flags.budgetTokens !== undefined && { tokens: flags.budgetTokens }),
    ...(flags.budgetUsd !== undefined && { usd: flags.budgetUsd }),
  };
}

function durationMs(text: string, flag: string): number {
  const ms = parseDuration(text, flag) * 1_000;
  if (ms > 0) return ms;
  throw new OmkError("usage.invalid", `${flag} must be longer than nothing.`, {
    hint: "For example 30s or 10m.",
  });
}

/** `--gate a,b` keeps the gates of these names, as in 0.5.0; a name that is no gate is an error here. */
function onlyNamed(gates: GateSet, flags: readonly string[]): GateSet {
  const own = new Set(flags.filter((one) => one.includes("=")).map((one) => parseGateFlag(one).name));
  const names = flags
    .filter((one) => !one.includes("="))
    .flatMap((one) => one.split(","))
    .map((one) => one.trim())
    .filter((one) => one !== "");
  if (names.length === 0) return gates;
  const known = new Set(gates.definitions.map(({ name }) => name));
  const unknown = names.find((name) => !known.has(name));
  if (unknown !== undefined) {
    throw new OmkError("usage.invalid", `There is no gate called ${unknown} here.`, {
      hint:
        known.size === 0
          ? "The project has no gates yet: give one as --gate 'tests=npm test', or write .omk/gates.toml."
          : `Its gates are: ${[...known].join(", ")}.`,
    });
  }
  const kept = new Set([...names, ...own]);
  return { ...gates, definitions: gates.definitions.filter(({ name }) => kept.has(name)) };
}

/** The status the process ends with. */
function exitStatusOf({ status, code }: RunVerdict): number {
  if (status === "ready") return 0;
  if (code === "shutdown") return 6;
  if (code === "approval_needed" || code === "steering_refused") return 3;
  if (code.startsWith("budget_")) return 5;
  if (code.startsWith("agent_")) return 4;
  return code === "attempts_lost" ? 74 : 1;
}

function render({ open, verdict }: RunOutcome): string {
  const { id, folder, work, proof } = open;
  const count = (state: string) => open.tasks.filter((task) => task.state === state).length;
  const done = count("completed");
  const allDone = open.tasks.length > 0 && done === open.tasks.length && !work.stopped;
  const [gap] = verdict.gaps;
  const lines = [
    verdict.status === "ready"
      ? `✓ Team run '${id}' completed`
      : work.stopped
        ? `✗ Team run '${id}' stopped: ${work.stopped.reason}`
        : allDone
          ? `✗ Team run '${id}' is not ready: ${gap?.text.split("\n", 1)[0] ?? verdict.code}`
          : `✗ Team run '${id}' finished with failures`,
    `  Completed: ${done}/${open.tasks.length}`,
    ...(count("failed") > 0 ? [`  Failed:    ${count("failed")}`] : []),
    ...(count("cancelled") > 0 ? [`  Cancelled: ${count("cancelled")}`] : []),
    ...(work.synthesis?.text ? [`  Synthesis: ${work.synthesis.text.replaceAll(/\s+/g, " ")}`] : []),
  ];
  const gates = work.verification?.results ?? [];
  if (gates.length > 0) {
    lines.push("Verification:", ...gates.map((gate) => `  ${gate.name.padEnd(8)} ${gateMark(gate)}`));
  }
  const status = proof?.status ?? verdict.status;
  lines.push(`  Proof:   ${status} (${READINESS[status].token})`);
  if (status !== "ready") {
    lines.push(`  Failure: ${join(folder, "failure.json")}`);
    for (const { text } of verdict.gaps.slice(0, 5)) lines.push(`  - ${text.split("\n", 1)[0]}`);
  }
  lines.push("", `State:   ${folder}`);
  if (work.undo !== undefined) lines.push(`Undo:    ${work.undo}`);
  if (work.isolation === "worktree" && work.stopped)
    lines.push(`Kept:    omk rescue list --goal ${shellQuoted(id)}`);
  if (work.branch)
    lines.push(
      `Branch:  ${work.branch.name}`,
      `Show:    ${work.branch.show}`,
      `Take:    ${work.branch.take}`,
    );
  lines.push("", ...nextSteps(open, verdict));
  return lines.join("\n");
}

function gateMark(gate: {
  passed: boolean;
  timed_out: boolean;
  timeout_secs?: number | undefined;
  exit_code?: number | null | undefined;
}): string {
  if (gate.passed) return "✓";
  if (gate.timed_out) return `✗ (timeout ${gate.timeout_secs ?? 0}s)`;
  return typeof gate.exit_code === "number" ? `✗ (exit code ${gate.exit_code})` : "✗ (command error)";
}

function nextSteps(open: OpenRun, { code, status }: RunVerdict): string[] {
  const name = shellQuoted(open.id);
  if (status === "ready") return [`Look at it: omk proof show ${name}`];
  const [asked] = open.approvals.open;
  if (asked) {
    return [
      `Answer what was asked: omk approvals answer ${asked.id} approve`,
      `Then go on with it: omk team run --resume --name ${name}`,
    ];
  }
  if (!open.work.stopped) return [`Look at it: omk run show ${name}`];
  const more: Readonly<Record<string, string>> = {
    budget_time: " --budget-time <more>",
    budget_tokens: " --budget-tokens <more>",
    budget_cost: " --budget-usd <more>",
  };
  return [`Go on with it: omk team run --resume --name ${name}${more[code] ?? ""}`];
}
