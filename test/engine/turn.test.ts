/** One turn, whatever comes of it: what the agent does is a value, and what is no doing of its is thrown. */
import { describe, expect, test } from "vitest";

import type { Engine, EngineEvent, StartOptions, Turn } from "../../src/engine/engine.ts";
import { isOutside, summaryOf, takeTurn, Transcript, type TurnRequest } from "../../src/engine/turn.ts";
import { createRedactor } from "../../src/store/redact.ts";
import { ManualClock } from "../support/fakes.ts";
import { SimulatedDisk } from "../support/simulated-disk.ts";

const never = new AbortController().signal;
const TOKEN = `ghp_${"a1B2c3D4e5".repeat(4)}`;
const FINISHED: Turn = {
  status: "finished",
  text: "done",
  toolCalls: 1,
  usage: { input_tokens: 1, output_tokens: 1, quality: "exact" },
  proposals: [],
};

interface Scene {
  start?: (options: StartOptions, signal: AbortSignal) => void;
  run?: (options: StartOptions, signal: AbortSignal) => Turn | Promise<Turn>;
}

function scene({ start, run }: Scene) {
  const disk = new SimulatedDisk({ folders: ["/run"] });
  const redactor = createRedactor({ environment: {} });
  const transcript = new Transcript("/run/t.jsonl", { disk, clock: new ManualClock(), redactor });
  let stopped = 0;
  const engine = {
    name: "played",
    start: async (options: StartOptions, signal: AbortSignal) => {
      start?.(options, signal);
      return {
        id: "s",
        run: async () => (run ? await run(options, signal) : FINISHED),
        stop: () => Promise.resolve(void stopped++),
      };
    },
  } as unknown as Engine;
  const request: TurnRequest = {
    engine,
    cwd: "/project",
    environment: {},
    spawnId: "omk-1",
    limits: { handshakeMs: 1, idleMs: 1, turnMs: 1 },
    prompt: { text: "work", meta: { role: "work", task: "t", attempt: 1 } },
    transcript,
    decidePermission: () => Promise.resolve({ decision: "allow", rule: "test" }),
  };
  const lines = () => Buffer.from(disk.readFile("/run/t.jsonl")).toString("utf8").split("\n").filter(Boolean);
  return { request, transcript, lines, stops: () => stopped };
}

function event(body: object): EngineEvent {
  return { at: "2026-01-01T00:00:00.000Z", session: "s", sequence: 1, ...body } as EngineEvent;
}

describe("a turn", () => {
  test("ends with what the agent came to, and its session is stopped", async () => {
    const { request, stops } = scene({});
    expect(await takeTurn(request, never)).toEqual(FINISHED);
    expect(stops()).toBe(1);
  });

  test("that meets a defect of ours rejects with it, after the session was stopped", async () => {
    const bug = new TypeError("x is undefined");
    const { request, stops } = scene({
      run: () => {
        throw bug;
      },
    });
    await expect(takeTurn(request, never)).rejects.toBe(bug);
    expect(stops()).toBe(1);
  });

  test("is cancelled by its signal before it began, and a defect at such a moment is one all the same", async () => {
    const stop = new AbortController();
    const { request } = scene({
      start: (_options, signal) => {
        stop.abort(new Error("stop"));
        signal.throwIfAborted();
      },
    });
    expect(await takeTurn(request, stop.signal)).toMatchObject({ status: "cancelled", toolCalls: 0 });

    const again = new AbortController();
    const bug = new TypeError("x is undefined");
    const broken = scene({
      run: () => {
        again.abort(new Error("stop"));
        throw bug;
      },
    });
    await expect(takeTurn(broken.request, again.signal)).rejects.toBe(bug);
    expect(broken.stops()).toBe(1);
  });

  test("is told event by event, after the transcript has each", async () => {
    const seen: string[] = [];
    const { request, transcript, lines } = scene({
      run: (options) => {
        options.onEvent(event({ kind: "notice", message: "one" }));
        options.onEvent(event({ kind: "notice", message: "two" }));
        return FINISHED;
      },
    });
    const onEvent = (one: EngineEvent) => void seen.push(`${one.kind} ${lines().length}`);
    await takeTurn({ ...request, onEvent }, never);
    await transcript.close();
    expect(seen).toEqual(["notice 1", "notice 2"]);
  });
});

test("a transcript joins pieces of text, so that no secret hides between two of them", async () => {
  const { transcript, lines } = scene({});
  transcript.note({ kind: "prompt", text: `use ${TOKEN}` });
  for (const text of [TOKEN.slice(0, 9), TOKEN.slice(9)])
    transcript.add(event({ kind: "text", text, thinking: false }));
  await transcript.close();
  expect(lines().join("\n")).not.toContain(TOKEN.slice(4, 20));
  expect(lines().join("\n")).toContain("[REDACTED:github-token]");
});

test("login, quota, outage and a missing program are outside, and nothing else is", () => {
  const failed = (kind: string, retryable: boolean) =>
    isOutside({ status: "failed", failure: { class: kind as "auth", message: "", retryable } });
  expect([failed("auth", false), failed("rate_limit", true), failed("config", false)]).toEqual([
    true,
    true,
    true,
  ]);
  expect([failed("provider", true), failed("provider", false)]).toEqual([true, false]);
  expect([failed("protocol", true), failed("crashed", true), failed("timeout", true)]).toEqual([
    false,
    false,
    false,
  ]);
  expect(isOutside({ status: "cancelled" })).toBe(false);
});

test("a turn that the budget ended without a word says what it had used, and nothing untrue", () => {
  const redactor = createRedactor({ environment: {} });
  const silent = { ...FINISHED, status: "over_budget", text: "", toolCalls: 0 } as const;
  const usage = { input_tokens: 0, output_tokens: 0, quality: "missing" } as const;
  expect(summaryOf({ ...silent, usage }, redactor)).toBe(
    "the budget was spent before anything of the agent was heard",
  );
  const used = { input_tokens: 1_200, output_tokens: 34, cost_usd: 0.5 };
  const said = summaryOf({ ...silent, toolCalls: 2, usage }, redactor, used);
  expect(said).toContain("it used 1200 input and 34 output tokens, 2 tool calls, $0.5000");
  expect(said).toContain("kept");
});

test("the summary of a turn is redacted before it is cut", () => {
  const text = `${"a".repeat(989)} ${TOKEN} ${"b".repeat(2_000)}`;
  const said = summaryOf({ ...FINISHED, text }, createRedactor({ environment: {} }));
  expect(said).not.toContain("ghp_");
  expect(said.length).toBeLessThan(2_000);
});
