import { expect, test } from "vitest";

import type { Engine, FailureClass, Prompt, StartOptions, Turn } from "../../src/engine/engine.ts";
import type { RunPorts } from "../../src/team/open.ts";
import { resumeRun, startRun, type RunOutcome } from "../../src/team/run.ts";
import { GROUND } from "../support/simulated-goal.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";
import { simulatedTeam, TEAM, TEAM_REQUEST, TeamProject } from "../support/simulated-team.ts";

const never = new AbortController().signal;

/** What a provider does with the work that reaches it: each try is noted, with how many others were under way. */
class Provider {
  readonly tries: { atMs: number; others: number; failed: boolean }[] = [];
  readonly #fails: (nth: number) => FailureClass | undefined;
  #running = 0;

  constructor(fails: (nth: number) => FailureClass | undefined) {
    this.#fails = fails;
  }

  /** Ports whose agents depend on it. */
  portsOver(disk: SimulatedDisk, project: TeamProject, stream: number): RunPorts {
    const ports = simulatedTeam(disk, project, stream);
    const inner = ports.engineNamed("simulated", "/project");
    return { ...ports, engineNamed: () => this.#before(inner, ports) };
  }

  #before(inner: Engine, { clock }: RunPorts): Engine {
    return {
      ...inner,
      start: async (options: StartOptions, signal: AbortSignal) => {
        const session = await inner.start(options, signal);
        return {
          id: session.id,
          stop: () => session.stop(),
          run: async (prompt: Prompt, stop: AbortSignal): Promise<Turn> => {
            if (prompt.meta.role !== "work") return session.run(prompt, stop);
            const kind = this.#fails(this.tries.length);
            this.tries.push({ atMs: clock.monotonicMs(), others: this.#running, failed: kind !== undefined });
            this.#running++;
            try {
              if (kind === undefined) return await session.run(prompt, stop);
              await clock.sleep(5, stop);
              const usage = { input_tokens: 1, output_tokens: 0, quality: "exact" as const };
              const failure = { class: kind, message: "not now", retryable: true };
              return { status: "failed", failure, text: "", toolCalls: 0, usage, proposals: [] };
            } finally {
              this.#running--;
            }
          },
        };
      },
    };
  }
}

const NAMES = (run: RunOutcome): object[] =>
  run.open.attempts.map(({ outcome, counted }) => ({ outcome, counted }));

test("an outage rests the whole team, one worker tries the provider, and the run goes on to ready", async () => {
  const disk = new SimulatedDisk(GROUND);
  // Both first turns meet it, and so does the first try afterwards.
  const provider = new Provider((nth) => (nth < 3 ? "rate_limit" : undefined));
  const ports = provider.portsOver(disk, new TeamProject("crashes"), 1);
  const run = await startRun(TEAM_REQUEST, ports, never, () => undefined);
  const [first, second, probe, next] = provider.tries;
  expect([first?.others, second?.others]).toEqual([0, 1]);
  expect(probe?.others).toBe(0);
  expect(next?.others).toBe(0);
  expect((probe?.atMs ?? 0) - (second?.atMs ?? 0)).toBeGreaterThanOrEqual(1_000);
  expect((next?.atMs ?? 0) - (probe?.atMs ?? 0)).toBeGreaterThanOrEqual(2_000);
  expect(NAMES(run).slice(0, 3)).toEqual(
    Array.from({ length: 3 }, () => ({ outcome: "failed", counted: false })),
  );
  expect(run.open.work.stopped).toBeNull();
});

test("a quota that is used up stops everything at once, and a resume lets one worker try first", async () => {
  const disk = new SimulatedDisk(GROUND);
  const project = new TeamProject("crashes");
  const provider = new Provider((nth) => (nth < 2 ? "quota" : undefined));
  const stopped = await startRun(TEAM_REQUEST, provider.portsOver(disk, project, 1), never, () => undefined);
  expect(stopped.verdict.code).toBe("agent_quota");
  expect(provider.tries).toHaveLength(2);

  const resumed = await resumeRun(TEAM, { budget: {} }, provider.portsOver(disk, project, 2), never);
  const [probe, ...rest] = provider.tries.slice(2);
  expect(probe?.others).toBe(0);
  // While it tries nobody else does.
  expect(rest.every(({ atMs }) => atMs > (probe?.atMs ?? 0))).toBe(true);
  expect(resumed.verdict.status).toBe("ready");
});
