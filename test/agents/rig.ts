/** A project in which a real agent works under the built omk, its model played by the test. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";

import { inject, type TestContext } from "vitest";

import { Place, type Ran, type Running } from "../support/cli.ts";
import { bearing } from "../support/teams.ts";
import type { Installed } from "./install.ts";
import { ModelServer, type Scenario, type Usage } from "./model-server.ts";
import { PRICES, writeSettings, type AgentName } from "./settings.ts";

/** The goal of every test here, its gate, and the file that decides. */
const GOAL = "Create hello.txt that says hello";
const GATE = ["--gate", "hello=grep -q hello hello.txt"];

const APPROVAL_LOOKS_MAX = 300;

/** A place, its model, and an agent set up for it; when it ends, nothing of them may be left. */
export class AgentPlace extends Place implements AsyncDisposable {
  readonly server: ModelServer;
  readonly agent: Installed;
  readonly #started: Running[] = [];

  private constructor(agent: Installed, server: ModelServer) {
    super({ "README.md": "# A project\n" });
    this.agent = agent;
    this.server = server;
  }

  /** Skips the test, saying why, when the agent is not on this machine. */
  static async open(
    name: AgentName,
    context: TestContext,
    scenarios: readonly Scenario[],
  ): Promise<AgentPlace> {
    const agent = inject("programs")[name];
    if (agent.bin === undefined) context.skip(`${agent.name}: not on this machine (${agent.because})`);
    const place = new AgentPlace(agent, await ModelServer.start(scenarios));
    place.environment["PATH"] = [agent.bin, dirname(process.execPath), process.env["PATH"]].join(delimiter);
    writeSettings(name, join(place.folder, "home"), place.server.url);
    // As people have it: a project under git. kimi-code asks for other things outside of one.
    await place.commitAll();
    return place;
  }

  /** `omk goal run` until it is ready or not. */
  goal(engine: string, ...flags: string[]): Promise<Ran> {
    return this.run(...this.goalArguments(engine, ...flags));
  }

  /** Without a plan: the model's script is about the work, and what it does not expect it would do while it plans. */
  goalArguments(engine: string, ...flags: string[]): string[] {
    const run = ["goal", "run", GOAL, "--until-ready", "--auto-accept", "--no-llm-planner"];
    return [...run, "--engine", engine, ...GATE, ...flags];
  }

  /** What a file of the project holds, or null. */
  file(name: string): string | null {
    try {
      return readFileSync(join(this.project, name), "utf8");
    } catch {
      return null; // It is not there, which is what is asked.
    }
  }

  get goalState(): { status: string; reason_code: string | null } {
    return this.json("goal.json") as { status: string; reason_code: string | null };
  }

  /** The attempts, as the goal keeps them. */
  get attempts(): { outcome: string; outcome_code: string | null; counted: boolean; usage: AttemptUsage }[] {
    return this.json("work.json")["attempts"] as AgentPlace["attempts"];
  }

  get usages(): AttemptUsage[] {
    return this.attempts.map(({ usage }) => usage);
  }

  /** The request that waits for a person, as soon as there is one. */
  async approval(): Promise<{ id: string }> {
    for (let looks = 0; looks < APPROVAL_LOOKS_MAX; looks++) {
      // A look takes as long as a process takes to start, so this is no busy wait.
      const ran = await this.run("approvals", "list", "--json");
      if (ran.status !== 0) throw new Error(`omk approvals list ended with ${ran.status}: ${ran.stderr}`);
      const [first] = (JSON.parse(ran.stdout) as { approvals: { id: string }[] }).approvals;
      if (first) return first;
    }
    throw new Error("Nothing asked for leave.");
  }

  /** The events of the engine in every attempt so far. */
  get engineEvents(): { kind: string; [key: string]: unknown }[] {
    const evidence = this.json("work.json")["evidence"] as { path: string }[];
    return evidence
      .filter(({ path }) => path.endsWith("engine-events.jsonl"))
      .flatMap(({ path }) => readFileSync(join(this.goalFolder(), path), "utf8").split("\n"))
      .filter(Boolean)
      .map((line) => JSON.parse(line) as { kind: string });
  }

  /** Processes of agents and of what these started, omk's own not counted. */
  get left(): number[] {
    const marked = new Set(bearing(`HOME=${join(this.folder, "home")}`));
    return processes().filter((pid) => {
      // kimi-cli writes its title over its environment, and a command may have gone elsewhere: either sign is enough.
      if (!marked.has(pid) && !at(`/proc/${pid}/cwd`).startsWith(this.folder)) return false;
      return !/\bomk\.cjs\b|\bguardian\b/.test(readProc(pid, "cmdline"));
    });
  }

  override start(...args: string[]): Running {
    const running = super.start(...args);
    this.#started.push(running);
    return running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A test that failed half-way leaves its omk running, and that one its agent.
    for (const { child, ended } of this.#started) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGTERM");
      await ended;
    }
    await this.server[Symbol.asyncDispose]();
    this[Symbol.dispose]();
  }
}

function processes(): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0 && pid !== process.pid && !/\) Z /.test(readProc(pid, "stat")));
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "latin1");
  } catch {
    return ""; // It has ended meanwhile.
  }
}

function at(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return ""; // As above, or another user's.
  }
}

/** As an attempt keeps it. */
export interface AttemptUsage {
  input_tokens: number;
  output_tokens: number;
  cache_read_tokens?: number;
  cost_usd?: number;
  quality: string;
}

/** What calls cost at these prices. */
export function costOf(calls: readonly Usage[]): number {
  const { input, output } = sumOf(calls);
  return (input * PRICES.input + output * PRICES.output) / 1_000_000;
}

/** The tokens of all calls together, as an attempt keeps them. */
export function tokensOf(calls: readonly Usage[]): Pick<AttemptUsage, "input_tokens" | "output_tokens"> {
  const { input, output } = sumOf(calls);
  return { input_tokens: input, output_tokens: output };
}

function sumOf(calls: readonly Usage[]): Usage {
  return calls.reduce(
    (sum, { input, output }) => ({ input: sum.input + input, output: sum.output + output }),
    { input: 0, output: 0 },
  );
}
